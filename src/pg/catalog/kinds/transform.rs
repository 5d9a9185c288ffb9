//! Transforms between types and procedural languages.

use tokio_postgres::Row;

use super::names::{function_of, read_name};
use crate::base::Result;
use crate::base::sql::ident;
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::meta::{MetaSource, apply_meta, columns, not_member, not_of_users, user_object};
use crate::pg::catalog::row::RowExt;

/// Transforms.
pub(super) const KIND: Kind = Kind { name: "transform", scope: Scope::Object, query, read };

fn query(_: &Context) -> Option<String> {
    Some(format!(
        "SELECT t.oid, format_type(t.trftype, NULL) AS type, l.lanname::text AS language, {} AS from_sql, {} AS to_sql,
                CASE WHEN {} THEN 'its type is none of a user' WHEN NOT l.lanpltrusted THEN 'its language is not trusted' END AS superuser, {}
           FROM pg_transform t JOIN pg_language l ON l.oid = t.trflang WHERE {} AND {} ORDER BY 2, 3",
        function_of("t.trffromsql"),
        function_of("t.trftosql"),
        not_of_users("t.trftype"),
        columns(&MetaSource::plain(class::PG_TRANSFORM, "t.oid")),
        user_object("t.oid"),
        not_member(class::PG_TRANSFORM, "t.oid")
    ))
}

fn read(rows: &[Row], _: &Context) -> Result<Vec<Draft>> {
    rows.iter()
        .map(|row| {
            let identity = format!("FOR {} LANGUAGE {}", row.text("type")?, ident(&row.text("language")?));
            let mut parts = Vec::new();
            for (column, word) in [("from_sql", "FROM"), ("to_sql", "TO")] {
                parts.extend(read_name(row, column)?.map(|f| format!("{word} SQL WITH FUNCTION {f}")));
            }
            let mut entry = Entry::new(KIND.name, KIND.scope, Phase::Pre, None, &identity, &identity);
            entry.create.push(format!("CREATE TRANSFORM {identity} ({})", parts.join(", ")).into());
            entry.superuser = row.opt_text("superuser")?;
            entry.drop = Some(format!("DROP TRANSFORM IF EXISTS {identity}").into());
            apply_meta(&mut entry, row, format!("TRANSFORM {identity}"), None)?;
            Ok(Draft::new(Address::new(class::PG_TRANSFORM, row.oid("oid")?), entry))
        })
        .collect()
}
