//! Makes a vault as years of nightly backups leave it, within seconds, to measure what grows with history.
//!
//! `big_vault file:///tmp/store finance 2000` writes 2,000 backups of 1,000 parts each, of which 100 are new and the rest those of the nights before:
//! 200,900 tiny parts, a run record for each backup and for four verifications of it, proofs. Everything is written by the library's own code and is
//! valid, only not synced: a vault to measure on, not to keep. The newest backup is verified at the end.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use futures::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use pgkeep::base::clock::{SharedClock, SystemClock, add, sub};
use pgkeep::base::fingerprint::Fingerprint;
use pgkeep::base::ids::{BackupId, RunId};
use pgkeep::base::progress::Silent;
use pgkeep::base::shutdown::Shutdown;
use pgkeep::base::{Error, Result};
use pgkeep::jobs::source::{DatabaseSummary, PostgresSummary, SourceSummary};
use pgkeep::repo::codec::{pack, part_id};
use pgkeep::repo::commit::tool;
use pgkeep::repo::contents::{Contents, Document, Extent, PartRecord, StreamRecord};
use pgkeep::repo::document::to_bytes;
use pgkeep::repo::format::{Checksum, FORMAT};
use pgkeep::repo::head::{ContentsRef, Counts, Head};
use pgkeep::repo::proofs::{Level, Proof};
use pgkeep::repo::runs::{Run, RunKind};
use pgkeep::repo::{Vault, verify};
use pgkeep::store::{Key, PutMode, SharedStore, StoreExt as _, StoreOptions, open};

/// Objects written at once.
const AT_ONCE: usize = 32;
/// Nights between two restore drills.
const DRILL_EVERY: usize = 7;
/// Verifications recorded for each backup.
const VERIFICATIONS: usize = 4;
/// Plaintext of a part.
const PART_BYTES: usize = 32;

/// Makes a vault with a long history.
#[derive(Debug, Parser)]
struct Options {
    /// Store: `file:///path` (written past the store, unsynced) or `s3://bucket/prefix`.
    url: String,
    /// Policy, whose vault must not exist.
    policy: String,
    /// Backups.
    backups: usize,
    /// Parts that each backup names.
    #[arg(long, default_value_t = 1000)]
    parts: usize,
    /// Parts of each that no earlier one has.
    #[arg(long, default_value_t = 100)]
    new: usize,
    /// When the last backup was made; now by default.
    #[arg(long)]
    until: Option<Timestamp>,
}

/// Where objects go.
enum Place {
    Folder(PathBuf),
    Store(SharedStore),
}

impl Place {
    async fn put(&self, key: &Key, body: Bytes) -> Result<()> {
        match self {
            Self::Store(store) => store.put(key, body, PutMode::Create).await.map(drop).map_err(Error::from),
            Self::Folder(root) => {
                write(&root.join(key.as_str()), &body).map_err(|e| Error::unavailable(format!("write '{key}'")).source(e))
            }
        }
    }
}

fn write(path: &Path, body: &[u8]) -> std::io::Result<()> {
    match std::fs::write(path, body) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            std::fs::create_dir_all(path.parent().unwrap_or(path))?;
            std::fs::write(path, body)
        }
        other => other,
    }
}

struct Maker {
    options: Options,
    vault: Vault,
    place: Place,
    parts: Vec<PartRecord>,
}

impl Maker {
    fn number_of_parts(&self) -> usize {
        self.options.parts + (self.options.backups - 1) * self.options.new
    }

    /// Writes all parts and remembers them.
    async fn make_parts(&mut self) -> Result<()> {
        let mut made = Vec::with_capacity(self.number_of_parts());
        let mut bodies = Vec::with_capacity(self.number_of_parts());
        for number in 0..self.number_of_parts() {
            let plain = format!("{number:0width$}\n", width = PART_BYTES - 1);
            let packed = pack(plain.as_bytes())?;
            let id = part_id(plain.as_bytes());
            made.push(PartRecord { id, size: PART_BYTES as u64, stored: packed.stored.len() as u64, sha256: packed.sha256 });
            bodies.push((self.vault.layout().part(&id), packed.stored));
        }
        self.put_all(bodies).await?;
        self.parts = made;
        Ok(())
    }

