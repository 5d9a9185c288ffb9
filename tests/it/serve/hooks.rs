//! Hooks around a backup, by the command line and by the daemon: both go through the same runner.

use std::fs;

use serde_json::Value;

use super::support::{DAILY, Serve, Vault, wait};
use crate::support::cli::{Home, StoreKind, finance};
use crate::support::server::Server;

const PASSWORD: &str = "hunter2hunter2";

fn hook<'r>(run: &'r Value, name: &str) -> &'r Value {
    run["hooks"].as_array().and_then(|all| all.iter().find(|h| h["hook"] == name)).unwrap_or(&Value::Null)
}

fn newest(vault: &Vault<'_>) -> Value {
    vault.runs().pop().expect("a run")
}

#[tokio::test]
async fn hooks_see_the_run_and_decide_whether_it_takes_place() {
    let source = finance(&Server::of(17), 200).await;
    let home = Home::new(StoreKind::File);
    let vault = Vault::of(&home, "finance");
    let folder = home.path().display().to_string();
    let hooks = |before: &str| {
        format!(
            "[hooks]\nbefore = '''{before}'''\nafter = [\"/bin/sh\", \"-c\", \"cat > {folder}/$PGKEEP_HOOK.json\"]\n\
             on_failure = \"echo $PGKEEP_ERROR_KIND > {folder}/failed\"\nfinally = \"echo $PGKEEP_STATE > {folder}/state\"\ntimeout = \"2s\"\n"
        )
    };
    let state = || fs::read_to_string(home.path().join("state")).expect("finally ran").trim().to_owned();
    let url = source.url();

    home.policy("finance", &source, &hooks("echo fine"));
    let backup = home.json(&["backup", "finance", "--label", "v1"]);
    let told: Value =
        serde_json::from_str(&fs::read_to_string(home.path().join("after.json")).expect("after ran")).expect("JSON");
    assert_eq!((&told["hook"], &told["policy"]), (&Value::from("after"), &Value::from("finance")));
    assert_eq!((&told["run"]["run"], &told["run"]["state"]), (&backup["backup"], &Value::from("succeeded")));
    assert_eq!(told["run"]["label"], "v1");
    assert_eq!((state().as_str(), hook(&newest(&vault), "before")["output"].as_str()), ("succeeded", Some("fine\n")));

    // What the hook prints is kept; the policy's secrets and passwords in addresses are not.
    let secret = url::Url::parse(&url).expect("url").password().unwrap_or_default().to_owned();
    home.policy("finance", &source, &hooks(&format!("echo {url} '{secret}' postgres://a:{PASSWORD}@b/c; exit 3")));
    home.run(&["backup", "finance"]).exits(9).says(&["hook 'before' failed with exit code 3"]);
    let run = newest(&vault);
    assert_eq!((&run["state"], &run["error"]["kind"]), (&Value::from("failed"), &Value::from("gate")));
    let text = run.to_string();
    assert!(!text.contains(PASSWORD) && !text.contains(&url), "{text}");
    assert!(hook(&run, "before")["output"].as_str().is_some_and(|o| o.contains("***")), "{text}");
    assert_eq!(fs::read_to_string(home.path().join("failed")).expect("on_failure ran").trim(), "gate");
    assert_eq!(state(), "failed");
    assert_eq!(home.json(&["list", "finance"])["backups"].as_array().map(Vec::len), Some(1), "no backup was made");

    // One that takes too long is killed with what it started; 75 asks to be tried again.
    home.policy("finance", &source, &hooks(&format!("(sleep 60; touch {folder}/survived) & echo $! > {folder}/pid; wait")));
    home.run(&["backup", "finance"]).exits(9).says(&["longer than 2.0s"]);
    let pid = fs::read_to_string(home.path().join("pid")).expect("pid").trim().to_owned();
    wait("the hook's child to be gone", || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        (stat.is_empty() || stat.contains(") Z ")).then_some(())
    });
    home.policy("finance", &source, &hooks("exit 75"));
    home.run(&["backup", "finance"]).exits(4);
    home.policy("finance", &source, &hooks("true").replace("finally = \"", "finally = \"exit 1; "));
    home.run(&["backup", "finance"]).exits(0).says(&["hook 'finally' failed"]);
    source.remove().await;
}

/// A slot whose run is stopped in its `before` hook still gets its `finally`; one that asks to be tried again is.
#[tokio::test]
async fn the_daemon_runs_them_too() {
    let source = finance(&Server::of(17), 200).await;
    let home = Home::new(StoreKind::File);
    let vault = Vault::of(&home, "finance");
    vault.make_old();
    let folder = home.path().display().to_string();
    let before = format!("echo x >> {folder}/begun; case $(wc -l < {folder}/begun) in 1) exec sleep 600 ;; 2) exit 75 ;; esac");
    home.policy(
        "finance",
        &source,
        &format!("{DAILY}[hooks]\nbefore = '''{before}'''\nfinally = \"echo $PGKEEP_STATE >> {folder}/ended\"\n"),
    );
    let daemon = Serve::start(&home, "first");
    wait("the hook", || fs::metadata(home.path().join("begun")).ok());
    daemon.signal("TERM");
    let (status, log) = daemon.end();
    assert!(status.success(), "{status}: {log}");
    assert_eq!(fs::read_to_string(home.path().join("ended")).expect("finally ran"), "cancelled\n");
    let daemon = Serve::start(&home, "second");
    let done = vault.wait_for("succeeded", 1);
    drop(daemon);
    assert_eq!((done[0]["attempt"].as_u64(), done[0]["trigger"].as_str()), (Some(2), Some("schedule")));
    let ends: Vec<String> = vault.runs().iter().map(|r| r["state"].as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(ends, ["cancelled", "failed", "succeeded"], "{:#?}", vault.runs());
    source.remove().await;
}
