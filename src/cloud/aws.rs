//! What all AWS clients share: configuration of a region, and one mapping of AWS's errors to ours.
//!
//! Error codes are those of the services' API references (EC2 "Error codes", RDS and SSM "Common errors"). Throttled and failed requests are
//! repeated by the SDK with growing pauses; what is not repeated is a request that AWS may have carried out and that has no client token: see
//! [`Repeat`].

use std::error::Error as StdError;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::ProvideCredentials as _;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ec2::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};

use crate::base::{Error, Kind};

/// Tries of one request, the first included: with pauses that double from a second on, more than a minute of throttling is sat out.
const TRIES: u32 = 8;
/// Longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(20);
/// Wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Wait for one answer: control-plane calls answer in a second or two, `CreateSnapshots` of many volumes takes longer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// What AWS says at the end of a refusal for those who may decode it; hundreds of characters for everybody else.
const ENCODED: &str = "Encoded authorization failure message";
/// Our own code where no answer came because no credentials were to be had.
const NO_CREDENTIALS: &str = "NoCredentials";
const CREDENTIALS_HINT: &str =
    "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the instance or container a role";

/// Whether the SDK may repeat requests whose answer was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Yes: reads, and writes that AWS recognises as the same (client tokens, deletions).
    Freely,
    /// No: the caller has to look whether AWS did it.
    Never,
}

/// Configuration for clients of `region`, or of the region that the environment names. Credentials are looked for at once, so that their lack is said
/// in one sentence; clients renew them by themselves before they expire.
pub(super) async fn config(region: Option<&str>, repeat: Repeat) -> Result<SdkConfig, Error> {
    let retries = match repeat {
        Repeat::Freely => RetryConfig::standard().with_max_attempts(TRIES).with_max_backoff(LONGEST_PAUSE),
        Repeat::Never => RetryConfig::disabled(),
    };
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_attempt_timeout(ANSWER_TIMEOUT).build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).retry_config(retries).timeout_config(timeouts);
    // CloudTrail shows who asked.
    if let Ok(name) = AppName::new("pgkeep") {
        loader = loader.app_name(name);
    }
    if let Some(region) = region {
        loader = loader.region(Region::new(region.to_owned()));
    }
    let config = loader.load().await;
    if config.region().is_none() {
        return Err(Error::denied("the AWS region is not known").hint("set AWS_REGION, or `region` in the AWS profile"));
    }
    let Some(provider) = config.credentials_provider() else {
        return Err(Error::denied("no AWS credentials were found").hint(CREDENTIALS_HINT));
    };
    match provider.provide_credentials().await {
        Ok(_) => Ok(config),
        Err(error) => Err(no_credentials(error)),
    }
}

fn no_credentials(error: CredentialsError) -> Error {
    match error {
        CredentialsError::CredentialsNotLoaded(_) => Error::denied("no AWS credentials were found").hint(CREDENTIALS_HINT),
        CredentialsError::InvalidConfiguration(_) => {
            Error::denied("the AWS configuration does not lead to credentials").hint(CREDENTIALS_HINT).source(error)
        }
        CredentialsError::ProviderTimedOut(_) => Error::unavailable("AWS credentials could not be fetched in time").source(error),
        error => Error::denied("AWS credentials could not be obtained").hint(CREDENTIALS_HINT).source(error),
    }
}

/// The code of AWS's answer, as the source of our error.
#[derive(Debug)]
struct Code(String);

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Code {}

/// AWS's own code of an error that came from AWS.
pub fn code(error: &Error) -> Option<&str> {
    StdError::source(error)?.downcast_ref::<Code>().map(|c| c.0.as_str())
}

/// Whether the credentials had expired when the request was made: new ones may be there in a moment.
pub fn is_expired(error: &Error) -> bool {
    code(error).is_some_and(|code| EXPIRED.contains(&code) || code == NO_CREDENTIALS)
}

/// Whether AWS may have carried out what the error is about: no answer came, or one of an inner failure. Throttled requests were not carried out.
pub fn is_ambiguous(error: &Error) -> bool {
    error.kind() == Kind::Unavailable && !code(error).is_some_and(|code| THROTTLED.contains(&code))
}

