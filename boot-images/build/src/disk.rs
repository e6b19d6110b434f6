//! The layout of the system image: GPT, BIOS boot partition, EFI system partition, root partition.
//!
//! In: GRUB's boot sector and core image, the files of the EFI partition, the root file system.
//! Out: the bytes of a whole disk, with the primary table at its start and the backup at its end.
//! All identifiers come from the contents (SHA-256), so the same inputs give the same bytes and two images differ.
//! The root partition carries the name the boot command line asks for: a kernel shows names, but not ids, to user space.
//! Written as bytes to memory or a sparse file: no loop device, mount or privilege.

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Seek, SeekFrom, Write};

use anyhow::{Context, Result, bail};
use fatfs::{Date, DateTime, FatType, FileSystem, FormatVolumeOptions, FsOptions, Time, TimeProvider};
use gpt::GptConfig;
use gpt::disk::LogicalBlockSize;
use gpt::mbr::ProtectiveMBR;
use gpt::partition::Partition;
use gpt::partition_types;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Bytes in a sector. Disks with 4096-byte sectors need another image; the agent refuses this one on them.
pub(crate) const SECTOR: usize = 512;
/// Partitions start and end on multiples of this (in sectors, 1 MiB), as disks and RAID stripes like it.
const ALIGN: usize = 2048;
/// Size of the BIOS boot partition in sectors.
const BIOS_BOOT: usize = ALIGN;
/// Size of the EFI system partition in sectors (48 MiB): room for a second kernel beside the first.
const ESP: usize = 48 * ALIGN;
/// Number of the root partition.
pub(crate) const ROOT_NUMBER: u32 = 3;
/// Partition number of the EFI system partition, where GRUB's core image looks for its configuration.
pub(crate) const ESP_NUMBER: u32 = 2;

/// What goes on the disk.
pub(crate) struct Contents<'a> {
    /// GRUB's boot.img (one sector) and core.img.
    pub(crate) boot_sector: &'a [u8],
    pub(crate) core_image: &'a [u8],
    /// Files of the EFI system partition by path.
    pub(crate) esp: &'a [(&'a str, &'a [u8])],
    /// What all identifiers are made of.
    pub(crate) seed: [u8; 32],
    /// Bytes of the root file system, and the name of its partition.
    pub(crate) root_bytes: u64,
    pub(crate) root_name: &'a str,
}

/// The name of the root partition: from its contents, so that no other image's root is taken for it.
pub(crate) fn root_name(root: &[u8]) -> String {
    format!("leasehold-{}", &hex::encode(Sha256::digest(root))[..16])
}

/// Where things lie, in sectors.
struct Layout {
    bios: usize,
    esp: usize,
    root: usize,
    root_sectors: usize,
    total: usize,
}

impl Layout {
    fn of(root_bytes: u64) -> Result<Layout> {
        let root_sectors = usize::try_from(root_bytes)?.div_ceil(SECTOR);
        let (bios, esp) = (ALIGN, ALIGN + BIOS_BOOT);
        let root = esp + ESP;
        let end = (root + root_sectors).next_multiple_of(ALIGN);
        Ok(Layout { bios, esp, root, root_sectors, total: end + ALIGN })
    }
}

/// Bytes of the whole disk for a root file system of this size.
pub(crate) fn size(root_bytes: u64) -> Result<u64> {
    Ok((Layout::of(root_bytes)?.total * SECTOR) as u64)
}

/// Makes the whole disk in memory, with a root file system that is there.
pub(crate) fn image(contents: &Contents, root: &[u8]) -> Result<Vec<u8>> {
    let bytes = usize::try_from(size(contents.root_bytes)?)?;
    write(Cursor::new(vec![0; bytes]), contents, root).map(Cursor::into_inner)
}

/// Writes the whole disk to a device of zeroes that has the right [`size`]. Zeroes of the root are left out, so that a
/// file stays sparse.
pub(crate) fn write<D>(mut disk: D, contents: &Contents, root: impl Read) -> Result<D>
where
    D: Read + Write + Seek + std::fmt::Debug,
{
    let seed = contents.seed;
    let layout = Layout::of(contents.root_bytes)?;
    let esp = fat(contents.esp, u32::from_le_bytes([seed[0], seed[1], seed[2], seed[3]]))?;
    put(&mut disk, layout.bios, &core_image(contents.core_image, layout.bios as u64)?)?;
    put(&mut disk, layout.esp, &esp)?;
    put_sparse(&mut disk, layout.root, root)?;

    let id = |what: &str| {
        let hash = Sha256::new().chain_update(seed).chain_update(what).finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash[..16]);
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    };
    let part = |type_guid, what: &str, start: usize, sectors: usize, name: &str| Partition {
        part_type_guid: type_guid,
        part_guid: id(what),
        first_lba: start as u64,
        last_lba: (start + sectors - 1) as u64,
        flags: 0,
        name: name.to_owned(),
    };
    let partitions = BTreeMap::from([
        (1, part(partition_types::BIOS, "bios", layout.bios, BIOS_BOOT, "bios-boot")),
        (ESP_NUMBER, part(partition_types::EFI, "esp", layout.esp, ESP, "efi-system")),
        (
            ROOT_NUMBER,
            part(partition_types::LINUX_ROOT_X64, "root", layout.root, layout.root_sectors, contents.root_name),
        ),
    ]);
    let sectors = layout.total as u64;
    table(disk, contents.boot_sector, layout.bios as u64, sectors, id("disk"), partitions)
}

