//! Names what is in the catalogs and no kind covers: letters (kinds of relations, constraints, types, functions) that this release does not know.
//!
//! Left out, as everywhere: members of extensions, objects made by initdb, objects in system schemas. That each catalog has a kind is for
//! `tests/it/every_catalog.rs` to prove; one that a coming version brings is a warning.

use tokio_postgres::Client;

use super::extract::query;
use super::kind::class;
use super::meta::{not_member, user_object, user_schema};
use super::row::RowExt;
use crate::base::Result;

/// One sentence for each object that no kind covers.
pub(super) async fn probe(client: &Client) -> Result<Vec<String>> {
    let constraints =
        described(class::PG_CONSTRAINT, "SELECT oid FROM pg_constraint WHERE contype NOT IN ('c', 'f', 'n', 'p', 'u', 'x', 't')");
    let functions = described(class::PG_PROC, "SELECT oid FROM pg_proc WHERE prokind NOT IN ('f', 'p', 'a', 'w')");
    let probes = [
        relations("c.relkind NOT IN ('r', 'p', 'v', 'm', 'S', 'i', 'I', 't', 'c', 'f')"),
        types("t.typtype NOT IN ('b', 'c', 'd', 'e', 'm', 'p', 'r')"),
        constraints,
        functions,
    ];
    let sql = format!("SELECT object FROM ({}) x (object) ORDER BY object COLLATE \"C\"", probes.join("\nUNION ALL "));
    query(client, "objects that are not covered", &sql).await?.iter().map(|row| row.text("object")).collect()
}

fn types(condition: &str) -> String {
    let users = user_schema("n.nspname");
    described(
        class::PG_TYPE,
        &format!("SELECT t.oid FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE {condition} AND {users}"),
    )
}

fn relations(condition: &str) -> String {
    let users = user_schema("n.nspname");
    described(
        class::PG_CLASS,
        &format!(
            "SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
              WHERE c.relpersistence <> 't' AND {condition} AND {users}"
        ),
    )
}

/// The objects of `oids`, those of initdb, of extensions and internal to others left out.
fn described(class: u32, oids: &str) -> String {
    format!(
        "SELECT pg_describe_object({class}, o.oid, 0) FROM ({oids}) o WHERE {} AND {}
            AND NOT EXISTS (SELECT FROM pg_depend i WHERE i.classid = {class} AND i.objid = o.oid AND i.deptype = 'i')",
        user_object("o.oid"),
        not_member(class, "o.oid")
    )
}
