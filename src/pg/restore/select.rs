//! Which entries a restore takes: all, or those of chosen tables and schemas with everything attached to them.
//!
//! Attached are pieces of a chosen object (indexes, constraints, triggers, defaults, policies, …), the partitions of a chosen table, which hold
//! its rows, and the sequences that its columns use or own. What it needs beyond that (a type of another schema, a function of a trigger) comes along, without rows, where the target is empty; a
//! target with objects of its own must have it, and the plan names it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::{RestoreInput, RestoreOptions};
use crate::base::{Error, Result};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::export::names::Pattern;

/// Kinds that `--table` chooses by name.
const RELATIONS: &[&str] = &["table", "view", "materialized_view", "sequence", "foreign_table"];

/// What was chosen.
#[derive(Debug, Default)]
pub(super) struct Selection {
    /// Indexes of entries, in restore order.
    pub(super) entries: Vec<usize>,
    /// Ids of entries whose rows are loaded.
    pub(super) tables: BTreeSet<String>,
    /// What was left out or is needed from elsewhere.
    pub(super) warnings: Vec<String>,
}

/// Chooses entries and tables. `schemas_present` are those of the target: a chosen table brings its schema along where the target lacks it, and
/// into an `empty` target everything else that it needs.
pub(super) fn select(
    input: &RestoreInput,
    options: &RestoreOptions,
    schemas_present: &BTreeSet<String>,
    empty: bool,
) -> Result<Selection> {
    let mut selection = Selection::default();
    let chosen = if options.tables.is_empty() && options.schemas.is_empty() {
        None
    } else {
        Some(chosen(input, options, schemas_present, empty, &mut selection.warnings)?)
    };
    let is_chosen =
        |e: &Entry| chosen.as_ref().is_none_or(|(c, brought)| c.contains(e.id.as_str()) || brought.contains(e.id.as_str()));
    selection.entries =
        (0..input.entries.len()).filter(|i| is_chosen(&input.entries[*i]) && in_phase(&input.entries[*i], options)).collect();
    if !options.schema_only {
        selection.tables = input
            .tables
            .iter()
            .filter(|t| chosen.as_ref().is_none_or(|(c, _)| c.contains(t.entry.as_str())))
            .map(|t| t.entry.clone())
            .collect();
    }
    Ok(selection)
}

fn in_phase(entry: &Entry, options: &RestoreOptions) -> bool {
    if options.data_only {
        return entry.scope == Scope::Object && (entry.phase == Phase::Data || entry.kind == "materialized_view_data");
    }
    !options.schema_only || (entry.phase != Phase::Data && entry.kind != "materialized_view_data")
}

/// What was asked for with its pieces, and what comes along because it is needed.
type Chosen<'a> = (HashSet<&'a str>, BTreeSet<&'a str>);

fn chosen<'a>(
    input: &'a RestoreInput,
    options: &RestoreOptions,
    schemas_present: &BTreeSet<String>,
    empty: bool,
    warnings: &mut Vec<String>,
) -> Result<Chosen<'a>> {
    let by_id: HashMap<&str, &Entry> = input.entries.iter().map(|e| (e.id.as_str(), e)).collect();
    let mut chosen = named(input, options)?;
    attach(input, &by_id, &mut chosen);
    name_heirs(input, &chosen, warnings);
    leave_out_foreign_keys(&by_id, &mut chosen, warnings);
    let brought = if empty && !options.data_only { bring(&by_id, &chosen, warnings) } else { BTreeSet::new() };
    for schema in input.entries.iter().filter(|e| e.kind == "schema") {
        let used = chosen.iter().chain(&brought).any(|id| by_id[id].schema.as_deref() == Some(schema.name.as_str()));
        if used && !schemas_present.contains(&schema.name) {
            chosen.insert(&schema.id);
        }
    }
    if brought.is_empty() {
        needs(&by_id, &chosen, warnings);
    }
    Ok((chosen, brought))
}

