//! Erasing, and proving it: partition tables and signatures quickly, or the whole disk. What was not read back as
//! zeros was not erased.

use super::device::Disk;
use super::gpt::Gpt;
use super::mbr::Mbr;
use ring::rand::{SecureRandom, SystemRandom};
use std::io;

/// What is cleared at both ends of the disk and of each partition: more than any table, superblock or RAID label takes.
const END: u64 = 4 << 20;
/// btrfs keeps copies of its superblock at these places.
const BTRFS_COPIES: [u64; 2] = [64 << 20, 256 << 30];
const SUPERBLOCK: u64 = 8192;
/// Places looked at after a whole disk was erased, beside both ends.
const SAMPLES: u64 = 1024;
const SAMPLE: u64 = 16 * 1024;
const TABLES: u64 = 1 << 20;

/// Why a disk is not clean.
#[derive(Debug, thiserror::Error)]
pub enum WipeError {
    /// The device failed.
    #[error("{disk}: {source}; the disk may be broken or write-protected")]
    Disk {
        /// The disk.
        disk: String,
        /// The kernel's words.
        source: io::Error,
    },
    /// Data is still there.
    #[error(
        "{disk} still shows data at byte {offset} after zeros were written; the disk is broken or lies: replace it"
    )]
    StillThere {
        /// The disk.
        disk: String,
        /// Where.
        offset: u64,
    },
}

/// Clears partition tables (backup included) and the beginnings and ends of all partitions, where file systems, RAID
/// and LVM have their labels, and reads it all back. `seen` are partitions that the kernel knows (offset, length).
///
/// # Errors
/// When the device fails or data stays.
pub fn wipe_metadata(disk: &Disk, seen: &[(u64, u64)]) -> Result<(), WipeError> {
    let failed = |source| WipeError::Disk { disk: disk.name().to_owned(), source };
    let mut areas: Vec<(u64, u64)> = vec![(0, disk.size())];
    areas.extend_from_slice(seen);
    let sector = u64::from(disk.sector());
    // A damaged or foreign table names nothing that can be trusted; the ends go all the same.
    if let Ok(Some(gpt)) = Gpt::read(disk) {
        areas.extend(gpt.partitions().iter().filter_map(|partition| {
            let length = partition.last.checked_sub(partition.first)?.checked_add(1)?;
            Some((partition.first.checked_mul(sector)?, length.checked_mul(sector)?))
        }));
    }
    if let Some(mbr) = Mbr::read(disk).map_err(failed)? {
        areas.extend(mbr.partitions(disk).map_err(failed)?);
    }
    let mut ranges = Vec::new();
    for (start, length) in areas {
        let end = start.saturating_add(length).min(disk.size());
        if start >= end {
            continue;
        }
        ranges.push((start, end.min(start + END)));
        ranges.push((start.max(end.saturating_sub(END)), end));
        for copy in BTRFS_COPIES {
            let at = start.saturating_add(copy);
            if at < end {
                ranges.push((at, end.min(at + SUPERBLOCK)));
            }
        }
    }
    ranges.sort_unstable();
    ranges.dedup();
    for (start, end) in &ranges {
        disk.write_zeros(*start, end - start, |_| {}).map_err(failed)?;
    }
    disk.settle().map_err(failed)?;
    for (start, end) in ranges {
        if !disk.is_zero(start, end - start).map_err(failed)? {
            return Err(WipeError::StillThere { disk: disk.name().to_owned(), offset: start });
        }
    }
    // A partition that something holds cannot vanish from the kernel's view; on the disk it is gone.
    let _ = disk.reread_partitions();
    Ok(())
}

/// Clears only the tables at both ends, so that a half-written image can never boot.
///
/// # Errors
/// The device's.
pub fn wipe_partition_tables(disk: &Disk) -> io::Result<()> {
    let length = TABLES.min(disk.size());
    disk.write_zeros(0, length, |_| {})?;
    disk.write_zeros(disk.size() - length, length, |_| {})?;
    disk.settle()?;
    let _ = disk.reread_partitions();
    Ok(())
}

