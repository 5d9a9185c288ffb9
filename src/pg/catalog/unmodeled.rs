//! Names what is in the catalogs and no kind covers.
//!
//! Each probe belongs to a kind; a kind that [`KINDS`] has needs no probe, so that adding the kind ends its reports. Further probes
//! look for letters in the catalogs (kinds of relations, constraints, types, functions) that this release does not know. Left out, as
//! everywhere: members of extensions, objects made by initdb, objects in system schemas.

use tokio_postgres::Client;

use super::extract::query;
use super::kind::class;
use super::kinds::KINDS;
use super::meta::{not_member, user_object, user_schema};
use super::row::RowExt;
use crate::base::Result;

/// One sentence for each object that no kind covers.
pub(super) async fn probe(client: &Client) -> Result<Vec<String>> {
    let probes: Vec<String> = PROBES
        .iter()
        .filter(|p| KINDS.iter().all(|k| k.name != p.kind))
        .map(|p| (p.select)())
        .chain([unknown_letters()])
        .collect();
    let sql = format!("SELECT object FROM ({}) x (object) ORDER BY object COLLATE \"C\"", probes.join("\nUNION ALL "));
    query(client, "objects that are not covered", &sql).await?.iter().map(|row| row.text("object")).collect()
}

/// Looks for the objects of one kind.
struct Probe {
    /// Name of the kind that would cover them.
    kind: &'static str,
    /// One text column that names each.
    select: fn() -> String,
}

const PROBES: &[Probe] = &[
    Probe {
        kind: "base_type",
        select: || types("t.typtype = 'b' AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid)"),
    },
    Probe { kind: "shell_type", select: || types("t.typtype = 'p'") },
    Probe { kind: "foreign_table", select: || relations("c.relkind = 'f'") },
    Probe {
        kind: "subscription",
        select: || {
            "SELECT format('subscription %s', s.subname) FROM pg_subscription s
              WHERE s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
                .to_owned()
        },
    },
];

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

fn unknown_letters() -> String {
    let constraints =
        described(class::PG_CONSTRAINT, "SELECT oid FROM pg_constraint WHERE contype NOT IN ('c', 'f', 'n', 'p', 'u', 'x', 't')");
    let functions = described(class::PG_PROC, "SELECT oid FROM pg_proc WHERE prokind NOT IN ('f', 'p', 'a', 'w')");
    [
        relations("c.relkind NOT IN ('r', 'p', 'v', 'm', 'S', 'i', 'I', 't', 'c', 'f')"),
        types("t.typtype NOT IN ('b', 'c', 'd', 'e', 'm', 'p', 'r')"),
        constraints,
        functions,
    ]
    .join(" UNION ALL ")
}
