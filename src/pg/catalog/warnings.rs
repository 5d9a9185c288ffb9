//! Names what a copy of the database will not have because no statement can say it, or should.

use tokio_postgres::Client;

use super::extract::query;
use super::kinds::user_relation;
use super::row::RowExt;
use crate::base::Result;

/// One sentence each.
pub(super) async fn read(client: &Client) -> Result<Vec<String>> {
    let users = user_relation();
    let sql = format!(
        "SELECT format('index %I.%I is invalid and is left out: drop it, or build it again with REINDEX', n.nspname, ic.relname) AS warning
           FROM pg_index x JOIN pg_class ic ON ic.oid = x.indexrelid
           JOIN pg_class c ON c.oid = x.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE NOT (x.indisvalid AND x.indisready) AND c.relkind IN ('r', 'm') AND {users}
          UNION ALL
         SELECT format('triggers of foreign keys of table %I.%I are disabled: a copy has them enabled', n.nspname, c.relname)
           FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE {users} AND EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgisinternal AND t.tgparentid = 0
                                       AND t.tgenabled <> 'O')
          UNION ALL
         SELECT format('options of the user mapping of %s on server %I, if it has any, are not in the backup: our role may not see them',
                       CASE WHEN u.umuser = 0 THEN 'PUBLIC' ELSE quote_ident(u.usename) END, u.srvname)
           FROM pg_user_mappings u JOIN pg_foreign_server s ON s.oid = u.srvid
          WHERE NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
            AND CASE WHEN u.umuser = 0 THEN NOT pg_has_role(s.srvowner, 'USAGE')
                     ELSE NOT (u.usename = current_user AND (pg_has_role(s.srvowner, 'USAGE') OR has_server_privilege(s.oid, 'USAGE'))) END
          ORDER BY 1"
    );
    query(client, "warnings", &sql).await?.iter().map(|row| row.text("warning")).collect()
}
