//! What happens around tables and views: rules, triggers, policies, publications, defaults.

use super::world::{Relation, Shape, World};

impl World {
    pub(crate) async fn make_rule(&mut self) {
        let Some(relation) = self.relation(|r| matches!(r.shape, Shape::View | Shape::Table) && !r.columns.is_empty()) else {
            return;
        };
        let Some(other) = self.relation(|r| r.shape == Shape::Table && !r.columns.is_empty()) else { return };
        let (name, target) = (self.local_name("rule"), relation.name.clone());
        let column = self.rng.pick(&relation.columns).expect("columns").name;
        let log = format!("INSERT INTO {} DEFAULT VALUES", other.name);
        let delete = format!("DELETE FROM {} WHERE false", other.name);
        let condition = self.condition(&relation.columns, "OLD.");
        let definition = match self.rng.below(6) {
            0 => format!("ON INSERT TO {target} DO ALSO NOTIFY \"odd channel\", 'x'"),
            1 => format!("ON UPDATE TO {target} WHERE OLD.{column} IS NOT NULL DO ALSO ({log}; {delete})"),
            2 => format!("ON DELETE TO {target} DO INSTEAD NOTHING"),
            3 => format!("ON DELETE TO {target} WHERE {condition} DO INSTEAD {delete}"),
            4 => format!("ON INSERT TO {target} DO INSTEAD {log}"),
            _ => format!("ON UPDATE TO {target} DO INSTEAD (SELECT OLD.{column}; {delete})"),
        };
        if self.run(format!("CREATE RULE {name} AS {definition}")).await && relation.shape == Shape::Table {
            let state = self.rng.of(&["DISABLE", "ENABLE REPLICA", "ENABLE ALWAYS", "ENABLE"]).to_owned();
            self.run(format!("ALTER TABLE {target} {state} RULE {name}")).await;
        }
    }

    pub(crate) async fn make_trigger(&mut self) {
        let Some(relation) = self.relation(|r| r.shape != Shape::Materialized && !r.columns.is_empty()) else { return };
        let Some(function) = self.rng.pick(&self.trigger_functions) else { return };
        let (name, target) = (self.local_name("trigger"), relation.name.clone());
        let column = self.rng.pick(&relation.columns).expect("columns").name;
        let condition = self.condition(&relation.columns, "NEW.");
        let body = format!("EXECUTE FUNCTION {function}({})", self.rng.of(&["", "'it''s', '2'"]));
        let definition = if relation.shape == Shape::View {
            format!("TRIGGER {name} INSTEAD OF INSERT OR DELETE ON {target} FOR EACH ROW {body}")
        } else {
            match self.rng.below(6) {
                0 => format!("TRIGGER {name} BEFORE INSERT ON {target} FOR EACH ROW WHEN ({condition}) {body}"),
                1 => format!(
                    "TRIGGER {name} AFTER UPDATE OF {column} ON {target} FOR EACH ROW WHEN (OLD.{column} IS DISTINCT FROM NEW.{column}) {body}"
                ),
                2 => format!("TRIGGER {name} AFTER DELETE OR TRUNCATE ON {target} FOR EACH STATEMENT {body}"),
                3 => format!(
                    "TRIGGER {name} AFTER UPDATE ON {target} REFERENCING OLD TABLE AS old_rows NEW TABLE AS \"new rows\" FOR EACH STATEMENT {body}"
                ),
                4 => format!(
                    "CONSTRAINT TRIGGER {name} AFTER INSERT OR UPDATE ON {target} DEFERRABLE INITIALLY DEFERRED FOR EACH ROW {body}"
                ),
                _ => format!("TRIGGER {name} BEFORE UPDATE ON {target} FOR EACH ROW {body}"),
            }
        };
        if self.run(format!("CREATE {definition}")).await && relation.shape != Shape::View {
            let state = self.rng.of(&["DISABLE", "ENABLE REPLICA", "ENABLE ALWAYS", "ENABLE"]).to_owned();
            self.run(format!("ALTER TABLE {target} {state} TRIGGER {name}")).await;
        }
    }

