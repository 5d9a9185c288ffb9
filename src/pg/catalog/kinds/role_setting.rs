//! Settings of a role, or of all roles, in every database (`ALTER ROLE … SET`).

use tokio_postgres::Row;

use super::setting::{names, set_all};
use crate::base::Result;
use crate::base::sql::{Sql, ident};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::row::RowExt;

/// Settings of roles.
pub(super) const KIND: Kind = Kind { name: "role_setting", scope: Scope::Cluster, query, read };

fn query(_: &Context) -> Option<String> {
    Some(
        "SELECT s.setrole, r.rolname::text AS role, s.setconfig AS settings
           FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole
          WHERE s.setdatabase = 0 AND (s.setrole = 0 OR r.rolname !~ '^pg_') ORDER BY r.rolname NULLS FIRST"
            .to_owned(),
    )
}

fn read(rows: &[Row], _: &Context) -> Result<Vec<Draft>> {
    rows.iter()
        .map(|row| {
            let (oid, role) = (row.oid("setrole")?, row.opt_text("role")?);
            let (name, alter) = match &role {
                Some(role) => (ident(role), Sql::from("ALTER ROLE ").role(role)),
                None => ("of all roles".to_owned(), Sql::from("ALTER ROLE ALL")),
            };
            let mut entry = Entry::new(KIND.name, KIND.scope, Phase::Pre, None, role.as_deref().unwrap_or("ALL"), &name);
            let settings: Vec<String> = row.col("settings")?;
            entry.create = set_all(&alter, &settings)?;
            entry.parameters = names(&settings)?;
            let address = Address::new(SETTINGS, oid);
            Ok(Draft { needs: vec![Address::new(class::PG_AUTHID, oid)], ..Draft::new(address, entry) })
        })
        .collect()
}

/// Oid of `pg_db_role_setting`; its rows are nobody's dependency.
pub(super) const SETTINGS: u32 = 2964;
