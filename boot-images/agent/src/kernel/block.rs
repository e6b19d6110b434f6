//! Block devices (linux/fs.h).

use rustix::ioctl::{NoArg, Opcode, Setter, ioctl, opcode};
use std::os::fd::AsFd;

const BLKRRPART: Opcode = opcode::none(0x12, 95);
const BLKFLSBUF: Opcode = opcode::none(0x12, 97);
const BLKDISCARD: Opcode = opcode::none(0x12, 119);

/// Tells the device that a range of bytes is no longer needed. What it reads as afterwards is up to the device.
///
/// # Errors
/// `EOPNOTSUPP` where the device has no discard; `EINVAL` when the range is not aligned to sectors.
pub fn discard(disk: impl AsFd, offset: u64, length: u64) -> rustix::io::Result<()> {
    // SAFETY: BLKDISCARD reads two u64 (start, length in bytes) from the pointer, which Setter points at the array.
    unsafe { ioctl(disk, Setter::<BLKDISCARD, [u64; 2]>::new([offset, length])) }
}

/// Writes out and forgets what the kernel holds of the device, so that the next read comes from the device itself.
///
/// # Errors
/// The kernel's, `ENOTTY` on what is no block device.
pub fn drop_caches(disk: impl AsFd) -> rustix::io::Result<()> {
    // SAFETY: BLKFLSBUF takes no argument.
    unsafe { ioctl(disk, NoArg::<BLKFLSBUF>::new()) }
}

/// Has the kernel read the partition table anew.
///
/// # Errors
/// `EBUSY` while a partition of the old table is in use.
pub fn reread_partitions(disk: impl AsFd) -> rustix::io::Result<()> {
    // SAFETY: BLKRRPART takes no argument.
    unsafe { ioctl(disk, NoArg::<BLKRRPART>::new()) }
}
