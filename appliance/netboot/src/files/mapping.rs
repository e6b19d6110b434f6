//! A file mapped into memory, read-only, together with its descriptor. The only place of this crate with a mapping.
//!
//! The rule for everyone who writes boot files: **replace by rename, never change in place.** A renamed-over file
//! stays as it was for whoever maps it. A file that is truncated under its mapping would raise SIGBUS in whoever
//! reads the lost pages through the slice. The servers therefore hand the slice to the kernel only (`sendmsg`,
//! `sendfile`), which answers with EFAULT or a short count instead; the one reader in user space is the netascii
//! translation, which no firmware asks for.
#![allow(unsafe_code)] // memmap2's constructor is unsafe: the kernel cannot promise that nobody changes the file.

use memmap2::Mmap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// A whole file in memory, shared by all its readers.
#[derive(Debug)]
pub struct MappedFile {
    file: File,
    /// None for an empty file, which cannot be mapped.
    map: Option<Mmap>,
}

impl MappedFile {
    /// Maps all of `file` as it is now.
    ///
    /// # Errors
    /// Those of `fstat` and `mmap`.
    pub fn new(file: File) -> io::Result<Self> {
        let map = if file.metadata()?.len() == 0 {
            None
        } else {
            // SAFETY: the mapping is private to reading and lives as long as the slices borrowed from it. That the
            // file does not change meanwhile is the rule stated above; the boot file folder is written by the
            // appliance's own tools only, which replace files by rename.
            Some(unsafe { Mmap::map(&file)? })
        };
        Ok(MappedFile { file, map })
    }

    /// The content.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
    }

    /// The open file, for `sendfile`.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Where in the file `slice` lies, if it is a part of this mapping. As the mapping is alive, no other memory can
    /// have these addresses: a slice between its ends *is* the file's content at that offset.
    #[must_use]
    pub fn offset_of(&self, slice: &[u8]) -> Option<u64> {
        let whole = self.bytes().as_ptr_range();
        let part = slice.as_ptr_range();
        let inside = !slice.is_empty() && whole.start <= part.start && part.end <= whole.end;
        inside.then(|| (part.start as usize - whole.start as usize) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn recognises_its_own_slices_and_no_others() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        let mapped = MappedFile::new(file).unwrap();
        assert_eq!(mapped.bytes(), b"0123456789");
        assert_eq!(mapped.offset_of(mapped.bytes()), Some(0));
        assert_eq!(mapped.offset_of(&mapped.bytes()[3..7]), Some(3));
        assert_eq!(mapped.offset_of(&mapped.bytes()[9..]), Some(9));
        assert_eq!(mapped.offset_of(&mapped.bytes()[4..4]), None);
        assert_eq!(mapped.offset_of(b"0123456789"), None);
    }

    #[test]
    fn an_empty_file_is_an_empty_slice() {
        let mapped = MappedFile::new(tempfile::tempfile().unwrap()).unwrap();
        assert!(mapped.bytes().is_empty());
        assert_eq!(mapped.offset_of(b"x"), None);
    }
}
