//! The database: encoding, locale, tablespace, owner, privileges, and whether it is a template. Its collation version is left out: it
//! describes the library of the server that makes the database, which the server finds out itself.

use tokio_postgres::Row;

use crate::base::sql::{Sql, ident, literal};
use crate::base::{Error, Result};
use crate::pg::catalog::acl::{AclObject, AclType};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::meta::{MetaSource, apply_meta, columns};
use crate::pg::catalog::row::RowExt;
use crate::pg::version::Feature;

/// The database.
pub(super) const KIND: Kind = Kind { name: "database", scope: Scope::Database, query, read };

fn query(cx: &Context) -> Option<String> {
    let provider = if cx.version.has(Feature::IcuDatabases) { "d.datlocprovider::text" } else { "'c'" };
    let locale = match cx.version {
        v if v.has(Feature::BuiltinLocales) => "d.datlocale",
        v if v.has(Feature::IcuDatabases) => "d.daticulocale",
        _ => "NULL::text",
    };
    let rules = if cx.version.has(Feature::IcuRules) { "d.daticurules" } else { "NULL::text" };
    Some(format!(
        "SELECT d.oid, d.datname::text AS name, pg_encoding_to_char(d.encoding)::text AS encoding, {provider} AS provider,
                d.datcollate::text AS lc_collate, d.datctype::text AS lc_ctype, {locale}::text AS locale, {rules}::text AS rules,
                t.spcname::text AS tablespace, d.datistemplate AS template, {}
           FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace
          WHERE d.datname = current_database()",
        columns(&MetaSource::new(class::PG_DATABASE, "d.oid", "d.datdba", "d.datacl"))
    ))
}

fn read(rows: &[Row], cx: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(|row| draft(row, cx)).collect()
}

fn draft(row: &Row, cx: &Context) -> Result<Draft> {
    let name: String = row.col("name")?;
    let mut entry = Entry::new(KIND.name, KIND.scope, Phase::Pre, None, &name, &ident(&name));
    let noun = Sql::from("DATABASE ").database(&name);
    entry.create.push(Sql::from("CREATE ").append(&noun).text(properties(row)?));
    if row.col("template")? {
        entry.create.push(Sql::from("ALTER ").append(&noun).text(" IS_TEMPLATE true"));
    }
    let acl = AclObject::new(AclType::Database, noun.clone(), cx.version);
    apply_meta(&mut entry, row, noun, Some(&acl))?;
    Ok(Draft::new(Address::new(class::PG_DATABASE, row.col("oid")?), entry))
}

fn properties(row: &Row) -> Result<String> {
    let text = |column: &str| row.col::<String>(column);
    let mut out = format!(" TEMPLATE template0 ENCODING {}", literal(&text("encoding")?));
    let provider = text("provider")?;
    let (word, locale_word) = match provider.as_str() {
        "c" => ("libc", ""),
        "i" => ("icu", "ICU_LOCALE"),
        "b" => ("builtin", "BUILTIN_LOCALE"),
        other => {
            return Err(Error::unsupported(format!(
                "the database's locale provider {other:?} is not known to this version of pgkeep"
            )));
        }
    };
    if provider != "c" {
        out.push_str(&format!(" LOCALE_PROVIDER {word}"));
    }
    out.push_str(&format!(" LC_COLLATE {} LC_CTYPE {}", literal(&text("lc_collate")?), literal(&text("lc_ctype")?)));
    if let Some(locale) = row.col::<Option<String>>("locale")? {
        out.push_str(&format!(" {locale_word} {}", literal(&locale)));
    }
    if let Some(rules) = row.col::<Option<String>>("rules")? {
        out.push_str(&format!(" ICU_RULES {}", literal(&rules)));
    }
    let tablespace = text("tablespace")?;
    if tablespace != "pg_default" {
        out.push_str(&format!(" TABLESPACE {}", ident(&tablespace)));
    }
    Ok(out)
}
