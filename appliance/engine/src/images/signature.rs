//! What a file is by the marks that formats leave in it, for those that are no disk as they stand.
//!
//! In: a file that does not begin as qcow2 does. Out: the format that it is, with what to do about it. A file that
//! is taken for raw is written to a disk as it is, so whoever says "raw" of another format would have its metadata
//! (file names, extents, keys) written, and read by whoever trusts the word: CVE-2024-32498 and its kin. The offsets
//! are those of the formats' own specifications, and those that QEMU and oslo.utils' `format_inspector` probe.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Where a mark stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// So many bytes from the start.
    Start(u64),
    /// So many bytes before the end.
    End(u64),
}

use Place::{End, Start};

/// A format, by bytes at a place.
type Signature = (Place, &'static [u8], &'static str);

const CONVERT: &str = "convert it with qemu-img convert -O qcow2";
const UNPACK: &str = "unpack it first";
const NO_DISK: &str = "it is not the content of a disk";

/// The formats of one remedy.
const TABLE: [(&str, &[Signature]); 3] = [
    (
        CONVERT,
        &[
            (Start(0), b"KDMV", "a VMDK image"),
            (Start(0), b"COWD", "a VMDK image (ESX sparse)"),
            (Start(0), b"# Disk DescriptorFile", "the descriptor of a VMDK image"),
            (Start(0), b"vhdxfile", "a VHDX image"),
            (Start(0), b"conectix", "a VHD image"),
            // A VHD of fixed size is the disk with a footer; early ones have one of 511 bytes.
            (End(512), b"conectix", "a VHD image"),
            (End(511), b"conectix", "a VHD image"),
            (Start(0x40), b"\x7f\x10\xda\xbe", "a VDI image"),
            (Start(0), b"QED\0", "a QED image"),
            (Start(0), b"WithoutFreeSpace", "a Parallels image"),
            (Start(0), b"WithouFreSpacExt", "a Parallels image"),
            (Start(0), b"Bochs Virtual HD Image", "a Bochs image"),
            (Start(0), b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop", "a cloop image"),
            (End(512), b"koly", "a DMG image"),
        ],
    ),
    (
        UNPACK,
        &[
            (Start(0), b"\x1f\x8b", "a gzip file"),
            (Start(0), b"\xfd7zXZ\0", "an xz file"),
            (Start(0), b"\x28\xb5\x2f\xfd", "a zstd file"),
            (Start(0), b"BZh", "a bzip2 file"),
            (Start(0), b"\x04\x22\x4d\x18", "an lz4 file"),
            (Start(0), b"LZIP", "an lzip file"),
            (Start(0), b"PK\x03\x04", "a zip file"),
            (Start(0), b"7z\xbc\xaf\x27\x1c", "a 7z file"),
            (Start(0), b"Rar!\x1a\x07", "a rar file"),
            (Start(257), b"ustar", "a tar or OVA archive"),
        ],
    ),
    (
        NO_DISK,
        &[
            (Start(0), b"LUKS\xba\xbe", "an encrypted LUKS volume"),
            // The volume descriptors of ISO 9660 and UDF begin at sector 16, of 2048 bytes each.
            (Start(0x8001), b"CD001", "an ISO 9660 image of a CD or DVD"),
            (Start(0x8001), b"BEA01", "a UDF image of a DVD"),
            (Start(0), b"MSWIM\0\0\0", "a WIM archive"),
            (Start(0), b"hsqs", "a squashfs file system"),
            (Start(3), b"NTFS    ", "an NTFS file system without its disk"),
            (Start(3), b"EXFAT   ", "an exFAT file system without its disk"),
        ],
    ),
];

/// Why the file is no raw disk: "a VMDK image: convert it …". `None`: no format's mark is in it.
pub(super) fn other_format(file: &File) -> io::Result<Option<String>> {
    let size = file.metadata()?.len();
    for (remedy, signatures) in TABLE {
        for (place, mark, what) in signatures {
            if stands(file, size, *place, mark)? {
                return Ok(Some(format!("{what}: {remedy}")));
            }
        }
    }
    Ok(None)
}

fn stands(file: &File, size: u64, place: Place, mark: &[u8]) -> io::Result<bool> {
    let at = match place {
        Start(offset) => Some(offset),
        End(distance) => size.checked_sub(distance),
    };
    let Some(at) = at.filter(|at| at.saturating_add(mark.len() as u64) <= size) else { return Ok(false) };
    let mut found = [0; 64];
    let found = &mut found[..mark.len()];
    file.read_exact_at(found, at)?;
    Ok(found == mark)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    /// A raw disk with a partition table, and larger than any place in the table.
    const DISK: usize = 0x9000;

    fn disk() -> Vec<u8> {
        let mut disk = vec![0; DISK];
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        disk
    }

    fn found(bytes: &[u8]) -> Option<String> {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).expect("written");
        other_format(&file).expect("read")
    }

    fn all() -> impl Iterator<Item = &'static Signature> {
        TABLE.iter().flat_map(|(_, signatures)| signatures.iter())
    }

    fn at(place: Place, size: usize) -> usize {
        match place {
            Start(offset) => usize::try_from(offset).expect("small"),
            End(distance) => size - usize::try_from(distance).expect("small"),
        }
    }

    #[test]
    fn every_format_is_told_by_name_even_where_it_has_a_partition_table() {
        for (place, mark, what) in all() {
            let mut bytes = disk();
            bytes[at(*place, DISK)..][..mark.len()].copy_from_slice(mark);
            let told = found(&bytes).unwrap_or_default();
            assert!(told.starts_with(what), "{what}: {told}");
            // One byte of the mark is another.
            bytes[at(*place, DISK) + mark.len() - 1] ^= 0xff;
            assert_eq!(found(&bytes), None, "{what}");
        }
        assert_eq!(found(&disk()), None);
    }

    #[test]
    fn marks_fit_what_is_read_of_them() {
        assert!(all().all(|(_, mark, _)| (2..=64).contains(&mark.len())));
    }

    proptest! {
        #[test]
        fn any_file_is_told_and_only_by_a_mark_that_stands_there(bytes in proptest::collection::vec(any::<u8>(), 0..1200)) {
            let holds = |(place, mark, _): &&Signature| match place {
                Start(offset) => bytes.get(usize::try_from(*offset).expect("small")..).is_some_and(|rest| rest.starts_with(mark)),
                End(distance) => bytes
                    .len()
                    .checked_sub(usize::try_from(*distance).expect("small"))
                    .is_some_and(|at| bytes[at..].starts_with(mark)),
            };
            let told = found(&bytes);
            match all().find(holds) {
                Some((_, _, what)) => prop_assert!(told.expect("a format").starts_with(what)),
                None => prop_assert_eq!(told, None),
            }
        }

        #[test]
        fn a_cut_never_makes_an_error(which in 0_usize..31, length in 0_usize..DISK) {
            let (place, mark, _) = all().nth(which % all().count()).expect("in range");
            let mut bytes = disk();
            bytes[at(*place, DISK)..][..mark.len()].copy_from_slice(mark);
            bytes.truncate(length);
            let _either_is_fine = found(&bytes);
        }
    }
}
