//! What every use case needs, and the way from a policy's name to its vault.

use std::path::PathBuf;

use jiff::tz::TimeZone;

use super::references;
use super::run::SharedAttendant;
use crate::base::clock::SharedClock;
use crate::base::process;
use crate::base::progress::SharedProgress;
use crate::base::shutdown::Shutdown;
use crate::base::{Error, Kind, Result};
use crate::policy::{self, Environment, Policy};
use crate::repo::Vault;
use crate::repo::lease::Owner;
use crate::repo::listing;
use crate::store::SharedStore;
use crate::store::metered::Meter;
use crate::store::open::{StoreOptions, open};
use std::sync::Arc;

/// What every use case needs.
#[derive(Debug, Clone)]
pub struct Context {
    /// Time.
    pub clock: SharedClock,
    /// Where progress is told.
    pub progress: SharedProgress,
    /// Who may stop us.
    pub shutdown: Shutdown,
    /// Folder of the policy files, if the caller named one.
    pub policies: Option<PathBuf>,
    /// Store to use instead of the policies'.
    pub store: Option<String>,
    /// Where references are resolved.
    pub env: Environment,
    /// The policy in force for a run that the daemon decided on, whatever its file says by now.
    pub in_force: Option<Arc<Policy>>,
    /// Who is present at runs.
    pub attendant: SharedAttendant,
}

/// A policy's place in a store.
#[derive(Debug)]
pub struct Place {
    /// Name of the policy and of its vault.
    pub name: String,
    /// The policy, if a file was found; without one, the vault alone must do.
    pub policy: Option<Policy>,
    /// The store.
    pub store: SharedStore,
    /// Counts the store's requests.
    pub meter: Arc<Meter>,
}

impl Place {
    /// Zone in which times without one are meant.
    pub fn zone(&self) -> TimeZone {
        self.policy.as_ref().map_or(TimeZone::UTC, |p| p.zone().clone())
    }

    /// The policy, for what cannot be done without one.
    pub fn policy(&self) -> Result<&Policy> {
        self.policy.as_ref().ok_or_else(|| {
            Error::not_found(format!("there is no policy file '{}.toml'", self.name)).hint(
                "name the folder of the policy files with --policies; restores, listings and verifications work without one",
            )
        })
    }
}

impl Context {
    /// Of a test: silent, alone, with no files and no environment.
    #[cfg(test)]
    pub(crate) fn of_test(clock: SharedClock, shutdown: Shutdown) -> Self {
        Self {
            clock,
            progress: Arc::new(crate::base::progress::Silent),
            shutdown,
            policies: None,
            store: None,
            env: Environment::fixed([]),
            in_force: None,
            attendant: super::run::nobody(),
        }
    }

    /// Who we are, in leases, marks and run records.
    pub fn owner(&self, command: &str) -> Owner {
        Owner { host: host_name(), pid: std::process::id(), command: command.to_owned(), process: process::own() }
    }

    /// Where the policy files are.
    pub fn directory(&self) -> PathBuf {
        policy::directory(self.policies.as_deref(), &self.env)
    }

    /// The policy `name`; what is probably not as meant goes to the log.
    pub fn policy(&self, name: &str) -> Result<Policy> {
        if let Some(policy) = self.in_force.as_ref().filter(|p| p.name.as_str() == name) {
            return Ok(Policy::clone(policy));
        }
        let loaded = policy::load(&self.directory(), name)?;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        Ok(loaded.policy)
    }

    /// Where `name` lives: its policy's store, or the one that the caller named.
    pub async fn place(&self, name: &str) -> Result<Place> {
        let (policy, options) = if let Some(url) = &self.store {
            // With a store at hand the file is a help, not a need: in a disaster it may be gone, or wrong.
            let policy = self.policy(name).ok();
            let options = policy.as_ref().map_or_else(|| StoreOptions::new(url), |p| store_options(p, url));
            (policy, options)
        } else {
            let policy = self.policy(name)?;
            let options = {
                references::fetch(&policy.store.url, &self.env).await?;
                store_options(&policy, &policy.store_url(&self.env)?)
            };
            (Some(policy), options)
        };
        let opened = open(&options, self.clock.clone()).await?;
        Ok(Place { name: name.to_owned(), policy, store: opened.store, meter: opened.meter })
    }

    /// The existing vault of `name`; an error of kind `NotFound` when there is none.
    pub async fn vault(&self, name: &str) -> Result<(Place, Vault)> {
        let place = self.place(name).await?;
        let vault = Vault::open(place.store.clone(), &place.name, self.clock.clone()).await?;
        Ok((place, vault))
    }

    /// The same, `None` when nothing was ever backed up.
    pub async fn find_vault(&self, name: &str) -> Result<(Place, Option<Vault>)> {
        let place = self.place(name).await?;
        match Vault::open(place.store.clone(), &place.name, self.clock.clone()).await {
            Ok(vault) => Ok((place, Some(vault))),
            Err(error) if error.kind() == Kind::NotFound && place.policy.is_some() => Ok((place, None)),
            Err(error) => Err(error),
        }
    }

    /// Names of all policies: of the named store's vaults, else of the policy files.
    pub async fn names(&self) -> Result<Vec<String>> {
        match &self.store {
            Some(url) => {
                let opened = open(&StoreOptions::new(url), self.clock.clone()).await?;
                let names = listing::vaults(&opened.store).await?;
                if names.is_empty() {
                    return Err(Error::not_found(format!("{} holds no vault", opened.store.describe()))
                        .hint("give the address of the folder that holds the policies' folders"));
                }
                Ok(names)
            }
            None => Ok(policy::load_all(&self.directory())?.into_iter().map(|p| p.name.to_string()).collect()),
        }
    }

    /// Names of all policies that can be used, and of those that cannot with the reason: in an incident one policy's mistake must not hide the
    /// others.
    pub async fn usable_names(&self) -> Result<(Vec<String>, Vec<(String, Error)>)> {
        if self.store.is_some() {
            return Ok((self.names().await?, Vec::new()));
        }
        let report = policy::check(&self.directory())?;
        let usable: Vec<String> = report.policies.iter().map(|p| p.name.to_string()).collect();
        let stems = report.files.iter().filter_map(|f| f.file_stem()).map(|s| s.to_string_lossy().into_owned());
        let broken = stems.filter(|name| name != "defaults" && !usable.contains(name)).map(|name| {
            let error = policy::load(&self.directory(), &name).err();
            (name, error.unwrap_or_else(|| Error::policy("the policy file cannot be used")))
        });
        Ok((usable.clone(), broken.collect()))
    }
}

fn store_options(policy: &Policy, url: &str) -> StoreOptions {
    StoreOptions {
        storage_class: policy.store.storage_class.map(|c| c.as_str().to_owned()),
        sse_kms_key_id: policy.store.sse_kms_key_id.clone(),
        region: policy.store.region.clone(),
        concurrency: policy.store.concurrency,
        ..StoreOptions::new(url)
    }
}

/// This machine's name, as the kernel knows it.
pub fn host_name() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    kernel
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .or_else(|| std::env::var("HOSTNAME").ok())
        .unwrap_or_else(|| "unknown".to_owned())
}
