//! Random databases of many interrelated objects come back as they were, on every server.
//!
//! `PGKEEP_TEST_TRACE` names a folder for what was refused, and for dumps that differ; with `PGKEEP_TEST_KEEP` databases that failed stay.
//! Seeds count up from `PGKEEP_TEST_SEED` (1); `PGKEEP_TEST_SCHEMAS` says how many databases each server gets. A failure names its seed.
#![allow(clippy::expect_used, reason = "a helper that fails fails its test")]
#![allow(clippy::format_push_string, clippy::needless_pass_by_value, reason = "statements of a test are built once")]

mod behaviour;
mod checklist;
mod keys;
mod meta;
mod random;
mod routines;
mod tables;
mod trees;
mod types;
mod views;
mod world;

use std::collections::BTreeSet;
use std::sync::Arc;

use pgkeep::base::shutdown::Shutdown;
use pgkeep::pg::catalog::entry::{Entry, Scope};
use pgkeep::pg::compare::compare;
use pgkeep::pg::export::Export;
use pgkeep::pg::restore::{RestoreInput, RestoreOptions, execute, plan};

use self::world::World;
use crate::support::cli::{drop_database, new_name};
use crate::support::corpus::{difference, make_roles};
use crate::support::rows::{Memory, clock, export_to, input, options, silent, target};
use crate::support::server::{Database, Server};

const DEFAULT_SEED: u64 = 1;
const DEFAULT_SCHEMAS: u64 = 5;

/// How many times each maker runs in one database.
const MAKERS: &[(usize, Maker)] = &[
    (3, Maker::Schema),
    (2, Maker::Enum),
    (4, Maker::Domain),
    (3, Maker::Composite),
    (2, Maker::Range),
    (2, Maker::BaseType),
    (1, Maker::Collation),
    (1, Maker::TextSearch),
    (1, Maker::Extension),
    (4, Maker::IntegerFunction),
    (10, Maker::ReadingFunction),
    (2, Maker::Procedure),
    (2, Maker::Aggregate),
    (1, Maker::MutualRecursion),
    (2, Maker::TriggerFunction),
    (5, Maker::Sequence),
    (5, Maker::OwnedSequence),
    (2, Maker::LargeObject),
    (14, Maker::Table),
    (1, Maker::TypedTable),
    (4, Maker::StrangeTable),
    (4, Maker::Tree),
    (2, Maker::Family),
    (14, Maker::Key),
    (2, Maker::KeyOfIndex),
    (2, Maker::Exclusion),
    (1, Maker::Temporal),
    (14, Maker::ForeignKey),
    (4, Maker::Check),
    (14, Maker::Index),
    (4, Maker::Statistics),
    (2, Maker::ReplicaIdentity),
    (8, Maker::View),
    (2, Maker::GroupedView),
    (2, Maker::Circle),
    (8, Maker::MaterializedView),
    (6, Maker::Rule),
    (12, Maker::Trigger),
    (5, Maker::Policy),
    (5, Maker::Publication),
    (4, Maker::DefaultPrivileges),
    (2, Maker::CallingDefault),
    (2, Maker::SequenceDefault),
];

#[derive(Debug, Clone, Copy)]
enum Maker {
    Schema,
    Enum,
    Domain,
    Composite,
    Range,
    BaseType,
    Collation,
    TextSearch,
    Extension,
    IntegerFunction,
    ReadingFunction,
    Procedure,
    Aggregate,
    MutualRecursion,
    TriggerFunction,
    Sequence,
    OwnedSequence,
    LargeObject,
    Table,
    TypedTable,
    StrangeTable,
    Tree,
    Family,
    Key,
    KeyOfIndex,
    Exclusion,
    Temporal,
    ForeignKey,
    Check,
    Index,
    Statistics,
    ReplicaIdentity,
    View,
    GroupedView,
    Circle,
    MaterializedView,
    Rule,
    Trigger,
    Policy,
    Publication,
    DefaultPrivileges,
    CallingDefault,
    SequenceDefault,
}

