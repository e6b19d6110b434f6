//! Packs a raw disk into independent zstd frames and a map, leaving out what is empty.
//!
//! Several threads read, compress and hash a block each; one writes the frames in order and hashes the whole disk.
//! What is in memory at a time is bounded by the number of threads, however large the disk.

use super::ImageError;
use super::format::{BLOCK_SIZE, Source};
use super::sink::ZEROS;
use leasehold_domain::image::ImageContent;
use leasehold_wire::image_map::{Block, ImageMap, VERSION};
use memmap2::MmapMut;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// zstd's own default: a higher level costs the box time and the agents nothing.
const LEVEL: i32 = 3;
/// Threads for one image; more than this would take memory for little.
const MOST_THREADS: usize = 4;
/// Blocks that each thread may be ahead of the writer.
const AHEAD: usize = 1;

/// A block after a thread has worked on it; `None`: it is empty.
type Packed = Result<Option<Full>, ImageError>;

/// Buffers of their own mappings: the allocator would keep what it got for an image long after it is packed.
struct Full {
    raw: MmapMut,
    frame: MmapMut,
    frame_length: usize,
    sha256: String,
}

/// As many threads as there are cores, within reason.
pub(super) fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MOST_THREADS))
}

/// Writes `data` and `map.json` into `folder`, both durable when it returns. `allow` is asked before bytes are written,
/// and may refuse; it is asked for 0 bytes at each empty block. `known_sha256`: the digest of the whole disk, where it
/// is known already.
pub(super) fn pack(
    source: &Source,
    known_sha256: Option<&str>,
    folder: &Path,
    threads: usize,
    allow: impl FnMut(u64) -> Result<(), ImageError>,
) -> Result<ImageContent, ImageError> {
    std::thread::scope(|scope| {
        let mut lanes = Vec::with_capacity(threads);
        let mut workers = Vec::with_capacity(threads);
        for lane in 0..threads {
            let (sender, receiver) = sync_channel(AHEAD);
            workers.push(scope.spawn(move || work(source, lane, threads, &sender)));
            lanes.push(receiver);
        }
        let written = write(source, known_sha256, folder, &lanes, allow);
        // Workers that wait to hand over a block stop here.
        drop(lanes);
        // A worker that panicked was noticed by its silence; the panic goes no further.
        workers.into_iter().for_each(|worker| drop(worker.join()));
        written
    })
}

fn length_at(source: &Source, offset: u64) -> usize {
    usize::try_from(source.size() - offset).map_or(BLOCK_SIZE, |left| left.min(BLOCK_SIZE))
}

/// Every `lanes`-th block, from the `lane`-th on.
fn work(source: &Source, lane: usize, lanes: usize, sender: &SyncSender<Packed>) {
    let mut compressor = match zstd::bulk::Compressor::new(LEVEL) {
        Ok(compressor) => compressor,
        Err(error) => return drop(sender.send(Err(error.into()))),
    };
    for offset in (lane as u64 * BLOCK_SIZE as u64..source.size()).step_by(lanes * BLOCK_SIZE) {
        let packed = block(source, &mut compressor, offset);
        let over = packed.is_err();
        if sender.send(packed).is_err() || over {
            return;
        }
    }
}

fn block(source: &Source, compressor: &mut zstd::bulk::Compressor<'_>, offset: u64) -> Packed {
    let unreadable = |error| ImageError::Format(format!("it cannot be read at byte {offset}: {error}"));
    let length = length_at(source, offset);
    if !source.holds(offset, length as u64)? {
        return Ok(None);
    }
    let mut raw = MmapMut::map_anon(length)?;
    source.read_at(&mut raw, offset).map_err(unreadable)?;
    if raw[..] == ZEROS[..length] {
        return Ok(None);
    }
    let mut frame = MmapMut::map_anon(zstd::zstd_safe::compress_bound(length))?;
    let frame_length = compressor.compress_to_buffer(&raw, &mut frame[..])?;
    let sha256 = hex::encode(Sha256::digest(&raw));
    Ok(Some(Full { raw, frame, frame_length, sha256 }))
}

