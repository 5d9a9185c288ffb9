//! The one retry loop.

use std::time::Duration;

use super::clock::Clock;
use super::ids::random_fraction;
use super::{Error, Result};

/// How often and how patiently to try again.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// Tries in all, the first included.
    pub tries: u32,
    /// Pause after the first failure; doubles each time.
    pub first: Duration,
    /// Longest pause.
    pub max: Duration,
}

impl Backoff {
    /// For requests to a store.
    pub const STORE: Self = Self { tries: 6, first: Duration::from_millis(200), max: Duration::from_secs(10) };

    /// Pause after failure number `failed` (from 1), with half of it random so that clients spread out.
    pub fn pause(&self, failed: u32) -> Duration {
        let full = self.first.saturating_mul(1 << failed.saturating_sub(1).min(16)).min(self.max);
        full.mul_f64(0.5 + 0.5 * random_fraction())
    }
}

/// Runs `op` until it succeeds, fails for good (its kind is not retryable), or tries run out.
pub async fn retry<T, F>(clock: &dyn Clock, backoff: Backoff, what: &str, mut op: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let mut failed = 0;
    loop {
        match op().await {
            Ok(value) => return Ok(value),
            Err(error) if !error.kind().retryable() => return Err(error),
            Err(error) => {
                failed += 1;
                if failed >= backoff.tries {
                    return Err(Error::context(error, format!("{what} (after {failed} tries)")));
                }
                tracing::debug!(what, failed, %error, "retrying");
                clock.sleep(backoff.pause(failed)).await;
            }
        }
    }
}
