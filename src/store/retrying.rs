//! Sends requests again that failed for a passing reason, and settles what a lost answer leaves open.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::Mutex;

use super::{Body, ETag, Key, NotApplied, ObjectMeta, PutMode, SharedStore, Store, StoreError, StoreResult};
use crate::base::Error;
use crate::base::clock::SharedClock;
use crate::base::retry::{Backoff, retry};

/// A store whose retryable errors are retried.
///
/// When a conditional write fails its condition after an earlier try of the same call ended without a certain answer, the
/// object is read back: if it holds the very bytes of this call, the earlier try wrote them and the call succeeded. Callers that
/// race must therefore write bytes that no other writer writes (our documents carry a unique write id); where the bytes are named by their content,
/// it does not matter who wrote them. If it holds other bytes, the condition's error stands: somebody else wrote the object last, and whether
/// this call's bytes stood there in between is not known.
#[derive(Debug)]
pub struct RetryingStore {
    inner: SharedStore,
    clock: SharedClock,
    backoff: Backoff,
}

impl RetryingStore {
    /// Retries requests to `inner` as `backoff` says.
    pub fn new(inner: SharedStore, clock: SharedClock, backoff: Backoff) -> Self {
        Self { inner, clock, backoff }
    }

    async fn retry<T, F>(&self, what: impl FnOnce() -> String, mut request: impl FnMut() -> F) -> StoreResult<T>
    where
        F: Future<Output = StoreResult<T>>,
    {
        let what = what();
        let answer = retry(self.clock.as_ref(), self.backoff, &what, || {
            let answer = request();
            async move {
                match answer.await {
                    Err(StoreError::Other(e)) => Err(e),
                    certain => Ok(certain),
                }
            }
        });
        answer.await.unwrap_or_else(|e| Err(e.into()))
    }

