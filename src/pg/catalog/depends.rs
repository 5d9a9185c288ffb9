//! The only reader of `pg_depend`: from catalog rows that depend on each other to entries that do.
//!
//! An entry stands for its catalog row and for those in [`Draft::also`]. A row without an entry of its own is looked through: what
//! depends on it depends on whatever it depends on itself, a member of an extension on the extension alone; such a dependency gives way
//! where it would close a circle (the functions of a base type that no kind covers). Objects whose dependencies
//! run in a circle and that can be made in two steps ([`Draft::placeholder`]) are split here, and only then: views, and types with functions of
//! their own.

use std::collections::{BTreeSet, HashMap, HashSet};

use tokio_postgres::Client;

use super::entry::Entry;
use super::kind::{Address, Draft, Placeholder, class};
use super::row::RowExt;
use crate::base::Result;
use crate::pg::catalog::extract::query;

/// One row of `pg_depend`. Edges sort by what depends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Edge {
    /// What depends.
    pub(crate) from: Address,
    /// On what.
    pub(crate) to: Address,
    /// Whether it is a membership in an extension.
    pub(crate) member: bool,
}

/// All dependencies of user objects. That a sequence belongs to a column is left out: ownership is an entry of its own, or a domain whose
/// default calls the sequence of a column of that domain would run in a circle.
const QUERY: &str = "
SELECT d.classid, d.objid, d.objsubid, d.refclassid, d.refobjid, d.refobjsubid, d.deptype = 'e' AS member
  FROM pg_depend d
 WHERE d.deptype <> 'p' AND d.objid <> 0
   AND NOT (d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'a' AND d.refobjsubid > 0
            AND EXISTS (SELECT FROM pg_class s WHERE s.oid = d.objid AND s.relkind = 'S'))";

/// Reads `pg_depend`.
pub(crate) async fn edges(client: &Client) -> Result<Vec<Edge>> {
    let rows = query(client, "dependencies", QUERY).await?;
    rows.iter()
        .map(|row| {
            let address = |class: &str, object: &str, sub: &str| -> Result<Address> {
                Ok(Address { class: row.oid(class)?, object: row.oid(object)?, sub: row.col(sub)? })
            };
            Ok(Edge {
                from: address("classid", "objid", "objsubid")?,
                to: address("refclassid", "refobjid", "refobjsubid")?,
                member: row.flag("member")?,
            })
        })
        .collect()
}

/// Entries with `depends` filled, circles of views broken by placeholders. Drafts keep their order; second steps come last.
pub(super) fn resolve(mut drafts: Vec<Draft>, edges: Vec<Edge>) -> Vec<Entry> {
    let (mut needs, mut definition_needs) = needs(&drafts, edges);
    drop_closing(&mut needs, &mut definition_needs);
    let (split, component) = circular(&drafts, &needs, &definition_needs);
    let shells: HashMap<usize, String> = split
        .iter()
        .filter(|i| drafts[**i].placeholder.as_ref().is_some_and(|p| p.shell))
        .map(|i| (*i, second_id(&drafts[*i].entry)))
        .collect();
    let ids: Vec<String> = drafts.iter().map(|d| d.entry.id.clone()).collect();
    let named = |i: usize, needs: &Needs| -> BTreeSet<String> {
        let waits = |n: usize| shells.get(&n).filter(|_| component[n] != component[i]);
        needs.all().flat_map(|n| std::iter::once(&ids[n]).chain(waits(n))).cloned().collect()
    };
    let mut second_steps = Vec::new();
    for (i, draft) in drafts.iter_mut().enumerate() {
        let mut depends = named(i, &needs[i]);
        let definition = definition_needs.get(&i).map(|n| named(i, n)).unwrap_or_default();
        match draft.placeholder.take() {
            Some(placeholder) if split.contains(&i) => {
                second_steps.push(second_step(&mut draft.entry, placeholder, definition));
            }
            _ => depends.extend(definition),
        }
        draft.entry.depends = depends.into_iter().collect();
    }
    drafts.into_iter().map(|d| d.entry).chain(second_steps).collect()
}

