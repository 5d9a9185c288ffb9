//! The sessions that do the work: each takes what is heaviest of what may start, until nothing is left.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::board::Board;
use super::run::Work;
use super::script::{Failure, Step, run_step};
use super::statements::writer;
use super::tasks::{Job, Task};
use crate::base::{Error, Result};
use crate::pg::copy::TableData;
use crate::pg::session::Session;

/// What is loaded, and what the server took of it.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) tables: Vec<TableData>,
    /// Rows by index of the table.
    pub(super) taken: Mutex<HashMap<usize, u64>>,
}

/// One session at work.
pub(super) struct Worker {
    pub(super) work: Arc<Work>,
    pub(super) rows: Arc<Rows>,
    pub(super) session: Session,
    /// Whether triggers and foreign keys are silent in the session.
    pub(super) silent: bool,
    /// Other processes that the session's server may use for an index; unknown until it is set.
    helpers: Option<usize>,
    /// Whether the session's memory is that for validating foreign keys.
    validates: bool,
}

impl Worker {
    pub(super) async fn connect(work: &Arc<Work>, rows: &Arc<Rows>) -> Result<Self> {
        let session = work.session(writer(&work.target, work.jobs).await?);
        let silent = work.silence && session.silence_triggers().await?;
        Ok(Self { work: Arc::clone(work), rows: Arc::clone(rows), session, silent, helpers: None, validates: false })
    }

    /// Another session in place of one that has lost its place in the protocol; what that one left open is rolled back.
    pub(super) async fn reconnect(&mut self) -> Result<()> {
        *self = Self::connect(&self.work, &self.rows).await?;
        Ok(())
    }

    async fn run(&mut self, job: &Job, spare: usize) -> Result<()> {
        match job {
            Job::Load(load) => self.load(load).await,
            Job::RowsAreIn => {
                self.work.rows_are_in();
                Ok(())
            }
            Job::Make { entry, statements } => {
                let work = Arc::clone(&self.work);
                let entry = &work.input.entries[*entry];
                match entry.kind.as_str() {
                    "index" | "constraint" => self.prepare_for_index(spare).await?,
                    "foreign_key" => self.prepare_for_key().await?,
                    _ => {}
                }
                let step = Step { entry, statements: statements.clone(), failure: Failure::Error };
                run_step(&self.session, &self.work.ledger, &step).await
            }
            Job::AddPartitionKey(key) => self.add_partition_key(key).await,
            Job::ValidatePartitionKey(key) => {
                self.prepare_for_key().await?;
                self.validate_partition_key(key).await
            }
        }
    }

    async fn prepare_for_index(&mut self, spare: usize) -> Result<()> {
        if self.helpers != Some(spare) {
            self.session.allow_helpers(spare).await?;
            self.helpers = Some(spare);
        }
        if self.validates {
            self.session.raise_maintenance_memory(self.work.jobs).await?;
            self.validates = false;
        }
        Ok(())
    }

    async fn prepare_for_key(&mut self) -> Result<()> {
        if !self.validates {
            self.session.limit_maintenance_memory().await?;
            self.validates = true;
        }
        Ok(())
    }
}

/// Runs all tasks, `first` and as many other sessions as there are jobs for.
pub(super) async fn run_all(first: Worker, tasks: Vec<Task>) -> Result<()> {
    let (work, rows) = (Arc::clone(&first.work), Arc::clone(&first.rows));
    let board = Board::new(tasks.iter().map(|t| t.terms.clone()), work.jobs);
    let (shared, tasks) = (Arc::new((Mutex::new(board), Notify::new())), Arc::new(tasks));
    let mut first = Some(first);
    let mut workers: JoinSet<Result<()>> = JoinSet::new();
    for _ in 0..work.jobs.min(tasks.len()) {
        let (work, rows, tasks, shared) = (Arc::clone(&work), Arc::clone(&rows), Arc::clone(&tasks), Arc::clone(&shared));
        let connected = first.take();
        workers.spawn(async move {
            let mut worker = match connected {
                Some(worker) => worker,
                None => Worker::connect(&work, &rows).await?,
            };
            work_through(&mut worker, &tasks, &shared.0, &shared.1).await
        });
    }
    while let Some(result) = workers.join_next().await {
        result.map_err(|e| Error::internal("a restore worker ended unexpectedly").source(e))??;
    }
    Ok(())
}

async fn work_through(worker: &mut Worker, tasks: &[Task], board: &Mutex<Board>, news: &Notify) -> Result<()> {
    let lock = || -> MutexGuard<'_, Board> { board.lock().unwrap_or_else(PoisonError::into_inner) };
    loop {
        let changed = news.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        let (next, done) = {
            let mut state = lock();
            (state.take(), state.is_done())
        };
        let Some(next) = next else {
            if done {
                return Ok(());
            }
            changed.await;
            continue;
        };
        worker.run(&tasks[next.task].job, next.spare).await?;
        lock().finish(next.task);
        news.notify_waiters();
    }
}
