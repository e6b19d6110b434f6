//! Reading a GUID partition table, as far as the comparison of a disk with its image needs it (UEFI 2.10, section 5.3).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, bail};

/// Sector size of the rack's disks.
pub const SECTOR: u64 = 512;
const ENTRY_SIZES: std::ops::RangeInclusive<u32> = 128..=4096;
const MOST_ENTRIES: u32 = 1024;

/// A used entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its number, from 1, as in the device's name.
    pub number: u32,
    /// The entry as it stands on the disk.
    pub entry: Vec<u8>,
    /// First byte.
    pub start: u64,
    /// The byte after its last one.
    pub end: u64,
    pub name: String,
}

/// A table whose checksums are right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Sector of this header.
    pub header: u64,
    /// Sector of the other one.
    pub other: u64,
    /// Where the entries stand, bytes.
    pub entries: std::ops::Range<u64>,
    pub partitions: Vec<Partition>,
}

/// Reads the table whose header is in sector `header`.
///
/// # Errors
/// When there is none, or a checksum is wrong.
pub fn read(disk: &File, header: u64) -> Result<Table> {
    let sector = bytes(disk, header * SECTOR, SECTOR as usize).context("the partition table's header")?;
    parse_header(&sector, header)?.read_entries(disk)
}

/// The sector of the last header, where the backup belongs.
///
/// # Errors
/// When the size cannot be read.
pub fn last_sector(disk: &File) -> io::Result<u64> {
    Ok(disk.metadata()?.len() / SECTOR - 1)
}

fn bytes(disk: &File, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; length];
    disk.read_exact_at(&mut buffer, offset)?;
    Ok(buffer)
}

struct Header {
    own: u64,
    other: u64,
    entries: u64,
    count: u32,
    size: u32,
    checksum: u32,
}

fn parse_header(sector: &[u8], position: u64) -> Result<Header> {
    let u32_at = |offset: usize| -> Result<u32> {
        let field = sector.get(offset..offset + 4).context("the header is cut")?;
        Ok(u32::from_le_bytes(field.try_into()?))
    };
    let u64_at = |offset: usize| -> Result<u64> {
        let field = sector.get(offset..offset + 8).context("the header is cut")?;
        Ok(u64::from_le_bytes(field.try_into()?))
    };
    if sector.get(..8) != Some(b"EFI PART") {
        bail!("there is no partition table in sector {position}");
    }
    let size = u32_at(12)? as usize;
    let mut own = sector.get(..size).filter(|_| size >= 92).context("the header's size is wrong")?.to_vec();
    own[16..20].fill(0);
    if crc32(&own) != u32_at(16)? {
        bail!("the checksum of the partition table's header in sector {position} is wrong");
    }
    let header = Header {
        own: u64_at(24)?,
        other: u64_at(32)?,
        entries: u64_at(72)?,
        count: u32_at(80)?,
        size: u32_at(84)?,
        checksum: u32_at(88)?,
    };
    if header.own != position {
        bail!("the header in sector {position} says it is in sector {}", header.own);
    }
    if header.count > MOST_ENTRIES || !ENTRY_SIZES.contains(&header.size) {
        bail!("the partition table has {} entries of {} bytes", header.count, header.size);
    }
    Ok(header)
}

impl Header {
    fn read_entries(self, disk: &File) -> Result<Table> {
        let start = self.entries.checked_mul(SECTOR).context("the entries are beyond any disk")?;
        let length = self.count as usize * self.size as usize;
        let array = bytes(disk, start, length).context("the partition table's entries")?;
        if crc32(&array) != self.checksum {
            bail!("the checksum of the partition table's entries is wrong");
        }
        let mut partitions = Vec::new();
        for (number, entry) in (1..).zip(array.chunks_exact(self.size as usize)) {
            if entry[..16].iter().any(|byte| *byte != 0) {
                partitions.push(partition(number, entry)?);
            }
        }
        Ok(Table { header: self.own, other: self.other, entries: start..start + length as u64, partitions })
    }
}