    async fn put_all(&self, objects: Vec<(Key, Bytes)>) -> Result<()> {
        let writes = objects.into_iter().map(|(key, body)| async move { self.place.put(&key, body).await });
        futures::stream::iter(writes).buffer_unordered(AT_ONCE).try_collect().await
    }

    async fn make_backup(&self, number: usize, started_at: Timestamp) -> Result<Head> {
        let backup = BackupId::generate(started_at);
        let from = number * self.options.new;
        let parts = &self.parts[from..from + self.options.parts];
        let stored = self::contents(&backup, parts)?.to_bytes()?;
        let layout = self.vault.layout();
        let key = layout.contents(&backup);
        let contents = ContentsRef { key: key.as_str().to_owned(), size: stored.len() as u64, sha256: Checksum::of(&stored) };
        let head = self.head(backup, number, started_at, parts, contents)?;
        let mut objects = vec![(key, stored), (layout.head(&head.backup), to_bytes(&head)?)];
        objects.extend(self.records(number, &head)?);
        self.put_all(objects).await?;
        Ok(head)
    }

    fn head(&self, backup: BackupId, number: usize, at: Timestamp, parts: &[PartRecord], contents: ContentsRef) -> Result<Head> {
        let plain_bytes: u64 = parts.iter().map(|p| p.size).sum();
        let stored_bytes: u64 = parts.iter().map(|p| p.stored).sum();
        let new = if number == 0 { parts } else { &parts[parts.len() - self.options.new..] };
        let (rows, tables) = (parts.len() as u64, 1);
        let counts = Counts {
            parts: parts.len() as u64,
            new_parts: new.len() as u64,
            plain_bytes,
            stored_bytes,
            new_stored_bytes: new.iter().map(|p| p.stored).sum(),
            rows,
            objects: 2,
            tables,
        };
        Ok(Head {
            format: FORMAT,
            backup,
            policy: self.options.policy.clone(),
            vault_id: self.vault.info().vault_id.clone(),
            write_id: "0".repeat(32),
            generation: number as u64 + 1,
            tool: tool(),
            started_at: at,
            consistent_at: add(at, Duration::from_secs(1)),
            committed_at: add(at, Duration::from_secs(60)),
            label: None,
            keep_until: None,
            contents,
            counts,
            source: source(at, plain_bytes, rows)?,
            anomalies: Vec::new(),
            warnings: Vec::new(),
        })
    }

    /// Run records and proofs of a backup.
    fn records(&self, number: usize, head: &Head) -> Result<Vec<(Key, Bytes)>> {
        let layout = self.vault.layout();
        let mut objects = Vec::new();
        for verification in 0..=VERIFICATIONS {
            let started = add(head.started_at, Duration::from_secs(3600 * verification as u64));
            let (kind, run) = match verification {
                0 => (RunKind::Backup, RunId::from(&head.backup)),
                _ => (RunKind::Verify, RunId::generate(started)),
            };
            let mut run = Run::start(run, kind, started, "db1", None);
            run.backup = Some(head.backup.clone());
            run.end(add(started, Duration::from_secs(60)), Ok(()));
            objects.push((layout.run(&run.run), to_bytes(&run)?));
            let level = match verification {
                VERIFICATIONS if number.is_multiple_of(DRILL_EVERY) => Level::Restore,
                VERIFICATIONS => Level::Content,
                _ => Level::Presence,
            };
            let proof = Proof {
                backup: head.backup.clone(),
                level,
                at: add(started, Duration::from_secs(61)),
                passed: true,
                seconds: 1.0,
                tool: tool(),
                findings: Vec::new(),
                details: serde_json::json!({ "databases": [{ "database": "finance", "restore_seconds": 60.0 }] }),
            };
            objects.push((layout.proof(&proof.backup, proof.at, level.name(), proof.passed), to_bytes(&proof)?));
        }
        Ok(objects)
    }
}

