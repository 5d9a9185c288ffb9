//! The command tree, and nothing else.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Backup and disaster recovery for PostgreSQL on AWS: proven backups, planned restores.
#[derive(Debug, Parser)]
#[command(name = "pgkeep", version, max_term_width = 110, arg_required_else_help = true, after_help = EXIT_CODES)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Folder with the policy files [default: $PGKEEP_POLICIES, ./policies, /etc/pgkeep/policies]
    #[arg(long, global = true, value_name = "DIR")]
    pub policies: Option<PathBuf>,
    /// Store to use without a policy file: s3://bucket/prefix or file:///path; POLICY then names a vault in it
    #[arg(long, global = true, value_name = "URL")]
    pub store: Option<String>,
    /// Print one JSON document on stdout (docs/JSON.md)
    #[arg(long, global = true)]
    pub json: bool,
    /// Say more on stderr; twice for debugging
    #[arg(long, short, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,
    /// Say only errors on stderr
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Progress bars: on a terminal, or never
    #[arg(long, global = true, value_enum, default_value = "auto")]
    pub progress: ProgressMode,
}

/// When progress is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProgressMode {
    /// Bars on a terminal, plain lines elsewhere.
    Auto,
    /// Nothing.
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Back up now, by policy
    #[command(after_help = BACKUP_CODES)]
    Backup(BackupArgs),
    /// List backups, newest first; without POLICY, of every policy
    #[command(after_help = READ_CODES)]
    List(ListArgs),
    /// Show one backup in full: identity, sizes, tables, proofs
    #[command(after_help = READ_CODES)]
    Show(ShowArgs),
    /// Put a database back as it was at a given time
    #[command(after_help = RESTORE_CODES)]
    Restore(Box<RestoreArgs>),
    /// Prove a backup: its objects, its content, or a real restore
    #[command(after_help = VERIFY_CODES)]
    Verify(VerifyArgs),
    /// Remove what retention does not keep: plan, show, apply
    #[command(after_help = PRUNE_CODES)]
    Prune(PruneArgs),
    /// Take a backup back that prune marked for removal, until it is swept
    #[command(after_help = READ_CODES)]
    Undelete(BackupRef),
    /// Protect a backup from retention; acknowledges an anomalous one
    #[command(after_help = READ_CODES)]
    Pin(PinArgs),
    /// Remove the protection
    #[command(after_help = READ_CODES)]
    Unpin(BackupRef),
    /// Can I restore, to when, and is it proven: one line per policy
    #[command(after_help = STATUS_CODES)]
    Status(StatusArgs),
    /// Talk to the database and the store, and say what to fix
    #[command(after_help = DOCTOR_CODES)]
    Doctor(DoctorArgs),
    /// Print what AWS must allow the role of pgkeep, as a policy document of IAM
    #[command(after_help = POLICY_CODES)]
    IamPolicy(IamPolicyArgs),
    /// Run every policy by its schedule, until stopped
    #[command(after_help = SERVE_CODES)]
    Serve(ServeArgs),
    /// Check, explain and describe policy files
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Print a completion script
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// `pgkeep backup`.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// Policies to run, one after another
    #[arg(required = true, id = "POLICY", value_name = "POLICY")]
    pub policies: Vec<String>,
    /// A name to find it by later, for example a git commit
    #[arg(long, value_name = "TEXT")]
    pub label: Option<String>,
    /// Protect it from retention
    #[arg(long)]
    pub pin: bool,
    /// Retention keeps it at least this long: 12h, 30d
    #[arg(long, value_name = "DURATION")]
    pub keep_for: Option<String>,
}

/// `pgkeep list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Policy
    pub policy: Option<String>,
    /// Only what a restore at this time would use; without POLICY: the first screen of an incident, a line for each policy
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
}

/// `pgkeep show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Policy
    pub policy: String,
    /// Backup id [default: the newest]
    pub backup: Option<String>,
}

/// Which backup.
#[derive(Debug, Clone, Default, Args)]
#[group(multiple = false)]
pub struct Selection {
    /// The newest backup at or before this time: RFC 3339, '2026-11-22 14:05', '14:05', 'yesterday 23:00', '2h ago' [default: now]
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// This backup
    #[arg(long, value_name = "ID")]
    pub backup: Option<String>,
}

