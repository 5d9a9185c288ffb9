//! What signals do to a daemon.

use std::fs;

use super::support::{DAILY, Serve, Vault, wait};
use crate::support::cli::{Home, StoreKind, finance};
use crate::support::server::Server;

/// SIGTERM in the middle of a run ends it cleanly; the next start completes the slot and reuses what was stored.
#[tokio::test]
async fn a_run_that_is_stopped_is_resumed_by_the_next_start() {
    let source = finance(&Server::of(17), 150_000).await;
    let home = Home::new(StoreKind::File);
    home.policy("finance", &source, DAILY);
    let vault = Vault::of(&home, "finance");
    vault.make_old();
    let parts = home.vault("finance").join("parts");
    let daemon = Serve::start(&home, "first");
    wait("the first part", || fs::read_dir(&parts).ok()?.next().map(drop));
    daemon.signal("TERM");
    let (status, log) = daemon.end();
    assert!(status.success(), "{status}: {log}");
    let stopped = vault.backups("cancelled");
    assert_eq!(stopped.len(), 1, "{:#?}\n{log}", vault.runs());
    assert_eq!(stopped[0]["ended_by"], "shutdown");
    assert_eq!(vault.lease()["state"], "released");
    let daemon = Serve::start(&home, "second");
    let done = vault.wait_for("succeeded", 1);
    drop(daemon);
    assert_eq!((&done[0]["slot"], done[0]["attempt"].as_u64()), (&stopped[0]["slot"], Some(1)));
    let count = |name: &str| done[0]["stats"][name].as_u64().expect("counts");
    assert!(count("new_parts") < count("parts"), "nothing was reused: {:#}", done[0]["stats"]);
    vault.slots_once();
    source.remove().await;
}

/// SIGHUP loads what is good, and what is bad leaves everything as it was.
#[tokio::test]
async fn policies_are_loaded_again_unless_they_are_bad() {
    let source = finance(&Server::of(17), 200).await;
    let home = Home::new(StoreKind::File);
    for name in ["one", "two", "three"] {
        Vault::of(&home, name).make_old();
    }
    home.policy("one", &source, DAILY);
    let daemon = Serve::start(&home, "serve");
    Vault::of(&home, "one").wait_for("succeeded", 1);

    home.policy("two", &source, DAILY);
    home.policy("one", &source, "[schedule]\ncron = \"nonsense\"\n");
    daemon.signal("HUP");
    daemon.waits_for_log("stay in force");
    assert!(daemon.log().contains("nonsense"), "{}", daemon.log());
    assert_eq!(Vault::of(&home, "two").runs().len(), 0, "a folder with a bad file is refused as a whole");

    home.policy("one", &source, DAILY);
    daemon.signal("HUP");
    Vault::of(&home, "two").wait_for("succeeded", 1);
    fs::remove_file(home.path().join("policies/two.toml")).expect("remove");
    home.policy("three", &source, DAILY);
    daemon.signal("HUP");
    Vault::of(&home, "three").wait_for("succeeded", 1);
    daemon.waits_for_log("the policy is gone");
    assert_eq!(Vault::of(&home, "one").slots_once().len(), 1, "what did not change is not begun again");
    source.remove().await;
}

#[test]
fn a_daemon_does_not_start_with_bad_policies() {
    let home = Home::new(StoreKind::File);
    fs::write(home.path().join("policies/bad.toml"), "[schedule]\ncron = \"0 3 * * *\"\n").expect("write");
    home.run(&["serve", "--listen", "127.0.0.1:0"]).exits(3).says(&["bad.toml"]);
    home.run(&["serve", "--max-runs", "0"]).exits(2);
}
