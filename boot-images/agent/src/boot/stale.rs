//! What somebody leaves in a machine's firmware, and the next one's machine would obey: boot entries of systems that were
//! wiped, of files and of addresses on the net; the entry for the next start alone; drivers and programs that firmware runs
//! before any system (UEFI specification 2.10, chapters 3.1.1 to 3.1.4, 3.3).
//!
//! Kept are entries that lead to a partition that is there, and those that firmware makes for itself: network cards,
//! drives, and what lies in its own flash. Firmware that wants another one back makes it at its next start.

use super::efi::{EfiError, Firmware, boot_name, hard_drive_id, path_of};
use std::collections::HashSet;
use std::io;

/// Kinds of load options beside `Boot####` that firmware runs; a machine that comes from its maker has none.
const BEFORE_ANY_SYSTEM: [&str; 3] = ["Driver", "SysPrep", "OsRecovery"];
/// What says which of them run, and what is booted once.
const ONCE_AND_ORDERS: [&str; 4] = ["BootNext", "DriverOrder", "SysPrepOrder", "OsRecoveryOrder"];

impl Firmware {
    /// Removes what nobody may inherit, and looks whether it is gone. `present`: ids of all partitions of all disks.
    /// Returns the names of what was removed.
    ///
    /// # Errors
    /// When the firmware does not let go of a variable.
    pub fn forget_systems(&self, present: &HashSet<[u8; 16]>) -> Result<Vec<String>, EfiError> {
        let stale = self.stale(present);
        for name in &stale {
            self.remove(name)?;
        }
        let left = self.boot_order();
        let kept: Vec<u16> = left.iter().copied().filter(|number| !stale.contains(&boot_name(*number))).collect();
        if kept != left {
            self.set_boot_order(&kept)?;
        }
        match self.stale(present).into_iter().next() {
            None => Ok(stale),
            Some(name) => Err(EfiError::Variable { name, source: io::Error::other("it is still there") }),
        }
    }

    fn stale(&self, present: &HashSet<[u8; 16]>) -> Vec<String> {
        let entries = self.options("Boot").into_iter();
        let mut stale: Vec<String> = entries
            .filter(|(_, option)| !is_of_the_machine(option, present))
            .map(|(number, _)| boot_name(number))
            .collect();
        for kind in BEFORE_ANY_SYSTEM {
            stale.extend(self.options(kind).into_iter().map(|(number, _)| format!("{kind}{number:04X}")));
        }
        stale.extend(ONCE_AND_ORDERS.into_iter().filter(|name| self.read(name).is_some()).map(str::to_owned));
        stale
    }
}

/// The entry leads to hardware, to firmware's own flash, or to a partition that is there.
fn is_of_the_machine(option: &[u8], present: &HashSet<[u8; 16]>) -> bool {
    if let Some(id) = hard_drive_id(option) {
        return present.contains(&id);
    }
    let Some(mut path) = path_of(option) else { return false };
    loop {
        let [kind, sub, low, high, ..] = *path else { return false };
        let length = usize::from(u16::from_le_bytes([low, high]));
        if length < 4 || path.len() < length {
            return false;
        }
        match (kind, sub) {
            (0x7f, 0xff) => return true,
            // A partition without an id, and a file that is not in firmware's flash (which is 4, 6).
            (4, 1 | 4) => return false,
            // An address; firmware's own entry for HTTP boot leaves it to DHCP.
            (3, 24) if length > 4 => return false,
            _ => path = &path[length..],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::efi::load_option;
    use crate::boot::efi::tests::{foreign, target};
    use proptest::prelude::*;

    const END: [u8; 4] = [0x7f, 0xff, 4, 0];
    const ACPI: [u8; 12] = [2, 1, 12, 0, 0xd0, 0x41, 3, 0x0a, 0, 0, 0, 0];

    fn node(kind: u8, sub: u8, data: &[u8]) -> Vec<u8> {
        let length = u16::try_from(data.len() + 4).unwrap().to_le_bytes();
        [&[kind, sub, length[0], length[1]], data].concat()
    }

    fn entry(nodes: &[Vec<u8>]) -> Vec<u8> {
        foreign("any", &[&ACPI[..], &nodes.concat(), &END].concat())
    }

    fn names(firmware: &Firmware) -> Vec<String> {
        let files = std::fs::read_dir(firmware.folder()).unwrap().flatten();
        let mut names: Vec<_> = files
            .map(|file| file.file_name().to_string_lossy().replace(&format!("-{}", crate::boot::efi::GLOBAL), ""))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_a_user_left_is_gone_and_what_is_the_machines_stays() {
        let folder = tempfile::tempdir().unwrap();
        let firmware = Firmware::in_folder(folder.path());
        let write = |name: &str, data: &[u8]| firmware.write(name, data).unwrap();
        write("Boot0000", &entry(&[node(3, 11, &[0; 33])]));
        write("Boot0001", &entry(&[node(4, 6, &[7; 16])]));
        write("Boot0002", &load_option(&target(1)));
        write("Boot0003", &load_option(&target(2)));
        write("Boot0004", &entry(&[node(3, 24, b"http://192.0.2.1/x.efi")]));
        write("Boot0005", &entry(&[node(3, 24, b"")]));
        write("Boot0006", &entry(&[node(4, 4, b"\\\0x\0\0\0")]));
        write("Boot0007", b"no entry at all");
        write("Driver0001", &entry(&[node(4, 6, &[7; 16])]));
        write("SysPrep0000", &load_option(&target(1)));
        write("BootNext", &[3, 0]);
        write("DriverOrder", &[1, 0]);
        write("BootOrder", &[3, 0, 0, 0, 4, 0, 2, 0, 1, 0, 5, 0]);
        write("Timeout", &[5, 0]);
        let removed = firmware.forget_systems(&HashSet::from([[1; 16]])).unwrap();
        let expected =
            ["Boot0003", "Boot0004", "Boot0006", "Boot0007", "Driver0001", "SysPrep0000", "BootNext", "DriverOrder"];
        assert_eq!(removed, expected);
        let left = ["Boot0000", "Boot0001", "Boot0002", "Boot0005", "BootOrder", "Timeout"];
        assert_eq!(names(&firmware), left);
        assert_eq!(firmware.boot_order(), [0, 2, 1, 5]);
        // Nothing left to do.
        assert_eq!(firmware.forget_systems(&HashSet::from([[1; 16]])).unwrap(), Vec::<String>::new());
    }

    proptest! {
        #[test]
        fn any_entry_is_survived_and_only_a_whole_path_is_kept(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = is_of_the_machine(&bytes, &HashSet::new());
            let path = [&bytes[..], &END].concat();
            // Whatever lies before an end, a partition that is not there is never kept.
            let option = foreign("x", &[&node(4, 1, &[9; 38])[..], &path].concat());
            prop_assert!(!is_of_the_machine(&option, &HashSet::new()));
        }
    }
}