/// `pgkeep restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// Policy
    pub policy: String,
    /// Which backup.
    #[command(flatten)]
    pub selection: Selection,
    /// The newest backup with this label
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["at", "backup"])]
    pub label: Option<String>,
    /// Database to restore into, as a URL, ${ENV}, env:NAME or file:PATH reference; created if it does not exist, refused if it holds objects
    #[arg(long, value_name = "URL")]
    pub to: Option<String>,
    /// Where a backup of kind ebs or rds is restored to.
    #[command(flatten)]
    pub snapshots: SnapshotTarget,
    /// Which database of the backup, when it holds several
    #[arg(long, value_name = "NAME")]
    pub database: Option<String>,
    /// Only this table, its indexes, constraints and triggers; may be repeated
    #[arg(long, value_name = "SCHEMA.TABLE")]
    pub table: Vec<String>,
    /// Only this schema; may be repeated
    #[arg(long, value_name = "SCHEMA")]
    pub schema: Vec<String>,
    /// Objects without rows
    #[arg(long, conflicts_with = "data_only")]
    pub schema_only: bool,
    /// Rows without objects: the tables must exist
    #[arg(long)]
    pub data_only: bool,
    /// Objects belong to the role that restores
    #[arg(long)]
    pub no_owner: bool,
    /// No GRANT, no REVOKE
    #[arg(long)]
    pub no_privileges: bool,
    /// Use NEW wherever the backup says OLD; may be repeated
    #[arg(long, value_name = "OLD=NEW")]
    pub role_map: Vec<String>,
    /// Parallel sessions [default: the policy's jobs]
    #[arg(long, value_name = "N")]
    pub jobs: Option<usize>,
    /// Drop the backup's objects from the target first
    #[arg(long)]
    pub clean: bool,
    /// Show the plan and change nothing
    #[arg(long)]
    pub plan: bool,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
}

/// Where a backup by snapshots is restored to.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Backups of kind ebs and rds")]
pub struct SnapshotTarget {
    /// ebs: make new volumes in this availability zone
    #[arg(long, value_name = "ZONE", conflicts_with_all = ["to", "to_instance", "database", "table", "schema", "schema_only", "data_only", "no_owner", "no_privileges", "role_map", "jobs", "clean"])]
    pub to_zone: Option<String>,
    /// ebs: another volume type than the original's, such as gp3
    #[arg(long, value_name = "TYPE", requires = "to_zone")]
    pub volume_type: Option<String>,
    /// ebs: another size in GiB, for backups of one volume; never smaller than the original
    #[arg(long, value_name = "GIB", requires = "to_zone")]
    pub size: Option<u32>,
    /// ebs: attach the new volumes to this instance, at devices that are free
    #[arg(long, value_name = "INSTANCE", requires = "to_zone")]
    pub attach: Option<String>,
    /// rds: make a new instance or cluster of this name
    #[arg(long, value_name = "NAME", conflicts_with = "to")]
    pub to_instance: Option<String>,
    /// rds: from the automated backups, at exactly the time that --at says, and not from a snapshot
    #[arg(long, requires = "to_instance")]
    pub point_in_time: bool,
    /// rds: from the copy in this region
    #[arg(long, value_name = "REGION", requires = "to_instance", conflicts_with = "point_in_time")]
    pub to_region: Option<String>,
    /// rds: in this availability zone, of a cluster its first instance; else RDS chooses
    #[arg(long, value_name = "ZONE", requires = "to_instance")]
    pub availability_zone: Option<String>,
    /// rds: another class than the original's, such as db.r6g.large
    #[arg(long, value_name = "CLASS", requires = "to_instance")]
    pub instance_class: Option<String>,
    /// rds: another subnet group
    #[arg(long, value_name = "NAME", requires = "to_instance")]
    pub subnet_group: Option<String>,
    /// rds: another security group; may be repeated
    #[arg(long, value_name = "ID", requires = "to_instance")]
    pub security_group: Vec<String>,
    /// rds: another parameter group
    #[arg(long, value_name = "NAME", requires = "to_instance")]
    pub parameter_group: Option<String>,
}

/// `pgkeep verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Policy
    pub policy: String,
    /// Which backup.
    #[command(flatten)]
    pub selection: Selection,
    /// Every backup
    #[arg(long, conflicts_with_all = ["at", "backup"])]
    pub all: bool,
    /// How deep [default: the policy's level]
    #[arg(long, value_enum)]
    pub level: Option<LevelArg>,
    /// Server for the drill: auto, local, docker, or a URL where a temporary database may be made [default: the policy's]
    #[arg(long, value_name = "WHERE")]
    pub scratch: Option<String>,
}

