//! Values of sequences, those of identity columns and those that extensions register as configuration included.
//!
//! Sequences are not transactional: the value is that of the moment of reading, which is never before the snapshot.

use tokio_postgres::Row;

use super::relation::{COLUMNS, Relation};
use super::sequence::IS_IDENTITY;
use crate::base::sql::{Sql, literal};
use crate::base::{Error, Result};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::meta::{not_member, user_schema};
use crate::pg::catalog::row::RowExt;
use crate::pg::version::Feature;

/// Values of sequences.
pub(super) const KIND: Kind = Kind { name: "sequence_value", scope: Scope::Object, query, read };

/// Column number of the address that stands for the value of a sequence.
const VALUE: i32 = -1;

/// One query for all: from 18 on by `pg_get_sequence_data`, before that by having the server read each sequence, which only
/// `query_to_xml` can do within a query (`pg_sequences` does not tell the value of a sequence that was set but never called).
fn query(cx: &Context) -> Option<String> {
    let (value, join) = if cx.version.has(Feature::SequenceValues) {
        ("v.last_value, v.is_called", "CROSS JOIN LATERAL pg_get_sequence_data(s.seqrelid) v")
    } else {
        (
            "substring(v.data from '<last_value>(-?[0-9]+)</last_value>')::int8 AS last_value,
             substring(v.data from '<is_called>(true|false)</is_called>')::bool AS is_called",
            "CROSS JOIN LATERAL (SELECT query_to_xml(format('SELECT last_value, is_called FROM %I.%I', n.nspname, c.relname),
                                                     false, false, '')::text AS data) v",
        )
    };
    Some(format!(
        "SELECT {COLUMNS}, {value}, {IS_IDENTITY} AS is_identity, x.extension
           FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
           LEFT JOIN (SELECT e.oid AS extension, unnest(e.extconfig) AS relation FROM pg_extension e) x ON x.relation = c.oid
           {join}
          WHERE c.relpersistence <> 't' AND {} AND (x.extension IS NOT NULL OR {})
          ORDER BY n.nspname, c.relname",
        user_schema("n.nspname"),
        not_member(class::PG_CLASS, "c.oid")
    ))
}

fn read(rows: &[Row], _cx: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(draft).collect()
}

fn draft(row: &Row) -> Result<Draft> {
    let relation = Relation::read(row)?;
    let sequence = relation.qualified();
    let (Some(value), Some(called)) = (row.col::<Option<i64>>("last_value")?, row.col::<Option<bool>>("is_called")?) else {
        return Err(Error::denied(format!("the value of sequence {sequence} cannot be read"))
            .hint(format!("GRANT SELECT ON SEQUENCE {sequence} to the role that backs up, or grant it pg_read_all_data")));
    };
    let mut entry = Entry::new("sequence_value", Scope::Object, Phase::Data, Some(&relation.schema), &relation.name, &sequence);
    let extension = row.col::<Option<u32>>("extension")?;
    if extension.is_none() {
        entry.parent = Some(if row.flag("is_identity")? { format!("identity {sequence}") } else { relation.id() });
    }
    entry.create.push(Sql::from(format!("SELECT pg_catalog.setval({}, {value}, {called})", literal(&sequence).trim_start())));
    let mut draft = Draft::new(Address { sub: VALUE, ..relation.address() }, entry);
    draft.needs.push(extension.map_or(relation.address(), |oid| Address::new(class::PG_EXTENSION, oid)));
    Ok(draft)
}
