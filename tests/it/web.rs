//! The HTTP interface: the same documents as the command line's, commands for those who have the token, and nothing for anybody else.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use pgkeep::base::clock::{Clock as _, SystemClock};
use pgkeep::base::ids::RunId;
use pgkeep::base::progress::Silent;
use pgkeep::base::shutdown::Shutdown;
use pgkeep::base::{Error, Result};
use pgkeep::daemon::control::{self, Envelope, Request};
use pgkeep::daemon::state::{PolicyState, Reload, State};
use pgkeep::daemon::web::{Server as Web, Token};
use pgkeep::jobs::Context;
use pgkeep::policy::Environment;
use pgkeep::repo::proofs::Level;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinHandle;

use crate::support::cli::{Home, StoreKind, finance};
use crate::support::promtool;
use crate::support::server::Server;

const TOKEN: &str = "correct-horse-battery-staple";

/// The web part of a daemon; the test stands in for the scheduler behind it.
struct Daemon {
    address: SocketAddr,
    state: State,
    requests: Receiver<Envelope>,
    shutdown: Shutdown,
    serving: JoinHandle<Result<()>>,
    client: reqwest::Client,
}

struct Reply {
    status: u16,
    headers: reqwest::header::HeaderMap,
    text: String,
}

impl Reply {
    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("no JSON: {e}\n{}", self.text))
    }

    /// Fails the test unless it is an error document with this status and kind.
    #[track_caller]
    fn refuses(&self, status: u16, kind: &str) {
        let document = self.json();
        assert_eq!((self.status, document["error"]["kind"].as_str()), (status, Some(kind)), "{}", self.text);
        assert_eq!((document["pgkeep"].as_u64(), document["ok"].as_bool()), (Some(1), Some(false)), "{}", self.text);
        assert!(!document["error"]["message"].as_str().unwrap_or_default().is_empty(), "{}", self.text);
        assert!(document["error"]["exit_code"].as_u64().is_some_and(|c| c > 0), "{}", self.text);
        assert!(!self.text.contains(TOKEN), "{}", self.text);
    }
}

impl Daemon {
    async fn start(home: &Home, policies: &[&str], token: Option<&str>) -> Self {
        let clock = Arc::new(SystemClock);
        let state = State::new("host", clock.now(), 2);
        state.with(|s| {
            s.reload = Some(Reload { at: s.started_at, ok: true, error: None, loaded_at: Some(s.started_at) });
            s.policies = policies.iter().map(|name| ((*name).to_owned(), PolicyState::default())).collect::<BTreeMap<_, _>>();
        });
        let shutdown = Shutdown::new();
        let cx = Context {
            clock,
            progress: Arc::new(Silent),
            shutdown: shutdown.clone(),
            policies: Some(home.path().join("policies")),
            store: None,
            env: Environment::process(),
            in_force: None,
            attendant: pgkeep::jobs::run::nobody(),
        };
        let variables: Vec<(&str, &str)> = token.iter().map(|t| ("PGKEEP_API_TOKEN", *t)).collect();
        let token = Token::load(None, &Environment::fixed(variables)).expect("token");
        let (control, requests) = control::channel();
        let web = Web::bind("127.0.0.1:0".parse().expect("address")).await.expect("listen");
        let address = web.address();
        let shared = state.clone();
        let serving = tokio::spawn(async move { web.run(&cx, shared, control, token).await });
        let client = reqwest::Client::builder().no_proxy().build().expect("client");
        Self { address, state, requests, shutdown, serving, client }
    }

    async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut request = self.client.request(method, format!("http://{}{path}", self.address)).body(body.to_owned());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Reply { status, headers, text: response.text().await.expect("a body") }
    }

    async fn get(&self, path: &str) -> Reply {
        self.ask(Method::GET, path, &[], "").await
    }

    /// A command with the token, which the scheduler answers with `outcome`; what arrived there comes back, too.
    async fn command(&mut self, path: &str, body: &str, outcome: Result<RunId>) -> (Reply, Option<Request>) {
        let request = self.client.post(format!("http://{}{path}", self.address)).bearer_auth(TOKEN).body(body.to_owned());
        let mut asking = std::pin::pin!(request.send());
        let mut seen = None;
        let mut outcome = Some(outcome);
        let response = loop {
            tokio::select! {
                response = &mut asking => break response.expect("an answer"),
                Some(envelope) = self.requests.recv() => {
                    seen = Some(envelope.request);
                    envelope.answer.send(outcome.take().expect("one request")).expect("somebody waits");
                }
            }
        };
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        (Reply { status, headers, text: response.text().await.expect("a body") }, seen)
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.serving.await.expect("join").expect("serve");
        assert!(tokio::net::TcpStream::connect(self.address).await.is_err(), "nobody listens any more");
    }
}

