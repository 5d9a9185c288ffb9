//! Text search configurations with their mappings of token types to dictionaries.

use tokio_postgres::Row;

use super::names::{name_of, read_name};
use super::text_search_template::{draft, select_from};
use crate::base::Result;
use crate::base::sql::{ident, qualified};
use crate::pg::catalog::entry::Scope;
use crate::pg::catalog::kind::{Context, Draft, Kind, class};
use crate::pg::catalog::meta::MetaSource;
use crate::pg::catalog::row::RowExt;

/// Text search configurations.
pub(super) const KIND: Kind = Kind { name: "text_search_configuration", scope: Scope::Object, query, read };

fn query(_: &Context) -> Option<String> {
    let of_mappings = |expression: &str| {
        format!(
            "ARRAY(SELECT {expression} FROM pg_ts_config_map m JOIN pg_ts_dict d ON d.oid = m.mapdict
                     JOIN pg_namespace dn ON dn.oid = d.dictnamespace WHERE m.mapcfg = t.oid ORDER BY m.maptokentype, m.mapseqno)"
        )
    };
    let extra = format!(
        "{} AS parser, {} AS tokens, {} AS dictionary_schemas, {} AS dictionary_names",
        name_of("pg_ts_parser", "prs", "t.cfgparser"),
        of_mappings("(SELECT k.alias FROM ts_token_type(t.cfgparser) k WHERE k.tokid = m.maptokentype)"),
        of_mappings("dn.nspname::text"),
        of_mappings("d.dictname::text")
    );
    Some(select_from("pg_ts_config", "cfg", &extra, &MetaSource::owned(class::PG_TS_CONFIG, "t.oid", "t.cfgowner")))
}

fn read(rows: &[Row], _: &Context) -> Result<Vec<Draft>> {
    rows.iter()
        .map(|row| {
            let parser = read_name(row, "parser")?.unwrap_or_default();
            let mut draft = draft(&KIND, "CONFIGURATION", class::PG_TS_CONFIG, row, &format!("PARSER = {parser}"))?;
            let identity = qualified(&row.text("schema")?, &row.text("name")?);
            for (token, dictionaries) in mappings(row)? {
                let list = dictionaries.join(", ");
                let statement =
                    format!("ALTER TEXT SEARCH CONFIGURATION {identity} ADD MAPPING FOR {} WITH {list}", ident(&token));
                draft.entry.create.push(statement.into());
            }
            Ok(draft)
        })
        .collect()
}

/// Token types with their dictionaries, both in order.
fn mappings(row: &Row) -> Result<Vec<(String, Vec<String>)>> {
    let (tokens, schemas): (Vec<String>, Vec<String>) = (row.col("tokens")?, row.col("dictionary_schemas")?);
    let names: Vec<String> = row.col("dictionary_names")?;
    let mut out: Vec<(String, Vec<String>)> = Vec::new();
    for ((token, schema), name) in tokens.into_iter().zip(schemas).zip(names) {
        let dictionary = qualified(&schema, &name);
        match out.last_mut().filter(|(last, _)| *last == token) {
            Some((_, dictionaries)) => dictionaries.push(dictionary),
            None => out.push((token, vec![dictionary])),
        }
    }
    Ok(out)
}
