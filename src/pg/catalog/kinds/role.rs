//! Roles with their attributes (`pg_authid`, or `pg_roles` where password hashes may not be read). The server's own roles (`pg_…`) are left out.
//!
//! An attribute that only a superuser, or since 16 who has it, may set is stated by itself where the role has it and is never taken away: a restore does not demote the role it
//! runs as, and works for the master user of a managed service.

use tokio_postgres::Row;

use crate::base::Result;
use crate::base::sql::{Sql, ident, literal};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::meta::{MetaSource, apply_meta, columns};
use crate::pg::catalog::row::RowExt;

/// Roles.
pub(super) const KIND: Kind = Kind { name: "role", scope: Scope::Cluster, query, read };

fn query(cx: &Context) -> Option<String> {
    let (catalog, password) = if cx.reads_passwords { ("pg_authid", "r.rolpassword") } else { ("pg_roles", "NULL::text") };
    Some(format!(
        "SELECT r.oid, r.rolname::text AS name, r.rolsuper, r.rolinherit, r.rolcreaterole, r.rolcreatedb, r.rolcanlogin, r.rolreplication,
                r.rolbypassrls, r.rolconnlimit, {password} AS password, r.rolvaliduntil::text AS valid_until, {}
           FROM {catalog} r WHERE r.rolname !~ '^pg_' ORDER BY r.rolname",
        columns(&MetaSource::plain(class::PG_AUTHID, "r.oid"))
    ))
}

fn read(rows: &[Row], _: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(draft).collect()
}

fn draft(row: &Row) -> Result<Draft> {
    let name: String = row.col("name")?;
    let mut entry = Entry::new(KIND.name, KIND.scope, Phase::Pre, None, &name, &ident(&name));
    entry.create.push(Sql::from("CREATE ROLE ").role(&name));
    let alter = || Sql::from("ALTER ROLE ").role(&name).text(" WITH");
    let mut attributes = String::new();
    for (column, word) in [("rolinherit", "INHERIT"), ("rolcreaterole", "CREATEROLE"), ("rolcanlogin", "LOGIN")] {
        let no = if row.col(column)? { "" } else { "NO" };
        attributes.push_str(&format!(" {no}{word}"));
    }
    attributes.push_str(&format!(" CONNECTION LIMIT {}", row.col::<i32>("rolconnlimit")?));
    if let Some(time) = row.col::<Option<String>>("valid_until")? {
        attributes.push_str(&format!(" VALID UNTIL {}", literal(&time)));
    }
    entry.create.push(alter().text(attributes));
    let special = [
        ("rolcreatedb", "CREATEDB"),
        ("rolsuper", "SUPERUSER"),
        ("rolreplication", "REPLICATION"),
        ("rolbypassrls", "BYPASSRLS"),
    ];
    for (column, word) in special {
        if row.col(column)? {
            entry.create.push(alter().text(format!(" {word}")));
        }
    }
    if let Some(hash) = row.col::<Option<String>>("password")? {
        entry.create.push(alter().text(format!(" PASSWORD {}", literal(&hash))));
    }
    apply_meta(&mut entry, row, Sql::from("ROLE ").role(&name), None)?;
    Ok(Draft::new(Address::new(class::PG_AUTHID, row.col("oid")?), entry))
}
