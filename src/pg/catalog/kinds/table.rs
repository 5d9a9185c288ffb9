//! Tables, partitioned ones included: columns with types, collations, not-null constraints and generation expressions.
//!
//! Catalogs: `pg_class` (`r`, `p`), `pg_attribute`, generated columns of `pg_attrdef`, not-null constraints of `pg_constraint` from 18 on.
//! Left to entries of their own, so that dependencies cannot run in a circle: defaults, identity, checks, keys, row security. Partitions
//! are made standalone and attached later; a child is made with INHERITS unless it defines all its columns itself, when it is made
//! standalone too, which keeps their order, or unless INHERITS would put its columns into another order ([`column_order`]).

use tokio_postgres::Row;

use super::column_order;
use super::columns::{self, Column};
use super::relation::{COLUMNS, Relation, in_tablespace, storage_parameters, user_relation, with_clause};
use crate::base::Result;
use crate::base::sql::{Sql, ident, qualified};
use crate::pg::catalog::acl::{AclObject, AclType};
use crate::pg::catalog::entry::{Entry, Phase, Scope};
use crate::pg::catalog::kind::{Address, Context, Draft, Kind, class};
use crate::pg::catalog::meta::{self, MetaSource, apply_meta};
use crate::pg::catalog::row::RowExt;
use crate::pg::version::Feature;

/// Tables.
pub(super) const KIND: Kind = Kind { name: "table", scope: Scope::Object, query, read };

/// Kind of the entries of columns' storage.
const STORAGE_KIND: &str = "column_storage";
/// Column number of the address that stands for the storage of a table's columns.
const STORAGE: i32 = -5;

fn query(cx: &Context) -> Option<String> {
    Some(format!(
        "SELECT {COLUMNS}, c.relpersistence::text AS persistence, c.relispartition AS is_partition, c.reltype AS row_type,
                coalesce(rt.typarray, 0::oid) AS array_type, coalesce(c.reloptions, '{{}}') AS options,
                coalesce(tc.reloptions, '{{}}') AS toast_options, ts.spcname::text AS tablespace, am.amname::text AS method,
                c.relreplident::text AS replica_identity, c.relforcerowsecurity AS force_row_security,
                CASE WHEN c.reloftype <> 0 THEN format_type(c.reloftype, NULL) END AS of_type,
                CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END AS partition_key,
                {}, {}, {}
           FROM pg_class c
           JOIN pg_namespace n ON n.oid = c.relnamespace
           LEFT JOIN pg_type rt ON rt.oid = c.reltype
           LEFT JOIN pg_class tc ON tc.oid = c.reltoastrelid AND c.relkind = 'r'
           LEFT JOIN pg_tablespace ts ON ts.oid = c.reltablespace
           LEFT JOIN pg_am am ON am.oid = c.relam
          WHERE c.relkind IN ('r', 'p') AND {}
          ORDER BY n.nspname, c.relname",
        parents(cx),
        columns::select(cx),
        meta::columns(&MetaSource::new(class::PG_CLASS, "c.oid", "c.relowner", "c.relacl")),
        user_relation()
    ))
}

/// Expressions `parent_schemas`, `parent_names`, `parent_columns`, `joins_parents` of `pg_class c`.
pub(super) fn parents(cx: &Context) -> String {
    format!(
        "ARRAY(SELECT pn.nspname::text FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent
                 JOIN pg_namespace pn ON pn.oid = p.relnamespace WHERE i.inhrelid = c.oid ORDER BY i.inhseqno) AS parent_schemas,
         ARRAY(SELECT p.relname::text FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent
                WHERE i.inhrelid = c.oid ORDER BY i.inhseqno) AS parent_names,
         CASE WHEN c.relispartition THEN '{{}}' ELSE
           ARRAY(SELECT pa.attname::text FROM pg_inherits i JOIN pg_attribute pa ON pa.attrelid = i.inhparent
                  WHERE i.inhrelid = c.oid AND pa.attnum > 0 AND NOT pa.attisdropped ORDER BY i.inhseqno, pa.attnum) END AS parent_columns,
         {} AS joins_parents",
        joins_parents(cx)
    )
}

fn read(rows: &[Row], cx: &Context) -> Result<Vec<Draft>> {
    let mut drafts = Vec::with_capacity(rows.len());
    for row in rows {
        let (relation, columns) = (Relation::read(row)?, columns::read(row)?);
        drafts.push(draft(row, &relation, &columns, cx)?);
        drafts.extend(storage(&relation, &columns));
    }
    Ok(drafts)
}

