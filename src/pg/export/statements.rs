//! The statements of an export that concern the snapshot.

use jiff::Timestamp;

use crate::base::sql::{ident, literal, qualified};
use crate::base::{Error, Result};
use crate::pg::session::{Session, column};

/// Pinned on top of what every session pins: nobody may put a view or a foreign table in a table's place while we read (CVE-2024-7348).
/// The catalogs are in memory, where a page costs the same wherever it is: with the default the planner would read all of a small catalog for each
/// relation instead of asking its index.
pub(crate) const READER: &[(&str, &str)] =
    &[("restrict_nonsystem_relation_kind", "view,foreign-table"), ("random_page_cost", "1")];

/// A snapshot that other sessions can import.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    /// Name for SET TRANSACTION SNAPSHOT.
    pub(super) id: String,
    /// The server's clock just before it was taken.
    pub(super) at: Timestamp,
}

/// Rows of the catalogs that make up definitions, hashed: two equal stamps mean that no definition changed between. Temporary objects of other
/// sessions are left out, or a busy application would never let two stamps be equal.
const STAMP: &str = "
WITH rel AS (SELECT c.oid, c.xmin FROM pg_class c WHERE c.oid >= 16384 AND c.relpersistence <> 't' AND c.relnamespace <> 99)
SELECT count(*), coalesce(sum(hashtextextended(xmin::text, (catalog::int8 << 48) | (oid::int8 << 16) | sub)), 0)::text FROM (
  SELECT 1 AS catalog, oid, 0::int8 AS sub, xmin FROM rel
  UNION ALL SELECT 2, a.attrelid, a.attnum::int8 & 65535, a.xmin FROM pg_attribute a JOIN rel ON rel.oid = a.attrelid
  UNION ALL SELECT 3, d.oid, 0, d.xmin FROM pg_attrdef d JOIN rel ON rel.oid = d.adrelid
  UNION ALL SELECT 4, i.indexrelid, 0, i.xmin FROM pg_index i JOIN rel ON rel.oid = i.indexrelid
  UNION ALL SELECT 5, t.oid, 0, t.xmin FROM pg_trigger t JOIN rel ON rel.oid = t.tgrelid
  UNION ALL SELECT 6, w.oid, 0, w.xmin FROM pg_rewrite w JOIN rel ON rel.oid = w.ev_class
  UNION ALL SELECT 7, l.oid, 0, l.xmin FROM pg_policy l JOIN rel ON rel.oid = l.polrelid
  UNION ALL SELECT 8, o.oid, 0, o.xmin FROM pg_constraint o
             WHERE o.oid >= 16384 AND (o.conrelid = 0 OR o.conrelid IN (SELECT oid FROM rel))
  UNION ALL SELECT 9, y.oid, 0, y.xmin FROM pg_type y
             WHERE y.oid >= 16384 AND (y.typrelid = 0 OR y.typrelid IN (SELECT oid FROM rel)) AND y.typelem = 0
  UNION ALL SELECT 10, p.oid, 0, p.xmin FROM pg_proc p WHERE p.oid >= 16384
  UNION ALL SELECT 11, n.oid, 0, n.xmin FROM pg_namespace n WHERE n.nspname !~ '^pg_(toast_)?temp_'
  UNION ALL SELECT 12, e.oid, 0, e.xmin FROM pg_extension e
  UNION ALL SELECT 13, s.oid, 0, s.xmin FROM pg_statistic_ext s
) stamps";

impl Session {
    /// Begins the transaction whose first query takes the snapshot.
    pub(super) async fn begin_reading(&self) -> Result<()> {
        self.run("begin", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await
    }

    /// Begins a transaction on a snapshot of another session.
    pub(super) async fn begin_at(&self, snapshot: &Snapshot) -> Result<()> {
        let text = format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}", literal(&snapshot.id));
        self.run("import the snapshot", &text).await
    }

