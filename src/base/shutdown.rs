//! Cancellation as a value that is passed down; `main` ties it to signals, the daemon to watchdogs and deadlines.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Error, Result};

/// How long cancelled work may take to clean up behind itself before it is dropped.
const PATIENCE: Duration = Duration::from_secs(15);

/// Tells work to stop, and why.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    token: CancellationToken,
    reason: Arc<OnceLock<Reason>>,
    parent: Option<Arc<Shutdown>>,
}

/// Makes the error with which work ends: an error cannot be copied, and many ask.
struct Reason(Box<dyn Fn() -> Error + Send + Sync>);

impl std::fmt::Debug for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (self.0)().fmt(f)
    }
}

impl Shutdown {
    /// A token that nobody has cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// A token that stops when this one does, and that can be stopped alone.
    pub fn child(&self) -> Self {
        Self { token: self.token.child_token(), reason: Arc::default(), parent: Some(Arc::new(self.clone())) }
    }

    /// Asks everybody to stop.
    pub fn cancel(&self) {
        self.token.cancel();
    }

    /// Asks everybody to stop, and makes what `why` returns the error with which their work ends. The first reason stays.
    pub fn cancel_because(&self, why: impl Fn() -> Error + Send + Sync + 'static) {
        let _ = self.reason.set(Reason(Box::new(why)));
        self.token.cancel();
    }

    /// Whether somebody asked.
    pub fn is_cancelled(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Fails once cancelled; for loops.
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(self.error()) } else { Ok(()) }
    }

    /// Returns when cancelled.
    pub async fn cancelled(&self) {
        self.token.cancelled().await;
    }

    /// Runs `work` unless cancelled first; dropping it must be safe.
    pub async fn guard<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            () = self.token.cancelled() => Err(self.error()),
            result = work => result,
        }
    }

    /// Runs `work`, which heeds this token by itself, to its end; dropping it must be safe, and happens when it does not end within a few seconds
    /// of being cancelled.
    pub async fn bound<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::pin!(work);
        tokio::select! {
            biased;
            result = &mut work => return result,
            () = self.token.cancelled() => {}
        }
        match tokio::time::timeout(PATIENCE, work).await {
            Ok(result) => result,
            Err(_) => Err(self.error()),
        }
    }

    fn error(&self) -> Error {
        let reason = self.reason();
        reason.unwrap_or_else(|| {
            Error::cancelled("interrupted").hint("nothing incomplete is listed; the next run reuses what was already stored")
        })
    }

    fn reason(&self) -> Option<Error> {
        let own = self.reason.get().map(|reason| (reason.0)());
        own.or_else(|| self.parent.as_ref().filter(|p| p.is_cancelled()).and_then(|p| p.reason()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Kind;

    #[tokio::test]
    async fn work_ends_with_the_first_reason_of_the_nearest_that_has_one() {
        let parent = Shutdown::new();
        let (child, other) = (parent.child(), parent.child());
        child.cancel_because(|| Error::unavailable("stalled").hint("look"));
        child.cancel_because(|| Error::internal("late"));
        let error = child.child().check().expect_err("cancelled");
        assert_eq!((error.kind(), error.message(), error.hint_text()), (Kind::Unavailable, "stalled", Some("look")));
        assert!(!parent.is_cancelled() && other.check().is_ok());
        parent.cancel();
        let error = other.guard(std::future::pending::<Result<()>>()).await.expect_err("cancelled");
        assert_eq!(error.kind(), Kind::Cancelled);
        let ended = other.bound(async { Ok(7) }).await;
        assert_eq!(ended.expect("work that ends by itself keeps its result"), 7);
    }
}
