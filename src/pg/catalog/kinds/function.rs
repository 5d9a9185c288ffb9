//! Functions, window functions included, as `pg_get_functiondef` writes them. Aggregates and procedures are kinds of their own; the
//! constructors of a range type come with it.

use tokio_postgres::Row;

use super::relation::{add_depends_on, depends_on};
use super::setting::names;
use crate::base::sql::qualified;
use crate::base::{Error, Result};
use crate::pg::catalog::acl::{AclObject, AclType};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::meta::{MetaSource, apply_meta, columns, not_member, user_schema};
use crate::pg::catalog::row::RowExt;

/// Functions.
pub(super) const KIND: Kind = Kind { name: "function", scope: Scope::Object, query, read };

fn query(_: &Context) -> Option<String> {
    Some(routines("p.prokind IN ('f', 'w')"))
}

fn read(rows: &[Row], cx: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(|row| routine(&KIND, "FUNCTION", row, cx)).collect()
}

/// The query of functions or procedures that meet `condition` on `pg_proc p`.
pub(super) fn routines(condition: &str) -> String {
    format!(
        "SELECT p.oid, n.nspname::text AS schema, p.proname::text AS name, pg_get_function_identity_arguments(p.oid) AS arguments,
                pg_get_functiondef(p.oid) AS definition, coalesce(p.proconfig, '{{}}') AS settings,
                CASE WHEN NOT l.lanpltrusted THEN format('its language %s is not trusted', l.lanname)
                     WHEN p.proleakproof THEN 'it is leakproof'
                     WHEN p.prosupport <> 0 THEN 'it has a support function' END AS superuser, {}, {}
           FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
          WHERE {condition} AND {} AND {}
            AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'i')
          ORDER BY n.nspname, p.proname, 4",
        depends_on(class::PG_PROC, "p.oid"),
        columns(&MetaSource::new(class::PG_PROC, "p.oid", "p.proowner", "p.proacl")),
        user_schema("n.nspname"),
        not_member(class::PG_PROC, "p.oid")
    )
}

/// The draft of a function or procedure; `word` is the one or the other.
pub(super) fn routine(kind: &Kind, word: &str, row: &Row, cx: &Context) -> Result<Draft> {
    let (schema, name) = (row.text("schema")?, row.text("name")?);
    let identity = format!("{}({})", qualified(&schema, &name), row.text("arguments")?);
    let mut entry = Entry::new(kind.name, kind.scope, Phase::Pre, Some(&schema), &name, &identity);
    let definition = row.opt_text("definition")?;
    let definition = definition.ok_or_else(|| Error::unavailable(format!("{word} {identity} was dropped while it was read")))?;
    let rest = definition.strip_prefix("CREATE OR REPLACE ").unwrap_or(&definition);
    entry.create.push(format!("CREATE {}", rest.trim_end_matches('\n')).into());
    entry.superuser = row.opt_text("superuser")?;
    entry.parameters = names(&row.col::<Vec<String>>("settings")?)?;
    let noun = format!("{word} {identity}");
    add_depends_on(&mut entry, row, &noun)?;
    entry.drop = Some(format!("DROP {word} IF EXISTS {identity}").into());
    let acl = AclObject::new(AclType::Function, noun.as_str(), cx.version);
    apply_meta(&mut entry, row, noun, Some(&acl))?;
    Ok(Draft::new(Address::new(class::PG_PROC, row.oid("oid")?), entry))
}
