//! Partition trees and inheritance.

use super::keys::schema_of;
use super::world::{Column, Relation, Shape, Type, World};

/// A partitioned table on the way down.
struct Branch {
    name: String,
    /// Columns in their order, all of them integers but the last.
    columns: Vec<(String, String)>,
    depth: usize,
}

impl World {
    /// A partitioned table of up to three levels, with what hangs on it.
    pub(crate) async fn make_tree(&mut self) {
        let (name, last) = (self.new_name("tree"), self.indexed_type());
        let depth = self.rng.between(1, 3);
        let mut columns: Vec<(String, String)> = (0..3).map(|n| (format!("k{n}"), "integer".to_owned())).collect();
        columns.push((self.local_name("value"), last.sql.clone()));
        let key = self.partition_key(0);
        let extra = match self.rng.below(4) {
            0 if self.since(17) => ", id bigint GENERATED ALWAYS AS IDENTITY",
            1 if self.since(18) => ", double integer GENERATED ALWAYS AS (k0 * 2) VIRTUAL",
            2 => ", double integer GENERATED ALWAYS AS (k0 * 2) STORED",
            _ => "",
        };
        let elements: Vec<String> = columns.iter().map(|(n, t)| format!("{n} {t}")).collect();
        if !self.run(format!("CREATE TABLE {name} ({}{extra}) {key}", elements.join(", "))).await {
            return;
        }
        let (early, mut key_columns) = (self.rng.one_in(2), 0);
        if early {
            key_columns = self.adorn_tree(&name, depth).await;
        }
        let mut parts = Vec::new();
        let mut open = vec![(Branch { name: name.clone(), columns: columns.clone(), depth: 0 }, key)];
        while let Some((branch, key)) = open.pop() {
            for n in 0..self.rng.between(1, 3) {
                let leaf = branch.depth + 1 >= depth || self.rng.one_in(3);
                let below = if leaf { String::new() } else { self.partition_key(branch.depth + 1) };
                let Some(made) = self.make_partition(&branch, &key, n, &below).await else { continue };
                parts.push(made.name.clone());
                if !leaf {
                    open.push((made, below));
                }
            }
        }
        if !early {
            key_columns = self.adorn_tree(&name, depth).await;
        }
        self.adorn_parts(&name, &parts).await;
        let data_type = |sql: &str| Type { sql: sql.to_owned(), ..if sql == "integer" { self.integer() } else { last.clone() } };
        let columns: Vec<Column> =
            columns.iter().map(|(n, t)| Column { name: n.clone(), data_type: data_type(t), writable: true }).collect();
        let keys = if key_columns > 0 { vec![columns[..key_columns].to_vec()] } else { Vec::new() };
        let tree = Relation { name, shape: Shape::Partitioned, columns, keys, readable: true };
        for _ in 0..4 {
            self.insert(&tree).await;
        }
        self.relations.push(tree);
    }

    fn partition_key(&mut self, level: usize) -> String {
        format!("PARTITION BY {} (k{level})", self.rng.of(&["LIST", "RANGE", "HASH"]))
    }

    /// The bounds of the `n`th partition under a key.
    fn bounds(&mut self, key: &str, n: usize) -> String {
        if key.contains("HASH") {
            format!("FOR VALUES WITH (MODULUS 3, REMAINDER {n})")
        } else if n == 2 || (n == 1 && self.rng.one_in(3)) {
            "DEFAULT".to_owned()
        } else if key.contains("LIST") {
            ["FOR VALUES IN (1, 2, NULL)", "FOR VALUES IN (7)"][n].to_owned()
        } else {
            ["FOR VALUES FROM (MINVALUE) TO (2)", "FOR VALUES FROM (5) TO (100)"][n].to_owned()
        }
    }

