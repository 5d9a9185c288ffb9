//! Waits for RDS: by looking again, less and less often, through short troubles of network and credentials.

use std::time::Duration;

use jiff::Timestamp;

use crate::base::clock::{SharedClock, elapsed};
use crate::base::shutdown::Shutdown;
use crate::base::{Error, Result};
use crate::cloud::aws;
use crate::cloud::rds::snapshots::Snapshot;
use crate::cloud::rds::{self, Rds, Unit};
use crate::jobs::context::Context;

/// Pauses between two looks.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// For how long RDS may not answer, or credentials be expired: whoever renews them needs some minutes.
const TROUBLE: Duration = Duration::from_secs(10 * 60);
/// What was just made is not always seen at once.
const INVISIBLE: Duration = Duration::from_secs(120);

/// States in which an instance or cluster answers queries. The latter two may last for hours, while RDS works on its storage.
const USABLE: [&str; 3] = ["available", "storage-optimization", "storage-initialization"];
/// States from which RDS does not come back by itself, beside all that begin with `incompatible-` or `inaccessible-`.
const DEAD: [&str; 9] = [
    "cloning-failed",
    "deleting",
    "failed",
    "insufficient-capacity",
    "migration-failed",
    "restore-error",
    "stopped",
    "stopping",
    "storage-full",
];

/// Whether an instance or cluster in this state answers queries.
pub(super) fn is_usable(status: &str) -> bool {
    USABLE.contains(&status)
}

/// Whether RDS does not bring an instance or cluster back from this state by itself.
pub(super) fn is_dead(status: &str) -> bool {
    DEAD.contains(&status) || status.starts_with("incompatible-") || status.starts_with("inaccessible-")
}

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

    /// RDS answered, if only that it is busy: what troubles there were are over.
    pub(super) const fn answered(&mut self) {
        self.trouble_since = None;
    }

    /// Passes on an error that will not go away by itself; for one of expired credentials `rds` is connected anew, with those that there are now.
    pub(super) async fn bear(&mut self, error: Error, rds: &mut Rds) -> Result<()> {
        let now = self.clock.now();
        let since = *self.trouble_since.get_or_insert(now);
        let expired = aws::is_expired(&error);
        let passes = expired || error.kind().retryable() && !rds::lacks_room(&error);
        if !passes || elapsed(since, now) > TROUBLE {
            return Err(error);
        }
        tracing::warn!(%error, "RDS does not answer; asking again");
        if expired && let Ok(renewed) = Rds::connect(rds.region()).await {
            *rds = renewed;
        }
        Ok(())
    }

    /// Whether what was just made may not be seen yet.
    pub(super) fn may_be_invisible(&self) -> bool {
        elapsed(self.began_at, self.clock.now()) < INVISIBLE
    }
}

/// Asks until RDS takes the request: while it is at something else, such as the first automated backup right after a restore, and through troubles.
/// Only for requests that name what they make or change, so that none does it twice.
pub(super) async fn until_taken<T, F>(cx: &Context, rds: &mut Rds, ask: impl Fn(Rds) -> F + Send) -> Result<T>
where
    F: Future<Output = Result<T>> + Send,
{
    let mut patience = Patience::new(cx);
    loop {
        match ask(rds.clone()).await {
            Err(error) if rds::is_busy(&error) => patience.answered(),
            Err(error) => patience.bear(error, rds).await?,
            taken => return taken,
        }
        patience.pause().await?;
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
        let found = rds.snapshot(unit, &id).await;
        if found.is_ok() {
            patience.answered();
        }
        match found {
            Ok(Some(found)) if found.is_available() => return Ok(found),
            Ok(Some(found)) if found.has_failed() => {
                return Err(Error::unavailable(format!("snapshot {id} in {} ended as '{}'", rds.region(), found.status))
                    .hint("the events of RDS say why: `aws rds describe-events --source-type db-snapshot`"));
            }
            Ok(Some(found)) => tell(found.percent),
            Ok(None) if patience.may_be_invisible() => {}
            Ok(None) => return Err(Error::unavailable(format!("snapshot {id} in {} is gone while it was made", rds.region()))),
            Err(error) => patience.bear(error, &mut rds).await?,
        }
        shutdown.guard(patience.pause()).await?;
    }
}

/// Waits until the instance or cluster can be used; returns its endpoint.
pub(super) async fn until_usable(
    cx: &Context,
    rds: &mut Rds,
    unit: Unit,
    id: &str,
    shutdown: &Shutdown,
) -> Result<Option<String>> {
    let mut patience = Patience::new(cx);
    let mut last = String::new();
    loop {
        shutdown.check()?;
        let found = rds.find(unit, id).await;
        if found.is_ok() {
            patience.answered();
        }
        match found {
            Ok(Some(found)) if is_usable(&found.status) => return Ok(found.endpoint),
            Ok(Some(found)) if is_dead(&found.status) => return Err(dead(unit, id, &found.status)),
            Ok(Some(found)) => {
                if found.status != last {
                    cx.progress.note(&format!("{} {id}: {}", unit.noun(), found.status));
                }
                last = found.status;
            }
            Ok(None) if patience.may_be_invisible() => {}
            Ok(None) => return Err(Error::unavailable(format!("{} {id} is gone while it was made", unit.noun()))),
            Err(error) => patience.bear(error, rds).await?,
        }
        shutdown.guard(patience.pause()).await?;
    }
}

fn dead(unit: Unit, id: &str, status: &str) -> Error {
    let hint = match status {
        "insufficient-capacity" => "AWS has no room for it: delete it, and restore again with another --instance-class",
        "stopped" | "stopping" => "somebody stops it: start it, and give the same command again",
        "storage-full" => "give it more storage: `aws rds modify-db-instance --allocated-storage`",
        status if status.starts_with("inaccessible-encryption") => {
            "its KMS key is disabled, or RDS may not use it: mend that, then delete it, and restore again"
        }
        _ => "its events in the console say why; delete it, and restore again with other settings",
    };
    Error::unavailable(format!("{} {id} ended as '{status}'", unit.noun())).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_state_is_waited_for_that_rds_does_not_leave_by_itself() {
        for status in
            ["incompatible-restore", "inaccessible-encryption-credentials-recoverable", "insufficient-capacity", "failed"]
        {
            assert!(is_dead(status) && !is_usable(status), "{status}");
        }
        for status in ["creating", "backing-up", "modifying", "configuring-enhanced-monitoring", "upgrading"] {
            assert!(!is_dead(status) && !is_usable(status), "{status}");
        }
        assert!(is_usable("storage-optimization"));
    }
}
