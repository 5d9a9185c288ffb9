//! Views and materialised views.

use super::world::{Column, Relation, Shape, World};

impl World {
    /// A query over one or two relations, with its columns.
    fn query(&mut self, one: &Relation, two: &Relation) -> (String, Vec<Column>) {
        let condition = self.condition(&one.columns, "x.");
        let mut taken: Vec<Column> = one.columns.clone();
        self.rng.shuffle(&mut taken);
        taken.truncate(4);
        let mut outputs = Vec::new();
        let mut columns = Vec::new();
        for column in &taken {
            let name = self.local_name("out");
            outputs.push(format!("x.{} AS {name}", column.name));
            columns.push(Column { name, data_type: column.data_type.clone(), writable: false });
        }
        let list = outputs.join(", ");
        let expression = self.integer_expression(&one.columns, "x.");
        let (n, other) = (&one.name, &two.name);
        let add = |columns: &mut Vec<Column>, name: &str, data_type| {
            columns.push(Column { name: name.to_owned(), data_type, writable: false });
        };
        let query = match self.rng.below(9) {
            0 => format!("SELECT {list} FROM {n} x"),
            1 => {
                add(&mut columns, "computed", self.integer());
                format!("SELECT {list}, {expression} AS computed FROM ONLY {n} x WHERE {condition}")
                    .replace("FROM ONLY", if one.shape == Shape::Table { "FROM ONLY" } else { "FROM" })
            }
            2 => format!("SELECT {list} FROM {n} x LEFT JOIN {other} y ON ({condition})"),
            3 => format!("SELECT {list} FROM {n} x WHERE EXISTS (SELECT FROM {other} y WHERE {condition})"),
            4 => format!("SELECT DISTINCT {list} FROM {n} x"),
            5 => format!("SELECT {list} FROM {n} x UNION ALL SELECT {list} FROM {n} x WHERE {condition}"),
            6 => format!(
                "WITH first AS MATERIALIZED (SELECT * FROM {n} x WHERE {condition}) SELECT {list} FROM first x ORDER BY {expression} LIMIT 10"
            ),
            7 => format!(
                "SELECT {list} FROM {n} x, LATERAL (SELECT count(*) OVER (ORDER BY 1) AS total FROM {other} y LIMIT 1) z WHERE z.total > 0"
            ),
            _ => match one.keys.first() {
                // Grouped by a key, which lets the other columns through where it is the primary key.
                Some(key) => {
                    let by: Vec<String> = key.iter().map(|c| format!("x.{}", c.name)).collect();
                    format!("SELECT {list} FROM {n} x GROUP BY {}", by.join(", "))
                }
                None => format!("SELECT {list} FROM {n} x WHERE {condition} AND {expression} > 0"),
            },
        };
        (query, columns)
    }

    pub(crate) async fn make_view(&mut self) {
        let (Some(one), Some(two)) = (self.readable(), self.readable()) else { return };
        let name = self.new_name("view");
        let (query, columns) = self.query(&one, &two);
        let invoker = if self.since(15) { "WITH (security_invoker = true)" } else { "" };
        let options = self.rng.of(&["", "", "WITH (security_barrier)", invoker]).to_owned();
        let check = self.rng.maybe(6, " WITH LOCAL CHECK OPTION").to_owned();
        if !self.run(format!("CREATE VIEW {name} {options} AS {query}{check}")).await {
            return;
        }
        if let Some(column) = self.rng.pick(&columns)
            && self.rng.one_in(3)
        {
            let sample = self.sample(&column.data_type);
            self.run(format!("ALTER VIEW {name} ALTER COLUMN {} SET DEFAULT {sample}", column.name)).await;
        }
        self.relations.push(Relation { name, shape: Shape::View, columns, keys: Vec::new(), readable: true });
    }

    /// A view grouped by the primary key of a table made for it, with columns of many types.
    pub(crate) async fn make_grouped_view(&mut self) {
        let (table, view, other) = (self.new_name("grouped base"), self.new_name("grouped"), self.some_type());
        let made = self
            .run(format!(
                "CREATE TABLE {table} (id integer PRIMARY KEY, note text, other {}); CREATE VIEW {view} AS SELECT id, note, other, count(*) FROM {table} GROUP BY id",
                other.sql
            ))
            .await;
        if made {
            let column = |name: &str, data_type| Column { name: name.to_owned(), data_type, writable: true };
            let id = column("id", self.integer());
            let columns = vec![id.clone(), column("other", other)];
            let base =
                Relation { name: table, shape: Shape::Table, columns: columns.clone(), keys: vec![vec![id]], readable: true };
            self.insert(&base).await;
            self.relations.push(base);
            self.relations.push(Relation { name: view, shape: Shape::View, columns, keys: Vec::new(), readable: true });
        }
    }

    /// Views that read each other.
    pub(crate) async fn make_circle(&mut self) {
        let Some(base) = self.readable() else { return };
        let Some(column) = self.rng.pick(&base.columns) else { return };
        let names: Vec<String> = (0..self.rng.between(2, 3)).map(|_| self.new_name("circle")).collect();
        let c = &column.name;
        let mut sql = format!("CREATE VIEW {} AS SELECT x.{c} AS c FROM {} x; ", names[0], base.name);
        for pair in names.windows(2) {
            sql.push_str(&format!("CREATE VIEW {} AS SELECT c FROM {} WHERE c IS NOT NULL; ", pair[1], pair[0]));
        }
        let options = self.rng.maybe(2, "WITH (security_barrier) ").to_owned();
        let last = names.last().expect("names");
        sql.push_str(&format!(
            "CREATE OR REPLACE VIEW {} {options}AS SELECT x.{c} AS c FROM {} x UNION ALL SELECT c FROM {last}",
            names[0], base.name
        ));
        if self.run(sql).await {
            for name in names {
                let columns = vec![Column { name: "c".to_owned(), data_type: column.data_type.clone(), writable: false }];
                self.relations.push(Relation { name, shape: Shape::View, columns, keys: Vec::new(), readable: false });
            }
        }
    }

    pub(crate) async fn make_materialized_view(&mut self) {
        let (Some(one), Some(two)) = (self.readable(), self.readable()) else { return };
        let name = self.new_name("materialized");
        let (query, columns) = self.query(&one, &two);
        let storage = self.rng.of(&["", "", "WITH (fillfactor = 90)", "TABLESPACE corpus_space"]).to_owned();
        let empty = self.rng.one_in(4);
        if !self
            .run(format!("CREATE MATERIALIZED VIEW {name} {storage} AS {query}{}", if empty { " WITH NO DATA" } else { "" }))
            .await
        {
            return;
        }
        if let Some(column) = self.rng.pick(&columns) {
            let text = self.text();
            self.run(format!("ALTER MATERIALIZED VIEW {name} ALTER COLUMN {} SET STATISTICS 44", column.name)).await;
            self.run(format!("COMMENT ON COLUMN {name}.{} IS {text}", column.name)).await;
        }
        // Others may read it whether or not it is populated; then they are not populated either.
        self.relations.push(Relation {
            name,
            shape: Shape::Materialized,
            columns,
            keys: Vec::new(),
            readable: !empty || self.rng.one_in(2),
        });
    }
}