    async fn make_partition(&mut self, branch: &Branch, key: &str, n: usize, below: &str) -> Option<Branch> {
        let (name, bounds) = (self.new_name("part"), self.bounds(key, n));
        let mut columns = branch.columns.clone();
        let made = if self.rng.one_in(2) {
            let unlogged = if below.is_empty() { self.rng.maybe(6, "UNLOGGED ").to_owned() } else { String::new() };
            let own = self.local_name("own check");
            let options = if below.is_empty() { self.rng.maybe(3, " WITH (fillfactor = 50)").to_owned() } else { String::new() };
            let elements = self
                .rng
                .of(&["", "(k0 DEFAULT 4)", "(CONSTRAINT {own} CHECK (k1 IS DISTINCT FROM 99), k2 DEFAULT 3)"])
                .replace("{own}", &own);
            self.run(format!("CREATE {unlogged}TABLE {name} PARTITION OF {} {elements} {bounds} {below}{options}", branch.name))
                .await
        } else {
            self.rng.shuffle(&mut columns);
            let mut list: Vec<String> = columns.iter().map(|(n, t)| format!("{n} {t}")).collect();
            let at = self.rng.below(list.len() + 1);
            list.insert(at, "dropped integer".to_owned());
            let key_first = self.rng.maybe(4, "NOT NULL").to_owned();
            list[usize::from(at == 0)].push_str(&format!(" {key_first}"));
            self.run(format!(
                "CREATE TABLE {name} ({}) {below}; ALTER TABLE {name} DROP COLUMN dropped; ALTER TABLE {} ATTACH PARTITION {name} {bounds}",
                list.join(", "),
                branch.name
            ))
            .await
        };
        made.then_some(Branch { name, columns, depth: branch.depth + 1 })
    }

    /// Keys, indexes, checks and triggers of the whole tree; the number of columns of its key.
    async fn adorn_tree(&mut self, name: &str, depth: usize) -> usize {
        let keys = ["k0", "k0, k1", "k0, k1, k2"][depth - 1];
        let (one, two, three, four) = (
            self.local_name("tree key"),
            self.local_name("tree index"),
            self.local_name("tree check"),
            self.local_name("tree trigger"),
        );
        let key = self.rng.of(&["PRIMARY KEY", "UNIQUE"]).to_owned();
        let keyed = self.run(format!("ALTER TABLE {name} ADD CONSTRAINT {one} {key} ({keys})")).await;
        self.run(format!("CREATE INDEX {two} ON {name} (k1, abs(k2)) WHERE k0 > 0")).await;
        self.run(format!("ALTER TABLE {name} ADD CONSTRAINT {three} CHECK (k2 IS NULL OR k2 > -100)")).await;
        if let Some(function) = self.rng.pick(&self.trigger_functions) {
            self.run(format!("CREATE TRIGGER {four} AFTER INSERT OR UPDATE OF k1 ON {name} FOR EACH ROW WHEN (NEW.k1 > 0) EXECUTE FUNCTION {function}()")).await;
        }
        if keyed { depth } else { 0 }
    }

    /// What differs from partition to partition.
    async fn adorn_parts(&mut self, name: &str, parts: &[String]) {
        let Some(part) = self.rng.pick(parts) else { return };
        let state = self.rng.of(&["DISABLE TRIGGER", "ENABLE REPLICA TRIGGER", "ENABLE ALWAYS TRIGGER"]).to_owned();
        let triggers = self
            .texts(&format!(
                "SELECT quote_ident(tgname) FROM pg_trigger WHERE tgrelid = '{}'::regclass AND NOT tgisinternal",
                part.replace('\'', "''")
            ))
            .await;
        if let Some(trigger) = self.rng.pick(&triggers) {
            self.run(format!("ALTER TABLE {part} {state} {trigger}")).await;
        }
        // An index of the tree alone, invalid until every partition has joined.
        let index = self.local_name("only");
        if self.run(format!("CREATE INDEX {index} ON ONLY {name} (k2 DESC)")).await {
            for part in parts {
                let own = self.local_name("joins");
                if self.rng.one_in(2) {
                    continue;
                }
                let only = self.rng.maybe(2, "ONLY ").to_owned();
                self.run(format!("CREATE INDEX {own} ON {only}{part} (k2 DESC)")).await;
                self.run(format!("ALTER INDEX {}.{index} ATTACH PARTITION {}.{own}", schema_of(name), schema_of(part))).await;
            }
        }
        for change in [
            "ALTER COLUMN k2 SET DEFAULT 11",
            "ADD CONSTRAINT \"own of part\" CHECK (k1 > -1000)",
            "ALTER COLUMN k1 SET STATISTICS 9",
            "ALTER COLUMN k2 SET NOT NULL",
            "ADD UNIQUE (k0, k1, k2)",
        ] {
            let Some(part) = self.rng.pick(parts) else { return };
            if self.rng.one_in(2) {
                self.run(format!("ALTER TABLE {part} {change}")).await;
            }
        }
        if self.rng.one_in(4) {
            self.run(format!("ALTER TABLE {name} DETACH PARTITION {part}")).await;
        }
    }

