//! References to secrets that AWS keeps: `aws-secretsmanager:[REGION:]NAME[#key]`, `aws-ssm:[REGION:]/path`, an ARN as name.

use std::fmt;
use std::str::FromStr;

use crate::base::{Error, Result};

/// The prefixes, as they stand in a policy.
pub(super) const PREFIXES: [&str; 2] = ["aws-secretsmanager:", "aws-ssm:"];

/// Which service keeps a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Keeper {
    /// AWS Secrets Manager.
    SecretsManager,
    /// Parameter Store of AWS Systems Manager.
    ParameterStore,
}

/// A secret that AWS keeps. Not a secret itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AwsReference {
    /// Which service keeps it.
    pub keeper: Keeper,
    /// Region; `None`: that of the AWS environment.
    pub region: Option<String>,
    /// Name or ARN; a parameter's may end in `:VERSION` or `:LABEL`.
    pub name: String,
    /// Key of the JSON object that a secret of Secrets Manager may be; `None`: the secret as a whole.
    pub key: Option<String>,
}

impl fmt::Display for AwsReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.keeper {
            Keeper::SecretsManager => PREFIXES[0],
            Keeper::ParameterStore => PREFIXES[1],
        })?;
        if let Some(region) = self.region.as_ref().filter(|_| !self.name.starts_with("arn:")) {
            write!(f, "{region}:")?;
        }
        f.write_str(&self.name)?;
        self.key.as_ref().map_or(Ok(()), |key| write!(f, "#{key}"))
    }
}

impl FromStr for AwsReference {
    type Err = Error;

    /// Errors do not repeat the text: it may be a secret that lost its way.
    fn from_str(text: &str) -> Result<Self> {
        if let Some(rest) = text.strip_prefix(PREFIXES[0]) {
            let (place, key) = rest.split_once('#').map_or((rest, None), |(place, key)| (place, Some(key)));
            let (region, name) = region_and_name(place, "secretsmanager").ok_or_else(|| bad(Keeper::SecretsManager))?;
            let good = name.starts_with("arn:") || (name.len() <= 512 && name.chars().all(|c| is_name(c) || "+=@".contains(c)));
            if name.is_empty() || !good || key.is_some_and(str::is_empty) {
                return Err(bad(Keeper::SecretsManager));
            }
            return Ok(Self { keeper: Keeper::SecretsManager, region, name, key: key.map(str::to_owned) });
        }
        let rest = text.strip_prefix(PREFIXES[1]).ok_or_else(|| bad(Keeper::ParameterStore))?;
        let (region, name) = region_and_name(rest, "ssm").ok_or_else(|| bad(Keeper::ParameterStore))?;
        let (path, selector) = if name.starts_with("arn:") { (name.as_str(), None) } else { split(&name) };
        let good = path.starts_with("arn:") || (path.len() <= 1011 && path.chars().all(is_name));
        if path.is_empty() || !good || selector.is_some_and(|s| s.is_empty() || !s.chars().all(is_name)) {
            return Err(bad(Keeper::ParameterStore));
        }
        Ok(Self { keeper: Keeper::ParameterStore, region, name, key: None })
    }
}

/// `name:selector`.
fn split(name: &str) -> (&str, Option<&str>) {
    name.split_once(':').map_or((name, None), |(name, selector)| (name, Some(selector)))
}

/// Characters that names of both services may have.
fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "/_.-".contains(c)
}

fn bad(keeper: Keeper) -> Error {
    match keeper {
        Keeper::SecretsManager => Error::usage("what follows 'aws-secretsmanager:' does not name a secret")
            .hint("write aws-secretsmanager:NAME, aws-secretsmanager:NAME#key for a key of a JSON secret, or an ARN for NAME"),
        Keeper::ParameterStore => Error::usage("what follows 'aws-ssm:' does not name a parameter")
            .hint("write aws-ssm:/path/of/parameter, aws-ssm:/path:VERSION, or an ARN for the path"),
    }
}

/// The region that stands before a name, or in an ARN of `service`; `None`: an ARN of something else.
fn region_and_name(text: &str, service: &str) -> Option<(Option<String>, String)> {
    if text.starts_with("arn:") {
        let fields: Vec<&str> = text.splitn(6, ':').collect();
        let ["arn", partition, found, region, _, resource] = fields.as_slice() else { return None };
        let good = partition.starts_with("aws") && *found == service && is_region(region) && !resource.is_empty();
        return (good && !text.chars().any(char::is_whitespace)).then(|| (Some((*region).to_owned()), text.to_owned()));
    }
    // Names of secrets hold no colon; that of a parameter is followed by a selector, which looks like no region's name.
    match text.split_once(':') {
        Some((region, name)) if is_region(region) => Some((Some(region.to_owned()), name.to_owned())),
        _ => Some((None, text.to_owned())),
    }
}

/// Whether `text` may be the name of a region: `eu-west-3`, `us-gov-west-1`.
fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let (Some(number), words) = (parts.last(), &parts[..parts.len() - 1]) else { return false };
    let word = |p: &&str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_lowercase());
    words.len() >= 2 && words.iter().all(word) && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_regions_keys_and_arns_are_told_apart() {
        let secret = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db-AbCdEf";
        let parameter = "arn:aws:ssm:eu-west-1:123456789012:parameter/prod/db";
        for (text, region, name, key) in [
            ("aws-secretsmanager:prod/db", None, "prod/db", None),
            ("aws-secretsmanager:prod/db#url", None, "prod/db", Some("url")),
            ("aws-secretsmanager:eu-west-3:prod/db#a#b", Some("eu-west-3"), "prod/db", Some("a#b")),
            (&format!("aws-secretsmanager:{secret}#url"), Some("eu-west-1"), secret, Some("url")),
            ("aws-ssm:/prod/db", None, "/prod/db", None),
            ("aws-ssm:us-gov-west-1:/prod/db:7", Some("us-gov-west-1"), "/prod/db:7", None),
            ("aws-ssm:db-url:prod", None, "db-url:prod", None),
            (&format!("aws-ssm:{parameter}"), Some("eu-west-1"), parameter, None),
        ] {
            let parsed: AwsReference = text.parse().expect(text);
            assert_eq!((parsed.region.as_deref(), parsed.name.as_str(), parsed.key.as_deref()), (region, name, key), "{text}");
            assert_eq!(parsed.to_string(), text);
        }
        for text in [
            "aws-secretsmanager:",
            "aws-secretsmanager:prod/db#",
            "aws-secretsmanager:hunter 2",
            "aws-secretsmanager:a:hunter2",
            "aws-secretsmanager:arn:aws:ssm:eu-west-1:123456789012:parameter/hunter2",
            "aws-ssm:",
            "aws-ssm:eu-west-1:",
            "aws-ssm:/hunter2:",
            "aws-ssm:/hunter2#key",
        ] {
            let error = text.parse::<AwsReference>().expect_err(text);
            assert!(!format!("{error:?}").contains("hunter"), "{error:?}");
        }
    }
}
