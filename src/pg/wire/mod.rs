//! The way from the socket to the reader of rows. The driver hands over what COPY sends message by message, and each message is one row; most of
//! the time of an export would go there. So the stream that the driver reads from takes the rows out, in blocks of many messages as they came, and
//! leaves it everything else: it still speaks the protocol.

mod apart;
mod blocks;
mod framing;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::Stream as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres::{CopyOutStream, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

pub(super) use self::apart::Apart;
use self::blocks::{Block, Blocks};
use self::framing::{Framing, Pace};

/// Makes streams that rows can be taken out of, with TLS or without. To the driver it is the maker of TLS connections.
#[derive(Clone)]
pub(super) struct Wire {
    tls: Option<MakeRustlsConnect>,
    pace: Pace,
    rows: Arc<Blocks>,
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
        Self { tls, pace, rows: Arc::default() }
    }

    /// The rows that `stream`, which was started in the session of this wire, brings.
    pub(super) fn rows(&self, stream: CopyOutStream) -> Rows {
        Rows { stream: Box::pin(stream), blocks: Arc::clone(&self.rows), current: Current::None, ended: false }
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
        Ok(Connect { tls, pace: self.pace, rows: Arc::clone(&self.rows) })
    }
}

/// One connection about to be made.
pub(super) struct Connect {
    tls: Option<Tls>,
    pace: Pace,
    rows: Arc<Blocks>,
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

/// The rows of one COPY, in blocks of whole rows. Dropped early, the rest is read and thrown away.
pub(crate) struct Rows {
    stream: Pin<Box<CopyOutStream>>,
    blocks: Arc<Blocks>,
    current: Current,
    ended: bool,
}

/// What the reader has in hand.
enum Current {
    None,
    Block(Block),
    /// A row that the driver handed over: of a connection that is not diverted.
    Message(Bytes),
}

/// Rows that came together, in order, each with its newline.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    /// A row whose message is taken apart already; where a server puts several into one message, all of them.
    loose: &'a [u8],
    messages: &'a [u8],
}

impl<'a> Batch<'a> {
    /// Bytes that came, a few more than the rows have.
    pub(crate) fn bytes(&self) -> usize {
        self.loose.len() + self.messages.len()
    }

    fn next_loose(&mut self) -> &'a [u8] {
        let end = memchr::memchr(b'\n', self.loose).map_or(self.loose.len(), |newline| newline + 1);
        let (row, rest) = self.loose.split_at(end);
        self.loose = rest;
        row
    }
}

impl<'a> Iterator for Batch<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.loose.is_empty() {
            (self.loose, self.messages) = blocks::split_first(self.messages)?;
        }
        Some(self.next_loose())
    }
}

impl Rows {
    /// The next rows; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Batch<'_>>, tokio_postgres::Error> {
        if let Current::Block(block) = std::mem::replace(&mut self.current, Current::None) {
            self.blocks.give_back(block);
        }
        self.current = poll_fn(|cx| self.poll_next(cx)).await?;
        Ok(match &self.current {
            Current::None => None,
            Current::Block(block) => Some(Batch { loose: &[], messages: block.messages() }),
            Current::Message(row) => Some(Batch { loose: row, messages: &[] }),
        })
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Current, tokio_postgres::Error>> {
        loop {
            if let Some(block) = self.blocks.take(cx) {
                return Poll::Ready(Ok(Current::Block(block)));
            }
            if self.ended {
                return Poll::Ready(Ok(Current::None));
            }
            match ready!(self.stream.as_mut().poll_next(cx)) {
                Some(row) => return Poll::Ready(row.map(Current::Message)),
                // The last block may have come between the two looks.
                None => self.ended = true,
            }
        }
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        if !self.ended {
            self.blocks.abandon();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_with_several_rows_is_taken_apart() {
        let message = |body: &[u8]| [&[b'd'][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat();
        let messages = [message(b"a\n"), message(b"b\nc\n"), message(b"\n")].concat();
        let rows: Vec<&[u8]> = Batch { loose: &[], messages: &messages }.collect();
        assert_eq!(rows, [b"a\n", b"b\n", b"c\n", &b"\n"[..]]);
    }
}
