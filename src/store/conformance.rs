//! What every store and every wrapper must do: one suite, run against all of them.
//!
//! Each promise of [`Store`] that the vault format rests on is a check here. The first broken one is the error.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt as _;
use futures::future::join_all;

use super::{Body, ETag, Key, ObjectMeta, PutMode, SharedStore, StoreError, StoreExt as _, StoreResult, sha256};
use crate::base::ids::random_hex;
use crate::base::{Error, Result, ResultExt as _};

/// Writers in each race.
const RACERS: usize = 16;
/// Size of the large object: a part as it is uploaded.
const LARGE: usize = 8 << 20;
/// Keys that are plain to us but need care in URLs, file names and sorting.
const AWKWARD: [&str; 18] = [
    "sp ace",
    "plus+plus",
    "per%20cent%",
    "hash#query?x=y&z",
    "quote'\"`",
    "<tag>",
    "colon:semi;comma,",
    "at@equals=dollar$",
    "brackets[1](2){3}",
    "star*bang!tilde~caret^pipe|",
    ".hidden",
    "...",
    "trailing.",
    "-dash",
    "ünïcødé",
    "データ",
    "\u{1f418}",
    "UPPER-lower",
];

macro_rules! ensure {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err(Error::internal(format!($($text)+)));
        }
    };
}

/// Checks all promises. `handles` are one or more stores on the same empty place, opened separately where that matters; the
/// races run over all of them. What the checks write is deleted again.
pub async fn check(handles: &[SharedStore]) -> Result<()> {
    let store = handles.first().ok_or_else(|| Error::internal("no store to check"))?;
    named("an absent object", absent(store)).await?;
    named("create", create(store)).await?;
    named("replace", replace(store)).await?;
    named("overwrite and delete", overwrite_and_delete(store)).await?;
    named("sizes and checksums", sizes_and_checksums(store)).await?;
    named("awkward keys", awkward_keys(store)).await?;
    named("listing", listing(store)).await?;
    named("folders", folders(store)).await?;
    named("racing creates", racing_creates(handles)).await?;
    named("racing replaces", racing_replaces(handles)).await?;
    named("racing folders", racing_folders(handles)).await?;
    named("nothing left", nothing_left(store)).await
}

async fn named(name: &str, check: impl Future<Output = Result<()>>) -> Result<()> {
    check.await.context(|| format!("store conformance, {name}"))
}

fn key(text: &str) -> Result<Key> {
    text.parse()
}

async fn listed(store: &SharedStore, prefix: &str) -> Result<Vec<ObjectMeta>> {
    Ok(store.list(prefix).try_collect().await?)
}

async fn listed_keys(store: &SharedStore, prefix: &str) -> Result<Vec<String>> {
    Ok(listed(store, prefix).await?.into_iter().map(|meta| meta.key.to_string()).collect())
}

/// A body that no other writer writes.
fn unique(text: impl std::fmt::Display) -> Bytes {
    format!("{text} {}", random_hex(8)).into()
}

async fn absent(store: &SharedStore) -> Result<()> {
    let absent = key("absent/object")?;
    let named = |e: &StoreError| matches!(e, StoreError::NotFound(k) if *k == absent);
    ensure!(matches!(store.get(&absent).await, Err(e) if named(&e)), "get does not say NotFound");
    ensure!(matches!(store.get_versioned(&absent).await, Err(e) if named(&e)), "get_versioned does not say NotFound");
    ensure!(matches!(store.head(&absent, true).await, Err(e) if named(&e)), "head does not say NotFound");
    store.delete(&absent).await?;
    ensure!(listed(store, "absent/").await?.is_empty(), "an empty folder lists objects");
    ensure!(store.list_folders("absent/").await?.is_empty(), "an empty folder lists folders");
    for prefix in ["absent", "absent//", "/", "../"] {
        ensure!(listed(store, prefix).await.is_err(), "listing takes the malformed prefix '{prefix}'");
        ensure!(store.list_folders(prefix).await.is_err(), "list_folders takes the malformed prefix '{prefix}'");
    }
    Ok(())
}

async fn create(store: &SharedStore) -> Result<()> {
    let key = key("create/a")?;
    let first = unique("first");
    let etag = store.put(&key, first.clone(), PutMode::Create).await?;
    let again = store.put(&key, unique("second"), PutMode::Create).await;
    ensure!(matches!(&again, Err(StoreError::AlreadyExists(k)) if *k == key), "the second create answers {again:?}");
    let (found, version) = store.get_versioned(&key).await?;
    ensure!(found == first && version == etag, "content or version is not that of the create");
    store.delete(&key).await?;
    store.put(&key, unique("third"), PutMode::Create).await?;
    Ok(store.delete(&key).await?)
}

