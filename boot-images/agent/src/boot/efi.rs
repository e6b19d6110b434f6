//! UEFI's boot entries (specification 2.10, chapters 3.1 and 10.3.5.1) through efivarfs: one entry of ours for the
//! disk that was deployed, first in the order; entries of ours and of partitions that are gone are removed.

use super::fat::Fat;
use crate::disk::{Disk, ESP_TYPE, Gpt};
use rustix::fs::IFlags;
use std::collections::HashSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub(super) const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// Non-volatile, for boot services and at run time.
const ATTRIBUTES: u32 = 7;
const ACTIVE: u32 = 1;
/// Every entry of ours begins so.
const OURS: &str = "Leasehold";

/// Why there is no boot entry.
#[derive(Debug, thiserror::Error)]
pub enum EfiError {
    /// A variable could not be read or written.
    #[error(
        "the firmware's variable {name} cannot be changed ({source}); its memory may be full or locked: clear boot entries in the firmware's setup"
    )]
    Variable {
        /// The variable.
        name: String,
        /// The kernel's words.
        source: io::Error,
    },
    /// All 65 536 numbers are taken.
    #[error("the firmware has no free boot entry")]
    Full,
}

/// Where a machine that was booted by UEFI shows its firmware's variables.
#[must_use]
pub fn booted_by_uefi() -> bool {
    Path::new("/sys/firmware/efi").exists()
}

/// Secure Boot is on; `None` when the firmware does not say.
#[must_use]
pub fn secure_boot() -> Option<bool> {
    let variable = fs::read(format!("/sys/firmware/efi/efivars/SecureBoot-{GLOBAL}")).ok()?;
    variable.get(4).map(|value| *value == 1)
}

/// What an entry shall boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Number of the EFI system partition.
    pub partition: u32,
    /// First sector.
    pub first: u64,
    /// Sectors.
    pub sectors: u64,
    /// The partition's own id, as it lies on disk.
    pub id: [u8; 16],
    /// With backslashes, for example `\EFI\BOOT\BOOTX64.EFI`.
    pub loader: String,
}

/// Looks on a deployed disk for its EFI system partition and the loader in it: a distribution's shim, else the
/// default loader, else a distribution's other loader. `None`: this disk does not boot by UEFI.
///
/// # Errors
/// When the partition cannot be read, in words.
pub fn find_loader(disk: &Disk) -> Result<Option<Target>, String> {
    let Some(gpt) = Gpt::read(disk).map_err(|error| error.to_string())? else { return Ok(None) };
    let Some(esp) = gpt.partitions().into_iter().find(|partition| partition.kind == ESP_TYPE) else { return Ok(None) };
    let sector = u64::from(disk.sector());
    let sectors = esp.last.saturating_sub(esp.first).saturating_add(1);
    let fat = Fat::open(disk, esp.first.saturating_mul(sector), sectors.saturating_mul(sector))
        .map_err(|error| error.to_string())?;
    let read = |result: Result<_, super::FatError>| result.map_err(|error| error.to_string());
    let root = read(fat.root())?;
    let Some(efi) = root.iter().find(|entry| entry.is_folder && entry.name == "EFI") else { return Ok(None) };
    let arch = if cfg!(target_arch = "aarch64") { "AA64" } else { "X64" };
    let mut best: Option<(u8, String)> = None;
    for folder in read(fat.folder(efi))?.iter().filter(|entry| entry.is_folder) {
        // One damaged folder does not hide the loader in another.
        for file in fat.folder(folder).unwrap_or_default().iter().filter(|entry| !entry.is_folder) {
            let default = folder.name == "BOOT";
            let rank = if !default && file.name == format!("SHIM{arch}.EFI") {
                0
            } else if default && file.name == format!("BOOT{arch}.EFI") {
                1
            } else if !default && [format!("GRUB{arch}.EFI"), "SYSTEM~1.EFI".to_owned()].contains(&file.name) {
                2
            } else {
                continue;
            };
            if best.as_ref().is_none_or(|(before, _)| rank < *before) {
                best = Some((rank, format!("\\EFI\\{}\\{}", folder.name, file.name)));
            }
        }
    }
    Ok(best.map(|(_, loader)| Target { partition: esp.number, first: esp.first, sectors, id: esp.id, loader }))
}

