//! The bucket store against the AWS endpoint of the tests.

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt as _;
use pgkeep::base::clock::{SharedClock, SystemClock};
use pgkeep::base::ids::random_hex;
use pgkeep::base::{Error, Kind};
use pgkeep::store::s3::S3Store;
use pgkeep::store::{Body, Opened, PutMode, SharedStore, StoreError, StoreExt as _, StoreOptions, open};
use sha2::{Digest as _, Sha256};

use super::children::{answers, child};
use super::endpoint::Bucket;
use super::{conforms, eager, key};

async fn opened(options: &StoreOptions) -> Opened {
    open(options, Arc::new(SystemClock)).await.expect("open the store")
}

fn body() -> Bytes {
    random_hex(20).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_conforms_with_and_without_wrappers_and_in_small_pages() {
    let bucket = Bucket::new();
    let clock: SharedClock = Arc::new(SystemClock);
    let options = StoreOptions { list_page_size: Some(10), ..bucket.options("") };
    let bare = S3Store::connect(&bucket.name, &options, &clock).await.expect("connect");
    conforms("bucket", &[Arc::new(bare)]).await;
    let options = StoreOptions { list_page_size: Some(7), ..bucket.options("it's/a prefix") };
    let handles: Vec<SharedStore> =
        [opened(&options).await, opened(&options).await, opened(&options).await].map(|o| o.store).into();
    conforms("wrapped bucket with prefix", &handles).await;
    assert_eq!(handles[0].describe(), format!("s3://{}/it's/a prefix", bucket.name));
}

#[tokio::test]
async fn lost_answers_conflicts_and_throttling_end_well() {
    let bucket = Bucket::new();
    let opened = opened(&bucket.options("p")).await;
    let store = &opened.store;
    let lost = r#""after": true, "hang_up": true"#;
    bucket.fault("PUT", "/p/lease", lost);
    let etag = store.put(&key("lease"), body(), PutMode::Create).await.expect("create although the answer was lost");
    bucket.fault("PUT", "/p/lease", lost);
    let second = body();
    let etag =
        store.put(&key("lease"), second.clone(), PutMode::Replace(etag)).await.expect("replace although the answer was lost");
    assert_eq!(store.get(&key("lease")).await.expect("read"), second);
    for fault in [
        r#""code": "ConditionalRequestConflict", "status": 409"#,
        r#""code": "SlowDown", "status": 503, "times": 3"#,
        r#""code": "InternalError", "status": 500"#,
        r#""code": "BadDigest", "status": 400"#,
        r#""hang_up": true, "times": 2"#,
    ] {
        bucket.fault("PUT", "/p/", fault);
        store.put(&key(&random_hex(8)), body(), PutMode::Create).await.unwrap_or_else(|e| panic!("{fault}: {e:?}"));
    }
    bucket.fault("PUT", "/p/lease", lost);
    let stolen = store.put(&key("lease"), body(), PutMode::Create).await;
    assert!(matches!(stolen, Err(StoreError::AlreadyExists(_))), "a lost answer does not make another's object ours: {stolen:?}");
    assert_eq!(store.head(&key("lease"), false).await.expect("head").etag, Some(etag));
    assert!(opened.meter.usage().put.failures >= 9, "{:?}", opened.meter.usage());
}

#[tokio::test]
async fn bytes_that_changed_after_they_were_hashed_are_not_stored() {
    let bucket = Bucket::new();
    let store = opened(&StoreOptions { backoff: eager(2), ..bucket.options("p") }).await.store;
    let (hashed, changed) = (body(), body());
    let sum = Sha256::digest(&hashed).into();
    let e = Error::from(store.put_body(&key("part"), Body::hashed(changed, sum), PutMode::Create).await.expect_err("changed"));
    assert!(e.message().contains("damaged"), "{e:?}");
    assert!(matches!(store.head(&key("part"), false).await, Err(StoreError::NotFound(_))), "nothing is there");
    store.put_body(&key("part"), Body::hashed(hashed, sum), PutMode::Create).await.expect("write");
    assert_eq!(store.head(&key("part"), true).await.expect("head").sha256, Some(sum));
}

#[tokio::test]
async fn reads_that_break_off_or_arrive_damaged_are_repeated() {
    let bucket = Bucket::new();
    let store = opened(&bucket.options("p")).await.store;
    let content = Bytes::from(random_hex(50_000));
    store.put(&key("part"), content.clone(), PutMode::Create).await.expect("write");
    for fault in [r#""truncate": 1000"#, r#""corrupt": true"#, r#""hang_up": true"#, r#""code": "SlowDown""#] {
        bucket.fault("GET", "/p/part", fault);
        assert_eq!(store.get(&key("part")).await.unwrap_or_else(|e| panic!("{fault}: {e:?}")), content, "{fault}");
    }
    bucket.fault("GET", "/p/part", r#""corrupt": true, "times": 20"#);
    let e = Error::from(store.get(&key("part")).await.expect_err("damaged for ever"));
    assert!(e.message().contains("checksum does not fit") && e.kind() == Kind::Integrity, "{e:?}");
}

#[tokio::test]
async fn a_listing_survives_failing_pages() {
    let bucket = Bucket::new();
    let options = StoreOptions { list_page_size: Some(4), ..bucket.options("p") };
    let store = opened(&options).await.store;
    for i in 0..20 {
        store.put(&key(&format!("n/{i:02}")), Bytes::new(), PutMode::Create).await.expect("write");
    }
    for skip in 0..4 {
        bucket.fault("GET", "?", &format!(r#""skip": {skip}, "code": "InternalError", "status": 500"#));
        let keys: Vec<String> = store.list("n/").map_ok(|meta| meta.key.to_string()).try_collect().await.expect("list");
        assert_eq!(keys, (0..20).map(|i| format!("n/{i:02}")).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn refusals_name_what_is_missing() {
    let bucket = Bucket::new();
    let store = opened(&bucket.options("p")).await.store;
    let denied = r#""code": "AccessDenied", "status": 403"#;
    bucket.fault("PUT", "/p/", denied);
    let e = Error::from(store.put(&key("a"), body(), PutMode::Create).await.expect_err("denied"));
    assert!(e.kind() == Kind::Denied && e.hint_text().is_some_and(|hint| hint.contains("s3:PutObject")), "{e:?}");
    store.put(&key("a"), body(), PutMode::Create).await.expect("write");
    bucket.fault("HEAD", "/p/a", r#""code": "x", "status": 400"#);
    bucket.fault("GET", "/p/a", r#""code": "ExpiredToken", "status": 400"#);
    let e = Error::from(store.head(&key("a"), true).await.expect_err("expired"));
    assert!(e.message().contains("credentials have expired"), "{e:?}");

    let nowhere = StoreOptions { url: "s3://no-such-bucket-of-pgkeep/p".to_owned(), ..bucket.options("p") };
    let missing = opened(&nowhere).await.store;
    for e in [
        Error::from(missing.put(&key("a"), body(), PutMode::Create).await.expect_err("write")),
        Error::from(missing.put(&key("a"), body(), PutMode::Overwrite).await.expect_err("overwrite")),
        Error::from(missing.get(&key("a")).await.expect_err("read")),
        Error::from(missing.list("").try_collect::<Vec<_>>().await.expect_err("list")),
        Error::from(missing.list_folders("").await.expect_err("list folders")),
    ] {
        assert!(e.kind() == Kind::Denied && e.message().contains("'no-such-bucket-of-pgkeep' does not exist"), "{e:?}");
    }
    let silent = StoreOptions { endpoint_url: Some("http://127.0.0.1:9".to_owned()), backoff: eager(2), ..bucket.options("p") };
    let e = Error::from(opened(&silent).await.store.get(&key("a")).await.expect_err("nobody listens"));
    assert!(e.kind() == Kind::Unavailable && e.message().contains("127.0.0.1:9 does not answer"), "{e:?}");
}

#[tokio::test]
async fn storage_class_and_encryption_reach_the_bucket() {
    let bucket = Bucket::new();
    let kms = StoreOptions {
        storage_class: Some("STANDARD_IA".to_owned()),
        sse_kms_key_id: Some("alias/backups".to_owned()),
        ..bucket.options("p")
    };
    let large = Bytes::from(vec![7; 128 << 10]);
    opened(&kms).await.store.put(&key("kms"), large.clone(), PutMode::Create).await.expect("write");
    let head = bucket.raw_head("p/kms");
    for line in ["x-amz-storage-class: standard_ia", "x-amz-server-side-encryption: aws:kms", "aws-kms-key-id: alias/backups"] {
        assert!(head.contains(line), "'{line}' is not in {head}");
    }
    // The class bills small objects as large ones, and for a month.
    opened(&kms).await.store.put(&key("small"), large.slice(1..), PutMode::Create).await.expect("write");
    let head = bucket.raw_head("p/small");
    assert!(!head.contains("standard_ia") && head.contains("aws:kms"), "{head}");
    let aes = StoreOptions { sse_aes256: true, ..bucket.options("p") };
    opened(&aes).await.store.put(&key("aes"), body(), PutMode::Create).await.expect("write");
    assert!(bucket.raw_head("p/aes").contains("x-amz-server-side-encryption: aes256"));
}

#[tokio::test]
async fn endpoint_and_credentials_come_from_the_environment() {
    let bucket = Bucket::new();
    let url = format!("s3://{}/env", bucket.name);
    for variable in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"] {
        let mut command = child("open", &format!("{url}/{variable}"));
        command.env_remove("AWS_ENDPOINT_URL").env_remove("AWS_ENDPOINT_URL_S3").env(variable, bucket.endpoint());
        assert_eq!(answers(command.spawn().expect("start a child")), ["1"], "{variable}");
    }
    let mut command = child("open", &url);
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY").env("AWS_EC2_METADATA_DISABLED", "true");
    command.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
    let told = answers(command.spawn().expect("start a child"));
    assert!(told.len() == 1 && told[0].starts_with("4 denied: no AWS credentials were found"), "{told:?}");
    let mut command = child("open", &url);
    command
        .env_remove("AWS_ENDPOINT_URL")
        .env_remove("AWS_ENDPOINT_URL_S3")
        .env_remove("AWS_REGION")
        .env_remove("AWS_DEFAULT_REGION");
    command.env("AWS_EC2_METADATA_DISABLED", "true").env("AWS_CONFIG_FILE", "/dev/null");
    let told = answers(command.spawn().expect("start a child"));
    assert!(told.len() == 1 && told[0].contains("the region of s3://"), "{told:?}");
}