/// Every file below `folder` with what a write would change.
fn files(folder: &Path) -> BTreeSet<(String, u64, SystemTime)> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("read folder") {
            let entry = entry.expect("entry");
            let meta = entry.metadata().expect("metadata");
            if meta.is_dir() {
                folders.push(entry.path());
            }
            found.insert((entry.path().display().to_string(), meta.len(), meta.modified().expect("time")));
        }
    }
    found
}

#[tokio::test]
async fn what_is_read_is_what_the_command_line_tells_and_changes_nothing() {
    let server = Server::of(17);
    let source = finance(&server, 500).await;
    let home = Home::new(StoreKind::File);
    home.policy("books", &source, "[verify]\nlevel = \"content\"\n");
    home.policy("empty", &source, "");
    for label in ["first", "second"] {
        home.json(&["backup", "books", "--label", label]);
    }
    home.json(&["verify", "books"]);
    let mut daemon = Daemon::start(&home, &["books", "empty"], Some(TOKEN)).await;
    let before = files(home.path());

    let backups = daemon.get("/api/v1/backups?policy=books").await;
    assert_eq!(backups.status, 200, "{}", backups.text);
    assert_eq!(backups.json(), home.run(&["--json", "list", "books"]).document());
    assert_eq!(daemon.get("/api/v1/backups").await.json(), home.run(&["--json", "list"]).document());
    let newest = daemon.get("/api/v1/backups?policy=books&at=now").await.json();
    assert_eq!(newest, home.run(&["--json", "list", "books", "--at", "now"]).document());
    let id = newest["result"]["backups"][0]["backup"].as_str().expect("a backup").to_owned();
    let shown = home.run(&["--json", "show", "books"]).document();
    assert_eq!(daemon.get("/api/v1/backups/books/latest").await.json(), shown);
    assert_eq!(daemon.get(&format!("/api/v1/backups/books/{id}")).await.json(), shown);

    let runs = daemon.get("/api/v1/runs?policy=books").await.json()["result"]["runs"].as_array().expect("runs").clone();
    let told: Vec<_> =
        runs.iter().map(|r| (r["policy"].as_str(), r["kind"].as_str(), r["state"].as_str(), r["label"].as_str())).collect();
    let (books, ok) = (Some("books"), Some("succeeded"));
    let expected = [
        (books, Some("verify"), ok, None),
        (books, Some("backup"), ok, Some("second")),
        (books, Some("backup"), ok, Some("first")),
    ];
    assert_eq!(told, expected);
    let one = daemon.get("/api/v1/runs?limit=1").await.json();
    assert_eq!(one["result"]["runs"], json!([runs[0]]));

    let proofs = daemon.get(&format!("/api/v1/proofs?policy=books&backup={id}")).await.json();
    let levels: Vec<_> = proofs["result"]["proofs"]
        .as_array()
        .expect("proofs")
        .iter()
        .map(|p| (p["level"].as_str(), p["passed"].as_bool()))
        .collect();
    assert_eq!(levels, [(Some("content"), Some(true)), (Some("presence"), Some(true))], "newest first");
    assert_eq!(daemon.get("/api/v1/proofs").await.json()["result"]["proofs"].as_array().map(Vec::len), Some(3));

    for path in ["/api/v1/policies", "/api/v1/policies/books", "/health", "/ready", "/metrics"] {
        assert_eq!(daemon.get(path).await.status, 200, "{path}");
    }
    for command in ["run", "verify", "prune", "cancel"] {
        let reply = daemon.get(&format!("/api/v1/policies/books/{command}")).await;
        reply.refuses(405, "usage");
        assert_eq!(reply.headers["allow"], "POST");
    }
    assert!(daemon.requests.try_recv().is_err(), "no GET reaches the scheduler");
    assert_eq!(files(home.path()), before, "no GET writes");
    daemon.stop().await;
    source.remove().await;
}

