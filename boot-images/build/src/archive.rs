//! Initramfs archives: a cpio of format newc, compressed as one zstd frame.
//!
//! In: a tree. Out: bytes that the kernel unpacks (Documentation/driver-api/early-userspace/buffer-format).
//! zstd at its highest level is 8 % larger than xz here and unpacks several times faster, which counts on emulated
//! and slow processors; Debian's kernels since 5.10 read it.
//! Times are zero and inode numbers count up, so that the same tree gives the same bytes.
//! The length is padded to a multiple of four: loaders put archives directly one after the other.

use std::io::Write;

use anyhow::{Context, Result};
use cpio::newc;

use crate::tree::{Node, Tree};

const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// The uncompressed cpio archive of the tree.
pub(crate) fn cpio(tree: &Tree) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for (number, (path, node)) in (1_u32..).zip(tree.iter()) {
        let builder = newc::Builder::new(path).ino(number).uid(0).gid(0).mtime(0);
        let (builder, data): (_, &[u8]) = match node {
            Node::Folder { mode } => (builder.mode(FOLDER | mode).nlink(2), &[]),
            Node::File { mode, data } => (builder.mode(FILE | mode).nlink(1), data),
            Node::Link { target } => (builder.mode(LINK | 0o777).nlink(1), target.as_bytes()),
            Node::Device { mode, major, minor } => {
                (builder.mode(CHARACTER_DEVICE | mode).nlink(1).rdev_major(*major).rdev_minor(*minor), &[])
            }
        };
        let size = u32::try_from(data.len()).with_context(|| format!("{path} is too large for a cpio archive"))?;
        let mut entry = builder.write(&mut bytes, size);
        entry.write_all(data)?;
        entry.finish()?;
    }
    newc::trailer(&mut bytes)?;
    Ok(bytes)
}

/// The archive of the tree as the kernel takes it.
pub(crate) fn initramfs(tree: &Tree) -> Result<Vec<u8>> {
    let mut bytes = zstd::bulk::compress(&cpio(tree)?, 19).context("zstd refused the archive")?;
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read};

    use proptest::prelude::*;

    use super::*;

    /// Reads an archive back: name, mode, contents.
    fn entries(bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut rest = Cursor::new(bytes.to_vec());
        let mut found = Vec::new();
        loop {
            let mut reader = newc::Reader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                return found;
            }
            let (name, mode) = (reader.entry().name().to_owned(), reader.entry().mode());
            let mut data = Vec::new();
            reader.read_to_end(&mut data).unwrap();
            found.push((name, mode, data));
            rest = reader.finish().unwrap();
        }
    }

    #[test]
    fn every_kind_of_entry_comes_back() {
        let mut tree = Tree::default();
        tree.file("init", 0o755, "#!/bin/sh\n");
        tree.link("bin/sh", "busybox");
        tree.device("dev/console", 0o600, 5, 1);
        let read = entries(&cpio(&tree).unwrap());
        assert_eq!(
            read,
            [
                ("bin".to_owned(), 0o040_755, vec![]),
                ("bin/sh".to_owned(), 0o120_777, b"busybox".to_vec()),
                ("dev".to_owned(), 0o040_755, vec![]),
                ("dev/console".to_owned(), 0o020_600, vec![]),
                ("init".to_owned(), 0o100_755, b"#!/bin/sh\n".to_vec()),
            ]
        );
    }

    #[test]
    fn the_archive_is_one_zstd_frame_padded_for_the_next_one() {
        let mut tree = Tree::default();
        tree.file("a", 0o644, vec![7; 1001]);
        let bytes = initramfs(&tree).unwrap();
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(bytes[..4], [0x28, 0xb5, 0x2f, 0xfd]);
        assert_eq!(bytes, initramfs(&tree).unwrap());
    }

    proptest! {
        #[test]
        fn any_tree_of_files_round_trips(
            files in proptest::collection::btree_map("[a-z]{1,8}", proptest::collection::vec(any::<u8>(), 0..64), 0..8)
        ) {
            let mut tree = Tree::default();
            for (name, data) in &files {
                tree.file(name, 0o640, data.clone());
            }
            let read = entries(&cpio(&tree).unwrap());
            let wanted: Vec<_> = files.into_iter().map(|(name, data)| (name, 0o100_640, data)).collect();
            prop_assert_eq!(read, wanted);
        }
    }
}
