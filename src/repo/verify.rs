//! Verification without a server: presence (no download) and content. Findings are collected; nothing stops at the first.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use super::codec::unpack;
use super::contents::{Contents, PartRecord, StreamRecord};
use super::format::Checksum;
use super::head::Head;
use super::index::{blocking, list_parts};
use super::reader::{read_contents, read_part};
use super::vault::Vault;
use crate::base::fingerprint::Fingerprint;
use crate::base::ids::PartId;
use crate::base::limits::STORE_CONCURRENCY;
use crate::base::progress::Progress;
use crate::base::shutdown::Shutdown;
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

/// Presence: every object that the backup names is in the store with its recorded size and, where the store can tell without a download, its
/// checksum. A part that differs is read: stored anew with the same content, it is worth a warning only.
pub async fn presence(vault: &Vault, head: &Head, progress: &dyn Progress, shutdown: &Shutdown) -> Result<Report> {
    let (contents, mut report) = match open(vault, head).await? {
        Ok(opened) => opened,
        Err(report) => return Ok(report),
    };
    let listed: HashMap<PartId, u64> = list_parts(vault).await?.into_iter().collect();
    progress.stage("presence", Some(head.counts.plain_bytes));
    let checks = contents.parts.iter().map(|record| {
        let listed = listed.get(&record.id).copied();
        async move {
            let found = shutdown.guard(present(vault, record, listed)).await;
            progress.advance(record.size);
            found
        }
    });
    let mut checks = futures::stream::iter(checks).buffer_unordered(STORE_CONCURRENCY);
    while let Some(found) = checks.next().await {
        report.parts += 1;
        report.findings.extend(found?);
    }
    Ok(finish(report, &contents))
}

async fn present(vault: &Vault, record: &PartRecord, listed: Option<u64>) -> Result<Option<Finding>> {
    let Some(stored) = listed else {
        return Ok(Some(missing(record)));
    };
    let sha256 = match vault.store.head(&vault.layout.part(&record.id), true).await {
        Ok(meta) => meta.sha256.map(Checksum),
        Err(StoreError::NotFound(_)) => return Ok(Some(missing(record))),
        Err(StoreError::Other(e)) if e.kind() == Kind::Integrity => return Ok(Some(damaged(record, &e))),
        Err(e) => return Err(Error::from(e)).context(|| format!("look at part {}", record.id)),
    };
    if stored == record.stored && sha256.is_none_or(|sum| sum == record.sha256) {
        return Ok(None);
    }
    Ok(Some(match part_content(vault, record).await? {
        Ok(_) => Finding::warning(
            "part-differs",
            record.id,
            format!("part {} is whole, but stored otherwise than recorded", record.id),
        ),
        Err(finding) => finding,
    }))
}

/// The part's plaintext, or the finding that it has none.
async fn part_content(vault: &Vault, record: &PartRecord) -> Result<Result<Bytes, Finding>> {
    let stored = match read_part(vault, record).await {
        Ok(Some(stored)) => stored,
        Ok(None) => return Ok(Err(missing(record))),
        // The store itself saw that the object is not what was put there.
        Err(e) if e.kind() == Kind::Integrity => return Ok(Err(damaged(record, &e))),
        Err(e) => return Err(e),
    };
    let (id, size) = (record.id, record.size);
    match blocking(move || unpack(&id, &stored, Some(size))).await {
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
    // Two at a time: one is on its way while the other is hashed.
    let mut reads = futures::stream::iter(contents.parts.iter().zip(&pieces))
        .map(|(record, pieces)| shutdown.guard(check_part(vault, record, pieces)))
        .buffered(2);
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

/// Reads one part and sums the rows of each piece of it.
async fn check_part(vault: &Vault, record: &PartRecord, pieces: &[(usize, u64, u64)]) -> Result<Result<PartSums, Finding>> {
    let plain = match part_content(vault, record).await? {
        Ok(plain) => plain,
        Err(finding) => return Ok(Err(finding)),
    };
    let (id, pieces) = (record.id, pieces.to_vec());
    blocking(move || {
        let mut sums = Vec::with_capacity(pieces.len());
        for (stream, offset, length) in pieces {
            let rows = &plain[offset as usize..(offset + length) as usize];
            if rows.last() != Some(&b'\n') || (offset > 0 && plain[offset as usize - 1] != b'\n') {
                return Ok(Err(Finding::damage(
                    "extent-tears-row",
                    id,
                    format!("a stream begins or ends inside a row of part {id}"),
                )));
            }
            let (mut sum, mut from) = (Fingerprint::default(), 0);
            for newline in memchr::memchr_iter(b'\n', rows) {
                sum.add(&rows[from..=newline]);
                from = newline + 1;
            }
            sums.push((stream, sum));
        }
        Ok(Ok(sums))
    })
    .await
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
