//! What the state means at the moment at which somebody asks: time goes by between two looks at a vault.

use std::time::Duration;

use jiff::Timestamp;

use super::state::{PolicyState, Snapshot};
use crate::base::clock::elapsed;
use crate::base::units::format_duration;

/// A loop that did not go round for this long hangs; it goes round at least twice a minute.
pub const ALIVE_WITHIN: Duration = Duration::from_secs(120);

impl Snapshot {
    /// Why the daemon is not ready to keep its promises: sentences; none: it is.
    pub fn not_ready(&self, now: Timestamp) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.reload.as_ref().is_none_or(|r| r.loaded_at.is_none()) {
            reasons.push("no policies are loaded".to_owned());
        }
        let silence = elapsed(self.alive_at, now);
        if silence > ALIVE_WITHIN {
            reasons.push(format!("the scheduler's loop has not gone round for {}", format_duration(silence)));
        }
        if self.stopping {
            reasons.push("the daemon is stopping".to_owned());
        }
        reasons
    }
}

impl PolicyState {
    /// Age of the newest good backup at `now`: it grows while the store cannot be read. `None`: no such backup is known.
    pub fn age(&self, now: Timestamp) -> Option<Duration> {
        Some(elapsed(self.status.as_ref()?.consistent_at?, now))
    }

    /// Whether the newest good backup is older than the promise at `now`.
    pub fn is_late(&self, now: Timestamp) -> bool {
        self.age(now).zip(self.max_age_seconds).is_some_and(|(age, max)| age > Duration::from_secs(max))
    }

    /// Whether the policy keeps its promise at `now`; `None` until the first look at the vault ended.
    pub fn keeps_promise(&self, now: Timestamp) -> Option<bool> {
        match &self.status {
            Some(status) => Some(status.healthy && !self.is_late(now)),
            None => self.error.is_some().then_some(false),
        }
    }

    /// The same state with age and health as of `now`.
    pub fn at(mut self, now: Timestamp) -> Self {
        let (age, late) = (self.age(now), self.is_late(now));
        let promise = self.max_age_seconds;
        if let Some(status) = &mut self.status {
            status.age_seconds = age.map(|a| a.as_secs());
            if let (true, true, Some(age), Some(max)) = (late, status.healthy, age, promise) {
                status.healthy = false;
                let (age, max) = (format_duration(age), format_duration(Duration::from_secs(max)));
                status.problems.push(format!("the newest good backup shows {age} ago; the promise is {max}"));
            }
        }
        self
    }
}
