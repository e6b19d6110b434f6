//! The config drive: found by its label, mounted read-only.
//!
//! In: the kernel's list of block devices and their first bytes. Out: files of the drive.
//! The label `config-2` may be a FAT volume label (upper case there), an ISO 9660 volume identifier, or the name of a
//! GPT partition. A drive on the disk that holds the root comes first: it was written with this very system.
//! Sizes are bounded: a document that is larger than any real one is refused, not read.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::mount::{MountFlags, UnmountFlags};

const LABEL: &str = "config-2";
/// Where the drive is mounted while it is read.
const MOUNT_POINT: &str = "/run/leasehold/config-drive";
/// Bytes of a document at most.
const DOCUMENT_LIMIT: u64 = 4 << 20;

/// A device that carries the label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Its device file.
    pub(crate) device: String,
    /// The kernel's names of the file systems to try, in order.
    file_systems: Vec<&'static str>,
}

/// A mounted config drive; unmounted when dropped.
pub(crate) struct Mounted {
    device: String,
    folder: PathBuf,
}

/// All devices that carry the label, those on the root's disk first. Devices that cannot be read are passed over.
pub(crate) fn find(class: &Path, devices: &Path, root: &str) -> Vec<Candidate> {
    let mut names: Vec<String> = fs::read_dir(class)
        .map(|entries| entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
        .unwrap_or_default();
    let root_disk = disk_of(class, root.rsplit('/').next().unwrap_or_default());
    names.sort_by_key(|name| (disk_of(class, name) != root_disk, name.clone()));
    names.into_iter().filter_map(|name| candidate(class, devices, &name)).collect()
}

/// The name of the disk a partition is on; the disk's own name for a disk.
fn disk_of(class: &Path, name: &str) -> String {
    let path = class.join(name);
    if !path.join("partition").exists() {
        return name.to_owned();
    }
    // In sysfs a partition's folder lies in its disk's.
    let real = path.canonicalize().ok();
    let parent = real.as_deref().and_then(Path::parent).and_then(Path::file_name);
    parent.map_or_else(|| name.to_owned(), |parent| parent.to_string_lossy().into_owned())
}

fn candidate(class: &Path, devices: &Path, name: &str) -> Option<Candidate> {
    let size = fs::read_to_string(class.join(name).join("size")).ok()?;
    if size.trim() == "0" {
        return None;
    }
    let path = devices.join(name);
    let device = path.to_string_lossy().into_owned();
    let mut file = File::open(&path).ok()?;
    let file_systems = if is_fat_with_label(&mut file).unwrap_or(false) {
        vec!["vfat"]
    } else if is_iso_with_label(&mut file).unwrap_or(false) {
        vec!["iso9660"]
    } else if has_partition_name(class, name) {
        vec!["vfat", "iso9660"]
    } else {
        return None;
    };
    Some(Candidate { device, file_systems })
}

fn has_partition_name(class: &Path, name: &str) -> bool {
    let text = fs::read_to_string(class.join(name).join("uevent")).unwrap_or_default();
    text.lines().filter_map(|line| line.strip_prefix("PARTNAME=")).any(|label| label.eq_ignore_ascii_case(LABEL))
}

/// A FAT boot sector with our label: at 43 for FAT12 and FAT16, at 71 for FAT32 (fatgen103, boot sector structures).
fn is_fat_with_label(device: &mut (impl Read + Seek)) -> io::Result<bool> {
    let sector = read_at(device, 0, 512)?;
    let labelled = |type_at: usize, label_at: usize| {
        sector[type_at..].starts_with(b"FAT") && is_label(&sector[label_at..label_at + 11])
    };
    Ok(sector[510..] == [0x55, 0xaa] && (labelled(54, 43) || labelled(82, 71)))
}

/// An ISO 9660 primary volume descriptor in sector 16 with our identifier (ECMA-119, 8.4).
fn is_iso_with_label(device: &mut (impl Read + Seek)) -> io::Result<bool> {
    let sector = read_at(device, 16 * 2048, 72)?;
    Ok(sector.starts_with(b"\x01CD001") && is_label(&sector[40..72]))
}

/// Labels are padded with spaces, and FAT's are in upper case.
fn is_label(bytes: &[u8]) -> bool {
    bytes.trim_ascii_end().eq_ignore_ascii_case(LABEL.as_bytes())
}

fn read_at(device: &mut (impl Read + Seek), offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    device.seek(SeekFrom::Start(offset))?;
    device.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Mounts the drive read-only.
pub(crate) fn mount(candidate: &Candidate) -> Result<Mounted> {
    let folder = PathBuf::from(MOUNT_POINT);
    fs::create_dir_all(&folder)?;
    let flags = MountFlags::RDONLY | MountFlags::NOEXEC | MountFlags::NODEV | MountFlags::NOSUID;
    let mut last = None;
    for kind in &candidate.file_systems {
        match rustix::mount::mount(candidate.device.as_str(), &folder, *kind, flags, None) {
            Ok(()) => return Ok(Mounted { device: candidate.device.clone(), folder }),
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) => Err(error).with_context(|| format!("{} cannot be mounted", candidate.device)),
        None => bail!("{} has no file system that is known", candidate.device),
    }
}

impl Mounted {
    /// The device file of the drive.
    pub(crate) fn device(&self) -> &str {
        &self.device
    }

    /// The contents of a file, none when it does not exist.
    pub(crate) fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        read_document(&self.folder.join(path))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // The drive is read-only: what stays mounted harms nothing, and there is nobody to tell.
        let _ = rustix::mount::unmount(&self.folder, UnmountFlags::DETACH);
    }
}

fn read_document(path: &Path) -> Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let mut bytes = Vec::new();
    file.take(DOCUMENT_LIMIT + 1).read_to_end(&mut bytes).with_context(|| format!("cannot read {}", path.display()))?;
    if bytes.len() as u64 > DOCUMENT_LIMIT {
        bail!("{} is larger than {DOCUMENT_LIMIT} bytes", path.display());
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;

    use super::*;

    fn fat16(label: &[u8; 11]) -> Vec<u8> {
        let mut sector = vec![0; 512];
        sector[43..54].copy_from_slice(label);
        sector[54..62].copy_from_slice(b"FAT16   ");
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        sector
    }

    fn iso(label: &str) -> Vec<u8> {
        let mut image = vec![0; 17 * 2048];
        image[32768..32774].copy_from_slice(b"\x01CD001");
        image[32808..32840].copy_from_slice(format!("{label:32}").as_bytes());
        image
    }

    #[test]
    fn labels_are_recognized_in_their_file_systems() {
        assert!(is_fat_with_label(&mut Cursor::new(fat16(b"CONFIG-2   "))).unwrap());
        assert!(is_fat_with_label(&mut Cursor::new(fat16(b"config-2   "))).unwrap());
        assert!(!is_fat_with_label(&mut Cursor::new(fat16(b"CONFIG-22  "))).unwrap());
        let mut fat32 = vec![0; 512];
        fat32[71..82].copy_from_slice(b"CONFIG-2   ");
        fat32[82..90].copy_from_slice(b"FAT32   ");
        fat32[510..].copy_from_slice(&[0x55, 0xaa]);
        assert!(is_fat_with_label(&mut Cursor::new(fat32)).unwrap());
        assert!(is_iso_with_label(&mut Cursor::new(iso("config-2"))).unwrap());
        assert!(!is_iso_with_label(&mut Cursor::new(iso("other"))).unwrap());
        assert!(is_iso_with_label(&mut Cursor::new(vec![0; 100])).is_err());
    }

    /// A pretended /sys/class/block and /dev.
    struct Machine {
        folder: tempfile::TempDir,
    }

    impl Machine {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            for name in ["class", "dev", "devices"] {
                fs::create_dir(folder.path().join(name)).unwrap();
            }
            Self { folder }
        }

        fn add(&self, disk: &str, partition: Option<&str>, uevent: &str, data: &[u8]) {
            let mut path = self.folder.path().join("devices").join(disk);
            fs::create_dir_all(&path).unwrap();
            let name = partition.unwrap_or(disk);
            if let Some(partition) = partition {
                path = path.join(partition);
                fs::create_dir(&path).unwrap();
                fs::write(path.join("partition"), "1\n").unwrap();
            }
            fs::write(path.join("uevent"), uevent).unwrap();
            fs::write(path.join("size"), if data.is_empty() { "0\n" } else { "2048\n" }).unwrap();
            fs::write(self.folder.path().join("dev").join(name), data).unwrap();
            symlink(&path, self.folder.path().join("class").join(name)).unwrap();
        }

        fn find(&self, root: &str) -> Vec<String> {
            find(&self.folder.path().join("class"), &self.folder.path().join("dev"), root)
                .into_iter()
                .map(|found| format!("{} {}", found.device.rsplit('/').next().unwrap(), found.file_systems.join(",")))
                .collect()
        }
    }

    #[test]
    fn drives_on_the_roots_own_disk_come_first() {
        let machine = Machine::new();
        machine.add("sda", None, "", &fat16(b"CONFIG-2   "));
        machine.add("sr0", None, "", &iso("config-2"));
        machine.add("vda", None, "", &[0; 512]);
        machine.add("vda", Some("vda3"), "PARTNAME=leasehold-root\n", &[0; 512]);
        machine.add("vda", Some("vda4"), "DEVNAME=vda4\nPARTNAME=config-2\n", &[0; 512]);
        machine.add("loop0", None, "", &[]);
        assert_eq!(machine.find("/dev/vda3"), ["vda4 vfat,iso9660", "sda vfat", "sr0 iso9660"]);
        assert_eq!(machine.find("/dev/sda"), ["sda vfat", "sr0 iso9660", "vda4 vfat,iso9660"]);
    }

    #[test]
    fn a_machine_without_a_drive_has_none() {
        let machine = Machine::new();
        machine.add("vda", None, "", &[0; 40000]);
        assert!(machine.find("").is_empty());
    }

    #[test]
    fn a_document_is_read_bounded() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read_document(&folder.path().join("none")).unwrap(), None);
        let path = folder.path().join("large");
        File::create(&path).unwrap().set_len(DOCUMENT_LIMIT + 1).unwrap();
        assert!(read_document(&path).unwrap_err().to_string().contains("is larger than"));
    }

    proptest! {
        #[test]
        fn any_device_is_looked_at_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..1024)) {
            let _ = is_fat_with_label(&mut Cursor::new(&bytes));
            let _ = is_iso_with_label(&mut Cursor::new(&bytes));
        }
    }
}
