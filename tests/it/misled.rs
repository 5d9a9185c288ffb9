//! Databases and roles whose settings and event triggers would change what is read or written, if they could.
#![allow(clippy::expect_used, reason = "a helper that fails fails its test")]

use std::sync::Arc;

use pgkeep::base::ids::random_hex;
use pgkeep::base::shutdown::Shutdown;
use pgkeep::pg::catalog::entry::Entry;
use pgkeep::pg::compare::compare;
use pgkeep::pg::restore::{RestoreInput, RestoreOptions, execute, plan};

use super::support::corpus::difference;
use super::support::rows::{Memory, clock, export_to, input, options, silent, target};
use super::support::server::{Database, Server};

/// Values and definitions that a setting could spoil.
const SAMPLE: &str = r#"
CREATE SCHEMA "Upper Case";
CREATE TABLE plain (a timestamptz, b interval, c float8, d bytea, e money, f text, g date, h text[], j time with time zone, k float4, l tstzrange);
INSERT INTO plain VALUES ('2026-01-02 03:04:05+00', '1 year 2 mons -3 days 4:05', 0.1::float8 + 0.2, '\x00ff5c27', 1234567.89, E'a\\b''c', '2026-02-03',
  ARRAY['NULL', NULL, 'x'], '01:02:03+05:30', 0.1, '[2026-01-01 00:00:00+00,)');
CREATE TABLE kept (id int PRIMARY KEY, at timestamptz DEFAULT '2026-05-06 07:08:09+00', every interval DEFAULT '1 day 02:00', price money DEFAULT 3.5,
  raw bytea DEFAULT '\xdeadbeef', nothing text[] DEFAULT '{NULL}', CHECK (at > '2020-01-01 00:00:00+02'), CHECK (raw <> '\x615c5c'::bytea));
INSERT INTO kept SELECT n FROM generate_series(1, 300) n;
CREATE TABLE child (id int REFERENCES kept, n int);
INSERT INTO child SELECT n, n FROM generate_series(1, 300) n;
CREATE TABLE parts (at timestamptz) PARTITION BY RANGE (at);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2026-01-01 00:00:00+00') TO ('2027-01-01 00:00:00+00');
INSERT INTO parts VALUES ('2026-03-04 05:06:07+00');
CREATE VIEW "Upper Case"."View" AS SELECT '2026-02-03'::date AS d, 1.5::float8 AS f, f = NULL AS never, '1 mon'::interval AS i FROM plain;
CREATE MATERIALIZED VIEW seen AS SELECT count(*) AS n FROM "Upper Case"."View";
CREATE FUNCTION quoted() RETURNS text LANGUAGE sql AS 'SELECT ''\a''';
CREATE FUNCTION set_by() RETURNS text LANGUAGE sql SET DateStyle = 'German' SET search_path = 'a b', public AS 'SELECT now()::text';
ALTER TABLE plain ENABLE ROW LEVEL SECURITY; CREATE POLICY none ON plain USING (false);
COMMENT ON TABLE plain IS E'it''s \\ a comment';
SELECT lo_from_bytea(77, '\x005c27ff');
CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no % here', tg_event; END $$;
CREATE FUNCTION refuse_login() RETURNS event_trigger LANGUAGE plpgsql AS
  $$ BEGIN IF session_user <> 'postgres' THEN RAISE EXCEPTION 'no login here'; END IF; END $$;
"#;

const EVENT_TRIGGERS: &[&str] = &[
    "CREATE EVENT TRIGGER no_drop ON sql_drop EXECUTE FUNCTION refuse()",
    "CREATE EVENT TRIGGER no_rewrite ON table_rewrite EXECUTE FUNCTION refuse()",
    "CREATE EVENT TRIGGER no_end ON ddl_command_end EXECUTE FUNCTION refuse()",
    "CREATE EVENT TRIGGER no_start ON ddl_command_start EXECUTE FUNCTION refuse()",
];

