//! Security labels, with the providers of `tests/label_provider`.
#![allow(clippy::expect_used, reason = "a helper that fails fails its test")]

use std::sync::Arc;

use pgkeep::base::ids::random_hex;
use pgkeep::base::shutdown::Shutdown;
use pgkeep::pg::export::export_cluster;
use pgkeep::pg::facts::drop_database;
use pgkeep::pg::restore::{RestoreInput, RestoreOptions, RestoreOutcome, RestorePlan, execute, plan};

use super::support::cli::{Home, StoreKind, new_name};
use super::support::corpus::difference;
use super::support::rows::{Memory, clock, export_to, input, options, silent, target};
use super::support::server::{Database, LABELLED_MAJORS, Server};

/// Every label of the database with the object that it is on.
const LABELS: &str = "SELECT coalesce(string_agg(concat_ws(' ', i.type, i.identity, l.provider, l.label), E'\\n'
        ORDER BY i.type, i.identity, l.provider), '')
    FROM pg_seclabel l, pg_identify_object(l.classoid, l.objoid, l.objsubid) i";

/// Those of the database itself and of a role.
fn shared(role: &str) -> String {
    format!(
        "SELECT coalesce(string_agg(format('%s %s', l.provider, l.label), ' ' ORDER BY l.label), '') FROM pg_shseclabel l
          WHERE l.objoid IN (SELECT oid FROM pg_database WHERE datname = current_database()
                             UNION ALL SELECT oid FROM pg_roles WHERE rolname = '{role}')"
    )
}

async fn labels(server: &Server, database: &str, sql: &str) -> String {
    server.connect(database).await.query_one(sql, &[]).await.expect("labels").get(0)
}

/// Labels on objects of many kinds, on the database and on a role of this name.
async fn labelled(server: &Server, role: &str) -> (Database, Memory, RestoreInput) {
    let database = server.database("labels").await;
    let client = database.connect().await;
    let case = include_str!("../corpus/security_label--everything/schema.sql");
    client.batch_execute(case).await.expect("load");
    let name = &database.name;
    client
        .batch_execute(&format!(
            "CREATE ROLE {role}; SECURITY LABEL FOR pgkeep_test ON ROLE {role} IS 'role';
             SECURITY LABEL FOR pgkeep_test ON DATABASE {name} IS 'database';
             SECURITY LABEL FOR \"odd \"\"provider\" ON SCHEMA app IS 'second';
             SECURITY LABEL FOR \"odd \"\"provider\" ON COLUMN app.\"Odd \"\"table\".id IS 'second'; ALTER TABLE app.parted OWNER TO {role}"
        ))
        .await
        .expect("label role and database");
    let memory = Memory::default();
    let mut backup = input(export_to(&memory, &database.url(), &options()).await.expect("export"));
    let cluster = export_cluster(&target(&server.url("postgres"))).await.expect("export roles").entries;
    backup.cluster = cluster.into_iter().filter(|e| e.name == role).collect();
    (database, memory, backup)
}

async fn restore(url: &str, input: &RestoreInput, memory: &Memory) -> (RestorePlan, RestoreOutcome) {
    let target = target(url);
    let options = RestoreOptions { jobs: 2, ..RestoreOptions::default() };
    let plan = plan(&target, input, &options).await.expect("plan");
    let source = Arc::new(memory.clone());
    let outcome = execute(&target, input, &plan, source, &silent(), &Shutdown::new(), &clock()).await.expect("restore");
    (plan, outcome)
}

