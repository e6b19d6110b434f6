//! FAT12/16/32, read only and by short names (every loader's path has them, and firmware finds files by them): enough
//! to see which boot loaders an EFI system partition holds. The bytes come from a stranger's image: every chain is
//! bounded, nothing is trusted.

use crate::disk::Disk;
use std::io;

const MAX_DIRECTORY: u64 = 2 << 20;

/// Why a partition cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FatError {
    /// The disk.
    #[error(transparent)]
    Disk(#[from] io::Error),
    /// Not FAT, or damaged.
    #[error("the EFI system partition holds no FAT file system that can be read ({0})")]
    Damaged(&'static str),
}

/// An open file system.
#[derive(Debug)]
pub struct Fat<'a> {
    disk: &'a Disk,
    start: u64,
    end: u64,
    fat_at: u64,
    fat_bytes: u64,
    data_at: u64,
    cluster: u64,
    clusters: u64,
    kind: Kind,
    root: Root,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Fat12,
    Fat16,
    Fat32,
}

#[derive(Debug, Clone, Copy)]
enum Root {
    Fixed { at: u64, length: u64 },
    Cluster(u32),
}

/// A file or folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Short name in upper case, for example `BOOTX64.EFI`.
    pub name: String,
    /// A folder.
    pub is_folder: bool,
    cluster: u32,
}

