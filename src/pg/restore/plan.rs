//! The plan of a restore: looked at first, shown, stored, then executed as it stands.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::losses::Judge;
use super::notes::notes;
use super::outcome::Loss;
use super::power::Power;
use super::render::{Renderer, tablespaces};
use super::roles;
use super::select::{Selection, select};
use super::statements::open;
use super::{RestoreInput, RestoreOptions};
use crate::base::units::{format_bytes, format_count};
use crate::base::{Error, Result};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::connect::Target;
use crate::pg::copy::TableData;
use crate::pg::session::Session;
use crate::pg::version::Version;

/// The server and database that a restore goes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetFacts {
    /// Host or socket directory.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Database.
    pub database: String,
    /// Role that restores.
    pub user: String,
    /// Whether that role is a superuser.
    pub superuser: bool,
    /// Identity of the cluster, where it may be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_identifier: Option<String>,
    /// Version number.
    pub version: Version,
    /// Whether the database exists.
    pub exists: bool,
    /// User objects in it.
    pub objects: u64,
}

/// What a restore will do. Printable with `Display`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RestorePlan {
    /// Where to.
    pub target: TargetFacts,
    /// Whether target and source are the same cluster.
    pub same_cluster: bool,
    /// Name of the database in the source.
    pub source_database: String,
    /// Version of the source.
    pub source_version: Version,
    /// The options it was made with.
    pub options: RestoreOptions,
    /// Whether the database will be created.
    pub create_database: bool,
    /// Roles that will be created.
    pub create_roles: Vec<String>,
    /// Ids of the entries of the cluster that will be restored.
    pub cluster: Vec<String>,
    /// Ids of the entries that will be dropped first (`clean`), in drop order.
    pub drop: Vec<String>,
    /// Ids of the entries that will be restored, in order.
    pub entries: Vec<String>,
    /// Ids of the entries whose rows will be loaded.
    pub tables: Vec<String>,
    /// Tablespaces of the source that the target does not have: what was in them goes to the default one.
    pub missing_tablespaces: Vec<String>,
    /// Rows to load.
    pub rows: u64,
    /// Bytes of COPY text to load.
    pub bytes: u64,
    /// Ids of memberships that are granted by us, because their grantor cannot grant them in the target.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regranted: Vec<String>,
    /// What will be missing because our role may not make it, and what needs that.
    #[serde(default)]
    pub losses: Vec<Loss>,
    /// What will differ from the source, in sentences.
    pub warnings: Vec<String>,
}

