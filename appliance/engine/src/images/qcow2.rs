//! What a qcow2 file claims about itself, checked before a library reads disks out of it.
//!
//! In: the file. Out: its header, and which blocks of the disk hold anything; or a refusal. A file that reaches for
//! other files, uses what we do not know, was cut off, or uses its own data more often than it can have it (a small
//! file that unpacks to an endless disk) is refused. (docs/interop/qcow2 of QEMU.)

use super::ImageError;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// The first bytes of every qcow2 file.
pub(super) const MAGIC: &[u8] = b"QFI\xfb";
/// QEMU's own limit on the first-level table, in entries.
const MAX_L1_ENTRIES: u64 = 4 << 20;
/// More than deflate can gain.
const MOST_GAIN: u64 = 1100;
/// Bits of a table entry that say where in the file the thing is.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const COMPRESSED: u64 = 1 << 62;
const ALL_ZEROS: u64 = 1;

/// What matters of the header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    version: u32,
    cluster_bits: u32,
    /// Bytes of the disk.
    pub(super) size: u64,
    l1_entries: u64,
    l1_offset: u64,
}

fn refused<T>(why: impl Into<String>) -> Result<T, ImageError> {
    Err(ImageError::Format(why.into()))
}

fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    Some(bytes.get(at..at + length)?.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

/// The features that a reader must know (bits 0 to 4), and what to do about them.
const FEATURES: [&str; 5] = [
    "it was not closed properly: run qemu-img check -r all on it first",
    "it is marked as corrupt: run qemu-img check on it",
    "its data is in another file: put it into one with qemu-img convert -O qcow2",
    "it is compressed by zstd: convert it with qemu-img convert -c -O qcow2 -o compression_type=zlib",
    "it has extended L2 entries: convert it with qemu-img convert -O qcow2 -o extended_l2=off",
];

/// Reads the first bytes of a file (at least 104, or all that it has).
pub(super) fn header(head: &[u8]) -> Result<Header, ImageError> {
    let Some((version, fields)) = number(head, 4, 4).zip(head.get(..72)) else {
        return refused("it is a qcow2 image that was cut off in its header");
    };
    if !matches!(version, 2 | 3) {
        return refused(format!("it is qcow2 of unknown version {version}"));
    }
    let field = |at: usize, length: usize| number(fields, at, length).unwrap_or(u64::MAX);
    if field(8, 8) != 0 {
        return refused("it is a qcow2 image with a backing file: flatten it with qemu-img convert -O qcow2");
    }
    if field(32, 4) != 0 {
        return refused("it is an encrypted qcow2 image");
    }
    if version == 3 {
        let Some(features) = number(head, 72, 8).filter(|_| head.len() >= 104) else {
            return refused("it is a qcow2 image that was cut off in its header");
        };
        if features >> FEATURES.len() != 0 {
            return refused(format!("it is a qcow2 image with features that are not known here ({features:#x})"));
        }
        if features != 0 {
            return refused(format!("it is a qcow2 image, but {}", FEATURES[features.trailing_zeros() as usize]));
        }
    }
    let cluster_bits = field(20, 4);
    if !(9..=21).contains(&cluster_bits) {
        return refused(format!("it is a qcow2 image with clusters of an impossible size (2^{cluster_bits})"));
    }
    let header = Header {
        version: u32::try_from(version).unwrap_or(3),
        cluster_bits: u32::try_from(cluster_bits).unwrap_or(21),
        size: field(24, 8),
        l1_entries: field(36, 4),
        l1_offset: field(40, 8),
    };
    if header.l1_entries > MAX_L1_ENTRIES || header.l1_needed() > header.l1_entries {
        return refused("it is a broken qcow2 image: its first table does not fit its size");
    }
    Ok(header)
}

/// Which blocks of the disk hold something, as far as the tables say.
struct Survey<'a> {
    header: Header,
    file: &'a File,
    length: u64,
    block: u64,
    filled: Vec<bool>,
    /// Clusters of the file that were used so far: each can be used once.
    clusters: u64,
    compressed: u64,
}

impl Header {
    fn cluster(self) -> u64 {
        1 << self.cluster_bits
    }

    /// Entries of a second-level table.
    fn l2_entries(self) -> u64 {
        self.cluster() / 8
    }

    /// Entries of the first-level table that the size of the disk needs.
    fn l1_needed(self) -> u64 {
        self.size.div_ceil(self.cluster() * self.l2_entries())
    }

    /// Which blocks of `block` bytes each hold anything. Reads every table once; `size` has been found acceptable.
    pub(super) fn survey(self, file: &File, block: u64) -> Result<Vec<bool>, ImageError> {
        let blocks = usize::try_from(self.size.div_ceil(block)).map_err(std::io::Error::other)?;
        let length = file.metadata()?.len();
        let mut survey =
            Survey { header: self, file, length, block, filled: vec![false; blocks], clusters: 0, compressed: 0 };
        survey.walk()?;
        Ok(survey.filled)
    }
}

