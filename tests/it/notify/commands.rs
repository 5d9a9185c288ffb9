//! The real binary: commands that fail tell somebody, `doctor --notify` tries every channel, `status` knows what did not arrive.

use std::sync::Arc;

use pgkeep::daemon::runner::{Body as _, Ended, Job, Runner, Stop, Work};
use pgkeep::jobs::run::Order;
use pgkeep::policy;
use pgkeep::repo::runs::Trigger;
use serde_json::Value;

use super::receivers::{Answer, Http, Mail, Topic};
use super::texts;
use crate::support::cli::{Home, StoreKind, finance};
use crate::support::server::Server;

/// Variables that hold what must never be seen.
const TOKEN: &str = "t0ken-of-the-webhook-9d8f";
const PING: &str = "5b1d2c3e-ping-of-the-heartbeat";
const PASSWORD: &str = "p4ssword-of-the-mail";

struct Setup {
    home: Home,
    http: Http,
    env: Vec<(&'static str, String)>,
}

impl Setup {
    async fn new() -> Self {
        Self::with(Http::new().await)
    }

    fn with(http: Http) -> Self {
        Self::on(http, StoreKind::File)
    }

    fn on(http: Http, store: StoreKind) -> Self {
        let env = vec![
            ("HOOK", http.url(&format!("/hook/{TOKEN}"))),
            ("HEARTBEAT", http.url(&format!("/ping/{PING}"))),
            ("PGKEEP_LOG", "trace".to_owned()),
        ];
        Self { home: Home::new(store), http, env }
    }

    /// Runs the binary with the secrets in its environment and everything logged; nothing secret may be in what it prints.
    async fn run(&self, args: &[&str]) -> (i32, String, String) {
        let mut command = self.home.command(args);
        command.envs(self.env.iter().map(|(k, v)| (*k, v)));
        let output = tokio::task::spawn_blocking(move || command.output().expect("run pgkeep")).await.expect("join");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        for secret in [TOKEN, PING, PASSWORD] {
            for line in stdout.lines().chain(stderr.lines()) {
                assert!(!line.contains(secret), "{args:?} shows a secret: {line}");
            }
        }
        (output.status.code().unwrap_or(-1), stdout, stderr)
    }

