//! PostgreSQL: from a database to entries (SQL) and streams (rows), and back. Knows neither vaults nor AWS.

pub mod catalog;
pub mod compare;
pub mod connect;
pub mod copy;
pub mod error;
pub mod export;
pub mod facts;
pub mod large_objects;
pub mod restore;
pub mod session;
mod tls;
pub mod version;