/// Looks at the target and decides what a restore would do. Refuses what cannot work: a target that is not empty (conflict), a server older
/// than the source (unsupported), extensions that the server does not have (unsupported), roles that are missing and may not be made (denied).
pub async fn plan(target: &Target, input: &RestoreInput, options: &RestoreOptions) -> Result<RestorePlan> {
    if options.schema_only && options.data_only {
        return Err(Error::usage("--schema-only and --data-only exclude each other"));
    }
    let (session, exists) = open(target).await?;
    let facts = target_facts(target, &session, exists).await?;
    let power = Power::of(&session).await?;
    if facts.version.major() < input.source.version.major() {
        return Err(Error::unsupported(format!(
            "the target runs PostgreSQL {}, and the backup is of PostgreSQL {}",
            facts.version.major(),
            input.source.version.major()
        ))
        .hint("restore into a server of the same major version or a newer one"));
    }
    let present = if exists { session.schema_names().await? } else { BTreeSet::from(["public".to_owned()]) };
    let mut selection = select(input, options, &present, facts.objects == 0)?;
    if is_part(options) || (exists && options.data_only) {
        // The database's own properties belong to whole restores.
        selection.entries.retain(|i| input.entries[*i].scope != Scope::Database || !exists);
    }
    let chosen: Vec<&Entry> = selection.entries.iter().map(|i| &input.entries[*i]).collect();
    let tables: Vec<&TableData> = input.tables.iter().filter(|t| loads(t, options, &selection)).collect();
    refuse_conflicts(&session, &facts, &power, options, &chosen, &tables).await?;

    let mut warnings = std::mem::take(&mut selection.warnings);
    warnings.extend(general_warnings(input, &facts, &session).await?);
    let available = check_extensions(&session, &chosen).await?;
    let missing_tablespaces = missing_tablespaces(&session, &chosen, &mut warnings).await?;
    let renderer = Renderer::new(options, target.database(), &missing_tablespaces, facts.superuser);
    let roles = roles::plan(&session, &power, input, options, &chosen, &renderer).await?;
    warnings.extend(roles.warnings);
    let cluster: Vec<&Entry> = input.cluster.iter().filter(|e| roles.entries.contains(&e.id)).collect();
    warnings.extend(notes(&session, &chosen, &cluster).await?);
    let power = power.with_made(&roles.create, &roles.memberships);
    let installed = if exists { session.installed_extensions().await? } else { BTreeMap::new() };
    let owns_database = facts.superuser || !exists || session.database_rights().await?.0;
    let judge = Judge { power: &power, renderer: &renderer, available: &available, installed: &installed, owns_database };
    let losses = judge.losses(cluster.into_iter().chain(chosen.iter().copied()));
    let same_cluster = facts.system_identifier.is_some() && facts.system_identifier == input.source.system_identifier;
    if !same_cluster && !is_part(options) {
        warnings.extend(of_the_whole_server(input));
    }
    Ok(RestorePlan {
        same_cluster,
        source_database: input.database.clone(),
        source_version: input.source.version,
        create_database: !exists,
        create_roles: roles.create,
        cluster: roles.entries,
        regranted: roles.regranted,
        losses,
        drop: drops(options, exists, &chosen),
        entries: chosen.iter().map(|e| e.id.clone()).collect(),
        tables: tables.iter().map(|t| t.entry.clone()).collect::<BTreeSet<_>>().into_iter().collect(),
        missing_tablespaces,
        rows: tables.iter().map(|t| t.fingerprint.rows).sum(),
        bytes: tables.iter().map(|t| t.fingerprint.bytes).sum(),
        options: options.clone(),
        target: facts,
        warnings,
    })
}

/// Whether only some of the objects are restored.
pub(super) fn is_part(options: &RestoreOptions) -> bool {
    !options.tables.is_empty() || !options.schemas.is_empty()
}

fn loads(table: &TableData, options: &RestoreOptions, selection: &Selection) -> bool {
    if table.is_large_objects() {
        return !options.schema_only && !is_part(options);
    }
    selection.tables.contains(&table.entry)
}

/// What a session tells of its server, and of the target database if that is where it is.
pub(super) async fn target_facts(target: &Target, session: &Session, exists: bool) -> Result<TargetFacts> {
    let facts = session.facts().await?;
    Ok(TargetFacts {
        host: target.host().to_owned(),
        port: target.port(),
        database: target.database().to_owned(),
        user: facts.user,
        superuser: facts.superuser,
        system_identifier: facts.system_identifier,
        version: facts.version,
        exists,
        objects: if exists { session.count_objects().await? } else { 0 },
    })
}

async fn refuse_conflicts(
    session: &Session,
    facts: &TargetFacts,
    power: &Power,
    options: &RestoreOptions,
    chosen: &[&Entry],
    tables: &[&TableData],
) -> Result<()> {
    let database = &facts.database;
    if !facts.exists {
        if options.data_only {
            return Err(Error::not_found(format!("--data-only needs its tables, and database {database} does not exist")));
        }
        if !power.create_database {
            return Err(Error::denied(format!("database {database} does not exist, and role {} may not create it", facts.user))
                .hint(format!("create it, or: ALTER ROLE \"{}\" CREATEDB", facts.user)));
        }
        return Ok(());
    }
    if options.data_only {
        return refuse_data_conflicts(session, options, tables).await;
    }
    refuse_without_rights(session, database, power, chosen).await?;
    if facts.objects == 0 || options.clean {
        return Ok(());
    }
    if is_part(options) {
        let present = session.relation_names().await?;
        let taken = chosen.iter().find(|e| {
            matches!(e.kind.as_str(), "table" | "view" | "materialized_view" | "sequence" | "foreign_table")
                && e.schema.as_ref().is_some_and(|s| present.contains(&(s.clone(), e.name.clone())))
        });
        return match taken {
            None => Ok(()),
            Some(entry) => Err(Error::conflict(format!("{} exists in database {database} already", entry.id))
                .hint("restore into another database, or replace it with --clean")),
        };
    }
    Err(Error::conflict(format!("database {database} is not empty: it holds {} objects", format_count(facts.objects)))
        .hint("name a database that does not exist yet (it is created), or replace what the backup holds with --clean"))
}

