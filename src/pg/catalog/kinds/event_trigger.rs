//! Event triggers. Made last, so that they do not fire on the restore's own commands.

use tokio_postgres::Row;

use super::names::{name_of, read_name};
use crate::base::sql::{ident, literal};
use crate::base::{Error, Result};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::meta::{MetaSource, apply_meta, columns, not_member};
use crate::pg::catalog::row::RowExt;

/// Event triggers.
pub(super) const KIND: Kind = Kind { name: "event_trigger", scope: Scope::Object, query, read };

fn query(_: &Context) -> Option<String> {
    Some(format!(
        "SELECT e.oid, e.evtname::text AS name, e.evtevent::text AS event, coalesce(e.evttags, '{{}}') AS tags, e.evtenabled::text AS enabled,
                {} AS function, {}
           FROM pg_event_trigger e WHERE {} ORDER BY e.evtname",
        name_of("pg_proc", "pro", "e.evtfoid"),
        columns(&MetaSource::owned(class::PG_EVENT_TRIGGER, "e.oid", "e.evtowner")),
        not_member(class::PG_EVENT_TRIGGER, "e.oid")
    ))
}

fn read(rows: &[Row], _: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(draft).collect()
}

fn draft(row: &Row) -> Result<Draft> {
    let name = row.text("name")?;
    let noun = format!("EVENT TRIGGER {}", ident(&name));
    let mut create = format!("CREATE {noun} ON {}", row.text("event")?);
    let tags: Vec<String> = row.col::<Vec<String>>("tags")?.iter().map(|t| literal(t)).collect();
    if !tags.is_empty() {
        create.push_str(&format!(" WHEN TAG IN ({})", tags.join(", ")));
    }
    create.push_str(&format!(" EXECUTE FUNCTION {}()", read_name(row, "function")?.unwrap_or_default()));
    let mut entry = Entry::new(KIND.name, KIND.scope, Phase::Post, None, &name, &ident(&name));
    entry.create.push(create.into());
    let state = match row.text("enabled")?.as_str() {
        "O" => None,
        "D" => Some("DISABLE"),
        "R" => Some("ENABLE REPLICA"),
        "A" => Some("ENABLE ALWAYS"),
        other => {
            let sentence = format!("event trigger {name} is enabled in the way {other:?}, which this version does not know");
            return Err(Error::unsupported(sentence));
        }
    };
    entry.create.extend(state.map(|s| format!("ALTER {noun} {s}").into()));
    entry.drop = Some(format!("DROP EVENT TRIGGER IF EXISTS {}", ident(&name)).into());
    apply_meta(&mut entry, row, noun, None)?;
    Ok(Draft::new(Address::new(class::PG_EVENT_TRIGGER, row.oid("oid")?), entry))
}
