//! Row hashes and the order-independent fingerprint of a table.
//!
//! A row is one line of PostgreSQL's text COPY format with its newline. Its hash is XXH3-128 with seed 0; a table's
//! fingerprint is the number of rows, their bytes, and the wrapping sum of their hashes. Equal multisets of rows give equal
//! fingerprints in whatever order they are read; `docs/FORMAT.md` states it for readers without this code.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use xxhash_rust::xxh3::xxh3_128;

/// Hash of one row, newline included.
pub fn row_hash(row: &[u8]) -> u128 {
    xxh3_128(row)
}

/// What a set of rows is, whatever their order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Number of rows.
    pub rows: u64,
    /// Bytes of COPY text, newlines included.
    pub bytes: u64,
    /// Wrapping sum of the row hashes, 32 hexadecimal digits in documents.
    #[serde(serialize_with = "hex_out", deserialize_with = "hex_in")]
    pub sum: u128,
}

impl Fingerprint {
    /// Adds one row whose hash is already known.
    pub fn add_hashed(&mut self, hash: u128, bytes: usize) {
        self.rows += 1;
        self.bytes += bytes as u64;
        self.sum = self.sum.wrapping_add(hash);
    }

    /// Adds one row.
    pub fn add(&mut self, row: &[u8]) {
        self.add_hashed(row_hash(row), row.len());
    }

    /// Adds rows that follow one another, each with its newline.
    pub fn add_rows(&mut self, rows: &[u8]) {
        let mut from = 0;
        for newline in memchr::memchr_iter(b'\n', rows) {
            self.add(&rows[from..=newline]);
            from = newline + 1;
        }
        if from < rows.len() {
            self.add(&rows[from..]);
        }
    }

    /// Adds all rows of another set.
    pub fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

fn hex_out<S: Serializer>(sum: &u128, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&format!("{sum:032x}"))
}

fn hex_in<'de, D: Deserializer<'de>>(d: D) -> Result<u128, D::Error> {
    let text = String::deserialize(d)?;
    u128::from_str_radix(&text, 16).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_matter_but_content_and_multiplicity_do() {
        let of = |rows: &[&str]| {
            let mut f = Fingerprint::default();
            for r in rows {
                f.add(r.as_bytes());
            }
            f
        };
        assert_eq!(of(&["a\n", "b\n", "c\n"]), of(&["c\n", "a\n", "b\n"]));
        assert_ne!(of(&["a\n", "b\n"]), of(&["a\n", "a\n"]));
        assert_ne!(of(&["a\n", "a\n"]), of(&["a\n"]));
        let text = serde_json::to_string(&of(&["a\n"])).expect("serialise");
        assert_eq!(serde_json::from_str::<Fingerprint>(&text).expect("parse"), of(&["a\n"]));
    }
}
