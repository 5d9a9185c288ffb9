//! Planner statistics of everything that got rows. What cannot be analysed only makes plans worse until autovacuum comes by.

use std::cmp::Reverse;
use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinSet;

use super::run::Work;
use super::select::heirs;
use super::statements::writer;
use super::{RestoreInput, RestorePlan};
use crate::base::sql::qualified;
use crate::base::{Error, Result};
use crate::pg::catalog::entry::Entry;

/// Analyses what has these names, in their order. The sessions are new: the database has its own settings by now, of which one says how much is to be gathered.
pub(super) async fn analyze(work: &Arc<Work>, names: Vec<String>) -> Result<()> {
    let jobs = work.jobs.min(names.len());
    let queue = Arc::new(Mutex::new(VecDeque::from(names)));
    let mut workers = JoinSet::new();
    for _ in 0..jobs {
        let (work, queue) = (Arc::clone(work), Arc::clone(&queue));
        workers.spawn(async move {
            let session = work.session(writer(&work.target, work.jobs).await?);
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                let Some(name) = next else { return Ok::<(), Error>(()) };
                if let Err(error) = session.run("gather statistics", &format!("ANALYZE {name}")).await {
                    work.ledger.warn(error.full_message());
                }
            }
        });
    }
    while let Some(result) = workers.join_next().await {
        result.map_err(|e| Error::internal("a restore worker ended unexpectedly").source(e))??;
    }
    Ok(())
}

/// Names of the tables that got rows, the largest first. Statistics of a table include those of its heirs (ONLY changes nothing in that), and reading
/// foreign ones would call their servers.
pub(super) fn tables(work: &Work, plan: &RestorePlan) -> Vec<String> {
    let wanted: HashSet<&str> = plan.tables.iter().map(String::as_str).collect();
    let above = above_foreign_tables(&work.input);
    let mut names = Vec::new();
    let mut tables: Vec<_> = work.input.tables.iter().collect();
    tables.sort_by_key(|t| Reverse(t.fingerprint.bytes));
    for table in tables {
        let entry = table.entry.as_str();
        if !wanted.contains(entry) || table.is_large_objects() || work.ledger.is_lost(entry) {
            continue;
        }
        if above.contains(entry) {
            work.ledger.warn(format!("{entry} has foreign tables among its heirs and was not analysed: that would read them"));
        } else {
            names.push(qualified(&table.schema, &table.table));
        }
    }
    names
}

/// Names of the materialised views.
pub(super) fn materialized_views(work: &Work, plan: &RestorePlan) -> Vec<String> {
    let wanted: HashSet<&str> = plan.entries.iter().map(String::as_str).collect();
    let made = |e: &&Entry| e.kind == "materialized_view" && wanted.contains(e.id.as_str()) && !work.ledger.is_lost(&e.id);
    work.input.entries.iter().filter(made).filter_map(|e| Some(qualified(e.schema.as_deref()?, &e.name))).collect()
}

/// Ids of the tables that have a foreign table among their heirs, at any distance.
fn above_foreign_tables(input: &RestoreInput) -> HashSet<&str> {
    let heirs = heirs(input);
    let mut above: HashSet<&str> = HashSet::new();
    loop {
        let more: Vec<&str> = heirs
            .iter()
            .filter(|(parent, children)| {
                !above.contains(**parent) && children.iter().any(|c| c.starts_with("foreign_table ") || above.contains(c))
            })
            .map(|(parent, _)| *parent)
            .collect();
        if more.is_empty() {
            return above;
        }
        above.extend(more);
    }
}