async fn remove(server: &Server, name: &str) {
    drop_database(&target(&server.url("postgres")), name).await.expect("drop");
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_come_back_on_every_object() {
    for major in LABELLED_MAJORS {
        let server = Server::of(*major);
        let role = format!("labelled_{}", random_hex(4));
        let (source, memory, backup) = labelled(&server, &role).await;
        let (expected, of_all) =
            (labels(&server, &source.name, LABELS).await, labels(&server, &source.name, &shared(&role)).await);
        assert!(expected.lines().count() > 40 && of_all == "pgkeep_test database pgkeep_test role", "{expected}\n{of_all}");
        source.remove().await;
        server.admin(&[format!("DROP ROLE {role}")]).await;
        let copy = new_name("labels");
        let (plan, outcome) = restore(&server.url(&copy), &backup, &memory).await;
        assert!(outcome.is_complete(), "PostgreSQL {major}: {outcome:#?}");
        assert!(!plan.warnings.iter().any(|w| w.contains("security labels")), "{:?}", plan.warnings);
        assert_eq!(labels(&server, &copy, LABELS).await, expected);
        assert_eq!(labels(&server, &copy, &shared(&role)).await, of_all);
        remove(&server, &copy).await;
        server.admin(&[format!("DROP ROLE {role}")]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_the_target_lacks_costs_its_labels_alone() {
    let server = Server::of(15);
    let role = format!("labelled_{}", random_hex(4));
    let (source, memory, backup) = labelled(&server, &role).await;
    let copy = server.database("labels").await;
    server.admin(&[format!("ALTER DATABASE {} SET session_preload_libraries = plpgsql", copy.name)]).await;
    let (plan, outcome) = restore(&copy.url(), &backup, &memory).await;
    for provider in ["pgkeep_test", "odd \"provider"] {
        assert!(plan.warnings.iter().any(|w| w.contains(&format!("provider {provider} on "))), "{:?}", plan.warnings);
    }
    let mut expected: Vec<&str> = backup.entries.iter().flat_map(|e| e.labels.iter().map(|_| e.id.as_str())).collect();
    let mut named: Vec<&str> = outcome.errors.iter().map(|e| e.entry.as_str()).collect();
    expected.sort_unstable();
    named.sort_unstable();
    assert_eq!(named, expected);
    assert!(outcome.errors.iter().all(|e| e.message.contains("is not loaded")), "{:#?}", outcome.errors);
    assert!(outcome.skipped.is_empty() && outcome.mismatches.is_empty(), "{:#?}", outcome.skipped);
    let without = ["--no-security-labels"];
    let (expected, found) = (server.pg_dump(&source.name, &without), server.pg_dump(&copy.name, &without));
    assert!(expected == found, "{}", difference(&expected, &found));
    copy.remove().await;
    source.remove().await;
    server.admin(&[format!("DROP ROLE {role}")]).await;
}

#[tokio::test]
async fn labels_of_tablespaces_are_in_their_entries() {
    let server = Server::of(15);
    let name = format!("labelled_{}", random_hex(4));
    let client = server.connect("postgres").await;
    client.batch_execute("SET allow_in_place_tablespaces = on").await.expect("in-place tablespaces");
    for text in [
        format!("CREATE TABLESPACE {name} LOCATION ''"),
        format!("SECURITY LABEL FOR pgkeep_test ON TABLESPACE {name} IS 'space'"),
    ] {
        client.batch_execute(&text).await.expect("set up");
    }
    let entries = export_cluster(&target(&server.url("postgres"))).await.expect("export the cluster").entries;
    let entry = entries.iter().find(|e| e.kind == "tablespace" && e.name == name).expect("entry");
    let labels: Vec<String> = entry.labels.iter().map(pgkeep::base::sql::Sql::plain).collect();
    assert_eq!(labels, [format!("SECURITY LABEL FOR \"pgkeep_test\" ON TABLESPACE \"{name}\" IS 'space'")]);
    server.admin(&[format!("DROP TABLESPACE {name}")]).await;
}

#[tokio::test]
async fn a_drill_without_the_provider_warns_and_proves_the_rest() {
    let server = Server::of(15);
    let source = server.database("labels").await;
    let set_up = "CREATE TABLE t (a int); INSERT INTO t VALUES (1); SECURITY LABEL FOR pgkeep_test ON TABLE t IS 'secret';
                  SECURITY LABEL FOR pgkeep_test ON FUNCTION pg_catalog.pg_sleep(float8) IS 'slow'";
    source.connect().await.batch_execute(set_up).await.expect("load");
    let home = Home::new(StoreKind::File);
    home.policy("labelled", &source, "");
    home.json(&["backup", "labelled"]);
    let drill = home.run(&["--json", "verify", "labelled", "--level", "restore", "--scratch", "local"]).exits(0);
    for entry in [r#"table \"public\".\"t\""#, "security_label FUNCTION pg_catalog.pg_sleep(double precision)"] {
        assert!(drill.stdout.contains(&format!("{entry}: its security labels are not proven")), "{entry}: {}", drill.stdout);
    }
    source.remove().await;
}
