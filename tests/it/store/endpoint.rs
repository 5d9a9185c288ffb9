//! The AWS endpoint of the tests: buckets, and the faults it injects.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use pgkeep::base::ids::random_hex;
use pgkeep::store::StoreOptions;

use super::eager;

/// A bucket of one test, and the faults of requests to it.
pub(super) struct Bucket {
    pub(super) name: String,
    server: String,
}

impl Bucket {
    /// A new bucket.
    pub(super) fn new() -> Self {
        let url = std::env::var("PGKEEP_TEST_AWS_URL")
            .expect("PGKEEP_TEST_AWS_URL is not set: start the servers with `scripts/services start` and load their environment");
        let server = url.strip_prefix("http://").expect("the test endpoint speaks http").trim_end_matches('/').to_owned();
        let bucket = Self { name: format!("pgkeep-store-{}", random_hex(6)), server };
        let place = "<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>";
        let answer = bucket.http("PUT", &format!("/{}", bucket.name), place);
        assert!(answer.starts_with("HTTP/1.1 200"), "make bucket: {answer}");
        bucket
    }

    /// The endpoint's URL.
    pub(super) fn endpoint(&self) -> String {
        format!("http://{}", self.server)
    }

    /// Options of a store in the folder `prefix` of the bucket.
    pub(super) fn options(&self, prefix: &str) -> StoreOptions {
        StoreOptions {
            endpoint_url: Some(self.endpoint()),
            region: Some("eu-west-1".to_owned()),
            backoff: eager(6),
            ..StoreOptions::new(format!("s3://{}/{prefix}", self.name))
        }
    }

    /// Hits the next request that is `method` on a path below the bucket with a fault, given as JSON fields.
    pub(super) fn fault(&self, method: &str, path: &str, fault: &str) {
        let text = format!(r#"{{"faults": [{{"match": "{method} /{}{path}", {fault}}}]}}"#, self.name);
        let answer = self.http("POST", "/_sim", &text);
        assert!(answer.starts_with("HTTP/1.1 200"), "inject a fault: {answer}");
    }

    /// Head of the answer to a HEAD request for an object.
    pub(super) fn raw_head(&self, key: &str) -> String {
        self.http("HEAD", &format!("/{}/{key}", self.name), "").to_ascii_lowercase()
    }

    /// Whole answer to a request that carries no valid signature, which the endpoint does not check.
    fn http(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.server).expect("connect to the AWS endpoint of the tests");
        let scope = "AWS4-HMAC-SHA256 Credential=test/20260101/eu-west-1/s3/aws4_request, SignedHeaders=host, Signature=00";
        let (host, length) = (&self.server, body.len());
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {scope}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
            .expect("send");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("receive");
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        let text = format!(r#"{{"clear_faults": "/{}"}}"#, self.name);
        if !std::thread::panicking() {
            self.http("POST", "/_sim", &text);
        }
    }
}
