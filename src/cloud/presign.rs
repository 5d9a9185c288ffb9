//! The URL by which `CopySnapshot` proves to the region of the copy that it may read an encrypted original of another region. The Rust SDK does
//! not make it.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;

use super::aws::{self, Repeat};
use crate::base::clock::{Clock as _, SystemClock};
use crate::base::{Error, Result};

/// Version of the EC2 API.
const VERSION: &str = "2016-11-15";
/// How long the URL is good: AWS reads it when it begins to copy.
const EXPIRES: Duration = Duration::from_secs(3600);

/// A copy between regions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Copy<'a> {
    /// Region of the original.
    pub(super) from: &'a str,
    /// Region of the copy.
    pub(super) to: &'a str,
    /// The original.
    pub(super) snapshot: &'a str,
    /// `Encrypted` of the request.
    pub(super) encrypted: Option<bool>,
    /// `KmsKeyId` of the request.
    pub(super) key: Option<&'a str>,
}

/// The URL, signed with the credentials of the original's region. It is a secret for an hour: nobody logs it.
pub(super) async fn copy_snapshot(copy: &Copy<'_>) -> Result<String> {
    let config = aws::config(Some(copy.from), Repeat::Freely).await?;
    let provider = config.credentials_provider().ok_or_else(|| Error::denied("no AWS credentials were found"))?;
    let credentials =
        provider.provide_credentials().await.map_err(|e| Error::denied("AWS credentials could not be obtained").source(e))?;
    signed(copy, credentials, SystemTime::from(SystemClock.now()))
}

fn signed(copy: &Copy<'_>, credentials: Credentials, now: SystemTime) -> Result<String> {
    let failed = |e: Box<dyn std::error::Error + Send + Sync>| Error::internal("sign the copy of a snapshot").source(e);
    let mut url = url::Url::parse(&format!("https://ec2.{}.{}/", copy.from, domain(copy.from))).map_err(|e| failed(e.into()))?;
    {
        let mut query = url.query_pairs_mut();
        query.append_pair("Action", "CopySnapshot").append_pair("Version", VERSION);
        query.append_pair("SourceRegion", copy.from).append_pair("SourceSnapshotId", copy.snapshot);
        query.append_pair("DestinationRegion", copy.to);
        if let Some(encrypted) = copy.encrypted {
            query.append_pair("Encrypted", if encrypted { "true" } else { "false" });
        }
        if let Some(key) = copy.key {
            query.append_pair("KmsKeyId", key);
        }
    }
    let identity = credentials.into();
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.percent_encoding_mode = PercentEncodingMode::Double;
    settings.payload_checksum_kind = PayloadChecksumKind::NoHeader;
    settings.expires_in = Some(EXPIRES);
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(copy.from)
        .name("ec2")
        .time(now)
        .settings(settings)
        .build()
        .map_err(|e| failed(e.into()))?
        .into();
    let request =
        SignableRequest::new("GET", url.as_str(), std::iter::empty(), SignableBody::Bytes(&[])).map_err(|e| failed(e.into()))?;
    let (instructions, _) = sign(request, &params).map_err(|e| failed(e.into()))?.into_parts();
    for (name, value) in instructions.params() {
        url.query_pairs_mut().append_pair(name, value);
    }
    Ok(url.into())
}

/// The DNS suffix of a region's partition.
fn domain(region: &str) -> &'static str {
    if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_botocore() {
        let credentials = Credentials::new("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", None, None, "test");
        let copy = Copy {
            from: "eu-west-1",
            to: "eu-central-1",
            snapshot: "snap-0123456789abcdef0",
            encrypted: Some(true),
            key: Some("arn:aws:kms:eu-central-1:123456789012:key/0a1b"),
        };
        let at: jiff::Timestamp = "2026-11-22T02:15:00Z".parse().expect("time");
        let url = signed(&copy, credentials, SystemTime::from(at)).expect("sign");
        // Made with botocore's SigV4QueryAuth for the same request, credentials and time.
        let expected = "6a9a6347db4a6b2a8e1bd998e4d6e0edb2292e02492b77a707d3dd37bd293356";
        assert!(url.contains(&format!("X-Amz-Signature={expected}")), "{url}");
        assert!(
            url.starts_with("https://ec2.eu-west-1.amazonaws.com/?Action=CopySnapshot&") && url.contains("X-Amz-Expires=3600")
        );
    }
}
