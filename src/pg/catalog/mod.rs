//! From the system catalogs to SQL: PostgreSQL deparses, one file a kind renders, nothing is parsed.
//!
//! [`extract`](extract::extract) runs the one query of each kind in [`kinds::KINDS`] in the caller's snapshot, [`depends`] maps `pg_depend`
//! onto the entries, [`order`] puts them into an order in which they can be made, [`unmodeled`] names what no kind covers,
//! [`warnings`] what a copy will not have, and [`inventory`] counts the catalogs again and compares.

pub mod acl;
mod depends;
pub mod entry;
pub mod extract;
mod inventory;
pub mod kind;
pub mod kinds;
pub mod meta;
mod operators;
mod order;
pub(crate) mod row;
mod unmodeled;
mod warnings;
