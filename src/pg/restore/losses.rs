//! What the role that restores cannot make, told before anything is done: object by object, and with it what needs such an object.
//!
//! The rules are those of the server for who is no superuser. They say what to expect; the restore tries everything all the same, and its report
//! says what became of it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::outcome::{Loss, Part};
use super::power::Power;
use super::render::{Renderer, Statement};
use super::statements::{ExtensionState, extension_comment, first_line};
use crate::pg::catalog::entry::{Entry, Scope};

/// Kinds that only a superuser can make.
const SUPERUSER: &[&str] = &[
    "access_method",
    "base_type",
    "base_type_definition",
    "event_trigger",
    "foreign_data_wrapper",
    "language",
    "operator_class",
    "operator_family",
    "operator_family_members",
    "shell_type",
    "text_search_parser",
    "text_search_template",
];

/// What decides on losses.
pub(super) struct Judge<'a> {
    pub(super) power: &'a Power,
    pub(super) renderer: &'a Renderer,
    /// Extensions that the server can install, and whether anybody can install them.
    pub(super) available: &'a BTreeMap<String, bool>,
    /// Extensions of the target.
    pub(super) installed: &'a BTreeMap<String, ExtensionState>,
    /// Whether the target's database is ours, or will be.
    pub(super) owns_database: bool,
}

impl Judge<'_> {
    /// What of these entries, which come in restore order, will be missing.
    pub(super) fn losses<'e>(&self, entries: impl Iterator<Item = &'e Entry>) -> Vec<Loss> {
        let mut losses = Vec::new();
        if self.power.superuser {
            return losses;
        }
        let mut lost: HashSet<&str> = HashSet::new();
        for entry in entries {
            let needed = entry.parent.iter().chain(&entry.depends).find(|id| lost.contains(id.as_str()));
            let reason = needed.map(|id| format!("it needs {id}")).or_else(|| self.whole(entry));
            if let Some(reason) = reason {
                lost.insert(&entry.id);
                losses.push(Loss { entry: entry.id.clone(), part: Part::Object, statement: None, reason });
                continue;
            }
            let statements = self.renderer.make(entry).into_iter().chain(self.renderer.finish(entry)).collect::<Vec<_>>();
            for (index, statement) in statements.iter().enumerate() {
                if let Some(reason) = self.refused(entry, index, statement) {
                    losses.push(Loss {
                        entry: entry.id.clone(),
                        part: statement.part,
                        statement: Some(first_line(&entry.id, &statement.sql)),
                        reason,
                    });
                }
            }
        }
        losses
    }

    /// Why an entry cannot be made at all.
    fn whole(&self, entry: &Entry) -> Option<String> {
        let kind = entry.kind.as_str();
        if let Some(reason) = &entry.superuser {
            return Some(format!("only a superuser can make it: {reason}"));
        }
        if SUPERUSER.contains(&kind) && !(self.power.managed && kind == "event_trigger") {
            return Some("only a superuser can make it".to_owned());
        }
        match kind {
            "extension" => self.extension(entry),
            "function" | "procedure" => {
                let parameter = entry.parameters.iter().find(|p| !self.power.sets(p))?;
                Some(format!("only a superuser can set its parameter {parameter}"))
            }
            "membership" => {
                let granted = entry.create.first()?.roles().next().map(|r| self.renderer.role(r))?;
                (!self.power.grants(&granted)).then(|| format!("role {} has no ADMIN option on role {granted}", self.power.user))
            }
            // The role exists since 16; before, only a superuser can make one.
            "subscription" => {
                let refused = !self.power.acts_as("pg_create_subscription");
                refused.then(|| format!("role {} is no member of role pg_create_subscription", self.power.user))
            }
            _ => None,
        }
    }

    fn extension(&self, entry: &Entry) -> Option<String> {
        if entry.create.first()?.plain().starts_with("DROP ") {
            let foreign = self.installed.get(&entry.name).is_none_or(|e| !e.owned);
            return foreign.then(|| "it belongs to another role, which alone can drop it".to_owned());
        }
        let anybody = self.available.get(&entry.name) != Some(&false) || self.power.service_extensions.contains(&entry.name);
        let there = self.installed.contains_key(&entry.name);
        (!anybody && !there).then(|| "only a superuser can install it".to_owned())
    }

    /// Why one statement of an entry will be refused.
    fn refused(&self, entry: &Entry, index: usize, statement: &Statement) -> Option<String> {
        let user = &self.power.user;
        let of_the_database = entry.scope == Scope::Database || entry.kind == "schema" && entry.name == "public";
        if of_the_database && entry.kind != "database_role_setting" && !self.owns_database {
            return Some(format!("the database does not belong to role {user}"));
        }
        match statement.part {
            Part::Owner => {
                let owner = statement.roles.last()?;
                let stranger = || format!("role {user} is no member of role {owner}");
                let no_database = entry.kind == "database" && !self.power.create_database && owner != user;
                (!self.power.acts_as(owner)).then(stranger).or_else(|| no_database.then(|| "it takes CREATEDB".to_owned()))
            }
            Part::Grantor => {
                let grantor = statement.roles.last()?;
                (!self.power.acts_as(grantor)).then(|| format!("role {user} is no member of role {grantor}"))
            }
            Part::Privileges if entry.kind == "altered_privileges" => {
                Some("it belongs to a superuser, as all that comes with the server or an extension".to_owned())
            }
            Part::Privileges if entry.kind == "default_privileges" => {
                let role = statement.roles.first()?;
                (!self.power.acts_as(role)).then(|| format!("role {user} is no member of role {role}"))
            }
            Part::Attribute => {
                let attribute = statement.sql.rsplit(' ').next()?;
                let refused = entry.kind == "role" && !self.power.gives(attribute);
                refused.then(|| format!("role {user} may not give {attribute}"))
            }
            Part::Setting => self.setting(entry, index),
            Part::Comment if entry.kind == "extension" => {
                let there = self.installed.get(&entry.name)?;
                let same = || there.comment.as_ref().is_some_and(|c| extension_comment(&entry.name, c) == statement.sql);
                (!there.owned && !same()).then(|| "the extension belongs to another role".to_owned())
            }
            _ => None,
        }
    }

    fn setting(&self, entry: &Entry, index: usize) -> Option<String> {
        if entry.kind == "database_role_setting" && !self.power.grants(&self.renderer.role(&entry.name)) {
            return Some(format!("role {} has no ADMIN option on role {}", self.power.user, entry.name));
        }
        let parameter = entry.parameters.get(index)?;
        (!self.power.sets(parameter)).then(|| format!("only a superuser can set parameter {parameter}"))
    }
}

/// Schemas and the roles that must be able to make objects in them for as long as the restore hands objects over: who is no superuser can give
/// an object only to a role that could have made it there. An empty schema is the database.
pub(super) fn loans(entries: &[&Entry], renderer: &Renderer) -> BTreeSet<(String, String)> {
    let mut loans = BTreeSet::new();
    for entry in entries.iter().filter(|e| e.scope == Scope::Object && e.kind != "schema") {
        let place = match (&entry.schema, entry.kind.as_str()) {
            (Some(schema), _) => schema.clone(),
            (None, "publication" | "subscription") => String::new(),
            _ => continue,
        };
        let statements = renderer.make(entry);
        loans.extend(
            statements
                .into_iter()
                .filter(|s| s.part == Part::Owner)
                .filter_map(|s| Some((place.clone(), s.roles.last()?.clone()))),
        );
    }
    loans
}
