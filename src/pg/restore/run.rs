//! Executes a plan: roles, database, objects before the rows, rows, objects after them, privileges, statistics.
//!
//! A database that the restore made is kept when it fails: what is in it may be all that there is, and the message says that it is incomplete.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::analyze::{analyze, materialized_views, tables};
use super::defaults::taken_back;
use super::ledger::Ledger;
use super::load::compare_counts;
use super::losses::loans;
use super::outcome::{Part, PhaseTime};
use super::partition_keys::partition_keys;
use super::plan::target_facts;
use super::references::order;
use super::render::{Renderer, Statement};
use super::script::{Failure, Step, run};
use super::statements::{ROLE_MAKER, open, writer};
use super::tasks::{Parts, is_validated_key};
use super::workers::{Rows, Worker, run_all};
use super::{RestoreInput, RestoreOutcome, RestorePlan};
use crate::base::clock::{SharedClock, Stopwatch};
use crate::base::progress::SharedProgress;
use crate::base::shutdown::Shutdown;
use crate::base::sql::{ident, qualified};
use crate::base::{Error, Result};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::connect::Target;
use crate::pg::copy::{Source, TableData};
use crate::pg::session::{Canceller, Session};
use crate::pg::version::Feature;

/// Kinds that are made after all other objects: what they do would disturb the making of others, or needs them. Row security would hide rows
/// from the validation of foreign keys.
pub(super) const LATE: &[&str] =
    &["foreign_key", "row_security", "default_privileges", "materialized_view_data", "event_trigger"];

const ROWS: &str = "rows";
const AFTER_ROWS: &str = "after the rows";

/// What the workers of one restore share.
pub(super) struct Work {
    pub(super) target: Target,
    pub(super) input: RestoreInput,
    pub(super) source: Arc<dyn Source>,
    pub(super) progress: SharedProgress,
    pub(super) ledger: Ledger,
    pub(super) jobs: usize,
    /// Encoding of the rows.
    pub(super) encoding: String,
    /// Whether triggers must not fire while rows are loaded.
    pub(super) silence: bool,
    /// When the rows began, and how long they took, in seconds.
    loading: Mutex<(Stopwatch, f64)>,
    cancellers: Mutex<Vec<Canceller>>,
}

impl Work {
    /// Registers a session, so that what it runs can be cancelled.
    pub(super) fn session(&self, session: Session) -> Session {
        self.cancellers.lock().unwrap_or_else(PoisonError::into_inner).push(session.canceller());
        session
    }

    /// All rows are in.
    pub(super) fn rows_are_in(&self) {
        let mut loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        loading.1 = loading.0.elapsed().as_secs_f64();
        self.progress.stage(AFTER_ROWS, None);
    }

    /// Ends what the server is doing for us; a CREATE INDEX would not notice that its client is gone.
    async fn cancel(&self) {
        let all = std::mem::take(&mut *self.cancellers.lock().unwrap_or_else(PoisonError::into_inner));
        let each = futures::future::join_all(all.iter().map(Canceller::cancel));
        if tokio::time::timeout(Duration::from_secs(5), each).await.is_err() {
            tracing::debug!("the server did not take our cancel requests in time");
        }
    }
}

/// Executes `plan`. Fails at once only if the target is no longer what the plan saw (conflict), cannot be reached, or on `shutdown`; errors of single
/// objects are collected in the outcome, whose [`RestoreOutcome::is_complete`] decides.
pub async fn execute(
    target: &Target,
    input: &RestoreInput,
    plan: &RestorePlan,
    source: Arc<dyn Source>,
    progress: &SharedProgress,
    shutdown: &Shutdown,
    _clock: &SharedClock,
) -> Result<RestoreOutcome> {
    shutdown.check()?;
    check_unchanged(target, plan).await?;
    let work = Arc::new(Work {
        target: target.clone(),
        input: input.clone(),
        source,
        progress: Arc::clone(progress),
        ledger: Ledger::default(),
        jobs: plan.options.jobs.max(1),
        encoding: input.source.encoding.clone(),
        silence: plan.options.data_only,
        loading: Mutex::new((Stopwatch::start(), 0.0)),
        cancellers: Mutex::default(),
    });
    let watch = Stopwatch::start();
    let result = tokio::select! {
        biased;
        () = shutdown.cancelled() => {
            work.cancel().await;
            shutdown.check()
        }
        result = restore(&work, plan) => result,
    };
    if let Err(error) = result {
        let name = target.database();
        if !plan.create_database {
            let lost = match (plan.drop.len(), plan.emptied().count()) {
                (0, 0) => String::new(),
                (drops, emptied) => format!(", and of it {drops} objects may have been dropped and {emptied} tables emptied"),
            };
            let message = format!(
                "{} (database {name} existed before; what was restored into it is incomplete{lost})",
                error.full_message()
            );
            let hint = error.hint_text().unwrap_or("restore again with --clean, or into a database of another name").to_owned();
            return Err(Error::new(error.kind(), message).hint(hint));
        }
        let message = format!("{} (database {name} was made by this restore and is incomplete)", error.full_message());
        return Err(Error::new(error.kind(), message).hint(format!("drop it before the next try: DROP DATABASE {}", ident(name))));
    }
    let work = Arc::into_inner(work).ok_or_else(|| Error::internal("a restore worker outlived its restore"))?;
    let mut outcome = work.ledger.into_outcome();
    outcome.created_database = plan.create_database;
    outcome.seconds = watch.elapsed().as_secs_f64();
    Ok(outcome)
}

