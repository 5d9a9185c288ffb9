//! Policy files: the examples are valid, and every kind of mistake is reported in one go, with its place.

#![allow(clippy::expect_used, reason = "helpers of tests")]

use std::path::{Path, PathBuf};

use pgkeep::policy::{self, Databases, Environment, Source};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("policies")
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("temporary folder");
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).expect("write policy");
    }
    dir
}

#[test]
fn every_example_is_valid_and_without_a_warning() {
    let report = policy::check(&examples()).expect("read examples");
    assert!(report.problems.is_empty(), "{report}");
    let names: Vec<&str> = report.policies.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["ebs", "harena-db-hourly", "harena-db", "minimal", "rds"]);
    let now = "2026-11-22T17:00:00Z".parse().expect("time");
    for policy in &report.policies {
        let text = policy::explain::explain(policy, None, now).to_string();
        assert!(text.contains(policy.name.as_str()) && text.contains("retention"), "{text}");
    }
}

#[test]
fn an_example_means_what_it_says() {
    let loaded = policy::load(&examples(), "harena-db").expect("load");
    let policy = loaded.policy;
    let Source::Postgres(source) = &policy.source else { panic!("{:?}", policy.source) };
    assert_eq!(source.databases, Databases::Named(vec!["harena".to_owned()]));
    assert_eq!(source.jobs(), 2);
    let rules = policy.retention.as_ref().expect("from defaults.toml");
    assert_eq!((rules.last, rules.daily, rules.yearly), (3, 7, 2));
    let secret = "postgres://app:hunter2@db/harena";
    let env = Environment::fixed([("DATABASE_URL", secret)]);
    assert_eq!(source.url(&env).expect("resolve").expose(), secret);
    assert_eq!(policy.store_url(&env).expect("resolve"), "s3://harena-backups/prod");
    assert!(!format!("{policy:?}").contains("hunter2"));
    let stored = policy.text_without_secrets();
    assert!(stored.contains("${DATABASE_URL}") && stored.contains("keep_yearly = 2"), "{stored}");
    let unset = source.url(&Environment::fixed([])).expect_err("not set");
    assert_eq!(unset.kind().exit_code(), 3);
    for part in ["DATABASE_URL", "harena-db.toml", "source.url"] {
        assert!(unset.to_string().contains(part), "{unset}");
    }
    let hourly = policy::load(&examples(), "harena-db-hourly").expect("load").policy;
    assert_eq!(hourly.retention.expect("own section").yearly, 0, "a policy's own section replaces the shared one whole");
}

#[test]
fn a_policy_is_explained() {
    let policy = policy::load(&examples(), "harena-db").expect("load").policy;
    let now = "2026-10-22T17:00:00Z".parse().expect("time");
    let explanation = policy::explain::explain(&policy, None, now);
    insta::assert_snapshot!("explained", explanation.to_string());
    let json = serde_json::to_value(&explanation).expect("json");
    assert_eq!(json["next_runs"].as_array().map(Vec::len), Some(5));
    assert_eq!(json["next_runs"][0]["slot"], "2026-10-23T00:15:00Z");
    assert_eq!(policy::explain::explain(&policy, Some(&[]), now).keeps.backups, 0);
}

#[test]
fn snapshots_are_no_databases() {
    for name in ["ebs", "rds"] {
        let policy = policy::load(&examples(), name).expect("load").policy;
        assert_eq!(policy.postgres().expect_err("no database").kind().exit_code(), 8);
    }
}

const BROKEN: &str = r#"# every line below breaks a rule
description = "broken"
color = "blue"

[source]
kind = "postgres"
url = "mysql://app:hunter2@db/harena"
databases = ["*", "harena", "harena"]
jbos = 2
jobs = 100
exclude_table_data = ["sessions"]

[store]
url = "gs://bucket/${PREFIX}"
storage_class = "STANDARD_AI"
max_age = "26h"
[store.encryption]
recipients = ["age1xyz"]

[schedule]
cron = "0 15 2 * * *"
timezone = "Europe/Pari"
jitter = "5 minutes"
retries = "three"
[[schedule.blackout]]
from = "25:00"
to = "09:00"
days = ["monday"]

[retention]
keep_dayly = 7
keep_last = 0

[verify]
level = "full"
cron = "0 2 30 2 *"
scratch = "dokcer"

[health]
max_age = "0h"
"#;

