//! Whether a disk holds an image, byte by byte, apart from what a deployment may change.
//!
//! It may change: the size in the protective MBR, the partition table's header (it names where its backup is), free
//! entries of the table (the config drive's partition gets one), the place where the image had its backup table, and
//! the config drive itself. Everything else must be the image's bytes.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::gpt::{self, SECTOR, Table};

/// The result of a comparison that found no difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// Bytes compared.
    pub compared: u64,
    /// Bytes left out, each with its reason.
    pub excluded: Vec<(&'static str, u64)>,
}

impl std::fmt::Display for Comparison {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} bytes equal; not compared:", self.compared)?;
        for (index, (what, length)) in self.excluded.iter().enumerate() {
            write!(formatter, "{} {what} ({length} bytes)", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// Compares the disk with the raw image that was deployed on it.
///
/// # Errors
/// The first difference, a broken partition table on the disk, or a partition that the image does not know apart
/// from one (the config drive).
pub fn compare(image: &Path, disk: &Path) -> Result<Comparison> {
    let open = |path: &Path| File::open(path).with_context(|| format!("{} cannot be read", path.display()));
    let (image, disk) = (open(image)?, open(disk)?);
    let size = image.metadata()?.len();
    if disk.metadata()?.len() < size {
        bail!("the disk is smaller than the image");
    }
    let wanted = gpt::read(&image, 1).context("the image")?;
    let found = gpt::read(&disk, 1).context("the disk")?;
    let last = gpt::last_sector(&disk)?;
    let backup = gpt::read(&disk, last).context("the backup partition table at the disk's end")?;
    if found.other != last || backup.partitions != found.partitions {
        bail!("the disk's partition table and its backup do not belong together");
    }
    let drive = config_drive(&wanted, &found)?;

    let mut holes: Vec<(&'static str, Range<u64>)> = vec![
        // The boot code before it and the signature after it are the image's.
        ("the protective MBR's entry", 446..462),
        ("the partition table's header", SECTOR..2 * SECTOR),
    ];
    let used = wanted.partitions.iter().map(|partition| u64::from(partition.number)).max().unwrap_or(0);
    let entry = wanted.partitions.first().map_or(128, |partition| partition.entry.len() as u64);
    holes.push(("free entries of the table", wanted.entries.start + used * entry..wanted.entries.end));
    let moved = gpt::read(&image, wanted.other).context("the image's backup partition table")?;
    holes.push(("the place of the image's backup table", moved.entries.start..(wanted.other + 1) * SECTOR));
    if let Some(drive) = drive {
        holes.push(("the config drive", drive.start.min(size)..drive.end.min(size)));
    }
    holes.sort_by_key(|(_, range)| range.start);

    let mut compared = 0;
    let mut position = 0;
    for (_, hole) in &holes {
        if hole.start > position {
            compared += equal(&image, &disk, position..hole.start)?;
        }
        position = position.max(hole.end);
    }
    compared += equal(&image, &disk, position..size)?;
    let excluded = holes.into_iter().map(|(what, range)| (what, range.end - range.start)).filter(|hole| hole.1 > 0);
    Ok(Comparison { compared, excluded: excluded.collect() })
}

/// The one partition of the disk that the image does not have. The others must be the image's, entry for entry.
fn config_drive<'a>(wanted: &Table, found: &'a Table) -> Result<Option<&'a gpt::Partition>> {
    for partition in &wanted.partitions {
        if !found.partitions.contains(partition) {
            bail!("partition {} ({}) is not on the disk as the image has it", partition.number, partition.name);
        }
    }
    let mut further = found.partitions.iter().filter(|partition| !wanted.partitions.contains(partition));
    let drive = further.next();
    if let Some(other) = further.next() {
        bail!("the disk has a partition {} ({}) of which nothing is known", other.number, other.name);
    }
    if let Some(drive) = drive
        && wanted.partitions.iter().any(|other| drive.start < other.end && other.start < drive.end)
    {
        bail!("the config drive's partition overlaps one of the image");
    }
    Ok(drive)
}