fn put(disk: &mut (impl Write + Seek), sector: usize, data: &[u8]) -> Result<()> {
    disk.seek(SeekFrom::Start((sector * SECTOR) as u64))?;
    disk.write_all(data)?;
    Ok(())
}

/// Copies all of `data`, but for pieces that are zeroes.
fn put_sparse(disk: &mut (impl Write + Seek), sector: usize, mut data: impl Read) -> Result<()> {
    const PIECE: usize = 256 << 10;
    let mut piece = Vec::with_capacity(PIECE);
    let mut sector = sector;
    loop {
        piece.clear();
        data.by_ref().take(PIECE as u64).read_to_end(&mut piece).context("cannot read the root file system")?;
        if piece.iter().any(|byte| *byte != 0) {
            put(disk, sector, &piece)?;
        }
        if piece.len() < PIECE {
            return Ok(());
        }
        sector += PIECE / SECTOR;
    }
}

/// Writes both partition tables and the first sector.
fn table<D>(mut device: D, boot: &[u8], core: u64, sectors: u64, id: Uuid, parts: BTreeMap<u32, Partition>) -> Result<D>
where
    D: Read + Write + Seek + std::fmt::Debug,
{
    let mut mbr = ProtectiveMBR::with_lb_size(u32::try_from(sectors - 1).unwrap_or(u32::MAX));
    mbr.set_bootcode(boot_code(boot, core)?);
    mbr.overwrite_lba0(&mut device).context("cannot write the protective MBR")?;
    let mut gpt = GptConfig::new()
        .writable(true)
        .logical_block_size(LogicalBlockSize::Lb512)
        .create_from_device(device, Some(id))
        .context("cannot make the partition table")?;
    gpt.update_partitions(parts).context("cannot fill the partition table")?;
    gpt.write().context("cannot write the partition table")
}

/// GRUB's boot sector, told where the core image starts (grub-core/boot/i386/pc/boot.S: `kernel_sector` at 0x5c,
/// `boot_drive_check` at 0x66, which on hard disks becomes two no-operations for BIOSes that pass a wrong drive).
fn boot_code(boot: &[u8], core: u64) -> Result<[u8; 440]> {
    let mut code = [0; 440];
    match boot.get(..440) {
        Some(bytes) if boot.len() == SECTOR => code.copy_from_slice(bytes),
        _ => bail!("GRUB's boot.img has {} bytes, not {SECTOR}", boot.len()),
    }
    code[0x5c..0x64].copy_from_slice(&core.to_le_bytes());
    code[0x66..0x68].copy_from_slice(&[0x90, 0x90]);
    Ok(code)
}

/// GRUB's core image, its first sector told where the rest is (diskboot.S: one entry at the sector's end: start (8 bytes),
/// sectors (2), segment (2); grub-mkimage has filled in the last two).
fn core_image(core: &[u8], start: u64) -> Result<Vec<u8>> {
    if core.len() <= SECTOR || core.len() > BIOS_BOOT * SECTOR {
        bail!("GRUB's core image has {} bytes, the partition for it {}", core.len(), BIOS_BOOT * SECTOR);
    }
    let mut core = core.to_vec();
    core[0x1f4..0x1fc].copy_from_slice(&(start + 1).to_le_bytes());
    Ok(core)
}

/// The time every file of the EFI partition carries, the first one FAT can hold.
#[derive(Debug)]
struct Epoch;

impl TimeProvider for Epoch {
    fn get_current_date(&self) -> Date {
        Date { year: 1980, month: 1, day: 1 }
    }
    fn get_current_date_time(&self) -> DateTime {
        DateTime { date: self.get_current_date(), time: Time { hour: 0, min: 0, sec: 0, millis: 0 } }
    }
}

