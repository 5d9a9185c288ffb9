//! Keys, types and ranges of a file against the JSON Schema: every problem, each with its place.
//!
//! What breaks a rule is reported and taken out, so that the rest can be read and its own problems be found in the same go.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::LazyLock;

use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Problem, Severity};
use super::suggest::nearest;

static SCHEMA: LazyLock<Value> = LazyLock::new(super::file::schema);

/// Where a key and its value stand, in bytes.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) key: Range<usize>,
    pub(super) value: Range<usize>,
}

/// A finding before its byte offset becomes a line.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) at: usize,
    pub(super) problem: Problem,
}

/// What the check leaves: findings, and the place of every key that is known.
#[derive(Debug, Default)]
pub(super) struct Checked {
    pub(super) findings: Vec<Finding>,
    pub(super) places: BTreeMap<String, Place>,
}

/// Checks a whole file and takes out what is wrong.
pub(super) fn check(table: &mut DeTable<'_>) -> Checked {
    let mut checked = Checked::default();
    checked.table(table, &SCHEMA, "", 0);
    checked
}

impl Checked {
    fn report(&mut self, at: usize, key: &str, rule: &'static str, message: String) -> &mut Problem {
        let problem = Problem {
            file: String::new(),
            line: 0,
            column: 0,
            key: key.to_owned(),
            severity: Severity::Error,
            rule,
            message,
            help: None,
            nearest: None,
            allowed: Vec::new(),
        };
        self.findings.push(Finding { at, problem });
        let last = self.findings.len() - 1;
        &mut self.findings[last].problem
    }

    /// Whether `value` can stay; what is wrong inside it is taken out.
    fn value(&mut self, value: &mut Spanned<DeValue<'_>>, schema: &Value, path: &str) -> bool {
        let schema = resolve(schema);
        let at = value.span().start;
        if let Some(allowed) = words(schema) {
            return self.word(value, &allowed, path);
        }
        if let Some(options) = schema["anyOf"].as_array() {
            return self.any_of(value, options, path);
        }
        let expected = schema["type"].as_str().unwrap_or("object");
        match (expected, value.get_mut()) {
            ("string", DeValue::String(_)) | ("boolean", DeValue::Boolean(_)) => true,
            ("integer", DeValue::Integer(number)) => {
                let number = i64::from_str_radix(&number.as_str().replace('_', ""), number.radix()).ok();
                self.range(number, schema, at, path)
            }
            ("array", DeValue::Array(items)) => {
                let mut good = true;
                for (i, item) in items.iter_mut().enumerate() {
                    let path = format!("{path}[{i}]");
                    self.places.insert(path.clone(), Place { key: item.span(), value: item.span() });
                    good &= self.value(item, &schema["items"], &path);
                }
                good
            }
            ("object", DeValue::Table(table)) => self.table(table, schema, path, at),
            (_, found) => {
                let message = format!("must be {}, not {}", article(expected), article(found.type_str()));
                self.report(at, path, "wrong-type", message);
                false
            }
        }
    }

    /// A value that may be of one of several types.
    fn any_of(&mut self, value: &mut Spanned<DeValue<'_>>, options: &[Value], path: &str) -> bool {
        let at = value.span().start;
        let type_of = |option: &Value| resolve(option)["type"].as_str().unwrap_or("object").to_owned();
        let found = match value.get_ref() {
            DeValue::Table(_) => "object",
            other => other.type_str(),
        };
        if let Some(option) = options.iter().find(|o| type_of(o) == found) {
            return self.value(value, option, path);
        }
        let expected: Vec<&str> = options.iter().map(|o| article(&type_of(o))).collect();
        let message = format!("must be {}, not {}", expected.join(" or "), article(value.get_ref().type_str()));
        self.report(at, path, "wrong-type", message);
        false
    }

    fn word(&mut self, value: &Spanned<DeValue<'_>>, allowed: &[&str], path: &str) -> bool {
        let at = value.span().start;
        let Some(word) = value.get_ref().as_str() else {
            self.report(at, path, "wrong-type", format!("must be a string, not {}", article(value.get_ref().type_str())))
                .allowed = owned(allowed);
            return false;
        };
        let known = allowed.contains(&word);
        if !known {
            let problem = self.report(at, path, "unknown-value", format!("'{word}' is not a known value"));
            problem.nearest = nearest(word, allowed.iter().copied()).map(str::to_owned);
            problem.allowed = owned(allowed);
        }
        known
    }