/// A role that may not make anything in an existing database would lose everything.
async fn refuse_without_rights(session: &Session, database: &str, power: &Power, chosen: &[&Entry]) -> Result<()> {
    let (_, schemas, public) = session.database_rights().await?;
    let makes = |e: &&&Entry| e.scope == Scope::Object && !e.create.is_empty();
    let needs_schema = chosen.iter().filter(makes).any(|e| e.kind == "schema" && e.name != "public");
    let needs_public = chosen.iter().filter(makes).any(|e| e.kind != "schema" && e.schema.as_deref() == Some("public"));
    let lacking = if needs_schema && !schemas {
        format!("CREATE ON DATABASE {}", crate::base::sql::ident(database))
    } else if needs_public && !public {
        "CREATE ON SCHEMA public".to_owned()
    } else {
        return Ok(());
    };
    let user = &power.user;
    Err(Error::denied(format!("role {user} may not make objects in database {database}: it lacks {lacking}")).hint(format!(
        "GRANT {lacking} TO {}, or name a database that does not exist yet (it is created)",
        crate::base::sql::ident(user)
    )))
}

async fn refuse_data_conflicts(session: &Session, options: &RestoreOptions, tables: &[&TableData]) -> Result<()> {
    let present = session.relation_names().await?;
    let real: Vec<(&str, &str)> =
        tables.iter().filter(|t| !t.is_large_objects()).map(|t| (t.schema.as_str(), t.table.as_str())).collect();
    if let Some((schema, table)) = real.iter().find(|(s, t)| !present.contains(&((*s).to_owned(), (*t).to_owned()))) {
        return Err(Error::not_found(format!("--data-only needs table {schema}.{table}, which the target does not have")));
    }
    if options.clean {
        return Ok(());
    }
    match session.first_with_rows(&real).await? {
        None => Ok(()),
        Some(table) => Err(Error::conflict(format!("table {table} of the target holds rows already"))
            .hint("empty it first, or let --clean empty all tables that are loaded")),
    }
}

async fn general_warnings(input: &RestoreInput, facts: &TargetFacts, session: &Session) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    if facts.version.major() > Version::NEWEST_TESTED {
        warnings.push(format!("PostgreSQL {} is newer than the newest that this release was tested with", facts.version.major()));
    }
    if facts.exists {
        let there = session.facts().await?;
        let source = &input.source;
        if there.encoding != source.encoding {
            warnings.push(format!("the target's encoding is {}, the source's {}", there.encoding, source.encoding));
        }
        if (&there.collate, &there.ctype) != (&source.collate, &source.ctype) {
            warnings.push(format!(
                "the target's locale is {}/{}, the source's {}/{}: text sorts differently",
                there.collate, there.ctype, source.collate, source.ctype
            ));
        }
    }
    Ok(warnings)
}

/// Extensions that the server has, and whether anybody can install them.
async fn check_extensions(session: &Session, chosen: &[&Entry]) -> Result<BTreeMap<String, bool>> {
    let installs = |e: &&&Entry| e.kind == "extension" && !e.create.iter().any(|s| s.plain().starts_with("DROP "));
    let wanted: Vec<&str> = chosen.iter().filter(installs).map(|e| e.name.as_str()).collect();
    let available = session.available_extensions().await?;
    let missing: Vec<&str> = wanted.iter().copied().filter(|name| !available.contains_key(*name)).collect();
    if missing.is_empty() {
        return Ok(available);
    }
    Err(Error::unsupported(format!("the target's server does not have these extensions: {}", missing.join(", ")))
        .hint("install their packages on the server, or restore single schemas with --schema"))
}

