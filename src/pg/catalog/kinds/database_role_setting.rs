//! Settings of a role in this database (`ALTER ROLE … IN DATABASE … SET`). They are restored last, so that none of them (read-only
//! transactions, timeouts) acts on the restore itself.

use tokio_postgres::Row;

use super::role_setting::SETTINGS;
use super::setting::{names, set_all};
use crate::base::Result;
use crate::base::sql::{Sql, ident};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind};
use crate::pg::catalog::row::RowExt;

/// Settings in the database.
pub(super) const KIND: Kind = Kind { name: "database_role_setting", scope: Scope::Database, query, read };

fn query(_: &Context) -> Option<String> {
    Some(
        "SELECT s.setrole, r.rolname::text AS role, s.setconfig AS settings
           FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase JOIN pg_roles r ON r.oid = s.setrole
          WHERE d.datname = current_database() ORDER BY r.rolname"
            .to_owned(),
    )
}

fn read(rows: &[Row], cx: &Context) -> Result<Vec<Draft>> {
    rows.iter()
        .map(|row| {
            let role = row.text("role")?;
            let mut entry = Entry::new(KIND.name, KIND.scope, Phase::Post, None, &role, &ident(&role));
            let alter = Sql::from("ALTER ROLE ").role(&role).text(" IN DATABASE ").database(&cx.database);
            let settings: Vec<String> = row.col("settings")?;
            entry.create = set_all(&alter, &settings)?;
            entry.parameters = names(&settings)?;
            Ok(Draft::new(Address::new(SETTINGS, row.oid("setrole")?), entry))
        })
        .collect()
}