/// What a draft needs, as indexes of drafts.
#[derive(Debug, Default)]
struct Needs {
    /// Named by a row of `pg_depend` or by the draft.
    direct: BTreeSet<usize>,
    /// Found by looking through rows that have no entry.
    indirect: BTreeSet<usize>,
}

impl Needs {
    /// Whoever uses a domain waits for its constraints, too, where that closes no circle: a domain that types are made of can no longer be
    /// given one.
    fn add_constraints(&mut self, own: usize, constraints: &HashMap<usize, Vec<usize>>) {
        let found = self.direct.iter().filter_map(|domain| constraints.get(domain)).flatten();
        self.indirect.extend(found.copied().filter(|c| *c != own));
    }

    fn all(&self) -> impl Iterator<Item = usize> {
        self.direct.iter().chain(&self.indirect).copied()
    }
}

/// What each draft needs, and what only the definition of those with a placeholder needs.
fn needs(drafts: &[Draft], edges: Vec<Edge>) -> (Vec<Needs>, HashMap<usize, Needs>) {
    let graph = Graph::new(drafts, edges);
    let ids: HashMap<&str, usize> = drafts.iter().enumerate().map(|(i, d)| (d.entry.id.as_str(), i)).collect();
    let mut definitions = HashMap::new();
    let mut all = Vec::with_capacity(drafts.len());
    for (i, draft) in drafts.iter().enumerate() {
        let definition = draft.placeholder.as_ref().map(|p| p.definition);
        let mut own: Vec<Address> = vec![draft.address];
        own.extend(draft.also.iter().filter(|a| Some(**a) != definition));
        let mut needs = graph.needs_of(i, &own);
        for address in &draft.needs {
            graph.add_target(i, *address, &mut needs, &mut HashSet::new());
        }
        needs.direct.extend(draft.entry.parent.as_deref().and_then(|id| ids.get(id)));
        if let Some(address) = definition {
            definitions.insert(i, graph.needs_of(i, &[address]));
        }
        all.push(needs);
    }
    let constraints = constraints_of_domains(drafts, &ids);
    for (i, needs) in all.iter_mut().enumerate().chain(definitions.iter_mut().map(|(i, n)| (*i, n))) {
        needs.add_constraints(i, &constraints);
    }
    (all, definitions)
}

/// Constraints of domains by the index of their domain.
fn constraints_of_domains(drafts: &[Draft], ids: &HashMap<&str, usize>) -> HashMap<usize, Vec<usize>> {
    let mut all: HashMap<usize, Vec<usize>> = HashMap::new();
    for (i, draft) in drafts.iter().enumerate().filter(|(_, d)| d.entry.kind == "domain_constraint") {
        if let Some(domain) = draft.entry.parent.as_deref().and_then(|id| ids.get(id)) {
            all.entry(*domain).or_default().push(i);
        }
    }
    all
}

/// Drops indirect needs within a circle.
fn drop_closing(needs: &mut [Needs], definitions: &mut HashMap<usize, Needs>) {
    let component = components(&joined(needs, definitions));
    for (i, needs) in needs.iter_mut().enumerate().chain(definitions.iter_mut().map(|(i, n)| (*i, n))) {
        needs.indirect.retain(|to| component[*to] != component[i]);
    }
}

fn joined(needs: &[Needs], definitions: &HashMap<usize, Needs>) -> Vec<Vec<usize>> {
    needs.iter().enumerate().map(|(i, n)| n.all().chain(definitions.get(&i).into_iter().flat_map(Needs::all)).collect()).collect()
}

fn second_id(first: &Entry) -> String {
    let identity = first.id.strip_prefix(&first.kind).unwrap_or(&first.id).trim_start();
    format!("{}_definition {identity}", first.kind)
}

