//! Privileges on configuration parameters (`GRANT SET ON PARAMETER`, 15 and later).

use tokio_postgres::Row;

use crate::base::Result;
use crate::base::sql::ident;
use crate::pg::catalog::acl::{AclObject, AclType, privileges};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::row::RowExt;
use crate::pg::version::Feature;

/// Privileges on parameters.
pub(super) const KIND: Kind = Kind { name: "parameter_privileges", scope: Scope::Cluster, query, read };

fn query(cx: &Context) -> Option<String> {
    // Parameters have no owner; acldefault() takes the bootstrap superuser for it.
    let sql =
        "SELECT p.oid, p.parname AS name, pg_get_userbyid(10)::text AS owner, p.paracl::text[] AS acl FROM pg_parameter_acl p
                ORDER BY p.parname";
    cx.version.has(Feature::ParameterPrivileges).then(|| sql.to_owned())
}

fn read(rows: &[Row], cx: &Context) -> Result<Vec<Draft>> {
    rows.iter()
        .map(|row| {
            let (name, owner) = (row.text("name")?, row.text("owner")?);
            let mut entry = Entry::new(KIND.name, KIND.scope, Phase::Pre, None, &name, &ident(&name));
            let parts: Vec<String> = name.split('.').map(ident).collect();
            let object = AclObject::new(AclType::Parameter, format!("PARAMETER {}", parts.join(".")), cx.version);
            entry.privileges = privileges(&object, &owner, Some(&row.col::<Vec<String>>("acl")?), None)?;
            Ok(Draft::new(Address::new(class::PG_PARAMETER_ACL, row.oid("oid")?), entry))
        })
        .collect()
}
