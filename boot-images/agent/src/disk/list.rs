//! The machine's disks as the kernel knows them, from `/sys/block`; there is no udev in the ramdisk.

use leasehold_wire::agent::Disk;
use std::fs;
use std::path::{Path, PathBuf};

/// A disk, with what decides whether the agent may touch it.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// As it is reported.
    pub disk: Disk,
    /// A stick or a virtual medium of the BMC.
    pub removable: bool,
    /// Write-protected.
    pub read_only: bool,
}

/// Every real disk with a medium, by name. `sys` is `/sys`.
#[must_use]
pub fn list(sys: &Path) -> Vec<Found> {
    let Ok(entries) = fs::read_dir(sys.join("block")) else { return Vec::new() };
    let mut names: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_by_key(|name| (name.len(), name.clone()));
    names.into_iter().filter_map(|name| describe(sys, &name)).collect()
}

/// The partitions that the kernel sees on a disk, in bytes (offset, length). `name` as in `/dev/sda`.
#[must_use]
pub fn partitions_of(sys: &Path, name: &str) -> Vec<(u64, u64)> {
    let folder = sys.join("block").join(name.trim_start_matches("/dev/"));
    let Ok(entries) = fs::read_dir(&folder) else { return Vec::new() };
    let parts = entries.flatten().map(|entry| entry.path()).filter(|path| path.join("partition").exists());
    parts
        .filter_map(|path| {
            let sectors = |what: &str| text(&path.join(what))?.parse::<u64>().ok()?.checked_mul(512);
            Some((sectors("start")?, sectors("size")?))
        })
        .collect()
}

fn describe(sys: &Path, name: &str) -> Option<Found> {
    // Not disks: memory, loop devices, optical and floppy drives, and what is built on top of other disks.
    const NOT_DISKS: [&str; 10] = ["ram", "loop", "zram", "sr", "fd", "md", "dm-", "nbd", "mtdblock", "rbd"];
    if NOT_DISKS.iter().any(|prefix| name.starts_with(prefix)) {
        return None;
    }
    let folder = sys.join("block").join(name);
    // Boot and replay-protected areas of eMMC are no place for an image.
    if name.starts_with("mmcblk") && (name.contains("boot") || name.contains("rpmb")) {
        return None;
    }
    let size = text(&folder.join("size"))?.parse::<u64>().ok()?.checked_mul(512).filter(|size| *size > 0)?;
    let number = |what: &str| text(&folder.join(what)).and_then(|text| text.parse::<u64>().ok());
    let real = fs::canonicalize(folder.join("device")).unwrap_or_else(|_| folder.clone());
    let tran = transport(name, &real);
    let wwid = text(&folder.join("wwid")).or_else(|| text(&folder.join("device/wwid")));
    let (wwn, wwn_with_extension, wwn_vendor_extension) = wwn_of(wwid.as_deref());
    let serial = text(&folder.join("serial"))
        .or_else(|| text(&folder.join("device/serial")))
        .or_else(|| vital_product_data(&folder.join("device/vpd_pg80")));
    let disk = Disk {
        name: format!("/dev/{name}"),
        model: text(&folder.join("device/model")),
        size,
        rotational: number("queue/rotational").map(|value| value != 0),
        wwn,
        serial,
        vendor: text(&folder.join("device/vendor")).filter(|vendor| !vendor.is_empty()),
        wwn_with_extension,
        wwn_vendor_extension,
        hctl: scsi_address(&real).map(str::to_owned),
        by_path: by_path(name, &real),
        logical_sectors: number("queue/logical_block_size"),
        physical_sectors: number("queue/physical_block_size"),
        tran: tran.map(str::to_owned),
    };
    let flag = |what: &str| number(what).is_some_and(|value| value != 0);
    Some(Found { disk, removable: flag("removable"), read_only: flag("ro") })
}

/// A file's text without surrounding white space; `None` when it is not there or empty.
fn text(path: &Path) -> Option<String> {
    let text = fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&text).trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned();
    (!text.is_empty()).then_some(text)
}

/// SCSI's unit serial number page: four bytes of head, then text.
fn vital_product_data(path: &Path) -> Option<String> {
    let page = fs::read(path).ok()?;
    let length = usize::from(u16::from_be_bytes([*page.get(2)?, *page.get(3)?]));
    let text = String::from_utf8_lossy(page.get(4..4 + length)?).trim_matches(['\0', ' ']).to_owned();
    (!text.is_empty()).then_some(text)
}

/// From `naa.…`, `eui.…` or `nvme.…`: the world-wide name, the same with its extension, and the extension.
fn wwn_of(wwid: Option<&str>) -> (Option<String>, Option<String>, Option<String>) {
    let Some(wwid) = wwid else { return (None, None, None) };
    if let Some(digits) = wwid.strip_prefix("naa.").filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    {
        let (wwn, extension) = digits.split_at(digits.len().min(16));
        let extension = (!extension.is_empty()).then(|| format!("0x{extension}"));
        return (Some(format!("0x{wwn}")), Some(format!("0x{digits}")), extension);
    }
    if wwid.starts_with("eui.") || wwid.starts_with("nvme.") || wwid.starts_with("uuid.") {
        return (Some(wwid.to_owned()), Some(wwid.to_owned()), None);
    }
    (None, None, None)
}

fn components(real: &Path) -> impl DoubleEndedIterator<Item = &str> {
    real.components().filter_map(|component| component.as_os_str().to_str())
}

fn transport(name: &str, real: &Path) -> Option<&'static str> {
    let has = |what: &str| components(real).any(|part| part.starts_with(what));
    match name {
        name if name.starts_with("nvme") => Some("nvme"),
        name if name.starts_with("vd") => Some("virtio"),
        name if name.starts_with("mmcblk") => Some("mmc"),
        _ if has("usb") => Some("usb"),
        _ if has("ata") => Some("sata"),
        _ if has("end_device-") => Some("sas"),
        _ if has("virtio") => Some("virtio"),
        _ => None,
    }
}