    fn listing(&self, prefix: &str, after: Option<String>) -> BoxStream<'_, StoreResult<ObjectMeta>> {
        let listing = Listing { store: self, prefix: prefix.to_owned(), running: Mutex::new(None) };
        stream::try_unfold((listing, after), |(listing, after)| async move {
            let what = || format!("list '{}'", listing.prefix);
            let next = listing.store.retry(what, || listing.next_after(after.as_deref())).await?;
            Ok(next.map(|meta| (meta.clone(), (listing, Some(meta.key.as_str().to_owned())))))
        })
        .boxed()
    }

    /// Whether the object holds `body`, and its version.
    async fn holds(&self, key: &Key, body: &Bytes) -> StoreResult<Option<ETag>> {
        match self.get_versioned(key).await {
            Ok((found, etag)) => Ok((found == *body).then_some(etag)),
            Err(StoreError::NotFound(_)) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// Whether the request that ended with `e` may have taken effect.
fn is_ambiguous(e: &Error) -> bool {
    e.kind().retryable() && !NotApplied::marks(e)
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for RetryingStore {
    async fn get(&self, key: &Key) -> StoreResult<Bytes> {
        self.retry(|| format!("read '{key}'"), || self.inner.get(key)).await
    }

    async fn get_versioned(&self, key: &Key) -> StoreResult<(Bytes, ETag)> {
        self.retry(|| format!("read '{key}'"), || self.inner.get_versioned(key)).await
    }

    async fn put_body(&self, key: &Key, body: Body, mode: PutMode) -> StoreResult<ETag> {
        let in_doubt = AtomicBool::new(false);
        let attempt = || async {
            let answer = self.inner.put_body(key, body.clone(), mode.clone()).await;
            if let Err(StoreError::Other(e)) = &answer
                && is_ambiguous(e)
            {
                in_doubt.store(true, Ordering::Relaxed);
            }
            answer
        };
        let answer = self.retry(|| format!("write '{key}'"), attempt).await;
        match answer {
            Err(StoreError::AlreadyExists(_) | StoreError::Precondition(_)) if in_doubt.load(Ordering::Relaxed) => {
                self.holds(key, body.bytes()).await?.map_or(answer, Ok)
            }
            certain => certain,
        }
    }

    async fn head(&self, key: &Key, checksum: bool) -> StoreResult<ObjectMeta> {
        self.retry(|| format!("examine '{key}'"), || self.inner.head(key, checksum)).await
    }

    /// Goes on after a failure where it stopped.
    fn list(&self, prefix: &str) -> BoxStream<'_, StoreResult<ObjectMeta>> {
        self.listing(prefix, None)
    }

    fn list_after(&self, prefix: &str, after: &str) -> BoxStream<'_, StoreResult<ObjectMeta>> {
        self.listing(prefix, Some(after.to_owned()))
    }

    async fn list_folders(&self, prefix: &str) -> StoreResult<Vec<String>> {
        self.retry(|| format!("list folders of '{prefix}'"), || self.inner.list_folders(prefix)).await
    }

    async fn delete(&self, key: &Key) -> StoreResult<()> {
        self.retry(|| format!("delete '{key}'"), || self.inner.delete(key)).await
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

struct Listing<'a> {
    store: &'a RetryingStore,
    prefix: String,
    running: Mutex<Option<BoxStream<'a, StoreResult<ObjectMeta>>>>,
}

impl Listing<'_> {
    /// The first object after `after`; after an error, the next call lists anew from there.
    async fn next_after(&self, after: Option<&str>) -> StoreResult<Option<ObjectMeta>> {
        let mut running = self.running.lock().await;
        let mut stream = running.take().unwrap_or_else(|| match after {
            Some(after) => self.store.inner.list_after(&self.prefix, after),
            None => self.store.inner.list(&self.prefix),
        });
        match stream.next().await {
            Some(Ok(meta)) => {
                *running = Some(stream);
                Ok(Some(meta))
            }
            Some(Err(e)) => Err(e),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::ManualClock;
    use crate::base::ids::random_hex;
    use crate::store::StoreExt as _;
    use crate::store::faulty::{Fault, FaultyStore};
    use crate::store::memory::MemoryStore;
    use std::sync::Arc;
    use std::time::Duration;

    fn retrying(faulty: FaultyStore) -> RetryingStore {
        let backoff = Backoff { tries: 3, first: Duration::from_millis(1), max: Duration::from_millis(1) };
        RetryingStore::new(Arc::new(faulty), ManualClock::new(jiff::Timestamp::UNIX_EPOCH), backoff)
    }

    fn key() -> Key {
        "lease.json".parse().expect("key")
    }

    #[tokio::test]
    async fn a_lost_answer_to_a_conditional_write_is_settled_by_reading_back() {
        let memory: SharedStore = Arc::new(MemoryStore::new());
        let store = retrying(FaultyStore::new(memory.clone()).at(0, Fault::LoseAnswer).at(4, Fault::LoseAnswer));
        let etag = store.put(&key(), Bytes::from(random_hex(8)), PutMode::Create).await.expect("create");
        let body = Bytes::from(random_hex(8));
        store.get(&key()).await.expect("read");
        store.put(&key(), body.clone(), PutMode::Replace(etag)).await.expect("replace");
        assert_eq!(memory.get(&key()).await.expect("read"), body);
    }

    #[tokio::test]
    async fn without_an_earlier_doubt_equal_bytes_are_still_a_lost_race() {
        let memory: SharedStore = Arc::new(MemoryStore::new());
        memory.put(&key(), Bytes::from_static(b"same"), PutMode::Create).await.expect("create");
        let clean = retrying(FaultyStore::new(memory.clone()));
        let refused = retrying(FaultyStore::new(memory.clone()).at(0, Fault::TurnAway));
        for store in [clean, refused] {
            let answer = store.put(&key(), Bytes::from_static(b"same"), PutMode::Create).await;
            assert!(matches!(answer, Err(StoreError::AlreadyExists(_))), "{answer:?}");
        }
        let other = retrying(FaultyStore::new(memory).at(0, Fault::LoseAnswer));
        let answer = other.put(&key(), Bytes::from_static(b"other"), PutMode::Create).await;
        assert!(matches!(answer, Err(StoreError::AlreadyExists(_))), "{answer:?}");
    }

    #[tokio::test]
    async fn tries_run_out_and_refusals_are_not_retried() {
        let store = retrying(FaultyStore::new(Arc::new(MemoryStore::new())).always(Fault::FailBefore));
        let e = Error::from(store.get(&key()).await.expect_err("fails for ever"));
        assert!(e.message().contains("read 'lease.json' (after 3 tries)"), "{e:?}");
        let faulty = Arc::new(FaultyStore::new(Arc::new(MemoryStore::new())).always(Fault::Refuse));
        let store = RetryingStore::new(faulty.clone(), ManualClock::new(jiff::Timestamp::UNIX_EPOCH), Backoff::STORE);
        store.get(&key()).await.expect_err("refused");
        assert_eq!(faulty.requests(), 1);
    }
}
