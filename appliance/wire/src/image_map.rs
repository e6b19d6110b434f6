//! The block map of an image: what the appliance publishes beside a stored image, and what the agent writes a disk from.
//!
//! An image is stored as independent zstd frames, one for each block that holds anything; ranges no block covers are
//! holes and read as zeros. So several streams may fetch, check and write at once, each block proves itself by its
//! own hash, and what is empty never travels. The map lives at `…/map`, the frames beside it at `…/data`
//! ([`data_url`]); the map's bytes are trusted because they came over TLS from the pinned box.

use serde::{Deserialize, Serialize};

/// The only layout there is so far; a reader refuses any other.
pub const VERSION: u32 = 1;
/// No block is larger than this once unpacked: it bounds what a reader holds in memory per stream.
pub const MAX_BLOCK_SIZE: u32 = 16 << 20;
/// The last part of the URL of the frames, beside the map.
pub const DATA_NAME: &str = "data";

/// Where the bytes of an image are, and what they must hash to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageMap {
    /// [`VERSION`].
    pub version: u32,
    /// Bytes of the raw image, holes included.
    pub size: u64,
    /// SHA-256 of the whole raw image, holes included, in lower-case hexadecimal.
    pub sha256: String,
    /// Upper bound of [`Block::length`], at most [`MAX_BLOCK_SIZE`].
    pub block_size: u32,
    /// Bytes of the data file.
    pub stored_size: u64,
    /// Blocks in ascending order of `offset`, none overlapping another.
    pub blocks: Vec<Block>,
}

/// One run of raw bytes, stored as one zstd frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Where the block starts in the raw image.
    pub offset: u64,
    /// Raw bytes, 1 up to the map's `block_size`.
    pub length: u32,
    /// SHA-256 of the raw bytes, in lower-case hexadecimal.
    pub sha256: String,
    /// Where the frame starts in the data file.
    pub stored_offset: u64,
    /// Bytes of the frame.
    pub stored_length: u32,
}

/// Why a map cannot be used. Nothing may be written from such a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MapError {
    /// Another layout than [`VERSION`].
    Version(u32),
    /// `block_size` is 0 or above [`MAX_BLOCK_SIZE`].
    BlockSize(u32),
    /// The hash of the whole image is not 64 lower-case hexadecimal digits.
    ImageHash,
    /// A block (by index) that is empty, too long, outside the image or the data file, or carries no proper hash.
    Block { index: usize, why: &'static str },
}

impl core::fmt::Display for MapError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            MapError::Version(found) => {
                write!(
                    f,
                    "the image map has version {found}, this program reads version {VERSION}: use the agent that came with the appliance"
                )
            }
            MapError::BlockSize(found) => {
                write!(f, "the image map has a block size of {found} bytes, allowed are 1 to {MAX_BLOCK_SIZE}")
            }
            MapError::ImageHash => write!(f, "the image map carries no proper SHA-256 of the image"),
            MapError::Block { index, why } => write!(f, "block {index} of the image map {why}"),
        }
    }
}

impl core::error::Error for MapError {}

impl ImageMap {
    /// Checks every statement of the map that can be checked without the data.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn validate(&self) -> Result<(), MapError> {
        if self.version != VERSION {
            return Err(MapError::Version(self.version));
        }
        if self.block_size == 0 || self.block_size > MAX_BLOCK_SIZE {
            return Err(MapError::BlockSize(self.block_size));
        }
        if !is_sha256_hex(&self.sha256) {
            return Err(MapError::ImageHash);
        }
        let mut free_from = 0u64;
        for (index, block) in self.blocks.iter().enumerate() {
            let wrong = |why| Err(MapError::Block { index, why });
            if block.length == 0 || block.length > self.block_size {
                return wrong("is empty or longer than the map's block size");
            }
            if block.offset < free_from {
                return wrong("overlaps the one before it or is out of order");
            }
            match block.offset.checked_add(u64::from(block.length)) {
                Some(end) if end <= self.size => free_from = end,
                _ => return wrong("reaches past the end of the image"),
            }
            match block.stored_offset.checked_add(u64::from(block.stored_length)) {
                Some(end) if end <= self.stored_size && block.stored_length > 0 => {}
                _ => return wrong("is stored outside the data file"),
            }
            if !is_sha256_hex(&block.sha256) {
                return wrong("carries no proper SHA-256");
            }
        }
        Ok(())
    }

    /// Raw bytes that the blocks hold, which is what has to be written.
    #[must_use]
    pub fn allocated(&self) -> u64 {
        self.blocks.iter().map(|block| u64::from(block.length)).sum()
    }

    /// The ranges `(offset, length)` no block covers, in ascending order: they read as zeros. For a valid map.
    #[must_use]
    pub fn holes(&self) -> Vec<(u64, u64)> {
        let mut holes = Vec::new();
        let mut at = 0u64;
        for block in &self.blocks {
            if block.offset > at {
                holes.push((at, block.offset - at));
            }
            at = block.offset.saturating_add(u64::from(block.length));
        }
        if at < self.size {
            holes.push((at, self.size - at));
        }
        holes
    }
}

