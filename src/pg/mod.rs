//! PostgreSQL: from a database to entries (SQL) and streams (rows), and back. Knows neither vaults nor AWS.

pub mod catalog;
pub mod compare;
pub mod connect;
mod conninfo;
pub mod copy;
pub(crate) mod error;
pub mod export;
pub mod facts;
pub mod large_objects;
mod passfile;
pub mod restore;
pub mod scratch;
pub(crate) mod session;
mod tls;
pub mod version;
mod wire;
