//! Objects as files below a folder, safe against crashes and against other processes.
//!
//! A write goes to a temporary name in the target's own folder, is synced, moved to its key without ever overwriting (create)
//! or by rename (replace, overwrite), and the folders up to the root are synced before `put` returns: a reader sees the old
//! object, the new one or none. Names that start with `.pgkeep-` are the store's own (temporaries, the lock file) and no
//! part of the key space. Replacing, overwriting and deleting hold an exclusive lock on `<root>/.pgkeep-lock` while they compare and
//! rename; creating needs none. The version of an object is the SHA-256 of its content. Files are made with mode 0640, folders with 0750.

mod files;
mod walk;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};

use super::{Body, ETag, Key, ObjectMeta, PutMode, Store, StoreResult, check_prefix};
use crate::base::clock::SharedClock;
use crate::base::threads::blocking;
use crate::base::{Error, Result};
use files::{Files, etag};
use walk::Walk;

/// Objects as files below a folder.
#[derive(Debug, Clone)]
pub struct LocalStore {
    files: Arc<Files>,
    clock: SharedClock,
}

impl LocalStore {
    /// A store in the folder `root`, which the first `put` creates. Fails when the path is relative or names a file.
    pub fn new(root: impl Into<PathBuf>, clock: SharedClock) -> Result<Self> {
        let root = root.into();
        if !root.is_absolute() {
            return Err(Error::usage(format!("store folder '{}' is not an absolute path", root.display())));
        }
        if root.exists() && !root.is_dir() {
            return Err(
                Error::denied(format!("store folder '{}' is a file", root.display())).hint("name a folder in the store's URL")
            );
        }
        Ok(Self { files: Arc::new(Files::new(root)), clock })
    }

    fn walk(&self, walk: Walk) -> BoxStream<'_, StoreResult<ObjectMeta>> {
        stream::try_unfold(walk, move |mut walk| async move {
            if let Some(meta) = walk.ready() {
                return Ok(Some((meta, walk)));
            }
            let now = self.clock.now();
            self.blocking(move |files| Ok(walk.next(files, now)?.map(|meta| (meta, walk)))).await
        })
        .boxed()
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&Files) -> StoreResult<T> + Send + 'static) -> StoreResult<T> {
        let files = Arc::clone(&self.files);
        blocking(move || Ok(work(&files))).await?
    }
}

#[async_trait]
impl Store for LocalStore {
    async fn get(&self, key: &Key) -> StoreResult<Bytes> {
        let key = key.clone();
        self.blocking(move |files| files.read(&key)).await
    }

    async fn get_versioned(&self, key: &Key) -> StoreResult<(Bytes, ETag)> {
        let key = key.clone();
        self.blocking(move |files| files.read_versioned(&key)).await
    }

    async fn put_body(&self, key: &Key, body: Body, mode: PutMode) -> StoreResult<ETag> {
        let key = key.clone();
        self.blocking(move |files| {
            files.write(&key, body.bytes(), &mode)?;
            Ok(etag(&body.sha256()))
        })
        .await
    }

    async fn head(&self, key: &Key, checksum: bool) -> StoreResult<ObjectMeta> {
        let key = key.clone();
        self.blocking(move |files| files.examine(&key, checksum)).await
    }

    fn list(&self, prefix: &str) -> BoxStream<'_, StoreResult<ObjectMeta>> {
        if let Err(e) = check_prefix(prefix) {
            return stream::iter([Err(e)]).boxed();
        }
        self.walk(Walk::below(prefix, ""))
    }

    fn list_after(&self, prefix: &str, after: &str) -> BoxStream<'_, StoreResult<ObjectMeta>> {
        if let Err(e) = check_prefix(prefix) {
            return stream::iter([Err(e)]).boxed();
        }
        self.walk(Walk::below(prefix, after))
    }

    async fn list_folders(&self, prefix: &str) -> StoreResult<Vec<String>> {
        check_prefix(prefix)?;
        let (prefix, now) = (prefix.to_owned(), self.clock.now());
        self.blocking(move |files| walk::folders(files, &prefix, now)).await
    }

    async fn delete(&self, key: &Key) -> StoreResult<()> {
        let key = key.clone();
        self.blocking(move |files| files.remove(&key)).await
    }

    fn describe(&self) -> String {
        self.files.describe()
    }
}
