//! What an S3 server's refusal means and what a person can do about it.

use std::error::Error as StdError;
use std::fmt;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStreamError;

use crate::base::Error;
use crate::store::{Key, NotApplied, StoreError};

/// What a request was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Get,
    Head,
    Create,
    Replace,
    Overwrite,
    List,
    Delete,
}

impl Action {
    fn verb(self) -> &'static str {
        match self {
            Self::Get => "read",
            Self::Head => "examine",
            Self::Create | Self::Replace | Self::Overwrite => "write",
            Self::List => "list",
            Self::Delete => "delete",
        }
    }

    fn permission(self) -> &'static str {
        match self {
            Self::Get | Self::Head => "s3:GetObject (and s3:ListBucket, without which an absent object looks forbidden)",
            Self::Create | Self::Overwrite => "s3:PutObject",
            Self::Replace => "s3:PutObject and s3:GetObject",
            Self::List => "s3:ListBucket",
            Self::Delete => "s3:DeleteObject",
        }
    }
}

/// Where requests go: the bucket, and the server if it is not Amazon's.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) bucket: String,
    pub(super) server: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.server {
            Some(server) => write!(f, "s3://{} at {server}", self.bucket),
            None => write!(f, "s3://{}", self.bucket),
        }
    }
}

/// An answer that is an error.
#[derive(Debug)]
struct Refusal {
    action: Action,
    /// Key, or prefix of a listing.
    key: String,
    status: u16,
    code: String,
    message: String,
    /// Where the bucket is, if the store says so.
    region: Option<String>,
}

impl Refusal {
    /// The store's own words.
    fn words(&self) -> String {
        match (self.code.as_str(), self.message.as_str()) {
            ("", "") => format!("HTTP status {}", self.status),
            (code, "") => code.to_owned(),
            ("", message) => format!("HTTP status {}, {message}", self.status),
            (code, message) => format!("{code}, {message}"),
        }
    }
}

