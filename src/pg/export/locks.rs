//! ACCESS SHARE locks on every table before the snapshot.
//!
//! TRUNCATE and an ALTER TABLE that rewrites are not MVCC-safe: a table that one of them changes after our snapshot reads as empty. So the
//! locks come first, in the transaction that takes the snapshot afterwards (LOCK TABLE takes none itself), and the snapshot is then checked
//! against the locks that are really held. A table that appeared between the two is locked now. In the end the file of every table must be the
//! one that the snapshot knows: whatever rewrites a table gives it another one. Otherwise everything starts again.
//!
//! Waiting for a lock makes others wait behind us, so each wait ends after a short time; what could not be locked is tried again later,
//! in a savepoint of its own so that the other locks stay.

use std::fmt::Write as _;
use std::time::Duration;

use crate::base::clock::Clock;
use crate::base::limits::{LOCK_TIMEOUT, LOCK_TRIES};
use crate::base::retry::Backoff;
use crate::base::shutdown::Shutdown;
use crate::base::sql::qualified;
use crate::base::{Error, Result};
use crate::pg::error;
use crate::pg::session::{Session, column};
use crate::pg::version::Feature;

/// Tables per LOCK TABLE.
const BATCH: usize = 200;

/// How long and how often to wait for a lock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Longest wait in the queue of one lock.
    pub(super) timeout: Duration,
    /// Tries in all.
    pub(super) tries: u32,
}

impl Patience {
    /// For production.
    pub(super) const DEFAULT: Self = Self { timeout: LOCK_TIMEOUT, tries: LOCK_TRIES };

    fn backoff(self) -> Backoff {
        Backoff { tries: self.tries, first: Duration::from_millis(100), max: Duration::from_secs(5) }
    }
}

/// A table to lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lockable {
    pub(super) oid: u32,
    pub(super) schema: String,
    pub(super) name: String,
}

impl Lockable {
    pub(super) fn sql(&self) -> String {
        qualified(&self.schema, &self.name)
    }
}

/// Ordinary and partitioned tables of users, temporary ones excepted.
const LOCKABLE: &str =
    "c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'";

/// Locks all tables in the open transaction of `session`, which has no snapshot yet.
pub(super) async fn lock_all(
    session: &Session,
    tables: Vec<Lockable>,
    patience: Patience,
    clock: &dyn Clock,
    shutdown: &Shutdown,
) -> Result<()> {
    session.limit_lock_waits(patience.timeout).await?;
    let mut missing = Vec::new();
    for batch in tables.chunks(BATCH) {
        shutdown.check()?;
        match lock(session, batch).await? {
            Outcome::Locked => {}
            Outcome::Gone if batch.len() == 1 => {}
            _ => missing.extend_from_slice(batch),
        }
    }
    let backoff = patience.backoff();
    for failed in 1..=patience.tries {
        let mut again = Vec::new();
        for table in missing {
            shutdown.check()?;
            if matches!(lock(session, std::slice::from_ref(&table)).await?, Outcome::Busy) {
                again.push(table);
            }
        }
        missing = again;
        if missing.is_empty() {
            return Ok(());
        }
        tracing::info!(tables = missing.len(), failed, "waiting for locks that others hold");
        if failed < patience.tries {
            let pause = backoff.pause(failed);
            tokio::select! {
                () = shutdown.cancelled() => shutdown.check()?,
                () = clock.sleep(pause) => {}
            }
        }
    }
    Err(blocked(session, &missing[0], missing.len(), patience).await)
}

enum Outcome {
    Locked,
    /// Somebody holds a lock that conflicts.
    Busy,
    /// Dropped or renamed meanwhile.
    Gone,
}

async fn lock(session: &Session, tables: &[Lockable]) -> Result<Outcome> {
    let mut list = String::new();
    for table in tables {
        let comma = if list.is_empty() { "" } else { ", " };
        let _ = write!(list, "{comma}ONLY {}", table.sql());
    }
    let text = format!("SAVEPOINT pgkeep_lock; LOCK TABLE {list} IN ACCESS SHARE MODE; RELEASE SAVEPOINT pgkeep_lock");
    let Err(failure) = session.client().batch_execute(&text).await else { return Ok(Outcome::Locked) };
    let outcome = match error::sqlstate(&failure).as_deref() {
        Some("55P03" | "40P01") => Outcome::Busy,
        Some("42P01" | "3F000" | "42809") => Outcome::Gone,
        Some("42501") if tables.len() > 1 => Outcome::Busy,
        _ => {
            let what = match tables {
                [table] => format!("lock table {}", table.sql()),
                many => format!("lock {} tables", many.len()),
            };
            return Err(error::statement(&what, &failure));
        }
    };
    session.run("end a failed lock", "ROLLBACK TO SAVEPOINT pgkeep_lock; RELEASE SAVEPOINT pgkeep_lock").await?;
    Ok(outcome)
}