/// A FAT file system of the size of the EFI partition with these files.
fn fat(files: &[(&str, &[u8])], volume_id: u32) -> Result<Vec<u8>> {
    let mut bytes = vec![0_u8; ESP * SECTOR];
    let options =
        FormatVolumeOptions::new().fat_type(FatType::Fat16).volume_id(volume_id).volume_label(*b"EFI-SYSTEM ");
    fatfs::format_volume(Cursor::new(&mut bytes), options).context("cannot format the EFI partition")?;
    let options = FsOptions::new().time_provider(&Epoch);
    let volume = FileSystem::new(Cursor::new(&mut bytes), options).context("cannot open the EFI partition")?;
    for (path, data) in files {
        let mut folder = volume.root_dir();
        let mut parts: Vec<&str> = path.split('/').collect();
        let name = parts.pop().unwrap_or_default();
        for part in parts {
            folder = folder.create_dir(part).with_context(|| format!("cannot make the folder of {path}"))?;
        }
        let mut file = folder.create_file(name).with_context(|| format!("cannot make {path}"))?;
        file.write_all(data).with_context(|| format!("{path} does not fit into the EFI partition"))?;
        file.flush()?;
    }
    volume.unmount().context("cannot finish the EFI partition")?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn contents<'a>(root: &[u8], esp: &'a [(&'a str, &'a [u8])], name: &'a str) -> Contents<'a> {
        static BOOT: [u8; SECTOR] = [0x11; SECTOR];
        static CORE: [u8; 3 * SECTOR] = [0x22; 3 * SECTOR];
        let (seed, root_bytes) = (Sha256::digest(root).into(), root.len() as u64);
        Contents { boot_sector: &BOOT, core_image: &CORE, esp, seed, root_bytes, root_name: name }
    }

    fn disk_of(root: &[u8], esp: &[(&str, &[u8])], name: &str) -> Vec<u8> {
        image(&contents(root, esp, name), root).unwrap()
    }

    #[test]
    fn the_disk_has_two_valid_tables_and_three_partitions() {
        let root = vec![0x5a_u8; 3 * SECTOR];
        let name = root_name(&root);
        let disk = disk_of(&root, &[("EFI/BOOT/BOOTX64.EFI", b"shim")], &name);
        assert_eq!(disk.len() % (ALIGN * SECTOR), 0);
        let gpt = GptConfig::new().writable(false).open_from_device(Cursor::new(disk.clone())).unwrap();
        assert!(gpt.primary_header().is_ok() && gpt.backup_header().is_ok());
        let parts: Vec<_> = gpt.partitions().values().collect();
        assert_eq!(parts.len(), 3);
        assert_eq!(parts[0].part_type_guid, partition_types::BIOS);
        assert_eq!(parts[1].part_type_guid, partition_types::EFI);
        assert_eq!(parts[2].name, name);
        assert!(parts.iter().all(|part| part.first_lba % ALIGN as u64 == 0));
        let start = parts[2].first_lba as usize * SECTOR;
        let end = (parts[2].last_lba as usize + 1) * SECTOR;
        assert_eq!(disk[start..end], root[..]);
    }

    #[test]
    fn grub_is_told_where_its_core_image_is() {
        let disk = disk_of(b"root", &[], "leasehold-x");
        assert_eq!(disk[..4], [0x11; 4]);
        assert_eq!(disk[0x5c..0x64], (ALIGN as u64).to_le_bytes());
        assert_eq!(disk[0x66..0x68], [0x90, 0x90]);
        assert_eq!(disk[510..512], [0x55, 0xaa]);
        let core = ALIGN * SECTOR;
        assert_eq!(disk[core + 0x1f4..core + 0x1fc], (ALIGN as u64 + 1).to_le_bytes());
        assert_eq!(disk[core + SECTOR], 0x22);
    }

    #[test]
    fn same_inputs_give_same_bytes_and_other_roots_other_ids() {
        let esp: [(&str, &[u8]); 1] = [("vmlinuz", b"kernel")];
        let one = disk_of(b"root", &esp, "n");
        assert_eq!(one, disk_of(b"root", &esp, "n"));
        let other = disk_of(b"boot", &esp, "n");
        let id = |disk: Vec<u8>| *GptConfig::new().writable(false).open_from_device(Cursor::new(disk)).unwrap().guid();
        assert_ne!(id(one), id(other));
        assert_ne!(root_name(b"root"), root_name(b"boot"));
    }

    #[test]
    fn unfit_grub_parts_are_refused() {
        let mut bad = contents(b"root", &[], "n");
        bad.boot_sector = &[0; 511];
        assert!(image(&bad, b"root").unwrap_err().to_string().contains("boot.img has 511 bytes"));
        let mut bad = contents(b"root", &[], "n");
        bad.core_image = &[0; SECTOR];
        assert!(image(&bad, b"root").unwrap_err().to_string().contains("core image has 512 bytes"));
    }

    #[test]
    fn a_sparse_file_holds_the_same_bytes() {
        let mut root = vec![0_u8; 900 << 10];
        root[5] = 1;
        root[(800 << 10) + 3] = 2;
        let contents = contents(&root, &[], "n");
        let file = tempfile::tempfile().unwrap();
        file.set_len(size(contents.root_bytes).unwrap()).unwrap();
        let mut file = write(file, &contents, root.as_slice()).unwrap();
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        assert!(bytes == image(&contents, &root).unwrap());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]
        #[test]
        fn files_of_the_efi_partition_read_back(
            data in proptest::collection::vec(any::<u8>(), 0..20_000), name in "[a-z]{1,12}\\.efi"
        ) {
            let path = format!("EFI/debian/{name}");
            let bytes = fat(&[(&path, &data)], 7).unwrap();
            let volume = FileSystem::new(Cursor::new(bytes), FsOptions::new()).unwrap();
            let mut read = Vec::new();
            volume.root_dir().open_file(&path).unwrap().read_to_end(&mut read).unwrap();
            prop_assert_eq!(read, data);
        }
    }
}