/// Turns `first` into the first step and gives the second.
fn second_step(first: &mut Entry, placeholder: Placeholder, mut depends: BTreeSet<String>) -> Entry {
    let mut entry = first.clone();
    entry.id = second_id(first);
    entry.kind = format!("{}_definition", first.kind);
    entry.parent = Some(first.id.clone());
    entry.drop = None;
    entry.create = placeholder.complete;
    depends.insert(first.id.clone());
    entry.depends = depends.into_iter().collect();
    if placeholder.shell {
        first.superuser = Some("it is a shell type first".to_owned());
    }
    let plain = if placeholder.shell { &mut *first } else { &mut entry };
    plain.owner = None;
    for statements in [&mut plain.ownership, &mut plain.privileges, &mut plain.comments, &mut plain.labels] {
        statements.clear();
    }
    first.create = placeholder.create;
    entry
}

/// Address to draft, and object to the dependencies of it and its columns.
struct Graph {
    /// In order of the addresses, each once.
    owner: Vec<(Address, usize)>,
    /// In order.
    edges: Vec<Edge>,
}

impl Graph {
    fn new(drafts: &[Draft], mut edges: Vec<Edge>) -> Self {
        // Of several an address belongs to the last draft that is there for it, else to the first that makes it as well.
        let own = drafts.iter().enumerate().rev().map(|(i, draft)| (draft.address, i));
        let also = drafts.iter().enumerate().flat_map(|(i, draft)| draft.also.iter().map(move |address| (*address, i)));
        let mut owner: Vec<(Address, usize)> = own.chain(also).collect();
        owner.sort_by_key(|(address, _)| *address);
        owner.dedup_by_key(|(address, _)| *address);
        edges.sort_unstable();
        Self { owner, edges }
    }

    fn draft_of(&self, address: Address) -> Option<usize> {
        let find = |address| self.owner.binary_search_by_key(&address, |(owned, _)| *owned).ok().map(|at| self.owner[at].1);
        find(address).or_else(|| find(Address { sub: 0, ..address }))
    }

    /// What the object and its columns depend on.
    fn outgoing(&self, class: u32, object: u32) -> &[Edge] {
        let from = |edge: &Edge| (edge.from.class, edge.from.object);
        let rest = &self.edges[self.edges.partition_point(|edge| from(edge) < (class, object))..];
        &rest[..rest.iter().take_while(|edge| from(edge) == (class, object)).count()]
    }

    fn needs_of(&self, draft: usize, own: &[Address]) -> Needs {
        let mut needs = Needs::default();
        let mut seen = HashSet::new();
        for address in own {
            for edge in self.outgoing(address.class, address.object) {
                let mine = edge.from == *address || (address.sub == 0 && self.draft_of(edge.from) == Some(draft));
                if mine {
                    self.add_target(draft, edge.to, &mut needs, &mut seen);
                }
            }
        }
        needs
    }

    fn add_target(&self, draft: usize, to: Address, needs: &mut Needs, seen: &mut HashSet<(u32, u32)>) {
        if let Some(target) = self.draft_of(to) {
            if target != draft {
                needs.direct.insert(target);
            }
            return;
        }
        let mut pending = vec![to];
        while let Some(address) = pending.pop() {
            if let Some(target) = self.draft_of(address) {
                if target != draft {
                    needs.indirect.insert(target);
                }
                continue;
            }
            if address.class == class::PG_EXTENSION || !seen.insert((address.class, address.object)) {
                continue;
            }
            let edges = self.outgoing(address.class, address.object);
            let member = edges.iter().any(|e| e.member);
            pending.extend(edges.iter().filter(|e| e.member || !member).map(|e| e.to));
        }
    }
}

