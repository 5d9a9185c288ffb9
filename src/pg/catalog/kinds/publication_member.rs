//! Tables (with column lists and row filters, 15) and schemas (15) of publications.

use tokio_postgres::Row;

use crate::base::Result;
use crate::base::sql::{ident, qualified};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::row::RowExt;
use crate::pg::version::Feature;

/// Members of publications.
pub(super) const KIND: Kind = Kind { name: "publication_member", scope: Scope::Object, query, read };

fn query(cx: &Context) -> Option<String> {
    let (columns, filter) = if cx.version.has(Feature::PublicationFilters) {
        (
            "CASE WHEN r.prattrs IS NOT NULL THEN ARRAY(SELECT a.attname::text FROM unnest(r.prattrs::int2[]) WITH ORDINALITY u(num, ord)
                JOIN pg_attribute a ON a.attrelid = r.prrelid AND a.attnum = u.num ORDER BY u.ord) END",
            "pg_get_expr(r.prqual, r.prrelid)",
        )
    } else {
        ("NULL::text[]", "NULL")
    };
    let schemas = format!(
        "UNION ALL SELECT {}::oid, s.oid, p.oid, p.pubname::text, {}::oid, n.oid, n.nspname::text, NULL, NULL, NULL
           FROM pg_publication_namespace s JOIN pg_publication p ON p.oid = s.pnpubid JOIN pg_namespace n ON n.oid = s.pnnspid",
        class::PG_PUBLICATION_NAMESPACE,
        class::PG_NAMESPACE
    );
    Some(format!(
        "SELECT {}::oid AS class, r.oid, p.oid AS publication_oid, p.pubname::text AS publication, {}::oid AS member_class,
                c.oid AS member_oid, n.nspname::text AS schema, c.relname::text AS name, {columns} AS columns, {filter} AS filter
           FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid JOIN pg_class c ON c.oid = r.prrelid
           JOIN pg_namespace n ON n.oid = c.relnamespace {} ORDER BY publication, schema, name NULLS FIRST",
        class::PG_PUBLICATION_REL,
        class::PG_CLASS,
        if cx.version.has(Feature::PublicationFilters) { schemas.as_str() } else { "" }
    ))
}

fn read(rows: &[Row], _: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(draft).collect()
}

fn draft(row: &Row) -> Result<Draft> {
    let (publication, schema) = (ident(&row.text("publication")?), row.text("schema")?);
    let (member, what) = match row.opt_text("name")? {
        None => (format!("schema {}", ident(&schema)), format!("TABLES IN SCHEMA {}", ident(&schema))),
        Some(name) => {
            let table = qualified(&schema, &name);
            let mut what = format!("TABLE ONLY {table}");
            if let Some(columns) = row.col::<Option<Vec<String>>>("columns")? {
                let list: Vec<String> = columns.iter().map(|c| ident(c)).collect();
                what.push_str(&format!(" ({})", list.join(", ")));
            }
            if let Some(filter) = row.opt_text("filter")? {
                what.push_str(&format!(" WHERE ({filter})"));
            }
            (table, what)
        }
    };
    let identity = format!("{member} in {publication}");
    let mut entry = Entry::new(KIND.name, KIND.scope, Phase::Post, Some(&schema), &row.text("publication")?, &identity);
    entry.parent = Some(format!("publication {publication}"));
    entry.superuser = row.opt_text("name")?.is_none().then(|| "it is for all tables of a schema".to_owned());
    entry.create.push(format!("ALTER PUBLICATION {publication} ADD {what}").into());
    let address = Address::new(row.oid("class")?, row.oid("oid")?);
    let needs = vec![
        Address::new(class::PG_PUBLICATION, row.oid("publication_oid")?),
        Address::new(row.oid("member_class")?, row.oid("member_oid")?),
    ];
    Ok(Draft { needs, ..Draft::new(address, entry) })
}
