//! RDS backups when AWS is full, slow, or of two minds, through the real binary.

#![allow(clippy::disallowed_methods, reason = "grace periods and snapshots take real time")]

use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use crate::rds::{RDS, World};
use crate::support::aws::{Aws, fault, simulate, texts};

/// A region for copies that only these tests disturb.
const FAR: Aws = Aws::new("rds", "eu-west-2");

/// A world whose policy has a name of its own, so that faults can be told apart by it.
fn world(name: &str, source: &str, more: &str) -> World {
    let world = World::new(source, more);
    let policies = world.home.path().join("policies");
    std::fs::rename(policies.join("prod.toml"), policies.join(format!("{name}.toml"))).expect("rename");
    world
}

fn faults(all: &Value) {
    simulate(&json!({ "faults": all }));
}

#[track_caller]
fn all_met(part: &str) {
    let left = simulate(&json!({}))["faults"].as_array().expect("faults").clone();
    let left: Vec<&Value> = left.iter().filter(|f| f["match"].as_str().is_some_and(|m| m.contains(part))).collect();
    assert!(left.is_empty(), "not met: {left:?}");
}

#[test]
fn a_full_quota_is_freed_by_what_is_due_although_the_last_run_failed() {
    let world = World::new("", "[retention]\nkeep_last = 2\ngrace = \"2s\"");
    let home = &world.home;
    for _ in 0..4 {
        home.run(&["backup", "prod"]).exits(0);
    }
    home.run(&["prune", "prod", "--yes"]).exits(0);
    fault(&format!("Action=CreateDBSnapshot DBInstanceIdentifier={}", world.instance), "SnapshotQuotaExceeded", 400, 1);
    home.run(&["backup", "prod"]).exits(4).says(&["quota of manual snapshots", "prune POLICY --yes"]);
    sleep(Duration::from_millis(2500));
    let planned = home.json(&["prune", "prod", "--plan"]);
    assert_eq!(planned["refused"]["refusal"], "last_run_failed", "{planned:#}");
    assert_eq!(planned["plan"]["sweep"].as_array().map(Vec::len), Some(2), "{planned:#}");
    let done = home.json(&["prune", "prod", "--yes"]);
    assert_eq!(done["done"]["swept"].as_array().map(Vec::len), Some(2), "{done:#}");
    assert_eq!((world.snapshots(RDS).len(), world.backups().len()), (2, 2), "nothing that is listed goes");
    home.run(&["prune", "prod", "--yes"]).exits(9).says(&["last backup run"]);
    home.run(&["backup", "prod"]).exits(0);
}

#[test]
fn copies_wait_for_their_turn_and_a_lost_answer_makes_no_second_one() {
    let world = world("turn", "copy_to = [\"eu-west-2\"]", "");
    let (copy, enough) = ("TargetDBSnapshotIdentifier=pgkeep-turn-", "Cannot copy more than 20 snapshots across regions");
    faults(&json!([
        { "match": copy, "code": "SnapshotQuotaExceeded", "status": 400, "message": enough },
        // The quota has room, whatever the code says.
        { "match": copy, "code": "SnapshotQuotaExceeded", "status": 400 },
        { "match": copy, "code": "InvalidDBSnapshotState", "status": 400 },
        { "match": copy, "code": "InternalFailure", "status": 500, "after": true },
    ]));
    let made = world.home.json(&["backup", "turn"]);
    all_met(copy);
    assert_eq!((made["anomalies"].as_array().map(Vec::len), world.snapshots(FAR).len()), (Some(0), 1), "{made:#}");
}

#[test]
fn a_region_for_copies_that_is_out_of_reach_takes_no_backup_away() {
    let world = world("alone", "copy_to = [\"eu-west-2\"]", "[retention]\nkeep_last = 1");
    let home = &world.home;
    let whole = home.json(&["backup", "alone"])["backup"].clone();
    // Nothing can be listed there either.
    faults(&json!([
        { "match": "Action=DescribeDBSnapshots region=eu-west-2", "code": "AccessDenied", "status": 403, "times": 2 },
        { "match": "TargetDBSnapshotIdentifier=pgkeep-alone-", "code": "AccessDenied", "status": 403 },
    ]));
    home.run(&["backup", "alone"]).exits(6).says(&["no copy in eu-west-2", "AccessDenied", "retention does not count it"]);
    all_met("pgkeep-alone-");
    simulate(&json!({ "clear_faults": "region=eu-west-2" }));
    assert_eq!((world.snapshots(RDS).len(), world.snapshots(FAR).len()), (2, 1));
    let listed = home.json(&["list", "alone"]);
    assert_eq!(listed["backups"].as_array().map(Vec::len), Some(2), "{listed:#}");
    home.run(&["verify", "alone"]).exits(0);
    home.run(&["restore", "alone", "--to-instance", "x", "--plan"]).exits(0);
    let planned = home.json(&["prune", "alone", "--plan"]);
    assert_eq!(planned["plan"]["mark"], json!([]), "{whole} is the newest with its copy: {planned:#}");
    assert_eq!(planned["drift"], json!({ "unknown": [], "missing": [] }));
}

