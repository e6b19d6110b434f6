//! The database file, which can be closed and opened again while the program runs.
//!
//! redb refuses everything after an I/O error until it is opened anew; readers of snapshots do not notice, readers of
//! history wait or are told to come back. No transaction outlives a call, so nothing keeps the file from closing.

use crate::disk::{Backend, Disk};
use crate::error::Fault;
use crate::schema;
use redb::{Database, ReadTransaction, ReadableDatabase, WriteTransaction};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

#[derive(Debug)]
pub(crate) struct Base {
    path: PathBuf,
    cache_bytes: usize,
    disk: Arc<dyn Disk>,
    database: RwLock<Option<Database>>,
}

impl Base {
    pub(crate) fn new(path: PathBuf, cache_bytes: usize, disk: Arc<dyn Disk>) -> Base {
        Base { path, cache_bytes, disk, database: RwLock::new(None) }
    }

    /// Opens the file, makes it if it is not there, and brings it to the schema of this program.
    pub(crate) fn open(&self) -> Result<(), Fault> {
        let mut place = self.database.write().unwrap_or_else(PoisonError::into_inner);
        *place = None;
        // redb may panic over a file that something else has damaged; that is to end in words.
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let backend = Backend::open(&self.path, self.disk.clone())?;
            Database::builder().set_cache_size(self.cache_bytes).create_with_backend(backend)
        }));
        let database = match opened {
            Ok(database) => database?,
            Err(_) => return Err(Fault::Damaged("its pages do not fit together".into())),
        };
        let found = schema::version(&database.begin_read()?)?;
        if found as usize != schema::MIGRATIONS.len() {
            let transaction = database.begin_write()?;
            schema::migrate(&transaction, found, schema::MIGRATIONS)?;
            transaction.commit()?;
        }
        *place = Some(database);
        Ok(())
    }

    pub(crate) fn close(&self) {
        let mut place = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(database) = place.take()
            && let Err(error) = database.close()
        {
            tracing::debug!(%error, "the database did not close cleanly; it repairs itself when it is opened");
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.database.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Runs one read transaction. Short ones only: they keep the pages of their moment from being used again.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&ReadTransaction) -> Result<T, Fault>) -> Result<T, Fault> {
        let place = self.database.read().unwrap_or_else(PoisonError::into_inner);
        work(&place.as_ref().ok_or(Fault::NotOpen)?.begin_read()?)
    }

    /// Runs one write transaction and commits it to the disk (redb's default is `Durability::Immediate`: synced when
    /// this returns). After an error nothing of it is there, or, when the error came late, all of it.
    pub(crate) fn write<T>(&self, work: impl FnOnce(&WriteTransaction) -> Result<T, Fault>) -> Result<T, Fault> {
        let place = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let transaction = place.as_ref().ok_or(Fault::NotOpen)?.begin_write()?;
        let result = work(&transaction)?;
        transaction.commit()?;
        Ok(result)
    }

    /// Gives space back to the disk when less than half of the file is in use. Gives whether it did anything.
    pub(crate) fn compact_if_worthwhile(&self, least: u64) -> Result<bool, Fault> {
        let mut place = self.database.write().unwrap_or_else(PoisonError::into_inner);
        let database = place.as_mut().ok_or(Fault::NotOpen)?;
        let length = std::fs::metadata(&self.path).map_err(|error| Fault::from_io(&error))?.len();
        if length < least {
            return Ok(false);
        }
        let transaction = database.begin_write()?;
        let stats = transaction.stats()?;
        transaction.abort()?;
        let used = stats.allocated_pages().saturating_mul(stats.page_size() as u64);
        if length < used.saturating_mul(2) {
            return Ok(false);
        }
        Ok(database.compact()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;
    use crate::tables::COLD;
    use redb::ReadableTableMetadata;

    fn fill(base: &Base, from: u32, count: u32) {
        let rows = |transaction: &WriteTransaction| {
            let mut table = transaction.open_table(COLD)?;
            for number in from..from + count {
                table.insert(number.to_be_bytes().as_slice(), [7; 1000].as_slice())?;
            }
            Ok(())
        };
        base.write(rows).expect("written");
    }

    fn count(base: &Base) -> u64 {
        base.read(|read| Ok(read.open_table(COLD)?.len()?)).expect("read")
    }

    #[test]
    fn space_that_is_no_longer_used_goes_back_to_the_disk() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("base.redb");
        let base = Base::new(path.clone(), 1 << 20, Arc::new(RealDisk));
        base.open().expect("open");
        fill(&base, 0, 10_000);
        // In between lie rows that stay: the file cannot simply be cut.
        fill(&base, 100_000, 100);
        let full = std::fs::metadata(&path).expect("there").len();
        assert_eq!(base.compact_if_worthwhile(full * 2), Ok(false), "too small");
        base.write(|transaction| {
            let mut table = transaction.open_table(COLD)?;
            table.retain(|key, _| key >= 100_000_u32.to_be_bytes().as_slice())?;
            Ok(())
        })
        .expect("written");
        assert_eq!(base.compact_if_worthwhile(0), Ok(true));
        let after = std::fs::metadata(&path).expect("there").len();
        assert!(after < full / 2, "{full} {after}");
        assert_eq!(base.compact_if_worthwhile(0), Ok(false), "there is nothing more to gain");
        assert_eq!(count(&base), 100);
        base.open().expect("open again");
        assert_eq!(count(&base), 100);
        base.close();
        assert_eq!(base.read(|_| Ok(())), Err(Fault::NotOpen));
    }
}