async fn check_unchanged(target: &Target, plan: &RestorePlan) -> Result<()> {
    let (session, exists) = open(target).await?;
    let now = target_facts(target, &session, exists).await?;
    if now == plan.target {
        return Ok(());
    }
    Err(Error::conflict(format!("{} is no longer what the plan saw", target.describe()))
        .hint("make the plan again, and look at it before it is executed"))
}

/// The stages in order, each timed.
async fn restore(work: &Arc<Work>, plan: &RestorePlan) -> Result<()> {
    let renderer = Renderer::new(&plan.options, work.target.database(), &plan.missing_tablespaces, plan.target.superuser);
    let selected: HashSet<&str> = plan.entries.iter().map(String::as_str).collect();
    let entries: Vec<&Entry> = work.input.entries.iter().filter(|e| selected.contains(e.id.as_str())).collect();

    timed(work, "roles", roles(work, plan, &renderer)).await?;
    if plan.create_database {
        timed(work, "database", create_database(work, &renderer)).await?;
    }
    let main = work.session(writer(&work.target, work.jobs).await?);
    if plan.options.data_only && plan.options.clean {
        // Before anything else is removed: tables whose rows cannot be deleted end the restore with everything as it was.
        timed(work, "removal of rows", empty(&main, &data_of(work, plan))).await?;
    }
    if !plan.drop.is_empty() {
        timed(work, "removal", remove(work, &main, plan, &renderer)).await?;
    }
    let (schemas, others): (Vec<&Entry>, Vec<&Entry>) =
        entries.iter().partition(|e| ["database", "schema"].contains(&e.kind.as_str()));
    run(&main, &work.ledger, steps(schemas.into_iter(), &renderer)).await?;
    let loans = if plan.target.superuser { Vec::new() } else { main.without_create(&loans(&entries, &renderer)).await? };
    lend(work, &main, &loans, false).await?;
    timed(work, "before the rows", before_rows(work, &main, &others, &renderer)).await?;
    rows_and_after(work, plan, &main, &entries, &renderer).await?;
    lend(work, &main, &loans, true).await?;
    let untouched = plan.create_database || plan.options.no_privileges || plan.options.data_only;
    let taken_back = if untouched { HashMap::new() } else { taken_back(&main, &entries).await? };
    timed(work, "privileges", privileges(work, &main, &entries, &renderer, taken_back)).await?;
    timed(work, "statistics", statistics_and_views(work, plan, &main, &entries, &renderer)).await?;
    run(&main, &work.ledger, steps(entries.iter().copied().filter(|e| e.kind == "event_trigger"), &renderer)).await?;
    main.make_durable().await?;
    work.progress.finish();
    Ok(())
}

async fn timed(work: &Work, phase: &str, stage: impl Future<Output = Result<()>>) -> Result<()> {
    let watch = Stopwatch::start();
    work.progress.stage(phase, None);
    stage.await?;
    record(work, phase, watch.elapsed().as_secs_f64());
    Ok(())
}

fn record(work: &Work, phase: &str, seconds: f64) {
    work.ledger.with(|o| o.phases.push(PhaseTime { phase: phase.to_owned(), seconds }));
}

/// Steps that make entries.
fn steps<'a>(entries: impl Iterator<Item = &'a Entry>, renderer: &Renderer) -> Vec<Step<'a>> {
    entries.map(|entry| Step { entry, statements: renderer.make(entry), failure: Failure::Error }).collect()
}