/// Whether AWS refused for lack of a permission, or of credentials.
pub fn is_refused(error: &Error) -> bool {
    is_expired(error) || code(error).is_some_and(|code| DENIED.contains(&code) || BAD_CREDENTIALS.contains(&code))
}

/// Whether AWS asked to slow down.
pub fn is_throttled(error: &Error) -> bool {
    code(error).is_some_and(|code| THROTTLED.contains(&code))
}

/// What a failed call means. `what`: "verb object"; `action`: what a role must be allowed for it, such as `ec2:CreateSnapshots`.
#[allow(clippy::needless_pass_by_value, reason = "callers hand it to map_err")]
pub(super) fn failure<E>(what: &str, action: &str, error: SdkError<E>) -> Error
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    match &error {
        SdkError::ServiceError(answer) => {
            let status = answer.raw().status().as_u16();
            let code = answer.err().code().unwrap_or_default();
            let message = answer.err().message().unwrap_or_default();
            let message = message.split(ENCODED).next().unwrap_or_default().trim();
            refusal(what, action, status, code, message)
        }
        SdkError::TimeoutError(_) => Error::unavailable(format!("{what}: AWS did not answer in time")),
        _ if lacks_credentials(&error) => Error::denied(format!("{what}: AWS credentials could not be obtained"))
            .hint(CREDENTIALS_HINT)
            .source(Code(NO_CREDENTIALS.to_owned())),
        SdkError::ConstructionFailure(_) => Error::internal(format!("{what}: {}", DisplayErrorContext(&error))),
        _ => Error::unavailable(format!("{what}: AWS could not be reached: {}", DisplayErrorContext(&error)))
            .hint("check the network, the region and AWS_ENDPOINT_URL"),
    }
}

fn lacks_credentials(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<CredentialsError>() {
            return true;
        }
        next = error.source();
    }
    false
}

/// Requests that were too many; none was carried out. The snapshot codes limit how many may be under way at once.
const THROTTLED: [&str; 15] = [
    "ResourceLimitExceeded",
    "RequestLimitExceeded",
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "TooManyRequestsException",
    "TooManyUpdates",
    "BandwidthLimitExceeded",
    "PriorRequestNotComplete",
    "EC2ThrottledException",
    "ConcurrentSnapshotLimitExceeded",
    "SnapshotCreationPerVolumeRateExceeded",
    "SlowDown",
];
const EXPIRED: [&str; 5] =
    ["ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired", "InvalidTokenException"];
const DENIED: [&str; 9] = [
    "UnauthorizedOperation",
    "AccessDenied",
    "AccessDeniedException",
    "NotAuthorized",
    "AuthorizationError",
    "OptInRequired",
    "Blocked",
    "InvalidAccess",
    "Client.UnauthorizedOperation",
];
const BAD_CREDENTIALS: [&str; 7] = [
    "AuthFailure",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "SignatureDoesNotMatch",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "IncompleteSignature",
];
const INNER: [&str; 8] = [
    "InternalError",
    "InternalFailure",
    "InternalServerError",
    "ServerInternal",
    "ServiceUnavailable",
    "ServiceUnavailableException",
    "Unavailable",
    "RequestTimeout",
];
const CAPACITY: [&str; 4] = [
    "InsufficientVolumeCapacity",
    "InsufficientCapacity",
    "InsufficientDBInstanceCapacity",
    "InsufficientDBInstanceCapacityFault",
];
/// Something is in a state, or in a use, that forbids the request for now.
const STATES: [&str; 17] = [
    "IncorrectState",
    "IncorrectInstanceState",
    "InvalidState",
    "InvalidSnapshot.InUse",
    "SnapshotLocked",
    "VolumeInUse",
    "InvalidVolume.ZoneMismatch",
    "IdempotentParameterMismatch",
    "DependencyViolation",
    "InvalidDBInstanceState",
    "InvalidDBInstanceStateFault",
    "InvalidDBClusterStateFault",
    "InvalidDBSnapshotState",
    "InvalidDBClusterSnapshotStateFault",
    "InvalidParameterCombination.InUse",
    "ConflictException",
    "OperationNotPermitted",
];