fn equal(image: &File, disk: &File, range: Range<u64>) -> Result<u64> {
    const CHUNK: u64 = 1 << 20;
    let (mut left, mut right) = (vec![0; CHUNK as usize], vec![0; CHUNK as usize]);
    let mut position = range.start;
    while position < range.end {
        let length = CHUNK.min(range.end - position) as usize;
        image.read_exact_at(&mut left[..length], position)?;
        disk.read_exact_at(&mut right[..length], position)?;
        if let Some(offset) = left[..length].iter().zip(&right[..length]).position(|(one, other)| one != other) {
            bail!("the disk differs from the image at byte {}", position + offset as u64);
        }
        position += length as u64;
    }
    Ok(range.end.saturating_sub(range.start))
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE_SIZE: u64 = 1 << 20;
    const DISK_SIZE: u64 = 4 << 20;

    struct Bench {
        _folder: tempfile::TempDir,
        image: std::path::PathBuf,
        disk: std::path::PathBuf,
    }

    /// An image with two partitions, and a disk on which it was deployed with a config drive.
    fn bench() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let (image, disk) = (folder.path().join("image"), folder.path().join("disk"));
        let content: Vec<u8> = (0..IMAGE_SIZE).map(|index| (index % 251) as u8).collect();
        std::fs::write(&image, &content).unwrap();
        std::fs::write(&disk, &content).unwrap();
        let open = |path| File::options().read(true).write(true).open(path).unwrap();
        gpt::tests::write(&open(&image), &[(64, 127), (128, 1900)]);
        open(&disk).write_all_at(&std::fs::read(&image).unwrap(), 0).unwrap();
        open(&disk).set_len(DISK_SIZE).unwrap();
        gpt::tests::write(&open(&disk), &[(64, 127), (128, 1900), (4000, 5000)]);
        Bench { _folder: folder, image, disk }
    }

    impl Bench {
        fn change(&self, position: u64) {
            let disk = File::options().read(true).write(true).open(&self.disk).unwrap();
            let mut byte = [0];
            disk.read_exact_at(&mut byte, position).unwrap();
            disk.write_all_at(&[byte[0] ^ 1], position).unwrap();
        }
        fn compare(&self) -> Result<Comparison> {
            compare(&self.image, &self.disk)
        }
    }

    #[test]
    fn a_deployed_image_is_recognized() {
        let result = bench().compare().unwrap();
        let excluded: u64 = result.excluded.iter().map(|hole| hole.1).sum();
        assert_eq!(result.compared + excluded, IMAGE_SIZE);
        // Header and MBR entry, free entries, and the 33 sectors of the old backup; the config drive lies beyond.
        assert_eq!(excluded, 512 + 16 + 126 * 128 + 33 * 512);
        assert!(result.to_string().contains("protective MBR"));
    }

    #[test]
    fn one_changed_byte_is_found_anywhere_else() {
        for position in [0, 445, 510, 2 * 512, 34 * 512, 64 * 512, 128 * 512 + 77, 1900 * 512 + 511, 1901 * 512] {
            let bench = bench();
            bench.change(position);
            assert!(bench.compare().is_err(), "a change at {position} went unseen");
        }
        let bench = bench();
        bench.change(450);
        bench.compare().unwrap();
    }

    #[test]
    fn strange_partitions_are_named() {
        let bench = bench();
        let disk = File::options().read(true).write(true).open(&bench.disk).unwrap();
        gpt::tests::write(&disk, &[(64, 127), (128, 1900), (4000, 5000), (6000, 7000)]);
        assert!(bench.compare().unwrap_err().to_string().contains("nothing is known"));
        gpt::tests::write(&disk, &[(64, 127), (128, 1800)]);
        assert!(bench.compare().unwrap_err().to_string().contains("partition 2"));
    }
}
