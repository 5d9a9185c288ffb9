//! The right to write to a vault: one holder at a time, by conditional writes, fenced by a generation that only grows.
//!
//! Clocks of different machines need not agree. A holder measures its lease with its own clock, from before each renewal was sent; whoever wants to
//! take over an expired lease first watches it for a renewal interval of its own clock. `docs/FORMAT.md`, "The lease", has the reasons.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::document;
use super::vault::Vault;
use crate::base::clock::{add, elapsed};
use crate::base::ids::{BackupId, random_hex};
use crate::base::limits::{GRACE, LEASE_RENEW, LEASE_TTL, SWEEP_MARGIN};
use crate::base::process::{self, is_dead};
use crate::base::shutdown::Shutdown;
use crate::base::{Error, Result, ResultExt};
use crate::store::{ETag, PutMode, StoreError};

/// Tries to take a lease that others take and release at the same moment.
const RACES: u32 = 8;

/// Who holds a lease or reads a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Host name.
    pub host: String,
    /// Process id on that host.
    pub pid: u32,
    /// What it does: `backup`, `prune`, ….
    pub command: String,
    /// Identity by which its death can be proven on its own machine; see [`crate::base::process`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` (process {} on {})", self.command, self.pid, self.host)
    }
}

/// What the holder does with its right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// Adds objects.
    Write,
    /// Deletes objects; left alone for a while after it expires.
    Sweep,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Held,
    Released,
}

/// A backup whose head may be on its way although its writer lost the lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The backup.
    pub backup: BackupId,
    /// Since when nobody holds the lease for it.
    pub since: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct LeaseDocument {
    generation: u64,
    holder: String,
    state: State,
    owner: Owner,
    purpose: Purpose,
    acquired_at: Timestamp,
    renewed_at: Timestamp,
    expires_at: Timestamp,
    ttl_seconds: u64,
    write_id: String,
    #[serde(default)]
    committing: Option<BackupId>,
    #[serde(default)]
    pending: Vec<Pending>,
}

/// Put as the source of an error: the lease was held and is lost. Whoever did not get it in the first place has an error without it.
#[derive(Debug, Clone, Copy)]
pub struct LeaseLost;

impl LeaseLost {
    /// Whether `error` says so.
    pub fn marks(error: &Error) -> bool {
        std::error::Error::source(error).is_some_and(<dyn std::error::Error>::is::<Self>)
    }
}

impl std::fmt::Display for LeaseLost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("lost the lease")
    }
}

impl std::error::Error for LeaseLost {}

/// How to take a lease.
#[derive(Debug, Clone)]
pub struct LeaseRequest {
    /// Who asks.
    pub owner: Owner,
    /// What for.
    pub purpose: Purpose,
    /// How long it holds without renewal.
    pub ttl: Duration,
    /// How long to wait for somebody else's lease.
    pub patience: Duration,
    /// Wait longer for a holder that does not renew: it has probably died, and its lease is about to expire.
    pub outwait: bool,
}

impl LeaseRequest {
    /// With the usual duration, and without waiting.
    pub fn new(owner: Owner, purpose: Purpose) -> Self {
        Self { owner, purpose, ttl: LEASE_TTL, patience: Duration::ZERO, outwait: false }
    }
}

/// A held lease. Release it with [`Lease::release`]; dropped without, it expires.
#[derive(Debug)]
pub struct Lease {
    vault: Vault,
    holder: String,
    generation: u64,
    purpose: Purpose,
    ttl: Duration,
    document: tokio::sync::Mutex<(LeaseDocument, ETag)>,
    local: Mutex<Local>,
}

#[derive(Debug)]
struct Local {
    valid_until: Timestamp,
    lost: Option<String>,
    settled: bool,
}

enum Seen {
    Free(Option<(LeaseDocument, ETag)>),
    Taken(LeaseDocument),
}

