//! Patience with AWS: what it does takes long, is not seen at once, and is asked about through troubles of network and credentials that pass.

use std::time::Duration;

use async_trait::async_trait;

use crate::base::clock::{SharedClock, Stopwatch};
use crate::base::retry::Backoff;
use crate::base::{Error, Result};
use crate::cloud::aws;
use crate::cloud::ebs::Ebs;
use crate::cloud::ebs::snapshots::may_repeat;
use crate::cloud::rds::{self, Rds};

/// How long something that was just made may be invisible.
const INVISIBLE: Duration = Duration::from_secs(120);
/// How long AWS may fail in one go, or credentials be expired, before a wait is given up: what is waited for goes on without us.
const TROUBLE: Duration = Duration::from_secs(15 * 60);
/// Between two looks: quick at first, for what is nearly unchanged.
const LOOKS: Backoff = Backoff { tries: u32::MAX, first: Duration::from_secs(1), max: Duration::from_secs(20) };

/// A service of AWS in one region, as far as a wait needs it.
#[async_trait]
pub(super) trait Service: Send {
    /// Whether asking again may help after this error.
    fn passes(error: &Error) -> bool;

    /// Connects anew, with the credentials that there are now: somebody, or the instance's role, may have renewed them.
    async fn renew(&mut self) -> Result<()>;
}

#[async_trait]
impl Service for Ebs {
    fn passes(error: &Error) -> bool {
        may_repeat(error)
    }

    async fn renew(&mut self) -> Result<()> {
        *self = Self::connect(self.region()).await?;
        Ok(())
    }
}

#[async_trait]
impl Service for Rds {
    fn passes(error: &Error) -> bool {
        aws::is_expired(error) || error.kind().retryable() && !rds::lacks_room(error)
    }

    async fn renew(&mut self) -> Result<()> {
        *self = Self::connect(self.region()).await?;
        Ok(())
    }
}

/// A long wait.
#[derive(Debug)]
pub(super) struct Patience {
    clock: SharedClock,
    begun: Stopwatch,
    trouble: Option<Stopwatch>,
    looks: u32,
}

impl Patience {
    /// A wait that begins now.
    pub(super) fn new(clock: &SharedClock) -> Self {
        Self { clock: clock.clone(), begun: Stopwatch::start(), trouble: None, looks: 0 }
    }

    /// Since it began.
    pub(super) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Whether what was made when it began may not be seen yet.
    pub(super) fn may_be_invisible(&self) -> bool {
        self.elapsed() < INVISIBLE
    }

    /// Before the next look, less and less often.
    pub(super) async fn pause(&mut self) -> Result<()> {
        self.looks += 1;
        self.clock.sleep(LOOKS.pause(self.looks)).await;
        Ok(())
    }

    /// AWS answered, if only that it is busy: what troubles there were are over.
    pub(super) const fn answered(&mut self) {
        self.trouble = None;
    }

    /// Passes on an error that will not go away by itself, or that has not for too long; for one of expired credentials `service` is connected anew.
    pub(super) async fn bear<S: Service>(&mut self, error: Error, service: &mut S) -> Result<()> {
        let trouble = self.trouble.get_or_insert_with(Stopwatch::start);
        if !S::passes(&error) || trouble.elapsed() > TROUBLE {
            return Err(error);
        }
        tracing::warn!(%error, "AWS has trouble; asking again");
        if aws::is_expired(&error)
            && let Err(error) = service.renew().await
        {
            tracing::warn!(%error, "there are no new credentials yet");
        }
        Ok(())
    }

    /// What a look saw; `None`: AWS had trouble that is borne.
    pub(super) async fn seen<T, S: Service>(&mut self, look: Result<T>, service: &mut S) -> Result<Option<T>> {
        match look {
            Ok(value) => {
                self.answered();
                Ok(Some(value))
            }
            Err(error) => self.bear(error, service).await.map(|()| None),
        }
    }
}
