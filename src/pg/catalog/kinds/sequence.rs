//! Sequences that are not those of identity columns.
//!
//! Catalogs: `pg_class` (`S`), `pg_sequence`. Values are [`super::sequence_value`], ownership by a column [`super::sequence_owner`].

use tokio_postgres::Row;

use super::columns;
use super::relation::{COLUMNS, Relation, user_relation};
use crate::base::Result;
use crate::base::sql::Sql;
use crate::pg::catalog::acl::{AclObject, AclType};
use crate::pg::catalog::entry::{Phase, Scope};
use crate::pg::catalog::kind::{Context, Draft, Kind, class};
use crate::pg::catalog::meta::{self, MetaSource, apply_meta};
use crate::pg::catalog::row::RowExt;

/// Sequences.
pub(super) const KIND: Kind = Kind { name: "sequence", scope: Scope::Object, query, read };

/// The options of `pg_sequence s`.
pub(super) const OPTIONS: &str = "format_type(s.seqtypid, NULL) AS data_type, s.seqstart AS start, s.seqincrement AS increment,
    s.seqmin AS min, s.seqmax AS max, s.seqcache AS cache, s.seqcycle AS cycle";

/// Condition: the sequence `c` belongs to an identity column.
pub(super) const IS_IDENTITY: &str = "EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
    AND d.objsubid = 0 AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'i')";

fn query(_cx: &Context) -> Option<String> {
    Some(format!(
        "SELECT {COLUMNS}, {OPTIONS}, c.relpersistence = 'u' AS unlogged, {}, {}
           FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE NOT {IS_IDENTITY} AND {}
          ORDER BY n.nspname, c.relname",
        columns::select_acls("c.oid"),
        meta::columns(&MetaSource::new(class::PG_CLASS, "c.oid", "c.relowner", "c.relacl")),
        user_relation()
    ))
}

fn read(rows: &[Row], cx: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(|row| draft(row, cx)).collect()
}

fn draft(row: &Row, cx: &Context) -> Result<Draft> {
    let relation = Relation::read(row)?;
    let mut entry = relation.entry(Phase::Pre);
    let unlogged = if row.flag("unlogged")? { "UNLOGGED " } else { "" };
    let data_type = row.text("data_type")?;
    let options = options(row)?;
    entry.create.push(Sql::from(format!("CREATE {unlogged}SEQUENCE {} AS {data_type} {options}", relation.qualified())));
    entry.drop = Some(Sql::from(format!("DROP SEQUENCE IF EXISTS {}", relation.qualified())));
    let noun = relation.noun();
    apply_meta(&mut entry, row, noun.as_str(), Some(&AclObject::new(AclType::Sequence, noun.as_str(), cx.version)))?;
    columns::add_acls(&mut entry, row, &relation.qualified(), cx)?;
    Ok(Draft::new(relation.address(), entry))
}

/// `START WITH … INCREMENT BY … MINVALUE … MAXVALUE … CACHE … CYCLE`.
pub(super) fn options(row: &Row) -> Result<String> {
    let number = |column: &str| row.col::<i64>(column);
    Ok(format!(
        "START WITH {} INCREMENT BY {} MINVALUE {} MAXVALUE {} CACHE {}{}",
        number("start")?,
        number("increment")?,
        number("min")?,
        number("max")?,
        number("cache")?,
        if row.flag("cycle")? { " CYCLE" } else { "" }
    ))
}
