//! What the role that restores may do on the target.

use std::collections::BTreeSet;

use crate::base::Result;
use crate::pg::session::{Session, column};
use crate::pg::version::{Feature, Version};

/// Rights of our role on the target's server and database.
#[derive(Debug, Clone)]
pub(super) struct Power {
    /// Its name.
    pub(super) user: String,
    pub(super) superuser: bool,
    pub(super) create_role: bool,
    pub(super) create_database: bool,
    replication: bool,
    bypass_row_security: bool,
    version: Version,
    /// Roles that it can become and whose rights it has.
    roles: BTreeSet<String>,
    /// Roles that it may make others members of.
    grants: BTreeSet<String>,
    /// Parameters that it may set, in lower case.
    parameters: BTreeSet<String>,
    /// Extensions that a managed service lets it install although they are not trusted.
    pub(super) service_extensions: BTreeSet<String>,
    /// Whether the service is one that lets its master user make event triggers.
    pub(super) managed: bool,
}

/// Roles with what we may do with each.
fn roles(version: Version) -> String {
    let (set, grant) = if version.has(Feature::MembershipOptions) {
        ("'SET'", "pg_has_role(r.oid, 'MEMBER WITH ADMIN OPTION')")
    } else {
        ("'MEMBER'", "NOT r.rolsuper AND (m.rolcreaterole OR pg_has_role(r.oid, 'MEMBER WITH ADMIN OPTION'))")
    };
    format!(
        "SELECT r.rolname::text, pg_has_role(r.oid, 'USAGE') AND pg_has_role(r.oid, {set}), {grant}
           FROM pg_roles r, pg_roles m WHERE m.rolname = current_user"
    )
}

/// Parameters that we may set: those of every user, and those that were granted.
fn parameters(version: Version) -> &'static str {
    if version.has(Feature::ParameterPrivileges) {
        "SELECT lower(name) FROM pg_settings WHERE context IN ('user', 'backend') OR has_parameter_privilege(name, 'SET')
          UNION SELECT lower(parname) FROM pg_parameter_acl WHERE has_parameter_privilege(parname, 'SET')"
    } else {
        "SELECT lower(name) FROM pg_settings WHERE context IN ('user', 'backend')"
    }
}

impl Power {
    /// Reads the rights of the session's role.
    pub(super) async fn of(session: &Session) -> Result<Self> {
        let text = "SELECT rolname::text, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls, \
                           current_setting('rds.extensions', true) FROM pg_roles WHERE rolname = current_user";
        let row = session.row("read our rights", text).await?;
        let superuser: bool = column(&row, 1)?;
        let service: Option<String> = column(&row, 6)?;
        let mut power = Self {
            user: column(&row, 0)?,
            superuser,
            create_role: superuser || column::<bool>(&row, 2)?,
            create_database: superuser || column::<bool>(&row, 3)?,
            replication: superuser || column::<bool>(&row, 4)?,
            bypass_row_security: superuser || column::<bool>(&row, 5)?,
            version: session.version(),
            roles: BTreeSet::new(),
            grants: BTreeSet::new(),
            parameters: BTreeSet::new(),
            managed: service.is_some(),
            service_extensions: service.iter().flat_map(|s| s.split(',')).map(|s| s.trim().to_owned()).collect(),
        };
        for row in session.rows("list roles", &roles(power.version)).await? {
            let name: String = column(&row, 0)?;
            if column(&row, 1)? {
                power.roles.insert(name.clone());
            }
            if column(&row, 2)? {
                power.grants.insert(name);
            }
        }
        power.parameters = session.names("list parameters", parameters(power.version)).await?;
        Ok(power)
    }

    /// The same after these roles were made by it, and these memberships: pairs of role and member. It administers and belongs to the roles that it
    /// makes, and through them to others.
    pub(super) fn with_made(mut self, made: &[String], memberships: &[(String, String)]) -> Self {
        for role in made {
            self.roles.insert(role.clone());
            self.grants.insert(role.clone());
        }
        loop {
            let next = memberships
                .iter()
                .find(|(role, member)| self.grants.contains(role) && self.roles.contains(member) && !self.roles.contains(role));
            let Some((role, _)) = next else { return self };
            self.roles.insert(role.clone());
        }
    }

    /// Whether it can hand objects over to a role, and grant in its name.
    pub(super) fn acts_as(&self, role: &str) -> bool {
        self.superuser || self.user == role || self.roles.contains(role)
    }

    /// Whether it may make others members of a role.
    pub(super) fn grants(&self, role: &str) -> bool {
        self.superuser || self.grants.contains(role)
    }

    /// Whether it may store a setting of a parameter.
    pub(super) fn sets(&self, parameter: &str) -> bool {
        self.superuser || self.parameters.contains(&parameter.to_ascii_lowercase())
    }

    /// Whether it may give a role an attribute: `SUPERUSER`, ….
    pub(super) fn gives(&self, attribute: &str) -> bool {
        let has = self.version.has(Feature::CreateRoleLimits);
        match attribute {
            "SUPERUSER" => self.superuser,
            "REPLICATION" => self.superuser || has && self.replication,
            "BYPASSRLS" => self.superuser || has && self.bypass_row_security,
            "CREATEDB" => !has || self.create_database,
            _ => true,
        }
    }
}
