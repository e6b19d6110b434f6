//! Writing by a block map: several streams fetch runs of frames, unpack, check and write them at once, while what is
//! empty is zeroed; then the disk's caches are dropped and every block is read back and checked again. The first
//! block, which holds the partition table, is written last, so that half an image never looks like a whole one.

use super::check_sectors;
use super::source::{Expected, Pace};
use crate::console::Console;
use crate::disk::{Aligned, Disk};
use crate::failure::{Failure, Kind, OrFailure};
use crate::http::{Client, Connection, Url};
use leasehold_wire::image_map::{Block, ImageMap};
use ring::digest;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// One request asks for so many stored bytes at most: few enough that all streams end at about the same time.
const RUN: u64 = 4 << 20;
/// A block that arrives wrong is fetched so often before it is held to be wrong at the source.
const WRONG_TRIES: u32 = 3;
/// Looked at in every hole: its two ends, and a place in between.
const HOLE_SAMPLE: u64 = 4096;

/// Gets each block with its raw bytes, once.
type Take<'a> = dyn FnMut(&Block, &[u8]) -> Result<(), Failure> + 'a;

/// What a thread works with: its connection, kept between runs, and memory that is used again and again.
struct Lane {
    connection: Option<Connection>,
    frame: Vec<u8>,
    raw: Aligned,
    unpacker: zstd::bulk::Decompressor<'static>,
}

impl Lane {
    fn new(map: &ImageMap) -> Result<Lane, Failure> {
        let unpacker = zstd::bulk::Decompressor::new().or_failure(Kind::ImageWrite, || "zstd".to_owned())?;
        Ok(Lane { connection: None, frame: Vec::new(), raw: Aligned::new(map.block_size as usize), unpacker })
    }
}

/// What stops one stream.
enum Trouble {
    /// Try again.
    Broken(String),
    /// The bytes are not the ones that the map promises.
    Wrong(String),
    /// Trying again is of no use.
    Final(Failure),
}

struct Job<'a> {
    client: &'a Client,
    data: &'a Url,
    map: &'a ImageMap,
    disk: &'a Disk,
    console: &'a Console,
    pace: Pace,
    stop: AtomicBool,
    failure: Mutex<Option<Failure>>,
    done: AtomicU64,
}

/// Writes the image of `map` to `disk` and proves it. With `whole` its hash over all bytes is checked on the disk as
/// well (needed when the map itself cannot be trusted). Nothing is written when the image does not fit the disk.
///
/// # Errors
/// What went wrong and why; the disk then holds no partition table.
pub fn write_blocks(
    client: &Client,
    map: &ImageMap,
    data: &Url,
    disk: &Disk,
    console: &Console,
    pace: Pace,
    whole: Option<&Expected>,
) -> Result<(), Failure> {
    if map.size > disk.size() {
        return Err(Failure::new(
            Kind::ImageWrite,
            format!(
                "the image has {} bytes, {} has {}; nothing was written, use a larger disk or a smaller image",
                map.size,
                disk.name(),
                disk.size()
            ),
        ));
    }
    let job = Job {
        client,
        data,
        map,
        disk,
        console,
        pace,
        stop: AtomicBool::new(false),
        failure: Mutex::new(None),
        done: AtomicU64::new(0),
    };
    let first = map.blocks.first().filter(|block| block.offset == 0);
    let held = match first {
        Some(block) => job.fetch_one(block)?,
        None => Vec::new(),
    };
    check_sectors(&held, disk)?;
    let rest = &map.blocks[usize::from(first.is_some())..];
    let write = |kind_place: &'static str| move || kind_place.to_owned();
    crate::disk::wipe_partition_tables(disk).or_failure(Kind::ImageWrite, write("clearing the old partition table"))?;
    job.done.store(held.len() as u64, Ordering::Relaxed);
    job.transfer(rest)?;
    disk.settle().or_failure(Kind::ImageWrite, || format!("{} did not take all data", disk.name()))?;
    job.check_holes()?;
    job.done.store(held.len() as u64, Ordering::Relaxed);
    job.verify(rest)?;
    if let Some(expected) = whole {
        super::raw::check_on_disk(disk, &held, map.size, expected, console)?;
    }
    disk.write_at(0, &held).or_failure(Kind::ImageWrite, || disk.name().to_owned())?;
    disk.settle().or_failure(Kind::ImageWrite, || format!("{} did not take all data", disk.name()))?;
    job.verify(first.map(std::slice::from_ref).unwrap_or_default())?;
    Ok(())
}