/// Name, value for the database, value for the role. Under those of the database `pg_dump` must be able to begin.
const SETTINGS: &[(&str, &str, &str)] = &[
    ("standard_conforming_strings", "off", "off"),
    ("escape_string_warning", "on", "on"),
    ("backslash_quote", "off", "on"),
    ("DateStyle", "'SQL, DMY'", "'German'"),
    ("IntervalStyle", "'sql_standard'", "'iso_8601'"),
    ("TimeZone", "'Asia/Kathmandu'", "'America/St_Johns'"),
    ("search_path", "'nowhere'", "'Upper Case', public"),
    ("row_security", "on", "on"),
    ("bytea_output", "'escape'", "'escape'"),
    ("xmloption", "'document'", "'document'"),
    ("xmlbinary", "'hex'", "'hex'"),
    ("lc_monetary", "'C.UTF-8'", "'C.UTF-8'"),
    ("lc_numeric", "'C.UTF-8'", "'C.UTF-8'"),
    ("lc_messages", "'C.UTF-8'", "'C.UTF-8'"),
    ("extra_float_digits", "-5", "-15"),
    ("quote_all_identifiers", "on", "on"),
    ("client_encoding", "'LATIN1'", "'SQL_ASCII'"),
    ("client_min_messages", "'notice'", "'error'"),
    ("default_transaction_read_only", "on", "on"),
    ("default_transaction_isolation", "'serializable'", "'repeatable read'"),
    ("default_transaction_deferrable", "on", "on"),
    ("statement_timeout", "'20s'", "'20ms'"),
    ("lock_timeout", "'1ms'", "'1ms'"),
    ("idle_in_transaction_session_timeout", "'1ms'", "'1ms'"),
    ("idle_session_timeout", "'2s'", "'1s'"),
    ("transaction_timeout", "'20s'", "'20ms'"),
    ("default_table_access_method", "'misled_method'", "'misled_method'"),
    ("default_toast_compression", "'pglz'", "'pglz'"),
    ("check_function_bodies", "on", "on"),
    ("session_replication_role", "'replica'", "'local'"),
    ("array_nulls", "off", "off"),
    ("transform_null_equals", "on", "on"),
    ("plan_cache_mode", "'force_custom_plan'", "'force_generic_plan'"),
    ("jit", "on", "on"),
    ("debug_parallel_query", "off", "'on'"),
    ("force_parallel_mode", "off", "'on'"),
    ("exit_on_error", "on", "on"),
    ("restrict_nonsystem_relation_kind", "'view'", "'view, foreign-table'"),
    ("icu_validation_level", "'error'", "'error'"),
    ("default_statistics_target", "1", "2"),
    ("vacuum_cost_delay", "1", "1"),
    ("enable_seqscan", "on", "off"),
    ("enable_tidscan", "off", "off"),
    ("synchronize_seqscans", "on", "on"),
    ("gin_fuzzy_search_limit", "1", "1"),
    ("temp_tablespaces", "'pg_default'", "'pg_default'"),
];

struct Setup {
    server: Server,
    database: Database,
    tag: String,
}

impl Setup {
    async fn calm(server: Server) -> Self {
        let (database, tag) = (server.database("misled").await, random_hex(4));
        let client = database.connect().await;
        client.batch_execute(SAMPLE).await.expect("sample");
        // The server of 18 was built without XML.
        if server.major < 18 {
            let xml = "CREATE TABLE xmls (i xml); INSERT INTO xmls VALUES ('<a b=\"c\"/>text'), ('<!DOCTYPE a><a/>')";
            client.batch_execute(xml).await.expect("sample of XML");
        }
        Self { server, database, tag }
    }

    /// A superuser who becomes another role when he logs in.
    fn url(&self, database: &str) -> String {
        let mut url = url::Url::parse(&self.server.url(database)).expect("URL");
        url.set_username(&format!("misled_{}", self.tag)).expect("user");
        url.set_password(Some("weak")).expect("password");
        url.into()
    }

