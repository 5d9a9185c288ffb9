//! What one worker reads in one go: a range of a large table, a group of small tables, a range of large objects.
//!
//! Boundaries depend on fixed block numbers and on names alone, so that a table that grows, comes or goes leaves the parts of all others as they were. Whether a
//! table is read in ranges at all depends on what else there is to read, and costs a part or two for each boundary that comes or goes.

use std::collections::HashSet;

use super::names::{begins_group, stream};
use super::statements::copy_out;
use crate::base::limits::{RANGE_BLOCKS, SMALL_TABLE_BYTES};
use crate::pg::catalog::extract::TableInfo;
use crate::pg::copy::encoded;
use crate::pg::large_objects::{self, Access, OidRange};

/// One statement of a unit: one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Index of the table in the list that the units were made of; the large objects come after the last.
    pub(crate) table: usize,
    /// What is read, for messages: `table "s"."t"`.
    pub(crate) what: String,
    /// Schema and name of the table to lock; none for large objects.
    pub(crate) lock: Option<(String, String)>,
    /// Name of the stream.
    pub(crate) stream: String,
    /// First block.
    pub(crate) from_block: Option<u64>,
    /// First block after it.
    pub(crate) to_block: Option<u64>,
    /// COPY … TO STDOUT.
    pub(crate) sql: String,
    /// Bytes on the server's disk.
    pub(crate) weight: u64,
}

/// Pieces that share parts and are read by one worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unit {
    /// Name of the group.
    pub(crate) name: String,
    /// In order.
    pub(crate) pieces: Vec<Piece>,
}

impl Unit {
    /// Bytes on the server's disk.
    pub(crate) fn weight(&self) -> u64 {
        self.pieces.iter().map(|p| p.weight).sum()
    }

    /// Tables to lock.
    pub(crate) fn locks(&self) -> Vec<(&str, &str)> {
        self.pieces.iter().filter_map(|p| p.lock.as_ref()).map(|(s, t)| (s.as_str(), t.as_str())).collect()
    }
}

/// Units of all tables, whose rows are to be in `encoding`, which are in order of schema and name; the heaviest first, so that none of `jobs` workers is left with
/// one at the end.
pub(crate) fn units(
    tables: &[TableInfo],
    objects: &[OidRange],
    access: Option<Access>,
    encoding: &str,
    jobs: usize,
) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::new();
    let mut small: Option<Unit> = None;
    let split = split(tables, jobs);
    for (index, table) in tables.iter().enumerate() {
        if table.heap_bytes > SMALL_TABLE_BYTES {
            units.extend(if split.contains(&index) {
                ranges(index, table, encoding)
            } else {
                vec![large(index, table, None, None, encoding)]
            });
            continue;
        }
        let piece = piece(index, table, None, None, encoding);
        match &mut small {
            Some(group) if !begins_group(&table.schema, &table.name) => group.pieces.push(piece),
            _ => units.extend(small.replace(Unit { name: format!("small/{}", piece.stream), pieces: vec![piece] })),
        }
    }
    units.extend(small);
    if let Some(access) = access {
        units.extend(objects.iter().map(|range| object_unit(tables.len(), range, access)));
    }
    units.sort_by(|a, b| b.weight().cmp(&a.weight()).then_with(|| a.name.cmp(&b.name)));
    units
}

/// Indexes of the tables to read in ranges: those that would keep one worker busy when the others have nothing left to do.
///
/// A whole table is the cheaper one to read: its scan goes through a small ring of the server's buffers, where that of a range of `ctid` goes through all
/// of them, page faults included, and pushes out what the application has there (heapam.c, `initscan`; tableam.h, `table_beginscan_tidrange`).
fn split(tables: &[TableInfo], jobs: usize) -> HashSet<usize> {
    let mut order: Vec<usize> = (0..tables.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(tables[*i].heap_bytes));
    let mut left: u64 = tables.iter().map(|t| t.heap_bytes).sum();
    let mut split = HashSet::new();
    for index in order {
        let table = &tables[index];
        let divisible = jobs > 1 && table.ranges && table.condition.is_none() && table.blocks > RANGE_BLOCKS;
        if divisible && table.heap_bytes.saturating_mul(jobs as u64) > left {
            split.insert(index);
        }
        left -= table.heap_bytes;
    }
    split
}

fn ranges(index: usize, table: &TableInfo, encoding: &str) -> Vec<Unit> {
    let count = table.blocks.div_ceil(RANGE_BLOCKS);
    let range = |n| (Some(n * RANGE_BLOCKS), (n + 1 < count).then_some((n + 1) * RANGE_BLOCKS));
    (0..count).map(range).map(|(from, to)| large(index, table, from, to, encoding)).collect()
}

fn large(index: usize, table: &TableInfo, from: Option<u64>, to: Option<u64>, encoding: &str) -> Unit {
    let piece = piece(index, table, from, to, encoding);
    Unit { name: piece.stream.clone(), pieces: vec![piece] }
}

