//! One kind of object a file; all of the same shape.
#![allow(clippy::unnecessary_wraps, reason = "Kind::query and Kind::read have one signature, which some kinds do not use in full")]
#![allow(clippy::format_push_string, reason = "statements are put together from formatted pieces; these are not hot")]

use super::kind::Kind;

mod database;
mod database_role_setting;
mod database_setting;
mod membership;
mod role;
mod role_setting;
mod setting;
mod tablespace;

/// All kinds; the order breaks ties in the dependency order.
pub const KINDS: &[&Kind] = &[
    &role::KIND,
    &membership::KIND,
    &role_setting::KIND,
    &tablespace::KIND,
    &database::KIND,
    &database_role_setting::KIND,
    &database_setting::KIND,
];
