//! PostgreSQL: from a database to entries (SQL) and streams (rows), and back. Knows neither vaults nor AWS.

pub mod catalog;
pub mod copy;
pub mod version;