/// The drafts that are made in two steps, and the number of the circle that each draft is in.
///
/// In each circle the oldest object that can be split is, types before all others, until no circle is left. `pg_dump` splits views in the
/// same way; and as the first step precedes the rest of its circle, it is the oldest in a restored copy too.
fn circular(drafts: &[Draft], needs: &[Needs], definitions: &HashMap<usize, Needs>) -> (HashSet<usize>, Vec<usize>) {
    let mut all = joined(needs, definitions);
    let circles = components(&all);
    let mut split = HashSet::new();
    let mut component = circles.clone();
    loop {
        let mut oldest: HashMap<usize, usize> = HashMap::new();
        let age = |i: usize| (drafts[i].address.class != class::PG_TYPE, drafts[i].address.object);
        for (i, definition) in definitions.iter().filter(|(i, _)| !split.contains(*i)) {
            if definition.all().any(|to| component[to] == component[*i]) {
                let chosen = oldest.entry(component[*i]).or_insert(*i);
                if age(*i) < age(*chosen) {
                    *chosen = *i;
                }
            }
        }
        if oldest.is_empty() {
            return (split, circles);
        }
        for i in oldest.into_values() {
            all[i] = needs[i].all().collect();
            split.insert(i);
        }
        component = components(&all);
    }
}

