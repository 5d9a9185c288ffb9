//! Which EBS volumes hold a directory of this machine.
//!
//! `/proc/self/mountinfo` tells the device of the mount, `/sys/dev/block` what it is made of (partitions, LVM, RAID), and NVMe devices of EC2 say in
//! their serial number which volume they are. Older instances name their devices as the attachment does.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::base::{Error, Result, ResultExt as _};

/// What of EBS is under a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Under {
    /// A volume.
    Volume(String),
    /// A device by the name of its attachment, without `/dev/`: `xvdf` is attached at `/dev/sdf` or `/dev/xvdf` of this instance.
    Device(String),
}

/// What lies under a directory, and where nobody could look.
#[derive(Debug, Default)]
pub struct Found {
    /// Volumes and devices.
    pub under: BTreeSet<Under>,
    /// Folders that may not be read: whether they lead to other volumes is not known.
    pub unread: Vec<PathBuf>,
}

/// The volumes that hold `directory`, what is mounted below it, and what data directories of PostgreSQL in it keep elsewhere by links: WAL and tablespaces.
pub fn under(directory: &Path) -> Result<Found> {
    under_in(Path::new("/"), directory)
}

/// The id of the instance that this is, from its metadata service.
pub async fn own_instance() -> Result<String> {
    let client = aws_config::imds::Client::builder().build();
    let id = client.get("/latest/meta-data/instance-id").await.map_err(|e| {
        Error::unavailable("ask the instance metadata service which instance this is")
            .source(e)
            .hint("pgkeep must run on the instance; name it with instance_id elsewhere, or let containers reach the service (hop limit 2)")
    })?;
    Ok(id.as_ref().trim().to_owned())
}

fn under_in(root: &Path, directory: &Path) -> Result<Found> {
    let mounts = fs::read_to_string(root.join("proc/self/mountinfo"))
        .map_err(|e| Error::unsupported("/proc/self/mountinfo cannot be read").source(e))?;
    let mounts: Vec<Mount> = mounts.lines().filter_map(Mount::parse).collect();
    let real = real(root, directory)?;
    let mut found = Found::default();
    let links = links(&root.join(real.strip_prefix("/").unwrap_or(&real)), &mut found.unread);
    let elsewhere = links.iter().map(|link| self::real(root, link)).collect::<Result<Vec<PathBuf>>>()?;
    for place in std::iter::once(&real).chain(&elsewhere) {
        let shown = place.display();
        let holding = mounts.iter().filter(|m| place.starts_with(&m.point)).max_by_key(|m| m.point.components().count());
        let mount = holding.ok_or_else(|| Error::unsupported(format!("no mount of this machine holds {shown}")))?;
        let block = block(root, mount).map_err(|e| {
            Error::unsupported(format!("{shown} lies on {} ({}), which is no block device", mount.source, mount.kind))
                .source(e)
                .hint("name the instance or the volumes in the policy; in a container, mount the host's directory")
        })?;
        descend(&block, &mut found.under).context(|| format!("look what {shown} lies on"))?;
    }
    for mount in mounts.iter().filter(|m| m.point != real && m.point.starts_with(&real)) {
        // What has no block device holds no data: a tmpfs, for example.
        if let Ok(block) = block(root, mount) {
            descend(&block, &mut found.under).context(|| format!("look what {} lies on", mount.point.display()))?;
        }
    }
    Ok(found)
}

fn block(root: &Path, mount: &Mount) -> std::io::Result<PathBuf> {
    fs::canonicalize(root.join("sys/dev/block").join(&mount.device))
}

/// `path` without links, as seen from `root`.
fn real(root: &Path, path: &Path) -> Result<PathBuf> {
    let below = path.strip_prefix(root).or_else(|_| path.strip_prefix("/")).unwrap_or(path);
    let real = fs::canonicalize(root.join(below)).map_err(|e| {
        let shown = path.display();
        match e.kind() {
            std::io::ErrorKind::PermissionDenied => Error::denied(format!("{shown} may not be looked at")).source(e),
            _ => Error::not_found(format!("{shown} is not on this machine")).source(e),
        }
    })?;
    Ok(Path::new("/").join(real.strip_prefix(fs::canonicalize(root).unwrap_or_default()).unwrap_or(&real)))
}

/// Levels below the directory that are looked through for data directories: `/var/lib/postgresql/17/main` is the third below `/var/lib`.
const LEVELS: u32 = 3;

/// The links by which data directories in `folder` keep WAL and tablespaces elsewhere.
fn links(folder: &Path, unread: &mut Vec<PathBuf>) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![(folder.to_owned(), 0)]);
    while let Some((folder, level)) = open.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            unread.push(folder);
            continue;
        };
        let entries: Vec<fs::DirEntry> = entries.flatten().collect();
        if entries.iter().any(|e| e.file_name() == "PG_VERSION") {
            let spaces = fs::read_dir(folder.join("pg_tblspc")).into_iter().flatten().flatten().map(|e| e.path());
            found.extend(std::iter::once(folder.join("pg_wal")).chain(spaces).filter(|path| path.is_symlink()));
        } else if level < LEVELS {
            let below = entries.iter().filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
            open.extend(below.map(|e| (e.path(), level + 1)));
        }
    }
    found
}

/// A line of mountinfo, proc(5).
struct Mount {
    device: String,
    point: PathBuf,
    kind: String,
    source: String,
}

impl Mount {
    fn parse(line: &str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let fields: Vec<&str> = before.split(' ').collect();
        let mut after = after.split(' ');
        Some(Self {
            device: (*fields.get(2)?).to_owned(),
            point: PathBuf::from(unescape(fields.get(4)?)),
            kind: after.next()?.to_owned(),
            source: unescape(after.next()?),
        })
    }
}

