//! The words of the protocol: refusals, XML, percent signs, ranges.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::ops::Range;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;

use crate::objects::Page;

/// Status, code and message of an error.
pub(crate) struct Refusal(pub(crate) StatusCode, pub(crate) &'static str, pub(crate) String);

impl From<Refusal> for Response {
    fn from(Refusal(status, code, message): Refusal) -> Self {
        let mut answer = xml(&format!("<Error><Code>{code}</Code><Message>{}</Message></Error>", escaped(&message)));
        *answer.status_mut() = status;
        answer
    }
}

/// What this endpoint does not speak.
pub(crate) fn unknown(what: &str) -> Refusal {
    Refusal(StatusCode::NOT_IMPLEMENTED, "NotImplemented", format!("{what} is not spoken here"))
}

/// An error of the endpoint itself.
pub(crate) fn failed(error: impl Display) -> Refusal {
    Refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", error.to_string())
}

fn typed(content: String, kind: &'static str) -> Response {
    let mut answer = Response::new(Body::from(content));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

pub(crate) fn xml(content: &str) -> Response {
    typed(format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{content}"), "application/xml")
}

pub(crate) fn json(counts: &BTreeMap<&'static str, u64>) -> Response {
    typed(serde_json::json!(counts).to_string(), "application/json")
}

pub(crate) fn empty(status: StatusCode) -> Result<Response, Refusal> {
    Response::builder().status(status).body(Body::empty()).map_err(failed)
}

/// A page of a listing.
pub(crate) fn listing(bucket: &str, prefix: &str, limit: usize, page: &Page) -> String {
    let mut text = format!(
        "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>{}</Name><Prefix>{}</Prefix><MaxKeys>{limit}</MaxKeys>\
         <KeyCount>{}</KeyCount><IsTruncated>{}</IsTruncated>",
        escaped(bucket),
        escaped(prefix),
        page.objects.len() + page.folders.len(),
        page.next.is_some(),
    );
    if let Some(token) = &page.next {
        let _ = write!(text, "<NextContinuationToken>{}</NextContinuationToken>", escaped(token));
    }
    for (key, size, etag) in &page.objects {
        let _ = write!(
            text,
            "<Contents><Key>{}</Key><LastModified>2026-11-22T00:00:00.000Z</LastModified><ETag>&quot;{etag}&quot;</ETag><Size>{size}</Size>\
             <StorageClass>STANDARD</StorageClass></Contents>",
            escaped(key),
        );
    }
    for folder in &page.folders {
        let _ = write!(text, "<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>", escaped(folder));
    }
    text + "</ListBucketResult>"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The keys of a DeleteObjects request.
pub(crate) fn keys(xml: &str) -> Vec<String> {
    let named = xml.split("<Key>").skip(1).filter_map(|rest| rest.split_once("</Key>"));
    named.map(|(key, _)| key.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")).collect()
}

/// The parameters of a query.
pub(crate) fn parameters(query: &str) -> Vec<(String, String)> {
    url::form_urlencoded::parse(query.as_bytes()).map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

/// A path without its percent signs; a plus stands for itself.
pub(crate) fn decoded(path: &str) -> String {
    let plain: Cow<'_, str> = if path.contains('+') { path.replace('+', "%2B").into() } else { path.into() };
    let query = format!("path={}", plain.replace('&', "%26"));
    parameters(&query).into_iter().next().map(|(_, value)| value).unwrap_or_default()
}

/// The bytes that a Range header asks for.
pub(crate) fn range(text: &str, size: u64) -> Result<Range<u64>, Refusal> {
    let (from, to) = text.strip_prefix("bytes=").and_then(|r| r.split_once('-')).ok_or_else(|| unknown("this range"))?;
    let from: u64 = from.parse().map_err(|_| unknown("a range from the end"))?;
    let end = to.parse::<u64>().map_or(size, |to| size.min(to.saturating_add(1)));
    if from >= end {
        return Err(Refusal(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange", "the range lies behind the object".to_owned()));
    }
    Ok(from..end)
}
