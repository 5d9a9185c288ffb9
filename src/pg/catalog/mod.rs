//! From the system catalogs to SQL: PostgreSQL deparses, one file a kind renders, nothing is parsed.

pub mod acl;
pub mod entry;
pub mod kind;
pub mod kinds;
pub mod meta;
