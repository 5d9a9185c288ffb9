//! Runs the real binary against a throwaway folder of policies and a throwaway store, and reads its JSON.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use pgkeep::base::clock::SystemClock;
use pgkeep::base::ids::random_hex;
use pgkeep::base::progress::Silent;
use pgkeep::base::shutdown::Shutdown;
use pgkeep::base::sql::ident;
use pgkeep::jobs::{Context, run};
use pgkeep::policy::Environment;
use serde_json::Value;
use tempfile::TempDir;

use super::server::{Database, Server};

/// What a run of the binary left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    command: String,
}

impl Ran {
    /// Fails the test unless the exit code is `code`.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code of `{}`\n--- stdout\n{}\n--- stderr\n{}", self.command, self.stdout, self.stderr);
        self
    }

    /// `result` of the JSON document.
    #[track_caller]
    pub(crate) fn result(&self) -> Value {
        self.document()["result"].clone()
    }

    /// The JSON document.
    #[track_caller]
    pub(crate) fn document(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("`{}` printed no JSON: {e}\n{}", self.command, self.stdout))
    }

    /// Fails the test unless stderr holds every one of `words`.
    #[track_caller]
    pub(crate) fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "`{}` does not say '{word}':\n{}", self.command, self.stderr);
        }
        self
    }
}

/// Kind of store of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoreKind {
    File,
    S3,
}

/// A folder with policies, and a store.
pub(crate) struct Home {
    folder: TempDir,
    store: String,
    env: Vec<(String, String)>,
}

impl Home {
    /// A new, empty one.
    pub(crate) fn new(kind: StoreKind) -> Self {
        let folder = tempfile::Builder::new().prefix("pgkeep-test-").tempdir().expect("temporary folder");
        std::fs::create_dir(folder.path().join("policies")).expect("policies folder");
        let (store, env) = match kind {
            StoreKind::File => (format!("file://{}/vaults", folder.path().display()), Vec::new()),
            StoreKind::S3 => {
                let bucket = format!("pgkeep-test-{}", random_hex(6));
                let env = s3_environment();
                make_bucket(&bucket);
                (format!("s3://{bucket}/backups"), env)
            }
        };
        Self { folder, store, env }
    }

    /// The store's URL.
    pub(crate) fn store(&self) -> &str {
        &self.store
    }

    /// Folder of a vault in a file store.
    pub(crate) fn vault(&self, policy: &str) -> PathBuf {
        self.folder.path().join("vaults").join(policy)
    }

    /// An object of the store, by its key.
    pub(crate) fn get(&self, key: &str) -> Option<String> {
        match self.store.strip_prefix("s3://") {
            None => std::fs::read_to_string(self.folder.path().join("vaults").join(key)).ok(),
            Some(place) => {
                Some(http("GET", &format!("{place}/{key}"), "")).filter(|(status, _)| status == "200").map(|(_, body)| body)
            }
        }
    }

    /// Writes an object of the store.
    pub(crate) fn put(&self, key: &str, body: &str) {
        match self.store.strip_prefix("s3://") {
            None => {
                let path = self.folder.path().join("vaults").join(key);
                std::fs::create_dir_all(path.parent().expect("a folder")).expect("make the folder");
                std::fs::write(path, body).expect("write the object");
            }
            Some(place) => assert_eq!(http("PUT", &format!("{place}/{key}"), body).0, "200", "write {key}"),
        }
    }

    /// The first thousand keys that begin with `prefix`, in order.
    pub(crate) fn keys(&self, prefix: &str) -> Vec<String> {
        let mut keys: Vec<String> = match self.store.strip_prefix("s3://") {
            None => {
                let found = std::fs::read_dir(self.folder.path().join("vaults").join(prefix)).into_iter().flatten();
                let names = found.filter_map(|e| e.ok()?.file_name().into_string().ok()).filter(|n| !n.starts_with('.'));
                names.map(|name| format!("{prefix}{name}")).collect()
            }
            Some(place) => {
                let (bucket, folder) = place.split_once('/').expect("a prefix");
                let (_, listed) = http("GET", &format!("{bucket}?list-type=2&prefix={folder}/{prefix}"), "");
                let found = listed.split("<Key>").skip(1).filter_map(|rest| rest.split_once("</Key>"));
                found.filter_map(|(key, _)| key.strip_prefix(&format!("{folder}/")).map(str::to_owned)).collect()
            }
        };
        keys.sort();
        keys
    }

    /// The temporary folder.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes `policies/<name>.toml`: a source of `database`, this store, and `more` lines.
    pub(crate) fn policy(&self, name: &str, database: &Database, more: &str) {
        self.policy_of(name, &database.url(), "", more);
    }

