//! Credentials of another account than the one that a backup's snapshots are in.

#![allow(clippy::disallowed_methods, reason = "real processes run in real time")]

use std::time::Duration;

use super::support::{Cloud, Spec};
use crate::support::aws::credentials_of;
use crate::support::cli::finish;

#[tokio::test]
async fn snapshots_in_another_account_are_not_taken_for_gone() {
    let cloud = Cloud::new("ap-northeast-3").await;
    let volume = cloud.volume("", &Spec { kind: "gp3", gib: 1, name: "elsewhere", ..Spec::default() }).await;
    let retention = "[retention]\nkeep_last = 2\ngrace = \"1s\"";
    cloud.policy("elsewhere", &format!("volume_ids = [\"{volume}\"]"), retention);
    for _ in 0..3 {
        cloud.home.json(&["backup", "elsewhere"]);
    }
    cloud.home.run(&["prune", "elsewhere", "--yes"]).exits(0);
    tokio::time::timeout(Duration::from_millis(1500), std::future::pending::<()>()).await.expect_err("time passes");
    let wrong = credentials_of("222222222222");
    let says = |args: &[&str]| {
        let mut command = cloud.home.command(args);
        command.envs(wrong.clone());
        finish(command, args).exits(4).says(&["in account 123456789012, the credentials are of account 222222222222"]);
    };
    let proven = cloud.home.json(&["list", "elsewhere"])["backups"].clone();
    says(&["prune", "elsewhere", "--yes"]);
    says(&["verify", "elsewhere", "--level", "presence"]);
    says(&["restore", "elsewhere", "--to-zone", &cloud.zone(), "--plan"]);
    assert_eq!(cloud.home.json(&["list", "elsewhere"])["backups"], proven, "no proof says that a backup is damaged");
    assert_eq!(cloud.snapshots().await.len(), 3);
    let swept = cloud.home.json(&["prune", "elsewhere", "--yes"]);
    assert_eq!(swept["done"]["swept"].as_array().map(Vec::len), Some(1), "the tombstone is still there: {swept}");
    assert_eq!(cloud.snapshots().await.len(), 2);
}
