//! One kind of object a file; all of the same shape.
#![allow(
    clippy::unnecessary_wraps,
    reason = "Kind::query and Kind::read have one signature, which some kinds do not use in full"
)]
#![allow(clippy::format_push_string, reason = "statements are put together from formatted pieces; these are not hot")]

use super::kind::Kind;

mod aggregate;
mod altered_privileges;
mod check;
mod column_default;
mod columns;
mod composite_type;
mod constraint;
mod database;
mod database_role_setting;
mod database_setting;
mod default_privileges;
mod domain;
mod domain_constraint;
mod enum_type;
mod extension;
mod foreign_key;
mod function;
mod identity;
mod index;
mod index_partition;
mod inheritance;
mod large_object;
mod materialized_view;
mod materialized_view_data;
mod membership;
mod not_null;
mod parameter_privileges;
mod partition;
mod policy;
mod procedure;
mod range_type;
mod relation;
mod role;
mod role_setting;
mod row_security;
mod rule;
mod schema;
mod sequence;
mod sequence_owner;
mod sequence_value;
mod setting;
mod statistics;
mod table;
mod tablespace;
mod trigger;
mod types;
mod view;

/// All kinds; the order breaks ties in the dependency order. Defaults of columns follow everything that a table may wait for, so that a
/// child never copies them from its parent; rows of materialised views and default privileges come last of all.
pub const KINDS: &[&Kind] = &[
    &role::KIND,
    &membership::KIND,
    &role_setting::KIND,
    &parameter_privileges::KIND,
    &tablespace::KIND,
    &database::KIND,
    &database_role_setting::KIND,
    &database_setting::KIND,
    &schema::KIND,
    &extension::KIND,
    &enum_type::KIND,
    &domain::KIND,
    &domain_constraint::KIND,
    &composite_type::KIND,
    &range_type::KIND,
    &function::KIND,
    &procedure::KIND,
    &aggregate::KIND,
    &sequence::KIND,
    &table::KIND,
    &view::KIND,
    &materialized_view::KIND,
    &inheritance::KIND,
    &partition::KIND,
    &identity::KIND,
    &sequence_owner::KIND,
    &column_default::KIND,
    &check::KIND,
    &not_null::KIND,
    &large_object::KIND,
    &sequence_value::KIND,
    &index::KIND,
    &constraint::KIND,
    &index_partition::KIND,
    &statistics::KIND,
    &rule::KIND,
    &trigger::KIND,
    &row_security::KIND,
    &policy::KIND,
    &foreign_key::KIND,
    &altered_privileges::KIND,
    &materialized_view_data::KIND,
    &default_privileges::KIND,
];

#[cfg(test)]
mod tests {
    use super::KINDS;

    #[test]
    fn every_kind_has_a_line_in_the_coverage_page() {
        let page = include_str!("../../../../docs/COVERAGE.md");
        let missing: Vec<&str> = KINDS.iter().map(|k| k.name).filter(|n| !page.contains(&format!("| `{n}` |"))).collect();
        assert!(missing.is_empty(), "docs/COVERAGE.md has no line for {missing:?}");
    }
}