/// The firmware's variables, at `/sys/firmware/efi/efivars` or, in tests, elsewhere.
#[derive(Debug, Clone)]
pub struct Firmware {
    folder: PathBuf,
}

/// What was done to the boot entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Number of our entry.
    pub entry: u16,
    /// Numbers of entries that were removed.
    pub removed: Vec<u16>,
}

impl Firmware {
    /// The running machine's, if efivarfs is mounted and shows any.
    #[must_use]
    pub fn of_machine() -> Option<Firmware> {
        let folder = PathBuf::from("/sys/firmware/efi/efivars");
        let filled = fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some());
        filled.then_some(Firmware { folder })
    }

    /// Where its variables are.
    #[cfg(test)]
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Variables in a folder.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Firmware {
        Firmware { folder: folder.to_owned() }
    }

    /// Makes our entry for `target` the first, and the only one of ours. Entries on a partition that is not among
    /// `present` (ids of all partitions of all disks) are removed; others keep their order.
    ///
    /// # Errors
    /// When the firmware does not take a variable.
    pub fn boot_from(&self, target: &Target, present: &HashSet<[u8; 16]>) -> Result<Outcome, EfiError> {
        let entries = self.options("Boot");
        let mut removed = Vec::new();
        let mut kept = HashSet::new();
        for (number, option) in &entries {
            let ours = description(option).is_some_and(|text| text.starts_with(OURS));
            let gone = hard_drive_id(option).is_some_and(|id| !present.contains(&id));
            if ours || gone {
                self.remove(&boot_name(*number))?;
                removed.push(*number);
            } else {
                kept.insert(*number);
            }
        }
        let number = (0..=u16::MAX).find(|number| !kept.contains(number)).ok_or(EfiError::Full)?;
        self.write(&boot_name(number), &load_option(target))?;
        let mut order = vec![number];
        let before = self.boot_order();
        for listed in &before {
            if kept.contains(listed) && !order.contains(listed) {
                order.push(*listed);
            }
        }
        if before != order {
            self.set_boot_order(&order)?;
        }
        removed.retain(|removed| *removed != number);
        Ok(Outcome { entry: number, removed })
    }

    /// The load options of a kind (`Boot`, `Driver`, …) by number.
    pub(super) fn options(&self, kind: &str) -> Vec<(u16, Vec<u8>)> {
        let Ok(files) = fs::read_dir(&self.folder) else { return Vec::new() };
        let names = files.flatten().filter_map(|file| file.file_name().into_string().ok());
        let mut options: Vec<_> = names
            .filter_map(|name| {
                let digits = name.strip_suffix(GLOBAL)?.strip_suffix('-')?.strip_prefix(kind)?;
                let number = (digits.len() == 4).then(|| u16::from_str_radix(digits, 16).ok()).flatten()?;
                Some((number, self.read(&format!("{kind}{number:04X}"))?))
            })
            .collect();
        options.sort_by_key(|(number, _)| *number);
        options
    }

    pub(super) fn boot_order(&self) -> Vec<u16> {
        let order = self.read("BootOrder").unwrap_or_default();
        let (pairs, _) = order.as_chunks::<2>();
        pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect()
    }

    pub(super) fn set_boot_order(&self, order: &[u16]) -> Result<(), EfiError> {
        let bytes: Vec<u8> = order.iter().flat_map(|number| number.to_le_bytes()).collect();
        // A variable without content does not exist.
        if bytes.is_empty() { self.remove("BootOrder") } else { self.write("BootOrder", &bytes) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}-{GLOBAL}"))
    }

    pub(super) fn read(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.path(name)).ok()?.get(4..).map(<[u8]>::to_vec)
    }

    pub(super) fn write(&self, name: &str, data: &[u8]) -> Result<(), EfiError> {
        let path = self.path(name);
        make_changeable(&path);
        let mut bytes = ATTRIBUTES.to_le_bytes().to_vec();
        bytes.extend_from_slice(data);
        // efivarfs wants the whole variable in one write, and no truncation before it.
        let written = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(!path.starts_with("/sys"))
            .open(&path)
            .and_then(|mut file| file.write_all(&bytes));
        written.map_err(|source| EfiError::Variable { name: name.to_owned(), source })
    }

    pub(super) fn remove(&self, name: &str) -> Result<(), EfiError> {
        let path = self.path(name);
        make_changeable(&path);
        fs::remove_file(&path).map_err(|source| EfiError::Variable { name: name.to_owned(), source })
    }
}

