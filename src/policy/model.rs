//! A validated policy: what the rest of the program works with.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use jiff::tz::TimeZone;

pub use super::file::{
    Day, HookCommand, LockMode, NotifyEvent, QuiesceOn, SsmDocument, StorageClass, VerifyLevel, WebhookFormat,
};
use super::retention::Rules;
use super::schedule::{Cron, DEFAULT_DEADLINE, DEFAULT_RETRIES, Schedule};
use super::secrets::{Environment, Template};
use super::urls;
use crate::base::secret::Secret;
use crate::base::{Error, Result, limits};

/// A policy's name: also the name of its file and of its folder in the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyName(String);

impl PolicyName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for PolicyName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let allowed = |c: &u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"._-".contains(c);
        let bytes = text.as_bytes();
        let first = bytes.first().is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        if first && bytes.len() <= 64 && bytes.iter().all(allowed) && text != "defaults" {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::usage(format!("'{text}' cannot be the name of a policy")).hint(
                "a name is at most 64 of a-z, 0-9, '.', '_' and '-', and begins with a letter or digit; 'defaults' is taken",
            ))
        }
    }
}

/// One policy, validated; references to secrets are still references.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Its name.
    pub name: PolicyName,
    /// The file it comes from.
    pub path: PathBuf,
    /// One line for people.
    pub description: Option<String>,
    /// What is protected.
    pub source: Source,
    /// Where backups live.
    pub store: StoreSettings,
    /// When backups are made; `None`: only on command.
    pub schedule: Option<Schedule>,
    /// What `prune` keeps; `None`: everything.
    pub retention: Option<Rules>,
    /// How backups are proven.
    pub verify: VerifySettings,
    /// The newest good backup is never to be older than this.
    pub max_age: Option<Duration>,
    /// Who hears about it.
    pub notify: NotifySettings,
    /// What runs around each backup.
    pub hooks: Hooks,
    pub(super) text: String,
}

impl Policy {
    /// When the newest backup is verified, as a schedule: retries and deadline are those of `[schedule]`.
    pub fn verify_schedule(&self) -> Option<Schedule> {
        let verify = self.verify.schedule.as_ref()?;
        let (retries, deadline) = self.schedule.as_ref().map_or((DEFAULT_RETRIES, DEFAULT_DEADLINE), |s| (s.retries, s.deadline));
        Some(Schedule {
            cron: verify.cron.clone(),
            zone: verify.zone.clone(),
            jitter: Duration::ZERO,
            retries,
            blackout: Vec::new(),
            deadline,
        })
    }

    /// How long a run may last.
    pub fn deadline(&self) -> Duration {
        self.schedule.as_ref().map_or(DEFAULT_DEADLINE, |s| s.deadline)
    }

    /// The zone in which times without one are meant: the schedule's, else UTC.
    pub fn zone(&self) -> TimeZone {
        self.schedule.as_ref().map_or(TimeZone::UTC, |s| s.zone.clone())
    }

    /// Time between tombstone and sweep.
    pub fn grace(&self) -> Duration {
        self.retention.as_ref().map_or(limits::GRACE, |r| r.grace)
    }

    /// Every value that may hold references.
    pub fn templates(&self) -> Vec<&Template> {
        let mut all = vec![&self.store.url];
        if let Source::Postgres(source) = &self.source {
            all.push(&source.url);
        }
        if let Scratch::Server(url) = &self.verify.scratch {
            all.push(url);
        }
        let notify = &self.notify;
        all.extend(notify.webhook.as_ref().map(Webhook::template));
        all.extend(notify.email.as_ref().map(|e| &e.smtp));
        all.extend(notify.sns.as_ref().map(|s| &s.topic));
        all.extend(notify.heartbeat.as_ref().map(|h| &h.url));
        all
    }

    /// The store's address with its references resolved. Not a secret: addresses that hold credentials are refused.
    pub fn store_url(&self, env: &Environment) -> Result<String> {
        let url = self.store.url.resolve(env)?;
        urls::store(url.expose()).map_err(|e| self.store.url.flaw(&e))?;
        Ok(url.expose().clone())
    }

