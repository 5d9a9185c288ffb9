//! What all kinds have alike: owner, comment, privileges and security labels.
//!
//! A kind's query selects [`columns`], its rendering calls [`apply_meta`]; the columns are `owner, comment, acl, init_acl, labels`.

use std::fmt::Display;

use tokio_postgres::Row;

use super::acl::{AclObject, privileges};
use super::entry::Entry;
use super::kind::class;
use super::row::RowExt;
use crate::base::Result;
use crate::base::sql::{Sql, ident, literal};

/// Where the five columns come from. Expressions refer to the query's own tables.
#[derive(Debug, Clone, Copy)]
pub struct MetaSource<'a> {
    /// Oid of the catalog, of [`class`].
    pub class: u32,
    /// Expression of the object's oid: `c.oid`.
    pub oid: &'a str,
    /// Expression of its column number, `"0"` for the object itself.
    pub sub: &'a str,
    /// Expression of the owner's oid: `c.relowner`; `None` where the kind has no owner.
    pub owner: Option<&'a str>,
    /// Expression of the `aclitem[]`: `c.relacl`; `None` where the kind has no privileges.
    pub acl: Option<&'a str>,
}

impl<'a> MetaSource<'a> {
    /// An object with owner and privileges.
    pub const fn new(class: u32, oid: &'a str, owner: &'a str, acl: &'a str) -> Self {
        Self { class, oid, sub: "0", owner: Some(owner), acl: Some(acl) }
    }

    /// An object with a comment and labels only, such as a constraint.
    pub const fn plain(class: u32, oid: &'a str) -> Self {
        Self { class, oid, sub: "0", owner: None, acl: None }
    }

    /// An object with an owner, and without privileges.
    pub const fn owned(class: u32, oid: &'a str, owner: &'a str) -> Self {
        Self { class, oid, sub: "0", owner: Some(owner), acl: None }
    }
}

/// The select list `… AS owner, … AS comment, … AS acl, … AS init_acl, … AS labels`: text, text, text[], text[], text[] (provider, label,
/// provider, label …).
pub fn columns(source: &MetaSource<'_>) -> String {
    let MetaSource { class, oid, sub, owner, acl } = *source;
    let shared = matches!(class, class::PG_AUTHID | class::PG_DATABASE | class::PG_TABLESPACE);
    // The comment on a subscription is in its database, its labels are not.
    let shared_labels = shared || class == class::PG_SUBSCRIPTION;
    let found_in = |shared: bool, catalog: &str| {
        let prefix = if shared { "pg_sh" } else { "pg_" };
        let column = if shared { String::new() } else { format!(" AND objsubid = {sub}") };
        format!("FROM {prefix}{catalog} WHERE classoid = {class} AND objoid = {oid}{column}")
    };
    let owner = owner.map_or_else(|| "NULL::text".to_owned(), |o| format!("pg_get_userbyid({o})::text"));
    let init = if shared || acl.is_none() {
        "NULL::text[]".to_owned()
    } else {
        format!("(SELECT initprivs::text[] {})", found_in(false, "init_privs"))
    };
    let acl = acl.map_or_else(|| "NULL::text[]".to_owned(), |a| format!("({a})::text[]"));
    format!(
        "{owner} AS owner, (SELECT description {}) AS comment, {acl} AS acl, {init} AS init_acl, \
         ARRAY(SELECT unnest(ARRAY[provider, label]) {} ORDER BY provider) AS labels",
        found_in(shared, "description"),
        found_in(shared_labels, "seclabel")
    )
}

/// Condition: the object is not a member of an extension; `class` is the oid of its catalog, or an expression of it.
pub fn not_member(class: impl Display, oid: &str) -> String {
    format!(
        "NOT EXISTS (SELECT FROM pg_depend member WHERE member.classid = {class} AND member.objid = {oid} AND member.deptype = 'e')"
    )
}

/// Condition: the schema of this name holds the user's objects: it is none of `pg_catalog`, `pg_toast`, `pg_temp…`, `information_schema`.
pub fn user_schema(name: &str) -> String {
    format!("({name} <> 'information_schema' AND {name} !~ '^pg_')")
}

/// Condition: the object was not made by initdb.
pub fn user_object(oid: &str) -> String {
    format!("{oid} >= 16384")
}

/// Condition: the type belongs to no user: initdb or an extension made it.
pub fn not_of_users(oid: &str) -> String {
    format!("({oid} < 16384 OR NOT {})", not_member(class::PG_TYPE, oid))
}

/// Fills owner, comment, privileges and labels of an entry from the columns of [`columns`]. `noun` is the object in ALTER … OWNER TO,
/// COMMENT ON and SECURITY LABEL ON (`TABLE "s"."t"`), `acl` the object in GRANT, `None` where the kind has no privileges.
pub fn apply_meta(entry: &mut Entry, row: &Row, noun: impl Into<Sql>, acl: Option<&AclObject>) -> Result<()> {
    let noun = noun.into();
    let owner: Option<String> = row.col("owner")?;
    add_comment(entry, &noun, row.col("comment")?);
    add_labels(entry, &noun, &row.col::<Vec<String>>("labels")?);
    let Some(owner) = owner else { return Ok(()) };
    if let Some(object) = acl {
        let (current, initial): (Option<Vec<String>>, Option<Vec<String>>) = (row.col("acl")?, row.col("init_acl")?);
        entry.privileges.extend(privileges(object, &owner, current.as_deref(), initial.as_deref())?);
    }
    add_owner(entry, &noun, &owner);
    Ok(())
}

/// Sets the owner and the statement that gives the object to it.
pub fn add_owner(entry: &mut Entry, noun: &Sql, owner: &str) {
    entry.ownership.push(Sql::from("ALTER ").append(noun).text(" OWNER TO ").role(owner));
    entry.owner = Some(owner.to_owned());
}

/// Adds COMMENT ON where there is a comment.
pub fn add_comment(entry: &mut Entry, noun: &Sql, comment: Option<&str>) {
    if let Some(text) = comment {
        entry.comments.push(Sql::from("COMMENT ON ").append(noun).text(format!(" IS {}", literal(text))));
    }
}

/// Adds SECURITY LABEL for each pair of provider and label.
pub fn add_labels(entry: &mut Entry, noun: &Sql, labels: &[String]) {
    for pair in labels.chunks_exact(2) {
        let head = Sql::from(format!("SECURITY LABEL FOR {} ON ", ident(&pair[0])));
        entry.labels.push(head.append(noun).text(format!(" IS {}", literal(&pair[1]))));
    }
}
