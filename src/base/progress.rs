//! How long work tells where it is; the command line draws it, tests and `--json` ignore it.

use std::sync::Arc;

/// Receives progress of one command.
pub trait Progress: Send + Sync + std::fmt::Debug {
    /// A new stage begins; `total` bytes if known.
    fn stage(&self, name: &str, total: Option<u64>);
    /// Bytes done in the current stage since the last call.
    fn advance(&self, bytes: u64);
    /// One line worth telling a person now.
    fn note(&self, line: &str);
    /// All stages are done.
    fn finish(&self);
}

/// Shared progress.
pub type SharedProgress = Arc<dyn Progress>;

/// Says nothing.
#[derive(Debug, Default, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {
    fn stage(&self, _name: &str, _total: Option<u64>) {}
    fn advance(&self, _bytes: u64) {}
    fn note(&self, _line: &str) {}
    fn finish(&self) {}
}
