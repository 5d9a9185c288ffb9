//! `pgkeep list --at TIME`: the first screen of an incident, on 80 columns.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;

use super::output::table;
use crate::base::units::format_duration;
use crate::jobs::list::ListReport;
use crate::jobs::points::{Basis, Point};
use crate::repo::proofs::Level;

/// Columns of the terminal that everybody has.
const WIDTH: usize = 80;

/// A line a policy, then what must be known of each, then the command to go on with.
pub(super) fn text(report: &ListReport, asked: &str) -> String {
    let mut out = String::new();
    let instants: Vec<Timestamp> = report.points.iter().filter_map(|p| p.at).collect();
    if let Some(at) = instants.iter().max() {
        let _ = writeln!(out, "What a restore at {} would bring back:\n", second(*at));
    }
    let rows: Vec<Vec<String>> = report.points.iter().map(cells).collect();
    let lines = table(&["POLICY", "KIND", "SHOWS", "LOSES", "PROVEN", "TAKES"], &[3], rows.clone());
    if lines.lines().all(|l| l.chars().count() <= WIDTH) {
        out.push_str(&lines);
    } else {
        // Long names get a line of their own, so that times still stand below each other.
        let lines =
            table(&["", "KIND", "SHOWS", "LOSES", "PROVEN", "TAKES"], &[3], rows.iter().map(|r| without_name(r)).collect());
        let mut lines = lines.lines();
        let _ = writeln!(out, "{}", lines.next().unwrap_or_default());
        for (row, line) in rows.iter().zip(lines) {
            let _ = writeln!(out, "{}\n{line}", row[0]);
        }
    }
    let notes: Vec<String> = report.points.iter().flat_map(notes).chain(strangers(report)).collect();
    if !notes.is_empty() {
        out.push('\n');
    }
    for note in notes {
        out.push_str(&wrap(&note));
    }
    if let Some(point) = report.points.iter().find(|p| p.backup.is_some()) {
        let _ = writeln!(out, "\nNext: pgkeep restore {} --at '{asked}' … --plan   (changes nothing)", point.policy);
    }
    out
}

fn cells(point: &Point) -> Vec<String> {
    let kind = point.kind.clone().unwrap_or_default();
    let (Some(consistent_at), Some(loss)) = (point.consistent_at, point.loss_seconds) else {
        return vec![point.policy.clone(), kind, "NOTHING".to_owned(), String::new(), String::new(), String::new()];
    };
    let takes = point.restore.as_ref().map(|r| {
        let time = format_duration(Duration::from_secs_f64(r.seconds.max(0.0)));
        match r.basis {
            Basis::Drill => format!("{time} drilled"),
            Basis::Restore => format!("{time} seen"),
            Basis::Estimate => format!("{time} guess"),
        }
    });
    let proven = if point.damaged { "DAMAGED" } else { point.proven.map_or("no", Level::name) };
    vec![
        point.policy.clone(),
        kind,
        second(consistent_at),
        format_duration(Duration::from_secs(loss)),
        proven.to_owned(),
        takes.unwrap_or_default(),
    ]
}

fn without_name(row: &[String]) -> Vec<String> {
    let mut row = row.to_vec();
    row[0].clear();
    row
}

/// Without fractions: nobody compares them in an incident.
fn second(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// What must be known of a policy's point, most pressing first.
fn notes(point: &Point) -> Vec<String> {
    let name = &point.policy;
    let mut notes = Vec::new();
    notes.extend(point.problem.as_ref().map(|problem| format!("{name}: {problem}")));
    if point.damaged {
        notes.push(format!("{name}: the last verification of this backup failed"));
    }
    if !point.anomalies.is_empty() {
        notes.push(format!("{name}: suspicious: {}", point.anomalies.join("; ")));
    }
    if point.damaged || !point.anomalies.is_empty() {
        notes.push(point.instead.as_ref().map_or_else(
            || format!("{name}: no sound backup before it"),
            |instead| {
                format!(
                    "{name}: the newest sound one before it is {} (shows {}, loses {}, proven: {})",
                    instead.backup,
                    second(instead.consistent_at),
                    format_duration(Duration::from_secs(instead.loss_seconds)),
                    instead.proven.map_or("no", Level::name)
                )
            },
        ));
    }
    if let Some(offer) = &point.point_in_time {
        notes.push(match (offer.reaches, offer.loss_seconds, point.loss_seconds) {
            (Some(at), Some(loss), of_snapshot) if of_snapshot.is_none_or(|of_snapshot| loss < of_snapshot) => {
                let words = if loss == 0 { "nothing".to_owned() } else { format_duration(Duration::from_secs(loss)) };
                format!("{name}: point-in-time restore reaches {} and loses {words}: --point-in-time", second(at))
            }
            (Some(_), ..) => format!("{name}: a point-in-time restore would lose no less"),
            (None, ..) => format!("{name}: point-in-time restore reaches back to {} only", second(offer.earliest)),
        });
    }
    notes.extend(point.restore.as_ref().map(|restore| format!("{name}: {}", restore.why)));
    notes
}

/// Problems that no point tells.
fn strangers(report: &ListReport) -> Vec<String> {
    let told =
        |problem: &&String| report.points.iter().any(|p| p.problem.is_some() && problem.starts_with(&format!("{}: ", p.policy)));
    report.problems.iter().filter(|p| !told(p)).cloned().collect()
}

/// `text` in lines of [`WIDTH`], those after the first indented.
fn wrap(text: &str) -> String {
    let mut out = String::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH && !line.trim().is_empty() {
            let _ = writeln!(out, "{line}");
            "    ".clone_into(&mut line);
            line.push_str(word);
        } else {
            if !line.trim().is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    out + &line + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_wrapped_and_indented() {
        let wrapped = wrap(&"word ".repeat(40));
        assert!(wrapped.lines().all(|l| l.len() <= WIDTH), "{wrapped}");
        assert!(wrapped.lines().skip(1).all(|l| l.starts_with("    word")), "{wrapped}");
        assert_eq!(wrapped.split_whitespace().count(), 40);
    }
}