    pub(crate) async fn make_policy(&mut self) {
        let Some(table) = self.table() else { return };
        let (name, target) = (self.local_name("policy"), &table.name);
        let (using, check) = (self.condition(&table.columns, ""), self.condition(&table.columns, ""));
        let role = self.role();
        let definition = match self.rng.below(4) {
            0 => format!("FOR SELECT TO {role}, CURRENT_USER USING ({using})"),
            1 => format!("AS RESTRICTIVE FOR ALL USING ({using}) WITH CHECK ({check})"),
            2 => format!("FOR INSERT TO PUBLIC WITH CHECK ({check})"),
            _ => match self.readable() {
                Some(other) => format!("FOR DELETE TO {role} USING (EXISTS (SELECT FROM {} WHERE {using}))", other.name),
                None => format!("FOR DELETE USING ({using})"),
            },
        };
        self.run(format!("CREATE POLICY {name} ON {target} {definition}")).await;
        let state =
            self.rng.of(&["ENABLE ROW LEVEL SECURITY", "FORCE ROW LEVEL SECURITY", "DISABLE ROW LEVEL SECURITY"]).to_owned();
        self.run(format!("ALTER TABLE {target} {state}")).await;
    }

    pub(crate) async fn make_publication(&mut self) {
        let name = self.local_name("publication");
        let Some(table) = self.relation(|r| matches!(r.shape, Shape::Table | Shape::Partitioned) && !r.columns.is_empty()) else {
            return;
        };
        let column = &table.columns[0];
        let schema = super::keys::schema_of(&table.name).to_owned();
        let members = match self.rng.below(5) {
            0 => "FOR ALL TABLES".to_owned(),
            1 if self.since(15) => format!("FOR TABLES IN SCHEMA {schema}"),
            2 if self.since(15) => format!("FOR TABLE {} ({})", table.name, column.name),
            3 if self.since(15) => format!("FOR TABLE ONLY {} WHERE ({} IS NOT NULL)", table.name, column.name),
            _ => format!("FOR TABLE {}", table.name),
        };
        let options =
            self.rng.of(&["", "WITH (publish = 'insert, truncate')", "WITH (publish_via_partition_root = true)"]).to_owned();
        self.run(format!("CREATE PUBLICATION {name} {members} {options}")).await;
    }

    pub(crate) async fn make_default_privileges(&mut self) {
        let (owner, role) = (self.role(), self.role());
        let schema = if self.rng.one_in(2) {
            let name = self.rng.pick(&self.schemas).expect("schemas");
            format!("IN SCHEMA {}", pgkeep::base::sql::ident(&name))
        } else {
            String::new()
        };
        let change = match self.rng.below(5) {
            0 => format!("GRANT SELECT, INSERT ON TABLES TO {role} WITH GRANT OPTION"),
            1 => format!("GRANT EXECUTE ON FUNCTIONS TO {role}"),
            2 => "REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC".to_owned(),
            3 => "REVOKE USAGE ON TYPES FROM PUBLIC".to_owned(),
            _ => format!("GRANT USAGE ON SEQUENCES TO {role}, PUBLIC"),
        };
        self.run(format!("ALTER DEFAULT PRIVILEGES FOR ROLE {owner} {schema} {change}")).await;
    }

    /// Calls functions that read the database from defaults of columns: a circle through the table's own functions.
    pub(crate) async fn make_calling_default(&mut self) {
        let Some(table) =
            self.relation(|r: &Relation| r.shape == Shape::Table && r.columns.iter().any(|c| c.data_type.sql == "integer"))
        else {
            return;
        };
        let name = self.new_name("default value");
        let column = table.columns.iter().find(|c| c.data_type.sql == "integer").expect("an integer").name.clone();
        let body = if self.since(14) && self.rng.one_in(2) {
            format!("BEGIN ATOMIC SELECT count(*)::integer FROM {}; END", table.name)
        } else {
            format!("AS $f$ SELECT count(*)::integer FROM {} $f$", table.name)
        };
        self.run(format!(
            "CREATE FUNCTION {name}() RETURNS integer LANGUAGE sql STABLE {body}; ALTER TABLE {} ALTER COLUMN {column} SET DEFAULT {name}()",
            table.name
        ))
        .await;
    }
}
