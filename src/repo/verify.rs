//! Verification without a server: presence (no download) and content. Findings are collected; nothing stops at the first.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::codec::unpack;
use super::contents::{Contents, PartRecord, StreamRecord};
use super::format::Checksum;
use super::head::Head;
use super::reader::{read_contents, read_part};
use super::stored::StoredParts;
use super::vault::Vault;
use crate::base::fingerprint::Fingerprint;
use crate::base::ids::PartId;
use crate::base::limits::{STORE_CONCURRENCY, VERIFY_AHEAD_BYTES, processors};
use crate::base::progress::Progress;
use crate::base::shutdown::Shutdown;
use crate::base::threads::blocking;
use crate::base::{Error, Kind, Result, ResultExt};
use crate::store::StoreError;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something cannot be restored as it was.
    Damage,
    /// Worth knowing; everything can be restored.
    Warning,
}

/// One thing that a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable name: `part-missing`, `part-damaged`, `part-differs`, `contents-missing`, `contents-damaged`, `stream-differs`, ….
    pub id: String,
    /// How bad.
    pub severity: Severity,
    /// What it is about: a part, a stream, an entry.
    pub object: String,
    /// One sentence.
    pub message: String,
    /// Streams that cannot be read whole because of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub streams: Vec<String>,
}

impl Finding {
    /// Damage.
    pub fn damage(id: &str, object: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            id: id.to_owned(),
            severity: Severity::Damage,
            object: object.into(),
            message: message.into(),
            streams: Vec::new(),
        }
    }

    /// A warning.
    pub fn warning(id: &str, object: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::damage(id, object, message) }
    }
}

/// What a verification found, and how much it looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Damage first.
    pub findings: Vec<Finding>,
    /// Parts looked at.
    pub parts: u64,
    /// Bytes read from the store.
    pub bytes_read: u64,
}

impl Report {
    /// Whether the backup can be restored as it was, as far as this level tells.
    pub fn passed(&self) -> bool {
        self.findings.iter().all(|f| f.severity != Severity::Damage)
    }
}

/// Looks whether parts are present, for one backup or many: what backups share is listed and asked for once.
#[derive(Debug)]
pub struct Presence<'a> {
    vault: &'a Vault,
    stored: StoredParts,
    /// What the store said of a part when it was asked: bytes of its object, and checksum where it knows it.
    told: Mutex<HashMap<PartId, (u64, Option<Checksum>)>>,
    /// Parts read at once.
    reads: Semaphore,
}

/// Presence of one backup: see [`Presence::check`].
pub async fn presence(vault: &Vault, head: &Head, progress: &dyn Progress, shutdown: &Shutdown) -> Result<Report> {
    Presence::new(vault).await?.check(head, progress, shutdown).await
}

impl<'a> Presence<'a> {
    /// Lists the vault's parts.
    pub async fn new(vault: &'a Vault) -> Result<Self> {
        let stored = StoredParts::list(vault).await?;
        Ok(Self { vault, stored, told: Mutex::default(), reads: Semaphore::new(processors()) })
    }

    /// Presence: every object that the backup names is in the store with its recorded size and, where the store can tell without a download,
    /// its checksum. A part that differs is read: stored anew with the same content, it is worth a warning only.
    pub async fn check(&self, head: &Head, progress: &dyn Progress, shutdown: &Shutdown) -> Result<Report> {
        let (contents, mut report) = match open(self.vault, head).await? {
            Ok(opened) => opened,
            Err(report) => return Ok(report),
        };
        progress.stage("presence", Some(head.counts.plain_bytes));
        let checks = contents.parts.iter().map(|record| async move {
            let found = shutdown.guard(self.present(record)).await;
            progress.advance(record.size);
            found
        });
        let mut checks = futures::stream::iter(checks).buffer_unordered(STORE_CONCURRENCY);
        while let Some(found) = checks.next().await {
            report.parts += 1;
            report.findings.extend(found?);
        }
        drop(checks);
        Ok(finish(report, &contents))
    }

    async fn present(&self, record: &PartRecord) -> Result<Option<Finding>> {
        let told = self.told().get(&record.id).copied();
        let (stored, sha256) = match told {
            Some(told) => told,
            None => match self.ask(record).await? {
                Ok(told) => told,
                Err(finding) => return Ok(Some(finding)),
            },
        };
        if stored == record.stored && sha256.is_none_or(|sum| sum == record.sha256) {
            return Ok(None);
        }
        let _place = self.reads.acquire().await.map_err(|e| Error::internal("no part can be read").source(e))?;
        Ok(Some(match part_content(self.vault, record).await? {
            Ok(_) => Finding::warning(
                "part-differs",
                record.id,
                format!("part {} is whole, but stored otherwise than recorded", record.id),
            ),
            Err(finding) => finding,
        }))
    }

