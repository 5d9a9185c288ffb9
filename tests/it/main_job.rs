//! The main job through the real binary: back up, list, prove, restore; and each way in which it can go wrong.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::cli::{Home, StoreKind, drop_database, finance, finish, new_name};
use crate::support::server::{Database, Server};

const NO_MORE: &str = "";

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a string: {value}")).to_owned()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("not a number: {value}"))
}

/// Restores the newest backup of `policy` into a new database and compares `pg_dump`'s text.
async fn restore_and_compare(home: &Home, policy: &str, source: &Database) {
    let copy = new_name("copy");
    let url = source.server.url(&copy);
    let outcome = home.json(&["restore", policy, "--to", &url, "--yes"]);
    assert_eq!(outcome["complete"], true, "{outcome:#}");
    let expected = source.server.pg_dump(&source.name, &[]);
    let found = source.server.pg_dump(&copy, &[]);
    assert!(expected == found, "pg_dump differs:\n{}", crate::support::corpus::difference(&expected, &found));
    drop_database(&source.server, &copy).await;
}

async fn main_job(major: u32, kind: StoreKind, rows: u64) {
    let server = Server::of(major);
    let source = finance(&server, rows).await;
    let home = Home::new(kind);
    home.policy("finance", &source, NO_MORE);

    home.run(&["doctor", "finance"]).exits(0);
    let backup = home.json(&["backup", "finance", "--label", "v1"]);
    assert!(number(&backup["counts"]["rows"]) >= rows, "{backup:#}");
    let listed = home.json(&["list", "finance"]);
    assert_eq!(listed["backups"].as_array().map(Vec::len), Some(1), "{listed:#}");
    assert_eq!(listed["backups"][0]["backup"], backup["backup"]);
    assert_eq!(listed["backups"][0]["label"], "v1");

    let drill = home.json(&["verify", "finance", "--level", "restore", "--scratch", "local"]);
    assert_eq!(drill["proofs"][0]["passed"], true, "{drill:#}");
    let shown = home.json(&["show", "finance"]);
    assert_eq!(shown["proven"], "restore", "{shown:#}");
    for level in ["presence", "content"] {
        home.run(&["verify", "finance", "--level", level]).exits(0);
    }
    restore_and_compare(&home, "finance", &source).await;
    home.run(&["status", "finance"]).exits(0);
    source.remove().await;
}

#[tokio::test]
async fn main_job_on_15_in_a_folder() {
    main_job(15, StoreKind::File, 20_000).await;
}

#[tokio::test]
async fn main_job_on_17_in_s3() {
    main_job(17, StoreKind::S3, 20_000).await;
}

#[tokio::test]
async fn main_job_on_18_in_a_folder() {
    main_job(18, StoreKind::File, 20_000).await;
}

/// Big enough for several ctid ranges and parts.
#[tokio::test]
async fn half_a_million_rows_round_trip() {
    main_job(17, StoreKind::File, 500_000).await;
}

#[tokio::test]
async fn the_second_backup_uploads_only_what_is_new() {
    let source = finance(&Server::of(17), 200_000).await;
    let home = Home::new(StoreKind::File);
    home.policy("finance", &source, NO_MORE);
    let first = home.json(&["backup", "finance"]);
    let same = home.json(&["backup", "finance"]);
    assert_eq!(number(&same["counts"]["new_parts"]), 0, "nothing changed: {same:#}");
    let client = source.connect().await;
    client.batch_execute("SELECT finance.add_month('2031-01-01', 5000)").await.expect("append a partition");
    let second = home.json(&["backup", "finance"]);
    let bytes = |b: &Value| number(&b["counts"]["new_stored_bytes"]);
    assert!(bytes(&second) > 0);
    assert!(bytes(&second) * 5 < bytes(&first), "first {} bytes, second {} bytes", bytes(&first), bytes(&second));
    restore_and_compare(&home, "finance", &source).await;
    source.remove().await;
}

