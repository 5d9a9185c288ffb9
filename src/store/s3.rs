//! Objects in a bucket of S3 or of a server that speaks its protocol.
//!
//! Every upload is one PutObject that carries the SHA-256 of its body, which the store verifies and keeps. Conditions are `If-None-Match: *`
//! and `If-Match`. One request is one try: [`super::retrying`] tries again.

mod connect;
mod errors;

use std::collections::VecDeque;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::types::{ChecksumMode, ServerSideEncryption, StorageClass};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};

use super::{Body, ETag, Key, ObjectMeta, PutMode, Store, StoreError, StoreOptions, StoreResult, check_prefix};
use crate::base::clock::{SharedClock, Stopwatch};
use crate::base::limits::{STORE_ANSWER_TIMEOUT, STORE_SLOWEST_UPLOAD_BYTES_PER_SECOND};
use crate::base::threads::blocking;
use crate::base::{Error, Kind, Result};
use errors::{Action, Place};

/// Bodies from this size on are hashed outside the threads that drive requests.
const HASH_ASIDE_BYTES: usize = 256 << 10;

/// Objects below this size keep the bucket's class: the infrequent-access classes bill them as this large and for a month at least, and a
/// vault's small documents are read and replaced all the time.
const CLASS_MIN_BYTES: usize = 128 << 10;

/// Objects in a bucket.
#[derive(Debug)]
pub struct S3Store {
    client: Client,
    place: Place,
    storage_class: Option<StorageClass>,
    encryption: Option<ServerSideEncryption>,
    kms_key_id: Option<String>,
    list_page_size: Option<i32>,
}

impl S3Store {
    /// Finds region, endpoint and credentials as every AWS tool does and prepares requests to `bucket`; sends none to it. `options.url` is
    /// not read. Fails when no credentials are found or an option contradicts another.
    pub async fn connect(bucket: &str, options: &StoreOptions, clock: &SharedClock) -> Result<Self> {
        connect::connect(bucket, options, clock).await
    }

    fn bucket(&self) -> &str {
        &self.place.bucket
    }

    async fn fetch(&self, key: &Key) -> StoreResult<(Bytes, ETag)> {
        let request = self.client.get_object().bucket(self.bucket()).key(key.as_str()).checksum_mode(ChecksumMode::Enabled);
        let limited = request.customize().config_override(answer_within(STORE_ANSWER_TIMEOUT));
        let output = limited.send().await.map_err(|e| self.place.explain(Action::Get, key.as_str(), e))?;
        let etag = self.etag(key, output.e_tag)?;
        let expected = output.content_length;
        let body = output.body.collect().await.map_err(|e| self.place.transfer_failed(key, e))?.into_bytes();
        if expected.is_some_and(|expected| expected != body.len() as i64) {
            return Err(Error::unavailable(format!("{} sent only {} bytes of '{key}'", self.place, body.len())).into());
        }
        Ok((body, etag))
    }

    fn etag(&self, key: &Key, etag: Option<String>) -> StoreResult<ETag> {
        let missing = || Error::unsupported(format!("{} gives '{key}' no ETag, so it cannot be written safely", self.place));
        Ok(ETag(etag.ok_or_else(missing)?))
    }

    fn listing(&self, prefix: &str, after: Option<String>) -> BoxStream<'_, StoreResult<ObjectMeta>> {
        let next = Next::First(after.clone());
        let listing = Listing { store: self, prefix: prefix.to_owned(), after, page: VecDeque::new(), next, last: None };
        stream::try_unfold(listing, |mut listing| async move { Ok(listing.next().await?.map(|meta| (meta, listing))) }).boxed()
    }

    async fn list_page(&self, prefix: &str, delimiter: Option<&str>, next: Next) -> StoreResult<ListObjectsV2Output> {
        let request =
            self.client.list_objects_v2().bucket(self.bucket()).prefix(prefix).set_delimiter(delimiter.map(str::to_owned));
        let request = match next {
            Next::First(after) => request.set_start_after(after),
            Next::From(token) => request.continuation_token(token),
            Next::None => request,
        };
        let request = request.set_max_keys(self.list_page_size);
        let limited = request.customize().config_override(answer_within(STORE_ANSWER_TIMEOUT));
        let page = limited.send().await.map_err(|e| self.place.explain(Action::List, prefix, e))?;
        if page.is_truncated == Some(true) && page.next_continuation_token.is_none() {
            return Err(
                Error::unsupported(format!("{} breaks off its listing of '{prefix}' without saying where", self.place)).into()
            );
        }
        Ok(page)
    }

    /// A HEAD request's error has no text: asks for one byte instead, to be told the reason.
    async fn explain_head(&self, key: &Key, e: StoreError) -> StoreError {
        let StoreError::Other(silent) = &e else { return e };
        if silent.kind().retryable() {
            return e;
        }
        match self.client.get_object().bucket(self.bucket()).key(key.as_str()).range("bytes=0-0").send().await {
            Err(told) => self.place.explain(Action::Head, key.as_str(), told),
            Ok(_) => e,
        }
    }
}