impl Place {
    /// The meaning of a failed request for `key` (of a listing: its prefix).
    pub(super) fn explain<E>(&self, action: Action, key: &str, e: SdkError<E, HttpResponse>) -> StoreError
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        if let Some(error) = self.credentials_failed(&e) {
            return error.into();
        }
        let raw = match &e {
            SdkError::ServiceError(context) => context.raw(),
            SdkError::ResponseError(context) if context.raw().status().as_u16() >= 300 => context.raw(),
            SdkError::ResponseError(_) => return self.silent("sent an answer that cannot be understood", e).into(),
            SdkError::ConstructionFailure(_) => {
                return Error::internal(format!("cannot form the request to {} '{key}' in {self}", action.verb()))
                    .source(e)
                    .into();
            }
            _ => return self.silent("does not answer", e).into(),
        };
        let refusal = Refusal {
            action,
            key: key.to_owned(),
            status: raw.status().as_u16(),
            region: raw.headers().get("x-amz-bucket-region").map(str::to_owned),
            code: e.code().unwrap_or_default().to_owned(),
            message: e.message().unwrap_or_default().to_owned(),
        };
        self.refused(&refusal)
    }

    /// The body of an object did not arrive as it is stored: broken off, or (kind integrity) against its checksum.
    pub(super) fn transfer_failed(&self, key: &Key, e: ByteStreamError) -> StoreError {
        let damaged = chain(&e).any(|cause| cause.to_string().starts_with("body checksum mismatch"));
        let error = if damaged {
            Error::integrity(format!("object '{key}' of {self} arrives with bytes that its checksum does not fit"))
        } else {
            Error::unavailable(format!("object '{key}' of {self} broke off on its way"))
        };
        error.source(e).into()
    }

    fn silent(&self, what: &str, e: impl StdError + Send + Sync + 'static) -> Error {
        Error::unavailable(format!("{self} {what}")).source(e).hint("check the network, and the endpoint if one is set")
    }

    fn credentials_failed(&self, e: &(dyn StdError + 'static)) -> Option<Error> {
        let cause = chain(e).find_map(|cause| cause.downcast_ref::<CredentialsError>())?;
        let text = format!("no AWS credentials for {self}: {cause}");
        Some(match cause {
            CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_) => {
                Error::denied(text).hint("set AWS_PROFILE, or give the instance or container a role that may use the bucket")
            }
            _ => Error::unavailable(text),
        })
    }

    fn refused(&self, r: &Refusal) -> StoreError {
        let key = || r.key.parse::<Key>();
        match (r.status, r.code.as_str()) {
            (_, "NoSuchBucket") => return self.no_bucket().into(),
            (412, _) | (_, "PreconditionFailed") => match (r.action, key()) {
                (Action::Create, Ok(key)) => return StoreError::AlreadyExists(key),
                (Action::Replace, Ok(key)) => return StoreError::Precondition(key),
                _ => {}
            },
            (404, _) => match (r.action, key()) {
                (Action::Get | Action::Head | Action::Delete, Ok(key)) => return StoreError::NotFound(key),
                (Action::Replace, Ok(key)) => return StoreError::Precondition(key),
                _ => {}
            },
            _ => {}
        }
        self.passing(r).or_else(|| self.wrong_credentials(r)).unwrap_or_else(|| self.final_refusal(r)).into()
    }

    fn no_bucket(&self) -> Error {
        Error::denied(format!(
            "bucket '{}' does not exist{}",
            self.bucket,
            self.server.as_ref().map(|s| format!(" at {s}")).unwrap_or_default()
        ))
        .hint(format!("create it (`aws s3 mb s3://{}`), or correct the store's URL or the AWS account", self.bucket))
    }

    /// Refusals that time heals.
    fn passing(&self, r: &Refusal) -> Option<Error> {
        let (verb, key) = (r.action.verb(), &r.key);
        let turned_away = |text: String| Some(Error::unavailable(text).source(NotApplied(r.words())));
        match (r.status, r.code.as_str()) {
            (
                _,
                "SlowDown"
                | "Throttling"
                | "ThrottlingException"
                | "RequestThrottled"
                | "RequestLimitExceeded"
                | "TooManyRequests",
            )
            | (429, _) => turned_away(format!("{self} asks for fewer requests")),
            (_, "ConditionalRequestConflict" | "OperationAborted") => {
                turned_away(format!("somebody else is writing '{key}' in {self} at the same time"))
            }
            (_, "BadDigest" | "XAmzContentSHA256Mismatch" | "IncompleteBody" | "InvalidDigest") => {
                turned_away(format!("the bytes of '{key}' reached {self} damaged or incomplete"))
            }
            (_, "RequestTimeout") | (408, _) => {
                Some(Error::unavailable(format!("{self} waited in vain for the request to {verb} '{key}'")))
            }
            (501 | 505 | 507, _) | (_, "NotImplemented") => None,
            (500.., _) => Some(Error::unavailable(format!("{self} cannot {verb} '{key}' now")).source(r.words())),
            _ => None,
        }
    }

    fn wrong_credentials(&self, r: &Refusal) -> Option<Error> {
        let (what, hint) = match r.code.as_str() {
            "InvalidAccessKeyId" => {
                ("does not know the access key", "check AWS_ACCESS_KEY_ID or AWS_PROFILE; the key may have been deleted")
            }
            "SignatureDoesNotMatch" => {
                ("does not accept the secret key", "check AWS_SECRET_ACCESS_KEY; blanks or quotes may have crept in")
            }
            "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" => (
                "says that the credentials have expired",
                "renew them, for example with `aws sso login`, or use a role, which renews itself",
            ),
            "InvalidToken" => ("does not accept the session token", "check AWS_SESSION_TOKEN: it must belong to the access key"),
            "RequestTimeTooSkewed" => ("says that this machine's clock is wrong", "set the clock, for example with chrony"),
            "AccountProblem" | "NotSignedUp" | "AllAccessDisabled" => {
                ("has closed the account or bucket", "ask the AWS account's owner")
            }
            _ => return None,
        };
        Some(Error::denied(format!("{self} {what}")).hint(hint).source(r.words()))
    }

    fn final_refusal(&self, r: &Refusal) -> Error {
        let (verb, key) = (r.action.verb(), &r.key);
        let error = match (r.status, r.code.as_str()) {
            (301 | 307, _) | (_, "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException") => {
                self.wrong_region(r)
            }
            (_, code) if code.starts_with("KMS") || r.message.contains("kms:") => Error::denied(format!(
                "the KMS key does not let us {verb} '{key}' in {self}"
            ))
            .hint("the credentials need kms:GenerateDataKey to write and kms:Decrypt to read, and the key must be enabled"),
            (_, "InvalidObjectState") => Error::denied(format!("'{key}' in {self} is archived and cannot be read at once")).hint(
                "restore it first (`aws s3api restore-object`) and take the store's objects out of archiving lifecycle rules",
            ),
            (_, "InvalidStorageClass") => {
                Error::denied(format!("{self} does not know the storage class")).hint("correct storage_class in the policy")
            }
            (507, _) | (_, "XMinioStorageFull" | "QuotaExceeded") => Error::denied(format!("no space left in {self}"))
                .hint("free or add space there; what was stored before is untouched"),
            (501, _) | (_, "NotImplemented") => Error::unsupported(format!("{self} cannot {verb} '{key}' as pgkeep needs it"))
                .hint("the server must support conditional writes (If-None-Match and If-Match) and SHA-256 checksums"),
            (_, "AccessDenied") | (403, _) => Error::denied(format!("not permitted to {verb} '{key}' in {self}"))
                .hint(format!("the credentials or the bucket's policy must allow {}", r.action.permission())),
            _ => Error::denied(format!("{self} refused to {verb} '{key}'")),
        };
        error.source(r.words())
    }

    fn wrong_region(&self, r: &Refusal) -> Error {
        match &r.region {
            Some(region) => Error::denied(format!("bucket '{}' is in region {region}, not where we asked", self.bucket))
                .hint(format!("set AWS_REGION={region}")),
            None => Error::denied(format!("bucket '{}' is in another region than the one asked", self.bucket))
                .hint("set AWS_REGION, or `region` in the policy's [store] section, to the bucket's region"),
        }
    }
}

