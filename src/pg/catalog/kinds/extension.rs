//! Extensions, by name and schema: the version is the target's default, as `pg_dump` has it, because the source's may not be installed there.
//! Their members come with them; what was changed on members is [`altered_privileges`](super::altered_privileges)'s. `plpgsql` exists in
//! every new database: it is dropped where the source has none.

use tokio_postgres::Row;

use crate::base::Result;
use crate::base::sql::{Sql, ident};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::meta::{MetaSource, apply_meta, columns};
use crate::pg::catalog::row::RowExt;

/// Extensions.
pub(super) const KIND: Kind = Kind { name: "extension", scope: Scope::Object, query, read };

fn query(_: &Context) -> Option<String> {
    Some(format!(
        "SELECT e.oid, e.extname::text AS name, n.nspname::text AS schema, e.oid < 16384 AS built_in, {}
           FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace ORDER BY e.extname",
        columns(&MetaSource::plain(class::PG_EXTENSION, "e.oid"))
    ))
}

fn read(rows: &[Row], _: &Context) -> Result<Vec<Draft>> {
    let mut drafts = Vec::new();
    let mut has_plpgsql = false;
    for row in rows {
        let (name, schema) = (row.text("name")?, row.text("schema")?);
        has_plpgsql |= name == "plpgsql";
        if row.flag("built_in")? {
            continue;
        }
        let mut entry = Entry::new(KIND.name, KIND.scope, Phase::Pre, None, &name, &ident(&name));
        let create = format!("CREATE EXTENSION IF NOT EXISTS {} WITH SCHEMA {}", ident(&name), ident(&schema));
        entry.create.push(create.into());
        entry.drop = Some(format!("DROP EXTENSION IF EXISTS {}", ident(&name)).into());
        apply_meta(&mut entry, row, format!("EXTENSION {}", ident(&name)), None)?;
        drafts.push(Draft::new(Address::new(class::PG_EXTENSION, row.oid("oid")?), entry));
    }
    if !has_plpgsql {
        let mut entry = Entry::new(KIND.name, KIND.scope, Phase::Pre, None, "plpgsql", &ident("plpgsql"));
        entry.create.push(Sql::from("DROP EXTENSION IF EXISTS \"plpgsql\""));
        drafts.push(Draft::new(Address::new(class::PG_EXTENSION, 0), entry));
    }
    Ok(drafts)
}
