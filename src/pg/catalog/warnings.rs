//! Names what a copy of the database will not have because no statement can say it, or should.

use tokio_postgres::Client;

use super::extract::query;
use super::kind::Context;
use super::kinds::user_relation;
use super::row::RowExt;
use crate::base::Result;
use crate::base::sql::literal;

/// Names in a sentence that lists several.
const SHOWN: usize = 10;

/// The catalogs that this release knows.
#[rustfmt::skip]
const CATALOGS: &[&str] = &[
    "pg_aggregate", "pg_am", "pg_amop", "pg_amproc", "pg_attrdef", "pg_attribute", "pg_auth_members", "pg_authid",
    "pg_cast", "pg_class", "pg_collation", "pg_constraint", "pg_conversion", "pg_database", "pg_db_role_setting",
    "pg_default_acl", "pg_depend", "pg_description", "pg_enum", "pg_event_trigger", "pg_extension",
    "pg_foreign_data_wrapper", "pg_foreign_server", "pg_foreign_table", "pg_index", "pg_inherits", "pg_init_privs",
    "pg_language", "pg_largeobject", "pg_largeobject_metadata", "pg_namespace", "pg_opclass", "pg_operator", "pg_opfamily",
    "pg_parameter_acl", "pg_partitioned_table", "pg_policy", "pg_proc", "pg_publication", "pg_publication_namespace",
    "pg_publication_rel", "pg_range", "pg_replication_origin", "pg_rewrite", "pg_seclabel", "pg_sequence", "pg_shdepend",
    "pg_shdescription", "pg_shseclabel", "pg_statistic", "pg_statistic_ext", "pg_statistic_ext_data", "pg_subscription",
    "pg_subscription_rel", "pg_tablespace", "pg_transform", "pg_trigger", "pg_ts_config", "pg_ts_config_map", "pg_ts_dict",
    "pg_ts_parser", "pg_ts_template", "pg_type", "pg_user_mapping",
];

/// One sentence each.
pub(super) async fn read(client: &Client, cx: &Context) -> Result<Vec<String>> {
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
    let mut all: Vec<String> =
        query(client, "warnings", &sql).await?.iter().map(|row| row.text("warning")).collect::<Result<_>>()?;
    let foreign = format!(
        "SELECT format('%I.%I', n.nspname, c.relname) AS name FROM pg_foreign_table f JOIN pg_class c ON c.oid = f.ftrelid
           JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {users} ORDER BY n.nspname, c.relname"
    );
    let foreign: Vec<String> =
        query(client, "foreign tables", &foreign).await?.iter().map(|row| row.text("name")).collect::<Result<_>>()?;
    if !foreign.is_empty() {
        all.push(format!("the rows of foreign tables stay on their servers and are not in the backup: {}", shortened(&foreign)));
    }
    let known: Vec<String> = CATALOGS.iter().map(|name| literal(name)).collect();
    let unknown = format!(
        "SELECT c.relname::text AS name FROM pg_class c WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relkind = 'r'
            AND c.relname NOT IN ({}) ORDER BY c.relname",
        known.join(", ")
    );
    for row in query(client, "catalogs", &unknown).await? {
        all.push(format!("the catalog {} is new to this release: what it holds is not in the backup", row.text("name")?));
    }
    if !cx.reads_connections {
        let subscriptions = "SELECT s.subname::text AS name FROM pg_subscription s
              WHERE s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY s.subname";
        for row in query(client, "subscriptions", subscriptions).await? {
            all.push(format!(
                "subscription {} is in the backup without its connection string, which our role may not read: \
                 back up as a superuser, or grant pg_read_all_data",
                row.text("name")?
            ));
        }
    }
    Ok(all)
}

/// The first names, and how many more there are.
fn shortened(names: &[String]) -> String {
    let shown = names[..names.len().min(SHOWN)].join(", ");
    if names.len() > SHOWN { format!("{shown} and {} more", names.len() - SHOWN) } else { shown }
}
