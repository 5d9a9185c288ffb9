//! Text search dictionaries.

use tokio_postgres::Row;

use super::names::{name_of, read_name};
use super::text_search_template::{draft, select_from};
use crate::base::Result;
use crate::pg::catalog::entry::Scope;
use crate::pg::catalog::kind::{Context, Draft, Kind, class};
use crate::pg::catalog::meta::MetaSource;
use crate::pg::catalog::row::RowExt;

/// Text search dictionaries.
pub(super) const KIND: Kind = Kind { name: "text_search_dictionary", scope: Scope::Object, query, read };

fn query(_: &Context) -> Option<String> {
    let extra = format!("{} AS template, t.dictinitoption AS options", name_of("pg_ts_template", "tmpl", "t.dicttemplate"));
    Some(select_from("pg_ts_dict", "dict", &extra, &MetaSource::owned(class::PG_TS_DICT, "t.oid", "t.dictowner")))
}

fn read(rows: &[Row], _: &Context) -> Result<Vec<Draft>> {
    rows.iter()
        .map(|row| {
            // The server keeps the options as the text that stood in the command.
            let template = read_name(row, "template")?.map(|t| format!("TEMPLATE = {t}"));
            let parts: Vec<String> = template.into_iter().chain(row.opt_text("options")?).collect();
            draft(&KIND, "DICTIONARY", class::PG_TS_DICT, row, &parts.join(", "))
        })
        .collect()
}