fn piece(index: usize, table: &TableInfo, from: Option<u64>, to: Option<u64>, encoding: &str) -> Piece {
    let blocks = to.unwrap_or(table.blocks).saturating_sub(from.unwrap_or(0));
    let weight = if from.is_none() { table.heap_bytes } else { table.heap_bytes / table.blocks.max(1) * blocks };
    Piece {
        table: index,
        what: format!("table {}", crate::base::sql::qualified(&table.schema, &table.name)),
        lock: Some((table.schema.clone(), table.name.clone())),
        stream: stream(&table.schema, &table.name, from),
        from_block: from,
        to_block: to,
        sql: encoded(&copy_out(&table.schema, &table.name, &table.columns, from, to, table.condition.as_deref()), encoding),
        weight,
    }
}

fn object_unit(index: usize, range: &OidRange, access: Access) -> Unit {
    let stream = large_objects::stream(range);
    let piece = Piece {
        table: index,
        what: "large objects".to_owned(),
        lock: None,
        stream: stream.clone(),
        from_block: Some(range.from),
        to_block: Some(range.to),
        sql: large_objects::copy_out(range, access),
        // Their sizes are not known without reading them; a few pages each is typical.
        weight: range.objects * 8192,
    };
    Unit { name: stream, pieces: vec![piece] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str, blocks: u64) -> TableInfo {
        TableInfo {
            oid: 1,
            entry: format!("table {name}"),
            schema: "s".to_owned(),
            name: name.to_owned(),
            columns: vec!["a".to_owned()],
            unlogged: false,
            heap_bytes: blocks * 8192,
            blocks,
            ranges: true,
            condition: None,
        }
    }

    #[test]
    fn ranges_of_a_growing_table_keep_their_boundaries() {
        let of = |blocks| -> Vec<(Option<u64>, Option<u64>)> {
            let mut found: Vec<_> = units(&[table("t", blocks)], &[], None, "UTF8", 2)
                .iter()
                .map(|u| (u.pieces[0].from_block, u.pieces[0].to_block))
                .collect();
            found.sort();
            found
        };
        assert_eq!(of(RANGE_BLOCKS), [(None, None)]);
        assert_eq!(
            of(2 * RANGE_BLOCKS + 1),
            [(Some(0), Some(RANGE_BLOCKS)), (Some(RANGE_BLOCKS), Some(2 * RANGE_BLOCKS)), (Some(2 * RANGE_BLOCKS), None)]
        );
    }

    #[test]
    fn a_new_small_table_changes_one_group_at_most() {
        let tables: Vec<TableInfo> = (0..1000).map(|i| table(&format!("t{i:04}"), 1)).collect();
        let groups = |tables: &[TableInfo]| -> Vec<Vec<String>> {
            let mut all: Vec<Vec<String>> =
                units(tables, &[], None, "UTF8", 2).iter().map(|u| u.pieces.iter().map(|p| p.stream.clone()).collect()).collect();
            all.sort();
            all
        };
        let before = groups(&tables);
        assert!(before.len() > 5 && before.len() < 60, "{} groups", before.len());
        let mut more = tables.clone();
        more.insert(500, table("t0499x", 1));
        let after = groups(&more);
        assert!(before.iter().filter(|g| !after.contains(g)).count() <= 1);
    }

    #[test]
    fn all_weight_is_spread_over_the_pieces_and_the_heaviest_come_first() {
        let list = [table("a", 3 * RANGE_BLOCKS + 5), table("b", 2), table("c", RANGE_BLOCKS / 2)];
        let all = units(&list, &[], None, "UTF8", 2);
        let total: u64 = all.iter().map(Unit::weight).sum();
        assert_eq!(total, list.iter().map(|t| t.heap_bytes).sum::<u64>());
        assert!(all.windows(2).all(|w| w[0].weight() >= w[1].weight()));
    }

    #[test]
    fn only_a_table_that_would_outlast_the_others_is_read_in_ranges() {
        let of = |sizes: &[u64], jobs| -> Vec<usize> {
            let tables: Vec<TableInfo> =
                sizes.iter().enumerate().map(|(i, n)| table(&format!("t{i}"), n * 2 * RANGE_BLOCKS)).collect();
            let mut found: Vec<usize> = split(&tables, jobs).into_iter().collect();
            found.sort_unstable();
            found
        };
        assert!(of(&[5], 1).is_empty(), "one worker has nobody to share with");
        assert_eq!(of(&[5], 2), [0]);
        assert_eq!(of(&[1; 6], 2), [5], "the last ones fill what the others leave");
        assert_eq!(of(&[1; 6], 4), [3, 4, 5]);
        assert_eq!(of(&[9, 1, 1], 2), [0, 2]);
        let small = table("small", RANGE_BLOCKS);
        assert!(split(&[small], 2).is_empty(), "there is but one range");
    }
}
