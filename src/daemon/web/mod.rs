//! The HTTP interface of the daemon: what it knows, as JSON and for Prometheus, and a few commands for those who have the token.
//!
//! ```text
//! listener (bounded connections) → guard (host, token, time, headers) → pages: health, ready, metrics   from State alone
//!                                                                     → read: policies from State; backups, runs, proofs from the vaults
//!                                                                     → command: run, verify, prune, cancel to the scheduler
//! ```
//!
//! A GET changes nothing. Every answer but the metrics is a document of `docs/JSON.md`, errors too. Nobody who asks can hold the scheduler up, and
//! a store that does not answer holds up nobody but those who ask for what is in it.

mod answer;
mod command;
mod guard;
mod listener;
mod pages;
mod read;
mod token;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use self::guard::Guard;
use self::listener::Bounded;
use super::control::Control;
use super::state::State;
use crate::base::limits::{HTTP_BODY_BYTES, HTTP_STOP, HTTP_VAULT_READS};
use crate::base::progress::Silent;
use crate::base::{Error, Result};
use crate::jobs::Context;
pub use token::Token;

/// A socket that listens, and nobody is served yet: what can go wrong with an address goes wrong before the daemon says that it is ready.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

/// What the handlers share.
#[derive(Debug, Clone)]
struct App {
    cx: Context,
    state: State,
    control: Control,
    /// Requests that may read vaults at the same time.
    readers: Arc<Semaphore>,
}

impl Server {
    /// Listens on `address`; port 0 takes a free one. An address that others can reach is allowed and warned about: there is no TLS, and
    /// whoever reaches it reads policies' names and the errors of their runs.
    pub async fn bind(address: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address).await.map_err(|e| {
            Error::denied(format!("listen on {address}"))
                .source(e)
                .hint("choose another address with --listen, or end what listens there")
        })?;
        let address = listener.local_addr().map_err(|e| Error::internal("read the address of the socket").source(e))?;
        if !address.ip().is_loopback() {
            tracing::warn!(
                %address,
                "other machines can reach this address: it tells them policies' names, times and errors, and tokens travel unencrypted"
            );
        }
        Ok(Self { listener, address })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `cx` is cancelled, and then for a few seconds more those who are being served. Without `token` every request that
    /// would change something is refused.
    pub async fn run(self, cx: &Context, state: State, control: Control, token: Option<Token>) -> Result<()> {
        tracing::info!(address = %self.address, commands = token.is_some(), "listening");
        let guard = Guard { token: token.map(Arc::new), loopback: self.address.ip().is_loopback() };
        let stop = cx.shutdown.clone();
        let cx = Context { progress: Arc::new(Silent), ..cx.clone() };
        let clock = cx.clock.clone();
        let app = App { cx, state, control, readers: Arc::new(Semaphore::new(HTTP_VAULT_READS)) };
        let serving = axum::serve(Bounded::new(self.listener, clock), router(app, guard));
        let asked = stop.clone();
        let serving = serving.with_graceful_shutdown(async move { asked.cancelled().await });
        let mut serving = std::pin::pin!(serving.into_future());
        let ended = tokio::select! {
            ended = &mut serving => ended,
            () = stop.cancelled() => tokio::time::timeout(HTTP_STOP, serving).await.unwrap_or(Ok(())),
        };
        ended.map_err(|e| Error::internal("serve HTTP").source(e))
    }
}

fn router(app: App, guard: Guard) -> Router {
    let api = Router::new()
        .route("/policies", get(read::policies))
        .route("/policies/{policy}", get(read::policy))
        .route("/policies/{policy}/run", post(command::run))
        .route("/policies/{policy}/verify", post(command::verify))
        .route("/policies/{policy}/prune", post(command::prune))
        .route("/policies/{policy}/cancel", post(command::cancel))
        .route("/backups", get(read::backups))
        .route("/backups/{policy}/{backup}", get(read::backup))
        .route("/runs", get(read::runs))
        .route("/proofs", get(read::proofs));
    Router::new()
        .route("/health", get(pages::health))
        .route("/ready", get(pages::ready))
        .route("/metrics", get(pages::metrics))
        .nest("/api/v1", api)
        .fallback(pages::nothing_here)
        .method_not_allowed_fallback(pages::wrong_method)
        .layer(axum::extract::DefaultBodyLimit::max(HTTP_BODY_BYTES))
        .layer(axum::middleware::from_fn_with_state(guard, guard::guard))
        .with_state(app)
}