#[tokio::test]
async fn commands_need_the_token() {
    let home = Home::new(StoreKind::File);
    let mut closed = Daemon::start(&home, &["p"], None).await;
    let bearer = format!("Bearer {TOKEN}");
    for path in ["/api/v1/policies/p/run", "/api/v1/policies/p/cancel", "/health", "/nowhere"] {
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            let reply = closed.ask(method, path, &[("authorization", &bearer)], "").await;
            reply.refuses(403, "denied");
            assert!(reply.text.contains("--token-file") && reply.text.contains("PGKEEP_API_TOKEN"), "{}", reply.text);
        }
    }
    assert!(closed.requests.try_recv().is_err());
    closed.stop().await;

    let mut open = Daemon::start(&home, &["p"], Some(TOKEN)).await;
    let longer = format!("{bearer}x");
    let basic = format!("Basic {TOKEN}");
    for offered in ["", "Bearer", "Bearer ", TOKEN, "Bearer wrong-horse-battery-staple", &longer, &basic] {
        let reply = open.ask(Method::POST, "/api/v1/policies/p/run", &[("authorization", offered)], "").await;
        reply.refuses(401, "denied");
        assert_eq!(reply.headers["www-authenticate"], "Bearer");
    }
    // In a URL a token would end in somebody's log.
    open.ask(Method::POST, &format!("/api/v1/policies/p/run?token={TOKEN}"), &[], "").await.refuses(401, "denied");
    assert!(open.requests.try_recv().is_err(), "nothing reaches the scheduler");

    let id: RunId = "20261122T021500Z-7f3a".parse().expect("id");
    let (policy, label) = ("p".to_owned(), Some("before the deploy".to_owned()));
    for (path, body, expected) in [
        ("run", r#"{"label": "before the deploy"}"#, Request::Backup { policy: policy.clone(), label }),
        ("run", "", Request::Backup { policy: policy.clone(), label: None }),
        ("verify", r#"{"level": "restore"}"#, Request::Verify { policy: policy.clone(), level: Some(Level::Restore) }),
        ("verify", "{}", Request::Verify { policy: policy.clone(), level: None }),
        ("prune", "", Request::Prune { policy: policy.clone() }),
        ("cancel", "", Request::Cancel { policy: policy.clone() }),
    ] {
        let (reply, seen) = open.command(&format!("/api/v1/policies/p/{path}"), body, Ok(id.clone())).await;
        assert_eq!(reply.status, 202, "{}", reply.text);
        assert_eq!(
            reply.json(),
            json!({ "pgkeep": 1, "command": path, "ok": true, "result": { "policy": "p", "run": id.as_str() } })
        );
        assert_eq!(seen, Some(expected));
    }
    let busy = Error::conflict("a run of p goes on").hint("wait, or cancel it");
    let (reply, _) = open.command("/api/v1/policies/p/run", "", Err(busy)).await;
    reply.refuses(409, "conflict");
    let (reply, _) = open.command("/api/v1/policies/q/run", "", Err(Error::not_found("no policy q"))).await;
    reply.refuses(404, "not_found");
    let big = format!("{{\"label\": \"{}\"}}", "x".repeat(100_000));
    for (body, status) in [("{\"lable\": \"x\"}", 400), ("[]", 400), ("not json", 400), (big.as_str(), 413)] {
        let (reply, seen) = open.command("/api/v1/policies/p/run", body, Ok(id.clone())).await;
        reply.refuses(status, "usage");
        assert_eq!(seen, None);
    }
    open.stop().await;
}

#[tokio::test]
async fn names_of_others_are_not_answered_on_loopback() {
    let home = Home::new(StoreKind::File);
    let mut daemon = Daemon::start(&home, &["p"], Some(TOKEN)).await;
    let bearer = format!("Bearer {TOKEN}");
    for host in ["evil.example", "evil.example:8474", "127.0.0.1.evil.example", "10.1.2.3:8474", "localhost.evil.example"] {
        for path in ["/health", "/metrics", "/api/v1/policies"] {
            daemon.ask(Method::GET, path, &[("host", host)], "").await.refuses(421, "denied");
        }
        daemon
            .ask(Method::POST, "/api/v1/policies/p/run", &[("host", host), ("authorization", &bearer)], "")
            .await
            .refuses(421, "denied");
    }
    for host in ["localhost", "LocalHost:1", "127.0.0.1", "[::1]:8474"] {
        assert_eq!(daemon.ask(Method::GET, "/health", &[("host", host)], "").await.status, 200, "{host}");
    }
    let address = daemon.address;
    let raw = tokio::task::spawn_blocking(move || {
        use std::io::{Read as _, Write as _};
        let requests = [
            "GET /health HTTP/1.0\r\n\r\n",
            "GET http://evil.example/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        ];
        requests.map(|request| {
            let mut stream = std::net::TcpStream::connect(address).expect("connect");
            stream.write_all(request.as_bytes()).expect("send");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("read");
            answer
        })
    });
    for answer in raw.await.expect("join") {
        assert!(answer.contains(" 421 "), "a request must name this machine, and no other: {answer}");
    }
    assert!(daemon.requests.try_recv().is_err());
    daemon.stop().await;
}

#[tokio::test]
async fn every_error_is_a_document_with_the_fitting_status() {
    let home = Home::new(StoreKind::File);
    std::fs::write(
        home.path().join("policies/p.toml"),
        format!("[source]\nkind = \"postgres\"\nurl = \"${{URL}}\"\n\n[store]\nurl = \"{}\"\n", home.store()),
    )
    .expect("policy");
    let daemon = Daemon::start(&home, &["p"], None).await;
    for (path, status, kind) in [
        ("/", 404, "not_found"),
        ("/api/v1", 404, "not_found"),
        ("/api/v1/policies/q", 404, "not_found"),
        ("/api/v1/policies/..%2F..%2Fetc", 400, "usage"),
        ("/api/v1/backups?policy=q", 404, "not_found"),
        ("/api/v1/backups?polciy=p", 400, "usage"),
        ("/api/v1/backups?limit=3", 400, "usage"),
        ("/api/v1/backups?policy=p&at=never", 400, "usage"),
        ("/api/v1/backups?policy=p&at=now", 404, "not_found"),
        ("/api/v1/backups/p/latest", 404, "not_found"),
        ("/api/v1/backups/p/nonsense", 404, "not_found"),
        ("/api/v1/runs?limit=0", 400, "usage"),
        ("/api/v1/runs?limit=many", 400, "usage"),
        ("/api/v1/proofs?backup=nonsense", 400, "usage"),
    ] {
        let reply = daemon.get(path).await;
        reply.refuses(status, kind);
        assert_eq!(reply.headers["content-type"], "application/json", "{path}");
        assert_eq!(reply.headers["cache-control"], "no-store", "{path}");
    }
    daemon.state.with(|s| s.reload = None);
    let reply = daemon.get("/ready").await;
    reply.refuses(503, "unavailable");
    assert_eq!(daemon.get("/health").await.status, 200, "a daemon that is not ready lives all the same");
    daemon.state.with(|s| s.stopping = true);
    assert!(daemon.get("/ready").await.text.contains("stopping"));
    // One policy's vault cannot be read: what is known of the others is told, and so is the trouble.
    let policy = std::fs::read_to_string(home.path().join("policies/p.toml")).expect("policy");
    std::fs::write(home.path().join("policies/bad.toml"), policy).expect("policy");
    std::fs::create_dir_all(home.vault("bad")).expect("folder");
    std::fs::write(home.vault("bad").join("vault.json"), "garbage").expect("damage");
    let reply = daemon.get("/api/v1/runs").await;
    assert!(reply.status >= 500, "{}", reply.text);
    assert!(reply.json()["result"]["problems"][0].as_str().is_some_and(|p| p.starts_with("bad: ")), "{}", reply.text);
    daemon.stop().await;
}

#[tokio::test]
async fn prometheus_reads_the_metrics() {
    let home = Home::new(StoreKind::File);
    let daemon = Daemon::start(&home, &["p", "we\"ird\\name"], None).await;
    let reply = daemon.get("/metrics").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    promtool(&["check", "metrics"], Some(&reply.text));
    daemon.stop().await;
}
