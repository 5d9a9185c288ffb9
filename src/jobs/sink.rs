//! Rows from `pg` into the vault, and back.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use super::toc::stream_name;
use crate::base::Result;
use crate::base::fingerprint::Fingerprint;
use crate::pg::copy::{GroupSink, Sink, Source};
use crate::repo::group::GroupWriter;
use crate::repo::reader::BackupReader;
use crate::repo::writer::Writer;

/// Takes the streams of one database.
#[derive(Debug)]
pub struct VaultSink {
    writer: Arc<Writer>,
    database: String,
}

impl VaultSink {
    /// Streams go to `writer`, their names prefixed with the database's.
    pub fn new(writer: Arc<Writer>, database: &str) -> Arc<Self> {
        Arc::new(Self { writer, database: database.to_owned() })
    }
}

#[async_trait]
impl Sink for VaultSink {
    async fn group(&self, name: &str) -> Result<Box<dyn GroupSink>> {
        let group = self.writer.group(&stream_name(&self.database, name));
        Ok(Box::new(VaultGroup { group, database: self.database.clone() }))
    }
}

struct VaultGroup {
    group: GroupWriter,
    database: String,
}

#[async_trait]
impl GroupSink for VaultGroup {
    fn begin(&mut self, name: &str) -> Result<()> {
        self.group.begin(&stream_name(&self.database, name))
    }

    fn rows(&mut self, rows: &mut dyn Iterator<Item = &[u8]>) -> Result<bool> {
        self.group.rows(rows)
    }

    async fn flush(&mut self) -> Result<()> {
        self.group.flush().await
    }

    fn end(&mut self) -> Result<Fingerprint> {
        self.group.end()
    }

    async fn close(self: Box<Self>) -> Result<()> {
        self.group.close().await
    }
}

/// Gives the streams of a backup.
#[derive(Debug)]
pub struct VaultSource(pub BackupReader);

#[async_trait]
impl Source for VaultSource {
    async fn open(&self, name: &str) -> Result<BoxStream<'static, Result<Bytes>>> {
        self.0.stream(name)
    }
}
