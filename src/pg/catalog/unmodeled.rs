//! Names what is in the catalogs and no kind covers.
//!
//! Each probe belongs to a kind; a kind that [`KINDS`] has needs no probe, so that adding the kind ends its reports. Further probes
//! look for letters in the catalogs (kinds of relations, constraints, types, functions) that this release does not know. Left out, as
//! everywhere: members of extensions, objects made by initdb, objects in system schemas.

use tokio_postgres::Client;

use super::extract::query;
use super::kind::{Context, class};
use super::kinds::KINDS;
use super::meta::{not_member, user_object, user_schema};
use super::row::RowExt;
use crate::base::Result;

/// One sentence for each object that no kind covers.
pub(super) async fn probe(client: &Client, cx: &Context) -> Result<Vec<String>> {
    let probes: Vec<String> = PROBES
        .iter()
        .filter(|p| KINDS.iter().all(|k| k.name != p.kind) && cx.version.at_least(p.since))
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
    /// First major version that has them.
    since: u32,
    /// One text column that names each.
    select: fn() -> String,
}

const fn probe_of(kind: &'static str, select: fn() -> String) -> Probe {
    Probe { kind, since: 0, select }
}

const PROBES: &[Probe] = &[
    probe_of("base_type", || types("t.typtype = 'b' AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid)")),
    probe_of("shell_type", || types("t.typtype = 'p'")),
    probe_of("operator", || in_schema(class::PG_OPERATOR, "pg_operator", "oprnamespace")),
    probe_of("operator_family", || {
        format!("{} UNION ALL {}", in_schema(class::PG_OPFAMILY, "pg_opfamily", "opfnamespace"), loose_members())
    }),
    probe_of("operator_class", || in_schema(class::PG_OPCLASS, "pg_opclass", "opcnamespace")),
    probe_of("cast", || global(class::PG_CAST, "pg_cast")),
    probe_of("conversion", || in_schema(class::PG_CONVERSION, "pg_conversion", "connamespace")),
    probe_of("collation", || in_schema(class::PG_COLLATION, "pg_collation", "collnamespace")),
    probe_of("language", || global(class::PG_LANGUAGE, "pg_language")),
    probe_of("transform", || global(class::PG_TRANSFORM, "pg_transform")),
    probe_of("access_method", || global(class::PG_ACCESS_METHOD, "pg_am")),
    probe_of("text_search_parser", || in_schema(class::PG_TS_PARSER, "pg_ts_parser", "prsnamespace")),
    probe_of("text_search_template", || in_schema(class::PG_TS_TEMPLATE, "pg_ts_template", "tmplnamespace")),
    probe_of("text_search_dictionary", || in_schema(class::PG_TS_DICT, "pg_ts_dict", "dictnamespace")),
    probe_of("text_search_configuration", || in_schema(class::PG_TS_CONFIG, "pg_ts_config", "cfgnamespace")),
    probe_of("foreign_data_wrapper", || global(class::PG_FOREIGN_DATA_WRAPPER, "pg_foreign_data_wrapper")),
    probe_of("foreign_server", || global(class::PG_FOREIGN_SERVER, "pg_foreign_server")),
    probe_of("user_mapping", || {
        "SELECT format('user mapping for %s on server %s', m.usename, m.srvname) FROM pg_user_mappings m".to_owned()
    }),
    probe_of("foreign_table", || relations("c.relkind = 'f'")),
    probe_of("event_trigger", || global(class::PG_EVENT_TRIGGER, "pg_event_trigger")),
    probe_of("publication", || global(class::PG_PUBLICATION, "pg_publication")),
    probe_of("subscription", || {
        "SELECT format('subscription %s', s.subname) FROM pg_subscription s
          WHERE s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
            .to_owned()
    }),
];

/// Objects of a catalog outside schemas.
fn global(class: u32, catalog: &str) -> String {
    described(class, &format!("SELECT oid FROM {catalog}"))
}

/// Objects of a catalog in user schemas.
fn in_schema(class: u32, catalog: &str, schema: &str) -> String {
    let users = user_schema("n.nspname");
    described(class, &format!("SELECT o.oid FROM {catalog} o JOIN pg_namespace n ON n.oid = o.{schema} WHERE {users}"))
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

/// Operators and functions added to families that initdb made.
fn loose_members() -> String {
    let loose = |class: u32, catalog: &str, family: &str| {
        described(class, &format!("SELECT m.oid FROM {catalog} m WHERE m.{family} < 16384"))
    };
    format!(
        "{} UNION ALL {}",
        loose(class::PG_AMOP, "pg_amop", "amopfamily"),
        loose(class::PG_AMPROC, "pg_amproc", "amprocfamily")
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
