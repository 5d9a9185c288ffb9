//! Publications. Their tables and schemas are [`publication_member`](super::publication_member)s.

use tokio_postgres::Row;

use crate::base::sql::ident;
use crate::base::{Error, Result};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::meta::{MetaSource, apply_meta, columns, not_member};
use crate::pg::catalog::row::RowExt;
use crate::pg::version::Feature;

/// Publications.
pub(super) const KIND: Kind = Kind { name: "publication", scope: Scope::Object, query, read };

fn query(cx: &Context) -> Option<String> {
    let generated = if cx.version.has(Feature::GeneratedPublication) { "p.pubgencols::text" } else { "'n'" };
    Some(format!(
        "SELECT p.oid, p.pubname::text AS name, p.puballtables AS all_tables, p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate,
                p.pubviaroot, {generated} AS generated, {}
           FROM pg_publication p WHERE {} ORDER BY p.pubname",
        columns(&MetaSource::owned(class::PG_PUBLICATION, "p.oid", "p.pubowner")),
        not_member(class::PG_PUBLICATION, "p.oid")
    ))
}

fn read(rows: &[Row], _: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(draft).collect()
}

fn draft(row: &Row) -> Result<Draft> {
    let name = row.text("name")?;
    let noun = format!("PUBLICATION {}", ident(&name));
    let mut actions = Vec::new();
    for (column, word) in [("pubinsert", "insert"), ("pubupdate", "update"), ("pubdelete", "delete"), ("pubtruncate", "truncate")]
    {
        if row.flag(column)? {
            actions.push(word);
        }
    }
    let mut options = vec![format!("publish = '{}'", actions.join(", "))];
    if row.flag("pubviaroot")? {
        options.push("publish_via_partition_root = true".to_owned());
    }
    match row.text("generated")?.as_str() {
        "n" => {}
        "s" => options.push("publish_generated_columns = stored".to_owned()),
        other => {
            let sentence =
                format!("publication {name} publishes generated columns in the way {other:?}, which this version does not know");
            return Err(Error::unsupported(sentence));
        }
    }
    let all_tables = row.flag("all_tables")?;
    let all = if all_tables { " FOR ALL TABLES" } else { "" };
    let mut entry = Entry::new(KIND.name, KIND.scope, Phase::Post, None, &name, &ident(&name));
    entry.superuser = all_tables.then(|| "it is for all tables".to_owned());
    entry.create.push(format!("CREATE {noun}{all} WITH ({})", options.join(", ")).into());
    entry.drop = Some(format!("DROP PUBLICATION IF EXISTS {}", ident(&name)).into());
    apply_meta(&mut entry, row, noun, None)?;
    Ok(Draft::new(Address::new(class::PG_PUBLICATION, row.oid("oid")?), entry))
}
