//! Privileges and owners that were changed on what a restore does not make itself: members of extensions and the objects of `pg_catalog`.
//! The base is `pg_init_privs`, what CREATE EXTENSION or initdb gave, and the owner of the extension or the bootstrap superuser. `information_schema` has no such record, so changes there cannot be told from what
//! initdb granted and are left out, as by `pg_dump`.

use tokio_postgres::Row;

use crate::base::sql::{Sql, ident, qualified};
use crate::base::{Error, Result};
use crate::pg::catalog::acl::{AclObject, AclType, privileges};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::meta::not_member;
use crate::pg::catalog::row::RowExt;

/// Changed privileges.
pub(super) const KIND: Kind = Kind { name: "altered_privileges", scope: Scope::Object, query, read };

/// One catalog with privileges.
struct Source {
    class: u32,
    /// `FROM` with aliases; the object's row is `o`.
    from: &'static str,
    /// Expressions: type letter of [`AclType`] (`p` for procedures), schema, name, what follows the name, column, column number, owner, acl.
    letter: &'static str,
    schema: &'static str,
    name: &'static str,
    suffix: &'static str,
    column: &'static str,
    number: &'static str,
    owner: &'static str,
    acl: &'static str,
}

const IN_SCHEMA: Source = Source {
    class: class::PG_CLASS,
    from: "pg_class o JOIN pg_namespace n ON n.oid = o.relnamespace",
    letter: "CASE o.relkind WHEN 'S' THEN 's' ELSE 'r' END",
    schema: "n.nspname",
    name: "o.relname",
    suffix: "''",
    column: "NULL",
    number: "0",
    owner: "o.relowner",
    acl: "o.relacl",
};

const WITHOUT_SCHEMA: Source = Source { schema: "NULL", ..IN_SCHEMA };

const SOURCES: &[Source] = &[
    IN_SCHEMA,
    Source {
        from: "pg_class o JOIN pg_namespace n ON n.oid = o.relnamespace JOIN pg_attribute a ON a.attrelid = o.oid AND NOT a.attisdropped",
        letter: "'c'",
        column: "a.attname",
        number: "a.attnum",
        acl: "a.attacl",
        ..IN_SCHEMA
    },
    Source {
        class: class::PG_PROC,
        from: "pg_proc o JOIN pg_namespace n ON n.oid = o.pronamespace",
        letter: "CASE o.prokind WHEN 'p' THEN 'p' ELSE 'f' END",
        name: "o.proname",
        suffix: "'(' || CASE o.prokind WHEN 'a' THEN oidvectortypes(o.proargtypes) ELSE pg_get_function_identity_arguments(o.oid) END || ')'",
        owner: "o.proowner",
        acl: "o.proacl",
        ..IN_SCHEMA
    },
    Source {
        class: class::PG_TYPE,
        from: "pg_type o JOIN pg_namespace n ON n.oid = o.typnamespace",
        letter: "'T'",
        name: "o.typname",
        owner: "o.typowner",
        acl: "o.typacl",
        ..IN_SCHEMA
    },
    Source {
        class: class::PG_NAMESPACE,
        from: "pg_namespace o",
        letter: "'n'",
        name: "o.nspname",
        owner: "o.nspowner",
        acl: "o.nspacl",
        ..WITHOUT_SCHEMA
    },
    Source {
        class: class::PG_LANGUAGE,
        from: "pg_language o",
        letter: "'l'",
        name: "o.lanname",
        owner: "o.lanowner",
        acl: "o.lanacl",
        ..WITHOUT_SCHEMA
    },
    Source {
        class: class::PG_FOREIGN_DATA_WRAPPER,
        from: "pg_foreign_data_wrapper o",
        letter: "'F'",
        name: "o.fdwname",
        owner: "o.fdwowner",
        acl: "o.fdwacl",
        ..WITHOUT_SCHEMA
    },
    Source {
        class: class::PG_FOREIGN_SERVER,
        from: "pg_foreign_server o",
        letter: "'S'",
        name: "o.srvname",
        owner: "o.srvowner",
        acl: "o.srvacl",
        ..WITHOUT_SCHEMA
    },
];

fn query(_: &Context) -> Option<String> {
    let parts: Vec<String> = SOURCES.iter().map(part).collect();
    Some(format!("{} ORDER BY class, schema NULLS FIRST, name, suffix, number", parts.join(" UNION ALL ")))
}

