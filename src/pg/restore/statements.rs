//! What a restore asks of its target.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::base::sql::{ident, literal, qualified};
use crate::base::{Error, Kind, Result};
use crate::pg::connect::Target;
use crate::pg::session::{Session, column};
use crate::pg::version::Feature;

/// Pinned on top of what every session pins, as `pg_restore` does; commits need not reach the disk one by one, the last one takes all along.
pub(super) const WRITER: &[(&str, &str)] = &[
    ("check_function_bodies", "off"),
    ("default_tablespace", ""),
    ("default_table_access_method", "heap"),
    ("restrict_nonsystem_relation_kind", ""),
    ("icu_validation_level", "warning"),
    ("synchronous_commit", "off"),
];

/// Pinned where roles are made: who is no superuser must belong to the roles that it makes, or it could not hand objects over to them.
pub(super) const ROLE_MAKER: &[(&str, &str)] = &[("createrole_self_grant", "set, inherit")];

/// What a failed entry may leave behind in the session.
pub(super) const RESET: &str = "RESET SESSION AUTHORIZATION; SET ROLE NONE; SET default_tablespace = ''; SET search_path = ''";

/// Catalogs of what belongs to a schema: name, column of the schema, condition. Indexes, constraints and the like come with a relation; row types,
/// array types and multiranges with another object.
const IN_SCHEMAS: &[(&str, &str, &str)] = &[
    ("pg_class", "relnamespace", "x.relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c')"),
    ("pg_proc", "pronamespace", "true"),
    ("pg_type", "typnamespace", "x.typtype NOT IN ('c', 'm') AND NOT EXISTS (SELECT FROM pg_type a WHERE a.typarray = x.oid)"),
    ("pg_operator", "oprnamespace", "true"),
    ("pg_opclass", "opcnamespace", "true"),
    ("pg_opfamily", "opfnamespace", "true"),
    ("pg_collation", "collnamespace", "true"),
    ("pg_conversion", "connamespace", "true"),
    ("pg_ts_config", "cfgnamespace", "true"),
    ("pg_ts_dict", "dictnamespace", "true"),
    ("pg_ts_parser", "prsnamespace", "true"),
    ("pg_ts_template", "tmplnamespace", "true"),
];

/// Catalogs of what belongs to no schema, with a condition; what initdb made has smaller oids.
const WITHOUT_SCHEMA: &[(&str, &str)] = &[
    ("pg_namespace", "x.nspname !~ '^pg_' AND x.nspname NOT IN ('information_schema', 'public')"),
    ("pg_cast", "true"),
    ("pg_language", "true"),
    ("pg_transform", "true"),
    ("pg_am", "true"),
    ("pg_event_trigger", "true"),
    ("pg_publication", "true"),
    ("pg_foreign_data_wrapper", "true"),
    ("pg_foreign_server", "true"),
    ("pg_default_acl", "true"),
    ("pg_largeobject_metadata", "true"),
];

/// Counts the objects of users, members of extensions left out, and the extensions themselves, which a restore takes as they are.
fn objects() -> String {
    let own = |class: &str| {
        format!(
            "NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = '{class}'::regclass AND d.objid = x.oid AND d.deptype = 'e')"
        )
    };
    let mut counts = vec![
        "(SELECT count(x.oid) FROM pg_subscription x WHERE x.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database()))"
            .to_owned(),
    ];
    counts.extend(IN_SCHEMAS.iter().map(|(class, schema, condition)| {
        format!(
            "(SELECT count(*) FROM {class} x JOIN pg_namespace n ON n.oid = x.{schema}
               WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND {condition} AND {})",
            own(class)
        )
    }));
    counts.extend(WITHOUT_SCHEMA.iter().map(|(class, condition)| {
        format!(
            "(SELECT count(*) FROM {class} x WHERE {condition} AND {}{})",
            own(class),
            if *class == "pg_largeobject_metadata" { "" } else { " AND x.oid >= 16384" }
        )
    }));
    format!("SELECT {}", counts.join("\n     + "))
}

/// A session in the target database or, where that does not exist, in a maintenance database of the same server; the flag says which.
pub(super) async fn open(target: &Target) -> Result<(Session, bool)> {
    match target.connect().await {
        Ok(session) => Ok((session, true)),
        Err(error) if error.kind() == Kind::NotFound => Ok((target.connect_maintenance().await?, false)),
        Err(error) => Err(error),
    }
}

/// A session for writing, one of `jobs`.
pub(super) async fn writer(target: &Target, jobs: usize) -> Result<Session> {
    let session = target.connect().await?;
    session.pin(WRITER).await?;
    session.raise_maintenance_memory(jobs).await?;
    session.silence_event_triggers().await?;
    Ok(session)
}