/// The error of a table that stays locked: who holds it. Ends the transaction.
async fn blocked(session: &Session, table: &Lockable, count: usize, patience: Patience) -> Error {
    let name = table.sql();
    let more = if count > 1 { format!(" (and {} more tables)", count - 1) } else { String::new() };
    let error = Error::unavailable(format!(
        "table {name}{more} could not be locked in {} tries of {} s",
        patience.tries,
        patience.timeout.as_secs_f32()
    ));
    let holders = match session.run("end the transaction", "ROLLBACK").await {
        Ok(()) => holders(session, table.oid).await.unwrap_or_default(),
        Err(_) => Vec::new(),
    };
    if holders.is_empty() {
        return error.hint("something takes exclusive locks on it all the time: look at pg_stat_activity, or schedule the backup at another time");
    }
    let message = format!("{}: it is locked by {}", error.message(), holders.join(", "));
    Error::unavailable(message).hint("wait until that session has finished, or end it with SELECT pg_terminate_backend(pid)")
}

async fn holders(session: &Session, oid: u32) -> Result<Vec<String>> {
    let text = format!(
        "SELECT l.pid, coalesce(a.application_name, ''), coalesce(a.usename::text, ''), coalesce(a.state, ''), \
                coalesce(extract(epoch FROM now() - a.xact_start)::int8, 0) \
           FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid \
          WHERE l.locktype = 'relation' AND l.relation = {oid} AND l.mode = 'AccessExclusiveLock' AND l.granted \
            AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY l.pid"
    );
    let rows = session.rows("look for the holder of a lock", &text).await?;
    rows.iter()
        .map(|row| {
            let (pid, application, user): (i32, String, String) = (column(row, 0)?, column(row, 1)?, column(row, 2)?);
            let (state, seconds): (String, i64) = (column(row, 3)?, column(row, 4)?);
            Ok(format!("process {pid} (application '{application}', role {user}, {state}, transaction open for {seconds} s)"))
        })
        .collect()
}

impl Session {
    /// The tables that exist now, by name; to be asked outside of the snapshot's transaction.
    pub(super) async fn lockable(&self) -> Result<Vec<Lockable>> {
        let text = format!(
            "SELECT c.oid, n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
              WHERE {LOCKABLE} ORDER BY n.nspname COLLATE \"C\", c.relname COLLATE \"C\""
        );
        let rows = self.rows("list tables", &text).await?;
        rows.iter().map(|r| Ok(Lockable { oid: column(r, 0)?, schema: column(r, 1)?, name: column(r, 2)? })).collect()
    }

