//! Foreign servers.

use tokio_postgres::Row;

use super::foreign_data_wrapper::options;
use crate::base::Result;
use crate::base::sql::{ident, literal};
use crate::pg::catalog::acl::{AclObject, AclType};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::meta::{MetaSource, apply_meta, columns, not_member};
use crate::pg::catalog::row::RowExt;

/// Foreign servers.
pub(super) const KIND: Kind = Kind { name: "foreign_server", scope: Scope::Object, query, read };

fn query(_: &Context) -> Option<String> {
    Some(format!(
        "SELECT s.oid, s.srvname::text AS name, s.srvtype AS type, s.srvversion AS version, w.fdwname::text AS wrapper,
                coalesce(s.srvoptions, '{{}}') AS options, {}
           FROM pg_foreign_server s JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw WHERE {} ORDER BY s.srvname",
        columns(&MetaSource::new(class::PG_FOREIGN_SERVER, "s.oid", "s.srvowner", "s.srvacl")),
        not_member(class::PG_FOREIGN_SERVER, "s.oid")
    ))
}

fn read(rows: &[Row], cx: &Context) -> Result<Vec<Draft>> {
    rows.iter()
        .map(|row| {
            let name = row.text("name")?;
            let mut create = format!("CREATE SERVER {}", ident(&name));
            for (column, word) in [("type", "TYPE"), ("version", "VERSION")] {
                if let Some(value) = row.opt_text(column)? {
                    create.push_str(&format!(" {word} {}", literal(&value)));
                }
            }
            create.push_str(&format!(" FOREIGN DATA WRAPPER {}{}", ident(&row.text("wrapper")?), options(row, "options")?));
            let mut entry = Entry::new(KIND.name, KIND.scope, Phase::Pre, None, &name, &ident(&name));
            entry.create.push(create.into());
            entry.drop = Some(format!("DROP SERVER IF EXISTS {}", ident(&name)).into());
            let acl = AclObject::new(AclType::ForeignServer, format!("FOREIGN SERVER {}", ident(&name)), cx.version);
            apply_meta(&mut entry, row, format!("SERVER {}", ident(&name)), Some(&acl))?;
            Ok(Draft::new(Address::new(class::PG_FOREIGN_SERVER, row.oid("oid")?), entry))
        })
        .collect()
}