    /// `[event]` of what the webhook heard, and what the heartbeat did, since the last call.
    fn heard(&self) -> (Vec<String>, Vec<String>) {
        let requests = self.http.take();
        let hook = format!("/hook/{TOKEN}");
        let (events, beats): (Vec<_>, Vec<_>) = requests.into_iter().partition(|r| r.path == hook);
        let event = |document: &Value| document["notification"]["event"].as_str().expect("event").to_owned();
        (
            events.iter().map(|r| event(&r.json())).collect(),
            beats.into_iter().map(|r| r.path.replace(&format!("/ping/{PING}"), "beat")).collect(),
        )
    }
}

const NOTIFY: &str = "[notify]\nwebhook = \"${HOOK}\"\nheartbeat = \"${HEARTBEAT}\"\n";

#[tokio::test]
async fn a_command_that_fails_tells_once_and_a_good_one_tells_that_it_works_again() {
    let setup = Setup::new().await;
    let database = finance(&Server::of(17), 200).await;
    setup.home.policy("finance", &database, NOTIFY);
    let all = |event: &[&str], beats: &[&str]| {
        let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<String>>();
        (owned(event), owned(beats))
    };
    assert_eq!(setup.run(&["backup", "finance"]).await.0, 0);
    assert_eq!(setup.heard(), all(&[], &["beat/start", "beat"]));
    let gone = database.url().replace(&database.name, "pgkeep_no_such_database");
    setup.home.policy_of("finance", &gone, "", NOTIFY);
    for expected in [&["failure"][..], &[]] {
        assert_eq!(setup.run(&["backup", "finance"]).await.0, 7, "the exit code is that of the backup");
        assert_eq!(setup.heard(), all(expected, &["beat/start", "beat/fail"]));
    }
    setup.home.policy("finance", &database, NOTIFY);
    assert_eq!(setup.run(&["backup", "finance"]).await.0, 0);
    assert_eq!(setup.heard(), all(&["recovery"], &["beat/start", "beat"]));
    // A damaged part: the proof fails, and somebody hears of it.
    let parts = setup.home.vault("finance").join("parts");
    let part = walk(&parts).into_iter().max_by_key(|p| std::fs::metadata(p).expect("part").len()).expect("a part");
    std::fs::write(&part, b"damaged").expect("damage");
    assert_eq!(setup.run(&["verify", "finance", "--level", "content"]).await.0, 6);
    assert_eq!(setup.heard(), all(&["verification"], &[]));
    assert!(!texts(setup.home.path()).contains(TOKEN), "the vault holds the webhook's address");
    assert!(!texts(setup.home.path()).contains(PING), "the vault holds the heartbeat's address");
    database.remove().await;
}

/// What the daemon does after each good backup.
async fn prune_by_schedule(home: &Home) -> Ended {
    let cx = home.context();
    let order = Order { trigger: Some(Trigger::Schedule), ..Order::default() };
    let policy = Arc::new(policy::load(&home.path().join("policies"), "finance").expect("policy").policy);
    Runner::new(&cx).run(Job { policy, work: Work::Prune, order }, Stop::new(&cx.shutdown)).await
}

#[tokio::test]
async fn a_prune_that_finds_nothing_to_do_tells_that_what_hindered_the_last_one_is_over() {
    let setup = Setup::new().await;
    let database = Server::of(17).database("nothing_to_do").await;
    let notify = format!("[notify]\nwebhook = \"{}\"\n[retention]\nkeep_last = 9\n", setup.http.url(&format!("/hook/{TOKEN}")));
    setup.home.policy("finance", &database, &notify);
    assert_eq!(setup.run(&["backup", "finance"]).await.0, 0);
    setup.home.policy_of("finance", "postgres://nobody@127.0.0.1:1/x", "", &notify);
    assert_eq!(setup.run(&["backup", "finance"]).await.0, 4);
    assert_eq!(setup.run(&["prune", "finance", "--yes"]).await.0, 9);
    assert_eq!(setup.heard().0, ["failure", "unpruned"]);
    setup.home.policy("finance", &database, &notify);
    assert_eq!(setup.run(&["backup", "finance"]).await.0, 0);
    assert_eq!(setup.heard().0, ["recovery"], "of the backups");
    for expected in [&["recovery"][..], &[]] {
        let ended = prune_by_schedule(&setup.home).await;
        assert!(ended.outcome.is_ok() && !ended.recorded, "{ended:?}");
        assert_eq!(setup.heard().0, expected, "of the removals, once");
    }
    database.remove().await;
}

#[tokio::test]
async fn of_two_processes_that_fail_at_the_same_time_one_tells() {
    for store in [StoreKind::File, StoreKind::S3] {
        let setup = Setup::on(Http::new().await, store);
        let database = Server::of(17).database("two").await;
        let notify = "[notify]\nwebhook = \"${HOOK}\"\n";
        setup.home.policy("two", &database, notify);
        assert_eq!(setup.run(&["backup", "two"]).await.0, 0);
        setup.home.policy_of("two", "postgres://nobody@127.0.0.1:1/x", "", notify);
        let codes = futures::join!(setup.run(&["backup", "two"]), setup.run(&["backup", "two"]), setup.run(&["backup", "two"]));
        assert_eq!((codes.0.0, codes.1.0, codes.2.0), (4, 4, 4));
        assert_eq!(setup.heard().0, ["failure"], "{store:?}");
        setup.home.policy("two", &database, notify);
        assert_eq!(setup.run(&["backup", "two"]).await.0, 0);
        assert_eq!(setup.heard().0, ["recovery"], "{store:?}");
        database.remove().await;
    }
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).expect("read the folder").map(|e| e.expect("entry").path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[tokio::test]
async fn a_message_that_does_not_arrive_changes_no_exit_code_and_is_seen_in_status() {
    let setup = Setup::new().await;
    let database = finance(&Server::of(18), 200).await;
    setup.home.policy("finance", &database, "[notify]\nwebhook = \"${HOOK}\"\n");
    assert_eq!(setup.run(&["backup", "finance"]).await.0, 0);
    setup.home.policy_of("finance", "postgres://nobody@127.0.0.1:1/x", "", "[notify]\nwebhook = \"${HOOK}\"\n");
    setup.http.always(Answer::Status(410, "no_service".to_owned()));
    let (code, _, stderr) = setup.run(&["backup", "finance"]).await;
    assert_eq!(code, 4);
    assert!(stderr.contains("a notification did not arrive") && stderr.contains("410 Gone"), "{stderr}");
    let (code, stdout, _) = setup.run(&["--json", "status", "finance"]).await;
    let status: Value = serde_json::from_str(&stdout).expect("JSON");
    let policy = &status["result"]["policies"][0];
    assert_eq!((code, policy["notifications_failed"].as_u64()), (9, Some(1)));
    let problems = policy["problems"].to_string();
    assert!(
        problems.contains("the last notification by webhook did not arrive: the webhook answered 410 Gone: no_service"),
        "{problems}"
    );
    // The address works again, and a test shows it.
    setup.http.always(Answer::Ok);
    setup.home.policy("finance", &database, "[notify]\nwebhook = \"${HOOK}\"\n");
    assert_eq!(setup.run(&["doctor", "--notify", "finance"]).await.0, 0);
    assert_eq!(setup.run(&["backup", "finance"]).await.0, 0);
    let (code, stdout, _) = setup.run(&["--json", "status", "finance"]).await;
    assert_eq!(code, 0, "{stdout}");
    assert!(stdout.contains("\"notifications_failed\": 0"), "{stdout}");
    database.remove().await;
}

#[tokio::test]
async fn doctor_tries_every_channel_over_tls_too() {
    let mut setup = Setup::with(Http::tls().await);
    let (starttls, tls, topic) =
        (Mail::new(&["--starttls", "--user", "app", "--password", PASSWORD]), Mail::new(&["--tls"]), Topic::new());
    let authority = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls/authority.pem");
    setup.env.extend([
        ("SMTP", format!("smtp://app:{PASSWORD}@127.0.0.1:{}", starttls.port)),
        ("SMTPS", format!("smtps://127.0.0.1:{}", tls.port)),
        ("SSL_CERT_FILE", authority.to_owned()),
    ]);
    setup.env.extend(crate::support::cli::s3_environment().into_iter().map(|(k, v)| (&*k.leak(), v)));
    let database = Server::of(17).database("doctor").await;
    let notify = |smtp: &str| {
        format!(
            "{NOTIFY}[notify.email]\nsmtp = \"${{{smtp}}}\"\nfrom = \"backups@example.com\"\nto = [\"ops@example.com\"]\n\
             [notify.sns]\ntopic = \"{}\"\n",
            topic.arn
        )
    };
    setup.home.policy("a", &database, &notify("SMTP"));
    setup.home.policy("b", &database, &notify("SMTPS"));
    let (code, stdout, _) = setup.run(&["--json", "doctor"]).await;
    assert_eq!(code, 0, "{stdout}");
    assert!(stdout.contains("not tried") && setup.http.requests().is_empty(), "nothing is sent unasked: {stdout}");
    let (code, stdout, stderr) = setup.run(&["--json", "doctor", "--notify"]).await;
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert_eq!(setup.heard(), (vec!["test".to_owned(); 2], vec!["beat/log".to_owned(); 2]));
    assert_eq!((starttls.messages().len(), tls.messages().len()), (1, 1));
    assert!(starttls.messages()[0]["tls"] == true && tls.messages()[0]["tls"] == true);
    assert_eq!(starttls.messages()[0]["user"], "app");
    let envelope = topic.message();
    assert_eq!(envelope["Subject"], "[pgkeep] a: test of the notifications");
    let document: Value = serde_json::from_str(envelope["Message"].as_str().expect("text")).expect("a queue gets the document");
    assert_eq!((document["pgkeep"].as_u64(), document["notification"]["event"].as_str()), (Some(1), Some("test")));
    assert_eq!(envelope["MessageAttributes"]["policy"]["Value"], "a");
    let document: Value = serde_json::from_str(&stdout).expect("JSON");
    let checks = document["result"]["checks"].as_array().expect("checks");
    for channel in ["webhook", "email", "sns", "heartbeat"] {
        let passed = checks.iter().filter(|c| c["check"] == channel && c["verdict"] == "pass").count();
        assert_eq!(passed, 2, "{channel}: {document}");
    }
    // A certificate that nobody vouches for.
    let trusting = setup.env.clone();
    setup.env.retain(|(k, _)| *k != "SSL_CERT_FILE");
    let (code, stdout, _) = setup.run(&["--json", "doctor", "--notify", "b"]).await;
    assert_eq!(code, 4, "{stdout}");
    assert!(stdout.contains("the webhook cannot be reached") && stdout.contains("certificate"), "{stdout}");
    assert!(setup.http.requests().is_empty() && tls.messages().len() == 1);
    // A topic that is not there, and a reference to nothing.
    setup.env = trusting;
    let gone = notify("NO_SUCH_VARIABLE").replace(&topic.arn, &format!("{}x", topic.arn));
    setup.home.policy("a", &database, &gone);
    let (code, stdout, _) = setup.run(&["--json", "doctor", "--notify", "a"]).await;
    assert_eq!(code, 3, "{stdout}");
    assert!(stdout.contains("NO_SUCH_VARIABLE is not set") && stdout.contains("the topic does not exist"), "{stdout}");
    database.remove().await;
}
