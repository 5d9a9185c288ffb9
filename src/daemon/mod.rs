//! `pgkeep serve`: every policy on time, once, whatever happens to clocks, processes, servers and stores.
//!
//! ```text
//! scheduler (loop, timers, reloads) ─▶ desk (one a policy) ─▶ keeper: what is due? ─▶ runner ─▶ jobs
//! ```
//!
//! The daemon owns no truth. Whether a slot is due is read from the vault's run records; two daemons on one vault agree by its lease. What
//! the daemon knows of the moment is in [`state::State`], which `web` and the metrics read; what people ask of it comes in by [`control::Control`].

pub mod control;
mod desk;
mod hooks;
pub mod keeper;
pub mod metrics;
pub mod notify;
pub mod present;
pub mod runner;
pub mod scheduler;
pub mod serve;
#[cfg(test)]
mod simulation;
pub mod state;
pub mod watch;
pub mod web;
