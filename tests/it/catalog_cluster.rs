//! Roles, memberships, settings, tablespaces and the database's own properties are made again as they were.
#![allow(clippy::expect_used, reason = "a helper that fails fails its test")]

use std::collections::HashSet;

use pgkeep::base::ids::random_hex;
use pgkeep::base::sql::{Sql, ident};
use pgkeep::pg::catalog::entry::{Entry, Scope};
use pgkeep::pg::catalog::extract::{extract, extract_cluster};
use tokio_postgres::Client;

use crate::support::corpus::read_catalog;
use crate::support::server::{Database, Server};

/// Statements with `{p}` in place of a prefix of the roles' names.
const ROLES: &[&str] = &[
    "CREATE ROLE {p}boss SUPERUSER CREATEROLE REPLICATION BYPASSRLS",
    "CREATE ROLE {p}login LOGIN PASSWORD 'secret' VALID UNTIL '2031-02-03 04:05:06+02' CONNECTION LIMIT 7",
    "CREATE ROLE {p}group NOINHERIT CREATEDB",
    "CREATE ROLE {p}leaf VALID UNTIL 'infinity'",
    "CREATE ROLE {p}zoe",
    "COMMENT ON ROLE {p}group IS 'a ''group'' \\ of people'",
    "GRANT {p}group TO {p}login WITH ADMIN OPTION",
    "GRANT pg_read_all_settings, pg_monitor TO {p}group",
    "ALTER ROLE {p}login SET search_path TO \"$user\", 'odd, \"schema', public",
    "ALTER ROLE {p}login SET statement_timeout TO '5min'",
    "ALTER ROLE {p}login SET my.setting TO 'a=b, ''c'''",
    "CREATE TABLESPACE {p}space OWNER {p}boss LOCATION ''",
    "ALTER TABLESPACE {p}space SET (random_page_cost = 1.5, seq_page_cost = 2)",
    "GRANT CREATE ON TABLESPACE {p}space TO {p}login WITH GRANT OPTION",
    "COMMENT ON TABLESPACE {p}space IS 'fast'",
];

/// Parameters of the cluster have no owner, and no prefix: two that no other test uses.
const PARAMETERS: &[&str] = &[
    "GRANT SET, ALTER SYSTEM ON PARAMETER log_min_duration_statement TO {p}login WITH GRANT OPTION",
    "SET SESSION AUTHORIZATION {p}login; GRANT SET ON PARAMETER log_min_duration_statement TO {p}group; RESET SESSION AUTHORIZATION",
    "GRANT SET ON PARAMETER my.setting TO {p}group",
];

/// For servers that record grantors and options.
const ROLES_16: &[&str] = &[
    "GRANT {p}leaf TO {p}group WITH INHERIT FALSE, SET FALSE",
    "GRANT {p}leaf TO {p}boss WITH ADMIN TRUE, INHERIT TRUE",
    "SET SESSION AUTHORIZATION {p}login; GRANT {p}group TO {p}zoe WITH ADMIN TRUE; RESET SESSION AUTHORIZATION",
    "SET SESSION AUTHORIZATION {p}zoe; GRANT {p}group TO {p}boss WITH SET FALSE; RESET SESSION AUTHORIZATION",
];

const REMOVE: &[&str] = &[
    "DROP TABLESPACE {p}space",
    "DROP OWNED BY {p}boss, {p}login, {p}group, {p}leaf, {p}zoe",
    "DROP ROLE {p}boss, {p}login, {p}group, {p}leaf, {p}zoe",
];

