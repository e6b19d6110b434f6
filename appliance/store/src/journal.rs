//! The journal of address bindings: what makes a DHCP lease durable with one short write and one sync.
//!
//! In: the binding changes of a batch, as one record. Out: after a crash the records that the database does not have
//! yet; otherwise which rows are to be folded into it, slice by slice, when there is time. A record is appended, synced,
//! and only then published; its number, length and digest tell a torn one from a whole one. Two files take turns:
//! one is written while what the other holds goes into the database, after which it is written over from its start.

use crate::brief;
use crate::disk::{Disk, DiskAccess};
use crate::error::Fault;
use crate::tables::META;
use leasehold_domain::address::Binding;
use leasehold_domain::view::{Change, View};
use redb::{ReadTransaction, WriteTransaction};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::net::Ipv4Addr;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

const FILES: [&str; 2] = ["bindings-0.journal", "bindings-1.journal"];
/// A file that is longer hands over to the other as soon as that one is folded: some 30 000 bindings, which cost a start
/// after a crash a tenth of a second.
const ENOUGH: u64 = 4 << 20;
/// Files grow by so many zeros at a time: a sync that need not write the length of the file as well takes half as long.
const STEP: u64 = 256 << 10;
/// Before a record's body: its length, its number, the start of the SHA-256 of both and the body.
const HEAD: usize = 4 + 8 + 16;
/// In [`META`]: all records up to this number are in the database.
const FOLDED: &str = "bindings-journal";

/// What a record says of one address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Entry {
    Put(Arc<Binding>),
    Delete(Ipv4Addr),
}

impl Entry {
    /// The change, if it is one of a binding.
    pub(crate) fn of(change: &Change) -> Option<Entry> {
        match change {
            Change::PutBinding(binding) => Some(Entry::Put(binding.clone())),
            Change::DeleteBinding(address) => Some(Entry::Delete(*address)),
            _ => None,
        }
    }

    pub(crate) fn address(&self) -> Ipv4Addr {
        match self {
            Entry::Put(binding) => binding.address,
            Entry::Delete(address) => *address,
        }
    }

    fn into_change(self) -> Change {
        match self {
            Entry::Put(binding) => Change::PutBinding(binding),
            Entry::Delete(address) => Change::DeleteBinding(address),
        }
    }
}

/// Rows that go into the database together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fold {
    /// In their order, so that neighbours are written together.
    pub(crate) addresses: Vec<Ipv4Addr>,
    /// With them, all records up to this one are in the database.
    pub(crate) through: Option<u64>,
}

#[derive(Debug)]
struct Segment {
    file: File,
    /// Where the next record goes.
    end: u64,
    /// The file holds bytes up to here already.
    length: u64,
    /// The number of its last record.
    last: u64,
    /// Addresses of its records that are not in the database yet.
    unfolded: BTreeSet<Ipv4Addr>,
}

#[derive(Debug)]
pub(crate) struct Journal {
    disk: Arc<dyn Disk>,
    /// Takes the records.
    active: Segment,
    /// Takes none: it is being folded, or empty.
    sealed: Segment,
    /// The number of the next record.
    next: u64,
    /// That record was tried already and may be on the disk in part or in whole.
    attempted: bool,
}

impl Journal {
    /// Opens the files of this folder, makes them if they are not there, and brings the view up to date with what they
    /// have and the database has not. Writes nothing.
    pub(crate) fn open(dir: &Path, disk: Arc<dyn Disk>, folded: u64, view: &mut View) -> Result<Journal, Fault> {
        let mut found = Vec::new();
        for name in FILES {
            let io = |error| Fault::from_io(&error);
            let path = dir.join(name);
            let is_new = !path.exists();
            // Who has which address is nobody else's business, as in the database.
            let mut options = OpenOptions::new();
            let file =
                options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(io)?;
            if is_new {
                // Else a crash could lose the name of a file whose content was synced.
                File::open(dir).and_then(|dir| dir.sync_all()).map_err(io)?;
            }
            let bytes = std::fs::read(&path).map_err(io)?;
            let (records, end) = read_records(&bytes);
            let last = records.last().map_or(0, |record| record.number);
            let length = bytes.len() as u64;
            let mut segment = Segment { file, end, length, last, unfolded: BTreeSet::new() };
            if last <= folded {
                (segment.end, segment.last) = (0, 0);
            }
            let mut fresh = Vec::new();
            for record in records.into_iter().filter(|record| record.number > folded) {
                fresh.push((record.number, brief::decode_entries(record.body)?));
            }
            found.push((segment, fresh));
        }
        // The one with the newer records, or else the second one, goes on.
        found.sort_by_key(|(segment, _)| segment.last);
        let mut next = folded + 1;
        for (segment, records) in &mut found {
            for (number, entries) in records.drain(..) {
                if number != next {
                    let why = format!("the journal of bindings lacks record {next} before {number}");
                    return Err(Fault::Damaged(why));
                }
                next += 1;
                for entry in entries {
                    segment.unfolded.insert(entry.address());
                    view.apply(&entry.into_change());
                }
            }
        }
        let mut segments = found.into_iter().map(|(segment, _)| segment);
        let (Some(sealed), Some(active)) = (segments.next(), segments.next()) else { return Err(Fault::NotOpen) };
        Ok(Journal { disk, active, sealed, next, attempted: false })
    }

