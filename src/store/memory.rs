//! Objects in memory, for tests and for trying things out.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};

use super::{Body, ETag, Key, ObjectMeta, PutMode, Store, StoreError, StoreResult, check_prefix, sha256};

/// Objects that live as long as the value does.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<Objects>);

#[derive(Debug, Default)]
struct Objects {
    by_key: BTreeMap<Key, (Bytes, u64)>,
    /// Versions given out so far: none is ever given twice, also when an object is deleted and written again.
    versions: u64,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn below(&self, prefix: &str) -> Vec<ObjectMeta> {
        let objects = self.objects();
        let matching = objects.by_key.iter().filter(|(key, _)| key.as_str().starts_with(prefix));
        matching.map(|(key, (bytes, version))| meta(key, bytes, *version, false)).collect()
    }
}

fn etag(version: u64) -> ETag {
    ETag(version.to_string())
}

fn meta(key: &Key, bytes: &Bytes, version: u64, checksum: bool) -> ObjectMeta {
    ObjectMeta { key: key.clone(), size: bytes.len() as u64, etag: Some(etag(version)), sha256: checksum.then(|| sha256(bytes)) }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get_versioned(&self, key: &Key) -> StoreResult<(Bytes, ETag)> {
        match self.objects().by_key.get(key) {
            Some((bytes, version)) => Ok((bytes.clone(), etag(*version))),
            None => Err(StoreError::NotFound(key.clone())),
        }
    }

    async fn put_body(&self, key: &Key, body: Body, mode: PutMode) -> StoreResult<ETag> {
        let mut objects = self.objects();
        let current = objects.by_key.get(key).map(|(_, version)| etag(*version));
        match mode {
            PutMode::Create if current.is_some() => return Err(StoreError::AlreadyExists(key.clone())),
            PutMode::Replace(expected) if current.as_ref() != Some(&expected) => {
                return Err(StoreError::Precondition(key.clone()));
            }
            PutMode::Create | PutMode::Replace(_) | PutMode::Overwrite => {}
        }
        objects.versions += 1;
        let version = objects.versions;
        objects.by_key.insert(key.clone(), (body.into_bytes(), version));
        Ok(etag(version))
    }

    async fn head(&self, key: &Key, checksum: bool) -> StoreResult<ObjectMeta> {
        match self.objects().by_key.get(key) {
            Some((bytes, version)) => Ok(meta(key, bytes, *version, checksum)),
            None => Err(StoreError::NotFound(key.clone())),
        }
    }

    fn list(&self, prefix: &str) -> BoxStream<'_, StoreResult<ObjectMeta>> {
        match check_prefix(prefix) {
            Ok(()) => stream::iter(self.below(prefix).into_iter().map(Ok)).boxed(),
            Err(e) => stream::iter([Err(e)]).boxed(),
        }
    }

    async fn list_folders(&self, prefix: &str) -> StoreResult<Vec<String>> {
        check_prefix(prefix)?;
        let mut folders: Vec<String> = self
            .below(prefix)
            .iter()
            .filter_map(|m| m.key.as_str()[prefix.len()..].split_once('/'))
            .map(|(f, _)| f.to_owned())
            .collect();
        folders.sort();
        folders.dedup();
        Ok(folders)
    }

    async fn delete(&self, key: &Key) -> StoreResult<()> {
        self.objects().by_key.remove(key);
        Ok(())
    }

    fn describe(&self) -> String {
        "memory:".to_owned()
    }
}