async fn make(world: &mut World, maker: Maker) {
    match maker {
        Maker::Schema => world.make_schema().await,
        Maker::Enum => world.make_enum().await,
        Maker::Domain => world.make_domain().await,
        Maker::Composite => world.make_composite().await,
        Maker::Range => world.make_range().await,
        Maker::BaseType => world.make_base_type().await,
        Maker::Collation => world.make_collation().await,
        Maker::TextSearch => world.make_text_search().await,
        Maker::Extension => world.make_extension().await,
        Maker::IntegerFunction => world.make_integer_function().await,
        Maker::ReadingFunction => world.make_reading_function().await,
        Maker::Procedure => world.make_procedure().await,
        Maker::Aggregate => world.make_aggregate().await,
        Maker::MutualRecursion => world.make_mutual_recursion().await,
        Maker::TriggerFunction => world.make_trigger_function().await,
        Maker::Sequence => world.make_sequence().await,
        Maker::OwnedSequence => world.make_owned_sequence().await,
        Maker::LargeObject => world.make_large_object().await,
        Maker::Table => world.make_table().await,
        Maker::TypedTable => world.make_typed_table().await,
        Maker::StrangeTable => world.make_strange_table().await,
        Maker::Tree => world.make_tree().await,
        Maker::Family => world.make_family().await,
        Maker::Key => world.make_key().await,
        Maker::KeyOfIndex => world.make_key_of_index().await,
        Maker::Exclusion => world.make_exclusion().await,
        Maker::Temporal => world.make_temporal().await,
        Maker::ForeignKey => world.make_foreign_key().await,
        Maker::Check => world.make_check().await,
        Maker::Index => world.make_index().await,
        Maker::Statistics => world.make_statistics().await,
        Maker::ReplicaIdentity => world.make_replica_identity().await,
        Maker::View => world.make_view().await,
        Maker::GroupedView => world.make_grouped_view().await,
        Maker::Circle => world.make_circle().await,
        Maker::MaterializedView => world.make_materialized_view().await,
        Maker::Rule => world.make_rule().await,
        Maker::Trigger => world.make_trigger().await,
        Maker::Policy => world.make_policy().await,
        Maker::Publication => world.make_publication().await,
        Maker::DefaultPrivileges => world.make_default_privileges().await,
        Maker::CallingDefault => world.make_calling_default().await,
        Maker::SequenceDefault => world.make_sequence_default().await,
    }
}

/// Makes everything in two halves, each in an order of its own, so that old things come to depend on new ones too.
async fn generate(database: &Database, seed: u64) -> World {
    let client = database.connect().await;
    client.batch_execute("SET statement_timeout = '20s'; SET client_min_messages = error").await.expect("session");
    let mut world = World::new(seed, database.server.major, client);
    for half in 0..2 {
        let mut makers: Vec<Maker> =
            MAKERS.iter().flat_map(|(n, maker)| std::iter::repeat_n(*maker, (n + 1 - half) / 2)).collect();
        if half == 1 {
            world.rng.shuffle(&mut makers);
        }
        for maker in makers {
            make(&mut world, maker).await;
        }
        world.make_staple().await;
    }
    world.own_and_comment().await;
    world.grant().await;
    world.refresh().await;
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_databases_come_back_as_they_were() {
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |v| v.parse().expect(name));
    let (first, count) = (number("PGKEEP_TEST_SEED", DEFAULT_SEED), number("PGKEEP_TEST_SCHEMAS", DEFAULT_SCHEMAS));
    let tasks = Server::all().into_iter().map(|server| tokio::spawn(async move { on_server(&server, first, count).await }));
    let mut problems = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        let (failures, missing) = task.await.expect("a server's task");
        problems.extend(failures);
        if (first, count) == (DEFAULT_SEED, DEFAULT_SCHEMAS) {
            problems.extend(missing);
        }
    }
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n\n"));
}

/// What failed with which seed, and the features that no seed made.
async fn on_server(server: &Server, first: u64, count: u64) -> (Vec<String>, Vec<String>) {
    make_roles(server).await;
    let (mut failures, mut made) = (Vec::new(), BTreeSet::new());
    for seed in first..first + count {
        let original = server.database("generated").await;
        let world = generate(&original, seed).await;
        let refused = world.refused.len();
        let features = checklist::features(&original).await;
        let copy = new_name("generated_copy");
        let result = round_trip(&original, &copy, &features).await;
        made.extend(features);
        trace(&format!("{}-{seed}.refused", server.major), &world.refused.join("\n"));
        if refused * 3 > world.statements {
            failures.push(format!(
                "seed {seed} on PostgreSQL {}: {refused} of {} statements were refused",
                server.major, world.statements
            ));
        }
        if let Err(error) = result {
            let keep = std::env::var("PGKEEP_TEST_KEEP").is_ok();
            failures.push(format!(
                "seed {seed} on PostgreSQL {} (PGKEEP_TEST_SEED={seed} PGKEEP_TEST_SCHEMAS=1{}): {error}",
                server.major,
                if keep { format!("; kept {} and {copy}", original.name) } else { String::new() }
            ));
            if keep {
                continue;
            }
        }
        drop_database(server, &copy).await;
        original.remove().await;
    }
    (failures, checklist::missing(server.major, &made))
}

fn trace(name: &str, text: &str) {
    if let Ok(folder) = std::env::var("PGKEEP_TEST_TRACE") {
        std::fs::write(format!("{folder}/{name}"), text).expect("write the trace");
    }
}