async fn replace(store: &SharedStore) -> Result<()> {
    let key = key("replace/a")?;
    let on_absent = store.put(&key, unique("x"), PutMode::Replace(ETag("\"0\"".to_owned()))).await;
    ensure!(
        matches!(&on_absent, Err(StoreError::Precondition(k)) if *k == key),
        "replacing an absent object answers {on_absent:?}"
    );
    ensure!(matches!(store.get(&key).await, Err(StoreError::NotFound(_))), "a refused replace wrote something");
    let first = store.put(&key, unique("first"), PutMode::Create).await?;
    let second_body = unique("second");
    let second = store.put(&key, second_body.clone(), PutMode::Replace(first.clone())).await?;
    ensure!(first != second, "different content has the same version");
    let late = store.put(&key, unique("late"), PutMode::Replace(first)).await;
    ensure!(matches!(&late, Err(StoreError::Precondition(k)) if *k == key), "replacing an old version answers {late:?}");
    let (found, version) = store.get_versioned(&key).await?;
    ensure!(found == second_body && version == second, "content or version is not that of the replace");
    ensure!(store.head(&key, false).await?.etag.is_some_and(|etag| etag == second), "head gives another version than put");
    store.delete(&key).await?;
    let gone = store.put(&key, unique("gone"), PutMode::Replace(second)).await;
    ensure!(matches!(gone, Err(StoreError::Precondition(_))), "replacing a deleted object answers {gone:?}");
    Ok(())
}

async fn overwrite_and_delete(store: &SharedStore) -> Result<()> {
    let key = key("overwrite/a/b")?;
    for text in ["one", "two, longer", "3"] {
        let body = unique(text);
        store.put(&key, body.clone(), PutMode::Overwrite).await?;
        ensure!(store.get(&key).await? == body, "reading after overwriting gives something else");
    }
    store.delete(&key).await?;
    ensure!(matches!(store.get(&key).await, Err(StoreError::NotFound(_))), "a deleted object can be read");
    ensure!(listed(store, "overwrite/").await?.is_empty(), "a deleted object is listed");
    Ok(store.delete(&key).await?)
}

async fn sizes_and_checksums(store: &SharedStore) -> Result<()> {
    let pattern: Vec<u8> = (0..LARGE).map(|i| (i ^ (i >> 8) ^ (i >> 16)) as u8).collect();
    for (name, size) in [("empty", 0), ("small", 1), ("large", LARGE)] {
        let key = key(&format!("sizes/{name}"))?;
        let body = Bytes::copy_from_slice(&pattern[..size]);
        let etag = store.put(&key, body.clone(), PutMode::Create).await?;
        ensure!(store.get(&key).await? == body, "the {name} object reads differently");
        let with = store.head(&key, true).await?;
        ensure!(
            with.key == key && with.size == size as u64 && with.etag == Some(etag),
            "head of the {name} object is wrong: {with:?}"
        );
        ensure!(with.sha256 == Some(sha256(&body)), "the checksum of the {name} object is {:?}", with.sha256);
        ensure!(store.head(&key, false).await?.size == size as u64, "head without checksum gives another size");
        let etag = store.put_body(&key, Body::hashed(body.clone(), sha256(&body)), PutMode::Overwrite).await?;
        let again = store.head(&key, true).await?;
        ensure!(
            again.etag == Some(etag) && again.sha256 == with.sha256,
            "the {name} object written with its checksum is {again:?}"
        );
    }
    let sizes: Vec<u64> = listed(store, "sizes/").await?.iter().map(|meta| meta.size).collect();
    ensure!(sizes == [0, LARGE as u64, 1], "the listing gives the sizes {sizes:?}");
    delete_all(store, "sizes/").await
}

