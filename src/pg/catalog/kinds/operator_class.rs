//! Operator classes with their members.

use tokio_postgres::Row;

use super::names::{name_of, read_name};
use super::operator_members;
use crate::base::Result;
use crate::base::sql::{ident, qualified};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::meta::{MetaSource, apply_meta, columns, not_member, user_schema};
use crate::pg::catalog::row::RowExt;

/// Operator classes.
pub(super) const KIND: Kind = Kind { name: "operator_class", scope: Scope::Object, query, read };

fn query(_: &Context) -> Option<String> {
    Some(format!(
        "SELECT c.oid, n.nspname::text AS schema, c.opcname::text AS name, a.amname::text AS method, c.opcdefault AS is_default,
                format_type(c.opcintype, NULL) AS input, format_type(nullif(c.opckeytype, 0), NULL) AS storage, {} AS family, {}, {}
           FROM pg_opclass c JOIN pg_namespace n ON n.oid = c.opcnamespace JOIN pg_am a ON a.oid = c.opcmethod
          WHERE {} AND {} ORDER BY n.nspname, c.opcname, a.amname",
        name_of("pg_opfamily", "opf", "c.opcfamily"),
        operator_members::columns(class::PG_OPCLASS, "c.oid"),
        columns(&MetaSource::owned(class::PG_OPCLASS, "c.oid", "c.opcowner")),
        user_schema("n.nspname"),
        not_member(class::PG_OPCLASS, "c.oid")
    ))
}

fn read(rows: &[Row], _: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(draft).collect()
}

fn draft(row: &Row) -> Result<Draft> {
    let (schema, name, method) = (row.text("schema")?, row.text("name")?, ident(&row.text("method")?));
    let full = qualified(&schema, &name);
    let identity = format!("{full} USING {method}");
    let input = row.text("input")?;
    let mut create = format!(
        "CREATE OPERATOR CLASS {full}{} FOR TYPE {input} USING {method}",
        if row.flag("is_default")? { " DEFAULT" } else { "" }
    );
    if let Some(family) = read_name(row, "family")? {
        create.push_str(&format!(" FAMILY {family}"));
    }
    let (members, also) = operator_members::read(row)?;
    // The grammar wants at least one item; the input type as storage type says nothing.
    let storage = row.opt_text("storage")?.filter(|s| *s != "-").or_else(|| members.is_empty().then(|| input.clone()));
    let items: Vec<String> = storage.map(|s| format!("STORAGE {s}")).into_iter().chain(members).collect();
    create.push_str(&format!(" AS {}", items.join(", ")));
    let mut entry = Entry::new(KIND.name, KIND.scope, Phase::Pre, Some(&schema), &name, &identity);
    entry.create.push(create.into());
    let noun = format!("OPERATOR CLASS {identity}");
    entry.drop = Some(format!("DROP OPERATOR CLASS IF EXISTS {identity}").into());
    apply_meta(&mut entry, row, noun, None)?;
    Ok(Draft { also, ..Draft::new(Address::new(class::PG_OPCLASS, row.oid("oid")?), entry) })
}