async fn round_trip(original: &Database, copy: &str, made: &BTreeSet<&str>) -> Result<(), String> {
    let server = &original.server;
    let (memory, again) = (Memory::default(), Memory::default());
    let exported = export_to(&memory, &original.url(), &options()).await.map_err(|e| format!("export: {e:?}"))?;
    let second = export_to(&again, &original.url(), &options()).await.map_err(|e| format!("second export: {e:?}"))?;
    same_export(&exported, &memory, &second, &again).map_err(|e| format!("a second export differs: {e}"))?;
    let url = server.url(copy);
    let backup = input(exported.clone());
    restore(&url, &backup, &memory).await?;
    let same_columns =
        column_orders(original).await == column_orders(&Database { server: server.clone(), name: copy.to_owned() }).await;
    let dump = |name: &str| {
        // `pg_dump` orders pieces of a table by column number, and functions that call each other by age.
        let text = server.pg_dump(name, if same_columns { &[] } else { &["--schema-only"] });
        if same_columns && !made.contains(checklist::CIRCLE_OF_FUNCTIONS) { text } else { sorted(&text) }
    };
    let (expected, found) = (dump(&original.name), dump(copy));
    if expected != found {
        trace(&format!("{}.original", original.name), &expected);
        trace(&format!("{}.copy", original.name), &found);
        return Err(format!("pg_dump differs ({}):\n{}", original.name, difference(&expected, &found)));
    }
    let compared =
        compare(&target(&url), &backup, 2, &silent(), &Shutdown::new()).await.map_err(|e| format!("compare: {e:?}"))?;
    if !compared.is_equal() {
        return Err(format!("the copy compares as different: {:#?} {:#?}", compared.data, compared.differences));
    }
    let of_copy = Memory::default();
    let export = export_to(&of_copy, &url, &options()).await.map_err(|e| format!("export of the copy: {e:?}"))?;
    let order = |export: &Export| {
        export.entries.iter().filter(|e| e.scope == Scope::Object).map(|e| e.id.clone()).collect::<Vec<_>>().join("\n")
    };
    let (expected, found) = (order(&exported), order(&export));
    if expected != found {
        return Err(format!("the copy is exported in another order:\n{}", difference(&expected, &found)));
    }
    if !same_columns || memory.contents() == of_copy.contents() {
        Ok(())
    } else {
        Err("the copy's rows are exported otherwise".to_owned())
    }
}

/// The objects of a dump in the order of their texts.
fn sorted(dump: &str) -> String {
    // Said where it changes, not for each object.
    let mut rest = dump;
    let mut dump = String::with_capacity(rest.len());
    while let Some((line, after)) = rest.split_once('\n') {
        rest = after;
        if line.starts_with("SET default_tablespace = ") || line == "SET default_table_access_method = heap;" {
            rest = rest.strip_prefix('\n').unwrap_or(rest);
        } else {
            dump.push_str(line);
            dump.push('\n');
        }
    }
    dump.push_str(rest);
    let mut objects: Vec<&str> = dump.split("\n--\n-- ").collect();
    objects.sort_unstable();
    objects.join("\n--\n-- ")
}

fn same_export(one: &Export, rows: &Memory, two: &Export, rows_two: &Memory) -> Result<(), String> {
    if one.entries != two.entries {
        let text = |entries: &[Entry]| entries.iter().map(|e| format!("{e:#?}")).collect::<Vec<_>>().join("\n");
        return Err(difference(&text(&one.entries), &text(&two.entries)));
    }
    if one.tables != two.tables || rows.contents() != rows_two.contents() || rows.groups() != rows_two.groups() {
        return Err("other rows, or rows in other places".to_owned());
    }
    Ok(())
}

async fn restore(url: &str, backup: &RestoreInput, memory: &Memory) -> Result<(), String> {
    let target = target(url);
    let options = RestoreOptions { jobs: 2, ..RestoreOptions::default() };
    let plan = plan(&target, backup, &options).await.map_err(|e| format!("plan: {e:?}"))?;
    let source = Arc::new(memory.clone());
    let outcome = execute(&target, backup, &plan, source, &silent(), &Shutdown::new(), &clock()).await;
    let outcome = outcome.map_err(|e| format!("restore: {e:?}"))?;
    if outcome.is_complete() {
        Ok(())
    } else {
        Err(format!("the restore is not complete: {:#?} {:?} {:?}", outcome.errors, outcome.skipped, outcome.mismatches))
    }
}

/// Columns of every table in their order. A child that got columns from its parent late has them first in the copy, with `pg_dump` too.
async fn column_orders(database: &Database) -> Vec<(String, Vec<String>)> {
    let sql = "SELECT c.oid::regclass::text, ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped ORDER BY attnum)
                 FROM pg_class c WHERE relkind = 'r' AND c.oid >= 16384 ORDER BY 1";
    let client = database.connect().await;
    client.query(sql, &[]).await.expect("columns").iter().map(|r| (r.get(0), r.get(1))).collect()
}
