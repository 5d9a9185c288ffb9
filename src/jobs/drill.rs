//! The drill: a real restore into a throwaway server, compared with the backup entry by entry and row by row.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::context::Context;
use super::sink::VaultSource;
use super::toc::Toc;
use crate::base::ids::random_hex;
use crate::base::{Error, Kind, Result};
use crate::pg::compare::{Comparison, ObjectDifference, compare};
use crate::pg::connect::Target;
use crate::pg::facts::drop_database;
use crate::pg::restore::{self, RestoreError, RestoreInput, RestoreOptions, RestoreOutcome};
use crate::pg::scratch::{Needs, Place, Scratch};
use crate::repo::Vault;
use crate::repo::head::Head;
use crate::repo::reader::BackupReader;
use crate::repo::verify::{self, Finding};

/// Findings that damage of the vault may be behind.
const RESTORE_FAILURES: [&str; 4] = ["restore-failed", "restore-error", "rows-missing", "rows-differ"];

/// Restores every database of a backup and compares. Damage is a finding; a server that cannot be had is an error.
pub async fn drill(cx: &Context, vault: &Vault, head: &Head, place: &Place) -> Result<(Vec<Finding>, Value)> {
    let (reader, documents) = match BackupReader::open_apart(vault, head).await {
        Err(error) if matches!(error.kind(), Kind::Integrity | Kind::NotFound) => {
            return Ok((vec![Finding::damage("contents-damaged", "contents", error.full_message())], Value::Null));
        }
        other => other?,
    };
    let toc = match Toc::parse(documents) {
        Err(error) if error.kind() == Kind::Integrity => {
            return Ok((vec![Finding::damage("contents-damaged", "contents", error.full_message())], Value::Null));
        }
        other => other?,
    };
    let source =
        toc.databases.first().map(|d| &d.about.server).ok_or_else(|| Error::integrity("the backup holds no database"))?;
    let needs = Needs {
        major: source.version.major(),
        superuser: source.bootstrap_superuser.clone(),
        system_identifier: source.system_identifier.clone(),
    };
    cx.progress.stage("scratch server", None);
    let scratch = Scratch::start(place, &needs, &cx.clock, &cx.shutdown).await?;
    let outcome = drill_all(cx, &reader, &toc, &scratch).await;
    let details_place = scratch.place();
    let stopped = scratch.stop().await;
    let (mut findings, databases) = outcome?;
    stopped?;
    if findings.iter().any(|f| RESTORE_FAILURES.contains(&f.id.as_str())) {
        // Names the damaged parts, if it was they: the next backup looks at each part that a finding names and puts it back.
        findings.extend(verify::content(vault, head, cx.progress.as_ref(), &cx.shutdown).await?.findings);
    }
    Ok((findings, json!({ "scratch": details_place, "server": source.version_text, "databases": databases })))
}

async fn drill_all(cx: &Context, reader: &BackupReader, toc: &Toc, scratch: &Scratch) -> Result<(Vec<Finding>, Vec<Value>)> {
    let (mut findings, mut details) = (Vec::new(), Vec::new());
    for database in &toc.databases {
        let input = toc.input(&database.about.name)?;
        // On a server of our own the database keeps its name; on somebody else's it must not meet one that is there.
        let name = if scratch.is_own() { input.database.clone() } else { format!("pgkeep_drill_{}", random_hex(6)) };
        let target = scratch.target().with_database(&name);
        let mut roles = Vec::new();
        let outcome = drill_one(cx, reader, &input, &target, &mut roles).await;
        if !scratch.is_own() {
            findings.extend(clean_up(scratch, &name, &roles).await);
        }
        match outcome {
            Ok((found, detail)) => {
                findings.extend(found);
                details.push(detail);
            }
            Err(error) if matches!(error.kind(), Kind::Integrity | Kind::NotFound) => {
                findings.push(Finding::damage("restore-failed", &input.database, error.full_message()));
            }
            Err(error) => return Err(error.context(format!("drill of database {}", input.database))),
        }
    }
    Ok((findings, details))
}

