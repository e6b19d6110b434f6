//! GUID partition tables (UEFI specification 2.10, chapter 5.3): reading with all checks, moving the backup to the
//! end of a larger disk, and adding the config drive's partition. Everything the table holds that we do not know stays.

use super::device::Disk;
use std::io;

/// Type of an EFI system partition, as it lies on disk: C12A7328-F81F-11D2-BA4B-00A0C93EC93B.
pub const ESP_TYPE: [u8; 16] =
    [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];
/// Type of a Linux file system, as it lies on disk: 0FC63DAF-8483-4772-8E79-3D69D8477DE4.
const LINUX_TYPE: [u8; 16] =
    [0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4];
/// Name of the config drive's partition, which cloud-init looks for.
pub const CONFIG_LABEL: &str = "config-2";

const SIGNATURE: &[u8; 8] = b"EFI PART";
const MAX_ENTRIES_BYTES: u64 = 1 << 20;
const ALIGNMENT: u64 = 1 << 20;

/// Why a table cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GptError {
    /// The disk.
    #[error(transparent)]
    Disk(#[from] io::Error),
    /// The header's or the entries' checksum is wrong, or a field makes no sense.
    #[error("the partition table (GPT) is damaged: {0}")]
    Damaged(&'static str),
    /// The table was made for other sectors.
    #[error(
        "the image's partition table is made for {image}-byte sectors, this disk has {disk}-byte sectors; \
         use an image that is built for {disk}-byte sectors"
    )]
    SectorSize {
        /// Of the image.
        image: u32,
        /// Of the disk.
        disk: u32,
    },
    /// Partitions reach to the end.
    #[error(
        "there is no room of {needed} bytes for the config drive behind the image's partitions; use a larger disk or a smaller image"
    )]
    NoRoom {
        /// Bytes.
        needed: u64,
    },
    /// All entries are used.
    #[error("the partition table has no free entry for the config drive")]
    NoEntry,
}

/// A table, read and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpt {
    header: Vec<u8>,
    entries: Vec<u8>,
    entry_size: usize,
    /// Bytes of the disk's sectors.
    sector: u32,
}

/// One used entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// From 1, as in `/dev/sda1`.
    pub number: u32,
    /// Type, as it lies on disk.
    pub kind: [u8; 16],
    /// The partition's own id, as it lies on disk.
    pub id: [u8; 16],
    /// Name.
    pub label: String,
    /// First sector.
    pub first: u64,
    /// Last sector.
    pub last: u64,
}

/// Whether the first bytes of an image carry a GPT, and for which sectors it was made.
#[must_use]
pub fn has_signature(start: &[u8]) -> Option<u32> {
    [512u32, 4096].into_iter().find(|sector| start.get(*sector as usize..*sector as usize + 8) == Some(SIGNATURE))
}

impl Gpt {
    /// Reads the primary table. `None`: there is none (another kind of table, or nothing).
    ///
    /// # Errors
    /// When there is one that is damaged or made for other sectors.
    pub fn read(disk: &Disk) -> Result<Option<Gpt>, GptError> {
        let mut start = vec![0u8; usize::try_from(disk.size().min(8192)).unwrap_or(8192)];
        disk.read_at(0, &mut start)?;
        match has_signature(&start) {
            None => return Ok(None),
            Some(image) if image != disk.sector() => {
                return Err(GptError::SectorSize { image, disk: disk.sector() });
            }
            Some(_) => {}
        }
        let sector = u64::from(disk.sector());
        let mut header = vec![0u8; disk.sector() as usize];
        disk.read_at(sector, &mut header)?;
        let gpt = Self::check_header(&header, disk.sector(), disk.size())?;
        let mut entries = vec![0u8; gpt.entries.len()];
        disk.read_at(u64_at(&gpt.header, 72) * sector, &mut entries)?;
        if crc32(&entries) != u32_at(&gpt.header, 88) {
            return Err(GptError::Damaged("the checksum of its entries is wrong"));
        }
        Ok(Some(Gpt { entries, ..gpt }))
    }

