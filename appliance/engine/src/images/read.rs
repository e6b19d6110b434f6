//! Reads a stored image: its map, its frames, or the raw disk unpacked on the way (for agents that know no map).

use leasehold_wire::image_map::ImageMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::OnceLock;

/// An image in the data folder, open for reading. It stays readable when the image is deleted meanwhile.
pub struct StoredImage {
    map: File,
    map_size: u64,
    data: File,
    data_size: u64,
    /// The file as it was given, where it cannot be made from the frames.
    given: Option<(File, u64)>,
    /// Only who reads the raw disk needs the map itself.
    parsed: OnceLock<ImageMap>,
}

impl StoredImage {
    pub(super) fn open(folder: &Path) -> io::Result<StoredImage> {
        let (map, data) = (File::open(folder.join("map.json"))?, File::open(folder.join("data"))?);
        let (map_size, data_size) = (map.metadata()?.len(), data.metadata()?.len());
        let given = match File::open(folder.join("given")) {
            Ok(file) => {
                let size = file.metadata()?.len();
                Some((file, size))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(StoredImage { map, map_size, data, data_size, given, parsed: OnceLock::new() })
    }

    /// Bytes of the map.
    pub fn map_size(&self) -> u64 {
        self.map_size
    }

    /// Bytes of the frames.
    pub fn data_size(&self) -> u64 {
        self.data_size
    }

    /// Bytes of the raw disk. Blocks for as long as it takes to read the map, once.
    pub fn raw_size(&self) -> io::Result<u64> {
        Ok(self.parsed()?.size)
    }

    /// From `offset` to the end of the block there: what is best read at once.
    pub fn raw_step(&self, offset: u64) -> io::Result<u64> {
        let block = u64::from(self.parsed()?.block_size).max(1);
        Ok(block - offset % block)
    }

    /// Bytes of the file as it was given.
    pub fn given_size(&self) -> io::Result<u64> {
        self.given.as_ref().map_or_else(|| self.raw_size(), |(_, size)| Ok(*size))
    }

    /// What is best read at once of it from `offset` on.
    pub fn given_step(&self, offset: u64) -> io::Result<u64> {
        if self.given.is_some() { Ok(1 << 20) } else { self.raw_step(offset) }
    }

    /// Fills `buffer` with the file as it was given, from `offset` on.
    pub fn read_given(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match &self.given {
            Some((file, _)) => file.read_exact_at(buffer, offset),
            None => self.read_raw(buffer, offset),
        }
    }

    fn parsed(&self) -> io::Result<&ImageMap> {
        if let Some(map) = self.parsed.get() {
            return Ok(map);
        }
        let mut bytes = vec![0; usize::try_from(self.map_size).map_err(io::Error::other)?];
        self.map.read_exact_at(&mut bytes, 0)?;
        let map: ImageMap = serde_json::from_slice(&bytes).map_err(io::Error::other)?;
        map.validate().map_err(|error| io::Error::other(error.to_string()))?;
        Ok(self.parsed.get_or_init(|| map))
    }

    /// Fills `buffer` with the map as agents get it, from `offset` on.
    pub fn read_map(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.map.read_exact_at(buffer, offset)
    }

    /// Fills `buffer` with frames from `offset` on.
    pub fn read_data(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.data.read_exact_at(buffer, offset)
    }

    /// Fills `buffer` with the raw disk from `offset` on.
    pub fn read_raw(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let map = self.parsed()?;
        buffer.fill(0);
        let end = offset.saturating_add(buffer.len() as u64);
        let first = map.blocks.partition_point(|block| block.offset + u64::from(block.length) <= offset);
        for block in map.blocks[first..].iter().take_while(|block| block.offset < end) {
            let mut frame = vec![0; block.stored_length as usize];
            self.data.read_exact_at(&mut frame, block.stored_offset)?;
            let raw = zstd::bulk::decompress(&frame, block.length as usize)?;
            let from = offset.max(block.offset);
            let until = end.min(block.offset + raw.len() as u64);
            let target = place(from - offset)..place(until - offset);
            buffer[target].copy_from_slice(&raw[place(from - block.offset)..place(until - block.offset)]);
        }
        Ok(())
    }
}

/// A distance inside a buffer.
fn place(distance: u64) -> usize {
    usize::try_from(distance).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::{format, pack};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn what_was_packed_reads_back_at_any_place(
            patches in proptest::collection::vec((0_usize..12_000_000, any::<u8>(), 1_usize..70_000), 0..6),
            start in 0_u64..11_000_000,
            length in 1_usize..5_000_000,
        ) {
            let mut disk = vec![0_u8; 12_100_096];
            disk[510..512].copy_from_slice(&[0x55, 0xaa]);
            for (at, byte, count) in patches {
                let until = (at + count).min(disk.len());
                disk[at.max(512)..until.max(512)].fill(byte);
            }
            let folder = tempfile::tempdir().expect("a folder");
            let given = folder.path().join("given");
            std::fs::write(&given, &disk).expect("written");
            let source = format::open(&given, 1 << 30).expect("a disk");
            let content = pack::pack(&source, None, folder.path(), 2, |_| Ok(())).expect("packed");
            prop_assert_eq!(content.raw_size, disk.len() as u64);
            let stored = StoredImage::open(folder.path()).expect("opened");
            let until = (start as usize + length).min(disk.len());
            let mut read = vec![1; until - start as usize];
            stored.read_raw(&mut read, start).expect("read");
            prop_assert!(read == disk[start as usize..until]);
        }
    }
}
