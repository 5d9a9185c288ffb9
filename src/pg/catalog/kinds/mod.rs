//! One kind of object a file; all of the same shape.
#![allow(
    clippy::unnecessary_wraps,
    reason = "Kind::query and Kind::read have one signature, which some kinds do not use in full"
)]
#![allow(clippy::format_push_string, reason = "statements are put together from formatted pieces; these are not hot")]

use super::kind::Kind;

mod access_method;
mod aggregate;
mod altered_privileges;
mod base_type;
mod cast;
mod check;
mod collation;
mod column_default;
mod column_order;
mod columns;
mod composite_type;
mod constraint;
mod conversion;
mod database;
mod database_role_setting;
mod database_setting;
mod default_privileges;
mod domain;
mod domain_constraint;
mod enum_type;
mod event_trigger;
mod extension;
mod foreign_data_wrapper;
mod foreign_key;
mod foreign_server;
mod foreign_table;
mod function;
mod identity;
mod index;
mod index_partition;
mod inheritance;
mod language;
mod large_object;
mod materialized_view;
mod materialized_view_data;
mod membership;
mod names;
mod not_null;
mod operator;
mod operator_class;
mod operator_family;
mod operator_members;
mod parameter_privileges;
mod partition;
mod policy;
mod procedure;
mod publication;
mod publication_member;
mod range_type;
mod relation;
mod role;
mod role_setting;
mod row_security;
mod rule;
mod schema;
mod security_label;
mod sequence;
mod sequence_owner;
mod sequence_value;
mod setting;
mod shell_type;
mod statistics;
mod subscription;
mod table;
mod tablespace;
mod text_search_configuration;
mod text_search_dictionary;
mod text_search_parser;
mod text_search_template;
mod transform;
mod trigger;
mod types;
mod user_mapping;
mod view;

pub(super) use relation::user_relation;

/// All kinds; the order breaks ties in the dependency order. Defaults of columns follow everything that a table may wait for, so that a
/// child never copies them from its parent; rows of materialised views, default privileges and event triggers come last of all.
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
    &language::KIND,
    &collation::KIND,
    &shell_type::KIND,
    &base_type::KIND,
    &enum_type::KIND,
    &domain::KIND,
    &domain_constraint::KIND,
    &composite_type::KIND,
    &range_type::KIND,
    &function::KIND,
    &procedure::KIND,
    &aggregate::KIND,
    &operator::KIND,
    &operator_family::KIND,
    &operator_class::KIND,
    &operator_family::MEMBERS,
    &cast::KIND,
    &conversion::KIND,
    &transform::KIND,
    &access_method::KIND,
    &text_search_parser::KIND,
    &text_search_template::KIND,
    &text_search_dictionary::KIND,
    &text_search_configuration::KIND,
    &foreign_data_wrapper::KIND,
    &foreign_server::KIND,
    &user_mapping::KIND,
    &sequence::KIND,
    &table::KIND,
    &foreign_table::KIND,
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
    &publication::KIND,
    &publication_member::KIND,
    &subscription::KIND,
    &altered_privileges::KIND,
    &security_label::KIND,
    &materialized_view_data::KIND,
    &default_privileges::KIND,
    &event_trigger::KIND,
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
