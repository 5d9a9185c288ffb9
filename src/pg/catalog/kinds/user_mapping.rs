//! User mappings of foreign servers. Their options may hold passwords; they are shown only to the mapped user, the server's owner and
//! superusers, so a backup by anybody else has the mappings without them.

use tokio_postgres::Row;

use super::foreign_data_wrapper::options_clause;
use crate::base::Result;
use crate::base::sql::{Sql, ident};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::row::RowExt;

/// User mappings.
pub(super) const KIND: Kind = Kind { name: "user_mapping", scope: Scope::Object, query, read };

fn query(_: &Context) -> Option<String> {
    Some(
        "SELECT u.umid AS oid, u.srvid, u.srvname::text AS server, CASE WHEN u.umuser <> 0 THEN u.usename::text END AS role,
                coalesce(u.umoptions, '{}') AS options
           FROM pg_user_mappings u ORDER BY u.srvname, 4 NULLS FIRST"
            .to_owned(),
    )
}

fn read(rows: &[Row], _: &Context) -> Result<Vec<Draft>> {
    rows.iter()
        .map(|row| {
            let (server, role) = (row.text("server")?, row.opt_text("role")?);
            let whose = role.as_deref().map_or_else(|| "PUBLIC".to_owned(), ident);
            let mut entry =
                Entry::new(KIND.name, KIND.scope, Phase::Pre, None, &server, &format!("{whose} on {}", ident(&server)));
            let named = |sql: Sql| match &role {
                Some(role) => sql.role(role),
                None => sql.text("PUBLIC"),
            };
            let tail = format!(" SERVER {}", ident(&server));
            let options = options_clause(&row.col::<Vec<String>>("options")?);
            entry.create.push(named(Sql::from("CREATE USER MAPPING FOR ")).text(&tail).text(options));
            entry.drop = Some(named(Sql::from("DROP USER MAPPING IF EXISTS FOR ")).text(&tail));
            let address = Address::new(class::PG_USER_MAPPING, row.oid("oid")?);
            Ok(Draft { needs: vec![Address::new(class::PG_FOREIGN_SERVER, row.oid("srvid")?)], ..Draft::new(address, entry) })
        })
        .collect()
}
