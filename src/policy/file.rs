//! The shape of a policy file, section by section: the only declaration of keys, types, ranges and defaults.
//!
//! [`super::structure`] checks files against the JSON Schema that these types generate, so a key added here is known to
//! `policy check`, `policy schema` and the loader at once. Docstrings become the schema's descriptions: they speak to the
//! author of a policy.
//!
//! Required keys are `Option` with `#[schemars(required)]`: a file that lacks one can still be read and its other problems
//! be reported in the same go.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

/// A pgkeep policy: what is protected, where its backups live, when they are made, how long they are kept and how they are
/// proven. The file's name without `.toml` is the policy's name.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "pgkeep policy")]
pub struct PolicyFile {
    /// One line for people: shown by `list` and `status`.
    pub description: Option<String>,
    /// What is protected.
    pub source: Option<SourceSection>,
    /// Where backups live.
    pub store: Option<StoreSection>,
    /// When backups are made. Without it they are made only on command.
    pub schedule: Option<ScheduleSection>,
    /// Which backups `prune` keeps. Without it every backup is kept.
    pub retention: Option<RetentionSection>,
    /// How backups are proven.
    pub verify: Option<VerifySection>,
    /// The promise that is watched.
    pub health: Option<HealthSection>,
    /// Who hears about it.
    pub notify: Option<NotifySection>,
    /// What runs around each backup.
    pub hooks: Option<HooksSection>,
}

/// What is protected; `kind` decides which other keys there are.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[allow(clippy::large_enum_variant, reason = "there is one a file")]
pub enum SourceSection {
    /// Databases of a PostgreSQL server, exported over a connection.
    Postgres(PostgresSection),
    /// Volumes of an EC2 instance, by EBS snapshots.
    Ebs(EbsSection),
    /// An RDS instance or Aurora cluster, by its snapshots.
    Rds(RdsSection),
}

/// Databases of a PostgreSQL server, exported over a connection.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresSection {
    /// `postgres://user@host/database`, or a reference to it: `${DATABASE_URL}`, `env:NAME`, `file:/path`. Passwords belong in
    /// the reference, never in this file.
    #[schemars(required)]
    pub url: Option<String>,
    /// Databases to back up. Default: the one that the URL names. `["*"]`: all that accept connections.
    pub databases: Option<Vec<String>>,
    /// Connections that export in parallel. Default: the number of processors, at most 4.
    #[schemars(range(min = 1, max = 64))]
    pub jobs: Option<u32>,
    /// Tables, as `schema.table`, whose rows are left out; their definition is kept.
    pub exclude_table_data: Option<Vec<String>>,
    /// Back up also when the database holds objects that pgkeep cannot export yet. They are named in each run and are missing
    /// from the backup. Default: false, such a database fails the backup.
    pub allow_unmodeled: Option<bool>,
}

/// Volumes of an EC2 instance, by EBS snapshots. Choose them by exactly one of `instance_id`, `volume_ids`, `tags` and
/// `of_data_directory`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EbsSection {
    /// AWS region of the volumes, such as `eu-west-3`.
    #[schemars(required)]
    pub region: Option<String>,
    /// All volumes attached to this instance.
    pub instance_id: Option<String>,
    /// With `instance_id`: leave the root volume out. Default: false.
    pub exclude_root: Option<bool>,
    /// With `instance_id`: only the volumes at these devices, as EC2 names them (`/dev/sdf`).
    pub devices: Option<Vec<String>>,
    /// These volumes.
    pub volume_ids: Option<Vec<String>>,
    /// Volumes that carry all of these tags.
    pub tags: Option<BTreeMap<String, String>>,
    /// The volume that holds this directory on the machine where pgkeep runs.
    pub of_data_directory: Option<String>,
    /// Regions that get a copy of each snapshot.
    pub copy_to: Option<Vec<String>>,
    /// KMS key (id, alias or ARN) by region of `copy_to`: copies there are encrypted with it. Default: encrypted originals get the region's key for EBS.
    pub copy_kms_keys: Option<BTreeMap<String, String>>,
    /// Protects the snapshots from deletion, by anybody, for some time after they were taken.
    pub lock: Option<LockSection>,
    /// Move each original snapshot to the archive tier once it and its copies are complete: cheaper to keep from three months on, and 24 to 72 hours
    /// away from a restore. Copies stay at hand. Default: false.
    pub archive: Option<bool>,
    /// What brings the application to rest while the snapshots are started.
    pub quiesce: Option<QuiesceSection>,
}

/// EBS snapshot lock: nobody deletes a locked snapshot, `prune` neither, which then waits.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LockSection {
    /// `governance`: whoever has the permission may unlock. `compliance`: nobody may once `cool_off_hours` are over.
    #[schemars(required)]
    pub mode: Option<LockMode>,
    /// For how long.
    #[schemars(required, range(min = 1, max = 36500))]
    pub days: Option<u32>,
    /// With `compliance`: for how many hours it can still be undone. Default: none.
    #[schemars(range(min = 1, max = 72))]
    pub cool_off_hours: Option<u32>,
}

