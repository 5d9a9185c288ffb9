//! Children whose columns stand in another order than INHERITS would give them: parents got columns after the child was made.
//!
//! Such a child first inherits from an empty table that only lends it its inherited columns: whichever side is next in the order gets a
//! column, and the child's follow. Then the child joins its real parents, leaves the lender, and the lender is dropped. What is inherited
//! stays inherited, and row values (of composite columns, of `SELECT *`) keep their meaning.

use super::columns::{Column, Generated};
use super::relation::Relation;
use crate::base::sql::{Sql, ident, qualified};

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

/// Statements that make `relation`, a child of `parents` (qualified, quoted): `keyword` is what stands before its name (`CREATE TABLE`),
/// `tail` what follows its parents.
pub(super) fn create(
    relation: &Relation,
    columns: &[Column],
    parents: &[String],
    keyword: &str,
    tail: &str,
    named: bool,
) -> Vec<Sql> {
    let (child, lender) = (relation.qualified(), qualified(&relation.schema, LENDER));
    let runs: Vec<&[Column]> = columns.chunk_by(|a, b| a.local == b.local).collect();
    let (lent, rest) =
        runs.split_first().filter(|(run, _)| !run[0].local).map_or((&[][..], &runs[..]), |(run, rest)| (*run, rest));
    let (own, rest) = rest.split_first().map_or((&[][..], rest), |(run, rest)| (*run, rest));
    let elements =
        |run: &[Column]| run.iter().map(|c| format!("\n    {}", element(c, relation, named))).collect::<Vec<_>>().join(",");
    let mut statements = vec![
        format!("CREATE TABLE {lender} ({})", elements(lent)),
        format!("{keyword} {child} ({}) INHERITS ({lender}){tail}", elements(own)),
    ];
    for run in rest {
        let table = if run[0].local { &child } else { &lender };
        let add: Vec<String> = run.iter().map(|c| format!("\n    ADD COLUMN {}", element(c, relation, named))).collect();
        statements.push(format!("ALTER TABLE {table}{}", add.join(",")));
    }
    for column in columns.iter().filter(|c| !c.local && named) {
        let declared = column.not_null.as_ref().filter(|n| n.local);
        statements.extend(declared.map(|n| format!("ALTER TABLE {child} ADD {}", n.clause(Some(&column.name)))));
    }
    statements.extend(parents.iter().map(|parent| format!("ALTER TABLE {child} INHERIT {parent}")));
    statements.push(format!("ALTER TABLE {child} NO INHERIT {lender}"));
    statements.push(format!("DROP TABLE {lender}"));
    statements.into_iter().map(Sql::from).collect()
}

/// One column, of the lender where it is inherited; `named` where not-null constraints are objects of their own, which a child may declare
/// on an inherited column. A generated column with an expression of the child's own gets it later.
fn element(column: &Column, relation: &Relation, named: bool) -> String {
    let mut parts = vec![ident(&column.name), column.data_type.clone()];
    parts.extend(column.compression_clause(relation));
    parts.extend(column.collation.as_ref().map(|c| format!("COLLATE {c}")));
    let lent_expression = |g: &Generated| {
        if column.local || g.inherited { g.clause() } else { g.clause_of(&format!("NULL::{}", column.data_type)) }
    };
    parts.extend(column.generated.as_ref().map(lent_expression));
    let here = column.not_null.as_ref().filter(|n| column.local || !(named && n.local));
    parts.extend(here.map(|n| n.clause(None)));
    parts.join(" ")
}