impl Lease {
    /// Takes the lease; an error of kind `Conflict` that names the holder when somebody else has it beyond our patience.
    pub async fn acquire(vault: &Vault, request: &LeaseRequest) -> Result<Arc<Self>> {
        let started = vault.clock.now();
        let mut races = 0;
        let mut silent: Option<LeaseDocument> = None;
        loop {
            let free = match look(vault).await? {
                Seen::Free(free) => free,
                Seen::Taken(held) => {
                    let waited = elapsed(started, vault.clock.now());
                    let renewed = silent.as_ref().is_some_and(|seen| seen.write_id != held.write_id);
                    let outwait = request.outwait && !renewed;
                    if waited >= request.patience && !outwait {
                        return Err(taken(&held, vault));
                    }
                    if outwait && silent.is_none() {
                        tracing::warn!("{}; waiting to see whether it still lives", taken(&held, vault).message());
                    }
                    silent.get_or_insert(held);
                    let left = if outwait { Duration::MAX } else { request.patience.saturating_sub(waited) };
                    vault.clock.sleep(left.min(Duration::from_secs(2))).await;
                    continue;
                }
            };
            if let Some(lease) = take(vault, request, free).await? {
                return Ok(lease);
            }
            races += 1;
            if races >= RACES {
                return Err(Error::conflict(format!("others took the lease of {} {RACES} times in a row", vault.describe()))
                    .hint("try again"));
            }
        }
    }

    /// Grows with every acquisition.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// What it was taken for.
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Fails with kind `Conflict` once the lease is lost, or expired by our own clock. No request.
    pub fn check(&self) -> Result<()> {
        self.check_left(Duration::ZERO)
    }

    /// [`Lease::check`], and at least `left` must remain.
    pub fn check_left(&self, left: Duration) -> Result<()> {
        let local = self.local();
        let why = match &local.lost {
            Some(why) => why.clone(),
            None if add(self.vault.clock.now(), left) >= local.valid_until => "it expired before it could be renewed".to_owned(),
            None => return Ok(()),
        };
        Err(self.lost(&why).hint("nothing incomplete is listed; run the command again"))
    }

    fn lost(&self, why: &str) -> Error {
        Error::conflict(format!("lost the lease of {}: {why}", self.vault.describe())).source(LeaseLost)
    }

    /// Renews by compare-and-swap, which proves that nobody held the lease in between. Any other outcome than "renewed" and "the store did not answer" loses it.
    pub async fn renew(&self) -> Result<()> {
        self.update(|_| {}).await
    }

    /// Tells whoever takes over that the head of `backup` may be on its way from now on. The point that orders writers and prunes.
    pub async fn announce(&self, backup: &BackupId) -> Result<()> {
        self.local().settled = false;
        self.update(|document| document.committing = Some(backup.clone())).await
    }

    /// The announced head is known to be there, or known never to come.
    pub fn settle(&self) {
        self.local().settled = true;
    }

    /// Backups that earlier holders announced and did not settle, for as long as their heads may still arrive.
    pub async fn pending(&self) -> Vec<BackupId> {
        self.document.lock().await.0.pending.iter().map(|p| p.backup.clone()).collect()
    }

    /// Reads the lease from the store and fails with kind `Conflict` unless it is still ours, expired or not: nobody took it over.
    pub async fn confirm(&self) -> Result<()> {
        match read(&self.vault).await? {
            Some((document, _)) if document.holder == self.holder && document.state == State::Held => Ok(()),
            other => Err(self.lose(other.map(|(document, _)| document))),
        }
    }

    /// Gives the lease up, so that the next holder need not wait for its expiry. Losing it before is no error.
    pub async fn release(&self) -> Result<()> {
        let now = self.vault.clock.now();
        let settled = self.local().settled;
        let released = self.update(|document| {
            if let Some(backup) = document.committing.take().filter(|_| !settled) {
                document.pending.push(Pending { backup, since: now });
            }
            document.state = State::Released;
            document.expires_at = now;
        });
        let outcome = released.await;
        self.local().lost.get_or_insert_with(|| "it was released".to_owned());
        match outcome {
            Err(e) if e.kind() != crate::base::Kind::Conflict => Err(e),
            _ => Ok(()),
        }
    }

