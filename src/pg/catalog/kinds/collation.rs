//! Collations of the providers libc, ICU and builtin. The version is left out: it is that of the target's library.

use tokio_postgres::Row;

use crate::base::sql::{literal, qualified};
use crate::base::{Error, Result};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::meta::{MetaSource, apply_meta, columns, not_member, user_schema};
use crate::pg::catalog::row::RowExt;
use crate::pg::version::Feature;

/// Collations.
pub(super) const KIND: Kind = Kind { name: "collation", scope: Scope::Object, query, read };

fn query(cx: &Context) -> Option<String> {
    let locale = match cx.version {
        v if v.has(Feature::BuiltinLocales) => "c.colllocale",
        v if v.has(Feature::IcuDatabases) => "c.colliculocale",
        _ => "CASE WHEN c.collprovider = 'i' THEN c.collcollate::text END",
    };
    let rules = if cx.version.has(Feature::IcuRules) { "c.collicurules" } else { "NULL" };
    Some(format!(
        "SELECT c.oid, n.nspname::text AS schema, c.collname::text AS name, c.collprovider::text AS provider,
                c.collisdeterministic AS deterministic, c.collcollate::text AS lc_collate, c.collctype::text AS lc_ctype,
                {locale}::text AS locale, {rules}::text AS rules, {}
           FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace
          WHERE {} AND {} ORDER BY n.nspname, c.collname, c.collencoding",
        columns(&MetaSource::owned(class::PG_COLLATION, "c.oid", "c.collowner")),
        user_schema("n.nspname"),
        not_member(class::PG_COLLATION, "c.oid")
    ))
}

fn read(rows: &[Row], _: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(draft).collect()
}

fn draft(row: &Row) -> Result<Draft> {
    let (schema, name) = (row.text("schema")?, row.text("name")?);
    let identity = qualified(&schema, &name);
    let provider = match row.text("provider")?.as_str() {
        "c" => "libc",
        "i" => "icu",
        "b" => "builtin",
        other => {
            return Err(Error::unsupported(format!(
                "collation {identity} has the provider {other:?}, which this version does not know"
            )));
        }
    };
    let mut parts = vec![format!("provider = {provider}")];
    if !row.flag("deterministic")? {
        parts.push("deterministic = false".to_owned());
    }
    if let Some(locale) = row.opt_text("locale")? {
        parts.push(format!("locale = {}", literal(&locale)));
    } else {
        for column in ["lc_collate", "lc_ctype"] {
            parts.extend(row.opt_text(column)?.map(|l| format!("{column} = {}", literal(&l))));
        }
    }
    parts.extend(row.opt_text("rules")?.map(|r| format!("rules = {}", literal(&r))));
    let noun = format!("COLLATION {identity}");
    let mut entry = Entry::new(KIND.name, KIND.scope, Phase::Pre, Some(&schema), &name, &identity);
    entry.create.push(format!("CREATE {noun} ({})", parts.join(", ")).into());
    entry.drop = Some(format!("DROP COLLATION IF EXISTS {identity}").into());
    apply_meta(&mut entry, row, noun, None)?;
    Ok(Draft::new(Address::new(class::PG_COLLATION, row.oid("oid")?), entry))
}
