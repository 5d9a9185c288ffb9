//! Security labels on what no other entry makes: members of extensions, the server's own objects, row types and array types, system columns.
//! Other labels belong to the entries of their objects.

use tokio_postgres::Row;

use crate::base::Result;
use crate::base::sql::Sql;
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::meta::{add_labels, not_member};
use crate::pg::catalog::row::RowExt;

/// Labels.
pub(super) const KIND: Kind = Kind { name: "security_label", scope: Scope::Object, query, read };

/// Column number of the address that stands for the labels of an object, below those that other kinds use.
const LABELS: i32 = -1000;

fn query(_: &Context) -> Option<String> {
    Some(format!(
        "SELECT l.classoid AS class, l.objoid AS oid, l.objsubid AS sub, i.schema, i.type, i.identity,
                ARRAY(SELECT unnest(ARRAY[x.provider, x.label]) FROM pg_seclabel x
                       WHERE (x.classoid, x.objoid, x.objsubid) = (l.classoid, l.objoid, l.objsubid) ORDER BY x.provider) AS labels
           FROM (SELECT DISTINCT classoid, objoid, objsubid FROM pg_seclabel) l,
                LATERAL pg_identify_object(l.classoid, l.objoid, l.objsubid) i
          WHERE l.classoid <> {large_objects} AND coalesce(i.schema, '') !~ '^pg_temp'
            AND ((l.objoid < 16384 AND NOT (l.classoid = {schemas} AND i.identity = 'public'))
                 OR NOT {not_member}
                 OR l.objsubid < 0
                 OR EXISTS (SELECT FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
                             WHERE l.classoid = {types} AND t.oid = l.objoid AND (t.typtype = 'm' OR c.relkind <> 'c'
                                   OR EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid))))
          ORDER BY i.type, i.identity",
        large_objects = class::PG_LARGEOBJECT,
        schemas = class::PG_NAMESPACE,
        types = class::PG_TYPE,
        not_member = not_member("l.classoid", "l.objoid"),
    ))
}

fn read(rows: &[Row], _: &Context) -> Result<Vec<Draft>> {
    rows.iter().map(draft).collect()
}

fn draft(row: &Row) -> Result<Draft> {
    let (kind, identity) = (row.text("type")?, row.text("identity")?);
    let noun = noun(&kind, &identity);
    let mut entry = Entry::new(KIND.name, KIND.scope, Phase::Post, row.opt_text("schema")?.as_deref(), &identity, &noun);
    add_labels(&mut entry, &Sql::from(noun), &row.col::<Vec<String>>("labels")?);
    let object = Address::new(row.oid("class")?, row.oid("oid")?);
    let own = Address { sub: LABELS - row.col::<i32>("sub")?.abs(), ..object };
    Ok(Draft { needs: vec![object], ..Draft::new(own, entry) })
}

/// What SECURITY LABEL calls an object that `pg_identify_object` describes.
fn noun(kind: &str, identity: &str) -> String {
    match kind {
        "aggregate" => format!("AGGREGATE {}", identity.replace("()", "(*)")),
        _ if kind.ends_with(" column") => format!("COLUMN {identity}"),
        _ => format!("{} {identity}", kind.to_uppercase()),
    }
}

#[cfg(test)]
mod tests {
    use super::noun;

    #[test]
    fn objects_are_called_what_security_label_calls_them() {
        assert_eq!(noun("table column", "public.t.a"), "COLUMN public.t.a");
        assert_eq!(noun("materialized view", "public.m"), "MATERIALIZED VIEW public.m");
        assert_eq!(noun("aggregate", "public.counted()"), "AGGREGATE public.counted(*)");
        assert_eq!(noun("function", "public.f()"), "FUNCTION public.f()");
    }
}
