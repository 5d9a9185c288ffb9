//! Waits for RDS: by looking again, less and less often, through short troubles of network and credentials.

use std::time::Duration;

use jiff::Timestamp;

use crate::base::clock::{SharedClock, elapsed};
use crate::base::shutdown::Shutdown;
use crate::base::{Error, Result};
use crate::cloud::aws;
use crate::cloud::rds::snapshots::Snapshot;
use crate::cloud::rds::{Rds, Unit};
use crate::jobs::context::Context;

/// Pauses between two looks.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// For how long RDS may not answer, or credentials be expired: whoever renews them needs some minutes.
const TROUBLE: Duration = Duration::from_secs(10 * 60);
/// What was just made is not always seen at once.
const INVISIBLE: Duration = Duration::from_secs(120);

/// Pauses that grow, and troubles that pass.
#[derive(Debug)]
pub(super) struct Patience {
    clock: SharedClock,
    pause: Duration,
    began_at: Timestamp,
    trouble_since: Option<Timestamp>,
}

impl Patience {
    pub(super) fn new(cx: &Context) -> Self {
        Self { began_at: cx.clock.now(), clock: cx.clock.clone(), pause: FIRST_PAUSE, trouble_since: None }
    }

    pub(super) async fn pause(&mut self) -> Result<()> {
        self.clock.sleep(self.pause).await;
        self.pause = self.pause.mul_f64(1.5).min(LONGEST_PAUSE);
        Ok(())
    }

    /// Passes on an error that will not go away by itself.
    fn bear(&mut self, error: Error) -> Result<()> {
        let since = *self.trouble_since.get_or_insert(self.clock.now());
        if !(error.kind().retryable() || aws::is_expired(&error)) || elapsed(since, self.clock.now()) > TROUBLE {
            return Err(error);
        }
        tracing::warn!(%error, "RDS does not answer; looking again");
        Ok(())
    }

    /// Whether what was just made may not be seen yet.
    fn may_be_invisible(&self) -> bool {
        elapsed(self.began_at, self.clock.now()) < INVISIBLE
    }
}

/// Waits until `snapshot` is complete; `tell` is told how many per cent are done at every look.
pub(super) async fn until_available(
    cx: &Context,
    mut rds: Rds,
    snapshot: Snapshot,
    shutdown: &Shutdown,
    mut tell: impl FnMut(u64) + Send,
) -> Result<Snapshot> {
    let (unit, id) = (snapshot.unit, snapshot.id.clone());
    let mut patience = Patience::new(cx);
    loop {
        shutdown.check()?;
        match rds.snapshot(unit, &id).await {
            Ok(Some(found)) if found.is_available() => return Ok(found),
            Ok(Some(found)) if found.has_failed() => {
                return Err(Error::unavailable(format!("snapshot {id} in {} ended as '{}'", rds.region(), found.status))
                    .hint("the events of RDS say why: `aws rds describe-events --source-type db-snapshot`"));
            }
            Ok(Some(found)) => {
                patience.trouble_since = None;
                tell(found.percent);
            }
            Ok(None) if patience.may_be_invisible() => {}
            Ok(None) => return Err(Error::unavailable(format!("snapshot {id} in {} is gone while it was made", rds.region()))),
            Err(error) => {
                let expired = aws::is_expired(&error);
                patience.bear(error)?;
                if expired {
                    rds = Rds::connect(rds.region()).await.unwrap_or(rds);
                }
            }
        }
        shutdown.guard(patience.pause()).await?;
    }
}

/// Waits until the instance or cluster can be used; returns its endpoint.
pub(super) async fn until_usable(cx: &Context, rds: &Rds, unit: Unit, id: &str, shutdown: &Shutdown) -> Result<Option<String>> {
    let mut patience = Patience::new(cx);
    let mut last = String::new();
    loop {
        match rds.find(unit, id).await {
            Ok(Some(found)) if found.status == "available" => return Ok(found.endpoint),
            Ok(Some(found))
                if found.status.starts_with("incompatible-") || matches!(found.status.as_str(), "failed" | "restore-error") =>
            {
                return Err(Error::unavailable(format!("{} {id} ended as '{}'", unit.noun(), found.status))
                    .hint("its events in the console say why; delete it, and restore again with other settings"));
            }
            Ok(Some(found)) => {
                if found.status != last {
                    cx.progress.note(&format!("{} {id}: {}", unit.noun(), found.status));
                }
                last = found.status;
            }
            Ok(None) if patience.may_be_invisible() => {}
            Ok(None) => return Err(Error::unavailable(format!("{} {id} is gone while it was made", unit.noun()))),
            Err(error) => patience.bear(error)?,
        }
        shutdown.guard(patience.pause()).await?;
    }
}