impl Session {
    pub(super) async fn count_objects(&self) -> Result<u64> {
        let row = self.row("count objects of the target", &objects()).await?;
        Ok(column::<i64>(&row, 0)?.unsigned_abs())
    }

    pub(super) async fn names(&self, what: &str, sql: &str) -> Result<BTreeSet<String>> {
        let rows = self.rows(what, sql).await?;
        rows.iter().map(|row| column(row, 0)).collect()
    }

    pub(super) async fn role_names(&self) -> Result<BTreeSet<String>> {
        self.names("list roles", "SELECT rolname::text FROM pg_roles").await
    }

    /// Tablespaces that our role may use.
    pub(super) async fn tablespace_names(&self) -> Result<BTreeSet<String>> {
        let text = "SELECT spcname::text FROM pg_tablespace WHERE has_tablespace_privilege(oid, 'CREATE')";
        self.names("list tablespaces", text).await
    }

    pub(super) async fn schema_names(&self) -> Result<BTreeSet<String>> {
        self.names("list schemas", "SELECT nspname::text FROM pg_namespace").await
    }

    pub(super) async fn installed_extensions(&self) -> Result<BTreeMap<String, ExtensionState>> {
        let text = "SELECT extname::text, pg_has_role(extowner, 'USAGE'), obj_description(oid, 'pg_extension') FROM pg_extension";
        let rows = self.rows("list extensions", text).await?;
        rows.iter()
            .map(|row| Ok((column(row, 0)?, ExtensionState { owned: column(row, 1)?, comment: column(row, 2)? })))
            .collect()
    }

    /// Whether the database that this session is in is our role's, and whether the role may make schemas in it, and objects in `public`.
    pub(super) async fn database_rights(&self) -> Result<(bool, bool, bool)> {
        let text = "SELECT pg_has_role(d.datdba, 'USAGE'), has_database_privilege(d.oid, 'CREATE'), \
                           coalesce((SELECT has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE nspname = 'public'), true) \
                      FROM pg_database d WHERE d.datname = current_database()";
        let row = self.row("read our rights on the database", text).await?;
        Ok((column(&row, 0)?, column(&row, 1)?, column(&row, 2)?))
    }

    /// Memberships with ADMIN option: role and member.
    pub(super) async fn administrators(&self) -> Result<BTreeSet<(String, String)>> {
        let text = "SELECT r.rolname::text, m.rolname::text FROM pg_auth_members a JOIN pg_roles r ON r.oid = a.roleid \
                      JOIN pg_roles m ON m.oid = a.member WHERE a.admin_option";
        let rows = self.rows("list memberships", text).await?;
        rows.iter().map(|row| Ok((column(row, 0)?, column(row, 1)?))).collect()
    }

    /// Of pairs of schema (empty: the database) and role, those that may not make objects there yet.
    pub(super) async fn without_create(&self, pairs: &BTreeSet<(String, String)>) -> Result<Vec<(String, String)>> {
        if pairs.is_empty() {
            return Ok(Vec::new());
        }
        let values: Vec<String> = pairs.iter().map(|(s, r)| format!("({}, {})", literal(s), literal(r))).collect();
        let text = format!(
            "SELECT v.place, v.role FROM (VALUES {}) v (place, role) JOIN pg_roles r ON r.rolname = v.role \
               LEFT JOIN pg_namespace n ON n.nspname = v.place \
              WHERE CASE WHEN v.place = '' THEN NOT has_database_privilege(r.oid, current_database(), 'CREATE') \
                         ELSE NOT has_schema_privilege(r.oid, n.oid, 'CREATE') END ORDER BY 1, 2",
            values.join(", ")
        );
        let rows = self.rows("compare privileges on schemas", &text).await?;
        rows.iter().map(|row| Ok((column(row, 0)?, column(row, 1)?))).collect()
    }

    /// Comment of an installed extension.
    pub(super) async fn extension_comment(&self, name: &str) -> Result<Option<String>> {
        let text = format!("SELECT obj_description(oid, 'pg_extension') FROM pg_extension WHERE extname = {}", literal(name));
        let rows = self.rows("read the comment of an extension", &text).await?;
        Ok(rows.first().map(|row| column(row, 0)).transpose()?.flatten())
    }

    /// Extensions that the server can install, and whether a role that is no superuser can.
    pub(super) async fn available_extensions(&self) -> Result<BTreeMap<String, bool>> {
        let text = "SELECT a.name::text, coalesce(bool_or(v.trusted OR NOT v.superuser), false) FROM pg_available_extensions a \
                      LEFT JOIN pg_available_extension_versions v ON v.name = a.name GROUP BY a.name";
        let rows = self.rows("list available extensions", text).await?;
        rows.iter().map(|row| Ok((column(row, 0)?, column(row, 1)?))).collect()
    }

