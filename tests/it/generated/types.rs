//! Schemas, types, collations, and operators on types.

use pgkeep::base::sql::ident;

use super::world::{Type, World};

/// Types of the server: name, values, whether it sorts. The first is the integer.
const BUILT_IN: &[(&str, &[&str], bool)] = &[
    ("integer", &["1", "2", "7", "-5", "0"], true),
    ("bigint", &["'9223372036854775807'", "3", "-1"], true),
    ("smallint", &["32767", "4"], true),
    ("numeric(12,3)", &["1.5", "'NaN'", "-0.125"], true),
    ("text", &["'a'", "''", "E'tab\\t\\\\ \\n'", "'\\N'", "'€𝄞'", "'NULL'"], true),
    ("character varying(20)", &["'v'", "'\\.'"], true),
    ("character(3)", &["'c'", "'abc'"], true),
    ("boolean", &["true", "false"], true),
    ("date", &["'2026-02-28'", "'infinity'", "'0044-03-15 BC'"], true),
    ("timestamp(3) without time zone", &["'2026-03-29 01:30:00.123'", "'-infinity'"], true),
    ("timestamp with time zone", &["'2026-03-29 01:30:00.123456+00'", "'infinity'"], true),
    ("time without time zone", &["'24:00'", "'01:02:03.000004'"], true),
    ("interval", &["'-1 year 2 mons -3 days 04:05:06.789'", "'0'"], true),
    ("uuid", &["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"], true),
    ("jsonb", &["'{\"a\": [1, null, \"x\\\\n\"]}'", "'null'"], true),
    ("json", &["'{\"b\" : 1,  \"b\":2}'"], false),
    ("bytea", &["'\\x00ff5c0a'", "''"], true),
    ("double precision", &["'NaN'", "'-0'", "'5e-324'", "0.1"], true),
    ("real", &["'Infinity'", "'1e-45'"], true),
    ("inet", &["'::1/64'", "'10.0.0.1'"], true),
    ("int4range", &["'[1,5)'", "'empty'", "'(,)'"], true),
    ("tstzrange", &["'[2026-01-01 00:00+00,)'"], true),
    ("point", &["'(1,-2.5)'"], false),
    ("bit(5)", &["B'10101'"], true),
    ("bit varying(7)", &["B''", "B'1'"], true),
    ("tsvector", &["'a:1A ''b c'':2'"], true),
    ("\"char\"", &["'x'"], true),
    ("name", &["'pg name'"], true),
    ("money", &["12.34::numeric"], true),
    ("integer[]", &["'{1,NULL,3}'", "'[0:1]={5,6}'", "'{}'"], true),
    ("text[]", &["ARRAY['', NULL, 'NULL', E'a\"b\\\\c,{}']"], true),
    ("numeric(6,2)[]", &["'{{1.5,2},{3,4}}'"], true),
];

/// Types of every database of that major.
pub(crate) fn built_in(major: u32) -> Vec<Type> {
    let make = |sql: &str, samples: &[&str], sorts: bool| Type {
        sql: sql.to_owned(),
        samples: samples.iter().map(|s| format!("({s})::{sql}")).collect(),
        sorts,
        indexes: sorts,
    };
    let mut types: Vec<Type> = BUILT_IN.iter().map(|(sql, samples, sorts)| make(sql, samples, *sorts)).collect();
    if major >= 14 {
        types.push(make("int4multirange", &["'{[1,3),[7,9)}'", "'{}'"], true));
    }
    types
}

impl World {
    pub(crate) async fn make_schema(&mut self) {
        let name = self.name("Schema ");
        let owner = if self.rng.one_in(2) { format!(" AUTHORIZATION {}", self.role()) } else { String::new() };
        if self.run(format!("CREATE SCHEMA {}{owner}", ident(&name))).await {
            self.schemas.push(name);
        }
    }

    fn add_type(&mut self, sql: &str, samples: Vec<String>, sorts: bool) {
        self.add_type_with(sql, samples, sorts, sorts);
    }

    fn add_type_with(&mut self, sql: &str, samples: Vec<String>, sorts: bool, indexes: bool) {
        self.types.push(Type { sql: sql.to_owned(), samples: samples.clone(), sorts, indexes });
        if self.rng.one_in(3) {
            let array = format!("{sql}[]");
            let samples = vec![format!("ARRAY[{}, NULL]::{array}", samples[0]), format!("'{{}}'::{array}")];
            self.types.push(Type { sql: array, samples, sorts, indexes });
        }
    }

