//! Indexes, constraints, triggers, … in parallel, as far as their dependencies and the locks of their tables allow.
//!
//! Two statements that both change one table would wait for each other, and two that each lock two tables could lock them in opposite order:
//! what runs at the same time never shares a table, except that several plain indexes of one table are built together.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::render::Statement;
use super::run::Work;
use super::script::{Failure, Step, run_step};
use super::statements::writer;
use crate::base::{Error, Result};
use crate::pg::catalog::entry::Entry;

/// One entry to make.
#[derive(Debug)]
pub(super) struct Task {
    /// Index of the entry in the input.
    pub(super) entry: usize,
    /// Its statements.
    pub(super) statements: Vec<Statement>,
    /// Positions in the list of tasks that must be done before.
    pub(super) after: Vec<usize>,
    /// Ids of the tables that it locks.
    pub(super) tables: Vec<String>,
    /// Whether others may work on the same tables.
    pub(super) shared: bool,
    /// Bytes of its tables; the heaviest begin first.
    pub(super) weight: u64,
}

#[derive(Debug, Default)]
struct Board {
    /// By weight, then position: what could start if its tables are free.
    ready: BTreeSet<(std::cmp::Reverse<u64>, usize)>,
    waiting: Vec<usize>,
    dependents: Vec<Vec<usize>>,
    /// Tables in use: how many share it, or `usize::MAX` for one alone.
    busy: HashMap<String, usize>,
    open: usize,
}

const ALONE: usize = usize::MAX;

impl Board {
    fn new(tasks: &[Task]) -> Self {
        let mut board = Self { open: tasks.len(), dependents: vec![Vec::new(); tasks.len()], ..Self::default() };
        for (i, task) in tasks.iter().enumerate() {
            board.waiting.push(task.after.len());
            for before in &task.after {
                board.dependents[*before].push(i);
            }
            if task.after.is_empty() {
                board.ready.insert((std::cmp::Reverse(task.weight), i));
            }
        }
        board
    }

    fn take(&mut self, tasks: &[Task]) -> Option<usize> {
        let free = |i: &usize| {
            let task = &tasks[*i];
            task.tables.iter().all(|t| match self.busy.get(t) {
                None => true,
                Some(users) => task.shared && *users != ALONE,
            })
        };
        let key = self.ready.iter().find(|(_, i)| free(i)).copied()?;
        self.ready.remove(&key);
        for table in &tasks[key.1].tables {
            let users = self.busy.entry(table.clone()).or_default();
            *users = if tasks[key.1].shared { *users + 1 } else { ALONE };
        }
        Some(key.1)
    }

    fn finish(&mut self, tasks: &[Task], done: usize) {
        self.open -= 1;
        for table in &tasks[done].tables {
            match self.busy.get_mut(table) {
                Some(users) if *users != ALONE && *users > 1 => *users -= 1,
                _ => {
                    self.busy.remove(table);
                }
            }
        }
        for next in std::mem::take(&mut self.dependents[done]) {
            self.waiting[next] -= 1;
            if self.waiting[next] == 0 {
                self.ready.insert((std::cmp::Reverse(tasks[next].weight), next));
            }
        }
    }
}

/// Runs all tasks on `jobs` sessions.
pub(super) async fn run_all(work: &Arc<Work>, tasks: Vec<Task>) -> Result<()> {
    let jobs = work.jobs.min(tasks.len());
    let board = Arc::new((Mutex::new(Board::new(&tasks)), Notify::new()));
    let tasks = Arc::new(tasks);
    let mut workers: JoinSet<Result<()>> = JoinSet::new();
    for _ in 0..jobs {
        let (work, board, tasks) = (Arc::clone(work), Arc::clone(&board), Arc::clone(&tasks));
        workers.spawn(async move {
            let session = work.session(writer(&work.target).await?);
            let lock = || -> MutexGuard<'_, Board> { board.0.lock().unwrap_or_else(PoisonError::into_inner) };
            loop {
                let changed = board.1.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                let (next, open) = {
                    let mut state = lock();
                    (state.take(&tasks), state.open)
                };
                let Some(next) = next else {
                    if open == 0 {
                        return Ok(());
                    }
                    changed.await;
                    continue;
                };
                let task = &tasks[next];
                let entry = &work.input.entries[task.entry];
                let step = Step { entry, statements: task.statements.clone(), failure: Failure::Error };
                run_step(&session, &work.ledger, &step).await?;
                lock().finish(&tasks, next);
                board.1.notify_waiters();
            }
        });
    }
    while let Some(result) = workers.join_next().await {
        result.map_err(|e| Error::internal("a restore worker ended unexpectedly").source(e))??;
    }
    Ok(())
}

/// Tables that an entry works on: its own, by way of its parents, and those that it depends on.
pub(super) fn tables_of<'a>(entry: &'a Entry, by_id: &HashMap<&'a str, &'a Entry>) -> Vec<String> {
    let mut found = BTreeSet::new();
    let mut seen = HashSet::new();
    let mut pending: Vec<&str> = std::iter::once(entry.id.as_str()).chain(entry.depends.iter().map(String::as_str)).collect();
    while let Some(id) = pending.pop() {
        let Some(next) = by_id.get(id).filter(|_| seen.insert(id)) else { continue };
        if matches!(next.kind.as_str(), "table" | "materialized_view" | "view" | "foreign_table") {
            found.insert(next.id.clone());
        } else if let Some(parent) = &next.parent {
            pending.push(parent);
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(tables: &[&str], shared: bool, after: &[usize], weight: u64) -> Task {
        Task {
            entry: 0,
            statements: Vec::new(),
            after: after.to_vec(),
            tables: tables.iter().map(|t| (*t).to_owned()).collect(),
            shared,
            weight,
        }
    }

    #[test]
    fn indexes_share_a_table_and_others_do_not() {
        let tasks = [
            task(&["a"], true, &[], 9),
            task(&["a"], true, &[], 8),
            task(&["a", "b"], false, &[], 7),
            task(&["c"], false, &[2], 1),
        ];
        let mut board = Board::new(&tasks);
        assert_eq!((board.take(&tasks), board.take(&tasks), board.take(&tasks)), (Some(0), Some(1), None));
        board.finish(&tasks, 0);
        assert_eq!(board.take(&tasks), None);
        board.finish(&tasks, 1);
        assert_eq!((board.take(&tasks), board.take(&tasks)), (Some(2), None));
        board.finish(&tasks, 2);
        assert_eq!(board.take(&tasks), Some(3));
        board.finish(&tasks, 3);
        assert_eq!(board.open, 0);
    }
}
