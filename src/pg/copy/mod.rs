//! Rows out of and into tables. Where they go to and come from is the caller's: a [`Sink`] and a [`Source`].

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::base::Result;
use crate::base::fingerprint::Fingerprint;
use crate::base::sql::literal;

/// Takes the rows of an export, stream by stream. Streams of one group are opened in turn and share parts.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Opens a group: one writer that takes streams one after another. Groups run in parallel; `name` is stable from backup to backup.
    async fn group(&self, name: &str) -> Result<Box<dyn GroupSink>>;
}

/// One worker's way into the vault.
#[async_trait]
pub trait GroupSink: Send {
    /// Begins the stream `name`, unique in the backup.
    fn begin(&mut self, name: &str) -> Result<()>;
    /// Appends rows, each with its newline (a newline inside a value is always escaped in COPY text). Returns true when [`GroupSink::flush`]
    /// must be awaited before more rows come.
    fn rows(&mut self, rows: &mut dyn Iterator<Item = &[u8]>) -> Result<bool>;
    /// Waits until there is room for more.
    async fn flush(&mut self) -> Result<()>;
    /// Ends the current stream and says what it held.
    fn end(&mut self) -> Result<Fingerprint>;
    /// Ends the group; everything in it is handed to the store (not yet necessarily stored).
    async fn close(self: Box<Self>) -> Result<()>;
}

/// A COPY whose rows are in this encoding, that of the source's database, so that every byte comes back as it was. The statement itself stays in
/// that of the session, and so do the names in it.
pub(crate) fn encoded(copy: &str, encoding: &str) -> String {
    format!("{copy} (ENCODING {})", literal(encoding))
}

/// Gives the rows of a backup back.
#[async_trait]
pub trait Source: Send + Sync {
    /// The rows of stream `name`, in pieces of whole rows, checked against their hashes.
    async fn open(&self, name: &str) -> Result<BoxStream<'static, Result<Bytes>>>;
}

/// The rows of one table in a backup: how they were read, and what they were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableData {
    /// Id of the entry that creates the table.
    pub entry: String,
    /// Schema.
    pub schema: String,
    /// Table.
    pub table: String,
    /// Columns in the order of the fields; generated columns are not among them.
    pub columns: Vec<String>,
    /// The streams that together hold all rows, in order of their blocks.
    pub streams: Vec<TableStream>,
    /// Sum of the streams' fingerprints.
    pub fingerprint: Fingerprint,
    /// Heap size at the time of the export, in bytes.
    pub heap_bytes: u64,
}

impl TableData {
    /// Value of `entry` for the content of all large objects, which belongs to no table: rows are (oid, byte offset, data), blocks are oids.
    pub const LARGE_OBJECTS: &'static str = "large objects";

    /// Whether this is the content of the large objects.
    pub fn is_large_objects(&self) -> bool {
        self.entry == Self::LARGE_OBJECTS
    }
}

/// One stream of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableStream {
    /// Name of the stream in the contents.
    pub stream: String,
    /// First block of the ctid range; absent when the table was read in one piece.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_block: Option<u64>,
    /// First block after the range; absent in the last range, which is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_block: Option<u64>,
    /// Rows of this stream.
    pub fingerprint: Fingerprint,
}