    /// Appends one record and syncs it. After an error it is not known whether the record is there: the next one takes
    /// its number and its place, or a fold of everything makes it void.
    pub(crate) fn append(&mut self, entries: &[Entry]) -> Result<(), Fault> {
        let body = brief::encode_entries(entries)?;
        let record = write_record(self.next, &body)?;
        self.attempted = true;
        if let Err(fault) = self.active.append(self.disk.as_ref(), &record) {
            // If the disk takes it, a start after a crash does not find what nobody was told of.
            let _ = self.active.file.write_all_at(&[0; HEAD], self.active.end);
            return Err(fault);
        }
        self.attempted = false;
        self.active.last = self.next;
        self.next += 1;
        self.active.unfolded.extend(entries.iter().map(Entry::address));
        Ok(())
    }

    /// What is to be folded now, at most so many rows; `idle`: there is time for all of it. After a failure it is
    /// everything, so that a record of which nobody was told cannot appear at the next start.
    pub(crate) fn next_fold(&mut self, most: usize, idle: bool) -> Option<Fold> {
        if self.attempted {
            return Some(self.whole_fold());
        }
        let turn = self.active.end > ENOUGH || (idle && self.active.end > 0);
        if turn && self.sealed.unfolded.is_empty() {
            std::mem::swap(&mut self.active, &mut self.sealed);
            (self.active.end, self.active.last) = (0, 0);
        }
        if self.sealed.unfolded.is_empty() {
            return None;
        }
        let addresses: Vec<_> = self.sealed.unfolded.iter().take(most).copied().collect();
        let through = (addresses.len() == self.sealed.unfolded.len()).then_some(self.sealed.last);
        Some(Fold { addresses, through })
    }

    /// All that is not in the database, and what may have been tried.
    pub(crate) fn whole_fold(&self) -> Fold {
        let addresses = self.sealed.unfolded.union(&self.active.unfolded).copied().collect();
        Fold { addresses, through: Some(if self.attempted { self.next } else { self.next - 1 }) }
    }

    /// These rows are in the database.
    pub(crate) fn folded(&mut self, fold: &Fold) {
        for address in &fold.addresses {
            self.sealed.unfolded.remove(address);
        }
        let Some(through) = fold.through else { return };
        if through + 1 >= self.next {
            // Nothing of either file is needed any more.
            self.next = through + 1;
            self.attempted = false;
            for segment in [&mut self.active, &mut self.sealed] {
                (segment.end, segment.last) = (0, 0);
                segment.unfolded.clear();
            }
        }
    }
}

impl Segment {
    fn append(&mut self, disk: &dyn Disk, record: &[u8]) -> Result<(), Fault> {
        let io = |error| Fault::from_io(&error);
        let end = self.end + record.len() as u64;
        if end > self.length {
            let length = end.next_multiple_of(STEP);
            disk.admit(DiskAccess::Grow { length }).map_err(io)?;
            let zeros = vec![0; usize::try_from(length - self.length).unwrap_or(0)];
            self.file.write_all_at(&zeros, self.length).map_err(io)?;
            self.length = length;
        }
        disk.admit(DiskAccess::Write { offset: self.end, bytes: record.len() }).map_err(io)?;
        self.file.write_all_at(record, self.end).map_err(io)?;
        disk.admit(DiskAccess::Sync).map_err(io)?;
        self.file.sync_data().map_err(io)?;
        self.end = end;
        Ok(())
    }
}

/// Up to which record the database has everything.
pub(crate) fn read_folded(transaction: &ReadTransaction) -> Result<u64, Fault> {
    let table = transaction.open_table(META)?;
    let Some(value) = table.get(FOLDED)? else { return Ok(0) };
    let bytes = value.value().try_into().map_err(|_| Fault::Damaged(format!("{FOLDED} cannot be read")))?;
    Ok(u64::from_be_bytes(bytes))
}

pub(crate) fn write_folded(transaction: &WriteTransaction, through: u64) -> Result<(), Fault> {
    transaction.open_table(META)?.insert(FOLDED, through.to_be_bytes().as_slice())?;
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
struct Record<'a> {
    number: u64,
    body: &'a [u8],
}

fn write_record(number: u64, body: &[u8]) -> Result<Vec<u8>, Fault> {
    let length = u32::try_from(body.len()).map_err(|_| Fault::Io("a record of the journal is too long".into()))?;
    let mut record = Vec::with_capacity(HEAD + body.len());
    record.extend(length.to_be_bytes());
    record.extend(number.to_be_bytes());
    record.extend([0; 16]);
    record.extend(body);
    let seal = seal_of(&record);
    record[12..HEAD].copy_from_slice(&seal);
    Ok(record)
}

/// The digest of a record whose place for it is zero.
fn seal_of(record: &[u8]) -> [u8; 16] {
    let mut seal = [0; 16];
    for (byte, from) in seal.iter_mut().zip(digest(&SHA256, record).as_ref()) {
        *byte = *from;
    }
    seal
}

/// The whole records from the start on, each the successor of the one before, and where the last one ends. What follows
/// is torn, or of the time before the file was last written over.
fn read_records(bytes: &[u8]) -> (Vec<Record<'_>>, u64) {
    let mut records: Vec<Record<'_>> = Vec::new();
    let mut rest = bytes;
    while let Some(record) = read_record(rest) {
        if records.last().is_some_and(|last| last.number + 1 != record.number) {
            break;
        }
        rest = rest.get(HEAD + record.body.len()..).unwrap_or_default();
        records.push(record);
    }
    (records, (bytes.len() - rest.len()) as u64)
}

fn read_record(bytes: &[u8]) -> Option<Record<'_>> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (number, rest) = rest.split_first_chunk::<8>()?;
    let (seal, rest) = rest.split_first_chunk::<16>()?;
    let body = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    let unsealed = [length.as_slice(), number, &[0; 16], body].concat();
    let number = u64::from_be_bytes(*number);
    (number < u64::MAX && seal_of(&unsealed) == *seal).then_some(Record { number, body })
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