    /// The PostgreSQL source, for what only databases have.
    pub fn postgres(&self) -> Result<&PostgresSource> {
        match &self.source {
            Source::Postgres(source) => Ok(source),
            Source::Ebs(_) | Source::Rds(_) => Err(Error::unsupported(format!(
                "policy {} has a source of kind '{}', not a database",
                self.name,
                self.source.kind()
            ))),
        }
    }

    /// The effective policy, shared sections included, as TOML fit to be stored beside the backups: passwords and webhook
    /// addresses that stand in it literally are masked, references are kept, comments are left out because a secret in a
    /// comment cannot be told from words.
    pub fn text_without_secrets(&self) -> &str {
        &self.text
    }
}

/// What is protected.
#[derive(Debug, Clone)]
pub enum Source {
    /// Databases of a PostgreSQL server.
    Postgres(PostgresSource),
    /// Volumes of an EC2 instance.
    Ebs(EbsSource),
    /// An RDS instance or cluster.
    Rds(RdsSource),
}

impl Source {
    /// The value of `kind`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Postgres(_) => "postgres",
            Self::Ebs(_) => "ebs",
            Self::Rds(_) => "rds",
        }
    }

    /// Regions of AWS in which its backups have snapshots.
    pub fn regions(&self) -> BTreeSet<String> {
        let (region, copy_to) = match self {
            Self::Postgres(_) => return BTreeSet::new(),
            Self::Ebs(source) => (&source.region, &source.copy_to),
            Self::Rds(source) => (&source.region, &source.copy_to),
        };
        copy_to.iter().chain([region]).cloned().collect()
    }
}

/// Databases of a PostgreSQL server.
#[derive(Debug, Clone)]
pub struct PostgresSource {
    /// Connection URL or a reference to it.
    pub url: Template,
    /// Which databases.
    pub databases: Databases,
    /// Parallel connections, if the policy says.
    pub jobs: Option<NonZeroUsize>,
    /// Tables whose rows are left out.
    pub exclude_table_data: Vec<TableName>,
    /// Whether objects that no kind covers are accepted as missing.
    pub allow_unmodeled: bool,
}

impl PostgresSource {
    /// The connection URL with its references resolved.
    pub fn url(&self, env: &Environment) -> Result<Secret<String>> {
        let url = self.url.resolve(env)?;
        urls::postgres(url.expose()).map_err(|e| self.url.flaw(&e))?;
        Ok(url)
    }

    /// Parallel connections: the policy's, else the number of processors, at most [`limits::DEFAULT_JOBS_MAX`].
    pub fn jobs(&self) -> usize {
        self.jobs.map_or_else(limits::default_jobs, NonZeroUsize::get)
    }
}

/// A table as a policy names it: `schema.table`; a part that holds a dot, or begins or ends with a quote, stands in double quotes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
}

impl FromStr for TableName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::usage(format!("'{text}' does not name a table")).hint("write schema.table, such as public.sessions");
        let (schema, rest) = name_part(text).ok_or_else(bad)?;
        let (name, rest) = rest.strip_prefix('.').and_then(name_part).ok_or_else(bad)?;
        if rest.is_empty() { Ok(Self { schema, name }) } else { Err(bad()) }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// One part of a dotted name and what follows it.
fn name_part(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find('.').unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].to_owned(), &text[end..]));
    };
    let mut name = String::new();
    let mut rest = quoted;
    loop {
        let end = rest.find('"')?;
        name.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(after) => {
                name.push('"');
                rest = after;
            }
            None => return (!name.is_empty()).then_some((name, rest)),
        }
    }
}

/// Which databases of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Databases {
    /// The one that the URL names.
    OfUrl,
    /// These, in the policy's order.
    Named(Vec<String>),
    /// All that accept connections.
    All,
}

/// Volumes of an EC2 instance.
#[derive(Debug, Clone)]
pub struct EbsSource {
    /// AWS region.
    pub region: String,
    /// Which volumes.
    pub volumes: Volumes,
    /// Regions that get a copy.
    pub copy_to: Vec<String>,
    /// KMS keys of copies, by region.
    pub copy_kms_keys: BTreeMap<String, String>,
    /// How the snapshots are protected from deletion.
    pub lock: Option<SnapshotLock>,
    /// Whether the originals move to the archive tier.
    pub archive: bool,
    /// What brings the application to rest.
    pub quiesce: Option<Quiesce>,
}

