//! A stream of messages without its rows. Framing is that of the protocol 3.0: a type byte and four bytes of length, itself included
//! (<https://www.postgresql.org/docs/current/protocol-message-formats.html>).

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};

use super::blocks::{BLOCK, Blocks};

/// A COPY that has brought this much will bring more.
const LONG: usize = 1 << 20;
/// The server sends 8 KiB at a time, and each costs us a wake-up if we are quick; of a long COPY, reads smaller than this are followed by a pause.
const SIP: usize = 64 << 10;
const PAUSE: Duration = Duration::from_millis(1);
const HEADER: usize = 5;
const COPY_DATA: u8 = b'd';
const COPY_OUT_RESPONSE: u8 = b'H';

/// Where in the stream of messages we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before a header.
    Header,
    /// This many bytes before the end of a message that the driver gets.
    Message(usize),
    /// This many bytes before the end of a row.
    Row(usize),
}

/// Takes a stream of messages apart.
pub(super) struct Framing {
    input: Box<[u8]>,
    from: usize,
    to: usize,
    at: At,
    block: Vec<u8>,
    /// Bytes read since the last message that was no row.
    brought: usize,
    pause: Option<Pin<Box<tokio::time::Sleep>>>,
    rows: Arc<Blocks>,
}

impl Framing {
    /// Rows go to `rows`.
    pub(super) fn new(rows: Arc<Blocks>) -> Self {
        // Small until rows come: most sessions never read any.
        Self { input: vec![0; 8 << 10].into(), from: 0, to: 0, at: At::Header, block: Vec::new(), brought: 0, pause: None, rows }
    }

    /// Reads what is not rows from `stream` into `out`.
    pub(super) fn poll_read<S: AsyncRead>(
        &mut self,
        mut stream: Pin<&mut S>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        loop {
            let stuck = self.take_apart(cx, out)?;
            if out.filled().len() > before || out.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            if stuck {
                return Poll::Pending;
            }
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            self.make_room();
            let mut room = ReadBuf::new(&mut self.input[self.to..]);
            ready!(stream.as_mut().poll_read(cx, &mut room))?;
            let count = room.filled().len();
            if count == 0 {
                // The end of the connection, which the driver is told by no bytes.
                return Poll::Ready(Ok(()));
            }
            self.to += count;
            self.brought += count;
            if self.brought > LONG && count < SIP {
                self.pause = Some(pause());
            }
        }
    }

