//! Conversions between encodings.

use tokio_postgres::Row;

use super::names::{name_of, read_name};
use crate::base::Result;
use crate::base::sql::{literal, qualified};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::meta::{MetaSource, apply_meta, columns, not_member, user_schema};
use crate::pg::catalog::row::RowExt;

/// Conversions.
pub(super) const KIND: Kind = Kind { name: "conversion", scope: Scope::Object, query, read };

fn query(_: &Context) -> Option<String> {
    Some(format!(
        "SELECT c.oid, n.nspname::text AS schema, c.conname::text AS name, pg_encoding_to_char(c.conforencoding)::text AS source,
                pg_encoding_to_char(c.contoencoding)::text AS target, c.condefault AS is_default, {} AS function, {}
           FROM pg_conversion c JOIN pg_namespace n ON n.oid = c.connamespace WHERE {} AND {} ORDER BY n.nspname, c.conname",
        name_of("pg_proc", "pro", "c.conproc"),
        columns(&MetaSource::owned(class::PG_CONVERSION, "c.oid", "c.conowner")),
        user_schema("n.nspname"),
        not_member(class::PG_CONVERSION, "c.oid")
    ))
}

fn read(rows: &[Row], _: &Context) -> Result<Vec<Draft>> {
    rows.iter()
        .map(|row| {
            let (schema, name) = (row.text("schema")?, row.text("name")?);
            let identity = qualified(&schema, &name);
            let create = format!(
                "CREATE {}CONVERSION {identity} FOR {} TO {} FROM {}",
                if row.flag("is_default")? { "DEFAULT " } else { "" },
                literal(&row.text("source")?),
                literal(&row.text("target")?),
                read_name(row, "function")?.unwrap_or_default()
            );
            let mut entry = Entry::new(KIND.name, KIND.scope, Phase::Pre, Some(&schema), &name, &identity);
            entry.create.push(create.into());
            entry.drop = Some(format!("DROP CONVERSION IF EXISTS {identity}").into());
            apply_meta(&mut entry, row, format!("CONVERSION {identity}"), None)?;
            Ok(Draft::new(Address::new(class::PG_CONVERSION, row.oid("oid")?), entry))
        })
        .collect()
}
