//! From a store's URL to a store that retries, is metered and bounded.

use std::path::PathBuf;
use std::sync::Arc;

use super::limited::LimitedStore;
use super::local::LocalStore;
use super::metered::{Meter, MeteredStore};
use super::prefixed::PrefixedStore;
use super::retrying::RetryingStore;
use super::s3::S3Store;
use super::{Key, SharedStore};
use crate::base::clock::SharedClock;
use crate::base::limits::{FOLDER_CONCURRENCY, STORE_CONCURRENCY};
use crate::base::retry::Backoff;
use crate::base::{Error, Result};

/// Where a store is and how to use it. Everything but the URL has a default: see [`StoreOptions::new`].
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// `s3://bucket/prefix` or `file:///absolute/path`; of the latter, `%XX` stands for a byte.
    pub url: String,
    /// S3: the bucket's region; else as every AWS tool finds it.
    pub region: Option<String>,
    /// S3: the server's URL; else as every AWS tool finds it (`AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, profile).
    pub endpoint_url: Option<String>,
    /// S3: whether the bucket stands in the path of requests; else only for endpoints that are not Amazon's and names with dots.
    pub path_style: Option<bool>,
    /// S3: storage class of new objects of 128 KiB and more; else the bucket's. Archive classes are refused.
    pub storage_class: Option<String>,
    /// S3: id or ARN of the KMS key that encrypts new objects.
    pub sse_kms_key_id: Option<String>,
    /// S3: encrypts new objects with the store's own key.
    pub sse_aes256: bool,
    /// S3: objects in one answer to a listing request; else the server's maximum, a thousand.
    pub list_page_size: Option<u16>,
    /// Requests in flight at once; of a folder [`FOLDER_CONCURRENCY`] at most.
    pub concurrency: usize,
    /// How often and how patiently requests are tried again.
    pub backoff: Backoff,
}

impl StoreOptions {
    /// Defaults for the store at `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            region: None,
            endpoint_url: None,
            path_style: None,
            storage_class: None,
            sse_kms_key_id: None,
            sse_aes256: false,
            list_page_size: None,
            concurrency: STORE_CONCURRENCY,
            backoff: Backoff::STORE,
        }
    }
}

/// An open store.
#[derive(Debug, Clone)]
pub struct Opened {
    /// Where requests go.
    pub store: SharedStore,
    /// What they amount to, every try counted.
    pub meter: Arc<Meter>,
}

/// Opens the store that `options` describe. A folder need not exist yet; no request is sent to a bucket yet, but credentials for it
/// must be found.
pub async fn open(options: &StoreOptions, clock: SharedClock) -> Result<Opened> {
    let (base, prefix, concurrency): (SharedStore, Option<String>, usize) = match parse(&options.url)? {
        Address::Folder(path) => {
            (Arc::new(LocalStore::new(path, clock.clone())?), None, options.concurrency.min(FOLDER_CONCURRENCY))
        }
        Address::Bucket { name, prefix } => {
            (Arc::new(S3Store::connect(&name, options, &clock).await?), prefix, options.concurrency)
        }
    };
    let meter = Arc::new(Meter::default());
    let metered = Arc::new(MeteredStore::new(base, meter.clone()));
    let retrying = Arc::new(RetryingStore::new(metered, clock, options.backoff));
    let mut store: SharedStore = Arc::new(LimitedStore::new(retrying, concurrency));
    if let Some(prefix) = prefix {
        store = Arc::new(PrefixedStore::new(store, &prefix)?);
    }
    Ok(Opened { store, meter })
}

#[derive(Debug, PartialEq, Eq)]
enum Address {
    Folder(PathBuf),
    Bucket { name: String, prefix: Option<String> },
}

/// No message repeats more of the URL than its scheme until it is known to be a store's: it may be a database's, with a password.
fn parse(url: &str) -> Result<Address> {
    let Some((scheme, rest)) = url.split_once(':') else {
        return Err(Error::usage("the store's URL has no scheme").hint("write s3://bucket/prefix, or file:///path for a folder"));
    };
    match scheme.to_ascii_lowercase().as_str() {
        "file" => folder(url, rest),
        "s3" => bucket(rest),
        "memory" => {
            Err(Error::usage("a store in memory would be gone with the process").hint("write s3://bucket/prefix or file:///path"))
        }
        _ if scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c)) => {
            Err(Error::usage(format!("a store's URL cannot begin with '{scheme}:'"))
                .hint("write s3://bucket/prefix or file:///path"))
        }
        _ => Err(Error::usage("the store's URL has no scheme").hint("write s3://bucket/prefix, or file:///path for a folder")),
    }
}

