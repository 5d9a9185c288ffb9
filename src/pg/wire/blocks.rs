//! Blocks of rows on their way from the connection to their reader.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use super::framing::{HEADER, header};

/// Size of a block, and what one read from the socket takes at most. A larger row is a block of its own.
pub(super) const BLOCK: usize = 256 << 10;
/// Blocks that wait for the reader; after that the server waits.
const DEPTH: usize = 2;

/// Whole messages of kind `CopyData`, as they came: a header and a row each; all of one COPY.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// What was read from the connection.
    pub(super) memory: Vec<u8>,
    /// Where in it the messages are.
    pub(super) messages: Range<usize>,
    /// No row of this COPY comes after it.
    pub(super) is_last: bool,
}

impl Block {
    /// Bytes of the messages.
    pub(super) fn messages(&self) -> &[u8] {
        &self.memory[self.messages.clone()]
    }
}

/// The row of the first of `messages`, and the messages after it.
pub(super) fn split_first(messages: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, length) = header(messages).ok().flatten()?;
    messages[HEADER..].split_at_checked(length)
}

/// Blocks of rows between the connection and their reader.
#[derive(Default)]
pub(super) struct Blocks(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    full: VecDeque<Block>,
    empty: Vec<Vec<u8>>,
    /// The connection, when it waits for room.
    giver: Option<Waker>,
    /// The reader, when it waits for rows.
    taker: Option<Waker>,
    /// Nobody wants rows: those of a COPY that was given up still come.
    unwanted: bool,
}

impl Blocks {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a block can be handed over; if not, the task of `cx` is woken when one can.
    pub(super) fn has_room(&self, cx: &mut Context<'_>) -> bool {
        let mut queue = self.lock();
        let room = queue.unwanted || queue.full.len() < DEPTH;
        if !room {
            queue.giver = Some(cx.waker().clone());
        }
        room
    }

    /// Puts a block in the queue and returns other memory, of [`BLOCK`] bytes, in exchange.
    pub(super) fn hand_over(&self, block: Block) -> Vec<u8> {
        let mut queue = self.lock();
        if queue.unwanted && block.memory.len() == BLOCK {
            return block.memory;
        }
        let empty = queue.empty.pop();
        if !queue.unwanted {
            queue.full.push_back(block);
            if let Some(taker) = queue.taker.take() {
                taker.wake();
            }
        }
        drop(queue);
        empty.unwrap_or_else(|| vec![0; BLOCK])
    }

    /// Whether rows of a COPY that was given up may still come.
    pub(super) fn is_abandoned(&self) -> bool {
        self.lock().unwanted
    }

    /// A block, if there is one; else the task of `cx` is woken when one comes.
    pub(super) fn take(&self, cx: &mut Context<'_>) -> Option<Block> {
        let mut queue = self.lock();
        let block = queue.full.pop_front();
        match &block {
            Some(_) => {
                if let Some(giver) = queue.giver.take() {
                    giver.wake();
                }
            }
            None => queue.taker = Some(cx.waker().clone()),
        }
        block
    }

    /// Takes the memory of a block back for later.
    pub(super) fn give_back(&self, block: Block) {
        let mut queue = self.lock();
        if block.memory.len() == BLOCK && queue.empty.len() <= DEPTH {
            queue.empty.push(block.memory);
        }
    }

    /// Nobody takes blocks any more.
    pub(super) fn abandon(&self) {
        let mut queue = self.lock();
        queue.unwanted = true;
        queue.full.clear();
        if let Some(giver) = queue.giver.take() {
            giver.wake();
        }
    }
}
