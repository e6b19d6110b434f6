//! One disk, open: reads and writes at places, zeroing by the fastest way that is sure, and caches that do not lie.

use super::aligned::PAGE;
use crate::kernel;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// Zeroing works in pieces of this size, so that progress shows and one call never blocks for minutes.
pub(super) const PIECE: u64 = 256 << 20;
const BUFFER: usize = 1 << 20;

/// An open disk, or a file that stands for one in tests.
#[derive(Debug)]
pub struct Disk {
    file: File,
    /// The same disk past the page cache, where that can be had: what is whole pages goes this way, without a copy, and
    /// what is read comes from the device and not from memory. No page is ever touched by both ways at once.
    direct: Option<File>,
    name: String,
    size: u64,
    sector: u32,
    block_device: bool,
}

/// How zeros came onto a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zeroing {
    /// The device did it by itself.
    Offloaded,
    /// Zeros were written over the wire of the disk.
    Written,
}

impl Disk {
    /// Opens a block device for the agent alone: a disk that something has mounted or assembled is refused.
    ///
    /// # Errors
    /// `EBUSY` when the disk is in use, and the kernel's others.
    pub fn open(path: &Path) -> io::Result<Disk> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(rustix::fs::OFlags::EXCL.bits() as i32)
            .open(path)
            .map_err(|error| match error.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::BUSY) => io::Error::new(
                    io::ErrorKind::ResourceBusy,
                    "the disk is in use in this ramdisk (mounted, or part of a RAID that was assembled)",
                ),
                _ => error,
            })?;
        let sector = rustix::fs::ioctl_blksszget(&file)?;
        Self::of(file, path, sector)
    }

    /// A regular file as a disk of the given sector size.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open_file(path: &Path, sector: u32) -> io::Result<Disk> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Self::of(file, path, sector)
    }

    fn of(mut file: File, path: &Path, sector: u32) -> io::Result<Disk> {
        let size = io::Seek::seek(&mut file, io::SeekFrom::End(0))?;
        let block_device = file.metadata()?.file_type().is_block_device();
        if !sector.is_power_of_two() || !(512..=65536).contains(&sector) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the disk claims sectors of {sector} bytes"),
            ));
        }
        // Not exclusively once more: the first open holds the disk.
        let past_the_cache = rustix::fs::OFlags::DIRECT.bits() as i32;
        let direct = OpenOptions::new().read(true).write(true).custom_flags(past_the_cache).open(path).ok();
        Ok(Disk { file, direct, name: path.display().to_string(), size, sector, block_device })
    }

    /// For messages, for example `/dev/sda`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of a logical sector.
    #[must_use]
    pub fn sector(&self) -> u32 {
        self.sector
    }

    /// Fills `out` from `offset`.
    ///
    /// # Errors
    /// The device's.
    pub fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if let Some(direct) = self.direct_for(offset, out) {
            match direct.read_exact_at(out, offset) {
                Err(error) if cannot(&error) => {}
                done => return done,
            }
        }
        self.file.read_exact_at(out, offset)
    }

    /// Writes all of `bytes` at `offset`, never past the end.
    ///
    /// # Errors
    /// The device's, or when it would write past the end.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if offset.checked_add(bytes.len() as u64).is_none_or(|end| end > self.size) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "this would write past the end of the disk"));
        }
        if let Some(direct) = self.direct_for(offset, bytes) {
            match direct.write_all_at(bytes, offset) {
                Err(error) if cannot(&error) => {}
                done => return done,
            }
        }
        self.file.write_all_at(bytes, offset)
    }

    /// The way past the page cache, for whole pages out of page-aligned memory ([`Aligned`](super::Aligned)).
    fn direct_for(&self, offset: u64, bytes: &[u8]) -> Option<&File> {
        let whole = offset.is_multiple_of(PAGE as u64) && bytes.len().is_multiple_of(PAGE);
        let aligned = bytes.as_ptr().align_offset(PAGE) == 0;
        self.direct.as_ref().filter(|_| whole && aligned && !bytes.is_empty())
    }

    /// Zeros a range by the fastest way whose outcome the kernel answers for: the device's own zeroing, else zeros
    /// that are written. `progress` hears bytes done.
    ///
    /// # Errors
    /// The device's.
    pub fn zero(&self, offset: u64, length: u64, mut progress: impl FnMut(u64)) -> io::Result<Zeroing> {
        let end = self.clamp(offset, length)?;
        let mut how = Zeroing::Offloaded;
        let mut at = offset;
        while at < end {
            let piece = PIECE.min(end - at);
            if how == Zeroing::Offloaded && !self.offload_zeros(at, piece)? {
                how = Zeroing::Written;
            }
            if how == Zeroing::Written {
                self.write_zeros(at, piece, |_| {})?;
            }
            at += piece;
            progress(at - offset);
        }
        Ok(how)
    }

    /// Zeros a range by writing zeros, come what may: for devices that only pretend.
    ///
    /// # Errors
    /// The device's.
    pub fn write_zeros(&self, offset: u64, length: u64, mut progress: impl FnMut(u64)) -> io::Result<()> {
        let end = self.clamp(offset, length)?;
        let zeros = vec![0u8; BUFFER];
        let mut at = offset;
        while at < end {
            let piece = (BUFFER as u64).min(end - at);
            self.file.write_all_at(&zeros[..usize::try_from(piece).unwrap_or(BUFFER)], at)?;
            at += piece;
            progress(at - offset);
        }
        Ok(())
    }

    /// Whether the device (or the file system under a file) zeroed the range by itself.
    fn offload_zeros(&self, offset: u64, length: u64) -> io::Result<bool> {
        let sector = u64::from(self.sector);
        if !offset.is_multiple_of(sector) || !length.is_multiple_of(sector) {
            return Ok(false);
        }
        // On a block device the kernel makes of this a "write zeroes, unmap if you like" without a fallback; the range
        // is guaranteed to read as zeros, unlike after a discard.
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.file, flags, offset, length) {
            Ok(()) => Ok(true),
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::IO) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Tells the device that nothing on it is needed any more. False where it has no discard.
    ///
    /// # Errors
    /// The device's.
    pub fn discard_all(&self, mut progress: impl FnMut(u64)) -> io::Result<bool> {
        if !self.block_device {
            return Ok(false);
        }
        let mut at = 0;
        while at < self.size {
            let piece = (PIECE * 16).min(self.size - at);
            match kernel::discard(&self.file, at, piece) {
                Ok(()) => {}
                Err(Errno::OPNOTSUPP | Errno::NOTTY | Errno::INVAL) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
            at += piece;
            progress(at);
        }
        Ok(true)
    }

    /// Every byte of the range is zero.
    ///
    /// # Errors
    /// The device's.
    pub fn is_zero(&self, offset: u64, length: u64) -> io::Result<bool> {
        let end = self.clamp(offset, length)?;
        let mut buffer = vec![0u8; BUFFER.min(usize::try_from(length).unwrap_or(BUFFER))];
        let mut at = offset;
        while at < end {
            let piece = buffer.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
            self.file.read_exact_at(&mut buffer[..piece], at)?;
            if !all_zero(&buffer[..piece]) {
                return Ok(false);
            }
            at += piece as u64;
        }
        Ok(true)
    }

    /// Everything written is on the device, and the next read asks the device itself.
    ///
    /// # Errors
    /// The device's: what was written before may be lost.
    pub fn settle(&self) -> io::Result<()> {
        self.file.sync_all()?;
        if self.block_device {
            kernel::drop_caches(&self.file)?;
        }
        Ok(())
    }

    /// Has the kernel read the partition table anew; on a file, or a device that the kernel makes no partitions of,
    /// there is nothing to do.
    ///
    /// # Errors
    /// `EBUSY` while a partition of the old table is in use.
    pub fn reread_partitions(&self) -> io::Result<()> {
        if !self.block_device {
            return Ok(());
        }
        match kernel::reread_partitions(&self.file) {
            Ok(()) | Err(Errno::INVAL | Errno::NOTTY) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn clamp(&self, offset: u64, length: u64) -> io::Result<u64> {
        match offset.checked_add(length) {
            Some(end) if end <= self.size => Ok(end),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "the range reaches past the end of the disk")),
        }
    }
}