    /// Renews in the background until the guard is dropped; `shutdown` is cancelled when the lease is lost, and [`Lease::check`] says why.
    pub fn keep(self: &Arc<Self>, shutdown: Shutdown) -> DropGuard {
        let token = CancellationToken::new();
        let (lease, stop) = (Arc::clone(self), token.clone());
        let (every, pause) = (self.ttl / (LEASE_TTL.as_secs() / LEASE_RENEW.as_secs()) as u32, self.ttl / 30);
        tokio::spawn(async move {
            let mut wait = every;
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = lease.vault.clock.sleep(wait) => {}
                }
                wait = every;
                if let Err(error) = lease.renew().await {
                    if lease.check().is_err() {
                        tracing::error!(%error, "the lease is lost");
                        let gone = Arc::clone(&lease);
                        shutdown
                            .cancel_because(move || gone.check().err().unwrap_or_else(|| gone.lost("it could not be renewed")));
                        return;
                    }
                    wait = pause;
                }
            }
        });
        token.drop_guard()
    }

    async fn update(&self, change: impl Fn(&mut LeaseDocument)) -> Result<()> {
        if let Some(why) = self.local().lost.clone() {
            return Err(self.lost(&why));
        }
        let mut held = self.document.lock().await;
        for _ in 0..2 {
            let now = self.vault.clock.now();
            let mut next = held.0.clone();
            next.renewed_at = now;
            next.expires_at = add(now, self.ttl);
            next.write_id = random_hex(16);
            next.pending.retain(|p| elapsed(p.since, now) < GRACE);
            if self.local().settled {
                next.committing = None;
            }
            change(&mut next);
            match document::put(self.vault.store.as_ref(), &self.vault.layout.lease(), &next, PutMode::Replace(held.1.clone()))
                .await
            {
                Ok(etag) => {
                    *held = (next, etag);
                    self.local().valid_until = add(now, self.ttl);
                    return Ok(());
                }
                // Either somebody took over, or an earlier write of ours arrived although its reply did not.
                Err(StoreError::Precondition(_) | StoreError::NotFound(_)) => match read(&self.vault).await? {
                    Some((document, etag)) if document.holder == self.holder => *held = (document, etag),
                    other => return Err(self.lose(other.map(|(document, _)| document))),
                },
                Err(e) => return Err(Error::from(e)).context(|| "renew the lease"),
            }
        }
        Err(self.lose(None))
    }

    fn lose(&self, by: Option<LeaseDocument>) -> Error {
        let why = by.map_or_else(
            || "somebody changed or removed it".to_owned(),
            |d| {
                format!(
                    "{} took it over at {} (generation {}, ours was {})",
                    d.owner, d.acquired_at, d.generation, self.generation
                )
            },
        );
        self.local().lost = Some(why.clone());
        self.lost(&why).hint("nothing incomplete is listed; run the command again")
    }

    fn local(&self) -> std::sync::MutexGuard<'_, Local> {
        self.local.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Backups whose head may be on its way although nobody, or nobody known to live, holds the lease for them.
pub async fn pending(vault: &Vault) -> Result<Vec<BackupId>> {
    let Some((document, _)) = read(vault).await? else {
        return Ok(Vec::new());
    };
    let now = vault.clock.now();
    let recent = document.pending.into_iter().filter(|p| elapsed(p.since, now) < GRACE).map(|p| p.backup);
    Ok(recent.chain(document.committing).collect())
}

/// Whoever holds a lease, as far as can be seen without watching it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// Who.
    pub owner: Owner,
    /// What for.
    pub purpose: Purpose,
    /// Since when.
    pub acquired_at: Timestamp,
    /// Until when, by the holder's clock, unless it is renewed.
    pub expires_at: Timestamp,
    /// Grows with every acquisition.
    pub generation: u64,
    /// Whether it is this process.
    pub ours: bool,
}

/// Whoever holds the lease and may still live.
pub async fn holder(vault: &Vault) -> Result<Option<Holder>> {
    let now = vault.clock.now();
    let Some((held, _)) = read(vault).await? else { return Ok(None) };
    if held.state != State::Held || held.expires_at <= now || held.owner.process.as_deref().is_some_and(is_dead) {
        return Ok(None);
    }
    let own = process::own();
    Ok(Some(Holder {
        ours: own.is_some() && held.owner.process == own,
        owner: held.owner,
        purpose: held.purpose,
        acquired_at: held.acquired_at,
        expires_at: held.expires_at,
        generation: held.generation,
    }))
}