impl Survey<'_> {
    fn walk(&mut self) -> Result<(), ImageError> {
        let l1 = self.table(self.header.l1_offset, self.header.l1_needed())?;
        let reach = self.header.cluster() * self.header.l2_entries();
        for (index, entry) in l1.iter().enumerate() {
            let at = entry & OFFSET;
            if at != 0 {
                self.count(1, 0)?;
                let table = self.table(at, self.header.l2_entries())?;
                self.look_at(&table, index as u64 * reach)?;
            }
        }
        Ok(())
    }

    /// Reads a table of 64-bit entries.
    fn table(&self, offset: u64, entries: u64) -> Result<Vec<u64>, ImageError> {
        if !offset.is_multiple_of(self.header.cluster()) {
            return refused("it is a broken qcow2 image: a table is out of place");
        }
        if offset.checked_add(entries * 8).is_none_or(|end| end > self.length) {
            return refused("it is a qcow2 image that was cut off: a table lies behind its end");
        }
        let mut bytes = vec![0; usize::try_from(entries * 8).map_err(std::io::Error::other)?];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes.as_chunks::<8>().0.iter().map(|entry| u64::from_be_bytes(*entry)).collect())
    }

    fn look_at(&mut self, table: &[u64], base: u64) -> Result<(), ImageError> {
        let cluster = self.header.cluster();
        for (index, entry) in table.iter().enumerate() {
            let guest = base + index as u64 * cluster;
            if guest >= self.header.size {
                break;
            }
            let end = if entry & COMPRESSED != 0 {
                self.count(0, 1)?;
                self.compressed_end(*entry)
            } else if entry & OFFSET == 0 || (self.header.version == 3 && entry & ALL_ZEROS != 0) {
                continue;
            } else {
                if entry & OFFSET & (cluster - 1) != 0 {
                    return refused("it is a broken qcow2 image: data is out of place");
                }
                self.count(1, 0)?;
                // The last cluster of a disk may be stored as far as the disk reaches.
                (entry & OFFSET) + cluster.min(self.header.size - guest)
            };
            if end > self.length {
                return refused("it is a qcow2 image that was cut off: data lies behind its end");
            }
            for block in guest / self.block..=(guest + cluster - 1) / self.block {
                if let Some(filled) = usize::try_from(block).ok().and_then(|block| self.filled.get_mut(block)) {
                    *filled = true;
                }
            }
        }
        Ok(())
    }

    /// A place in the last sector of a compressed cluster. The file may end within that sector, not before it.
    fn compressed_end(&self, entry: u64) -> u64 {
        let bits = 62 - (self.header.cluster_bits - 8);
        let start = entry & ((1 << bits) - 1);
        let more_sectors = (entry & !(3 << 62)) >> bits;
        start.max((start & !511) + more_sectors * 512) + 1
    }

    /// Counts what is used: more than the file has means that something is used twice.
    fn count(&mut self, clusters: u64, compressed: u64) -> Result<(), ImageError> {
        self.clusters += clusters;
        self.compressed += compressed;
        let bits = self.header.cluster_bits;
        let too_much = self.clusters << bits > self.length + self.header.cluster()
            || self.compressed << bits > self.length.saturating_mul(MOST_GAIN);
        if too_much {
            return refused("it is a broken qcow2 image: its tables use the same data more than once");
        }
        Ok(())
    }
}

/// Hand-made qcow2 files for tests.
#[cfg(test)]
pub(super) mod made {
    /// What a cluster of the disk is.
    pub(crate) enum Cluster {
        Hole,
        Zeros,
        Data(Vec<u8>),
        /// Raw deflate, as qcow2 wants it.
        Deflated(Vec<u8>),
        /// An entry as it stands.
        Entry(u64),
    }

    /// A version 3 file with clusters of 64 KiB and one second-level table: up to 512 MiB of disk.
    pub(crate) fn qcow2(size: u64, clusters: &[Cluster]) -> Vec<u8> {
        const CLUSTER: usize = 1 << 16;
        let mut file = vec![0; 3 * CLUSTER];
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"QFI\xfb\0\0\0\x03");
        put(20, &16_u32.to_be_bytes());
        put(24, &size.to_be_bytes());
        put(36, &1_u32.to_be_bytes());
        put(40, &(CLUSTER as u64).to_be_bytes());
        // The refcount table is read by writers only; an offset of an existing cluster does.
        put(48, &(CLUSTER as u64).to_be_bytes());
        put(56, &1_u32.to_be_bytes());
        put(96, &4_u32.to_be_bytes());
        put(100, &104_u32.to_be_bytes());
        put(CLUSTER, &((2 * CLUSTER as u64) | (1 << 63)).to_be_bytes());
        for (index, cluster) in clusters.iter().enumerate() {
            let at = file.len() as u64;
            let entry = match cluster {
                Cluster::Hole => 0,
                Cluster::Zeros => 1,
                Cluster::Entry(entry) => *entry,
                Cluster::Data(bytes) => {
                    file.extend_from_slice(bytes);
                    file.resize(at as usize + CLUSTER, 0);
                    at | (1 << 63)
                }
                Cluster::Deflated(bytes) => {
                    file.extend_from_slice(bytes);
                    file.resize((at as usize + bytes.len()).next_multiple_of(CLUSTER), 0);
                    let sectors = (bytes.len() as u64).div_ceil(512) - 1;
                    (1 << 62) | (sectors << (62 - 8)) | at
                }
            };
            file[2 * CLUSTER + index * 8..][..8].copy_from_slice(&entry.to_be_bytes());
        }
        file
    }
}
