//! `list --at TIME` over all policies: the first screen of an incident.

use std::os::unix::fs::PermissionsExt as _;

use pgkeep::base::ids::random_hex;
use serde_json::{Value, json};

use crate::support::aws::{Aws, simulate};
use crate::support::cli::{Home, StoreKind, finance};
use crate::support::server::Server;

fn point<'a>(report: &'a Value, policy: &str) -> &'a Value {
    let points = report["points"].as_array().expect("points");
    points.iter().find(|p| p["policy"] == policy).unwrap_or_else(|| panic!("no point of {policy}: {report:#}"))
}

#[tokio::test]
async fn every_policy_has_a_line_and_one_in_trouble_hides_no_other() {
    let server = Server::of(17);
    let source = finance(&server, 2_000).await;
    let home = Home::new(StoreKind::S3);
    let rds = Aws::new("rds", "eu-west-1");
    let instance = format!("db-{}", random_hex(6));
    let about = [("DBInstanceIdentifier", instance.as_str()), ("DBInstanceClass", "db.t3.micro"), ("Engine", "postgres")];
    rds.does(
        "CreateDBInstance",
        &[&about[..], &[("AllocatedStorage", "20"), ("MasterUsername", "u"), ("MasterUserPassword", "hunter2hunter2")]].concat(),
    );
    home.policy("books", &source, "");
    home.policy("fresh", &source, "");
    home.policy("young", &source, "[schedule]\ncron = \"0 3 * * *\"\ntimezone = \"Asia/Tokyo\"");
    let cloud = format!(
        "[source]\nkind = \"rds\"\nregion = \"eu-west-1\"\ninstance = \"{instance}\"\n[store]\nurl = \"{}\"\n",
        home.store()
    );
    std::fs::write(home.path().join("policies/cloud.toml"), cloud).expect("write");
    std::fs::write(home.path().join("policies/broken.toml"), "[source]\nkind = \"postgres\"\nurll = \"x\"\n").expect("write");
    let lost = "[source]\nkind = \"postgres\"\nurl = \"${NOWHERE}\"\n[store]\nurl = \"s3://pgkeep-no-such-bucket-at-all/x\"\n";
    std::fs::write(home.path().join("policies/lost.toml"), lost).expect("write");

    let first = home.json(&["backup", "books"]);
    home.run(&["backup", "cloud"]).exits(0);
    let after_first = first["committed_at"].as_str().expect("time").to_owned();
    home.run(&["verify", "books", "--level", "restore", "--scratch", "local"]).exits(0);
    home.run(&["backup", "young"]).exits(0);
    let second = home.json(&["backup", "books"]);

    let report = home.run(&["--json", "list", "--at", "now"]).exits(3).result();
    let books = point(&report, "books");
    assert_eq!((&books["backup"], &books["kind"]), (&second["backup"], &json!("postgres")), "{report:#}");
    assert_eq!(books["restore"]["basis"], "drill", "{report:#}");
    assert!(
        books["restore"]["why"].as_str().is_some_and(|why| why.contains(first["backup"].as_str().expect("id"))),
        "{report:#}"
    );
    assert!(books["loss_seconds"].as_u64().is_some_and(|s| s < 120), "{report:#}");
    assert_eq!(point(&report, "young")["restore"]["basis"], "estimate", "{report:#}");
    let cloud = point(&report, "cloud");
    assert_eq!((&cloud["kind"], &cloud["proven"]), (&json!("rds"), &json!("presence")), "{report:#}");
    assert_eq!(cloud["point_in_time"]["loss_seconds"], 0, "{report:#}");
    assert_eq!(point(&report, "fresh")["problem"], "there is no backup yet");
    assert!(point(&report, "broken")["problem"].to_string().contains("urll"), "{report:#}");
    assert!(point(&report, "lost")["problem"].to_string().contains("pgkeep-no-such-bucket-at-all"), "{report:#}");

    let then = home.run(&["--json", "list", "--at", &after_first]).exits(3).result();
    assert_eq!(point(&then, "books")["backup"], first["backup"], "the newest at or before that time: {then:#}");
    assert!(point(&then, "young")["problem"].as_str().is_some_and(|p| p.contains("or earlier")), "{then:#}");

    let screen = home.run(&["list", "--at", "now"]).exits(3).stdout;
    assert!(screen.lines().all(|line| line.chars().count() <= 80), "{screen}");
    for word in ["POLICY", "LOSES", "books", "drilled", "NOTHING", "there is no backup yet", "pgkeep restore"] {
        assert!(screen.contains(word), "{word}: {screen}");
    }
    // Once the trouble is gone the screen is no failure, and a time is read in each policy's zone.
    for gone in ["broken", "lost", "fresh"] {
        std::fs::remove_file(home.path().join(format!("policies/{gone}.toml"))).expect("remove");
    }
    home.run(&["list", "--at", "now"]).exits(0);
    let zones = home.run(&["--json", "list", "--at", "yesterday 12:00"]).exits(7).document();
    assert!(zones["result"]["problems"].to_string().contains("each policy's zone"), "{zones:#}");
    home.run(&["list", "--at", "someday"]).exits(2);
    simulate(&json!({ "rds": { &instance: {} } }));
    source.remove().await;
}

#[tokio::test]
async fn a_damaged_point_names_the_sound_one_before_it() {
    let server = Server::of(17);
    let source = finance(&server, 2_000).await;
    let home = Home::new(StoreKind::File);
    home.policy("a-policy-of-a-name-that-leaves-no-room-in-a-line", &source, "");
    let name = "a-policy-of-a-name-that-leaves-no-room-in-a-line";
    let sound = home.json(&["backup", name]);
    source.connect().await.batch_execute("UPDATE finance.accounts SET credit_limit = 1").await.expect("change");
    let damaged = home.json(&["backup", name]);
    let contents = home.vault(name).join("backups").join(damaged["backup"].as_str().expect("id")).join("contents");
    let mut bytes = std::fs::read(&contents).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    let _ = std::fs::set_permissions(&contents, std::fs::Permissions::from_mode(0o600));
    std::fs::write(&contents, bytes).expect("damage");
    home.run(&["verify", name, "--level", "content"]).exits(6);
    let report = home.json(&["list", "--at", "now"]);
    let point = point(&report, name);
    assert_eq!((&point["damaged"], &point["instead"]["backup"]), (&json!(true), &sound["backup"]), "{report:#}");
    let screen = home.run(&["list", "--at", "now"]).exits(0).stdout;
    assert!(screen.contains("DAMAGED") && screen.contains(sound["backup"].as_str().expect("id")), "{screen}");
    assert!(screen.lines().all(|line| line.chars().count() <= 80 || line.starts_with("Next:")), "{screen}");
    source.remove().await;
}
