//! A vault in memory: takes the rows of an export and gives them back.
#![allow(clippy::expect_used, reason = "a helper that fails fails its test")]

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use pgkeep::base::clock::{SharedClock, SystemClock};
use pgkeep::base::fingerprint::Fingerprint;
use pgkeep::base::progress::{SharedProgress, Silent};
use pgkeep::base::secret::Secret;
use pgkeep::base::shutdown::Shutdown;
use pgkeep::base::{Error, Result};
use pgkeep::pg::connect::Target;
use pgkeep::pg::copy::{GroupSink, Sink, Source};
use pgkeep::pg::export::{Export, ExportOptions, export};
use pgkeep::pg::restore::RestoreInput;

type Streams = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// Streams by name.
#[derive(Clone, Default)]
pub(crate) struct Memory {
    streams: Streams,
    groups: Arc<Mutex<HashMap<String, Vec<String>>>>,
}

impl Memory {
    /// Bytes of one stream.
    pub(crate) fn stream(&self, name: &str) -> Vec<u8> {
        self.streams.lock().expect("streams").get(name).unwrap_or_else(|| panic!("no stream {name}")).clone()
    }

    /// All streams.
    pub(crate) fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        self.streams.lock().expect("streams").clone()
    }

    /// Replaces one stream.
    pub(crate) fn put(&self, name: &str, bytes: Vec<u8>) {
        self.streams.lock().expect("streams").insert(name.to_owned(), bytes);
    }

    /// Streams by group.
    pub(crate) fn groups(&self) -> HashMap<String, Vec<String>> {
        self.groups.lock().expect("groups").clone()
    }
}

struct Group {
    name: String,
    memory: Memory,
    open: Option<(String, Vec<u8>, Fingerprint)>,
}

#[async_trait]
impl Sink for Memory {
    async fn group(&self, name: &str) -> Result<Box<dyn GroupSink>> {
        Ok(Box::new(Group { name: name.to_owned(), memory: self.clone(), open: None }))
    }
}

#[async_trait]
impl GroupSink for Group {
    fn begin(&mut self, name: &str) -> Result<()> {
        assert!(self.open.is_none(), "the stream before {name} was not ended");
        self.open = Some((name.to_owned(), Vec::new(), Fingerprint::default()));
        Ok(())
    }

    fn rows(&mut self, rows: &mut dyn Iterator<Item = &[u8]>) -> Result<bool> {
        let (_, bytes, fingerprint) = self.open.as_mut().expect("a stream is open");
        for row in rows {
            fingerprint.add(row);
            bytes.extend_from_slice(row);
        }
        Ok(true)
    }

    async fn flush(&mut self) -> Result<()> {
        tokio::task::yield_now().await;
        Ok(())
    }

    fn end(&mut self) -> Result<Fingerprint> {
        let (name, bytes, fingerprint) = self.open.take().expect("a stream is open");
        self.memory.groups.lock().expect("groups").entry(self.name.clone()).or_default().push(name.clone());
        let before = self.memory.streams.lock().expect("streams").insert(name.clone(), bytes);
        assert!(before.is_none(), "stream {name} was written twice");
        Ok(fingerprint)
    }

    async fn close(self: Box<Self>) -> Result<()> {
        assert!(self.open.is_none(), "a group was closed within a stream");
        Ok(())
    }
}

#[async_trait]
impl Source for Memory {
    async fn open(&self, name: &str) -> Result<BoxStream<'static, Result<Bytes>>> {
        let bytes = self.streams.lock().expect("streams").get(name).cloned();
        let bytes = bytes.ok_or_else(|| Error::integrity(format!("stream {name} is missing")))?;
        // Pieces of several rows, of differing length.
        let mut pieces: Vec<Result<Bytes>> = Vec::new();
        let mut piece = Vec::new();
        for (i, row) in bytes.split_inclusive(|b| *b == b'\n').enumerate() {
            piece.extend_from_slice(row);
            if i % 7 == 0 || piece.len() > 1 << 16 {
                pieces.push(Ok(Bytes::from(std::mem::take(&mut piece))));
            }
        }
        if !piece.is_empty() {
            pieces.push(Ok(Bytes::from(piece)));
        }
        Ok(futures::stream::iter(pieces).boxed())
    }
}

/// The target that a URL names.
pub(crate) fn target(url: &str) -> Target {
    Target::parse(&Secret::new(url.to_owned())).expect("URL of the test server")
}

/// No progress.
pub(crate) fn silent() -> SharedProgress {
    Arc::new(Silent)
}

/// The machine's clock.
pub(crate) fn clock() -> SharedClock {
    Arc::new(SystemClock)
}

/// Two jobs, nothing left out.
pub(crate) fn options() -> ExportOptions {
    ExportOptions { jobs: 2, exclude_table_data: Vec::new(), allow_unmodeled: false }
}

/// Exports a database into memory.
pub(crate) async fn export_to(memory: &Memory, url: &str, options: &ExportOptions) -> Result<Export> {
    export(&target(url), options, Ok, Arc::new(memory.clone()), &silent(), &Shutdown::new(), &clock()).await
}

/// What a restore of an export gets.
pub(crate) fn input(export: Export) -> RestoreInput {
    RestoreInput {
        database: export.database,
        source: export.facts,
        entries: export.entries.into(),
        cluster: Arc::default(),
        tables: export.tables.into(),
    }
}