/// Removes from somebody else's server what the drill made there. What stays is a warning: it says nothing about the backup.
async fn clean_up(scratch: &Scratch, database: &str, roles: &[String]) -> Vec<Finding> {
    let mut left = Vec::new();
    if let Err(error) = drop_database(scratch.target(), database).await {
        let text = format!("database {database} stays on the scratch server: {}", error.full_message());
        left.push(Finding::warning("scratch-left", database, text));
    }
    left.extend(scratch.drop_roles(roles).await.into_iter().map(|(role, error)| {
        let text = format!("role {role} stays on the scratch server: {}", error.full_message());
        Finding::warning("scratch-left", role, text)
    }));
    left
}

/// Restores and compares one database; `roles` gets the names of the roles that the restore makes.
async fn drill_one(
    cx: &Context,
    reader: &BackupReader,
    input: &RestoreInput,
    target: &Target,
    roles: &mut Vec<String>,
) -> Result<(Vec<Finding>, Value)> {
    let jobs = crate::base::limits::default_jobs();
    let options = RestoreOptions { jobs, ..RestoreOptions::default() };
    let plan = restore::plan(target, input, &options).await?;
    roles.clone_from(&plan.create_roles);
    let source = Arc::new(VaultSource(reader.clone()));
    let outcome = restore::execute(target, input, &plan, source, &cx.progress, &cx.shutdown, &cx.clock).await?;
    let comparison = compare(target, input, jobs, &cx.progress, &cx.shutdown).await?;
    let detail = json!({
        "database": input.database,
        "restore_seconds": outcome.seconds,
        "compare_seconds": comparison.seconds,
        "objects": comparison.objects,
        "tables": comparison.tables,
        "rows": comparison.rows,
        "bytes": comparison.bytes,
        "phases": outcome.phases,
    });
    Ok((findings(&outcome, &comparison), detail))
}

fn findings(outcome: &RestoreOutcome, comparison: &Comparison) -> Vec<Finding> {
    let mut found = Vec::new();
    let (unlabelled, errors): (Vec<&RestoreError>, Vec<&RestoreError>) =
        outcome.errors.iter().partition(|e| e.lacks_label_provider());
    let unlabelled: HashSet<&str> = unlabelled.into_iter().map(|e| e.entry.as_str()).collect();
    for e in errors {
        found.push(Finding::damage("restore-error", &e.entry, format!("{}: {}", e.entry, e.message)));
    }
    for s in &outcome.skipped {
        found.push(Finding::damage(
            "restore-skipped",
            &s.entry,
            format!("{} was not tried because {} failed", s.entry, s.because),
        ));
    }
    for m in &outcome.mismatches {
        found.push(Finding::damage(
            "rows-missing",
            &m.entry,
            format!("{}: {} of {} rows were loaded", m.entry, m.loaded, m.expected),
        ));
    }
    for d in &comparison.data {
        let message = match (&d.found, &d.error) {
            (Some(f), _) => format!(
                "{}: the rows differ from the source's: {} rows and {} bytes expected, {} rows and {} bytes found",
                d.entry, d.expected.rows, d.expected.bytes, f.rows, f.bytes
            ),
            (None, error) => format!("{}: the rows cannot be read: {}", d.entry, error.as_deref().unwrap_or("no reason given")),
        };
        found.push(Finding::damage("rows-differ", &d.entry, message));
    }
    let of_labels = |d: &ObjectDifference| match d.field() {
        Some(field) => field == "labels",
        None => d.entry().starts_with("security_label "),
    };
    let expected = |d: &ObjectDifference| of_labels(d) && unlabelled.contains(d.entry());
    for d in comparison.differences.iter().filter(|d| !expected(d)) {
        found.push(Finding::damage("object-differs", d.entry(), d.to_string()));
    }
    let mut unproven: Vec<&str> = unlabelled.iter().copied().collect();
    unproven.sort_unstable();
    found.extend(unproven.into_iter().map(|entry| {
        let text = format!("{entry}: its security labels are not proven: the scratch server has not loaded their provider");
        Finding::warning("labels-not-proven", entry, text)
    }));
    found.extend(outcome.warnings.iter().map(|w| Finding::warning("restore-warning", "restore", w.clone())));
    found
}
