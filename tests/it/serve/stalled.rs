//! Servers that do not answer any more, and runs that take too long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pgkeep::base::Kind;
use pgkeep::daemon::runner::Runner;
use pgkeep::daemon::watch::Limits;
use pgkeep::jobs::backup::BackupOptions;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::support::Vault;
use crate::support::cli::{Home, StoreKind, finance};
use crate::support::server::Server;

/// A way to a server that stops passing anything on once it is told to, or after so many bytes of answers, and keeps its connections open.
struct Wire {
    port: u16,
    still: Arc<AtomicBool>,
}

impl Wire {
    async fn to(url: &str, bytes: usize) -> (Self, String) {
        let mut url = url::Url::parse(url).expect("url");
        let target = format!("{}:{}", url.host_str().expect("host"), url.port().unwrap_or(5432));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let port = listener.local_addr().expect("address").port();
        let still = Arc::new(AtomicBool::new(false));
        let stop = still.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&target).await.expect("connect");
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                tokio::spawn(pass(from_client, to_server, usize::MAX, stop.clone()));
                tokio::spawn(pass(from_server, to_client, bytes, stop.clone()));
            }
        });
        url.set_host(Some("127.0.0.1")).expect("host");
        url.set_port(Some(port)).expect("port");
        (Self { port, still }, url.to_string())
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    most: usize,
    still: Arc<AtomicBool>,
) {
    let (mut buffer, mut passed) = (vec![0; 16 << 10], 0);
    while let Ok(count) = from.read(&mut buffer).await {
        if count == 0 {
            return;
        }
        passed += count;
        if passed > most {
            still.store(true, Ordering::SeqCst);
        }
        if still.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_server_that_falls_silent_fails_the_run_in_time() {
    let source = finance(&Server::of(17), 50_000).await;
    let home = Home::new(StoreKind::File);
    let limit = Duration::from_secs(3);
    let limits = Limits { look: Duration::from_millis(50), moving: limit, asking: limit, building: limit };
    // In the middle of the rows, and before anything was asked.
    for bytes in [1 << 20, 100] {
        let (wire, url) = Wire::to(&source.url(), bytes).await;
        home.policy_of("finance", &url, "", "");
        let runner = Runner::new(&home.context()).with_limits(limits);
        let error = runner.backup("finance", &BackupOptions::default()).await.expect_err("nobody answers");
        assert!(wire.still.load(Ordering::SeqCst) && wire.port > 0);
        assert_eq!(error.kind(), Kind::Unavailable, "{error}");
        if bytes > 1000 {
            assert!(error.message().contains("stage 'rows' showed no progress for 3.0s"), "{error}");
            let runs = Vault::of(&home, "finance").backups("failed");
            assert_eq!(runs.len(), 1, "{runs:#?}");
            assert_eq!(runs[0]["error"]["kind"], "unavailable");
            assert_eq!(Vault::of(&home, "finance").lease()["state"], "released");
        }
    }
    source.remove().await;
}

#[tokio::test]
async fn a_run_that_takes_longer_than_its_deadline_is_stopped() {
    let source = finance(&Server::of(17), 200).await;
    let home = Home::new(StoreKind::File);
    let policy = "[schedule]\ncron = \"0 3 * * *\"\ndeadline = \"1s\"\n[hooks]\nbefore = \"exec sleep 60\"\n";
    home.policy("finance", &source, policy);
    home.run(&["backup", "finance"]).exits(4).says(&["longer than 1.0s", "schedule.deadline"]);
    let run = Vault::of(&home, "finance").backups("failed").remove(0);
    assert_eq!(run["error"]["kind"], "unavailable");
    assert_eq!(Vault::of(&home, "finance").lease()["state"], "released");
    source.remove().await;
}
