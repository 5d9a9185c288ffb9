//! The order in which entries are made: phases first, then dependencies, then the order of the kinds, then identity.
//!
//! A phase is a minimum: an entry that depends on one of a later phase moves there (a view grouped by a primary key). The exception is
//! what a table needs: rows are loaded before the last phase, so all that a table depends on is made before them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use super::entry::{Entry, Phase};
use crate::base::{Error, Result};

/// Sorts `entries`, whose `depends` are complete, and settles their phases. `rank` is the weight of a kind among entries that could come
/// next; `loaded` holds the ids of entries whose rows are loaded in the data phase.
///
/// Dependencies that run in a circle are an error that names the circle: each known circle is broken where the entries are rendered.
pub(crate) fn order(mut entries: Vec<Entry>, rank: &HashMap<&str, usize>, loaded: &HashSet<String>) -> Result<Vec<Entry>> {
    let index: HashMap<String, usize> = entries.iter().enumerate().map(|(i, e)| (e.id.clone(), i)).collect();
    if index.len() != entries.len() {
        return Err(Error::internal(duplicate(&entries)));
    }
    let depends: Vec<Vec<usize>> =
        entries.iter().map(|e| e.depends.iter().filter_map(|id| index.get(id).copied()).collect()).collect();
    pull_forward(&mut entries, &depends, &index, loaded);
    let sorted = sort(&mut entries, &depends, rank)?;
    let mut slots: Vec<Option<Entry>> = entries.into_iter().map(Some).collect();
    Ok(sorted.into_iter().filter_map(|i| slots[i].take()).collect())
}

fn duplicate(entries: &[Entry]) -> String {
    let mut seen = HashSet::new();
    let twice = entries.iter().find(|e| !seen.insert(&e.id)).map_or("", |e| e.id.as_str());
    format!("two catalog entries have the same identity: {twice}")
}

fn pull_forward(entries: &mut [Entry], depends: &[Vec<usize>], index: &HashMap<String, usize>, loaded: &HashSet<String>) {
    let mut pending: Vec<usize> = loaded.iter().filter_map(|id| index.get(id).copied()).collect();
    let mut seen: HashSet<usize> = pending.iter().copied().collect();
    while let Some(i) = pending.pop() {
        entries[i].phase = Phase::Pre;
        pending.extend(depends[i].iter().copied().filter(|d| seen.insert(*d)));
    }
}

fn sort(entries: &mut [Entry], depends: &[Vec<usize>], rank: &HashMap<&str, usize>) -> Result<Vec<usize>> {
    let mut waiting: Vec<usize> = depends.iter().map(Vec::len).collect();
    let mut dependents: Vec<Vec<usize>> = vec![Vec::new(); entries.len()];
    for (i, needed) in depends.iter().enumerate() {
        for d in needed {
            dependents[*d].push(i);
        }
    }
    settle_phases(entries, &dependents, waiting.clone());
    let key = |i: usize| {
        let e = &entries[i];
        Reverse((
            e.phase,
            rank.get(e.kind.strip_suffix("_definition").unwrap_or(&e.kind)).copied().unwrap_or(usize::MAX),
            e.id.as_str(),
            i,
        ))
    };
    let mut ready: BinaryHeap<_> = (0..entries.len()).filter(|i| waiting[*i] == 0).map(key).collect();
    let mut sorted = Vec::with_capacity(entries.len());
    while let Some(Reverse((.., i))) = ready.pop() {
        sorted.push(i);
        for d in &dependents[i] {
            waiting[*d] -= 1;
            if waiting[*d] == 0 {
                ready.push(key(*d));
            }
        }
    }
    if sorted.len() == entries.len() { Ok(sorted) } else { Err(circle(entries, depends, &waiting)) }
}

fn settle_phases(entries: &mut [Entry], dependents: &[Vec<usize>], mut waiting: Vec<usize>) {
    let mut ready: Vec<usize> = (0..entries.len()).filter(|i| waiting[*i] == 0).collect();
    while let Some(i) = ready.pop() {
        for d in &dependents[i] {
            entries[*d].phase = entries[*d].phase.max(entries[i].phase);
            waiting[*d] -= 1;
            if waiting[*d] == 0 {
                ready.push(*d);
            }
        }
    }
}

fn circle(entries: &[Entry], depends: &[Vec<usize>], waiting: &[usize]) -> Error {
    let stuck = |i: &usize| waiting[*i] > 0;
    let mut path: Vec<usize> = Vec::new();
    let mut next = (0..entries.len()).find(|i| stuck(i));
    while let Some(i) = next {
        if let Some(start) = path.iter().position(|p| *p == i) {
            path.push(i);
            let names: Vec<&str> = path[start..].iter().map(|p| entries[*p].id.as_str()).collect();
            return Error::internal(format!("dependencies run in a circle: {}", names.join(" needs ")))
                .hint("please report this with the definitions of the objects named");
        }
        path.push(i);
        next = depends[i].iter().copied().find(|d| stuck(d));
    }
    Error::internal("the catalog entries cannot be ordered")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::catalog::entry::Scope;

    fn entry(kind: &str, phase: Phase, name: &str, depends: &[&str]) -> Entry {
        let mut e = Entry::new(kind, Scope::Object, phase, None, name, name);
        e.depends = depends.iter().map(|d| (*d).to_owned()).collect();
        e
    }

    fn run(entries: Vec<Entry>, loaded: &[&str]) -> Result<Vec<(String, Phase)>> {
        let rank = HashMap::from([("table", 0), ("view", 1), ("constraint", 2)]);
        let loaded = loaded.iter().map(|s| (*s).to_owned()).collect();
        Ok(order(entries, &rank, &loaded)?.into_iter().map(|e| (e.id, e.phase)).collect())
    }

    #[test]
    fn dependents_follow_into_the_later_phase_and_ties_break_by_kind_then_name() {
        let sorted = run(
            vec![
                entry("view", Phase::Pre, "grouped", &["constraint pk"]),
                entry("constraint", Phase::Post, "pk", &["table b"]),
                entry("view", Phase::Pre, "plain", &["table b"]),
                entry("table", Phase::Pre, "b", &[]),
                entry("table", Phase::Pre, "a", &[]),
            ],
            &["table a", "table b"],
        )
        .expect("ordered");
        let names: Vec<&str> = sorted.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(names, ["table a", "table b", "view plain", "constraint pk", "view grouped"]);
        assert_eq!(sorted[4].1, Phase::Post);
    }

    #[test]
    fn what_a_table_needs_comes_before_its_rows() {
        let sorted = run(
            vec![
                entry("table", Phase::Pre, "typed", &["view grouped"]),
                entry("view", Phase::Pre, "grouped", &["constraint pk"]),
                entry("constraint", Phase::Post, "pk", &[]),
            ],
            &["table typed"],
        )
        .expect("ordered");
        assert!(sorted.iter().all(|(_, phase)| *phase == Phase::Pre), "{sorted:?}");
    }

    #[test]
    fn a_circle_is_named() {
        let error = run(vec![entry("view", Phase::Pre, "a", &["view b"]), entry("view", Phase::Pre, "b", &["view a"])], &[])
            .expect_err("circle");
        assert!(error.message().contains("view a needs view b needs view a"), "{error}");
    }
}
