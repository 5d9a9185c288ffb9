//! `pgkeep serve`: real processes, real servers, real stores.

mod daemons;
mod hooks;
mod signals;
mod stalled;
mod support;