/// Modes of the EBS snapshot lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names are Amazon's")]
pub enum LockMode {
    Governance,
    Compliance,
}

/// Commands around the call that starts the snapshots, for more than crash consistency. A snapshot shows the instant of the call; it need not be
/// waited for. The thaw runs whatever happens: also when the call fails, and by a process of its own when pgkeep is killed in between.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QuiesceSection {
    /// Brings to rest: `fsfreeze -f /var/lib/postgresql`, or `psql -c CHECKPOINT`; with `on = "instance"` also a document of Systems Manager:
    /// `{ document = "Rest", parameters = { path = ["/data"] } }`. If it fails there is no backup.
    #[schemars(required)]
    pub freeze: Option<FreezeSection>,
    /// Undoes it; must be harmless where nothing is frozen. Not needed after a mere checkpoint. Always a command: it waits beside the application for the
    /// case that pgkeep is killed.
    pub thaw: Option<HookCommand>,
    /// Where the commands run: `local`, or `instance`: on the instance whose volumes these are, by AWS Systems Manager. Default: `local`.
    pub on: Option<QuiesceOn>,
    /// Longest time for the freeze, and from its begin until the thaw. Default: `30s`.
    pub timeout: Option<String>,
}

/// What brings an application to rest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum FreezeSection {
    /// Text for `/bin/sh -c`.
    Shell(String),
    /// A program and its arguments.
    Program(Vec<String>),
    /// A document of AWS Systems Manager.
    Document(SsmDocument),
}

/// A command document of AWS Systems Manager, run on the instance.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SsmDocument {
    /// Name, or ARN where another account shares it.
    pub document: String,
    /// Its parameters, each a list as Systems Manager has them. Default: none.
    #[serde(default)]
    pub parameters: BTreeMap<String, Vec<String>>,
}

/// Where commands run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum QuiesceOn {
    /// Where pgkeep runs.
    Local,
    /// On the instance, by AWS Systems Manager.
    Instance,
}

/// An RDS instance or Aurora cluster, by its snapshots. Exactly one of `instance` and `cluster`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RdsSection {
    /// AWS region of the instance, such as `eu-west-3`.
    #[schemars(required)]
    pub region: Option<String>,
    /// Identifier of the instance.
    pub instance: Option<String>,
    /// Identifier of the Aurora cluster.
    pub cluster: Option<String>,
    /// Regions that get a copy of each snapshot.
    pub copy_to: Option<Vec<String>>,
    /// KMS key (id, alias or ARN) by region of `copy_to`: copies there are encrypted with it. Default: encrypted originals get the region's key for RDS.
    pub copy_kms_keys: Option<BTreeMap<String, String>>,
}

/// Where backups live.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreSection {
    /// `s3://bucket/prefix` or `file:///path`; may hold `${NAME}` references. Credentials and endpoint come from where every AWS
    /// tool finds them (environment, profile, instance role).
    #[schemars(required)]
    pub url: Option<String>,
    /// S3: storage class of objects from 128 KiB on, which most parts are. Default: the bucket's (STANDARD).
    pub storage_class: Option<StorageClass>,
    /// S3: encrypt objects on the server with this KMS key (id, alias or ARN). Default: the bucket's own setting.
    pub sse_kms_key_id: Option<String>,
    /// S3: region of the bucket. Default: the AWS environment's.
    pub region: Option<String>,
    /// Requests in flight at once. Default: 64, and at most 16 in a folder.
    #[schemars(range(min = 1, max = 64))]
    pub concurrency: Option<u32>,
    /// Encryption on the client.
    pub encryption: Option<EncryptionSection>,
}

/// S3 storage classes from which parts can be read at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs, reason = "the names are Amazon's")]
pub enum StorageClass {
    Standard,
    StandardIa,
    OnezoneIa,
    IntelligentTiering,
    GlacierIr,
}

impl StorageClass {
    /// Amazon's name for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "STANDARD",
            Self::StandardIa => "STANDARD_IA",
            Self::OnezoneIa => "ONEZONE_IA",
            Self::IntelligentTiering => "INTELLIGENT_TIERING",
            Self::GlacierIr => "GLACIER_IR",
        }
    }
}

/// Encryption on the client, before anything leaves the machine.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EncryptionSection {
    /// age public keys that can open the backups. Not supported by this version, which refuses a policy that names any.
    #[schemars(required)]
    pub recipients: Option<Vec<String>>,
}

