//! The real daemon seen from outside: commands by HTTP lead to real runs, metrics have exactly the documented names, nothing secret is told, and
//! a store that hangs holds up nobody who did not ask for it.
#![allow(clippy::disallowed_methods, reason = "a real process is waited for in real time")]

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use crate::support::cli::{Home, StoreKind, finance};
use crate::support::server::{Database, Server};
use crate::support::{documented_metrics, promtool};

const TOKEN: &str = "correct-horse-battery-staple";

/// A running `pgkeep serve`, ended with the value.
struct Daemon {
    process: Child,
    address: SocketAddr,
    client: reqwest::Client,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Daemon {
    /// Starts the binary on a free port and waits until it says where it listens.
    fn start(mut command: Command) -> Self {
        command.args(["serve", "--listen", "127.0.0.1:0"]).env("PGKEEP_API_TOKEN", TOKEN);
        let mut process = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("start pgkeep serve");
        let mut lines = BufReader::new(process.stderr.take().expect("stderr")).lines();
        let mut said = Vec::new();
        let address = loop {
            let Some(Ok(line)) = lines.next() else { panic!("pgkeep serve ended:\n{}", said.join("\n")) };
            if let Some((_, rest)) = line.split_once("listening") {
                let word = rest.split_whitespace().find_map(|w| w.trim_start_matches("address=").parse().ok());
                break word.unwrap_or_else(|| panic!("no address in '{line}'"));
            }
            said.push(line);
        };
        // Somebody must read what it says, or it stops in the middle of a sentence.
        std::thread::spawn(move || lines.for_each(drop));
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(90)).build().expect("client");
        Self { process, address, client }
    }

    async fn ask(&self, method: Method, path: &str) -> (u16, String) {
        let request = self.client.request(method, format!("http://{}{path}", self.address)).bearer_auth(TOKEN);
        let response = request.send().await.unwrap_or_else(|e| panic!("{path}: {e}"));
        (response.status().as_u16(), response.text().await.expect("a body"))
    }

    async fn get(&self, path: &str) -> String {
        let (status, text) = self.ask(Method::GET, path).await;
        assert_eq!(status, 200, "{path}: {text}");
        text
    }