    /// Tables of the snapshot on which this session holds no lock.
    pub(super) async fn unlocked(&self) -> Result<Vec<Lockable>> {
        let text = format!(
            "SELECT c.oid, n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
              WHERE {LOCKABLE} AND NOT EXISTS (SELECT FROM pg_locks l WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' \
                    AND l.relation = c.oid AND l.mode = 'AccessShareLock' AND l.granted) ORDER BY c.oid"
        );
        let rows = self.rows("compare the snapshot with the locks", &text).await?;
        rows.iter().map(|r| Ok(Lockable { oid: column(r, 0)?, schema: column(r, 1)?, name: column(r, 2)? })).collect()
    }

    /// The first table of the snapshot whose file is not the one that the snapshot knows. All are locked by now, so that none can change later.
    pub(super) async fn rewritten(&self) -> Result<Option<String>> {
        let text = format!(
            "SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
              WHERE {LOCKABLE} AND c.relkind = 'r' AND c.relfilenode IS DISTINCT FROM pg_relation_filenode(c.oid) LIMIT 1"
        );
        let rows = self.rows("compare files of tables", &text).await?;
        rows.first().map(|row| Ok(qualified(&column::<String>(row, 0)?, &column::<String>(row, 1)?))).transpose()
    }

    /// Tables that this role may not read, with the GRANT that would help, before any lock is asked for.
    pub(super) async fn check_readable(&self) -> Result<()> {
        let text = format!(
            "SELECT n.nspname::text, c.relname::text, has_schema_privilege(n.oid, 'USAGE'), \
                    has_table_privilege(c.oid, 'SELECT'), current_user::text, count(*) OVER () \
               FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
              WHERE {LOCKABLE} AND (NOT has_schema_privilege(n.oid, 'USAGE') OR NOT has_table_privilege(c.oid, 'SELECT') \
                    OR row_security_active(c.oid)) ORDER BY 1, 2 LIMIT 5"
        );
        let rows = self.rows("check privileges on tables", &text).await?;
        let Some(first) = rows.first() else { return self.check_large_objects().await };
        let (schema, table): (String, String) = (column(first, 0)?, column(first, 1)?);
        let (usage, select): (bool, bool) = (column(first, 2)?, column(first, 3)?);
        let (role, count): (String, i64) = (column(first, 4)?, column(first, 5)?);
        let name = qualified(&schema, &table);
        let role = crate::base::sql::ident(&role);
        let more = if count > 1 { format!(" and {} more tables", count - 1) } else { String::new() };
        let all = if self.version().has(Feature::ReadAllData) {
            format!(", or for all tables at once: GRANT pg_read_all_data TO {role}")
        } else {
            String::new()
        };
        if !usage {
            let schema = crate::base::sql::ident(&schema);
            return Err(Error::denied(format!("permission denied for schema {schema}: {role} may not read table {name}{more}"))
                .hint(format!("GRANT USAGE ON SCHEMA {schema} TO {role}{all}")));
        }
        if !select {
            return Err(Error::denied(format!("permission denied: {role} may not read table {name}{more}"))
                .hint(format!("GRANT SELECT ON TABLE {name} TO {role}{all}")));
        }
        Err(Error::denied(format!("row security would hide rows of table {name}{more} from {role}"))
            .hint(format!("ALTER ROLE {role} BYPASSRLS, or back up as the owner of the tables or a superuser")))
    }
}

impl Session {
    /// Large objects that this role may not read.
    async fn check_large_objects(&self) -> Result<()> {
        let text = "SELECT o.oid::int8, current_user::text, count(*) OVER () FROM pg_largeobject_metadata o \
              WHERE NOT has_table_privilege('pg_catalog.pg_largeobject', 'SELECT') AND NOT pg_has_role(o.lomowner, 'USAGE') \
                AND current_setting('lo_compat_privileges') = 'off' \
                AND NOT EXISTS (SELECT FROM aclexplode(o.lomacl) a WHERE a.privilege_type = 'SELECT' \
                                   AND (a.grantee = 0 OR pg_has_role(a.grantee, 'USAGE'))) ORDER BY o.oid LIMIT 1";
        let rows = self.rows("check privileges on large objects", text).await?;
        let Some(first) = rows.first() else { return Ok(()) };
        let (oid, role, count): (i64, String, i64) = (column(first, 0)?, column(first, 1)?, column(first, 2)?);
        let role = crate::base::sql::ident(&role);
        let more = if count > 1 { format!(" and {} more", count - 1) } else { String::new() };
        Err(Error::denied(format!("permission denied: {role} may not read large object {oid}{more}"))
            .hint(format!("GRANT SELECT ON LARGE OBJECT {oid} TO {role}, or for all at once: GRANT pg_read_all_data TO {role}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Kind;
    use crate::base::clock::{Stopwatch, SystemClock};
    use crate::base::ids::random_hex;
    use crate::base::secret::Secret;
    use crate::pg::connect::Target;

    #[tokio::test]
    async fn a_table_that_stays_locked_is_named_with_its_holder_and_nobody_waits_long_behind_us() {
        let url = std::env::var("PGKEEP_TEST_PG17_URL").expect("PGKEEP_TEST_PG17_URL is not set: run scripts/services start");
        let admin = Target::parse(&Secret::new(url)).expect("URL");
        let name = format!("pgkeep_locks_{}", random_hex(4));
        crate::pg::facts::create_database(&admin, &name).await.expect("create");
        let target = admin.with_database(&name);
        let (holder, session, other) = (
            target.connect().await.expect("connect"),
            target.connect().await.expect("connect"),
            target.connect().await.expect("connect"),
        );
        holder
            .run(
                "set up",
                "CREATE TABLE public.free (a int); CREATE TABLE public.taken (a int); SET application_name = 'migrate'",
            )
            .await
            .expect("run");
        holder.run("lock", "BEGIN; LOCK TABLE public.taken").await.expect("run");

        let tables = session.lockable().await.expect("list");
        session.begin_reading().await.expect("begin");
        let patience = Patience { timeout: Duration::from_millis(200), tries: 3 };
        let shutdown = Shutdown::new();
        let waiting = lock_all(&session, tables, patience, &SystemClock, &shutdown);
        let watch = async {
            // A reader of the free table never waits, whatever we wait for.
            let longest = Stopwatch::start();
            other.run("read", "SELECT FROM public.free").await.expect("read");
            longest.elapsed()
        };
        let (result, waited) = tokio::join!(waiting, watch);
        assert!(waited < Duration::from_millis(150), "{waited:?}");
        let error = result.expect_err("the table is locked");
        let text = format!("{error:?}");
        assert_eq!(error.kind(), Kind::Unavailable);
        for part in ["\"public\".\"taken\"", "'migrate'", "process ", "pg_terminate_backend"] {
            assert!(text.contains(part), "{text}");
        }
        drop((holder, session, other));
        crate::pg::facts::drop_database(&admin, &name).await.expect("drop");
    }
}
