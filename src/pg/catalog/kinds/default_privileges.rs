//! Default privileges (`ALTER DEFAULT PRIVILEGES`), of a role in the whole database or in a schema. Restored last: they would act on
//! everything that the restore makes after them.

use tokio_postgres::Row;

use crate::base::sql::{Sql, ident};
use crate::base::{Error, Result};
use crate::pg::catalog::acl::{AclObject, AclType, privileges};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::row::RowExt;

/// Default privileges.
pub(super) const KIND: Kind = Kind { name: "default_privileges", scope: Scope::Object, query, read };

fn query(_: &Context) -> Option<String> {
    Some(
        "SELECT d.oid, pg_get_userbyid(d.defaclrole)::text AS role, n.nspname::text AS schema, d.defaclobjtype::text AS type,
                d.defaclacl::text[] AS acl
           FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
          ORDER BY 2, n.nspname NULLS FIRST, 4"
            .to_owned(),
    )
}

fn read(rows: &[Row], cx: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(|row| draft(row, cx)).collect()
}

fn draft(row: &Row, cx: &Context) -> Result<Draft> {
    let (role, schema, letter) = (row.text("role")?, row.opt_text("schema")?, row.text("type")?);
    let (kind, objects) = match letter.as_str() {
        "r" => (AclType::Table, "TABLES"),
        "S" => (AclType::Sequence, "SEQUENCES"),
        "f" => (AclType::Function, "FUNCTIONS"),
        "T" => (AclType::Type, "TYPES"),
        "n" => (AclType::Schema, "SCHEMAS"),
        "L" => (AclType::LargeObject, "LARGE OBJECTS"),
        other => {
            let sentence =
                format!("default privileges of role {role} are for objects of type {other:?}, which this version does not know");
            return Err(Error::unsupported(sentence));
        }
    };
    let place = schema.as_ref().map(|s| format!(" in {}", ident(s))).unwrap_or_default();
    let identity = format!("{} of {}{place}", objects.to_ascii_lowercase(), ident(&role));
    let mut entry = Entry::new(KIND.name, KIND.scope, Phase::Post, schema.as_deref(), &role, &identity);
    let mut prefix = Sql::from("ALTER DEFAULT PRIVILEGES FOR ROLE ").role(&role).text(" ");
    if let Some(schema) = &schema {
        prefix.push(format!("IN SCHEMA {} ", ident(schema)));
    }
    let object = AclObject { prefix, ..AclObject::new(kind, objects, cx.version) };
    let acl: Vec<String> = row.col("acl")?;
    let base: Option<&[String]> = if schema.is_some() { Some(&[]) } else { None };
    entry.privileges = privileges(&object, &role, Some(&acl), base)?;
    entry.owner = Some(role);
    Ok(Draft::new(Address::new(class::PG_DEFAULT_ACL, row.oid("oid")?), entry))
}