#[tokio::test]
async fn a_restore_needs_no_policy_file() {
    let source = finance(&Server::of(15), 500).await;
    let home = Home::new(StoreKind::File);
    home.policy("finance", &source, NO_MORE);
    home.json(&["backup", "finance"]);
    fs::remove_dir_all(home.path().join("policies")).expect("remove the policies");
    let vaults = home.json(&["list", "--store", home.store()]);
    assert_eq!(vaults["backups"][0]["policy"], "finance", "{vaults:#}");
    let copy = new_name("copy");
    home.run(&["restore", "finance", "--store", home.store(), "--to", &source.server.url(&copy), "--yes"]).exits(0);
    assert_eq!(source.server.pg_dump(&source.name, &[]), source.server.pg_dump(&copy, &[]));
    home.run(&["verify", "finance", "--store", home.store(), "--level", "content"]).exits(0);
    drop_database(&source.server, &copy).await;
    source.remove().await;
}

#[tokio::test]
async fn a_wrong_password_is_refused_with_a_sentence_and_without_the_password() {
    let source = Server::of(17).database("empty").await;
    let home = Home::new(StoreKind::File);
    let url = source.url();
    let mut wrong = url::Url::parse(&url).expect("URL");
    wrong.set_password(Some("not-the-password")).expect("set password");
    home.policy_of("finance", wrong.as_str(), "", NO_MORE);
    let ran = home.run(&["backup", "finance"]).exits(4).says(&["password", "postgres"]);
    assert!(!ran.stderr.contains("not-the-password") && !ran.stdout.contains("not-the-password"));
    let document = home.run(&["--json", "backup", "finance"]).exits(4).document();
    assert_eq!(document["error"]["exit_code"], 4);
    assert!(!home.vault("finance").exists(), "a run that never reached the server leaves no vault behind");

    // Where there is a vault, the failed run is on record: status says so, and nothing is pruned.
    home.policy("finance", &source, NO_MORE);
    home.json(&["backup", "finance"]);
    home.policy_of("finance", wrong.as_str(), "", NO_MORE);
    home.run(&["backup", "finance"]).exits(4);
    home.run(&["status", "finance"]).exits(9).says(&["the last run", "failed", "password"]);
    home.run(&["prune", "finance", "--yes"]).exits(9);
    source.remove().await;
}

#[tokio::test]
async fn a_missing_bucket_is_named() {
    let source = Server::of(17).database("empty").await;
    let home = Home::new(StoreKind::S3);
    home.policy("finance", &source, NO_MORE);
    let file = home.path().join("policies/finance.toml");
    let policy = fs::read_to_string(&file).expect("read policy").replace("s3://pgkeep-test", "s3://no-such-pgkeep-test");
    fs::write(&file, policy).expect("write policy");
    home.run(&["backup", "finance"]).exits(4).says(&["no-such-pgkeep-test", "bucket"]);
    source.remove().await;
}

#[tokio::test]
async fn a_full_disk_fails_the_run_and_lists_nothing() {
    let source = finance(&Server::of(17), 200_000).await;
    let home = Home::new(StoreKind::File);
    home.policy("finance", &source, NO_MORE);
    fs::create_dir(home.path().join("vaults")).expect("vaults folder");
    // A mount namespace of the command's own, so that the small file system is gone with it; the listing runs inside as well.
    let script = format!(
        "mount -t tmpfs -o size=3m none {0}/vaults && {1} backup finance; code=$?; {1} --json list finance >&3; exit $code",
        home.path().display(),
        env!("CARGO_BIN_EXE_pgkeep")
    );
    let listing = home.path().join("listing.json");
    let mut command = home.command(&[]);
    let environment: Vec<_> = command.get_envs().map(|(k, v)| (k.to_owned(), v.map(std::ffi::OsStr::to_owned))).collect();
    command = std::process::Command::new("unshare");
    command.args(["--mount", "--map-root-user", "sh", "-c", &format!("exec 3>{}; {script}", listing.display())]);
    for (key, value) in environment {
        command.env(key, value.unwrap_or_default());
    }
    command.current_dir(home.path());
    finish(command, &["backup", "on a full disk"]).exits(4).says(&["space"]);
    let listed: Value = serde_json::from_str(&fs::read_to_string(listing).expect("listing")).expect("JSON");
    assert_eq!(listed["result"]["backups"].as_array().map(Vec::len), Some(0), "{listed:#}");
    source.remove().await;
}