#[test]
fn a_snapshot_that_is_not_seen_yet_is_ours_and_one_that_is_being_made_is_deleted_once_it_can_be() {
    let world = world("dim", "", "");
    let home = &world.home;
    world.simulate(&json!({ "hidden_seconds": 2 }));
    let create = format!("Action=CreateDBSnapshot DBInstanceIdentifier={}", world.instance);
    faults(&json!([{ "match": create, "code": "InternalFailure", "status": 500, "after": true }]));
    home.run(&["backup", "dim"]).exits(0);
    let good = world.snapshots(RDS);
    assert_eq!(good.len(), 1);
    world.simulate(&json!({ "snapshot_seconds": 3 }));
    fault("DBSnapshotIdentifier=pgkeep-dim-", "AccessDenied", 403, 2);
    home.run(&["backup", "dim"]).exits(4).says(&["AccessDenied"]);
    assert_eq!(world.snapshots(RDS), good, "it was still being made when the run failed");
    simulate(&json!({ "clear_faults": "pgkeep-dim-" }));
}

#[test]
fn the_settings_that_are_kept_are_those_of_what_the_snapshot_was_taken_of() {
    let world = world("late", "", "");
    let home = &world.home;
    fault(&format!("Action=CreateDBSnapshot DBInstanceIdentifier={}", world.instance), "InvalidDBInstanceState", 400, 3);
    let mut child = home.command(&["-q", "backup", "late"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("start");
    sleep(Duration::from_millis(1500));
    let change = [("AllocatedStorage", "200"), ("DBInstanceClass", "db.r6g.xlarge"), ("ApplyImmediately", "true")];
    RDS.does("ModifyDBInstance", &[&[("DBInstanceIdentifier", world.instance.as_str())], &change[..]].concat());
    assert!(child.wait().expect("wait").success());
    let planned = home.json(&["restore", "late", "--to-instance", "x", "--plan"]);
    assert_eq!(planned["calls"][0]["parameters"]["DBInstanceClass"], "db.r6g.xlarge", "{planned:#}");
    assert_eq!(planned["bytes"], 200_u64 << 30, "{planned:#}");
}

#[test]
fn what_rds_never_copies_is_refused_before_anything_is_taken() {
    let world = World::new("", "");
    for (engine, source) in [
        ("postgres", "copy_to = [\"eu-west-2\"]"),
        ("aurora-postgresql", "copy_to = [\"eu-west-2\"]\n[source.copy_kms_keys]\neu-west-2 = \"alias/mine\""),
    ] {
        let cluster = format!("{}-{engine}", world.instance);
        let about = [("DBClusterIdentifier", cluster.as_str()), ("Engine", engine), ("MasterUsername", "u")];
        let more = [
            ("MasterUserPassword", "hunter2hunter2"),
            ("DBClusterInstanceClass", "db.m5d.large"),
            ("AllocatedStorage", "100"),
            ("StorageType", "io1"),
            ("Iops", "1000"),
        ];
        RDS.does("CreateDBCluster", &[&about[..], &more[..]].concat());
        world.policy(&format!("cluster = \"{cluster}\"\n{source}"), "");
        world.home.run(&["backup", "prod"]).exits(8).says(&["leave copy_"]);
        let of = [("DBClusterIdentifier", cluster.as_str()), ("SnapshotType", "manual")];
        assert!(texts(&RDS.does("DescribeDBClusterSnapshots", &of), "DBClusterSnapshotIdentifier").is_empty());
    }
}

#[test]
fn what_automated_backups_offer_is_told_without_the_vault_and_not_taken_for_none_when_aws_is_silent() {
    let world = World::new("", "");
    let home = &world.home;
    home.run(&["backup", "prod"]).exits(0);
    let look = format!("Action=DescribeDBInstanceAutomatedBackups DBInstanceIdentifier={}", world.instance);
    fault(&look, "AccessDenied", 403, 1);
    let report = home.json(&["list", "--at", "now"]);
    assert!(report["problems"].to_string().contains("point in time: not known"), "{report:#}");
    assert!(report["points"][0]["backup"].is_string(), "{report:#}");
    fault(&look, "AccessDenied", 403, 1);
    let screen = home.run(&["list", "--at", "now"]).exits(0).stdout;
    assert!(screen.contains("point in time: not known"), "{screen}");

    let policy = home.path().join("policies/prod.toml");
    let text = std::fs::read_to_string(&policy).expect("read");
    std::fs::write(&policy, text.replace(home.store(), "s3://pgkeep-no-such-bucket-at-all/x")).expect("write");
    let report = home.run(&["--json", "list", "--at", "now"]).exits(4).result();
    let point = &report["points"][0];
    assert!(point["problem"].to_string().contains("pgkeep-no-such-bucket-at-all"), "{report:#}");
    assert_eq!(point["point_in_time"]["loss_seconds"], 0, "{report:#}");
}
