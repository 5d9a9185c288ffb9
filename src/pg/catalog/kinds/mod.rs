//! One kind of object a file; all of the same shape.

#![allow(clippy::unnecessary_wraps, reason = "every query has the type of Kind::query")]
#![allow(clippy::format_push_string, reason = "statements are built once; format! reads best")]

use super::kind::Kind;

mod check;
mod column_default;
mod columns;
mod constraint;
mod foreign_key;
mod identity;
mod index;
mod index_partition;
mod inheritance;
mod materialized_view;
mod materialized_view_data;
mod not_null;
mod partition;
mod policy;
mod relation;
mod row_security;
mod rule;
mod sequence;
mod sequence_owner;
mod sequence_value;
mod statistics;
mod table;
mod trigger;
mod view;

/// All kinds; the order breaks ties in the dependency order. Defaults of columns follow everything that a table may wait for, so that a
/// child never copies them from its parent; rows of materialised views come last of all.
pub(super) const KINDS: &[&Kind] = &[
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
    &materialized_view_data::KIND,
];