    fn check_header(bytes: &[u8], sector: u32, disk_size: u64) -> Result<Gpt, GptError> {
        let damaged = GptError::Damaged;
        let size = u32_at(bytes, 12) as usize;
        if bytes.get(..8) != Some(SIGNATURE) || !(92..=bytes.len()).contains(&size) {
            return Err(damaged("its header has the wrong size"));
        }
        let mut plain = bytes[..size].to_vec();
        plain[16..20].fill(0);
        if crc32(&plain) != u32_at(bytes, 16) {
            return Err(damaged("the checksum of its header is wrong"));
        }
        let sectors = disk_size / u64::from(sector);
        let (entries_at, count, entry_size) = (u64_at(bytes, 72), u32_at(bytes, 80), u32_at(bytes, 84));
        let length = u64::from(count) * u64::from(entry_size);
        if !(128..=4096).contains(&entry_size)
            || !entry_size.is_power_of_two()
            || length == 0
            || length > MAX_ENTRIES_BYTES
        {
            return Err(damaged("its entries have an odd size or number"));
        }
        let entries_end = entries_at.checked_add(length.div_ceil(u64::from(sector)));
        if u64_at(bytes, 24) != 1 || entries_at < 2 || entries_end.is_none_or(|end| end > sectors) {
            return Err(damaged("its header points outside the disk"));
        }
        if u64_at(bytes, 40) < entries_end.unwrap_or(u64::MAX) {
            return Err(damaged("its first usable sector lies inside the table"));
        }
        Ok(Gpt {
            header: bytes.to_vec(),
            entries: vec![0; usize::try_from(length).unwrap_or(0)],
            entry_size: entry_size as usize,
            sector,
        })
    }

    /// The used entries, by number.
    #[must_use]
    pub fn partitions(&self) -> Vec<Partition> {
        let used = self.entries.chunks_exact(self.entry_size).zip(1u32..).filter(|(entry, _)| entry[..16] != [0; 16]);
        used.map(|(entry, number)| Partition {
            number,
            kind: array(&entry[..16]),
            id: array(&entry[16..32]),
            label: label_of(&entry[56..128]),
            first: u64_at(entry, 32),
            last: u64_at(entry, 40),
        })
        .collect()
    }

    /// Makes the table one for a disk of `disk_size` bytes: backup in the last sectors, everything before usable.
    ///
    /// # Errors
    /// When a partition reaches into the place of the backup.
    pub fn resize(&mut self, disk_size: u64) -> Result<(), GptError> {
        let sectors = disk_size / u64::from(self.sector);
        let table = self.table_sectors();
        let Some(last_usable) = sectors.checked_sub(table + 2).filter(|last| *last >= u64_at(&self.header, 40)) else {
            return Err(GptError::Damaged("the disk is too small for it"));
        };
        if self.partitions().iter().any(|partition| partition.last > last_usable) {
            return Err(GptError::Damaged("a partition reaches past the end of the disk"));
        }
        put_u64(&mut self.header, 32, sectors - 1);
        put_u64(&mut self.header, 48, last_usable);
        Ok(())
    }

