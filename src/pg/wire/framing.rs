//! A stream of messages without its rows. Framing is that of the protocol 3.0: a type byte and four bytes of length, itself included
//! (<https://www.postgresql.org/docs/current/protocol-message-formats.html>).

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};

use super::blocks::{BLOCK, Block, Blocks};

/// A COPY that has brought this much will bring more.
const LONG: usize = 1 << 20;
/// The server sends 8 KiB at a time. Of a long COPY, whatever comes in this time is read at once.
pub(super) const NETWORK_PAUSE: Duration = Duration::from_millis(1);
/// The same for a Unix socket, which holds 208 KiB (`net.core.wmem_default`): a server fills it in less than a millisecond, and would wait.
pub(super) const SOCKET_PAUSE: Duration = Duration::from_micros(300);
/// Memory of a session that reads no rows.
const SMALL: usize = 8 << 10;
pub(super) const HEADER: usize = 5;
const COPY_DATA: u8 = b'd';
/// Before and behind the rows of one COPY: of no interest to the driver, which could not tell one COPY of a query from the next.
const COPY_OUT_RESPONSE: u8 = b'H';
const COPY_DONE: u8 = b'c';

/// How to pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// Others run on this thread.
    Shared,
    /// Nothing else runs on this thread: it may sleep.
    Apart,
}

/// Takes a stream of messages apart.
pub(super) struct Framing {
    pace: Pace,
    /// How long.
    pause_time: Duration,
    /// What was read: messages that nobody has got yet are in `from..to`, and rows, whole, come before `rows_to`.
    memory: Vec<u8>,
    from: usize,
    rows_to: usize,
    to: usize,
    /// Bytes of the message at `from` that are not dealt with yet.
    message: usize,
    /// The driver does not get that message.
    hidden: bool,
    /// Bytes read since the last message that was no row.
    brought: usize,
    /// The socket was read empty not long ago.
    drained: bool,
    pause: Option<Pin<Box<tokio::time::Sleep>>>,
    rows: Arc<Blocks>,
}

/// What the memory holds where rows end.
enum Next {
    /// A row that is not whole, with its header so many bytes long, if that is known.
    Row(Option<usize>),
    /// A message for the driver, with its header so many bytes long.
    Message(u8, usize),
}

impl Framing {
    /// Rows go to `rows`.
    pub(super) fn new(rows: Arc<Blocks>, pace: Pace, pause_time: Duration) -> Self {
        Self {
            pace,
            pause_time,
            memory: vec![0; SMALL],
            from: 0,
            rows_to: 0,
            to: 0,
            message: 0,
            hidden: false,
            brought: 0,
            drained: false,
            pause: None,
            rows,
        }
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
            if self.drained && self.brought > LONG {
                ready!(self.poll_pause(cx));
            }
            let mut room = ReadBuf::new(&mut self.memory[self.to..]);
            ready!(stream.as_mut().poll_read(cx, &mut room))?;
            let (count, filled) = (room.filled().len(), room.remaining() == 0);
            if count == 0 {
                // The end of the connection, which the driver is told by no bytes.
                return Poll::Ready(Ok(()));
            }
            self.to += count;
            self.brought += count;
            self.drained = !filled;
        }
    }

    #[allow(clippy::disallowed_methods, reason = "what is waited for is the network, not the clock")]
    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.pace == Pace::Apart {
            std::thread::sleep(self.pause_time);
        } else {
            let time = self.pause_time;
            let pause = self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(time)));
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        self.drained = false;
        Poll::Ready(())
    }

    /// Works through what was read, as far as there is room; true when the reader of rows must take a block first. Afterwards there is room to read.
    fn take_apart(&mut self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> io::Result<bool> {
        loop {
            if self.message > 0 {
                let mut count = self.message.min(self.to - self.from);
                if !self.hidden {
                    count = count.min(out.remaining());
                    out.put_slice(&self.memory[self.from..self.from + count]);
                }
                self.from += count;
                self.rows_to = self.from;
                self.message -= count;
                if self.message > 0 {
                    self.make_room(1);
                    return Ok(false);
                }
            }
            let next = self.skip_rows()?;
            let has_rows = self.rows_to > self.from;
            match next {
                Next::Row(length) => {
                    let whole = self.rows_to + length.unwrap_or(HEADER);
                    if has_rows && whole > self.memory.len() {
                        if !self.rows.has_room(cx) {
                            return Ok(true);
                        }
                        self.hand_over(false);
                    }
                    self.make_room(length.unwrap_or(HEADER));
                    return Ok(false);
                }
                Next::Message(kind, length) => {
                    // What comes after the rows must not overtake them.
                    if has_rows || kind == COPY_DONE {
                        if !self.rows.has_room(cx) {
                            return Ok(true);
                        }
                        self.hand_over(kind == COPY_DONE);
                    }
                    self.message = length;
                    self.hidden = matches!(kind, COPY_OUT_RESPONSE | COPY_DONE);
                    if !self.hidden {
                        self.brought = 0;
                    }
                }
            }
        }
    }

    /// Moves `rows_to` behind the whole rows that are there.
    fn skip_rows(&mut self) -> io::Result<Next> {
        loop {
            match header(&self.memory[self.rows_to..self.to])? {
                None => return Ok(Next::Row(None)),
                Some((COPY_DATA, length)) if self.rows_to + HEADER + length <= self.to => self.rows_to += HEADER + length,
                Some((COPY_DATA, length)) => return Ok(Next::Row(Some(HEADER + length))),
                Some((kind, length)) => return Ok(Next::Message(kind, HEADER + length)),
            }
        }
    }

    /// Hands the rows over and goes on in other memory.
    fn hand_over(&mut self, is_last: bool) {
        let messages = self.from..self.rows_to;
        let rest = self.memory[self.rows_to..self.to].to_vec();
        let memory = std::mem::take(&mut self.memory);
        self.memory = self.rows.hand_over(Block { memory, messages, is_last });
        self.memory[..rest.len()].copy_from_slice(&rest);
        (self.from, self.rows_to, self.to) = (0, 0, rest.len());
    }

    /// Makes room for a message of `length` bytes at `rows_to`, of which some may be there.
    fn make_room(&mut self, length: usize) {
        if self.from == self.to {
            (self.from, self.rows_to, self.to) = (0, 0, 0);
        }
        let whole = self.rows_to + length;
        if whole <= self.memory.len() && self.to < self.memory.len() {
            return;
        }
        self.memory.copy_within(self.from..self.to, 0);
        (self.rows_to, self.to) = (self.rows_to - self.from, self.to - self.from);
        self.from = 0;
        let needed = self.rows_to + length;
        if needed > self.memory.len() {
            // Rows that do not fit a block are rare, and large: no more memory than they need.
            let mut larger = vec![0; needed.max(BLOCK)];
            larger[..self.to].copy_from_slice(&self.memory[..self.to]);
            self.memory = larger;
        }
    }
}