/// Everything that the chosen entries need, and what that needs.
fn bring<'a>(by_id: &HashMap<&'a str, &'a Entry>, chosen: &HashSet<&'a str>, warnings: &mut Vec<String>) -> BTreeSet<&'a str> {
    let mut brought = BTreeSet::new();
    let mut pending: Vec<&str> = chosen.iter().copied().collect();
    while let Some(entry) = pending.pop().and_then(|id| by_id.get(id)) {
        for needed in entry.depends.iter().filter_map(|d| by_id.get(d.as_str())).filter(|n| n.scope == Scope::Object) {
            if !chosen.contains(needed.id.as_str()) && brought.insert(needed.id.as_str()) {
                pending.push(&needed.id);
            }
        }
    }
    let named: Vec<&str> = brought.iter().copied().filter(|id| by_id[id].kind != "schema").collect();
    if !named.is_empty() {
        warnings.push(format!("these come along without rows, because the selection needs them: {}", named.join(", ")));
    }
    brought
}

/// Entries that a pattern names; a pattern that names nothing is an error, or a typing mistake would restore nothing.
fn named<'a>(input: &'a RestoreInput, options: &RestoreOptions) -> Result<HashSet<&'a str>> {
    let mut chosen = HashSet::new();
    let objects = || input.entries.iter().filter(|e| e.scope == Scope::Object);
    for pattern in options.tables.iter().map(|p| Pattern::new(p)) {
        let found: Vec<&Entry> = objects()
            .filter(|e| RELATIONS.contains(&e.kind.as_str()))
            .filter(|e| e.schema.as_deref().is_some_and(|s| pattern.matches(s, &e.name)))
            .collect();
        if found.is_empty() {
            return Err(Error::not_found(format!("the backup holds no table '{}'", pattern.text()))
                .hint("write schema.table as in the database, with * for any characters"));
        }
        chosen.extend(found.iter().map(|e| e.id.as_str()));
    }
    for pattern in options.schemas.iter().map(|p| Pattern::new(p)) {
        let found: Vec<&Entry> = objects().filter(|e| e.schema.as_deref().is_some_and(|s| pattern.matches_schema(s))).collect();
        if found.is_empty() {
            return Err(Error::not_found(format!("the backup holds no schema '{}' with objects in it", pattern.text())));
        }
        chosen.extend(found.iter().map(|e| e.id.as_str()));
    }
    Ok(chosen)
}

/// Tables by the table that they are joined to by the entries that `joins` accepts; such an entry is a piece of the child, or the child itself.
fn children(input: &RestoreInput, joins: impl Fn(&Entry) -> bool) -> HashMap<&str, Vec<&str>> {
    let mut found: HashMap<&str, Vec<&str>> = HashMap::new();
    for entry in input.entries.iter().filter(|e| joins(e)) {
        let child = entry.parent.as_deref().unwrap_or(&entry.id);
        for parent in entry.depends.iter().filter(|d| d.starts_with("table ") && *d != child) {
            found.entry(parent).or_default().push(child);
        }
    }
    found
}

/// Tables, foreign ones included, by the table that they inherit from.
pub(super) fn heirs(input: &RestoreInput) -> HashMap<&str, Vec<&str>> {
    let made_as_heir = |e: &Entry| {
        matches!(e.kind.as_str(), "table" | "foreign_table") && e.create.iter().any(|s| s.plain().contains("INHERITS ("))
    };
    children(input, |e| e.kind == "inheritance" || made_as_heir(e))
}

