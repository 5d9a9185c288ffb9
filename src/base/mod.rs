//! What every other module may use and that uses none of them: errors, time, ids, units, secrets, retries, progress.

pub mod clock;
pub mod error;
pub mod fingerprint;
pub mod ids;
pub mod limits;
pub mod process;
pub mod progress;
pub mod retry;
pub mod secret;
pub mod shutdown;
pub mod sql;
pub mod threads;
pub mod units;

pub use error::{Error, Kind, Result, ResultExt};
