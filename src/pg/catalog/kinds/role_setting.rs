//! Settings of a role, or of all roles, in every database (`ALTER ROLE … SET`).

use tokio_postgres::Row;

use super::setting::{set_clause, setting_name};
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
    let mut drafts = Vec::new();
    for row in rows {
        let (oid, role): (u32, Option<String>) = (row.col("setrole")?, row.col("role")?);
        for (number, setting) in row.col::<Vec<String>>("settings")?.iter().enumerate() {
            let name = setting_name(setting)?;
            let identity = format!("{} of {}", ident(name), role.as_deref().map_or("all".to_owned(), ident));
            let mut entry = Entry::new(KIND.name, KIND.scope, Phase::Pre, None, name, &identity);
            let alter = Sql::from("ALTER ROLE ");
            let alter = role.as_ref().map_or_else(|| alter.clone().text("ALL"), |r| alter.clone().role(r));
            entry.create.push(alter.text(format!(" {}", set_clause(setting)?)));
            let address = Address { class: SETTINGS, object: oid, sub: number as i32 };
            drafts.push(Draft { needs: vec![Address::new(class::PG_AUTHID, oid)], ..Draft::new(address, entry) });
        }
    }
    Ok(drafts)
}

/// Oid of `pg_db_role_setting`; its rows are nobody's dependency.
pub(super) const SETTINGS: u32 = 2964;
