//! The file operations of the folder store, all blocking: read, durable write, delete, and the sentences for their errors.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use crate::base::Error;
use crate::store::{ETag, Key, ObjectMeta, PutMode, StoreError, StoreResult, sha256};

/// Start of every file name that is the store's own.
pub(super) const RESERVED: &str = ".pgkeep-";
/// Start of the names of files that are being written.
pub(super) const TEMPORARY: &str = ".pgkeep-tmp-";
const LOCK: &str = ".pgkeep-lock";
const FILE_MODE: u32 = 0o640;
const FOLDER_MODE: u32 = 0o750;
/// How often a put starts again because a delete removed the empty folder under it.
const FOLDER_TRIES: u32 = 100;

/// A root folder and what is done to files below it.
#[derive(Debug)]
pub(super) struct Files {
    root: PathBuf,
    /// Folders whose names, and those of the folders above them, are durable: each was synced once, and is still the same folder.
    durable: Mutex<HashMap<PathBuf, Identity>>,
}

/// What tells a folder from one that another process made later under its name: device, inode and, where the file system knows it, the time of its
/// making.
type Identity = (u64, u64, Option<SystemTime>);

/// How an attempt to write ended.
enum Written {
    Done,
    Exists,
    Changed,
}

impl Files {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, durable: Mutex::default() }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn describe(&self) -> String {
        url::Url::from_file_path(&self.root).map_or_else(|()| format!("file://{}", self.root.display()), String::from)
    }

    fn path(&self, key: &Key) -> StoreResult<PathBuf> {
        if key.as_str().split('/').any(|segment| segment.starts_with(RESERVED)) {
            return Err(Error::usage(format!(
                "object key '{key}' has a segment that starts with '{RESERVED}', which this store reserves"
            ))
            .into());
        }
        Ok(self.root.join(key.as_str()))
    }

    pub(super) fn read_versioned(&self, key: &Key) -> StoreResult<(Bytes, ETag)> {
        let content = self.read(key)?;
        let etag = etag(&sha256(&content));
        Ok((content, etag))
    }

    pub(super) fn read(&self, key: &Key) -> StoreResult<Bytes> {
        let path = self.path(key)?;
        let read = File::open(&path).and_then(|mut file| {
            let size = file.metadata()?.len();
            let mut content = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
            file.read_to_end(&mut content)?;
            Ok(content)
        });
        match read {
            Ok(content) => Ok(Bytes::from(content)),
            Err(e) if is_absent(&e) => Err(StoreError::NotFound(key.clone())),
            Err(e) => Err(explain("read", &path, e).into()),
        }
    }

    pub(super) fn examine(&self, key: &Key, checksum: bool) -> StoreResult<ObjectMeta> {
        let path = self.path(key)?;
        match digest(&path) {
            Ok((size, sum)) => Ok(ObjectMeta { key: key.clone(), size, etag: Some(etag(&sum)), sha256: checksum.then_some(sum) }),
            Err(e) if is_absent(&e) => Err(StoreError::NotFound(key.clone())),
            Err(e) => Err(explain("read", &path, e).into()),
        }
    }

    pub(super) fn write(&self, key: &Key, body: &[u8], mode: &PutMode) -> StoreResult<()> {
        let path = self.path(key)?;
        for _ in 0..FOLDER_TRIES {
            let written = self.try_write(&path, body, mode);
            if !matches!(written, Ok(Written::Done)) {
                self.remove_empty_folders(&path);
            }
            match written {
                Ok(Written::Done) => return Ok(()),
                Ok(Written::Changed) => return Err(StoreError::Precondition(key.clone())),
                Ok(Written::Exists) if path.is_dir() => {
                    return Err(Error::conflict(format!("'{}' is a folder and cannot be an object too", path.display())).into());
                }
                Ok(Written::Exists) => return Err(StoreError::AlreadyExists(key.clone())),
                // A delete elsewhere removed the folder, empty until then, between its creation and its use.
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(explain("write", &path, e).into()),
            }
        }
        Err(Error::unavailable(format!(
            "cannot write '{}': its folder is removed again and again by another process",
            path.display()
        ))
        .into())
    }

    fn try_write(&self, path: &Path, body: &[u8], mode: &PutMode) -> io::Result<Written> {
        let folder = path.parent().unwrap_or(&self.root);
        let root_is_new = !self.root.exists();
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
        let mut temporary =
            tempfile::Builder::new().prefix(TEMPORARY).permissions(Permissions::from_mode(FILE_MODE)).tempfile_in(folder)?;
        temporary.write_all(body)?;
        temporary.as_file().sync_all()?;
        let written = match mode {
            PutMode::Create => create(temporary, path)?,
            PutMode::Overwrite => self.locked(|| rename(temporary, path))?,
            PutMode::Replace(expected) => self.locked(|| match digest(path) {
                Ok((_, sum)) if etag(&sum) == *expected => rename(temporary, path),
                Ok(_) => Ok(Written::Changed),
                Err(e) if is_absent(&e) => Ok(Written::Changed),
                Err(e) => Err(e),
            })?,
        };
        // Also where the key is taken: the caller will rely on an object whose writer may have been killed before this step.
        if !matches!(written, Written::Changed) {
            self.sync_folders(path, root_is_new)?;
        }
        Ok(written)
    }

    pub(super) fn remove(&self, key: &Key) -> StoreResult<()> {
        let path = self.path(key)?;
        match self.locked(|| fs::remove_file(&path)) {
            // Also when a process that was killed between the two removed the file: its name must be gone durably.
            Err(e) if !is_absent(&e) && !path.is_dir() => return Err(explain("delete", &path, e).into()),
            _ => {}
        }
        self.remove_empty_folders(&path);
        self.sync_folders(&path, false).map_err(|e| explain("delete", &path, e).into())
    }

    /// Runs `work` while no other process or task replaces, overwrites or deletes.
    fn locked<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let lock =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(FILE_MODE).open(self.root.join(LOCK))?;
        while let Err(e) = lock.lock() {
            if e.kind() != ErrorKind::Interrupted {
                return Err(e);
            }
        }
        // The lock ends when the file is closed.
        let result = work();
        drop(lock);
        result
    }

    /// Removes the folders between `path` and the root that hold nothing.
    fn remove_empty_folders(&self, path: &Path) {
        for folder in path.ancestors().skip(1).take_while(|folder| *folder != self.root) {
            match fs::remove_dir(folder) {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(_) => break,
            }
        }
    }

    /// Makes the names on the way from the root to `path` durable; above the root only where the root itself is new.
    fn sync_folders(&self, path: &Path, root_is_new: bool) -> io::Result<()> {
        let mut durable = Vec::new();
        for folder in path.ancestors().skip(1) {
            let above_root = !folder.starts_with(&self.root);
            if above_root && !root_is_new {
                break;
            }
            match sync_folder(folder) {
                Err(e) if above_root && e.kind() == ErrorKind::PermissionDenied => {}
                other => other?,
            }
            if above_root {
                continue;
            }
            // Looked at before the folder above is synced: a name that is given anew meanwhile is then not taken for this one.
            let Some(identity) = identity(folder) else { continue };
            if self.durable().get(folder) == Some(&identity) {
                break;
            }
            durable.push((folder.to_owned(), identity));
        }
        self.durable().extend(durable);
        Ok(())
    }

    fn durable(&self) -> MutexGuard<'_, HashMap<PathBuf, Identity>> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn identity(folder: &Path) -> Option<Identity> {
    let metadata = fs::metadata(folder).ok()?;
    Some((metadata.dev(), metadata.ino(), metadata.created().ok()))
}

