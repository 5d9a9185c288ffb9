//! An S3 endpoint on loopback to measure against: fast, it verifies every checksum of an upload, and it can add time to each request.
//!
//! `s3_endpoint --directory DIR --port-file FILE --latency-ms 20` serves every bucket name; objects lie in DIR and last as long as the
//! process. `GET /_counts` tells how many requests of each operation came. What it does not speak it refuses, with 501: a measurement
//! never rests on a header that was skipped.

mod answer;
mod digest;
mod objects;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use axum::serve::ListenerExt as _;
use clap::Parser;

use answer::{Refusal, failed, xml};
use objects::{Condition, Objects};

/// More than any part.
const BODY_MAX_BYTES: usize = 1 << 30;
/// Keys on a page of a listing, as S3 has it.
const PAGE_KEYS: usize = 1000;

/// S3 endpoint for measurements.
#[derive(Debug, Parser)]
struct Options {
    /// Folder of the objects.
    #[arg(long)]
    directory: PathBuf,
    /// File that is given the port once the endpoint listens.
    #[arg(long)]
    port_file: PathBuf,
    /// Time added to each request.
    #[arg(long, default_value_t = 0)]
    latency_ms: u64,
}

struct Endpoint {
    objects: Objects,
    latency: Duration,
}

type Answer = Result<Response, Refusal>;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let options = Options::parse();
    let objects = Objects::new(options.directory)?;
    let endpoint = Arc::new(Endpoint { objects, latency: Duration::from_millis(options.latency_ms) });
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let port = listener.local_addr()?.port();
    // Complete or absent, never half-written.
    let unfinished = options.port_file.with_extension("new");
    std::fs::write(&unfinished, port.to_string())?;
    std::fs::rename(unfinished, options.port_file)?;
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    axum::serve(listener, Router::new().fallback(serve).with_state(endpoint)).await
}

async fn serve(State(endpoint): State<Arc<Endpoint>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    if head.uri.path() == "/_counts" {
        return answer::json(&endpoint.objects.counts());
    }
    let Ok(body) = to_bytes(body, BODY_MAX_BYTES).await else {
        return Refusal(StatusCode::BAD_REQUEST, "IncompleteBody", "the body ended early".to_owned()).into();
    };
    add(endpoint.latency).await;
    let query = answer::parameters(head.uri.query().unwrap_or_default());
    let path = answer::decoded(head.uri.path().trim_start_matches('/'));
    let (bucket, key) = path.split_once('/').unwrap_or((&path, ""));
    let asked = Asked { method: head.method, bucket: bucket.to_owned(), key: key.to_owned(), query, headers: head.headers, body };
    let served = tokio::task::spawn_blocking(move || handle(&endpoint, &asked)).await;
    served.unwrap_or_else(|_| Err(failed("the request's task ended"))).unwrap_or_else(Response::from)
}

/// The round trip that a network would take.
#[allow(clippy::disallowed_methods, reason = "real time is what this program adds")]
async fn add(latency: Duration) {
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
}

/// A request, read.
struct Asked {
    method: Method,
    bucket: String,
    key: String,
    query: Vec<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
}

impl Asked {
    fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    fn place(&self, key: &str) -> String {
        format!("{}/{key}", self.bucket)
    }
}

fn handle(endpoint: &Endpoint, asked: &Asked) -> Answer {
    let objects = &endpoint.objects;
    match (&asked.method, asked.key.as_str()) {
        (&Method::GET, "") if asked.parameter("list-type") == Some("2") => list(objects, asked),
        (&Method::POST, "") if asked.parameter("delete").is_some() => delete_many(objects, asked),
        (_, "") => Err(answer::unknown("this request to a bucket")),
        (&Method::PUT, _) => put(objects, asked),
        (&Method::GET, _) => get(objects, asked, true),
        (&Method::HEAD, _) => get(objects, asked, false),
        (&Method::DELETE, key) => {
            objects.count("DeleteObject");
            objects.remove(&asked.place(key));
            answer::empty(StatusCode::NO_CONTENT)
        }
        _ => Err(answer::unknown("this method")),
    }
}

fn put(objects: &Objects, asked: &Asked) -> Answer {
    objects.count("PutObject");
    if !asked.query.iter().all(|(name, _)| name == "x-id") {
        return Err(answer::unknown("an upload in several parts"));
    }
    let condition = match (asked.header("if-none-match"), asked.header("if-match")) {
        (None, None) => Condition::None,
        (Some("*"), None) => Condition::Absent,
        (None, Some(etag)) => Condition::Is(etag.trim_matches('"').to_owned()),
        _ => return Err(answer::unknown("this condition")),
    };
    let sum = digest::verify(&asked.headers, &asked.body)?;
    let etag = objects.put(&asked.place(&asked.key), &asked.body, sum, &condition)?;
    Response::builder()
        .header(header::ETAG, format!("\"{etag}\""))
        .header("x-amz-checksum-sha256", digest::base64(&sum))
        .body(Body::empty())
        .map_err(failed)
}

fn get(objects: &Objects, asked: &Asked, content: bool) -> Answer {
    objects.count(if content { "GetObject" } else { "HeadObject" });
    let (meta, file) = objects.open(&asked.place(&asked.key))?;
    let mut answer = Response::builder()
        .header(header::ETAG, format!("\"{}\"", meta.etag))
        .header(header::LAST_MODIFIED, "Sun, 22 Nov 2026 00:00:00 GMT")
        .header(header::ACCEPT_RANGES, "bytes");
    let range = asked.header("range").map(|text| answer::range(text, meta.size)).transpose()?;
    if range.is_none() && asked.header("x-amz-checksum-mode").is_some_and(|mode| mode.eq_ignore_ascii_case("enabled")) {
        answer =
            answer.header("x-amz-checksum-sha256", digest::base64(&meta.sha256)).header("x-amz-checksum-type", "FULL_OBJECT");
    }
    let (from, length) = match &range {
        Some(range) => {
            let text = format!("bytes {}-{}/{}", range.start, range.end - 1, meta.size);
            answer = answer.status(StatusCode::PARTIAL_CONTENT).header(header::CONTENT_RANGE, text);
            (range.start, range.end - range.start)
        }
        None => (0, meta.size),
    };
    let body = if content { Body::from(objects::read(&file, from, length).map_err(failed)?) } else { Body::empty() };
    answer.header(header::CONTENT_LENGTH, length).body(body).map_err(failed)
}

fn list(objects: &Objects, asked: &Asked) -> Answer {
    objects.count("ListObjectsV2");
    for name in ["encoding-type", "fetch-owner"] {
        if asked.parameter(name).is_some() {
            return Err(answer::unknown(name));
        }
    }
    let limit = asked.parameter("max-keys").map_or(Ok(PAGE_KEYS), str::parse).map_err(failed)?.clamp(1, PAGE_KEYS);
    let prefix = asked.parameter("prefix").unwrap_or_default();
    // A continuation token is the last key that was told: both say after what to go on.
    let after = asked.parameter("continuation-token").or_else(|| asked.parameter("start-after"));
    let page = objects.list(&asked.place(""), prefix, asked.parameter("delimiter"), after, limit);
    Ok(xml(&answer::listing(&asked.bucket, prefix, limit, &page)))
}

fn delete_many(objects: &Objects, asked: &Asked) -> Answer {
    objects.count("DeleteObjects");
    digest::verify(&asked.headers, &asked.body)?;
    let keys = answer::keys(std::str::from_utf8(&asked.body).map_err(failed)?);
    for key in &keys {
        objects.remove(&asked.place(key));
    }
    Ok(xml("<DeleteResult></DeleteResult>"))
}
