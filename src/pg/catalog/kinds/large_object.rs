//! Large objects: their oids, owners, privileges and comments; their bytes are data. Objects with the same owner and privileges and without a
//! comment or label of their own share an entry and its statements, so that a million of them are a few thousand statements.

use tokio_postgres::Row;

use crate::base::Result;
use crate::base::sql::Sql;
use crate::pg::catalog::acl::{AclObject, AclType, privileges};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::meta::{add_comment, add_labels, add_owner};
use crate::pg::catalog::row::RowExt;

/// Large objects.
pub(super) const KIND: Kind = Kind { name: "large_object", scope: Scope::Object, query, read };

/// Most large objects in an entry.
const GROUP: usize = 1000;

/// Not the columns of `meta`: what they look up for each object takes seconds for as many as there may be of these.
fn query(_: &Context) -> Option<String> {
    let class = class::PG_LARGEOBJECT;
    Some(format!(
        "WITH one AS (
            SELECT m.oid, m.lomowner, m.lomacl::text[] AS acl, d.description AS comment, l.labels,
                   CASE WHEN d.description IS NOT NULL OR l.labels IS NOT NULL THEN m.oid END AS alone
              FROM pg_largeobject_metadata m
              LEFT JOIN pg_description d ON d.classoid = {class} AND d.objoid = m.oid AND d.objsubid = 0
              LEFT JOIN (SELECT s.objoid, array_agg(t.text ORDER BY s.provider, t.number) AS labels
                           FROM pg_seclabel s, unnest(ARRAY[s.provider, s.label]) WITH ORDINALITY t (text, number)
                          WHERE s.classoid = {class} AND s.objsubid = 0 GROUP BY s.objoid) l ON l.objoid = m.oid),
              numbered AS (SELECT one.*, row_number() OVER (PARTITION BY lomowner, acl, alone ORDER BY oid) - 1 AS number FROM one)
         SELECT pg_get_userbyid(lomowner)::text AS owner, acl, min(comment) AS comment, min(labels) AS labels,
                array_agg(oid ORDER BY oid) AS oids, EXISTS (SELECT FROM pg_language WHERE lanname = 'plpgsql') AS loops
           FROM numbered GROUP BY lomowner, acl, alone, number / {GROUP}
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
    let noun = Sql::from(format!("LARGE OBJECT {}", list.join(", ")));
    if oids.len() == 1 {
        let (comment, labels): (Option<String>, Option<Vec<String>>) = (row.col("comment")?, row.col("labels")?);
        add_comment(&mut entry, &noun, comment.as_deref());
        add_labels(&mut entry, &noun, &labels.unwrap_or_default());
        add_owner(&mut entry, &noun, &owner);
    } else if row.flag("loops")? {
        entry.ownership.push(give_all(&list, &owner));
        entry.owner = Some(owner.clone());
    } else {
        for oid in &list {
            add_owner(&mut entry, &Sql::from(format!("LARGE OBJECT {oid}")), &owner);
        }
    }
    let acl: Option<Vec<String>> = row.col("acl")?;
    let object = AclObject::new(AclType::LargeObject, noun, cx.version);
    entry.privileges.extend(privileges(&object, &owner, acl.as_deref(), None)?);
    let address = |oid: u32| Address::new(class::PG_LARGEOBJECT, oid);
    Ok(Draft { also: oids.iter().skip(1).map(|o| address(*o)).collect(), ..Draft::new(address(first), entry) })
}

/// Gives all of them to the owner in one statement: ALTER LARGE OBJECT takes one, and a statement each costs a restore more than their bytes.
/// The role's name stands in a string whose quotes are longer than any name can be.
fn give_all(oids: &[String], owner: &str) -> Sql {
    let quote = "$pgkeep_large_objects_get_an_owner_whose_name_cannot_hold_a_text_of_this_length$";
    Sql::from(format!(
        "DO $pgkeep_give_large_objects_to_an_owner_whose_name_cannot_hold_a_text_of_this_length$ \
         DECLARE o pg_catalog.oid; BEGIN FOREACH o IN ARRAY '{{{}}}'::pg_catalog.oid[] LOOP \
         EXECUTE pg_catalog.concat('ALTER LARGE OBJECT ', o, ' OWNER TO ', {quote}",
        oids.join(",")
    ))
    .role(owner)
    .text(format!("{quote}); END LOOP; END $pgkeep_give_large_objects_to_an_owner_whose_name_cannot_hold_a_text_of_this_length$"))
}