/// One stream a part, as of a large table that is read in ranges.
fn contents(backup: &BackupId, parts: &[PartRecord]) -> Result<Contents> {
    let streams = parts.iter().enumerate().map(|(number, part)| {
        let fingerprint = Fingerprint { rows: 1, bytes: part.size, sum: 0 };
        let extents = vec![Extent { part: number as u64, offset: 0, length: part.size }];
        StreamRecord { name: format!("finance/ledger/{number:08}"), fingerprint, extents }
    });
    let note = serde_json::json!({ "made_by": "big_vault", "parts": parts.len() });
    Ok(Contents {
        backup: backup.clone(),
        documents: vec![Document::new("note", &note)?],
        parts: parts.to_vec(),
        streams: streams.collect(),
    })
}

fn source(at: Timestamp, bytes: u64, rows: u64) -> Result<serde_json::Value> {
    let database = DatabaseSummary {
        name: "finance".to_owned(),
        consistent_at: at,
        lsn: Some("0/1A2B3C4".to_owned()),
        timeline: Some(1),
        tables: 1,
        objects: 2,
        rows,
        bytes,
        database_bytes: bytes,
    };
    let summary = SourceSummary::Postgres(PostgresSummary {
        system_identifier: Some("7300000000000000000".to_owned()),
        version: "17.5".to_owned(),
        version_num: 170_005,
        server: "db1:5432".to_owned(),
        databases: vec![database],
    });
    serde_json::to_value(summary).map_err(|e| Error::internal("write the source's summary").source(e))
}

async fn make(options: Options) -> Result<String> {
    if options.new > options.parts || options.backups == 0 || options.new == 0 {
        return Err(Error::usage("at least one backup, one new part in each, and no more new parts than parts"));
    }
    let clock: SharedClock = Arc::new(SystemClock);
    let opened = open(&StoreOptions { concurrency: AT_ONCE, ..StoreOptions::new(&options.url) }, clock.clone()).await?;
    let place = match options.url.strip_prefix("file://") {
        Some(path) => Place::Folder(PathBuf::from(path)),
        None => Place::Store(opened.store.clone()),
    };
    if Vault::open(opened.store.clone(), &options.policy, clock.clone()).await.is_ok() {
        return Err(Error::conflict(format!("there is a vault of '{}' already", options.policy)));
    }
    let vault = Vault::open_or_create(opened.store, &options.policy, "", clock.clone()).await?;
    let until = options.until.unwrap_or_else(|| clock.now());
    let mut maker = Maker { options, vault: vault.clone(), place, parts: Vec::new() };
    maker.make_parts().await?;
    let mut newest = None;
    for number in 0..maker.options.backups {
        let nights = (maker.options.backups - 1 - number) as u64;
        let night = sub(until, Duration::from_secs(nights * 24 * 3600 + 5 * 3600));
        newest = Some(maker.make_backup(number, night).await?);
    }
    let newest = newest.ok_or_else(|| Error::internal("no backup was made"))?;
    let report = verify::presence(&vault, &newest, &Silent, &Shutdown::new()).await?;
    if !report.passed() || report.parts != maker.options.parts as u64 {
        return Err(Error::integrity(format!("the newest backup is not whole: {:?}", report.findings)));
    }
    Ok(format!("{} backups, {} parts in {}\n", maker.options.backups, maker.number_of_parts(), vault.describe()))
}

#[tokio::main]
async fn main() -> ExitCode {
    match make(Options::parse()).await {
        Ok(line) => std::io::stdout().write_all(line.as_bytes()).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error:?}");
            ExitCode::FAILURE
        }
    }
}
