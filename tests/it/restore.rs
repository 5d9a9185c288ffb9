//! Restores on real servers: what comes back, what is refused, and what is said of each thing that fails.
#![allow(clippy::expect_used, reason = "a helper that fails fails its test")]
#![allow(clippy::format_push_string, clippy::format_collect, reason = "statements of a test are built once")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use pgkeep::base::ids::random_hex;
use pgkeep::base::shutdown::Shutdown;
use pgkeep::base::sql::Sql;
use pgkeep::base::{Error, Kind, Result};
use pgkeep::pg::compare::{ObjectDifference, compare};
use pgkeep::pg::copy::Source;
use pgkeep::pg::export::export_cluster;
use pgkeep::pg::facts::drop_database as drop_by_target;
use pgkeep::pg::restore::{RestoreInput, RestoreOptions, RestoreOutcome, RestorePlan, execute, plan};
use tokio::sync::Notify;

use super::support::cli::{Home, StoreKind, drop_database, finance, finish, new_name};
use super::support::rows::{Memory, clock, export_to, input, options, silent, target};
use super::support::server::{Database, Server};

/// Objects of many kinds with values that are easily spoilt.
const SAMPLE: &str = r#"
CREATE TYPE mood AS ENUM ('sad', 'it''s ok', E'back\\slash');
CREATE DOMAIN positive AS numeric(20, 4) CHECK (VALUE > 0);
CREATE SCHEMA "Odd ""Schema""";
CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2';
CREATE TABLE accounts (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE, m mood DEFAULT 'sad', p positive,
  twice_id int GENERATED ALWAYS AS (id * 2) STORED, j jsonb, tags text[], t timestamptz DEFAULT now(), b bytea, r int4range, u uuid, f float8, d date, i interval, e money);
INSERT INTO accounts (name, m, p, j, tags, t, b, r, u, f, d, i, e)
SELECT 'n' || n || E' \\ \t \n \r "''€𝄞', (ARRAY['sad', 'it''s ok', E'back\\slash'])[n % 3 + 1]::mood, n + 0.1234, jsonb_build_object('k', n, 'x', E'\n\\'),
  CASE n % 3 WHEN 0 THEN NULL WHEN 1 THEN '{}' ELSE ARRAY['', NULL, 'NULL', '\N', E'a"b\\c,{}'] END,
  CASE n % 4 WHEN 0 THEN 'infinity' WHEN 1 THEN '-infinity' ELSE '2026-03-29 01:30:00.123456+00'::timestamptz END, decode(md5(n::text), 'hex'),
  int4range(n, NULL), md5(n::text)::uuid, (ARRAY['NaN', 'Infinity', '-0', '1e-300', '0.1'])[n % 5 + 1]::float8, (ARRAY['infinity', '0044-03-15 BC', '2024-02-29'])[n % 3 + 1]::date,
  '-1 year 2 mons -3 days 04:05:06.789', n * 1.01
