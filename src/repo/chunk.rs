//! Rows → parts. Cut points depend on the rows alone, so that the same rows give the same parts in every backup.

use std::sync::Arc;

use super::buffers::Buffers;
use crate::base::fingerprint::{Fingerprint, row_hash};
use crate::base::limits::{PART_MAX_BYTES, PART_MIN_BYTES, PART_TARGET_BYTES};
use crate::base::{Error, Result};

/// Sizes of parts, in bytes of plaintext.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// No cut by content before this.
    pub min: usize,
    /// Average distance of cuts by content.
    pub target: usize,
    /// A part ends before a row that would take it past this.
    pub max: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { min: PART_MIN_BYTES, target: PART_TARGET_BYTES, max: PART_MAX_BYTES }
    }
}

/// Collects rows into the open part and hands each part over when it ends.
#[derive(Debug)]
pub struct Chunker {
    sizes: Sizes,
    per_byte: u64,
    open: Vec<u8>,
    buffers: Arc<Buffers>,
}

impl Chunker {
    /// With parts of these sizes, in memory from `buffers`.
    pub(super) fn new(sizes: Sizes, buffers: Arc<Buffers>) -> Self {
        Self { sizes, per_byte: u64::MAX / (sizes.target as u64).max(1), open: buffers.take(), buffers }
    }

    /// Bytes in the open part.
    pub fn open_len(&self) -> usize {
        self.open.len()
    }

    /// Appends rows, adds them to `fingerprint`, and calls `ended` with each part that they complete. A row without its newline is refused with an error
    /// of kind `Integrity`.
    pub fn push<'r>(
        &mut self,
        rows: impl IntoIterator<Item = &'r [u8]>,
        fingerprint: &mut Fingerprint,
        mut ended: impl FnMut(Vec<u8>),
    ) -> Result<()> {
        for row in rows {
            if row.last() != Some(&b'\n') {
                return Err(Error::integrity("a piece of a row came instead of a whole one"));
            }
            let hash = row_hash(row);
            fingerprint.add_hashed(hash, row.len());
            if !self.open.is_empty() && self.open.len() + row.len() > self.sizes.max {
                ended(std::mem::replace(&mut self.open, self.buffers.take()));
            }
            // Only a giant row needs more than a buffer has; twice its size would be a waste.
            self.open.reserve_exact(row.len());
            self.open.extend_from_slice(row);
            if self.open.len() >= self.sizes.min && (hash as u64) < (row.len() as u64).saturating_mul(self.per_byte) {
                ended(std::mem::replace(&mut self.open, self.buffers.take()));
            }
        }
        Ok(())
    }

    /// Ends the open part, if it holds anything.
    pub fn finish(&mut self) -> Option<Vec<u8>> {
        let last = std::mem::take(&mut self.open);
        if last.is_empty() {
            self.buffers.give(last);
            return None;
        }
        Some(last)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    const SMALL: Sizes = Sizes { min: 64, target: 512, max: 2048 };

    /// Cuts `rows`, given in calls of `batch` rows each.
    fn cut(rows: &[Vec<u8>], batch: usize) -> (Vec<Vec<u8>>, Fingerprint) {
        let mut chunker = Chunker::new(SMALL, Arc::new(Buffers::new(SMALL.max)));
        let (mut parts, mut fingerprint) = (Vec::new(), Fingerprint::default());
        for rows in rows.chunks(batch.max(1)) {
            chunker.push(rows.iter().map(Vec::as_slice), &mut fingerprint, |p| parts.push(p)).expect("whole rows");
        }
        parts.extend(chunker.finish());
        (parts, fingerprint)
    }

    fn row() -> impl Strategy<Value = Vec<u8>> {
        let len = prop_oneof![20 => 0..60usize, 1 => 500..1500usize, 1 => 2000..5000usize];
        len.prop_flat_map(|len| prop::collection::vec(any::<u8>().prop_map(|b| if b == b'\n' { b'n' } else { b }), len)).prop_map(
            |mut r| {
                r.push(b'\n');
                r
            },
        )
    }

    proptest! {
        #[test]
        fn parts_are_whole_rows_within_bounds_however_the_rows_arrive(rows in prop::collection::vec(row(), 0..200), batch in 1..50usize) {
            let (parts, fingerprint) = cut(&rows, batch);
            prop_assert_eq!(parts.concat(), rows.concat());
            prop_assert_eq!(&parts, &cut(&rows, 1).0);
            prop_assert_eq!(fingerprint.rows, rows.len() as u64);
            for part in &parts {
                let lines = memchr::memchr_iter(b'\n', part).count();
                prop_assert!(part.ends_with(b"\n"));
                prop_assert!(part.len() <= SMALL.max || lines == 1, "{} bytes in {lines} rows", part.len());
            }
            for part in parts.iter().rev().skip(1) {
                prop_assert!(part.len() >= SMALL.min || parts.iter().any(|p| p.len() > SMALL.max / 2), "{} bytes", part.len());
            }
        }
    }

    fn numbered(n: u32) -> Vec<Vec<u8>> {
        (0..n).map(|i| format!("{i}\trow number {i}\n").into_bytes()).collect()
    }

    #[test]
    fn an_insertion_changes_few_parts() {
        let mut rows = numbered(20_000);
        let before: HashSet<_> = cut(&rows, 100).0.into_iter().collect();
        assert!((200..1200).contains(&before.len()), "{} parts of about 576 bytes out of 440 kB", before.len());
        rows.insert(10_000, b"something new\n".to_vec());
        let after = cut(&rows, 100).0;
        let new = after.iter().filter(|p| !before.contains(*p)).count();
        assert!((1..=6).contains(&new), "{new} of {} parts are new", after.len());
    }

    #[test]
    fn a_row_larger_than_the_maximum_is_a_part_of_its_own() {
        let mut rows = numbered(10);
        let huge = [vec![b'x'; 5 * SMALL.max], vec![b'\n']].concat();
        rows.insert(5, huge.clone());
        assert!(cut(&rows, 3).0.contains(&huge));
    }

    #[test]
    fn torn_rows_are_refused() {
        let e = Chunker::new(SMALL, Arc::new(Buffers::new(SMALL.max)))
            .push([&b"half a row"[..]], &mut Fingerprint::default(), |_| {})
            .expect_err("refused");
        assert_eq!(e.kind(), crate::base::Kind::Integrity);
    }
}
