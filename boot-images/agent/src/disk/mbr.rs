//! The old partition table in the first sector: finding partitions, and adding the config drive's to an MBR image.

use super::device::Disk;
use std::io;

const LINUX: u8 = 0x83;
const PROTECTIVE: u8 = 0xee;
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];
const ALIGNMENT: u64 = 1 << 20;
/// A chain of logical partitions longer than this is damage.
const MAX_LOGICAL: usize = 64;

/// Why no config drive can be added.
#[derive(Debug, thiserror::Error)]
pub enum MbrError {
    /// The disk.
    #[error(transparent)]
    Disk(#[from] io::Error),
    /// Four partitions are in use.
    #[error("the image's partition table (MBR) has no free primary entry for the config drive; use a GPT image")]
    NoEntry,
    /// Partitions reach to the end.
    #[error(
        "there is no room of {needed} bytes for the config drive behind the image's partitions; use a larger disk or a GPT image"
    )]
    NoRoom {
        /// Bytes.
        needed: u64,
    },
}

/// The first sector's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mbr {
    bytes: [u8; 512],
    sector: u64,
}

impl Mbr {
    /// Reads the table. `None`: there is none, or it only protects a GPT, or this is the first sector of a file system.
    ///
    /// # Errors
    /// The disk's.
    pub fn read(disk: &Disk) -> io::Result<Option<Mbr>> {
        let mut bytes = [0u8; 512];
        if disk.size() < 512 {
            return Ok(None);
        }
        disk.read_at(0, &mut bytes)?;
        let mbr = Mbr { bytes, sector: u64::from(disk.sector()) };
        Ok(mbr.is_table(disk.size()).then_some(mbr))
    }

    fn is_table(&self, disk_size: u64) -> bool {
        let entries: Vec<&[u8]> = self.bytes[446..510].chunks_exact(16).collect();
        let proper = |entry: &&[u8]| {
            let (first, count) = span(entry);
            matches!(entry[0], 0 | 0x80)
                && (entry[4] == 0 || (first > 0 && count > 0 && first * self.sector < disk_size))
        };
        self.bytes[510..] == [0x55, 0xaa]
            && entries.iter().all(proper)
            && entries.iter().any(|entry| entry[4] != 0)
            && !entries.iter().any(|entry| entry[4] == PROTECTIVE)
    }

    /// Where the partitions lie, in bytes (offset, length), logical ones included. A damaged chain ends where it breaks.
    ///
    /// # Errors
    /// The disk's.
    pub fn partitions(&self, disk: &Disk) -> io::Result<Vec<(u64, u64)>> {
        let mut found = Vec::new();
        for entry in self.bytes[446..510].chunks_exact(16).filter(|entry| entry[4] != 0) {
            let (first, count) = span(entry);
            found.push((first * self.sector, count * self.sector));
            if EXTENDED.contains(&entry[4]) {
                self.logical(disk, first, &mut found)?;
            }
        }
        Ok(found)
    }

    fn logical(&self, disk: &Disk, extended: u64, found: &mut Vec<(u64, u64)>) -> io::Result<()> {
        let mut at = extended;
        for _ in 0..MAX_LOGICAL {
            let mut bytes = [0u8; 512];
            if (at + 1) * self.sector > disk.size() {
                return Ok(());
            }
            disk.read_at(at * self.sector, &mut bytes)?;
            if bytes[510..] != [0x55, 0xaa] {
                return Ok(());
            }
            if bytes[450] != 0 {
                let (first, count) = span(&bytes[446..462]);
                found.push(((at + first) * self.sector, count * self.sector));
            }
            let (next, _) = span(&bytes[462..478]);
            if bytes[466] == 0 || next == 0 {
                return Ok(());
            }
            at = extended + next;
        }
        Ok(())
    }

    /// Adds a partition for a config drive of `size` bytes at the end of the disk and writes the table. Returns where
    /// it lies in bytes.
    ///
    /// # Errors
    /// When there is no free entry or no room.
    pub fn add_config_partition(&mut self, disk: &Disk, size: u64) -> Result<(u64, u64), MbrError> {
        let needed = size.max(1).div_ceil(ALIGNMENT) * ALIGNMENT;
        // Sector numbers have 32 bits.
        let end = disk.size().min((u64::from(u32::MAX) + 1) * self.sector);
        let start =
            end.checked_sub(needed).map(|start| start / ALIGNMENT * ALIGNMENT).filter(|start| *start >= ALIGNMENT);
        let start = start.ok_or(MbrError::NoRoom { needed })?;
        if self.partitions(disk)?.iter().any(|(at, length)| at + length > start && *at < start + needed) {
            return Err(MbrError::NoRoom { needed });
        }
        let numbers = (u32::try_from(start / self.sector), u32::try_from(needed / self.sector));
        let (Ok(first), Ok(count)) = numbers else { return Err(MbrError::NoRoom { needed }) };
        let free = self.bytes[446..510].chunks_exact_mut(16).find(|entry| entry[4] == 0).ok_or(MbrError::NoEntry)?;
        free.fill(0);
        // Heads and cylinders past what they can say, as is usual for sector numbers.
        free[1..4].copy_from_slice(&[0xfe, 0xff, 0xff]);
        free[4] = LINUX;
        free[5..8].copy_from_slice(&[0xfe, 0xff, 0xff]);
        free[8..12].copy_from_slice(&first.to_le_bytes());
        free[12..16].copy_from_slice(&count.to_le_bytes());
        disk.write_at(0, &self.bytes)?;
        disk.settle()?;
        Ok((start, needed))
    }

