//! What an image file is, by its content, and a way to read it as a raw disk.

use super::{ImageError, qcow2, signature};
use imago::file::File as ImagoFile;
use imago::qcow2::Qcow2;
use imago::{DenyImplicitOpenGate, FormatAccess, FormatDriverBuilder, StorageOpenOptions};
use rustix::fs::SeekFrom;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Raw bytes in one frame of a packed image: large enough to compress well, small enough that several fit into an
/// agent's memory.
pub(super) const BLOCK_SIZE: usize = 4 << 20;
/// Disks are made of these.
const SECTOR: u64 = 512;

/// A disk image that can be read at any place.
pub(super) enum Source {
    Raw {
        file: File,
        size: u64,
    },
    Qcow2 {
        image: Box<FormatAccess<ImagoFile>>,
        size: u64,
        /// Which blocks of [`BLOCK_SIZE`] hold anything.
        filled: Vec<bool>,
    },
}

/// `qcow2` or, whatever it is, `raw`, before anything is known of the rest.
pub(super) fn by_first_bytes(path: &Path) -> std::io::Result<&'static str> {
    let mut head = Vec::new();
    File::open(path)?.take(qcow2::MAGIC.len() as u64).read_to_end(&mut head)?;
    Ok(if head == qcow2::MAGIC { "qcow2" } else { "raw" })
}

/// Opens an image file, `max_size` being the largest disk that is taken.
pub(super) fn open(path: &Path, max_size: u64) -> Result<Source, ImageError> {
    let mut file = File::open(path)?;
    let mut head = Vec::new();
    Read::by_ref(&mut file).take(SECTOR).read_to_end(&mut head)?;
    let source = if head.starts_with(qcow2::MAGIC) {
        let header = qcow2::header(&head)?;
        check_size(header.size, max_size)?;
        let filled = header.survey(&file, BLOCK_SIZE as u64)?;
        let image = open_qcow2(file)?;
        Source::Qcow2 { size: image.size(), image, filled }
    } else {
        if let Some(what) = signature::other_format(&file)? {
            return Err(ImageError::Format(format!("it is {what}")));
        }
        let size = file.metadata()?.len();
        check_size(size, max_size)?;
        Source::Raw { size, file }
    };
    check_disk(&source)?;
    Ok(source)
}

fn check_size(size: u64, max_size: u64) -> Result<(), ImageError> {
    if size == 0 {
        return Err(ImageError::Format("it is empty".into()));
    }
    if size > max_size {
        return Err(ImageError::too_large(max_size));
    }
    if !size.is_multiple_of(SECTOR) {
        return Err(ImageError::Format(format!(
            "its size of {size} bytes is no multiple of {SECTOR}, as every disk's is: was it cut off?"
        )));
    }
    Ok(())
}

/// A disk has a partition table; both MBR and GPT end their first sector in the same way.
fn check_disk(source: &Source) -> Result<(), ImageError> {
    let mut sector = [0; SECTOR as usize];
    source
        .read_at(&mut sector, 0)
        .map_err(|error| ImageError::Format(format!("its first sector cannot be read: {error}")))?;
    if sector[510..] != [0x55, 0xaa] {
        return Err(ImageError::Format(
            "it is neither qcow2 nor a raw disk with a partition table; partition images are not supported".into(),
        ));
    }
    Ok(())
}

fn open_qcow2(file: File) -> Result<Box<FormatAccess<ImagoFile>>, ImageError> {
    let unusable =
        |error: std::io::Error| ImageError::Format(format!("it is a broken or unsupported qcow2 image: {error}"));
    let storage = ImagoFile::from_open_file(file, StorageOpenOptions::new()).map_err(unusable)?;
    let qcow2 = Qcow2::<ImagoFile>::builder(storage).open(DenyImplicitOpenGate::default()).map_err(unusable)?;
    Ok(Box::new(FormatAccess::new(qcow2)))
}

impl Source {
    /// Bytes of the disk.
    pub(super) fn size(&self) -> u64 {
        match self {
            Source::Raw { size, .. } | Source::Qcow2 { size, .. } => *size,
        }
    }

    /// The file is the disk, byte for byte.
    pub(super) fn is_raw(&self) -> bool {
        matches!(self, Source::Raw { .. })
    }