/// When backups are made.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleSection {
    /// Five fields (minute, hour, day of month, month, day of week) or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`. A
    /// time that daylight saving skips runs at the first instant after it; one that it repeats runs once.
    #[schemars(required)]
    pub cron: Option<String>,
    /// IANA name of the zone in which `cron` and the calendar of `retention` are meant. Default: `UTC`.
    pub timezone: Option<String>,
    /// Start up to this much later, by an amount fixed for policy and slot, so that many policies do not start at once. Default: none.
    pub jitter: Option<String>,
    /// How often a failed run is tried again. Default: 3.
    #[schemars(range(max = 20))]
    pub retries: Option<u32>,
    /// A run that lasts longer than this is stopped and has failed. Default: `24h`.
    pub deadline: Option<String>,
    /// Windows in which no run starts; a slot inside one starts when it ends.
    pub blackout: Option<Vec<BlackoutSection>>,
}

/// A window in which no run starts, in the schedule's zone.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BlackoutSection {
    /// Begin, `HH:MM`.
    #[schemars(required)]
    pub from: Option<String>,
    /// End, `HH:MM`, not included; at or before `from`: on the next day.
    #[schemars(required)]
    pub to: Option<String>,
    /// Days on which it begins. Default: every day.
    pub days: Option<Vec<Day>>,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// Which backups `prune` keeps: each rule keeps some, and a backup goes only when no rule keeps it. The two newest complete
/// backups, the newest proven one and pinned ones are kept whatever this section says.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetentionSection {
    /// The newest this many.
    #[schemars(range(max = 10000))]
    pub keep_last: Option<u32>,
    /// All made within this time before the newest one, such as `48h`.
    pub keep_within: Option<String>,
    /// The last of each hour, for this many hours that have one.
    #[schemars(range(max = 10000))]
    pub keep_hourly: Option<u32>,
    /// The last of each day, for this many days that have one.
    #[schemars(range(max = 10000))]
    pub keep_daily: Option<u32>,
    /// The last of each ISO week, for this many weeks that have one.
    #[schemars(range(max = 10000))]
    pub keep_weekly: Option<u32>,
    /// The last of each month, for this many months that have one.
    #[schemars(range(max = 10000))]
    pub keep_monthly: Option<u32>,
    /// The last of each year, for this many years that have one.
    #[schemars(range(max = 10000))]
    pub keep_yearly: Option<u32>,
    /// Time between `prune` and the deletion of the data, in which `undelete` works. Default: `24h`.
    pub grace: Option<String>,
}

/// How far a verification goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum VerifyLevel {
    /// Every object is in the store with its size and checksum; nothing is downloaded.
    Presence,
    /// Every object is read, opened and hashed.
    Content,
    /// A drill: restored into a throwaway server and compared with the source.
    Restore,
}

impl VerifyLevel {
    /// Its name in policies, options and documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Presence => "presence",
            Self::Content => "content",
            Self::Restore => "restore",
        }
    }
}

impl std::fmt::Display for VerifyLevel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How backups are proven. Each backup gets `presence` when it is made, with or without this section.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifySection {
    /// How far `pgkeep verify` and the scheduled verification go. Default: `content`.
    pub level: Option<VerifyLevel>,
    /// When the newest backup is verified: five fields, as in `schedule`. Default: only on command.
    pub cron: Option<String>,
    /// IANA name of the zone in which `cron` is meant. Default: the schedule's.
    pub timezone: Option<String>,
    /// Where a drill restores to: `auto` (what the machine has), `docker`, `local` (initdb and postgres found on the machine) or a
    /// `postgres://` URL, or a reference to one, of a server where a temporary database may be made. Default: `auto`.
    pub scratch: Option<String>,
}

/// The promise that is watched.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthSection {
    /// The newest good backup is never older than this, such as `26h`: otherwise `status` and `gate` say so, and `prune` deletes
    /// nothing. Default: no promise.
    pub max_age: Option<String>,
}

/// An event that somebody may hear about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NotifyEvent {
    /// A run failed.
    Failure,
    /// What was wrong is right again.
    Recovery,
    /// The newest good backup is older than `health.max_age`.
    Stale,
    /// A backup looks wrong: empty or suspiciously small.
    Anomaly,
    /// A verification failed, or could not be done.
    Verification,
    /// Backups that retention gives up could not be removed.
    Unpruned,
    /// A run lost its lease to another one and withdrew.
    LeaseLost,
}

impl NotifyEvent {
    /// All of them, in the order of documents.
    pub const ALL: [Self; 7] =
        [Self::Failure, Self::Recovery, Self::Stale, Self::Anomaly, Self::Verification, Self::Unpruned, Self::LeaseLost];

    /// Its name in policies and documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failure => "failure",
            Self::Recovery => "recovery",
            Self::Stale => "stale",
            Self::Anomaly => "anomaly",
            Self::Verification => "verification",
            Self::Unpruned => "unpruned",
            Self::LeaseLost => "lease_lost",
        }
    }
}

