//! Object storage: a small trait, three stores, and wrappers that add one behaviour each.
//!
//! A store knows keys and bytes, nothing of backups. Conditional writes are a mode of `put`, because everything that must not
//! race (leases, heads) rests on them.

pub mod body;
pub mod conformance;
pub mod faulty;
pub mod key;
pub mod limited;
pub mod local;
pub mod memory;
pub mod metered;
pub mod open;
pub mod prefixed;
pub mod retrying;
pub mod s3;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};

use crate::base::Error;
pub use body::Body;
pub use key::Key;
pub use open::{Opened, StoreOptions, open};

/// Shared store.
pub type SharedStore = Arc<dyn Store>;

/// Opaque version of an object's content, as the store gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ETag(pub String);

/// When a write may take place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PutMode {
    /// Only if no object has the key; else [`StoreError::AlreadyExists`].
    Create,
    /// Only if the object still has this version; else [`StoreError::Precondition`]. An absent object counts as changed.
    Replace(ETag),
    /// Whatever is there.
    Overwrite,
}

/// What a store says of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Its key.
    pub key: Key,
    /// Its size in bytes.
    pub size: u64,
    /// Its version; listings may leave it out.
    pub etag: Option<ETag>,
    /// SHA-256 of the stored bytes, if it was asked for and the store can prove it without us reading the object over a
    /// network: S3 returns the checksum it verified at upload, a local folder reads the file.
    pub sha256: Option<[u8; 32]>,
}

/// Why a store did not do what it was asked.
#[derive(Debug)]
pub enum StoreError {
    /// No such object.
    NotFound(Key),
    /// `PutMode::Create` and the key is taken.
    AlreadyExists(Key),
    /// `PutMode::Replace` and the object has another version, or is gone.
    Precondition(Key),
    /// Everything else, ready for the operator.
    Other(Error),
}

impl StoreError {
    /// Whether the same request may succeed when sent again.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Other(e) if e.kind().retryable())
    }
}

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotFound(key) => write!(f, "object '{key}' is not in the store"),
            Self::AlreadyExists(key) => write!(f, "object '{key}' exists already"),
            Self::Precondition(key) => write!(f, "object '{key}' was changed by somebody else"),
            Self::Other(e) => write!(f, "{e}"),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<Error> for StoreError {
    fn from(e: Error) -> Self {
        Self::Other(e)
    }
}

impl From<StoreError> for Error {
    fn from(e: StoreError) -> Self {
        match e {
            StoreError::Other(e) => e,
            StoreError::NotFound(_) => Self::not_found(e.to_string()),
            StoreError::AlreadyExists(_) | StoreError::Precondition(_) => Self::conflict(e.to_string()),
        }
    }
}

/// Put as the source of an error: the store turned the request away before doing anything. A retryable error without it is
/// ambiguous: the write may have taken place although no answer arrived.
#[derive(Debug)]
pub struct NotApplied(pub String);

impl NotApplied {
    /// Whether `error` says that the store did nothing.
    pub fn marks(error: &Error) -> bool {
        std::error::Error::source(error).is_some_and(<dyn std::error::Error>::is::<Self>)
    }
}

impl std::fmt::Display for NotApplied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotApplied {}

/// Result of a store operation.
pub type StoreResult<T> = Result<T, StoreError>;

/// Where objects live. Implementations are safe to use from many tasks and many processes at once.
///
/// After `put` returns, the object is durable and every later `get`, `head` and `list` sees it (S3 is strongly consistent).
#[async_trait]
pub trait Store: Send + Sync + Debug {
    /// The whole object. Parts are bounded, so there is no streaming read.
    async fn get(&self, key: &Key) -> StoreResult<Bytes> {
        self.get_versioned(key).await.map(|(bytes, _)| bytes)
    }

    /// The whole object and its version, for a later `PutMode::Replace`.
    async fn get_versioned(&self, key: &Key) -> StoreResult<(Bytes, ETag)>;

    /// Writes the whole object; the store verifies its SHA-256 on the way in. Returns the new version.
    async fn put_body(&self, key: &Key, body: Body, mode: PutMode) -> StoreResult<ETag>;

    /// What the store has under `key`; with `checksum`, also its SHA-256 where [`ObjectMeta::sha256`] allows.
    async fn head(&self, key: &Key, checksum: bool) -> StoreResult<ObjectMeta>;

    /// Every object whose key starts with `prefix` (a key prefix of whole segments ending in `/`, or empty for all), in key order.
    fn list(&self, prefix: &str) -> BoxStream<'_, StoreResult<ObjectMeta>>;

    /// Those of them whose keys come after the text `after`, which need not be a key, without a request for the ones before: a
    /// long listing can be read from several places at once.
    fn list_after(&self, prefix: &str, after: &str) -> BoxStream<'_, StoreResult<ObjectMeta>> {
        let after = after.to_owned();
        self.list(prefix).try_filter(move |meta| std::future::ready(meta.key.as_str() > after.as_str())).boxed()
    }

    /// The first segments below `prefix` (with common part cut off and without the slash), in order: one request per thousand.
    async fn list_folders(&self, prefix: &str) -> StoreResult<Vec<String>>;

    /// Removes an object; an absent one is no error.
    async fn delete(&self, key: &Key) -> StoreResult<()>;

    /// What a person would call this place, without credentials: `s3://bucket/prefix`, `file:///path`.
    fn describe(&self) -> String;
}

/// What every store does in the same way.
#[async_trait]
pub trait StoreExt: Store {
    /// [`Store::put_body`] of bytes whose SHA-256 nobody knows yet.
    async fn put(&self, key: &Key, bytes: Bytes, mode: PutMode) -> StoreResult<ETag> {
        self.put_body(key, Body::from(bytes), mode).await
    }
}

impl<S: Store + ?Sized> StoreExt for S {}

/// Refuses a listing prefix that is neither empty nor made of whole segments ending in `/`.
fn check_prefix(prefix: &str) -> StoreResult<()> {
    let Some(folder) = prefix.strip_suffix('/') else {
        return if prefix.is_empty() {
            Ok(())
        } else {
            Err(Error::internal(format!("listing prefix '{prefix}' does not end in '/'")).into())
        };
    };
    folder.parse::<Key>()?;
    Ok(())
}

/// SHA-256 of `bytes`.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).into()
}
