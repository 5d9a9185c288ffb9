//! The only place that reads the wall clock or sleeps.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;

/// Time as the rest of the program sees it.
#[async_trait]
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Wall-clock time, to microseconds.
    fn now(&self) -> Timestamp;
    /// Returns after `duration`.
    async fn sleep(&self, duration: Duration);
}

/// Shared clock.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the module that the ban points to")]
    fn now(&self) -> Timestamp {
        truncate(Timestamp::now())
    }

    #[allow(clippy::disallowed_methods, reason = "this is the module that the ban points to")]
    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// A clock that moves only when told, or when somebody sleeps on it.
#[derive(Debug)]
pub struct ManualClock(Mutex<Timestamp>);

impl ManualClock {
    /// Starts at `now`.
    pub fn new(now: Timestamp) -> Arc<Self> {
        Arc::new(Self(Mutex::new(now)))
    }

    /// Sets the time, also backwards.
    pub fn set(&self, now: Timestamp) {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = now;
    }

    /// Moves the time forward.
    pub fn advance(&self, by: Duration) {
        let mut now = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *now = add(*now, by);
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        truncate(*self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    async fn sleep(&self, duration: Duration) {
        self.advance(duration);
        tokio::task::yield_now().await;
    }
}

/// `time + by`, saturating at the end of representable time.
pub fn add(time: Timestamp, by: Duration) -> Timestamp {
    time.saturating_add(jiff::SignedDuration::try_from(by).unwrap_or(jiff::SignedDuration::MAX)).unwrap_or(Timestamp::MAX)
}

/// `time - by`, saturating at the beginning of representable time.
pub fn sub(time: Timestamp, by: Duration) -> Timestamp {
    time.saturating_sub(jiff::SignedDuration::try_from(by).unwrap_or(jiff::SignedDuration::MAX)).unwrap_or(Timestamp::MIN)
}

/// Time from `earlier` to `later`; zero when they are the other way round.
pub fn elapsed(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or(Duration::ZERO)
}

/// Measures how long something took, on the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    #[allow(clippy::disallowed_methods, reason = "this is the module that the ban points to")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

fn truncate(t: Timestamp) -> Timestamp {
    // Documents carry microseconds, as PostgreSQL does; a value must survive being written and read.
    Timestamp::from_microsecond(t.as_microsecond()).unwrap_or(t)
}
