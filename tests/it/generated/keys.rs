//! Constraints and indexes of tables and materialised views.

use super::world::{Column, Relation, Shape, World};

fn names(columns: &[Column]) -> String {
    columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ")
}

impl World {
    fn remember_key(&mut self, table: &str, key: Vec<Column>) {
        if let Some(relation) = self.relations.iter_mut().find(|r| r.name == table) {
            relation.keys.push(key);
        }
    }

    /// Two columns at most that an index can hold.
    fn key_columns(&mut self, table: &Relation) -> Vec<Column> {
        let mut columns: Vec<Column> = table.columns.iter().filter(|c| c.data_type.indexes).cloned().collect();
        self.rng.shuffle(&mut columns);
        columns.truncate(self.rng.between(1, 2));
        columns
    }

    pub(crate) async fn make_key(&mut self) {
        let Some(table) = self.table() else { return };
        let key = self.key_columns(&table);
        if key.is_empty() {
            return;
        }
        let (name, columns) = (self.local_name("key"), names(&key));
        let mut referable = true;
        let nulls = if self.since(15) { self.rng.maybe(3, " NULLS NOT DISTINCT") } else { "" };
        let include = match self.rng.pick(&table.columns) {
            Some(c) if self.rng.one_in(4) => format!(" INCLUDE ({})", c.name),
            _ => String::new(),
        };
        let definition = match self.rng.below(6) {
            0..=2 => format!("PRIMARY KEY ({columns}){include}"),
            3 => format!("UNIQUE{nulls} ({columns}){include} WITH (fillfactor = 80)"),
            4 => {
                referable = false;
                format!(
                    "UNIQUE ({columns}) {}",
                    self.rng.of(&["DEFERRABLE", "DEFERRABLE INITIALLY DEFERRED", "USING INDEX TABLESPACE corpus_space"])
                )
            }
            _ => format!("UNIQUE ({columns})"),
        };
        let (target, dropped) = (&table.name, self.rng.one_in(2));
        // Rows that stand against the key are given up for it in half of the cases.
        let empty = if dropped { format!("DELETE FROM {target}; ") } else { String::new() };
        if self.run(format!("{empty}ALTER TABLE {target} ADD CONSTRAINT {name} {definition}")).await {
            if referable {
                self.remember_key(target, key);
            }
            let mark = self.rng.of(&["CLUSTER ON", "REPLICA IDENTITY USING INDEX"]).to_owned();
            if self.rng.one_in(3) {
                self.run(format!("ALTER TABLE {target} {mark} {name}")).await;
            }
        }
        let table = table.clone();
        self.insert(&table).await;
    }

    pub(crate) async fn make_key_of_index(&mut self) {
        let Some(table) = self.relation(|r| r.shape == Shape::Table) else { return };
        let key = self.key_columns(&table);
        if key.is_empty() {
            return;
        }
        let name = self.local_name("made of index");
        let (target, columns) = (&table.name, names(&key));
        let kind = self.rng.of(&["PRIMARY KEY", "UNIQUE"]).to_owned();
        let sql = format!(
            "DELETE FROM {target}; CREATE UNIQUE INDEX {name} ON {target} ({columns}); ALTER TABLE {target} ADD CONSTRAINT {name} {kind} USING INDEX {name}"
        );
        if self.run(sql).await {
            self.remember_key(target, key);
        }
    }

    pub(crate) async fn make_exclusion(&mut self) {
        // 17 lets partitioned tables have them, and cannot attach the index of a partition; neither `pg_dump` nor we can restore it there.
        let only_plain = self.major == 17;
        let Some(table) = self.relation(|r| r.shape == Shape::Table || (r.shape == Shape::Partitioned && !only_plain)) else {
            return;
        };
        let (name, target) = (self.local_name("exclusion"), &table.name);
        let condition = self.condition(&table.columns, "");
        let Some(column) = self.rng.pick(&table.columns) else { return };
        let element = if column.data_type.sql.ends_with("range") {
            format!("USING gist ({} WITH &&)", column.name)
        } else {
            format!("({} WITH =)", column.name)
        };
        let how = self.rng.of(&["", "DEFERRABLE", "DEFERRABLE INITIALLY DEFERRED"]).to_owned();
        self.run(format!(
            "DELETE FROM {target}; ALTER TABLE {target} ADD CONSTRAINT {name} EXCLUDE {element} WHERE ({condition}) {how}"
        ))
        .await;
    }