/// Names the tables that inherit from chosen ones and are not chosen: their rows show in the source's parent and will not in the target's.
fn name_heirs(input: &RestoreInput, chosen: &HashSet<&str>, warnings: &mut Vec<String>) {
    let found: BTreeMap<&str, Vec<&str>> = heirs(input).into_iter().filter(|(parent, _)| chosen.contains(parent)).collect();
    for (parent, heirs) in found {
        let absent: Vec<&str> = heirs.into_iter().filter(|h| !chosen.contains(h)).collect();
        if !absent.is_empty() {
            warnings.push(format!(
                "{parent} is restored without the rows of tables that inherit from it: {} not selected",
                absent.join(", ")
            ));
        }
    }
}

fn attach<'a>(input: &'a RestoreInput, by_id: &HashMap<&'a str, &'a Entry>, chosen: &mut HashSet<&'a str>) {
    let mut pieces: HashMap<&str, Vec<&Entry>> = HashMap::new();
    for entry in input.entries.iter() {
        if let Some(parent) = &entry.parent {
            pieces.entry(parent).or_default().push(entry);
        }
    }
    let partitions = children(input, |e| e.kind == "partition");
    let mut pending: Vec<&str> = chosen.iter().copied().collect();
    while let Some(id) = pending.pop() {
        let partitions = partitions.get(id).into_iter().flatten().copied();
        for child in partitions.filter(|child| chosen.insert(child)).collect::<Vec<_>>() {
            pending.push(child);
        }
        for piece in pieces.get(id).into_iter().flatten() {
            if chosen.insert(&piece.id) {
                pending.push(&piece.id);
            }
        }
        let Some(entry) = by_id.get(id) else { continue };
        // A default or an ownership names its sequence.
        for needed in entry.depends.iter().filter_map(|d| by_id.get(d.as_str())).filter(|n| n.kind == "sequence") {
            if entry.parent.is_some() && chosen.insert(&needed.id) {
                pending.push(&needed.id);
            }
        }
    }
}

fn leave_out_foreign_keys<'a>(by_id: &HashMap<&'a str, &'a Entry>, chosen: &mut HashSet<&'a str>, warnings: &mut Vec<String>) {
    let outside: BTreeMap<&str, &str> = chosen
        .iter()
        .filter_map(|id| by_id.get(id).filter(|e| e.kind == "foreign_key"))
        .filter_map(|e| {
            let other = e.depends.iter().find(|d| d.starts_with("table ") && !chosen.contains(d.as_str()))?;
            Some((e.id.as_str(), other.as_str()))
        })
        .collect();
    for (id, other) in outside {
        chosen.remove(id);
        warnings.push(format!("{id} is left out: {other} is not selected"));
    }
}

