//! Writing a plain stream: hashed and written as it arrives, the beginning held back until the hash was right both as
//! it came and as it lies on the disk. A connection that breaks is taken up where it broke.

use super::check_sectors;
use super::source::{Expected, Pace};
use crate::console::Console;
use crate::disk::Disk;
use crate::failure::{Failure, Kind, OrFailure};
use crate::http::{Client, Connection, ResponseHead, Url};
use ring::digest;
use std::io::Read;

const CHUNK: usize = 1 << 20;
/// Held back: more than any partition table at the beginning takes.
const HELD: u64 = 1 << 20;
const MAX_REDIRECTS: usize = 5;

/// Writes the image at one of `urls` to `disk` and proves it. Returns its bytes.
///
/// # Errors
/// What went wrong and why; the disk then holds no partition table.
pub fn write_raw(
    client: &Client,
    urls: &[Url],
    size: Option<u64>,
    expected: &Expected,
    disk: &Disk,
    console: &Console,
    pace: Pace,
) -> Result<u64, Failure> {
    let mut state = State::new(expected);
    let mut failed = 0;
    let mut reasons: Vec<String> = Vec::new();
    let mut url_index = 0;
    loop {
        let Some(url) = urls.get(url_index) else {
            return Err(Failure::new(Kind::ImageDownload, reasons.join("; ")));
        };
        let before = state.at;
        match attempt(client, url, size, disk, console, &mut state) {
            Ok(()) => break,
            Err(Trouble::Final(failure)) => return Err(failure),
            Err(Trouble::NextUrl(reason)) => {
                reasons.push(reason);
                url_index += 1;
                failed = 0;
                continue;
            }
            Err(Trouble::Broken(reason)) => {
                if state.at > before {
                    failed = 0;
                }
                failed += 1;
                if failed >= pace.tries {
                    reasons.push(format!("{url} gave nothing more in {failed} tries: {reason}"));
                    url_index += 1;
                    failed = 0;
                    continue;
                }
                console.say(&format!("{reason}; trying again"));
                std::thread::sleep(pace.wait(failed));
            }
        }
    }
    let total = state.at;
    let found = hex::encode(state.hash.clone().finish());
    if found != expected.hex {
        return Err(Failure::new(
            Kind::ImageChecksum,
            format!(
                "the image that came has the checksum {found}, asked for was {}; is the checksum that of the raw image?",
                expected.hex
            ),
        ));
    }
    state.start(disk)?;
    disk.settle().or_failure(Kind::ImageWrite, || format!("{} did not take all data", disk.name()))?;
    check_on_disk(disk, &state.held, total, expected, console)?;
    disk.write_at(0, &state.held).or_failure(Kind::ImageWrite, || disk.name().to_owned())?;
    disk.settle().or_failure(Kind::ImageWrite, || format!("{} did not take all data", disk.name()))?;
    let mut back = vec![0u8; state.held.len()];
    disk.read_at(0, &mut back).or_failure(Kind::ImageWrite, || disk.name().to_owned())?;
    if back != state.held {
        return Err(Failure::new(
            Kind::ImageWrite,
            format!("{} does not give back what was written: replace the disk", disk.name()),
        ));
    }
    Ok(total)
}

struct State {
    at: u64,
    held: Vec<u8>,
    hash: digest::Context,
    algorithm: &'static digest::Algorithm,
    started: bool,
}

impl State {
    fn new(expected: &Expected) -> State {
        let hash = digest::Context::new(expected.algorithm);
        State { at: 0, held: Vec::new(), hash, algorithm: expected.algorithm, started: false }
    }

    /// Before the first byte is written: the image must suit the disk, and the old table goes.
    fn start(&mut self, disk: &Disk) -> Result<(), Failure> {
        if !self.started {
            check_sectors(&self.held, disk)?;
            crate::disk::wipe_partition_tables(disk)
                .or_failure(Kind::ImageWrite, || "clearing the old partition table".to_owned())?;
            self.started = true;
        }
        Ok(())
    }

    fn restart(&mut self) {
        self.at = 0;
        self.held.clear();
        self.hash = digest::Context::new(self.algorithm);
    }
}

enum Trouble {
    Broken(String),
    NextUrl(String),
    Final(Failure),
}

