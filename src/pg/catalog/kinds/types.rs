//! What the kinds of types (`pg_type`) have alike: identity, array type, and the statements around `CREATE TYPE`.

use tokio_postgres::Row;

use crate::base::Result;
use crate::base::sql::{Sql, qualified};
use crate::pg::catalog::acl::{AclObject, AclType};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, Placeholder, class};
use crate::pg::catalog::meta::{MetaSource, apply_meta, columns, not_member, user_schema};
use crate::pg::catalog::row::RowExt;

/// A query over `pg_type t` and `pg_namespace n` of the user's types that meet `condition`, with `extra` columns and `joins`.
pub(super) fn query(extra: &str, joins: &str, condition: &str) -> String {
    format!(
        "SELECT t.oid, n.oid AS schema_oid, t.typarray, t.typrelid, n.nspname::text AS schema, t.typname::text AS name, {extra}, {}
           FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace {joins}
          WHERE {condition} AND {} AND {} ORDER BY n.nspname, t.typname",
        columns(&MetaSource::new(class::PG_TYPE, "t.oid", "t.typowner", "t.typacl")),
        user_schema("n.nspname"),
        not_member(class::PG_TYPE, "t.oid")
    )
}

/// The draft of a type: `CREATE word "schema"."name" definition`, `word` being TYPE or DOMAIN, `definition` what follows the name.
pub(super) fn draft(kind: &Kind, word: &str, row: &Row, cx: &Context, definition: &str) -> Result<Draft> {
    let (schema, name) = (row.text("schema")?, row.text("name")?);
    let identity = qualified(&schema, &name);
    let mut entry = Entry::new(kind.name, Scope::Object, Phase::Pre, Some(&schema), &name, &identity);
    entry.create.push(format!("CREATE {word} {identity}{definition}").into());
    entry.drop = Some(format!("DROP {word} IF EXISTS {identity}").into());
    let acl = AclObject::new(AclType::Type, format!("TYPE {identity}"), cx.version);
    apply_meta(&mut entry, row, format!("{word} {identity}"), Some(&acl))?;
    let mut draft = Draft::new(Address::new(class::PG_TYPE, row.oid("oid")?), entry);
    let (array, relation) = (row.oid("typarray")?, row.oid("typrelid")?);
    draft.also.extend((array != 0).then_some(Address::new(class::PG_TYPE, array)));
    draft.also.extend((relation != 0).then_some(Address::new(class::PG_CLASS, relation)));
    Ok(draft)
}

/// Makes a type whose functions take or return it in two steps: a shell for them to name, then the type.
pub(super) fn with_shell(mut draft: Draft, row: &Row) -> Result<Draft> {
    let shell = Sql::from(format!("CREATE TYPE {}", qualified(&row.text("schema")?, &row.text("name")?)));
    let definition = draft.address;
    // The shell needs the schema alone; all that pg_depend knows of the type belongs to the second step.
    draft.address = Address { sub: -1, ..definition };
    draft.also.push(definition);
    draft.needs.push(Address::new(class::PG_NAMESPACE, row.oid("schema_oid")?));
    let complete = std::mem::take(&mut draft.entry.create);
    draft.entry.create = std::iter::once(shell.clone()).chain(complete.clone()).collect();
    draft.placeholder = Some(Placeholder { create: vec![shell], complete, definition, shell: true });
    Ok(draft)
}
