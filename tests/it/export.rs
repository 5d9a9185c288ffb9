//! Exports against real servers: what is read, whatever happens at the same time, and what is said when it cannot be.
#![allow(clippy::expect_used, reason = "a helper that fails fails its test")]
#![allow(clippy::format_push_string, clippy::format_collect, reason = "statements of a test are built once")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pgkeep::base::ids::random_hex;
use pgkeep::base::shutdown::Shutdown;
use pgkeep::base::{Kind, Result};
use pgkeep::pg::copy::{GroupSink, Sink, TableData};
use pgkeep::pg::export::{Export, ExportOptions, export, export_cluster};
use pgkeep::pg::facts::server_facts;
use tokio::sync::Semaphore;

use super::support::rows::{Memory, clock, export_to, options, silent, target};
use super::support::server::{Database, Server, majors};

async fn database(major: u32, sql: &str) -> Database {
    let database = Server::of(major).database("export").await;
    database.connect().await.batch_execute(sql).await.expect("set up the database");
    database
}

fn table<'a>(export: &'a Export, name: &str) -> &'a TableData {
    export.tables.iter().find(|t| t.table == name).unwrap_or_else(|| panic!("table {name} was not exported"))
}

fn rows(memory: &Memory, table: &TableData) -> String {
    let bytes: Vec<u8> = table.streams.iter().flat_map(|s| memory.stream(&s.stream)).collect();
    String::from_utf8(bytes).expect("UTF-8")
}

#[tokio::test]
async fn every_shape_of_table_is_read_once_and_whole() {
    for major in majors() {
        let db = database(
            major,
            r#"CREATE TABLE nothing (); INSERT INTO nothing DEFAULT VALUES; INSERT INTO nothing DEFAULT VALUES;
               CREATE TABLE computed (a int GENERATED ALWAYS AS (1 + 1) STORED); INSERT INTO computed DEFAULT VALUES;
               CREATE TABLE parent (a int); CREATE TABLE child (b int) INHERITS (parent);
               INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2, 3);
               CREATE TABLE parts (a int) PARTITION BY RANGE (a);
               CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10); INSERT INTO parts VALUES (4), (5);
               CREATE UNLOGGED TABLE scratch (a int); INSERT INTO scratch VALUES (6);
               CREATE MATERIALIZED VIEW seen AS SELECT 7 AS a; CREATE VIEW look AS SELECT * FROM parent;
               CREATE SCHEMA "o.dd/ %"; CREATE TABLE "o.dd/ %"."t""x" ("c ""1" int, dropped int, "2" text);
               ALTER TABLE "o.dd/ %"."t""x" DROP COLUMN dropped; INSERT INTO "o.dd/ %"."t""x" VALUES (8, E'a\tb\\c\nd'), (9, NULL);
               CREATE TABLE empty (a int); CREATE TABLE left_out (a int); INSERT INTO left_out VALUES (1)"#,
        )
        .await;
        let memory = Memory::default();
        let options = ExportOptions { exclude_table_data: vec!["public.left*".to_owned(), "nope.*".to_owned()], ..options() };
        let done = export_to(&memory, &db.url(), &options).await.expect("export");
        let found: BTreeMap<&str, String> = done.tables.iter().map(|t| (t.table.as_str(), rows(&memory, t))).collect();
        let expected = BTreeMap::from([
            ("child", "2\t3\n".to_owned()),
            ("computed", "\n".to_owned()),
            ("empty", String::new()),
            ("nothing", "\n\n".to_owned()),
            ("parent", "1\n".to_owned()),
            ("parts_1", "4\n5\n".to_owned()),
            ("scratch", "6\n".to_owned()),
            ("t\"x", "8\ta\\tb\\\\c\\nd\n9\t\\N\n".to_owned()),
        ]);
        assert_eq!(found, expected, "PostgreSQL {major}");
        assert_eq!(table(&done, "t\"x").streams[0].stream, "data/o%2Edd%2F%20%25.t%22x");
        assert_eq!(table(&done, "nothing").fingerprint.rows, 2);
        let warnings = done.warnings.join("\n");
        assert!(warnings.contains("public.left_out") && warnings.contains("'nope.*' matches no table"), "{warnings}");
        assert_eq!((done.facts.version.major(), done.facts.encoding.as_str()), (major, "UTF8"));
        assert!(done.facts.system_identifier.is_some() && done.facts.timeline == Some(1) && done.facts.lsn.is_some());
        db.remove().await;
    }
}