    /// Makes (or finds, by its name) the partition for a config drive of `size` bytes, at the end of the usable
    /// sectors. Returns where it lies in bytes: (offset, length). `id` is the new partition's own id.
    ///
    /// # Errors
    /// When there is no room or no free entry.
    pub fn config_partition(&mut self, size: u64, id: [u8; 16]) -> Result<(u64, u64), GptError> {
        let sector = u64::from(self.sector);
        let partitions = self.partitions();
        let (first_usable, last_usable) = (u64_at(&self.header, 40), u64_at(&self.header, 48));
        if let Some(found) = partitions.iter().find(|partition| partition.label == CONFIG_LABEL) {
            let inside = first_usable <= found.first && found.first <= found.last && found.last <= last_usable;
            let length = ((found.last - found.first.min(found.last)).saturating_add(1)).saturating_mul(sector);
            if inside && length >= size {
                return Ok((found.first.saturating_mul(sector), length));
            }
            return Err(GptError::NoRoom { needed: size });
        }
        let needed = size.max(1).div_ceil(ALIGNMENT) * ALIGNMENT;
        let end = last_usable.checked_add(1).and_then(|end| end.checked_mul(sector));
        let start = end.and_then(|end| end.checked_sub(needed)).map(|start| start / ALIGNMENT * ALIGNMENT);
        let start = start.filter(|start| *start >= first_usable.saturating_mul(sector));
        let start = start.ok_or(GptError::NoRoom { needed })?;
        let (first, last) = (start / sector, (start + needed) / sector - 1);
        if partitions.iter().any(|partition| partition.first <= last && partition.last >= first) {
            return Err(GptError::NoRoom { needed });
        }
        let free = self.entries.chunks_exact_mut(self.entry_size).find(|entry| entry[..16] == [0; 16]);
        let entry = free.ok_or(GptError::NoEntry)?;
        entry.fill(0);
        entry[..16].copy_from_slice(&LINUX_TYPE);
        entry[16..32].copy_from_slice(&id);
        put_u64(entry, 32, first);
        put_u64(entry, 40, last);
        for (place, unit) in entry[56..128].chunks_exact_mut(2).zip(CONFIG_LABEL.encode_utf16()) {
            place.copy_from_slice(&unit.to_le_bytes());
        }
        Ok((start, needed))
    }

    /// Writes backup and primary table, in an order that leaves one whole table at any moment, and fits the
    /// protective MBR's entry to the disk.
    ///
    /// # Errors
    /// The disk's.
    pub fn write(&self, disk: &Disk) -> io::Result<()> {
        let sector = u64::from(self.sector);
        let backup_at = u64_at(&self.header, 32);
        let backup_entries_at = backup_at.saturating_sub(self.table_sectors());
        let mut backup = self.header.clone();
        put_u64(&mut backup, 24, backup_at);
        put_u64(&mut backup, 32, 1);
        put_u64(&mut backup, 72, backup_entries_at);
        disk.write_at(backup_entries_at * sector, &self.entries)?;
        disk.write_at(backup_at * sector, &self.sealed(backup))?;
        disk.settle()?;
        disk.write_at(u64_at(&self.header, 72) * sector, &self.entries)?;
        disk.write_at(sector, &self.sealed(self.header.clone()))?;
        let mut mbr = [0u8; 512];
        disk.read_at(0, &mut mbr)?;
        if mbr[510..] == [0x55, 0xaa]
            && let Some(entry) = mbr[446..510].chunks_exact_mut(16).find(|entry| entry[4] == 0xee)
            && u64::from(u32_at(entry, 8)) == 1
        {
            let length = u32::try_from(backup_at).unwrap_or(u32::MAX);
            entry[12..16].copy_from_slice(&length.to_le_bytes());
            disk.write_at(0, &mbr)?;
        }
        disk.settle()
    }

    /// The header with its checksums made good.
    fn sealed(&self, mut header: Vec<u8>) -> Vec<u8> {
        let size = (u32_at(&header, 12) as usize).clamp(92, header.len());
        header[88..92].copy_from_slice(&crc32(&self.entries).to_le_bytes());
        header[16..20].fill(0);
        let sum = crc32(&header[..size]);
        header[16..20].copy_from_slice(&sum.to_le_bytes());
        header
    }

    fn table_sectors(&self) -> u64 {
        (self.entries.len() as u64).div_ceil(u64::from(self.sector))
    }
}

fn label_of(bytes: &[u8]) -> String {
    let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    let end = units.iter().position(|unit| *unit == 0).unwrap_or(units.len());
    String::from_utf16_lossy(&units[..end])
}