async fn roles(work: &Work, plan: &RestorePlan, renderer: &Renderer) -> Result<()> {
    if plan.cluster.is_empty() {
        return Ok(());
    }
    let session = work.session(work.target.connect_maintenance().await?);
    session.pin(ROLE_MAKER).await?;
    let wanted: HashSet<&str> = plan.cluster.iter().map(String::as_str).collect();
    let entries = work.input.cluster.iter().filter(|e| wanted.contains(e.id.as_str()));
    let mut all = steps(entries, renderer);
    for step in all.iter_mut().filter(|s| plan.regranted.contains(&s.entry.id)) {
        step.statements.iter_mut().for_each(Statement::leave_grantor_out);
    }
    // From 16 on the server grants this by itself (see ROLE_MAKER).
    if !plan.target.superuser && !plan.target.version.has(Feature::MembershipOptions) {
        for step in all.iter_mut().filter(|s| s.entry.kind == "role") {
            let grant = format!("GRANT {} TO CURRENT_USER", ident(&step.entry.name));
            step.statements.push(Statement::new(Part::Attribute, grant));
        }
    }
    run(&session, &work.ledger, all).await
}

async fn create_database(work: &Work, renderer: &Renderer) -> Result<()> {
    let session = work.session(work.target.connect_maintenance().await?);
    let entry = work.input.entries.iter().find(|e| e.kind == "database");
    let text = entry
        .and_then(|e| renderer.create_database(e))
        .unwrap_or_else(|| format!("CREATE DATABASE {} TEMPLATE template0", ident(work.target.database())));
    session.run(&format!("create database {}", work.target.database()), &text).await.map_err(|error| {
        let hint = "if the server lacks the source's locale, install it, or create the database yourself and restore into it";
        match error.hint_text() {
            Some(_) => error,
            None => error.hint(hint),
        }
    })
}

async fn remove(work: &Work, session: &Session, plan: &RestorePlan, renderer: &Renderer) -> Result<()> {
    let by_id: HashMap<&str, &Entry> = work.input.entries.iter().map(|e| (e.id.as_str(), e)).collect();
    // A failed removal must not count as a missing object: the ledger of the removal is its own, its errors are kept.
    let ledger = Ledger::default();
    let removed: HashSet<&str> = plan.drop.iter().map(String::as_str).collect();
    let steps = plan
        .drop
        .iter()
        .filter_map(|id| by_id.get(id.as_str()))
        .filter_map(|entry| {
            let statements = vec![Statement::new(Part::Object, renderer.remove(entry)?)];
            // Pieces go with their whole at the latest; some, such as an index of a partition, cannot go before.
            let whole = entry.parent.as_deref().is_some_and(|p| removed.contains(p));
            let failure = if whole { Failure::Silent } else { Failure::Removal };
            Some(Step { entry, statements, failure })
        })
        .collect();
    run(session, &ledger, steps).await?;
    let outcome = ledger.into_outcome();
    work.ledger.with(|o| o.errors.extend(outcome.errors));
    Ok(())
}

async fn before_rows(work: &Work, session: &Session, entries: &[&Entry], renderer: &Renderer) -> Result<()> {
    let early = entries.iter().copied().filter(|e| e.phase != Phase::Post && !LATE.contains(&e.kind.as_str()));
    run(session, &work.ledger, steps(early, renderer)).await
}

/// GRANT or REVOKE of loans.
async fn lend(work: &Work, session: &Session, loans: &[(String, String)], end: bool) -> Result<()> {
    for (schema, role) in loans {
        let place = if schema.is_empty() {
            format!("DATABASE {}", ident(work.target.database()))
        } else {
            format!("SCHEMA {}", ident(schema))
        };
        let (verb, preposition) = if end { ("REVOKE", "FROM") } else { ("GRANT", "TO") };
        let text = format!("{verb} CREATE ON {place} {preposition} {}", ident(role));
        // Where the schema is not ours, handing over is refused, and each object that stays ours is reported.
        if let Err(error) = session.run("lend a privilege", &text).await {
            if session.is_closed() {
                return Err(error);
            }
            tracing::debug!(%error, "privilege not lent");
        }
    }
    session.take_unmet();
    Ok(())
}

fn data_of(work: &Work, plan: &RestorePlan) -> Vec<TableData> {
    let wanted: HashSet<&str> = plan.tables.iter().map(String::as_str).collect();
    work.input.tables.iter().filter(|t| wanted.contains(t.entry.as_str())).cloned().collect()
}

