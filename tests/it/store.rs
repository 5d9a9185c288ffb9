//! Every store and every wrapper keeps the promises of the trait.
#![allow(clippy::expect_used, reason = "a test that cannot go on ends")]

mod children;
mod endpoint;
mod folder;
mod s3;

use std::sync::Arc;
use std::time::Duration;

use pgkeep::base::clock::SystemClock;
use pgkeep::base::ids::random_hex;
use pgkeep::base::retry::Backoff;
use pgkeep::store::faulty::FaultyStore;
use pgkeep::store::limited::LimitedStore;
use pgkeep::store::memory::MemoryStore;
use pgkeep::store::metered::{Meter, MeteredStore};
use pgkeep::store::prefixed::PrefixedStore;
use pgkeep::store::retrying::RetryingStore;
use pgkeep::store::{Key, SharedStore, conformance};

fn key(text: &str) -> Key {
    text.parse().expect("key")
}

/// Patience for many faults, in little time.
fn eager(tries: u32) -> Backoff {
    Backoff { tries, first: Duration::from_millis(1), max: Duration::from_millis(5) }
}

fn retrying(inner: SharedStore) -> SharedStore {
    Arc::new(RetryingStore::new(inner, Arc::new(SystemClock), eager(20)))
}

async fn conforms(name: &str, handles: &[SharedStore]) {
    conformance::check(handles).await.unwrap_or_else(|e| panic!("{name}: {e:?}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_conforms() {
    conforms("memory", &[Arc::new(MemoryStore::new())]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wrapper_conforms() {
    let memory = || -> SharedStore { Arc::new(MemoryStore::new()) };
    let wrapped: [(&str, SharedStore); 5] = [
        ("prefixed", Arc::new(PrefixedStore::new(memory(), "some/prefix").expect("prefix"))),
        ("metered", Arc::new(MeteredStore::new(memory(), Arc::new(Meter::default())))),
        ("limited", Arc::new(LimitedStore::new(memory(), 2))),
        ("retrying", retrying(memory())),
        ("faulty without faults", Arc::new(FaultyStore::new(memory()))),
    ];
    for (name, store) in wrapped {
        conforms(name, &[store]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_keep_the_promises_while_requests_fail_and_answers_are_lost() {
    for _ in 0..4 {
        let seed = u64::from_str_radix(&random_hex(8), 16).expect("hexadecimal");
        let memory: SharedStore = Arc::new(MemoryStore::new());
        let handles: Vec<SharedStore> =
            (0..3).map(|i| retrying(Arc::new(FaultyStore::new(memory.clone()).seeded(seed.wrapping_add(i), 0.3)))).collect();
        conforms(&format!("faulty with seed {seed}"), &handles).await;
    }
}
