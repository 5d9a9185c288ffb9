//! Buffers of parts, used again: a part is megabytes, made on one thread and freed on another, which allocators answer by keeping far more memory
//! than is in use.

use std::sync::{Mutex, PoisonError};

use crate::base::limits::{IN_FLIGHT_BYTES, PART_TARGET_BYTES};

/// Buffers kept for later: as many as are in use at a time when small parts come one after another, so that none is freed and made again.
const KEPT: usize = IN_FLIGHT_BYTES / PART_TARGET_BYTES + 8;

/// A few empty buffers that have their memory already.
#[derive(Debug)]
pub(super) struct Buffers {
    capacity: usize,
    kept: Mutex<Vec<Vec<u8>>>,
}

impl Buffers {
    /// For parts of at most `part` bytes: a buffer that grew step by step would leave its smaller selves behind.
    pub(super) fn new(part: usize) -> Self {
        Self { capacity: part, kept: Mutex::default() }
    }

    /// An empty buffer.
    pub(super) fn take(&self) -> Vec<u8> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).pop();
        kept.unwrap_or_else(|| Vec::with_capacity(self.capacity))
    }

    /// Gives a buffer back; one that a giant row made larger than parts are is let go.
    pub(super) fn give(&self, mut buffer: Vec<u8>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT && (1..=self.capacity).contains(&buffer.capacity()) {
            buffer.clear();
            kept.push(buffer);
        }
    }
}