    /// Sets everything on the role and on the database.
    async fn mislead(&self) {
        let (role, database) = (format!("misled_{}", self.tag), &self.database.name);
        let client = self.server.connect(database).await;
        let method = "CREATE ACCESS METHOD misled_method TYPE TABLE HANDLER heap_tableam_handler";
        client.batch_execute(method).await.expect("access method");
        for event_trigger in EVENT_TRIGGERS {
            client.batch_execute(event_trigger).await.expect(event_trigger);
        }
        if self.server.major >= 17 {
            client.batch_execute("CREATE EVENT TRIGGER no_login ON login EXECUTE FUNCTION refuse_login()").await.expect("login");
        }
        let rows = client.query("SELECT lower(name) FROM pg_catalog.pg_settings", &[]).await.expect("settings");
        let known: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let mut statements = vec![
            format!("CREATE ROLE weak_{}", self.tag),
            format!("CREATE ROLE {role} LOGIN SUPERUSER PASSWORD 'weak'"),
            format!("ALTER ROLE {role} SET role = 'weak_{}'", self.tag),
        ];
        for (name, of_database, of_role) in SETTINGS.iter().filter(|(name, ..)| known.contains(&name.to_lowercase())) {
            statements.push(format!("ALTER DATABASE {database} SET {name} = {of_database}"));
            statements.push(format!("ALTER ROLE {role} SET {name} = {of_role}"));
        }
        assert!(statements.len() > 80, "{}", statements.len());
        self.server.admin(&statements).await;
    }

    async fn remove(self, copy: &str) {
        self.server.admin(&[format!("DROP DATABASE {copy} WITH (FORCE)")]).await;
        let (server, tag) = (self.server.clone(), self.tag.clone());
        self.database.remove().await;
        server.admin(&[format!("DROP ROLE misled_{tag}"), format!("DROP ROLE weak_{tag}")]).await;
    }
}

/// Entries without those that were made to mislead.
fn common(entries: &[Entry]) -> Vec<Entry> {
    let own = |e: &&Entry| !["database_setting", "event_trigger", "access_method"].contains(&e.kind.as_str());
    entries.iter().filter(own).cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_and_event_triggers_colour_neither_export_nor_restore_nor_comparison() {
    for server in Server::all() {
        let what = format!("PostgreSQL {}", server.major);
        let setup = Setup::calm(server.clone()).await;
        let (calm, misled) = (Memory::default(), Memory::default());
        let before = export_to(&calm, &setup.database.url(), &options()).await.expect("export");
        setup.mislead().await;
        let after = export_to(&misled, &setup.url(&setup.database.name), &options()).await.expect("export when misled");
        assert_eq!(common(&before.entries), common(&after.entries), "{what}");
        assert_eq!(before.tables, after.tables, "{what}");
        for stream in before.tables.iter().flat_map(|t| &t.streams) {
            assert_eq!(calm.stream(&stream.stream), misled.stream(&stream.stream), "{what}: {}", stream.stream);
        }
        let text = String::from_utf8(calm.stream("data/public.plain")).expect("UTF-8");
        for value in ["2026-01-02 03:04:05+00", "1 year 2 mons -3 days", "0.30000000000000004", r"\\x00ff5c27", "01:02:03+05:30"]
        {
            assert!(text.contains(value), "{what}: {value} is not in {text}");
        }

        let backup: RestoreInput = input(after);
        let copy = format!("misled_copy_{}", setup.tag);
        let goal = target(&setup.url(&copy));
        let expected = server.pg_dump(&setup.database.name, &[]);
        // The second time into a database that holds the settings and the event triggers.
        for clean in [false, true] {
            let wanted = RestoreOptions { jobs: 2, clean, ..RestoreOptions::default() };
            let plan = plan(&goal, &backup, &wanted).await.expect("plan");
            let source = Arc::new(misled.clone());
            let done = execute(&goal, &backup, &plan, source, &silent(), &Shutdown::new(), &clock()).await.expect("restore");
            assert!(done.is_complete(), "{what}, clean {clean}: {done:#?}");
            assert_eq!(done.warnings, Vec::<String>::new(), "{what}");
            let found = server.pg_dump(&copy, &[]);
            assert!(expected == found, "{what}, clean {clean}:\n{}", difference(&expected, &found));
            let same = compare(&goal, &backup, 2, &silent(), &Shutdown::new()).await.expect("compare");
            assert!(same.is_equal(), "{what}, clean {clean}: {same:#?}");
        }
        setup.remove(&copy).await;
    }
}
