//! Tables: columns of every sort, and what is altered afterwards; rows.

use super::keys::schema_of;
use super::world::{Column, Relation, Shape, Type, World};

impl World {
    /// A table of random columns, with rows.
    pub(crate) async fn make_table(&mut self) {
        let name = self.new_name("table");
        let (mut columns, mut elements) = (Vec::new(), Vec::new());
        for _ in 0..self.rng.between(1, 6) {
            let (column, element) = self.column(&columns);
            elements.push(element);
            columns.push(column);
        }
        elements.extend(self.inline_checks(&columns));
        let persistence = self.rng.maybe(6, "UNLOGGED ").to_owned();
        let storage = self
            .rng
            .of(&[
                "",
                "",
                "",
                " WITH (fillfactor = 70, autovacuum_enabled = false, toast.autovacuum_enabled = off)",
                " TABLESPACE corpus_space",
                " USING heap WITH (parallel_workers = 3)",
            ])
            .to_owned();
        if storage.contains("toast.") {
            // Options of a TOAST table are forgotten with the last column that needs one.
            elements.push("toasted text".to_owned());
        }
        if self.run(format!("CREATE {persistence}TABLE {name} ({}){storage}", elements.join(", "))).await {
            self.finish_table(Relation { name, shape: Shape::Table, columns, keys: Vec::new(), readable: true }).await;
        }
    }

    /// Rows, alterations, and the place among the relations.
    pub(crate) async fn finish_table(&mut self, mut table: Relation) {
        for _ in 0..self.rng.between(1, 3) {
            self.insert(&table).await;
        }
        for _ in 0..self.rng.between(0, 3) {
            self.alter_column(&mut table).await;
        }
        self.insert(&table).await;
        self.relations.push(table);
    }

    /// A column and its definition; generated ones may use `others`.
    fn column(&mut self, others: &[Column]) -> (Column, String) {
        let name = self.local_name("column");
        let data_type = if self.rng.one_in(4) { self.integer() } else { self.some_type() };
        let mut element = format!("{name} {}", data_type.sql);
        let mut writable = true;
        let usable: Vec<Column> = others.iter().filter(|c| c.writable).cloned().collect();
        match self.rng.below(8) {
            0 if data_type.sql.starts_with("text") && self.since(14) => element.push_str(" COMPRESSION pglz"),
            0 | 7 if data_type.sql == "text" || data_type.sql.starts_with("char") => element.push_str(" COLLATE \"C\""),
            1 | 2 => element.push_str(&format!(" DEFAULT {}", self.sample(&data_type))),
            3 => element.push_str(&self.not_null()),
            4 if data_type.sql == "integer" && !usable.is_empty() => {
                let kind = if self.since(18) { self.rng.of(&["STORED", "VIRTUAL"]).to_owned() } else { "STORED".to_owned() };
                element.push_str(&format!(" GENERATED ALWAYS AS ({}) {kind}", self.integer_expression(&usable, "")));
                writable = false;
            }
            5 if ["integer", "bigint", "smallint"].contains(&data_type.sql.as_str()) => {
                let how = self.rng.of(&["ALWAYS", "BY DEFAULT"]).to_owned();
                element
                    .push_str(&format!(" GENERATED {how} AS IDENTITY{}", self.rng.maybe(2, " (INCREMENT 5 START 100 CACHE 2)")));
                writable = false;
            }
            _ => {}
        }
        (Column { name, data_type, writable }, element)
    }

    /// ` NOT NULL`, with a name where servers keep one.
    pub(crate) fn not_null(&mut self) -> String {
        if self.since(18) && self.rng.one_in(2) {
            let name = self.local_name("nn");
            format!(" CONSTRAINT {name} NOT NULL{}", self.rng.maybe(3, " NO INHERIT"))
        } else {
            " NOT NULL".to_owned()
        }
    }

    fn inline_checks(&mut self, columns: &[Column]) -> Vec<String> {
        (0..self.rng.below(3))
            .map(|_| {
                let (name, condition) = (self.local_name("check"), self.condition(columns, ""));
                let weak = self.rng.maybe(2, " OR true").to_owned();
                let how = if self.since(18) {
                    self.rng.of(&["", "", " NO INHERIT", " NOT ENFORCED"])
                } else {
                    self.rng.of(&["", "", " NO INHERIT"])
                };
                format!("CONSTRAINT {name} CHECK (({condition}){weak}){how}")
            })
            .collect()
    }

    /// One row of values that fit the types.
    pub(crate) async fn insert(&mut self, table: &Relation) {
        let columns: Vec<Column> = table.columns.iter().filter(|c| c.writable).cloned().collect();
        if columns.is_empty() {
            self.run(format!("INSERT INTO {} DEFAULT VALUES", table.name)).await;
            return;
        }
        let values: Vec<String> = columns.iter().map(|c| self.sample(&c.data_type)).collect();
        let names: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
        self.run(format!("INSERT INTO {} ({}) VALUES ({})", table.name, names.join(", "), values.join(", "))).await;
    }

