//! What AWS does to callers, and what becomes of backups then.
#![allow(clippy::disallowed_methods, reason = "real processes run in real time")]

use std::time::{Duration, Instant};

use serde_json::json;

use super::support::{Cloud, Spec};

async fn with_volume(region: &'static str) -> (Cloud, String, String) {
    let cloud = Cloud::new(region).await;
    let instance = cloud.instance("faulty").await;
    let spec = Spec { device: Some("/dev/sdf"), kind: "gp3", gib: 1, name: "data", ..Spec::default() };
    let volume = cloud.volume(&instance, &spec).await;
    cloud.policy("volumes", &format!("instance_id = \"{instance}\""), "");
    (cloud, instance, volume)
}

#[tokio::test]
async fn throttling_lost_answers_and_expired_credentials_end_in_one_set() {
    let (cloud, ..) = with_volume("us-west-1").await;
    cloud.settings(&json!({ "snapshot_seconds": 2 }));
    cloud.fault("CreateSnapshots", json!({ "code": "RequestLimitExceeded", "status": 503, "times": 2 }));
    cloud.fault("CreateSnapshots", json!({ "code": "InternalError", "status": 500, "after": true }));
    cloud.fault("DescribeVolumes", json!({ "code": "RequestLimitExceeded", "status": 503, "times": 2 }));
    // The first questions look for the volumes; in the wait the credentials expire for a moment.
    cloud.fault("DescribeSnapshots", json!({ "code": "RequestExpired", "status": 400, "skip": 3, "times": 2 }));
    let made = cloud.home.json(&["backup", "volumes"]);
    assert_eq!(made["source"]["snapshots"].as_array().map(Vec::len), Some(2), "root and data");
    assert_eq!(cloud.snapshots().await.len(), 2, "the call whose answer was lost was not repeated");
}

#[tokio::test]
async fn a_set_with_a_member_that_fails_is_no_backup_and_is_cleaned_up() {
    let (cloud, _, volume) = with_volume("us-west-2").await;
    cloud.settings(&json!({ "snapshot_seconds": 1, "fail_volumes": [volume] }));
    cloud.home.run(&["backup", "volumes"]).exits(4).says(&[&volume, "failed"]);
    assert_eq!(cloud.snapshots().await, [], "nothing stays");
    let list = cloud.home.json(&["list", "volumes"]);
    assert_eq!(list["backups"], json!([]));
    cloud.home.run(&["status", "volumes"]).exits(9);
    cloud.settings(&json!({ "fail_volumes": [], "skip_volumes": [volume] }));
    cloud.home.run(&["backup", "volumes"]).exits(4).says(&[&volume, "no snapshot of"]);
    assert_eq!(cloud.snapshots().await, [], "half a set is none");
    cloud.settings(&json!({ "skip_volumes": [] }));
    cloud.home.json(&["backup", "volumes"]);
    cloud.home.run(&["status", "volumes"]).exits(0);

    cloud.fault("CreateSnapshots", json!({ "code": "UnauthorizedOperation", "status": 403 }));
    cloud.home.run(&["backup", "volumes"]).exits(4).says(&["UnauthorizedOperation", "ec2:CreateSnapshots"]);
    cloud.fault("CreateSnapshots", json!({ "code": "SnapshotLimitExceeded", "status": 400 }));
    cloud.home.run(&["backup", "volumes"]).exits(4).says(&["SnapshotLimitExceeded", "quota"]);
}