/// Whether somebody who may still live holds the lease.
pub async fn is_held(vault: &Vault) -> Result<bool> {
    Ok(holder(vault).await?.is_some())
}

async fn read(vault: &Vault) -> Result<Option<(LeaseDocument, ETag)>> {
    document::find_versioned(vault.store.as_ref(), &vault.layout.lease()).await
}

/// Whether the lease may be taken, watching an expired one before saying so.
async fn look(vault: &Vault) -> Result<Seen> {
    let Some((held, etag)) = read(vault).await? else {
        return Ok(Seen::Free(None));
    };
    if held.state == State::Released {
        return Ok(Seen::Free(Some((held, etag))));
    }
    // Deletes of a prune that died may still be on their way; writes do no harm.
    if held.purpose == Purpose::Write && held.owner.process.as_deref().is_some_and(is_dead) {
        return Ok(Seen::Free(Some((held, etag))));
    }
    let now = vault.clock.now();
    let ttl = Duration::from_secs(held.ttl_seconds);
    let margin = if held.purpose == Purpose::Sweep { SWEEP_MARGIN } else { Duration::ZERO };
    let until = add(held.expires_at, margin);
    let watch = if now >= until {
        ttl.min(LEASE_RENEW + LEASE_RENEW / 3)
    } else if elapsed(now, held.expires_at) > ttl {
        ttl + margin
    } else {
        return Ok(Seen::Taken(held));
    };
    vault.clock.sleep(watch).await;
    match read(vault).await? {
        Some((again, same)) if same == etag => Ok(Seen::Free(Some((again, same)))),
        Some((again, other)) if again.state == State::Released => Ok(Seen::Free(Some((again, other)))),
        Some((again, _)) => Ok(Seen::Taken(again)),
        None => Ok(Seen::Free(None)),
    }
}

/// Writes our claim; `None` when somebody else was faster.
async fn take(vault: &Vault, request: &LeaseRequest, free: Option<(LeaseDocument, ETag)>) -> Result<Option<Arc<Lease>>> {
    let now = vault.clock.now();
    let holder = random_hex(16);
    let (mut pending, generation, mode) = match free {
        None => (Vec::new(), 1, PutMode::Create),
        Some((before, etag)) => {
            let announced = before.committing.map(|backup| Pending { backup, since: now });
            (before.pending.into_iter().chain(announced).collect(), before.generation + 1, PutMode::Replace(etag))
        }
    };
    pending.retain(|p| elapsed(p.since, now) < GRACE);
    let document = LeaseDocument {
        generation,
        holder: holder.clone(),
        state: State::Held,
        owner: request.owner.clone(),
        purpose: request.purpose,
        acquired_at: now,
        renewed_at: now,
        expires_at: add(now, request.ttl),
        ttl_seconds: request.ttl.as_secs(),
        write_id: random_hex(16),
        committing: None,
        pending,
    };
    let held = match document::put(vault.store.as_ref(), &vault.layout.lease(), &document, mode).await {
        Ok(etag) => (document, etag),
        Err(StoreError::AlreadyExists(_) | StoreError::Precondition(_) | StoreError::NotFound(_)) => match read(vault).await? {
            Some((document, etag)) if document.holder == holder => (document, etag),
            _ => return Ok(None),
        },
        Err(e) => return Err(Error::from(e)).context(|| format!("take the lease of {}", vault.describe())),
    };
    Ok(Some(Arc::new(Lease {
        vault: vault.clone(),
        holder,
        generation,
        purpose: request.purpose,
        ttl: request.ttl,
        document: tokio::sync::Mutex::new(held),
        local: Mutex::new(Local { valid_until: add(now, request.ttl), lost: None, settled: true }),
    })))
}

fn taken(held: &LeaseDocument, vault: &Vault) -> Error {
    Error::conflict(format!(
        "{} is in use by {} since {}; its lease is valid until {}",
        vault.describe(),
        held.owner,
        held.acquired_at,
        held.expires_at
    ))
    .hint("wait for it to end; the lease of a process that died is free a minute or so after its last renewal")
}
