//! One kind of object a file; all of the same shape.
#![allow(
    clippy::unnecessary_wraps,
    reason = "Kind::query and Kind::read have one signature, which some kinds do not use in full"
)]
#![allow(clippy::format_push_string, reason = "statements are put together from formatted pieces; these are not hot")]

use super::kind::Kind;

mod aggregate;
mod altered_privileges;
mod composite_type;
mod database;
mod database_role_setting;
mod database_setting;
mod default_privileges;
mod domain;
mod domain_constraint;
mod enum_type;
mod extension;
mod function;
mod large_object;
mod membership;
mod procedure;
mod range_type;
mod role;
mod role_setting;
mod schema;
mod setting;
mod tablespace;
mod types;

/// All kinds; the order breaks ties in the dependency order.
pub const KINDS: &[&Kind] = &[
    &role::KIND,
    &membership::KIND,
    &role_setting::KIND,
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
    &large_object::KIND,
    &altered_privileges::KIND,
    &default_privileges::KIND,
];
