//! Which roles and memberships a restore makes.

use std::collections::{BTreeMap, BTreeSet};

use super::plan::is_part;
use super::power::Power;
use super::render::Renderer;
use super::{RestoreInput, RestoreOptions};
use crate::base::sql::Sql;
use crate::base::{Error, Result};
use crate::pg::catalog::entry::Entry;
use crate::pg::session::Session;

/// Roles and memberships to make.
pub(super) struct Roles {
    /// Roles that will be created.
    pub(super) create: Vec<String>,
    /// Ids of the entries of the cluster that will be restored.
    pub(super) entries: Vec<String>,
    /// Role and member of the memberships among them by which a member has the role's rights and can become it.
    pub(super) memberships: Vec<(String, String)>,
    /// Ids of memberships whose grantor cannot grant them.
    pub(super) regranted: Vec<String>,
    pub(super) warnings: Vec<String>,
}

/// Which roles to make. A whole restore makes all roles of the backup that the target lacks, a part only those that it names; roles that exist are
/// left as they are, their passwords and memberships included.
pub(super) async fn plan(
    session: &Session,
    power: &Power,
    input: &RestoreInput,
    options: &RestoreOptions,
    chosen: &[&Entry],
    renderer: &Renderer,
) -> Result<Roles> {
    let present = session.role_names().await?;
    let needed: BTreeSet<String> = chosen.iter().flat_map(|e| renderer.roles(e)).filter(|r| !present.contains(r)).collect();
    let stored: BTreeMap<&str, &Entry> =
        input.cluster.iter().filter(|e| e.kind == "role").map(|e| (e.name.as_str(), e)).collect();
    let no_names = options.no_owner && options.no_privileges;
    let everything = !(is_part(options) || options.data_only || no_names);
    let create: BTreeSet<String> = stored
        .keys()
        .filter(|name| !options.role_map.contains_key(**name) && !present.contains(**name))
        .filter(|name| everything || needed.contains(**name))
        .map(|name| (*name).to_owned())
        .collect();
    let unknown: Vec<&str> = needed.iter().filter(|r| !create.contains(*r)).map(String::as_str).collect();
    if !unknown.is_empty() {
        return Err(Error::denied(format!(
            "the target does not have these roles, and the backup does not hold them: {}",
            unknown.join(", ")
        ))
        .hint("create them, map them with --role-map OLD=NEW, or use --no-owner and --no-privileges"));
    }
    if !create.is_empty() && !power.create_role {
        let list: Vec<&str> = create.iter().map(String::as_str).collect();
        return Err(Error::denied(format!(
            "these roles are missing in the target, and we may not create roles: {}",
            list.join(", ")
        ))
        .hint("create them, map them with --role-map OLD=NEW, or use --no-owner and --no-privileges"));
    }
    let mut warnings = Vec::new();
    let chosen: Vec<&Entry> = input.cluster.iter().filter(|e| taken(e, &create, &present, power, renderer)).collect();
    let regranted = regranted(session, power, &chosen, &create, renderer, &mut warnings).await?;
    if !create.is_empty() && !power.superuser {
        warnings.push(format!(
            "role {} becomes a member of the roles that it makes, or it could not give objects to them",
            power.user
        ));
    }
    Ok(Roles {
        entries: chosen.iter().map(|e| e.id.clone()).collect(),
        memberships: chosen.iter().filter(|e| e.kind == "membership").filter_map(|e| full(e, renderer)).collect(),
        create: create.into_iter().collect(),
        regranted,
        warnings,
    })
}

/// Whether an entry of the cluster is restored.
fn taken(entry: &Entry, create: &BTreeSet<String>, present: &BTreeSet<String>, power: &Power, renderer: &Renderer) -> bool {
    match entry.kind.as_str() {
        "role" | "role_setting" => create.contains(&entry.name),
        "membership" => {
            let roles = named(entry, renderer);
            let [role, member, ..] = roles.as_slice() else { return false };
            // Who makes a role without being a superuser has it already, and cannot be given it again.
            let ours = !power.superuser && *member == power.user;
            let known = |r: &String| create.contains(r) || present.contains(r);
            !ours && role != member && [role, member].iter().any(|r| create.contains(*r)) && known(role) && known(member)
        }
        _ => false,
    }
}

/// Role and member, unless the membership is without INHERIT or SET.
fn full(entry: &Entry, renderer: &Renderer) -> Option<(String, String)> {
    let part = entry.create.iter().any(|s| [" INHERIT FALSE", " SET FALSE"].iter().any(|w| s.plain().contains(w)));
    match named(entry, renderer).as_slice() {
        [role, member, ..] if !part => Some((role.clone(), member.clone())),
        _ => None,
    }
}

/// Role, member and, where it is stated, grantor of a membership.
fn named(entry: &Entry, renderer: &Renderer) -> Vec<String> {
    entry.create.iter().flat_map(Sql::roles).map(|r| renderer.role(r)).collect()
}

/// Memberships whose grantor has no ADMIN option in the target, as when roles are mapped, or cannot be acted for: we grant them.
async fn regranted(
    session: &Session,
    power: &Power,
    chosen: &[&Entry],
    create: &BTreeSet<String>,
    renderer: &Renderer,
    warnings: &mut Vec<String>,
) -> Result<Vec<String>> {
    let memberships = || chosen.iter().filter(|e| e.kind == "membership");
    if !memberships().any(|e| named(e, renderer).len() > 2) {
        return Ok(Vec::new());
    }
    let mut administrators = session.administrators().await?;
    administrators.extend(create.iter().map(|role| (role.clone(), power.user.clone())));
    let mut regranted = Vec::new();
    // In restore order, in which a grantor gets its ADMIN option before it grants.
    for entry in memberships() {
        let roles = named(entry, renderer);
        let [role, member, rest @ ..] = roles.as_slice() else { continue };
        if let [grantor] = rest {
            let acts = power.acts_as(grantor) || create.contains(grantor);
            if !acts || !administrators.contains(&(role.clone(), grantor.clone())) {
                warnings.push(format!("{} is granted by {}: {grantor} cannot grant it in the target", entry.id, power.user));
                regranted.push(entry.id.clone());
            }
        }
        if entry.create.iter().any(|s| s.plain().contains(" WITH ADMIN TRUE")) {
            administrators.insert((role.clone(), member.clone()));
        }
    }
    Ok(regranted)
}