#[tokio::test]
async fn a_target_that_is_not_empty_is_left_alone() {
    let server = Server::of(17);
    let source = finance(&server, 500).await;
    let home = Home::new(StoreKind::File);
    home.policy("finance", &source, NO_MORE);
    home.json(&["backup", "finance"]);
    let before = server.pg_dump(&source.name, &[]);
    home.run(&["restore", "finance", "--to", &source.url(), "--yes"]).exits(5).says(&["not empty"]);
    assert_eq!(before, server.pg_dump(&source.name, &[]));

    // With --clean, the backup's objects replace what is there.
    let client = source.connect().await;
    client
        .batch_execute("DELETE FROM finance.transactions; ALTER TABLE finance.accounts ADD COLUMN later int")
        .await
        .expect("damage");
    drop(client);
    home.run(&["restore", "finance", "--to", &source.url(), "--clean"]).exits(2).says(&["--yes"]);
    home.run(&["restore", "finance", "--to", &source.url(), "--clean", "--yes"]).exits(0);
    let after = server.pg_dump(&source.name, &[]);
    assert!(before == after, "{}", crate::support::corpus::difference(&before, &after));
    source.remove().await;
}

fn parts(home: &Home, policy: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in fs::read_dir(home.vault(policy).join("parts")).expect("parts") {
        for part in fs::read_dir(folder.expect("folder").path()).expect("folder") {
            found.push(part.expect("part").path());
        }
    }
    found.sort_by_key(|p| std::cmp::Reverse(fs::metadata(p).expect("part").len()));
    found
}

#[tokio::test]
async fn damage_is_found_and_never_restored_as_if_whole() {
    let server = Server::of(17);
    let source = finance(&server, 100_000).await;
    let home = Home::new(StoreKind::File);
    home.policy("finance", &source, NO_MORE);
    home.json(&["backup", "finance"]);
    let part = parts(&home, "finance").remove(0);
    let whole = fs::read(&part).expect("part");

    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x10;
    fs::write(&part, &flipped).expect("corrupt the part");
    home.run(&["verify", "finance", "--level", "content"]).exits(6);
    let copy = new_name("copy");
    let name = part.file_name().expect("name").to_string_lossy().into_owned();
    home.run(&["restore", "finance", "--to", &server.url(&copy), "--yes"]).exits(6).says(&[&name]);
    drop_database(&server, &copy).await;

    fs::remove_file(&part).expect("delete the part");
    let report = home.run(&["--json", "verify", "finance", "--level", "presence"]).exits(6).document();
    assert!(report.to_string().contains(&name), "{report:#}");
    home.run(&["restore", "finance", "--to", &server.url(&copy), "--yes"]).exits(6).says(&[&name]);
    drop_database(&server, &copy).await;
    assert_ne!(text(&home.json(&["list", "finance"])["backups"][0]["backup"]), "");

    // The next backup has the right text at hand and puts the part back.
    home.json(&["backup", "finance"]);
    assert_eq!(fs::read(&part).expect("part"), whole);
    home.run(&["verify", "finance", "--all", "--level", "content"]).exits(0);
    source.remove().await;
}

#[tokio::test]
async fn a_time_before_the_first_backup_finds_nothing_and_says_what_there_is() {
    let source = finance(&Server::of(15), 100).await;
    let home = Home::new(StoreKind::File);
    home.policy("finance", &source, NO_MORE);
    assert_eq!(home.json(&["list", "finance"])["backups"].as_array().map(Vec::len), Some(0));
    let backup = home.json(&["backup", "finance"]);
    let target = source.server.url(&new_name("never"));
    home.run(&["restore", "finance", "--at", "2020-01-01 00:00", "--to", &target, "--yes"])
        .exits(7)
        .says(&[&text(&backup["backup"])]);
    home.run(&["restore", "finance", "--at", "nonsense", "--to", &target]).exits(2);
    home.run(&["restore", "nobody", "--to", &target]).exits(7);
    source.remove().await;
}