/// 64 lower-case hexadecimal digits.
#[must_use]
pub fn is_sha256_hex(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The URL of the frames that belong to the map at `map_url`: its last path segment becomes [`DATA_NAME`], a query
/// (which may carry the right to read) stays.
#[must_use]
pub fn data_url(map_url: &str) -> String {
    let (path, query) = match map_url.find(['?', '#']) {
        Some(at) => map_url.split_at(at),
        None => (map_url, ""),
    };
    let path_starts = path.find("://").map_or(0, |at| at + 3);
    match path[path_starts..].rfind('/') {
        Some(slash) => format!("{}/{DATA_NAME}{query}", &path[..path_starts + slash]),
        None => format!("{path}/{DATA_NAME}{query}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(offset: u64, length: u32, stored_offset: u64, stored_length: u32) -> Block {
        Block { offset, length, sha256: "0f".repeat(32), stored_offset, stored_length }
    }

    fn map(blocks: Vec<Block>) -> ImageMap {
        ImageMap { version: 1, size: 1000, sha256: "ab".repeat(32), block_size: 100, stored_size: 500, blocks }
    }

    #[test]
    fn holes_and_blocks_cover_the_image() {
        let map = map(vec![block(100, 100, 0, 10), block(200, 50, 10, 10), block(900, 100, 20, 480)]);
        assert_eq!(map.validate(), Ok(()));
        assert_eq!(map.holes(), vec![(0, 100), (250, 650)]);
        assert_eq!(map.holes().iter().map(|hole| hole.1).sum::<u64>() + map.allocated(), map.size);
    }

    #[test]
    fn an_empty_image_map_is_one_hole() {
        assert_eq!(map(vec![]).holes(), vec![(0, 1000)]);
    }

    #[test]
    fn wrong_maps_are_named() {
        let mut other = map(vec![]);
        other.version = 2;
        assert_eq!(other.validate(), Err(MapError::Version(2)));
        let mut large = map(vec![]);
        large.block_size = MAX_BLOCK_SIZE + 1;
        assert!(matches!(large.validate(), Err(MapError::BlockSize(_))));
        for blocks in [
            vec![block(0, 0, 0, 10)],
            vec![block(0, 101, 0, 10)],
            vec![block(950, 100, 0, 10)],
            vec![block(u64::MAX, 100, 0, 10)],
            vec![block(0, 100, 0, 10), block(50, 100, 10, 10)],
            vec![block(0, 100, 495, 10)],
            vec![block(0, 100, 0, 0)],
        ] {
            assert!(matches!(map(blocks.clone()).validate(), Err(MapError::Block { .. })), "{blocks:?}");
        }
        let mut upper = map(vec![block(0, 100, 0, 10)]);
        upper.blocks[0].sha256 = "AB".repeat(32);
        assert!(matches!(upper.validate(), Err(MapError::Block { index: 0, .. })));
    }

    #[test]
    fn the_data_lies_beside_the_map() {
        assert_eq!(data_url("https://box:8443/images/1/map"), "https://box:8443/images/1/data");
        assert_eq!(data_url("https://box/images/1/map.json?t=a/b"), "https://box/images/1/data?t=a/b");
        assert_eq!(data_url("https://box"), "https://box/data");
    }
}