/// Gives an answer to a request this long, body of the request included.
fn answer_within(time: Duration) -> aws_sdk_s3::config::Builder {
    aws_sdk_s3::Config::builder().timeout_config(TimeoutConfig::builder().operation_attempt_timeout(time).build())
}

async fn digest(body: &Body) -> Result<[u8; 32]> {
    if body.known_sha256().is_some() || body.bytes().len() < HASH_ASIDE_BYTES {
        return Ok(body.sha256());
    }
    let body = body.clone();
    blocking(move || Ok(body.sha256())).await
}

#[async_trait]
impl Store for S3Store {
    async fn get_versioned(&self, key: &Key) -> StoreResult<(Bytes, ETag)> {
        match self.fetch(key).await {
            // Damaged on its way, or in the store? Only the latter repeats itself.
            Err(StoreError::Other(e)) if e.kind() == Kind::Integrity => self.fetch(key).await,
            answer => answer,
        }
    }

    async fn put_body(&self, key: &Key, body: Body, mode: PutMode) -> StoreResult<ETag> {
        let checksum = BASE64.encode(digest(&body).await?);
        let body = body.into_bytes();
        let time = STORE_ANSWER_TIMEOUT + Duration::from_secs(body.len() as u64 / STORE_SLOWEST_UPLOAD_BYTES_PER_SECOND);
        let class = self.storage_class.clone().filter(|_| body.len() >= CLASS_MIN_BYTES);
        let request =
            self.client.put_object().bucket(self.bucket()).key(key.as_str()).checksum_sha256(checksum).body(body.into());
        let request = request.set_storage_class(class);
        let request = request.set_server_side_encryption(self.encryption.clone()).set_ssekms_key_id(self.kms_key_id.clone());
        let (request, action) = match mode {
            PutMode::Create => (request.if_none_match("*"), Action::Create),
            PutMode::Replace(ETag(etag)) => (request.if_match(etag), Action::Replace),
            PutMode::Overwrite => (request, Action::Overwrite),
        };
        let took = Stopwatch::start();
        let answer = request.customize().config_override(answer_within(time)).send().await;
        tracing::trace!(key = key.as_str(), ?action, took = ?took.elapsed(), "put");
        let output = answer.map_err(|e| self.place.explain(action, key.as_str(), e))?;
        self.etag(key, output.e_tag)
    }

    async fn head(&self, key: &Key, checksum: bool) -> StoreResult<ObjectMeta> {
        let request = self.client.head_object().bucket(self.bucket()).key(key.as_str());
        let request = request.set_checksum_mode(checksum.then_some(ChecksumMode::Enabled));
        let limited = request.customize().config_override(answer_within(STORE_ANSWER_TIMEOUT));
        let output = match limited.send().await {
            Ok(output) => output,
            Err(e) => return Err(self.explain_head(key, self.place.explain(Action::Head, key.as_str(), e)).await),
        };
        let size = output.content_length.and_then(|size| u64::try_from(size).ok());
        let size = size.ok_or_else(|| Error::unsupported(format!("{} does not tell the size of '{key}'", self.place)))?;
        // A checksum of another form (an upload in several pieces made elsewhere) proves nothing about the whole.
        let sum = output.checksum_sha256.filter(|_| checksum).and_then(|text| BASE64.decode(text).ok()?.try_into().ok());
        Ok(ObjectMeta { key: key.clone(), size, etag: Some(self.etag(key, output.e_tag)?), sha256: sum })
    }

