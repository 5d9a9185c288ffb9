//! A store that misbehaves on purpose and repeatably, to test what is built on it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Body, ETag, Key, NotApplied, ObjectMeta, PutMode, SharedStore, Store, StoreResult};
use crate::base::Error;
use crate::base::clock::{SharedClock, SystemClock};

/// What a request asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// `get` and `get_versioned`.
    Get,
    /// `put`.
    Put,
    /// `head`.
    Head,
    /// `list` and `list_folders`.
    List,
    /// `delete`.
    Delete,
}

/// One request, as faults see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// How many requests came before it.
    pub number: u64,
    /// What it asks.
    pub operation: Operation,
    /// Its key, or the prefix of a listing.
    pub key: String,
}

/// What goes wrong with a request.
#[derive(Clone)]
pub enum Fault {
    /// It never arrives, and the caller cannot know: a retryable error without effect.
    FailBefore,
    /// It takes effect, but the answer is lost: a retryable error. A listing breaks off after its first object.
    LoseAnswer,
    /// The store says that it did nothing and asks to come back later.
    TurnAway,
    /// The store refuses for good, as for lack of permission.
    Refuse,
    /// The answer takes this long.
    Delay(Duration),
    /// The content that a `get` answers has its middle byte inverted; other requests are served well.
    Corrupt,
    /// The function is called before the request is sent.
    Call(Hook),
}

/// A function called with a request.
pub type Hook = Arc<dyn Fn(&Request) + Send + Sync>;

impl Fault {
    /// [`Fault::Call`] of a closure.
    pub fn call(hook: impl Fn(&Request) + Send + Sync + 'static) -> Self {
        Self::Call(Arc::new(hook))
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FailBefore => f.write_str("FailBefore"),
            Self::LoseAnswer => f.write_str("LoseAnswer"),
            Self::TurnAway => f.write_str("TurnAway"),
            Self::Refuse => f.write_str("Refuse"),
            Self::Delay(d) => write!(f, "Delay({d:?})"),
            Self::Corrupt => f.write_str("Corrupt"),
            Self::Call(_) => f.write_str("Call"),
        }
    }
}

type Rule = Box<dyn Fn(&Request) -> Option<Fault> + Send + Sync>;

/// A store with faults. Every fault is a function of the request's number and nature, so that a run repeats itself as
/// far as its requests come in the same order. Delays and hooks of all matching rules apply; of the others, the first rule's does.
pub struct FaultyStore {
    inner: SharedStore,
    clock: SharedClock,
    rules: Vec<Rule>,
    requests: AtomicU64,
}

impl FaultyStore {
    /// `inner` without faults so far.
    pub fn new(inner: SharedStore) -> Self {
        Self { inner, clock: Arc::new(SystemClock), rules: Vec::new(), requests: AtomicU64::new(0) }
    }

    /// Sleeps for [`Fault::Delay`] on `clock`.
    pub fn with_clock(mut self, clock: SharedClock) -> Self {
        self.clock = clock;
        self
    }

    /// Adds a rule: the fault, if any, of each request.
    pub fn rule(mut self, rule: impl Fn(&Request) -> Option<Fault> + Send + Sync + 'static) -> Self {
        self.rules.push(Box::new(rule));
        self
    }

    /// `fault` at request `number`, counted from 0.
    pub fn at(self, number: u64, fault: Fault) -> Self {
        self.rule(move |request| (request.number == number).then(|| fault.clone()))
    }

    /// `fault` at every request.
    pub fn always(self, fault: Fault) -> Self {
        self.rule(move |_| Some(fault.clone()))
    }

    /// `fault` at every request of the kind `operation` whose key or prefix contains `text`.
    pub fn on(self, operation: Operation, text: impl Into<String>, fault: Fault) -> Self {
        let text = text.into();
        self.rule(move |request| (request.operation == operation && request.key.contains(&text)).then(|| fault.clone()))
    }