fn chain<'a>(e: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(e), |e| (*e).source())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Kind;

    fn refuse(action: Action, status: u16, code: &str) -> StoreError {
        let region = (status == 301).then(|| "eu-west-3".to_owned());
        let refusal = Refusal { action, key: "a/b".to_owned(), status, code: code.to_owned(), message: String::new(), region };
        Place { bucket: "b".to_owned(), server: None }.refused(&refusal)
    }

    #[test]
    fn conditions_and_absence_are_told_apart_by_what_was_asked() {
        assert!(matches!(refuse(Action::Create, 412, "PreconditionFailed"), StoreError::AlreadyExists(_)));
        assert!(matches!(refuse(Action::Replace, 412, "PreconditionFailed"), StoreError::Precondition(_)));
        assert!(matches!(refuse(Action::Replace, 404, "NoSuchKey"), StoreError::Precondition(_)));
        assert!(matches!(refuse(Action::Get, 404, "NoSuchKey"), StoreError::NotFound(_)));
        assert!(matches!(refuse(Action::Head, 404, ""), StoreError::NotFound(_)));
    }

    #[test]
    fn every_refusal_has_its_kind_a_sentence_and_a_hint() {
        let cases = [
            (Action::Create, 404, "NoSuchBucket", Kind::Denied, "does not exist", "aws s3 mb"),
            (Action::Get, 404, "NoSuchBucket", Kind::Denied, "does not exist", "aws s3 mb"),
            (Action::Create, 403, "AccessDenied", Kind::Denied, "not permitted to write 'a/b'", "s3:PutObject"),
            (Action::Delete, 403, "AccessDenied", Kind::Denied, "not permitted to delete", "s3:DeleteObject"),
            (Action::Head, 403, "", Kind::Denied, "not permitted to examine", "s3:ListBucket"),
            (Action::Get, 403, "InvalidAccessKeyId", Kind::Denied, "access key", "AWS_ACCESS_KEY_ID"),
            (Action::Get, 403, "SignatureDoesNotMatch", Kind::Denied, "secret key", "AWS_SECRET_ACCESS_KEY"),
            (Action::Get, 400, "ExpiredToken", Kind::Denied, "expired", "renew"),
            (Action::Get, 403, "RequestTimeTooSkewed", Kind::Denied, "clock", "chrony"),
            (Action::List, 301, "PermanentRedirect", Kind::Denied, "eu-west-3", "AWS_REGION=eu-west-3"),
            (Action::Create, 400, "KMS.DisabledException", Kind::Denied, "KMS key", "kms:Decrypt"),
            (Action::Get, 403, "InvalidObjectState", Kind::Denied, "archived", "restore-object"),
            (Action::Create, 501, "NotImplemented", Kind::Unsupported, "cannot write", "If-None-Match"),
            (Action::Create, 507, "XMinioStorageFull", Kind::Denied, "no space left", "space"),
        ];
        for (action, status, code, kind, sentence, hint) in cases {
            let e = Error::from(refuse(action, status, code));
            assert_eq!(e.kind(), kind, "{code}: {e:?}");
            assert!(e.message().contains(sentence), "{code}: {e:?}");
            assert!(e.hint_text().is_some_and(|text| text.contains(hint)), "{code}: {e:?}");
        }
    }

    #[test]
    fn only_passing_trouble_is_retried_and_only_unanswered_writes_are_in_doubt() {
        let cases = [
            (503, "SlowDown", true),
            (429, "", true),
            (409, "ConditionalRequestConflict", true),
            (400, "BadDigest", true),
            (400, "RequestTimeout", false),
            (500, "InternalError", false),
            (503, "ServiceUnavailable", false),
            (502, "", false),
        ];
        for (status, code, not_applied) in cases {
            let e = Error::from(refuse(Action::Create, status, code));
            assert_eq!(e.kind(), Kind::Unavailable, "{code}: {e:?}");
            assert_eq!(NotApplied::marks(&e), not_applied, "{code}: {e:?}");
        }
        for (status, code) in [(400, "InvalidArgument"), (409, "InvalidBucketState"), (405, "MethodNotAllowed")] {
            assert_eq!(Error::from(refuse(Action::Create, status, code)).kind(), Kind::Denied, "{code}");
        }
    }
}