/// EBS snapshot lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotLock {
    /// Who may undo it.
    pub mode: LockMode,
    /// For how many days.
    pub days: u32,
    /// For how many hours `compliance` can be undone.
    pub cool_off_hours: Option<u32>,
}

/// What brings an application to rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Freeze {
    /// A command.
    Command(HookCommand),
    /// A command document of AWS Systems Manager.
    Document(SsmDocument),
}

/// Commands around the call that starts the snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quiesce {
    /// Brings to rest. A document only on the instance.
    pub freeze: Freeze,
    /// Undoes it.
    pub thaw: Option<HookCommand>,
    /// Where they run.
    pub on: QuiesceOn,
    /// Longest time for the freeze, and from its begin until the thaw.
    pub timeout: Duration,
}

/// How EBS volumes are chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Volumes {
    /// All of an instance.
    OfInstance {
        /// The instance.
        id: String,
        /// Leave its root volume out.
        exclude_root: bool,
        /// Only these devices; empty: all.
        devices: Vec<String>,
    },
    /// These.
    Ids(Vec<String>),
    /// Those that carry all of these tags.
    Tagged(Vec<(String, String)>),
    /// The one that holds a directory of this machine.
    OfDataDirectory(PathBuf),
}

/// An RDS instance or Aurora cluster.
#[derive(Debug, Clone)]
pub struct RdsSource {
    /// AWS region.
    pub region: String,
    /// Which one.
    pub target: RdsTarget,
    /// Regions that get a copy.
    pub copy_to: Vec<String>,
    /// KMS keys of copies, by region.
    pub copy_kms_keys: BTreeMap<String, String>,
}

/// Which RDS resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RdsTarget {
    /// An instance by identifier.
    Instance(String),
    /// An Aurora cluster by identifier.
    Cluster(String),
}

/// Local commands around each backup.
#[derive(Debug, Clone, Default)]
pub struct Hooks {
    /// Before the backup.
    pub before: Option<HookCommand>,
    /// After a backup that succeeded.
    pub after: Option<HookCommand>,
    /// After a run that failed or was cancelled.
    pub on_failure: Option<HookCommand>,
    /// After every run whose `before` was begun.
    pub finally: Option<HookCommand>,
    /// How long each may take.
    pub timeout: Duration,
}

/// Where backups live.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// `s3://bucket/prefix` or `file:///path`, maybe with references; see [`Policy::store_url`].
    pub url: Template,
    /// S3 storage class of objects of 128 KiB and more; `None`: the bucket's.
    pub storage_class: Option<StorageClass>,
    /// KMS key for encryption on the server; `None`: the bucket's setting.
    pub sse_kms_key_id: Option<String>,
    /// Region of the bucket; `None`: the AWS environment's.
    pub region: Option<String>,
    /// Requests in flight at once.
    pub concurrency: usize,
}

/// How backups are proven.
#[derive(Debug, Clone)]
pub struct VerifySettings {
    /// How far `pgkeep verify` goes when not told.
    pub level: VerifyLevel,
    /// When the newest backup is verified; `None`: only on command.
    pub schedule: Option<VerifySchedule>,
    /// Where a drill restores to.
    pub scratch: Scratch,
}

/// When the newest backup is verified.
#[derive(Debug, Clone)]
pub struct VerifySchedule {
    /// The times.
    pub cron: Cron,
    /// The zone in which they are meant.
    pub zone: TimeZone,
}

/// Where a drill restores to.
#[derive(Debug, Clone)]
pub enum Scratch {
    /// What the machine has: local server programs, else docker.
    Auto,
    /// A container.
    Docker,
    /// A server of its own, made with initdb and postgres found on the machine.
    Local,
    /// A server where a temporary database may be made.
    Server(Template),
}

