//! Threads beside those that serve connections.

use super::{Error, Result};

/// Runs work that takes long on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::internal("a worker thread failed").source(e))?
}
