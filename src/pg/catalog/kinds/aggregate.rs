//! Aggregates with all their support functions: ordinary, ordered-set and hypothetical ones, moving and partial aggregation.

use tokio_postgres::Row;

use super::names::{name_of, read_name, read_operator};
use crate::base::sql::{literal, qualified};
use crate::base::{Error, Result};
use crate::pg::catalog::acl::{AclObject, AclType};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::meta::{MetaSource, apply_meta, columns, not_member, user_schema};
use crate::pg::catalog::row::RowExt;

/// Aggregates.
pub(super) const KIND: Kind = Kind { name: "aggregate", scope: Scope::Object, query, read };

/// Support functions: column of `pg_aggregate` and option.
const FUNCTIONS: &[(&str, &str)] = &[
    ("aggtransfn", "SFUNC"),
    ("aggfinalfn", "FINALFUNC"),
    ("aggcombinefn", "COMBINEFUNC"),
    ("aggserialfn", "SERIALFUNC"),
    ("aggdeserialfn", "DESERIALFUNC"),
    ("aggmtransfn", "MSFUNC"),
    ("aggminvtransfn", "MINVFUNC"),
    ("aggmfinalfn", "MFINALFUNC"),
];

fn query(_: &Context) -> Option<String> {
    let functions: Vec<String> = FUNCTIONS
        .iter()
        .map(|(column, _)| format!("{} AS {column}", name_of("pg_proc", "pro", &format!("a.{column}"))))
        .collect();
    Some(format!(
        "SELECT p.oid, n.nspname::text AS schema, p.proname::text AS name, pg_get_function_arguments(p.oid) AS arguments,
                oidvectortypes(p.proargtypes) AS types, a.aggkind::text AS kind, p.proparallel::text AS parallel,
                format_type(a.aggtranstype, NULL) AS stype, a.aggtransspace AS sspace, a.agginitval AS initcond,
                a.aggfinalextra, a.aggfinalmodify::text AS finalmodify,
                format_type(nullif(a.aggmtranstype, 0), NULL) AS mstype, a.aggmtransspace AS msspace, a.aggminitval AS minitcond,
                a.aggmfinalextra, a.aggmfinalmodify::text AS mfinalmodify,
                {} AS sortop,
                {}, {}
           FROM pg_aggregate a JOIN pg_proc p ON p.oid = a.aggfnoid::oid JOIN pg_namespace n ON n.oid = p.pronamespace
          WHERE {} AND {} ORDER BY n.nspname, p.proname, 5",
        name_of("pg_operator", "opr", "a.aggsortop"),
        functions.join(", "),
        columns(&MetaSource::new(class::PG_PROC, "p.oid", "p.proowner", "p.proacl")),
        user_schema("n.nspname"),
        not_member(class::PG_PROC, "p.oid")
    ))
}

fn read(rows: &[Row], cx: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(|row| draft(row, cx)).collect()
}

fn draft(row: &Row, cx: &Context) -> Result<Draft> {
    let (schema, name) = (row.text("schema")?, row.text("name")?);
    let (types, arguments) = (row.text("types")?, row.text("arguments")?);
    let star = |text: &str| if text.is_empty() { "*".to_owned() } else { text.to_owned() };
    let full = qualified(&schema, &name);
    let identity = format!("{full}({types})");
    let noun = format!("AGGREGATE {full}({})", star(&types));
    let mut entry = Entry::new(KIND.name, KIND.scope, Phase::Pre, Some(&schema), &name, &identity);
    entry.create.push(format!("CREATE AGGREGATE {full}({}) ({})", star(&arguments), options(row)?.join(", ")).into());
    let internal = row.text("stype")? == "internal" || row.opt_text("mstype")?.is_some_and(|t| t == "internal");
    entry.superuser = internal.then(|| "its state has the type internal".to_owned());
    entry.drop = Some(format!("DROP AGGREGATE IF EXISTS {full}({})", star(&types)).into());
    let acl = AclObject::new(AclType::Function, format!("FUNCTION {identity}"), cx.version);
    apply_meta(&mut entry, row, noun, Some(&acl))?;
    Ok(Draft::new(Address::new(class::PG_PROC, row.oid("oid")?), entry))
}

fn options(row: &Row) -> Result<Vec<String>> {
    let mut out = Vec::new();
    for (column, option) in FUNCTIONS {
        out.extend(read_name(row, column)?.map(|name| format!("{option} = {name}")));
    }
    let kind = row.text("kind")?;
    let moving = row.opt_text("mstype")?.filter(|t| t != "-");
    out.push(format!("STYPE = {}", row.text("stype")?));
    out.extend(space(row, "sspace")?.map(|s| format!("SSPACE = {s}")));
    out.extend(row.opt_text("initcond")?.map(|v| format!("INITCOND = {}", literal(&v))));
    finish(row, &kind, "", &mut out)?;
    if let Some(stype) = moving {
        out.push(format!("MSTYPE = {stype}"));
        out.extend(space(row, "msspace")?.map(|s| format!("MSSPACE = {s}")));
        out.extend(row.opt_text("minitcond")?.map(|v| format!("MINITCOND = {}", literal(&v))));
        finish(row, &kind, "m", &mut out)?;
    }
    out.extend(read_operator(row, "sortop")?.map(|operator| format!("SORTOP = {operator}")));
    if kind == "h" {
        out.push("HYPOTHETICAL".to_owned());
    }
    match row.text("parallel")?.as_str() {
        "u" => {}
        "s" => out.push("PARALLEL = SAFE".to_owned()),
        "r" => out.push("PARALLEL = RESTRICTED".to_owned()),
        other => return Err(unknown("parallel safety", other)),
    }
    Ok(out)
}

fn space(row: &Row, column: &str) -> Result<Option<i32>> {
    row.col::<i32>(column).map(|s| Some(s).filter(|s| *s != 0))
}

/// Options of the final function, or of the moving one with prefix `m`.
fn finish(row: &Row, kind: &str, prefix: &str, out: &mut Vec<String>) -> Result<()> {
    let word = prefix.to_ascii_uppercase();
    if row.flag(&format!("agg{prefix}finalextra"))? {
        out.push(format!("{word}FINALFUNC_EXTRA"));
    }
    let modify = row.text(&format!("{prefix}finalmodify"))?;
    let default = if kind == "n" { "r" } else { "w" };
    if modify != default {
        let value = match modify.as_str() {
            "r" => "READ_ONLY",
            "s" => "SHAREABLE",
            "w" => "READ_WRITE",
            other => return Err(unknown("final function's effect", other)),
        };
        out.push(format!("{word}FINALFUNC_MODIFY = {value}"));
    }
    Ok(())
}

fn unknown(what: &str, value: &str) -> Error {
    Error::unsupported(format!("an aggregate's {what} {value:?} is not known to this version of pgkeep"))
}