fn write(
    source: &Source,
    known_sha256: Option<&str>,
    folder: &Path,
    lanes: &[Receiver<Packed>],
    mut allow: impl FnMut(u64) -> Result<(), ImageError>,
) -> Result<ImageContent, ImageError> {
    let size = source.size();
    let mut data = BufWriter::with_capacity(1 << 20, File::create(folder.join("data"))?);
    let mut whole = known_sha256.is_none().then(Sha256::new);
    let mut blocks = Vec::new();
    let mut stored_size = 0_u64;
    let offsets = (0..size).step_by(BLOCK_SIZE);
    for (offset, lane) in offsets.zip(lanes.iter().cycle()) {
        let packed = lane.recv().map_err(|_| {
            ImageError::Format("its content cannot be read: the reader of this format gave up on it".into())
        })??;
        let length = length_at(source, offset);
        let Some(full) = packed else {
            allow(0)?;
            if let Some(whole) = &mut whole {
                whole.update(&ZEROS[..length]);
            }
            continue;
        };
        let frame = &full.frame[..full.frame_length];
        let stored_length = frame.len() as u64;
        allow(stored_length)?;
        if let Some(whole) = &mut whole {
            whole.update(&full.raw);
        }
        data.write_all(frame)?;
        blocks.push(Block {
            offset,
            length: u32::try_from(length).map_err(std::io::Error::other)?,
            sha256: full.sha256,
            stored_offset: stored_size,
            stored_length: u32::try_from(stored_length).map_err(std::io::Error::other)?,
        });
        stored_size += stored_length;
    }
    data.into_inner().map_err(|error| error.into_error())?.sync_all()?;
    let hashed = whole.map(|whole| hex::encode(whole.finalize()));
    let raw_sha256 = hashed.or(known_sha256.map(str::to_owned)).unwrap_or_default();
    let block_size = u32::try_from(BLOCK_SIZE).map_err(std::io::Error::other)?;
    let map = ImageMap { version: VERSION, size, sha256: raw_sha256.clone(), block_size, stored_size, blocks };
    let text = serde_json::to_vec(&map).map_err(std::io::Error::other)?;
    allow(text.len() as u64)?;
    let mut file = File::create(folder.join("map.json"))?;
    file.write_all(&text)?;
    file.sync_all()?;
    File::open(folder)?.sync_all()?;
    Ok(ImageContent { raw_size: size, raw_sha256, stored_size, given_format: source.name().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::super::format::open;
    use super::super::qcow2::made::{Cluster, qcow2};
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// A disk of 9 blocks and a bit, every third of them full of noise.
    fn disk(folder: &Path) -> Source {
        let mut bytes = vec![0; 9 * BLOCK_SIZE + 512];
        let mut noise = 1_u32;
        for block in bytes.chunks_mut(BLOCK_SIZE).step_by(3) {
            block.chunks_exact_mut(4).for_each(|word| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                word.copy_from_slice(&noise.to_be_bytes());
            });
        }
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        std::fs::write(folder.join("given"), &bytes).expect("written");
        open(&folder.join("given"), 1 << 30).expect("a disk")
    }

    #[test]
    fn the_result_does_not_depend_on_the_threads() {
        let folder = tempfile::tempdir().expect("a folder");
        let source = disk(folder.path());
        let mut results = Vec::new();
        let given = std::fs::read(folder.path().join("given")).expect("read");
        let whole = hex::encode(Sha256::digest(given));
        for (threads, known) in [(1, None), (2, None), (3, Some(&*whole)), (16, None)] {
            let content = pack(&source, known, folder.path(), threads, |_| Ok(())).expect("packed");
            let read = |name: &str| std::fs::read(folder.path().join(name)).expect("read");
            results.push((content, read("data"), read("map.json")));
        }
        assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
        let map: ImageMap = serde_json::from_slice(&results[0].2).expect("a map");
        assert_eq!((map.validate(), map.blocks.len()), (Ok(()), 4));
        assert_eq!(results[0].0.raw_sha256, whole);
    }

    #[test]
    fn a_refusal_of_room_ends_it_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let source = disk(folder.path());
        let left = AtomicU64::new(5 << 20);
        let refused = pack(&source, None, folder.path(), 2, |bytes| {
            let got = left.load(Ordering::Relaxed).checked_sub(bytes);
            left.store(got.ok_or(ImageError::DiskFull)?, Ordering::Relaxed);
            Ok(())
        });
        assert!(matches!(refused, Err(ImageError::DiskFull)));
        assert!(!folder.path().join("map.json").exists());
    }

    #[test]
    fn what_cannot_be_read_is_named_by_its_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut first = vec![0; 1 << 16];
        first[510..512].copy_from_slice(&[0x55, 0xaa]);
        let mut clusters = vec![Cluster::Data(first)];
        clusters.extend((0..80).map(|_| Cluster::Hole));
        clusters.push(Cluster::Deflated(vec![0xff; 600]));
        std::fs::write(folder.path().join("given"), qcow2(64 << 20, &clusters)).expect("written");
        let source = open(&folder.path().join("given"), 1 << 30).expect("its tables are fine");
        let refused = pack(&source, None, folder.path(), 2, |_| Ok(())).expect_err("a refusal").to_string();
        assert!(refused.contains("cannot be read at byte 4194304"), "{refused}");
    }
}