#[tokio::test]
async fn what_a_killed_run_left_is_deleted_by_the_next_backup() {
    let (cloud, ..) = with_volume("sa-east-1").await;
    cloud.home.json(&["backup", "volumes"]);
    cloud.settings(&json!({ "snapshot_seconds": 600 }));
    let mut child = cloud.home.command(&["backup", "volumes"]).spawn().expect("start");
    let begun = Instant::now();
    while cloud.snapshots().await.len() < 4 {
        assert!(begun.elapsed() < Duration::from_secs(30), "the second set never came");
        tokio::time::timeout(Duration::from_millis(100), std::future::pending::<()>()).await.expect_err("time passes");
    }
    child.kill().expect("kill");
    child.wait().expect("wait");
    cloud.settings(&json!({ "snapshot_seconds": 0 }));
    let drift = cloud.home.json(&["prune", "volumes", "--plan"])["drift"].clone();
    assert_eq!(drift["unknown"].as_array().map(Vec::len), Some(2), "{drift}");
    let made = cloud.home.json(&["backup", "volumes"]);
    let left = cloud.snapshots().await;
    assert_eq!(left.len(), 4, "two listed backups of two volumes");
    assert!(left.iter().any(|s| super::support::tag_map(s.tags())["pgkeep:backup"] == made["backup"].as_str().expect("id")));
    let drift = cloud.home.json(&["prune", "volumes", "--plan"])["drift"].clone();
    assert_eq!(drift, json!({ "unknown": [], "missing": [] }));
}

#[tokio::test]
async fn an_application_at_rest_is_let_go_also_when_pgkeep_is_killed() {
    let (cloud, instance, _) = with_volume("ca-central-1").await;
    let log = cloud.home.path().join("quiesce.log");
    let policy = |timeout: &str| {
        let quiesce = format!(
            "instance_id = \"{instance}\"\n\n[source.quiesce]\nfreeze = \"echo freeze $PGKEEP_POLICY >>{0}\"\nthaw = \"echo thaw >>{0}\"\ntimeout = \"{timeout}\"",
            log.display()
        );
        cloud.policy("volumes", &quiesce, "");
    };
    let said = || std::fs::read_to_string(&log).unwrap_or_default();
    policy("30s");
    cloud.home.json(&["backup", "volumes"]);
    assert_eq!(said(), "freeze volumes\nthaw\n");
    cloud.fault("CreateSnapshots", json!({ "code": "UnauthorizedOperation", "status": 403 }));
    cloud.home.run(&["backup", "volumes"]).exits(4);
    assert_eq!(said(), "freeze volumes\nthaw\n".repeat(2), "also when the call fails");

    // By Systems Manager: the endpoint accepts the commands and runs none of them.
    let quiesce = "\n\n[source.quiesce]\nfreeze = \"fsfreeze -f /data\"\nthaw = \"fsfreeze -u /data\"\non = \"instance\"";
    cloud.policy("volumes", &format!("instance_id = \"{instance}\"{quiesce}"), "");
    cloud.home.json(&["backup", "volumes"]);

    let runs = cloud.home.keys("volumes/runs/").into_iter().filter_map(|key| cloud.home.get(&key));
    let did: Vec<serde_json::Value> =
        runs.map(|text| serde_json::from_str::<serde_json::Value>(&text).expect("JSON")["hooks"].clone()).collect();
    let remote = did.iter().find(|h| h[0]["output"].as_str().is_some_and(|o| o.starts_with(&format!("{instance}, command "))));
    let remote = remote.unwrap_or_else(|| panic!("what the commands said is in the record: {did:?}"));
    assert_eq!((remote[0]["hook"].as_str(), remote[1]["hook"].as_str()), (Some("freeze"), Some("thaw")));

    policy("3s");
    cloud.fault("CreateSnapshots", json!({ "delay": 20 }));
    let mut child = cloud.home.command(&["backup", "volumes"]).spawn().expect("start");
    let begun = Instant::now();
    while said().matches("freeze").count() < 3 {
        assert!(begun.elapsed() < Duration::from_secs(30), "it never froze");
        tokio::time::timeout(Duration::from_millis(50), std::future::pending::<()>()).await.expect_err("time passes");
    }
    child.kill().expect("kill");
    child.wait().expect("wait");
    assert_eq!(said().matches("thaw").count(), 2, "nobody thawed yet");
    while said().matches("thaw").count() < 3 {
        assert!(begun.elapsed() < Duration::from_secs(20), "nobody thawed");
        tokio::time::timeout(Duration::from_millis(50), std::future::pending::<()>()).await.expect_err("time passes");
    }
}
