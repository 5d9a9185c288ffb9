//! What `pg` says of a backup, as documents of its contents, and back.
//!
//! Order of the documents: `entry` of scope cluster, then for each database one `database` followed by its `entry` and `table` documents.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::sql::Sql;
use crate::base::{Error, Result};
use crate::pg::catalog::entry::{Entry, Scope};
use crate::pg::copy::TableData;
use crate::pg::export::{ClusterExport, Export};
use crate::pg::facts::ServerFacts;
use crate::pg::restore::RestoreInput;
use crate::repo::contents::Document;

const ENTRY: &str = "entry";
const DATABASE: &str = "database";
const TABLE: &str = "table";

/// A database of a backup, without its objects and rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DatabaseDocument {
    /// Its name.
    pub name: String,
    /// The server and database.
    pub server: ServerFacts,
    /// Patterns of tables whose rows were left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_table_data: Vec<String>,
    /// Objects that were not exported because no kind covers them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unmodeled: Vec<String>,
}

/// One database: what it is, its objects in restore order, its tables.
#[derive(Debug, Clone, PartialEq)]
pub struct DatabaseToc {
    /// What it is.
    pub about: DatabaseDocument,
    /// Objects.
    pub entries: Arc<[Entry]>,
    /// Tables and their streams.
    pub tables: Arc<[TableData]>,
}

/// Table of contents of a backup.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Toc {
    /// Roles, memberships, tablespaces.
    pub cluster: Arc<[Entry]>,
    /// The databases, in the policy's order.
    pub databases: Vec<DatabaseToc>,
}

/// Objects, written down.
#[derive(Debug)]
pub struct Described {
    /// One for each object, in restore order.
    pub documents: Vec<Document>,
    /// Roles that the objects name.
    pub roles: BTreeSet<String>,
}

/// Writes objects down. Each is dropped at once: ten thousands of them are never held twice.
pub fn describe(entries: Vec<Entry>) -> Result<Described> {
    let mut described = Described { documents: Vec::with_capacity(entries.len()), roles: BTreeSet::new() };
    for entry in entries {
        for role in [&entry.create, &entry.ownership, &entry.privileges].into_iter().flatten().flat_map(Sql::roles) {
            if !described.roles.contains(role) {
                described.roles.insert(role.to_owned());
            }
        }
        described.documents.push(Document::new(ENTRY, &entry)?);
    }
    Ok(described)
}

/// What was exported, as documents.
pub fn documents(
    cluster: ClusterExport,
    exports: Vec<Export<Described>>,
    exclude_table_data: &[String],
) -> Result<Vec<Document>> {
    let mut out = describe(cluster.entries)?.documents;
    out.reserve_exact(exports.iter().map(|e| e.entries.documents.len() + e.tables.len() + 1).sum());
    for export in exports {
        // What changes with every backup of an unchanged database belongs into the head: contents of two such backups are equal.
        let server = ServerFacts { lsn: None, ..export.facts };
        let about = DatabaseDocument {
            name: export.database,
            server,
            exclude_table_data: exclude_table_data.to_vec(),
            unmodeled: export.unmodeled,
        };
        out.push(Document::new(DATABASE, &about)?);
        out.extend(export.entries.documents);
        for mut table in export.tables {
            for stream in &mut table.streams {
                stream.stream = stream_name(&about.name, &stream.stream);
            }
            out.push(Document::new(TABLE, &table)?);
        }
    }
    Ok(out)
}

impl Toc {
    /// From the documents of contents, each dropped once it is read; those of unknown tags are left out.
    pub fn parse(documents: Vec<Document>) -> Result<Self> {
        struct Database {
            about: DatabaseDocument,
            entries: Vec<Entry>,
            tables: Vec<TableData>,
        }
        let (mut cluster, mut databases) = (Vec::new(), Vec::<Database>::new());
        for document in documents {
            match (document.tag.as_str(), databases.last_mut()) {
                (DATABASE, _) => {
                    databases.push(Database { about: document.parse()?, entries: Vec::new(), tables: Vec::new() });
                }
                (ENTRY, None) => {
                    let entry: Entry = document.parse()?;
                    if entry.scope != Scope::Cluster {
                        return Err(Error::integrity(format!("contents: entry '{}' belongs to no database", entry.id)));
                    }
                    cluster.push(entry);
                }
                (ENTRY, Some(database)) => database.entries.push(document.parse()?),
                (TABLE, Some(database)) => database.tables.push(document.parse()?),
                (TABLE, None) => return Err(Error::integrity("contents: a table belongs to no database")),
                _ => {}
            }
        }
        let shared = |d: Database| DatabaseToc { about: d.about, entries: d.entries.into(), tables: d.tables.into() };
        Ok(Self { cluster: cluster.into(), databases: databases.into_iter().map(shared).collect() })
    }

    /// One database with what all share, ready to be restored.
    pub fn input(&self, name: &str) -> Result<RestoreInput> {
        let database = self.databases.iter().find(|d| d.about.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.databases.iter().map(|d| d.about.name.as_str()).collect();
            Error::not_found(format!("the backup holds no database '{name}'")).hint(format!("it holds: {}", names.join(", ")))
        })?;
        Ok(RestoreInput {
            database: database.about.name.clone(),
            source: database.about.server.clone(),
            entries: database.entries.clone(),
            cluster: self.cluster.clone(),
            tables: database.tables.clone(),
        })
    }

    /// Number of entries by kind.
    pub fn kinds(&self) -> BTreeMap<String, u64> {
        let mut kinds = BTreeMap::new();
        for entry in self.cluster.iter().chain(self.databases.iter().flat_map(|d| d.entries.iter())) {
            *kinds.entry(entry.kind.clone()).or_default() += 1;
        }
        kinds
    }
}

/// Name of a stream in the contents: the database's name, so that streams of several databases never collide.
pub fn stream_name(database: &str, stream: &str) -> String {
    let mut name = String::with_capacity(database.len() + stream.len() + 1);
    for byte in database.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' => name.push(byte as char),
            other => {
                use std::fmt::Write as _;
                let _ = write!(name, "%{other:02X}");
            }
        }
    }
    format!("{name}/{stream}")
}