/// What a webhook receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WebhookFormat {
    /// pgkeep's own document, described in docs/JSON.md.
    Json,
    /// A message as Slack takes it, and Mattermost, Rocket.Chat and Discord (address with `/slack` at its end) after it.
    Slack,
}

/// Who hears about it. Any number of channels; each event goes to all of them. The first message about a problem is sent at once;
/// as long as it lasts, it is repeated at most after 1, 4 and then every 24 hours.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NotifySection {
    /// Events that are sent. Default: all.
    pub on: Option<Vec<NotifyEvent>>,
    /// `https://` address that receives each event, best as a reference such as `${SLACK_WEBHOOK}`.
    pub webhook: Option<String>,
    /// What the webhook receives. Default: `slack` for addresses of Slack and those of Discord that end in `/slack`, else `json`.
    pub format: Option<WebhookFormat>,
    /// `https://` address of a check at healthchecks.io or a service like it, best as a reference. Each backup run calls it: with
    /// `/start` appended when it begins, as it is when the run is good, with `/fail` when it is not. The service raises the alarm
    /// when it hears nothing, which no message from this machine can.
    pub heartbeat: Option<String>,
    /// E-mail.
    pub email: Option<EmailSection>,
    /// Amazon SNS.
    pub sns: Option<SnsSection>,
}

/// E-mail over SMTP.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmailSection {
    /// `smtp://user:password@host:587` (STARTTLS; a server on this machine may go without) or `smtps://user:password@host:465`
    /// (TLS from the start), best as a reference. Special characters of user and password are percent-encoded.
    #[schemars(required)]
    pub smtp: Option<String>,
    /// Sender: `backups@example.com` or `pgkeep <backups@example.com>`.
    #[schemars(required)]
    pub from: Option<String>,
    /// Recipients.
    #[schemars(required)]
    pub to: Option<Vec<String>>,
}

/// A topic of Amazon SNS. Region and account come from its ARN, credentials and endpoint from where every AWS tool finds them.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SnsSection {
    /// ARN of the topic: `arn:aws:sns:eu-west-3:123456789012:backups`.
    #[schemars(required)]
    pub topic: Option<String>,
}

/// A command: text for `/bin/sh -c`, or a program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum HookCommand {
    /// Text for `/bin/sh -c`.
    Shell(String),
    /// A program and its arguments.
    Program(Vec<String>),
}

/// Local commands around each backup. They get the run as JSON on standard input and as variables `PGKEEP_*`; the end of what they write is kept
/// in the run's record.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HooksSection {
    /// Before the backup. If it fails there is no backup, and the run has failed.
    pub before: Option<HookCommand>,
    /// After a backup that succeeded.
    pub after: Option<HookCommand>,
    /// After a run that failed or was cancelled.
    pub on_failure: Option<HookCommand>,
    /// After every run whose `before` was begun, last of all, also when the daemon is being stopped: it waits for it.
    pub finally: Option<HookCommand>,
    /// A command that takes longer is killed, with all that it started. Default: `5m`.
    pub timeout: Option<String>,
}

/// The JSON Schema of a policy file, for editors, `policy schema` and [`super::structure`].
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(PolicyFile).to_value();
    without_null(&mut schema);
    schema
}

/// TOML has no null: a key that may be left out is simply not required.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if let Some(types) = object.get("type").and_then(Value::as_array) {
                let rest: Vec<&Value> = types.iter().filter(|t| *t != "null").collect();
                if let [only] = rest.as_slice() {
                    let only = (*only).clone();
                    object.insert("type".to_owned(), only);
                }
            }
            if let Some(options) = object.get("anyOf").and_then(Value::as_array) {
                let rest: Vec<&Value> = options.iter().filter(|o| o["type"] != "null").collect();
                if let [Value::Object(only)] = rest.as_slice() {
                    let only = only.clone();
                    object.remove("anyOf");
                    object.extend(only);
                }
            }
            object.values_mut().for_each(without_null);
        }
        Value::Array(items) => items.iter_mut().for_each(without_null),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every key is described, and none may be null: the schema is what people read.
    #[test]
    fn the_schema_describes_every_key() {
        fn visit(path: &str, schema: &Value) {
            assert!(!schema.to_string().contains("\"null\""), "{path} allows null");
            let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
            for (key, property) in properties {
                assert!(key == "kind" || property.get("description").is_some(), "{path}.{key} has no description");
            }
        }
        let schema = schema();
        visit("", &schema);
        let definitions = schema["$defs"].as_object().expect("definitions");
        assert!(definitions.len() >= 10, "{definitions:?}");
        for (name, definition) in definitions {
            visit(name, definition);
            definition["oneOf"].as_array().into_iter().flatten().for_each(|branch| visit(name, branch));
        }
    }
}
