//! What a restore does in parallel: rows into tables, then indexes, constraints, triggers, …, each as soon as it can.
//!
//! An index whose columns are nothing but the table's begins when that table's rows are in, beside the rows of others. What calls functions of the
//! backup waits for all rows, for such a function may read other tables, whatever it says of itself. So do foreign keys. Indexes of partitioned tables,
//! which hold nothing, come before all rows: those of the partitions need them, and a COPY into a partition would be in their way.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::board::{Hold, Terms};
use super::partition_keys::PartitionKey;
use super::render::{Renderer, Statement};
use super::run::LATE;
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::copy::{TableData, TableStream};

/// Tables with less text are loaded in the plain way: emptying them in the transaction that fills them costs more than it saves.
const WHOLE_BYTES: u64 = 1 << 20;

/// Kinds of what an index may need without calling a function that reads tables.
const HARMLESS: &[&str] = &["table", "schema", "extension", "collation", "enum_type", "index", "constraint"];

/// One thing to do.
#[derive(Debug)]
pub(super) enum Job {
    /// Rows of one table.
    Load(Load),
    /// All rows are in: nothing to do, others wait for it.
    RowsAreIn,
    /// Statements of one entry.
    Make {
        /// Index of the entry in the input.
        entry: usize,
        /// Statements.
        statements: Vec<Statement>,
    },
    /// Adds the key of a partition, which only saves time.
    AddPartitionKey(PartitionKey),
    /// Validates it.
    ValidatePartitionKey(PartitionKey),
}

/// Rows of one table.
#[derive(Debug)]
pub(super) struct Load {
    /// Index of the table.
    pub(super) table: usize,
    /// Its streams, in order.
    pub(super) streams: Vec<TableStream>,
    /// Whether these are all streams of a table that this restore made.
    pub(super) whole: bool,
}

/// A job and what it waits for.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) job: Job,
    pub(super) terms: Terms,
}

/// What the tasks are made of.
pub(super) struct Parts<'a> {
    /// All entries of the backup, in restore order.
    pub(super) all: &'a [Entry],
    /// Those to make.
    pub(super) entries: &'a [&'a Entry],
    /// Tables whose rows are loaded.
    pub(super) tables: &'a [TableData],
    /// Indexes of tables to be loaded one after another, in this order.
    pub(super) ordered: &'a [usize],
    /// Keys of partitions to be made before those of their tables.
    pub(super) keys: Vec<PartitionKey>,
    /// Sessions that share the work.
    pub(super) jobs: usize,
    /// Whether this restore makes the tables that it loads.
    pub(super) makes_tables: bool,
    pub(super) renderer: &'a Renderer,
}

/// Where entries and tables are found by their ids.
struct Places<'a> {
    by_id: HashMap<&'a str, &'a Entry>,
    /// Index of an entry in the input.
    index: HashMap<&'a str, usize>,
    /// Bytes of a table.
    bytes: HashMap<&'a str, u64>,
    /// Loads of a table.
    loads: HashMap<&'a str, Vec<usize>>,
    /// The task that all rows are in.
    rows_are_in: usize,
}

impl Places<'_> {
    fn weight(&self, tables: &[(String, Hold)]) -> u64 {
        tables.iter().filter_map(|(table, _)| self.bytes.get(table.as_str())).sum()
    }
}

