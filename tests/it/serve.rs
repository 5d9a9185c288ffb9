//! `pgkeep serve`: real processes, real servers, real stores.

mod daemons;
mod hooks;
mod signals;
mod soak;
mod stalled;
mod support;
