//! Executes a plan.

use std::sync::Arc;

use super::{RestoreInput, RestoreOutcome, RestorePlan};
use crate::base::clock::SharedClock;
use crate::base::progress::SharedProgress;
use crate::base::shutdown::Shutdown;
use crate::base::{Error, Result};
use crate::pg::connect::Target;
use crate::pg::copy::Source;

/// Executes `plan`. Fails at once only if the target is no longer what the plan saw (conflict), cannot be reached, or on `shutdown`; errors of single
/// objects are collected in the outcome, whose [`RestoreOutcome::is_complete`] decides.
pub async fn execute(
    target: &Target,
    input: &RestoreInput,
    plan: &RestorePlan,
    source: Arc<dyn Source>,
    progress: &SharedProgress,
    shutdown: &Shutdown,
    clock: &SharedClock,
) -> Result<RestoreOutcome> {
    let _ = (target, input, plan, source, progress, shutdown, clock);
    Err(Error::internal("not yet"))
}
