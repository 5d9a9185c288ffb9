//! Large objects: their oids, owners, privileges and comments; their bytes are data. Objects with the same owner and privileges and without a
//! comment or label of their own share an entry, so that a million of them are a thousand entries.

use tokio_postgres::Row;

use crate::base::Result;
use crate::base::sql::Sql;
use crate::pg::catalog::acl::{AclObject, AclType, privileges};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::meta::{MetaSource, add_comment, add_labels, add_owner, columns};
use crate::pg::catalog::row::RowExt;

/// Large objects.
pub(super) const KIND: Kind = Kind { name: "large_object", scope: Scope::Object, query, read };

/// Most large objects in an entry.
const GROUP: usize = 1000;

fn query(_: &Context) -> Option<String> {
    let meta = columns(&MetaSource::new(class::PG_LARGEOBJECT, "m.oid", "m.lomowner", "m.lomacl"));
    Some(format!(
        "WITH one AS (SELECT m.oid, {meta} FROM pg_largeobject_metadata m),
              numbered AS (SELECT one.*, CASE WHEN comment IS NOT NULL OR labels <> '{{}}' THEN oid END AS alone,
                                  row_number() OVER (PARTITION BY owner, acl, comment, labels ORDER BY oid) - 1 AS number FROM one)
         SELECT owner, acl, init_acl, comment, labels, array_agg(oid ORDER BY oid) AS oids
           FROM numbered GROUP BY owner, acl, init_acl, comment, labels, alone, number / {GROUP}
          ORDER BY min(oid)"
    ))
}

fn read(rows: &[Row], cx: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(|row| draft(row, cx)).collect()
}

fn draft(row: &Row, cx: &Context) -> Result<Draft> {
    let oids: Vec<u32> = row.col("oids")?;
    let first = oids.first().copied().unwrap_or_default();
    let name = match oids.last() {
        Some(last) if oids.len() > 1 => format!("{first} to {last} ({} objects)", oids.len()),
        _ => first.to_string(),
    };
    let mut entry = Entry::new(KIND.name, KIND.scope, Phase::Data, None, &name, &name);
    let list: Vec<String> = oids.iter().map(u32::to_string).collect();
    entry.create.push(
        format!("SELECT pg_catalog.lo_create(o) FROM pg_catalog.unnest('{{{}}}'::pg_catalog.oid[]) AS u(o)", list.join(","))
            .into(),
    );
    entry.drop = Some(
        format!(
            "SELECT pg_catalog.lo_unlink(oid) FROM pg_catalog.pg_largeobject_metadata \
             WHERE oid OPERATOR(pg_catalog.=) ANY ('{{{}}}'::pg_catalog.oid[])",
            list.join(",")
        )
        .into(),
    );
    let owner = row.text("owner")?;
    let (acl, comment): (Option<Vec<String>>, Option<String>) = (row.col("acl")?, row.col("comment")?);
    let labels: Vec<String> = row.col("labels")?;
    for oid in &list {
        let noun = Sql::from(format!("LARGE OBJECT {oid}"));
        let object = AclObject::new(AclType::LargeObject, noun.clone(), cx.version);
        add_owner(&mut entry, &noun, &owner);
        entry.privileges.extend(privileges(&object, &owner, acl.as_deref(), None)?);
        add_comment(&mut entry, &noun, comment.as_deref());
        add_labels(&mut entry, &noun, &labels);
    }
    let address = |oid: u32| Address::new(class::PG_LARGEOBJECT, oid);
    Ok(Draft { also: oids.iter().skip(1).map(|o| address(*o)).collect(), ..Draft::new(address(first), entry) })
}