impl Job<'_> {
    fn fetch_one(&self, block: &Block) -> Result<Vec<u8>, Failure> {
        let mut kept = Vec::new();
        self.fetch_run(&mut Lane::new(self.map)?, std::slice::from_ref(block), &mut |_, raw| {
            kept = raw.to_vec();
            Ok(())
        })?;
        Ok(kept)
    }

    fn transfer(&self, blocks: &[Block]) -> Result<(), Failure> {
        let runs = runs(blocks);
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| self.zero_holes());
            for _ in 0..self.pace.streams.max(1).min(runs.len()) {
                scope.spawn(|| {
                    let mut lane = match Lane::new(self.map) {
                        Ok(lane) => lane,
                        Err(failure) => return self.fail(failure),
                    };
                    while let Some(run) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let outcome = self.fetch_run(&mut lane, run, &mut |block, raw| {
                            let written = self.disk.write_at(block.offset, raw);
                            written.or_failure(Kind::ImageWrite, || {
                                format!("{} at byte {}", self.disk.name(), block.offset)
                            })?;
                            self.advance("writing image", u64::from(block.length));
                            Ok(())
                        });
                        match outcome {
                            Ok(()) if !self.stop.load(Ordering::Relaxed) => {}
                            Ok(()) => return,
                            Err(failure) => return self.fail(failure),
                        }
                    }
                });
            }
        });
        self.outcome()
    }

    /// Fetches a run of blocks whose frames lie side by side, as often as it takes; `take` gets each block once.
    fn fetch_run(&self, lane: &mut Lane, run: &[Block], take: &mut Take<'_>) -> Result<(), Failure> {
        let (mut at, mut failed, mut wrong) = (0, 0, 0);
        while let Some(left) = run.get(at..).filter(|left| !left.is_empty()) {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let before = at;
            let Err(trouble) = self.stream(lane, left, &mut at, take) else { continue };
            lane.connection = None;
            if at > before {
                (failed, wrong) = (0, 0);
            }
            let reason = match trouble {
                Trouble::Final(failure) => return Err(failure),
                Trouble::Broken(reason) => reason,
                Trouble::Wrong(reason) => {
                    wrong += 1;
                    if wrong >= WRONG_TRIES {
                        return Err(Failure::new(Kind::ImageChecksum, reason));
                    }
                    reason
                }
            };
            failed += 1;
            if failed >= self.pace.tries {
                return Err(Failure::new(
                    Kind::ImageDownload,
                    format!("{} gave nothing more in {failed} tries: {reason}", self.data),
                ));
            }
            self.console.say(&format!("{reason}; trying again"));
            std::thread::sleep(self.pace.wait(failed));
        }
        Ok(())
    }

    /// One request for the blocks `left`; `at` counts those that were taken.
    fn stream(&self, lane: &mut Lane, left: &[Block], at: &mut usize, take: &mut Take<'_>) -> Result<(), Trouble> {
        let (Some(first), Some(last)) = (left.first(), left.last()) else { return Ok(()) };
        let (from, to) = (first.stored_offset, last.stored_offset + u64::from(last.stored_length) - 1);
        let broken = |error: &dyn std::fmt::Display| Trouble::Broken(error.to_string());
        let Lane { connection: slot, frame, raw, unpacker } = lane;
        let connection = match slot {
            Some(open) if open.is_reusable() => open,
            _ => slot.insert(self.client.connect(self.data).map_err(|error| broken(&error))?),
        };
        let range = format!("bytes={from}-{to}");
        let head =
            connection.send("GET", &self.data.target, &[("Range", &range)], &[]).map_err(|error| broken(&error))?;
        let refused = |why: String| Trouble::Final(Failure::new(Kind::ImageDownload, format!("{}: {why}", self.data)));
        match head.status {
            206 => {}
            200 => return Err(refused("the server cannot send parts of a file".to_owned())),
            416 => return Err(refused("the image data is shorter than its map says".to_owned())),
            429 | 500.. => return Err(Trouble::Broken(format!("{} was answered by {}", self.data, head.status))),
            status => return Err(refused(format!("answered by {status}; was the image deleted?"))),
        }
        let want = format!("bytes {from}-{to}/{}", self.map.stored_size);
        if let Some(got) =
            head.field("content-range").filter(|got| *got != want && *got != format!("bytes {from}-{to}/*"))
        {
            return Err(refused(format!(
                "the server sends {got}, asked for was {want}; the image data is not that of the map"
            )));
        }
        let mut body = connection.body(&head, "GET").map_err(|error| broken(&error))?;
        for block in left {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            frame.resize(block.stored_length as usize, 0);
            body.read_exact(frame).map_err(|error| {
                Trouble::Broken(format!("{} broke off at byte {} ({error})", self.data, block.stored_offset))
            })?;
            raw.set_length(block.length as usize);
            let wrong = |how: String| {
                Trouble::Wrong(format!(
                    "the block at byte {} of the image {how}; the server's data is damaged or not that of its map",
                    block.offset
                ))
            };
            let unpacked = unpacker.decompress_to_buffer(frame, &mut raw[..]);
            match unpacked {
                Ok(length) if length == raw.len() => {}
                Ok(length) => return Err(wrong(format!("unpacks to {length} bytes, not {}", raw.len()))),
                Err(error) => return Err(wrong(format!("cannot be unpacked ({error})"))),
            }
            let found = sha256(raw);
            if found != block.sha256 {
                return Err(wrong(format!("has SHA-256 {found}, the map says {}", block.sha256)));
            }
            take(block, raw).map_err(Trouble::Final)?;
            *at += 1;
        }
        // Read past the last byte, so that the connection is known to be free for the next run.
        let mut end = [0u8; 1];
        if body.remaining() != Some(0) && body.read(&mut end).map_err(|error| broken(&error))? != 0 {
            *slot = None;
        }
        Ok(())
    }

    fn zero_holes(&self) {
        for (offset, length) in self.map.holes() {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            if let Err(error) = self.disk.zero(offset, length, |_| {}) {
                let why = format!("{} cannot be zeroed at byte {offset}: {error}", self.disk.name());
                return self.fail(Failure::new(Kind::ImageWrite, why));
            }
        }
    }

    /// What the map leaves out must read as zeros. A device that only claims to have zeroed is caught here.
    fn check_holes(&self) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::new(Kind::ImageWrite, format!("{}: {error}", self.disk.name()));
        let mut lied = false;
        for (offset, length) in self.map.holes() {
            let sample = HOLE_SAMPLE.min(length);
            let middle = offset + (length - sample) / 2;
            let mut clean = true;
            for place in [offset, middle, offset + length - sample] {
                clean &= self.disk.is_zero(place, sample).map_err(failed)?;
            }
            if !clean {
                lied = true;
            }
        }
        if !lied {
            return Ok(());
        }
        self.console.say("this disk claims to have zeroed itself but shows old data: writing zeros instead");
        for (offset, length) in self.map.holes() {
            self.disk.write_zeros(offset, length, |_| {}).map_err(failed)?;
        }
        self.disk.settle().map_err(failed)?;
        for (offset, length) in self.map.holes() {
            if !self.disk.is_zero(offset, length).map_err(failed)? {
                let why = format!("{} shows old data behind written zeros: replace the disk", self.disk.name());
                return Err(Failure::new(Kind::ImageWrite, why));
            }
        }
        Ok(())
    }

    /// Reads every block back and compares its hash.
    fn verify(&self, blocks: &[Block]) -> Result<(), Failure> {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..self.pace.streams.max(1).min(blocks.len()) {
                scope.spawn(|| {
                    let mut raw = Aligned::new(self.map.block_size as usize);
                    while let Some(block) = blocks.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if self.stop.load(Ordering::Relaxed) {
                            return;
                        }
                        raw.set_length(block.length as usize);
                        if let Err(error) = self.disk.read_at(block.offset, &mut raw) {
                            let why = format!("{} cannot be read at byte {}: {error}", self.disk.name(), block.offset);
                            return self.fail(Failure::new(Kind::ImageWrite, why));
                        }
                        if sha256(&raw) != block.sha256 {
                            let why = format!(
                                "{} does not give back what was written at byte {}: replace the disk",
                                self.disk.name(),
                                block.offset
                            );
                            return self.fail(Failure::new(Kind::ImageWrite, why));
                        }
                        self.advance("checking image", u64::from(block.length));
                    }
                });
            }
        });
        self.outcome()
    }

    fn advance(&self, what: &str, by: u64) {
        let done = self.done.fetch_add(by, Ordering::Relaxed) + by;
        self.console.advance(&format!("{what} on {}", self.disk.name()), done, self.map.allocated());
    }

    /// The first failure is the one that is told; the others only follow from it.
    fn fail(&self, failure: Failure) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
        self.stop.store(true, Ordering::Relaxed);
    }

    fn outcome(&self) -> Result<(), Failure> {
        match self.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }
}

/// Groups blocks whose frames lie side by side, up to [`RUN`] stored bytes.
fn runs(blocks: &[Block]) -> Vec<&[Block]> {
    let mut runs = Vec::new();
    let mut start = 0;
    for index in 1..=blocks.len() {
        let ends = match blocks.get(index) {
            None => true,
            Some(block) => {
                let before = &blocks[index - 1];
                let from = blocks[start].stored_offset;
                block.stored_offset != before.stored_offset + u64::from(before.stored_length)
                    || block.stored_offset + u64::from(block.stored_length) - from > RUN
            }
        };
        if ends {
            runs.push(&blocks[start..index]);
            start = index;
        }
    }
    runs
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}