    fn list(&self, prefix: &str) -> BoxStream<'_, StoreResult<ObjectMeta>> {
        if let Err(e) = check_prefix(prefix) {
            return stream::iter([Err(e)]).boxed();
        }
        self.listing(prefix, None)
    }

    fn list_after(&self, prefix: &str, after: &str) -> BoxStream<'_, StoreResult<ObjectMeta>> {
        if let Err(e) = check_prefix(prefix) {
            return stream::iter([Err(e)]).boxed();
        }
        // Every key below the prefix comes after what sorts before the prefix.
        self.listing(prefix, (after > prefix).then(|| after.to_owned()))
    }

    async fn list_folders(&self, prefix: &str) -> StoreResult<Vec<String>> {
        check_prefix(prefix)?;
        let (mut folders, mut next) = (Vec::new(), Next::First(None));
        loop {
            let page = self.list_page(prefix, Some("/"), next).await?;
            let common = page.common_prefixes.unwrap_or_default().into_iter().filter_map(|common| common.prefix);
            folders.extend(common.filter_map(|folder| {
                let name = folder.strip_prefix(prefix)?.strip_suffix('/')?;
                name.parse::<Key>().is_ok().then(|| name.to_owned())
            }));
            let Some(token) = page.next_continuation_token.filter(|_| page.is_truncated == Some(true)) else {
                folders.sort();
                folders.dedup();
                return Ok(folders);
            };
            next = Next::From(token);
        }
    }

    async fn delete(&self, key: &Key) -> StoreResult<()> {
        let request = self.client.delete_object().bucket(self.bucket()).key(key.as_str());
        match request.customize().config_override(answer_within(STORE_ANSWER_TIMEOUT)).send().await {
            Ok(_) => Ok(()),
            Err(e) => match self.place.explain(Action::Delete, key.as_str(), e) {
                StoreError::NotFound(_) => Ok(()),
                e => Err(e),
            },
        }
    }

    fn describe(&self) -> String {
        format!("s3://{}", self.bucket())
    }
}

/// A listing in progress.
struct Listing<'a> {
    store: &'a S3Store,
    prefix: String,
    after: Option<String>,
    page: VecDeque<aws_sdk_s3::types::Object>,
    next: Next,
    last: Option<Key>,
}

/// Which page to ask for when the present one is used up.
enum Next {
    /// The first, of the keys after this text.
    First(Option<String>),
    From(String),
    None,
}

impl Listing<'_> {
    async fn next(&mut self) -> StoreResult<Option<ObjectMeta>> {
        loop {
            while let Some(object) = self.page.pop_front() {
                if let Some(meta) = self.accept(object)? {
                    return Ok(Some(meta));
                }
            }
            let next = match std::mem::replace(&mut self.next, Next::None) {
                Next::None => return Ok(None),
                next => next,
            };
            let page = self.store.list_page(&self.prefix, None, next).await?;
            if let (Some(true), Some(token)) = (page.is_truncated, page.next_continuation_token) {
                self.next = Next::From(token);
            }
            self.page = page.contents.unwrap_or_default().into();
        }
    }

    /// `None` for objects that nobody wrote through this interface, such as the folder markers of consoles.
    fn accept(&mut self, object: aws_sdk_s3::types::Object) -> StoreResult<Option<ObjectMeta>> {
        let Some(key) = object.key.and_then(|key| key.parse::<Key>().ok()) else { return Ok(None) };
        if self.last.as_ref().is_some_and(|last| key <= *last) {
            let text = format!("{} lists '{key}' out of order; pgkeep relies on listings in key order", self.store.place);
            return Err(Error::unsupported(text).hint("use a general purpose bucket; directory buckets list in no order").into());
        }
        self.last = Some(key.clone());
        // A server that does not know where to begin begins at the beginning.
        if self.after.as_deref().is_some_and(|after| key.as_str() <= after) {
            return Ok(None);
        }
        let size = object.size.and_then(|size| u64::try_from(size).ok());
        let size = size.ok_or_else(|| Error::unsupported(format!("{} lists '{key}' without its size", self.store.place)))?;
        Ok(Some(ObjectMeta { key, size, etag: object.e_tag.map(ETag), sha256: None }))
    }
}
