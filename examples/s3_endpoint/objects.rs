//! Objects: their bytes in files, all else in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::http::StatusCode;

use crate::answer::{Refusal, failed};
use crate::digest::hexadecimal;

/// When a write may take place.
pub(crate) enum Condition {
    None,
    Absent,
    Is(String),
}

/// What is known of an object.
#[derive(Clone)]
pub(crate) struct Meta {
    pub(crate) size: u64,
    pub(crate) sha256: [u8; 32],
    pub(crate) etag: String,
    file: u64,
}

/// A page of a listing: keys with size and ETag, common prefixes, where the next page begins.
#[derive(Default)]
pub(crate) struct Page {
    pub(crate) objects: Vec<(String, u64, String)>,
    pub(crate) folders: Vec<String>,
    pub(crate) next: Option<String>,
}

/// All objects of all buckets, under `bucket/key`.
pub(crate) struct Objects {
    directory: PathBuf,
    files: AtomicU64,
    known: Mutex<BTreeMap<String, Meta>>,
    counts: Mutex<BTreeMap<&'static str, u64>>,
}

impl Objects {
    pub(crate) fn new(directory: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(&directory)?;
        Ok(Self { directory, files: AtomicU64::new(0), known: Mutex::default(), counts: Mutex::default() })
    }

    pub(crate) fn count(&self, operation: &'static str) {
        *locked(&self.counts).entry(operation).or_default() += 1;
    }

    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        locked(&self.counts).clone()
    }

    fn path(&self, file: u64) -> PathBuf {
        self.directory.join(file.to_string())
    }

    /// Stores an object if the condition holds; gives its ETag.
    pub(crate) fn put(&self, place: &str, body: &[u8], sha256: [u8; 32], condition: &Condition) -> Result<String, Refusal> {
        let file = self.files.fetch_add(1, Ordering::Relaxed);
        std::fs::write(self.path(file), body).map_err(failed)?;
        // A digest of the content is as good an ETag as S3's, which nobody may read anything into.
        let etag = hexadecimal(&sha256[..16]);
        let meta = Meta { size: body.len() as u64, sha256, etag: etag.clone(), file };
        let mut known = locked(&self.known);
        let holds = match (condition, known.get(place)) {
            (Condition::None, _) | (Condition::Absent, None) => true,
            (Condition::Is(expected), Some(present)) => *expected == present.etag,
            (Condition::Absent, Some(_)) | (Condition::Is(_), None) => false,
        };
        let useless = if holds { known.insert(place.to_owned(), meta).map(|old| old.file) } else { Some(file) };
        drop(known);
        if let Some(file) = useless {
            std::fs::remove_file(self.path(file)).map_err(failed)?;
        }
        match (holds, condition) {
            (true, _) => Ok(etag),
            (false, Condition::Is(_)) if !locked(&self.known).contains_key(place) => Err(no_such_key()),
            _ => Err(Refusal(StatusCode::PRECONDITION_FAILED, "PreconditionFailed", "the condition does not hold".to_owned())),
        }
    }

    /// An object and its open file, which a later write does not change.
    pub(crate) fn open(&self, place: &str) -> Result<(Meta, File), Refusal> {
        let known = locked(&self.known);
        let meta = known.get(place).ok_or_else(no_such_key)?;
        Ok((meta.clone(), File::open(self.path(meta.file)).map_err(failed)?))
    }

    pub(crate) fn remove(&self, place: &str) {
        let removed = locked(&self.known).remove(place);
        if let Some(meta) = removed {
            let _ = std::fs::remove_file(self.path(meta.file));
        }
    }

    /// Keys of `bucket` (with its slash) that begin with `prefix`, behind `token`.
    pub(crate) fn list(&self, bucket: &str, prefix: &str, delimiter: Option<&str>, token: Option<&str>, limit: usize) -> Page {
        let start = format!("{bucket}{prefix}");
        let from = token.map_or(Bound::Included(start.clone()), |token| Bound::Excluded(format!("{bucket}{token}")));
        let (mut page, mut folders, mut last) = (Page::default(), BTreeSet::new(), None);
        let known = locked(&self.known);
        for (place, meta) in known.range((from, Bound::Unbounded)).take_while(|(place, _)| place.starts_with(&start)) {
            let folder =
                delimiter.and_then(|d| place[start.len()..].find(d).map(|at| &place[bucket.len()..start.len() + at + d.len()]));
            // All keys of a folder that was told belong to it, also on the next page.
            if folder.is_some_and(|f| folders.contains(f) || token.is_some_and(|t| t.starts_with(f))) {
                last = Some(place);
                continue;
            }
            if page.objects.len() + folders.len() == limit {
                page.next = last.map(|place: &String| place[bucket.len()..].to_owned());
                break;
            }
            match folder {
                Some(folder) => drop(folders.insert(folder.to_owned())),
                None => page.objects.push((place[bucket.len()..].to_owned(), meta.size, meta.etag.clone())),
            }
            last = Some(place);
        }
        page.folders = folders.into_iter().collect();
        page
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn no_such_key() -> Refusal {
    Refusal(StatusCode::NOT_FOUND, "NoSuchKey", "the key does not exist".to_owned())
}

/// Bytes of an object.
pub(crate) fn read(file: &File, from: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, from)?;
    Ok(bytes)
}
