//! Every catalog of every server version: its objects are exported, or it is said here why not. A catalog that is not listed here fails the test
//! until somebody decides.
#![allow(clippy::expect_used, reason = "a helper that fails fails its test")]

use std::collections::BTreeSet;

use pgkeep::base::ids::random_hex;
use pgkeep::pg::catalog::entry::Entry;
use pgkeep::pg::catalog::extract::extract_cluster;
use tokio_postgres::Client;

use super::support::corpus::read_catalog;
use super::support::server::{Database, Server};

/// What becomes of the rows of a catalog.
enum Fate {
    /// An entry of this kind holds this piece of SQL, which stands for the row that the test made; `{r}` is its role, `{d}` its database.
    Exported(&'static str, &'static str),
    /// No entry has them, for this reason.
    Not(#[allow(dead_code, reason = "for the reader")] &'static str),
}

use Fate::{Exported, Not};

/// A catalog: its name, the condition that finds rows of the test, and their fate.
type Line = (&'static str, &'static str, Fate);

/// Rows with an oid that initdb did not give.
const MADE: &str = "oid >= 16384";
const OURS: &str = "(SELECT oid FROM pg_roles WHERE rolname = '{r}')";

const CATALOGS: &[Line] = &[
    ("pg_aggregate", "aggfnoid >= 16384", Exported("aggregate", "AGGREGATE \"app\".\"total\"")),
    ("pg_am", MADE, Exported("access_method", "CREATE ACCESS METHOD \"heap2\"")),
    ("pg_amop", MADE, Exported("operator_class", "OPERATOR 1 \"app\".===")),
    ("pg_amproc", MADE, Exported("operator_class", "FUNCTION 1 (integer, integer) \"pg_catalog\".\"hashint4\"")),
    ("pg_attrdef", MADE, Exported("column_default", "SET DEFAULT 7")),
    ("pg_attribute", "attrelid >= 16384 AND attnum > 0", Exported("table", "\"a\" integer")),
    ("pg_auth_members", "roleid = {ours} OR member = {ours}", Exported("membership", "\"pg_monitor\" TO \"{r}\"")),
    ("pg_authid", "rolname = '{r}'", Exported("role", "CREATE ROLE \"{r}\"")),
    ("pg_cast", MADE, Exported("cast", "CREATE CAST (integer AS point)")),
    ("pg_class", MADE, Exported("table", "CREATE TABLE \"app\".\"t\"")),
    ("pg_collation", MADE, Exported("collation", "CREATE COLLATION \"app\".\"coll\"")),
    ("pg_constraint", "oid >= 16384 AND contype = 'c'", Exported("check", "CHECK ((a > 0))")),
    ("pg_conversion", MADE, Exported("conversion", "CREATE CONVERSION \"app\".\"conv\"")),
    ("pg_database", "datname = current_database()", Exported("database", "CREATE DATABASE \"{d}\"")),
    ("pg_db_role_setting", "setrole = {ours}", Exported("database_role_setting", "SET \"work_mem\"")),
    ("pg_default_acl", MADE, Exported("default_privileges", "ALTER DEFAULT PRIVILEGES FOR ROLE \"{r}\"")),
    ("pg_depend", "objid >= 16384", Not("dependencies are the order of the entries")),
    ("pg_description", "objoid >= 16384", Exported("schema", "COMMENT ON SCHEMA \"app\"")),
    ("pg_enum", MADE, Exported("enum_type", "'sad'")),
    ("pg_event_trigger", MADE, Exported("event_trigger", "CREATE EVENT TRIGGER \"ev\"")),
    ("pg_extension", MADE, Exported("extension", "CREATE EXTENSION IF NOT EXISTS \"citext\"")),
    ("pg_foreign_data_wrapper", MADE, Exported("foreign_data_wrapper", "CREATE FOREIGN DATA WRAPPER \"fdw\"")),
    ("pg_foreign_server", MADE, Exported("foreign_server", "CREATE SERVER \"srv\"")),
    ("pg_foreign_table", "true", Exported("foreign_table", "CREATE FOREIGN TABLE \"app\".\"ft\"")),
    ("pg_index", "indexrelid >= 16384", Exported("index", "CREATE INDEX t_b")),
    ("pg_inherits", "true", Exported("table", "INHERITS (\"app\".\"t\")")),
    (
        "pg_init_privs",
        "true",
        Exported("altered_privileges", "GRANT ALL ON FUNCTION \"pg_catalog\".\"pg_reload_conf\"() TO \"{r}\""),
    ),
    ("pg_language", MADE, Exported("language", "LANGUAGE \"lang\"")),
    ("pg_largeobject", "true", Not("the bytes of large objects are data")),
    ("pg_largeobject_metadata", "true", Exported("large_object", "lo_create")),
    ("pg_namespace", MADE, Exported("schema", "CREATE SCHEMA \"app\"")),
    ("pg_opclass", MADE, Exported("operator_class", "CREATE OPERATOR CLASS \"app\".\"cls\"")),
    ("pg_operator", MADE, Exported("operator", "CREATE OPERATOR \"app\".===")),
    ("pg_opfamily", MADE, Exported("operator_family", "CREATE OPERATOR FAMILY \"app\".\"fam\"")),
    ("pg_parameter_acl", "paracl::text LIKE '%{r}%'", Exported("parameter_privileges", "TO \"{r}\"")),
    ("pg_partitioned_table", "true", Exported("table", "PARTITION BY LIST (a)")),
    ("pg_policy", MADE, Exported("policy", "CREATE POLICY \"pol\"")),
    ("pg_proc", MADE, Exported("function", "FUNCTION app.twice")),
    ("pg_publication", MADE, Exported("publication", "CREATE PUBLICATION \"pub\"")),
    ("pg_publication_namespace", MADE, Exported("publication_member", "TABLES IN SCHEMA \"app\"")),
    ("pg_publication_rel", MADE, Exported("publication_member", "TABLE ONLY \"app\".\"t\"")),
    ("pg_range", "rngtypid >= 16384", Exported("range_type", "AS RANGE")),
    ("pg_replication_origin", "true", Not("how far a subscription has come is its publisher's to say again")),
    ("pg_rewrite", MADE, Exported("rule", "CREATE RULE quiet")),
    ("pg_seclabel", "true", Exported("table", "SECURITY LABEL FOR \"provider\" ON TABLE \"app\".\"t\" IS 'secret'")),
    ("pg_sequence", "true", Exported("identity", "START WITH 5")),
    ("pg_shdepend", "refobjid = {ours}", Not("owners and privileges are in the entries")),
    ("pg_shdescription", "objoid = {ours}", Exported("role", "COMMENT ON ROLE \"{r}\"")),
    ("pg_shseclabel", "objoid = {ours}", Exported("role", "SECURITY LABEL FOR \"provider\" ON ROLE \"{r}\"")),
    ("pg_statistic", "starelid >= 16384", Not("ANALYZE collects them again")),
    ("pg_statistic_ext", MADE, Exported("statistics", "CREATE STATISTICS app.together")),
    ("pg_statistic_ext_data", "true", Not("ANALYZE collects them again")),
    (
        "pg_subscription",
        "subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())",
        Exported("subscription", "CREATE SUBSCRIPTION \"sub\""),
    ),
    ("pg_subscription_rel", "true", Not("which tables were copied belongs to the replication that ended with the source")),
    ("pg_tablespace", "spcowner = {ours}", Exported("tablespace", "CREATE TABLESPACE \"{r}\"")),
    ("pg_transform", MADE, Exported("transform", "CREATE TRANSFORM FOR integer")),
    ("pg_trigger", MADE, Exported("trigger", "CREATE TRIGGER trg")),
    ("pg_ts_config", MADE, Exported("text_search_configuration", "CONFIGURATION \"app\".\"conf\"")),
    ("pg_ts_config_map", "mapcfg >= 16384", Exported("text_search_configuration", "ADD MAPPING FOR")),
    ("pg_ts_dict", MADE, Exported("text_search_dictionary", "DICTIONARY \"app\".\"dict\"")),
    ("pg_ts_parser", MADE, Exported("text_search_parser", "PARSER \"app\".\"prs\"")),
    ("pg_ts_template", MADE, Exported("text_search_template", "TEMPLATE \"app\".\"tmpl\"")),
    ("pg_type", "oid >= 16384 AND typtype = 'd'", Exported("domain", "CREATE DOMAIN \"app\".\"dom\"")),
    ("pg_user_mapping", MADE, Exported("user_mapping", "CREATE USER MAPPING FOR PUBLIC")),
];

/// The catalogs that not all versions have, and the major that brought them.
const SINCE: &[(&str, u32)] = &[("pg_parameter_acl", 15), ("pg_publication_namespace", 15)];

const OBJECTS: &str = "
CREATE ROLE {r}; COMMENT ON ROLE {r} IS 'a role'; GRANT pg_monitor TO {r}; ALTER ROLE {r} IN DATABASE {d} SET work_mem = '9MB';
CREATE SCHEMA app; COMMENT ON SCHEMA app IS 'all'; SET search_path = app;
CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY (START 5) PRIMARY KEY, a int DEFAULT 7 CHECK (a > 0), b int);
CREATE INDEX t_b ON t (b); CREATE TABLE heir () INHERITS (t); CREATE TABLE parted (a int) PARTITION BY LIST (a);
CREATE STATISTICS together (dependencies) ON a, b FROM t; INSERT INTO t (a, b) SELECT n, n / 2 FROM generate_series(1, 100) n; ANALYZE t;
CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TYPE span AS RANGE (SUBTYPE = float8); CREATE DOMAIN dom AS int;
CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2';
CREATE FUNCTION to_point(int) RETURNS point LANGUAGE sql AS 'SELECT point($1, $1)';
CREATE AGGREGATE total (int) (SFUNC = int4pl, STYPE = int); CREATE CAST (int AS point) WITH FUNCTION to_point(int);
CREATE ACCESS METHOD heap2 TYPE TABLE HANDLER heap_tableam_handler;
CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq); CREATE OPERATOR FAMILY fam USING hash;
CREATE OPERATOR CLASS cls FOR TYPE int USING hash FAMILY fam AS OPERATOR 1 ===, FUNCTION 1 hashint4(int);
CREATE COLLATION coll FROM \"C\"; CREATE CONVERSION conv FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
CREATE LANGUAGE lang HANDLER plpgsql_call_handler; CREATE EXTENSION citext;
CREATE FUNCTION int_from(internal) RETURNS internal IMMUTABLE LANGUAGE internal AS 'varchar_support';
CREATE TRANSFORM FOR int LANGUAGE sql (FROM SQL WITH FUNCTION int_from(internal));
CREATE FOREIGN DATA WRAPPER fdw; CREATE SERVER srv FOREIGN DATA WRAPPER fdw; CREATE FOREIGN TABLE ft (a int) SERVER srv;
CREATE USER MAPPING FOR PUBLIC SERVER srv; ALTER DEFAULT PRIVILEGES FOR ROLE {r} GRANT SELECT ON TABLES TO PUBLIC;
CREATE FUNCTION fired() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER trg BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION fired(); CREATE RULE quiet AS ON DELETE TO t DO INSTEAD NOTHING;
CREATE FUNCTION ev() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; CREATE EVENT TRIGGER ev ON sql_drop EXECUTE FUNCTION ev();
CREATE POLICY pol ON t; GRANT EXECUTE ON FUNCTION pg_catalog.pg_reload_conf() TO {r};
CREATE PUBLICATION pub FOR TABLE t; CREATE SUBSCRIPTION sub CONNECTION 'dbname=x' PUBLICATION p WITH (connect = false);
CREATE TEXT SEARCH PARSER prs (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype);
CREATE TEXT SEARCH TEMPLATE tmpl (LEXIZE = dsimple_lexize); CREATE TEXT SEARCH DICTIONARY dict (TEMPLATE = simple);
CREATE TEXT SEARCH CONFIGURATION conf (COPY = simple); SELECT lo_from_bytea(4711, 'content');
INSERT INTO pg_subscription_rel (srsubid, srrelid, srsubstate) SELECT oid, 't'::regclass, 'i' FROM pg_subscription WHERE subname = 'sub'
   AND subdbid = (SELECT oid FROM pg_database WHERE datname = current_database());
