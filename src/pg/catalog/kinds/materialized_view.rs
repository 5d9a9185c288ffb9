//! Materialised views, made without rows; [`super::materialized_view_data`] fills them.
//!
//! Catalogs: `pg_class` (`m`), the `_RETURN` rule in `pg_rewrite`.

use tokio_postgres::Row;

use super::columns;
use super::relation::{
    COLUMNS, Relation, add_depends_on, depends_on, in_tablespace, storage_parameters, user_relation, with_clause,
};
use super::view::{VIEW_COLUMNS, VIEW_TABLES, add_rule_comment, definition};
use crate::base::Result;
use crate::base::sql::{Sql, ident};
use crate::pg::catalog::acl::{AclObject, AclType};
use crate::pg::catalog::entry::{Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::meta::{self, MetaSource, apply_meta};
use crate::pg::catalog::row::RowExt;

/// Materialised views.
pub(super) const KIND: Kind = Kind { name: "materialized_view", scope: Scope::Object, query, read };

fn query(cx: &Context) -> Option<String> {
    Some(format!(
        "SELECT {COLUMNS}, {VIEW_COLUMNS}, ts.spcname::text AS tablespace, am.amname::text AS method,
                coalesce(tc.reloptions, '{{}}') AS toast_options, {}, {}, {}
           FROM {VIEW_TABLES} LEFT JOIN pg_tablespace ts ON ts.oid = c.reltablespace LEFT JOIN pg_am am ON am.oid = c.relam
           LEFT JOIN pg_class tc ON tc.oid = c.reltoastrelid
          WHERE c.relkind = 'm' AND {} ORDER BY n.nspname, c.relname",
        columns::select(cx),
        depends_on(class::PG_CLASS, "c.oid"),
        meta::columns(&MetaSource::new(class::PG_CLASS, "c.oid", "c.relowner", "c.relacl")),
        user_relation()
    ))
}

fn read(rows: &[Row], cx: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(|row| draft(row, cx)).collect()
}

fn draft(row: &Row, cx: &Context) -> Result<Draft> {
    let relation = Relation::read(row)?;
    let columns = columns::read(row)?;
    let name = relation.qualified();
    let mut parameters = storage_parameters(&row.col::<Vec<String>>("options")?, "");
    parameters.extend(storage_parameters(&row.col::<Vec<String>>("toast_options")?, "toast."));
    let method = row.opt_text("method")?.filter(|m| m != "heap").map(|m| format!(" USING {}", ident(&m))).unwrap_or_default();
    let text = format!(
        "CREATE MATERIALIZED VIEW {name}{method}{} AS\n{}\n  WITH NO DATA",
        with_clause(&parameters),
        definition(row, &relation)?
    );
    let mut entry = relation.entry(Phase::Pre);
    entry.create = in_tablespace(row.opt_text("tablespace")?.as_deref(), vec![Sql::from(text)]);
    entry.create.extend(columns::alter_options(&relation, &columns));
    entry.create.extend(columns::alter_storage(&relation, &columns));
    let noun = relation.noun();
    add_depends_on(&mut entry, row, &noun)?;
    entry.drop = Some(Sql::from(format!("DROP MATERIALIZED VIEW IF EXISTS {name}")));
    apply_meta(&mut entry, row, noun.as_str(), Some(&AclObject::new(AclType::Table, format!("TABLE {name}"), cx.version)))?;
    columns::add_meta(&mut entry, row, &relation, &columns, cx)?;
    add_rule_comment(&mut entry, row, &relation)?;
    let mut draft = Draft::new(relation.address(), entry);
    draft.also.push(Address::new(class::PG_REWRITE, row.oid("rule_oid")?));
    for column in ["row_type", "array_type"] {
        draft.also.push(Address::new(class::PG_TYPE, row.oid(column)?));
    }
    Ok(draft)
}