async fn missing_tablespaces(session: &Session, chosen: &[&Entry], warnings: &mut Vec<String>) -> Result<Vec<String>> {
    let mut wanted = tablespaces(chosen.iter().copied());
    let present = session.tablespace_names().await?;
    wanted.retain(|name| !present.contains(name));
    // The database's own tablespace stands in CREATE DATABASE.
    for entry in chosen.iter().filter(|e| e.kind == "database") {
        let text = entry.create.first().map(crate::base::sql::Sql::plain).unwrap_or_default();
        if let Some((_, quoted)) = text.rsplit_once(" TABLESPACE \"") {
            let name = quoted.trim_end_matches('"').replace("\"\"", "\"");
            if !present.contains(&name) {
                wanted.insert(name);
            }
        }
    }
    for name in &wanted {
        warnings.push(format!(
            "tablespace {name} does not exist in the target, or our role may not use it: what was in it goes to the default tablespace"
        ));
    }
    Ok(wanted.into_iter().collect())
}

/// What the source set for all its roles and databases at once: restoring one database must not change it for the others of the target, so it
/// is named with the statements that would.
fn of_the_whole_server(input: &RestoreInput) -> Vec<String> {
    let whole = |e: &&Entry| e.kind == "parameter_privileges" || (e.kind == "role_setting" && e.name == "ALL");
    let said = |e: &Entry| e.create.iter().chain(&e.privileges).map(crate::base::sql::Sql::plain).collect::<Vec<_>>().join("; ");
    let entries = input.cluster.iter().filter(whole);
    entries.map(|e| format!("{} holds for the whole server and is not restored; by hand: {}", e.id, said(e))).collect()
}

/// What `--clean` removes, dependents first.
fn drops(options: &RestoreOptions, exists: bool, chosen: &[&Entry]) -> Vec<String> {
    if !options.clean || !exists {
        return Vec::new();
    }
    let ids: BTreeSet<&str> = chosen.iter().map(|e| e.id.as_str()).collect();
    // Indexes and keys go with their table; those of partitions cannot be dropped by themselves. Foreign keys go first, one by one: tables may
    // refer to each other in a circle.
    let goes_with_table =
        |e: &Entry| matches!(e.kind.as_str(), "constraint" | "index") && e.parent.as_deref().is_some_and(|p| ids.contains(p));
    chosen
        .iter()
        .rev()
        .filter(|e| e.scope == Scope::Object && e.drop.is_some() && !goes_with_table(e))
        .filter(|e| !options.data_only || e.phase == Phase::Data)
        .map(|e| e.id.clone())
        .collect()
}

impl RestorePlan {
    /// Ids of the entries whose tables lose the rows that they hold in the target (`clean` with `data_only`).
    pub fn emptied(&self) -> impl Iterator<Item = &str> {
        let empties = self.options.clean && self.options.data_only;
        let tables = self.tables.iter().map(String::as_str).filter(|entry| *entry != TableData::LARGE_OBJECTS);
        tables.filter(move |_| empties)
    }
}

impl fmt::Display for RestorePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = &self.target;
        writeln!(f, "database   {} of PostgreSQL {}", self.source_database, self.source_version)?;
        writeln!(f, "target     {}@{}:{}/{} on PostgreSQL {}", t.user, t.host, t.port, t.database, t.version)?;
        if self.same_cluster {
            writeln!(f, "           the same cluster as the source")?;
        }
        let state = match (self.create_database, t.objects) {
            (true, _) => "does not exist, will be created".to_owned(),
            (false, 0) => "exists and is empty".to_owned(),
            (false, n) => format!("exists and holds {} objects", format_count(n)),
        };
        writeln!(f, "           {state}")?;
        if !self.drop.is_empty() {
            writeln!(f, "remove     {} objects first", format_count(self.drop.len() as u64))?;
        }
        let emptied: Vec<&str> = self.emptied().collect();
        if !emptied.is_empty() {
            writeln!(f, "empty      {} tables first", format_count(emptied.len() as u64))?;
            emptied.iter().try_for_each(|entry| writeln!(f, "           {entry}"))?;
        }
        if !self.create_roles.is_empty() {
            writeln!(f, "roles      {}", self.create_roles.join(", "))?;
        }
        writeln!(f, "objects    {}", format_count(self.entries.len() as u64))?;
        writeln!(
            f,
            "rows       {} in {} tables, {} of text",
            format_count(self.rows),
            format_count(self.tables.len() as u64),
            format_bytes(self.bytes)
        )?;
        self.warnings.iter().try_for_each(|w| writeln!(f, "warning    {w}"))?;
        self.losses.iter().try_for_each(|loss| writeln!(f, "lost       {loss}"))
    }
}