/// Number of the strongly connected component of each node (Tarjan's algorithm without recursion).
fn components(edges: &[Vec<usize>]) -> Vec<usize> {
    const NONE: usize = usize::MAX;
    let n = edges.len();
    let (mut index, mut low, mut component) = (vec![NONE; n], vec![0; n], vec![NONE; n]);
    let (mut next, mut found) = (0, 0);
    let mut stack: Vec<usize> = Vec::new();
    for root in 0..n {
        if index[root] != NONE {
            continue;
        }
        let mut path: Vec<(usize, usize)> = vec![(root, 0)];
        while let Some((node, child)) = path.pop() {
            if child == 0 {
                index[node] = next;
                low[node] = next;
                next += 1;
                stack.push(node);
            } else {
                low[node] = low[node].min(low[edges[node][child - 1]]);
            }
            let mut child = child;
            let mut descend = None;
            while child < edges[node].len() {
                let to = edges[node][child];
                child += 1;
                if index[to] == NONE {
                    descend = Some(to);
                    break;
                }
                if component[to] == NONE {
                    low[node] = low[node].min(index[to]);
                }
            }
            if let Some(to) = descend {
                path.push((node, child));
                path.push((to, 0));
                continue;
            }
            if low[node] == index[node] {
                while let Some(member) = stack.pop() {
                    component[member] = found;
                    if member == node {
                        break;
                    }
                }
                found += 1;
            }
        }
    }
    component
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::sql::Sql;
    use crate::pg::catalog::entry::{Phase, Scope};
    use crate::pg::catalog::kind::Placeholder;

    fn draft(kind: &str, class: u32, oid: u32) -> Draft {
        let name = format!("o{oid}");
        Draft::new(Address::new(class, oid), Entry::new(kind, Scope::Object, Phase::Pre, None, &name, &name))
    }

    fn edge(from: (u32, u32), to: (u32, u32), member: bool) -> Edge {
        Edge { from: Address::new(from.0, from.1), to: Address::new(to.0, to.1), member }
    }

    #[test]
    fn rows_without_entry_are_looked_through_and_members_stand_for_their_extension() {
        let drafts = vec![
            draft("table", class::PG_CLASS, 1),
            draft("function", class::PG_PROC, 2),
            draft("extension", class::PG_EXTENSION, 3),
        ];
        let edges = vec![
            edge((class::PG_CLASS, 1), (class::PG_OPERATOR, 10), false),
            edge((class::PG_OPERATOR, 10), (class::PG_PROC, 2), false),
            edge((class::PG_CLASS, 1), (class::PG_TYPE, 11), false),
            edge((class::PG_TYPE, 11), (class::PG_EXTENSION, 3), true),
            edge((class::PG_TYPE, 11), (class::PG_CLASS, 1), false),
        ];
        let entries = resolve(drafts, edges);
        assert_eq!(entries[0].depends, ["extension o3", "function o2"]);
    }

    #[test]
    fn looking_through_a_row_never_closes_a_circle() {
        let drafts = vec![draft("function", class::PG_PROC, 1), draft("function", class::PG_PROC, 2)];
        let base_type = (class::PG_TYPE, 10);
        let edges = vec![
            edge((class::PG_PROC, 1), base_type, false),
            edge((class::PG_PROC, 2), base_type, false),
            edge(base_type, (class::PG_PROC, 1), false),
            edge(base_type, (class::PG_PROC, 2), false),
        ];
        assert!(resolve(drafts, edges).iter().all(|e| e.depends.is_empty()));
    }

    #[test]
    fn the_oldest_view_of_a_circle_is_made_in_two_steps_and_no_other() {
        let view = |oid: u32| {
            let mut d = draft("view", class::PG_CLASS, oid);
            let rule = Address::new(class::PG_REWRITE, oid + 100);
            d.also.push(rule);
            d.entry.create = vec![Sql::from("real")];
            d.placeholder = Some(Placeholder {
                create: vec![Sql::from("shape")],
                complete: vec![Sql::from("replace")],
                definition: rule,
                shell: false,
            });
            d
        };
        let edges = vec![
            edge((class::PG_REWRITE, 101), (class::PG_CLASS, 2), false),
            edge((class::PG_REWRITE, 102), (class::PG_CLASS, 1), false),
            edge((class::PG_REWRITE, 103), (class::PG_CLASS, 1), false),
        ];
        let entries = resolve(vec![view(1), view(2), view(3)], edges);
        let of = |id: &str| entries.iter().find(|e| e.id == id).expect(id);
        assert_eq!(of("view o1").create, [Sql::from("shape")]);
        assert_eq!((of("view o2").create[0].clone(), of("view o3").create[0].clone()), (Sql::from("real"), Sql::from("real")));
        assert!(of("view o1").depends.is_empty());
        assert_eq!(of("view_definition o1").depends, ["view o1", "view o2"]);
        assert_eq!((&of("view o2").depends, &of("view o3").depends), (&vec!["view o1".to_owned()], &vec!["view o1".to_owned()]));
        assert_eq!(entries.len(), 4);
    }

    #[test]
    fn a_shell_serves_its_own_functions_and_everybody_else_waits_for_the_type() {
        let mut kind = draft("base_type", class::PG_TYPE, 1);
        let row = Address::new(class::PG_TYPE, 1);
        kind.address.sub = -1;
        kind.also.push(row);
        kind.entry.ownership = vec![Sql::from("owner")];
        kind.placeholder = Some(Placeholder {
            create: vec![Sql::from("shell")],
            complete: vec![Sql::from("type")],
            definition: row,
            shell: true,
        });
        let drafts = vec![kind, draft("function", class::PG_PROC, 2), draft("table", class::PG_CLASS, 3)];
        let edges = vec![
            edge((class::PG_TYPE, 1), (class::PG_PROC, 2), false),
            edge((class::PG_PROC, 2), (class::PG_TYPE, 1), false),
            edge((class::PG_CLASS, 3), (class::PG_TYPE, 1), false),
        ];
        let entries = resolve(drafts, edges);
        let of = |id: &str| entries.iter().find(|e| e.id == id).expect(id);
        assert_eq!((&of("base_type o1").create, of("base_type o1").ownership.len()), (&vec![Sql::from("shell")], 0));
        assert_eq!(of("function o2").depends, ["base_type o1"]);
        assert_eq!(of("table o3").depends, ["base_type o1", "base_type_definition o1"]);
        assert_eq!(of("base_type_definition o1").depends, ["base_type o1", "function o2"]);
        assert_eq!(of("base_type_definition o1").ownership, [Sql::from("owner")]);
    }
}