/// Kind of a message and how many bytes follow its header; nothing until the header is there.
pub(super) fn header(input: &[u8]) -> io::Result<Option<(u8, usize)>> {
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

    use super::super::blocks::split_first;
    use super::*;

    const END: &[u8] = b"<end of the rows>";

    /// A message: rows, or anything else.
    fn message() -> impl Strategy<Value = (u8, Vec<u8>)> {
        let length = prop_oneof![20 => 0..200usize, 1 => 0..3 * BLOCK];
        let kind = prop_oneof![8 => Just(COPY_DATA), 1 => Just(b'C'), 1 => Just(b'N'), 1 => Just(COPY_DONE), 1 => Just(COPY_OUT_RESPONSE)];
        (kind, length).prop_map(|(kind, length)| (kind, (0..length).map(|i| (i % 251) as u8).collect()))
    }

    fn encode(messages: &[(u8, Vec<u8>)]) -> Vec<u8> {
        let one = |(kind, body): &(u8, Vec<u8>)| [&[*kind][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat();
        messages.iter().flat_map(one).collect()
    }

    /// Sends `bytes` in pieces and reads them in pieces of at most `room`; returns what the driver sees, and the rows, with a mark at the end of each
    /// COPY.
    async fn divert(bytes: Vec<u8>, piece: usize, room: usize) -> io::Result<(Vec<u8>, Vec<u8>)> {
        let (mut server, client) = tokio::io::duplex(1 << 16);
        let send = async move {
            for piece in bytes.chunks(piece) {
                server.write_all(piece).await.expect("send");
            }
        };
        let blocks = Arc::new(Blocks::default());
        let (mut framing, mut client) = (Framing::new(Arc::clone(&blocks), Pace::Shared, NETWORK_PAUSE), Box::pin(client));
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
        let append = |rows: &mut Vec<u8>, block: &Block| {
            let mut messages = block.messages();
            assert!(!messages.is_empty() || block.is_last);
            while let Some((row, rest)) = split_first(messages) {
                rows.extend_from_slice(row);
                messages = rest;
            }
            assert!(messages.is_empty(), "a torn row was handed over");
            if block.is_last {
                rows.extend_from_slice(END);
            }
        };
        let reader = async {
            loop {
                let block = poll_fn(|cx| blocks.take(cx).map_or(Poll::Pending, Poll::Ready)).await;
                append(&mut rows, &block);
                blocks.give_back(block);
                tokio::task::yield_now().await;
            }
        };
        let both = async { tokio::join!(send, driver).1 };
        let seen = tokio::select! { seen = both => seen?, () = reader => unreachable!() };
        while let Some(block) = poll_fn(|cx| Poll::Ready(blocks.take(cx))).await {
            append(&mut rows, &block);
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
            let (ours, others): (Vec<_>, Vec<_>) =
                messages.into_iter().partition(|(kind, _)| [COPY_DATA, COPY_OUT_RESPONSE, COPY_DONE].contains(kind));
            prop_assert_eq!(seen, encode(&others));
            let expected = ours.into_iter().flat_map(|(kind, body)| match kind {
                COPY_DATA => body,
                COPY_DONE => END.to_vec(),
                _ => Vec::new(),
            });
            prop_assert!(rows == expected.collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn an_impossible_length_is_an_error() {
        let error = divert(vec![b'd', 0, 0, 0, 3, 0], 6, 10).await.expect_err("too short");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
