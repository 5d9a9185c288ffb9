//! Objects that stand for something on another server: foreign tables and subscriptions. That server is never asked.
#![allow(clippy::expect_used, reason = "a helper that fails fails its test")]

use std::sync::Arc;

use pgkeep::base::ids::random_hex;
use pgkeep::base::shutdown::Shutdown;
use pgkeep::pg::compare::{Comparison, compare};
use pgkeep::pg::facts::drop_database;
use pgkeep::pg::restore::{RestoreInput, RestoreOptions, RestoreOutcome, RestorePlan, execute, plan};

use super::support::cli::{Home, StoreKind, finish, new_name};
use super::support::rows::{Memory, clock, export_to, input, options, silent, target};
use super::support::server::{Database, Server};

async fn restore(url: &str, input: &RestoreInput, memory: &Memory, options: RestoreOptions) -> (RestorePlan, RestoreOutcome) {
    let options = RestoreOptions { jobs: 2, ..options };
    let target = target(url);
    let plan = plan(&target, input, &options).await.expect("plan");
    let source = Arc::new(memory.clone());
    let outcome = execute(&target, input, &plan, source, &silent(), &Shutdown::new(), &clock()).await.expect("restore");
    (plan, outcome)
}

async fn compared(url: &str, input: &RestoreInput) -> Comparison {
    compare(&target(url), input, 2, &silent(), &Shutdown::new()).await.expect("compare")
}

async fn remove(server: &Server, name: &str) {
    drop_database(&target(&server.url("postgres")), name).await.expect("drop");
}

async fn text(server: &Server, database: &str, sql: &str) -> String {
    server.connect(database).await.query_one(sql, &[]).await.expect("query").get(0)
}

/// A wrapper without a handler: whoever reads a row of its tables fails.
const FOREIGN: &str = "
CREATE FOREIGN DATA WRAPPER unreachable; CREATE SERVER away FOREIGN DATA WRAPPER unreachable;
CREATE TABLE parent (id int, v text); INSERT INTO parent SELECT n, 'p' FROM generate_series(1, 100) n;
CREATE TABLE middle () INHERITS (parent); INSERT INTO middle SELECT n, 'm' FROM generate_series(1, 10) n;
CREATE FOREIGN TABLE heir () INHERITS (middle) SERVER away;
CREATE TABLE measured (day date, v int) PARTITION BY RANGE (day);
CREATE TABLE now PARTITION OF measured FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE FOREIGN TABLE old PARTITION OF measured FOR VALUES FROM (MINVALUE) TO ('2026-01-01') SERVER away;
INSERT INTO now SELECT '2026-01-01'::date + n, n FROM generate_series(1, 200) n;
CREATE INDEX ON measured (v)";

#[tokio::test(flavor = "multi_thread")]
async fn foreign_tables_come_back_without_anybody_reading_them() {
    for server in Server::all() {
        let original = server.database("foreign").await;
        original.connect().await.batch_execute(FOREIGN).await.expect("load");
        let memory = Memory::default();
        let export = export_to(&memory, &original.url(), &options()).await.expect("export");
        assert!(export.warnings.iter().any(|w| w.contains("public.heir, public.old")), "{:?}", export.warnings);
        let backup = input(export);
        let read: Vec<&str> = backup.tables.iter().map(|t| t.table.as_str()).collect();
        assert_eq!(read, ["middle", "now", "parent"]);
        let copy = new_name("foreign");
        let (_, outcome) = restore(&server.url(&copy), &backup, &memory, RestoreOptions::default()).await;
        assert!(outcome.is_complete() && outcome.rows == 310, "PostgreSQL {}: {outcome:#?}", server.major);
        let unread = ["parent", "middle"]
            .map(|t| outcome.warnings.iter().any(|w| w.contains(&format!("\"{t}\"")) && w.contains("not analysed")));
        assert!(unread == [true, true] && outcome.warnings.len() == 2, "{:?}", outcome.warnings);
        let statistics =
            "SELECT coalesce(string_agg(DISTINCT tablename::text, ' '), '') FROM pg_stats WHERE schemaname = 'public'";
        assert_eq!(text(&server, &copy, statistics).await, "now");
        assert!(
            server.pg_dump(&original.name, &[]) == server.pg_dump(&copy, &[]),
            "PostgreSQL {}: pg_dump differs",
            server.major
        );
        let same = compared(&server.url(&copy), &backup).await;
        assert!(same.is_equal() && same.rows == 310, "{same:#?}");

        let (_, again) =
            restore(&server.url(&copy), &backup, &memory, RestoreOptions { clean: true, ..RestoreOptions::default() }).await;
        assert!(again.is_complete(), "PostgreSQL {}: {again:#?}", server.major);
        let one = RestoreOptions { tables: vec!["public.measured".to_owned()], ..RestoreOptions::default() };
        let part = new_name("foreign");
        let (plan, outcome) = restore(&server.url(&part), &backup, &memory, one).await;
        assert!(outcome.is_complete() && outcome.rows == 200, "{outcome:#?}");
        assert!(plan.entries.iter().any(|e| e == "foreign_table \"public\".\"old\""), "{:?}", plan.entries);
        for name in [copy, part] {
            remove(&server, &name).await;
        }
        original.remove().await;
    }
}

