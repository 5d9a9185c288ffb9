//! Small JSON documents in a store.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::base::limits::STORE_CONCURRENCY;
use crate::base::{Error, Kind, Result, ResultExt};
use crate::store::{ETag, Key, PutMode, Store, StoreError, StoreExt as _, StoreResult};

/// `value` as indented JSON with a final newline: people read these.
pub fn to_bytes<T: Serialize>(value: &T) -> Result<Bytes> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|e| Error::internal("serialise a document").source(e))?;
    text.push(b'\n');
    Ok(text.into())
}

/// Parses the document stored under `key`.
pub fn parse<T: DeserializeOwned>(key: &Key, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|e| Error::integrity(format!("'{key}' is damaged: it is not the document it should be")).source(e))
}

/// Reads a document; `Ok(None)` when it is not there.
pub async fn find<T: DeserializeOwned>(store: &dyn Store, key: &Key) -> Result<Option<T>> {
    Ok(find_versioned(store, key).await?.map(|(value, _)| value))
}

/// Reads a document and its version; `Ok(None)` when it is not there.
pub async fn find_versioned<T: DeserializeOwned>(store: &dyn Store, key: &Key) -> Result<Option<(T, ETag)>> {
    match store.get_versioned(key).await {
        Ok((bytes, etag)) => Ok(Some((parse(key, &bytes)?, etag))),
        Err(StoreError::NotFound(_)) => Ok(None),
        Err(e) => Err(Error::from(e)).context(|| format!("read '{key}'")),
    }
}

/// Writes a document; the caller handles the outcome of a conditional write.
pub async fn put<T: Serialize>(store: &dyn Store, key: &Key, value: &T, mode: PutMode) -> StoreResult<ETag> {
    store.put(key, to_bytes(value)?, mode).await
}

/// Writes a document whatever is there.
pub async fn overwrite<T: Serialize>(store: &dyn Store, key: &Key, value: &T) -> Result<()> {
    put(store, key, value, PutMode::Overwrite).await.map_err(Error::from).context(|| format!("write '{key}'"))?;
    Ok(())
}

/// Keys under `prefix`, in order.
pub async fn keys(store: &dyn Store, prefix: &str) -> Result<Vec<Key>> {
    store.list(prefix).map_ok(|meta| meta.key).try_collect().await.map_err(Error::from).context(|| format!("list '{prefix}'"))
}

/// Like [`read_all`], but a document that is damaged or too new to read comes with its error; it must not hide the others. A store that does
/// not answer still fails the whole.
pub async fn read_each<T: DeserializeOwned>(store: &dyn Store, keys: Vec<Key>) -> Result<Vec<(Key, Result<T>)>> {
    futures::stream::iter(keys)
        .map(|key| async move {
            match find(store, &key).await {
                Ok(value) => Ok(value.map(|v| (key, Ok(v)))),
                Err(e) if matches!(e.kind(), Kind::Integrity | Kind::Unsupported) => Ok(Some((key, Err(e)))),
                Err(e) => Err(e),
            }
        })
        .buffered(STORE_CONCURRENCY)
        .try_filter_map(|found| async move { Ok(found) })
        .try_collect()
        .await
}

/// Reads these documents concurrently, in the order of `keys`; one that vanished meanwhile is left out.
pub async fn read_all<T: DeserializeOwned>(store: &dyn Store, keys: Vec<Key>) -> Result<Vec<(Key, T)>> {
    futures::stream::iter(keys)
        .map(|key| async move {
            let value = find(store, &key).await?;
            Ok(value.map(|v| (key, v)))
        })
        .buffered(STORE_CONCURRENCY)
        .try_filter_map(|found| async move { Ok(found) })
        .try_collect()
        .await
}