/// Storage and compression of the columns, as an entry of its own that follows all tables: a child made after its parent was altered would
/// copy them, or, with two parents, not be made at all.
pub(super) fn storage(relation: &Relation, columns: &[Column]) -> Option<Draft> {
    let statement = columns::alter_storage(relation, columns)?;
    let name = relation.qualified();
    let mut entry = Entry::new(STORAGE_KIND, Scope::Object, Phase::Pre, Some(&relation.schema), &relation.name, &name);
    entry.parent = Some(relation.id());
    entry.create.push(statement);
    Some(Draft::new(Address { sub: STORAGE, ..relation.address() }, entry))
}

fn draft(row: &Row, relation: &Relation, columns: &[Column], cx: &Context) -> Result<Draft> {
    let mut entry = relation.entry(Phase::Pre);
    entry.create = create(row, relation, columns, cx)?;
    entry.drop = Some(Sql::from(format!("DROP TABLE IF EXISTS {}", relation.qualified())));
    let noun = relation.noun();
    apply_meta(&mut entry, row, noun.as_str(), Some(&AclObject::new(AclType::Table, noun.as_str(), cx.version)))?;
    columns::add_meta(&mut entry, row, relation, columns, cx)?;
    let mut draft = Draft::new(relation.address(), entry);
    draft.also = made_along(row, columns)?;
    Ok(draft)
}

/// Catalog rows that CREATE TABLE makes beside the table: its types, generation expressions, not-null constraints.
pub(super) fn made_along(row: &Row, columns: &[Column]) -> Result<Vec<Address>> {
    let mut rows = Vec::new();
    for column in ["row_type", "array_type"] {
        rows.push(Address::new(class::PG_TYPE, row.oid(column)?));
    }
    for column in columns {
        rows.extend(column.generated.as_ref().map(|g| Address::new(class::PG_ATTRDEF, g.oid)));
        rows.extend(column.not_null.as_ref().and_then(|n| n.oid).map(|oid| Address::new(class::PG_CONSTRAINT, oid)));
    }
    Ok(rows)
}

/// Condition: the child `c` of other tables is made standalone and joins them later ([`super::inheritance`]): all its columns are its own,
/// and so are its not-null constraints where these have an origin of their own.
pub(super) fn joins_parents(cx: &Context) -> String {
    let mut condition = "(NOT c.relispartition AND NOT EXISTS (SELECT FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND NOT a.attislocal)"
        .to_owned();
    if cx.version.has(Feature::NotNullConstraints) {
        condition.push_str(
            " AND NOT EXISTS (SELECT FROM pg_constraint x WHERE x.conrelid = c.oid AND x.contype = 'n' AND NOT x.conislocal)",
        );
    }
    condition + ")"
}

/// How the table comes to its columns.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// It names all of them; parents, if any, are joined later.
    Standalone,
    /// It names its own, INHERITS brings the others.
    Inherits,
    /// It names those that its type leaves open.
    Typed,
}

fn shape(row: &Row) -> Result<Shape> {
    if row.opt_text("of_type")?.is_some() { Ok(Shape::Typed) } else { untyped_shape(row) }
}

/// How a table comes to its columns that is not of a type.
pub(super) fn untyped_shape(row: &Row) -> Result<Shape> {
    let parents: Vec<String> = row.col("parent_names")?;
    Ok(if row.flag("is_partition")? || parents.is_empty() || row.flag("joins_parents")? {
        Shape::Standalone
    } else {
        Shape::Inherits
    })
}

fn create(row: &Row, relation: &Relation, columns: &[Column], cx: &Context) -> Result<Vec<Sql>> {
    let shape = shape(row)?;
    let partitioned = row.opt_text("partition_key")?;
    let unlogged = if row.text("persistence")? == "u" && partitioned.is_none() { "UNLOGGED " } else { "" };
    let tail = tail(row, partitioned.as_deref())?;
    let made = made(row, relation, columns, shape, &format!("CREATE {unlogged}TABLE"), &tail, cx)?;
    let mut statements = in_tablespace(row.opt_text("tablespace")?.as_deref(), made);
    statements.extend(alterations(row, relation, columns, shape, cx)?);
    Ok(statements)
}

/// What follows the columns and parents of a table: partition key, access method, storage parameters.
fn tail(row: &Row, partition_key: Option<&str>) -> Result<String> {
    let mut text = partition_key.map(|key| format!(" PARTITION BY {key}")).unwrap_or_default();
    if let Some(method) = row.opt_text("method")?.filter(|m| m != "heap") {
        text.push_str(&format!(" USING {}", ident(&method)));
    }
    let mut parameters = storage_parameters(&row.col::<Vec<String>>("options")?, "");
    parameters.extend(storage_parameters(&row.col::<Vec<String>>("toast_options")?, "toast."));
    Ok(text + &with_clause(&parameters))
}