    /// Takes the snapshot and exports it.
    pub(super) async fn take_snapshot(&self) -> Result<Snapshot> {
        let text = "SELECT pg_export_snapshot(), (extract(epoch FROM statement_timestamp()) * 1000000)::int8";
        let row = self.row("take a snapshot", text).await?;
        let at = Timestamp::from_microsecond(column(&row, 1)?)
            .map_err(|e| Error::internal("the server's clock is out of range").source(e))?;
        Ok(Snapshot { id: column(&row, 0)?, at })
    }

    /// Ends the transaction and with it all locks.
    pub(super) async fn end_reading(&self) -> Result<()> {
        self.run("end the transaction", "ROLLBACK").await
    }

    /// The state of all definitions, as this session sees them.
    pub(super) async fn definitions_stamp(&self) -> Result<(i64, String)> {
        let row = self.row("compare definitions", STAMP).await?;
        Ok((column(&row, 0)?, column(&row, 1)?))
    }

    /// Whether password hashes of roles can be read.
    pub(crate) async fn reads_passwords(&self) -> Result<bool> {
        let row = self.row("check privileges on roles", "SELECT has_table_privilege('pg_catalog.pg_authid', 'SELECT')").await?;
        column(&row, 0)
    }

    /// Whether connection strings of subscriptions can be read.
    pub(crate) async fn reads_connections(&self) -> Result<bool> {
        let text = "SELECT has_column_privilege('pg_catalog.pg_subscription', 'subconninfo', 'SELECT')";
        column(&self.row("check privileges on subscriptions", text).await?, 0)
    }

    /// Locks tables for one unit of work, at once or not at all; the locks end with [`Session::release_unit`].
    pub(super) async fn lock_unit(&self, tables: &[(&str, &str)]) -> Result<bool> {
        let list: Vec<String> = tables.iter().map(|(s, t)| format!("ONLY {}", qualified(s, t))).collect();
        let text = format!("SAVEPOINT pgkeep_unit; LOCK TABLE {} IN ACCESS SHARE MODE NOWAIT", list.join(", "));
        match self.client().batch_execute(&text).await {
            Ok(()) => Ok(true),
            Err(error) if crate::pg::error::sqlstate(&error).as_deref() == Some("55P03") => {
                self.release_unit().await?;
                Ok(false)
            }
            Err(error) => Err(crate::pg::error::statement("lock tables", &error)),
        }
    }

    /// Ends the locks of one unit of work; the snapshot stays.
    pub(super) async fn release_unit(&self) -> Result<()> {
        self.run("release locks", "ROLLBACK TO SAVEPOINT pgkeep_unit; RELEASE SAVEPOINT pgkeep_unit").await
    }
}

/// The statement that reads rows of a table: all of them, a range of blocks, or those that a condition of an extension names.
pub(crate) fn copy_out(
    schema: &str,
    table: &str,
    columns: &[String],
    from_block: Option<u64>,
    to_block: Option<u64>,
    condition: Option<&str>,
) -> String {
    let name = qualified(schema, table);
    let columns = columns.iter().map(|c| ident(c)).collect::<Vec<_>>().join(", ");
    let mut range = Vec::new();
    if let Some(from) = from_block.filter(|b| *b > 0) {
        range.push(format!("ctid >= '({from},0)'::pg_catalog.tid"));
    }
    if let Some(to) = to_block {
        range.push(format!("ctid < '({to},0)'::pg_catalog.tid"));
    }
    match (condition, range.is_empty(), columns.is_empty()) {
        (Some(condition), _, _) => format!("COPY (SELECT {columns} FROM ONLY {name} {condition}) TO STDOUT"),
        (None, false, _) => format!("COPY (SELECT {columns} FROM ONLY {name} WHERE {}) TO STDOUT", range.join(" AND ")),
        // A table may have rows and no columns to read; COPY has no way to write an empty list, and leaves generated columns out itself.
        (None, true, true) => format!("COPY {name} TO STDOUT"),
        (None, true, false) => format!("COPY {name} ({columns}) TO STDOUT"),
    }
}
