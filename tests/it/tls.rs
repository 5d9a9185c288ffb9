//! Encrypted connections as `sslmode` means them, against a server whose TLS is turned on for the test.
#![allow(clippy::expect_used, reason = "a helper that fails fails its test")]
#![allow(clippy::format_push_string, clippy::format_collect, reason = "statements of a test are built once")]

use pgkeep::base::Kind;
use pgkeep::pg::facts::server_facts;

use super::support::rows::target;
use super::support::server::Server;

/// Puts a key and a certificate of `tests/tls` into the server's data directory and turns TLS on.
async fn serve(server: &Server, name: &str) {
    let client = server.connect("postgres").await;
    for (file, mode) in [("key", "077"), ("pem", "022")] {
        let path = format!("{}/tests/tls/{name}.{file}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let lines: Vec<String> = text.lines().map(|l| format!("('{l}')")).collect();
        let copy = format!(
            "COPY (SELECT line FROM (VALUES {}) AS v (line)) TO PROGRAM 'umask {mode} && rm -f pgkeep-tls.{file} && cat > pgkeep-tls.{file}'",
            lines.join(", ")
        );
        client.batch_execute(&copy).await.expect("write the key and certificate");
    }
    for setting in ["ssl_key_file = 'pgkeep-tls.key'", "ssl_cert_file = 'pgkeep-tls.pem'", "ssl = on"] {
        client.batch_execute(&format!("ALTER SYSTEM SET {setting}")).await.expect("set");
    }
    reload(server, "on").await;
}

async fn reload(server: &Server, ssl: &str) {
    server.connect("postgres").await.batch_execute("SELECT pg_reload_conf()").await.expect("reload");
    loop {
        let client = server.connect("postgres").await;
        if client.query_one("SHOW ssl", &[]).await.expect("show").get::<_, String>(0) == ssl {
            return;
        }
    }
}

async fn connect(server: &Server, host: Option<&str>, query: &str) -> pgkeep::base::Result<()> {
    let mut url = url::Url::parse(&server.url("postgres")).expect("URL");
    if let Some(host) = host {
        url.set_host(Some(host)).expect("host");
    }
    url.set_query(Some(&query.replace("TLS", &format!("{}/tests/tls", env!("CARGO_MANIFEST_DIR")))));
    server_facts(&target(url.as_str())).await.map(|_| ())
}

#[tokio::test]
async fn certificates_are_checked_as_far_as_sslmode_says() {
    let server = Server::of(17);
    serve(&server, "server").await;
    for query in [
        "sslmode=disable",
        "sslmode=allow",
        "sslmode=prefer",
        "sslmode=require",
        "sslmode=require&sslrootcert=TLS/authority.pem",
        "sslmode=verify-ca&sslrootcert=TLS/authority.pem",
        "sslmode=verify-full&sslrootcert=TLS/authority.pem",
        "sslmode=require&channel_binding=require",
        "sslmode=require&sslnegotiation=direct",
    ] {
        connect(&server, None, query).await.unwrap_or_else(|e| panic!("{query}: {e:?}"));
    }
    let refused = async |host: Option<&str>, query: &str, part: &str| {
        let error = connect(&server, host, query).await.expect_err(query);
        let text = format!("{error:?}");
        assert!(error.kind() == Kind::Denied && text.contains(part), "{query}: {text}");
    };
    refused(None, "sslmode=verify-full&sslrootcert=TLS/other.pem", "sslrootcert").await;
    refused(None, "sslmode=require&sslrootcert=TLS/other.pem", "sslrootcert").await;
    refused(Some("localhost"), "sslmode=verify-full&sslrootcert=TLS/authority.pem", "verify-ca").await;
    connect(&server, Some("localhost"), "sslmode=verify-ca&sslrootcert=TLS/authority.pem").await.expect("no name is asked for");

    // A server certificate that signed itself and is known.
    serve(&server, "self-signed").await;
    connect(&server, None, "sslmode=verify-full&sslrootcert=TLS/self-signed.pem").await.expect("the certificate is known");
    refused(Some("localhost"), "sslmode=verify-full&sslrootcert=TLS/self-signed.pem", "verify-ca").await;
    refused(None, "sslmode=verify-ca&sslrootcert=TLS/authority.pem", "sslrootcert").await;

    server.admin(&["ALTER SYSTEM RESET ssl".to_owned()]).await;
    reload(&server, "off").await;
    refused(None, "sslmode=require", "no TLS").await;
    connect(&server, None, "sslmode=prefer").await.expect("prefer goes without");
}
