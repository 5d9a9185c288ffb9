//! What happens around a run: it is killed, two of them meet, somebody prunes too much, a volume loses bits.

#![allow(clippy::disallowed_methods, reason = "real processes are killed after real time")]

use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::support::cli::{Home, StoreKind, drop_database, finance, finish, new_name};
use crate::support::server::Server;

const RETENTION: &str = "[retention]\nkeep_last = 2\n";

fn ids(listed: &Value) -> Vec<String> {
    let rows = listed["backups"].as_array().expect("backups");
    rows.iter().map(|b| b["backup"].as_str().expect("id").to_owned()).collect()
}

/// Kills runs at moments spread over a whole run; after each, nothing incomplete is listed, and at the end one run makes a whole backup.
#[tokio::test]
async fn a_killed_run_leaves_nothing_listed_and_the_next_one_reuses_what_it_stored() {
    let server = Server::of(17);
    let source = finance(&server, 150_000).await;
    let home = Home::new(StoreKind::File);
    home.policy("finance", &source, "");
    let mut stored_by_killed = 0;
    for pause in [80, 250, 500, 800, 1200, 1700] {
        let mut child =
            home.command(&["-q", "backup", "finance"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("start");
        sleep(Duration::from_millis(pause));
        let finished = child.try_wait().expect("look").is_some();
        child.kill().expect("kill");
        child.wait().expect("wait");
        let listed = home.json(&["list", "finance"]);
        if finished {
            break;
        }
        for id in ids(&listed) {
            home.run(&["verify", "finance", "--backup", &id, "--level", "content"]).exits(0);
        }
        stored_by_killed = home.vault("finance").join("parts").read_dir().map_or(0, Iterator::count);
    }
    let whole = home.json(&["backup", "finance"]);
    let (all, new) = (&whole["counts"]["parts"], &whole["counts"]["new_parts"]);
    if stored_by_killed > 0 {
        assert!(new.as_u64() < all.as_u64(), "nothing was reused: {whole:#}");
    }
    home.run(&["verify", "finance", "--level", "restore", "--scratch", "local"]).exits(0);
    home.run(&["status", "finance"]).exits(0);
    source.remove().await;
}

#[tokio::test]
async fn two_runs_of_a_policy_never_write_at_the_same_time() {
    let server = Server::of(15);
    let source = finance(&server, 1_000).await;
    let home = Home::new(StoreKind::File);
    home.policy("finance", &source, "");
    home.json(&["backup", "finance"]);
    // The first run waits for a lock that the test holds, and so keeps the lease.
    let client = source.connect().await;
    client.batch_execute("BEGIN; LOCK TABLE finance.accounts IN ACCESS EXCLUSIVE MODE").await.expect("lock");
    let mut first =
        home.command(&["-q", "backup", "finance"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("start");
    sleep(Duration::from_secs(2));
    home.run(&["backup", "finance"]).exits(5).says(&["in use by", "backup"]);
    client.batch_execute("ROLLBACK").await.expect("release");
    assert!(first.wait().expect("wait").success(), "the first run ends well once it gets its lock");
    assert_eq!(ids(&home.json(&["list", "finance"])).len(), 2);
    source.remove().await;
}

#[tokio::test]
async fn retention_shows_asks_marks_and_gives_back() {
    let server = Server::of(15);
    let source = finance(&server, 100).await;
    let home = Home::new(StoreKind::File);
    home.policy("finance", &source, RETENTION);
    let made: Vec<String> =
        (0..5).map(|_| home.json(&["backup", "finance"])["backup"].as_str().expect("id").to_owned()).collect();
    home.run(&["pin", "finance", &made[0], "--reason", "before the migration"]).exits(0);

    let plan = home.json(&["prune", "finance", "--plan"]);
    // Backups of one second have no order among their ids.
    let mut marked: Vec<&str> =
        plan["plan"]["mark"].as_array().expect("mark").iter().map(|d| d["backup"].as_str().expect("id")).collect();
    marked.sort_unstable();
    let mut expected = [made[1].as_str(), made[2].as_str()];
    expected.sort_unstable();
    assert_eq!(marked, expected, "{plan:#}");
    home.run(&["prune", "finance"]).exits(2).says(&["--yes"]);
    assert_eq!(ids(&home.json(&["list", "finance"])).len(), 5, "nothing is removed without a yes");
    home.run(&["prune", "finance", "--yes"]).exits(0);
    assert_eq!(ids(&home.json(&["list", "finance"])), [made[4].clone(), made[3].clone(), made[0].clone()]);
    home.run(&["prune", "finance", "--yes"]).exits(0);

    home.run(&["restore", "finance", "--backup", &made[1], "--to", &server.url(&new_name("gone")), "--plan"])
        .exits(7)
        .says(&["undelete"]);
    home.run(&["undelete", "finance", &made[1]]).exits(0);
    let copy = new_name("undeleted");
    home.run(&["restore", "finance", "--backup", &made[1], "--to", &server.url(&copy), "--yes"]).exits(0);
    drop_database(&server, &copy).await;
    home.run(&["undelete", "finance", &made[1]]).exits(7);
    source.remove().await;
}

#[tokio::test]
async fn a_shrunken_database_is_alarmed_and_blocks_pruning_until_somebody_says_that_it_is_right() {
    let source = finance(&Server::of(15), 30_000).await;
    let home = Home::new(StoreKind::File);
    home.policy("finance", &source, "[retention]\nkeep_last = 1\n");
    for _ in 0..3 {
        home.json(&["backup", "finance"]);
    }
    source
        .connect()
        .await
        .batch_execute("TRUNCATE finance.transactions CASCADE; TRUNCATE audit.changes")
        .await
        .expect("truncate");
    let report = home.run(&["--json", "backup", "finance"]).exits(6).document();
    let suspicious = report["result"]["backup"].as_str().expect("it is kept").to_owned();
    home.run(&["prune", "finance", "--yes"]).exits(9);
    home.run(&["status", "finance"]).exits(9).says(&["suspicious"]);
    home.run(&["pin", "finance", &suspicious, "--reason", "archived on purpose"]).exits(0);
    home.run(&["status", "finance"]).exits(0);
    home.run(&["prune", "finance", "--yes"]).exits(0);
    home.json(&["backup", "finance"]);
    source.remove().await;
}

/// A disaster may leave a store that can only be read: it must still be restored and verified from.
#[tokio::test]
async fn a_store_that_cannot_be_written_can_be_restored_from() {
    let server = Server::of(17);
    let source = finance(&server, 100).await;
    let home = Home::new(StoreKind::File);
    home.policy("finance", &source, "");
    home.json(&["backup", "finance"]);
    let copy = new_name("read_only");
    let script = format!(
        "mount --bind {0}/vaults {0}/vaults && mount -o remount,ro,bind {0}/vaults && {1} verify finance --level content && {1} restore finance --to '{2}' --yes",
        home.path().display(),
        env!("CARGO_BIN_EXE_pgkeep"),
        server.url(&copy)
    );
    let prepared = home.command(&[]);
    let mut command = std::process::Command::new("unshare");
    command.args(["--mount", "--map-root-user", "sh", "-c", &script]).current_dir(home.path());
    command.envs(prepared.get_envs().filter_map(|(k, v)| Some((k, v?))));
    finish(command, &["restore", "from a read-only store"]).exits(0).says(&["marked", "record"]);
    drop_database(&server, &copy).await;
    source.remove().await;
}

/// A failed verification must not be undone by a weaker one, and the next backup repairs what it can.
#[tokio::test]
async fn flipped_bits_are_found_and_put_right_by_the_next_backup() {
    let source = finance(&Server::of(15), 20_000).await;
    let home = Home::new(StoreKind::File);
    home.policy("finance", &source, "");
    home.json(&["backup", "finance"]);
    let folder = home.vault("finance").join("parts");
    let part = folder
        .read_dir()
        .expect("parts")
        .flat_map(|f| f.expect("folder").path().read_dir().expect("folder").map(|p| p.expect("part").path()).collect::<Vec<_>>())
        .max_by_key(|p| p.metadata().expect("part").len())
        .expect("a part");
    let whole = std::fs::read(&part).expect("part");
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    for level in ["content", "restore"] {
        let verify = |level| home.run(&["verify", "finance", "--all", "--level", level, "--scratch", "local"]);
        std::fs::write(&part, &damaged).expect("damage");
        verify(level).exits(6);
        home.run(&["status", "finance"]).exits(9);
        verify("presence");
        home.run(&["status", "finance"]).exits(9);
        home.json(&["backup", "finance"]);
        assert!(std::fs::read(&part).expect("part") == whole, "the damaged part was reused");
        verify(level).exits(0);
        home.run(&["status", "finance"]).exits(0);
    }
    source.remove().await;
}
