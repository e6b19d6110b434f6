//! Packs a raw disk into independent zstd frames and a map, leaving out what is empty.

use super::ImageError;
use super::format::Source;
use leasehold_domain::image::ImageContent;
use leasehold_wire::image_map::{Block, ImageMap, VERSION};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Raw bytes in one frame: large enough to compress well, small enough that several fit into an agent's memory.
const BLOCK_SIZE: usize = 4 << 20;
/// zstd's own default: a higher level costs the box time and the agents nothing.
const LEVEL: i32 = 3;

/// Writes `data` and `map.json` into `folder`, both durable when it returns. At most `room` bytes are written.
pub(super) fn pack(source: Source, folder: &Path, room: u64) -> Result<ImageContent, ImageError> {
    let size = source.size();
    let mut data = BufWriter::new(File::create(folder.join("data"))?);
    let mut whole = Sha256::new();
    let mut blocks = Vec::new();
    let mut stored_size = 0_u64;
    let mut buffer = vec![0; BLOCK_SIZE];
    let mut offset = 0_u64;
    while offset < size {
        let length = usize::try_from(size - offset).map_or(BLOCK_SIZE, |left| left.min(BLOCK_SIZE));
        let raw = &mut buffer[..length];
        source
            .read_at(raw, offset)
            .map_err(|error| ImageError::Format(format!("it cannot be read at byte {offset}: {error}")))?;
        whole.update(&*raw);
        if raw.iter().any(|byte| *byte != 0) {
            let frame = zstd::bulk::compress(raw, LEVEL)?;
            if stored_size + frame.len() as u64 > room {
                return Err(ImageError::NoSpace { needed: size >> 20, free: room >> 20 });
            }
            data.write_all(&frame)?;
            blocks.push(Block {
                offset,
                length: u32::try_from(length).map_err(std::io::Error::other)?,
                sha256: hex::encode(Sha256::digest(&*raw)),
                stored_offset: stored_size,
                stored_length: u32::try_from(frame.len()).map_err(std::io::Error::other)?,
            });
            stored_size += frame.len() as u64;
        }
        offset += length as u64;
    }
    data.into_inner().map_err(|error| error.into_error())?.sync_all()?;
    let sha256 = hex::encode(whole.finalize());
    let block_size = u32::try_from(BLOCK_SIZE).map_err(std::io::Error::other)?;
    let map = ImageMap { version: VERSION, size, sha256: sha256.clone(), block_size, stored_size, blocks };
    let mut file = File::create(folder.join("map.json"))?;
    file.write_all(&serde_json::to_vec(&map).map_err(std::io::Error::other)?)?;
    file.sync_all()?;
    Ok(ImageContent { raw_size: size, raw_sha256: sha256, stored_size, given_format: source.name().to_owned() })
}
