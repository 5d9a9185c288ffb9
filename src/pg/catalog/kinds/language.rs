//! Procedural languages that no extension brings.

use tokio_postgres::Row;

use super::names::{name_of, read_name};
use crate::base::Result;
use crate::base::sql::ident;
use crate::pg::catalog::acl::{AclObject, AclType};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::meta::{MetaSource, apply_meta, columns, not_member, user_object};
use crate::pg::catalog::row::RowExt;

/// Languages.
pub(super) const KIND: Kind = Kind { name: "language", scope: Scope::Object, query, read };

fn query(_: &Context) -> Option<String> {
    Some(format!(
        "SELECT l.oid, l.lanname::text AS name, l.lanpltrusted AS trusted, {} AS handler, {} AS inline_handler, {} AS validator, {}
           FROM pg_language l WHERE l.lanispl AND {} AND {} ORDER BY l.lanname",
        name_of("pg_proc", "pro", "l.lanplcallfoid"),
        name_of("pg_proc", "pro", "l.laninline"),
        name_of("pg_proc", "pro", "l.lanvalidator"),
        columns(&MetaSource::new(class::PG_LANGUAGE, "l.oid", "l.lanowner", "l.lanacl")),
        user_object("l.oid"),
        not_member(class::PG_LANGUAGE, "l.oid")
    ))
}

fn read(rows: &[Row], cx: &Context) -> Result<Vec<Draft>> {
    rows.iter()
        .map(|row| {
            let name = row.text("name")?;
            let noun = format!("LANGUAGE {}", ident(&name));
            let trusted = row.flag("trusted")?;
            let mut create = format!("CREATE {}{noun}", if trusted { "TRUSTED " } else { "" });
            for (column, word) in [("handler", "HANDLER"), ("inline_handler", "INLINE"), ("validator", "VALIDATOR")] {
                if let Some(function) = read_name(row, column)? {
                    create.push_str(&format!(" {word} {function}"));
                }
            }
            let mut entry = Entry::new(KIND.name, KIND.scope, Phase::Pre, None, &name, &ident(&name));
            entry.create.push(create.into());
            entry.drop = Some(format!("DROP LANGUAGE IF EXISTS {}", ident(&name)).into());
            let acl = AclObject::new(AclType::Language, noun.as_str(), cx.version);
            apply_meta(&mut entry, row, noun, trusted.then_some(&acl))?;
            Ok(Draft::new(Address::new(class::PG_LANGUAGE, row.oid("oid")?), entry))
        })
        .collect()
}
