//! Relations and what hangs on them survive the round trip through entries.
#![allow(clippy::expect_used, reason = "a helper that fails fails its test")]

use crate::support::corpus::{cases, make_roles, read_catalog, round_trip};
use crate::support::server::Server;

pub(crate) const KINDS: &[&str] = &[
    "table",
    "foreign_table",
    "check",
    "column_default",
    "constraint",
    "foreign_key",
    "index",
    "partition",
    "inheritance",
    "sequence",
    "identity",
    "view",
    "materialized_view",
    "rule",
    "trigger",
    "policy",
    "statistics",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn corpus_of_relations_survives_the_round_trip() {
    let cases = cases(|kind| KINDS.contains(&kind));
    let mut failures = Vec::new();
    for server in Server::all() {
        make_roles(&server).await;
        for case in &cases {
            failures.extend(round_trip(&server, case).await.err());
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n\n"));
}

/// What a later version might bring, made by putting an unknown letter into a catalog: how PostgreSQL describes the object, and the statements.
const UNKNOWN: &[(&str, &str)] = &[
    ("relation odd", "CREATE TABLE odd (a int); UPDATE pg_class SET relkind = 'Z' WHERE relname = 'odd'"),
    ("type kind", "CREATE DOMAIN kind AS int; UPDATE pg_type SET typtype = 'Z' WHERE typname = 'kind'"),
    (
        "constraint promise on table plain",
        "CREATE TABLE plain (a int CONSTRAINT promise CHECK (a > 0)); UPDATE pg_constraint SET contype = 'Z' WHERE conname = 'promise'",
    ),
    (
        "function routine(integer)",
        "CREATE FUNCTION routine(int) RETURNS int LANGUAGE sql AS 'SELECT 1'; UPDATE pg_proc SET prokind = 'Z' WHERE proname = 'routine'",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_kind_covers_is_named() {
    for server in Server::all() {
        let database = server.database("unmodeled").await;
        let client = database.connect().await;
        for (what, sql) in UNKNOWN {
            client.batch_execute(sql).await.unwrap_or_else(|e| panic!("{what}: {e:?}"));
        }
        let catalog = read_catalog(&database).await.expect("extract");
        let named: Vec<String> = catalog.unmodeled.iter().map(|found| found.replace("public.", "")).collect();
        let mut expected: Vec<&str> = UNKNOWN.iter().map(|(what, _)| *what).collect();
        expected.sort_unstable();
        assert_eq!(named, expected, "PostgreSQL {}", server.major);
        database.remove().await;
    }
}

#[tokio::test]
async fn invalid_indexes_and_disabled_keys_are_warned_of() {
    let server = Server::of(17);
    let database = server.database("warnings").await;
    let client = database.connect().await;
    client
        .batch_execute(
            "CREATE TABLE a (id int PRIMARY KEY, n int); CREATE TABLE b (a int REFERENCES a); INSERT INTO a VALUES (1, 1), (2, 1);
             ALTER TABLE b DISABLE TRIGGER ALL",
        )
        .await
        .expect("load");
    client.batch_execute("CREATE UNIQUE INDEX CONCURRENTLY broken ON a (n)").await.expect_err("duplicate keys");
    let catalog = read_catalog(&database).await.expect("extract");
    assert_eq!(catalog.warnings.len(), 2, "{:?}", catalog.warnings);
    assert!(catalog.warnings[0].contains("public.broken") && catalog.warnings[1].contains("public.b"), "{:?}", catalog.warnings);
    assert!(!catalog.entries.iter().any(|e| e.name == "broken"));
    database.remove().await;
}
