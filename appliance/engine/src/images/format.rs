//! What an image file is, by its content, and a way to read it as a raw disk.

use super::ImageError;
use imago::file::File as ImagoFile;
use imago::qcow2::Qcow2;
use imago::{DenyImplicitOpenGate, FormatAccess, FormatDriverBuilder, StorageOpenOptions};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A disk image that can be read at any place.
pub(super) enum Source {
    Raw { file: File, size: u64 },
    Qcow2 { image: Box<FormatAccess<ImagoFile>>, size: u64 },
}

/// Formats that people hand in and that are no disk image as it stands, by their first bytes.
const OTHERS: [(&[u8], &str); 9] = [
    (b"\x1f\x8b", "a gzip file: unpack it first"),
    (b"\xfd7zXZ\0", "an xz file: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a zstd file: unpack it first"),
    (b"BZh", "a bzip2 file: unpack it first"),
    (b"PK\x03\x04", "a zip file: unpack it first"),
    (b"KDMV", "a VMDK image: convert it with qemu-img convert -O qcow2"),
    (b"vhdxfile", "a VHDX image: convert it with qemu-img convert -O qcow2"),
    (b"conectix", "a VHD image: convert it with qemu-img convert -O qcow2"),
    (b"QED\0", "a QED image: convert it with qemu-img convert -O qcow2"),
];

/// Opens an image file, `max_size` being the largest disk that is taken.
pub(super) fn open(path: &Path, max_size: u64) -> Result<Source, ImageError> {
    let mut file = File::open(path)?;
    let mut head = Vec::new();
    Read::by_ref(&mut file).take(512).read_to_end(&mut head)?;
    let source = if head.starts_with(b"QFI\xfb") {
        check_qcow2(&head)?;
        open_qcow2(path)?
    } else {
        check_raw(&head)?;
        Source::Raw { size: file.metadata()?.len(), file }
    };
    match source.size() {
        0 => Err(ImageError::Format("it is empty".into())),
        size if size > max_size => Err(ImageError::Format(format!(
            "it is {} GiB large, more than the {} GiB that the configuration allows",
            size >> 30,
            max_size >> 30
        ))),
        _ => Ok(source),
    }
}

fn check_raw(head: &[u8]) -> Result<(), ImageError> {
    if let Some((_, what)) = OTHERS.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Err(ImageError::Format(format!("it is {what}")));
    }
    if head.get(510..512) != Some(&[0x55, 0xaa]) {
        return Err(ImageError::Format(
            "it is neither qcow2 nor a raw disk with a partition table; partition images are not supported".into(),
        ));
    }
    Ok(())
}

/// Refuses what would read other files than this one, before the library opens it.
fn check_qcow2(head: &[u8]) -> Result<(), ImageError> {
    let number = |range: std::ops::Range<usize>| -> Option<u64> {
        Some(head.get(range)?.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    };
    let version = number(4..8);
    if !matches!(version, Some(2 | 3)) {
        return Err(ImageError::Format(format!("it is qcow2 of unknown version {}", version.unwrap_or(0))));
    }
    if number(8..16) != Some(0) {
        return Err(ImageError::Format(
            "it is a qcow2 image with a backing file: flatten it with qemu-img convert -O qcow2".into(),
        ));
    }
    if number(32..36) != Some(0) {
        return Err(ImageError::Format("it is an encrypted qcow2 image".into()));
    }
    const EXTERNAL_DATA: u64 = 1 << 2;
    if version == Some(3) && number(72..80).is_none_or(|features| features & EXTERNAL_DATA != 0) {
        return Err(ImageError::Format("it is a qcow2 image whose data is in another file".into()));
    }
    Ok(())
}

fn open_qcow2(path: &Path) -> Result<Source, ImageError> {
    let unusable =
        |error: std::io::Error| ImageError::Format(format!("it is a broken or unsupported qcow2 image: {error}"));
    let storage = ImagoFile::from_open_file(File::open(path)?, StorageOpenOptions::new()).map_err(unusable)?;
    let qcow2 = Qcow2::<ImagoFile>::builder(storage).open(DenyImplicitOpenGate::default()).map_err(unusable)?;
    let image = Box::new(FormatAccess::new(qcow2));
    Ok(Source::Qcow2 { size: image.size(), image })
}

impl Source {
    /// Bytes of the disk.
    pub(super) fn size(&self) -> u64 {
        match self {
            Source::Raw { size, .. } | Source::Qcow2 { size, .. } => *size,
        }
    }

    /// `raw` or `qcow2`.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Source::Raw { .. } => "raw",
            Source::Qcow2 { .. } => "qcow2",
        }
    }

    /// Fills `buffer` from `offset` on; holes read as zeros.
    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        match self {
            Source::Raw { file, .. } => file.read_exact_at(buffer, offset),
            Source::Qcow2 { image, .. } => image.read(buffer, offset),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), bytes).expect("written");
        file
    }

    fn refused(bytes: &[u8]) -> String {
        open(written(bytes).path(), 1 << 40).err().expect("a refusal").to_string()
    }

    #[test]
    fn a_disk_with_a_partition_table_is_raw_whatever_else() {
        let mut disk = vec![0; 1024];
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        let file = written(&disk);
        assert_eq!(open(file.path(), 1 << 40).expect("a disk").name(), "raw");
        assert!(open(file.path(), 1000).is_err(), "larger than allowed");
    }

    #[test]
    fn what_is_no_disk_is_named() {
        assert!(refused(b"\x1f\x8b\x08rest").contains("gzip"));
        assert!(refused(&[0; 2048]).contains("partition table"));
        assert!(refused(b"").contains("partition table"));
    }

    #[test]
    fn a_qcow2_that_reaches_for_other_files_is_refused() {
        let mut head = vec![0; 512];
        head[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
        head[15] = 0x70;
        assert!(refused(&head).contains("backing file"));
        head[15] = 0;
        head[79] = 4;
        assert!(refused(&head).contains("another file"));
    }

    proptest! {
        #[test]
        fn any_qcow2_header_is_read_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 8..4096)) {
            bytes[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
            if let Ok(source) = open(written(&bytes).path(), 1 << 30) {
                let mut buffer = vec![0; 512.min(usize::try_from(source.size()).unwrap_or(512))];
                let _either_is_fine = source.read_at(&mut buffer, 0);
            }
        }
    }
}