fn refusal(what: &str, action: &str, status: u16, code: &str, message: &str) -> Error {
    let text = if code.is_empty() { format!("{what}: HTTP status {status}") } else { format!("{what}: {code}: {message}") };
    let is = |list: &[&str]| list.contains(&code);
    let error = if is(&THROTTLED) {
        Error::unavailable(text).hint("AWS limits how often and how many at once; later it will work")
    } else if is(&EXPIRED) {
        Error::denied(text).hint(
            "the AWS credentials have expired: renew them, for example with `aws sso login`; roles of instances renew themselves",
        )
    } else if is(&DENIED) {
        Error::denied(text)
            .hint(format!("the role that pgkeep runs with needs {action}; `pgkeep iam-policy` prints all that it needs"))
    } else if is(&BAD_CREDENTIALS) {
        Error::denied(text).hint("the AWS credentials are wrong, or the machine's clock is: check both")
    } else if is(&INNER) || status >= 500 {
        Error::unavailable(text)
    } else if is(&CAPACITY) {
        Error::unavailable(text).hint("AWS has no room for it there now: try again later, in another zone, or with another type")
    } else if code.ends_with("LimitExceeded") || code.ends_with("QuotaExceeded") || code.ends_with("QuotaExceededFault") {
        Error::denied(text)
            .hint("a quota of the account is used up: ask for more in Service Quotas, or delete what is not needed")
            .over_quota()
    } else if code.contains("NotFound") {
        Error::not_found(text).hint("compare the id and the region with the policy's")
    } else if is(&STATES) || code.contains("AlreadyExists") || code.contains("Locked") || message.contains(" locked") {
        Error::conflict(text)
    } else if code.starts_with("KMS") || message.contains("KMS") {
        Error::denied(text).hint("the KMS key must be enabled, and the role allowed kms:CreateGrant, kms:Decrypt, kms:DescribeKey, kms:GenerateDataKeyWithoutPlaintext and kms:ReEncrypt* on it")
    } else {
        Error::denied(text)
    };
    error.source(Code(code.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_aws_become_kinds_that_say_what_helps() {
        let kind = |status, code| refusal("take snapshots", "ec2:CreateSnapshots", status, code, "no").kind();
        for (status, code, expected) in [
            (503, "RequestLimitExceeded", Kind::Unavailable),
            (400, "Throttling", Kind::Unavailable),
            (400, "ConcurrentSnapshotLimitExceeded", Kind::Unavailable),
            (400, "SnapshotLimitExceeded", Kind::Denied),
            (400, "SnapshotQuotaExceeded", Kind::Denied),
            (403, "UnauthorizedOperation", Kind::Denied),
            (401, "AuthFailure", Kind::Denied),
            (400, "RequestExpired", Kind::Denied),
            (400, "InvalidVolume.NotFound", Kind::NotFound),
            (404, "DBInstanceNotFound", Kind::NotFound),
            (400, "InvalidSnapshot.InUse", Kind::Conflict),
            (400, "InvalidDBInstanceState", Kind::Conflict),
            (500, "InternalError", Kind::Unavailable),
            (502, "", Kind::Unavailable),
            (400, "InvalidParameterValue", Kind::Denied),
        ] {
            assert_eq!(kind(status, code), expected, "{code}");
        }
        let refused = refusal("take snapshots", "ec2:CreateSnapshots", 403, "UnauthorizedOperation", "You are not");
        assert!(refused.hint_text().is_some_and(|h| h.contains("ec2:CreateSnapshots")));
        assert_eq!(refused.full_message(), "take snapshots: UnauthorizedOperation: You are not");
        assert!(is_expired(&refusal("x", "y", 400, "ExpiredToken", "")));
        assert!(is_ambiguous(&refusal("x", "y", 500, "InternalError", "")));
        assert!(!is_ambiguous(&refusal("x", "y", 503, "RequestLimitExceeded", "")));
    }
}
