//! Foreign tables. Their rows are on another server and in no backup.
//!
//! Catalogs: `pg_foreign_table`, `pg_class` (`f`), and those of columns as for tables, whose rules for parents, partitions and pieces hold here too.

use tokio_postgres::Row;

use super::columns;
use super::foreign_data_wrapper::options;
use super::relation::{COLUMNS, Relation, user_relation};
use super::table::{column_alterations, made, made_along, parents, storage, untyped_shape};
use crate::base::Result;
use crate::base::sql::{Sql, ident};
use crate::pg::catalog::acl::{AclObject, AclType};
use crate::pg::catalog::entry::{Phase, Scope};
use crate::pg::catalog::kind::{Context, Draft, Kind, class};
use crate::pg::catalog::meta::{self, MetaSource, apply_meta};
use crate::pg::catalog::row::RowExt;

/// Foreign tables.
pub(super) const KIND: Kind = Kind { name: "foreign_table", scope: Scope::Object, query, read };

fn query(cx: &Context) -> Option<String> {
    Some(format!(
        "SELECT {COLUMNS}, c.relispartition AS is_partition, c.reltype AS row_type, coalesce(rt.typarray, 0::oid) AS array_type,
                s.srvname::text AS server, coalesce(f.ftoptions, '{{}}') AS options, {}, {}, {}
           FROM pg_foreign_table f JOIN pg_class c ON c.oid = f.ftrelid JOIN pg_namespace n ON n.oid = c.relnamespace
           JOIN pg_foreign_server s ON s.oid = f.ftserver
           LEFT JOIN pg_type rt ON rt.oid = c.reltype
          WHERE {} ORDER BY n.nspname, c.relname",
        parents(cx),
        columns::select(cx),
        meta::columns(&MetaSource::new(class::PG_CLASS, "c.oid", "c.relowner", "c.relacl")),
        user_relation()
    ))
}

fn read(rows: &[Row], cx: &Context) -> Result<Vec<Draft>> {
    let mut drafts = Vec::with_capacity(rows.len());
    for row in rows {
        let (relation, columns) = (Relation::read(row)?, columns::read(row)?);
        drafts.push(draft(row, &relation, &columns, cx)?);
        drafts.extend(storage(&relation, &columns));
    }
    Ok(drafts)
}

fn draft(row: &Row, relation: &Relation, columns: &[columns::Column], cx: &Context) -> Result<Draft> {
    let (name, shape) = (relation.qualified(), untyped_shape(row)?);
    let mut entry = relation.entry(Phase::Pre);
    let tail = format!(" SERVER {}{}", ident(&row.text("server")?), options(row, "options")?);
    entry.create = made(row, relation, columns, shape, "CREATE FOREIGN TABLE", &tail, cx)?;
    entry.create.extend(column_alterations(relation, columns, shape, cx));
    entry.drop = Some(Sql::from(format!("DROP FOREIGN TABLE IF EXISTS {name}")));
    apply_meta(&mut entry, row, relation.noun(), Some(&AclObject::new(AclType::Table, format!("TABLE {name}"), cx.version)))?;
    columns::add_meta(&mut entry, row, relation, columns, cx)?;
    let mut draft = Draft::new(relation.address(), entry);
    draft.also = made_along(row, columns)?;
    Ok(draft)
}