    /// `raw` or `qcow2`.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Source::Raw { .. } => "raw",
            Source::Qcow2 { .. } => "qcow2",
        }
    }

    /// Whether the block at `offset`, a multiple of [`BLOCK_SIZE`], may hold anything but zeros.
    pub(super) fn holds(&self, offset: u64, length: u64) -> std::io::Result<bool> {
        match self {
            Source::Raw { file, .. } => match rustix::fs::seek(file, SeekFrom::Data(offset)) {
                Ok(data) => Ok(data < offset + length),
                Err(rustix::io::Errno::NXIO) => Ok(false),
                // A file system that knows of no holes.
                Err(rustix::io::Errno::INVAL) => Ok(true),
                Err(error) => Err(error.into()),
            },
            Source::Qcow2 { filled, .. } => {
                let index = usize::try_from(offset / BLOCK_SIZE as u64).map_err(std::io::Error::other)?;
                Ok(filled.get(index).is_none_or(|filled| *filled))
            }
        }
    }

    /// Fills `buffer` from `offset` on; holes read as zeros.
    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        match self {
            Source::Raw { file, .. } => file.read_exact_at(buffer, offset),
            Source::Qcow2 { image, .. } => image.read(buffer, offset),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::qcow2::made::{Cluster, qcow2};
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    fn written(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), bytes).expect("written");
        file
    }

    fn refused(bytes: &[u8]) -> String {
        open(written(bytes).path(), 1 << 40).err().expect("a refusal").to_string()
    }

    /// A cluster of 64 KiB that begins like a disk with a partition table.
    fn first_cluster() -> Vec<u8> {
        let mut cluster = vec![0x11; 1 << 16];
        cluster[510..512].copy_from_slice(&[0x55, 0xaa]);
        cluster
    }

    /// All bytes of the disk.
    fn unpacked(source: &Source) -> Vec<u8> {
        let mut disk = vec![1; usize::try_from(source.size()).expect("small")];
        for (index, block) in disk.chunks_mut(BLOCK_SIZE).enumerate() {
            let offset = (index * BLOCK_SIZE) as u64;
            if source.holds(offset, block.len() as u64).expect("known") {
                source.read_at(block, offset).expect("read");
            } else {
                block.fill(0);
            }
        }
        disk
    }

    #[test]
    fn a_disk_with_a_partition_table_is_raw_whatever_else() {
        let mut disk = vec![0; 1024];
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        let file = written(&disk);
        assert_eq!(open(file.path(), 1 << 40).expect("a disk").name(), "raw");
        assert!(matches!(open(file.path(), 1000), Err(ImageError::TooLarge { .. })));
        disk.truncate(1000);
        assert!(refused(&disk).contains("multiple of 512"));
    }

    #[test]
    fn what_is_no_disk_is_named() {
        assert!(refused(b"\x1f\x8b\x08rest").contains("gzip"));
        assert!(refused(&[0; 2048]).contains("partition table"));
        assert!(refused(b"").contains("empty"));
        assert!(refused(&qcow2(1 << 20, &[])).contains("partition table"), "an empty disk in qcow2");
    }

    #[test]
    fn a_qcow2_reads_as_its_disk() {
        let mut deflater = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        let pattern: Vec<u8> = (0..1 << 16).map(|at: u32| (at / 7) as u8).collect();
        deflater.write_all(&pattern).expect("deflated");
        let deflated = deflater.finish().expect("deflated");
        let mut clusters = vec![Cluster::Data(first_cluster()), Cluster::Hole, Cluster::Zeros];
        clusters.push(Cluster::Deflated(deflated));
        clusters.extend((0..96).map(|_| Cluster::Hole));
        clusters.push(Cluster::Data(vec![7; 512]));
        let size = 100 * (1 << 16) + 512;
        let file = written(&qcow2(size, &clusters));
        let source = open(file.path(), 1 << 40).expect("a disk");
        assert_eq!((source.name(), source.size()), ("qcow2", size));
        let disk = unpacked(&source);
        let mut expected = vec![0; usize::try_from(size).expect("small")];
        expected[..1 << 16].copy_from_slice(&first_cluster());
        expected[3 << 16..4 << 16].copy_from_slice(&pattern);
        expected[100 << 16..].fill(7);
        assert!(disk == expected);
    }

    #[test]
    fn a_qcow2_that_reaches_for_other_files_or_unknown_features_is_refused() {
        let good = qcow2(1 << 20, &[Cluster::Data(first_cluster())]);
        assert!(open(written(&good).path(), 1 << 40).is_ok());
        for (at, byte, words) in [
            (15, 0x70, "backing file"),
            (35, 1, "encrypted"),
            (79, 1 << 2, "another file"),
            (79, 1 << 3, "zstd"),
            (79, 1 << 4, "extended L2"),
            (79, 1 << 0, "not closed"),
            (79, 1 << 1, "corrupt"),
            (79, 1 << 5, "not known"),
            (72, 0x80, "not known"),
            (7, 4, "version 4"),
            (7, 1, "version 1"),
            (23, 8, "impossible size"),
            (23, 40, "impossible size"),
        ] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert!(refused(&bad).contains(words), "{words}: {}", refused(&bad));
        }
    }

    #[test]
    fn hostile_tables_are_refused() {
        const L2: usize = 2 << 16;
        let size = 64 << 20;
        // Cut off: behind the first table, behind the second, within the data, within the header.
        let good = qcow2(size, &[Cluster::Data(first_cluster())]);
        for length in [90, 1 << 16, (1 << 16) + 8, L2, L2 + 8, good.len() - 1] {
            assert!(refused(&good[..length]).contains("cut off"), "{length}: {}", refused(&good[..length]));
        }
        // A disk of half an exabyte in a file of 200 KiB.
        let mut huge = good.clone();
        huge[24..32].copy_from_slice(&(1_u64 << 59).to_be_bytes());
        assert!(refused(&huge).contains("does not fit"), "{}", refused(&huge));
        huge[36..40].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(refused(&huge).contains("does not fit"), "{}", refused(&huge));
        // Every cluster of the disk is the same one of the file.
        let same = good.len() as u64 - (1 << 16);
        let bomb = qcow2(size, &(0..1024).map(|_| Cluster::Entry(same)).collect::<Vec<_>>());
        assert!(refused(&[&bomb[..], &first_cluster()].concat()).contains("more than once"));
        // The first table leads to itself, the second leads to tables.
        let mut looped = good.clone();
        looped[1 << 16..(1 << 16) + 8].copy_from_slice(&(1_u64 << 16).to_be_bytes());
        assert!(open(written(&looped).path(), 1 << 40).is_err());
        // Several entries of the first table lead to one second table.
        let mut shared = good.clone();
        shared[24..32].copy_from_slice(&(512_u64 << 20 << 8).to_be_bytes());
        shared[36..40].copy_from_slice(&256_u32.to_be_bytes());
        for index in 0..256 {
            shared[(1 << 16) + index * 8..][..8].copy_from_slice(&(L2 as u64).to_be_bytes());
        }
        assert!(refused(&shared).contains("more than once"), "{}", refused(&shared));
        // Compressed data that lies nowhere, and that is none.
        let nowhere = qcow2(size, &[Cluster::Entry((1 << 62) | (1 << 40))]);
        assert!(refused(&nowhere).contains("cut off"));
        let garbage = qcow2(size, &[Cluster::Deflated(vec![0xff; 600])]);
        assert!(refused(&garbage).contains("cannot be read"), "{}", refused(&garbage));
        let too_large = written(&good);
        assert!(matches!(open(too_large.path(), size - 1), Err(ImageError::TooLarge { .. })));
    }

    #[test]
    fn a_hole_in_a_raw_file_is_known() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&first_cluster()).expect("written");
        file.set_len(3 * BLOCK_SIZE as u64).expect("extended");
        let source = Source::Raw { size: 3 * BLOCK_SIZE as u64, file };
        assert!(source.holds(0, BLOCK_SIZE as u64).expect("known"));
        let disk = unpacked(&source);
        assert!(disk[..1 << 16] == first_cluster() && disk[1 << 16..].iter().all(|byte| *byte == 0));
    }

    proptest! {
        #[test]
        fn any_qcow2_header_is_read_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 8..4096)) {
            bytes[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
            if let Ok(source) = open(written(&bytes).path(), 1 << 30) {
                let mut buffer = vec![0; 512.min(usize::try_from(source.size()).unwrap_or(512))];
                let _either_is_fine = source.read_at(&mut buffer, 0);
            }
        }

        #[test]
        fn any_damage_to_a_qcow2_is_read_or_refused(
            damage in proptest::collection::vec((0_usize..300_000, any::<u8>()), 1..20),
            tables in proptest::collection::vec((0_usize..128, any::<u64>()), 0..4),
            length in 0_usize..300_000,
        ) {
            let clusters = [Cluster::Data(first_cluster()), Cluster::Zeros, Cluster::Data(vec![9; 1 << 16])];
            let mut bytes = qcow2(1 << 20, &clusters);
            for (at, byte) in damage {
                // The header takes most of the blows; the rest fall where they fall.
                let at = if at % 3 == 0 { at % 104 } else { at } % bytes.len();
                bytes[at] = byte;
            }
            for (at, entry) in tables {
                bytes[(1 << 16) + at * 1024..][..8].copy_from_slice(&entry.to_be_bytes());
            }
            if length % 2 == 0 {
                bytes.truncate(length);
            }
            if let Ok(source) = open(written(&bytes).path(), 1 << 26) {
                let mut block = vec![0; BLOCK_SIZE.min(usize::try_from(source.size()).unwrap_or(BLOCK_SIZE))];
                let _either_is_fine = source.read_at(&mut block, 0);
            }
        }
    }
}
