//! The AWS endpoint of the tests: calls of its services, and what it is told to simulate.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

/// A service in a region. Requests carry no valid signature, which the endpoint does not check.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Aws {
    pub(crate) service: &'static str,
    pub(crate) region: &'static str,
}

impl Aws {
    pub(crate) const fn new(service: &'static str, region: &'static str) -> Self {
        Self { service, region }
    }

    /// A call of a JSON API; fails the test unless it is answered with 200.
    #[track_caller]
    pub(crate) fn json(&self, target: &str, body: &Value) -> Value {
        let headers = format!("X-Amz-Target: {target}\r\nContent-Type: application/x-amz-json-1.1\r\n");
        let (status, answer) = self.http("POST", "/", &headers, &body.to_string());
        assert_eq!(status, 200, "{target}: {answer}");
        serde_json::from_str(&answer).unwrap_or(Value::Null)
    }

    /// A call of a query API: status and XML.
    pub(crate) fn query(&self, action: &str, parameters: &[(&str, &str)]) -> (u16, String) {
        let mut body = format!("Action={action}&Version=2014-10-31");
        for (key, value) in parameters {
            let _ = write!(body, "&{key}={}", pgkeep::policy::secrets::percent_encoded(value));
        }
        self.http("POST", "/", "Content-Type: application/x-www-form-urlencoded\r\n", &body)
    }

    /// The same; fails the test unless it is answered with 200.
    #[track_caller]
    pub(crate) fn does(&self, action: &str, parameters: &[(&str, &str)]) -> String {
        let (status, answer) = self.query(action, parameters);
        assert_eq!(status, 200, "{action}: {answer}");
        answer
    }

    fn http(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
        let url = std::env::var("PGKEEP_TEST_AWS_URL").expect("PGKEEP_TEST_AWS_URL is not set: run scripts/services start");
        let host = url.strip_prefix("http://").expect("the test endpoint speaks http").trim_end_matches('/').to_owned();
        let mut stream = TcpStream::connect(&host).expect("connect to the AWS endpoint of the tests");
        let scope = format!("Credential=test/20260101/{}/{}/aws4_request", self.region, self.service);
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: {host}\r\nAuthorization: AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=00\r\n\
             {headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
        .expect("send");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("receive");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        (head.split_whitespace().nth(1).and_then(|s| s.parse().ok()).unwrap_or_default(), body.to_owned())
    }
}

/// Tells the endpoint what to simulate; see `tests/aws/moto_sim.py`.
#[track_caller]
pub(crate) fn simulate(change: &Value) -> Value {
    let (status, answer) = Aws::new("sim", "eu-west-1").http("POST", "/_sim", "", &change.to_string());
    assert_eq!(status, 200, "{answer}");
    serde_json::from_str(&answer).expect("the simulation's state")
}

/// Faults of requests to come, those that hold `text`.
#[track_caller]
pub(crate) fn fault(text: &str, code: &str, status: u16, times: u32) {
    simulate(&json!({ "faults": [{ "match": text, "code": code, "status": status, "times": times }] }));
}

/// Texts of every `<name>` in `xml`.
pub(crate) fn texts(xml: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    xml.split(&open).skip(1).filter_map(|rest| rest.split_once(&close)).map(|(text, _)| text.to_owned()).collect()
}

/// Credentials of another account than the one that the tests use, as names and values of the environment.
pub(crate) fn credentials_of(account: &str) -> Vec<(&'static str, String)> {
    let role = format!("arn:aws:iam::{account}:role/other");
    let answer = Aws::new("sts", "eu-west-1").does("AssumeRole", &[("RoleArn", &role), ("RoleSessionName", "other")]);
    [("AWS_ACCESS_KEY_ID", "AccessKeyId"), ("AWS_SECRET_ACCESS_KEY", "SecretAccessKey"), ("AWS_SESSION_TOKEN", "SessionToken")]
        .map(|(name, field)| (name, texts(&answer, field).first().cloned().expect("credentials")))
        .to_vec()
}
