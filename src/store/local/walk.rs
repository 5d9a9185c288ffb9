//! Listing of a folder store in key order, one folder in memory at a time for each level.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use jiff::Timestamp;

use super::files::{Files, RESERVED, TEMPORARY, explain, sync_folder};
use crate::base::clock::elapsed;
use crate::base::limits::TEMPORARY_MAX_AGE;
use crate::store::{Key, ObjectMeta, StoreResult};

/// A listing in progress.
#[derive(Debug)]
pub(super) struct Walk {
    /// What is still to be visited, the next one last.
    rest: Vec<Entry>,
    /// Keys up to this text are left out.
    after: String,
}

#[derive(Debug)]
enum Entry {
    Object(ObjectMeta),
    /// Key prefix of a folder, empty or ending in `/`.
    Folder(String),
}

impl Entry {
    /// Text that orders entries of one folder as the keys at and below them are ordered.
    fn text(&self) -> &str {
        match self {
            Self::Object(meta) => meta.key.as_str(),
            Self::Folder(prefix) => prefix,
        }
    }

    /// Whether a key of this entry can come after the text.
    fn reaches_past(&self, after: &str) -> bool {
        self.text() > after || matches!(self, Self::Folder(prefix) if after.starts_with(prefix.as_str()))
    }
}

impl Walk {
    /// All keys below `prefix` that come after the text `after`.
    pub(super) fn below(prefix: &str, after: &str) -> Self {
        Self { rest: vec![Entry::Folder(prefix.to_owned())], after: after.to_owned() }
    }

    /// The next object, if it is known without reading a folder.
    pub(super) fn ready(&mut self) -> Option<ObjectMeta> {
        match self.rest.pop()? {
            Entry::Object(meta) => Some(meta),
            folder @ Entry::Folder(_) => {
                self.rest.push(folder);
                None
            }
        }
    }

    /// The next object in key order; reads folders.
    pub(super) fn next(&mut self, files: &Files, now: Timestamp) -> StoreResult<Option<ObjectMeta>> {
        while let Some(entry) = self.rest.pop() {
            match entry {
                Entry::Object(meta) => return Ok(Some(meta)),
                Entry::Folder(prefix) => {
                    let entries = read_folder(files, &prefix, now)?;
                    let wanted = entries.into_iter().rev().filter(|entry| entry.reaches_past(&self.after));
                    self.rest.extend(wanted);
                }
            }
        }
        Ok(None)
    }
}

/// Names of the folders directly below `prefix` that hold an object at any depth, in order.
pub(super) fn folders(files: &Files, prefix: &str, now: Timestamp) -> StoreResult<Vec<String>> {
    let mut names = Vec::new();
    for entry in read_folder(files, prefix, now)? {
        if let Entry::Folder(folder) = entry
            && Walk::below(&folder, "").next(files, now)?.is_some()
        {
            names.push(folder[prefix.len()..].trim_end_matches('/').to_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn read_folder(files: &Files, prefix: &str, now: Timestamp) -> StoreResult<Vec<Entry>> {
    let path = files.root().join(prefix);
    let mut entries = match try_read_folder(&path, prefix, now) {
        Ok(entries) => entries,
        // No such folder, or removed meanwhile: it holds no objects.
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(Vec::new()),
        // The root of a mounted disk holds a folder that only its administrator may read.
        Err(e) if e.kind() == ErrorKind::PermissionDenied && prefix == "lost+found/" => return Ok(Vec::new()),
        Err(e) => return Err(explain("list", &path, e).into()),
    };
    entries.sort_by(|a, b| a.text().cmp(b.text()));
    Ok(entries)
}

fn try_read_folder(path: &Path, prefix: &str, now: Timestamp) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for item in fs::read_dir(path)? {
        let item = item?;
        let Ok(name) = item.file_name().into_string() else { continue };
        if name.starts_with(RESERVED) {
            if name.starts_with(TEMPORARY) {
                remove_if_abandoned(&item.path(), now);
            }
            continue;
        }
        let Ok(key) = format!("{prefix}{name}").parse::<Key>() else { continue };
        // Follows symbolic links, as reading and writing through them does.
        match fs::metadata(item.path()) {
            Ok(m) if m.is_dir() => entries.push(Entry::Folder(format!("{key}/"))),
            Ok(m) if m.is_file() => entries.push(Entry::Object(ObjectMeta { key, size: m.len(), etag: None, sha256: None })),
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    // Whoever lists relies on what is listed, also when its writer was killed before it could sync the folder.
    sync_folder(path)?;
    Ok(entries)
}

/// Removes a temporary that a killed process left. Failing is harmless: it is no part of any listing.
fn remove_if_abandoned(path: &Path, now: Timestamp) {
    let modified = fs::metadata(path).and_then(|m| m.modified()).ok().and_then(|t| Timestamp::try_from(t).ok());
    if modified.is_some_and(|modified| elapsed(modified, now) > TEMPORARY_MAX_AGE)
        && let Err(error) = fs::remove_file(path)
    {
        tracing::debug!(path = %path.display(), %error, "cannot remove an abandoned temporary file");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::{Clock as _, SystemClock, add};
    use std::time::Duration;

    #[test]
    fn temporaries_are_never_listed_and_removed_only_when_old() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let temporary = dir.path().join("parts/.pgkeep-tmp-x");
        fs::create_dir(dir.path().join("parts")).expect("folder");
        fs::write(&temporary, "half").expect("write");
        fs::write(dir.path().join("parts/whole"), "whole").expect("write");
        let files = Files::new(dir.path().to_owned());
        let list = |now| {
            let (mut walk, mut keys) = (Walk::below("", ""), Vec::new());
            while let Some(meta) = walk.next(&files, now).expect("list") {
                keys.push(meta.key.to_string());
            }
            keys
        };
        let now = SystemClock.now();
        assert_eq!(list(now), ["parts/whole"]);
        assert!(temporary.exists(), "a young temporary may be in use");
        assert_eq!(list(add(now, TEMPORARY_MAX_AGE + Duration::from_secs(60))), ["parts/whole"]);
        assert!(!temporary.exists(), "an abandoned temporary is removed");
    }
}
