//! Retention, drift and what is asked of AWS beforehand.

#![allow(clippy::disallowed_methods, reason = "real processes run in real time")]

use std::time::{Duration, Instant};

use serde_json::json;

use super::support::{Cloud, Spec, tag_map, tags};

async fn pass(time: Duration) {
    tokio::time::timeout(time, std::future::pending::<()>()).await.expect_err("time passes");
}

#[tokio::test]
async fn prune_deletes_what_it_may_and_keeps_at_what_it_may_not_yet() {
    let cloud = Cloud::new("ap-southeast-1").await;
    cloud.settings(&json!({ "page_limit": 7 }));
    let spec = Spec { kind: "gp3", gib: 1, name: "kept", ..Spec::default() };
    let volume = cloud.volume("", &spec).await;
    let retention = "[retention]\nkeep_last = 2\ngrace = \"1s\"";
    cloud.policy("kept", &format!("volume_ids = [\"{volume}\"]"), retention);
    let mut backups = Vec::new();
    for _ in 0..4 {
        backups.push(cloud.home.json(&["backup", "kept"])["backup"].as_str().expect("id").to_owned());
    }
    let of = |backup: &str, all: &[aws_sdk_ec2::types::Snapshot]| {
        all.iter().any(|s| tag_map(s.tags()).get("pgkeep:backup") == Some(&backup))
    };
    let marked = cloud.home.json(&["prune", "kept", "--yes"]);
    let mut dropped = backups[..2].to_vec();
    dropped.sort();
    assert_eq!(marked["done"]["marked"], json!(dropped));
    assert_eq!(cloud.snapshots().await.len(), 4, "undelete works until the sweep");
    cloud.home.run(&["undelete", "kept", &backups[0]]).exits(0);
    cloud.home.run(&["prune", "kept", "--yes"]).exits(0);
    pass(Duration::from_millis(1500)).await;

    cloud.fault("DeleteSnapshot", json!({ "code": "InvalidSnapshot.InUse", "status": 400 }));
    let swept = cloud.home.json(&["prune", "kept", "--yes"]);
    let held = swept["done"]["held"].as_array().expect("held").clone();
    assert_eq!((held.len(), swept["done"]["swept"].as_array().map(Vec::len)), (1, Some(1)), "{swept}");
    assert!(held[0]["reason"].as_str().expect("reason").contains("InvalidSnapshot.InUse"));
    assert_eq!(cloud.snapshots().await.len(), 3);
    let held = held[0]["backup"].as_str().expect("id");
    cloud.home.run(&["undelete", "kept", held]).exits(7);

    // Locked, by whatever name AWS refuses it.
    let snapshot = cloud.snapshots().await.into_iter().find(|s| tag_map(s.tags())["pgkeep:backup"] == held).expect("it stays");
    let id = snapshot.snapshot_id().expect("id").to_owned();
    cloud.ec2.lock_snapshot().snapshot_id(&id).lock_mode("governance".into()).lock_duration(1).send().await.expect("lock");
    let locked = cloud.home.json(&["prune", "kept", "--yes"]);
    assert!(locked["done"]["held"].to_string().contains("locked"), "{locked}");
    assert!(of(held, &cloud.snapshots().await));
    let plan = cloud.home.json(&["prune", "kept", "--plan"]);
    assert_eq!(plan["drift"], json!({ "unknown": [], "missing": [] }), "what is being deleted is no drift");

    // An error of AWS fails the prune; the tombstone stays.
    cloud.fault("DeleteSnapshot", json!({ "code": "UnauthorizedOperation", "status": 403 }));
    cloud.home.run(&["prune", "kept", "--yes"]).exits(4).says(&["ec2:DeleteSnapshot"]);
    let plan = cloud.home.json(&["prune", "kept", "--plan"]);
    assert_eq!(plan["plan"]["sweep"], json!([held]));
}

