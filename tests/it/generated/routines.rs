//! Functions, procedures, aggregates, sequences, large objects.

use super::world::World;

impl World {
    /// Immutable functions of an integer, for checks, indexes and generated columns.
    pub(crate) async fn make_integer_function(&mut self) {
        let name = self.new_name("pure");
        let called = self.rng.pick(&self.integer_functions).expect("functions");
        let (inner, default) = (called.replace("{}", "a"), called.replace("{}", "3"));
        let cost = self.rng.maybe(3, "PARALLEL SAFE COST 3").to_owned();
        let sql = match self.rng.below(3) {
            0 => format!(
                "CREATE FUNCTION {name}(a integer) RETURNS integer LANGUAGE sql IMMUTABLE {cost} AS 'SELECT coalesce($1, 0) % 7'"
            ),
            1 if self.since(14) => format!("CREATE FUNCTION {name}(a integer) RETURNS integer IMMUTABLE {cost} RETURN {inner}"),
            _ => format!(
                "CREATE FUNCTION {name}(a integer, b integer DEFAULT {default}) RETURNS integer LANGUAGE plpgsql IMMUTABLE {cost} AS $$ BEGIN RETURN a + b; END $$"
            ),
        };
        if self.run(sql).await {
            self.integer_functions.push(format!("{name}({{}})"));
        }
    }

    /// Functions that read relations, in string and parsed bodies; results become columns of views.
    pub(crate) async fn make_reading_function(&mut self) {
        let Some(relation) = self.readable() else { return };
        let (name, condition) = (self.new_name("reads"), self.condition(&relation.columns, "x."));
        let from = format!("FROM {} x WHERE {condition}", relation.name);
        let attributes =
            self.rng.of(&["STABLE", "SECURITY DEFINER SET search_path = ''", "VOLATILE COST 50", "STABLE LEAKPROOF"]).to_owned();
        let sql = match self.rng.below(6) {
            0 | 1 if self.since(14) => {
                format!(
                    "CREATE FUNCTION {name}(a integer) RETURNS bigint LANGUAGE sql {attributes} BEGIN ATOMIC SELECT count(*) {from} AND a > 0; END"
                )
            }
            2 => format!(
                "CREATE FUNCTION {name}(a integer) RETURNS SETOF {} LANGUAGE sql {attributes} AS $f$ SELECT * FROM {} x $f$",
                relation.name, relation.name
            ),
            3 => format!(
                "CREATE FUNCTION {name}(row_ {rowtype}, a integer = 5, VARIADIC more text[] = '{{}}') RETURNS bigint LANGUAGE sql {attributes} AS $f$ SELECT count(*) {from} $f$",
                rowtype = relation.name
            ),
            4 => format!(
                "CREATE FUNCTION {name}(OUT total bigint, INOUT a integer) LANGUAGE sql {attributes} AS $f$ SELECT count(*), $1 {from} $f$"
            ),
            _ => format!(
                "CREATE FUNCTION {name}(a integer) RETURNS bigint LANGUAGE plpgsql {attributes} AS $f$ BEGIN RETURN (SELECT count(*) {from}); END $f$"
            ),
        };
        self.run(sql).await;
    }

    pub(crate) async fn make_procedure(&mut self) {
        let (name, data_type) = (self.new_name("procedure"), self.some_type());
        let Some(relation) = self.readable() else { return };
        let body = if self.since(14) && self.rng.one_in(2) {
            format!("BEGIN ATOMIC SELECT count(*) FROM {}; END", relation.name)
        } else {
            "AS 'SELECT 1'".to_owned()
        };
        self.run(format!("CREATE PROCEDURE {name}(IN a {}, IN b integer DEFAULT 7) LANGUAGE sql {body}", data_type.sql)).await;
    }

    pub(crate) async fn make_aggregate(&mut self) {
        let (name, step) = (self.new_name("aggregate"), self.new_name("step"));
        let data_type = self.some_type();
        self.run(format!(
            "CREATE FUNCTION {step}(integer, {t}) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1';
             CREATE AGGREGATE {name}({t}) (SFUNC = {step}, STYPE = integer, INITCOND = '0')",
            t = data_type.sql
        ))
        .await;
    }

    /// Two functions that call each other: in their texts, and, from 14 on, in parsed bodies, which PostgreSQL records as dependencies.
    pub(crate) async fn make_mutual_recursion(&mut self) {
        let (one, two) = (self.new_name("one"), self.new_name("two"));
        let function =
            |name: &str, body: &str| format!("CREATE OR REPLACE FUNCTION {name}(a integer) RETURNS integer LANGUAGE sql {body}");
        let call = |name: &str| format!("SELECT CASE WHEN a > 0 THEN {name}(a - 1) END");
        self.run(format!(
            "SET check_function_bodies = off; {}; {}; RESET check_function_bodies",
            function(&one, &format!("AS $f$ {} $f$", call(&two))),
            function(&two, &format!("AS $f$ {} $f$", call(&one)))
        ))
        .await;
        if self.since(14) && self.rng.one_in(2) {
            let atomic = |name: &str, other: &str| function(name, &format!("BEGIN ATOMIC {}; END", call(other)));
            self.run(format!("{}; {}", atomic(&one, &two), atomic(&two, &one))).await;
        }
    }

    pub(crate) async fn make_trigger_function(&mut self) {
        let name = self.new_name("fires");
        if self.run(format!("CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'")).await {
            self.trigger_functions.push(name);
        }
    }

    pub(crate) async fn make_sequence(&mut self) {
        let name = self.new_name("sequence");
        let unlogged = if self.since(15) { self.rng.maybe(4, "UNLOGGED ") } else { "" };
        let options = self
            .rng
            .of(&["", "AS smallint", "INCREMENT -3 MAXVALUE 100 START 50", "MINVALUE -5 CYCLE CACHE 4", "AS integer START 7"])
            .to_owned();
        if self.run(format!("CREATE {unlogged}SEQUENCE {name} {options}")).await {
            if self.rng.one_in(2) {
                self.run(format!("SELECT nextval('{}'), nextval('{}')", name.replace('\'', "''"), name.replace('\'', "''")))
                    .await;
            }
            self.sequences.push(name);
        }
    }

    pub(crate) async fn make_large_object(&mut self) {
        let oid = 100_000 + self.statements;
        let (role, reader, text) = (self.role(), self.role(), self.text());
        let length = self.rng.between(0, 2000);
        self.run(format!("SELECT lo_from_bytea({oid}, decode(repeat('00ff5c', {length}), 'hex'))")).await;
        self.run(format!("COMMENT ON LARGE OBJECT {oid} IS {text}; ALTER LARGE OBJECT {oid} OWNER TO {role}; GRANT SELECT ON LARGE OBJECT {oid} TO {reader}")).await;
    }
}
