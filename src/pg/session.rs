//! A session whose settings are ours, and the statements that every part of the engine needs.
//!
//! Settings that a role, a database or a server carries (`ALTER ROLE … SET`, `ALTER DATABASE … SET`) would change how values and definitions
//! are written: they are pinned here and nowhere else, with SET after the login, because poolers refuse startup options. Statements of export
//! and restore are named methods in `export::statements` and `restore::statements`.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, CancelToken, Client, Row};

use super::error;
use super::version::Version;
use super::wire::{Apart, Driver, Rows, Wire};
use crate::base::sql::literal;
use crate::base::{Error, Result};

/// Pinned in every session, where the server's version knows the setting. `lc_monetary` is how `money` is written: the same on both sides, or amounts
/// would change. The last two make a server hide damage; only a superuser may set them, and without that right a session with one of them on
/// is refused.
const PINNED: &[(&str, &str)] = &[
    ("standard_conforming_strings", "on"),
    ("escape_string_warning", "off"),
    ("client_encoding", "UTF8"),
    ("client_min_messages", "warning"),
    ("datestyle", "ISO, MDY"),
    ("intervalstyle", "postgres"),
    ("timezone", "UTC"),
    ("lc_monetary", "C"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("xmlbinary", "base64"),
    ("xmloption", "content"),
    ("array_nulls", "on"),
    ("transform_null_equals", "off"),
    ("quote_all_identifiers", "off"),
    ("row_security", "off"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("transaction_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", "0"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "off"),
    ("default_transaction_deferrable", "off"),
    ("exit_on_error", "off"),
    ("synchronize_seqscans", "off"),
    ("max_parallel_workers_per_gather", "0"),
    ("jit", "off"),
    ("enable_tidscan", "on"),
    ("zero_damaged_pages", "off"),
    ("ignore_checksum_failure", "off"),
];

/// Before anything that takes a snapshot, which a deferrable transaction may wait for: limits, the kind of transactions, and the role. A role whose
/// settings make it another (`ALTER ROLE … SET role`) would have that one's rights and make objects that belong to it.
const LIFT: &str = "SET statement_timeout = 0; SET default_transaction_deferrable = off; SET default_transaction_read_only = off; \
    SET default_transaction_isolation = 'read committed'; SET ROLE NONE";

/// The same for servers that limit transactions.
const LIFT_17: &str = "SET statement_timeout = 0; SET transaction_timeout = 0; SET default_transaction_deferrable = off; \
    SET default_transaction_read_only = off; SET default_transaction_isolation = 'read committed'; SET ROLE NONE";

/// How often a time limit of one millisecond may beat the statement that lifts it.
const LIFT_ATTEMPTS: u32 = 20;

/// The major version in `server_version`, as `17.10 (Debian 17.10-1)` or `18beta1`.
fn major(version: &str) -> Option<u32> {
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// A GRANT or REVOKE that the server took without effect: it says so in a warning, not in an error.
#[derive(Debug, Clone)]
pub(crate) struct Unmet {
    /// 01006 or 01007.
    pub(crate) sqlstate: String,
    /// What the server said.
    pub(crate) message: String,
}

type UnmetList = Arc<Mutex<Vec<Unmet>>>;

/// Unmet grants that are kept for [`Session::take_unmet`].
const UNMET_KEPT: usize = 1000;

/// One logged-in connection with pinned settings.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    unmet: UnmetList,
    connection: JoinHandle<()>,
    wire: Wire,
    target: String,
    version: Version,
    /// Thread of the connection, if it has one.
    apart: Option<Apart>,
}

/// Ends a running statement from outside.
#[derive(Clone)]
pub(crate) struct Canceller {
    token: CancelToken,
    wire: Wire,
}

impl Canceller {
    /// Asks the server to end what the session is doing; nothing happens if it is idle or gone.
    pub(crate) async fn cancel(&self) {
        if let Err(error) = self.wire.cancel(&self.token).await {
            tracing::debug!(%error, "cancel request was not delivered");
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // A COPY in flight would be read to its end otherwise.
        self.connection.abort();
    }
}

/// Moves messages between client and server until one of them ends.
async fn serve(mut driver: Driver, unmet: UnmetList) {
    loop {
        match driver.message().await {
            Some(Ok(AsyncMessage::Notice(notice))) if ["01006", "01007"].contains(&notice.code().code()) => {
                let mut list = unmet.lock().unwrap_or_else(PoisonError::into_inner);
                if list.len() < UNMET_KEPT {
                    list.push(Unmet { sqlstate: notice.code().code().to_owned(), message: notice.message().to_owned() });
                }
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                tracing::debug!(%error, "connection to the server ended");
                return;
            }
            None => return,
        }
    }
}

impl Session {
    /// Takes over a new connection: checks the version and pins the settings.
    pub(super) async fn start(client: Client, driver: Driver, wire: Wire, target: String) -> Result<Self> {
        let has_transaction_timeout = driver.parameter("server_version").and_then(major).is_some_and(|major| major >= 17);
        let unmet = UnmetList::default();
        let connection = tokio::spawn(serve(driver, Arc::clone(&unmet)));
        let mut session = Self { client, unmet, connection, wire, target, version: Version(0), apart: None };
        session.lift(if has_transaction_timeout { LIFT_17 } else { LIFT }).await?;
        session.pin(PINNED).await?;
        session.version = session.read_version().await?;
        if session.version.major() < Version::OLDEST {
            return Err(Error::unsupported(format!(
                "{} runs PostgreSQL {}, and the oldest supported is {}",
                session.target,
                session.version.major(),
                Version::OLDEST
            )));
        }
        Ok(session)
    }

    /// The session, whose connection lives on a thread of its own, together with that thread.
    pub(super) fn with_thread(self, thread: Apart) -> Self {
        let mut session = self;
        session.apart = Some(thread);
        session
    }

    /// Lifts a limit that a role or database carries and that may be too short for the statement that pins the settings. SET alone takes
    /// the server microseconds; a busy server gets another chance.
    async fn lift(&self, set: &str) -> Result<()> {
        for _ in 1..LIFT_ATTEMPTS {
            match self.client.batch_execute(set).await {
                Err(error) if error.code() == Some(&SqlState::QUERY_CANCELED) => {}
                done => return done.map_err(|e| error::statement("set up the session", &e)),
            }
        }
        self.run("set up the session", set).await
    }

    /// The connection, for catalog queries.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Version of the server.
    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// Where it is connected to, without secrets.
    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    /// Whether the connection is gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Grants and revokes since the last call that had no effect, or not all of it.
    pub(crate) fn take_unmet(&self) -> Vec<Unmet> {
        std::mem::take(&mut *self.unmet.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the server follows another one.
    pub(super) async fn is_standby(&self) -> Result<bool> {
        column(&self.row("ask whether the server is a standby", "SELECT pg_catalog.pg_is_in_recovery()").await?, 0)
    }

    /// A handle to cancel what this session runs.
    pub(crate) fn canceller(&self) -> Canceller {
        Canceller { token: self.client.cancel_token(), wire: self.wire.clone() }
    }

    /// Sets settings for the rest of the session, where the server knows them and they differ. The empty `search_path` comes first: an operator
    /// of somebody's own schema must not be found in the second statement.
    pub(crate) async fn pin(&self, settings: &[(&str, &str)]) -> Result<()> {
        let mut values = String::new();
        for (name, value) in settings {
            let comma = if values.is_empty() { "" } else { ", " };
            let _ = write!(values, "{comma}({}, {})", literal(name), literal(value));
        }
        self.run(
            "set up the session",
            &format!(
                "SELECT pg_catalog.set_config('search_path', '', false); \
                 SELECT pg_catalog.set_config(s.name, v.value, false) FROM pg_catalog.pg_settings s \
                 JOIN (VALUES {values}) v (name, value) ON pg_catalog.lower(s.name) = v.name WHERE s.setting <> v.value"
            ),
        )
        .await
    }

    /// Limits how long a statement waits for a lock; zero waits for ever. SET, unlike SELECT, takes no snapshot: the locks of an export come
    /// before its snapshot.
    pub(crate) async fn limit_lock_waits(&self, limit: Duration) -> Result<()> {
        self.run("set lock_timeout", &format!("SET lock_timeout = {}", limit.as_millis())).await
    }

    /// Runs statements that return nothing of interest, as one implicit transaction unless they say otherwise.
    pub(crate) async fn run(&self, what: &str, sql: &str) -> Result<()> {
        self.client.batch_execute(sql).await.map_err(|e| error::statement(what, &e))
    }

    /// All rows of a query, in one round trip: nothing is prepared.
    pub(crate) async fn rows(&self, what: &str, sql: &str) -> Result<Vec<Row>> {
        self.client.query_typed(sql, &[]).await.map_err(|e| error::statement(what, &e))
    }

    /// The one row of a query.
    pub(crate) async fn row(&self, what: &str, sql: &str) -> Result<Row> {
        self.client.query_typed_one(sql, &[]).await.map_err(|e| error::statement(what, &e))
    }

    /// The rows of `COPY … TO STDOUT` statements, one after the other; nothing else may run in the session meanwhile.
    pub(crate) fn copy_out(&self, statements: &[&str]) -> Rows<'_> {
        self.wire.rows(&self.client, statements)
    }

    async fn read_version(&self) -> Result<Version> {
        let row = self.row("read the server's version", "SELECT current_setting('server_version_num')::int4").await?;
        let number: i32 = column(&row, 0)?;
        Ok(Version(number.unsigned_abs()))
    }
}

/// A column of a row of ours; the statement and its type stand side by side, so a mismatch is a bug.
pub(crate) fn column<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, index: usize) -> Result<T> {
    row.try_get(index).map_err(|e| Error::internal(format!("unexpected column {index} in an answer of the server")).source(e))
}
