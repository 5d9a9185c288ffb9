//! Counts what a store is asked and what it moves.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use serde::Serialize;

use crate::base::limits::LISTING_PAGE;

use super::{Body, ETag, Key, ObjectMeta, PutMode, SharedStore, Store, StoreError, StoreResult};

/// Counters of one operation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct OperationCount {
    /// Requests sent, tries included.
    pub requests: u64,
    /// Requests that ended in an error other than "not found" and unmet conditions.
    pub failures: u64,
    /// Bytes of object content that successful requests moved.
    pub bytes: u64,
}

/// Counters of all operations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct StoreUsage {
    /// Reads of whole objects; bytes received.
    pub get: OperationCount,
    /// Writes; bytes sent.
    pub put: OperationCount,
    /// Questions about one object.
    pub head: OperationCount,
    /// Listings, one request for each thousand objects begun.
    pub list: OperationCount,
    /// Deletions.
    pub delete: OperationCount,
}

impl StoreUsage {
    /// Requests of all kinds.
    pub fn requests(&self) -> u64 {
        [self.get, self.put, self.head, self.list, self.delete].iter().map(|count| count.requests).sum()
    }
}

/// Where the counters of a [`MeteredStore`] are read.
#[derive(Debug, Default)]
pub struct Meter(Mutex<StoreUsage>);

impl Meter {
    /// The counters as they are now.
    pub fn usage(&self) -> StoreUsage {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count<T>(
        &self,
        pick: impl FnOnce(&mut StoreUsage) -> &mut OperationCount,
        answer: &StoreResult<T>,
        bytes: impl FnOnce(&T) -> usize,
    ) {
        let mut usage = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = pick(&mut usage);
        count.requests += 1;
        match answer {
            Ok(value) => count.bytes += bytes(value) as u64,
            Err(StoreError::Other(_)) => count.failures += 1,
            Err(_) => {}
        }
    }
}

/// A store that counts its requests.
#[derive(Debug)]
pub struct MeteredStore {
    inner: SharedStore,
    meter: Arc<Meter>,
}

impl MeteredStore {
    /// Counts requests to `inner` on `meter`.
    pub fn new(inner: SharedStore, meter: Arc<Meter>) -> Self {
        Self { inner, meter }
    }

    /// Counts the requests of a listing as they are sent.
    fn counted<'a>(&'a self, listing: BoxStream<'a, StoreResult<ObjectMeta>>) -> BoxStream<'a, StoreResult<ObjectMeta>> {
        self.meter.count(|u| &mut u.list, &Ok(()), |()| 0);
        let numbered = listing.zip(stream::iter(1..));
        let counted = numbered.map(move |(answer, number): (_, u64)| {
            if answer.is_err() {
                let mut usage = self.meter.0.lock().unwrap_or_else(PoisonError::into_inner);
                usage.list.failures += 1;
            } else if number > 1 && number % LISTING_PAGE as u64 == 1 {
                self.meter.count(|u| &mut u.list, &Ok(()), |()| 0);
            }
            answer
        });
        counted.boxed()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for MeteredStore {
    async fn get(&self, key: &Key) -> StoreResult<Bytes> {
        let answer = self.inner.get(key).await;
        self.meter.count(|u| &mut u.get, &answer, Bytes::len);
        answer
    }

    async fn get_versioned(&self, key: &Key) -> StoreResult<(Bytes, ETag)> {
        let answer = self.inner.get_versioned(key).await;
        self.meter.count(|u| &mut u.get, &answer, |(body, _)| body.len());
        answer
    }

    async fn put_body(&self, key: &Key, body: Body, mode: PutMode) -> StoreResult<ETag> {
        let size = body.bytes().len();
        let answer = self.inner.put_body(key, body, mode).await;
        self.meter.count(|u| &mut u.put, &answer, |_| size);
        answer
    }

    async fn head(&self, key: &Key, checksum: bool) -> StoreResult<ObjectMeta> {
        let answer = self.inner.head(key, checksum).await;
        self.meter.count(|u| &mut u.head, &answer, |_| 0);
        answer
    }

    fn list(&self, prefix: &str) -> BoxStream<'_, StoreResult<ObjectMeta>> {
        self.counted(self.inner.list(prefix))
    }

    fn list_after(&self, prefix: &str, after: &str) -> BoxStream<'_, StoreResult<ObjectMeta>> {
        self.counted(self.inner.list_after(prefix, after))
    }

    async fn list_folders(&self, prefix: &str) -> StoreResult<Vec<String>> {
        let answer = self.inner.list_folders(prefix).await;
        self.meter.count(|u| &mut u.list, &answer, |_| 0);
        answer
    }

    async fn delete(&self, key: &Key) -> StoreResult<()> {
        let answer = self.inner.delete(key).await;
        self.meter.count(|u| &mut u.delete, &answer, |()| 0);
        answer
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreExt as _;
    use crate::store::memory::MemoryStore;
    use futures::TryStreamExt as _;

    #[tokio::test]
    async fn requests_bytes_and_failures_are_counted() {
        let meter = Arc::new(Meter::default());
        let store = MeteredStore::new(Arc::new(MemoryStore::new()), meter.clone());
        let key: Key = "a/b".parse().expect("key");
        store.put(&key, Bytes::from_static(b"12345"), PutMode::Create).await.expect("create");
        store.put(&key, Bytes::from_static(b"12345"), PutMode::Create).await.expect_err("exists");
        store.get(&key).await.expect("read");
        store.delete(&key).await.expect("delete");
        store.get(&key).await.expect_err("absent");
        store.list("no slash").try_collect::<Vec<_>>().await.expect_err("bad prefix");
        for i in 0..1001 {
            store.put(&format!("n/{i}").parse().expect("key"), Bytes::new(), PutMode::Overwrite).await.expect("write");
        }
        assert_eq!(store.list("n/").try_collect::<Vec<_>>().await.expect("list").len(), 1001);
        let count = |requests, failures, bytes| OperationCount { requests, failures, bytes };
        let expected = StoreUsage {
            get: count(2, 0, 5),
            put: count(1003, 0, 5),
            head: count(0, 0, 0),
            list: count(3, 1, 0),
            delete: count(1, 0, 0),
        };
        assert_eq!(meter.usage(), expected);
        assert_eq!(expected.requests(), 1009);
    }
}