    /// What the store says of a part, or the finding that it has none.
    async fn ask(&self, record: &PartRecord) -> Result<Result<(u64, Option<Checksum>), Finding>> {
        let Some(stored) = self.stored.size(&record.id) else {
            return Ok(Err(missing(record)));
        };
        match self.vault.store.head(&self.vault.layout.part(&record.id), true).await {
            Ok(meta) => {
                let told = (stored, meta.sha256.map(Checksum));
                self.told().insert(record.id, told);
                Ok(Ok(told))
            }
            Err(StoreError::NotFound(_)) => Ok(Err(missing(record))),
            Err(StoreError::Other(e)) if e.kind() == Kind::Integrity => Ok(Err(damaged(record, &e))),
            Err(e) => Err(Error::from(e)).context(|| format!("look at part {}", record.id)),
        }
    }

    fn told(&self) -> MutexGuard<'_, HashMap<PartId, (u64, Option<Checksum>)>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The part's plaintext, or the finding that it has none.
async fn part_content(vault: &Vault, record: &PartRecord) -> Result<Result<Bytes, Finding>> {
    match part_object(vault, record).await? {
        Ok(stored) => {
            let record = record.clone();
            blocking(move || plaintext(&record, &stored)).await
        }
        Err(finding) => Ok(Err(finding)),
    }
}

/// The part's object, or the finding that there is none.
async fn part_object(vault: &Vault, record: &PartRecord) -> Result<Result<Bytes, Finding>> {
    match read_part(vault, record).await {
        Ok(Some(stored)) => Ok(Ok(stored)),
        Ok(None) => Ok(Err(missing(record))),
        // The store itself saw that the object is not what was put there.
        Err(e) if e.kind() == Kind::Integrity => Ok(Err(damaged(record, &e))),
        Err(e) => Err(e),
    }
}

fn plaintext(record: &PartRecord, stored: &[u8]) -> Result<Result<Bytes, Finding>> {
    match unpack(&record.id, stored, Some(record.size)) {
        Ok(plain) => Ok(Ok(plain)),
        Err(e) if e.kind() == Kind::Integrity => Ok(Err(damaged(record, &e))),
        Err(e) => Err(e),
    }
}

fn damaged(record: &PartRecord, error: &Error) -> Finding {
    Finding::damage("part-damaged", record.id, error.full_message())
}

fn missing(record: &PartRecord) -> Finding {
    Finding::damage("part-missing", record.id, format!("part {} is not in the store", record.id))
}

/// Content: every part is read, decompressed and hashed, and the rows of every stream are counted and hashed again.
pub async fn content(vault: &Vault, head: &Head, progress: &dyn Progress, shutdown: &Shutdown) -> Result<Report> {
    let (contents, mut report) = match open(vault, head).await? {
        Ok(opened) => opened,
        Err(report) => return Ok(report),
    };
    progress.stage("content", Some(head.counts.plain_bytes));
    let mut pieces: Vec<Vec<(usize, u64, u64)>> = vec![Vec::new(); contents.parts.len()];
    for (stream, record) in contents.streams.iter().enumerate() {
        record.extents.iter().for_each(|e| pieces[e.part as usize].push((stream, e.offset, e.length)));
    }
    let mut sums = vec![Fingerprint::default(); contents.streams.len()];
    let (ahead, hashing) = (Semaphore::new(VERIFY_AHEAD_BYTES), Semaphore::new(processors()));
    let mut reads = futures::stream::iter(contents.parts.iter().zip(&pieces))
        .map(|(record, pieces)| shutdown.guard(check_part(vault, record, pieces, &ahead, &hashing)))
        .buffered(STORE_CONCURRENCY);
    let mut at = 0;
    while let Some(checked) = reads.next().await {
        let record = &contents.parts[at];
        at += 1;
        report.parts += 1;
        report.bytes_read += record.stored;
        progress.advance(record.size);
        match checked? {
            Ok(part_sums) => part_sums.into_iter().for_each(|(stream, sum)| sums[stream].merge(&sum)),
            Err(finding) => report.findings.push(finding),
        }
    }
    drop(reads);
    let mut report = finish(report, &contents);
    let hit: Vec<String> = report.findings.iter().flat_map(|f| f.streams.clone()).collect();
    let whole = contents.streams.iter().zip(&sums).filter(|(s, _)| !hit.contains(&s.name));
    report.findings.extend(whole.filter_map(|(stream, sum)| differing(stream, sum)));
    Ok(report)
}

fn differing(stream: &StreamRecord, sum: &Fingerprint) -> Option<Finding> {
    (stream.fingerprint != *sum).then(|| {
        let text = format!(
            "stream '{}' holds {} rows that are not the {} rows recorded",
            stream.name, sum.rows, stream.fingerprint.rows
        );
        Finding { streams: vec![stream.name.clone()], ..Finding::damage("stream-differs", &stream.name, text) }
    })
}

type PartSums = Vec<(usize, Fingerprint)>;

/// Reads one part and sums the rows of each piece of it. `ahead` bounds the bytes that wait, `hashing` the parts that are in work.
async fn check_part(
    vault: &Vault,
    record: &PartRecord,
    pieces: &[(usize, u64, u64)],
    ahead: &Semaphore,
    hashing: &Semaphore,
) -> Result<Result<PartSums, Finding>> {
    let closed = |e| Error::internal("a bound of the verification is closed").source(e);
    let size = usize::try_from(record.stored).unwrap_or(usize::MAX).clamp(1, VERIFY_AHEAD_BYTES);
    let _room = ahead.acquire_many(size as u32).await.map_err(closed)?;
    let stored = match part_object(vault, record).await? {
        Ok(stored) => stored,
        Err(finding) => return Ok(Err(finding)),
    };
    let _place = hashing.acquire().await.map_err(closed)?;
    let (record, pieces) = (record.clone(), pieces.to_vec());
    blocking(move || match plaintext(&record, &stored)? {
        Ok(plain) => Ok(sums(&record.id, &plain, &pieces)),
        Err(finding) => Ok(Err(finding)),
    })
    .await
}

fn sums(id: &PartId, plain: &[u8], pieces: &[(usize, u64, u64)]) -> Result<PartSums, Finding> {
    let mut sums = Vec::with_capacity(pieces.len());
    for (stream, offset, length) in pieces {
        let (from, to) = (*offset as usize, (offset + length) as usize);
        let rows = &plain[from..to];
        if rows.last() != Some(&b'\n') || (from > 0 && plain[from - 1] != b'\n') {
            let text = format!("a stream begins or ends inside a row of part {id}");
            return Err(Finding::damage("extent-tears-row", *id, text));
        }
        let mut sum = Fingerprint::default();
        sum.add_rows(rows);
        sums.push((*stream, sum));
    }
    Ok(sums)
}

/// The contents, or a report of why they cannot be read.
async fn open(vault: &Vault, head: &Head) -> Result<Result<(Contents, Report), Report>> {
    let contents = match read_contents(vault, head).await {
        Ok(contents) => contents,
        Err(e) if e.kind() == Kind::Integrity => {
            let there = vault.store.head(&vault.layout.contents(&head.backup), false).await;
            let id = if matches!(there, Err(StoreError::NotFound(_))) { "contents-missing" } else { "contents-damaged" };
            let finding = Finding::damage(id, head.backup.clone(), e.full_message());
            return Ok(Err(Report { findings: vec![finding], ..Report::default() }));
        }
        Err(e) => return Err(e),
    };
    let mut report = Report { bytes_read: head.contents.size, ..Report::default() };
    let (plain, stored) = contents.part_bytes();
    let counts = &head.counts;
    if (counts.parts, counts.plain_bytes, counts.stored_bytes) != (contents.parts.len() as u64, plain, stored) {
        let text = "the head counts other parts or bytes than the contents name";
        report.findings.push(Finding::damage("head-differs", head.backup.clone(), text));
    }
    Ok(Ok((contents, report)))
}

/// Names the streams that each damaged part hits, and puts damage first.
fn finish(mut report: Report, contents: &Contents) -> Report {
    let damaged: BTreeMap<String, usize> = report.findings.iter().enumerate().map(|(i, f)| (f.object.clone(), i)).collect();
    if !damaged.is_empty() {
        let numbers: HashMap<u64, usize> =
            contents.parts.iter().enumerate().filter_map(|(n, p)| Some((n as u64, *damaged.get(&p.id.to_string())?))).collect();
        for stream in &contents.streams {
            let mut hit: Vec<usize> = stream.extents.iter().filter_map(|e| numbers.get(&e.part).copied()).collect();
            hit.sort_unstable();
            hit.dedup();
            for finding in hit {
                let finding = &mut report.findings[finding];
                if finding.severity == Severity::Damage {
                    finding.streams.push(stream.name.clone());
                }
            }
        }
    }
    report.findings.sort_by(|a, b| (a.severity, &a.id, &a.object).cmp(&(b.severity, &b.id, &b.object)));
    report
}
