//! Two daemons on one vault.

use std::fs;

use serde_json::Value;

use super::support::{DAILY, STORES, Serve, Vault, wait};
use crate::support::cli::{Home, StoreKind, finance};
use crate::support::server::Server;

/// A policy whose run waits, before it begins its work, for as long as a file is there.
fn blocked(home: &Home) -> (String, std::path::PathBuf) {
    let file = home.path().join("blocked");
    fs::write(&file, "").expect("block");
    let hook = format!("while [ -e {} ]; do sleep 0.1; done", file.display());
    (format!("{DAILY}[hooks]\nbefore = \"{hook}\"\n"), file)
}

fn owner(vault: &Vault<'_>, not: Option<u32>) -> u32 {
    wait("somebody to hold the lease while a run goes on", || {
        let lease = vault.lease();
        let pid = lease["owner"]["pid"].as_u64().and_then(|p| u32::try_from(p).ok())?;
        let holds = lease["state"] == "held" && lease["owner"]["command"] == "backup" && Some(pid) != not;
        (holds && !vault.backups("running").is_empty()).then_some(pid)
    })
}

/// Of two daemons one runs the slot. It is stopped in the middle (`signal`), the other takes over and completes it; one that wakes again has lost.
async fn take_over(kind: StoreKind, signal: &str) {
    let source = finance(&Server::of(17), 500).await;
    let home = Home::new(kind);
    let (policy, block) = blocked(&home);
    home.policy("finance", &source, &policy);
    let vault = Vault::of(&home, "finance");
    vault.make_old();
    let mut daemons = vec![Serve::start(&home, "a"), Serve::start(&home, "b")];
    let first = owner(&vault, None);
    let stopped = daemons.remove(daemons.iter().position(|d| d.pid() == first).expect("one of ours"));
    stopped.signal(signal);
    let second = owner(&vault, Some(first));
    assert_eq!(second, daemons[0].pid());
    fs::remove_file(&block).expect("unblock");
    let done = vault.wait_for("succeeded", 1);
    if signal == "STOP" {
        stopped.signal("CONT");
        // It notices that it lost, and that nothing is due any more.
        stopped.waits_for_log("lost the lease");
    }
    let slots = vault.slots_once();
    assert_eq!(slots.len(), 1);
    assert_eq!(done[0]["attempt"], 1, "an interruption is no failed try: {:#?}", vault.runs());
    let lost: Vec<Value> = vault.runs().into_iter().filter(|r| r["state"] != "succeeded").collect();
    assert_eq!(lost.len(), 1, "{:#?}", vault.runs());
    assert_eq!(lost[0]["state"], "failed");
    let listed = home.json(&["list", "finance"]);
    assert_eq!(listed["backups"].as_array().map(Vec::len), Some(1), "{listed:#}");
    home.run(&["verify", "finance", "--level", "restore", "--scratch", "local"]).exits(0);
    drop((stopped, daemons));
    source.remove().await;
}

#[tokio::test]
async fn a_killed_daemon_is_replaced_on_a_folder() {
    take_over(StoreKind::File, "KILL").await;
}

#[tokio::test]
async fn a_killed_daemon_is_replaced_on_s3() {
    take_over(StoreKind::S3, "KILL").await;
}

#[tokio::test]
async fn a_stopped_daemon_that_wakes_has_lost_on_a_folder() {
    take_over(StoreKind::File, "STOP").await;
}

#[tokio::test]
async fn a_stopped_daemon_that_wakes_has_lost_on_s3() {
    take_over(StoreKind::S3, "STOP").await;
}

/// Verifications that a slot asked for and that succeeded.
fn verifications(vault: &Vault<'_>) -> Vec<Value> {
    let wanted = |r: &Value| r["kind"] == "verify" && r["state"] == "succeeded" && r["slot"].is_string();
    vault.runs().into_iter().filter(wanted).collect()
}

/// Four policies, two daemons, a slot each: every one is run by exactly one of them, and a fifth whose server is not there holds nobody up.
#[tokio::test]
async fn every_policy_is_run_once_whatever_another_does() {
    let source = finance(&Server::of(17), 200).await;
    for kind in STORES {
        let home = Home::new(kind);
        let names = ["one", "two", "three", "four"];
        for name in names {
            let verify = "[verify]\nlevel = \"content\"\ncron = \"0 4 * * *\"\n";
            home.policy(name, &source, &format!("{DAILY}retries = 0\n[retention]\nkeep_last = 2\n{verify}"));
            Vault::of(&home, name).make_old();
        }
        home.policy_of("down", "postgres://nobody@127.0.0.1:1/nothing", "", &format!("{DAILY}retries = 0\n"));
        Vault::of(&home, "down").make_old();
        let daemons = [Serve::start(&home, "a"), Serve::start(&home, "b")];
        for name in names {
            let vault = Vault::of(&home, name);
            vault.wait_for("succeeded", 1);
            wait("the scheduled verification", || (!verifications(&vault).is_empty()).then_some(()));
        }
        let down = Vault::of(&home, "down").wait_for("failed", 1);
        assert_eq!((down[0]["error"]["kind"].as_str(), &down[0]["attempt"]), (Some("unavailable"), &Value::from(1)));
        for daemon in &daemons {
            daemon.signal("TERM");
        }
        for daemon in daemons {
            let (status, log) = daemon.end();
            assert!(status.success(), "{status}: {log}");
        }
        for name in names {
            assert_eq!(Vault::of(&home, name).slots_once().len(), 1, "{name}");
            assert_eq!(Vault::of(&home, name).backups("succeeded").len(), 1, "{name}");
            assert_eq!(verifications(&Vault::of(&home, name)).len(), 1, "{name}");
        }
        assert_eq!(Vault::of(&home, "down").runs().len(), 1, "given up after one try by both daemons together");
    }
    source.remove().await;
}

#[tokio::test]
async fn a_slot_whose_secret_cannot_be_had_is_a_failed_run() {
    let source = finance(&Server::of(17), 50).await;
    let home = Home::new(StoreKind::File);
    let vault = Vault::of(&home, "finance");
    vault.make_old();
    home.policy("finance", &source, DAILY);
    std::fs::remove_file(home.path().join("finance.url")).expect("remove the secret");
    let daemon = Serve::start(&home, "first");
    let failed = vault.wait_for("failed", 1).remove(0);
    assert!(failed["slot"].is_string() && failed["attempt"] == 1, "{failed:#}");
    assert!(failed["error"]["message"].as_str().is_some_and(|m| m.contains("finance.url")), "{failed:#}");
    drop(daemon);
    source.remove().await;
}
