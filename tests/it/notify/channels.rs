//! What arrives on each channel, and what is said when it does not.

use std::sync::Arc;
use std::time::Duration;

use pgkeep::base::clock::ManualClock;
use pgkeep::base::ids::{BackupId, RunId};
use pgkeep::daemon::notify::{Beat, Limits, Notifier, Outcome, RunEnd};
use pgkeep::policy::{Environment, Policy};
use pgkeep::repo::runs::RunKind;
use serde_json::Value;

use super::receivers::{Answer, Http, Mail};
use super::{end, notifier, policy, refused, start};

/// For receivers that answer, on a machine that may be busy.
const PATIENT: Limits = Limits { send: Duration::from_secs(30), store: Duration::from_secs(30) };

fn patient() -> Arc<Notifier> {
    notifier(&ManualClock::new(start()))
}

/// What a test of the policy's channels says: for each its name, and what went wrong.
async fn tested(policy: &Policy, limits: Limits) -> Vec<(&'static str, Option<String>)> {
    let notifier = Notifier::with_limits(ManualClock::new(start()), Environment::process(), limits);
    let outcomes = notifier.test(policy, None).await;
    outcomes.into_iter().map(|(channel, outcome)| (channel, outcome.err().map(|e| format!("{e} {:?}", e.hint_text())))).collect()
}

#[tokio::test]
async fn a_webhook_gets_the_documented_document() {
    let http = Http::new().await;
    let policy = policy(&format!("webhook = \"{}\"", http.url("/hook?key=a")));
    let run: RunId = "20261122T021500Z-7f3a".parse().expect("id");
    let backup: BackupId = run.as_str().parse().expect("id");
    let error = refused();
    let failed =
        RunEnd { kind: RunKind::Backup, run: Some(&run), backup: Some(&backup), outcome: Outcome::Bad(&error), tail: None };
    patient().run_ended(&policy, None, &failed).await;
    let requests = http.take();
    assert_eq!(requests.len(), 1);
    let request = &requests[0];
    assert_eq!(
        (request.method.as_str(), request.path.as_str(), request.content_type.as_str()),
        ("POST", "/hook?key=a", "application/json")
    );
    let mut document = request.json();
    let notification = document["notification"].as_object_mut().expect("an object");
    assert_eq!(notification.remove("id").and_then(|id| id.as_str().map(str::len)), Some(32));
    assert!(notification.remove("host").is_some_and(|h| h.is_string()));
    insta::assert_snapshot!("webhook_document", serde_json::to_string_pretty(&document).expect("JSON"));
    // docs/JSON.md names every field.
    let documented = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/JSON.md")).expect("read");
    let section = documented.split("## Notifications").nth(1).expect("a section");
    for field in document["notification"].as_object().expect("an object").keys() {
        assert!(section.contains(&format!("`{field}`")), "docs/JSON.md does not name {field}");
    }
}

#[tokio::test]
async fn a_slack_webhook_gets_text_that_slack_does_not_take_for_markup() {
    let http = Http::new().await;
    let policy = policy(&format!("webhook = \"{}\"\nformat = \"slack\"", http.url("/services/T/B/x")));
    patient().run_ended(&policy, None, &end(Outcome::Failed(&refused()))).await;
    let document = http.take()[0].json();
    let text = document["text"].as_str().expect("text");
    assert_eq!(document.as_object().map(serde_json::Map::len), Some(1));
    assert!(text.contains("*harena: backup failed*") && text.contains("set DATABASE_URL"), "{text}");
    assert!(text.contains("(Harena &lt;production&gt; &amp; more)") && text.contains("2026-11-22T03:15:00+01:00"), "{text}");
}

