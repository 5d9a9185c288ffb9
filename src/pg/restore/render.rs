//! Statements of entries as they run on the target: names of roles and of the database replaced, what the options leave out left out.

use std::collections::{BTreeMap, BTreeSet};

use super::{Part, RestoreOptions};
use crate::base::sql::{Sql, ident};
use crate::pg::catalog::entry::{Entry, Phase};

/// How entries set the tablespace of what they make (see `catalog::kinds::relation`): a statement of its own before the others.
const TABLESPACE: &str = "SET default_tablespace = ";

/// A statement as it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    /// What of its entry it makes.
    pub(super) part: Part,
    pub(super) sql: String,
    /// Roles of the target that it names, in order.
    pub(super) roles: Vec<String>,
}

impl Statement {
    /// A statement that names no role of an entry.
    pub(super) fn new(part: Part, sql: String) -> Self {
        Self { part, sql, roles: Vec::new() }
    }

    /// Takes GRANTED BY off a GRANT of a membership.
    pub(super) fn leave_grantor_out(&mut self) {
        let clause = self.roles.last().map(|grantor| format!(" GRANTED BY {}", ident(grantor)));
        if let Some(grant) = clause.and_then(|c| self.sql.strip_suffix(&c)) {
            self.sql = grant.to_owned();
        }
    }
}

/// Renders statements for one target.
#[derive(Debug, Clone)]
pub(super) struct Renderer {
    roles: BTreeMap<String, String>,
    database: String,
    /// Tablespaces that the target does not have, quoted.
    left_out: BTreeSet<String>,
    no_owner: bool,
    no_privileges: bool,
    /// Whether the role that restores is a superuser.
    superuser: bool,
}

impl Renderer {
    pub(super) fn new(options: &RestoreOptions, database: &str, missing_tablespaces: &[String], superuser: bool) -> Self {
        Self {
            roles: options.role_map.clone(),
            database: database.to_owned(),
            left_out: missing_tablespaces.iter().map(|t| ident(t)).collect(),
            no_owner: options.no_owner,
            no_privileges: options.no_privileges,
            superuser,
        }
    }

    /// The role of the target that stands for a role of the source.
    pub(super) fn role(&self, name: &str) -> String {
        self.roles.get(name).cloned().unwrap_or_else(|| name.to_owned())
    }

    fn all(&self, part: Part, list: &[Sql]) -> Vec<Statement> {
        list.iter().filter_map(|sql| self.statement(part, sql)).collect()
    }

    /// Who is no superuser cannot change the session's authorization, and can become a role of which it is a member.
    fn statement(&self, part: Part, sql: &Sql) -> Option<Statement> {
        let text = self.one(sql)?;
        let roles = sql.roles().map(|r| self.role(r)).collect();
        let (part, sql) = match text.strip_prefix("SET SESSION AUTHORIZATION ") {
            Some(role) if !self.superuser => (Part::Grantor, format!("SET ROLE {role}")),
            Some(_) => (Part::Grantor, text),
            None if !self.superuser && text == "RESET SESSION AUTHORIZATION" => (part, "SET ROLE NONE".to_owned()),
            None => (part, text),
        };
        Some(Statement { part, sql, roles })
    }

    fn one(&self, sql: &Sql) -> Option<String> {
        let text = sql.render(|r| self.role(r), |_| self.database.clone());
        let absent = text.strip_prefix(TABLESPACE).is_some_and(|name| self.left_out.contains(name));
        (!absent).then_some(text)
    }

    /// CREATE DATABASE, without a tablespace that the target lacks.
    pub(super) fn create_database(&self, entry: &Entry) -> Option<String> {
        let text = self.one(entry.create.first()?)?;
        let clause = self.left_out.iter().find_map(|t| text.strip_suffix(&format!(" TABLESPACE {t}")));
        Some(clause.map_or_else(|| text.clone(), str::to_owned))
    }

