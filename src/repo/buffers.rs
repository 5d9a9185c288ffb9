//! Buffers of parts, used again: a part is megabytes, made on one thread and freed on another, which allocators answer by keeping far more memory
//! than is in use.

use std::sync::{Mutex, PoisonError};

use crate::base::limits::{IN_FLIGHT_BYTES, PART_MAX_BYTES, PART_TARGET_BYTES};

/// Buffers kept for later.
const KEPT: usize = IN_FLIGHT_BYTES / PART_TARGET_BYTES + 2;

/// A few empty buffers that have their memory already.
#[derive(Debug, Default)]
pub(super) struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    /// An empty buffer.
    pub(super) fn take(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    /// Gives a buffer back; one that a giant row made larger than parts are is let go.
    pub(super) fn give(&self, mut buffer: Vec<u8>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT && buffer.capacity() <= 2 * PART_MAX_BYTES {
            buffer.clear();
            kept.push(buffer);
        }
    }
}