impl Parts<'_> {
    /// Everything that runs in parallel.
    pub(super) fn tasks(&self) -> Vec<Task> {
        let (mut tasks, loads) = self.loads();
        let places = Places {
            by_id: self.all.iter().map(|e| (e.id.as_str(), e)).collect(),
            index: self.all.iter().enumerate().map(|(i, e)| (e.id.as_str(), i)).collect(),
            bytes: self.tables.iter().map(|t| (t.entry.as_str(), t.fingerprint.bytes)).collect(),
            loads,
            rows_are_in: tasks.len(),
        };
        let all: Vec<usize> = (0..tasks.len()).collect();
        tasks.push(Task { job: Job::RowsAreIn, terms: Terms { after: all, tables: Vec::new(), weight: u64::MAX } });
        let made = self.made_before_rows();
        let post: Vec<&Entry> =
            self.entries.iter().copied().filter(|e| is_parallel(e) && !made.contains(e.id.as_str())).collect();
        let first = tasks.len();
        let position: HashMap<&str, usize> = post.iter().enumerate().map(|(i, e)| (e.id.as_str(), first + i)).collect();
        let needs = |entry: &Entry| {
            entry.depends.iter().chain(&entry.parent).filter_map(|d| position.get(d.as_str()).copied()).collect::<BTreeSet<_>>()
        };
        tasks.extend(post.iter().map(|entry| self.make(entry, needs(entry), &places)));
        for entry in self.entries.iter().filter(|e| is_validated_key(e)) {
            self.add_key(entry, needs(entry), &places, &mut tasks);
        }
        for key in &self.keys {
            let after = places.by_id.get(key.key.as_str()).map(|e| needs(e)).unwrap_or_default();
            add_partition_key(key, after, &places, &mut tasks);
        }
        tasks
    }

    fn make(&self, entry: &Entry, mut after: BTreeSet<usize>, places: &Places<'_>) -> Task {
        let own = entry.parent.as_deref().unwrap_or_default();
        match places.loads.get(own) {
            Some(loads) if is_plain_index(entry) => {
                // What an extension brings may read the tables of the extension.
                let of_extensions = entry.depends.iter().filter_map(|id| places.loads.get(id.as_str())).flatten();
                after.extend(of_extensions.chain(loads));
            }
            _ => after.extend([places.rows_are_in]),
        }
        let tables: Vec<(String, Hold)> = match entry.kind.as_str() {
            "index" => vec![(own.to_owned(), Hold::Shared)],
            "constraint" => vec![(own.to_owned(), Hold::Alone)],
            _ => tables_of(entry, &places.by_id).into_iter().map(|t| (t, Hold::Alone)).collect(),
        };
        Task {
            job: Job::Make { entry: places.index[entry.id.as_str()], statements: self.renderer.make(entry) },
            terms: Terms { after: after.into_iter().collect(), weight: places.weight(&tables), tables },
        }
    }

    /// Adding a foreign key is quick and changes two tables, validating it reads both.
    fn add_key(&self, entry: &Entry, mut after: BTreeSet<usize>, places: &Places<'_>, tasks: &mut Vec<Task>) {
        let mut add = self.renderer.make(entry);
        let validate = add.drain(1..entry.create.len()).collect();
        let tables = tables_of(entry, &places.by_id);
        let hold = |t: &String| if entry.parent.as_ref() == Some(t) { Hold::Alone } else { Hold::Shared };
        let read: Vec<(String, Hold)> = tables.iter().map(|t| (t.clone(), hold(t))).collect();
        let changed = tables.into_iter().map(|t| (t, Hold::Alone)).collect();
        let index = places.index[entry.id.as_str()];
        let make = |statements| Job::Make { entry: index, statements };
        after.insert(places.rows_are_in);
        let (weight, added) = (places.weight(&read), tasks.len());
        let terms = Terms { after: after.into_iter().collect(), tables: changed, weight };
        tasks.push(Task { job: make(add), terms });
        tasks.push(Task { job: make(validate), terms: Terms { after: vec![added], tables: read, weight } });
    }

    /// Ids of the indexes and constraints of partitioned tables that need nothing but what comes before the rows.
    pub(super) fn made_before_rows(&self) -> HashSet<&str> {
        if self.tables.is_empty() {
            return HashSet::new();
        }
        let with_rows: HashSet<&str> = self.tables.iter().map(|t| t.entry.as_str()).collect();
        let parallel: HashSet<&str> = self.entries.iter().filter(|e| is_parallel(e)).map(|e| e.id.as_str()).collect();
        let mut made: HashSet<&str> = HashSet::new();
        for entry in self.entries.iter().filter(|e| is_parallel(e) && is_plain_index(e)) {
            let empty = entry.parent.as_deref().is_some_and(|t| t.starts_with("table ") && !with_rows.contains(t));
            if empty && entry.depends.iter().all(|d| !parallel.contains(d.as_str()) || made.contains(d.as_str())) {
                made.insert(entry.id.as_str());
            }
        }
        made
    }

    /// Loads of all tables, and which of them each table has, by the id of its entry.
    fn loads(&self) -> (Vec<Task>, HashMap<&str, Vec<usize>>) {
        let made: HashSet<&str> = self.entries.iter().filter(|e| e.kind == "table").map(|e| e.id.as_str()).collect();
        let sorted = self.kept_in_order();
        let total: u64 = self.tables.iter().map(|t| t.fingerprint.bytes).sum();
        let ordered: HashSet<usize> = self.ordered.iter().copied().collect();
        let free = (0..self.tables.len()).filter(|i| !ordered.contains(i));
        let mut tasks: Vec<Task> = Vec::new();
        let mut of_table: HashMap<&str, Vec<usize>> = HashMap::new();
        let mut before: Vec<usize> = Vec::new();
        for number in self.ordered.iter().copied().chain(free) {
            let table = &self.tables[number];
            let chained = ordered.contains(&number);
            if !chained {
                before.clear();
            }
            let bytes = table.fingerprint.bytes;
            let fair = bytes.saturating_mul(self.jobs as u64) <= total;
            let whole = self.makes_tables
                && made.contains(table.entry.as_str())
                && bytes >= WHOLE_BYTES
                && (fair || table.streams.len() < 2 || sorted.contains(table.entry.as_str()));
            let pieces: Vec<Vec<TableStream>> =
                if whole { vec![table.streams.clone()] } else { table.streams.iter().map(|s| vec![s.clone()]).collect() };
            let from = tasks.len();
            for streams in pieces {
                let hold = if whole { Hold::Alone } else { Hold::Shared };
                let tables = if table.is_large_objects() { Vec::new() } else { vec![(table.entry.clone(), hold)] };
                let terms = Terms { after: before.clone(), tables, weight: bytes };
                tasks.push(Task { job: Job::Load(Load { table: number, streams, whole }), terms });
            }
            let own: Vec<usize> = (from..tasks.len()).collect();
            if chained && !own.is_empty() {
                before.clone_from(&own);
            }
            of_table.entry(table.entry.as_str()).or_default().extend(own);
        }
        (tasks, of_table)
    }

    /// Ids of the tables whose rows must stay in their order: a BRIN index of a table that two sessions fill at once would find nothing.
    fn kept_in_order(&self) -> HashSet<&str> {
        let is_brin = |e: &&&Entry| e.kind == "index" && e.create.iter().any(|s| s.plain().contains(" USING brin "));
        self.entries.iter().filter(is_brin).filter_map(|e| e.parent.as_deref()).collect()
    }
}

