//! The folder store between processes, under kill -9, and where the disk refuses.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt as _;
use pgkeep::base::clock::{Stopwatch, SystemClock};
use pgkeep::base::ids::random_fraction;
use pgkeep::base::{Error, Kind};
use pgkeep::store::local::LocalStore;
use pgkeep::store::{PutMode, SharedStore, StoreError, StoreExt as _};

use super::children::{ANSWER, RACE_INCREMENTS, RACE_KEYS, answers, child, is_whole};
use super::{conforms, key};

fn store(root: &Path) -> SharedStore {
    Arc::new(LocalStore::new(root, Arc::new(SystemClock)).expect("store"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_conforms_also_when_opened_several_times() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let root = dir.path().join("not/yet/there");
    let handles: Vec<SharedStore> = (0..4).map(|_| store(&root)).collect();
    conforms("folder", &handles).await;
    let left: Vec<_> = std::fs::read_dir(&root).expect("root").map(|entry| entry.expect("entry").file_name()).collect();
    assert_eq!(left, [".pgkeep-lock"], "folders and temporaries are gone with the objects");
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_race_as_tasks_do() {
    const PROCESSES: usize = 4;
    let dir = tempfile::tempdir().expect("temporary folder");
    let store = store(dir.path());
    store.put(&key("counter"), Bytes::from_static(b"0"), PutMode::Create).await.expect("create the counter");
    let place = dir.path().to_str().expect("path");
    let children: Vec<_> = (0..PROCESSES).map(|_| child("race", place).spawn().expect("start a child")).collect();
    let won: Vec<String> = children.into_iter().flat_map(answers).collect();
    let winners: BTreeMap<&str, &str> = won.iter().filter_map(|line| line.split_once(' ')).collect();
    assert_eq!((won.len(), winners.len()), (RACE_KEYS, RACE_KEYS), "each key has exactly one winner: {won:?}");
    for (i, body) in winners {
        assert_eq!(store.get(&key(&format!("race/{i}"))).await.expect("read"), body, "race/{i} holds the winner's bytes");
    }
    assert_eq!(store.get(&key("counter")).await.expect("read"), (PROCESSES * RACE_INCREMENTS).to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_killed_process_leaves_is_whole() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let store = store(dir.path());
    let mut listed = 0;
    for round in 0..12 {
        let mut writer = child("write until killed", dir.path().to_str().expect("path")).spawn().expect("start a child");
        let mut lines = BufReader::new(writer.stdout.take().expect("stdout")).lines();
        assert!(lines.any(|line| line.expect("line").contains(ANSWER)), "the child did not begin to write");
        let delay = Duration::from_micros((random_fraction() * 120_000.0) as u64);
        let running = Stopwatch::start();
        while running.elapsed() < delay {
            for i in 0..3 {
                match store.get(&key(&format!("overwritten/{i}"))).await {
                    Ok(body) => assert!(is_whole(&body), "round {round}: 'overwritten/{i}' is seen half-written"),
                    Err(e) => assert!(matches!(e, StoreError::NotFound(_)), "{e}"),
                }
            }
        }
        writer.kill().expect("kill -9");
        writer.wait().expect("wait");
        let objects: Vec<_> = store.list("").try_collect().await.expect("list");
        for meta in &objects {
            let body = store.get(&meta.key).await.expect("every listed object can be read");
            let intact = meta.size == body.len() as u64 && is_whole(&body) && !meta.key.as_str().contains(".pgkeep-");
            assert!(intact, "round {round}, killed after {delay:?}: '{}' is not whole", meta.key);
        }
        listed = listed.max(objects.len());
        store.put(&key("after"), Bytes::from_static(b"x"), PutMode::Overwrite).await.expect("no lock outlives its process");
        store.delete(&key("after")).await.expect("delete");
    }
    assert!(listed > 3, "the children wrote something to look at");
}

#[tokio::test]
async fn a_root_that_is_a_file_and_a_place_that_is_not_ours_are_named() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let file = dir.path().join("file");
    std::fs::write(&file, "x").expect("write");
    let e = LocalStore::new(&file, Arc::new(SystemClock)).expect_err("the root is a file");
    assert!(e.kind() == Kind::Denied && e.message().contains("is a file"), "{e:?}");
    // Nobody, not even root, makes folders there.
    let e = Error::from(store(Path::new("/proc/pgkeep")).put(&key("a"), Bytes::new(), PutMode::Create).await.expect_err("/proc"));
    assert!(e.message().contains("/proc/pgkeep/a"), "{e:?}");
    assert_eq!(e.kind().exit_code(), 4, "{e:?}");
}