INSERT INTO pg_seclabel (objoid, classoid, objsubid, provider, label) VALUES ('t'::regclass, 'pg_class'::regclass, 0, 'provider', 'secret');
INSERT INTO pg_shseclabel (objoid, classoid, provider, label) SELECT oid, 'pg_authid'::regclass, 'provider', 'secret' FROM pg_roles WHERE rolname = '{r}'";

const TABLESPACE: &str = "CREATE TABLESPACE {r} OWNER {r} LOCATION ''";

const OBJECTS_15: &str = "GRANT SET ON PARAMETER log_min_duration_sample TO {r}; ALTER PUBLICATION pub ADD TABLES IN SCHEMA app";

const REMOVE: &str = "DELETE FROM pg_shseclabel WHERE objoid IN (SELECT oid FROM pg_roles WHERE rolname = '{r}')";

async fn run(client: &Client, text: &str) {
    client.batch_execute(text).await.unwrap_or_else(|e| panic!("{text}: {e:?}"));
}

fn text_of(entry: &Entry) -> String {
    let parts = [&entry.create, &entry.ownership, &entry.privileges, &entry.comments, &entry.labels];
    parts.into_iter().flatten().map(pgkeep::base::sql::Sql::plain).collect::<Vec<_>>().join(";\n")
}

