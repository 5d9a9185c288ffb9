//! Tablespaces with location, options, owner and privileges, as `pg_dumpall` writes them. The directory itself must exist on the target; a
//! tablespace inside the data directory has no location.

use tokio_postgres::Row;

use super::relation::storage_parameters;
use crate::base::Result;
use crate::base::sql::{Sql, ident, literal};
use crate::pg::catalog::acl::{AclObject, AclType};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::meta::{MetaSource, apply_meta, columns, user_object};
use crate::pg::catalog::row::RowExt;

/// Tablespaces.
pub(super) const KIND: Kind = Kind { name: "tablespace", scope: Scope::Cluster, query, read };

fn query(_: &Context) -> Option<String> {
    Some(format!(
        "SELECT t.oid, t.spcname::text AS name, pg_tablespace_location(t.oid) AS location, coalesce(t.spcoptions, '{{}}') AS options, {}
           FROM pg_tablespace t WHERE {} ORDER BY t.spcname",
        columns(&MetaSource::new(class::PG_TABLESPACE, "t.oid", "t.spcowner", "t.spcacl")),
        user_object("t.oid")
    ))
}

fn read(rows: &[Row], cx: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(|row| draft(row, cx)).collect()
}

fn draft(row: &Row, cx: &Context) -> Result<Draft> {
    let name: String = row.col("name")?;
    let mut entry = Entry::new(KIND.name, KIND.scope, Phase::Pre, None, &name, &ident(&name));
    let location = Some(row.text("location")?).filter(|l| l.starts_with('/')).unwrap_or_default();
    entry.create.push(Sql::from(format!("CREATE TABLESPACE {} LOCATION {}", ident(&name), literal(&location))));
    let options: Vec<String> = row.col("options")?;
    if !options.is_empty() {
        entry.create.push(Sql::from(format!(
            "ALTER TABLESPACE {} SET ({})",
            ident(&name),
            storage_parameters(&options, "").join(", ")
        )));
    }
    let noun = format!("TABLESPACE {}", ident(&name));
    let acl = AclObject::new(AclType::Tablespace, noun.as_str(), cx.version);
    apply_meta(&mut entry, row, noun, Some(&acl))?;
    Ok(Draft::new(Address::new(class::PG_TABLESPACE, row.col("oid")?), entry))
}
