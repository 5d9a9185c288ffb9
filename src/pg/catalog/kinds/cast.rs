//! Casts made by users. Those from a range to its multirange come with the range type.

use tokio_postgres::Row;

use super::names::{function_of, read_name};
use crate::base::{Error, Result};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::meta::{MetaSource, apply_meta, columns, not_member, not_of_users, user_object};
use crate::pg::catalog::row::RowExt;
use crate::pg::version::Feature;

/// Casts.
pub(super) const KIND: Kind = Kind { name: "cast", scope: Scope::Object, query, read };

fn query(cx: &Context) -> Option<String> {
    let of_range = if cx.version.has(Feature::MultirangeTypes) {
        " AND NOT EXISTS (SELECT FROM pg_range r WHERE r.rngtypid = c.castsource AND r.rngmultitypid = c.casttarget)"
    } else {
        ""
    };
    Some(format!(
        "SELECT c.oid, format_type(c.castsource, NULL) AS source, format_type(c.casttarget, NULL) AS target, {} AS function,
                c.castmethod::text AS method, c.castcontext::text AS context,
                CASE WHEN c.castmethod = 'b' THEN 'it takes the bytes of one type for those of another'
                     WHEN {} AND {} THEN 'none of its types is a user''s' END AS superuser, {}
           FROM pg_cast c WHERE {} AND {}{of_range} ORDER BY 2, 3",
        function_of("c.castfunc"),
        not_of_users("c.castsource"),
        not_of_users("c.casttarget"),
        columns(&MetaSource::plain(class::PG_CAST, "c.oid")),
        user_object("c.oid"),
        not_member(class::PG_CAST, "c.oid")
    ))
}

fn read(rows: &[Row], _: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(draft).collect()
}

fn draft(row: &Row) -> Result<Draft> {
    let identity = format!("({} AS {})", row.text("source")?, row.text("target")?);
    let unknown = |what: &str, value: &str| {
        Error::unsupported(format!("the cast {identity} has the {what} {value:?}, which this version does not know"))
    };
    let how = match (row.text("method")?.as_str(), read_name(row, "function")?) {
        ("b", _) => "WITHOUT FUNCTION".to_owned(),
        ("i", _) => "WITH INOUT".to_owned(),
        ("f", Some(function)) => format!("WITH FUNCTION {function}"),
        (other, _) => return Err(unknown("method", other)),
    };
    let context = match row.text("context")?.as_str() {
        "e" => "",
        "a" => " AS ASSIGNMENT",
        "i" => " AS IMPLICIT",
        other => return Err(unknown("context", other)),
    };
    let mut entry = Entry::new(KIND.name, KIND.scope, Phase::Pre, None, &identity, &identity);
    entry.create.push(format!("CREATE CAST {identity} {how}{context}").into());
    entry.superuser = row.opt_text("superuser")?;
    entry.drop = Some(format!("DROP CAST IF EXISTS {identity}").into());
    apply_meta(&mut entry, row, format!("CAST {identity}"), None)?;
    Ok(Draft::new(Address::new(class::PG_CAST, row.oid("oid")?), entry))
}