    /// Works through what was read, as far as there is room; true when the reader of rows must take a block first.
    fn take_apart(&mut self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> io::Result<bool> {
        loop {
            let input = &self.input[self.from..self.to];
            match self.at {
                At::Message(left) => {
                    let count = left.min(input.len()).min(out.remaining());
                    out.put_slice(&input[..count]);
                    self.from += count;
                    self.at = if count == left { At::Header } else { At::Message(left - count) };
                    if count < left {
                        return Ok(false);
                    }
                }
                At::Row(left) => {
                    let count = left.min(input.len());
                    self.block.extend_from_slice(&input[..count]);
                    self.from += count;
                    self.at = if count == left { At::Header } else { At::Row(left - count) };
                    if count < left {
                        return Ok(false);
                    }
                }
                At::Header => {
                    let Some((kind, length)) = header(input)? else { return Ok(false) };
                    // What comes after the rows must not overtake them; and a row that fills a block comes alone.
                    let full = kind != COPY_DATA || self.block.len() + length > BLOCK;
                    if full && !self.block.is_empty() && !self.rows.hand_over(&mut self.block, cx) {
                        return Ok(true);
                    }
                    if kind == COPY_DATA {
                        self.from += HEADER;
                        self.at = At::Row(length);
                        self.block.reserve_exact(if length > BLOCK { length } else { BLOCK.saturating_sub(self.block.len()) });
                    } else {
                        self.at = At::Message(HEADER + length);
                    }
                    if kind != COPY_DATA {
                        self.brought = 0;
                    }
                    if kind == COPY_OUT_RESPONSE {
                        self.rows.begin();
                    }
                }
            }
        }
    }

    /// Moves what is left to the front, and makes the buffer large when rows are coming.
    fn make_room(&mut self) {
        let rows = matches!(self.at, At::Row(_)) || !self.block.is_empty();
        if rows && self.input.len() < BLOCK {
            let mut larger = vec![0; BLOCK].into_boxed_slice();
            larger[..self.to].copy_from_slice(&self.input[..self.to]);
            self.input = larger;
        }
        self.input.copy_within(self.from..self.to, 0);
        self.to -= self.from;
        self.from = 0;
    }
}

#[allow(clippy::disallowed_methods, reason = "what is waited for is the network, not the clock")]
fn pause() -> Pin<Box<tokio::time::Sleep>> {
    Box::pin(tokio::time::sleep(PAUSE))
}

/// Kind of a message and how many bytes follow its header; nothing until the header is there.
fn header(input: &[u8]) -> io::Result<Option<(u8, usize)>> {
    let Some(([kind, length @ ..], _)) = input.split_first_chunk::<HEADER>() else { return Ok(None) };
    let length = i32::from_be_bytes(*length);
    let rest = usize::try_from(length).ok().and_then(|length| length.checked_sub(4));
    rest.map(|rest| Some((*kind, rest)))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the server sent a message of an impossible length"))
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    /// A message: rows, or anything else.
    fn message() -> impl Strategy<Value = (u8, Vec<u8>)> {
        let length = prop_oneof![20 => 0..200usize, 1 => 0..3 * BLOCK];
        (prop_oneof![6 => Just(COPY_DATA), 1 => Just(b'C'), 1 => Just(b'N')], length)
            .prop_map(|(kind, length)| (kind, (0..length).map(|i| (i % 251) as u8).collect()))
    }

    fn encode(messages: &[(u8, Vec<u8>)]) -> Vec<u8> {
        let one = |(kind, body): &(u8, Vec<u8>)| [&[*kind][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat();
        messages.iter().flat_map(one).collect()
    }

    /// Sends `bytes` in pieces and reads them in pieces of at most `room`; returns what the driver sees, and the rows.
    async fn divert(bytes: Vec<u8>, piece: usize, room: usize) -> io::Result<(Vec<u8>, Vec<u8>)> {
        let (mut server, client) = tokio::io::duplex(1 << 16);
        let send = async move {
            for piece in bytes.chunks(piece) {
                server.write_all(piece).await.expect("send");
            }
        };
        let blocks = Arc::new(Blocks::default());
        let (mut framing, mut client) = (Framing::new(Arc::clone(&blocks)), Box::pin(client));
        let driver = async {
            let mut seen = Vec::new();
            loop {
                let mut buffer = vec![0; room];
                let mut out = ReadBuf::new(&mut buffer);
                poll_fn(|cx| framing.poll_read(client.as_mut(), cx, &mut out)).await?;
                if out.filled().is_empty() {
                    return Ok::<_, io::Error>(seen);
                }
                seen.extend_from_slice(out.filled());
            }
        };
        let mut rows = Vec::new();
        let reader = async {
            loop {
                let block = poll_fn(|cx| blocks.take(cx).map_or(Poll::Pending, Poll::Ready)).await;
                assert!(!block.is_empty());
                rows.extend_from_slice(&block);
                blocks.give_back(block);
                tokio::task::yield_now().await;
            }
        };
        let both = async { tokio::join!(send, driver).1 };
        let seen = tokio::select! { seen = both => seen?, () = reader => unreachable!() };
        while let Some(block) = poll_fn(|cx| Poll::Ready(blocks.take(cx))).await {
            rows.extend_from_slice(&block);
        }
        Ok((seen, rows))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn rows_go_to_their_reader_and_all_else_to_the_driver(
            mut messages in prop::collection::vec(message(), 0..60),
            piece in prop_oneof![1..16usize, 1..100_000usize],
            room in prop_oneof![1..16usize, Just(8192usize)],
        ) {
            // Rows are never the last that comes.
            messages.push((b'Z', vec![b'I']));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("runtime");
            let (seen, rows) = runtime.block_on(divert(encode(&messages), piece, room)).expect("well-formed");
            let (expected, others): (Vec<_>, Vec<_>) = messages.into_iter().partition(|(kind, _)| *kind == COPY_DATA);
            prop_assert_eq!(seen, encode(&others));
            prop_assert!(rows == expected.into_iter().flat_map(|(_, body)| body).collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn an_impossible_length_is_an_error() {
        let error = divert(vec![b'd', 0, 0, 0, 3, 0], 6, 10).await.expect_err("too short");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
