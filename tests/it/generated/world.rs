//! What the generator has made so far, and small pieces of SQL over it.

use pgkeep::base::sql::{ident, literal, qualified};
use tokio_postgres::Client;

use super::random::{self, Rng};

/// A type that columns can have.
#[derive(Clone, Debug)]
pub(crate) struct Type {
    /// As SQL writes it.
    pub(crate) sql: String,
    /// Expressions of that type, all valid.
    pub(crate) samples: Vec<String>,
    /// Whether conditions can compare it: its operators are found by their bare names.
    pub(crate) sorts: bool,
    /// Whether it has a default btree operator class.
    pub(crate) indexes: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Column {
    /// Quoted.
    pub(crate) name: String,
    pub(crate) data_type: Type,
    /// Whether INSERT may give a value.
    pub(crate) writable: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Table,
    Partitioned,
    View,
    Materialized,
}

/// A table, view or materialised view.
#[derive(Clone, Debug)]
pub(crate) struct Relation {
    /// Qualified and quoted.
    pub(crate) name: String,
    pub(crate) shape: Shape,
    pub(crate) columns: Vec<Column>,
    /// Column lists, quoted, that a foreign key can point to, with their types.
    pub(crate) keys: Vec<Vec<Column>>,
    /// Whether queries can read it (a view in a circle cannot be read).
    pub(crate) readable: bool,
}

/// The database under construction.
pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) major: u32,
    client: Client,
    counter: u32,
    pub(crate) schemas: Vec<String>,
    pub(crate) types: Vec<Type>,
    pub(crate) relations: Vec<Relation>,
    /// Calls of immutable functions of one `integer`, with `{}` for the argument.
    pub(crate) integer_functions: Vec<String>,
    /// Qualified names of trigger functions.
    pub(crate) trigger_functions: Vec<String>,
    /// Qualified names of sequences that no column owns.
    pub(crate) sequences: Vec<String>,
    pub(crate) statements: usize,
    /// Statements that the server refused, with its message.
    pub(crate) refused: Vec<String>,
}

impl World {
    pub(crate) fn new(seed: u64, major: u32, client: Client) -> Self {
        Self {
            rng: Rng::new(seed * 1000 + u64::from(major)),
            major,
            client,
            counter: 0,
            schemas: vec!["public".to_owned()],
            types: super::types::built_in(major),
            relations: Vec::new(),
            integer_functions: vec!["abs({})".to_owned()],
            trigger_functions: Vec::new(),
            sequences: Vec::new(),
            statements: 0,
            refused: Vec::new(),
        }
    }

    /// Runs statements, all or none; whether the server took them. Random combinations are sometimes refused, which is no failure: the
    /// checklist sees to it that nothing is always refused.
    pub(crate) async fn run(&mut self, sql: impl AsRef<str>) -> bool {
        self.statements += 1;
        match self.client.batch_execute(sql.as_ref()).await {
            Ok(()) => true,
            Err(error) => {
                let message = error.as_db_error().map_or_else(|| error.to_string(), |e| e.message().to_owned());
                self.refused.push(format!("{}\n    {message}", sql.as_ref()));
                false
            }
        }
    }

    /// First column of a query, as text, in the query's order.
    pub(crate) async fn texts(&mut self, sql: &str) -> Vec<String> {
        let rows = self.client.query(sql, &[]).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
        rows.iter().map(|r| r.get(0)).collect()
    }

    pub(crate) fn since(&self, major: u32) -> bool {
        self.major >= major
    }

    /// A new unquoted name.
    pub(crate) fn name(&mut self, stem: &str) -> String {
        self.counter += 1;
        random::name(&mut self.rng, stem, self.counter)
    }

    /// A new quoted name, for what lives in a table.
    pub(crate) fn local_name(&mut self, stem: &str) -> String {
        let name = self.name(stem);
        ident(&name)
    }

    /// A new qualified name in some schema.
    pub(crate) fn new_name(&mut self, stem: &str) -> String {
        let schema = self.rng.pick(&self.schemas).expect("schemas");
        let name = self.name(stem);
        qualified(&schema, &name)
    }

    pub(crate) fn some_type(&mut self) -> Type {
        // Types of the database's own are wanted as often as the server's.
        let from = if self.rng.one_in(2) { 0 } else { super::types::built_in(self.major).len() };
        let types = self.types[from.min(self.types.len() - 1)..].to_vec();
        self.rng.pick(&types).expect("types")
    }

