//! What people ask of the running daemon: from the HTTP API to the scheduler, and the answer back.
//!
//! `web` holds a [`Control`] and awaits [`Control::run`] and [`Control::cancel`]; each returns as soon as the scheduler has decided, not when the
//! run ends: follow it in [`super::state::State`] by its id. A test of `web` makes a pair with [`channel`] and answers the requests itself.

use tokio::sync::{mpsc, oneshot};

use crate::base::ids::RunId;
use crate::base::{Error, Result};
use crate::repo::proofs::Level;

/// Requests that wait for the scheduler; more are refused.
const BACKLOG: usize = 32;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Back up now.
    Backup {
        /// The policy.
        policy: String,
        /// A name to find the backup by.
        label: Option<String>,
    },
    /// Verify the newest backup now.
    Verify {
        /// The policy.
        policy: String,
        /// How deep; the policy's level if not given.
        level: Option<Level>,
    },
    /// Apply retention now; refused, as on the command line, where more than half of the backups would go.
    Prune {
        /// The policy.
        policy: String,
    },
    /// Cancel the run that goes on or waits in the queue. A scheduled one is not tried again before its next slot.
    Cancel {
        /// The policy.
        policy: String,
    },
}

impl Request {
    /// The policy that it is about.
    pub fn policy(&self) -> &str {
        match self {
            Self::Backup { policy, .. } | Self::Verify { policy, .. } | Self::Prune { policy } | Self::Cancel { policy } => {
                policy
            }
        }
    }
}

/// A request and the way back: `Ok` with the id of the run that was started or cancelled, else why not — `NotFound`: no such policy, or nothing
/// to cancel; `Conflict`: a run of this policy goes on; `Unavailable`: the daemon stops, or does not answer.
#[derive(Debug)]
pub struct Envelope {
    /// What is asked.
    pub request: Request,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Result<RunId>>,
}

/// Sends requests to the scheduler. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Control(mpsc::Sender<Envelope>);

/// A control and the end at which its requests arrive.
pub fn channel() -> (Control, mpsc::Receiver<Envelope>) {
    let (sender, receiver) = mpsc::channel(BACKLOG);
    (Control(sender), receiver)
}

impl Control {
    /// Starts what is asked, or cancels; returns the run's id once the scheduler has accepted it. Kinds of errors: see [`Envelope`].
    pub async fn ask(&self, request: Request) -> Result<RunId> {
        let gone = || Error::unavailable("the scheduler does not answer").hint("the daemon is probably stopping; try again");
        let (answer, receiver) = oneshot::channel();
        self.0.try_send(Envelope { request, answer }).map_err(|_| gone())?;
        receiver.await.map_err(|_| gone())?
    }
}