async fn awkward_keys(store: &SharedStore) -> Result<()> {
    let long = "l".repeat(200);
    let deep = (0..30).map(|i| format!("d{i}")).collect::<Vec<_>>().join("/");
    let names: Vec<&str> = AWKWARD.into_iter().chain([long.as_str(), deep.as_str()]).collect();
    for name in &names {
        for place in [format!("awkward/{name}"), format!("awkward/in {name}/{name}")] {
            store
                .put(&key(&place)?, Bytes::from(place.clone()), PutMode::Create)
                .await
                .map_err(Error::from)
                .context(|| format!("write {place:?}"))?;
        }
    }
    let keys = listed_keys(store, "awkward/").await?;
    ensure!(keys.len() == 2 * names.len(), "{} objects are listed, {} were written", keys.len(), 2 * names.len());
    ensure!(keys.is_sorted(), "the listing is not in the byte order of keys: {keys:?}");
    for name in &keys {
        ensure!(store.get(&key(name)?).await? == name.as_bytes(), "{name:?} reads as another object");
    }
    for name in AWKWARD {
        let inside = listed_keys(store, &format!("awkward/in {name}/")).await?;
        ensure!(inside == [format!("awkward/in {name}/{name}")], "listing below {name:?} gives {inside:?}");
    }
    delete_all(store, "awkward/").await
}

async fn listing(store: &SharedStore) -> Result<()> {
    let mut written: Vec<String> = (0..25).map(|i| format!("list/n/{i}")).collect();
    // A folder's objects sort by the whole key: '-' and '.' come before the '/' of a longer key, '0' after it.
    written.extend(["list/n-1", "list/n.a/x", "list/n0", "list/nn/x", "list2/x", "lis"].map(str::to_owned));
    let puts = written
        .iter()
        .map(|name| async move { Ok::<_, Error>(store.put(&key(name)?, Bytes::from(name.clone()), PutMode::Create).await?) });
    for put in join_all(puts).await {
        put?;
    }
    written.sort();
    let below = |prefix: &str| written.iter().filter(|name| name.starts_with(prefix)).cloned().collect::<Vec<_>>();
    for prefix in ["", "list/", "list/n/", "list/n.a/", "list2/", "list/n/1/", "none/"] {
        let keys = listed_keys(store, prefix).await?;
        ensure!(keys == below(prefix), "listing '{prefix}' gives {keys:?}");
    }
    for (prefix, after) in
        [("", ""), ("", "list/n/2"), ("list/n/", "list/n/"), ("list/n/", "list/n/1"), ("list/n/", "list/n/15x")]
            .into_iter()
            .chain([
                ("list/", "list/n.a/x"),
                ("list/", "list/n.a"),
                ("list/", "list/n/"),
                ("list/n/", "list/o"),
                ("list/n/", "a"),
                ("", "z"),
            ])
    {
        let listed: Vec<ObjectMeta> = store.list_after(prefix, after).try_collect().await?;
        let keys: Vec<&str> = listed.iter().map(|meta| meta.key.as_str()).collect();
        let expected: Vec<String> = below(prefix).into_iter().filter(|name| name.as_str() > after).collect();
        ensure!(keys == expected, "listing '{prefix}' after '{after}' gives {keys:?}");
    }
    for meta in listed(store, "list/").await? {
        ensure!(meta.size == meta.key.as_str().len() as u64, "the listing gives {} bytes for '{}'", meta.size, meta.key);
    }
    delete_all(store, "list/").await?;
    ensure!(listed_keys(store, "").await? == ["lis", "list2/x"], "deleting a folder touched its neighbours");
    store.delete(&key("lis")?).await?;
    delete_all(store, "list2/").await
}

async fn folders(store: &SharedStore) -> Result<()> {
    let names = ["a/1", "a/2/3", "a-b/1", "b/1/2/3", "c", "ünï cødé/1"];
    for name in names {
        store.put(&key(&format!("folders/{name}"))?, Bytes::new(), PutMode::Create).await?;
    }
    let expected: [(&str, &[&str]); 5] = [
        ("folders/", &["a", "a-b", "b", "ünï cødé"]),
        ("folders/a/", &["2"]),
        ("folders/b/", &["1"]),
        ("folders/c/", &[]),
        ("", &["folders"]),
    ];
    for (prefix, folders) in expected {
        let found = store.list_folders(prefix).await?;
        ensure!(found == folders, "the folders of '{prefix}' are {found:?}");
    }
    for i in 0..12 {
        store.put(&key(&format!("folders/many/{i:02}/x"))?, Bytes::new(), PutMode::Create).await?;
    }
    let many = store.list_folders("folders/many/").await?;
    ensure!(many == (0..12).map(|i| format!("{i:02}")).collect::<Vec<_>>(), "of twelve folders, {many:?} are listed");
    store.delete(&key("folders/b/1/2/3")?).await?;
    ensure!(!store.list_folders("folders/").await?.contains(&"b".to_owned()), "a folder without objects is listed");
    delete_all(store, "folders/").await
}