#[tokio::test]
async fn a_webhook_that_does_not_take_the_message_is_told_from_one_that_does() {
    let http = Http::new().await;
    let other = Http::new().await;
    let policy = policy(&format!("webhook = \"{}\"", http.url("/hook-s3cret-t0ken1")));
    let closed = format!("webhook = \"http://127.0.0.1:{}/hook-s3cret-t0ken1\"", closed_port());
    let quick = Limits { send: Duration::from_millis(700), ..PATIENT };
    for (answer, limits, said) in [
        (Answer::Redirect(other.url("/new")), PATIENT, "302 Found"),
        (Answer::Status(404, "no_service /hook-s3cret-t0ken1".to_owned()), PATIENT, "404 Not Found: no_service /***"),
        (Answer::Status(500, format!("{}end", "x".repeat(10_000))), PATIENT, "500 Internal Server Error: xxx"),
        (Answer::Hang, quick, "did not answer within 0.7 s"),
    ] {
        http.next(answer);
        let outcomes = tested(&policy, limits).await;
        let error = outcomes[0].1.clone().expect("a failure");
        assert!(error.contains(said) && error.len() < 700, "{error}");
        assert!(!error.contains("s3cret") && !error.contains("/hook"), "{error}");
    }
    assert!(other.requests().is_empty(), "a redirect is never followed: it would turn the message into a GET");
    let error = tested(&super::policy(&closed), PATIENT).await[0].1.clone().expect("a failure");
    assert!(error.contains("cannot be reached") && error.contains("refused") && !error.contains("hook-s3cret"), "{error}");
    assert_eq!(tested(&policy, PATIENT).await, [("webhook", None)]);
}

fn closed_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address").port()
}

fn mail_policy(url: &str) -> Policy {
    policy(&format!(
        "[notify.email]\nsmtp = \"{url}\"\nfrom = \"pgkeep <backups@example.com>\"\nto = [\"ops@example.com\", \"Böse <dev@example.com>\"]"
    ))
}

#[tokio::test]
async fn mail_arrives_readable_and_in_one_thread() {
    let mail = Mail::new(&["--user", "backups@example.com", "--password", "p@ss:w/rd"]);
    let url = format!("smtp://backups%40example.com:p%40ss%3Aw%2Frd@127.0.0.1:{}", mail.port);
    let policy = mail_policy(&url);
    let notifier = patient();
    notifier.run_ended(&policy, None, &end(Outcome::Failed(&refused()))).await;
    notifier.run_ended(&policy, None, &end(Outcome::Good)).await;
    let messages = mail.messages();
    assert_eq!(messages.len(), 2);
    let text = |v: &Value| v.as_str().expect("text").to_owned();
    let first = &messages[0];
    assert_eq!(
        (text(&first["from"]), text(&first["user"])),
        ("backups@example.com".to_owned(), "backups@example.com".to_owned())
    );
    assert_eq!(first["to"], serde_json::json!(["ops@example.com", "dev@example.com"]));
    assert_eq!(text(&first["subject"]), "[pgkeep] harena: backup failed");
    for part in ["the server refused the password", "set DATABASE_URL", "Harena <production> & more", "2026-11-22T03:15:00+01:00"]
    {
        assert!(text(&first["body"]).contains(part), "{part} in {first}");
    }
    assert_eq!(text(&messages[1]["subject"]), "[pgkeep] harena: backups work again");
    let headers = |m: &Value, name: &str| text(&m["headers"][name]);
    assert_eq!(headers(first, "references"), headers(&messages[1], "references"));
    assert_ne!(headers(first, "message-id"), headers(&messages[1], "message-id"));
    assert_eq!(headers(first, "date"), "Sun, 22 Nov 2026 02:15:00 +0000");
    assert_eq!(headers(first, "auto-submitted"), "auto-generated");
}

#[tokio::test]
async fn a_mail_server_that_does_not_take_the_message_is_told_from_one_that_does() {
    let mail = Mail::new(&["--user", "app", "--password", "hunter22"]);
    let wrong = mail_policy(&format!("smtp://app:hunter33@127.0.0.1:{}", mail.port));
    let error = tested(&wrong, PATIENT).await[0].1.clone().expect("a failure");
    assert!(error.contains("535") && error.contains("user and password") && !error.contains("hunter33"), "{error}");
    let busy = Mail::new(&["--refuse", "1"]);
    let policy = mail_policy(&format!("smtp://127.0.0.1:{}", busy.port));
    let error = tested(&policy, PATIENT).await[0].1.clone().expect("a failure");
    assert!(error.contains("451") && error.contains("try again later"), "{error}");
    assert_eq!(tested(&policy, PATIENT).await, [("email", None)]);
    // STARTTLS with a certificate that nobody here trusts: the message stays here.
    let tls = Mail::new(&["--starttls"]);
    let error = tested(&mail_policy(&format!("smtp://127.0.0.1:{}", tls.port)), PATIENT).await[0].1.clone().expect("a failure");
    assert!(error.contains("certificate"), "{error}");
    assert!(tls.messages().is_empty() && mail.messages().is_empty());
    // A port at which nobody answers as a mail server does.
    let http = Http::new().await;
    let policy = mail_policy(&http.url("").replace("http:", "smtp:"));
    assert!(tested(&policy, Limits { send: Duration::from_millis(700), ..PATIENT }).await[0].1.is_some());
}

