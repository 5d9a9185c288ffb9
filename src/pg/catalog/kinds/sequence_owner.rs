//! ALTER SEQUENCE … OWNED BY: the sequence is dropped with the column. The entry is a piece of the table.
//!
//! Catalog: `pg_depend` from sequences to columns (automatic, not the internal ones of identity columns).

use tokio_postgres::Row;

use super::relation::{COLUMNS, Relation, join_relation, user_relation};
use crate::base::Result;
use crate::base::sql::{Sql, ident, qualified};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::meta::not_member;
use crate::pg::catalog::row::RowExt;

/// Owned sequences.
pub(super) const KIND: Kind = Kind { name: "sequence_owner", scope: Scope::Object, query, read };

/// Column number of the address that stands for the ownership of a sequence.
const OWNERSHIP: i32 = -2;

fn query(_cx: &Context) -> Option<String> {
    Some(format!(
        "SELECT {COLUMNS}, s.oid AS sequence_oid, sn.nspname::text AS sequence_schema, s.relname::text AS sequence_name,
                a.attname::text AS column_name
           FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' JOIN pg_namespace sn ON sn.oid = s.relnamespace
           JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid {}
          WHERE d.classid = 'pg_class'::regclass AND d.objsubid = 0 AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'a'
            AND {} AND {}
          ORDER BY sn.nspname, s.relname",
        join_relation("d.refobjid"),
        not_member(class::PG_CLASS, "s.oid"),
        user_relation()
    ))
}

fn read(rows: &[Row], _cx: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(draft).collect()
}

fn draft(row: &Row) -> Result<Draft> {
    let relation = Relation::read(row)?;
    let (schema, name, oid) = (row.text("sequence_schema")?, row.text("sequence_name")?, row.oid("sequence_oid")?);
    let sequence = qualified(&schema, &name);
    let mut entry = Entry::new("sequence_owner", Scope::Object, Phase::Pre, Some(&schema), &name, &sequence);
    entry.parent = Some(relation.id());
    let column = ident(&row.text("column_name")?);
    entry.create.push(Sql::from(format!("ALTER SEQUENCE {sequence} OWNED BY {}.{column}", relation.qualified())));
    let mut draft = Draft::new(Address { sub: OWNERSHIP, ..Address::new(class::PG_CLASS, oid) }, entry);
    draft.needs = vec![Address::new(class::PG_CLASS, oid), relation.address()];
    Ok(draft)
}