#[tokio::test]
async fn drift_is_found_among_hundreds_and_nothing_foreign_is_deleted() {
    let cloud = Cloud::new("ap-northeast-1").await;
    cloud.settings(&json!({ "page_limit": 40 }));
    let spec = Spec { kind: "gp3", gib: 1, name: "drifting", ..Spec::default() };
    let volume = cloud.volume("", &spec).await;
    cloud.policy("drifting", &format!("volume_ids = [\"{volume}\"]"), "[retention]\nkeep_last = 2\ngrace = \"1s\"");
    let mut backups = Vec::new();
    for _ in 0..3 {
        backups.push(cloud.home.json(&["backup", "drifting"])["backup"].as_str().expect("id").to_owned());
    }
    let mine = cloud.snapshots().await;
    let vault = tag_map(mine[0].tags())["pgkeep:vault"].to_owned();
    let stray = [("pgkeep:policy", "drifting"), ("pgkeep:vault", &vault), ("pgkeep:backup", "20200101T000000Z-0000")];
    for _ in 0..130 {
        cloud.ec2.create_snapshot().volume_id(&volume).tag_specifications(tags("snapshot", &stray)).send().await.expect("stray");
    }
    let plan = cloud.home.json(&["prune", "drifting", "--plan"]);
    assert_eq!(plan["drift"]["unknown"].as_array().map(Vec::len), Some(130));
    assert_eq!(plan["drift"]["unknown"][0]["left_by_run"], false);
    cloud.home.json(&["backup", "drifting"]);
    assert_eq!(cloud.snapshots().await.len(), 134, "no run of this vault made the strays");

    // Gone behind our back, and stripped of its tags.
    let id_of = |backup: &str| {
        let snapshot = mine.iter().find(|s| tag_map(s.tags())["pgkeep:backup"] == backup).expect("snapshot");
        snapshot.snapshot_id().expect("id").to_owned()
    };
    cloud.ec2.delete_snapshot().snapshot_id(id_of(&backups[2])).send().await.expect("delete");
    let tag = aws_sdk_ec2::types::Tag::builder().key("pgkeep:vault").build();
    cloud.ec2.delete_tags().resources(id_of(&backups[0])).tags(tag).send().await.expect("untag");
    cloud.home.run(&["verify", "drifting", "--backup", &backups[2]]).exits(6).says(&["is gone"]);
    let plan = cloud.home.json(&["prune", "drifting", "--plan"]);
    let missing = plan["drift"]["missing"].as_array().expect("missing").clone();
    let of = |backup: &str| missing.iter().find(|m| m["snapshot"] == id_of(backup)).map(|m| m["untagged"] == true);
    assert_eq!((of(&backups[2]), of(&backups[0]), missing.len()), (Some(false), Some(true), 2), "{missing:?}");
    cloud.home.run(&["doctor", "drifting"]).exits(6).says(&[]);
    cloud.home.run(&["prune", "drifting", "--yes"]).exits(0);
    pass(Duration::from_millis(1500)).await;
    cloud.home.run(&["prune", "drifting", "--yes"]).exits(0);
    let left = cloud.ec2.describe_snapshots().snapshot_ids(id_of(&backups[0])).send().await.expect("describe");
    assert_eq!(left.snapshots().len(), 1, "without our tags it is not ours");
}

#[tokio::test]
async fn the_daemon_runs_policies_of_volumes_by_their_schedule() {
    let cloud = Cloud::new("ap-northeast-2").await;
    cloud.settings(&json!({ "snapshot_seconds": 1 }));
    let instance = cloud.instance("scheduled").await;
    let more = "[schedule]\ncron = \"0 3 * * *\"\n\n[retention]\nkeep_last = 2";
    cloud.policy("scheduled", &format!("instance_id = \"{instance}\""), more);
    let made_at = jiff::Timestamp::now().checked_sub(jiff::SignedDuration::from_hours(60)).expect("time");
    let vault =
        json!({ "format": 1, "vault_id": pgkeep::base::ids::random_hex(16), "policy": "scheduled", "created_at": made_at });
    cloud.home.put("scheduled/vault.json", &vault.to_string());
    let mut daemon = cloud.home.command(&["serve", "--listen", "127.0.0.1:0"]).spawn().expect("start");
    let begun = Instant::now();
    let rows = loop {
        let rows = cloud.home.json(&["list", "scheduled"])["backups"].clone();
        // The proof is written after the backup exists.
        if rows[0]["proven"].is_string() {
            break rows;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "no backup came");
        pass(Duration::from_millis(300)).await;
    };
    daemon.kill().expect("kill");
    daemon.wait().expect("wait");
    assert_eq!((rows[0]["kind"].as_str(), rows[0]["proven"].as_str()), (Some("ebs"), Some("presence")));
}

#[tokio::test]
async fn doctor_asks_for_each_permission_and_names_the_one_that_lacks() {
    let cloud = Cloud::new("ap-south-1").await;
    let instance = cloud.instance("asked").await;
    cloud.policy("asked", &format!("instance_id = \"{instance}\""), "");
    cloud.home.json(&["backup", "asked"]);
    let checks = cloud.home.json(&["doctor", "asked"])["checks"].clone();
    let said = |action: &str| {
        let check = checks.as_array().expect("checks").iter().find(|c| c["message"].as_str().is_some_and(|m| m.contains(action)));
        check.map(|c| c["verdict"].as_str().expect("verdict").to_owned())
    };
    for action in ["ec2:CreateSnapshots", "ec2:DescribeSnapshots", "ec2:DeleteSnapshot", "ec2:CreateVolume", "ec2:AttachVolume"] {
        assert_eq!(said(action).as_deref(), Some("pass"), "{action}: {checks}");
    }
    let before = cloud.snapshots().await.len();
    cloud.fault("CreateSnapshots", json!({ "code": "UnauthorizedOperation", "status": 403 }));
    let ran = cloud.home.run(&["--json", "doctor", "asked"]).exits(4);
    assert!(ran.stdout.contains("needs ec2:CreateSnapshots"), "{}", ran.stdout);
    assert_eq!(cloud.snapshots().await.len(), before, "questions change nothing");
}
