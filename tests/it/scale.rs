//! What grows with the number of tables and large objects, and what must not.

use std::fs;

use crate::support::cli::{Home, StoreKind, drop_database, finance, new_name};
use crate::support::server::{Database, Server};

/// Queries that the server logged for one database: of COPY statements, one or many, and all others.
struct Statements {
    copies: usize,
    others: usize,
}

/// The statements of a backup of `tables` small tables, each with a key, an index, a default and a function beside it; and the parts that it stored.
async fn back_up(server: &Server, tables: usize) -> (Statements, u64) {
    let source = server.database("many").await;
    let client = source.connect().await;
    let make = format!(
        "DO $$ BEGIN FOR i IN 1..{tables} LOOP
           EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, a text DEFAULT ''x'', b int NOT NULL)', i);
           EXECUTE format('CREATE INDEX ON t%s (a)', i);
           EXECUTE format('INSERT INTO t%s SELECT g, ''row '' || g, g FROM generate_series(1, 5) g', i);
           EXECUTE format('CREATE FUNCTION f%s() RETURNS int LANGUAGE sql AS ''SELECT %s''', i, i);
         END LOOP; END $$"
    );
    client.batch_execute(&make).await.expect("tables");
    client.batch_execute(&format!("ALTER DATABASE \"{}\" SET log_statement = 'all'", source.name)).await.expect("log");
    drop(client);
    let home = Home::new(StoreKind::File);
    home.policy("many", &source, "");
    let report = home.json(&["backup", "many"]);
    assert_eq!(report["counts"]["rows"], 5 * tables);
    let statements = logged(&source);
    source.remove().await;
    (statements, report["counts"]["parts"].as_u64().expect("parts"))
}

fn logged(database: &Database) -> Statements {
    let name = format!("PGKEEP_TEST_PG{}_SOCKET_DIR", database.server.major);
    let folder = std::env::var(&name).unwrap_or_else(|_| panic!("{name} is not set: run scripts/services start"));
    let log = fs::read(format!("{folder}/log")).expect("the server's log");
    let log = String::from_utf8_lossy(&log);
    let own = log.lines().filter(|line| line.contains(&format!("@{} ", database.name)));
    let (copies, others): (Vec<&str>, Vec<&str>) =
        own.filter(|line| line.contains(" statement: ") || line.contains(" execute ")).partition(|line| line.contains("COPY "));
    Statements { copies: copies.len(), others: others.len() }
}

#[tokio::test]
async fn small_tables_cost_neither_a_statement_nor_an_object_each() {
    let server = Server::of(17);
    let (few, few_parts) = back_up(&server, 20).await;
    let (many, many_parts) = back_up(&server, 800).await;
    // Rows are read, and locks taken, a group of tables at a time.
    assert!((1..=20).contains(&few.copies) && many.copies <= 60, "{} queries for 20 tables, {} for 800", few.copies, many.copies);
    let more = many.others.saturating_sub(few.others);
    assert!(few.others > 50 && more <= 60, "{} statements for 20 tables, {} for 800", few.others, many.others);
    assert!(many_parts <= 30, "{few_parts} parts for 20 tables, {many_parts} for 800");
}

#[tokio::test]
async fn a_small_second_backup_takes_few_requests() {
    let source = finance(&Server::of(17), 500).await;
    let home = Home::new(StoreKind::File);
    home.policy("finance", &source, "");
    let first = home.json(&["backup", "finance"]);
    let second = home.json(&["backup", "finance"]);
    assert_eq!(second["counts"]["new_parts"], 0);
    let requests = |report: &serde_json::Value| report["requests"].as_u64().expect("requests");
    assert!(requests(&second) <= 40, "{}", requests(&second));
    let new = first["counts"]["new_parts"].as_u64().expect("parts");
    assert!(requests(&first) <= 40 + new, "{} for {new} parts", requests(&first));
    source.remove().await;
}

#[tokio::test]
async fn thousands_of_large_objects_go_to_an_owner_of_any_name() {
    let server = Server::of(17);
    let source = server.database("objects").await;
    let role = format!("{}'\"$pgkeep$ \\", new_name("owner"));
    let quoted = pgkeep::base::sql::ident(&role);
    server.admin(&[format!("CREATE ROLE {quoted}")]).await;
    let client = source.connect().await;
    let make = format!(
        "SELECT lo_from_bytea(10000 + g, convert_to('object ' || g, 'UTF8')) FROM generate_series(1, 2500) g;
         DO $$ BEGIN FOR i IN 1..1700 LOOP EXECUTE format('ALTER LARGE OBJECT %s OWNER TO %I', 10000 + i, {}); END LOOP; END $$;
         DO $$ BEGIN FOR i IN 900..1100 LOOP EXECUTE format('GRANT SELECT ON LARGE OBJECT %s TO PUBLIC', 10000 + i); END LOOP; END $$",
        pgkeep::base::sql::literal(&role)
    );
    client.batch_execute(&make).await.expect("large objects");
    let state = "SELECT count(*), count(*) FILTER (WHERE lomowner = (SELECT oid FROM pg_roles WHERE rolname = $1)),
                        count(*) FILTER (WHERE lomacl::text LIKE '%=r/%'), md5(string_agg(oid || encode(lo_get(oid), 'hex'), ',' ORDER BY oid))
                   FROM pg_largeobject_metadata";
    let of = async |name: &str| {
        let row = server.connect(name).await.query_one(state, &[&role]).await.expect("state");
        (row.get::<_, i64>(0), row.get::<_, i64>(1), row.get::<_, i64>(2), row.get::<_, String>(3))
    };
    let home = Home::new(StoreKind::File);
    home.policy("objects", &source, "");
    let report = home.json(&["backup", "objects"]);
    let objects = report["counts"]["objects"].as_u64().expect("objects");
    assert!(objects < 40, "{objects} entries");
    let copy = new_name("copy");
    home.run(&["restore", "objects", "--to", &server.url(&copy), "--yes"]).exits(0);
    let (expected, found) = (of(&source.name).await, of(&copy).await);
    assert_eq!((expected.0, expected.1, expected.2), (2500, 1700, 201));
    assert_eq!(found, expected);
    assert_eq!(server.pg_dump(&source.name, &[]), server.pg_dump(&copy, &[]));
    drop_database(&server, &copy).await;
    source.remove().await;
    server.admin(&[format!("DROP ROLE {quoted}")]).await;
}