/// Depth of a verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LevelArg {
    /// Every object is in the store with its size and checksum.
    Presence,
    /// Every part is read, decompressed and hashed.
    Content,
    /// A real restore into a throwaway server, compared entry by entry and row by row.
    Restore,
}

/// `pgkeep prune`.
#[derive(Debug, Args)]
pub struct PruneArgs {
    /// Policy
    pub policy: String,
    /// Show the plan and change nothing
    #[arg(long)]
    pub plan: bool,
    /// Apply without asking
    #[arg(long, short)]
    pub yes: bool,
    /// Also when more than half of the backups would go
    #[arg(long, requires = "yes")]
    pub force_large: bool,
}

/// A policy and one of its backups.
#[derive(Debug, Args)]
pub struct BackupRef {
    /// Policy
    pub policy: String,
    /// Backup id
    pub backup: String,
}

/// `pgkeep pin`.
#[derive(Debug, Args)]
pub struct PinArgs {
    /// Policy
    pub policy: String,
    /// Backup id
    pub backup: String,
    /// Why, for those who come later
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// `pgkeep status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Policy [default: all]
    pub policy: Option<String>,
}

/// `pgkeep doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Policy [default: all]
    pub policy: Option<String>,
    /// Also send a test to everybody who hears about failures
    #[arg(long)]
    pub notify: bool,
}

/// `pgkeep iam-policy`.
#[derive(Debug, Args)]
pub struct IamPolicyArgs {
    /// Policy [default: all]
    pub policy: Option<String>,
}

/// `pgkeep serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Address of the HTTP interface: health, metrics and the API
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8474")]
    pub listen: std::net::SocketAddr,
    /// Runs that may go on at the same time on this host; others wait for their turn
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub max_runs: u8,
    /// File with the token that allows the API to start and cancel runs [default: $PGKEEP_API_TOKEN; without either it only answers]
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// `pgkeep policy …`.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Report every problem of every policy file
    #[command(after_help = POLICY_CODES)]
    Check {
        /// Only this policy
        policy: Option<String>,
    },
    /// Say what a policy means: next runs, retention, health promise
    #[command(after_help = POLICY_CODES)]
    Explain {
        /// Policy
        policy: String,
    },
    /// Print the JSON Schema of policy files
    Schema,
}

const EXIT_CODES: &str = "Exit codes: 0 done · 1 internal · 2 usage · 3 invalid policy · 4 unavailable or refused · 5 conflict · 6 integrity · \
7 nothing found · 8 unsupported · 9 gate or health condition not met · 130 cancelled";
const BACKUP_CODES: &str = "Exit codes: 0 committed and proven present · 3 invalid policy · 4 database or store unavailable, refused or full · \
5 lease held by another run · 6 anomalous backup or damaged store · 8 objects that cannot be backed up · 130 cancelled";
const READ_CODES: &str = "Exit codes: 0 done · 3 invalid policy · 4 store unavailable or refused · 5 lease held · 6 damaged document · 7 no such policy or backup";
const RESTORE_CODES: &str = "Exit codes: 0 everything restored · 2 usage, or confirmation missing · 4 server or store unavailable or refused · \
5 target not empty · 6 damaged backup, or some objects or rows were not restored (each is named) · 7 no backup at or before that time · 8 not supported by the target · 130 cancelled";
const VERIFY_CODES: &str = "Exit codes: 0 proven · 4 store or scratch server unavailable · 6 damage found · 7 nothing to verify · 8 no scratch server of that version · 130 cancelled";
const PRUNE_CODES: &str = "Exit codes: 0 done, or nothing to do · 2 confirmation missing · 4 store unavailable · 5 lease held, or the plan changed · 7 no such policy · \
9 refused: the last run failed or the newest backup is too old, or more than half would go";
const STATUS_CODES: &str =
    "Exit codes: 0 every policy keeps its promise · 4 store unavailable · 7 no such policy · 9 a policy does not";
const DOCTOR_CODES: &str =
    "Exit codes: 0 all checks pass · 3 invalid policy · 4 something is unavailable or refused · 8 something is unsupported";
const SERVE_CODES: &str = "Signals: SIGTERM and SIGINT end it cleanly, SIGHUP reads the policies again. Exit codes: 0 stopped by a signal · \
3 invalid policy at the start · 4 the address cannot be listened on · 7 no folder of policies";
const POLICY_CODES: &str = "Exit codes: 0 valid · 3 problems found · 7 no such policy or folder";
