//! Columns of tables, foreign tables, views and materialised views, read with their relation: one JSON document a relation.

use serde::Deserialize;
use tokio_postgres::Row;

use super::foreign_data_wrapper::options_clause;
use super::relation::Relation;
use crate::base::sql::{Sql, ident};
use crate::base::{Error, Result};
use crate::pg::catalog::acl::{AclObject, privileges};
use crate::pg::catalog::entry::Entry;
use crate::pg::catalog::kind::Context;
use crate::pg::catalog::meta::{add_comment, add_labels};
use crate::pg::catalog::row::RowExt;
use crate::pg::version::Feature;

/// One column, as `pg_attribute` and its relations have it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Column {
    pub(super) name: String,
    /// Type with its modifier, as `format_type` writes it.
    #[serde(rename = "type")]
    pub(super) data_type: String,
    /// Collation, qualified and quoted, where it is not the type's own.
    pub(super) collation: Option<String>,
    /// Whether the relation defines it itself (it may inherit it as well).
    pub(super) local: bool,
    pub(super) not_null: Option<NotNull>,
    pub(super) generated: Option<Generated>,
    statistics: Option<i32>,
    storage: Option<String>,
    pub(super) compression: Option<String>,
    options: Option<String>,
    /// `name=value` for the wrapper of a foreign table.
    foreign_options: Option<Vec<String>>,
    comment: Option<String>,
    #[serde(default)]
    labels: Vec<String>,
}

impl Column {
    /// `COMPRESSION method` of a foreign table's column, which can say it only when it is made.
    pub(super) fn compression_clause(&self, relation: &Relation) -> Option<String> {
        self.compression.as_ref().filter(|_| relation.kind == "foreign_table").map(|method| format!("COMPRESSION {method}"))
    }
}

/// The not-null constraint of a column.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct NotNull {
    /// Oid of the constraint, from PostgreSQL 18.
    pub(super) oid: Option<u32>,
    pub(super) name: Option<String>,
    pub(super) no_inherit: bool,
    /// Whether the relation declares it itself.
    pub(super) local: bool,
    /// The name that it would have if INHERITS brought it; from PostgreSQL 18, of those that the relation does not declare itself.
    pub(super) inherited_name: Option<String>,
    pub(super) comment: Option<String>,
}

impl NotNull {
    /// Whether INHERITS would give it another name.
    pub(super) fn is_named_apart(&self) -> bool {
        !self.local && self.inherited_name.is_some() && self.inherited_name != self.name
    }

    /// `CONSTRAINT name NOT NULL column NO INHERIT`, the name and the column where given.
    pub(super) fn clause(&self, column: Option<&str>) -> String {
        let mut text = self.name.as_ref().map(|n| format!("CONSTRAINT {} ", ident(n))).unwrap_or_default();
        text.push_str("NOT NULL");
        if let Some(column) = column {
            text.push(' ');
            text.push_str(&ident(column));
        }
        if self.no_inherit {
            text.push_str(" NO INHERIT");
        }
        text
    }
}

/// The expression of a generated column.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Generated {
    /// Oid in `pg_attrdef`.
    pub(super) oid: u32,
    pub(super) expression: String,
    pub(super) stored: bool,
    /// Whether all parents that have the column have the same expression, so that inheriting the column brings it.
    pub(super) inherited: bool,
}

impl Generated {
    /// `GENERATED ALWAYS AS (…) STORED`.
    pub(super) fn clause(&self) -> String {
        self.clause_of(&self.expression)
    }

    /// The same of another expression.
    pub(super) fn clause_of(&self, expression: &str) -> String {
        format!("GENERATED ALWAYS AS ({expression}){}", if self.stored { " STORED" } else { "" })
    }
}