    /// `schema.name` of all relations of users.
    pub(super) async fn relation_names(&self) -> Result<BTreeSet<(String, String)>> {
        let text = "SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'";
        let rows = self.rows("list relations", text).await?;
        rows.iter().map(|row| Ok((column(row, 0)?, column(row, 1)?))).collect()
    }

    /// The first of these tables that holds a row.
    pub(super) async fn first_with_rows(&self, tables: &[(&str, &str)]) -> Result<Option<String>> {
        for batch in tables.chunks(200) {
            let tests: Vec<String> = batch
                .iter()
                .map(|(schema, table)| {
                    let name = qualified(schema, table);
                    format!("SELECT {} WHERE EXISTS (SELECT FROM ONLY {name})", literal(&name))
                })
                .collect();
            let rows = self.rows("look for rows in the target", &tests.join(" UNION ALL ")).await?;
            if let Some(row) = rows.first() {
                return Ok(Some(column::<String>(row, 0)?));
            }
        }
        Ok(None)
    }

    /// Memory for building an index, which would otherwise be sorted on disk: all `jobs` sessions together may take as much as the server's `shared_buffers`,
    /// the one measure of its memory that somebody has set; each 128 MiB at least and 1 GiB at most. A larger setting of the server is left alone.
    pub(super) async fn raise_maintenance_memory(&self, jobs: usize) -> Result<()> {
        let text = format!(
            "RESET maintenance_work_mem; SELECT set_config('maintenance_work_mem', v.kilobytes::text, false) \
               FROM (SELECT least(1048576, greatest(131072, pg_size_bytes(current_setting('shared_buffers')) / 1024 / {}))) v (kilobytes) \
               JOIN pg_settings s ON s.name = 'maintenance_work_mem' WHERE s.setting::int8 < v.kilobytes",
            jobs.max(1)
        );
        self.run("raise maintenance_work_mem", &text).await
    }

    /// Memory for validating a foreign key: what the server may hash in it. A hash table larger than the caches of a processor is several times slower than
    /// to go through the indexes of both tables side by side, and the server's estimates know nothing of caches.
    pub(super) async fn limit_maintenance_memory(&self) -> Result<()> {
        self.run("limit maintenance_work_mem", "SET maintenance_work_mem = '64MB'").await
    }

    /// How many processes of the server may help to build an index.
    pub(super) async fn allow_helpers(&self, count: usize) -> Result<()> {
        self.run("set max_parallel_maintenance_workers", &format!("SET max_parallel_maintenance_workers = {count}")).await
    }

    /// Keeps event triggers that the target has from firing on what we make and drop, where our role may: those of a backup are restored last for
    /// the same reason. Before 17 only a session that claims to replicate can, in which nothing else that a restore does is different.
    async fn silence_event_triggers(&self) -> Result<()> {
        let text = if self.version().has(Feature::EventTriggersOff) {
            "SELECT set_config('session_replication_role', 'origin', false) WHERE current_setting('session_replication_role') <> 'origin'; \
             SELECT set_config('event_triggers', 'off', false)"
        } else {
            "SELECT set_config('session_replication_role', CASE WHEN e.found THEN 'replica' ELSE 'origin' END, false) \
               FROM (SELECT EXISTS (SELECT FROM pg_event_trigger WHERE evtenabled <> 'D')) e (found) \
              WHERE e.found OR current_setting('session_replication_role') <> 'origin'"
        };
        match self.client().batch_execute(text).await {
            Err(error) if crate::pg::error::sqlstate(&error).as_deref() != Some("42501") => {
                Err(crate::pg::error::statement("silence event triggers", &error))
            }
            _ => Ok(()),
        }
    }

    /// Keeps triggers and foreign keys from firing while rows are loaded into finished tables. False where our role may not.
    pub(super) async fn silence_triggers(&self) -> Result<bool> {
        match self.client().batch_execute("SET session_replication_role = replica").await {
            Ok(()) => Ok(true),
            Err(error) if crate::pg::error::sqlstate(&error).as_deref() == Some("42501") => Ok(false),
            Err(error) => Err(crate::pg::error::statement("silence triggers", &error)),
        }
    }

    /// Waits until everything that was committed so far is on the server's disk: a commit that writes something waits for its own record of the WAL and for all
    /// before it. A message that nobody reads is something; an id of a transaction alone would not be.
    pub(super) async fn make_durable(&self) -> Result<()> {
        let what = "make the restore durable";
        self.run(what, "SET synchronous_commit = local").await?;
        let row = self.row(what, "SELECT pg_logical_emit_message(true, 'pgkeep', 'restored')::text").await?;
        let text = format!("SELECT pg_current_wal_flush_lsn() >= '{}'::pg_lsn", column::<String>(&row, 0)?);
        if column(&self.row(what, &text).await?, 0)? {
            return Ok(());
        }
        Err(Error::unavailable(format!("{} did not write the end of the restore to its disk", self.target()))
            .hint("its last seconds may be lost if the server crashes now; CHECKPOINT makes them durable"))
    }
}