    /// Keys over periods, and references to them.
    pub(crate) async fn make_temporal(&mut self) {
        if !self.since(18) {
            return;
        }
        let (one, two) = (self.new_name("temporal"), self.new_name("refers in time"));
        self.run(format!(
            "CREATE TABLE {one} (id int4range, during tstzrange, PRIMARY KEY (id, during WITHOUT OVERLAPS));
             CREATE TABLE {two} (id int4range, of int4range, at tstzrange, UNIQUE (id, at WITHOUT OVERLAPS),
               FOREIGN KEY (of, PERIOD at) REFERENCES {one} (id, PERIOD during));
             INSERT INTO {one} VALUES ('[1,2)', '[2026-01-01,2026-02-01)'), ('[1,2)', '[2026-02-01,)');
             INSERT INTO {two} VALUES ('[7,8)', '[1,2)', '[2026-01-15,2026-02-15)')"
        ))
        .await;
    }

    pub(crate) async fn make_foreign_key(&mut self) {
        let partitioned = self.rng.one_in(4);
        let keyed = |r: &Relation| !r.keys.is_empty();
        let target =
            self.relation(|r| keyed(r) && partitioned == (r.shape == Shape::Partitioned)).or_else(|| self.relation(keyed));
        let Some(target) = target else { return };
        let Some(key) = self.rng.pick(&target.keys) else { return };
        let fits = |r: &Relation| key.iter().all(|k| r.columns.iter().any(|c| c.data_type.sql == k.data_type.sql));
        let Some(source) = self.relation(|r| matches!(r.shape, Shape::Table | Shape::Partitioned) && fits(r)) else { return };
        let mut used: Vec<Column> = Vec::new();
        for k in &key {
            let free: Vec<Column> = source
                .columns
                .iter()
                .filter(|c| c.data_type.sql == k.data_type.sql && used.iter().all(|u| u.name != c.name))
                .cloned()
                .collect();
            used.extend(self.rng.pick(&free));
        }
        let name = self.local_name("reference");
        let mut clauses =
            vec![self.rng.of(&["", "MATCH FULL", "ON UPDATE CASCADE", "ON DELETE CASCADE ON UPDATE SET DEFAULT"]).to_owned()];
        if clauses[0].is_empty() && self.since(15) && !used.is_empty() {
            clauses.push(self.rng.maybe(2, &format!("ON DELETE SET NULL ({})", used[0].name)).to_owned());
        }
        clauses.push(self.rng.of(&["", "", "DEFERRABLE", "DEFERRABLE INITIALLY DEFERRED"]).to_owned());
        clauses.push(
            if self.since(18) { self.rng.of(&["", "NOT VALID", "NOT ENFORCED"]) } else { self.rng.of(&["", "NOT VALID"]) }
                .to_owned(),
        );
        self.run(format!(
            "ALTER TABLE {} ADD CONSTRAINT {name} FOREIGN KEY ({}) REFERENCES {} ({}) {}",
            source.name,
            names(&used),
            target.name,
            names(&key),
            clauses.join(" ")
        ))
        .await;
    }

    pub(crate) async fn make_check(&mut self) {
        let Some(table) = self.table() else { return };
        let (name, condition) = (self.local_name("later check"), self.condition(&table.columns, ""));
        let expression = self.integer_expression(&table.columns, "");
        let how = if self.since(18) {
            self.rng.of(&["", "NOT VALID", "NO INHERIT", "NOT ENFORCED"])
        } else {
            self.rng.of(&["", "NOT VALID", "NO INHERIT"])
        };
        self.run(format!("ALTER TABLE {} ADD CONSTRAINT {name} CHECK (({condition}) OR {expression} <> 5) {how}", table.name))
            .await;
    }

