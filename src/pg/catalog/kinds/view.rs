//! Views.
//!
//! Catalogs: `pg_class` (`v`), the `_RETURN` rule in `pg_rewrite`. Views that depend on themselves through others are first made with the
//! same columns and no source, and completed later. Defaults of their columns are [`super::column_default`].

use tokio_postgres::Row;

use super::columns::{self, Column};
use super::relation::{COLUMNS, Relation, storage_parameters, user_relation, with_clause};
use crate::base::sql::{Sql, ident};
use crate::base::{Error, Result};
use crate::pg::catalog::acl::{AclObject, AclType};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, Placeholder, class};
use crate::pg::catalog::meta::{self, MetaSource, apply_meta};
use crate::pg::catalog::row::RowExt;

/// Views.
pub(super) const KIND: Kind = Kind { name: "view", scope: Scope::Object, query, read };

/// What views and materialised views read alike.
pub(super) const VIEW_COLUMNS: &str = "c.reltype AS row_type, coalesce(rt.typarray, 0::oid) AS array_type,
    coalesce(c.reloptions, '{}') AS options, r.oid AS rule_oid, obj_description(r.oid, 'pg_rewrite') AS rule_comment,
    pg_get_viewdef(c.oid) AS definition";

/// Where [`VIEW_COLUMNS`] come from.
pub(super) const VIEW_TABLES: &str = "pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_rewrite r ON r.ev_class = c.oid AND r.ev_type = '1' LEFT JOIN pg_type rt ON rt.oid = c.reltype";

fn query(cx: &Context) -> Option<String> {
    Some(format!(
        "SELECT {COLUMNS}, {VIEW_COLUMNS}, {}, {} FROM {VIEW_TABLES} WHERE c.relkind = 'v' AND {} ORDER BY n.nspname, c.relname",
        columns::select(cx),
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
    let mut entry = relation.entry(Phase::Pre);
    let name = relation.qualified();
    let options = with_clause(&storage_parameters(&row.col::<Vec<String>>("options")?, ""));
    let definition = definition(row, &relation)?;
    entry.create.push(Sql::from(format!("CREATE VIEW {name}{options} AS\n{definition}")));
    entry.drop = Some(Sql::from(format!("DROP VIEW IF EXISTS {name}")));
    let noun = relation.noun();
    apply_meta(&mut entry, row, noun.as_str(), Some(&AclObject::new(AclType::Table, format!("TABLE {name}"), cx.version)))?;
    columns::add_meta(&mut entry, row, &relation, &columns, cx)?;
    add_rule_comment(&mut entry, row, &relation)?;
    let rule = Address::new(class::PG_REWRITE, row.oid("rule_oid")?);
    let mut draft = Draft::new(relation.address(), entry);
    draft.also.push(rule);
    for column in ["row_type", "array_type"] {
        draft.also.push(Address::new(class::PG_TYPE, row.oid(column)?));
    }
    draft.placeholder = Some(Placeholder {
        create: vec![Sql::from(format!("CREATE VIEW {name} AS\nSELECT {}", shape(&columns)))],
        complete: vec![Sql::from(format!("CREATE OR REPLACE VIEW {name}{options} AS\n{definition}"))],
        definition: rule,
        shell: false,
    });
    Ok(draft)
}

/// Adds the comment on the rule that makes the view what it is.
pub(super) fn add_rule_comment(entry: &mut Entry, row: &Row, relation: &Relation) -> Result<()> {
    let rule = Sql::from(format!("RULE \"_RETURN\" ON {}", relation.qualified()));
    meta::add_comment(entry, &rule, row.opt_text("rule_comment")?.as_deref());
    Ok(())
}

/// The query of a view without its semicolon.
pub(super) fn definition(row: &Row, relation: &Relation) -> Result<String> {
    let text = row.opt_text("definition")?.unwrap_or_default();
    match text.trim_end().strip_suffix(';') {
        Some(query) => Ok(query.to_owned()),
        None => Err(Error::unavailable(format!("the definition of {} could not be read", relation.qualified()))
            .hint("it may have been dropped while the backup began; the next try reads it again")),
    }
}

fn shape(columns: &[Column]) -> String {
    let column = |c: &Column| {
        let collation = c.collation.as_ref().map(|name| format!(" COLLATE {name}")).unwrap_or_default();
        format!("\n    NULL::{}{collation} AS {}", c.data_type, ident(&c.name))
    };
    columns.iter().map(column).collect::<Vec<_>>().join(",")
}