    /// Parents that share a column, children that merge and redefine, and what changes above them later.
    pub(crate) async fn make_family(&mut self) {
        let (one, two, child, grandchild, joined) = (
            self.new_name("parent"),
            self.new_name("parent"),
            self.new_name("child"),
            self.new_name("grandchild"),
            self.new_name("joined"),
        );
        let (shared, own) = (self.some_type(), self.some_type());
        let (s, o) = (&shared.sql, &own.sql);
        let (sample, text) = (self.sample(&shared), self.text());
        let not_null = self.not_null();
        let generated = if self.since(18) { self.rng.of(&["STORED", "VIRTUAL"]).to_owned() } else { "STORED".to_owned() };
        if !self
            .run(format!(
                "CREATE TABLE {one} (a integer{not_null}, shared {s} DEFAULT {sample}, g integer GENERATED ALWAYS AS (a + 1) {generated}, gone integer,
                   CONSTRAINT here CHECK (a > -50) NO INHERIT, CONSTRAINT everywhere CHECK (a > -60));
                 CREATE TABLE {two} (shared {s} DEFAULT {sample}, \"from two\" {o}, CONSTRAINT everywhere_too CHECK (shared IS NOT NULL OR true))"
            ))
            .await
        {
            return;
        }
        let redefined = self
            .rng
            .of(&["", "shared {s}, ", "a integer DEFAULT 5, ", "a integer NOT NULL, shared {s} DEFAULT NULL, "])
            .replace("{s}", s);
        let both = self.rng.one_in(2);
        let parents = if both { format!("{one}, {two}") } else { one.clone() };
        self.run(format!("CREATE TABLE {child} ({redefined}\"child's own\" text DEFAULT {text}) INHERITS ({parents})")).await;
        self.run(format!(
            "CREATE TABLE {grandchild} (more {o}) INHERITS ({child}{})",
            if both { format!(", {two}") } else { String::new() }
        ))
        .await;
        self.run(format!("CREATE TABLE {joined} (first text, shared {s}, \"from two\" {o}, CONSTRAINT everywhere_too CHECK (shared IS NOT NULL OR true)); ALTER TABLE {joined} INHERIT {two}")).await;
        let changes = family_changes(&one, &two, &child, &grandchild, &text);
        // A late column makes texts incomparable, see `round_trip`.
        let skipped = usize::from(!self.rng.one_in(3));
        for change in changes.into_iter().skip(skipped) {
            if self.rng.one_in(2) {
                self.run(change).await;
            }
        }
        for table in [&one, &child, &grandchild] {
            self.run(format!("INSERT INTO {table} (a) VALUES (1), (2)")).await;
        }
        self.run(format!("INSERT INTO {joined} (first) VALUES ({text})")).await;
        let columns = vec![Column { name: "a".to_owned(), data_type: self.integer(), writable: true }];
        for name in [one, child] {
            self.relations.push(Relation {
                name,
                shape: Shape::Table,
                columns: columns.clone(),
                keys: Vec::new(),
                readable: true,
            });
        }
    }
}

/// What changes in a family later; the first gives children a column after their own.
fn family_changes(one: &str, two: &str, child: &str, grandchild: &str, text: &str) -> Vec<String> {
    vec![
        format!("ALTER TABLE {one} ADD COLUMN late numeric DEFAULT 1.5"),
        format!("ALTER TABLE {one} DROP COLUMN gone"),
        format!("ALTER TABLE ONLY {one} DROP COLUMN gone"),
        format!("ALTER TABLE {child} NO INHERIT {two}"),
        format!("ALTER TABLE {child} ALTER COLUMN shared DROP DEFAULT"),
        format!("ALTER TABLE {grandchild} ALTER COLUMN a SET DEFAULT 12"),
        format!("ALTER TABLE {child} ALTER COLUMN a SET NOT NULL"),
        format!("ALTER TABLE {one} ADD CONSTRAINT spread CHECK (a < 100000) NOT VALID"),
        format!("ALTER TABLE {child} ADD CONSTRAINT spread CHECK (a < 100000)"),
        format!("ALTER TABLE {one} ALTER COLUMN shared SET STORAGE PLAIN"),
        format!("ALTER TABLE {two} RENAME COLUMN \"from two\" TO \"renamed two\""),
        format!("COMMENT ON COLUMN {child}.a IS {text}"),
        format!("ALTER TABLE {child} ALTER COLUMN g SET EXPRESSION AS (a + 5)"),
    ]
}
