//! Identity columns with their sequences.
//!
//! Catalogs: `pg_attribute.attidentity`, `pg_sequence`, the internal dependency of the sequence on the column. Partitions have the identity
//! of their table.

use tokio_postgres::Row;

use super::columns;
use super::relation::{COLUMNS, Relation, join_relation, user_relation};
use super::sequence::{OPTIONS, options};
use crate::base::Result;
use crate::base::sql::{Sql, ident, qualified};
use crate::pg::catalog::acl::{AclObject, AclType};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::meta::{self, MetaSource, apply_meta};
use crate::pg::catalog::row::RowExt;
use crate::pg::version::Feature;

/// Identity columns.
pub(super) const KIND: Kind = Kind { name: "identity", scope: Scope::Object, query, read };

fn query(cx: &Context) -> Option<String> {
    // Before 15 a sequence was always logged, and there was no word for it: a newer target gives it the persistence of its table.
    let other_persistence =
        if cx.version.has(Feature::UnloggedSequences) { "q.relpersistence <> c.relpersistence" } else { "false" };
    Some(format!(
        "SELECT {COLUMNS}, {OPTIONS}, q.oid AS sequence_oid, qn.nspname::text AS sequence_schema, q.relname::text AS sequence_name,
                {other_persistence} AS other_persistence, q.relpersistence = 'u' AS unlogged,
                a.attname::text AS column_name, a.attidentity = 'a' AS always, {}, {}
           FROM pg_depend d JOIN pg_class q ON q.oid = d.objid AND q.relkind = 'S' JOIN pg_namespace qn ON qn.oid = q.relnamespace
           JOIN pg_sequence s ON s.seqrelid = q.oid
           JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid {}
          WHERE d.classid = 'pg_class'::regclass AND d.objsubid = 0 AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'i' AND {}
          ORDER BY qn.nspname, q.relname",
        columns::select_acls("q.oid"),
        meta::columns(&MetaSource::new(class::PG_CLASS, "q.oid", "q.relowner", "q.relacl")),
        join_relation("d.refobjid"),
        user_relation()
    ))
}

fn read(rows: &[Row], cx: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(|row| draft(row, cx)).collect()
}

fn draft(row: &Row, cx: &Context) -> Result<Draft> {
    let relation = Relation::read(row)?;
    let (schema, name) = (row.text("sequence_schema")?, row.text("sequence_name")?);
    let sequence = qualified(&schema, &name);
    let mut entry = Entry::new("identity", Scope::Object, Phase::Pre, Some(&schema), &name, &sequence);
    entry.parent = Some(relation.id());
    let column = ident(&row.text("column_name")?);
    let when = if row.flag("always")? { "ALWAYS" } else { "BY DEFAULT" };
    let persistence = match (row.flag("other_persistence")?, row.flag("unlogged")?) {
        (false, _) => "",
        (true, true) => " UNLOGGED",
        (true, false) => " LOGGED",
    };
    entry.create.push(Sql::from(format!(
        "ALTER TABLE {} ALTER COLUMN {column} ADD GENERATED {when} AS IDENTITY (SEQUENCE NAME {sequence}{persistence} {})",
        relation.qualified(),
        options(row)?
    )));
    let noun = format!("SEQUENCE {sequence}");
    apply_meta(&mut entry, row, noun.as_str(), Some(&AclObject::new(AclType::Sequence, noun.as_str(), cx.version)))?;
    columns::add_acls(&mut entry, row, &sequence, cx)?;
    // The sequence has its table's owner by itself, and may not be given another.
    entry.ownership.clear();
    Ok(Draft::new(Address::new(class::PG_CLASS, row.oid("sequence_oid")?), entry))
}
