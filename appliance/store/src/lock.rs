//! One program per state folder: a lock file that names its holder.
//!
//! The lock is the kernel's (`flock`), so a killed program never leaves it behind; the number in the file is only for
//! the message.

use crate::error::OpenError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

const NAME: &str = "leasehold.lock";

/// The folder is ours until this is dropped.
#[derive(Debug)]
pub(crate) struct FolderLock {
    file: File,
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // Closing is not enough: a child process that was forked this moment shares the open file until its exec.
        if let Err(error) = self.file.unlock() {
            tracing::debug!(%error, "cannot unlock the state folder");
        }
    }
}

impl FolderLock {
    pub(crate) fn take(dir: &Path) -> Result<FolderLock, OpenError> {
        let path = dir.join(NAME);
        let failed = |source| OpenError::Io { what: "cannot lock", path: path.clone(), source };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::InUse { dir: dir.to_owned(), pid: holder(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        // The number only serves the message: a full disk must not keep the program from starting.
        let written = file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0)));
        if let Err(error) = written.and_then(|_| writeln!(file, "{}", std::process::id())) {
            tracing::warn!(%error, path = %path.display(), "cannot note the process in the lock file");
        }
        Ok(FolderLock { file })
    }
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(20).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_start_is_told_who_holds_the_folder() {
        let dir = tempfile::tempdir().expect("a folder");
        let held = FolderLock::take(dir.path()).expect("free");
        let error = FolderLock::take(dir.path()).expect_err("held");
        assert!(error.to_string().contains(&format!("by the process {}", std::process::id())), "{error}");
        drop(held);
        FolderLock::take(dir.path()).expect("free again");
    }
}
