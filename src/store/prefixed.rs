//! A folder of a store as a store of its own.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};

use super::{Body, ETag, Key, ObjectMeta, PutMode, SharedStore, Store, StoreError, StoreResult, check_prefix};
use crate::base::{Error, Result};

/// The part of a store below one folder, whose name its keys do not carry.
#[derive(Debug)]
pub struct PrefixedStore {
    inner: SharedStore,
    /// Ends in `/`.
    prefix: String,
}

impl PrefixedStore {
    /// What lies below `folder` (segments joined by `/`) in `inner`.
    pub fn new(inner: SharedStore, folder: &str) -> Result<Self> {
        let folder: Key = folder.parse()?;
        Ok(Self { inner, prefix: format!("{folder}/") })
    }

    fn outer(&self, key: &Key) -> StoreResult<Key> {
        Ok(format!("{}{key}", self.prefix).parse()?)
    }

    fn strip(&self, meta: ObjectMeta) -> StoreResult<ObjectMeta> {
        match meta.key.as_str().strip_prefix(&self.prefix) {
            Some(key) => Ok(ObjectMeta { key: key.parse()?, ..meta }),
            None => {
                Err(Error::internal(format!("the store answered with '{}', which is not below '{}'", meta.key, self.prefix))
                    .into())
            }
        }
    }
}

/// Names the caller's key in an error, not the store's.
fn named<T>(key: &Key, answer: StoreResult<T>) -> StoreResult<T> {
    answer.map_err(|e| match e {
        StoreError::NotFound(_) => StoreError::NotFound(key.clone()),
        StoreError::AlreadyExists(_) => StoreError::AlreadyExists(key.clone()),
        StoreError::Precondition(_) => StoreError::Precondition(key.clone()),
        other @ StoreError::Other(_) => other,
    })
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for PrefixedStore {
    async fn get(&self, key: &Key) -> StoreResult<Bytes> {
        named(key, self.inner.get(&self.outer(key)?).await)
    }

    async fn get_versioned(&self, key: &Key) -> StoreResult<(Bytes, ETag)> {
        named(key, self.inner.get_versioned(&self.outer(key)?).await)
    }

    async fn put_body(&self, key: &Key, body: Body, mode: PutMode) -> StoreResult<ETag> {
        named(key, self.inner.put_body(&self.outer(key)?, body, mode).await)
    }

    async fn head(&self, key: &Key, checksum: bool) -> StoreResult<ObjectMeta> {
        named(key, self.inner.head(&self.outer(key)?, checksum).await).and_then(|meta| self.strip(meta))
    }

    fn list(&self, prefix: &str) -> BoxStream<'_, StoreResult<ObjectMeta>> {
        if let Err(e) = check_prefix(prefix) {
            return stream::iter([Err(e)]).boxed();
        }
        self.inner.list(&format!("{}{prefix}", self.prefix)).map(|meta| self.strip(meta?)).boxed()
    }

    fn list_after(&self, prefix: &str, after: &str) -> BoxStream<'_, StoreResult<ObjectMeta>> {
        if let Err(e) = check_prefix(prefix) {
            return stream::iter([Err(e)]).boxed();
        }
        let listed = self.inner.list_after(&format!("{}{prefix}", self.prefix), &format!("{}{after}", self.prefix));
        listed.map(|meta| self.strip(meta?)).boxed()
    }

    async fn list_folders(&self, prefix: &str) -> StoreResult<Vec<String>> {
        check_prefix(prefix)?;
        self.inner.list_folders(&format!("{}{prefix}", self.prefix)).await
    }

    async fn delete(&self, key: &Key) -> StoreResult<()> {
        named(key, self.inner.delete(&self.outer(key)?).await)
    }

    fn describe(&self) -> String {
        format!("{}/{}", self.inner.describe().trim_end_matches('/'), self.prefix.trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreExt as _;
    use crate::store::memory::MemoryStore;
    use futures::TryStreamExt as _;
    use std::sync::Arc;

    #[tokio::test]
    async fn neighbours_are_out_of_reach_and_keys_are_relative() {
        let memory: SharedStore = Arc::new(MemoryStore::new());
        let store = PrefixedStore::new(memory.clone(), "prod/db").expect("prefix");
        let key = |text: &str| text.parse::<Key>().expect("key");
        for outside in ["prod/db2/x", "prod/db", "x"] {
            memory.put(&key(outside), Bytes::new(), PutMode::Create).await.expect("write");
        }
        store.put(&key("x"), Bytes::from_static(b"1"), PutMode::Create).await.expect("write");
        assert_eq!(memory.get(&key("prod/db/x")).await.expect("read"), "1");
        let listed: Vec<ObjectMeta> = store.list("").try_collect().await.expect("list");
        assert_eq!(listed.iter().map(|m| m.key.as_str()).collect::<Vec<_>>(), ["x"]);
        let again = store.put(&key("x"), Bytes::new(), PutMode::Create).await;
        assert!(matches!(again, Err(StoreError::AlreadyExists(k)) if k == key("x")));
        assert_eq!(store.describe(), "memory:/prod/db");
    }
}
