//! What relations and their pieces have in common: identity, the conditions that make one the user's, options.

use tokio_postgres::Row;

use crate::base::sql::{Sql, ident, literal, qualified};
use crate::base::{Error, Result};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, class};
use crate::pg::catalog::meta::{not_member, user_schema};
use crate::pg::catalog::row::RowExt;

/// Columns that [`Relation::read`] needs, of `pg_class c` and `pg_namespace n`.
pub(super) const COLUMNS: &str = "c.oid AS rel_oid, n.nspname AS rel_schema, c.relname AS rel_name, c.relkind::text AS rel_kind";

/// A relation as its pieces see it.
#[derive(Debug, Clone)]
pub(super) struct Relation {
    pub(super) oid: u32,
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) kind: &'static str,
}

impl Relation {
    /// Reads the columns of [`COLUMNS`].
    pub(super) fn read(row: &Row) -> Result<Self> {
        let (schema, name, kind) = (row.text("rel_schema")?, row.text("rel_name")?, row.text("rel_kind")?);
        let kind = match kind.as_str() {
            "r" | "p" => "table",
            "v" => "view",
            "m" => "materialized_view",
            "f" => "foreign_table",
            "S" => "sequence",
            other => return Err(Error::internal(format!("{schema}.{name} is a relation of unknown kind {other}"))),
        };
        Ok(Self { oid: row.oid("rel_oid")?, schema, name, kind })
    }

    /// `"schema"."name"`.
    pub(super) fn qualified(&self) -> String {
        qualified(&self.schema, &self.name)
    }

    /// Id of the entry that makes the relation.
    pub(super) fn id(&self) -> String {
        format!("{} {}", self.kind, self.qualified())
    }

    /// Address of the relation.
    pub(super) const fn address(&self) -> Address {
        Address::new(class::PG_CLASS, self.oid)
    }

    /// What ALTER, COMMENT ON and GRANT call it.
    pub(super) fn noun(&self) -> String {
        let word = match self.kind {
            "view" => "VIEW",
            "materialized_view" => "MATERIALIZED VIEW",
            "foreign_table" => "FOREIGN TABLE",
            "sequence" => "SEQUENCE",
            _ => "TABLE",
        };
        format!("{word} {}", self.qualified())
    }

    /// The entry of the relation itself.
    pub(super) fn entry(&self, phase: Phase) -> Entry {
        Entry::new(self.kind, Scope::Object, phase, Some(&self.schema), &self.name, &self.qualified())
    }
}

/// A piece of a relation that has a name in it: a constraint, trigger, rule, policy.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) relation: Relation,
    /// Unquoted.
    pub(super) name: String,
    /// Quoted.
    pub(super) quoted: String,
    /// The relation, qualified and quoted.
    pub(super) table: String,
    /// The entry, a piece of the relation's, without statements.
    pub(super) entry: Entry,
}

impl Piece {
    /// Reads the columns of [`COLUMNS`], and `name`.
    pub(super) fn read(row: &Row, kind: &str, phase: Phase) -> Result<Self> {
        let (relation, name) = (Relation::read(row)?, row.text("name")?);
        let (quoted, table) = (ident(&name), relation.qualified());
        let mut entry = Entry::new(kind, Scope::Object, phase, Some(&relation.schema), &name, &format!("{quoted} on {table}"));
        entry.parent = Some(relation.id());
        Ok(Self { relation, name, quoted, table, entry })
    }
}

/// Condition: the relation `c` in schema `n` is the user's: permanent, in no system schema, no member of an extension.
pub(in crate::pg::catalog) fn user_relation() -> String {
    format!("c.relpersistence <> 't' AND {} AND {}", user_schema("n.nspname"), not_member(class::PG_CLASS, "c.oid"))
}

/// `FROM pg_class c JOIN pg_namespace n`, for queries of pieces that join it as `c.oid = key`.
pub(super) fn join_relation(key: &str) -> String {
    format!("JOIN pg_class c ON c.oid = {key} JOIN pg_namespace n ON n.oid = c.relnamespace")
}

/// Expression of the extensions that the object depends on by ALTER … DEPENDS ON EXTENSION, as `depends_on`. Few objects do: all of them are found at
/// once, and only theirs are looked up.
pub(super) fn depends_on(class: u32, oid: &str) -> String {
    let found = format!("x.classid = {class} AND x.refclassid = {} AND x.deptype = 'x'", class::PG_EXTENSION);
    format!(
        "CASE WHEN {oid} IN (SELECT x.objid FROM pg_depend x WHERE {found}) THEN \
         ARRAY(SELECT e.extname::text FROM pg_depend x JOIN pg_extension e ON e.oid = x.refobjid WHERE {found} AND x.objid = {oid} \
         ORDER BY e.extname) ELSE '{{}}' END AS depends_on"
    )
}

/// `ALTER noun DEPENDS ON EXTENSION …` for each extension that [`depends_on`] found.
pub(super) fn add_depends_on(entry: &mut Entry, row: &Row, noun: &str) -> Result<()> {
    for extension in row.col::<Vec<String>>("depends_on")? {
        entry.create.push(Sql::from(format!("ALTER {noun} DEPENDS ON EXTENSION {}", ident(&extension))));
    }
    Ok(())
}

/// Storage parameters (`name=value`) as they stand in WITH, each name behind `prefix`.
pub(super) fn storage_parameters(options: &[String], prefix: &str) -> Vec<String> {
    options
        .iter()
        .map(|option| {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            format!("{prefix}{} = {}", ident(name), literal(value).trim_start())
        })
        .collect()
}

/// ` WITH (…)`, empty where there are no parameters.
pub(super) fn with_clause(parameters: &[String]) -> String {
    if parameters.is_empty() { String::new() } else { format!(" WITH ({})", parameters.join(", ")) }
}

/// Puts `statements` into the tablespace: by `default_tablespace`, in statements of their own, so that a restore can leave them out
/// where the tablespace does not exist.
pub(super) fn in_tablespace(tablespace: Option<&str>, statements: Vec<Sql>) -> Vec<Sql> {
    let Some(name) = tablespace else { return statements };
    let mut all = vec![Sql::from(format!("SET default_tablespace = {}", ident(name)))];
    all.extend(statements);
    all.push(Sql::from("SET default_tablespace = ''"));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storage_parameters_are_quoted_whatever_they_hold() {
        let options = ["fillfactor=70".to_owned(), "odd=a=b'c".to_owned()];
        assert_eq!(
            with_clause(&storage_parameters(&options, "toast.")),
            " WITH (toast.\"fillfactor\" = '70', toast.\"odd\" = 'a=b''c')"
        );
        assert_eq!(with_clause(&[]), "");
    }
}