/// The kernel marks variables immutable against `rm -r`. Where there is no such mark, there is nothing to take off.
fn make_changeable(path: &Path) {
    if let Ok(file) = fs::File::open(path)
        && let Ok(flags) = rustix::fs::ioctl_getflags(&file)
        && flags.contains(IFlags::IMMUTABLE)
    {
        let _ = rustix::fs::ioctl_setflags(&file, flags - IFlags::IMMUTABLE);
    }
}

pub(super) fn boot_name(number: u16) -> String {
    format!("Boot{number:04X}")
}

fn wide(text: &str) -> Vec<u8> {
    text.encode_utf16().chain(std::iter::once(0)).flat_map(u16::to_le_bytes).collect()
}

/// An `EFI_LOAD_OPTION`.
pub(super) fn load_option(target: &Target) -> Vec<u8> {
    let mut drive = vec![4, 1, 42, 0];
    drive.extend_from_slice(&target.partition.to_le_bytes());
    drive.extend_from_slice(&target.first.to_le_bytes());
    drive.extend_from_slice(&target.sectors.to_le_bytes());
    drive.extend_from_slice(&target.id);
    // Table of kind GPT, id of kind GUID.
    drive.extend_from_slice(&[2, 2]);
    let path = wide(&target.loader);
    let length = u16::try_from(path.len() + 4).unwrap_or(u16::MAX);
    let mut file = vec![4, 4];
    file.extend_from_slice(&length.to_le_bytes());
    file.extend_from_slice(&path);
    let device_path = [drive, file, vec![0x7f, 0xff, 4, 0]].concat();
    let mut option = ACTIVE.to_le_bytes().to_vec();
    option.extend_from_slice(&u16::try_from(device_path.len()).unwrap_or(u16::MAX).to_le_bytes());
    option.extend_from_slice(&wide(&format!("{OURS} ({})", target.loader)));
    option.extend_from_slice(&device_path);
    option
}

/// The text that the firmware's menu shows, and where it ends.
fn split_option(option: &[u8]) -> Option<(String, &[u8])> {
    let length = usize::from(u16::from_le_bytes([*option.get(4)?, *option.get(5)?]));
    let (pairs, _) = option.get(6..)?.as_chunks::<2>();
    let units: Vec<u16> = pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
    let end = units.iter().position(|unit| *unit == 0)?;
    let path_at = 6 + (end + 1) * 2;
    Some((String::from_utf16_lossy(&units[..end]), option.get(path_at..path_at.checked_add(length)?)?))
}

fn description(option: &[u8]) -> Option<String> {
    split_option(option).map(|(text, _)| text)
}

/// The device path of an entry; `None`: this is no entry.
pub(super) fn path_of(option: &[u8]) -> Option<&[u8]> {
    split_option(option).map(|(_, path)| path)
}