/// Rows of `storm` tables are replaced (TRUNCATE and INSERT in one transaction) and rewritten (ALTER … TYPE) all the time: at every commit each
/// holds exactly 100 rows.
#[tokio::test(flavor = "multi_thread")]
async fn truncate_and_rewrites_never_make_a_table_read_as_empty() {
    let mut sql = String::new();
    for i in 0..6 {
        sql.push_str(&format!("CREATE TABLE storm{i} (a int8); INSERT INTO storm{i} SELECT generate_series(1, 100);"));
    }
    let db = database(17, &sql).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut storms = Vec::new();
    for i in 0..6 {
        let (client, stop) = (db.connect().await, Arc::clone(&stop));
        storms.push(tokio::spawn(async move {
            let mut turns = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                let statement = match (turns + i) % 3 {
                    0 => format!("BEGIN; TRUNCATE storm{i}; INSERT INTO storm{i} SELECT generate_series(1, 100); COMMIT"),
                    1 => format!("ALTER TABLE storm{i} ALTER a TYPE numeric; ALTER TABLE storm{i} ALTER a TYPE int8"),
                    _ => {
                        format!("CREATE TABLE late{i}_{turns} AS SELECT generate_series(1, 100) AS a; DROP TABLE late{i}_{turns}")
                    }
                };
                client.batch_execute(&statement).await.expect("storm");
                turns += 1;
            }
            turns
        }));
    }
    let mut exported = 0;
    for _ in 0..8 {
        let memory = Memory::default();
        match export_to(&memory, &db.url(), &options()).await {
            Ok(done) => {
                exported += 1;
                for table in &done.tables {
                    assert_eq!(table.fingerprint.rows, 100, "{} was torn", table.table);
                }
                assert!(done.tables.iter().filter(|t| t.table.starts_with("storm")).count() == 6);
            }
            // Definitions that never stand still may be refused, loudly.
            Err(error) => assert_eq!(error.kind(), Kind::Unavailable, "{error:?}"),
        }
    }
    stop.store(true, Ordering::Relaxed);
    for storm in storms {
        assert!(storm.await.expect("storm") > 10, "the storm was a breeze");
    }
    assert!(exported >= 2, "only {exported} of 8 exports came through");
    db.remove().await;
}

/// Holds back the first group until told.
struct Gate {
    memory: Memory,
    entered: Semaphore,
    open: Semaphore,
}

#[async_trait]
impl Sink for Gate {
    async fn group(&self, name: &str) -> Result<Box<dyn GroupSink>> {
        self.entered.add_permits(1);
        self.open.acquire().await.expect("gate").forget();
        self.open.add_permits(1);
        self.memory.group(name).await
    }
}

/// The migration waits for the lock of the session that took the snapshot; a reader that queued behind it would wait for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_waits_for_us_does_not_stop_the_export() {
    // Each larger than a small table, so that it is a unit of its own.
    let mut sql = String::new();
    for i in 0..3 {
        sql.push_str(&format!(
            "CREATE TABLE big{i} (a int, b text); ALTER TABLE big{i} ALTER b SET STORAGE PLAIN;
             INSERT INTO big{i} SELECT n, repeat('x', 7000) FROM generate_series(1, 700) n;"
        ));
    }
    let db = database(17, &sql).await;
    let gate = Arc::new(Gate { memory: Memory::default(), entered: Semaphore::new(0), open: Semaphore::new(0) });
    let (sink, url) = (Arc::clone(&gate), db.url());
    let export = tokio::spawn(async move {
        let one = ExportOptions { jobs: 1, ..options() };
        export(&target(&url), &one, Ok, sink, &silent(), &Shutdown::new(), &clock()).await
    });
    gate.entered.acquire().await.expect("entered").forget();
    // The one reader is in its first table; all others are locked by the session of the snapshot alone.
    let mut migrations = Vec::new();
    for i in 0..3 {
        let client = db.connect().await;
        migrations.push(tokio::spawn(async move {
            client.batch_execute(&format!("ALTER TABLE big{i} ADD COLUMN c int; TRUNCATE big{i}")).await
        }));
    }
    let watcher = db.connect().await;
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock' AND \
                   database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    while watcher.query_one(waiting, &[]).await.expect("locks").get::<_, i64>(0) < 3 {
        tokio::task::yield_now().await;
    }
    gate.open.add_permits(1);
    let done = tokio::time::timeout(Duration::from_secs(60), export).await.expect("no deadlock").expect("task").expect("export");
    assert!(done.tables.iter().all(|t| t.fingerprint.rows == 700 && t.columns.len() == 2), "{:?}", done.tables);
    for migration in migrations {
        migration.await.expect("task").expect("the migration goes on once its table is read");
    }
    db.remove().await;
}

