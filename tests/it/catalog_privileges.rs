//! Random privileges: whatever GRANT and REVOKE made of one object, the statements of `acl::privileges` make of its twin.
#![allow(clippy::expect_used, reason = "a helper that fails fails its test")]
#![allow(clippy::disallowed_macros, reason = "a failing test prints its seed")]

use pgkeep::base::ids::random_hex;
use pgkeep::base::sql::{Sql, ident};
use pgkeep::pg::catalog::acl::{AclObject, AclType, privileges};
use pgkeep::pg::version::Version;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use tokio_postgres::Client;

use crate::support::server::Server;

/// One type of object: how to make it, its GRANT phrase, the privileges to choose from, and the query of its array.
struct Subject {
    kind: AclType,
    create: &'static str,
    phrase: &'static str,
    choices: &'static [&'static str],
    acl: &'static str,
}

const SUBJECTS: &[Subject] = &[
    Subject {
        kind: AclType::Table,
        create: "CREATE TABLE {} (a int, b int); ALTER TABLE {} OWNER TO {owner}",
        phrase: "TABLE {}",
        choices: &["SELECT", "INSERT", "UPDATE", "TRUNCATE", "SELECT, DELETE", "ALL"],
        acl: "SELECT relacl::text[] FROM pg_class WHERE oid = '{}'::regclass",
    },
    Subject {
        kind: AclType::Column,
        create: "CREATE TABLE {} (a int, b int); ALTER TABLE {} OWNER TO {owner}",
        phrase: "TABLE {}",
        choices: &["SELECT (a)", "INSERT (a)", "UPDATE (a), SELECT (a)", "ALL (a)"],
        acl: "SELECT attacl::text[] FROM pg_attribute WHERE attrelid = '{}'::regclass AND attname = 'a'",
    },
    Subject {
        kind: AclType::Sequence,
        create: "CREATE SEQUENCE {}; ALTER SEQUENCE {} OWNER TO {owner}",
        phrase: "SEQUENCE {}",
        choices: &["USAGE", "SELECT", "UPDATE", "ALL"],
        acl: "SELECT relacl::text[] FROM pg_class WHERE oid = '{}'::regclass",
    },
    Subject {
        kind: AclType::Function,
        create: "CREATE FUNCTION {}() RETURNS int LANGUAGE sql AS 'SELECT 1'; ALTER FUNCTION {}() OWNER TO {owner}",
        phrase: "FUNCTION {}()",
        choices: &["EXECUTE", "ALL"],
        acl: "SELECT proacl::text[] FROM pg_proc WHERE oid = '{}'::regproc",
    },
    Subject {
        kind: AclType::Type,
        create: "CREATE TYPE {} AS ENUM (); ALTER TYPE {} OWNER TO {owner}",
        phrase: "TYPE {}",
        choices: &["USAGE", "ALL"],
        acl: "SELECT typacl::text[] FROM pg_type WHERE oid = '{}'::regtype",
    },
    Subject {
        kind: AclType::Schema,
        create: "CREATE SCHEMA {}; ALTER SCHEMA {} OWNER TO {owner}",
        phrase: "SCHEMA {}",
        choices: &["USAGE", "CREATE", "ALL"],
        acl: "SELECT nspacl::text[] FROM pg_namespace WHERE oid = '{}'::regnamespace",
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twins_get_the_same_array() {
    let seed = std::env::var("PGKEEP_TEST_SEED").ok().and_then(|s| s.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from_str_radix(&random_hex(4), 16).expect("hexadecimal"));
    println!("PGKEEP_TEST_SEED={seed}");
    for server in Server::all() {
        let database = server.database("acl").await;
        let client = database.connect().await;
        let version = Version(server.major * 10000);
        let roles = make_roles(&client).await;
        let mut rng = StdRng::seed_from_u64(seed);
        let (mut changed, mut reordered) = (0, 0);
        for trial in 0..120 {
            let subject = &SUBJECTS[trial % SUBJECTS.len()];
            let outcome = twin(&client, subject, &roles, version, trial, &mut rng).await;
            changed += usize::from(outcome != Outcome::Default);
            reordered += usize::from(outcome == Outcome::Reordered);
        }
        client.batch_execute("RESET SESSION AUTHORIZATION").await.expect("reset");
        let list = roles.iter().map(|r| ident(r)).collect::<Vec<_>>().join(", ");
        client.batch_execute(&format!("DROP OWNED BY {list} CASCADE; DROP ROLE {list}")).await.expect("drop roles");
        drop(client);
        database.remove().await;
        assert!(changed > 30, "only {changed} of 120 objects had privileges of their own");
        assert!(reordered < 40, "{reordered} of 120 arrays came out in another order");
    }
}

#[derive(PartialEq)]
enum Outcome {
    Default,
    Same,
    Reordered,
}

async fn make_roles(client: &Client) -> Vec<String> {
    let id = random_hex(3);
    let roles: Vec<String> = ["owner", "a", "b'\"=/", "C d"].iter().map(|n| format!("acl {id} {n}")).collect();
    for role in &roles {
        client.batch_execute(&format!("CREATE ROLE {}", ident(role))).await.expect("create role");
    }
    roles
}

async fn twin(client: &Client, subject: &Subject, roles: &[String], version: Version, trial: usize, rng: &mut StdRng) -> Outcome {
    let (one, two) = (format!("public.one_{trial}"), format!("public.two_{trial}"));
    let (one, two) = if subject.kind == AclType::Schema { (one.replace('.', "_"), two.replace('.', "_")) } else { (one, two) };
    for name in [&one, &two] {
        let create = subject.create.replace("{}", name).replace("{owner}", &ident(&roles[0]));
        client.batch_execute(&create).await.expect("create");
    }
    for _ in 0..rng.random_range(0..14) {
        let statement = random_statement(subject, &one, roles, rng);
        let _refused = client.batch_execute(&statement).await;
        client.batch_execute("RESET SESSION AUTHORIZATION").await.expect("reset");
    }
    let phrase = subject.phrase.replace("{}", &two);
    let object = match subject.kind {
        AclType::Column => AclObject::column(phrase, "a", version),
        kind => AclObject::new(kind, phrase, version),
    };
    let expected = acl(client, subject, &one).await;
    let statements = privileges(&object, &roles[0], expected.as_deref(), None).expect("statements");
    for statement in statements.iter().map(Sql::plain) {
        client.batch_execute(&statement).await.unwrap_or_else(|e| panic!("{statement} for {expected:?}: {e:?}"));
    }
    let found = acl(client, subject, &two).await;
    if expected == found {
        return if statements.is_empty() { Outcome::Default } else { Outcome::Same };
    }
    let sorted = |items: Option<Vec<String>>| {
        let mut items = items.unwrap_or_default();
        items.sort();
        items
    };
    if !statements.is_empty() {
        assert_eq!(sorted(expected), sorted(found), "{:?} of trial {trial}", subject.kind);
    }
    if statements.is_empty() { Outcome::Default } else { Outcome::Reordered }
}

fn random_statement(subject: &Subject, name: &str, roles: &[String], rng: &mut StdRng) -> String {
    let privileges = subject.choices.choose(rng).expect("privileges");
    let grantor = ident(roles.choose(rng).expect("role"));
    let public = rng.random_bool(0.2);
    let party = if public { "PUBLIC".to_owned() } else { ident(roles.choose(rng).expect("role")) };
    let phrase = subject.phrase.replace("{}", name);
    let grant = rng.random_bool(0.75);
    let verb = if grant { "GRANT" } else { "REVOKE" };
    let (word, end) = match (grant, public) {
        (true, false) if rng.random_bool(0.6) => ("TO", " WITH GRANT OPTION"),
        (true, _) => ("TO", ""),
        (false, _) => ("FROM", " CASCADE"),
    };
    format!("SET SESSION AUTHORIZATION {grantor}; {verb} {privileges} ON {phrase} {word} {party}{end}")
}

async fn acl(client: &Client, subject: &Subject, name: &str) -> Option<Vec<String>> {
    client.query_one(&subject.acl.replace("{}", name), &[]).await.expect("acl").get(0)
}
