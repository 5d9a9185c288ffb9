//! Operator families with the members that belong to no class.

use tokio_postgres::Row;

use super::operator_members;
use crate::base::Result;
use crate::base::sql::{ident, qualified};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::meta::{MetaSource, apply_meta, columns, not_member, user_schema};
use crate::pg::catalog::row::RowExt;

/// Operator families.
pub(super) const KIND: Kind = Kind { name: "operator_family", scope: Scope::Object, query, read };
/// The loose members are entries of their own: their operators may need types that need a class of the family, and the family may be
/// the server's own.
pub(super) const MEMBERS: Kind =
    Kind { name: "operator_family_members", scope: Scope::Object, query: members_query, read: read_members };

const FROM: &str = "pg_opfamily f JOIN pg_namespace n ON n.oid = f.opfnamespace JOIN pg_am a ON a.oid = f.opfmethod";
const IDENTITY: &str = "f.oid, n.nspname::text AS schema, f.opfname::text AS name, a.amname::text AS method";

fn query(_: &Context) -> Option<String> {
    Some(format!(
        "SELECT {IDENTITY}, {} FROM {FROM} WHERE {} AND {} ORDER BY n.nspname, f.opfname, a.amname",
        columns(&MetaSource::owned(class::PG_OPFAMILY, "f.oid", "f.opfowner")),
        user_schema("n.nspname"),
        not_member(class::PG_OPFAMILY, "f.oid")
    ))
}

fn identity(row: &Row) -> Result<String> {
    Ok(format!("{} USING {}", qualified(&row.text("schema")?, &row.text("name")?), ident(&row.text("method")?)))
}

fn read(rows: &[Row], _: &Context) -> Result<Vec<Draft>> {
    rows.iter()
        .map(|row| {
            let (schema, identity) = (row.text("schema")?, identity(row)?);
            let mut entry = Entry::new(KIND.name, KIND.scope, Phase::Pre, Some(&schema), &row.text("name")?, &identity);
            let noun = format!("OPERATOR FAMILY {identity}");
            entry.create.push(format!("CREATE {noun}").into());
            entry.drop = Some(format!("DROP OPERATOR FAMILY IF EXISTS {identity}").into());
            apply_meta(&mut entry, row, noun, None)?;
            Ok(Draft::new(Address::new(class::PG_OPFAMILY, row.oid("oid")?), entry))
        })
        .collect()
}

fn members_query(_: &Context) -> Option<String> {
    Some(format!(
        "SELECT * FROM (SELECT {IDENTITY}, {} AS own_family, {} FROM {FROM} WHERE {}) x WHERE members <> '{{}}' ORDER BY schema, name, method",
        user_schema("n.nspname"),
        operator_members::columns(class::PG_OPFAMILY, "f.oid"),
        not_member(class::PG_OPFAMILY, "f.oid")
    ))
}

fn read_members(rows: &[Row], _: &Context) -> Result<Vec<Draft>> {
    rows.iter()
        .map(|row| {
            let (schema, identity) = (row.text("schema")?, identity(row)?);
            let mut entry = Entry::new(MEMBERS.name, MEMBERS.scope, Phase::Pre, Some(&schema), &row.text("name")?, &identity);
            entry.parent = row.flag("own_family")?.then(|| format!("operator_family {identity}"));
            let (members, also) = operator_members::read(row)?;
            entry.create.push(format!("ALTER OPERATOR FAMILY {identity} ADD {}", members.join(", ")).into());
            let family = Address::new(class::PG_OPFAMILY, row.oid("oid")?);
            Ok(Draft { also, needs: vec![family], ..Draft::new(Address { sub: -1, ..family }, entry) })
        })
        .collect()
}