async fn race<T: Send + 'static, F>(handles: &[SharedStore], racer: impl Fn(SharedStore, usize) -> F) -> Result<Vec<T>>
where
    F: Future<Output = T> + Send + 'static,
{
    let tasks: Vec<_> = (0..RACERS).map(|i| tokio::spawn(racer(Arc::clone(&handles[i % handles.len()]), i))).collect();
    let ended = join_all(tasks).await;
    ended.into_iter().map(|task| task.map_err(|e| Error::internal("a racer died").source(e))).collect()
}

async fn racing_creates(handles: &[SharedStore]) -> Result<()> {
    for round in 0..3 {
        let key = key(&format!("race/{round}/create"))?;
        let answers = race(handles, |store, i| {
            let (key, body) = (key.clone(), unique(i));
            async move { store.put(&key, body.clone(), PutMode::Create).await.map(|_| body) }
        })
        .await?;
        let losers = answers.iter().filter(|a| matches!(a, Err(StoreError::AlreadyExists(_)))).count();
        let mut winners = answers.iter().filter_map(|a| a.as_ref().ok());
        let winner = winners.next();
        ensure!(winners.next().is_none() && losers == RACERS - 1, "of {RACERS} creates, not exactly one won: {answers:?}");
        ensure!(winner == Some(&handles[0].get(&key).await?), "the content is not the winner's");
        handles[0].delete(&key).await?;
    }
    Ok(())
}

/// Each racer adds lines of its own to one object; in the end every line is there, once.
async fn racing_replaces(handles: &[SharedStore]) -> Result<()> {
    const EACH: usize = 3;
    let key = key("race/lines")?;
    handles[0].put(&key, unique("first"), PutMode::Create).await?;
    let answers = race(handles, |store, racer| {
        let key = key.clone();
        async move {
            for i in 0..EACH {
                add_line(&store, &key, &format!("{racer}/{i}")).await?;
            }
            StoreResult::Ok(())
        }
    });
    for answer in answers.await? {
        answer?;
    }
    let body = handles[0].get(&key).await?;
    let mut lines: Vec<&str> =
        std::str::from_utf8(&body).map_err(|e| Error::internal("the lines are damaged").source(e))?.lines().skip(1).collect();
    lines.sort_unstable();
    let mut expected: Vec<String> = (0..RACERS).flat_map(|racer| (0..EACH).map(move |i| format!("{racer}/{i}"))).collect();
    expected.sort_unstable();
    ensure!(lines == expected, "replacing lost or doubled a write: {lines:?}");
    Ok(handles[0].delete(&key).await?)
}

/// Adds the line unless it is there: after an answer was lost, an earlier try may have written it and others may have written since.
async fn add_line(store: &SharedStore, key: &Key, line: &str) -> StoreResult<()> {
    loop {
        let (body, etag) = store.get_versioned(key).await?;
        let text = String::from_utf8_lossy(&body);
        if text.lines().any(|present| present == line) {
            return Ok(());
        }
        match store.put(key, Bytes::from(format!("{text}\n{line}")), PutMode::Replace(etag)).await {
            Ok(_) => return Ok(()),
            Err(StoreError::Precondition(_)) => {}
            Err(e) => return Err(e),
        }
    }
}

/// Writing into a folder while others empty it: where folders are real, they come and go under the writers.
async fn racing_folders(handles: &[SharedStore]) -> Result<()> {
    let answers = race(handles, |store, i| async move {
        for _ in 0..4 {
            let key = key(&format!("race/folder/deep/{i}"))?;
            let body = unique(i);
            store.put(&key, body.clone(), PutMode::Create).await?;
            ensure!(store.get(&key).await? == body, "a racer reads what it did not write");
            store.delete(&key).await?;
        }
        Ok(())
    });
    answers.await?.into_iter().collect()
}

async fn nothing_left(store: &SharedStore) -> Result<()> {
    let left = listed_keys(store, "").await?;
    ensure!(left.is_empty(), "the checks left {left:?}");
    let folders = store.list_folders("").await?;
    ensure!(folders.is_empty(), "the checks left the folders {folders:?}");
    Ok(())
}

async fn delete_all(store: &SharedStore, prefix: &str) -> Result<()> {
    for meta in listed(store, prefix).await? {
        store.delete(&meta.key).await?;
    }
    Ok(())
}