    /// What makes the object, in order. The owner of what holds rows in its own entry (large objects) waits until they are written.
    pub(super) fn make(&self, entry: &Entry) -> Vec<Statement> {
        let create = if entry.kind == "database" { entry.create.get(1..).unwrap_or_default() } else { &entry.create };
        let owner = if self.no_owner || entry.phase == Phase::Data { &[][..] } else { &entry.ownership };
        let mut made = self.all(part_of_create(entry), create);
        if let Some(first) = made.first_mut().filter(|_| entry.kind == "role") {
            first.part = Part::Object;
        }
        made.extend(self.all(Part::Owner, owner));
        made.extend(self.all(Part::Comment, &entry.comments));
        made.extend(self.all(Part::Label, &entry.labels));
        made
    }

    /// What is left for the end: privileges, and owners that waited.
    pub(super) fn finish(&self, entry: &Entry) -> Vec<Statement> {
        let owner = if self.no_owner || entry.phase != Phase::Data { &[][..] } else { &entry.ownership };
        let privileges = if self.no_privileges { &[][..] } else { &entry.privileges };
        let mut all = self.all(Part::Owner, owner);
        all.extend(self.all(Part::Privileges, privileges));
        all
    }

    /// What removes the object.
    pub(super) fn remove(&self, entry: &Entry) -> Option<String> {
        entry.drop.as_ref().and_then(|sql| self.one(sql))
    }

    /// Roles of the target that the statements of an entry name.
    pub(super) fn roles<'a>(&'a self, entry: &'a Entry) -> impl Iterator<Item = String> + 'a {
        let owner = if self.no_owner { &[][..] } else { &entry.ownership };
        let privileges = if self.no_privileges { &[][..] } else { &entry.privileges };
        entry.create.iter().chain(owner).chain(privileges).flat_map(Sql::roles).map(|r| self.role(r))
    }
}

/// What the statements make that are not there for owner, privileges, comments or labels.
fn part_of_create(entry: &Entry) -> Part {
    match entry.kind.as_str() {
        "role" | "database" => Part::Attribute,
        "role_setting" | "database_setting" | "database_role_setting" => Part::Setting,
        _ => Part::Object,
    }
}

/// Tablespaces that entries name.
pub(super) fn tablespaces<'a>(entries: impl Iterator<Item = &'a Entry>) -> BTreeSet<String> {
    entries
        .flat_map(|e| e.create.iter())
        .filter_map(|sql| sql.plain().strip_prefix(TABLESPACE).and_then(unquote))
        .filter(|name| !name.is_empty())
        .collect()
}

fn unquote(quoted: &str) -> Option<String> {
    Some(quoted.strip_prefix('"')?.strip_suffix('"')?.replace("\"\"", "\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::catalog::entry::Scope;

    #[test]
    fn absent_tablespaces_and_unwanted_parts_are_left_out() {
        let mut entry = Entry::new("table", Scope::Object, Phase::Pre, Some("s"), "t", "\"s\".\"t\"");
        entry.create = vec![
            "SET default_tablespace = \"fa\"\"st\"".into(),
            "CREATE TABLE x ()".into(),
            "SET default_tablespace = ''".into(),
        ];
        entry.ownership = vec![Sql::from("ALTER TABLE x OWNER TO ").role("old")];
        entry.privileges = vec![Sql::from("GRANT SELECT ON x TO ").role("old")];
        assert_eq!(tablespaces([&entry].into_iter()).into_iter().collect::<Vec<_>>(), ["fa\"st"]);
        let options =
            RestoreOptions { role_map: BTreeMap::from([("old".to_owned(), "new".to_owned())]), ..RestoreOptions::default() };
        let texts = |list: Vec<Statement>| list.into_iter().map(|s| s.sql).collect::<Vec<_>>();
        let all = Renderer::new(&options, "d", &["fa\"st".to_owned()], true);
        assert_eq!(
            texts(all.make(&entry)),
            ["CREATE TABLE x ()", "SET default_tablespace = ''", "ALTER TABLE x OWNER TO \"new\""]
        );
        assert_eq!(texts(all.finish(&entry)), ["GRANT SELECT ON x TO \"new\""]);
        let bare = Renderer::new(&RestoreOptions { no_owner: true, no_privileges: true, ..options }, "d", &[], false);
        assert_eq!(bare.make(&entry).len(), 3);
        assert!(bare.finish(&entry).is_empty() && bare.roles(&entry).next().is_none());
    }
}
