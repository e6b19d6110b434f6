//! The image that is deployed, and what is on a disk: this image with a config drive, zeros, or neither.

use anyhow::{Context, Result, bail, ensure};
use gpt::GptConfig;
use gpt::disk::LogicalBlockSize;
use gpt::mbr::ProtectiveMBR;
use leasehold_agent::disk::{Disk, Gpt};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};

pub(crate) const SECTOR: u32 = 512;
const MIB: usize = 1 << 20;
/// Bytes of the image: a table, a partition with data, a hole, more data.
const SIZE: usize = 12 * MIB;
/// Bytes of the node's disk.
pub(crate) const DISK: u64 = 32 << 20;
/// At both ends the tables are made new for the disk they come to.
const TABLE: usize = 34 * SECTOR as usize;
/// Marks the deployment in the config drive's user data.
pub(crate) const NONCE: &str = "leasehold-crash-nonce:";
const NONCE_LENGTH: usize = 32;

/// An image in a file.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) path: PathBuf,
    pub sha256: String,
    bytes: Vec<u8>,
}

impl Image {
    /// Writes one into the folder.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn make(folder: &Path) -> Result<Image> {
        let mut bytes = vec![0; SIZE];
        noise(1, &mut bytes[2 * MIB..5 * MIB]);
        noise(2, &mut bytes[9 * MIB..10 * MIB + 777]);
        let mut device = Cursor::new(bytes);
        let sectors = u32::try_from(SIZE)? / SECTOR;
        ProtectiveMBR::with_lb_size(sectors - 1).overwrite_lba0(&mut device)?;
        let mut table = GptConfig::new()
            .writable(true)
            .logical_block_size(LogicalBlockSize::Lb512)
            .create_from_device(device, Some(uuid::Uuid::from_u128(1)))?;
        let root = gpt::partition::Partition {
            part_type_guid: gpt::partition_types::LINUX_FS,
            part_guid: uuid::Uuid::from_u128(2),
            first_lba: 4096,
            last_lba: 4096 + 16383,
            flags: 0,
            name: "root".into(),
        };
        table.update_partitions(BTreeMap::from([(1, root)]))?;
        let bytes = table.write()?.into_inner();
        let path = folder.join("system.raw");
        std::fs::write(&path, &bytes)?;
        Ok(Image { path, sha256: hex::encode(Sha256::digest(&bytes)), bytes })
    }

    /// What a machine finds that starts from this disk: the nonce of the deployment that wrote it.
    ///
    /// # Errors
    /// Why it does not start, or is not what was to be deployed.
    pub(crate) fn start(&self, disk: &Path) -> Result<String> {
        let content = std::fs::read(disk)?;
        let system = TABLE..SIZE - TABLE;
        ensure!(content[system.clone()] == self.bytes[system], "the disk does not hold the image");
        let disk = Disk::open_file(disk, SECTOR)?;
        let table = Gpt::read(&disk)?.context("the disk has no partition table")?;
        let partitions = table.partitions();
        let config = partitions.iter().find(|partition| partition.label == "config-2");
        let config = config.context("the disk has no config drive")?;
        let place = |sector: u64| usize::try_from(sector * u64::from(SECTOR));
        let drive = &content[place(config.first)?..place(config.last + 1)?];
        let mark = NONCE.as_bytes();
        let at = drive.windows(mark.len()).position(|window| window == mark);
        let at = at.context("the config drive holds no nonce")? + mark.len();
        Ok(String::from_utf8(drive[at..at + NONCE_LENGTH].to_vec())?)
    }
}

/// Whether nothing is left on a disk.
///
/// # Errors
/// The first byte that is left.
pub(crate) fn must_be_empty(disk: &Path) -> Result<()> {
    match std::fs::read(disk)?.iter().position(|byte| *byte != 0) {
        Some(at) => bail!("the wiped disk still holds data at byte {at}"),
        None => Ok(()),
    }
}

/// A disk full of somebody's data.
///
/// # Errors
/// The disk's.
pub(crate) fn make_used_disk(path: &Path) -> Result<()> {
    let mut bytes = vec![0; usize::try_from(DISK)?];
    noise(3, &mut bytes);
    Ok(std::fs::write(path, bytes)?)
}

/// Bytes that do not compress and are the same in every run.
pub(crate) fn noise(seed: u64, bytes: &mut [u8]) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for chunk in bytes.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_image_with_its_config_drive_starts() {
        let folder = tempfile::tempdir().unwrap();
        let image = Image::make(folder.path()).unwrap();
        let disk = folder.path().join("disk");
        std::fs::write(&disk, vec![0; DISK as usize]).unwrap();
        must_be_empty(&disk).unwrap();
        assert!(image.start(&disk).unwrap_err().to_string().contains("does not hold the image"));

        let mut content = image.bytes.clone();
        content.resize(DISK as usize, 0);
        std::fs::write(&disk, &content).unwrap();
        let open = Disk::open_file(&disk, SECTOR).unwrap();
        let mut table = Gpt::read(&open).unwrap().unwrap();
        table.resize(DISK).unwrap();
        assert!(image.start(&disk).unwrap_err().to_string().contains("no config drive"));
        let (first, _) = table.config_partition(1 << 20, [7; 16]).unwrap();
        table.write(&open).unwrap();
        assert!(image.start(&disk).unwrap_err().to_string().contains("no nonce"));
        let nonce = "0123456789abcdef0123456789abcdef";
        open.write_at(first + 5000, format!("{NONCE}{nonce}\n").as_bytes()).unwrap();
        assert_eq!(image.start(&disk).unwrap(), nonce);
        assert!(must_be_empty(&disk).is_err());

        open.write_at(3 << 20, b"x").unwrap();
        assert!(image.start(&disk).is_err(), "one wrong byte");
    }
}
