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
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres::{AsyncMessage, CancelToken, Client, Config, Connection, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

pub(super) use self::apart::Apart;
use self::blocks::Blocks;
use self::framing::{Framing, NETWORK_PAUSE, Pace, SOCKET_PAUSE};
pub(crate) use self::rows::Rows;

/// Makes streams that rows can be taken out of: over the network, with TLS or without, or over a Unix socket. To the driver it is the maker of TLS
/// connections.
#[derive(Clone)]
pub(super) struct Wire {
    way: Way,
    pace: Pace,
    rows: Arc<Blocks>,
}

/// How a server is reached.
#[derive(Clone)]
enum Way {
    /// Over the network, with TLS or in clear.
    Network(Option<MakeRustlsConnect>),
    /// By its Unix socket, over which the driver by itself would let nobody make its stream.
    Socket(PathBuf),
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let way = match &self.way {
            Way::Socket(_) => "socket",
            Way::Network(Some(_)) => "TLS",
            Way::Network(None) => "plain",
        };
        write!(f, "Wire({way})")
    }
}

impl Wire {
    /// For one session over the network; without `tls` in clear.
    pub(super) fn network(tls: Option<MakeRustlsConnect>) -> Self {
        Self::by(Way::Network(tls))
    }

    /// For one session over a Unix socket.
    pub(super) fn socket(path: PathBuf) -> Self {
        Self::by(Way::Socket(path))
    }

    fn by(way: Way) -> Self {
        let pace = if Apart::is_here() { Pace::Apart } else { Pace::Shared };
        Self { way, pace, rows: Arc::default() }
    }

    /// Logs in. The outer error is that there is nobody at the socket.
    pub(super) async fn connect(&self, config: &Config) -> io::Result<Result<(Client, Driver), tokio_postgres::Error>> {
        Ok(match &self.way {
            Way::Network(_) => {
                config.connect(self.clone()).await.map(|(client, connection)| (client, Driver::Network(connection)))
            }
            Way::Socket(path) => {
                let stream = UnixStream::connect(path).await?;
                let outcome = config.connect_raw(stream, self.stream(None)).await;
                outcome.map(|(client, connection)| (client, Driver::Local(connection)))
            }
        })
    }

    /// Asks the server to end what the session of `token`, whose connection goes over this wire, is doing.
    pub(super) async fn cancel(&self, token: &CancelToken) -> Result<(), Failure> {
        match &self.way {
            Way::Network(_) => token.cancel_query(self.clone()).await?,
            Way::Socket(path) => token.cancel_query_raw(UnixStream::connect(path).await?, self.stream(None)).await?,
        }
        Ok(())
    }

    /// The rows of COPY statements in the session of `client`, whose connection goes over this wire.
    pub(super) fn rows<'a>(&self, client: &'a Client, statements: &[&str]) -> Rows<'a> {
        Rows::new(Arc::clone(&self.rows), client, statements)
    }

    fn stream(&self, tls: Option<Tls>) -> Connect {
        Connect { tls, pace: self.pace, rows: Arc::clone(&self.rows) }
    }
}

/// The driver's end of a connection. Somebody has to poll it.
pub(super) enum Driver {
    Network(Connection<Socket, Diverted>),
    Local(Connection<UnixStream, Diverted>),
}

impl Driver {
    /// A parameter that the server reported.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        match self {
            Self::Network(connection) => connection.parameter(name),
            Self::Local(connection) => connection.parameter(name),
        }
    }

    /// Moves messages between client and server until the server has one that belongs to no statement; `None`: the connection has ended.
    pub(super) async fn message(&mut self) -> Option<Result<AsyncMessage, tokio_postgres::Error>> {
        std::future::poll_fn(|cx| match self {
            Self::Network(connection) => connection.poll_message(cx),
            Self::Local(connection) => connection.poll_message(cx),
        })
        .await
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
        let tls = match &mut self.way {
            Way::Network(Some(tls)) => Some(MakeTlsConnect::<Socket>::make_tls_connect(tls, domain)?),
            Way::Network(None) | Way::Socket(_) => None,
        };
        Ok(self.stream(tls))
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
            Ok(Diverted { inner, framing: Framing::new(self.rows, self.pace, NETWORK_PAUSE) })
        })
    }
}

impl TlsConnect<UnixStream> for Connect {
    type Stream = Diverted;
    type Error = Failure;
    type Future = std::future::Ready<Result<Diverted, Failure>>;

    fn connect(self, stream: UnixStream) -> Self::Future {
        let framing = Framing::new(self.rows, self.pace, SOCKET_PAUSE);
        std::future::ready(Ok(Diverted { inner: Inner::Local(stream), framing }))
    }
}

enum Inner {
    Plain(Socket),
    Local(UnixStream),
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
            Inner::Plain(_) | Inner::Local(_) => ChannelBinding::none(),
            Inner::Encrypted(stream) => stream.channel_binding(),
        }
    }
}

impl AsyncRead for Diverted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { inner, framing } = &mut *self;
        match inner {
            Inner::Plain(stream) => framing.poll_read(Pin::new(stream), cx, out),
            Inner::Local(stream) => framing.poll_read(Pin::new(stream), cx, out),
            Inner::Encrypted(stream) => framing.poll_read(Pin::new(&mut **stream), cx, out),
        }
    }
}

/// Calls a method of the stream inside.
macro_rules! inner {
    ($self:ident, $method:ident($($argument:expr),*)) => {
        match &mut $self.inner {
            Inner::Plain(stream) => Pin::new(stream).$method($($argument),*),
            Inner::Local(stream) => Pin::new(stream).$method($($argument),*),
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
