//! Amazon EBS: volumes, their snapshots, and the instances that they are attached to, in one region.
//!
//! [`snapshots`] takes, finds, copies, locks, archives and deletes; [`volumes`] describes, makes and attaches. Every answer that comes in pages is
//! read to its end.

pub mod snapshots;
pub mod volumes;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::primitives::DateTime;
use aws_sdk_ec2::types::{Filter, ResourceType, Tag, TagSpecification};
use jiff::Timestamp;

use super::aws::{self, Repeat};
use super::tags::Tags;
use crate::base::{Error, Kind, Result};

/// Items in one page of an answer. AWS gives up to 1000; smaller pages are answered sooner.
const PAGE: i32 = 500;
/// Values that one filter takes.
const FILTER_VALUES: usize = 200;

/// EBS in one region.
#[derive(Debug, Clone)]
pub struct Ebs {
    region: String,
    client: Client,
    /// Repeats nothing by itself: for requests of which AWS cannot tell a repetition.
    once: Client,
}

impl Ebs {
    /// Finds credentials, and connects to nothing yet.
    pub async fn connect(region: &str) -> Result<Self> {
        let client = Client::new(&aws::config(Some(region), Repeat::Freely).await?);
        let once = Client::new(&aws::config(Some(region), Repeat::Never).await?);
        Ok(Self { region: region.to_owned(), client, once })
    }

    /// The region.
    pub fn region(&self) -> &str {
        &self.region
    }
}

fn failed<E>(what: &str, action: &str, error: SdkError<E>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    aws::failure(what, action, error)
}

/// What a `DryRun` says: allowed, refused, or (`None`) neither, since AWS looked at something else first.
fn dry<T, E>(action: &'static str, outcome: Result<T, SdkError<E>>) -> (&'static str, Option<Result<()>>)
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let verdict = match outcome {
        Ok(_) => Some(Ok(())),
        Err(error) => {
            let error = aws::failure("ask for permission", action, error);
            match aws::code(&error) {
                Some("DryRunOperation") => Some(Ok(())),
                Some(_) if error.kind() == Kind::Denied && aws::is_refused(&error) => Some(Err(error)),
                None => Some(Err(error)),
                Some(_) => None,
            }
        }
    };
    (action, verdict)
}

fn filter(name: &str, values: impl IntoIterator<Item = impl Into<String>>) -> Filter {
    Filter::builder().name(name).set_values(Some(values.into_iter().map(Into::into).collect())).build()
}

fn tagged(key: &str, value: &str) -> Filter {
    filter(&format!("tag:{key}"), [value])
}

fn specification(of: ResourceType, tags: &Tags) -> TagSpecification {
    let tags = tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect();
    TagSpecification::builder().resource_type(of).set_tags(Some(tags)).build()
}

fn read_tags(tags: Option<Vec<Tag>>) -> Tags {
    tags.unwrap_or_default().into_iter().filter_map(|t| Some((t.key?, t.value.unwrap_or_default()))).collect()
}

fn timestamp(time: Option<&DateTime>) -> Option<Timestamp> {
    let time = time?;
    let micros = time.secs().checked_mul(1_000_000)?.checked_add(i64::from(time.subsec_nanos() / 1000))?;
    Timestamp::from_microsecond(micros).ok()
}

fn size(gib: Option<i32>) -> u32 {
    gib.and_then(|n| u32::try_from(n).ok()).unwrap_or_default()
}

fn missing(what: &str) -> Error {
    Error::internal(format!("AWS's answer lacks {what}"))
}

/// The region of an availability zone or local zone: `eu-west-1` of `eu-west-1a`, `us-west-2` of `us-west-2-lax-1a`.
pub fn region_of_zone(zone: &str) -> Option<String> {
    let parts: Vec<&str> = zone.split('-').collect();
    let number = parts.iter().position(|p| p.starts_with(|c: char| c.is_ascii_digit()))?;
    let digits: String = parts[number].chars().take_while(char::is_ascii_digit).collect();
    (number >= 2).then(|| format!("{}-{digits}", parts[..number].join("-")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_lie_in_regions() {
        for (zone, region) in [
            ("eu-west-1a", Some("eu-west-1")),
            ("us-gov-west-1b", Some("us-gov-west-1")),
            ("us-west-2-lax-1a", Some("us-west-2")),
            ("ap-southeast-2c", Some("ap-southeast-2")),
            ("nonsense", None),
            ("1a", None),
        ] {
            assert_eq!(region_of_zone(zone).as_deref(), region, "{zone}");
        }
    }
}