/// Makes the names in `folder` durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        // Some network file systems know no sync of folders; a delete elsewhere may have removed an empty one.
        Err(e) if matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported | ErrorKind::NotFound) => Ok(()),
        other => other,
    }
}

fn create(temporary: NamedTempFile, path: &Path) -> io::Result<Written> {
    match temporary.persist_noclobber(path) {
        Ok(_) => Ok(Written::Done),
        Err(e) if e.error.kind() == ErrorKind::AlreadyExists => Ok(Written::Exists),
        Err(e) => Err(e.error),
    }
}

fn rename(temporary: NamedTempFile, path: &Path) -> io::Result<Written> {
    temporary.persist(path).map(|_| Written::Done).map_err(|e| e.error)
}

pub(super) fn etag(sum: &[u8; 32]) -> ETag {
    use std::fmt::Write as _;
    ETag(sum.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

/// Size and SHA-256 of a file, read in small pieces.
fn digest(path: &Path) -> io::Result<(u64, [u8; 32])> {
    let mut file = File::open(path)?;
    let (mut hasher, mut size, mut piece) = (Sha256::new(), 0, vec![0; 128 << 10]);
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok((size, hasher.finalize().into())),
            Ok(n) => {
                hasher.update(&piece[..n]);
                size += n as u64;
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Whether the error says that no file has the name: a folder is no object, and below a file there is none.
fn is_absent(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory)
}

/// The error of `verb` on `path` as a sentence with a hint.
pub(super) fn explain(verb: &str, path: &Path, e: io::Error) -> Error {
    let path = path.display();
    match e.kind() {
        ErrorKind::StorageFull => Error::denied(format!("no space left on the disk of '{path}'"))
            .hint("free space there or give the store another folder; what was stored before is untouched"),
        ErrorKind::QuotaExceeded => {
            Error::denied(format!("the disk quota for '{path}' is used up")).hint("raise the quota or free space")
        }
        ErrorKind::PermissionDenied => Error::denied(format!("not permitted to {verb} '{path}'"))
            .hint("run pgkeep as the user who owns the store's folder, or give this user access to it"),
        ErrorKind::ReadOnlyFilesystem => Error::denied(format!("cannot {verb} '{path}': its file system is read-only"))
            .hint("mount it read-write; a disk error may have caused this"),
        ErrorKind::InvalidFilename => Error::usage(format!("cannot {verb} '{path}': the file system does not take this name")),
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
            Error::conflict(format!("cannot {verb} '{path}': a part of this path is a file, not a folder"))
        }
        ErrorKind::IsADirectory => Error::conflict(format!("cannot {verb} '{path}': it is a folder")),
        ErrorKind::TimedOut | ErrorKind::StaleNetworkFileHandle | ErrorKind::ResourceBusy | ErrorKind::WouldBlock => {
            Error::unavailable(format!("cannot {verb} '{path}' now")).source(e)
        }
        ErrorKind::Unsupported => Error::unsupported(format!("cannot {verb} '{path}': the file system lacks locks or renames"))
            .hint("keep the store on a local disk or a file system that has them")
            .source(e),
        _ => Error::denied(format!("cannot {verb} '{path}'")).source(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Kind;

    #[test]
    fn a_full_disk_is_named_with_its_place_and_a_way_out() {
        let enospc = io::Error::from_raw_os_error(28);
        let e = explain("write", Path::new("/mnt/backups/x"), enospc);
        assert_eq!((e.kind(), e.message()), (Kind::Denied, "no space left on the disk of '/mnt/backups/x'"));
        assert!(e.hint_text().is_some_and(|hint| hint.contains("free space")));
    }

    #[test]
    fn an_object_and_a_folder_cannot_share_a_name() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let files = Files::new(dir.path().to_owned());
        let key = |text: &str| text.parse::<Key>().expect("key");
        files.write(&key("a/b"), b"1", &PutMode::Create).expect("write");
        for mode in [PutMode::Create, PutMode::Overwrite] {
            let below = Error::from(files.write(&key("a/b/c"), b"2", &mode).expect_err("below a file"));
            assert!(below.message().contains("is a file, not a folder"), "{below:?}");
            let above = Error::from(files.write(&key("a"), b"2", &mode).expect_err("in place of a folder"));
            assert!(above.message().contains("folder"), "{above:?}");
        }
        files.remove(&key("a")).expect("deleting what is no object");
        assert_eq!(&files.read(&key("a/b")).expect("read")[..], b"1");
    }

    #[test]
    fn the_names_of_the_store_itself_are_no_keys() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let files = Files::new(dir.path().to_owned());
        let e = files.write(&"a/.pgkeep-tmp-1".parse().expect("key"), b"", &PutMode::Create).expect_err("reserved");
        assert!(e.to_string().contains("reserves"), "{e}");
    }

    #[test]
    fn a_folder_that_was_made_anew_is_not_taken_for_the_one_whose_name_is_durable() {
        let root = tempfile::tempdir().expect("folder");
        let files = Files::new(root.path().to_owned());
        let put = |key: &str| {
            let key: Key = key.parse().expect("key");
            assert!(files.write(&key, b"x", &PutMode::Create).is_ok());
        };
        let known = || -> Vec<(PathBuf, Option<Identity>)> {
            let mut all: Vec<_> = files.durable().iter().map(|(path, id)| (path.clone(), Some(*id))).collect();
            all.sort();
            all
        };
        let there = || -> Vec<(PathBuf, Option<Identity>)> {
            ["", "a", "a/b"].iter().map(|name| root.path().join(name)).map(|path| (path.clone(), identity(&path))).collect()
        };
        put("a/b/1");
        assert_eq!(known(), there());
        let before = there();
        std::fs::rename(root.path().join("a"), root.path().join("elsewhere")).expect("move away");
        put("a/b/2");
        assert_ne!(there(), before);
        assert_eq!(known(), there());
    }
}