/// `0:0:0:0`, the last component of a SCSI device's path.
fn scsi_address(real: &Path) -> Option<&str> {
    let last = components(real).next_back()?;
    let numbers = last.split(':').filter(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    (numbers.count() == 4 && last.matches(':').count() == 3).then_some(last)
}

/// The name udev would give by the place the disk is plugged into, for the controllers where that is plain.
fn by_path(name: &str, real: &Path) -> Option<String> {
    let is_pci = |part: &&str| {
        let bytes = part.as_bytes();
        bytes.len() == 12 && bytes[4] == b':' && bytes[7] == b':' && bytes[10] == b'.'
    };
    let pci = components(real).rfind(is_pci)?;
    let place = if let Some(rest) = name.strip_prefix("nvme") {
        let namespace = rest.split_once('n')?.1;
        format!("pci-{pci}-nvme-{namespace}")
    } else if name.starts_with("vd") {
        format!("pci-{pci}")
    } else if let Some(port) = components(real).find_map(|part| part.strip_prefix("ata")?.parse::<u32>().ok()) {
        let first = fs::read_dir(pci_folder(real, pci)?).ok()?;
        let ports =
            first.flatten().filter_map(|entry| entry.file_name().to_str()?.strip_prefix("ata")?.parse::<u32>().ok());
        format!("pci-{pci}-ata-{}", port - ports.min().filter(|first| *first <= port)? + 1)
    } else {
        format!("pci-{pci}-scsi-{}", scsi_address(real)?)
    };
    Some(format!("/dev/disk/by-path/{place}"))
}

fn pci_folder(real: &Path, pci: &str) -> Option<PathBuf> {
    real.ancestors().find(|ancestor| ancestor.file_name().is_some_and(|name| name == pci)).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn put(root: &Path, path: &str, text: impl AsRef<[u8]>) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn disks_are_described() {
        let folder = tempfile::tempdir().unwrap();
        let sys = folder.path();
        // A SATA disk, second port of its controller.
        let device = "devices/pci0000:00/0000:00:1f.2/ata4/host3/target3:0:0/3:0:0:0";
        put(sys, &format!("{device}/model"), "ACME DISK       \n");
        put(sys, &format!("{device}/vendor"), "ATA     \n");
        put(sys, &format!("{device}/wwid"), "naa.5000c500a1b2c3d4\n");
        put(sys, &format!("{device}/vpd_pg80"), b"\0\x80\0\x08   SER12");
        fs::create_dir_all(sys.join("devices/pci0000:00/0000:00:1f.2/ata3")).unwrap();
        put(sys, "block/sda/size", "2097152\n");
        put(sys, "block/sda/queue/rotational", "1\n");
        put(sys, "block/sda/queue/logical_block_size", "512\n");
        put(sys, "block/sda/removable", "0\n");
        put(sys, "block/sda/ro", "1\n");
        put(sys, "block/sda/sda1/partition", "1\n");
        put(sys, "block/sda/sda1/start", "2048\n");
        put(sys, "block/sda/sda1/size", "10\n");
        symlink(sys.join(device), sys.join("block/sda/device")).unwrap();
        // A virtio disk; things that are none; a drive without a medium.
        fs::create_dir_all(sys.join("devices/pci0000:00/0000:00:04.0/virtio1")).unwrap();
        put(sys, "block/vda/size", "4096\n");
        put(sys, "block/vda/serial", "virt-1");
        symlink(sys.join("devices/pci0000:00/0000:00:04.0/virtio1"), sys.join("block/vda/device")).unwrap();
        for name in ["loop0", "sr0", "ram0", "dm-0", "md127"] {
            put(sys, &format!("block/{name}/size"), "4096\n");
        }
        put(sys, "block/sdz/size", "0\n");

        let found = list(sys);
        assert_eq!(found.iter().map(|found| found.disk.name.as_str()).collect::<Vec<_>>(), ["/dev/sda", "/dev/vda"]);
        let sda = &found[0];
        assert_eq!(sda.disk.model.as_deref(), Some("ACME DISK"));
        assert_eq!(sda.disk.serial.as_deref(), Some("SER12"));
        assert_eq!(sda.disk.wwn.as_deref(), Some("0x5000c500a1b2c3d4"));
        assert_eq!(sda.disk.hctl.as_deref(), Some("3:0:0:0"));
        assert_eq!(sda.disk.by_path.as_deref(), Some("/dev/disk/by-path/pci-0000:00:1f.2-ata-2"));
        assert_eq!((sda.disk.size, sda.disk.rotational, sda.read_only), (1 << 30, Some(true), true));
        assert_eq!(sda.disk.tran.as_deref(), Some("sata"));
        assert_eq!(partitions_of(sys, "/dev/sda"), [(1 << 20, 5120)]);
        assert_eq!(found[1].disk.by_path.as_deref(), Some("/dev/disk/by-path/pci-0000:00:04.0"));
        assert_eq!(found[1].disk.serial.as_deref(), Some("virt-1"));
    }

    #[test]
    fn names_with_an_extension_are_split() {
        let (wwn, with, extension) = wwn_of(Some("naa.600508b1001c0123456789abcdef0123"));
        assert_eq!(wwn.as_deref(), Some("0x600508b1001c0123"));
        assert_eq!(with.as_deref(), Some("0x600508b1001c0123456789abcdef0123"));
        assert_eq!(extension.as_deref(), Some("0x456789abcdef0123"));
        assert_eq!(wwn_of(Some("t10.ATA x")).0, None);
    }
}
