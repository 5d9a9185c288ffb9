//! Default privileges that the target had for the role that restores acted on everything that it made: taken back, so that an object has what the
//! backup says and nothing else.

use std::collections::HashMap;

use super::outcome::Part;
use super::render::Statement;
use crate::base::Result;
use crate::base::sql::{ident, qualified};
use crate::pg::catalog::acl::{AclObject, AclType, privileges};
use crate::pg::catalog::entry::Entry;
use crate::pg::session::{Session, column};

/// Whether our role has default privileges in this database.
const ANY: &str =
    "SELECT EXISTS (SELECT FROM pg_default_acl d JOIN pg_roles r ON r.oid = d.defaclrole WHERE r.rolname = current_user)";

/// Objects with privileges that are not the server's default: class, schema, name, arguments, owner, privileges.
const CHANGED: &str = "
WITH own AS (SELECT oid, nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema')
SELECT CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::text, n.nspname::text, c.relname::text, ''::text, pg_get_userbyid(c.relowner)::text, c.relacl::text[]
  FROM pg_class c JOIN own n ON n.oid = c.relnamespace WHERE c.relacl IS NOT NULL
 UNION ALL
SELECT 'f', n.nspname, p.proname,
       '(' || CASE p.prokind WHEN 'a' THEN oidvectortypes(p.proargtypes) ELSE pg_get_function_identity_arguments(p.oid) END || ')',
       pg_get_userbyid(p.proowner), p.proacl::text[]
  FROM pg_proc p JOIN own n ON n.oid = p.pronamespace WHERE p.proacl IS NOT NULL
 UNION ALL
SELECT 'T', n.nspname, t.typname, '', pg_get_userbyid(t.typowner), t.typacl::text[]
  FROM pg_type t JOIN own n ON n.oid = t.typnamespace WHERE t.typacl IS NOT NULL
 UNION ALL
SELECT 'n', NULL, n.nspname, '', pg_get_userbyid(x.nspowner), x.nspacl::text[]
  FROM own n JOIN pg_namespace x ON x.oid = n.oid WHERE x.nspacl IS NOT NULL";

/// The class of [`CHANGED`] that the objects of a kind are in.
fn class(kind: &str) -> Option<&'static str> {
    match kind {
        "table" | "view" | "materialized_view" | "foreign_table" => Some("r"),
        "sequence" | "identity" => Some("s"),
        "function" | "procedure" | "aggregate" => Some("f"),
        "domain" => Some("T"),
        "schema" => Some("n"),
        other => other.ends_with("_type").then_some("T"),
    }
}

/// Statements by id of entry that give what was just made the privileges of a new object.
pub(super) async fn taken_back(session: &Session, entries: &[&Entry]) -> Result<HashMap<String, Vec<Statement>>> {
    let mut found = HashMap::new();
    let row = session.row("look for default privileges", ANY).await?;
    if !column::<bool>(&row, 0)? {
        return Ok(found);
    }
    let mut made: HashMap<(&str, &str), &Entry> = HashMap::new();
    for entry in entries.iter().filter(|e| !e.create.is_empty()) {
        if let (Some(class), Some((_, identity))) = (class(&entry.kind), entry.id.split_once(' ')) {
            made.insert((class, identity), entry);
        }
    }
    for row in session.rows("read privileges of what was made", CHANGED).await? {
        let (class, schema, name): (String, Option<String>, String) = (column(&row, 0)?, column(&row, 1)?, column(&row, 2)?);
        let (arguments, owner, acl): (String, String, Vec<String>) = (column(&row, 3)?, column(&row, 4)?, column(&row, 5)?);
        let identity = format!("{}{arguments}", schema.map_or_else(|| ident(&name), |s| qualified(&s, &name)));
        let Some(entry) = made.get(&(class.as_str(), identity.as_str())) else { continue };
        let (kind, word) = match class.as_str() {
            "r" => (AclType::Table, "TABLE"),
            "s" => (AclType::Sequence, "SEQUENCE"),
            "f" => (AclType::Function, "ROUTINE"),
            "T" => (AclType::Type, "TYPE"),
            _ => (AclType::Schema, "SCHEMA"),
        };
        let object = AclObject::new(kind, format!("{word} {identity}"), session.version());
        let statements = privileges(&object, &owner, None, Some(&acl))?;
        let back = statements.iter().map(|sql| Statement::new(Part::Privileges, sql.plain())).collect();
        found.insert(entry.id.clone(), back);
    }
    Ok(found)
}