/// Octal escapes of space, tab, newline and backslash.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |t, (from, to)| t.replace(from, to))
}

/// From a block device in sysfs down to whole disks.
fn descend(block: &Path, found: &mut BTreeSet<Under>) -> Result<()> {
    let name = block.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    if block.join("partition").exists() {
        let disk = block.parent().ok_or_else(|| Error::internal(format!("partition {name} lies on nothing")))?;
        return descend(disk, found);
    }
    let slaves: Vec<PathBuf> = fs::read_dir(block.join("slaves"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|e| fs::canonicalize(e.path()).ok())
        .collect();
    if !slaves.is_empty() {
        return slaves.iter().try_for_each(|slave| descend(slave, found));
    }
    let serial = fs::read_to_string(block.join("device/serial")).unwrap_or_default();
    if let Some(digits) = serial.trim().strip_prefix("vol") {
        found.insert(Under::Volume(format!("vol-{}", digits.trim_start_matches('-'))));
        return Ok(());
    }
    if name.starts_with("xvd") || name.starts_with("sd") {
        found.insert(Under::Device(name));
        return Ok(());
    }
    Err(Error::unsupported(format!("device {name} is no EBS volume: it has no serial number of the form vol…"))
        .hint("instance store and network file systems have no snapshots in EBS"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with a disk that has a partition, and a logical volume over two disks.
    fn machine() -> tempfile::TempDir {
        use std::os::unix::fs::symlink;
        let root = tempfile::tempdir().expect("folder");
        let at = |path: &str| root.path().join(path);
        for folder in ["var/lib/pg data/base", "srv", "proc/self", "sys/dev/block", "sys/devices/nvme1/nvme1n1/nvme1n1p1"] {
            fs::create_dir_all(at(folder)).expect("folder");
        }
        fs::write(at("sys/devices/nvme1/nvme1n1/nvme1n1p1/partition"), "1\n").expect("write");
        for (disk, serial) in [("nvme1", "vol0123456789abcdef0"), ("nvme2", "vol0aaa"), ("nvme3", "vol0bbb")] {
            fs::create_dir_all(at(&format!("sys/devices/{disk}/{disk}n1/device"))).expect("folder");
            fs::write(at(&format!("sys/devices/{disk}/{disk}n1/device/serial")), format!("{serial}   \n")).expect("write");
        }
        fs::create_dir_all(at("sys/devices/virtual/dm-0/slaves")).expect("folder");
        for disk in ["nvme2", "nvme3"] {
            symlink(at(&format!("sys/devices/{disk}/{disk}n1")), at(&format!("sys/devices/virtual/dm-0/slaves/{disk}n1")))
                .expect("link");
        }
        symlink(at("sys/devices/nvme1/nvme1n1/nvme1n1p1"), at("sys/dev/block/259:1")).expect("link");
        symlink(at("sys/devices/virtual/dm-0"), at("sys/dev/block/253:0")).expect("link");
        let mounts = "21 1 0:20 / / rw - overlay overlay rw\n\
                      22 21 259:1 / /var/lib/pg\\040data rw,relatime shared:1 - ext4 /dev/nvme1n1p1 rw\n\
                      23 21 253:0 / /srv rw - xfs /dev/mapper/data rw\n";
        fs::write(at("proc/self/mountinfo"), mounts).expect("write");
        root
    }

    #[test]
    fn a_directory_lies_on_volumes_through_partitions_and_logical_volumes() {
        let machine = machine();
        let volumes = |path: &str| under_in(machine.path(), Path::new(path)).map(|f| f.under.into_iter().collect::<Vec<_>>());
        let volume = |id: &str| Under::Volume(id.to_owned());
        assert_eq!(volumes("/var/lib/pg data/base").expect("partition"), [volume("vol-0123456789abcdef0")]);
        assert_eq!(volumes("/srv").expect("logical volume"), [volume("vol-0aaa"), volume("vol-0bbb")]);
        let overlay = volumes("/var/lib").expect_err("a container's layer");
        assert!(overlay.message().contains("overlay"), "{overlay}");
        assert_eq!(volumes("/nowhere").expect_err("not there").kind().exit_code(), 7);
    }

    #[test]
    fn wal_and_tablespaces_on_other_volumes_belong_to_a_data_directory() {
        use std::os::unix::fs::symlink;
        let machine = machine();
        let at = |path: &str| machine.path().join(path);
        fs::create_dir_all(at("var/lib/pg data/17/main/pg_tblspc")).expect("folder");
        fs::write(at("var/lib/pg data/17/main/PG_VERSION"), "17\n").expect("write");
        let volumes = || under_in(machine.path(), Path::new("/var/lib/pg data")).expect("volumes").under.len();
        assert_eq!(volumes(), 1);
        symlink("../../../../../../srv", at("var/lib/pg data/17/main/pg_tblspc/16400")).expect("link");
        assert_eq!(volumes(), 3, "the tablespace's two disks, too");
        fs::remove_file(at("var/lib/pg data/17/main/pg_tblspc/16400")).expect("remove");
        symlink("../../../../../srv", at("var/lib/pg data/17/main/pg_wal")).expect("link");
        assert_eq!(volumes(), 3);
        fs::remove_file(at("var/lib/pg data/17/main/pg_wal")).expect("remove");
        let mounts = fs::read_to_string(at("proc/self/mountinfo")).expect("read");
        let more = "24 22 253:0 / /var/lib/pg\\040data/17/main/pg_wal rw - xfs /dev/mapper/data rw\n25 22 0:33 / /var/lib/pg\\040data/tmp rw - tmpfs tmpfs rw\n";
        fs::write(at("proc/self/mountinfo"), mounts + more).expect("write");
        assert_eq!(volumes(), 3, "a mount below counts, and one without a device does not");
    }
}
