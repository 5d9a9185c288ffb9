//! The way from the socket to the reader of rows. The driver hands over what COPY sends message by message, and each message is one row; most of
//! the time of an export would go there. So the stream that the driver reads from takes the rows out, in blocks of many messages as they came, and
//! leaves it everything else: it still speaks the protocol. The ends of the rows are taken out, too, so that one query may hold many COPY statements: ten
//! thousand small tables need no round trip each.

mod apart;
mod blocks;
mod framing;
mod rows;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres::{Client, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

pub(super) use self::apart::Apart;
use self::blocks::Blocks;
use self::framing::{Framing, Pace};
pub(crate) use self::rows::Rows;

/// Makes streams that rows can be taken out of, with TLS or without. To the driver it is the maker of TLS connections.
#[derive(Clone)]
pub(super) struct Wire {
    tls: Option<MakeRustlsConnect>,
    pace: Pace,
    rows: Arc<Blocks>,
    /// Whether a connection went over it: the driver lets none on a Unix socket.
    diverts: Arc<AtomicBool>,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Wire({})", if self.tls.is_some() { "TLS" } else { "plain" })
    }
}

impl Wire {
    /// For one session; without `tls` in clear.
    pub(super) fn new(tls: Option<MakeRustlsConnect>) -> Self {
        let pace = if Apart::is_here() { Pace::Apart } else { Pace::Shared };
        Self { tls, pace, rows: Arc::default(), diverts: Arc::default() }
    }

    /// The rows of COPY statements in the session of `client`, whose connection goes over this wire.
    pub(super) fn rows<'a>(&self, client: &'a Client, statements: &[&str]) -> Rows<'a> {
        if self.diverts.load(Ordering::Relaxed) {
            Rows::diverted(Arc::clone(&self.rows), client, statements)
        } else {
            Rows::driven(client, statements)
        }
    }
}

type Tls = <MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect;
type Encrypted = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;
type Failure = Box<dyn std::error::Error + Send + Sync>;

impl MakeTlsConnect<Socket> for Wire {
    type Stream = Diverted;
    type TlsConnect = Connect;
    type Error = Failure;

    fn make_tls_connect(&mut self, domain: &str) -> Result<Connect, Failure> {
        let tls = match &mut self.tls {
            Some(tls) => Some(MakeTlsConnect::<Socket>::make_tls_connect(tls, domain)?),
            None => None,
        };
        Ok(Connect { tls, pace: self.pace, rows: Arc::clone(&self.rows), diverts: Arc::clone(&self.diverts) })
    }
}

/// One connection about to be made.
pub(super) struct Connect {
    tls: Option<Tls>,
    pace: Pace,
    rows: Arc<Blocks>,
    diverts: Arc<AtomicBool>,
}

impl TlsConnect<Socket> for Connect {
    type Stream = Diverted;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Diverted, Failure>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move {
            let inner = match self.tls {
                Some(tls) => Inner::Encrypted(Box::new(tls.connect(socket).await?)),
                None => Inner::Plain(socket),
            };
            self.diverts.store(true, Ordering::Relaxed);
            Ok(Diverted { inner, framing: Framing::new(self.rows, self.pace) })
        })
    }
}

enum Inner {
    Plain(Socket),
    Encrypted(Box<Encrypted>),
}

/// A connection without its rows.
pub(super) struct Diverted {
    inner: Inner,
    framing: Framing,
}

impl TlsStream for Diverted {
    fn channel_binding(&self) -> ChannelBinding {
        match &self.inner {
            Inner::Plain(_) => ChannelBinding::none(),
            Inner::Encrypted(stream) => stream.channel_binding(),
        }
    }
}

impl AsyncRead for Diverted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { inner, framing } = &mut *self;
        match inner {
            Inner::Plain(stream) => framing.poll_read(Pin::new(stream), cx, out),
            Inner::Encrypted(stream) => framing.poll_read(Pin::new(&mut **stream), cx, out),
        }
    }
}

/// Calls a method of the stream inside.
macro_rules! inner {
    ($self:ident, $method:ident($($argument:expr),*)) => {
        match &mut $self.inner {
            Inner::Plain(stream) => Pin::new(stream).$method($($argument),*),
            Inner::Encrypted(stream) => Pin::new(&mut **stream).$method($($argument),*),
        }
    };
}

impl AsyncWrite for Diverted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        inner!(self, poll_write(cx, data))
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inner!(self, poll_flush(cx))
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inner!(self, poll_shutdown(cx))
    }
}