    pub(crate) async fn make_enum(&mut self) {
        let name = self.new_name("enum");
        let labels: Vec<String> = (0..self.rng.between(1, 4)).map(|n| format!("'l {n} \"'' \\ é'")).collect();
        if self.run(format!("CREATE TYPE {name} AS ENUM ({})", labels.join(", "))).await {
            let samples = labels.iter().map(|l| format!("{l}::{name}")).collect();
            self.run(format!("ALTER TYPE {name} ADD VALUE 'added' BEFORE {}", labels[0])).await;
            self.add_type(&name, samples, true);
        }
    }

    pub(crate) async fn make_domain(&mut self) {
        let name = self.new_name("domain");
        let composites: Vec<Type> = self.types.iter().filter(|t| t.samples[0].starts_with("ROW(")).cloned().collect();
        let composite = if self.rng.one_in(3) { self.rng.pick(&composites) } else { None };
        let base = match composite {
            Some(composite) => composite,
            None => self.some_type(),
        };
        let sample = self.sample(&base);
        let mut sql = format!("CREATE DOMAIN {name} AS {}", base.sql);
        if base.sql == "text" {
            sql.push_str(self.rng.maybe(2, " COLLATE \"C\""));
        }
        if self.rng.one_in(2) {
            sql.push_str(&format!(" DEFAULT {sample}"));
        }
        if base.sorts && self.rng.one_in(2) {
            let constraint = self.local_name("check");
            sql.push_str(&format!(" CONSTRAINT {constraint} CHECK (VALUE IS NULL OR VALUE = {sample} OR VALUE <> {sample})"));
        }
        if !self.run(&sql).await {
            return;
        }
        let constraint = self.local_name("later");
        let check = if base.sorts { format!("VALUE >= {sample}") } else { "VALUE IS NOT NULL".to_owned() };
        let mut samples = vec![format!("{sample}::{name}")];
        match self.rng.below(4) {
            0 => {
                self.run(format!("ALTER DOMAIN {name} ADD CONSTRAINT {constraint} CHECK ({check}) NOT VALID")).await;
            }
            1 => {
                self.run(format!("ALTER DOMAIN {name} SET NOT NULL")).await;
            }
            _ => samples.push(format!("NULL::{name}")),
        }
        let text = self.text();
        self.run(format!("COMMENT ON CONSTRAINT {constraint} ON DOMAIN {name} IS {text}")).await;
        self.add_type(&name, samples, base.sorts);
    }

    pub(crate) async fn make_composite(&mut self) {
        let name = self.new_name("composite");
        let (mut fields, mut values, mut sorts) = (Vec::new(), Vec::new(), true);
        for _ in 0..self.rng.between(1, 4) {
            let (field, data_type) = (self.local_name("field"), self.some_type());
            let collate = if data_type.sql == "text" { self.rng.maybe(2, " COLLATE \"POSIX\"") } else { "" };
            fields.push(format!("{field} {}{collate}", data_type.sql));
            values.push(self.sample(&data_type));
            sorts &= data_type.sorts;
        }
        if self.rng.one_in(3) {
            fields.insert(0, "dropped integer".to_owned());
        }
        if !self.run(format!("CREATE TYPE {name} AS ({})", fields.join(", "))).await {
            return;
        }
        if fields[0] == "dropped integer" {
            self.run(format!("ALTER TYPE {name} DROP ATTRIBUTE dropped")).await;
        }
        if self.rng.one_in(3) {
            let (field, text) = (self.local_name("added"), self.text());
            if self.run(format!("ALTER TYPE {name} ADD ATTRIBUTE {field} date")).await {
                values.push("'2026-01-01'::date".to_owned());
            }
            self.run(format!("COMMENT ON COLUMN {name}.{field} IS {text}")).await;
        }
        self.add_type(&name, vec![format!("ROW({})::{name}", values.join(", "))], sorts);
    }

    pub(crate) async fn make_range(&mut self) {
        let name = self.new_name("range");
        let subtype = self.sorting_type();
        let mut sql = format!("CREATE TYPE {name} AS RANGE (subtype = {}", subtype.sql);
        if subtype.sql == "text" {
            sql.push_str(self.rng.maybe(2, ", collation = \"C\""));
            sql.push_str(self.rng.maybe(2, ", subtype_opclass = text_pattern_ops"));
        }
        let multirange = self.new_name("multi");
        if self.since(14) && self.rng.one_in(2) {
            sql.push_str(&format!(", multirange_type_name = {multirange}"));
        }
        if self.run(sql + ")").await {
            self.add_type(&name, vec![format!("'empty'::{name}"), format!("'(,)'::{name}")], true);
        }
    }