/// What is wrong with one line of [`CATALOGS`] on this server.
async fn check(client: &Client, entries: &[Entry], (name, rows, fate): &Line, fill: &impl Fn(&str) -> String) -> Option<String> {
    let count = format!("SELECT count(*) FROM {name} WHERE {}", fill(rows));
    let made: i64 = client.query_one(&count, &[]).await.unwrap_or_else(|e| panic!("{count}: {e:?}")).get(0);
    if made == 0 {
        return Some(format!("{name}: the test made nothing in it"));
    }
    let Exported(kind, piece) = fate else { return None };
    let piece = fill(piece);
    let found = entries.iter().any(|e| e.kind == *kind && text_of(e).contains(&piece));
    (!found).then(|| format!("{name}: no entry of kind {kind} holds `{piece}`"))
}

async fn problems(server: &Server, database: &Database, role: &str) -> Vec<String> {
    let fill = |text: &str| text.replace("{ours}", OURS).replace("{r}", role).replace("{d}", &database.name);
    let client = database.connect().await;
    run(&client, &fill(OBJECTS)).await;
    run(&client, "SET allow_in_place_tablespaces = on").await;
    run(&client, &fill(TABLESPACE)).await;
    if server.major >= 15 {
        run(&client, &fill(OBJECTS_15)).await;
    }
    let catalog = read_catalog(database).await.expect("extract");
    let mut entries = catalog.entries;
    entries.extend(extract_cluster(&client, &database.context().await).await.expect("extract the cluster").entries);
    let mut problems = catalog.unmodeled;
    problems.extend(catalog.warnings.into_iter().filter(|w| w.contains("catalog")));
    let catalogs =
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r' ORDER BY 1";
    let rows = client.query(catalogs, &[]).await.expect("list catalogs");
    let there: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
    let listed: BTreeSet<String> = CATALOGS
        .iter()
        .map(|(name, ..)| (*name).to_owned())
        .filter(|name| !SINCE.iter().any(|(late, since)| name == late && server.major < *since))
        .collect();
    problems.extend(there.symmetric_difference(&listed).map(|name| format!("{name}: is it exported, or why not?")));
    for line in CATALOGS.iter().filter(|line| there.contains(line.0)) {
        problems.extend(check(&client, &entries, line, &fill).await);
    }
    run(&client, &fill(REMOVE)).await;
    problems
}

#[tokio::test]
async fn the_objects_of_every_catalog_are_exported_or_it_is_said_why_not() {
    for server in Server::all() {
        let role = format!("catalogs_{}", random_hex(4));
        let database = server.database("catalogs").await;
        let problems = problems(&server, &database, &role).await;
        assert!(problems.is_empty(), "PostgreSQL {}:\n{}", server.major, problems.join("\n"));
        database.remove().await;
        let mut remove = vec![format!("DROP TABLESPACE {role}")];
        remove.extend((server.major >= 15).then(|| format!("DROP OWNED BY {role}")));
        remove.push(format!("DROP ROLE {role}"));
        server.admin(&remove).await;
    }
}
