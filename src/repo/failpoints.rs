//! Named places between two steps of a protocol, where tests stop the process.

use std::fmt::Debug;

use crate::base::Result;

/// Decides at each named place whether to go on.
pub trait Failpoints: Send + Sync + Debug {
    /// An error stops the work as if the process died here.
    fn reach(&self, name: &'static str) -> Result<()>;
}

/// Never stops.
#[derive(Debug, Default, Clone, Copy)]
pub struct NoFailpoints;

impl Failpoints for NoFailpoints {
    fn reach(&self, _name: &'static str) -> Result<()> {
        Ok(())
    }
}

/// All names, in the order in which a backup and then a prune reach them.
pub const ALL: &[&str] = &[
    "writer:listed",
    "commit:uploaded",
    "commit:proven",
    "commit:contents-written",
    "commit:contents-read",
    "commit:announced",
    "commit:head-written",
    "commit:head-read",
    "prune:planned",
    "prune:marked",
    "prune:parts-marked",
    "sweep:heads-deleted",
    "sweep:outside-deleted",
    "sweep:contents-deleted",
    "sweep:parts-deleted",
    "sweep:tombstones-deleted",
];
