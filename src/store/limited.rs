//! Bounds the requests in flight to a store.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{Body, ETag, Key, ObjectMeta, PutMode, SharedStore, Store, StoreResult};
use crate::base::Error;

/// Name of the objects whose requests never wait: a vault's lease.
const LEASE: &str = "lease.json";

/// A store that serves at most so many requests at once; the others wait in order.
///
/// A listing holds no place: it has one request in flight at most, and a caller who works on each object before
/// asking for the next would otherwise wait for itself. Nor does a request for a lease: one that waits behind a run's own
/// uploads would let the lease expire.
#[derive(Debug)]
pub struct LimitedStore {
    inner: SharedStore,
    places: Semaphore,
}

impl LimitedStore {
    /// At most `requests` (one at least) at once to `inner`.
    pub fn new(inner: SharedStore, requests: usize) -> Self {
        Self { inner, places: Semaphore::new(requests.clamp(1, Semaphore::MAX_PERMITS)) }
    }

    /// A place for a request for `key`; `None` for one that goes past the limit.
    async fn place_for(&self, key: &Key) -> StoreResult<Option<SemaphorePermit<'_>>> {
        if key.name() == LEASE { Ok(None) } else { self.place().await.map(Some) }
    }

    async fn place(&self) -> StoreResult<SemaphorePermit<'_>> {
        self.places.acquire().await.map_err(|e| Error::internal("the store's request limit is closed").source(e).into())
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for LimitedStore {
    async fn get(&self, key: &Key) -> StoreResult<Bytes> {
        let _place = self.place_for(key).await?;
        self.inner.get(key).await
    }

    async fn get_versioned(&self, key: &Key) -> StoreResult<(Bytes, ETag)> {
        let _place = self.place_for(key).await?;
        self.inner.get_versioned(key).await
    }

    async fn put_body(&self, key: &Key, body: Body, mode: PutMode) -> StoreResult<ETag> {
        let _place = self.place_for(key).await?;
        self.inner.put_body(key, body, mode).await
    }

    async fn head(&self, key: &Key, checksum: bool) -> StoreResult<ObjectMeta> {
        let _place = self.place_for(key).await?;
        self.inner.head(key, checksum).await
    }

    fn list(&self, prefix: &str) -> BoxStream<'_, StoreResult<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_after(&self, prefix: &str, after: &str) -> BoxStream<'_, StoreResult<ObjectMeta>> {
        self.inner.list_after(prefix, after)
    }

    async fn list_folders(&self, prefix: &str) -> StoreResult<Vec<String>> {
        let _place = self.place().await?;
        self.inner.list_folders(prefix).await
    }

    async fn delete(&self, key: &Key) -> StoreResult<()> {
        let _place = self.place_for(key).await?;
        self.inner.delete(key).await
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreExt as _;
    use crate::store::faulty::{Fault, FaultyStore};
    use crate::store::memory::MemoryStore;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[tokio::test]
    async fn never_more_requests_at_once_than_allowed() {
        let running = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(0));
        let memory: SharedStore = Arc::new(MemoryStore::new());
        // Each request enters through the outer fault, stays for the delay of the inner one, and leaves.
        let counting = Arc::new(FaultyStore::new(memory).always(Fault::Delay(Duration::from_millis(5))));
        let (enter, peak) = (running.clone(), most.clone());
        let gate = Arc::new(FaultyStore::new(counting).always(Fault::call(move |_| {
            peak.fetch_max(enter.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        })));
        let store = Arc::new(LimitedStore::new(gate, 3));
        let tasks = (0..20).map(|i| {
            let (store, running) = (store.clone(), running.clone());
            tokio::spawn(async move {
                let key: Key = format!("k{i}").parse().expect("key");
                let _place = store.place().await.expect("place");
                store.inner.put(&key, Bytes::new(), PutMode::Create).await.expect("write");
                running.fetch_sub(1, Ordering::SeqCst);
            })
        });
        futures::future::join_all(tasks).await.into_iter().for_each(|t| t.expect("task"));
        assert_eq!(most.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn a_lease_is_renewed_while_uploads_hold_every_place() {
        let store = LimitedStore::new(Arc::new(MemoryStore::new()), 1);
        let upload = store.place().await.expect("place");
        let lease: Key = "db/lease.json".parse().expect("key");
        let part: Key = "db/parts/ab/lease".parse().expect("key");
        let put = |key| store.put(key, Bytes::from_static(b"x"), PutMode::Overwrite);
        assert!(futures::FutureExt::now_or_never(put(&part)).is_none(), "the only place is taken");
        let soon = Duration::from_secs(5);
        tokio::time::timeout(soon, put(&lease)).await.expect("a lease does not wait").expect("write");
        tokio::time::timeout(soon, store.get_versioned(&lease)).await.expect("a lease does not wait").expect("read");
        drop(upload);
        put(&part).await.expect("the place is free");
    }
}