fn attempt(
    client: &Client,
    url: &Url,
    size: Option<u64>,
    disk: &Disk,
    console: &Console,
    state: &mut State,
) -> Result<(), Trouble> {
    let (mut connection, head) = follow(client, url, state.at)?;
    let too_large = |bytes: u64| {
        Trouble::Final(Failure::new(
            Kind::ImageWrite,
            format!(
                "the image has {bytes} bytes or more, {} has {}; use a larger disk or a smaller image",
                disk.name(),
                disk.size()
            ),
        ))
    };
    let total_said = match head.status {
        200 => {
            state.restart();
            None
        }
        _ => head.field("content-range").and_then(|range| range.rsplit_once('/')?.1.parse::<u64>().ok()),
    };
    let mut body = connection.body(&head, "GET").map_err(|error| Trouble::Broken(error.to_string()))?;
    let total = total_said.or_else(|| body.remaining().map(|left| left + state.at));
    if let Some(total) = total {
        if total > disk.size() {
            return Err(too_large(total));
        }
        if size.is_some_and(|size| size != total) {
            let why = format!("{url} has {total} bytes, the image should have {}", size.unwrap_or(0));
            return Err(Trouble::NextUrl(why));
        }
    }
    let mut chunk = vec![0u8; CHUNK];
    loop {
        // Fill the chunk, so that writes are large and the held part is whole.
        let mut filled = 0;
        let mut broken = None;
        while filled < chunk.len() {
            match body.read(&mut chunk[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) => {
                    broken = Some(format!("{url} broke off at byte {} ({error})", state.at + filled as u64));
                    break;
                }
            }
        }
        let bytes = &chunk[..filled];
        if state.at + filled as u64 > disk.size() {
            return Err(too_large(state.at + filled as u64));
        }
        take(state, bytes, disk).map_err(Trouble::Final)?;
        console.advance(&format!("writing image on {}", disk.name()), state.at, total.or(size).unwrap_or(0));
        match broken {
            Some(reason) => return Err(Trouble::Broken(reason)),
            None if filled < chunk.len() => break,
            None => {}
        }
    }
    match total.or(size) {
        Some(total) if state.at != total => {
            Err(Trouble::Broken(format!("{url} ended after {} of {total} bytes", state.at)))
        }
        _ => Ok(()),
    }
}

fn take(state: &mut State, bytes: &[u8], disk: &Disk) -> Result<(), Failure> {
    let room = usize::try_from(HELD.saturating_sub(state.at)).unwrap_or(0);
    let (hold, write) = bytes.split_at(room.min(bytes.len()));
    state.held.extend_from_slice(hold);
    state.hash.update(bytes);
    if !write.is_empty() {
        state.start(disk)?;
        let at = state.at + hold.len() as u64;
        disk.write_at(at, write).or_failure(Kind::ImageWrite, || format!("{} at byte {at}", disk.name()))?;
    }
    state.at += bytes.len() as u64;
    Ok(())
}

/// Asks for the rest from `from` on, following redirects.
fn follow(client: &Client, url: &Url, from: u64) -> Result<(Connection, ResponseHead), Trouble> {
    let mut place = url.clone();
    for _ in 0..=MAX_REDIRECTS {
        let mut connection = client.connect(&place).map_err(|error| Trouble::Broken(error.to_string()))?;
        let range = format!("bytes={from}-");
        let fields: &[(&str, &str)] = if from > 0 { &[("Range", &range)] } else { &[] };
        let head =
            connection.send("GET", &place.target, fields, &[]).map_err(|error| Trouble::Broken(error.to_string()))?;
        match head.status {
            200 => return Ok((connection, head)),
            206 if from > 0 => {
                if head.field("content-range").is_some_and(|got| got.starts_with(&format!("bytes {from}-"))) {
                    return Ok((connection, head));
                }
                return Err(Trouble::Final(Failure::new(
                    Kind::ImageDownload,
                    format!("{place} sends another part than asked for"),
                )));
            }
            301 | 302 | 303 | 307 | 308 => {
                let location = head.field("location").unwrap_or_default();
                place = place
                    .join(location)
                    .map_err(|error| Trouble::NextUrl(format!("{place} leads nowhere ({error})")))?;
            }
            429 | 500.. => return Err(Trouble::Broken(format!("{place} was answered by {}", head.status))),
            status => {
                return Err(Trouble::NextUrl(format!("{place} was answered by {status}; was the image deleted?")));
            }
        }
    }
    Err(Trouble::NextUrl(format!("{url} is redirected more than {MAX_REDIRECTS} times")))
}

/// The hash of `held` followed by what lies on the disk behind it, up to `total` bytes, must be the expected one.
pub(super) fn check_on_disk(
    disk: &Disk,
    held: &[u8],
    total: u64,
    expected: &Expected,
    console: &Console,
) -> Result<(), Failure> {
    let mut hash = digest::Context::new(expected.algorithm);
    hash.update(held);
    let mut at = held.len() as u64;
    let mut chunk = vec![0u8; CHUNK];
    while at < total {
        let count = usize::try_from((total - at).min(CHUNK as u64)).unwrap_or(CHUNK);
        disk.read_at(at, &mut chunk[..count])
            .or_failure(Kind::ImageWrite, || format!("{} at byte {at}", disk.name()))?;
        hash.update(&chunk[..count]);
        at += count as u64;
        console.advance(&format!("checking image on {}", disk.name()), at, total);
    }
    let found = hex::encode(hash.finish());
    if found != expected.hex {
        let why = format!("what lies on {} has the checksum {found}, asked for was {}", disk.name(), expected.hex);
        return Err(Failure::new(Kind::ImageChecksum, why));
    }
    Ok(())
}