/// Little-endian; zero past the end, which every caller's checks refuse.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

fn array(bytes: &[u8]) -> [u8; 16] {
    bytes.try_into().unwrap_or([0; 16])
}

/// CRC-32 as GPT and gzip use it (reflected, polynomial 0xEDB88320).
#[must_use]
pub fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::device::tests::disk;
    use super::*;
    use proptest::prelude::*;

    /// A table on a disk of `size` bytes with the given partitions (first, last, label, type).
    pub(crate) fn table(size: u64, sector: u32, partitions: &[(u64, u64, &str, [u8; 16])]) -> Gpt {
        let mut header = vec![0u8; sector as usize];
        header[..8].copy_from_slice(SIGNATURE);
        header[8..12].copy_from_slice(&[0, 0, 1, 0]);
        header[12..16].copy_from_slice(&92u32.to_le_bytes());
        put_u64(&mut header, 24, 1);
        let table = 16384u64.div_ceil(u64::from(sector));
        put_u64(&mut header, 40, 2 + table);
        put_u64(&mut header, 72, 2);
        header[80..84].copy_from_slice(&128u32.to_le_bytes());
        header[84..88].copy_from_slice(&128u32.to_le_bytes());
        let mut entries = vec![0u8; 16384];
        for (entry, (number, (first, last, label, kind))) in
            entries.chunks_exact_mut(128).zip(partitions.iter().enumerate())
        {
            entry[..16].copy_from_slice(kind);
            entry[16..32].fill(number as u8 + 1);
            put_u64(entry, 32, *first);
            put_u64(entry, 40, *last);
            for (place, unit) in entry[56..128].chunks_exact_mut(2).zip(label.encode_utf16()) {
                place.copy_from_slice(&unit.to_le_bytes());
            }
        }
        let mut gpt = Gpt { header, entries, entry_size: 128, sector };
        gpt.resize(size).unwrap();
        gpt
    }

    pub(crate) fn protective_mbr(disk: &Disk) {
        let mut mbr = [0u8; 512];
        mbr[440] = 0x77;
        mbr[446 + 4] = 0xee;
        mbr[446 + 8] = 1;
        mbr[446 + 12] = 9;
        mbr[510] = 0x55;
        mbr[511] = 0xaa;
        disk.write_at(0, &mbr).unwrap();
    }

    #[test]
    fn a_small_images_table_grows_with_the_disk() {
        for sector in [512u32, 4096] {
            let (_folder, disk) = disk(64 << 20, 0, sector);
            protective_mbr(&disk);
            let at = (1 << 20) / u64::from(sector);
            let small = table(8 << 20, sector, &[(at, at * 2 - 1, "root", LINUX_TYPE)]);
            small.write(&disk).unwrap();
            let mut gpt = Gpt::read(&disk).unwrap().unwrap();
            assert_eq!(gpt, Gpt::read(&disk).unwrap().unwrap());
            gpt.resize(disk.size()).unwrap();
            let (start, length) = gpt.config_partition(5000, [9; 16]).unwrap();
            assert_eq!((start % (1 << 20), length), (0, 1 << 20));
            assert!(start + length <= (64 << 20) - 16384 - u64::from(sector));
            gpt.write(&disk).unwrap();

            let again = Gpt::read(&disk).unwrap().unwrap();
            let labels: Vec<_> = again.partitions().into_iter().map(|p| (p.number, p.label)).collect();
            assert_eq!(labels, [(1, "root".to_owned()), (2, CONFIG_LABEL.to_owned())]);
            // The backup is whole, in the last sector, and says the same.
            let mut backup = vec![0u8; sector as usize];
            disk.read_at((64 << 20) - u64::from(sector), &mut backup).unwrap();
            assert_eq!(&backup[..8], SIGNATURE);
            let mut plain = backup[..92].to_vec();
            plain[16..20].fill(0);
            assert_eq!(crc32(&plain), u32_at(&backup, 16));
            assert_eq!(u64_at(&backup, 24), (64 << 20) / u64::from(sector) - 1);
            let mut entries = vec![0u8; 16384];
            disk.read_at(u64_at(&backup, 72) * u64::from(sector), &mut entries).unwrap();
            assert_eq!(crc32(&entries), u32_at(&backup, 88));
            // The protective MBR covers the disk and keeps its boot code.
            let mut mbr = [0u8; 512];
            disk.read_at(0, &mut mbr).unwrap();
            assert_eq!(u64::from(u32_at(&mbr, 446 + 12)), (64 << 20) / u64::from(sector) - 1);
            assert_eq!(mbr[440], 0x77);
            // A second time it is found, not made.
            let mut third = again.clone();
            assert_eq!(third.config_partition(4000, [8; 16]).unwrap(), (start, length));
            assert_eq!(third, again);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut full = table(8 << 20, 512, &[(2048, (8 << 11) - 34, "root", LINUX_TYPE)]);
        assert!(matches!(full.config_partition(1, [1; 16]), Err(GptError::NoRoom { .. })));
        let kept = full.clone();
        assert!(full.resize(4 << 20).is_err());
        assert_eq!(full, kept);
    }

    #[test]
    fn sectors_and_damage_are_told() {
        let (_folder, disk) = disk(16 << 20, 0, 4096);
        let mut wrong = vec![0u8; 8192];
        wrong[512..520].copy_from_slice(SIGNATURE);
        disk.write_at(0, &wrong).unwrap();
        assert!(matches!(Gpt::read(&disk), Err(GptError::SectorSize { image: 512, disk: 4096 })));

        let (_folder, disk) = super::super::device::tests::disk(16 << 20, 0, 512);
        assert!(matches!(Gpt::read(&disk), Ok(None)));
        table(16 << 20, 512, &[]).write(&disk).unwrap();
        assert!(Gpt::read(&disk).unwrap().is_some());
        disk.write_at(512 + 60, &[0x5a]).unwrap();
        assert!(matches!(Gpt::read(&disk), Err(GptError::Damaged(_))));
    }

    #[test]
    fn the_checksum_is_the_standard_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    proptest! {
        #[test]
        fn any_header_is_survived(mut bytes in proptest::collection::vec(any::<u8>(), 512), sealed in any::<bool>(), size in 0u32..600) {
            bytes[..8].copy_from_slice(SIGNATURE);
            bytes[12..16].copy_from_slice(&size.to_le_bytes());
            if sealed && (92..=512).contains(&size) {
                bytes[16..20].fill(0);
                let sum = crc32(&bytes[..size as usize]);
                bytes[16..20].copy_from_slice(&sum.to_le_bytes());
            }
            if let Ok(mut gpt) = Gpt::check_header(&bytes, 512, 1 << 30) {
                let _ = gpt.partitions();
                let _ = gpt.resize(1 << 30);
                let _ = gpt.config_partition(1 << 20, [1; 16]);
            }
        }

        #[test]
        fn any_entries_are_survived(
            entries in proptest::collection::vec((any::<u64>(), any::<u64>(), 1u8..3), 1..20),
            disk_size in 0u64..(1 << 40),
            wanted in 0u64..(1 << 27),
        ) {
            let mut gpt = table(1 << 30, 512, &[]);
            for (entry, (first, last, kind)) in gpt.entries.chunks_exact_mut(128).zip(entries) {
                entry[0] = kind;
                put_u64(entry, 32, first);
                put_u64(entry, 40, last);
            }
            let before = gpt.partitions();
            let _ = gpt.resize(disk_size);
            if let Ok((start, length)) = gpt.config_partition(wanted, [1; 16]) {
                prop_assert!(length >= wanted);
                let (first, last) = (start / 512, (start + length) / 512 - 1);
                prop_assert!(before.iter().all(|p| p.label == CONFIG_LABEL || p.first > last || p.last < first));
            }
        }
    }
}
