//! Who hears about it: a run that failed, a backup that is too old, a proof that failed, and that all is well again.
//!
//! ```text
//! run ends, or health is looked at ─▶ Event ─▶ decide (what was told before?) ─▶ repo::notices (one process wins) ─▶ channels
//! ```
//!
//! For the runner: [`Notifier::run_started`] and [`Notifier::run_ended`] around each run are all that is needed; they choose the events, call
//! the heartbeat and send again what is due. The daemon's loop calls [`Notifier::tell`] with [`Event::stale`] or [`Event::fresh`] whenever it
//! has looked at a policy's health (that costs a request to the store only when something may have changed), and [`Notifier::retry_due`] every
//! minute. [`Notifier::counts`] is for metrics. Commands tell the same as the daemon, since the same runner carries out their runs.
//!
//! Nothing here fails or blocks a run: every call returns within about a minute whatever receivers and store do, and an error becomes a
//! record in the vault, a warning in the log, a number in the metrics and a problem in `status`. Where the vault cannot be reached messages are
//! sent all the same; what was told is then known to this process alone.

mod beats;
mod book;
mod channel;
pub mod check;
mod counts;
mod decide;
mod email;
mod event;
mod heartbeat;
mod http;
mod message;
mod notifier;
mod retry;
mod scrub;
mod sns;
mod tail;
mod webhook;

pub use counts::ChannelCounts;
pub use event::{Event, Outcome, RunEnd};
pub use heartbeat::Beat;
pub use notifier::{Limits, Notifier};
pub(super) use scrub::Scrub;
pub use tail::Tail;