/// Condition, from PostgreSQL 18: the not-null constraint `alias` of `pg_constraint`, on a column called `column`, is there before the rows.
/// It is valid, and so is its origin: those of children that were validated while their parent's was not come after it. Those of partitions
/// may have names of their own, and are merged with their table's whichever comes first.
pub(super) fn not_null_before_rows(alias: &str, column: &str) -> String {
    format!(
        "({alias}.convalidated AND ({alias}.conislocal
            OR EXISTS (SELECT FROM pg_class pc WHERE pc.oid = {alias}.conrelid AND pc.relispartition)
            OR EXISTS (
            WITH RECURSIVE above (relation, local) AS (
                SELECT {alias}.conrelid, false
                UNION SELECT ui.inhparent, uc.conislocal
                  FROM above u JOIN pg_inherits ui ON ui.inhrelid = u.relation
                  JOIN pg_attribute ua ON ua.attrelid = ui.inhparent AND ua.attname = {column} AND NOT ua.attisdropped
                  JOIN pg_constraint uc ON uc.conrelid = ui.inhparent AND uc.contype = 'n' AND uc.conkey = ARRAY[ua.attnum]
                   AND uc.convalidated)
            SELECT FROM above WHERE local)))"
    )
}

/// Expression of the not-null constraint of `pg_attribute a` of `pg_class c`, and the join that it needs.
fn not_null(cx: &Context) -> (String, String) {
    let parents =
        "pg_inherits i JOIN pg_attribute pa ON pa.attrelid = i.inhparent AND pa.attname = a.attname AND NOT pa.attisdropped";
    if !cx.version.has(Feature::NotNullConstraints) {
        let expression = format!(
            "CASE WHEN a.attnotnull THEN json_build_object('no_inherit', false,
               'local', NOT EXISTS (SELECT FROM {parents} WHERE i.inhrelid = c.oid AND pa.attnotnull)) END"
        );
        return (expression, String::new());
    }
    let expression = format!(
        "CASE WHEN co.oid IS NOT NULL THEN json_build_object('oid', co.oid::int8, 'name', co.conname, 'no_inherit', co.connoinherit,
           'local', co.conislocal, 'comment', obj_description(co.oid, 'pg_constraint'),
           'inherited_name', CASE WHEN NOT co.conislocal AND NOT c.relispartition THEN
              (SELECT pk.conname FROM {parents}
                 JOIN pg_constraint pk ON pk.conrelid = i.inhparent AND pk.contype = 'n' AND pk.conkey = ARRAY[pa.attnum] AND {}
                WHERE i.inhrelid = c.oid ORDER BY i.inhseqno LIMIT 1) END) END",
        not_null_before_rows("pk", "a.attname")
    );
    let join = format!(
        "LEFT JOIN pg_constraint co ON co.conrelid = a.attrelid AND co.contype = 'n' AND co.conkey = ARRAY[a.attnum] AND {}",
        not_null_before_rows("co", "a.attname")
    );
    (expression, join)
}

/// A key that few columns need.
struct Rare {
    key: &'static str,
    expression: String,
    /// The condition under which it says something.
    when: String,
}

impl Rare {
    fn new(key: &'static str, expression: &str, when: &str) -> Self {
        Self { key, expression: expression.to_owned(), when: when.to_owned() }
    }
}

