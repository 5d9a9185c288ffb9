//! Calls that AWS carries out once, whatever happens to its answers.

use std::time::Duration;

use crate::base::clock::{Clock, Stopwatch};
use crate::base::retry::Backoff;
use crate::base::shutdown::Shutdown;
use crate::base::{Error, Result};
use crate::cloud::aws;
use crate::cloud::ebs::snapshots::may_repeat;

/// How long what was carried out without an answer is looked for.
const FINDING: Duration = Duration::from_secs(30);
/// Tries of a call that takes snapshots, and the pauses between.
const CALLS: Backoff = Backoff { tries: 8, first: Duration::from_secs(1), max: Duration::from_secs(20) };

/// AWS's code for more copies into a region at the same time than it does (20, <https://docs.aws.amazon.com/ebs/latest/userguide/ebs-copy-snapshot.html>).
const TOO_MANY_AT_ONCE: &str = "ResourceLimitExceeded";

/// Sleeps unless stopped.
async fn pause(clock: &dyn Clock, shutdown: &Shutdown, duration: Duration) -> Result<()> {
    shutdown
        .guard(async {
            clock.sleep(duration).await;
            Ok(())
        })
        .await
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
            // It may take a while to be seen.
            let begun = Stopwatch::start();
            while begun.elapsed() < FINDING {
                if let Some(done) = find().await? {
                    return Ok(done);
                }
                pause(clock, shutdown, Duration::from_secs(2)).await?;
            }
        }
    }
}
