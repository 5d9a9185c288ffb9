//! Answers that are lost, and limits that are reached, call by call.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{Snapshot, StorageTier};
use serde_json::{Value, json};

use super::support::{Cloud, Spec, client, ours, tag_map, tags};

const DATA: Spec =
    Spec { device: Some("/dev/sdf"), kind: "gp3", gib: 1, iops: None, throughput: None, name: "data", encrypted: false };

#[tokio::test]
async fn more_copies_than_aws_makes_at_once_wait_and_a_lost_answer_makes_none_twice() {
    let cloud = Cloud::new("ca-west-1").await;
    let there = client("mx-central-1").await;
    let instance = cloud.instance("copied").await;
    let volume = cloud.volume(&instance, &DATA).await;
    cloud.policy("copied", &format!("volume_ids = [\"{volume}\"]\ncopy_to = [\"mx-central-1\"]"), "");
    let abroad = Cloud { region: "mx-central-1", ..cloud };
    abroad.fault("CopySnapshot", json!({ "code": "ResourceLimitExceeded", "status": 400, "times": 1 }));
    abroad.fault("CopySnapshot", json!({ "code": "InternalError", "status": 500, "after": true, "skip": 1 }));
    abroad.home.json(&["backup", "copied"]);
    let copies = ours(&there).await;
    assert_eq!(copies.len(), 1, "{copies:#?}");
    assert!(tag_map(copies[0].tags()).contains_key("pgkeep:copy-of"));
}

#[tokio::test]
async fn a_region_for_copies_that_is_out_of_reach_takes_no_backup_away() {
    let cloud = Cloud::new("ap-southeast-4").await;
    let there = client("ap-southeast-5").await;
    let instance = cloud.instance("alone").await;
    let volumes =
        [cloud.volume(&instance, &DATA).await, cloud.volume(&instance, &Spec { device: Some("/dev/sdg"), ..DATA }).await];
    let source = format!("volume_ids = [\"{}\", \"{}\"]\ncopy_to = [\"ap-southeast-5\"]\narchive = true", volumes[0], volumes[1]);
    cloud.policy("alone", &source, "[retention]\nkeep_last = 1");
    let far = Cloud { region: "ap-southeast-5", ..cloud };
    // One of two copies is made.
    far.fault("CopySnapshot", json!({ "code": "UnauthorizedOperation", "status": 403, "skip": 1 }));
    far.home.run(&["backup", "alone"]).exits(6).says(&["no copy in ap-southeast-5", "UnauthorizedOperation"]);
    assert_eq!(ours(&there).await, [], "half the copies are none");
    let originals = ours(&far.ec2).await;
    let at_hand = |s: &Snapshot| s.storage_tier() != Some(&StorageTier::Archive);
    assert!(originals.len() == 2 && originals.iter().all(at_hand), "{originals:#?}");
    let zone = "ap-southeast-4a";
    far.home.run(&["restore", "alone", "--to-zone", zone, "--plan"]).exits(0);
    far.home.run(&["verify", "alone"]).exits(0);
    far.home.run(&["backup", "alone"]).exits(0);
    assert_eq!(ours(&there).await.len(), 2);
}

#[tokio::test]
async fn a_volume_is_attached_once_and_carries_as_many_tags_as_aws_takes() {
    let cloud = Cloud::new("il-central-1").await;
    let instance = cloud.instance("tagged").await;
    let volume = cloud.volume(&instance, &DATA).await;
    let many: Vec<(String, String)> = (0..48).map(|i| (format!("tag-{i:02}"), i.to_string())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let of_volume = tags("volume", &many).tags().to_vec();
    cloud.ec2.create_tags().resources(&volume).set_tags(Some(of_volume)).send().await.expect("tag");
    cloud.policy("volumes", &format!("volume_ids = [\"{volume}\"]"), "");
    cloud.home.json(&["backup", "volumes"]);
    cloud.fault("AttachVolume", json!({ "code": "InternalError", "status": 500, "after": true }));
    let other = cloud.instance("other").await;
    let done = cloud.home.json(&["restore", "volumes", "--to-zone", &cloud.zone(), "--attach", &other]);
    let made = cloud.described(done["made"][0]["id"].as_str().expect("id")).await;
    let attached: Vec<_> = made.attachments().iter().filter_map(|a| a.instance_id()).collect();
    assert_eq!(attached, [other.as_str()]);
    let kept: BTreeMap<&str, &str> = tag_map(made.tags());
    assert_eq!(kept.len(), 50, "{kept:?}");
    assert!(kept.contains_key("pgkeep:restored-from") && kept.contains_key("pgkeep:restored-by"), "{kept:?}");
}

/// What cannot be taken back is done last: a backup whose snapshots could not be locked exists, and says so.
#[tokio::test]
async fn snapshots_are_archived_and_locked_only_once_the_backup_exists() {
    let cloud = Cloud::new("ap-east-1").await;
    let instance = cloud.instance("settled").await;
    let volume = cloud.volume(&instance, &DATA).await;
    let lock = "[source.lock]\nmode = \"governance\"\ndays = 1";
    cloud.policy("settled", &format!("volume_ids = [\"{volume}\"]\narchive = true\n\n{lock}"), "");
    let backups = || cloud.home.json(&["list", "settled"])["backups"].as_array().map_or(0, Vec::len);
    cloud.settings(&json!({ "snapshot_outcome": "error" }));
    cloud.home.run(&["backup", "settled"]).exits(4);
    cloud.settings(&json!({ "snapshot_outcome": "completed" }));
    assert_eq!((backups(), cloud.snapshots().await.len()), (0, 0), "nothing was locked that had to be deleted");

    cloud.fault("LockSnapshot", json!({ "code": "UnauthorizedOperation", "status": 403 }));
    cloud.home.run(&["backup", "settled"]).exits(4).says(&["is complete", "could not be archived or locked", "ec2:LockSnapshot"]);
    assert_eq!(backups(), 1);
    let tiers: Vec<Value> = cloud.snapshots().await.iter().map(|s| json!(s.storage_tier().map(StorageTier::as_str))).collect();
    assert_eq!(tiers, ["archive"]);
    cloud.fault("ModifySnapshotTier", json!({ "code": "InternalError", "status": 500, "after": true }));
    cloud.home.json(&["backup", "settled"]);
    assert_eq!(backups(), 2);
    for snapshot in cloud.snapshots().await {
        assert_eq!(snapshot.storage_tier(), Some(&StorageTier::Archive));
    }
}