#[test]
fn every_problem_is_found_in_one_go() {
    let dir = folder(&[
        ("broken.toml", BROKEN),
        ("Bad Name.toml", "[source]\nkind = \"mysql\"\n"),
        ("syntax.toml", "[source\nkind = \"postgres\"\n"),
        ("twice.toml", "[source]\nkind = \"postgres\"\nurl = \"${A}\"\nurl = \"${B}\"\n[store]\nurl = \"file:///x\"\n"),
        (
            "missing.toml",
            "[source]\nkind = \"postgres\"\n[store]\n[schedule]\ntimezone = \"UTC\"\n[[schedule.blackout]]\nfrom = \"10:00\"\n",
        ),
        ("bytes.toml", ""),
        ("defaults.toml", "description = \"shared\"\n"),
    ]);
    std::fs::write(dir.path().join("bytes.toml"), [0xff, 0xfe]).expect("write");
    let report = policy::check(dir.path()).expect("read folder");
    assert!(report.policies.is_empty(), "{:?}", report.policies);
    let prefix = format!("{}/", dir.path().display());
    insta::assert_snapshot!(
        "every_problem",
        report.to_string().replace(&prefix, "").replace(&dir.path().display().to_string(), "DIR")
    );
    let json = serde_json::to_value(&report).expect("json");
    let first = json["problems"].as_array().and_then(|p| p.iter().find(|p| p["key"] == "source.jbos")).expect("problem").clone();
    assert_eq!((first["line"].as_u64(), first["column"].as_u64(), first["nearest"].as_str()), (Some(9), Some(1), Some("jobs")));
    let error = policy::load_all(dir.path()).expect_err("refused");
    assert_eq!(error.kind().exit_code(), 3);
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

const GOOD: &str = r#"
[source]
kind = "postgres"
url = "${DATABASE_URL}"
[store]
url = "file:///var/backups"
"#;

#[test]
fn sections_are_held_against_one_another() {
    let dir = folder(&[
        (
            "drill.toml",
            &GOOD
                .replace("${DATABASE_URL}", "postgres://app@db.example/harena")
                .replace("[store]", "[verify]\nscratch = \"postgres://drill@DB.example:5432/x\"\n[store]"),
        ),
        ("late.toml", &format!("{GOOD}[schedule]\ncron = \"0 2 * * *\"\n[health]\nmax_age = \"24h\"\n")),
        ("jitter.toml", &format!("{GOOD}[schedule]\ncron = \"*/10 * * * *\"\njitter = \"10m\"\n")),
        ("folder.toml", &GOOD.replace("[store]", "[store]\nregion = \"eu-west-3\"")),
        ("stray.toml", &GOOD.replace("kind", "databases = [\"${DB}\"]\nkind")),
        ("vague.toml", "[source]\nkind = \"ebs\"\nregion = \"eu-west-3a\"\n[store]\nurl = \"s3://bucket\"\n"),
        ("lonely.toml", "[source]\nkind = \"rds\"\nregion = \"eu-west-3\"\ninstance = \"a\"\n"),
        ("literal.toml", &GOOD.replace("${DATABASE_URL}", "postgres://app:hunter2@db/harena")),
    ]);
    let report = policy::check(dir.path()).expect("read folder");
    let usable: Vec<&str> = report.policies.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(usable, ["late", "literal"], "{report}");
    let prefix = format!("{}/", dir.path().display());
    let text = report.to_string().replace(&prefix, "").replace(&dir.path().display().to_string(), "DIR");
    assert!(!text.contains("hunter2"));
    insta::assert_snapshot!("relations", text);
}

#[test]
fn another_policys_mistake_does_not_stand_in_the_way() {
    let dir = folder(&[("good.toml", GOOD), ("bad.toml", "nonsense")]);
    assert!(policy::load(dir.path(), "good").is_ok());
    assert!(policy::load_all(dir.path()).is_err());
    let error = policy::load(dir.path(), "godo").expect_err("unknown");
    assert_eq!((error.kind().exit_code(), error.hint_text()), (7, Some("did you mean 'good'?")));
    assert_eq!(policy::load(&dir.path().join("none"), "good").expect_err("no folder").kind().exit_code(), 7);
    assert_eq!(policy::load(dir.path(), "../good").expect_err("no name").kind().exit_code(), 2);
}

#[test]
fn the_folder_is_found_where_it_is_said_to_be() {
    let env = Environment::fixed([("PGKEEP_POLICIES", "/srv/policies")]);
    assert_eq!(policy::directory(Some(Path::new("here")), &env), Path::new("here"));
    assert_eq!(policy::directory(None, &env), Path::new("/srv/policies"));
}

#[test]
fn who_is_told_is_checked() {
    let notify = |text: &str| format!("{GOOD}[health]\nmax_age = \"26h\"\n[notify]\n{text}\n");
    let dir = folder(&[
        ("design.toml", &notify("on = [\"failure\", \"recovery\", \"stale\"]\nwebhook = \"${SLACK_WEBHOOK}\"")),
        ("events.toml", &notify("on = [\"failed\", \"lease-lost\", \"stale\", \"stale\"]\nwebhook = \"${HOOK}\"")),
        (
            "keys.toml",
            &notify("webhok = \"${HOOK}\"\nformat = \"teams\"\n[notify.mail]\nto = [\"a@b\"]\n[notify.sns]\narn = \"x\""),
        ),
        (
            "literal.toml",
            &notify(
                "webhook = \"https://hooks.slack.com/services/hunter2\"\nformat = \"json\"\nheartbeat = \"http://hc.example/hunter3\"",
            ),
        ),
        (
            "mail.toml",
            &notify(
                "[notify.email]\nsmtp = \"smtp://app:hunter4@mail.example/x\"\nfrom = \"ops\"\nto = [\"a@b.example\", \"c d@e\"]",
            ),
        ),
        ("nobody.toml", &notify("on = []")),
        ("nowhere.toml", &notify("format = \"slack\"\n[notify.email]\nsmtp = \"${SMTP}\"\nto = []")),
        ("twice.toml", &notify("on = [\"stale\", \"stale\"]\nwebhook = \"${HOOK}\"")),
        ("topic.toml", &notify("[notify.sns]\ntopic = \"backups\"")),
    ]);
    let report = policy::check(dir.path()).expect("read folder");
    let prefix = format!("{}/", dir.path().display());
    let text = report.to_string().replace(&prefix, "").replace(&dir.path().display().to_string(), "DIR");
    assert!(!text.contains("hunter"), "{text}");
    for (file, key, said) in [
        ("events", "notify.on[0]", "did you mean 'failure'?"),
        ("events", "notify.on[1]", "did you mean 'lease_lost'?"),
        ("twice", "notify.on[1]", "'stale' stands twice"),
        ("keys", "notify.webhok", "did you mean 'webhook'?"),
        ("keys", "notify.format", "'teams' is not a known value; allowed: json, slack"),
        ("keys", "notify.mail", "did you mean 'email'?"),
        ("keys", "notify.sns.arn", "unknown key; allowed: topic"),
        ("keys", "notify.sns.topic", "is missing"),
        ("literal", "warning: notify.webhook", "whoever knows this address can post to it"),
        ("literal", "warning: notify.format", "takes messages as Slack does"),
        ("literal", "notify.heartbeat", "plain http://"),
        ("mail", "notify.email.smtp", "something stands after host and port"),
        ("mail", "warning: notify.email.smtp", "holds a password in clear; write a reference such as ${SMTP_URL}"),
        ("mail", "notify.email.from", "not an e-mail address"),
        ("mail", "notify.email.to[1]", "not an e-mail address"),
        ("nobody", "warning: notify", "names nobody who hears about it"),
        ("nobody", "warning: notify.on", "names no event"),
        ("nowhere", "notify.format", "means something only with webhook"),
        ("nowhere", "notify.email.from", "is missing"),
        ("nowhere", "notify.email.to", "names no recipient"),
        ("topic", "notify.sns.topic", "not the ARN of an SNS topic"),
    ] {
        let told = |l: &str| l.starts_with(&format!("{file}.toml:")) && l.contains(&format!(" {key}: ")) && l.contains(said);
        assert!(text.lines().any(told), "{file}: {key}: {said} in\n{text}");
    }
    let usable: Vec<&str> = report.policies.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(usable, ["design", "nobody"], "{report}");
    let explained = policy::explain::explain(&report.policies[0], None, "2026-11-22T17:00:00Z".parse().expect("time"));
    assert_eq!(explained.notify, "webhook, of failure, recovery, stale");
}

#[test]
fn a_plain_address_is_refused_when_a_reference_leads_to_it() {
    let dir = folder(&[("a.toml", &format!("{GOOD}[notify]\nwebhook = \"${{HOOK}}\"\n"))]);
    let policy = policy::load(dir.path(), "a").expect("load").policy;
    let webhook = policy.notify.webhook.expect("a webhook");
    let error = webhook.resolve(&Environment::fixed([("HOOK", "http://hooks.example/hunter2")])).expect_err("plain");
    assert!(error.to_string().contains("notify.webhook") && !format!("{error:?}").contains("hunter2"), "{error}");
    assert!(webhook.resolve(&Environment::fixed([("HOOK", "http://127.0.0.1:1/x")])).is_ok());
}

#[test]
fn a_retention_for_which_rds_has_no_room_is_warned_of() {
    let source = "[source]\nkind = \"rds\"\nregion = \"eu-west-1\"\ninstance = \"prod\"\n[store]\nurl = \"s3://bucket/prod\"\n";
    let hourly = "[schedule]\ncron = \"0 * * * *\"\n";
    let cases = [
        ("[retention]\nkeep_daily = 7\nkeep_weekly = 5\n", None),
        ("[retention]\nkeep_daily = 100\n", Some("add up to 101 snapshots")),
        (&format!("{hourly}[retention]\nkeep_last = 75\n"), None),
        // 24 more wait for the end of their grace period.
        (&format!("{hourly}[retention]\nkeep_last = 76\n"), Some("add up to 101 snapshots")),
        (&format!("{hourly}[retention]\nkeep_within = \"4d\"\n"), Some("add up to 121 snapshots")),
        ("", Some("keeps every snapshot")),
    ];
    for (more, warned) in cases {
        let dir = folder(&[("prod.toml", &format!("{source}{more}"))]);
        let report = policy::check(dir.path()).expect("check").to_string();
        match warned {
            Some(words) => assert!(report.contains("[quota]") && report.contains(words), "{more}: {report}"),
            None => assert!(!report.contains("quota"), "{more}: {report}"),
        }
    }
}
