//! One policy's vault: where it is, what it is, and the clock by which it lives.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::document;
use super::failpoints::{Failpoints, NoFailpoints};
use super::format::{FORMAT, Layout, check_format};
use crate::base::clock::SharedClock;
use crate::base::ids::random_hex;
use crate::base::{Error, Result, ResultExt};
use crate::store::{PutMode, SharedStore, StoreError};

/// `vault.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultInfo {
    /// Version of the format.
    pub format: u32,
    /// Random identity, so that two vaults of the same name are not taken for each other.
    pub vault_id: String,
    /// The policy.
    pub policy: String,
    /// When the vault was made.
    pub created_at: Timestamp,
    /// Public keys that parts are sealed for; empty: not encrypted.
    #[serde(default)]
    pub recipients: Vec<String>,
    /// The policy's text without secrets, so that the bucket alone tells what it is for.
    #[serde(default)]
    pub policy_text: String,
}

/// An open vault. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Vault {
    pub(crate) store: SharedStore,
    pub(crate) layout: Layout,
    pub(crate) clock: SharedClock,
    pub(crate) info: Arc<VaultInfo>,
    failpoints: Arc<dyn Failpoints>,
}

impl Vault {
    /// Opens the vault of `policy`; an error of kind `NotFound` when there is none.
    pub async fn open(store: SharedStore, policy: &str, clock: SharedClock) -> Result<Self> {
        let layout = Layout::new(policy)?;
        match read_info(&store, &layout).await? {
            Some(info) => Ok(Self::with(store, layout, clock, info)),
            None => Err(Error::not_found(format!("{} holds no vault of policy '{policy}'", store.describe()))
                .hint("check the store's address; `pgkeep list --store URL` shows the vaults that are there")),
        }
    }

    /// Opens the vault of `policy`, making it if there is none; `policy_text` must hold no secrets.
    pub async fn open_or_create(store: SharedStore, policy: &str, policy_text: &str, clock: SharedClock) -> Result<Self> {
        let layout = Layout::new(policy)?;
        if let Some(info) = read_info(&store, &layout).await? {
            return Ok(Self::with(store, layout, clock, info));
        }
        let info = VaultInfo {
            format: FORMAT,
            vault_id: random_hex(16),
            policy: policy.to_owned(),
            created_at: clock.now(),
            recipients: Vec::new(),
            policy_text: policy_text.to_owned(),
        };
        match document::put(store.as_ref(), &layout.vault(), &info, PutMode::Create).await {
            Ok(_) | Err(StoreError::AlreadyExists(_)) => {}
            Err(e) => return Err(Error::from(e)).context(|| format!("make the vault of '{policy}' in {}", store.describe())),
        }
        Self::open(store, policy, clock).await
    }

    fn with(store: SharedStore, layout: Layout, clock: SharedClock, info: VaultInfo) -> Self {
        Self { store, layout, clock, info: Arc::new(info), failpoints: Arc::new(NoFailpoints) }
    }

    /// The same vault with these fail points.
    pub fn with_failpoints(mut self, failpoints: Arc<dyn Failpoints>) -> Self {
        self.failpoints = failpoints;
        self
    }

    /// Records the policy's text as it is now, if it differs from what the vault says.
    pub async fn record_policy_text(&self, policy_text: &str) -> Result<()> {
        if self.info.policy_text == policy_text {
            return Ok(());
        }
        let key = self.layout.vault();
        let Some((mut info, etag)) = document::find_versioned::<VaultInfo>(self.store.as_ref(), &key).await? else {
            return Err(Error::integrity(format!("'{key}' is gone")));
        };
        if info.policy_text == policy_text {
            return Ok(());
        }
        policy_text.clone_into(&mut info.policy_text);
        match document::put(self.store.as_ref(), &key, &info, PutMode::Replace(etag)).await {
            // Somebody else recorded theirs at the same moment; the next run looks again.
            Ok(_) | Err(StoreError::Precondition(_)) => Ok(()),
            Err(e) => Err(Error::from(e)).context(|| format!("write '{key}'")),
        }
    }

    /// What the vault says of itself.
    pub fn info(&self) -> &VaultInfo {
        &self.info
    }

    /// The policy.
    pub fn policy(&self) -> &str {
        self.layout.policy()
    }

    /// The store.
    pub fn store(&self) -> &SharedStore {
        &self.store
    }

    /// The keys.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The clock.
    pub fn clock(&self) -> &SharedClock {
        &self.clock
    }

    /// What a person would call this place.
    pub fn describe(&self) -> String {
        format!("{}/{}", self.store.describe().trim_end_matches('/'), self.policy())
    }

    pub(crate) fn reach(&self, failpoint: &'static str) -> Result<()> {
        self.failpoints.reach(failpoint)
    }
}

async fn read_info(store: &SharedStore, layout: &Layout) -> Result<Option<VaultInfo>> {
    #[derive(Deserialize)]
    struct Probe {
        format: u32,
    }
    let key = layout.vault();
    let Some(json) = document::find::<serde_json::Value>(store.as_ref(), &key).await? else {
        return Ok(None);
    };
    let damaged = |e| Error::integrity(format!("'{key}' is damaged: it does not describe a vault")).source(e);
    let probe: Probe = serde_json::from_value(json.clone()).map_err(damaged)?;
    check_format(probe.format, &format!("'{key}'"))?;
    let info: VaultInfo = serde_json::from_value(json).map_err(damaged)?;
    if !info.recipients.is_empty() {
        return Err(Error::unsupported(format!(
            "the vault '{}' is encrypted; this pgkeep cannot open encrypted vaults",
            info.policy
        )));
    }
    Ok(Some(info))
}