/// Statements that make the relation with its columns and parents; `keyword` is what stands before its name, `tail` what follows.
pub(super) fn made(
    row: &Row,
    relation: &Relation,
    columns: &[Column],
    shape: Shape,
    keyword: &str,
    tail: &str,
    cx: &Context,
) -> Result<Vec<Sql>> {
    let (schemas, names): (Vec<String>, Vec<String>) = (row.col("parent_schemas")?, row.col("parent_names")?);
    let parents: Vec<String> = schemas.iter().zip(&names).map(|(s, n)| qualified(s, n)).collect();
    if shape == Shape::Inherits {
        let parent_columns: Vec<String> = row.col("parent_columns")?;
        if column_order::differs(columns, &parent_columns) {
            return Ok(column_order::create(relation, columns, (&parents, &parent_columns), keyword, tail, cx));
        }
    }
    let mut text = format!("{keyword} {}", relation.qualified());
    if shape == Shape::Typed {
        text.push_str(&format!(" OF {}", row.text("of_type")?));
    }
    let elements = elements(relation, columns, shape, cx);
    if !elements.is_empty() {
        text.push_str(&format!(" (\n    {}\n)", elements.join(",\n    ")));
    } else if shape != Shape::Typed {
        text.push_str(" ()");
    }
    if shape == Shape::Inherits {
        text.push_str(&format!(" INHERITS ({})", parents.join(", ")));
    }
    Ok(vec![Sql::from(text + tail)])
}

fn elements(relation: &Relation, columns: &[Column], shape: Shape, cx: &Context) -> Vec<String> {
    let mut elements = Vec::new();
    for column in columns {
        if shape == Shape::Inherits && !column.local {
            if let Some(not_null) = column.not_null.as_ref().filter(|n| n.local && cx.version.has(Feature::NotNullConstraints)) {
                elements.push(not_null.clause(Some(&column.name)));
            }
            continue;
        }
        let mut parts = vec![ident(&column.name)];
        if shape != Shape::Typed {
            parts.push(column.data_type.clone());
            parts.extend(column.compression_clause(relation));
            parts.extend(column.collation.as_ref().map(|c| format!("COLLATE {c}")));
        }
        let own_expression = |inherited: bool| shape != Shape::Inherits || !inherited;
        parts.extend(column.generated.as_ref().filter(|g| own_expression(g.inherited)).map(columns::Generated::clause));
        let own_constraint = |local: bool| shape != Shape::Inherits || local;
        parts.extend(column.not_null.as_ref().filter(|n| own_constraint(n.local)).map(|n| n.clause(None)));
        if shape != Shape::Typed || parts.len() > 1 {
            elements.push(parts.join(" "));
        }
    }
    elements
}

fn alterations(row: &Row, relation: &Relation, columns: &[Column], shape: Shape, cx: &Context) -> Result<Vec<Sql>> {
    let table = relation.qualified();
    let mut statements = column_alterations(relation, columns, shape, cx);
    match row.text("replica_identity")?.as_str() {
        "n" => statements.push(Sql::from(format!("ALTER TABLE ONLY {table} REPLICA IDENTITY NOTHING"))),
        "f" => statements.push(Sql::from(format!("ALTER TABLE ONLY {table} REPLICA IDENTITY FULL"))),
        _ => {}
    }
    if row.flag("force_row_security")? {
        statements.push(Sql::from(format!("ALTER TABLE ONLY {table} FORCE ROW LEVEL SECURITY")));
    }
    Ok(statements)
}

/// What CREATE TABLE cannot say of columns.
pub(super) fn column_alterations(relation: &Relation, columns: &[Column], shape: Shape, cx: &Context) -> Vec<Sql> {
    let table = relation.qualified();
    let mut statements = Vec::new();
    if shape == Shape::Inherits {
        for column in columns.iter().filter(|c| !c.local) {
            let name = ident(&column.name);
            if column.not_null.as_ref().is_some_and(|n| n.local) && !cx.version.has(Feature::NotNullConstraints) {
                statements.push(Sql::from(format!("ALTER TABLE ONLY {table} ALTER COLUMN {name} SET NOT NULL")));
            }
            if let Some(generated) = column.generated.as_ref().filter(|g| !g.inherited && cx.version.has(Feature::SetExpression))
            {
                let expression = &generated.expression;
                statements.push(Sql::from(format!("ALTER TABLE {table} ALTER COLUMN {name} SET EXPRESSION AS ({expression})")));
            }
        }
    }
    statements.extend(columns::alter_options(relation, columns));
    statements
}