    /// Fails the given share (0 to 1) of all requests, half of them before and half of them after they took effect; the same
    /// `seed` picks the same request numbers.
    pub fn seeded(self, seed: u64, share: f64) -> Self {
        self.rule(move |request| {
            let draw = xxh3_64_with_seed(&request.number.to_le_bytes(), seed) as f64 / u64::MAX as f64;
            match draw {
                d if d < share / 2.0 => Some(Fault::FailBefore),
                d if d < share => Some(Fault::LoseAnswer),
                _ => None,
            }
        })
    }

    /// Requests so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }

    fn listing<'a>(
        &'a self,
        prefix: &str,
        inner: BoxStream<'a, StoreResult<ObjectMeta>>,
    ) -> BoxStream<'a, StoreResult<ObjectMeta>> {
        let course = self.begin(Operation::List, prefix);
        let answer = async move {
            if let Err(e) = course.before().await {
                return stream::iter([Err(e)]).boxed();
            }
            match course.after() {
                Ok(()) => inner,
                Err(e) => inner.take(1).chain(stream::iter([Err(e)])).boxed(),
            }
        };
        stream::once(answer).flatten().boxed()
    }

    /// Counts the request and decides what goes wrong with it.
    fn begin(&self, operation: Operation, key: impl Into<String>) -> Course<'_> {
        let request = Request { number: self.requests.fetch_add(1, Ordering::SeqCst), operation, key: key.into() };
        let mut course = Course { store: self, delay: Duration::ZERO, hooks: Vec::new(), fault: None, request };
        for fault in self.rules.iter().filter_map(|rule| rule(&course.request)) {
            match fault {
                Fault::Delay(delay) => course.delay += delay,
                Fault::Call(hook) => course.hooks.push(hook),
                other => course.fault = course.fault.or(Some(other)),
            }
        }
        course
    }
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore").field("inner", &self.inner).field("requests", &self.requests).finish_non_exhaustive()
    }
}

/// One request on its way.
struct Course<'a> {
    store: &'a FaultyStore,
    request: Request,
    delay: Duration,
    hooks: Vec<Hook>,
    fault: Option<Fault>,
}

