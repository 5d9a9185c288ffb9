//! policy.

pub mod file;
pub mod model;
pub mod problem;
pub mod retention;
pub mod schedule;
pub mod secrets;
mod suggest;
mod urls;
pub mod zone;