/// The statement that gives an extension its comment, as its entry has it.
pub(super) fn extension_comment(name: &str, text: &str) -> String {
    format!("COMMENT ON EXTENSION {} IS {}", ident(name), literal(text))
}

/// An extension of the target.
#[derive(Debug, Clone)]
pub(super) struct ExtensionState {
    /// Whether our role can change it.
    pub(super) owned: bool,
    pub(super) comment: Option<String>,
}

/// Kinds whose statements carry passwords, connection strings or settings.
const CONFIDENTIAL: &[&str] = &[
    "role",
    "role_setting",
    "database_setting",
    "database_role_setting",
    "foreign_data_wrapper",
    "foreign_server",
    "foreign_table",
    "user_mapping",
    "subscription",
];

/// A statement as it may be shown: of kinds that carry secrets only what stands before the first value.
pub(in crate::pg) fn redact<'a>(kind: &str, sql: &'a str) -> Cow<'a, str> {
    if !CONFIDENTIAL.contains(&kind) {
        return Cow::Borrowed(sql);
    }
    let mut in_name = false;
    for (at, letter) in sql.char_indices() {
        match letter {
            '"' => in_name = !in_name,
            '\'' | '$' if !in_name => {
                let head = sql[..at].trim_end_matches(" E").trim_end();
                return Cow::Owned(format!("{head} …"));
            }
            _ => {}
        }
    }
    Cow::Borrowed(sql)
}

/// What the server says of a failed statement, as it may be shown: it quotes from a connection string that it cannot read.
pub(super) fn redact_message(entry: &str, message: String) -> String {
    const QUOTING: &str = "invalid connection string syntax";
    match message.find(QUOTING) {
        Some(at) if entry.starts_with("subscription ") => message[..at + QUOTING.len()].to_owned(),
        _ => message,
    }
}

/// First line of a statement of an entry, for reports; see [`redact`].
pub(super) fn first_line(entry: &str, sql: &str) -> String {
    let kind = entry.split(' ').next().unwrap_or_default();
    let shown = redact(kind, sql);
    let line = shown.lines().next().unwrap_or_default();
    let short: String = line.chars().take(200).collect();
    if short.len() < line.len() { format!("{short}…") } else { short }
}

/// The error of something that must not fail.
pub(super) fn lost(session: &Session) -> Error {
    Error::unavailable(format!("the connection to {} was lost during the restore", session.target()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_with_secrets_end_before_their_first_value() {
        let cases = [
            ("role", "CREATE ROLE \"a'b\" LOGIN password E'secret'", "CREATE ROLE \"a'b\" LOGIN password …"),
            (
                "user_mapping",
                "CREATE USER MAPPING FOR x SERVER s OPTIONS (\"password\" 'secret')",
                "CREATE USER MAPPING FOR x SERVER s OPTIONS (\"password\" …",
            ),
            (
                "foreign_server",
                "CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (host $$secret$$)",
                "CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (host …",
            ),
            (
                "foreign_table",
                "CREATE FOREIGN TABLE t () SERVER s OPTIONS (\"program\" 'curl secret')",
                "CREATE FOREIGN TABLE t () SERVER s OPTIONS (\"program\" …",
            ),
            ("subscription", "CREATE SUBSCRIPTION s CONNECTION 'password=secret'", "CREATE SUBSCRIPTION s CONNECTION …"),
            ("role_setting", "ALTER ROLE x SET \"my.key\" TO 'secret'", "ALTER ROLE x SET \"my.key\" TO …"),
            ("database_setting", "ALTER DATABASE d SET \"my.key\" TO 'secret'", "ALTER DATABASE d SET \"my.key\" TO …"),
            ("table", "CREATE TABLE t (a text DEFAULT 'x')", "CREATE TABLE t (a text DEFAULT 'x')"),
        ];
        for (kind, sql, shown) in cases {
            assert_eq!(redact(kind, sql), shown);
            assert_eq!(first_line(&format!("{kind} \"name\""), sql), shown);
        }
    }

    #[test]
    fn what_the_server_quotes_of_a_connection_string_is_left_out() {
        let said = "invalid connection string syntax: missing \"=\" after \"secret\" in connection info string".to_owned();
        assert_eq!(redact_message("subscription \"s\"", said.clone()), "invalid connection string syntax");
        assert_eq!(redact_message("table \"s\"", said.clone()), said);
    }
}
