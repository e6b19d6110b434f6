//! The disk below the database: how much space is left, a ballast to fall back on, and the file redb writes to.
//!
//! In: nothing of the domain. Out: a [`Backend`] for redb that asks a [`Disk`] first, so that a test can put a disk
//! there that fills up, and a [`Ballast`]: space that is held only to be given up when the disk is full, so that the
//! batch under way can still be finished and the database be opened again.

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};
use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is about to be done to the database file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskAccess {
    Write {
        offset: u64,
        bytes: usize,
    },
    /// The file becomes this long.
    Grow {
        length: u64,
    },
    Sync,
}

/// The disk as the store sees it. The real one is [`RealDisk`]; a test puts one there that fails when it is told to.
pub trait Disk: Debug + Send + Sync {
    /// Bytes that can still be written to files in this folder.
    fn available(&self, dir: &Path) -> io::Result<u64>;

    /// Asked before each access to the database file; an error takes the place of the access.
    fn admit(&self, access: DiskAccess) -> io::Result<()> {
        let _ = access;
        Ok(())
    }
}

/// The disk that the state folder is on.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn available(&self, dir: &Path) -> io::Result<u64> {
        let space = rustix::fs::statvfs(dir)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }
}

/// The database file, with a [`Disk`] that is asked before each change.
#[derive(Debug)]
pub(crate) struct Backend {
    file: FileBackend,
    disk: Arc<dyn Disk>,
}

impl Backend {
    pub(crate) fn open(path: &Path, disk: Arc<dyn Disk>) -> Result<Backend, redb::DatabaseError> {
        use std::os::unix::fs::OpenOptionsExt;
        // Password hashes and sealed secrets are in it: nobody else reads it.
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        Ok(Backend { file: FileBackend::new(file)?, disk })
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.admit(DiskAccess::Grow { length: len })?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.admit(DiskAccess::Sync)?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk.admit(DiskAccess::Write { offset, bytes: data.len() })?;
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}

/// Space held to be given up: a file of its own beside the database.
#[derive(Debug)]
pub(crate) struct Ballast {
    path: PathBuf,
    bytes: u64,
}

impl Ballast {
    /// The ballast of this folder, whether it is there or not.
    pub(crate) fn of(dir: &Path, bytes: u64) -> Ballast {
        Ballast { path: dir.join("leasehold.ballast"), bytes }
    }

    /// Bytes that are still to be taken from the disk until the ballast is whole.
    pub(crate) fn missing(&self) -> u64 {
        use std::os::unix::fs::MetadataExt;
        // Blocks, not length: a sparse file holds no space.
        let held = fs::metadata(&self.path).map_or(0, |meta| meta.blocks().saturating_mul(512));
        self.bytes.saturating_sub(held)
    }

    pub(crate) fn take(&self) -> io::Result<()> {
        if self.missing() == 0 {
            return Ok(());
        }
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&self.path)?;
        let taken = reserve(&file, self.bytes);
        if taken.is_err() {
            self.release();
        }
        taken
    }

    pub(crate) fn release(&self) -> bool {
        match fs::remove_file(&self.path) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => {
                tracing::warn!(%error, path = %self.path.display(), "cannot give up the ballast");
                false
            }
        }
    }
}

/// Makes the disk set aside this many bytes for the file.
fn reserve(mut file: &File, bytes: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(()),
        // A file system without fallocate gets bytes, and ones that do not compress away.
        Err(rustix::io::Errno::OPNOTSUPP) => {
            let mut state = 0x9e37_79b9_7f4a_7c15_u64;
            let mut block = [0; 64 * 1024];
            let mut left = bytes;
            while left > 0 {
                for word in block.chunks_exact_mut(8) {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    word.copy_from_slice(&state.to_le_bytes());
                }
                let now = usize::try_from(left).map_or(block.len(), |left| left.min(block.len()));
                file.write_all(&block[..now])?;
                left = left.saturating_sub(now as u64);
            }
            file.sync_all()
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ballast_holds_space_and_gives_it_up() {
        let dir = tempfile::tempdir().expect("a folder");
        let ballast = Ballast::of(dir.path(), 1 << 20);
        assert_eq!(ballast.missing(), 1 << 20);
        ballast.take().expect("there is space");
        assert_eq!(ballast.missing(), 0);
        assert!(ballast.release());
        assert_eq!(ballast.missing(), 1 << 20);
        assert!(!ballast.release());
    }

    #[test]
    fn the_real_disk_has_space() {
        let dir = tempfile::tempdir().expect("a folder");
        assert!(RealDisk.available(dir.path()).expect("it can be asked") > 0);
        assert!(RealDisk.available(&dir.path().join("absent")).is_err());
    }
}
