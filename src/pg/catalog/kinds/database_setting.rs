//! Settings of the database (`ALTER DATABASE … SET`) and its limit of connections. They are restored last, so that none of them (read-only
//! transactions, timeouts, one connection) acts on the restore itself.

use tokio_postgres::Row;

use super::role_setting::SETTINGS;
use super::setting::{names, set_all};
use crate::base::Result;
use crate::base::sql::Sql;
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind};
use crate::pg::catalog::row::RowExt;

/// Settings of the database.
pub(super) const KIND: Kind = Kind { name: "database_setting", scope: Scope::Database, query, read };

fn query(_: &Context) -> Option<String> {
    Some(
        "SELECT d.datconnlimit, coalesce(s.setconfig, '{}') AS settings
           FROM pg_database d LEFT JOIN pg_db_role_setting s ON s.setdatabase = d.oid AND s.setrole = 0
          WHERE d.datname = current_database()"
            .to_owned(),
    )
}

fn read(rows: &[Row], cx: &Context) -> Result<Vec<Draft>> {
    let mut drafts = Vec::new();
    for row in rows {
        let alter = Sql::from("ALTER DATABASE ").database(&cx.database);
        let mut add = |name: &str, create: Vec<Sql>, parameters: Vec<String>| {
            let mut entry = Entry::new(KIND.name, KIND.scope, Phase::Post, None, name, name);
            entry.create = create;
            entry.parameters = parameters;
            drafts.push(Draft::new(Address { class: SETTINGS, object: 0, sub: drafts.len() as i32 }, entry));
        };
        let limit: i32 = row.col("datconnlimit")?;
        if limit != -1 {
            add("connection limit", vec![alter.clone().text(format!(" CONNECTION LIMIT {limit}"))], Vec::new());
        }
        let settings: Vec<String> = row.col("settings")?;
        if !settings.is_empty() {
            add("settings", set_all(&alter, &settings)?, names(&settings)?);
        }
    }
    Ok(drafts)
}