fn needs(by_id: &HashMap<&str, &Entry>, chosen: &HashSet<&str>, warnings: &mut Vec<String>) {
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for entry in chosen.iter().filter_map(|id| by_id.get(id)) {
        for needed in entry.depends.iter().filter(|d| !chosen.contains(d.as_str())) {
            if by_id.get(needed.as_str()).is_some_and(|n| n.kind != "schema") {
                missing.entry(needed).or_default().insert(&entry.id);
            }
        }
    }
    for (needed, by) in missing {
        let first = by.first().copied().unwrap_or_default();
        warnings.push(format!("{first} needs {needed}, which is not selected: it must exist in the target"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::pg::facts::ServerFacts;
    use crate::pg::version::Version;

    fn entry(kind: &str, name: &str, parent: Option<&str>, depends: &[&str]) -> Entry {
        let mut e = Entry::new(kind, Scope::Object, Phase::Pre, Some("s"), name, name);
        e.parent = parent.map(str::to_owned);
        e.depends = depends.iter().map(|d| (*d).to_owned()).collect();
        e
    }

    fn input(entries: Vec<Entry>) -> RestoreInput {
        let source = ServerFacts {
            system_identifier: None,
            version: Version(150_000),
            version_text: String::new(),
            timeline: None,
            lsn: None,
            in_recovery: false,
            encoding: "UTF8".to_owned(),
            collate: "C".to_owned(),
            ctype: "C".to_owned(),
            user: "u".to_owned(),
            superuser: true,
            bootstrap_superuser: "postgres".to_owned(),
        };
        RestoreInput {
            database: "d".to_owned(),
            source,
            entries: entries.into(),
            cluster: Arc::default(),
            tables: Arc::default(),
        }
    }

    #[test]
    fn a_partitioned_table_brings_its_partitions_and_a_parent_names_its_heirs() {
        let mut inherits = entry("table", "heir", None, &["schema s", "table p"]);
        inherits.create = vec!["CREATE TABLE heir () INHERITS (p)".into()];
        let input = input(vec![
            entry("table", "p", None, &["schema s"]),
            entry("table", "a", None, &["schema s"]),
            entry("table", "b", None, &["schema s"]),
            entry("table", "other", None, &["schema s", "table p"]),
            inherits,
            entry("partition", "a", Some("table a"), &["table a", "table p"]),
            entry("partition", "b", Some("table b"), &["table b", "table a"]),
            entry("inheritance", "other", Some("table other"), &["table other", "table b"]),
            entry("index", "i", Some("table b"), &["table b"]),
        ]);
        let options = RestoreOptions { tables: vec!["s.p".to_owned()], ..RestoreOptions::default() };
        let found = select(&input, &options, &BTreeSet::from(["s".to_owned()]), false).expect("select");
        let ids: Vec<&str> = found.entries.iter().map(|i| input.entries[*i].id.as_str()).collect();
        assert_eq!(ids, ["table p", "table a", "table b", "partition a", "partition b", "index i"]);
        assert!(found.warnings[0].contains("table b") && found.warnings[0].contains("table other"), "{:?}", found.warnings);
        assert!(found.warnings[1].contains("table p") && found.warnings[1].contains("table heir"), "{:?}", found.warnings);
        let child = RestoreOptions { tables: vec!["s.a".to_owned()], ..RestoreOptions::default() };
        let found = select(&input, &child, &BTreeSet::from(["s".to_owned()]), false).expect("select");
        assert!(!found.entries.contains(&0), "a partition does not bring its siblings");
    }

    #[test]
    fn a_table_brings_what_is_attached_to_it_and_no_more() {
        let input = input(vec![
            entry("schema", "s", None, &[]),
            entry("sequence", "t_id_seq", None, &["schema s"]),
            entry("sequence", "other", None, &["schema s"]),
            entry("table", "t", None, &["schema s", "enum_type mood"]),
            entry("table", "u", None, &["schema s"]),
            entry("column_default", "t.id", Some("table t"), &["table t", "sequence t_id_seq"]),
            entry("sequence_value", "t_id_seq", Some("sequence t_id_seq"), &["sequence t_id_seq"]),
            entry("index", "i", Some("table t"), &["table t"]),
            entry("foreign_key", "f", Some("table t"), &["table t", "table u"]),
            entry("enum_type", "mood", None, &[]),
        ]);
        let options = RestoreOptions { tables: vec!["s.t".to_owned()], ..RestoreOptions::default() };
        let of = |present: &[&str]| {
            let found = select(&input, &options, &present.iter().map(|s| (*s).to_owned()).collect(), false).expect("select");
            let ids: Vec<&str> = found.entries.iter().map(|i| input.entries[*i].id.as_str()).collect();
            (ids, found.warnings)
        };
        let (ids, warnings) = of(&["s"]);
        assert_eq!(ids, ["sequence t_id_seq", "table t", "column_default t.id", "sequence_value t_id_seq", "index i"]);
        assert!(warnings[0].contains("foreign_key f") && warnings[1].contains("enum_type mood"), "{warnings:?}");
        assert_eq!(of(&[]).0[0], "schema s");
        let none = RestoreOptions { tables: vec!["s.nope".to_owned()], ..RestoreOptions::default() };
        assert_eq!(select(&input, &none, &BTreeSet::new(), false).expect_err("none").kind(), crate::base::Kind::NotFound);
    }
}
