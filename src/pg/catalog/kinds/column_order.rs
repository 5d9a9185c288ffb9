//! Children whose columns stand in another order than INHERITS would give them: parents got columns after the child was made.
//!
//! Such a child first inherits from an empty table that only lends it its inherited columns: whichever side is next in the order gets a
//! column, and the child's follow. A column that both have is made by both, the child first. Then the child joins its real parents, leaves the lender, and the lender is dropped. What is inherited
//! stays inherited, and row values (of composite columns, of `SELECT *`) keep their meaning.

use super::columns::{Column, Generated};
use super::relation::Relation;
use crate::base::sql::{Sql, ident, qualified};
use crate::pg::catalog::kind::Context;
use crate::pg::version::Feature;

/// Name of the table that lends columns; it exists only while one table is made.
const LENDER: &str = "pgkeep_lends_columns";

/// Whether INHERITS of parents that have `parent_columns` (one after the other) would give other columns, or not-null constraints of other
/// names, than `columns`.
pub(super) fn differs(columns: &[Column], parent_columns: &[String]) -> bool {
    let mut inherited: Vec<&str> = Vec::with_capacity(columns.len());
    for name in parent_columns {
        if !inherited.contains(&name.as_str()) {
            inherited.push(name);
        }
    }
    let own = columns.iter().map(|c| c.name.as_str()).filter(|name| !inherited.contains(name));
    let expected: Vec<&str> = inherited.iter().copied().chain(own).collect();
    let in_order = expected.iter().copied().eq(columns.iter().map(|c| c.name.as_str()));
    !in_order || columns.iter().any(|c| c.not_null.as_ref().is_some_and(super::columns::NotNull::is_named_apart))
}

/// Who makes a column.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The child alone. Generated columns that a parent has too are among them: the child's expression is its own.
    Own,
    /// The lender alone.
    Lent,
    /// Both: the child defines a column that a parent has, and the lender needs it too, as generated columns may use it.
    Shared,
}

impl Origin {
    fn of(column: &Column, parent_columns: &[String]) -> Self {
        if !column.local {
            Self::Lent
        } else if column.generated.is_none() && parent_columns.contains(&column.name) {
            Self::Shared
        } else {
            Self::Own
        }
    }
}

/// Statements that make `relation`, a child of `parents` (qualified, quoted) that have `parent_columns`: `keyword` is what stands before its
/// name (`CREATE TABLE`), `tail` what follows its parents.
pub(super) fn create(
    relation: &Relation,
    columns: &[Column],
    (parents, parent_columns): (&[String], &[String]),
    keyword: &str,
    tail: &str,
    cx: &Context,
) -> Vec<Sql> {
    let (child, lender) = (relation.qualified(), qualified(&relation.schema, LENDER));
    let columns: Vec<(Origin, &Column)> = columns.iter().map(|c| (Origin::of(c, parent_columns), c)).collect();
    let of_lender = |run: &[(Origin, &Column)]| -> Vec<String> {
        run.iter().filter(|(origin, _)| *origin != Origin::Own).map(|(origin, c)| lent(*origin, c, relation, cx)).collect()
    };
    let of_child = |run: &[(Origin, &Column)]| -> Vec<String> {
        run.iter().filter(|(origin, _)| *origin != Origin::Lent).map(|(origin, c)| own(*origin, c, relation)).collect()
    };
    let made_at_once = columns.iter().position(|(origin, _)| *origin == Origin::Own).unwrap_or(columns.len());
    let made_at_once = made_at_once + columns[made_at_once..].iter().take_while(|(origin, _)| *origin == Origin::Own).count();
    let (first, rest) = columns.split_at(made_at_once);
    let mut statements = vec![
        format!("CREATE TABLE {lender} ({})", of_lender(first).join(",")),
        format!("{keyword} {child} ({}) INHERITS ({lender}){tail}", of_child(first).join(",")),
    ];
    for run in rest.chunk_by(|a, b| a.0 == b.0) {
        for (table, elements) in [(&child, of_child(run)), (&lender, of_lender(run))] {
            if !elements.is_empty() {
                statements.push(alter(table, "ADD COLUMN ", &elements));
            }
        }
    }
    let lent_columns = || columns.iter().filter(|(origin, _)| *origin == Origin::Lent).map(|(_, c)| *c);
    if cx.version.has(Feature::NotNullConstraints) {
        for column in lent_columns() {
            let declared = column.not_null.as_ref().filter(|n| n.local);
            statements.extend(declared.map(|n| format!("ALTER TABLE {child} ADD {}", n.clause(Some(&column.name)))));
        }
    }
    if cx.version.has(Feature::SetExpression) {
        let generated = lent_columns().filter_map(|c| Some((c, c.generated.as_ref().filter(|g| g.inherited)?)));
        let set: Vec<String> =
            generated.map(|(c, g)| format!("\n    {} SET EXPRESSION AS ({})", ident(&c.name), g.expression)).collect();
        if !set.is_empty() {
            statements.push(alter(&child, "ALTER COLUMN ", &set));
        }
    }
    statements.extend(parents.iter().map(|parent| format!("ALTER TABLE {child} INHERIT {parent}")));
    statements.push(format!("ALTER TABLE {child} NO INHERIT {lender}"));
    statements.push(format!("DROP TABLE {lender}"));
    statements.into_iter().map(Sql::from).collect()
}

/// `ALTER TABLE` with one `action` for each of `elements`, which begin with a new line.
fn alter(table: &str, action: &str, elements: &[String]) -> String {
    let actions: Vec<String> = elements.iter().map(|e| format!("\n    {action}{}", e.trim_start())).collect();
    format!("ALTER TABLE {table}{}", actions.join(","))
}

fn parts(column: &Column, relation: &Relation) -> Vec<String> {
    let mut parts = vec![format!("\n    {}", ident(&column.name)), column.data_type.clone()];
    parts.extend(column.compression_clause(relation));
    parts.extend(column.collation.as_ref().map(|c| format!("COLLATE {c}")));
    parts
}

/// One column of the child.
fn own(origin: Origin, column: &Column, relation: &Relation) -> String {
    let mut parts = parts(column, relation);
    parts.extend(column.generated.as_ref().map(Generated::clause));
    let here = column.not_null.as_ref().filter(|n| n.local || origin == Origin::Own);
    parts.extend(here.map(|n| n.clause(None)));
    parts.join(" ")
}

/// One column of the lender. The child declares what not-null constraints are its own, and sets what expressions can be set later: its own,
/// and those that use columns further on.
fn lent(origin: Origin, column: &Column, relation: &Relation, cx: &Context) -> String {
    let mut parts = parts(column, relation);
    let later = |g: &Generated| !g.inherited || cx.version.has(Feature::SetExpression);
    parts.extend(
        column.generated.as_ref().map(
            |g| {
                if later(g) { g.clause_of(&format!("NULL::{}", column.data_type)) } else { g.clause() }
            },
        ),
    );
    let declared_by_child = |local: bool| local && (origin == Origin::Shared || cx.version.has(Feature::NotNullConstraints));
    let here = column.not_null.as_ref().filter(|n| !declared_by_child(n.local));
    parts.extend(here.map(|n| n.clause(None)));
    parts.join(" ")
}