#[tokio::test]
async fn at_chooses_the_newest_backup_at_or_before_the_time() {
    let source = finance(&Server::of(15), 100).await;
    let home = Home::new(StoreKind::File);
    home.policy("finance", &source, NO_MORE);
    let first = home.json(&["backup", "finance"]);
    let client = source.connect().await;
    client.batch_execute("CREATE TABLE public.later AS SELECT 1 AS x").await.expect("later");
    let second = home.json(&["backup", "finance"]);
    for (at, expected) in [(&first["consistent_at"], &first), (&second["consistent_at"], &second)] {
        let plan = home.json(&["restore", "finance", "--at", &text(at), "--to", &source.server.url(&new_name("x")), "--plan"]);
        assert_eq!(plan["backup"], expected["backup"], "{plan:#}");
    }
    let listed = home.json(&["list", "finance", "--at", &text(&first["consistent_at"])]);
    assert_eq!(listed["backups"][0]["backup"], first["backup"]);
    source.remove().await;
}

#[tokio::test]
async fn pieces_can_be_restored() {
    let server = Server::of(17);
    let source = finance(&server, 2_000).await;
    let home = Home::new(StoreKind::File);
    home.policy("finance", &source, NO_MORE);
    home.json(&["backup", "finance"]);

    let scratch = server.database("piece").await;
    scratch.connect().await.batch_execute("CREATE SCHEMA audit").await.expect("schema");
    scratch.connect().await.batch_execute("DROP SCHEMA audit").await.expect("schema");
    let schema_only = new_name("schema_only");
    home.run(&["restore", "finance", "--to", &server.url(&schema_only), "--schema-only", "--yes"]).exits(0);
    assert_eq!(server.pg_dump(&source.name, &["--schema-only"]), server.pg_dump(&schema_only, &["--schema-only"]));
    home.run(&["restore", "finance", "--to", &server.url(&schema_only), "--data-only", "--yes"]).exits(0);
    let (expected, found) = (server.pg_dump(&source.name, &[]), server.pg_dump(&schema_only, &[]));
    assert!(expected == found, "{}", crate::support::corpus::difference(&expected, &found));
    drop_database(&server, &schema_only).await;

    let one = new_name("one_table");
    home.run(&["restore", "finance", "--to", &server.url(&one), "--table", "finance.accounts", "--yes"]).exits(0);
    let count = "SELECT count(*) FROM finance.accounts";
    let of = async |name: &str| server.connect(name).await.query_one(count, &[]).await.expect("count").get::<_, i64>(0);
    assert_eq!(of(&source.name).await, of(&one).await);
    drop_database(&server, &one).await;

    let plain = new_name("no_owner");
    home.run(&["restore", "finance", "--to", &server.url(&plain), "--no-owner", "--no-privileges", "--yes"]).exits(0);
    // pg_dump groups large objects by owner, so without owners their order of appearance differs.
    let options = ["--no-owner", "--no-privileges", "--no-large-objects"];
    let (expected, found) = (server.pg_dump(&source.name, &options), server.pg_dump(&plain, &options));
    assert!(expected == found, "{}", crate::support::corpus::difference(&expected, &found));
    drop_database(&server, &plain).await;
    home.run(&["restore", "finance", "--to", &scratch.url(), "--table", "finance.no_such_table", "--yes"]).exits(7);
    scratch.remove().await;
    source.remove().await;
}

/// A letter in a catalog that no release knows yet stands for what a later server brings.
#[tokio::test]
async fn what_cannot_be_backed_up_is_named_and_fails_the_backup() {
    let source = Server::of(17).database("unmodeled").await;
    source
        .connect()
        .await
        .batch_execute(
            "CREATE TABLE t (x int); INSERT INTO t VALUES (1);
             CREATE FUNCTION far_away() RETURNS int LANGUAGE sql AS 'SELECT 1'; UPDATE pg_proc SET prokind = 'Z' WHERE proname = 'far_away'",
        )
        .await
        .expect("objects");
    let home = Home::new(StoreKind::File);
    home.policy("strange", &source, NO_MORE);
    home.run(&["backup", "strange"]).exits(8).says(&["far_away", "allow_unmodeled"]);
    assert_eq!(home.json(&["list", "strange"])["backups"].as_array().map(Vec::len), Some(0));
    home.policy_of("strange", &source.url(), "allow_unmodeled = true", NO_MORE);
    let backup = home.json(&["backup", "strange"]);
    assert!(backup.to_string().contains("far_away"), "{backup:#}");
    source.remove().await;
}