/// Rows, and what belongs to them: in parallel, then one after another the foreign keys that lock many tables or need no validation.
async fn rows_and_after(
    work: &Arc<Work>,
    plan: &RestorePlan,
    main: &Session,
    entries: &[&Entry],
    renderer: &Renderer,
) -> Result<()> {
    let watch = Stopwatch::start();
    *work.loading.lock().unwrap_or_else(PoisonError::into_inner) = (watch, 0.0);
    let rows = Arc::new(Rows { tables: data_of(work, plan), ..Rows::default() });
    work.progress.stage(ROWS, Some(rows.tables.iter().map(|t| t.fingerprint.bytes).sum()));
    let first = Worker::connect(work, &rows).await?;
    if work.silence && !first.silent && !rows.tables.is_empty() {
        work.ledger
            .warn("triggers and foreign keys were active while rows were loaded: our role may not silence them".to_owned());
    }
    let ordered = if first.silent { Vec::new() } else { order(&rows.tables, &first.session.references().await?) };
    let keys = partition_keys(main, entries, &rows.tables).await?;
    let parts = Parts {
        all: &work.input.entries,
        entries,
        tables: &rows.tables,
        ordered: &ordered,
        keys,
        jobs: work.jobs,
        makes_tables: !plan.options.data_only,
        renderer,
    };
    let made = parts.made_before_rows();
    run(main, &work.ledger, steps(entries.iter().copied().filter(|e| made.contains(e.id.as_str())), renderer)).await?;
    run_all(first, parts.tasks()).await?;
    compare_counts(&work.ledger, &rows);
    let others = entries.iter().copied().filter(|e| e.kind == "foreign_key" && e.scope == Scope::Object && !is_validated_key(e));
    run(main, &work.ledger, steps(others, renderer)).await?;
    let loading = work.loading.lock().unwrap_or_else(PoisonError::into_inner).1;
    record(work, ROWS, loading);
    record(work, AFTER_ROWS, watch.elapsed().as_secs_f64() - loading);
    Ok(())
}

/// Removes the rows of exactly these tables. A table that a partitioned one refers to cannot be truncated without that one, which could hold
/// partitions that are not in the backup: then rows are deleted, with triggers and foreign keys silent.
async fn empty(session: &Session, tables: &[TableData]) -> Result<()> {
    let names: Vec<String> =
        tables.iter().filter(|t| !t.is_large_objects()).map(|t| format!("ONLY {}", qualified(&t.schema, &t.table))).collect();
    if names.is_empty() {
        return Ok(());
    }
    let Err(refused) = session.run("empty the tables", &format!("TRUNCATE {}", names.join(", "))).await else { return Ok(()) };
    if session.is_closed() {
        return Err(refused);
    }
    let deletes: Vec<String> = names.iter().map(|name| format!("DELETE FROM {name}")).collect();
    let text = format!("SELECT set_config('session_replication_role', 'replica', true); {}", deletes.join("; "));
    session.run("delete the rows of the tables", &text).await.map_err(|error| {
        tracing::warn!(error = error.full_message(), "rows could not be deleted either");
        refused
    })
}

/// Row security, default privileges, then privileges of all objects.
async fn privileges(
    work: &Work,
    session: &Session,
    entries: &[&Entry],
    renderer: &Renderer,
    mut taken_back: HashMap<String, Vec<Statement>>,
) -> Result<()> {
    let late = |kind: &'static str| entries.iter().copied().filter(move |e| e.kind == kind);
    run(session, &work.ledger, steps(late("row_security"), renderer)).await?;
    run(session, &work.ledger, steps(late("default_privileges"), renderer)).await?;
    let privileges = entries
        .iter()
        .filter(|e| !work.ledger.is_lost(&e.id))
        .map(|entry| {
            let mut statements = taken_back.remove(&entry.id).unwrap_or_default();
            statements.extend(renderer.finish(entry));
            Step { entry, statements, failure: Failure::Error }
        })
        .filter(|step| !step.statements.is_empty())
        .collect();
    run(session, &work.ledger, privileges).await
}

/// Statistics of the tables, then what reads tables as their owner, who sees of them what he saw in the source: without statistics the planner may take hours
/// for what took it minutes there.
async fn statistics_and_views(
    work: &Arc<Work>,
    plan: &RestorePlan,
    session: &Session,
    entries: &[&Entry],
    renderer: &Renderer,
) -> Result<()> {
    let gathers = !plan.tables.is_empty();
    if gathers {
        analyze(work, tables(work, plan)).await?;
    }
    session.pin(&[("row_security", "on")]).await?;
    // Nothing else runs meanwhile: the server may use all the processes that its own settings allow a query.
    session.run("let views be filled in parallel", "RESET max_parallel_workers_per_gather").await?;
    let views = entries.iter().copied().filter(|e| e.kind == "materialized_view_data");
    run(session, &work.ledger, steps(views, renderer)).await?;
    session.pin(&[("row_security", "off")]).await?;
    if gathers { analyze(work, materialized_views(work, plan)).await } else { Ok(()) }
}
