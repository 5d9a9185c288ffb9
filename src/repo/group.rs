//! One sequential writer of streams. Streams follow one another and share parts, so that small tables cost few objects.

use std::collections::VecDeque;
use std::sync::Arc;

use super::chunk::{Chunker, Sizes};
use super::contents::Extent;
use super::writer::Shared;
use crate::base::fingerprint::Fingerprint;
use crate::base::{Error, Result, ResultExt};

/// A stream whose extents name slots, which become parts when the backup is committed.
#[derive(Debug)]
pub(super) struct WrittenStream {
    pub(super) name: String,
    pub(super) fingerprint: Fingerprint,
    pub(super) extents: Vec<Extent>,
}

/// Takes streams one after another. Dropped without [`close`](GroupWriter::close), the backup cannot be committed.
#[derive(Debug)]
pub struct GroupWriter {
    shared: Arc<Shared>,
    name: String,
    chunker: Chunker,
    /// Slot of the open part.
    slot: Option<usize>,
    current: Option<Current>,
    streams: Vec<WrittenStream>,
    /// Ended parts that wait for room.
    pending: VecDeque<(usize, Vec<u8>)>,
}

#[derive(Debug)]
struct Current {
    stream: WrittenStream,
    /// Where the stream's rows begin in the open part.
    from: usize,
}

impl GroupWriter {
    pub(super) fn new(shared: Arc<Shared>, name: &str, sizes: Sizes) -> Self {
        let chunker = Chunker::new(sizes, Arc::clone(&shared.buffers));
        Self { shared, name: name.to_owned(), chunker, slot: None, current: None, streams: Vec::new(), pending: VecDeque::new() }
    }

    /// Begins the stream `name`, unique in the backup.
    pub fn begin(&mut self, name: &str) -> Result<()> {
        if let Some(open) = &self.current {
            return Err(Error::internal(format!("stream '{name}' begins before '{}' has ended", open.stream.name)));
        }
        let stream = WrittenStream { name: name.to_owned(), fingerprint: Fingerprint::default(), extents: Vec::new() };
        self.current = Some(Current { stream, from: self.chunker.open_len() });
        Ok(())
    }

    /// Appends rows, each with its newline, any number of them. Returns true when [`GroupWriter::flush`] must be awaited before more come.
    pub fn rows<'r>(&mut self, rows: impl IntoIterator<Item = &'r [u8]>) -> Result<bool> {
        let Some(current) = &mut self.current else {
            return Err(Error::internal(format!("rows come to group '{}' outside of a stream", self.name)));
        };
        let Current { stream, from } = current;
        let (shared, slot, pending) = (&self.shared, &mut self.slot, &mut self.pending);
        let WrittenStream { fingerprint, extents, .. } = stream;
        self.chunker.push(rows, fingerprint, |part| {
            let slot = slot.take().unwrap_or_else(|| shared.new_slot());
            extents.extend(extent(slot, *from, part.len()));
            *from = 0;
            pending.push_back((slot, part));
        })?;
        Ok(!self.pending.is_empty())
    }

    /// Waits until the ended parts have room among those being stored; fails when storing any part failed.
    pub async fn flush(&mut self) -> Result<()> {
        while let Some((slot, part)) = self.pending.pop_front() {
            self.shared.admit(slot, part).await.context(|| format!("write group '{}'", self.name))?;
        }
        Ok(())
    }

    /// Ends the current stream and says what its rows were.
    pub fn end(&mut self) -> Result<Fingerprint> {
        let Some(Current { mut stream, from }) = self.current.take() else {
            return Err(Error::internal(format!("no stream to end in group '{}'", self.name)));
        };
        let open = self.chunker.open_len();
        if open > from {
            let slot = *self.slot.get_or_insert_with(|| self.shared.new_slot());
            stream.extents.extend(extent(slot, from, open));
        }
        let fingerprint = stream.fingerprint;
        self.streams.push(stream);
        Ok(fingerprint)
    }

    /// Ends the group: its last part ends here, and all its parts are being stored when this returns.
    pub async fn close(mut self) -> Result<()> {
        if let Some(open) = &self.current {
            return Err(Error::internal(format!("group '{}' closes before stream '{}' has ended", self.name, open.stream.name)));
        }
        if let Some(part) = self.chunker.finish() {
            let slot = self.slot.take().unwrap_or_else(|| self.shared.new_slot());
            self.pending.push_back((slot, part));
        }
        self.flush().await?;
        let mut state = self.shared.state();
        state.streams.append(&mut self.streams);
        state.open_groups -= 1;
        Ok(())
    }
}

fn extent(slot: usize, from: usize, to: usize) -> Option<Extent> {
    (to > from).then_some(Extent { part: slot as u64, offset: from as u64, length: (to - from) as u64 })
}
