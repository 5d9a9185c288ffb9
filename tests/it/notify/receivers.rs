//! Those who are told: an HTTP server, a mail server, a queue behind an SNS topic.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use pgkeep::base::ids::random_hex;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// What an HTTP server answers.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    Ok,
    Status(u16, String),
    Redirect(String),
    /// Nothing, for ever.
    Hang,
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) content_type: String,
    pub(super) body: String,
    /// Whether it was answered well.
    pub(super) taken: bool,
}

impl Request {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("a JSON body")
    }
}

#[derive(Default)]
struct Shared {
    requests: Mutex<Vec<Request>>,
    /// Answers to the next requests, then `Ok`.
    next: Mutex<VecDeque<Answer>>,
    always: Mutex<Option<Answer>>,
}

/// An HTTP server on loopback that keeps what it is sent.
pub(super) struct Http {
    shared: Arc<Shared>,
    port: u16,
    scheme: &'static str,
    task: tokio::task::JoinHandle<()>,
}

struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, from) = self.listener.accept().await.expect("accept");
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, from);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

fn acceptor() -> TlsAcceptor {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let file = |name: &str| format!("{}/tests/tls/{name}", env!("CARGO_MANIFEST_DIR"));
    let certificate = CertificateDer::from_pem_file(file("server.pem")).expect("certificate");
    let key = PrivateKeyDer::from_pem_file(file("server.key")).expect("key");
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key);
    TlsAcceptor::from(Arc::new(config.expect("TLS settings")))
}