    /// A base type that is an integer inside, with casts, operators and an operator class of its own.
    pub(crate) async fn make_base_type(&mut self) {
        let (name, put, get) = (self.new_name("base"), self.new_name("in"), self.new_name("out"));
        let alignment = self.rng.of(&["", ", DELIMITER = ';'", ", CATEGORY = 'N'", ", COLLATABLE = false"]).to_owned();
        let made = self
            .run(format!(
                "CREATE TYPE {name};
                 CREATE FUNCTION {put}(cstring) RETURNS {name} IMMUTABLE STRICT LANGUAGE internal AS 'int4in';
                 CREATE FUNCTION {get}({name}) RETURNS cstring IMMUTABLE STRICT LANGUAGE internal AS 'int4out';
                 CREATE TYPE {name} (INPUT = {put}, OUTPUT = {get}, LIKE = int4{alignment})"
            ))
            .await;
        if !made {
            return;
        }
        let mut indexes = false;
        let (compare, family) = (self.new_name("cmp"), self.new_name("ops"));
        let context = self.rng.maybe(2, "AS IMPLICIT").to_owned();
        self.run(format!("CREATE CAST ({name} AS integer) WITHOUT FUNCTION {context}")).await;
        if self.rng.one_in(2) {
            let schema = self.rng.pick(&self.schemas).expect("schemas");
            let operators: Vec<String> = [("<", "lt", 1), ("<=", "le", 2), ("=", "eq", 3), (">=", "ge", 4), (">", "gt", 5)]
                .iter()
                .map(|(sign, suffix, _)| {
                    let function = format!("{}.\"{suffix}_{}\"", ident(&schema), self.statements);
                    format!(
                        "CREATE FUNCTION {function}({name}, {name}) RETURNS boolean IMMUTABLE STRICT LANGUAGE internal AS 'int4{suffix}';
                         CREATE OPERATOR {}.{sign} (LEFTARG = {name}, RIGHTARG = {name}, FUNCTION = {function})",
                        ident(&schema)
                    )
                })
                .collect();
            let signs: Vec<String> = [("<", 1), ("<=", 2), ("=", 3), (">=", 4), (">", 5)]
                .iter()
                .map(|(sign, n)| format!("OPERATOR {n} {}.{sign}", ident(&schema)))
                .collect();
            indexes = self
                .run(format!(
                    "{}; CREATE FUNCTION {compare}({name}, {name}) RETURNS integer IMMUTABLE STRICT LANGUAGE internal AS 'btint4cmp';
                     CREATE OPERATOR CLASS {family} DEFAULT FOR TYPE {name} USING btree AS {}, FUNCTION 1 {compare}({name}, {name})",
                    operators.join("; "),
                    signs.join(", ")
                ))
                .await;
        }
        self.add_type_with(&name, vec![format!("'5'::{name}"), format!("'-17'::{name}")], false, indexes);
    }

    pub(crate) async fn make_collation(&mut self) {
        let name = self.new_name("collation");
        let how =
            self.rng.of(&["(LOCALE = 'C')", "FROM \"C\"", "FROM \"POSIX\"", "(LC_COLLATE = 'C', LC_CTYPE = 'POSIX')"]).to_owned();
        if self.run(format!("CREATE COLLATION {name} {how}")).await {
            let domain = self.new_name("collated");
            if self.run(format!("CREATE DOMAIN {domain} AS text COLLATE {name}")).await {
                self.add_type(&domain, vec![format!("'collated'::{domain}")], true);
            }
        }
    }

    pub(crate) async fn make_text_search(&mut self) {
        let (dictionary, configuration) = (self.new_name("dictionary"), self.new_name("configuration"));
        let stop = self.rng.maybe(2, ", STOPWORDS = english, ACCEPT = false").to_owned();
        self.run(format!("CREATE TEXT SEARCH DICTIONARY {dictionary} (TEMPLATE = simple{stop})")).await;
        self.run(format!(
            "CREATE TEXT SEARCH CONFIGURATION {configuration} (PARSER = default);
             ALTER TEXT SEARCH CONFIGURATION {configuration} ADD MAPPING FOR asciiword, word WITH {dictionary}, simple"
        ))
        .await;
    }

    pub(crate) async fn make_extension(&mut self) {
        let schema = self.rng.pick(&self.schemas).expect("schemas");
        let (name, data_type, sample, sorts) =
            [("citext", "citext", "'CiText'", true), ("hstore", "hstore", "'a=>1'", false), ("ltree", "ltree", "'a.b'", true)]
                [self.rng.below(3)];
        if self.run(format!("CREATE EXTENSION {name} SCHEMA {}", ident(&schema))).await {
            let sql = format!("{}.{data_type}", ident(&schema));
            self.add_type_with(&sql, vec![format!("{sample}::{sql}")], sorts && schema == "public", sorts);
            if self.rng.one_in(2) {
                let role = self.role();
                self.run(format!("GRANT USAGE ON TYPE {sql} TO {role}; REVOKE USAGE ON TYPE {sql} FROM PUBLIC")).await;
            }
        }
    }
}