fn is_plain_index(entry: &Entry) -> bool {
    let kind = |id: &str| id.split(' ').next().is_some_and(|kind| HARMLESS.contains(&kind));
    matches!(entry.kind.as_str(), "index" | "constraint") && entry.depends.iter().all(|id| kind(id))
}

/// Whether it is a foreign key that is added first and validated then.
pub(super) fn is_validated_key(entry: &Entry) -> bool {
    entry.kind == "foreign_key" && entry.scope == Scope::Object && entry.create.len() > 1
}

/// Whether it is made in parallel with others once its rows are in.
fn is_parallel(entry: &Entry) -> bool {
    entry.phase == Phase::Post && !LATE.contains(&entry.kind.as_str())
}

fn add_partition_key(key: &PartitionKey, mut after: BTreeSet<usize>, places: &Places<'_>, tasks: &mut Vec<Task>) {
    let (weight, added) = (places.bytes.get(key.partition.as_str()).copied().unwrap_or(0), tasks.len());
    let tables = |hold| vec![(key.partition.clone(), Hold::Alone), (key.referred.clone(), hold)];
    after.insert(places.rows_are_in);
    let terms = Terms { after: after.into_iter().collect(), tables: tables(Hold::Alone), weight };
    tasks.push(Task { job: Job::AddPartitionKey(key.clone()), terms });
    tasks.push(Task {
        job: Job::ValidatePartitionKey(key.clone()),
        terms: Terms { after: vec![added], tables: tables(Hold::Shared), weight },
    });
}

