//! Row-security policies, those on tables of extensions included.
//!
//! Catalog: `pg_policy`.

use tokio_postgres::Row;

use super::relation::{COLUMNS, Piece, join_relation};
use crate::base::sql::Sql;
use crate::base::{Error, Result};
use crate::pg::catalog::entry::{Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::meta::{self, MetaSource, apply_meta, user_schema};
use crate::pg::catalog::row::RowExt;

/// Policies.
pub(super) const KIND: Kind = Kind { name: "policy", scope: Scope::Object, query, read };

fn query(_cx: &Context) -> Option<String> {
    Some(format!(
        "SELECT {COLUMNS}, p.oid AS policy_oid, p.polname::text AS name, p.polcmd::text AS command, p.polpermissive AS permissive,
                pg_get_expr(p.polqual, p.polrelid) AS qualification, pg_get_expr(p.polwithcheck, p.polrelid) AS with_check,
                0::oid = ANY (p.polroles) AS is_public,
                ARRAY(SELECT r.rolname::text FROM pg_roles r WHERE r.oid = ANY (p.polroles) ORDER BY r.rolname) AS roles,
                cardinality(array_remove(p.polroles, 0::oid)) AS role_count,
                {}
           FROM pg_policy p {}
          WHERE {}
          ORDER BY n.nspname, c.relname, p.polname",
        meta::columns(&MetaSource::plain(class::PG_POLICY, "p.oid")),
        join_relation("p.polrelid"),
        user_schema("n.nspname")
    ))
}

fn read(rows: &[Row], _cx: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(draft).collect()
}

fn draft(row: &Row) -> Result<Draft> {
    let Piece { relation, name, quoted: policy, table, mut entry } = Piece::read(row, "policy", Phase::Post)?;
    let mut sql = Sql::from(format!("CREATE POLICY {policy} ON {table}"));
    if !row.flag("permissive")? {
        sql.push(" AS RESTRICTIVE");
    }
    sql.push(match row.text("command")?.as_str() {
        "r" => " FOR SELECT",
        "a" => " FOR INSERT",
        "w" => " FOR UPDATE",
        "d" => " FOR DELETE",
        "*" => "",
        other => return Err(Error::internal(format!("policy {name} on {table} has the unknown command {other}"))),
    });
    if !row.flag("is_public")? {
        let roles: Vec<String> = row.col("roles")?;
        if i32::try_from(roles.len()) != Ok(row.col::<i32>("role_count")?) {
            return Err(Error::integrity(format!("policy {name} on {table} names a role that does not exist")));
        }
        for (i, role) in roles.into_iter().enumerate() {
            sql = sql.text(if i == 0 { " TO " } else { ", " }).role(role);
        }
    }
    if let Some(qualification) = row.opt_text("qualification")? {
        sql.push(format!(" USING ({qualification})"));
    }
    if let Some(check) = row.opt_text("with_check")? {
        sql.push(format!(" WITH CHECK ({check})"));
    }
    entry.create.push(sql);
    entry.drop = Some(Sql::from(format!("DROP POLICY IF EXISTS {policy} ON {table}")));
    apply_meta(&mut entry, row, format!("POLICY {policy} ON {table}"), None)?;
    let mut draft = Draft::new(Address::new(class::PG_POLICY, row.oid("policy_oid")?), entry);
    draft.needs.push(relation.address());
    Ok(draft)
}
