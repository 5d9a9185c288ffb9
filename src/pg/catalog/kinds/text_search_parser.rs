//! Text search parsers.

use tokio_postgres::Row;

use super::text_search_template::{functions, select, with_functions};
use crate::base::Result;
use crate::pg::catalog::entry::Scope;
use crate::pg::catalog::kind::{Context, Draft, Kind, class};

/// Text search parsers.
pub(super) const KIND: Kind = Kind { name: "text_search_parser", scope: Scope::Object, query, read };

const FUNCTIONS: &[(&str, &str)] = &[
    ("prsstart", "START"),
    ("prstoken", "GETTOKEN"),
    ("prsend", "END"),
    ("prsheadline", "HEADLINE"),
    ("prslextype", "LEXTYPES"),
];

fn query(_: &Context) -> Option<String> {
    Some(select("pg_ts_parser", "prs", class::PG_TS_PARSER, &functions(FUNCTIONS)))
}

fn read(rows: &[Row], _: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(|row| with_functions(&KIND, "PARSER", class::PG_TS_PARSER, FUNCTIONS, row)).collect()
}
