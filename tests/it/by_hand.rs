//! `scripts/restore-by-hand` restores what pgkeep wrote with nothing but cp, zstd, jq and psql, following docs/FORMAT.md.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::cli::{Home, StoreKind, drop_database, finance, new_name};
use crate::support::server::{Database, Server};

fn by_hand(home: &Home, backup: &str, source: &Database, copy: &str) -> Output {
    let url = url::Url::parse(&source.url()).expect("URL of the test server");
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/restore-by-hand"))
        .args([home.vault("finance").to_str().expect("path"), backup, &source.name, copy])
        .env("PGHOST", url.host_str().unwrap_or("127.0.0.1"))
        .env("PGPORT", url.port().unwrap_or(5432).to_string())
        .env("PGUSER", url.username())
        .env("PGPASSWORD", url.password().unwrap_or_default())
        .output()
        .expect("run restore-by-hand")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn a_backup_is_restored_without_pgkeep_and_damage_is_noticed() {
    let server = Server::of(15);
    let source = finance(&server, 20_000).await;
    let client = source.connect().await;
    let more = "CREATE TABLE nothing (); INSERT INTO nothing DEFAULT VALUES; SELECT lo_from_bytea(0, decode(repeat('c0ffee', 9000), 'hex'))";
    client.batch_execute(more).await.expect("awkward objects");
    let home = Home::new(StoreKind::File);
    home.policy("finance", &source, "");
    let backup = home.json(&["backup", "finance"])["backup"].as_str().expect("id").to_owned();

    let copy = new_name("by_hand");
    let output = by_hand(&home, &backup, &source, &copy);
    assert!(output.status.success(), "{}", text(&output));
    let (expected, found) = (source.server.pg_dump(&source.name, &[]), source.server.pg_dump(&copy, &[]));
    assert!(expected == found, "pg_dump differs:\n{}", crate::support::corpus::difference(&expected, &found));
    drop_database(&server, &copy).await;

    let parts = home.vault("finance").join("parts");
    let folder = std::fs::read_dir(parts).expect("parts").next().expect("a part").expect("folder").path();
    let part = std::fs::read_dir(folder).expect("part").next().expect("a part").expect("part").path();
    let mut bytes = std::fs::read(&part).expect("read the part");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&part, bytes).expect("damage the part");
    let output = by_hand(&home, &backup, &source, &copy);
    let name = part.file_name().and_then(|n| n.to_str()).expect("part id");
    assert!(!output.status.success() && text(&output).contains(name), "{}", text(&output));
    drop_database(&server, &copy).await;
    source.remove().await;
}