impl<'a> Fat<'a> {
    /// Opens the file system in a range of the disk (bytes).
    ///
    /// # Errors
    /// When it is no FAT, or the disk fails.
    pub fn open(disk: &'a Disk, start: u64, length: u64) -> Result<Fat<'a>, FatError> {
        let damaged = FatError::Damaged;
        let end =
            start.checked_add(length).filter(|end| *end <= disk.size()).ok_or(damaged("it lies outside the disk"))?;
        let mut boot = [0u8; 512];
        if length < 512 {
            return Err(damaged("it is too small"));
        }
        disk.read_at(start, &mut boot)?;
        let half = |at: usize| u64::from(u16::from_le_bytes([boot[at], boot[at + 1]]));
        let word = |at: usize| u32::from_le_bytes([boot[at], boot[at + 1], boot[at + 2], boot[at + 3]]);
        let sector = half(11);
        let per_cluster = u64::from(boot[13]);
        if boot[510..] != [0x55, 0xaa]
            || !sector.is_power_of_two()
            || !(512..=4096).contains(&sector)
            || !per_cluster.is_power_of_two()
        {
            return Err(damaged("no boot sector"));
        }
        let or = |small: u64, large: u32| if small != 0 { small } else { u64::from(large) };
        let (reserved, fats, root_entries) = (half(14), u64::from(boot[16]), half(17));
        let (total, fat_sectors) = (or(half(19), word(32)), or(half(22), word(36)));
        let root_at = (reserved + fats * fat_sectors) * sector;
        let root_length = (root_entries * 32).div_ceil(sector) * sector;
        let data_at = root_at + root_length;
        let cluster = per_cluster * sector;
        let data = (total * sector).checked_sub(data_at).ok_or(damaged("its tables are larger than itself"))?;
        let clusters = data / cluster;
        let kind = match clusters {
            0..4085 => Kind::Fat12,
            4085..65525 => Kind::Fat16,
            _ => Kind::Fat32,
        };
        let root = if root_entries == 0 {
            Root::Cluster(word(44))
        } else {
            Root::Fixed { at: start + root_at, length: root_length }
        };
        if reserved == 0 || fats == 0 || fat_sectors == 0 || (root_entries == 0 && kind != Kind::Fat32) {
            return Err(damaged("its tables make no sense"));
        }
        Ok(Fat {
            disk,
            start,
            end,
            fat_at: start + reserved * sector,
            fat_bytes: fat_sectors * sector,
            data_at: start + data_at,
            cluster,
            clusters,
            kind,
            root,
        })
    }

    /// What the root folder holds.
    ///
    /// # Errors
    /// When the folder is damaged or the disk fails.
    pub fn root(&self) -> Result<Vec<Entry>, FatError> {
        match self.root {
            Root::Fixed { at, length } => {
                let mut bytes = Vec::new();
                self.read(at, length.min(MAX_DIRECTORY), &mut bytes)?;
                Ok(entries(&bytes))
            }
            Root::Cluster(cluster) => self.chain(cluster),
        }
    }

    /// What a folder holds.
    ///
    /// # Errors
    /// When the folder is damaged or the disk fails.
    pub fn folder(&self, entry: &Entry) -> Result<Vec<Entry>, FatError> {
        self.chain(entry.cluster)
    }

    fn chain(&self, first: u32) -> Result<Vec<Entry>, FatError> {
        let mut bytes = Vec::new();
        let mut cluster = first;
        while (bytes.len() as u64) < MAX_DIRECTORY {
            let index = u64::from(cluster).checked_sub(2).filter(|index| *index < self.clusters);
            let index = index.ok_or(FatError::Damaged("a folder leads nowhere"))?;
            self.read(self.data_at + index * self.cluster, self.cluster, &mut bytes)?;
            match self.next(cluster)? {
                Some(next) => cluster = next,
                None => break,
            }
        }
        Ok(entries(&bytes))
    }

    fn next(&self, cluster: u32) -> Result<Option<u32>, FatError> {
        let (at, width) = match self.kind {
            Kind::Fat12 => (u64::from(cluster) * 3 / 2, 2),
            Kind::Fat16 => (u64::from(cluster) * 2, 2),
            Kind::Fat32 => (u64::from(cluster) * 4, 4),
        };
        if at + width > self.fat_bytes {
            return Err(FatError::Damaged("a folder's chain leaves the table"));
        }
        let mut bytes = Vec::new();
        self.read(self.fat_at + at, width, &mut bytes)?;
        let mut word = [0u8; 4];
        word[..bytes.len()].copy_from_slice(&bytes);
        let value = u32::from_le_bytes(word);
        let (value, last) = match self.kind {
            Kind::Fat12 if cluster.is_multiple_of(2) => (value & 0xfff, 0xff8),
            Kind::Fat12 => (value >> 4, 0xff8),
            Kind::Fat16 => (value, 0xfff8),
            Kind::Fat32 => (value & 0x0fff_ffff, 0x0fff_fff8),
        };
        Ok((value < last).then_some(value))
    }

    fn read(&self, at: u64, length: u64, into: &mut Vec<u8>) -> Result<(), FatError> {
        let inside = at >= self.start && at.checked_add(length).is_some_and(|end| end <= self.end);
        if !inside || length > (1 << 22) {
            return Err(FatError::Damaged("something lies outside of it"));
        }
        let before = into.len();
        into.resize(before + usize::try_from(length).unwrap_or(0), 0);
        self.disk.read_at(at, &mut into[before..])?;
        Ok(())
    }
}

fn entries(bytes: &[u8]) -> Vec<Entry> {
    const DELETED: u8 = 0xe5;
    const FOLDER: u8 = 0x10;
    // Volume labels, and the pieces of long names.
    const LABEL: u8 = 0x08;
    let records = bytes.chunks_exact(32).take_while(|record| record[0] != 0);
    let files = records.filter(|record| record[0] != DELETED && record[11] & LABEL == 0 && record[0] != b'.');
    files
        .map(|record| {
            let part = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_ascii_uppercase();
            let (stem, extension) = (part(&record[..8]), part(&record[8..11]));
            let name = if extension.is_empty() { stem } else { format!("{stem}.{extension}") };
            let high = u32::from(u16::from_le_bytes([record[20], record[21]]));
            let low = u32::from(u16::from_le_bytes([record[26], record[27]]));
            Entry { name, is_folder: record[11] & FOLDER != 0, cluster: high << 16 | low }
        })
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::disk::Disk;
    use proptest::prelude::*;

    /// A FAT16 file system of 8 MiB that holds the given paths (two folders and a file each).
    pub(crate) fn image(paths: &[(&str, &str, &str)]) -> Vec<u8> {
        let mut bytes = vec![0u8; 8 << 20];
        bytes[11..13].copy_from_slice(&512u16.to_le_bytes());
        bytes[13] = 1;
        bytes[14..16].copy_from_slice(&1u16.to_le_bytes());
        bytes[16] = 1;
        bytes[17..19].copy_from_slice(&512u16.to_le_bytes());
        bytes[19..21].copy_from_slice(&16384u16.to_le_bytes());
        bytes[22..24].copy_from_slice(&64u16.to_le_bytes());
        bytes[510] = 0x55;
        bytes[511] = 0xaa;
        let (root, data) = (65 * 512, (65 + 32) * 512);
        let mut next = 2usize;
        let mut put = |bytes: &mut Vec<u8>, folder: usize, name: &str, is_folder: bool| -> usize {
            let (stem, extension) = name.split_once('.').unwrap_or((name, ""));
            let short = format!("{stem:<8}{extension:<3}");
            let mut at = folder;
            while bytes[at] != 0 {
                if bytes[at..at + 11] == *short.as_bytes() {
                    let cluster = usize::from(u16::from_le_bytes([bytes[at + 26], bytes[at + 27]]));
                    return data + (cluster - 2) * 512;
                }
                at += 32;
            }
            bytes[at..at + 11].copy_from_slice(short.as_bytes());
            bytes[at + 11] = if is_folder { 0x10 } else { 0x20 };
            bytes[at + 26..at + 28].copy_from_slice(&(next as u16).to_le_bytes());
            bytes[512 + next * 2..512 + next * 2 + 2].copy_from_slice(&0xffffu16.to_le_bytes());
            next += 1;
            data + (next - 3) * 512
        };
        for (outer, inner, file) in paths {
            let outer = put(&mut bytes, root, outer, true);
            let inner = put(&mut bytes, outer, inner, true);
            put(&mut bytes, inner, file, false);
        }
        bytes
    }

    pub(crate) fn disk_with(bytes: &[u8]) -> (tempfile::TempDir, Disk) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        std::fs::write(&path, bytes).unwrap();
        (folder, Disk::open_file(&path, 512).unwrap())
    }

