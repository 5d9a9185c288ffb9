//! Waits for RDS, and which of its states are worth waiting in.

use super::super::patience::Patience;
use crate::base::shutdown::Shutdown;
use crate::base::{Error, Result};
use crate::cloud::rds::snapshots::Snapshot;
use crate::cloud::rds::{self, Rds, Unit};
use crate::jobs::context::Context;

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

/// Asks until RDS takes the request: while it is at something else, such as the first automated backup right after a restore, and through troubles.
/// Only for requests that name what they make or change, so that none does it twice.
pub(super) async fn until_taken<T, F>(cx: &Context, rds: &mut Rds, ask: impl Fn(Rds) -> F + Send) -> Result<T>
where
    F: Future<Output = Result<T>> + Send,
{
    let mut patience = Patience::new(&cx.clock);
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
    let mut patience = Patience::new(&cx.clock);
    loop {
        shutdown.check()?;
        let look = rds.snapshot(unit, &id).await;
        match patience.seen(look, &mut rds).await? {
            Some(Some(found)) if found.is_available() => return Ok(found),
            Some(Some(found)) if found.has_failed() => {
                return Err(Error::unavailable(format!("snapshot {id} in {} ended as '{}'", rds.region(), found.status))
                    .hint("the events of RDS say why: `aws rds describe-events --source-type db-snapshot`"));
            }
            Some(Some(found)) => tell(found.percent),
            Some(None) if !patience.may_be_invisible() => {
                return Err(Error::unavailable(format!("snapshot {id} in {} is gone while it was made", rds.region())));
            }
            Some(None) | None => {}
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
    let mut patience = Patience::new(&cx.clock);
    let mut last = String::new();
    loop {
        shutdown.check()?;
        let look = rds.find(unit, id).await;
        match patience.seen(look, rds).await? {
            Some(Some(found)) if is_usable(&found.status) => return Ok(found.endpoint),
            Some(Some(found)) if is_dead(&found.status) => return Err(dead(unit, id, &found.status)),
            Some(Some(found)) => {
                if found.status != last {
                    cx.progress.note(&format!("{} {id}: {}", unit.noun(), found.status));
                }
                last = found.status;
            }
            Some(None) if !patience.may_be_invisible() => {
                return Err(Error::unavailable(format!("{} {id} is gone while it was made", unit.noun())));
            }
            Some(None) | None => {}
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