    pub(crate) async fn make_index(&mut self) {
        let Some(relation) = self.relation(|r| r.shape != Shape::View && !r.columns.is_empty()) else { return };
        let (name, target) = (self.local_name("index"), &relation.name);
        let column = self.rng.pick(&relation.columns).expect("columns");
        let stored: Vec<Column> = relation.columns.clone();
        let (condition, expression) = (self.condition(&stored, ""), self.integer_expression(&stored, ""));
        let (c, unique) = (&column.name, self.rng.maybe(5, "UNIQUE ").to_owned());
        let definition = match self.rng.below(10) {
            0 => format!("({c} DESC NULLS LAST) INCLUDE ({c}) WITH (fillfactor = 60)"),
            1 => format!("(({expression})) WHERE {condition}"),
            2 => format!("USING hash ({c}) TABLESPACE corpus_space"),
            3 => format!("USING gin ({c}) WITH (fastupdate = off)"),
            4 => format!("USING gist ({c})"),
            5 => format!("USING brin ({c}) WITH (pages_per_range = 4)"),
            6 => format!("({c} COLLATE \"C\" text_pattern_ops, ({expression}))"),
            7 => format!("(({expression}) DESC, {c})"),
            _ => format!("({c}){}", if self.since(15) { self.rng.maybe(4, " NULLS NOT DISTINCT") } else { "" }),
        };
        if !self.run(format!("CREATE {unique}INDEX {name} ON {target} {definition}")).await {
            return;
        }
        let index = format!("{}.{name}", schema_of(target));
        if definition.starts_with("((") {
            self.run(format!("ALTER INDEX {index} ALTER COLUMN 1 SET STATISTICS 333")).await;
        }
        if self.rng.one_in(4) {
            let kind = if relation.shape == Shape::Materialized { "MATERIALIZED VIEW" } else { "TABLE" };
            self.run(format!("ALTER {kind} {target} CLUSTER ON {name}")).await;
        }
        if self.rng.one_in(6) {
            self.run(format!("ALTER INDEX {index} DEPENDS ON EXTENSION plpgsql")).await;
        }
    }

    pub(crate) async fn make_statistics(&mut self) {
        let Some(table) = self.relation(|r| matches!(r.shape, Shape::Table | Shape::Partitioned | Shape::Materialized)) else {
            return;
        };
        let (name, mut columns) = (self.new_name("statistics"), table.columns.clone());
        columns.retain(|c| c.data_type.indexes && c.writable);
        columns.truncate(3);
        let mut items: Vec<String> = columns.iter().map(|c| c.name.clone()).collect();
        if self.since(14) && self.rng.one_in(2) {
            items.push(format!("({})", self.integer_expression(&table.columns, "")));
        }
        let kinds = self.rng.of(&["", "(mcv)", "(ndistinct, dependencies)"]).to_owned();
        if self.run(format!("CREATE STATISTICS {name} {kinds} ON {} FROM {}", items.join(", "), table.name)).await
            && self.rng.one_in(2)
        {
            self.run(format!("ALTER STATISTICS {name} SET STATISTICS 77")).await;
        }
    }

    pub(crate) async fn make_replica_identity(&mut self) {
        let Some(table) = self.table() else { return };
        let how = self.rng.of(&["FULL", "NOTHING"]).to_owned();
        self.run(format!("ALTER TABLE {} REPLICA IDENTITY {how}", table.name)).await;
    }
}

/// The quoted schema of a qualified name.
pub(crate) fn schema_of(name: &str) -> &str {
    let mut quoted = false;
    let dot = name.char_indices().find(|(_, c)| {
        quoted ^= *c == '"';
        *c == '.' && !quoted
    });
    &name[..dot.map_or(0, |(i, _)| i)]
}