    fn range(&mut self, number: Option<i64>, schema: &Value, at: usize, path: &str) -> bool {
        let low = schema["minimum"].as_i64().unwrap_or(i64::MIN);
        let high = schema["maximum"].as_i64().unwrap_or(i64::MAX);
        let good = number.is_some_and(|n| (low..=high).contains(&n));
        if !good {
            self.report(at, path, "out-of-range", format!("must be a whole number from {low} to {high}"));
        }
        good
    }

    /// Checks the keys of a table; whether it can stay. `at`: its place, for keys that are missing.
    fn table(&mut self, table: &mut DeTable<'_>, schema: &Value, path: &str, at: usize) -> bool {
        let branch = match schema["oneOf"].as_array() {
            None => schema,
            Some(branches) => match self.branch(table, branches, path, at) {
                Some(branch) => branch,
                None => return false,
            },
        };
        let none = Map::new();
        let known = branch["properties"].as_object().unwrap_or(&none);
        for (key, mut value) in std::mem::take(table) {
            let path = join(path, key.get_ref());
            let Some(schema) =
                known.get(key.get_ref().as_ref()).or_else(|| branch.get("additionalProperties").filter(|v| v.is_object()))
            else {
                self.unknown_key(&path, key.get_ref(), key.span().start, known);
                continue;
            };
            self.places.insert(path.clone(), Place { key: key.span(), value: value.span() });
            if self.value(&mut value, schema, &path) {
                table.insert(key, value);
            }
        }
        for key in branch["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let path = join(path, key);
            if !self.places.contains_key(&path) {
                self.report(at, &path, "missing-key", "is missing".to_owned());
            }
        }
        true
    }

    /// The branch of a table whose `kind` decides its keys.
    fn branch<'s>(&mut self, table: &DeTable<'_>, branches: &'s [Value], path: &str, at: usize) -> Option<&'s Value> {
        let kind_of = |branch: &'s Value| branch["properties"]["kind"]["const"].as_str();
        let kinds: Vec<&str> = branches.iter().filter_map(kind_of).collect();
        let path = join(path, "kind");
        let Some(kind) = table.get("kind") else {
            self.report(at, &path, "missing-key", "is missing".to_owned()).allowed = owned(&kinds);
            return None;
        };
        if !self.word(kind, &kinds, &path) {
            return None;
        }
        branches.iter().find(|b| kind_of(b) == kind.get_ref().as_str())
    }

    fn unknown_key(&mut self, path: &str, key: &str, at: usize, known: &Map<String, Value>) {
        let names: Vec<&str> = known.keys().map(String::as_str).collect();
        let near = nearest(key, names.iter().copied()).map(str::to_owned);
        let elsewhere = if near.is_some() { None } else { elsewhere(key) };
        let problem = self.report(at, path, "unknown-key", "unknown key".to_owned());
        problem.help = elsewhere.map(|path| format!("'{path}' is known"));
        problem.nearest = near;
        problem.allowed = if problem.help.is_some() { Vec::new() } else { owned(&names) };
    }
}

/// Where else a key of this name is known, as a dotted path.
fn elsewhere(key: &str) -> Option<String> {
    let sections = SCHEMA["properties"].as_object()?;
    if sections.contains_key(key) {
        return Some(key.to_owned());
    }
    sections.iter().find_map(|(section, schema)| {
        let schema = resolve(schema);
        let branches = schema["oneOf"].as_array().map_or_else(|| vec![schema], |b| b.iter().collect());
        branches.iter().any(|b| b["properties"].get(key).is_some()).then(|| format!("{section}.{key}"))
    })
}

fn resolve(schema: &Value) -> &Value {
    let target = schema["$ref"].as_str().and_then(|path| path.strip_prefix('#')).and_then(|path| SCHEMA.pointer(path));
    target.unwrap_or(schema)
}

/// The allowed words of an enumeration.
fn words(schema: &Value) -> Option<Vec<&str>> {
    if let Some(word) = schema["const"].as_str() {
        return Some(vec![word]);
    }
    let list = schema["enum"].as_array().or_else(|| schema["oneOf"].as_array())?;
    list.iter().map(|v| v.as_str().or_else(|| v["const"].as_str())).collect()
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|w| (*w).to_owned()).collect()
}

/// A type's name as people say it.
fn article(kind: &str) -> &'static str {
    match kind {
        "string" => "a string",
        "integer" => "a whole number",
        "float" => "a number with a fraction",
        "boolean" => "true or false",
        "array" => "a list",
        "datetime" => "a date or time",
        _ => "a table",
    }
}
