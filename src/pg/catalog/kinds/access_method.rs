//! Access methods for tables and indexes that no extension brings.

use tokio_postgres::Row;

use super::names::{name_of, read_name};
use crate::base::sql::ident;
use crate::base::{Error, Result};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::meta::{MetaSource, apply_meta, columns, not_member, user_object};
use crate::pg::catalog::row::RowExt;

/// Access methods.
pub(super) const KIND: Kind = Kind { name: "access_method", scope: Scope::Object, query, read };

fn query(_: &Context) -> Option<String> {
    Some(format!(
        "SELECT a.oid, a.amname::text AS name, a.amtype::text AS type, {} AS handler, {}
           FROM pg_am a WHERE {} AND {} ORDER BY a.amname",
        name_of("pg_proc", "pro", "a.amhandler"),
        columns(&MetaSource::plain(class::PG_ACCESS_METHOD, "a.oid")),
        user_object("a.oid"),
        not_member(class::PG_ACCESS_METHOD, "a.oid")
    ))
}

fn read(rows: &[Row], _: &Context) -> Result<Vec<Draft>> {
    rows.iter()
        .map(|row| {
            let name = row.text("name")?;
            let word = match row.text("type")?.as_str() {
                "i" => "INDEX",
                "t" => "TABLE",
                other => {
                    return Err(Error::unsupported(format!(
                        "access method {name} has the type {other:?}, which this version does not know"
                    )));
                }
            };
            let noun = format!("ACCESS METHOD {}", ident(&name));
            let mut entry = Entry::new(KIND.name, KIND.scope, Phase::Pre, None, &name, &ident(&name));
            entry
                .create
                .push(format!("CREATE {noun} TYPE {word} HANDLER {}", read_name(row, "handler")?.unwrap_or_default()).into());
            entry.drop = Some(format!("DROP ACCESS METHOD IF EXISTS {}", ident(&name)).into());
            apply_meta(&mut entry, row, noun, None)?;
            Ok(Draft::new(Address::new(class::PG_ACCESS_METHOD, row.oid("oid")?), entry))
        })
        .collect()
}