impl Http {
    pub(super) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let port = listener.local_addr().expect("address").port();
        let shared = Arc::new(Shared::default());
        let app = Router::new().fallback(take).with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move { axum::serve(listener, app).await.expect("serve") });
        Self { shared, port, task, scheme: "http" }
    }

    /// The same over TLS, with a certificate for 127.0.0.1 by the tests' authority.
    pub(super) async fn tls() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let port = listener.local_addr().expect("address").port();
        let shared = Arc::new(Shared::default());
        let app = Router::new().fallback(take).with_state(Arc::clone(&shared));
        let listener = Tls { listener, acceptor: acceptor() };
        let task = tokio::spawn(async move { axum::serve(listener, app).await.expect("serve") });
        Self { shared, port, task, scheme: "https" }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("{}://127.0.0.1:{}{path}", self.scheme, self.port)
    }

    /// Answers the next request with `answer`, after those already set.
    pub(super) fn next(&self, answer: Answer) {
        self.shared.next.lock().unwrap().push_back(answer);
    }

    /// Answers every request with `answer` from now on.
    pub(super) fn always(&self, answer: Answer) {
        *self.shared.always.lock().unwrap() = Some(answer);
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// Forgets what came so far and returns it.
    pub(super) fn take(&self) -> Vec<Request> {
        std::mem::take(&mut self.shared.requests.lock().unwrap())
    }

    /// Paths that were called, and nothing else that was sent.
    pub(super) fn paths(&self) -> Vec<String> {
        self.requests().into_iter().map(|r| r.path).collect()
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(State(shared): State<Arc<Shared>>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let content_type = headers.get("content-type").map_or("", |v| v.to_str().unwrap_or_default()).to_owned();
    let next = shared.next.lock().unwrap().pop_front();
    let answer = next.or_else(|| shared.always.lock().unwrap().clone()).unwrap_or(Answer::Ok);
    let request = Request {
        method: method.to_string(),
        path: uri.to_string(),
        content_type,
        body: String::from_utf8_lossy(&body).into_owned(),
        taken: matches!(answer, Answer::Ok),
    };
    shared.requests.lock().unwrap().push(request);
    match answer {
        Answer::Ok => "ok".into_response(),
        Answer::Status(code, text) => (StatusCode::from_u16(code).expect("status"), text).into_response(),
        Answer::Redirect(to) => (StatusCode::FOUND, [("location", to)], "elsewhere").into_response(),
        Answer::Hang => std::future::pending().await,
    }
}

/// A mail server on loopback, in a process of its own.
pub(super) struct Mail {
    child: Child,
    folder: TempDir,
    pub(super) port: u16,
}

impl Mail {
    /// Options as in `tests/mail/smtp_server.py`. With `--starttls` or `--tls` it has a certificate for 127.0.0.1 by the tests' authority.
    pub(super) fn new(options: &[&str]) -> Self {
        let python = std::env::var("PGKEEP_TEST_PYTHON").expect("PGKEEP_TEST_PYTHON is not set: run scripts/services start");
        let root = env!("CARGO_MANIFEST_DIR");
        let folder = tempfile::tempdir().expect("temporary folder");
        let port_file = folder.path().join("port");
        let mut command = Command::new(python);
        command.arg(format!("{root}/tests/mail/smtp_server.py")).arg("--port-file").arg(&port_file);
        command.arg("--messages").arg(folder.path().join("messages")).args(options);
        if options.iter().any(|o| o.ends_with("tls")) {
            command.args([
                "--certificate",
                &format!("{root}/tests/tls/server.pem"),
                "--key",
                &format!("{root}/tests/tls/server.key"),
            ]);
        }
        let mut child = command.stdin(Stdio::piped()).spawn().expect("start the mail server");
        let port = loop {
            if let Ok(text) = std::fs::read_to_string(&port_file) {
                break text.parse().expect("port");
            }
            assert!(child.try_wait().expect("mail server").is_none(), "the mail server ended at once");
            std::thread::yield_now();
        };
        Self { child, folder, port }
    }

    /// What it took, oldest first.
    pub(super) fn messages(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join("messages")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }
}

impl Drop for Mail {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// An SNS topic with a queue that subscribed to it, at the AWS endpoint of the tests.
pub(super) struct Topic {
    pub(super) arn: String,
    queue: String,
}

impl Topic {
    pub(super) fn new() -> Self {
        let name = format!("pgkeep-{}", random_hex(6));
        let arn = element(&aws("sns", &[("Action", "CreateTopic"), ("Name", &name)]), "TopicArn");
        let queue = element(&aws("sqs", &[("Action", "CreateQueue"), ("QueueName", &name)]), "QueueUrl");
        let endpoint = format!("arn:aws:sqs:eu-west-1:123456789012:{name}");
        aws("sns", &[("Action", "Subscribe"), ("TopicArn", &arn), ("Protocol", "sqs"), ("Endpoint", &endpoint)]);
        Self { arn, queue }
    }

    /// The envelope that SNS put into the queue.
    pub(super) fn message(&self) -> Value {
        let answer = aws("sqs", &[("Action", "ReceiveMessage"), ("QueueUrl", &self.queue)]);
        let body =
            element(&answer, "Body").replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
        serde_json::from_str(&body).unwrap_or_else(|e| panic!("{e}: {body}"))
    }
}

/// A call of a query API; the test endpoint does not check signatures.
fn aws(service: &str, parameters: &[(&str, &str)]) -> String {
    let url = std::env::var("PGKEEP_TEST_AWS_URL").expect("PGKEEP_TEST_AWS_URL is not set: run scripts/services start");
    let host = url.strip_prefix("http://").expect("the test endpoint speaks http").trim_end_matches('/').to_owned();
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    let scope =
        format!("AWS4-HMAC-SHA256 Credential=test/20260101/eu-west-1/{service}/aws4_request, SignedHeaders=host, Signature=00");
    let mut stream = std::net::TcpStream::connect(&host).expect("connect to the AWS endpoint of the tests");
    write!(
        stream,
        "POST / HTTP/1.1\r\nHost: {host}\r\nAuthorization: {scope}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .expect("send");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("receive");
    assert!(answer.starts_with("HTTP/1.1 200"), "{parameters:?}: {answer}");
    answer
}

/// Text of the first element of this name.
fn element(xml: &str, name: &str) -> String {
    let start = xml.find(&format!("<{name}>")).unwrap_or_else(|| panic!("no {name} in {xml}")) + name.len() + 2;
    xml[start..start + xml[start..].find(&format!("</{name}>")).expect("end of the element")].to_owned()
}
