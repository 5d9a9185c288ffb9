//! What runs left in AWS, where a vault was copied or a policy lost a region meanwhile.

#![allow(clippy::disallowed_methods, reason = "real processes run in real time")]

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::support::{Cloud, Spec};

async fn volume(cloud: &Cloud) -> String {
    cloud.volume("", &Spec { kind: "gp3", gib: 1, name: "left", ..Spec::default() }).await
}

#[tokio::test]
async fn a_copy_of_a_vault_leaves_alone_what_the_original_made() {
    let cloud = Cloud::new("me-central-1").await;
    let volume = volume(&cloud).await;
    cloud.policy("volumes", &format!("volume_ids = [\"{volume}\"]"), "");
    let made = cloud.home.json(&["backup", "volumes"])["backup"].as_str().expect("id").to_owned();

    // The bucket was copied while the run went on: the copy has its record, and will never have its head.
    let key = format!("volumes/runs/{made}.json");
    let mut record: Value = serde_json::from_str(&cloud.home.get(&key).expect("the record")).expect("JSON");
    record["state"] = json!("running");
    for ended in ["finished_at", "committed_at"] {
        record.as_object_mut().expect("a record").remove(ended);
    }
    cloud.home.put(&format!("copy/{key}"), &record.to_string());
    cloud.home.put("copy/volumes/vault.json", &cloud.home.get("volumes/vault.json").expect("the vault"));
    let folder = cloud.home.path().join("copied");
    std::fs::create_dir(&folder).expect("a folder");
    let text = std::fs::read_to_string(cloud.home.path().join("policies/volumes.toml")).expect("the policy");
    let text = text.replace(cloud.home.store(), &format!("{}/copy", cloud.home.store()));
    std::fs::write(folder.join("volumes.toml"), text).expect("write the policy");
    let in_copy = |args: &[&str]| {
        let output = cloud.home.command(args).env("PGKEEP_POLICIES", &folder).output().expect("run");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")["result"].clone()
    };
    in_copy(&["--json", "backup", "volumes"]);
    let drift = in_copy(&["--json", "prune", "volumes", "--plan"])["drift"]["unknown"].clone();
    assert_eq!(drift.as_array().map(Vec::len), Some(1), "{drift}");
    assert_eq!((drift[0]["backup"].as_str(), drift[0]["left_by_run"].as_bool()), (Some(made.as_str()), Some(false)));
    assert_eq!(cloud.snapshots().await.len(), 2);
    cloud.home.run(&["verify", "volumes", "--level", "presence"]).exits(0);
}

#[tokio::test]
async fn what_a_killed_run_left_in_a_region_that_left_the_policy_is_deleted_too() {
    let (cloud, other) = (Cloud::new("ap-southeast-3").await, Cloud::new("eu-central-2").await);
    let volumes = format!("volume_ids = [\"{}\"]", volume(&cloud).await);
    other.settings(&json!({ "snapshot_seconds": 600 }));
    cloud.policy("volumes", &format!("{volumes}\ncopy_to = [\"{}\"]", other.region), "");
    let mut child = cloud.home.command(&["backup", "volumes"]).spawn().expect("start");
    let begun = Instant::now();
    while other.snapshots().await.is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(30), "the copy never came");
        tokio::time::timeout(Duration::from_millis(100), std::future::pending::<()>()).await.expect_err("time passes");
    }
    child.kill().expect("kill");
    child.wait().expect("wait");
    cloud.policy("volumes", &volumes, "");
    let unknown = cloud.home.json(&["prune", "volumes", "--plan"])["drift"]["unknown"].clone();
    assert!(unknown.to_string().contains(other.region), "{unknown}");
    cloud.home.json(&["backup", "volumes"]);
    assert_eq!((cloud.snapshots().await.len(), other.snapshots().await.len()), (1, 0));
    assert_eq!(cloud.home.json(&["prune", "volumes", "--plan"])["drift"], json!({ "unknown": [], "missing": [] }));
}
