//! Durations, byte sizes and log positions as people write and read them.

use std::time::Duration;

use super::{Error, Result};

/// Parses `90s`, `15m`, `26h`, `30d`, `2w` and combinations such as `1d12h`. Days are 24 hours.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let bad = || Error::usage(format!("'{text}' is not a duration")).hint("write a number and a unit: 90s, 15m, 26h, 30d, 2w");
    let mut seconds: u64 = 0;
    let mut digits = String::new();
    let mut any = false;
    for c in text.trim().chars() {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        let unit = match c {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86400,
            'w' => 7 * 86400,
            _ => return Err(bad()),
        };
        let n: u64 = digits.parse().map_err(|_| bad())?;
        seconds = n.checked_mul(unit).and_then(|s| s.checked_add(seconds)).ok_or_else(bad)?;
        digits.clear();
        any = true;
    }
    if !any || !digits.is_empty() { Err(bad()) } else { Ok(Duration::from_secs(seconds)) }
}

/// A duration as `1d 2h`, `5m 3s`, `0.4s`: two units at most.
pub fn format_duration(d: Duration) -> String {
    let s = d.as_secs();
    match s {
        0 if d.is_zero() => "0s".to_owned(),
        0..10 => format!("{:.1}s", d.as_secs_f64()),
        10..60 => format!("{s}s"),
        60..3600 => two(s / 60, 'm', s % 60, 's'),
        3600..86400 => two(s / 3600, 'h', s % 3600 / 60, 'm'),
        _ => two(s / 86400, 'd', s % 86400 / 3600, 'h'),
    }
}

fn two(a: u64, ua: char, b: u64, ub: char) -> String {
    if b == 0 { format!("{a}{ua}") } else { format!("{a}{ua} {b}{ub}") }
}

/// A size as `812 B`, `4.2 MiB`, `1.5 TiB`.
pub fn format_bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB", "TiB"] {
        if value < 1000.0 || unit == "TiB" {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    unreachable!("the last unit returns")
}

/// A count with thin separators: `1 234 567`.
pub fn format_count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_parse_and_print() {
        assert_eq!(parse_duration("26h").expect("parse"), Duration::from_secs(26 * 3600));
        assert_eq!(parse_duration("1d12h").expect("parse"), Duration::from_secs(36 * 3600));
        for bad in ["", "5", "h", "5x", "-1h", "1.5h", "99999999999999999999w"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        assert_eq!(format_duration(Duration::from_secs(93_600)), "1d 2h");
        assert_eq!(format_duration(Duration::from_millis(400)), "0.4s");
    }

    #[test]
    fn sizes_print() {
        assert_eq!(format_bytes(812), "812 B");
        assert_eq!(format_bytes(4_404_019), "4.2 MiB");
        assert_eq!(format_count(1_234_567), "1 234 567");
        assert_eq!(format_count(12), "12");
    }
}