    /// Alters one column, or adds or drops one.
    pub(crate) async fn alter_column(&mut self, table: &mut Relation) {
        let Some(column) = self.rng.pick(&table.columns) else { return };
        let (target, name) = (table.name.clone(), column.name.clone());
        let alter = |change: &str| format!("ALTER TABLE {target} ALTER COLUMN {name} {change}");
        match self.rng.below(11) {
            0 => {
                self.run(alter("SET STATISTICS 250")).await;
            }
            1 => {
                self.run(alter("SET (n_distinct = -0.25, n_distinct_inherited = 20)")).await;
            }
            2 => {
                let storage = self.rng.of(&["SET STORAGE EXTERNAL", "SET STORAGE MAIN", "SET STORAGE PLAIN"]).to_owned();
                self.run(alter(&storage)).await;
            }
            3 if self.since(14) => {
                self.run(alter("SET COMPRESSION pglz")).await;
            }
            4 | 5 if table.columns.len() > 1 => {
                if self.run(format!("ALTER TABLE {target} DROP COLUMN {name}")).await {
                    table.columns.retain(|c| c.name != name);
                }
            }
            6 | 7 => {
                let (added, element) = self.column(&[]);
                if self.run(format!("ALTER TABLE {target} ADD COLUMN {element}")).await {
                    table.columns.push(added);
                }
            }
            8 => {
                let new = self.local_name("renamed");
                if self.run(format!("ALTER TABLE {target} RENAME COLUMN {name} TO {new}")).await {
                    for c in table.columns.iter_mut().filter(|c| c.name == name) {
                        c.name.clone_from(&new);
                    }
                }
            }
            9 => {
                let sample = self.sample(&column.data_type);
                self.run(alter(&format!("SET DEFAULT {sample}"))).await;
            }
            _ => {
                if self.since(18) && self.rng.one_in(2) {
                    let constraint = self.local_name("nn");
                    let how = self.rng.maybe(2, " NOT VALID").to_owned();
                    self.run(format!("ALTER TABLE {target} ADD CONSTRAINT {constraint} NOT NULL {name}{how}")).await;
                } else {
                    self.run(alter("SET NOT NULL")).await;
                }
            }
        }
    }

    /// A table whose columns are those of a composite type.
    pub(crate) async fn make_typed_table(&mut self) {
        let (of, name) = (self.new_name("row type"), self.new_name("typed"));
        let (one, two) = (self.integer(), self.some_type());
        if !self
            .run(format!(
                "CREATE TYPE {of} AS (a integer, b {}); CREATE TABLE {name} OF {of} (a WITH OPTIONS DEFAULT 3)",
                two.sql
            ))
            .await
        {
            return;
        }
        let column = |name: &str, data_type: Type| Column { name: name.to_owned(), data_type, writable: true };
        let columns = vec![column("a", one), column("b", two)];
        let table = Relation { name, shape: Shape::Table, columns, keys: Vec::new(), readable: true };
        self.insert(&table).await;
        self.relations.push(table);
    }

    /// Tables without columns, or with none that a copy would carry.
    pub(crate) async fn make_strange_table(&mut self) {
        let name = self.new_name("strange");
        let sql = match self.rng.below(4) {
            0 => format!("CREATE TABLE {name} ()"),
            1 => format!("CREATE TABLE {name} (a integer); ALTER TABLE {name} DROP COLUMN a"),
            2 => format!("CREATE TABLE {name} (a integer GENERATED ALWAYS AS (7) STORED)"),
            _ => match self.readable() {
                Some(relation) => format!("CREATE TABLE {name} (r {})", relation.name),
                None => format!("CREATE TABLE {name} ()"),
            },
        };
        self.run(sql).await;
        self.run(format!("INSERT INTO {name} DEFAULT VALUES")).await;
    }

    /// Sequences that belong to columns.
    pub(crate) async fn make_owned_sequence(&mut self) {
        let Some(sequence) = self.rng.pick(&self.sequences) else { return };
        let near = |r: &Relation| r.shape == Shape::Table && schema_of(&r.name) == schema_of(&sequence);
        let Some(table) = self.relation(near) else { return };
        let Some(column) = self.rng.pick(&table.columns) else { return };
        self.run(format!("ALTER SEQUENCE {sequence} OWNED BY {}.{}", table.name, column.name)).await;
    }

    pub(crate) async fn make_sequence_default(&mut self) {
        let Some(table) = self.table() else { return };
        let Some(sequence) = self.rng.pick(&self.sequences) else { return };
        let name = self.local_name("counted");
        self.run(format!(
            "ALTER TABLE {} ADD COLUMN {name} bigint DEFAULT nextval('{}')",
            table.name,
            sequence.replace('\'', "''")
        ))
        .await;
    }

    /// A table of what chance would show too seldom.
    pub(crate) async fn make_staple(&mut self) {
        let (name, index, function) =
            (self.new_name("staple"), self.local_name("staple index"), self.integer_functions.last().cloned());
        self.run(format!(
            "CREATE TABLE {name} (id bigint GENERATED BY DEFAULT AS IDENTITY, t text COLLATE \"C\", n integer NOT NULL);
             CREATE UNIQUE INDEX {index} ON {name} (n); ALTER TABLE {name} REPLICA IDENTITY USING INDEX {index};
             INSERT INTO {name} (t, n) VALUES ('a', 1), ('b', 2)"
        ))
        .await;
        let (tree, part) = (self.new_name("staple tree"), self.new_name("staple part"));
        self.run(format!(
            "CREATE TABLE {tree} (k integer, v text) PARTITION BY LIST (k); CREATE TABLE {part} (gone integer, v text, k integer);
             ALTER TABLE {part} DROP COLUMN gone; ALTER TABLE {tree} ATTACH PARTITION {part} FOR VALUES IN (1, 2);
             INSERT INTO {tree} VALUES (1, 'one'), (2, NULL)"
        ))
        .await;
        if let Some(function) = function {
            self.run(format!("CREATE INDEX ON {name} (({}))", function.replace("{}", "n"))).await;
        }
    }
}