const CONNECTION: &str = "host=publisher.invalid dbname=d password=hidden-in-conninfo";

async fn subscriber(server: &Server) -> Database {
    let database = server.database("subscriber").await;
    let set_up = format!(
        "CREATE TABLE t (a int); INSERT INTO t VALUES (1);
         CREATE SUBSCRIPTION follows CONNECTION '{CONNECTION}' PUBLICATION p WITH (connect = false, slot_name = 'kept_{}')",
        random_hex(4)
    );
    database.connect().await.batch_execute(&set_up).await.expect("load");
    database
}

/// Whether it is enabled, its slot and its connection string.
const STATE: &str = "SELECT concat_ws(' ', subenabled, subslotname, subconninfo) FROM pg_subscription
    WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())";

#[tokio::test]
async fn a_subscription_comes_back_disabled_and_its_connection_is_never_shown() {
    let server = Server::of(17);
    let source = subscriber(&server).await;
    let state = text(&server, &source.name, STATE).await;
    let home = Home::new(StoreKind::File);
    home.policy("follower", &source, "");
    let copy = new_name("follower");
    let to = server.url(&copy);
    let restored: &[&str] = &["restore", "follower", "--to", &to, "--yes", "-vvv"];
    let commands: &[(&[&str], i32)] = &[
        (&["backup", "follower", "-vvv"], 0),
        (&["list", "follower"], 0),
        (&["show", "follower"], 0),
        (&["--json", "show", "follower"], 0),
        (&["restore", "follower", "--to", &to, "--plan"], 0),
        (&["--json", "restore", "follower", "--to", &to, "--plan"], 0),
        (restored, 0),
        (&["restore", "follower", "--to", &to, "--yes", "--clean"], 0),
        (&["verify", "follower", "--level", "restore", "-vvv"], 0),
    ];
    for (arguments, code) in commands {
        let mut command = home.command(arguments);
        command.env("PGKEEP_LOG", "trace");
        let ran = finish(command, arguments).exits(*code);
        assert!(!ran.stdout.contains("hidden-in") && !ran.stderr.contains("hidden-in"), "{arguments:?}");
        if arguments.contains(&"--plan") {
            let said = format!("{}{}", ran.stdout, ran.stderr);
            assert!(said.contains("comes back disabled") && said.contains("ENABLE"), "{arguments:?}: {said}");
        }
    }
    assert_eq!(text(&server, &copy, STATE).await, state);
    assert!(state.starts_with("f kept_") && state.ends_with(CONNECTION), "{state}");

    // A copy that connects elsewhere differs, and neither side is shown.
    let memory = Memory::default();
    let backup = input(export_to(&memory, &source.url(), &options()).await.expect("export"));
    let change = "ALTER SUBSCRIPTION follows CONNECTION 'password=hidden-in-copy'";
    server.connect(&copy).await.batch_execute(change).await.expect("change");
    let differs = compared(&to, &backup).await;
    assert!(differs.differences.len() == 1 && !format!("{differs:?}").contains("hidden-in"), "{differs:?}");
    remove(&server, &copy).await;
    source.remove().await;
}

#[tokio::test]
async fn a_subscription_whose_connection_may_not_be_read_is_named() {
    let server = Server::of(17);
    let source = subscriber(&server).await;
    let role = format!("reader_{}", random_hex(4));
    server.admin(&[format!("CREATE ROLE {role} LOGIN PASSWORD 'weak'")]).await;
    source.connect().await.batch_execute(&format!("GRANT SELECT ON t TO {role}")).await.expect("grant");
    let mut url = url::Url::parse(&source.url()).expect("URL");
    url.set_username(&role).expect("user");
    url.set_password(Some("weak")).expect("password");
    let memory = Memory::default();
    let export = export_to(&memory, url.as_str(), &options()).await.expect("export");
    assert!(
        export.warnings.iter().any(|w| w.contains("subscription follows") && w.contains("connection")),
        "{:?}",
        export.warnings
    );
    let copy = new_name("follower");
    let (plan, outcome) = restore(&server.url(&copy), &input(export), &memory, RestoreOptions::default()).await;
    assert!(plan.warnings.iter().any(|w| w.contains("ALTER SUBSCRIPTION \"follows\" CONNECTION")), "{:?}", plan.warnings);
    assert!(outcome.is_complete(), "{outcome:#?}");
    let state = text(&server, &copy, STATE).await;
    assert!(state.starts_with("f kept_") && !state.contains("hidden"), "{state}");
    remove(&server, &copy).await;
    source.remove().await;
    server.admin(&[format!("DROP ROLE {role}")]).await;
}
