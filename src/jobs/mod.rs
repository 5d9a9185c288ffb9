//! The use cases, and the only place where `pg` and `cloud` meet `repo`.
//!
//! Each takes a [`Context`] and options and returns one serialisable report; `cli` prints it as a table or as JSON, later modules will send it or
//! show it on a page. Nothing here prints.

pub mod anomaly;
pub mod backup;
pub mod context;
pub mod doctor;
pub mod document;
pub mod drill;
pub mod due;
mod export;
pub mod health;
pub mod history;
pub mod iam;
pub mod list;
pub mod mark;
pub mod pins;
pub mod points;
pub mod prune;
pub mod references;
pub mod restore;
pub mod run;
pub mod select;
pub mod sink;
pub mod snapshot;
pub mod source;
pub mod toc;
pub mod verify;

pub use context::Context;

/// Program and version, as documents name it.
pub fn tool() -> String {
    format!("pgkeep {}", env!("CARGO_PKG_VERSION"))
}
