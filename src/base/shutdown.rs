//! Cancellation as a value that is passed down; `main` ties it to signals.

use tokio_util::sync::CancellationToken;

use super::{Error, Result};

/// Tells work to stop.
#[derive(Debug, Clone, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// A token that nobody has cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// A token that stops when this one does, and that can be stopped alone.
    pub fn child(&self) -> Self {
        Self(self.0.child_token())
    }

    /// Asks everybody to stop.
    pub fn cancel(&self) {
        self.0.cancel();
    }

    /// Whether somebody asked.
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Fails once cancelled; for loops.
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(cancelled()) } else { Ok(()) }
    }

    /// Returns when cancelled.
    pub async fn cancelled(&self) {
        self.0.cancelled().await;
    }

    /// Runs `work` unless cancelled first; dropping it must be safe.
    pub async fn guard<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            () = self.0.cancelled() => Err(cancelled()),
            result = work => result,
        }
    }
}

fn cancelled() -> Error {
    Error::cancelled("interrupted").hint("nothing incomplete is listed; the next run reuses what was already stored")
}
