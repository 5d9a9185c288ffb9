//! Patience: how long what AWS does takes, and how much of its trouble is sat out.

use std::time::Duration;

use crate::base::clock::{Clock, Stopwatch};
use crate::base::retry::Backoff;
use crate::base::shutdown::Shutdown;
use crate::base::{Error, Result};
use crate::cloud::aws;
use crate::cloud::ebs::Ebs;
use crate::cloud::ebs::snapshots::may_repeat;

/// How long something that was just made may be invisible.
pub(super) const INVISIBLE: Duration = Duration::from_secs(60);
/// How long AWS may fail in one go before a wait is given up: what is waited for goes on without us.
const TROUBLE: Duration = Duration::from_secs(15 * 60);
/// Between two looks: quick at first, for what is nearly unchanged.
const LOOKS: Backoff = Backoff { tries: u32::MAX, first: Duration::from_secs(1), max: Duration::from_secs(20) };
/// Tries of a call that takes snapshots, and the pauses between.
pub(super) const CALLS: Backoff = Backoff { tries: 8, first: Duration::from_secs(1), max: Duration::from_secs(20) };

/// AWS's code for more copies into a region at the same time than it does (20, <https://docs.aws.amazon.com/ebs/latest/userguide/ebs-copy-snapshot.html>).
const TOO_MANY_AT_ONCE: &str = "ResourceLimitExceeded";

/// Sleeps unless stopped.
pub(super) async fn pause(clock: &dyn Clock, shutdown: &Shutdown, duration: Duration) -> Result<()> {
    shutdown
        .guard(async {
            clock.sleep(duration).await;
            Ok(())
        })
        .await
}

/// A long wait.
#[derive(Debug)]
pub(super) struct Wait<'a> {
    clock: &'a dyn Clock,
    shutdown: &'a Shutdown,
    begun: Stopwatch,
    trouble: Option<Stopwatch>,
    looks: u32,
}

impl<'a> Wait<'a> {
    pub(super) fn new(clock: &'a dyn Clock, shutdown: &'a Shutdown) -> Self {
        Self { clock, shutdown, begun: Stopwatch::start(), trouble: None, looks: 0 }
    }

    /// Whether what was made when the wait began may still be invisible.
    pub(super) fn is_fresh(&self) -> bool {
        self.begun.elapsed() < INVISIBLE
    }

    /// Since its begin.
    pub(super) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Before the next look.
    pub(super) async fn pause(&mut self) -> Result<()> {
        self.looks += 1;
        pause(self.clock, self.shutdown, LOOKS.pause(self.looks)).await
    }

    /// The value of a look; `None`: AWS had trouble that is sat out. Credentials that expired are looked for again: somebody, or the instance's role, may
    /// have renewed them.
    pub(super) async fn seen<T>(&mut self, ebs: &mut Ebs, look: Result<T>) -> Result<Option<T>> {
        let error = match look {
            Ok(value) => {
                self.trouble = None;
                return Ok(Some(value));
            }
            Err(error) => error,
        };
        let trouble = self.trouble.get_or_insert_with(Stopwatch::start);
        if !may_repeat(&error) || trouble.elapsed() > TROUBLE {
            return Err(error);
        }
        tracing::warn!(%error, "AWS has trouble; what is waited for goes on, and so does the wait");
        if aws::is_expired(&error)
            && let Ok(renewed) = Ebs::connect(ebs.region()).await
        {
            *ebs = renewed;
        }
        Ok(None)
    }
}

/// Calls until AWS has done it once: a call that may have been carried out without an answer is followed by `find`, which sees what is there.
pub(super) async fn once<T, C, F>(
    clock: &dyn Clock,
    shutdown: &Shutdown,
    mut call: impl FnMut() -> C,
    mut find: impl FnMut() -> F,
) -> Result<T>
where
    C: Future<Output = Result<T>>,
    F: Future<Output = Result<Option<T>>>,
{
    let mut failed = 0;
    loop {
        let error = match call().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        if aws::code(&error) == Some(TOO_MANY_AT_ONCE) {
            tracing::info!(%error, "AWS does no more of them at the same time; waiting for one to end");
            pause(clock, shutdown, CALLS.max).await?;
            continue;
        }
        failed += 1;
        if !may_repeat(&error) || failed >= CALLS.tries {
            return Err(if failed > 1 { Error::context(error, format!("after {failed} tries")) } else { error });
        }
        tracing::info!(failed, %error, "trying again");
        pause(clock, shutdown, CALLS.pause(failed)).await?;
        if aws::is_ambiguous(&error) {
            // What was carried out may take a while to be seen.
            let begun = Stopwatch::start();
            while begun.elapsed() < INVISIBLE / 2 {
                if let Some(done) = find().await? {
                    return Ok(done);
                }
                pause(clock, shutdown, Duration::from_secs(2)).await?;
            }
        }
    }
}