fn folder(url: &str, rest: &str) -> Result<Address> {
    if !rest.starts_with("///") {
        return Err(Error::usage(format!("'{url}' does not name a folder by its absolute path")).hint(
            "write file:///absolute/path with three slashes; a relative path would mean another folder in each working directory",
        ));
    }
    let bad = || {
        Error::usage(format!("'{url}' is not a folder's URL"))
            .hint("write file:///path; %XX stands for special characters: ? is %3F, # is %23")
    };
    let parsed = url::Url::parse(url).map_err(|_| bad())?;
    if parsed.query().is_some() || parsed.fragment().is_some() {
        return Err(bad());
    }
    let path = parsed.to_file_path().map_err(|()| bad())?;
    if path.parent().is_none() || path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(Error::usage(format!("'{url}' cannot be a store")).hint("name a folder of its own for the store"));
    }
    Ok(Address::Folder(path))
}

fn bucket(rest: &str) -> Result<Address> {
    let hint = "write s3://bucket/prefix; region, endpoint and credentials come from where every AWS tool finds them";
    let Some(rest) = rest.strip_prefix("//") else {
        return Err(Error::usage("a bucket's URL begins with s3://").hint(hint));
    };
    let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if name.contains('@') || name.contains(':') {
        return Err(Error::usage("a bucket's URL holds neither credentials nor a port").hint(hint));
    }
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    if !(3..=63).contains(&name.len()) || !name.chars().all(allowed) || name.starts_with(['-', '.']) || name.ends_with(['-', '.'])
    {
        return Err(Error::usage(format!("'{name}' cannot be the name of a bucket"))
            .hint("bucket names have 3 to 63 lower-case letters, digits, hyphens and dots"));
    }
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    if prefix.contains(['?', '#']) {
        return Err(Error::usage(format!("the prefix in s3://{name}/… holds '?' or '#'")).hint(hint));
    }
    if !prefix.is_empty() && prefix.parse::<Key>().is_err() {
        return Err(Error::usage(format!("'{prefix}' cannot be a prefix in bucket '{name}'"))
            .hint("write plain segments joined by single slashes"));
    }
    Ok(Address::Bucket { name: name.to_owned(), prefix: (!prefix.is_empty()).then(|| prefix.to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::SystemClock;
    use crate::store::{PutMode, StoreExt as _};

    #[test]
    fn urls_name_folders_and_buckets() {
        let bucket =
            |name: &str, prefix: Option<&str>| Address::Bucket { name: name.to_owned(), prefix: prefix.map(str::to_owned) };
        assert_eq!(parse("s3://my-bucket").expect("url"), bucket("my-bucket", None));
        assert_eq!(parse("s3://my-bucket/").expect("url"), bucket("my-bucket", None));
        assert_eq!(parse("s3://my.bucket/prod/db/").expect("url"), bucket("my.bucket", Some("prod/db")));
        assert_eq!(parse("file:///srv/with%20space/x").expect("url"), Address::Folder("/srv/with space/x".into()));
        assert_eq!(parse("file:///srv/with space").expect("url"), Address::Folder("/srv/with space".into()));
    }

    #[test]
    fn what_is_no_store_is_refused_without_telling_secrets() {
        let cases = [
            ("/srv/backups", "no scheme"),
            ("C:\\backups", "'C:'"),
            ("file:backups", "absolute"),
            ("file://host/backups", "absolute"),
            ("file:///srv?x=y", "not a folder"),
            ("file:///", "cannot be a store"),
            ("memory:", "memory"),
            ("s3:bucket", "begins with s3://"),
            ("s3://Bucket", "cannot be the name"),
            ("s3://bucket//x", "cannot be a prefix"),
            ("s3://bucket/../x", "cannot be a prefix"),
            ("s3://bucket/x?region=y", "'?'"),
            ("s3://key:hunter2@bucket/x", "credentials"),
            ("postgres://user:hunter2@host/db", "'postgres:'"),
            ("user:hunter2@host", "'user:'"),
        ];
        for (url, text) in cases {
            let e = parse(url).expect_err(url);
            let all = format!("{e:?}");
            assert!(e.message().contains(text), "{url}: {all}");
            assert!(e.hint_text().is_some() && !all.contains("hunter2"), "{url}: {all}");
        }
    }

    #[tokio::test]
    async fn an_opened_folder_works_is_metered_and_describes_itself_by_its_url() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let url = url::Url::from_file_path(dir.path().join("new folder/store")).expect("url").to_string();
        let opened = open(&StoreOptions::new(&url), Arc::new(SystemClock)).await.expect("open");
        let key: Key = "a/b".parse().expect("key");
        opened.store.put(&key, "12345".into(), PutMode::Create).await.expect("write");
        assert_eq!(opened.store.describe(), url);
        assert_eq!((opened.meter.usage().put.requests, opened.meter.usage().put.bytes), (1, 5));
        assert!(dir.path().join("new folder/store/a/b").is_file());
    }
}
