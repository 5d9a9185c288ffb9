//! The order of tables whose foreign keys exist while rows are loaded: of extensions that bring them, and where only rows are restored. Each table
//! comes after those that it refers to.

use std::collections::{HashMap, HashSet};

use crate::base::Result;
use crate::pg::copy::TableData;
use crate::pg::session::{Session, column};

/// Tables at one end of a foreign key, with their root (partitions of one table count as that table) and the roots that it refers to.
const REFERENCES: &str = "
WITH keys AS (
  SELECT DISTINCT coalesce(pg_partition_root(conrelid), conrelid)::oid AS referring, coalesce(pg_partition_root(confrelid), confrelid)::oid AS referred
    FROM pg_constraint WHERE contype = 'f'),
tables AS (
  SELECT n.nspname, c.relname, coalesce(pg_partition_root(c.oid), c.oid)::oid AS root
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r')
SELECT t.nspname::text, t.relname::text, t.root, ARRAY(SELECT k.referred FROM keys k WHERE k.referring = t.root AND k.referred <> t.root)
  FROM tables t WHERE EXISTS (SELECT FROM keys k WHERE t.root IN (k.referring, k.referred))";

/// What a table is part of, and what that refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    root: u32,
    needs: Vec<u32>,
}

/// Tables by schema and name.
pub(super) type Places = HashMap<(String, String), Place>;

impl Session {
    /// The tables at either end of the foreign keys that exist.
    pub(super) async fn references(&self) -> Result<Places> {
        let rows = self.rows("read foreign keys", REFERENCES).await?;
        rows.iter()
            .map(|row| Ok(((column(row, 0)?, column(row, 1)?), Place { root: column(row, 2)?, needs: column(row, 3)? })))
            .collect()
    }
}

/// Indexes of those of `tables` that have a place, in an order that breaks no key; tables that refer to each other in a circle come last, as they are.
pub(super) fn order(tables: &[TableData], places: &Places) -> Vec<usize> {
    let mut rest: Vec<(usize, &Place)> =
        tables.iter().enumerate().filter_map(|(i, t)| Some((i, places.get(&(t.schema.clone(), t.table.clone()))?))).collect();
    let mut open: HashSet<u32> = rest.iter().map(|(_, place)| place.root).collect();
    let mut ordered = Vec::with_capacity(rest.len());
    loop {
        let (now, later): (Vec<_>, Vec<_>) = rest.into_iter().partition(|(_, p)| !p.needs.iter().any(|root| open.contains(root)));
        rest = later;
        if now.is_empty() {
            ordered.extend(rest.iter().map(|(i, _)| *i));
            return ordered;
        }
        for (index, place) in now {
            open.remove(&place.root);
            ordered.push(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::fingerprint::Fingerprint;

    #[test]
    fn tables_come_after_what_they_refer_to_and_circles_last() {
        let table = |name: &str| TableData {
            entry: name.to_owned(),
            schema: "s".to_owned(),
            table: name.to_owned(),
            columns: Vec::new(),
            streams: Vec::new(),
            fingerprint: Fingerprint::default(),
            heap_bytes: 0,
        };
        let tables: Vec<TableData> = ["circle1", "circle2", "free", "items1", "items2", "lines", "orders"].map(table).into();
        let place =
            |name: &str, root: u32, needs: &[u32]| (("s".to_owned(), name.to_owned()), Place { root, needs: needs.to_vec() });
        let places: Places = [
            place("circle1", 1, &[2]),
            place("circle2", 2, &[1]),
            place("items1", 3, &[5]),
            place("items2", 3, &[5]),
            place("lines", 4, &[3]),
            place("orders", 5, &[99]),
        ]
        .into();
        let names: Vec<&str> = order(&tables, &places).into_iter().map(|i| tables[i].table.as_str()).collect();
        assert_eq!(names, ["orders", "items1", "items2", "lines", "circle1", "circle2"]);
    }
}
