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

/// One object of each kind that may be missing from KINDS, with the kind and how PostgreSQL describes it.
const UNMODELED: &[(&str, &str, &str)] = &[
    ("shell_type", "type shell", "CREATE TYPE shell"),
    (
        "base_type",
        "type base",
        "CREATE TYPE base;
         CREATE FUNCTION base_in(cstring) RETURNS base IMMUTABLE STRICT LANGUAGE internal AS 'int4in';
         CREATE FUNCTION base_out(base) RETURNS cstring IMMUTABLE STRICT LANGUAGE internal AS 'int4out';
         CREATE TYPE base (INPUT = base_in, OUTPUT = base_out, LIKE = int4)",
    ),
    ("operator", "operator ===(integer,integer)", "CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq)"),
    ("operator_family", "operator family fam for access method btree", "CREATE OPERATOR FAMILY fam USING btree"),
    (
        "operator_class",
        "operator class cls for access method hash",
        "CREATE OPERATOR CLASS cls FOR TYPE int USING hash AS OPERATOR 1 =, FUNCTION 1 hashint4(int)",
    ),
    (
        "cast",
        "cast from integer to point",
        "CREATE FUNCTION to_point(int) RETURNS point LANGUAGE sql AS 'SELECT point($1, $1)';
         CREATE CAST (int AS point) WITH FUNCTION to_point(int)",
    ),
    ("conversion", "conversion conv", "CREATE CONVERSION conv FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8"),
    ("collation", "collation coll", "CREATE COLLATION coll FROM \"C\""),
    ("language", "language lang", "CREATE LANGUAGE lang HANDLER plpgsql_call_handler"),
    (
        "transform",
        "transform for integer language sql",
        "CREATE FUNCTION int_from(internal) RETURNS internal IMMUTABLE LANGUAGE internal AS 'varchar_support';
         CREATE TRANSFORM FOR int LANGUAGE sql (FROM SQL WITH FUNCTION int_from(internal))",
    ),
    ("access_method", "access method am", "CREATE ACCESS METHOD am TYPE TABLE HANDLER heap_tableam_handler"),
    (
        "text_search_parser",
        "text search parser prs",
        "CREATE TEXT SEARCH PARSER prs (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype)",
    ),
    ("text_search_template", "text search template tmpl", "CREATE TEXT SEARCH TEMPLATE tmpl (LEXIZE = dsimple_lexize)"),
    ("text_search_dictionary", "text search dictionary dict", "CREATE TEXT SEARCH DICTIONARY dict (TEMPLATE = simple)"),
    ("text_search_configuration", "text search configuration conf", "CREATE TEXT SEARCH CONFIGURATION conf (COPY = simple)"),
    ("foreign_data_wrapper", "foreign-data wrapper fdw", "CREATE FOREIGN DATA WRAPPER fdw"),
    ("foreign_server", "server srv", "CREATE SERVER srv FOREIGN DATA WRAPPER fdw"),
    ("user_mapping", "user mapping for public on server srv", "CREATE USER MAPPING FOR PUBLIC SERVER srv"),
    ("foreign_table", "foreign table ft", "CREATE FOREIGN TABLE ft (a int) SERVER srv"),
    (
        "event_trigger",
        "event trigger ev",
        "CREATE FUNCTION ev() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
         CREATE EVENT TRIGGER ev ON sql_drop EXECUTE FUNCTION ev()",
    ),
    ("publication", "publication pub", "CREATE PUBLICATION pub"),
    ("subscription", "subscription sub", "CREATE SUBSCRIPTION sub CONNECTION 'dbname=x' PUBLICATION p WITH (connect = false)"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_kind_covers_is_named() {
    for server in Server::all() {
        let database = server.database("unmodeled").await;
        let client = database.connect().await;
        for (kind, _, sql) in UNMODELED {
            client.batch_execute(sql).await.unwrap_or_else(|e| panic!("{kind}: {e:?}"));
        }
        let catalog = read_catalog(&database).await.expect("extract");
        let missing: Vec<&str> = UNMODELED
            .iter()
            .filter(|(kind, ..)| pgkeep::pg::catalog::kinds::KINDS.iter().all(|k| k.name != *kind))
            .map(|(_, described, _)| *described)
            .filter(|described| !catalog.unmodeled.iter().any(|found| found.replace("public.", "") == *described))
            .collect();
        assert!(missing.is_empty(), "not reported on {}: {missing:?}, but {:?}", server.major, catalog.unmodeled);
        client.batch_execute("ALTER SUBSCRIPTION sub SET (slot_name = NONE); DROP SUBSCRIPTION sub").await.expect("drop");
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