async fn run(client: &Client, statements: &[&str], prefix: &str) {
    for statement in statements {
        let text = statement.replace("{p}", prefix);
        client.batch_execute(&text).await.unwrap_or_else(|e| panic!("{text}: {e:?}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_objects_are_made_again_as_pg_dumpall_sees_them() {
    for server in Server::all() {
        let prefix = format!("cluster_{}_", random_hex(3));
        let mine = |text: String| -> Vec<String> { text.lines().filter(|l| l.contains(&prefix)).map(str::to_owned).collect() };
        let client = server.connect("postgres").await;
        client.batch_execute("SET allow_in_place_tablespaces = on").await.expect("in-place tablespaces");
        run(&client, ROLES, &prefix).await;
        if server.major >= 15 {
            run(&client, PARAMETERS, &prefix).await;
        }
        if server.major >= 16 {
            run(&client, ROLES_16, &prefix).await;
        }
        let expected = mine(server.pg_dumpall_globals());
        let entries = cluster(&server).await;
        run(&client, REMOVE, &prefix).await;
        for entry in entries.iter().filter(|e| mentions(e, &prefix)) {
            for sql in entry.create.iter().chain(&entry.ownership).chain(&entry.privileges).chain(&entry.comments) {
                let text = sql.plain();
                client.batch_execute(&text).await.unwrap_or_else(|e| panic!("{text}: {e:?}"));
            }
        }
        let found = mine(server.pg_dumpall_globals());
        let ids: HashSet<&str> = entries.iter().map(|e| e.id.as_str()).collect();
        assert_eq!(ids.len(), entries.len(), "ids are not unique");
        run(&client, REMOVE, &prefix).await;
        assert!(expected.len() > 14, "{expected:#?}");
        assert_eq!(expected, found, "PostgreSQL {}", server.major);
    }
}

fn mentions(entry: &Entry, prefix: &str) -> bool {
    entry.id.contains(prefix) || entry.privileges.iter().any(|sql| sql.plain().contains(prefix))
}

async fn cluster(server: &Server) -> Vec<Entry> {
    let database = Database { server: server.clone(), name: "postgres".to_owned() };
    let context = database.context().await;
    let client = database.connect().await;
    client.batch_execute("SET search_path = ''; SET DateStyle = ISO").await.expect("session");
    extract_cluster(&client, &context).await.expect("extract").entries
}

/// Statements on the database `{d}`.
const DATABASE: &[&str] = &[
    "ALTER DATABASE {d} OWNER TO corpus_owner",
    "ALTER DATABASE {d} CONNECTION LIMIT 42",
    "ALTER DATABASE {d} IS_TEMPLATE true",
    "ALTER DATABASE {d} SET search_path TO app, \"$user\"",
    "ALTER DATABASE {d} SET default_transaction_read_only TO on",
    "ALTER ROLE corpus_reader IN DATABASE {d} SET work_mem TO '9MB'",
    "COMMENT ON DATABASE {d} IS 'the ''data'''",
    "REVOKE CONNECT, TEMPORARY ON DATABASE {d} FROM PUBLIC",
    "GRANT CONNECT ON DATABASE {d} TO corpus_reader WITH GRANT OPTION",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_is_made_again_with_its_properties_under_another_name() {
    for server in Server::all() {
        crate::support::corpus::make_roles(&server).await;
        let mut forms =
            vec!["ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'", "ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'"];
        if server.major == 15 {
            forms.push("LOCALE_PROVIDER icu ICU_LOCALE 'de-DE' LOCALE 'C.UTF-8'");
        }
        if server.major >= 17 {
            forms.push("LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C'");
        }
        for form in forms {
            database_round_trip(&server, form).await;
        }
    }
}

async fn database_round_trip(server: &Server, form: &str) {
    let id = random_hex(4);
    let (source, target) = (format!("made \"{id}\" one"), format!("made \"{id}\" two"));
    let admin = server.connect("postgres").await;
    let create = format!("CREATE DATABASE {} TEMPLATE template0 {form}", ident(&source));
    admin.batch_execute(&create).await.unwrap_or_else(|e| panic!("{create}: {e:?}"));
    for statement in DATABASE {
        let text = statement.replace("{d}", &ident(&source));
        admin.batch_execute(&text).await.unwrap_or_else(|e| panic!("{text}: {e:?}"));
    }
    let original = Database { server: server.clone(), name: source.clone() };
    let mut catalog = read_catalog(&original).await.expect("extract");
    // The schema public of a database made before 15 is not what a newer server makes.
    catalog.entries.retain(|e| server.major >= 15 || e.id != "schema \"public\"");
    let ids: Vec<&str> = catalog.entries.iter().map(|e| e.id.as_str()).collect();
    assert!(catalog.entries.iter().all(|e| e.scope == Scope::Database), "an empty database has only itself: {ids:?}");
    let all = |e: &Entry| -> Vec<Sql> {
        e.create.iter().chain(&e.ownership).chain(&e.privileges).chain(&e.comments).cloned().collect()
    };
    for sql in catalog.entries.iter().flat_map(all) {
        let text = sql.render(str::to_owned, |_| target.clone());
        admin.batch_execute(&text).await.unwrap_or_else(|e| panic!("{text}: {e:?}"));
    }
    let expected = server.pg_dump(&source, &["--create"]);
    let found = server.pg_dump(&target, &["--create"]).replace(&format!("{id}\"\" two"), &format!("{id}\"\" one"));
    let found = found.replace(&format!("{id}\" two"), &format!("{id}\" one"));
    for name in [&source, &target] {
        admin.batch_execute(&format!("ALTER DATABASE {} IS_TEMPLATE false", ident(name))).await.expect("no template");
        admin.batch_execute(&format!("DROP DATABASE {}", ident(name))).await.expect("drop database");
    }
    assert_eq!(expected, found, "{form} on PostgreSQL {}", server.major);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_without_rights_reads_all_but_passwords() {
    for server in Server::all() {
        crate::support::corpus::make_roles(&server).await;
        let database = server.database("plain_role").await;
        let mut context = database.context().await;
        context.reads_passwords = false;
        context.reads_connections = false;
        let client = database.connect().await;
        client.batch_execute("SET search_path = ''; SET SESSION AUTHORIZATION corpus_reader").await.expect("session");
        let cluster = extract_cluster(&client, &context).await.expect("extract the cluster");
        let statements = || cluster.entries.iter().flat_map(|e| &e.create).map(Sql::plain);
        assert!(statements().any(|s| s == "CREATE ROLE \"corpus_reader\""));
        assert!(!statements().any(|s| s.contains(" PASSWORD ")));
        assert_eq!(cluster.warnings.len(), 1, "{:?}", cluster.warnings);
        extract(&client, &context).await.expect("extract the database");
        drop(client);
        database.remove().await;
    }
}