fn part(source: &Source) -> String {
    let Source { class, from, letter, schema, name, suffix, column, number, owner, acl } = source;
    let member = format!("NOT {}", not_member(*class, "o.oid"));
    let reowned = format!(
        "({owner} <> 10 AND {number} = 0 AND {owner} NOT IN (SELECT e.extowner FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
            WHERE d.classid = {class} AND d.objid = o.oid AND d.objsubid = 0 AND d.refclassid = {} AND d.deptype = 'e'))",
        class::PG_EXTENSION
    );
    let not_made_by_us = match *class {
        class::PG_NAMESPACE => format!("(o.nspname = 'pg_catalog' OR {member})"),
        _ if *schema == "NULL" => format!("(o.oid < 16384 OR {member})"),
        _ => format!("(n.nspname = 'pg_catalog' OR {member})"),
    };
    format!(
        "SELECT {class}::oid AS class, o.oid, {letter}::text AS letter, {schema}::text AS schema, {name}::text AS name, {suffix}::text AS suffix,
                {column}::text AS column_name, {number}::int4 AS number, pg_get_userbyid({owner})::text AS owner,
                {reowned} AS reowned, ({acl})::text[] AS acl, i.initprivs::text[] AS init_acl
           FROM {from}
           LEFT JOIN pg_init_privs i ON i.classoid = {class} AND i.objoid = o.oid AND i.objsubid = {number}
          WHERE (({acl}) IS DISTINCT FROM i.initprivs OR {reowned}) AND {not_made_by_us}"
    )
}

fn read(rows: &[Row], cx: &Context) -> Result<Vec<Draft>> {
    let mut drafts = Vec::new();
    for row in rows {
        let draft = draft(row, cx)?;
        if !(draft.entry.privileges.is_empty() && draft.entry.ownership.is_empty()) {
            drafts.push(draft);
        }
    }
    Ok(drafts)
}

fn draft(row: &Row, cx: &Context) -> Result<Draft> {
    let (schema, name) = (row.opt_text("schema")?, row.text("name")?);
    let (letter, column) = (row.text("letter")?, row.opt_text("column_name")?);
    let (kind, word) = match letter.as_str() {
        "r" => (AclType::Table, "TABLE"),
        "c" => (AclType::Column, "TABLE"),
        "s" => (AclType::Sequence, "SEQUENCE"),
        "f" => (AclType::Function, "FUNCTION"),
        "p" => (AclType::Function, "PROCEDURE"),
        "T" => (AclType::Type, "TYPE"),
        "n" => (AclType::Schema, "SCHEMA"),
        "l" => (AclType::Language, "LANGUAGE"),
        "F" => (AclType::ForeignDataWrapper, "FOREIGN DATA WRAPPER"),
        "S" => (AclType::ForeignServer, "FOREIGN SERVER"),
        other => return Err(Error::internal(format!("an object with privileges has the unknown type {other:?}"))),
    };
    let full = schema.as_ref().map_or_else(|| ident(&name), |s| qualified(s, &name));
    let noun = format!("{word} {full}{}", row.text("suffix")?);
    let of = column.as_ref().map(|c| format!("column {} of ", ident(c))).unwrap_or_default();
    let mut entry = Entry::new(KIND.name, KIND.scope, Phase::Post, schema.as_deref(), &name, &format!("{of}{noun}"));
    let owner = row.text("owner")?;
    let object = AclObject { column, ..AclObject::new(kind, noun.as_str(), cx.version) };
    let (acl, initial): (Option<Vec<String>>, Option<Vec<String>>) = (row.col("acl")?, row.col("init_acl")?);
    entry.privileges = privileges(&object, &owner, acl.as_deref(), initial.as_deref())?;
    if row.flag("reowned")? {
        let altered = noun.strip_prefix("FOREIGN SERVER").map_or_else(|| noun.clone(), |name| format!("SERVER{name}"));
        entry.ownership.push(Sql::from(format!("ALTER {altered} OWNER TO ")).role(&owner));
        entry.owner = Some(owner);
    }
    let object = Address::new(row.oid("class")?, row.oid("oid")?);
    // Not the object's own address: who depends on a member of an extension depends on the extension, not on its privileges.
    let own = Address { sub: -1 - row.col::<i32>("number")?.abs(), ..object };
    Ok(Draft { needs: vec![object], ..Draft::new(own, entry) })
}