FROM generate_series(1, 500) n;
INSERT INTO accounts (name) VALUES (''), ('\N'), ('\.'), ('NULL');
CREATE TABLE transactions (id bigserial, account int REFERENCES accounts, at date NOT NULL, amount numeric(12, 2), PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE transactions_a PARTITION OF transactions FOR VALUES FROM ('2026-01-01') TO ('2026-07-01');
CREATE TABLE transactions_b PARTITION OF transactions FOR VALUES FROM ('2026-07-01') TO ('2027-01-01');
CREATE INDEX ON transactions (account);
INSERT INTO transactions (account, at, amount) SELECT n % 500 + 1, '2026-01-01'::date + n % 300, n / 3.0 FROM generate_series(1, 5000) n;
CREATE TABLE "Odd ""Schema"""."Table.with/odd %" ("c""1" int, "select" text, parent int REFERENCES accounts, self int);
INSERT INTO "Odd ""Schema"""."Table.with/odd %" SELECT n, NULL, n, n FROM generate_series(1, 50) n;
CREATE VIEW rich AS SELECT * FROM accounts WHERE p > 100;
CREATE MATERIALIZED VIEW totals AS SELECT account, sum(amount) AS total FROM transactions GROUP BY 1;
CREATE UNIQUE INDEX totals_account ON totals (account);
CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'a trigger fired'; END $$;
CREATE TRIGGER never BEFORE INSERT ON accounts FOR EACH ROW EXECUTE FUNCTION noted();
CREATE RULE quiet AS ON DELETE TO rich DO INSTEAD NOTHING;
ALTER TABLE accounts ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON accounts USING (twice(id) > 0);
COMMENT ON TABLE accounts IS E'it''s \\ a comment';
CREATE SEQUENCE counter START 7 INCREMENT 3; SELECT nextval('counter'), nextval('counter');
SELECT lo_from_bytea(4711, decode(repeat('deadbeef', 2000), 'hex')), lo_from_bytea(4712, ''), lo_put(4711, 20000, 'tail');
COMMENT ON LARGE OBJECT 4711 IS 'content';
"#;

async fn sample(server: &Server) -> Database {
    let database = server.database("sample").await;
    let client = database.connect().await;
    client.batch_execute(SAMPLE).await.expect("load the sample");
    database
}

struct Restored {
    plan: RestorePlan,
    outcome: RestoreOutcome,
}

async fn restore(url: &str, input: &RestoreInput, memory: &Memory, options: &RestoreOptions) -> Result<Restored> {
    let target = target(url);
    let plan = plan(&target, input, options).await?;
    let source = Arc::new(memory.clone());
    let outcome = execute(&target, input, &plan, source, &silent(), &Shutdown::new(), &clock()).await?;
    Ok(Restored { plan, outcome })
}

fn two_jobs() -> RestoreOptions {
    RestoreOptions { jobs: 2, ..RestoreOptions::default() }
}

fn fresh(server: &Server) -> (String, String) {
    let name = format!("pgkeep_restored_{}", random_hex(4));
    let url = server.url(&name);
    (name, url)
}

async fn remove(server: &Server, name: &str) {
    drop_by_target(&target(&server.url("postgres")), name).await.expect("drop");
}

async fn count(database_url: &str, server: &Server, sql: &str) -> i64 {
    let name = url::Url::parse(database_url).expect("URL").path().trim_start_matches('/').to_owned();
    server.connect(&name).await.query_one(sql, &[]).await.expect("count").get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_comes_back_as_it_was_on_every_server() {
    for server in Server::all() {
        let original = sample(&server).await;
        let memory = Memory::default();
        let backup = input(export_to(&memory, &original.url(), &options()).await.expect("export"));
        let (name, url) = fresh(&server);
        let done = restore(&url, &backup, &memory, &two_jobs()).await.expect("restore");
        assert!(done.outcome.is_complete(), "PostgreSQL {}: {:#?}", server.major, done.outcome);
        assert!(done.outcome.created_database && done.plan.create_database && done.plan.same_cluster);
        assert_eq!((done.outcome.rows, done.plan.rows), (done.plan.rows, backup.tables.iter().map(|t| t.fingerprint.rows).sum()));
        assert_eq!(done.outcome.warnings, Vec::<String>::new());
        let (expected, found) = (server.pg_dump(&original.name, &[]), server.pg_dump(&name, &[]));
        assert!(expected == found, "PostgreSQL {}: pg_dump differs", server.major);
        let same = compare(&target(&url), &backup, 2, &silent(), &Shutdown::new()).await.expect("compare");
        assert!(same.is_equal() && same.rows == done.plan.rows, "{same:#?}");
        let analyzed = count(&url, &server, "SELECT count(*) FROM pg_stats WHERE tablename = 'accounts'").await;
        assert!(analyzed > 0, "no statistics");

        // One row less, one comment more: both are found, and nothing else.
        let client = server.connect(&name).await;
        client
            .batch_execute(
                "DELETE FROM transactions WHERE id = 17; COMMENT ON VIEW rich IS 'changed'; SELECT lo_put(4711, 3, 'x')",
            )
            .await
            .expect("change");
        let differs = compare(&target(&url), &backup, 2, &silent(), &Shutdown::new()).await.expect("compare");
        assert_eq!(differs.data.len(), 2, "{:#?}", differs.data);
        assert!(
            matches!(&differs.differences[..], [ObjectDifference::Changed { entry, field, .. }] if entry.contains("rich") && field == "comments"),
            "{:#?}",
            differs.differences
        );
        drop(client);
        remove(&server, &name).await;
        original.remove().await;
    }
}

/// A database of several roles, its export, and the names of owner, reader and login.
struct Roles {
    original: Database,
    memory: Memory,
    backup: RestoreInput,
    owner: String,
    reader: String,
    login: String,
}

impl Roles {
    async fn make(server: &Server) -> Self {
        let tag = random_hex(4);
        let (owner, reader, login) = (format!("own_{tag}"), format!("read_{tag}"), format!("login_{tag}"));
        server
            .admin(&[
                format!("CREATE ROLE {owner}"),
                format!("CREATE ROLE {reader} NOLOGIN"),
                format!("CREATE ROLE {login} LOGIN PASSWORD 'open sesame'"),
                format!("GRANT {reader} TO {login}"),
            ])
            .await;
        let original = server.database("roles").await;
        let set_up = format!(
            "CREATE SCHEMA app AUTHORIZATION {owner}; CREATE TABLE app.t (a int); ALTER TABLE app.t OWNER TO {owner};
             GRANT USAGE ON SCHEMA app TO {reader}; GRANT SELECT ON app.t TO {reader}; INSERT INTO app.t VALUES (1);
             ALTER TABLE app.t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON app.t TO {reader} USING (true);
             ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA app GRANT SELECT ON TABLES TO {reader}"
        );
        original.connect().await.batch_execute(&set_up).await.expect("set up");
        server.admin(&[format!("ALTER DATABASE {} SET work_mem = '7MB'", original.name)]).await;
        let memory = Memory::default();
        let mut backup = input(export_to(&memory, &original.url(), &options()).await.expect("export"));
        let cluster = export_cluster(&target(&server.url("postgres"))).await.expect("export roles").entries;
        backup.cluster = cluster.into_iter().filter(|e| e.id.contains(&tag)).collect();
        Self { original, memory, backup, owner, reader, login }
    }

    async fn remove(self, others: &[&Server]) {
        let server = self.original.server.clone();
        self.original.remove().await;
        let drops: Vec<String> =
            [self.login, self.owner, self.reader].iter().map(|r| format!("DROP ROLE IF EXISTS {r}")).collect();
        for server in others.iter().copied().chain([&server]) {
            server.admin(&drops).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_come_along_to_a_newer_server() {
    let (from, to) = (Server::of(15), Server::of(18));
    let roles = Roles::make(&from).await;
    let (name, url) = fresh(&to);
    let without = RestoreInput { cluster: std::sync::Arc::default(), ..roles.backup.clone() };
    let error = plan(&target(&url), &without, &two_jobs()).await.expect_err("no roles at hand");
    assert!(error.kind() == Kind::Denied && error.message().contains(&roles.owner), "{error:?}");

    let done = restore(&url, &roles.backup, &roles.memory, &two_jobs()).await.expect("restore");
    assert!(done.outcome.is_complete() && !done.plan.same_cluster, "{:#?}", done.outcome);
    assert_eq!(done.plan.create_roles, [&roles.login, &roles.owner, &roles.reader].map(String::clone));
    let mut as_login = url::Url::parse(&url).expect("URL");
    as_login.set_username(&roles.login).expect("user");
    as_login.set_password(Some("open sesame")).expect("password");
    let facts = pgkeep::pg::facts::server_facts(&target(as_login.as_str())).await.expect("the password came along");
    assert_eq!(facts.user, roles.login);
    let client = to.connect(&name).await;
    let text = format!(
        "SELECT has_table_privilege('{}', 'app.t', 'SELECT'), (SELECT tableowner::text FROM pg_tables WHERE tablename = 't'), \
                current_setting('work_mem')",
        roles.login
    );
    let row = client.query_one(&text, &[]).await.expect("privileges");
    assert_eq!((row.get(0), row.get::<_, String>(1), row.get::<_, String>(2)), (true, roles.owner.clone(), "7MB".to_owned()));
    let same = compare(&target(&url), &roles.backup, 1, &silent(), &Shutdown::new()).await.expect("compare");
    assert!(same.data.is_empty(), "{:#?}", same.data);
    drop(client);
    remove(&to, &name).await;

    let newer = pgkeep::pg::facts::server_facts(&target(&to.url("postgres"))).await.expect("facts");
    let backwards = RestoreInput { source: newer, ..roles.backup.clone() };
    let error = plan(&target(&from.url("postgres")), &backwards, &two_jobs()).await.expect_err("older server");
    assert_eq!(error.kind(), Kind::Unsupported, "{error:?}");
    roles.remove(&[&to]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_can_be_mapped_or_left_out() {
    let (from, to) = (Server::of(15), Server::of(17));
    let roles = Roles::make(&from).await;
    let other = format!("map_{}", random_hex(4));
    to.admin(&[format!("CREATE ROLE {other}")]).await;
    let mapped = RestoreOptions { role_map: BTreeMap::from([(roles.owner.clone(), other.clone())]), ..two_jobs() };
    let ours = RestoreOptions { no_owner: true, no_privileges: true, ..two_jobs() };
    for (options, owner) in [(mapped, format!("'{other}'")), (ours, "current_user".to_owned())] {
        let (name, url) = fresh(&to);
        let done = restore(&url, &roles.backup, &roles.memory, &options).await.expect("restore");
        assert!(done.outcome.is_complete(), "{:#?}", done.outcome);
        let text = format!("SELECT count(*) FROM pg_tables WHERE schemaname = 'app' AND tableowner = {owner}");
        assert_eq!(count(&url, &to, &text).await, 1, "{owner}");
        remove(&to, &name).await;
    }
    to.admin(&[format!("DROP ROLE {other}")]).await;
    roles.remove(&[&to]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_failure_is_named_what_needs_it_is_skipped_and_the_rest_is_there() {
    let server = Server::of(17);
    let original = sample(&server).await;
    let memory = Memory::default();
    let mut backup = input(export_to(&memory, &original.url(), &options()).await.expect("export"));
    for entry in std::sync::Arc::make_mut(&mut backup.entries) {
        if entry.id == "table \"public\".\"transactions\"" {
            entry.create = vec![Sql::from("CREATE TABLE public.transactions (a no_such_type)")];
        }
    }
    let odd = backup.tables.iter().find(|t| t.table.starts_with("Table")).expect("the odd table").streams[0].stream.clone();
    let mut bytes = memory.stream(&odd);
    bytes.extend_from_slice(b"secret-value\tx\t1\t1\n");
    memory.put(&odd, bytes);
    let (name, url) = fresh(&server);
    let done = restore(&url, &backup, &memory, &two_jobs()).await.expect("restore");
    let outcome = &done.outcome;
    assert!(!outcome.is_complete());
    let error = outcome.errors.iter().find(|e| e.entry == "table \"public\".\"transactions\"").expect("the broken table");
    assert_eq!(error.sqlstate.as_deref(), Some("42704"));
    assert!(error.statement.starts_with("CREATE TABLE public.transactions") && error.message.contains("no_such_type"));
    let error = outcome.errors.iter().find(|e| e.entry.contains("Table.with")).expect("the broken row");
    assert!(error.statement.starts_with("COPY") && !error.message.contains("secret"), "{error:?}");
    let skipped: Vec<&str> = outcome.skipped.iter().map(|s| s.entry.as_str()).collect();
    assert!(skipped.iter().any(|s| s.contains("transactions_a")) && skipped.iter().any(|s| s.contains("totals")), "{skipped:?}");
    assert!(outcome.mismatches.iter().any(|m| m.entry.contains("Table.with") && m.loaded == 0 && m.expected == 50));
    assert!(outcome.mismatches.iter().any(|m| m.entry.contains("transactions_b") && m.loaded == 0));
    assert_eq!(outcome.errors.len(), 2, "{:#?}", outcome.errors);
    assert_eq!(count(&url, &server, "SELECT count(*) FROM accounts").await, 504);
    remove(&server, &name).await;

    // A stream that ends early is a mismatch, however quietly.
    let mut bytes = memory.stream("data/public.accounts");
    bytes.truncate(bytes[..bytes.len() - 1].iter().rposition(|b| *b == b'\n').expect("rows") + 1);
    memory.put("data/public.accounts", bytes);
    let (name, url) = fresh(&server);
    let done = restore(&url, &backup, &memory, &two_jobs()).await.expect("restore");
    assert!(done.outcome.mismatches.iter().any(|m| m.entry.contains("accounts") && m.loaded == 503 && m.expected == 504));
    remove(&server, &name).await;
    original.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_that_hold_something_are_refused_unless_they_may_be_cleaned() {
    let server = Server::of(17);
    let original = sample(&server).await;
    let memory = Memory::default();
    let backup = input(export_to(&memory, &original.url(), &options()).await.expect("export"));
    let copy = server.database("busy").await;
    copy.connect().await.batch_execute("CREATE TABLE mine (a int); INSERT INTO mine VALUES (1)").await.expect("set up");
    let error = restore(&copy.url(), &backup, &memory, &two_jobs()).await.err().expect("refused");
    assert!(error.kind() == Kind::Conflict && error.message().contains("not empty"), "{error:?}");

    let clean = RestoreOptions { clean: true, ..two_jobs() };
    for turn in 0..2 {
        let done = restore(&copy.url(), &backup, &memory, &clean).await.expect("restore");
        assert!(done.outcome.is_complete(), "turn {turn}: {:#?}", done.outcome);
        assert_eq!(count(&copy.url(), &server, "SELECT count(*) FROM mine").await, 1, "what is not of the backup stays");
    }
    copy.connect().await.batch_execute("DROP TABLE mine").await.expect("drop");
    let same = compare(&target(&copy.url()), &backup, 2, &silent(), &Shutdown::new()).await.expect("compare");
    assert!(same.is_equal(), "{same:#?}");

    // A plan is executed on the target that it saw, or not at all.
    let old = plan(&target(&copy.url()), &backup, &clean).await.expect("plan");
    copy.connect().await.batch_execute("CREATE TABLE newcomer ()").await.expect("create");
    let error = execute(&target(&copy.url()), &backup, &old, Arc::new(memory), &silent(), &Shutdown::new(), &clock()).await;
    assert_eq!(error.expect_err("the target changed").kind(), Kind::Conflict);
    copy.remove().await;
    original.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_can_be_restored_beside_other_things_and_rows_alone() {
    let server = Server::of(17);
    let original = sample(&server).await;
    let memory = Memory::default();
    let backup = input(export_to(&memory, &original.url(), &options()).await.expect("export"));
    let (name, url) = fresh(&server);
    let options = RestoreOptions { schema_only: true, ..two_jobs() };
    let done = restore(&url, &backup, &memory, &options).await.expect("restore");
    assert!(done.outcome.is_complete() && done.outcome.rows == 0, "{:#?}", done.outcome);
    let schema = |database: &str| server.pg_dump(database, &["--schema-only"]);
    assert!(schema(&original.name) == schema(&name), "the schema differs");
    assert_eq!(count(&url, &server, "SELECT count(*) FROM accounts").await, 0);

    let options = RestoreOptions { data_only: true, ..two_jobs() };
    let done = restore(&url, &backup, &memory, &options).await.expect("restore rows");
    assert!(done.outcome.is_complete(), "{:#?}", done.outcome);
    let same = compare(&target(&url), &backup, 2, &silent(), &Shutdown::new()).await.expect("compare");
    assert!(same.is_equal(), "{same:#?}");
    let error = restore(&url, &backup, &memory, &options).await.err().expect("refused");
    assert!(error.kind() == Kind::Conflict && error.message().contains("holds rows"), "{error:?}");
    // The partitioned table refers to accounts, which therefore cannot be truncated.
    let again = RestoreOptions { clean: true, ..options };
    let done = restore(&url, &backup, &memory, &again).await.expect("replace rows");
    assert!(done.outcome.is_complete() && done.plan.emptied().any(|t| t.contains("accounts")), "{:#?}", done.outcome);
    let same = compare(&target(&url), &backup, 2, &silent(), &Shutdown::new()).await.expect("compare");
    assert!(same.is_equal(), "{same:#?}");
    remove(&server, &name).await;

    let scratch = server.database("scratch").await;
    scratch.connect().await.batch_execute("CREATE TABLE other (a int)").await.expect("set up");
    let one = RestoreOptions { tables: vec!["Odd*.Table*".to_owned()], ..two_jobs() };
    let done = restore(&scratch.url(), &backup, &memory, &one).await.expect("restore one table");
    assert!(done.outcome.is_complete() && done.outcome.rows == 50, "{:#?}", done.outcome);
    assert!(done.plan.warnings.iter().any(|w| w.contains("foreign_key") && w.contains("accounts")), "{:?}", done.plan.warnings);
    let error = restore(&scratch.url(), &backup, &memory, &one).await.err().expect("refused");
    assert!(error.kind() == Kind::Conflict && error.message().contains("exists"), "{error:?}");
    let all = RestoreOptions { schemas: vec!["public".to_owned()], ..two_jobs() };
    let done = restore(&scratch.url(), &backup, &memory, &all).await.expect("restore a schema");
    assert!(done.outcome.is_complete(), "{:#?}", done.outcome);
    assert_eq!(
        count(&scratch.url(), &server, "SELECT sum(total)::int8 FROM totals").await,
        count(&original.url(), &server, "SELECT sum(total)::int8 FROM totals").await
    );
    scratch.remove().await;
    original.remove().await;
}

/// Gives one piece, then nothing for ever.
struct Stuck {
    memory: Memory,
    reached: Arc<Notify>,
}

#[async_trait]
impl Source for Stuck {
    async fn open(&self, name: &str) -> Result<BoxStream<'static, Result<Bytes>>> {
        self.reached.notify_one();
        Ok(self.memory.open(name).await?.take(1).chain(futures::stream::pending()).boxed())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_restore_says_what_it_leaves_behind() {
    let server = Server::of(17);
    let original = sample(&server).await;
    let memory = Memory::default();
    let backup = input(export_to(&memory, &original.url(), &options()).await.expect("export"));
    let (name, url) = fresh(&server);
    let reached = Arc::new(Notify::new());
    let source = Arc::new(Stuck { memory, reached: Arc::clone(&reached) });
    let (stop, goal) = (Shutdown::new(), target(&url));
    let plan = plan(&goal, &backup, &two_jobs()).await.expect("plan");
    assert!(plan.to_string().contains("will be created"), "{plan}");
    let shutdown = stop.clone();
    let running = tokio::spawn(async move { execute(&goal, &backup, &plan, source, &silent(), &shutdown, &clock()).await });
    reached.notified().await;
    stop.cancel();
    let error =
        tokio::time::timeout(Duration::from_secs(20), running).await.expect("ends").expect("task").expect_err("cancelled");
    assert_eq!(error.kind(), Kind::Cancelled);
    let text = format!("{error:?}");
    assert!(text.contains("incomplete") && text.contains(&format!("DROP DATABASE \"{name}\"")), "{text}");
    let sessions = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}' AND state = 'active'");
    while count(&server.url("postgres"), &server, &sessions).await > 0 {
        tokio::task::yield_now().await;
    }
    remove(&server, &name).await;
    original.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_materialised_view_is_filled_with_what_its_owner_may_see() {
    let server = Server::of(17);
    let owner = format!("own_{}", random_hex(4));
    let original = server.database("policies").await;
    let set_up = format!(
        "CREATE ROLE {owner}; CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2), (3); GRANT SELECT ON t TO {owner};
         ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t TO {owner} USING (a > 1);
         CREATE MATERIALIZED VIEW m AS SELECT * FROM t WITH NO DATA; ALTER MATERIALIZED VIEW m OWNER TO {owner}; REFRESH MATERIALIZED VIEW m"
    );
    original.connect().await.batch_execute(&set_up).await.expect("set up");
    let memory = Memory::default();
    let backup = input(export_to(&memory, &original.url(), &options()).await.expect("export"));
    let (name, url) = fresh(&server);
    let done = restore(&url, &backup, &memory, &two_jobs()).await.expect("restore");
    assert!(done.outcome.is_complete(), "{:#?}", done.outcome);
    assert_eq!(count(&url, &server, "SELECT count(*) FROM m").await, 2);
    remove(&server, &name).await;
    original.remove().await;
    server.admin(&[format!("DROP ROLE {owner}")]).await;
}

/// As on a managed server: the role that restores may make databases and roles, and is no superuser.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_without_superuser_can_restore_what_belongs_to_others() {
    for server in Server::all() {
        let tag = random_hex(4);
        let (admin, owner, reader) = (format!("admin_{tag}"), format!("own_{tag}"), format!("read_{tag}"));
        server
            .admin(&[
                format!("CREATE ROLE {admin} LOGIN CREATEDB CREATEROLE PASSWORD 'weak'"),
                format!("CREATE ROLE {owner} LOGIN CREATEDB"),
                format!("CREATE ROLE {reader} NOLOGIN"),
            ])
            .await;
        let original = server.database("managed").await;
        server.admin(&[format!("ALTER DATABASE {} OWNER TO {owner}", original.name)]).await;
        let set_up = format!(
            "SET ROLE {owner}; CREATE SCHEMA app; CREATE TABLE app.t (id serial PRIMARY KEY, a text); GRANT SELECT ON app.t TO {reader};
             GRANT USAGE ON SCHEMA app TO {reader}; INSERT INTO app.t (a) VALUES ('x'); CREATE VIEW app.v AS SELECT * FROM app.t;
             CREATE MATERIALIZED VIEW app.m AS SELECT * FROM app.t; CREATE EXTENSION citext;
             SELECT lo_from_bytea(0, 'content')"
        );
        original.connect().await.batch_execute(&set_up).await.expect("set up");
        let memory = Memory::default();
        let mut backup = input(export_to(&memory, &original.url(), &options()).await.expect("export"));
        let cluster = export_cluster(&target(&server.url("postgres"))).await.expect("export roles").entries;
        backup.cluster = cluster.into_iter().filter(|e| [&owner, &reader].contains(&&e.name)).collect();
        let expected = server.pg_dump(&original.name, &[]);
        original.remove().await;
        server.admin(&[format!("DROP ROLE {owner}"), format!("DROP ROLE {reader}")]).await;

        let (name, url) = fresh(&server);
        let mut weak = url::Url::parse(&url).expect("URL");
        weak.set_username(&admin).expect("user");
        weak.set_password(Some("weak")).expect("password");
        let done = restore(weak.as_str(), &backup, &memory, &two_jobs()).await.expect("restore");
        assert!(done.outcome.is_complete(), "PostgreSQL {}: {:#?}", server.major, done.outcome);
        let found = server.pg_dump(&name, &[]);
        assert!(found == expected, "PostgreSQL {}: pg_dump differs: {:?}", server.major, done.outcome.warnings);
        remove(&server, &name).await;
        server.admin(&[format!("DROP ROLE {owner}"), format!("DROP ROLE {reader}"), format!("DROP ROLE {admin}")]).await;
    }
}

/// Gives one piece of a stream, then an error; whole streams otherwise.
struct Broken {
    memory: Memory,
    stream: String,
    kind: Kind,
}

#[async_trait]
impl Source for Broken {
    async fn open(&self, name: &str) -> Result<BoxStream<'static, Result<Bytes>>> {
        let rows = self.memory.open(name).await?;
        if name != self.stream {
            return Ok(rows);
        }
        let error = Err(Error::new(self.kind, "part 4f2a is not what it should be"));
        Ok(rows.take(1).chain(futures::stream::iter([error])).boxed())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_part_costs_its_table_alone_and_a_vault_that_is_away_ends_the_restore() {
    let server = Server::of(17);
    let original = sample(&server).await;
    let memory = Memory::default();
    let backup = input(export_to(&memory, &original.url(), &options()).await.expect("export"));
    let stream = backup.tables.iter().find(|t| t.table == "accounts").expect("accounts").streams[0].stream.clone();
    for kind in [Kind::Integrity, Kind::NotFound] {
        let (name, url) = fresh(&server);
        let goal = target(&url);
        let plan = plan(&goal, &backup, &two_jobs()).await.expect("plan");
        let source = Arc::new(Broken { memory: memory.clone(), stream: stream.clone(), kind });
        let outcome = execute(&goal, &backup, &plan, source, &silent(), &Shutdown::new(), &clock()).await.expect("restore");
        assert!(outcome.errors[0].entry.contains("accounts") && outcome.errors[0].message.contains("4f2a"), "{outcome:#?}");
        assert!(outcome.mismatches.iter().any(|m| m.entry.contains("accounts") && (m.loaded, m.expected) == (0, 504)));
        assert_eq!(outcome.mismatches.len(), 1, "{outcome:#?}");
        assert_eq!(count(&url, &server, "SELECT count(*) FROM accounts").await, 0);
        assert_eq!(count(&url, &server, "SELECT count(*) FROM transactions").await, 5000);
        remove(&server, &name).await;
    }
    let existing = server.database("existing").await;
    let goal = target(&existing.url());
    let plan = plan(&goal, &backup, &RestoreOptions { clean: true, ..two_jobs() }).await.expect("plan");
    let source = Arc::new(Broken { memory, stream, kind: Kind::Unavailable });
    let error = execute(&goal, &backup, &plan, source, &silent(), &Shutdown::new(), &clock()).await.expect_err("away");
    let message = error.full_message();
    assert!(error.kind() == Kind::Unavailable && message.contains("4f2a"), "{error:?}");
    assert!(message.contains("existed before") && message.contains("incomplete") && message.contains("dropped"), "{message}");
    existing.remove().await;
    original.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_with_any_object_of_a_user_is_not_empty() {
    let server = Server::of(17);
    let original = server.database("source").await;
    let memory = Memory::default();
    let backup = input(export_to(&memory, &original.url(), &options()).await.expect("export"));
    for set_up in [
        "CREATE TYPE pair AS (a int, b int)",
        "CREATE TYPE shell",
        "CREATE CAST (json AS xml) WITH INOUT",
        "CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = pg_catalog.int4eq)",
        "CREATE PUBLICATION p",
        "CREATE FOREIGN DATA WRAPPER w",
        "CREATE COLLATION c (locale = 'C')",
        "CREATE TEXT SEARCH CONFIGURATION t (COPY = pg_catalog.simple)",
        "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
    ] {
        let busy = server.database("busy").await;
        let empty = plan(&target(&busy.url()), &backup, &two_jobs()).await.expect("an empty target");
        assert_eq!(empty.target.objects, 0);
        busy.connect().await.batch_execute(set_up).await.expect(set_up);
        let error = plan(&target(&busy.url()), &backup, &two_jobs()).await.expect_err(set_up);
        assert!(error.kind() == Kind::Conflict && error.message().contains("not empty"), "{set_up}: {error:?}");
        busy.remove().await;
    }
    original.remove().await;
}

#[tokio::test]
async fn emptying_tables_needs_a_yes_and_a_partitioned_table_comes_with_its_rows() {
    let server = Server::of(17);
    let source = finance(&server, 2_000).await;
    let home = Home::new(StoreKind::File);
    home.policy("finance", &source, "");
    home.json(&["backup", "finance"]);
    let before = server.pg_dump(&source.name, &[]);
    let client = source.connect().await;
    client.batch_execute("DELETE FROM finance.transactions").await.expect("lose rows");
    let lost = server.pg_dump(&source.name, &[]);
    let arguments = ["restore", "finance", "--to", &source.url(), "--data-only", "--clean", "--table", "finance.transactions"];
    let refused = home.run(&arguments).exits(2).says(&["--yes", "empties"]);
    assert!(refused.stdout.contains("table \"finance\".\"transactions"), "{}", refused.stdout);
    assert!(server.pg_dump(&source.name, &[]) == lost, "a restore that was not confirmed changed the target");
    home.run(&[&arguments[..], &["--yes"]].concat()).exits(0);
    assert!(server.pg_dump(&source.name, &[]) == before, "pg_dump differs");

    let copy = new_name("partitioned");
    let url = server.url(&copy);
    home.run(&["restore", "finance", "--to", &url, "--table", "finance.transactions", "--yes"]).exits(0);
    let rows = "SELECT count(*) FROM finance.transactions";
    let expected = count(&source.url(), &server, rows).await;
    assert!(expected > 0);
    assert_eq!(count(&url, &server, rows).await, expected);
    drop_database(&server, &copy).await;
    drop(client);
    source.remove().await;
}

#[tokio::test]
async fn no_log_level_shows_statements_with_passwords() {
    let server = Server::of(17);
    let source = server.database("passwords").await;
    let role = format!("logged_{}", random_hex(4));
    server.admin(&[format!("CREATE ROLE {role} LOGIN PASSWORD 'open sesame'")]).await;
    let set_up = format!("CREATE TABLE t (a int); ALTER TABLE t OWNER TO {role}");
    source.connect().await.batch_execute(&set_up).await.expect("set up");
    let home = Home::new(StoreKind::File);
    home.policy("secret", &source, "");
    home.json(&["backup", "secret"]);
    source.connect().await.batch_execute("ALTER TABLE t OWNER TO CURRENT_USER").await.expect("owner");
    for level in ["trace", "trace,tokio_postgres=trace,tokio_postgres::query=trace,[{}]=trace", "debug"] {
        server.admin(&[format!("DROP ROLE {role}")]).await;
        let copy = new_name("passwords");
        let arguments = ["restore", "secret", "--to", &server.url(&copy), "--table", "public.t", "--yes", "-vvv"];
        let mut command = home.command(&arguments);
        command.env("PGKEEP_LOG", level);
        let ran = finish(command, &arguments).exits(0);
        assert!(!ran.stderr.contains("SCRAM-SHA-256$") && !ran.stdout.contains("SCRAM-SHA-256$"), "{level}");
        let made = format!("SELECT count(*) FROM pg_authid WHERE rolname = '{role}' AND rolpassword LIKE 'SCRAM%'");
        assert_eq!(count(&server.url("postgres"), &server, &made).await, 1, "the statement with the password was run");
        drop_database(&server, &copy).await;
    }
    source.remove().await;
    server.admin(&[format!("DROP ROLE {role}")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_alone_follow_foreign_keys_and_a_table_that_is_refused_costs_itself_alone() {
    let server = Server::of(17);
    let weak_role = format!("weak_{}", random_hex(4));
    server.admin(&[format!("CREATE ROLE {weak_role} LOGIN PASSWORD 'weak'")]).await;
    let original = server.database("keys").await;
    // The larger a table, the sooner it would be loaded.
    let set_up = "CREATE TABLE narrow (id int, gone int); INSERT INTO narrow SELECT i, i FROM generate_series(1, 3000) i;
        CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent VALUES (1);
        CREATE TABLE child (id int, parent int REFERENCES parent, PRIMARY KEY (parent, id)) PARTITION BY LIST (parent);
        CREATE TABLE child_1 PARTITION OF child FOR VALUES IN (1); INSERT INTO child SELECT i, 1 FROM generate_series(1, 1000) i;
        CREATE TABLE grandchild (id int, parent int, child int, up int, FOREIGN KEY (parent, child) REFERENCES child, UNIQUE (id));
        ALTER TABLE grandchild ADD FOREIGN KEY (up) REFERENCES grandchild (id);
        INSERT INTO grandchild SELECT i, 1, 1 + i % 1000, 2000 - i FROM generate_series(1, 1999) i";
    original.connect().await.batch_execute(set_up).await.expect("set up");
    let memory = Memory::default();
    let backup = input(export_to(&memory, &original.url(), &options()).await.expect("export"));
    original.remove().await;

    let (name, url) = fresh(&server);
    let schema = RestoreOptions { schema_only: true, ..two_jobs() };
    assert!(restore(&url, &backup, &memory, &schema).await.expect("restore the schema").outcome.is_complete());
    let change =
        format!("ALTER TABLE narrow DROP COLUMN gone; GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO {weak_role}");
    server.connect(&name).await.batch_execute(&change).await.expect("change the target");
    let mut weak = url::Url::parse(&url).expect("URL");
    weak.set_username(&weak_role).expect("user");
    weak.set_password(Some("weak")).expect("password");
    let rows = RestoreOptions { data_only: true, ..two_jobs() };
    let done = restore(weak.as_str(), &backup, &memory, &rows).await.expect("restore the rows").outcome;
    assert!(done.warnings.iter().any(|w| w.contains("may not silence")), "{done:#?}");
    let failed: Vec<&str> = done.errors.iter().map(|e| e.message.as_str()).collect();
    assert!(failed.len() == 1 && failed[0].contains("column \"gone\""), "{done:#?}");
    assert_eq!(count(&url, &server, "SELECT (SELECT count(*) FROM child) + (SELECT count(*) FROM grandchild)").await, 2999);
    remove(&server, &name).await;
    server.admin(&[format!("DROP ROLE {weak_role}")]).await;
}

/// What a role gives by default in the target acts on nothing that comes from the backup.
#[tokio::test(flavor = "multi_thread")]
async fn default_privileges_of_the_target_act_on_nothing_that_is_restored() {
    for server in Server::all() {
        let role = format!("default_{}", random_hex(4));
        server.admin(&[format!("CREATE ROLE {role}")]).await;
        let original = server.database("defaults").await;
        let set_up = format!(
            "CREATE SCHEMA s; CREATE TABLE s.t (a serial PRIMARY KEY, i int GENERATED ALWAYS AS IDENTITY); INSERT INTO s.t DEFAULT VALUES;
             CREATE VIEW s.v AS SELECT * FROM s.t; CREATE FUNCTION s.f(a int, b text) RETURNS int LANGUAGE sql AS 'SELECT 1';
             CREATE PROCEDURE s.p() LANGUAGE sql AS 'SELECT 1'; CREATE AGGREGATE s.g(int) (SFUNC = int4pl, STYPE = int4);
             CREATE TYPE s.e AS ENUM ('x'); CREATE DOMAIN s.d AS int; CREATE TYPE s.c AS (a int); CREATE TYPE s.r AS RANGE (SUBTYPE = int4);
             GRANT SELECT ON s.v TO {role}; REVOKE EXECUTE ON FUNCTION s.f FROM PUBLIC; GRANT UPDATE ON s.t TO PUBLIC"
        );
        original.connect().await.batch_execute(&set_up).await.expect("set up");
        let memory = Memory::default();
        let backup = input(export_to(&memory, &original.url(), &options()).await.expect("export"));
        let copy = server.database("defaults_copy").await;
        let clean = RestoreOptions { clean: true, ..two_jobs() };
        restore(&copy.url(), &backup, &memory, &clean).await.expect("restore");
        let expected = server.pg_dump(&copy.name, &[]);
        assert!(expected == server.pg_dump(&original.name, &[]));
        let defaults = format!(
            "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO {role} WITH GRANT OPTION; ALTER DEFAULT PRIVILEGES GRANT USAGE ON SEQUENCES TO {role};
             ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC; ALTER DEFAULT PRIVILEGES REVOKE ALL ON TYPES FROM PUBLIC;
             ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO {role}"
        );
        copy.connect().await.batch_execute(&defaults).await.expect("default privileges");
        let with_defaults = server.pg_dump(&copy.name, &[]);
        let done = restore(&copy.url(), &backup, &memory, &clean).await.expect("restore");
        assert!(done.outcome.is_complete(), "{:#?}", done.outcome);
        let found = server.pg_dump(&copy.name, &[]);
        assert!(
            found == with_defaults,
            "PostgreSQL {}:\n{}",
            server.major,
            super::support::corpus::difference(&with_defaults, &found)
        );
        copy.connect().await.batch_execute(&format!("DROP OWNED BY {role}")).await.expect("drop owned");
        original.connect().await.batch_execute(&format!("DROP OWNED BY {role}")).await.expect("drop owned");
        copy.remove().await;
        original.remove().await;
        server.admin(&[format!("DROP ROLE {role}")]).await;
    }
}

/// A table of the target that lets nobody delete rows ends the restore before anything is gone.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_cannot_be_replaced_end_the_restore_with_everything_as_it_was() {
    let server = Server::of(17);
    let original = server.database("guarded").await;
    let set_up =
        "CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1), (2); CREATE TABLE b (x int); INSERT INTO b VALUES (3);
         CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'rows stay'; END $$;
         CREATE TRIGGER stay BEFORE DELETE ON a FOR EACH ROW EXECUTE FUNCTION refuse(); ALTER TABLE a ENABLE ALWAYS TRIGGER stay;
         SELECT lo_from_bytea(4711, 'content')";
    let client = original.connect().await;
    client.batch_execute(set_up).await.expect("set up");
    let memory = Memory::default();
    let backup = input(export_to(&memory, &original.url(), &options()).await.expect("export"));
    // Not in the backup, and it keeps the table from being truncated.
    client.batch_execute("CREATE TABLE later (a int REFERENCES a); INSERT INTO later VALUES (1)").await.expect("refer");
    let before = server.pg_dump(&original.name, &[]);
    let again = RestoreOptions { data_only: true, clean: true, ..two_jobs() };
    let error = restore(&original.url(), &backup, &memory, &again).await.err().expect("refused");
    assert!(error.full_message().contains("truncate"), "{error:?}");
    let after = server.pg_dump(&original.name, &[]);
    assert!(before == after, "{}", super::support::corpus::difference(&before, &after));
    drop(client);
    original.remove().await;
}

/// The server hashes ranges for a join even where it cannot hash their bounds.
const UNHASHABLE: &str = "CREATE TYPE price AS (amount money, place int); CREATE TYPE prices AS RANGE (subtype = price);
CREATE TABLE offers (span prices UNIQUE); CREATE TABLE sales (span prices CONSTRAINT known REFERENCES offers (span));
INSERT INTO offers SELECT prices(ROW(n, 1)::price, ROW(n, 2)::price) FROM generate_series(1, 100) n;
INSERT INTO sales SELECT prices(ROW(n % 100 + 1, 1)::price, ROW(n % 100 + 1, 2)::price) FROM generate_series(1, 3000) n";

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_values_that_cannot_be_hashed_come_back() {
    for server in Server::all() {
        let original = server.database("unhashable").await;
        original.connect().await.batch_execute(UNHASHABLE).await.expect("load");
        let memory = Memory::default();
        let backup = input(export_to(&memory, &original.url(), &options()).await.expect("export"));
        let copy = server.database("hashing").await;
        // The planner's second choice would hide what is tested.
        let settings = format!("ALTER DATABASE {} SET enable_mergejoin = off", copy.name);
        copy.connect().await.batch_execute(&settings).await.expect("settings");
        let restored = restore(&copy.url(), &backup, &memory, &two_jobs()).await.expect("restore");
        assert!(restored.outcome.is_complete(), "PostgreSQL {}: {:#?}", server.major, restored.outcome.errors);
        let valid = "SELECT count(*) FROM pg_constraint WHERE conname = 'known' AND convalidated";
        assert_eq!(count(&copy.url(), &server, valid).await, 1, "PostgreSQL {}", server.major);
        copy.remove().await;
        original.remove().await;
    }
}
