//! Foreign keys of large partitioned tables, made partition by partition first.
//!
//! The server takes such a key for a table and all its partitions in one statement, which reads one partition after the other. A key that a partition
//! has already, and that was validated, becomes part of the table's and is not read again. So each large partition gets its own beforehand, in
//! parallel. That only saves time: where it fails, the statement of the table does all, and says what is wrong.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::workers::Worker;
use crate::base::Result;
use crate::base::sql::{ident, qualified};
use crate::pg::catalog::entry::Entry;
use crate::pg::copy::TableData;
use crate::pg::session::{Session, column};

/// Partitions with less text are left to the statement of their table.
const LARGE_BYTES: u64 = 1 << 20;

/// Partitioned tables and their partitions at any depth that hold rows.
const PARTITIONS: &str = "
SELECT pn.nspname::text, p.relname::text, n.nspname::text, c.relname::text
  FROM pg_class p JOIN pg_namespace pn ON pn.oid = p.relnamespace CROSS JOIN LATERAL pg_partition_tree(p.oid) t
  JOIN pg_class c ON c.oid = t.relid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE p.relkind = 'p' AND c.relkind = 'r'";

/// The key of one partition.
#[derive(Debug, Clone)]
pub(super) struct PartitionKey {
    /// Id of the foreign key that it becomes part of.
    pub(super) key: String,
    /// Id of the partition.
    pub(super) partition: String,
    /// Id of the table that it refers to.
    pub(super) referred: String,
    /// Quoted name of the partition, and of the constraint.
    table: String,
    constraint: String,
    definition: String,
    added: Arc<AtomicBool>,
}

/// Schema and name of partitioned tables, and those of their partitions.
type Trees = HashMap<(String, String), Vec<(String, String)>>;

impl Session {
    async fn partition_trees(&self) -> Result<Trees> {
        let mut trees = Trees::new();
        for row in self.rows("read partitions", PARTITIONS).await? {
            trees.entry((column(&row, 0)?, column(&row, 1)?)).or_default().push((column(&row, 2)?, column(&row, 3)?));
        }
        Ok(trees)
    }
}

/// The keys to make beforehand, for those of `entries` that are foreign keys of a partitioned table to one that holds its rows itself.
pub(super) async fn partition_keys(session: &Session, entries: &[&Entry], tables: &[TableData]) -> Result<Vec<PartitionKey>> {
    let keys: Vec<&Entry> = entries.iter().copied().filter(|e| e.kind == "foreign_key" && e.create.len() == 1).collect();
    if keys.is_empty() || tables.iter().all(|t| t.fingerprint.bytes < LARGE_BYTES) {
        return Ok(Vec::new());
    }
    let trees = session.partition_trees().await?;
    let with_rows: HashSet<&str> = tables.iter().map(|t| t.entry.as_str()).collect();
    let by_name: HashMap<(&str, &str), &TableData> = tables.iter().map(|t| ((t.schema.as_str(), t.table.as_str()), t)).collect();
    let mut all = Vec::new();
    for entry in keys {
        let Some((tree, definition)) = table_and_definition(entry, &trees) else { continue };
        let mut referred = entry.depends.iter().filter(|id| id.starts_with("table ") && Some(*id) != entry.parent.as_ref());
        let (Some(referred), None) = (referred.next(), referred.next()) else { continue };
        if !with_rows.contains(referred.as_str()) {
            continue;
        }
        let large = tree.iter().filter_map(|(s, t)| by_name.get(&(s.as_str(), t.as_str())));
        all.extend(large.filter(|t| t.fingerprint.bytes >= LARGE_BYTES).map(|t| PartitionKey {
            key: entry.id.clone(),
            partition: t.entry.clone(),
            referred: referred.clone(),
            table: qualified(&t.schema, &t.table),
            constraint: ident(&entry.name),
            definition: definition.clone(),
            added: Arc::default(),
        }));
    }
    Ok(all)
}

/// The partitions of the key's table, and what follows its name in the statement that adds it.
fn table_and_definition<'a>(entry: &Entry, trees: &'a Trees) -> Option<(&'a [(String, String)], String)> {
    let is_own =
        |(schema, table): &&(String, String)| entry.parent.as_ref() == Some(&format!("table {}", qualified(schema, table)));
    let (schema, table) = trees.keys().find(is_own)?;
    let head = format!("ALTER TABLE {} ADD CONSTRAINT {} ", qualified(schema, table), ident(&entry.name));
    let text = entry.create.first()?.plain();
    let definition = text.strip_prefix(&head).filter(|d| !d.ends_with(" NOT ENFORCED"))?;
    Some((trees.get(&(schema.clone(), table.clone()))?, definition.to_owned()))
}

impl Worker {
    pub(super) async fn add_partition_key(&self, key: &PartitionKey) -> Result<()> {
        let missing = |id| self.work.ledger.is_lost(id);
        if missing(&key.key) || missing(&key.partition) || missing(&key.referred) {
            return Ok(());
        }
        let text = format!("ALTER TABLE ONLY {} ADD CONSTRAINT {} {} NOT VALID", key.table, key.constraint, key.definition);
        let added = self.try_statement("add the key of a partition", &text).await?;
        key.added.store(added, Ordering::Relaxed);
        Ok(())
    }

    pub(super) async fn validate_partition_key(&self, key: &PartitionKey) -> Result<()> {
        if !key.added.load(Ordering::Relaxed) {
            return Ok(());
        }
        let (table, constraint) = (&key.table, &key.constraint);
        let validate = format!("ALTER TABLE ONLY {table} VALIDATE CONSTRAINT {constraint}");
        if !self.try_statement("validate the key of a partition", &validate).await? {
            let drop = format!("ALTER TABLE ONLY {table} DROP CONSTRAINT {constraint}");
            self.try_statement("drop the key of a partition", &drop).await?;
        }
        Ok(())
    }

    /// Whether a statement that may fail did not.
    async fn try_statement(&self, what: &str, text: &str) -> Result<bool> {
        match self.session.run(what, text).await {
            Ok(()) => Ok(true),
            Err(error) if self.session.is_closed() => Err(error),
            Err(error) => {
                tracing::debug!(%error, "left to the statement of the table");
                Ok(false)
            }
        }
    }
}
