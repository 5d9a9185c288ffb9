//! A bounded number of connections, each of which ends when it is of no use to anybody: a client that never finishes its request must not be able to
//! use up the descriptors that backups need.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::base::clock::SharedClock;
use crate::base::limits::{HTTP_CONNECTIONS, HTTP_IDLE};

/// A listener that accepts no more connections than it has slots.
#[derive(Debug)]
pub(super) struct Bounded {
    listener: TcpListener,
    slots: Arc<Semaphore>,
    clock: SharedClock,
}

impl Bounded {
    pub(super) fn new(listener: TcpListener, clock: SharedClock) -> Self {
        Self { listener, slots: Arc::new(Semaphore::new(HTTP_CONNECTIONS)), clock }
    }
}

impl axum::serve::Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // Nobody closes the semaphore.
        let slot = Arc::clone(&self.slots).acquire_owned().await.ok();
        let (stream, address) = axum::serve::Listener::accept(&mut self.listener).await;
        let patience = patience(&self.clock);
        (Connection { stream, clock: Arc::clone(&self.clock), patience, _slot: slot }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

type Patience = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A connection that fails when nothing was sent to the client for [`HTTP_IDLE`]. What the client sends does not count: one byte now and then is
/// what a client does that means ill.
pub(super) struct Connection {
    stream: TcpStream,
    clock: SharedClock,
    patience: Patience,
    _slot: Option<OwnedSemaphorePermit>,
}

fn patience(clock: &SharedClock) -> Patience {
    let clock = Arc::clone(clock);
    Box::pin(async move { clock.sleep(HTTP_IDLE).await })
}

impl Connection {
    /// What to say instead of "wait".
    fn pending<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        self.patience.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Pending => self.pending(cx),
            ready @ Poll::Ready(_) => ready,
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(cx, buf) {
            Poll::Pending => self.pending(cx),
            ready @ Poll::Ready(_) => {
                self.patience = patience(&self.clock);
                ready
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
