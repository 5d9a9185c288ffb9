//! Counts the catalogs with queries of their own and compares with what was rendered: no kind may lose an object.
//!
//! The queries share nothing with those of the kinds: one plain condition a catalog, members of extensions taken away as a set.

use std::collections::HashMap;

use tokio_postgres::Client;

use super::extract::query;
use super::kind::Draft;
use super::row::RowExt;
use crate::base::{Error, Result};

/// What is counted: the kinds of entries that together stand for it, and the number that the catalogs have. `own` is the set of
/// relations of the user, `members` the pairs of catalog and oid that belong to extensions.
const COUNTS: &[(&[&str], &str)] = &[
    (&["table"], "SELECT count(*) FROM own WHERE relkind IN ('r', 'p')"),
    (&["foreign_table"], "SELECT count(*) FROM pg_foreign_table f JOIN own ON own.oid = f.ftrelid"),
    (&["view"], "SELECT count(*) FROM own WHERE relkind = 'v'"),
    (&["materialized_view"], "SELECT count(*) FROM own WHERE relkind = 'm'"),
    (&["sequence", "identity"], "SELECT count(*) FROM own WHERE relkind = 'S'"),
    (
        &["index", "constraint"],
        "SELECT count(*) FROM pg_index x JOIN own ON own.oid = x.indrelid WHERE (x.indisvalid OR own.relkind = 'p') AND x.indisready",
    ),
    (
        &["constraint"],
        "SELECT count(*) FROM pg_constraint k WHERE k.contype IN ('p', 'u', 'x') AND k.conrelid IN (SELECT oid FROM own)",
    ),
    (
        &["foreign_key"],
        "SELECT count(*) FROM pg_constraint k JOIN own ON own.oid = k.conrelid
          WHERE k.contype = 'f' AND k.conparentid = 0",
    ),
    (&["partition"], "SELECT count(*) FROM own WHERE relispartition AND relkind IN ('r', 'p', 'f')"),
    (
        &["column_default"],
        "SELECT count(*) FROM pg_attribute a JOIN own ON own.oid = a.attrelid
          WHERE a.atthasdef AND a.attgenerated = '' AND NOT a.attisdropped",
    ),
    (
        &["trigger"],
        "SELECT count(*) FROM pg_trigger t LEFT JOIN pg_trigger u ON u.oid = t.tgparentid JOIN own ON own.oid = t.tgrelid
          WHERE CASE WHEN t.tgparentid = 0 THEN NOT t.tgisinternal
                ELSE t.tgenabled <> u.tgenabled AND t.tgfoid NOT IN (SELECT oid FROM pg_proc WHERE proname LIKE 'RI\\_FKey\\_%') END",
    ),
    (
        &["rule"],
        "SELECT count(*) FROM pg_rewrite r WHERE r.ev_type <> '1' AND r.ev_class IN (SELECT oid FROM own)",
    ),
    (&["policy"], "SELECT count(*) FROM pg_policy"),
    (&["statistics"], "SELECT count(*) FROM pg_statistic_ext s JOIN own ON own.oid = s.stxrelid"),
    (
        &["function", "procedure", "aggregate"],
        "SELECT count(*) FROM pg_proc p WHERE p.prokind IN ('f', 'p', 'a', 'w') AND p.pronamespace IN (SELECT oid FROM own_schema)
            AND ('pg_proc'::regclass, p.oid) NOT IN (SELECT classid, objid FROM members)
            AND ('pg_proc'::regclass, p.oid) NOT IN (SELECT classid, objid FROM pg_depend WHERE deptype = 'i')",
    ),
    (&["enum_type"], "SELECT count(*) FROM own_type WHERE typtype = 'e'"),
    (&["domain"], "SELECT count(*) FROM own_type WHERE typtype = 'd'"),
    (&["range_type"], "SELECT count(*) FROM own_type WHERE typtype = 'r'"),
    (
        &["composite_type"],
        "SELECT count(*) FROM own_type WHERE typtype = 'c' AND typrelid IN (SELECT oid FROM pg_class WHERE relkind = 'c')",
    ),
    (&["extension"], "SELECT count(*) FROM pg_extension WHERE extname <> 'plpgsql'"),
    (
        &["schema"],
        "SELECT count(*) FROM own_schema s WHERE s.nspname <> 'public' AND ('pg_namespace'::regclass, s.oid) NOT IN (SELECT classid, objid FROM members)",
    ),
];

const SETS: &str = "
WITH members AS MATERIALIZED (SELECT classid, objid FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'),
     own_schema AS MATERIALIZED (SELECT oid, nspname FROM pg_namespace
                                  WHERE nspname <> 'information_schema' AND left(nspname, 3) <> 'pg_'),
     own AS MATERIALIZED (SELECT oid, relkind, relispartition FROM pg_class
                           WHERE relnamespace IN (SELECT oid FROM own_schema) AND relpersistence <> 't'
                             AND ('pg_class'::regclass, oid) NOT IN (SELECT classid, objid FROM members)),
     own_type AS MATERIALIZED (SELECT oid, typtype, typrelid FROM pg_type
                                WHERE typnamespace IN (SELECT oid FROM own_schema)
                                  AND ('pg_type'::regclass, oid) NOT IN (SELECT classid, objid FROM members))
SELECT what, number FROM (";

/// Kinds whose entries may exist beyond what is counted: `public` and `plpgsql` have one only where they differ from a new database's.
const MAY_EXCEED: &[(&str, &str)] = &[("schema", "\"public\""), ("extension", "\"plpgsql\"")];

/// Fails with the kind and both numbers where the catalogs hold more or fewer objects than `drafts`.
pub(super) async fn check(client: &Client, drafts: &[Draft]) -> Result<()> {
    let mut rendered: HashMap<&str, i64> = HashMap::new();
    for draft in drafts.iter().filter(|d| counts(d)) {
        *rendered.entry(draft.entry.kind.as_str()).or_default() += 1;
    }
    let counts: Vec<String> =
        COUNTS.iter().enumerate().map(|(i, (_, sql))| format!("SELECT {i} AS what, ({sql}) AS number")).collect();
    let rows = query(client, "the inventory", &format!("{SETS}{}) x", counts.join(" UNION ALL "))).await?;
    for row in &rows {
        let index = usize::try_from(row.col::<i32>("what")?).unwrap_or(usize::MAX);
        let (Some((kinds, _)), expected) = (COUNTS.get(index), row.col::<i64>("number")?) else { continue };
        let found: i64 = kinds.iter().map(|k| rendered.get(k).copied().unwrap_or(0)).sum();
        if found != expected {
            return Err(Error::integrity(format!(
                "the catalogs hold {expected} objects of kind {}, but {found} were read",
                kinds.join(" and ")
            ))
            .hint("objects may have been made or dropped meanwhile: try again; if it stays, please report it"));
        }
    }
    Ok(())
}

fn counts(draft: &Draft) -> bool {
    !MAY_EXCEED.iter().any(|(kind, name)| draft.entry.kind == *kind && draft.entry.id == format!("{kind} {name}"))
}