/// Who hears about it.
#[derive(Debug, Clone, Default)]
pub struct NotifySettings {
    /// Events that are sent.
    pub on: Vec<NotifyEvent>,
    /// An HTTP address.
    pub webhook: Option<Webhook>,
    /// E-mail.
    pub email: Option<Email>,
    /// Amazon SNS.
    pub sns: Option<Sns>,
    /// A check of the healthchecks.io kind.
    pub heartbeat: Option<Heartbeat>,
}

impl NotifySettings {
    /// Channels that carry events, by the names that documents use. A heartbeat is none: it is called by runs, not by events.
    pub fn channels(&self) -> Vec<&'static str> {
        let all = [("webhook", self.webhook.is_some()), ("email", self.email.is_some()), ("sns", self.sns.is_some())];
        all.into_iter().filter_map(|(name, there)| there.then_some(name)).collect()
    }
}

/// An HTTP address that receives events.
#[derive(Debug, Clone)]
pub struct Webhook {
    url: Template,
    format: Option<WebhookFormat>,
}

impl Webhook {
    pub(super) fn new(url: Template, format: Option<WebhookFormat>) -> Self {
        Self { url, format }
    }

    /// The address, and what it receives: as the policy says, else as the address tells.
    pub fn resolve(&self, env: &Environment) -> Result<(Secret<String>, WebhookFormat)> {
        let url = checked(&self.url, env, urls::webhook)?;
        let format = self.format.unwrap_or_else(|| urls::webhook_format(url.expose()));
        Ok((url, format))
    }

    /// Where its references are.
    pub fn template(&self) -> &Template {
        &self.url
    }

    /// What it receives, if the policy says.
    pub fn format(&self) -> Option<WebhookFormat> {
        self.format
    }
}

/// E-mail over SMTP.
#[derive(Debug, Clone)]
pub struct Email {
    /// The server's address, with references; see [`Email::server`].
    pub smtp: Template,
    /// Sender.
    pub from: String,
    /// Recipients, at least one.
    pub to: Vec<String>,
}

impl Email {
    /// The server: `smtp://` or `smtps://`, with user and password if it wants them.
    pub fn server(&self, env: &Environment) -> Result<Secret<String>> {
        checked(&self.smtp, env, urls::smtp)
    }
}

/// A topic of Amazon SNS.
#[derive(Debug, Clone)]
pub struct Sns {
    /// The topic, maybe with references; see [`Sns::topic`].
    pub topic: Template,
}

impl Sns {
    /// ARN of the topic. Not a secret.
    pub fn topic(&self, env: &Environment) -> Result<String> {
        checked(&self.topic, env, urls::sns_topic).map(|arn| arn.expose().clone())
    }
}

/// A check of the healthchecks.io kind.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    /// The address, with references; see [`Heartbeat::url`].
    pub url: Template,
}

impl Heartbeat {
    /// Its address.
    pub fn url(&self, env: &Environment) -> Result<Secret<String>> {
        checked(&self.url, env, urls::webhook)
    }
}

/// The value of `template`, held against `rule`.
fn checked(template: &Template, env: &Environment, rule: fn(&str) -> Result<()>) -> Result<Secret<String>> {
    let value = template.resolve(env)?;
    rule(value.expose()).map_err(|e| template.flaw(&e))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_policies_are_safe_in_paths_and_keys() {
        for good in ["harena-db", "a", "9.x_y", &"a".repeat(64)] {
            assert_eq!(good.parse::<PolicyName>().expect(good).as_str(), good);
        }
        for bad in ["", "defaults", ".hidden", "-x", "a/b", "..", "A", "é", &"a".repeat(65)] {
            assert!(bad.parse::<PolicyName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_of_tables_may_be_quoted() {
        let parts = |text: &str| text.parse::<TableName>().map(|t| (t.schema, t.name)).ok();
        let pair = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        assert_eq!(parts("public.sessions"), pair("public", "sessions"));
        assert_eq!(parts("\"a.b\".\"c\"\"d\""), pair("a.b", "c\"d"));
        assert_eq!(parts("public.Sessions"), pair("public", "Sessions"));
        for bad in ["sessions", "a.b.c", ".b", "a.", "\"a.b", "\"\".b", "\"a\"b.c", ""] {
            assert_eq!(parts(bad), None, "{bad}");
        }
    }
}