    pub(crate) fn sorting_type(&mut self) -> Type {
        loop {
            let data_type = self.some_type();
            if data_type.sorts {
                return data_type;
            }
        }
    }

    pub(crate) fn indexed_type(&mut self) -> Type {
        loop {
            let data_type = self.some_type();
            if data_type.indexes {
                return data_type;
            }
        }
    }

    pub(crate) fn integer(&self) -> Type {
        self.types[0].clone()
    }

    pub(crate) fn sample(&mut self, data_type: &Type) -> String {
        self.rng.pick(&data_type.samples).expect("samples")
    }

    /// A relation that `wanted` accepts.
    pub(crate) fn relation(&mut self, wanted: impl Fn(&Relation) -> bool) -> Option<Relation> {
        let fitting: Vec<Relation> = self.relations.iter().filter(|r| wanted(r)).cloned().collect();
        self.rng.pick(&fitting)
    }

    pub(crate) fn table(&mut self) -> Option<Relation> {
        self.relation(|r| r.shape == Shape::Table || r.shape == Shape::Partitioned)
    }

    /// A relation that queries can read; materialised views are wanted oftener than there are of them.
    pub(crate) fn readable(&mut self) -> Option<Relation> {
        let only = if self.rng.one_in(6) { Some(Shape::Materialized) } else { None };
        let fits = |r: &Relation| r.readable && !r.columns.is_empty();
        self.relation(|r| fits(r) && only == Some(r.shape)).or_else(|| self.relation(fits))
    }

    /// A condition over `columns`, immutable; `prefix` is `a.` or nothing.
    pub(crate) fn condition(&mut self, columns: &[Column], prefix: &str) -> String {
        let Some(column) = self.rng.pick(columns) else { return "true".to_owned() };
        let (name, sample) = (format!("{prefix}{}", column.name), self.sample(&column.data_type));
        if !column.data_type.sorts {
            return format!("{name} IS NOT NULL");
        }
        match self.rng.below(9) {
            0 => format!("{name} = {sample}"),
            // Lists and ranges become nested operators, which the parser would flatten when it reads them again.
            1 if ["integer", "bigint", "date", "uuid", "boolean"].contains(&column.data_type.sql.as_str()) => {
                format!("({name} IN ({sample}, {})) IS NOT FALSE", self.sample(&column.data_type))
            }
            2 => format!("{name} IS DISTINCT FROM {sample}"),
            3 => format!("coalesce({name}, {sample}) >= {sample}"),
            4 => format!("NOT ({})", self.condition(columns, prefix)),
            5 => format!("({}) AND ({})", self.condition(columns, prefix), self.condition(columns, prefix)),
            6 => format!("({}) OR ({})", self.condition(columns, prefix), self.condition(columns, prefix)),
            7 => format!("CASE WHEN {name} > {sample} THEN {name} < {sample} ELSE {name} IS NULL END"),
            _ => format!("({name} BETWEEN {sample} AND {sample}) IS NOT TRUE"),
        }
    }

    /// An immutable expression of type `integer` over `columns`.
    pub(crate) fn integer_expression(&mut self, columns: &[Column], prefix: &str) -> String {
        let integers: Vec<Column> = columns.iter().filter(|c| c.data_type.sql == "integer").cloned().collect();
        let base = match self.rng.pick(&integers) {
            Some(column) => format!("{prefix}{}", column.name),
            None => format!("CASE WHEN {} THEN 1 ELSE 2 END", self.condition(columns, prefix)),
        };
        match self.rng.below(3) {
            0 => base,
            1 => format!("({base} % 1000 + {})", self.rng.between(1, 9)),
            _ => self.rng.pick(&self.integer_functions).expect("functions").replace("{}", &format!("({base} % 1000)")),
        }
    }

    /// Some of the roles of the corpus, as SQL writes them.
    pub(crate) fn role(&mut self) -> String {
        let roles = crate::support::corpus::ROLES;
        ident(self.rng.of(roles))
    }

    /// Text in quotes that is hard on escaping.
    pub(crate) fn text(&mut self) -> String {
        let texts = ["plain", "it's", "back\\slash", "two\nlines", "-- not a comment", "$$ \\. \\N", "€𝄞", "tab\tx", "%s {} :x"];
        literal(self.rng.of(&texts))
    }
}