/// Erases a whole disk. Discard where the device has it, for the sake of flash; then, unless everything looked at
/// reads as zeros, the device's own zeroing or written zeros; then, if data is still seen, written zeros come what
/// may. `progress` hears what is done and bytes. Returns how it was done, for the record.
///
/// # Errors
/// When the device fails, or data is still there in the end.
pub fn erase(disk: &Disk, mut progress: impl FnMut(&str, u64)) -> Result<&'static str, WipeError> {
    let failed = |source| WipeError::Disk { disk: disk.name().to_owned(), source };
    let places = places(disk.size());
    let unclean = |places: &[u64]| -> Result<Option<u64>, WipeError> {
        disk.settle().map_err(failed)?;
        let mut all = vec![(0, END.min(disk.size())), (disk.size().saturating_sub(END), END.min(disk.size()))];
        all.extend(places.iter().map(|place| (*place, SAMPLE.min(disk.size() - place))));
        for (offset, length) in all {
            if !disk.is_zero(offset, length).map_err(failed)? {
                return Ok(Some(offset));
            }
        }
        Ok(None)
    };
    let discarded = disk.discard_all(|done| progress("discarding", done)).map_err(failed)?;
    if discarded && unclean(&places)?.is_none() {
        let _ = disk.reread_partitions();
        return Ok("discarded, reads back as zeros");
    }
    let how = disk.zero(0, disk.size(), |done| progress("zeroing", done)).map_err(failed)?;
    let mut done = match (discarded, how) {
        (true, _) => "discard left data behind, zeroed instead",
        (false, super::Zeroing::Offloaded) => "zeroed by the device",
        (false, super::Zeroing::Written) => "overwritten with zeros",
    };
    if unclean(&places)?.is_some() {
        disk.write_zeros(0, disk.size(), |done| progress("overwriting", done)).map_err(failed)?;
        if let Some(offset) = unclean(&places)? {
            return Err(WipeError::StillThere { disk: disk.name().to_owned(), offset });
        }
        done = "the device's own zeroing left data behind, overwritten with zeros instead";
    }
    let _ = disk.reread_partitions();
    Ok(done)
}

/// Random places, on sector boundaries, that nobody can prepare for.
fn places(size: u64) -> Vec<u64> {
    let mut bytes = vec![0u8; usize::try_from(SAMPLES * 8).unwrap_or(8192)];
    if SystemRandom::new().fill(&mut bytes).is_err() || size < SAMPLE {
        return Vec::new();
    }
    let (words, _) = bytes.as_chunks::<8>();
    let mut places: Vec<u64> =
        words.iter().map(|word| u64::from_le_bytes(*word) % (size - SAMPLE + 1) / 4096 * 4096).collect();
    places.sort_unstable();
    places
}

#[cfg(test)]
mod tests {
    use super::super::device::tests::disk;
    use super::super::gpt::tests::{protective_mbr, table};
    use super::*;

    #[test]
    fn metadata_goes_and_the_rest_stays() {
        let (_folder, disk) = disk(160 << 20, 0xee, 512);
        protective_mbr(&disk);
        let mib = |at: u64| at << 11;
        table(160 << 20, 512, &[(mib(20), mib(40) - 1, "a", [1; 16]), (mib(50), mib(130) - 1, "b", [1; 16])])
            .write(&disk)
            .unwrap();
        wipe_metadata(&disk, &[(140 << 20, 1 << 20)]).unwrap();
        for (offset, length) in [
            (0, END),
            ((160 << 20) - END, END),
            (20 << 20, END),
            ((40 << 20) - END, END),
            (50 << 20, END),
            (140 << 20, 1 << 20),
            ((50 << 20) + (64 << 20), SUPERBLOCK),
        ] {
            assert!(disk.is_zero(offset, length).unwrap(), "{offset}");
        }
        let mut kept = [0u8; 1];
        for at in [6u64 << 20, 30 << 20, 60 << 20, 142 << 20] {
            disk.read_at(at, &mut kept).unwrap();
            assert_eq!(kept, [0xee], "{at}");
        }
        assert!(matches!(Gpt::read(&disk), Ok(None)));
    }

    #[test]
    fn a_damaged_table_is_wiped_too() {
        let (_folder, disk) = disk(16 << 20, 0, 512);
        table(16 << 20, 512, &[]).write(&disk).unwrap();
        disk.write_at(600, &[0xff]).unwrap();
        assert!(Gpt::read(&disk).is_err());
        wipe_metadata(&disk, &[(u64::MAX - 5, 100), (1 << 50, 1)]).unwrap();
        assert!(disk.is_zero(0, END).unwrap() && disk.is_zero((16 << 20) - END, END).unwrap());
    }

    #[test]
    fn everything_goes() {
        let (_folder, disk) = disk((20 << 20) + 512, 0x5a, 512);
        let mut heard = 0;
        let how = erase(&disk, |_, done| heard = done).unwrap();
        assert!(how == "zeroed by the device" || how == "overwritten with zeros", "{how}");
        assert_eq!(heard, disk.size());
        assert!(disk.is_zero(0, disk.size()).unwrap());
    }

    #[test]
    fn half_an_image_cannot_boot() {
        let (_folder, disk) = disk(8 << 20, 0x5a, 512);
        wipe_partition_tables(&disk).unwrap();
        assert!(disk.is_zero(0, TABLES).unwrap() && disk.is_zero((8 << 20) - TABLES, TABLES).unwrap());
        assert!(!disk.is_zero(TABLES, 1).unwrap());
    }
}
