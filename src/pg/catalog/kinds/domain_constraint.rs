//! Check constraints of domains, validated or not, with their comments.

use tokio_postgres::Row;

use crate::base::Result;
use crate::base::sql::{ident, qualified};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::meta::{MetaSource, apply_meta, columns, not_member, user_schema};
use crate::pg::catalog::row::RowExt;

/// Check constraints of domains.
pub(super) const KIND: Kind = Kind { name: "domain_constraint", scope: Scope::Object, query, read };

fn query(_: &Context) -> Option<String> {
    Some(format!(
        "SELECT c.oid, n.nspname::text AS schema, t.typname::text AS domain, c.conname::text AS name, pg_get_constraintdef(c.oid) AS definition, {}
           FROM pg_constraint c JOIN pg_type t ON t.oid = c.contypid JOIN pg_namespace n ON n.oid = t.typnamespace
          WHERE c.contype = 'c' AND t.typtype = 'd' AND {} AND {} ORDER BY n.nspname, t.typname, c.conname",
        columns(&MetaSource::plain(class::PG_CONSTRAINT, "c.oid")),
        user_schema("n.nspname"),
        not_member(class::PG_TYPE, "t.oid")
    ))
}

fn read(rows: &[Row], _: &Context) -> Result<Vec<Draft>> {
    rows.iter()
        .map(|row| {
            let (schema, name) = (row.text("schema")?, row.text("name")?);
            let domain = qualified(&schema, &row.text("domain")?);
            let identity = format!("{} on {domain}", ident(&name));
            let mut entry = Entry::new(KIND.name, KIND.scope, Phase::Pre, Some(&schema), &name, &identity);
            entry.parent = Some(format!("domain {domain}"));
            let create = format!("ALTER DOMAIN {domain} ADD CONSTRAINT {} {}", ident(&name), row.text("definition")?);
            entry.create.push(create.into());
            apply_meta(&mut entry, row, format!("CONSTRAINT {} ON DOMAIN {domain}", ident(&name)), None)?;
            Ok(Draft::new(Address::new(class::PG_CONSTRAINT, row.oid("oid")?), entry))
        })
        .collect()
}