/// Tables that an entry works on: its own, by way of its parents, and those that it depends on.
fn tables_of<'a>(entry: &'a Entry, by_id: &HashMap<&'a str, &'a Entry>) -> Vec<String> {
    let mut found = BTreeSet::new();
    let mut seen = HashSet::new();
    let mut pending: Vec<&str> = std::iter::once(entry.id.as_str()).chain(entry.depends.iter().map(String::as_str)).collect();
    while let Some(id) = pending.pop() {
        let Some(next) = by_id.get(id).filter(|_| seen.insert(id)) else { continue };
        if matches!(next.kind.as_str(), "table" | "materialized_view" | "view" | "foreign_table") {
            found.insert(next.id.clone());
        } else if let Some(parent) = &next.parent {
            pending.push(parent);
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::fingerprint::Fingerprint;
    use crate::base::sql::Sql;
    use crate::pg::restore::RestoreOptions;

    fn entry(kind: &str, name: &str, table: &str, depends: &[&str], create: &[&str]) -> Entry {
        let phase = if kind == "table" { Phase::Pre } else { Phase::Post };
        let mut entry = Entry::new(kind, Scope::Object, phase, Some("s"), name, name);
        entry.parent = (!table.is_empty()).then(|| format!("table {table}"));
        entry.depends = depends.iter().map(|d| (*d).to_owned()).collect();
        entry.create = create.iter().map(|c| Sql::from(*c)).collect();
        entry
    }

    fn table(name: &str, mebibytes: u64, streams: usize) -> TableData {
        let fingerprint = Fingerprint { rows: 1, bytes: mebibytes << 20, sum: 0 };
        let stream = |n| TableStream { stream: format!("{name}/{n}"), from_block: None, to_block: None, fingerprint };
        let streams = (0..streams).map(stream).collect();
        let entry = format!("table {name}");
        TableData {
            entry,
            schema: "s".to_owned(),
            table: name.to_owned(),
            columns: Vec::new(),
            streams,
            fingerprint,
            heap_bytes: 0,
        }
    }

    fn tasks(entries: &[Entry], tables: &[TableData], makes_tables: bool) -> Vec<(String, Terms)> {
        let renderer = Renderer::new(&RestoreOptions::default(), "d", &[], true);
        let chosen: Vec<&Entry> = entries.iter().collect();
        let parts = Parts {
            all: entries,
            entries: &chosen,
            tables,
            ordered: &[],
            keys: Vec::new(),
            jobs: 2,
            makes_tables,
            renderer: &renderer,
        };
        let name = |job: Job| match job {
            Job::Load(load) => {
                format!("{} of {}{}", load.streams.len(), tables[load.table].table, if load.whole { ", whole" } else { "" })
            }
            Job::Make { entry, statements } => statements.first().map_or(entries[entry].id.clone(), |s| s.sql.clone()),
            Job::RowsAreIn => "rows are in".to_owned(),
            Job::AddPartitionKey(_) | Job::ValidatePartitionKey(_) => "key of a partition".to_owned(),
        };
        parts.tasks().into_iter().map(|t| (name(t.job), t.terms)).collect()
    }

    fn after(all: &[(String, Terms)], of: &str) -> Vec<String> {
        let (_, terms) = all.iter().find(|(name, _)| name == of).unwrap_or_else(|| panic!("no {of}"));
        terms.after.iter().map(|i| all[*i].0.clone()).collect()
    }

    #[test]
    fn tables_are_loaded_whole_unless_that_leaves_others_idle_or_touches_what_was_there() {
        let entries = [
            entry("table", "huge", "", &[], &["CREATE TABLE huge ()"]),
            entry("table", "fair", "", &[], &["CREATE TABLE fair ()"]),
            entry("table", "small", "", &[], &["CREATE TABLE small ()"]),
        ];
        let tables = [table("huge", 900, 2), table("fair", 300, 2), table("small", 0, 1), table("of_an_extension", 5, 1)];
        let names = |entries: &[Entry], makes| -> Vec<String> {
            tasks(entries, &tables, makes).into_iter().map(|(name, _)| name).filter(|n| n.contains(" of ")).collect()
        };
        let plain = ["1 of huge", "1 of huge", "2 of fair, whole", "1 of small", "1 of of_an_extension"];
        assert_eq!(names(&entries, true), plain);
        assert!(names(&entries, false).iter().all(|n| !n.contains("whole")));
        let brin = entry("index", "by_time", "huge", &["table huge"], &["CREATE INDEX by_time ON huge USING brin (at)"]);
        let with_brin: Vec<Entry> = entries.iter().cloned().chain([brin]).collect();
        assert_eq!(names(&with_brin, true)[0], "2 of huge, whole");
    }

    #[test]
    fn only_indexes_without_functions_of_the_backup_begin_before_all_rows_are_in() {
        let entries = [
            entry("table", "a", "", &[], &["CREATE TABLE a ()"]),
            entry("table", "b", "", &[], &["CREATE TABLE b ()"]),
            entry("table", "parts", "", &[], &["CREATE TABLE parts ()"]),
            entry("index", "i", "a", &["table a"], &["plain index"]),
            entry("index", "f", "a", &["function f()", "table a"], &["index with a function"]),
            entry("index", "g", "b", &["extension g", "table b"], &["index of an extension"]),
            entry("constraint", "of_parts", "parts", &["table parts"], &["key of all parts"]),
            entry("constraint", "pk", "b", &["constraint of_parts", "table b"], &["primary key"]),
            entry("trigger", "t", "a", &["table a"], &["trigger"]),
            entry("foreign_key", "k", "a", &["constraint pk", "table a", "table b"], &["add key", "validate key"]),
        ];
        let brought = TableData { entry: "extension g".to_owned(), ..table("of_g", 0, 1) };
        let all = tasks(&entries, &[table("a", 8, 1), table("b", 8, 1), brought], true);
        assert_eq!(after(&all, "rows are in"), ["1 of a, whole", "1 of b, whole", "1 of of_g"]);
        assert_eq!(after(&all, "index of an extension"), ["1 of b, whole", "1 of of_g"]);
        assert_eq!(after(&all, "plain index"), ["1 of a, whole"]);
        assert_eq!(after(&all, "index with a function"), ["rows are in"]);
        assert_eq!(after(&all, "primary key"), ["1 of b, whole"]);
        assert_eq!(after(&all, "trigger"), ["rows are in"]);
        assert_eq!(after(&all, "add key"), ["rows are in", "primary key"]);
        assert_eq!(after(&all, "validate key"), ["add key"]);
        assert!(all.iter().all(|(name, _)| name != "key of all parts"), "it comes before the rows");
        let holds = |of: &str| all.iter().find(|(name, _)| name == of).map(|(_, t)| t.tables.clone()).unwrap_or_default();
        let (a, b) = ("table a".to_owned(), "table b".to_owned());
        assert_eq!(holds("plain index"), [(a.clone(), Hold::Shared)]);
        assert_eq!(holds("add key"), [(a.clone(), Hold::Alone), (b.clone(), Hold::Alone)]);
        assert_eq!(holds("validate key"), [(a, Hold::Alone), (b, Hold::Shared)]);
    }
}