    #[test]
    fn folders_are_walked() {
        let (_folder, disk) = disk_with(&image(&[("EFI", "BOOT", "BOOTX64.EFI"), ("EFI", "DEBIAN", "SHIMX64.EFI")]));
        let fat = Fat::open(&disk, 0, 8 << 20).unwrap();
        let root = fat.root().unwrap();
        assert_eq!(root.len(), 1);
        let efi = fat.folder(&root[0]).unwrap();
        assert_eq!(efi.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["BOOT", "DEBIAN"]);
        assert_eq!(fat.folder(&efi[1]).unwrap()[0].name, "SHIMX64.EFI");
    }

    #[test]
    fn a_chain_that_bites_its_tail_ends() {
        let mut bytes = image(&[("EFI", "BOOT", "BOOTX64.EFI")]);
        bytes[512 + 4..512 + 6].copy_from_slice(&2u16.to_le_bytes());
        // Full of entries, so that the end mark does not end it earlier.
        let (_folder, disk) = disk_with(&bytes);
        let fat = Fat::open(&disk, 0, 8 << 20).unwrap();
        let root = fat.root().unwrap();
        assert!(fat.folder(&root[0]).is_ok());
    }

    proptest! {
        #[test]
        fn any_damage_is_survived(damage in proptest::collection::vec((0usize..60_000, any::<u8>()), 0..40), boot in any::<[u8; 64]>(), whole in any::<bool>()) {
            let mut bytes = image(&[("EFI", "BOOT", "BOOTX64.EFI")]);
            for (at, value) in damage { bytes[at] = value; }
            if whole { bytes[..64].copy_from_slice(&boot); bytes[11..13].copy_from_slice(&512u16.to_le_bytes()); }
            bytes[510] = 0x55;
            bytes[511] = 0xaa;
            bytes.truncate(1 << 20);
            let (_folder, disk) = disk_with(&bytes);
            if let Ok(fat) = Fat::open(&disk, 0, 1 << 20) {
                for entry in fat.root().unwrap_or_default() { let _ = fat.folder(&entry); }
            }
        }
    }
}
