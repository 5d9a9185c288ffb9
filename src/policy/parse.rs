//! One TOML file: its text, its sections, and where each key stands.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeTable, Deserializer};

use super::file::PolicyFile;
use super::problem::{Problem, Severity};
use super::structure::{self, Place};
use crate::base::Error;

/// A policy file, read: sections that could be read, and every problem found so far.
#[derive(Debug)]
pub(super) struct Sheet {
    pub(super) path: PathBuf,
    pub(super) sections: PolicyFile,
    /// Names of the sections that stand in the file, also when they could not be read.
    pub(super) present: Vec<String>,
    /// The file as a plain value, for the copy that is stored with the backups; empty when it has syntax errors.
    pub(super) table: toml::Table,
    pub(super) problems: Vec<Problem>,
    /// Whether its sections are known: it has no syntax error.
    pub(super) readable: bool,
    text: String,
    places: BTreeMap<String, Place>,
}

impl Sheet {
    /// Reads `text`, the contents of the file at `path`.
    pub(super) fn parse(path: &Path, text: String) -> Self {
        let (mut root, errors) = DeTable::parse_recoverable(&text);
        root.get_mut().make_owned();
        let present = root.get_ref().keys().map(|k| k.get_ref().to_string()).collect();
        let mut sheet = Self {
            path: path.to_owned(),
            sections: PolicyFile::default(),
            present,
            table: toml::from_str(&text).unwrap_or_default(),
            problems: Vec::new(),
            readable: true,
            text: String::new(),
            places: BTreeMap::new(),
        };
        let mut found = Vec::new();
        for error in &errors {
            let at = error.span().map_or(0, |s| s.start);
            let duplicate = error.message().contains("duplicate key");
            // What was recovered after any other error is a guess; problems found in it would be guesses too.
            sheet.readable &= duplicate;
            let (rule, message) = if duplicate { ("duplicate-key", "stands twice") } else { ("syntax", error.message()) };
            let key = if duplicate { error.span().map_or("", |s| text.get(s).unwrap_or("")) } else { "" };
            found.push((at, key.to_owned(), rule, message.replace('\n', ", ")));
        }
        if sheet.readable {
            sheet.read(root, &text, &mut found);
        }
        sheet.text = text;
        for (at, key, rule, message) in found {
            let key = sheet.path_at(at, key);
            sheet.push(at, Severity::Error, &key, rule, message);
        }
        sheet
    }

    fn read(&mut self, root: Spanned<DeTable<'_>>, text: &str, found: &mut Vec<(usize, String, &'static str, String)>) {
        let span = root.span();
        let mut table = root.into_inner();
        let checked = structure::check(&mut table);
        self.places = checked.places;
        for finding in checked.findings {
            let (line, column) = position(text, finding.at);
            self.problems.push(Problem { file: self.path.display().to_string(), line, column, ..finding.problem });
        }
        match PolicyFile::deserialize(Deserializer::from(Spanned::new(span, table))) {
            Ok(sections) => self.sections = sections,
            Err(e) => found.push((e.span().map_or(0, |s| s.start), String::new(), "structure", e.message().to_owned())),
        }
    }

    /// Reports a problem of the value of `key`, or of the nearest key above it that stands in the file.
    pub(super) fn report(
        &mut self,
        severity: Severity,
        key: &str,
        rule: &'static str,
        message: impl Into<String>,
    ) -> &mut Problem {
        let at = self.places.get(key).map(|p| p.value.start).or_else(|| self.above(key)).unwrap_or(0);
        self.push(at, severity, key, rule, message.into())
    }

    /// Reports what an error says about the value of `key`.
    pub(super) fn report_error(&mut self, key: &str, rule: &'static str, error: &Error) {
        self.report(Severity::Error, key, rule, error.message()).help = error.hint_text().map(str::to_owned);
    }

    /// The dotted path of a key that stands a second time at `at`: that of the last one of its name before it.
    fn path_at(&self, at: usize, key: String) -> String {
        let named =
            self.places.iter().filter(|(path, place)| place.key.start < at && path.rsplit('.').next() == Some(key.as_str()));
        named.max_by_key(|(_, place)| place.key.start).map_or(key, |(path, _)| path.clone())
    }

    fn above(&self, key: &str) -> Option<usize> {
        let parent = &key[..key.rfind(['.', '['])?];
        self.places.get(parent).map(|p| p.key.start).or_else(|| self.above(parent))
    }

    fn push(&mut self, at: usize, severity: Severity, key: &str, rule: &'static str, message: String) -> &mut Problem {
        let (line, column) = position(&self.text, at);
        self.problems.push(Problem {
            file: self.path.display().to_string(),
            line,
            column,
            key: key.to_owned(),
            severity,
            rule,
            message,
            help: None,
            nearest: None,
            allowed: Vec::new(),
        });
        let last = self.problems.len() - 1;
        &mut self.problems[last]
    }
}

/// Line and column, from 1 and in characters, of a byte offset.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at.min(text.len())).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (line, column)
}