impl Course<'_> {
    fn describe(&self, what: &str) -> String {
        format!("injected fault at request {} ({:?} '{}'): {what}", self.request.number, self.request.operation, self.request.key)
    }

    /// Hooks, delay, and the faults that keep the request from the store.
    async fn before(&self) -> StoreResult<()> {
        for hook in &self.hooks {
            hook(&self.request);
        }
        if !self.delay.is_zero() {
            self.store.clock.sleep(self.delay).await;
        }
        match self.fault {
            Some(Fault::FailBefore) => Err(Error::unavailable(self.describe("no answer")).into()),
            Some(Fault::TurnAway) => {
                Err(Error::unavailable(self.describe("turned away")).source(NotApplied("slow down".to_owned())).into())
            }
            Some(Fault::Refuse) => Err(Error::denied(self.describe("refused")).into()),
            _ => Ok(()),
        }
    }

    /// The fault that keeps the answer from the caller.
    fn after(&self) -> StoreResult<()> {
        match self.fault {
            Some(Fault::LoseAnswer) => Err(Error::unavailable(self.describe("answer lost")).into()),
            _ => Ok(()),
        }
    }

    async fn run<T>(self, answer: impl Future<Output = StoreResult<T>>) -> StoreResult<T> {
        self.before().await?;
        let answer = answer.await;
        self.after()?;
        answer
    }

    fn damage(&self, body: Bytes) -> Bytes {
        match self.fault {
            Some(Fault::Corrupt) if !body.is_empty() => {
                let mut bytes = body.to_vec();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 0xff;
                bytes.into()
            }
            _ => body,
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for FaultyStore {
    async fn get(&self, key: &Key) -> StoreResult<Bytes> {
        self.get_versioned(key).await.map(|(body, _)| body)
    }

    async fn get_versioned(&self, key: &Key) -> StoreResult<(Bytes, ETag)> {
        let course = self.begin(Operation::Get, key.as_str());
        course.before().await?;
        let answer = self.inner.get_versioned(key).await;
        course.after()?;
        answer.map(|(body, etag)| (course.damage(body), etag))
    }

    async fn put_body(&self, key: &Key, body: Body, mode: PutMode) -> StoreResult<ETag> {
        self.begin(Operation::Put, key.as_str()).run(self.inner.put_body(key, body, mode)).await
    }

    async fn head(&self, key: &Key, checksum: bool) -> StoreResult<ObjectMeta> {
        self.begin(Operation::Head, key.as_str()).run(self.inner.head(key, checksum)).await
    }

    fn list(&self, prefix: &str) -> BoxStream<'_, StoreResult<ObjectMeta>> {
        self.listing(prefix, self.inner.list(prefix))
    }

    fn list_after(&self, prefix: &str, after: &str) -> BoxStream<'_, StoreResult<ObjectMeta>> {
        self.listing(prefix, self.inner.list_after(prefix, after))
    }

    async fn list_folders(&self, prefix: &str) -> StoreResult<Vec<String>> {
        self.begin(Operation::List, prefix).run(self.inner.list_folders(prefix)).await
    }

    async fn delete(&self, key: &Key) -> StoreResult<()> {
        self.begin(Operation::Delete, key.as_str()).run(self.inner.delete(key)).await
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreError;
    use crate::store::StoreExt as _;
    use crate::store::memory::MemoryStore;
    use futures::TryStreamExt as _;
    use std::sync::Mutex;

    fn key(text: &str) -> Key {
        text.parse().expect("key")
    }

    #[tokio::test]
    async fn each_fault_does_what_it_says() {
        let memory: SharedStore = Arc::new(MemoryStore::new());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        let store = FaultyStore::new(memory.clone())
            .at(0, Fault::FailBefore)
            .at(1, Fault::LoseAnswer)
            .on(Operation::Get, "a", Fault::Corrupt)
            .at(4, Fault::LoseAnswer)
            .at(3, Fault::call(move |request| log.lock().expect("log").push(request.clone())));
        let (a, b, body) = (key("a"), key("b"), Bytes::from_static(b"123"));
        assert!(matches!(store.put(&a, body.clone(), PutMode::Create).await, Err(StoreError::Other(_))));
        assert!(matches!(memory.get(&a).await, Err(StoreError::NotFound(_))));
        assert!(matches!(store.put(&a, body.clone(), PutMode::Create).await, Err(StoreError::Other(_))));
        assert_eq!(memory.get(&a).await.expect("applied"), "123");
        assert_eq!(store.get(&a).await.expect("read")[..], [b'1', b'2' ^ 0xff, b'3']);
        store.put(&b, body, PutMode::Create).await.expect("write");
        assert_eq!(*seen.lock().expect("log"), [Request { number: 3, operation: Operation::Put, key: "b".to_owned() }]);
        let broken: Vec<_> = store.list("").collect().await;
        assert!(broken.len() == 2 && broken[0].is_ok() && broken[1].is_err());
        assert_eq!(store.list("").try_collect::<Vec<_>>().await.expect("list").len(), 2);
        assert_eq!(store.requests(), 6);
    }

    #[tokio::test]
    async fn a_seed_picks_the_same_requests_again() {
        let picked = |seed| async move {
            let store = FaultyStore::new(Arc::new(MemoryStore::new())).seeded(seed, 0.3);
            let mut failed = Vec::new();
            for _ in 0..200 {
                failed.push(store.delete(&key("a")).await.is_err());
            }
            failed
        };
        let first = picked(1).await;
        assert_eq!(first, picked(1).await);
        assert_ne!(first, picked(2).await);
        let failures = first.iter().filter(|f| **f).count();
        assert!((30..=90).contains(&failures), "{failures} of 200");
    }
}
