//! A thread of its own for the connection of a session that reads many rows.
//!
//! The server sends rows 8 KiB at a time. The runtime that all connections share is woken by each of them, whether or not anybody wants to read yet,
//! and at a hundred thousand wake-ups a gigabyte they cost as much as compressing the rows. A thread that serves one connection can sleep instead and
//! read what has come meanwhile.

use std::cell::Cell;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::base::{Error, Result};

thread_local! {
    static IS_HERE: Cell<bool> = const { Cell::new(false) };
}

/// Such a thread; it ends when this is dropped.
#[derive(Debug)]
pub(in crate::pg) struct Apart {
    handle: Handle,
    _stop: DropGuard,
}

impl Apart {
    /// Starts a thread.
    pub(in crate::pg) fn start() -> Result<Self> {
        let failed = |e: std::io::Error| Error::internal("start a thread for a connection").source(e);
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (handle, stop) = (runtime.handle().clone(), CancellationToken::new());
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("pgkeep-rows".to_owned());
        thread
            .spawn(move || {
                IS_HERE.set(true);
                runtime.block_on(stopped.cancelled());
            })
            .map_err(failed)?;
        Ok(Self { handle, _stop: stop.drop_guard() })
    }

    /// Runs `work` on the thread, and whatever it spawns.
    pub(in crate::pg) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.handle.spawn(work).await.map_err(|e| Error::internal("a connection's thread ended").source(e))?
    }

    /// Whether the caller runs on such a thread.
    pub(super) fn is_here() -> bool {
        IS_HERE.get()
    }
}