#[tokio::test]
async fn a_large_table_is_read_in_ranges_that_hold_all_rows_once() {
    // 17,000 pages of one row each: two ranges.
    let db = database(
        17,
        "CREATE TABLE wide (a int, b text); ALTER TABLE wide ALTER b SET STORAGE PLAIN;
         INSERT INTO wide SELECT n, repeat('x', 7500) FROM generate_series(1, 17000) n",
    )
    .await;
    let memory = Memory::default();
    let done = export_to(&memory, &db.url(), &options()).await.expect("export");
    let wide = table(&done, "wide");
    let ranges: Vec<_> = wide.streams.iter().map(|s| (s.stream.as_str(), s.from_block, s.to_block, s.fingerprint.rows)).collect();
    assert_eq!(ranges, [("data/public.wide/0", Some(0), Some(16384), 16384), ("data/public.wide/16384", Some(16384), None, 616)]);
    assert_eq!(wide.fingerprint.rows, 17000);
    db.remove().await;
}

#[tokio::test]
async fn what_may_not_be_read_is_named_with_the_grant_that_helps() {
    let role = format!("weak_{}", random_hex(4));
    let db = database(17, "CREATE SCHEMA inner_s; CREATE TABLE inner_s.secret (a int); CREATE TABLE guarded (a int)").await;
    db.server.admin(&[format!("CREATE ROLE {role} LOGIN PASSWORD 'weak'")]).await;
    let mut url = url::Url::parse(&db.url()).expect("URL");
    url.set_username(&role).expect("user");
    url.set_password(Some("weak")).expect("password");
    let client = db.connect().await;
    let refused = async || {
        let error = export_to(&Memory::default(), url.as_str(), &options()).await.expect_err("refused");
        assert_eq!(error.kind(), Kind::Denied, "{error:?}");
        format!("{error:?}")
    };
    let text = refused().await;
    assert!(text.contains("\"public\".\"guarded\"") || text.contains("GRANT USAGE ON SCHEMA \"inner_s\""), "{text}");
    client
        .batch_execute(&format!("GRANT USAGE ON SCHEMA inner_s TO {role}; GRANT SELECT ON guarded TO {role}"))
        .await
        .expect("grant");
    let text = refused().await;
    assert!(text.contains(&format!("GRANT SELECT ON TABLE \"inner_s\".\"secret\" TO \"{role}\"")), "{text}");
    assert!(text.contains("pg_read_all_data"), "{text}");
    client
        .batch_execute(&format!("GRANT pg_read_all_data TO {role}; ALTER TABLE guarded ENABLE ROW LEVEL SECURITY"))
        .await
        .expect("grant");
    let text = refused().await;
    assert!(text.contains("row security") && text.contains("guarded") && text.contains("BYPASSRLS"), "{text}");
    client.batch_execute(&format!("ALTER ROLE {role} BYPASSRLS")).await.expect("alter");
    export_to(&Memory::default(), url.as_str(), &options()).await.expect("export with enough rights");
    drop(client);
    let server = db.server.clone();
    db.remove().await;
    server.admin(&[format!("DROP ROLE {role}")]).await;
}

#[tokio::test]
async fn each_way_not_to_get_in_has_its_own_sentence() {
    let server = Server::of(15);
    let change = |edit: &dyn Fn(&mut url::Url)| {
        let mut url = url::Url::parse(&server.url("postgres")).expect("URL");
        edit(&mut url);
        url.to_string()
    };
    let cases: [(String, Kind, &str); 6] = [
        (change(&|u| u.set_password(Some("s3cret-wrong")).expect("set")), Kind::Denied, "refused the password"),
        (change(&|u| u.set_password(None).expect("set")), Kind::Denied, "password"),
        (change(&|u| u.set_path("no_such_database")), Kind::NotFound, "no_such_database"),
        (change(&|u| u.set_port(Some(1)).expect("set")), Kind::Unavailable, "cannot reach"),
        (change(&|u| u.set_host(Some("no-such-host.invalid")).expect("set")), Kind::Unavailable, "cannot reach"),
        (change(&|u| u.set_query(Some("sslmode=verify-full&sslrootcert=/nonexistent"))), Kind::Denied, "sslrootcert"),
    ];
    for (url, kind, text) in cases {
        let error = server_facts(&target(&url)).await.expect_err("refused");
        let shown = format!("{error:?}");
        assert_eq!(error.kind(), kind, "{shown}");
        assert!(shown.contains(text) && error.hint_text().is_some(), "{shown}");
        assert!(!shown.contains("s3cret"), "{shown}");
    }
    let error = server_facts(&target(&change(&|u| u.set_query(Some("sslmode=require"))))).await;
    // The test servers have no TLS.
    let error = error.expect_err("refused");
    assert_eq!(error.kind(), Kind::Denied, "{error:?}");
}

