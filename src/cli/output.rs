//! The only place that writes to stdout and stderr: tables and sentences for people, one JSON document for programs.

use std::io::{IsTerminal as _, Write as _};

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use serde::Serialize;
use serde_json::Value;

use crate::base::{Error, Result};
use crate::jobs::document::envelope;
pub(super) use crate::jobs::document::error_document;

/// What a command has to say.
#[derive(Debug)]
pub(super) struct Report {
    /// The document for `--json`, under `result`.
    pub document: Value,
    /// The same for people.
    pub text: String,
    /// Why the command fails although it has something to report: findings, lost objects, an unkept promise.
    pub failure: Option<Error>,
}

impl Report {
    /// A report of success.
    pub(super) fn new(document: &impl Serialize, text: impl Into<String>) -> Result<Self> {
        let document = serde_json::to_value(document).map_err(|e| Error::internal("write the report as JSON").source(e))?;
        Ok(Self { document, text: text.into(), failure: None })
    }

    /// The same, failing with `failure` if there is one.
    pub(super) fn failing(mut self, failure: Option<Error>) -> Self {
        self.failure = failure;
        self
    }
}

/// Writes the outcome of `command` and returns its exit code.
pub(super) fn finish(command: &str, json: bool, outcome: Result<Report>) -> u8 {
    let (document, text, failure) = match outcome {
        Ok(report) => (Some(report.document), report.text, report.failure),
        Err(error) => (None, String::new(), Some(error)),
    };
    if json {
        write_out(&format!("{:#}\n", envelope(command, document, failure.as_ref())));
    } else {
        write_out(&text);
    }
    failure.map_or(0, |error| {
        write_error(&error);
        error.kind().exit_code()
    })
}

/// Text to stdout; a closed pipe is the reader's choice, not an error.
#[allow(clippy::disallowed_macros, reason = "stdout belongs to this module")]
pub(super) fn write_out(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn write_error(error: &Error) {
    let mut err = std::io::stderr().lock();
    let _ = writeln!(err, "error: {}", error.full_message());
    if let Some(hint) = error.hint_text() {
        let _ = writeln!(err, " hint: {hint}");
    }
}

/// Asks on the terminal; `None` where nobody can answer.
pub(super) fn confirm(question: &str) -> Option<bool> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return None;
    }
    let mut err = std::io::stderr().lock();
    let _ = write!(err, "{question} [y/N] ");
    let _ = err.flush();
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).ok()?;
    Some(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// A table with a header, columns padded; `right` names the columns of numbers.
pub(super) fn table(header: &[&str], right: &[usize], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(header.iter().copied());
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    for index in right {
        if let Some(column) = table.column_mut(*index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let text: Vec<String> = table.lines().map(|l| l.trim_end().to_owned()).collect();
    format!("{}\n", text.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align_and_do_not_trail() {
        let text = table(&["ID", "SIZE"], &[1], vec![vec!["a".into(), "1".into()], vec!["bbb".into(), "100".into()]]);
        assert_eq!(text, "ID   SIZE\na       1\nbbb   100\n");
    }
}
