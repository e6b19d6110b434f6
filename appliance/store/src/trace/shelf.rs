//! The part of the trace that is on the disk: one row for each ring, in a database of its own.
//!
//! Everything here may be lost: a damaged file is set aside, a full disk means that nothing is written for a while.

use super::memory::{Key, Numbered, Spill};
use crate::codec;
use crate::disk::{Backend, Disk};
use crate::error::Fault;
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableError};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const RINGS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("rings");
/// The strangers' rings by the number of their last entry: the first one is the next to go.
const STRANGERS: TableDefinition<u64, &[u8]> = TableDefinition::new("strangers");
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const NEXT: &str = "next";

/// Pages kept in memory: the trace is read seldom.
const CACHE_BYTES: usize = 1 << 20;

pub(super) struct Shelf {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    headroom: u64,
    database: Mutex<Option<Database>>,
}

/// A ring as it is written.
#[derive(serde::Serialize, serde::Deserialize, Default)]
struct Ring {
    known: bool,
    entries: Vec<Numbered>,
}

impl Shelf {
    pub(super) fn open(dir: &Path, disk: Arc<dyn Disk>, headroom: u64) -> Shelf {
        let shelf = Shelf { dir: dir.to_owned(), disk, headroom, database: Mutex::new(None) };
        match shelf.open_file() {
            Ok(database) => *shelf.place() = Some(database),
            Err(fault) => tracing::warn!(%fault, "the boot trace is kept in memory for now"),
        }
        shelf
    }

    fn place(&self) -> MutexGuard<'_, Option<Database>> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_space(&self) -> bool {
        self.disk.available(&self.dir).is_ok_and(|available| available >= self.headroom)
    }

    fn open_file(&self) -> Result<Database, Fault> {
        if !self.has_space() {
            return Err(Fault::Full);
        }
        let path = self.dir.join("trace.redb");
        let open = || {
            let opened = catch_unwind(AssertUnwindSafe(|| {
                let backend = Backend::open(&path, self.disk.clone())?;
                Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(backend)
            }));
            match opened {
                Ok(database) => Ok(database?),
                Err(_) => Err(Fault::Damaged("its pages do not fit together".into())),
            }
        };
        match open() {
            Ok(database) => Ok(database),
            Err(Fault::Full) => Err(Fault::Full),
            Err(fault) => {
                tracing::warn!(%fault, path = %path.display(), "the boot trace is damaged and begins anew");
                let aside = self.dir.join("trace.redb.damaged");
                std::fs::rename(&path, aside).map_err(|error| Fault::from_io(&error))?;
                open()
            }
        }
    }

    pub(super) fn close(&self) {
        *self.place() = None;
    }

    /// The number for the next entry of all.
    pub(super) fn next_number(&self) -> u64 {
        let read = |read: &ReadTransaction| {
            let Some(table) = there(read.open_table(META))? else { return Ok(None) };
            Ok(table.get(NEXT)?.map(|value| value.value()))
        };
        self.read(read).ok().flatten().unwrap_or(1)
    }

    fn read<T>(&self, work: impl FnOnce(&ReadTransaction) -> Result<Option<T>, Fault>) -> Result<Option<T>, Fault> {
        match self.place().as_ref() {
            Some(database) => work(&database.begin_read()?),
            None => Ok(None),
        }
    }

    pub(super) fn entries(&self, keys: &[Key]) -> Result<Vec<Numbered>, Fault> {
        let entries = self.read(|read| {
            let Some(table) = there(read.open_table(RINGS))? else { return Ok(None) };
            let mut entries = Vec::new();
            for key in keys {
                if let Some(value) = table.get(bytes(*key).as_slice())? {
                    entries.extend(codec::decode::<Ring>(value.value())?.entries);
                }
            }
            Ok(Some(entries))
        })?;
        Ok(entries.unwrap_or_default())
    }

    /// Adds the tails to their rings. After an error the file is opened anew the next time.
    pub(super) fn write(&self, spill: &Spill, per_machine: usize, strangers: usize) -> Result<(), Fault> {
        let mut place = self.place();
        if !self.has_space() {
            return Err(Fault::Full);
        }
        let database = match place.take() {
            Some(database) => database,
            None => self.open_file()?,
        };
        write(&database, spill, per_machine, strangers)?;
        *place = Some(database);
        Ok(())
    }
}

fn write(database: &Database, spill: &Spill, per_machine: usize, max_strangers: usize) -> Result<(), Fault> {
    let mut transaction = database.begin_write()?;
    // Nobody waits for this commit, but the next start waits for the repair after a crash.
    transaction.set_quick_repair(true);
    {
        let mut rings = transaction.open_table(RINGS)?;
        let mut strangers = transaction.open_table(STRANGERS)?;
        for key in &spill.forgotten {
            let old = rings.remove(bytes(*key).as_slice())?.map(|value| last_of_stranger(value.value()));
            if let Some(number) = old.flatten() {
                strangers.remove(number)?;
            }
        }
        // In a fixed order: neighbours on disk are written together.
        for key in spill.tails.keys().collect::<BTreeSet<_>>() {
            let Some(tail) = spill.tails.get(key) else { continue };
            let name = bytes(*key);
            // A ring that cannot be read begins anew.
            let old = rings.get(name.as_slice())?.map(|value| value.value().to_vec());
            let mut ring: Ring = old.as_deref().and_then(|old| codec::decode(old).ok()).unwrap_or_default();
            if let Some(number) = old.as_deref().and_then(last_of_stranger) {
                strangers.remove(number)?;
            }
            ring.known = tail.known;
            ring.entries.extend(tail.entries.iter().cloned());
            let excess = ring.entries.len().saturating_sub(per_machine);
            ring.entries.drain(..excess);
            if let (false, Some(last)) = (ring.known, ring.entries.last()) {
                strangers.insert(last.number, name.as_slice())?;
            }
            rings.insert(name.as_slice(), codec::encode(&ring)?.as_slice())?;
        }
        let excess = redb::ReadableTableMetadata::len(&strangers)?.saturating_sub(max_strangers as u64);
        for _ in 0..excess {
            let Some(name) = strangers.pop_first()?.map(|(_, name)| name.value().to_vec()) else { break };
            rings.remove(name.as_slice())?;
        }
        transaction.open_table(META)?.insert(NEXT, spill.next_number)?;
    }
    Ok(transaction.commit()?)
}

/// The number of a ring's last entry when it is a stranger's.
fn last_of_stranger(row: &[u8]) -> Option<u64> {
    let ring: Ring = codec::decode(row).ok()?;
    ring.entries.last().filter(|_| !ring.known).map(|last| last.number)
}

fn bytes(key: Key) -> Vec<u8> {
    match key {
        Key::Mac(mac) => [b"m", mac.0.as_slice()].concat(),
        Key::Node(node) => [b"n", node.0.as_bytes().as_slice()].concat(),
    }
}

fn there<T>(opened: Result<T, TableError>) -> Result<Option<T>, Fault> {
    match opened {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