/// The transfer is not one that this device or file system does past the page cache (wider alignment, none at all).
fn cannot(error: &io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw_os_error), Some(Errno::INVAL | Errno::OPNOTSUPP))
}

/// Eight bytes at a time.
pub(super) fn all_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    words.iter().all(|word| u64::from_ne_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A disk of `size` bytes full of `fill`, gone with the returned folder.
    pub(crate) fn disk(size: u64, fill: u8, sector: u32) -> (tempfile::TempDir, Disk) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        std::fs::write(&path, vec![fill; usize::try_from(size).unwrap()]).unwrap();
        let disk = Disk::open_file(&path, sector).unwrap();
        (folder, disk)
    }

    #[test]
    fn zeroing_hits_its_range_and_nothing_else() {
        let (_folder, disk) = disk(4 << 20, 0xaa, 512);
        let mut heard = 0;
        disk.zero(4096, 1 << 20, |done| heard = done).unwrap();
        assert_eq!(heard, 1 << 20);
        assert!(disk.is_zero(4096, 1 << 20).unwrap());
        let mut around = [0u8; 2];
        disk.read_at(4095, &mut around).unwrap();
        assert_eq!(around, [0xaa, 0]);
        disk.read_at(4096 + (1 << 20) - 1, &mut around).unwrap();
        assert_eq!(around, [0, 0xaa]);
        // An odd range goes by writing.
        assert_eq!(disk.zero(7, 10, |_| {}).unwrap(), Zeroing::Written);
        assert!(disk.is_zero(7, 10).unwrap() && !disk.is_zero(6, 11).unwrap());
    }

    #[test]
    fn both_ways_to_the_disk_show_the_same_bytes() {
        let (_folder, disk) = disk(1 << 20, 0xaa, 512);
        let mut page = super::super::Aligned::new(2 * PAGE);
        page.set_length(2 * PAGE);
        // Dirty in the page cache, then over it by pages, then a part of it by the cache again.
        disk.write_at(PAGE as u64 + 100, &[1; 200]).unwrap();
        page.fill(2);
        disk.write_at(PAGE as u64, &page).unwrap();
        disk.write_at(2 * PAGE as u64 - 3, &[3; 6]).unwrap();
        for offset in [0, PAGE as u64, 2 * PAGE as u64] {
            let mut unaligned = vec![0; 2 * PAGE + 1];
            disk.read_at(offset, &mut unaligned[1..]).unwrap();
            disk.read_at(offset, &mut page).unwrap();
            assert!(page[..] == unaligned[1..], "{offset}");
        }
        let mut around = [0; 10];
        disk.read_at(2 * PAGE as u64 - 5, &mut around).unwrap();
        assert_eq!(around, [2, 2, 3, 3, 3, 3, 3, 3, 2, 2]);
    }

    #[test]
    fn nothing_is_written_past_the_end() {
        let (_folder, disk) = disk(8192, 0, 512);
        assert!(disk.write_at(8191, &[1, 2]).is_err());
        assert!(disk.write_at(u64::MAX, &[1]).is_err());
        assert!(disk.zero(8000, 193, |_| {}).is_err());
        assert!(disk.is_zero(0, 8193).is_err());
        assert_eq!(disk.size(), 8192);
    }
}