    /// The policy's state, once `wanted` holds.
    async fn until(&self, policy: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = String::new();
        for _ in 0..1200 {
            last = self.get(&format!("/api/v1/policies/{policy}")).await;
            let document: Value = serde_json::from_str(&last).expect("JSON");
            if wanted(&document["result"]) {
                return document["result"].clone();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the state never became what was awaited: {last}");
    }

    /// Starts a run by HTTP; its id.
    async fn command(&self, policy: &str, command: &str) -> String {
        let (status, text) = self.ask(Method::POST, &format!("/api/v1/policies/{policy}/{command}")).await;
        assert_eq!(status, 202, "{text}");
        let document: Value = serde_json::from_str(&text).expect("JSON");
        document["result"]["run"].as_str().expect("a run").to_owned()
    }

    /// Starts a run by HTTP and waits for its end.
    async fn run(&self, policy: &str, command: &str, kind: &str) -> Value {
        let id = self.command(policy, command).await;
        let state = self.until(policy, |s| s["current"].is_null() && s["last"][kind]["run"] == id.as_str()).await;
        state["last"][kind].clone()
    }
}

/// Names of the metrics in a scrape.
fn names(text: &str) -> BTreeSet<String> {
    text.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next()).map(str::to_owned).collect()
}

fn value(text: &str, sample: &str) -> Option<f64> {
    text.lines().find_map(|l| l.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok())
}

const POLICY: &str = "[schedule]\ncron = \"0 0 1 1 *\"\n\n[retention]\nkeep_last = 1\n\n[verify]\nlevel = \"restore\"\ncron = \"0 0 1 1 *\"\nscratch = \"local\"\n\n\
                      [health]\nmax_age = \"26h\"\n";

#[tokio::test]
async fn runs_by_http_are_real_and_metrics_have_the_documented_names() {
    let server = Server::of(17);
    let source = finance(&server, 2000).await;
    let home = Home::new(StoreKind::File);
    home.policy("books", &source, POLICY);
    let daemon = Daemon::start(home.command(&[]));
    daemon.until("books", |s| s["checked_at"].is_string()).await;
    let mut scrapes = vec![daemon.get("/metrics").await];

    let backup = daemon.run("books", "run", "backup").await;
    assert_eq!(backup["state"], "succeeded", "{backup}");
    let listed = home.json(&["list", "books"]);
    assert_eq!(listed["backups"][0]["backup"], backup["run"], "the command line sees the same backup");
    let drill = daemon.run("books", "verify", "verify").await;
    assert_eq!(drill["state"], "succeeded", "{drill}");
    let prune = daemon.run("books", "prune", "prune").await;
    assert_eq!(prune["state"], "succeeded", "{prune}");
    daemon.until("books", |s| s["status"]["last_proof_at"].is_string() && s["status"]["healthy"] == true).await;
    let after = daemon.get("/metrics").await;
    for (sample, expected) in [
        ("pgkeep_policy_healthy{policy=\"books\"}", 1.0),
        ("pgkeep_backups{policy=\"books\"}", 1.0),
        ("pgkeep_runs_total{policy=\"books\",kind=\"backup\",result=\"succeeded\"}", 1.0),
        ("pgkeep_runs_total{policy=\"books\",kind=\"verify\",result=\"succeeded\"}", 1.0),
        ("pgkeep_last_run_ok{policy=\"books\",kind=\"backup\"}", 1.0),
        ("pgkeep_backup_max_age_seconds{policy=\"books\"}", 26.0 * 3600.0),
        ("pgkeep_last_backup_rows{policy=\"books\"}", listed["backups"][0]["counts"]["rows"].as_f64().expect("rows")),
        ("pgkeep_ready", 1.0),
    ] {
        assert_eq!(value(&after, sample), Some(expected), "{sample} in\n{after}");
    }
    scrapes.push(after);

    // A run that cannot go on: what is told while one does, and that it can be cancelled.
    let blocker = blocked(&source).await;
    let id = daemon.command("books", "run").await;
    daemon.until("books", |s| s["current"]["run"] == id.as_str()).await;
    scrapes.push(daemon.get("/metrics").await);
    let (status, _) = daemon.ask(Method::POST, "/api/v1/policies/books/run").await;
    assert_eq!(status, 409, "one run a policy");
    assert_eq!(daemon.command("books", "cancel").await, id);
    let ended = daemon.until("books", |s| s["current"].is_null()).await;
    assert_eq!(ended["last"]["backup"]["state"], "cancelled", "{ended}");
    drop(blocker);

    let exported: BTreeSet<String> = scrapes.iter().flat_map(|s| names(s)).collect();
    let documented: BTreeSet<String> = documented_metrics().into_keys().collect();
    assert_eq!(exported, documented, "what a real daemon exports is what docs/METRICS.md lists");
    promtool(&["check", "metrics"], scrapes.last().map(String::as_str));

    let password = url::Url::parse(&source.url()).expect("URL").password().expect("a password").to_owned();
    for path in
        ["/api/v1/policies", "/api/v1/runs", "/api/v1/proofs", "/api/v1/backups", "/api/v1/backups/books/latest", "/metrics"]
    {
        let text = daemon.get(path).await;
        assert!(!text.contains(&password) && !text.contains(TOKEN), "{path} tells a secret");
    }
    drop(daemon);
    source.remove().await;
}

/// A session whose lock no backup gets past.
async fn blocked(source: &Database) -> tokio_postgres::Client {
    let client = source.connect().await;
    client.batch_execute("BEGIN; LOCK TABLE finance.transactions IN ACCESS EXCLUSIVE MODE").await.expect("lock");
    client
}

#[tokio::test]
async fn a_store_that_hangs_holds_up_nobody_else() {
    let server = Server::of(17);
    let source = server.database("hangs").await;
    let home = Home::new(StoreKind::File);
    home.policy("there", &source, "");
    // Takes connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("listen");
    let policy = std::fs::read_to_string(home.path().join("policies/there.toml")).expect("policy");
    let hanging = policy.replace(home.store(), "s3://somewhere/else");
    std::fs::write(home.path().join("policies/hangs.toml"), hanging).expect("write");
    let mut command = home.command(&[]);
    command.env("AWS_ENDPOINT_URL", format!("http://{}", silent.local_addr().expect("address"))).env("AWS_REGION", "eu-west-1");
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test").env("AWS_EC2_METADATA_DISABLED", "true");
    let daemon = Daemon::start(command);
    let waiting: Vec<_> = (0..8)
        .map(|_| {
            let request = daemon.client.get(format!("http://{}/api/v1/runs?policy=hangs", daemon.address));
            tokio::spawn(request.send())
        })
        .collect();
    let quickly = Duration::from_secs(20);
    for path in ["/health", "/ready", "/metrics", "/api/v1/policies", "/api/v1/policies/hangs"] {
        let answer = tokio::time::timeout(quickly, daemon.get(path)).await;
        assert!(answer.is_ok(), "{path} waits for the store");
    }
    assert!(waiting.iter().all(|w| !w.is_finished()), "those who asked for what is in the store do wait");
    tokio::time::timeout(quickly, daemon.until("there", |s| s["checked_at"].is_string()))
        .await
        .expect("the other policy is looked after");
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    drop(daemon);
    source.remove().await;
}
