//! Disks: finding them, choosing one, reading and writing them, their partition tables, and wiping them.
//! In: `/sys`, the owner's hints, an open device or (in tests) a file. Out: chosen disks, checked bytes, partitions.
//! `device` is the only place that touches a disk's bytes, `aligned` is memory from and to which that needs no copy;
//! `gpt` and `mbr` know the layouts; `list` reads what the kernel knows; `hints` picks; `wipe` erases and proves it.
mod aligned;
mod device;
mod gpt;
mod hints;
mod list;
mod mbr;
mod wipe;

pub use aligned::Aligned;
pub use device::{Disk, Zeroing};
pub use gpt::{CONFIG_LABEL, ESP_TYPE, Gpt, GptError, Partition, crc32, has_signature};
pub use hints::{HintError, Hints, choose};
pub use list::{Found, list, partitions_of};
pub use mbr::{Mbr, MbrError};
pub use wipe::{WipeError, erase, wipe_metadata, wipe_partition_tables};

#[cfg(test)]
pub(crate) mod tests {
    pub(crate) use super::gpt::tests::{protective_mbr, table};
}