/// Keys that are left out of a column's document where none of them says anything: they would take most of the time that ten thousand tables need.
fn rare(cx: &Context) -> Vec<Rare> {
    const EXPRESSION: &str = "pg_get_expr(ad.adbin, ad.adrelid)";
    let of_column = |catalog: &str| {
        format!(
            "(a.attrelid, a.attnum::int4) IN (SELECT x.objoid, x.objsubid FROM {catalog} x WHERE x.classoid = 'pg_class'::regclass)"
        )
    };
    let generated = format!(
        "CASE WHEN a.attgenerated <> '' THEN json_build_object('oid', ad.oid::int8, 'expression', {EXPRESSION},
            'stored', a.attgenerated = 's',
            'inherited', (SELECT bool_and(pa.attgenerated <> '' AND pg_get_expr(pd.adbin, pd.adrelid) = {EXPRESSION}) IS TRUE
                FROM pg_inherits i JOIN pg_attribute pa ON pa.attrelid = i.inhparent AND pa.attname = a.attname
                 AND NOT pa.attisdropped
                LEFT JOIN pg_attrdef pd ON pd.adrelid = pa.attrelid AND pd.adnum = pa.attnum WHERE i.inhrelid = c.oid)) END"
    );
    let collation = "CASE WHEN a.attcollation <> t.typcollation THEN
        (SELECT format('%I.%I', cn.nspname, col.collname) FROM pg_collation col JOIN pg_namespace cn ON cn.oid = col.collnamespace
          WHERE col.oid = a.attcollation) END";
    let storage = "CASE WHEN a.attstorage <> t.typstorage
        THEN CASE a.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'x' THEN 'EXTENDED' WHEN 'm' THEN 'MAIN' END END";
    // Minor releases from 15.20 on keep a counter of their own among the options, which nobody can set and no dump holds.
    let options = "(SELECT string_agg(o.text, ', ' ORDER BY o.n) FROM unnest(a.attoptions) WITH ORDINALITY AS o (text, n)
        WHERE o.text NOT LIKE 'pg\\_attver=%')";
    let comment = "(SELECT d.description FROM pg_description d
        WHERE d.classoid = 'pg_class'::regclass AND d.objoid = c.oid AND d.objsubid = a.attnum)";
    let labels = "ARRAY(SELECT unnest(ARRAY[s.provider, s.label]) FROM pg_seclabel s
        WHERE s.classoid = 'pg_class'::regclass AND s.objoid = c.oid AND s.objsubid = a.attnum ORDER BY s.provider)";
    let mut rare = vec![
        Rare::new("collation", collation, "a.attcollation <> t.typcollation"),
        Rare::new("generated", &generated, "a.attgenerated <> ''"),
        Rare::new("statistics", "CASE WHEN a.attstattarget >= 0 THEN a.attstattarget END", "a.attstattarget >= 0"),
        Rare::new("storage", storage, "a.attstorage <> t.typstorage"),
        Rare::new("options", options, "a.attoptions IS NOT NULL"),
        Rare::new("foreign_options", "a.attfdwoptions", "a.attfdwoptions IS NOT NULL"),
        Rare::new("comment", comment, &of_column("pg_description")),
        Rare::new("labels", labels, &of_column("pg_seclabel")),
    ];
    if cx.version.has(Feature::ColumnCompression) {
        let method = "CASE a.attcompression WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' END";
        rare.push(Rare::new("compression", method, "a.attcompression <> ''"));
    }
    rare
}

/// Expressions `columns` (JSON), and `column_acls` (JSON, system columns too), of `pg_class c`.
pub(super) fn select(cx: &Context) -> String {
    let (not_null, not_null_join) = not_null(cx);
    let usual =
        format!("'name', a.attname, 'type', format_type(a.atttypid, a.atttypmod), 'local', a.attislocal, 'not_null', {not_null}");
    let rare = rare(cx);
    let conditions: Vec<&str> = rare.iter().map(|r| r.when.as_str()).collect();
    let fields: Vec<String> = rare.iter().map(|r| format!("'{}', {}", r.key, r.expression)).collect();
    format!(
        "(SELECT json_agg(CASE WHEN {} THEN json_build_object({usual}, {}) ELSE json_build_object({usual}) END ORDER BY a.attnum)::text
            FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid {not_null_join}
            LEFT JOIN pg_attrdef ad ON a.attgenerated <> '' AND ad.adrelid = a.attrelid AND ad.adnum = a.attnum
           WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
         {}",
        conditions.join(" OR "),
        fields.join(", "),
        select_acls("c.oid")
    )
}

/// Expression `column_acls` (JSON) of the relation `oid`.
pub(super) fn select_acls(oid: &str) -> String {
    format!(
        "(SELECT json_agg(json_build_object('name', a.attname, 'acl', a.attacl::text[], 'init', p.initprivs::text[]) ORDER BY a.attnum)::text
            FROM pg_attribute a
            LEFT JOIN pg_init_privs p ON p.classoid = 'pg_class'::regclass AND p.objoid = a.attrelid AND p.objsubid = a.attnum
           WHERE a.attrelid = {oid} AND NOT a.attisdropped AND (a.attacl IS NOT NULL OR p.initprivs IS NOT NULL)) AS column_acls"
    )
}