    /// The disk's 32-bit signature, by which ironic names the root of an MBR image.
    #[must_use]
    pub fn signature(&self) -> u32 {
        u32::from_le_bytes([self.bytes[440], self.bytes[441], self.bytes[442], self.bytes[443]])
    }
}

/// First sector and number of sectors of an entry.
fn span(entry: &[u8]) -> (u64, u64) {
    let number = |at: usize| u64::from(u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]));
    (number(8), number(12))
}

#[cfg(test)]
mod tests {
    use super::super::device::tests::disk;
    use super::*;
    use proptest::prelude::*;

    fn put(bytes: &mut [u8], kind: u8, first: u32, count: u32) {
        bytes[4] = kind;
        bytes[8..12].copy_from_slice(&first.to_le_bytes());
        bytes[12..16].copy_from_slice(&count.to_le_bytes());
    }

    fn sector(entries: &[(u8, u32, u32)]) -> [u8; 512] {
        let mut bytes = [0u8; 512];
        for (place, (kind, first, count)) in bytes[446..510].chunks_exact_mut(16).zip(entries) {
            put(place, *kind, *first, *count);
        }
        bytes[510] = 0x55;
        bytes[511] = 0xaa;
        bytes
    }

    #[test]
    fn logical_partitions_are_found_and_a_config_drive_is_added() {
        let (_folder, disk) = disk(32 << 20, 0, 512);
        disk.write_at(0, &sector(&[(0x83, 2048, 2048), (0x05, 8192, 8192)])).unwrap();
        disk.write_at(8192 * 512, &sector(&[(0x83, 63, 100), (0x05, 1000, 200)])).unwrap();
        disk.write_at(9192 * 512, &sector(&[(0x83, 63, 50)])).unwrap();
        let mut mbr = Mbr::read(&disk).unwrap().unwrap();
        let found = mbr.partitions(&disk).unwrap();
        assert_eq!(found.len(), 4);
        assert_eq!(found[3], ((9192 + 63) * 512, 50 * 512));
        let (start, length) = mbr.add_config_partition(&disk, 100).unwrap();
        assert_eq!((start, length), (31 << 20, 1 << 20));
        assert_eq!(Mbr::read(&disk).unwrap().unwrap().partitions(&disk).unwrap()[4], (31 << 20, 1 << 20));
    }

    #[test]
    fn no_room_and_no_entry_are_told_and_change_nothing() {
        let (_folder, disk) = disk(32 << 20, 0, 512);
        let full = sector(&[(0x83, 2048, 63488)]);
        disk.write_at(0, &full).unwrap();
        let refused = Mbr::read(&disk).unwrap().unwrap().add_config_partition(&disk, 1);
        assert!(matches!(refused, Err(MbrError::NoRoom { .. })));
        let four = sector(&[(0x83, 2048, 8), (0x83, 2056, 8), (0x83, 2064, 8), (0x83, 2072, 8)]);
        disk.write_at(0, &four).unwrap();
        let refused = Mbr::read(&disk).unwrap().unwrap().add_config_partition(&disk, 1);
        assert!(matches!(refused, Err(MbrError::NoEntry)));
        let mut now = [0u8; 512];
        disk.read_at(0, &mut now).unwrap();
        assert_eq!(now, four);
    }

    proptest! {
        #[test]
        fn any_table_is_survived(mut bytes in proptest::collection::vec(any::<u8>(), 512), kinds in any::<[bool; 4]>(), loops in any::<bool>()) {
            let (_folder, disk) = disk(4 << 20, 0, 512);
            bytes[510] = 0x55;
            bytes[511] = 0xaa;
            for (entry, extended) in bytes[446..510].chunks_exact_mut(16).zip(kinds) {
                entry[0] = 0;
                if extended { put(entry, 0x05, 10, 100); }
            }
            disk.write_at(0, &bytes).unwrap();
            if loops { disk.write_at(10 * 512, &sector(&[(0x83, 1, 1), (0x05, 0x7fff, 1)])).unwrap(); }
            if let Some(mut mbr) = Mbr::read(&disk).unwrap() {
                prop_assert!(mbr.partitions(&disk).unwrap().len() <= 4 * 65);
                let _ = mbr.add_config_partition(&disk, 1000);
            }
        }
    }
}