#[tokio::test]
async fn the_cluster_has_its_roles() {
    let server = Server::of(15);
    let role = format!("cluster_{}", random_hex(4));
    server.admin(&[format!("CREATE ROLE {role} LOGIN PASSWORD 'x'")]).await;
    let done = export_cluster(&target(&server.url("postgres"))).await.expect("export");
    let entry = done.entries.iter().find(|e| e.kind == "role" && e.name == role).expect("the role");
    assert!(entry.create.iter().any(|s| s.plain().contains("SCRAM-SHA-256")), "{entry:?}");
    assert!(done.entries.iter().all(|e| e.scope == pgkeep::pg::catalog::entry::Scope::Cluster));
    server.admin(&[format!("DROP ROLE {role}")]).await;
}

#[tokio::test]
async fn large_objects_read_the_same_for_superusers_and_others() {
    let role = format!("objects_{}", random_hex(4));
    let db = database(17, "SELECT lo_from_bytea(0, decode(repeat('00ff', 3000), 'hex')); SELECT lo_from_bytea(0, '\\x'); SELECT lo_from_bytea(0, 'abc')").await;
    let client = db.connect().await;
    client
        .batch_execute(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'weak';
             DO $$ DECLARE o oid; BEGIN FOR o IN SELECT oid FROM pg_largeobject_metadata LOOP
                EXECUTE format('GRANT SELECT ON LARGE OBJECT %s TO {role}', o); END LOOP; END $$"
        ))
        .await
        .expect("grant");
    let mut url = url::Url::parse(&db.url()).expect("URL");
    url.set_username(&role).expect("user");
    url.set_password(Some("weak")).expect("password");
    let (strong, weak) = (Memory::default(), Memory::default());
    let a = export_to(&strong, &db.url(), &options()).await.expect("export");
    let b = export_to(&weak, url.as_str(), &options()).await.expect("export");
    let of = |export: &Export| export.tables.iter().find(|t| t.is_large_objects()).cloned().expect("large objects");
    let (a, b) = (of(&a), of(&b));
    assert_eq!(a, b);
    assert_eq!(a.fingerprint.rows, 4, "three pages and one");
    assert_eq!(rows(&strong, &a), rows(&weak, &b));
    drop(client);
    let server = db.server.clone();
    server.connect(&db.name).await.batch_execute(&format!("DROP OWNED BY {role}")).await.expect("drop owned");
    db.remove().await;
    server.admin(&[format!("DROP ROLE {role}")]).await;
}

#[tokio::test]
async fn small_tables_share_groups_and_cancelling_ends_the_export() {
    let sql: String = (0..200).map(|i| format!("CREATE TABLE t{i} (a int); INSERT INTO t{i} VALUES ({i});")).collect();
    let db = database(17, &sql).await;
    let memory = Memory::default();
    let done = export_to(&memory, &db.url(), &options()).await.expect("export");
    assert_eq!(done.tables.len(), 200);
    let groups = memory.groups();
    assert!(groups.len() < 20 && groups.values().map(Vec::len).sum::<usize>() == 200, "{} groups", groups.len());

    let gate = Arc::new(Gate { memory, entered: Semaphore::new(0), open: Semaphore::new(0) });
    let (stop, url, sink) = (Shutdown::new(), db.url(), Arc::clone(&gate));
    let shutdown = stop.clone();
    let running = tokio::spawn(async move { export(&target(&url), &options(), Ok, sink, &silent(), &shutdown, &clock()).await });
    gate.entered.acquire().await.expect("entered").forget();
    stop.cancel();
    assert_eq!(running.await.expect("task").expect_err("cancelled").kind(), Kind::Cancelled);
    db.remove().await;
}