fn partition(number: u32, entry: &[u8]) -> Result<Partition> {
    let first = u64::from_le_bytes(entry[32..40].try_into()?);
    let last = u64::from_le_bytes(entry[40..48].try_into()?);
    let end = last.checked_add(1).and_then(|sectors| sectors.checked_mul(SECTOR)).filter(|_| first <= last);
    let end = end.with_context(|| format!("partition {number} reaches from sector {first} to {last}"))?;
    let units: Vec<_> = entry[56..128].chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    let name = String::from_utf16_lossy(&units).trim_end_matches('\0').to_owned();
    Ok(Partition { number, entry: entry.to_vec(), start: first * SECTOR, end, name })
}

/// CRC-32 as Ethernet's and zip's.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Writes a table with `partitions` (first and last sector) to both ends of a file.
    pub(crate) fn write(disk: &File, partitions: &[(u64, u64)]) {
        let last = last_sector(disk).unwrap();
        let mut array = vec![0_u8; 128 * 128];
        for (index, (first, end)) in partitions.iter().enumerate() {
            let entry = &mut array[index * 128..(index + 1) * 128];
            entry[..32].fill(index as u8 + 1);
            entry[32..40].copy_from_slice(&first.to_le_bytes());
            entry[40..48].copy_from_slice(&end.to_le_bytes());
            entry[56] = b'a' + index as u8;
        }
        for (own, other, entries) in [(1, last, 2), (last, 1, last - 32)] {
            let mut sector = vec![0_u8; 512];
            sector[..8].copy_from_slice(b"EFI PART");
            sector[8..12].copy_from_slice(&0x0001_0000_u32.to_le_bytes());
            sector[12..16].copy_from_slice(&92_u32.to_le_bytes());
            sector[24..32].copy_from_slice(&u64::to_le_bytes(own));
            sector[32..40].copy_from_slice(&u64::to_le_bytes(other));
            sector[72..80].copy_from_slice(&u64::to_le_bytes(entries));
            sector[80..84].copy_from_slice(&128_u32.to_le_bytes());
            sector[84..88].copy_from_slice(&128_u32.to_le_bytes());
            sector[88..92].copy_from_slice(&crc32(&array).to_le_bytes());
            let checksum = crc32(&sector[..92]);
            sector[16..20].copy_from_slice(&checksum.to_le_bytes());
            disk.write_all_at(&sector, own * SECTOR).unwrap();
            disk.write_all_at(&array, entries * SECTOR).unwrap();
        }
    }

    #[test]
    fn crc_of_the_check_string() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn both_tables_are_read() {
        let disk = tempfile::tempfile().unwrap();
        disk.set_len(1 << 20).unwrap();
        write(&disk, &[(64, 127), (128, 1000)]);
        let table = read(&disk, 1).unwrap();
        assert_eq!(table.partitions[1].start, 128 * 512);
        assert_eq!(table.partitions[1].end, 1001 * 512);
        assert_eq!(table.partitions[1].name, "b");
        let backup = read(&disk, last_sector(&disk).unwrap()).unwrap();
        assert_eq!(backup.partitions, table.partitions);
        assert_eq!((backup.header, backup.other), (table.other, table.header));
        disk.write_all_at(&[9], 2 * SECTOR + 40).unwrap();
        assert!(read(&disk, 1).unwrap_err().to_string().contains("checksum"));
    }

    proptest! {
        #[test]
        fn any_header_is_answered(mut sector in proptest::collection::vec(any::<u8>(), 0..600), size in 0_u32..600) {
            let _ = parse_header(&sector, 1);
            if sector.len() >= 92 {
                sector[..8].copy_from_slice(b"EFI PART");
                sector[12..16].copy_from_slice(&size.to_le_bytes());
                let _ = parse_header(&sector, 1);
            }
        }
    }
}