    /// The same with the URL given, and further keys of `[source]`.
    pub(crate) fn policy_of(&self, name: &str, url: &str, source: &str, more: &str) {
        let secret = self.folder.path().join(format!("{name}.url"));
        std::fs::write(&secret, url).expect("write the secret file");
        restrict(&secret);
        let text = format!(
            "description = \"test\"\n\n[source]\nkind = \"postgres\"\nurl = \"file:{}\"\njobs = 2\n{source}\n\n[store]\nurl = \"{}\"\n\n{more}\n",
            secret.display(),
            self.store
        );
        std::fs::write(self.folder.path().join("policies").join(format!("{name}.toml")), text).expect("write the policy");
    }

    /// What use cases get that are called without the binary.
    pub(crate) fn context(&self) -> Context {
        Context {
            clock: Arc::new(SystemClock),
            progress: Arc::new(Silent),
            shutdown: Shutdown::new(),
            policies: Some(self.folder.path().join("policies")),
            store: None,
            env: Environment::process(),
            in_force: None,
            attendant: run::nobody(),
        }
    }

    /// The binary with this home's environment, ready for more arguments.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgkeep"));
        command.args(args).env("PGKEEP_POLICIES", self.folder.path().join("policies")).current_dir(self.folder.path());
        command.envs(self.env.iter().map(|(k, v)| (k, v))).stdin(Stdio::null());
        command
    }

    /// Runs `pgkeep args`.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        finish(self.command(args), args)
    }

    /// Runs `pgkeep --json args` and returns `result`, expecting success.
    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let mut all = vec!["--json"];
        all.extend(args);
        self.run(&all).exits(0).result()
    }
}

/// Runs a command to its end.
pub(crate) fn finish(mut command: Command, args: &[&str]) -> Ran {
    let output = command.output().expect("run pgkeep");
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        command: format!("pgkeep {}", args.join(" ")),
    }
}

fn restrict(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("restrict the secret file");
}

/// Environment in which the AWS endpoint of the tests is all that there is of AWS.
pub(crate) fn s3_environment() -> Vec<(String, String)> {
    let url = std::env::var("PGKEEP_TEST_AWS_URL").expect("PGKEEP_TEST_AWS_URL is not set: run scripts/services start");
    [
        ("AWS_ENDPOINT_URL", url.as_str()),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ]
    .map(|(k, v)| (k.to_owned(), v.to_owned()))
    .to_vec()
}

fn make_bucket(bucket: &str) {
    let body = "<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>";
    let (status, _) = http("PUT", bucket, body);
    assert!(status.starts_with('2'), "make bucket {bucket}: HTTP {status}");
}

/// A plain HTTP request to the AWS endpoint of the tests, which does not check signatures: status and body.
fn http(method: &str, path: &str, body: &str) -> (String, String) {
    use std::io::{Read as _, Write as _};
    let url = std::env::var("PGKEEP_TEST_AWS_URL").expect("PGKEEP_TEST_AWS_URL is not set: run scripts/services start");
    let host = url.strip_prefix("http://").expect("the test endpoint speaks http").trim_end_matches('/');
    let mut stream = std::net::TcpStream::connect(host).expect("connect to the AWS endpoint of the tests");
    let auth = "AWS4-HMAC-SHA256 Credential=test/20260101/eu-west-1/s3/aws4_request, SignedHeaders=host, Signature=00";
    write!(
        stream,
        "{method} /{path} HTTP/1.0\r\nHost: {host}\r\nAuthorization: {auth}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .expect("send");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("read");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (head.split_whitespace().nth(1).unwrap_or_default().to_owned(), body.to_owned())
}

/// A database of `server` with the finance sample of about `rows` transactions.
pub(crate) async fn finance(server: &Server, rows: u64) -> Database {
    let database = server.database("finance").await;
    let client = database.connect().await;
    let sample = include_str!("../../sample/finance.sql");
    client.batch_execute(&format!("SET pgkeep.sample_rows = '{rows}'")).await.expect("set sample size");
    client.batch_execute(sample).await.unwrap_or_else(|e| panic!("load the sample on {}: {e:?}", server.major));
    database
}

/// Name for a database that a restore will make.
pub(crate) fn new_name(purpose: &str) -> String {
    format!("pgkeep_{purpose}_{}", random_hex(4))
}

/// Drops a database made by a restore.
pub(crate) async fn drop_database(server: &Server, name: &str) {
    server.admin(&[format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", ident(name))]).await;
}
