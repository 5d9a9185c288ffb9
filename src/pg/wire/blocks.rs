//! Blocks of rows on their way from the connection to their reader.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

/// How large a block of rows becomes before it is handed over, and what one read from the socket takes at most. A larger row is a block of its own.
pub(super) const BLOCK: usize = 256 << 10;
/// Blocks that wait for the reader; after that the server waits.
const DEPTH: usize = 2;

/// Blocks of rows between the connection and their reader.
#[derive(Default)]
pub(super) struct Blocks(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    full: VecDeque<Vec<u8>>,
    empty: Vec<Vec<u8>>,
    /// The connection, when it waits for room.
    giver: Option<Waker>,
    /// The reader, when it waits for rows.
    taker: Option<Waker>,
    /// Nobody wants the rest of these rows.
    unwanted: bool,
}

impl Blocks {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts `block` in the queue and an empty one in its place; false when there is no room, and the task of `cx` is woken when there is.
    pub(super) fn hand_over(&self, block: &mut Vec<u8>, cx: &mut Context<'_>) -> bool {
        let mut queue = self.lock();
        if queue.unwanted {
            block.clear();
            return true;
        }
        if queue.full.len() >= DEPTH {
            queue.giver = Some(cx.waker().clone());
            return false;
        }
        let empty = queue.empty.pop().unwrap_or_default();
        queue.full.push_back(std::mem::replace(block, empty));
        if let Some(taker) = queue.taker.take() {
            taker.wake();
        }
        true
    }

    /// A COPY begins: its rows have nothing to do with what was there.
    pub(super) fn begin(&self) {
        let mut queue = self.lock();
        queue.full.clear();
        queue.unwanted = false;
    }

    /// A block, if there is one; else the task of `cx` is woken when one comes.
    pub(super) fn take(&self, cx: &mut Context<'_>) -> Option<Vec<u8>> {
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

    /// Takes an emptied block back for later.
    pub(super) fn give_back(&self, mut block: Vec<u8>) {
        let mut queue = self.lock();
        if block.capacity() <= BLOCK && queue.empty.len() <= DEPTH {
            block.clear();
            queue.empty.push(block);
        }
    }

    /// Nobody takes blocks any more, until the next COPY begins.
    pub(super) fn abandon(&self) {
        let mut queue = self.lock();
        queue.unwanted = true;
        queue.full.clear();
        if let Some(giver) = queue.giver.take() {
            giver.wake();
        }
    }
}
