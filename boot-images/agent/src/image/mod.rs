//! An image's way from the appliance to the disk, checked twice: as it arrives and as it lies there.
//! In: an image's description (`standby.prepare_image`), the network, a chosen disk. Out: the image on the disk, the
//! last of it (its first block, with the partition table) only when all the rest has been read back and was right.
//! `source` finds out what there is to fetch; `blocks` writes by a block map, `raw` a plain stream; `config_drive`
//! unpacks the config drive.
mod blocks;
mod config_drive;
mod raw;
mod source;

pub use blocks::write_blocks;
pub use config_drive::{MAX_CONFIG_DRIVE, config_drive};
pub use raw::write_raw;
pub use source::{Expected, Pace, Source, validate};

use crate::disk::{Disk, has_signature};
use crate::failure::{Failure, Kind};

/// Refuses an image whose partition table is made for other sectors than the disk has.
pub(crate) fn check_sectors(start: &[u8], disk: &Disk) -> Result<(), Failure> {
    match has_signature(start) {
        Some(image) if image != disk.sector() => Err(Failure::new(
            Kind::ImageWrite,
            crate::disk::GptError::SectorSize { image, disk: disk.sector() }.to_string() + "; nothing was written",
        )),
        _ => Ok(()),
    }
}
