//! Servers that are reached through a Unix socket, with the real binary.

#![allow(clippy::disallowed_methods, reason = "a statement that hangs takes real time")]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::cli::{Home, StoreKind, drop_database, finance, new_name};
use crate::support::server::Server;

#[tokio::test]
async fn rows_are_the_same_over_a_socket_and_over_the_network() {
    for server in Server::all() {
        let source = finance(&server, 2000).await;
        let home = Home::new(StoreKind::File);
        home.policy("finance", &source, "");
        let first = home.json(&["backup", "finance"]);
        let socket = server.socket(&source.name);
        home.policy_of("finance", &socket, "", "");
        let second = home.json(&["backup", "finance"]);
        assert_eq!(second["counts"]["rows"], first["counts"]["rows"], "PostgreSQL {}", server.major);
        assert_eq!(second["counts"]["new_parts"], 0, "PostgreSQL {}", server.major);
        let copy = new_name("copy");
        home.run(&["restore", "finance", "--to", &server.socket(&copy), "--yes"]).exits(0);
        drop_database(&server, &copy).await;
        source.remove().await;
    }
}

#[tokio::test]
async fn what_a_restore_runs_over_a_socket_ends_with_it() {
    let server = Server::of(17);
    let source = server.database("slow").await;
    // Slow only for pgkeep, which has an index made that calls it.
    let make = "CREATE FUNCTION slow(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN
           IF pg_catalog.current_setting('application_name') = 'pgkeep' THEN PERFORM pg_catalog.pg_sleep(600); END IF; RETURN $1; END $$;
         CREATE TABLE t AS SELECT 1 AS a; CREATE INDEX ON t (slow(a))";
    source.connect().await.batch_execute(make).await.expect("make");
    let home = Home::new(StoreKind::File);
    home.policy("slow", &source, "");
    home.run(&["backup", "slow"]).exits(0);
    let copy = new_name("copy");
    let mut command = home.command(&["restore", "slow", "--to", &server.socket(&copy), "--yes"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("start");
    let client = server.connect("postgres").await;
    let active = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{copy}' AND query LIKE 'CREATE INDEX%' AND state = 'active'"
    );
    let until = async |wanted: i64| {
        let begun = Instant::now();
        while client.query_one(&active, &[]).await.expect("look").get::<_, i64>(0) != wanted {
            assert!(begun.elapsed() < Duration::from_secs(60), "waited for {wanted} sessions in vain");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    until(1).await;
    let told = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
    assert!(told.success());
    until(0).await;
    assert!(!child.wait().expect("wait").success());
    drop(client);
    drop_database(&server, &copy).await;
    source.remove().await;
}

#[tokio::test]
async fn a_server_of_the_wrong_kind_at_a_socket_is_refused() {
    let server = Server::of(17);
    let source = server.database("kind").await;
    let home = Home::new(StoreKind::File);
    let socket = server.socket(&source.name);
    home.policy_of("kind", &format!("{socket}&target_session_attrs=read-only"), "", "");
    home.run(&["backup", "kind"]).exits(4).says(&["takes writes", "target_session_attrs"]);
    home.policy_of("kind", &format!("{socket}&target_session_attrs=read-write"), "", "");
    home.run(&["backup", "kind"]).exits(0);
    home.policy_of("nobody", "postgresql://u@/d?host=/nowhere", "", "");
    home.run(&["backup", "nobody"]).exits(4).says(&["no such socket"]);
    source.remove().await;
}
