//! From options and the AWS default chain to a client.

use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{ProvideCredentials as _, RequestChecksumCalculation, StalledStreamProtectionConfig};
use aws_sdk_s3::types::{ServerSideEncryption, StorageClass};
use aws_types::service_config::ServiceConfigKey;

use super::S3Store;
use super::errors::Place;
use crate::base::clock::SharedClock;
use crate::base::limits::{STORE_CONNECT_TIMEOUT, STORE_STALL_TIMEOUT};
use crate::base::{Error, Result};
use crate::store::StoreOptions;

/// Region named to a server that is not Amazon's when nobody names one: such servers take any.
const REGION_OF_OTHERS: &str = "us-east-1";

pub(super) async fn connect(bucket: &str, options: &StoreOptions, clock: &SharedClock) -> Result<S3Store> {
    let storage_class = storage_class(options)?;
    let (encryption, kms_key_id) = encryption(options)?;
    let config = load(options).await;
    let endpoint = endpoint(&config, options);
    check_credentials(&config, clock).await?;
    let mut builder =
        aws_sdk_s3::config::Builder::from(&config).force_path_style(path_style(bucket, options, endpoint.is_some()));
    if let Some(endpoint) = &options.endpoint_url {
        builder = builder.endpoint_url(endpoint);
    }
    if config.region().is_none() {
        if endpoint.is_none() {
            return Err(Error::denied(format!("the region of s3://{bucket} is not known"))
                .hint("set AWS_REGION, or `region` in the AWS profile or in the policy's [store] section"));
        }
        builder = builder.region(Region::new(REGION_OF_OTHERS));
    }
    let place = Place { bucket: bucket.to_owned(), server: endpoint.as_deref().and_then(server) };
    let client = Client::from_conf(builder.build());
    let list_page_size = options.list_page_size.map(i32::from);
    Ok(S3Store { client, place, storage_class, encryption, kms_key_id, list_page_size })
}

async fn load(options: &StoreOptions) -> SdkConfig {
    let timeouts = TimeoutConfig::builder().connect_timeout(STORE_CONNECT_TIMEOUT).build();
    let stalls = StalledStreamProtectionConfig::enabled().grace_period(STORE_STALL_TIMEOUT).build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        .stalled_stream_protection(stalls)
        // The one checksum of an upload is ours; many compatible servers take no second one.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired);
    if let Ok(name) = AppName::new("pgkeep") {
        loader = loader.app_name(name);
    }
    if let Some(region) = &options.region {
        loader = loader.region(Region::new(region.clone()));
    }
    loader.load().await
}

/// The endpoint that is not Amazon's own, if one is set, by precedence as the SDK has it.
fn endpoint(config: &SdkConfig, options: &StoreOptions) -> Option<String> {
    let of_s3 = || {
        let key = ServiceConfigKey::builder().service_id("S3").env("AWS_ENDPOINT_URL").profile("endpoint_url").build().ok()?;
        config.service_config()?.load_config(key)
    };
    options.endpoint_url.clone().or_else(of_s3).or_else(|| config.endpoint_url().map(str::to_owned))
}

/// Host and port of an endpoint, without anything secret that its URL may hold.
fn server(endpoint: &str) -> Option<String> {
    let url = url::Url::parse(endpoint).ok()?;
    let host = url.host_str()?.to_owned();
    Some(url.port().map_or(host.clone(), |port| format!("{host}:{port}")))
}

/// Compatible servers rarely answer to bucket names in their host name, and no certificate covers a name with dots.
fn path_style(bucket: &str, options: &StoreOptions, custom_endpoint: bool) -> bool {
    options.path_style.unwrap_or(custom_endpoint || bucket.contains('.'))
}

async fn check_credentials(config: &SdkConfig, clock: &SharedClock) -> Result<()> {
    let hint = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the instance or container a role that may use the bucket";
    let Some(provider) = config.credentials_provider() else {
        return Err(Error::denied("no AWS credentials were found").hint(hint));
    };
    let credentials = provider.provide_credentials().await.map_err(|e| match e {
        CredentialsError::CredentialsNotLoaded(_) => Error::denied("no AWS credentials were found").hint(hint),
        CredentialsError::InvalidConfiguration(_) => {
            Error::denied("the AWS configuration does not lead to credentials").hint(hint).source(e)
        }
        CredentialsError::ProviderTimedOut(_) => Error::unavailable("AWS credentials could not be fetched in time").source(e),
        e => Error::denied("AWS credentials could not be obtained").hint(hint).source(e),
    })?;
    let now = std::time::SystemTime::from(clock.now());
    if credentials.expiry().is_some_and(|expiry| expiry <= now) {
        return Err(Error::denied("the AWS credentials have expired").hint("renew them, for example with `aws sso login`"));
    }
    Ok(())
}

fn storage_class(options: &StoreOptions) -> Result<Option<StorageClass>> {
    match options.storage_class.as_deref() {
        Some(class @ ("GLACIER" | "DEEP_ARCHIVE")) => Err(Error::policy(format!(
            "objects of storage class {class} cannot be read at once, so no backup in it can be proven or restored"
        ))
        .hint("use STANDARD, STANDARD_IA, INTELLIGENT_TIERING or GLACIER_IR")),
        class => Ok(class.map(StorageClass::from)),
    }
}

fn encryption(options: &StoreOptions) -> Result<(Option<ServerSideEncryption>, Option<String>)> {
    match (&options.sse_kms_key_id, options.sse_aes256) {
        (Some(_), true) => {
            Err(Error::policy("a KMS key and AES256 cannot both encrypt the store's objects").hint("keep one of the two"))
        }
        (Some(key), false) => Ok((Some(ServerSideEncryption::AwsKms), Some(key.clone()))),
        (None, true) => Ok((Some(ServerSideEncryption::Aes256), None)),
        (None, false) => Ok((None, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_named_without_its_secrets() {
        assert_eq!(server("https://user:secret@minio.example:9000/x?y=z").as_deref(), Some("minio.example:9000"));
        assert_eq!(server("https://s3.example").as_deref(), Some("s3.example"));
    }

    #[test]
    fn options_that_make_backups_unreadable_or_contradict_are_refused() {
        let options = |class: &str, kms: Option<&str>, aes: bool| StoreOptions {
            storage_class: Some(class.to_owned()),
            sse_kms_key_id: kms.map(str::to_owned),
            sse_aes256: aes,
            ..StoreOptions::new("s3://b")
        };
        assert!(storage_class(&options("DEEP_ARCHIVE", None, false)).is_err());
        assert_eq!(storage_class(&options("STANDARD_IA", None, false)).expect("class"), Some(StorageClass::StandardIa));
        assert!(encryption(&options("X", Some("key"), true)).is_err());
        assert_eq!(
            encryption(&options("X", Some("key"), false)).expect("encryption"),
            (Some(ServerSideEncryption::AwsKms), Some("key".to_owned()))
        );
    }

    #[test]
    fn addresses_carry_the_bucket_in_their_path_where_host_names_cannot() {
        let options = StoreOptions::new("s3://b");
        assert!(path_style("bucket", &options, true) && path_style("dotted.bucket", &options, false));
        assert!(!path_style("bucket", &options, false));
        assert!(!path_style("bucket", &StoreOptions { path_style: Some(false), ..options }, true));
    }
}
