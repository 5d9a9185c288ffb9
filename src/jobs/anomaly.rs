//! B3: an empty or suspiciously small backup is kept, marked and alarmed, and retention does not count it until somebody pins it.

use crate::repo::head::Counts;

/// Below this share of the last good backup's text, a backup is suspicious: a database does not lose half of itself overnight unnoticed.
const SUSPICIOUS_SHARE: f64 = 0.5;
/// Below this much text, shares say nothing: a test table more or less is half of the database.
const SMALLEST_JUDGED_BYTES: u64 = 1 << 20;

/// What is odd about `now`, against the last good backup.
pub fn find(now: &Counts, last_good: Option<&Counts>) -> Vec<String> {
    let Some(last) = last_good else { return Vec::new() };
    let mut odd = Vec::new();
    if now.rows == 0 && last.rows > 0 {
        odd.push(format!("no rows at all; the last good backup holds {}", last.rows));
    } else if last.plain_bytes >= SMALLEST_JUDGED_BYTES && (now.plain_bytes as f64) < last.plain_bytes as f64 * SUSPICIOUS_SHARE {
        odd.push(format!(
            "{} bytes of rows, less than half of the {} of the last good backup",
            now.plain_bytes, last.plain_bytes
        ));
    }
    if now.tables == 0 && last.tables > 0 {
        odd.push(format!("no tables at all; the last good backup holds {}", last.tables));
    } else if last.tables >= 4 && now.tables * 2 < last.tables {
        odd.push(format!("{} tables, less than half of the {} of the last good backup", now.tables, last.tables));
    }
    odd
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(rows: u64, tables: u64, plain_bytes: u64) -> Counts {
        Counts { plain_bytes, rows, tables, ..Counts::default() }
    }

    #[test]
    fn only_a_sudden_loss_is_odd() {
        let last = counts(1000, 10, 100 << 20);
        assert!(find(&counts(0, 0, 0), None).is_empty(), "nothing to compare with");
        assert!(find(&counts(900, 10, 90 << 20), Some(&last)).is_empty());
        assert_eq!(find(&counts(0, 10, 0), Some(&last)).len(), 1);
        assert_eq!(find(&counts(0, 0, 0), Some(&last)).len(), 2);
        assert_eq!(find(&counts(10, 10, 40 << 20), Some(&last)).len(), 1);
        assert_eq!(find(&counts(999, 4, 99 << 20), Some(&last)).len(), 1);
        assert!(find(&counts(1, 1, 10), Some(&counts(3, 2, 30))).is_empty(), "small databases vary");
    }
}
