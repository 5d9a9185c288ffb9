//! From a folder of TOML files to validated values: what is backed up, where to, when, how long it is kept, how it is proven.
//!
//! ```text
//! load ── parse ── file (serde shapes, JSON Schema) ── validate (every problem at once) ──▶ model::Policy
//! schedule, retention, time: pure functions of the model; explain: the model in words
//! secrets: references such as `${DATABASE_URL}`, resolved only when a run needs them
//! ```
//!
//! Nothing here talks to a server; only [`load`] and [`secrets`] read files.

pub mod aws_refs;
pub mod due;
mod environment;
pub mod explain;
pub mod file;
pub mod load;
pub mod mask;
pub mod model;
mod parse;
pub mod problem;
pub mod retention;
pub mod schedule;
pub mod secrets;
mod structure;
mod suggest;
pub mod time;
mod urls;
mod validate;
pub mod zone;

pub use load::{Loaded, Report, check, directory, load, load_all};
pub use model::{Databases, Policy, PolicyName, PostgresSource, Scratch, Source, TableName, VerifyLevel};
pub use problem::{Problem, Severity};
pub use retention::{BackupFacts, Decision, Refusal, Rules};
pub use schedule::{Cron, Schedule};
pub use secrets::{Environment, Template};