/// The partition that an entry points to, if it points to one on a GPT disk.
pub(super) fn hard_drive_id(option: &[u8]) -> Option<[u8; 16]> {
    let (_, mut path) = split_option(option)?;
    while let [kind, sub, low, high, ..] = *path {
        let length = usize::from(u16::from_le_bytes([low, high]));
        let node = path.get(..length).filter(|node| node.len() >= 4)?;
        if (kind, sub) == (4, 1) && node.len() == 42 && node[41] == 2 {
            return node[24..40].try_into().ok();
        }
        if kind == 0x7f {
            return None;
        }
        path = &path[length..];
    }
    None
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::boot::fat::tests::{disk_with, image};
    use proptest::prelude::*;

    pub(in crate::boot) fn target(id: u8) -> Target {
        Target { partition: 2, first: 2048, sectors: 4096, id: [id; 16], loader: "\\EFI\\BOOT\\BOOTX64.EFI".into() }
    }

    fn order(firmware: &Firmware) -> Vec<u16> {
        firmware.read("BootOrder").unwrap().chunks(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect()
    }

    pub(in crate::boot) fn foreign(text: &str, path: &[u8]) -> Vec<u8> {
        let mut option = 1u32.to_le_bytes().to_vec();
        option.extend_from_slice(&(path.len() as u16).to_le_bytes());
        option.extend_from_slice(&wide(text));
        option.extend_from_slice(path);
        option
    }

    #[test]
    fn ours_is_first_and_stale_ones_go() {
        let folder = tempfile::tempdir().unwrap();
        let firmware = Firmware::in_folder(folder.path());
        firmware.write("Boot0000", &foreign("UEFI PXEv4", &[2, 1, 4, 0, 0x7f, 0xff, 4, 0])).unwrap();
        firmware.write("Boot0003", &load_option(&target(7))).unwrap();
        let mut gone = load_option(&target(9));
        let at = split_option(&gone).map(|(text, _)| 6 + (text.len() + 1) * 2).unwrap();
        gone = foreign("debian", &gone[at..]);
        firmware.write("Boot0004", &gone).unwrap();
        firmware.write("BootOrder", &[4, 0, 3, 0, 0, 0]).unwrap();

        let outcome = firmware.boot_from(&target(1), &HashSet::from([[1; 16]])).unwrap();
        assert_eq!(outcome, Outcome { entry: 1, removed: vec![3, 4] });
        assert_eq!(order(&firmware), [1, 0]);
        let option = firmware.read("Boot0001").unwrap();
        assert_eq!(description(&option).unwrap(), "Leasehold (\\EFI\\BOOT\\BOOTX64.EFI)");
        assert_eq!(hard_drive_id(&option), Some([1; 16]));
        assert!(firmware.read("Boot0003").is_none() && firmware.read("Boot0004").is_none());

        // Again, for another disk: no entry is left over.
        let outcome = firmware.boot_from(&target(2), &HashSet::from([[1; 16], [2; 16]])).unwrap();
        assert_eq!(outcome, Outcome { entry: 1, removed: vec![] });
        assert_eq!((order(&firmware), firmware.options("Boot").len()), (vec![1, 0], 2));
    }

    #[test]
    fn the_device_path_is_as_specified() {
        let option = load_option(&target(0xaa));
        let (_, path) = split_option(&option).unwrap();
        assert_eq!(path[..4], [4, 1, 42, 0]);
        assert_eq!(path[4..8], [2, 0, 0, 0]);
        assert_eq!(path[8..16], 2048u64.to_le_bytes());
        assert_eq!(path[40..42], [2, 2]);
        assert_eq!(path[42..44], [4, 4]);
        assert_eq!(path[path.len() - 4..], [0x7f, 0xff, 4, 0]);
    }

    #[test]
    fn the_loader_is_found_on_the_disk() {
        use crate::disk::Gpt;
        let fat = image(&[
            ("EFI", "BOOT", "BOOTX64.EFI"),
            ("EFI", "DEBIAN", "SHIMX64.EFI"),
            ("EFI", "DEBIAN", "GRUBX64.EFI"),
        ]);
        let mut bytes = vec![0u8; 16 << 20];
        bytes[2 << 20..(2 << 20) + fat.len()].copy_from_slice(&fat);
        let (_folder, disk) = disk_with(&bytes);
        assert_eq!(find_loader(&disk), Ok(None));
        crate::disk::tests::table(16 << 20, 512, &[(4096, 4096 + 16383, "esp", ESP_TYPE)]).write(&disk).unwrap();
        let found = find_loader(&disk).unwrap().unwrap();
        assert_eq!((found.partition, found.first, found.sectors), (1, 4096, 16384));
        if cfg!(target_arch = "x86_64") {
            assert_eq!(found.loader, "\\EFI\\DEBIAN\\SHIMX64.EFI");
        }
        assert!(Gpt::read(&disk).unwrap().is_some());
    }

    proptest! {
        #[test]
        fn any_entry_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = description(&bytes);
            let _ = hard_drive_id(&bytes);
            let _ = hard_drive_id(&foreign("x", &bytes));
        }
    }
}
