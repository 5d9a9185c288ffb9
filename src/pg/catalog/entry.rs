//! One entry of a backup's table of contents: everything that a restore needs to make one object, as SQL.

use serde::{Deserialize, Serialize};

use crate::base::sql::Sql;

/// When an entry is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Before the rows.
    Pre,
    /// With the rows: sequence values, large objects' metadata.
    Data,
    /// After the rows: indexes, constraints, triggers, rules, policies, populated materialised views.
    Post,
}

/// Where an entry lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Shared by all databases of the server: roles, memberships, tablespaces.
    Cluster,
    /// The database itself: its properties and settings; run while connected to the target database, which exists by then.
    Database,
    /// An object in the database.
    Object,
}

/// One object, as SQL. Two exports of the same database give equal entries, apart from those of objects that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Stable identity, unique in the backup: `kind` and the qualified, quoted name, with argument types for functions:
    /// `table "public"."accounts"`, `constraint "accounts_pkey" on "public"."accounts"`.
    pub id: String,
    /// Name of the kind: `table`, `foreign_key`, ….
    pub kind: String,
    /// Where it lives.
    pub scope: Scope,
    /// When it is restored.
    pub phase: Phase,
    /// Schema, unquoted, where the object has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// Name, unquoted, without arguments.
    pub name: String,
    /// Id of the entry that this one is a piece of (the table of an index or trigger); it is selected, and fails, with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Owning role, unquoted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Statements that make the object, in order; each runs on its own.
    pub create: Vec<Sql>,
    /// Why only a superuser may make it, where it is not its kind alone that says so: `its language c is not trusted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superuser: Option<String>,
    /// Configuration parameters that its `create` statements set: of settings one for each statement, of a function all in its definition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<String>,
    /// Statement that removes it (`… IF EXISTS`), for `--clean`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop: Option<Sql>,
    /// Statements that give it its owner; left out by `--no-owner`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ownership: Vec<Sql>,
    /// GRANT and REVOKE against what a new object has; left out by `--no-privileges`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub privileges: Vec<Sql>,
    /// COMMENT ON.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub comments: Vec<Sql>,
    /// SECURITY LABEL.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Sql>,
    /// Ids of the entries that must exist before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends: Vec<String>,
}

impl Entry {
    /// An entry of an object with nothing but its identity; fields are filled by the kind.
    pub fn new(kind: &str, scope: Scope, phase: Phase, schema: Option<&str>, name: &str, identity: &str) -> Self {
        Self {
            id: format!("{kind} {identity}"),
            kind: kind.to_owned(),
            scope,
            phase,
            schema: schema.map(str::to_owned),
            name: name.to_owned(),
            parent: None,
            owner: None,
            create: Vec::new(),
            superuser: None,
            parameters: Vec::new(),
            drop: None,
            ownership: Vec::new(),
            privileges: Vec::new(),
            comments: Vec::new(),
            labels: Vec::new(),
            depends: Vec::new(),
        }
    }
}