#[tokio::test]
async fn a_heartbeat_is_called_when_a_run_begins_and_ends() {
    let http = Http::new().await;
    let policy = policy(&format!("on = [\"failure\"]\nheartbeat = \"{}\"", http.url("/ping/1f2e3d4c")));
    let notifier = patient();
    notifier.run_started(&policy, RunKind::Backup).await;
    notifier.run_ended(&policy, None, &end(Outcome::Good)).await;
    notifier.run_started(&policy, RunKind::Backup).await;
    let error = refused();
    let tail = "02:15:00Z stage export\npostgres://app:hunter2@db.invalid/harena\n";
    notifier.run_ended(&policy, None, &RunEnd { tail: Some(tail), ..end(Outcome::Failed(&error)) }).await;
    // Nothing of the heartbeat's business: a verification, and a run that somebody stopped.
    notifier.run_started(&policy, RunKind::Verify).await;
    notifier.run_ended(&policy, None, &RunEnd { kind: RunKind::Verify, ..end(Outcome::Failed(&error)) }).await;
    notifier.run_ended(&policy, None, &end(Outcome::Failed(&pgkeep::base::Error::cancelled("interrupted")))).await;
    assert_eq!(http.paths(), ["/ping/1f2e3d4c/start", "/ping/1f2e3d4c", "/ping/1f2e3d4c/start", "/ping/1f2e3d4c/fail"]);
    let body = &http.requests()[3].body;
    for part in
        ["02:15:00Z stage export", "the server refused the password", "set DATABASE_URL", "postgres://app:***@db.invalid/harena"]
    {
        assert!(body.contains(part), "{part} in {body}");
    }
    assert!(!body.contains("hunter2"), "{body}");
}

#[tokio::test]
async fn a_heartbeat_that_was_not_heard_is_called_again_unless_a_later_one_was() {
    use pgkeep::base::clock::{Clock as _, SharedClock};
    let http = Http::new().await;
    let clock = ManualClock::new(start());
    let shared: SharedClock = clock.clone();
    let store: pgkeep::store::SharedStore = Arc::new(pgkeep::store::memory::MemoryStore::new());
    let vault = super::vault(&store, &shared).await;
    let policy = policy(&format!("heartbeat = \"{}\"", http.url("/ping/x")));
    let notifier = notifier(&clock);
    let broken = async || {
        let newest = pgkeep::repo::notices::newest(&vault).await.expect("read");
        pgkeep::repo::notices::broken(&newest, &["heartbeat"], clock.now()).len()
    };
    http.always(Answer::Status(502, String::new()));
    notifier.heartbeat(&policy, Some(&vault), Beat::Failure { tail: "it failed" }).await;
    assert_eq!((http.take().len(), broken().await), (3, 1), "a service that is being restarted is called thrice");
    http.always(Answer::Ok);
    clock.advance(Duration::from_secs(60));
    notifier.retry_due(&policy, Some(&vault)).await;
    let again = http.take();
    assert_eq!((again.len(), again[0].path.as_str(), again[0].body.as_str()), (1, "/ping/x/fail", "it failed"));
    assert_eq!(broken().await, 0);
    http.always(Answer::Status(502, String::new()));
    notifier.heartbeat(&policy, Some(&vault), Beat::Failure { tail: "it failed" }).await;
    http.always(Answer::Ok);
    notifier.heartbeat(&policy, Some(&vault), Beat::Success).await;
    http.take();
    clock.advance(Duration::from_secs(3600));
    notifier.retry_due(&policy, Some(&vault)).await;
    assert_eq!((http.take().len(), broken().await), (0, 0), "a failure must not be told after the success that followed it");
}
