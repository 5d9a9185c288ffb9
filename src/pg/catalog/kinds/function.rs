//! Functions, window functions included, as `pg_get_functiondef` writes them. Aggregates and procedures are kinds of their own; the
//! constructors of a range type come with it.
//!
//! Bodies that the server keeps parsed (14 and later) depend on what they name, so that functions may depend on each other in a circle:
//! these can be made with an empty body first and be replaced later.

use tokio_postgres::Row;

use super::relation::{add_depends_on, depends_on};
use super::setting::names;
use crate::base::sql::{Sql, qualified};
use crate::base::{Error, Result};
use crate::pg::catalog::acl::{AclObject, AclType};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, Placeholder, class};
use crate::pg::catalog::meta::{MetaSource, apply_meta, columns, not_member, user_schema};
use crate::pg::catalog::row::RowExt;
use crate::pg::version::Feature;

/// Functions.
pub(super) const KIND: Kind = Kind { name: "function", scope: Scope::Object, query, read };

fn query(cx: &Context) -> Option<String> {
    Some(routines(cx, "p.prokind IN ('f', 'w')"))
}

fn read(rows: &[Row], cx: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(|row| routine(&KIND, "FUNCTION", row, cx)).collect()
}

/// The query of functions or procedures that meet `condition` on `pg_proc p`.
pub(super) fn routines(cx: &Context, condition: &str) -> String {
    let parsed = if cx.version.has(Feature::SqlBodies) { "p.prosqlbody IS NOT NULL" } else { "false" };
    format!(
        "SELECT p.oid, n.nspname::text AS schema, p.proname::text AS name, pg_get_function_identity_arguments(p.oid) AS arguments,
                pg_get_functiondef(p.oid) AS definition, {parsed} AS parsed, pg_get_function_result(p.oid) AS result,
                p.prorettype || coalesce(p.proallargtypes, p.proargtypes::oid[]) AS types, p.pronamespace AS schema_oid,
                EXISTS (SELECT FROM pg_depend s WHERE s.classid = 'pg_proc'::regclass AND s.objid = p.oid
                           AND s.refclassid = 'pg_proc'::regclass AND s.refobjid = p.oid) AS calls_itself,
                coalesce(p.proconfig, '{{}}') AS settings,
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
    let draft = Draft::new(Address::new(class::PG_PROC, row.oid("oid")?), entry);
    if row.flag("parsed")? { with_empty_body(draft, row, word, &identity, &definition) } else { Ok(draft) }
}

/// What others in a circle can name has the same arguments and result. Everything else, defaults of arguments included, comes with the
/// definition, which replaces it.
fn with_empty_body(mut draft: Draft, row: &Row, word: &str, identity: &str, definition: &str) -> Result<Draft> {
    let address = draft.address;
    draft.address.sub = -1;
    draft.also.push(address);
    draft.needs.push(Address::new(class::PG_NAMESPACE, row.oid("schema_oid")?));
    draft.needs.extend(row.col::<Vec<u32>>("types")?.into_iter().map(|oid| Address::new(class::PG_TYPE, oid)));
    let result = row.opt_text("result")?.map(|r| format!(" RETURNS {r}")).unwrap_or_default();
    let empty = Sql::from(format!("CREATE {word} {identity}{result} LANGUAGE sql AS ''"));
    let complete: Vec<Sql> =
        std::iter::once(definition.trim_end_matches('\n').into()).chain(draft.entry.create.iter().skip(1).cloned()).collect();
    if row.flag("calls_itself")? {
        draft.entry.create = std::iter::once(empty.clone()).chain(complete.clone()).collect();
    }
    draft.placeholder = Some(Placeholder { create: vec![empty], complete, definition: address, shell: true });
    Ok(draft)
}