/// Reads `columns`.
pub(super) fn read(row: &Row) -> Result<Vec<Column>> {
    parse(row.opt_text("columns")?)
}

fn parse<T: for<'de> Deserialize<'de>>(json: Option<String>) -> Result<Vec<T>> {
    json.map_or(Ok(Vec::new()), |text| {
        serde_json::from_str(&text).map_err(|e| Error::internal("read the columns of a relation").source(e))
    })
}

#[derive(Deserialize)]
struct ColumnAcl {
    name: String,
    acl: Option<Vec<String>>,
    init: Option<Vec<String>>,
}

/// Adds comments, labels and privileges of the columns to the entry of their relation.
pub(super) fn add_meta(entry: &mut Entry, row: &Row, relation: &Relation, columns: &[Column], cx: &Context) -> Result<()> {
    let table = relation.qualified();
    for column in columns {
        let noun = Sql::from(format!("COLUMN {table}.{}", ident(&column.name)));
        add_comment(entry, &noun, column.comment.as_deref());
        add_labels(entry, &noun, &column.labels);
        if let Some(NotNull { name: Some(name), comment, .. }) = &column.not_null {
            add_comment(entry, &Sql::from(format!("CONSTRAINT {} ON {table}", ident(name))), comment.as_deref());
        }
    }
    add_acls(entry, row, &table, cx)
}

/// Adds the privileges of the columns of `table` (qualified, quoted).
pub(super) fn add_acls(entry: &mut Entry, row: &Row, table: &str, cx: &Context) -> Result<()> {
    let owner = row.opt_text("owner")?.unwrap_or_default();
    for column in parse::<ColumnAcl>(row.opt_text("column_acls")?)? {
        let object = AclObject::column(format!("TABLE {table}"), &column.name, cx.version);
        entry.privileges.extend(privileges(&object, &owner, column.acl.as_deref(), column.init.as_deref())?);
    }
    Ok(())
}

/// `ALTER TABLE ONLY … ALTER COLUMN …` of statistics targets and options, those for the wrapper of a foreign table included, in one statement;
/// `None` where there is nothing.
pub(super) fn alter_options(relation: &Relation, columns: &[Column]) -> Option<Sql> {
    let mut actions = Vec::new();
    for column in columns {
        let name = ident(&column.name);
        actions.extend(column.statistics.map(|target| format!("ALTER COLUMN {name} SET STATISTICS {target}")));
        let options = column.options.as_deref().filter(|o| !o.is_empty());
        actions.extend(options.map(|options| format!("ALTER COLUMN {name} SET ({options})")));
        let foreign = column.foreign_options.as_deref().filter(|o| !o.is_empty());
        actions.extend(foreign.map(|options| format!("ALTER COLUMN {name}{}", options_clause(options))));
    }
    alter(relation, &actions)
}

/// The same of storage and compression, which children copy from their parents when they are made. The compression of a foreign table's columns
/// cannot be altered.
pub(super) fn alter_storage(relation: &Relation, columns: &[Column]) -> Option<Sql> {
    let mut actions = Vec::new();
    for column in columns {
        let name = ident(&column.name);
        actions.extend(column.storage.as_ref().map(|storage| format!("ALTER COLUMN {name} SET STORAGE {storage}")));
        let compression = column.compression.as_ref().filter(|_| relation.kind != "foreign_table");
        actions.extend(compression.map(|method| format!("ALTER COLUMN {name} SET COMPRESSION {method}")));
    }
    alter(relation, &actions)
}

fn alter(relation: &Relation, actions: &[String]) -> Option<Sql> {
    (!actions.is_empty()).then(|| Sql::from(format!("ALTER TABLE ONLY {} {}", relation.qualified(), actions.join(", "))))
}
