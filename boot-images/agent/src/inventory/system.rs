//! Processor, memory, maker, firmware, boot mode and TPM.

use super::text;
use leasehold_wire::agent::{Boot, Cpu, Firmware, Memory, SystemVendor, Tpm};
use std::collections::HashSet;
use std::fs;
use std::path::Path;

/// SMBIOS structure of a memory module.
const MEMORY_DEVICE: u8 = 17;

pub(super) fn cpu(root: &Path) -> Cpu {
    let info = fs::read_to_string(root.join("proc/cpuinfo")).unwrap_or_default();
    let values = |name: &'static str| {
        info.lines().filter_map(move |line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == name).then(|| value.trim().to_owned())
        })
    };
    let highest = text(&root.join("sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq"));
    let highest =
        highest.and_then(|khz| khz.parse::<u64>().ok()).map(|khz| format!("{}.{:03}", khz / 1000, khz % 1000));
    let sockets = values("physical id").collect::<HashSet<_>>().len();
    let flags = values("flags").next().or_else(|| values("Features").next()).unwrap_or_default();
    Cpu {
        model_name: values("model name").next(),
        frequency: highest.or_else(|| values("cpu MHz").next()),
        count: u32::try_from(values("processor").count()).unwrap_or(0),
        architecture: Some(std::env::consts::ARCH.to_owned()),
        flags: flags.split_ascii_whitespace().map(str::to_owned).collect(),
        socket_count: u32::try_from(sockets).ok().filter(|count| *count > 0),
    }
}

pub(super) fn memory(root: &Path) -> Memory {
    let info = fs::read_to_string(root.join("proc/meminfo")).unwrap_or_default();
    let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes = line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0);
    let total = kilobytes.saturating_mul(1024);
    let modules = fs::read(root.join("sys/firmware/dmi/tables/DMI")).map(|table| module_megabytes(&table)).unwrap_or(0);
    let physical_mb = if modules > 0 { modules } else { total >> 20 };
    Memory { total, physical_mb: Some(physical_mb) }
}

/// The sizes of all memory modules in an SMBIOS table (specification 3.6, section 7.18), in MiB.
fn module_megabytes(table: &[u8]) -> u64 {
    let mut sum = 0u64;
    let mut rest = table;
    while let [kind, length, ..] = *rest {
        let length = usize::from(length);
        let Some(formatted) = rest.get(..length).filter(|_| length >= 4) else { break };
        if kind == MEMORY_DEVICE
            && let Some([low, high]) = formatted.get(12..14)
        {
            let size = u16::from_le_bytes([*low, *high]);
            let extended = formatted.get(28..32).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes);
            sum = sum.saturating_add(match size {
                0 | 0xffff => 0,
                0x7fff => u64::from(extended & 0x7fff_ffff),
                kilobytes if kilobytes & 0x8000 != 0 => u64::from(kilobytes & 0x7fff) / 1024,
                megabytes => u64::from(megabytes),
            });
        }
        // The structure's texts follow, ended by an empty one.
        let Some(texts) = rest[length..].windows(2).position(|pair| pair == [0, 0]) else { break };
        rest = &rest[length + texts + 2..];
    }
    sum
}

pub(super) fn vendor(root: &Path) -> SystemVendor {
    let dmi = |what: &str| text(&root.join("sys/class/dmi/id").join(what));
    let firmware = Firmware { vendor: dmi("bios_vendor"), version: dmi("bios_version"), build_date: dmi("bios_date") };
    SystemVendor {
        product_name: dmi("product_name"),
        serial_number: dmi("product_serial"),
        manufacturer: dmi("sys_vendor"),
        firmware: (firmware != Firmware::default()).then_some(firmware),
    }
}

pub(super) fn boot(root: &Path, boot_mac: Option<&str>) -> Boot {
    let uefi = root.join("sys/firmware/efi").exists();
    Boot {
        current_boot_mode: Some(if uefi { "uefi" } else { "bios" }.to_owned()),
        pxe_interface: boot_mac.map(str::to_owned),
        secure_boot: if uefi { crate::boot::secure_boot() } else { None },
    }
}

pub(super) fn tpm(root: &Path) -> Tpm {
    let device = root.join("sys/class/tpm/tpm0");
    let version = match text(&device.join("tpm_version_major")).as_deref() {
        Some("2") => Some("2.0".to_owned()),
        Some("1") => Some("1.2".to_owned()),
        _ => None,
    };
    Tpm { present: device.exists(), version }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn module(size: u16, extended: u32) -> Vec<u8> {
        let mut bytes = vec![MEMORY_DEVICE, 40, 0, 0];
        bytes.resize(40, 0);
        bytes[12..14].copy_from_slice(&size.to_le_bytes());
        bytes[28..32].copy_from_slice(&extended.to_le_bytes());
        bytes.extend_from_slice(b"DIMM 0\0ACME\0\0");
        bytes
    }

    #[test]
    fn memory_modules_are_added_up() {
        let table = [
            vec![0, 4, 1, 0, b'x', 0, 0],
            module(16384, 0),
            module(0, 0),
            module(0x7fff, 65536),
            module(0x8000 | 2048, 0),
        ]
        .concat();
        assert_eq!(module_megabytes(&table), 16384 + 65536 + 2);
    }

    #[test]
    fn files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let put = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put(
            "proc/cpuinfo",
            "processor\t: 0\nmodel name\t: ACME 9\ncpu MHz\t\t: 2600.1\nphysical id\t: 0\nflags\t\t: fpu vme\n\nprocessor\t: 1\nphysical id\t: 1\n",
        );
        put("proc/meminfo", "MemTotal:        1000 kB\nMemFree: 1 kB\n");
        put("sys/class/dmi/id/product_serial", "SN-1\n");
        put("sys/class/dmi/id/bios_version", "1.2\n");
        put("sys/class/tpm/tpm0/tpm_version_major", "2\n");
        let cpu = cpu(root);
        assert_eq!((cpu.count, cpu.socket_count, cpu.frequency.as_deref()), (2, Some(2), Some("2600.1")));
        assert_eq!(cpu.flags, ["fpu", "vme"]);
        assert_eq!(memory(root).total, 1_024_000);
        assert_eq!(vendor(root).serial_number.as_deref(), Some("SN-1"));
        assert_eq!(tpm(root), Tpm { present: true, version: Some("2.0".into()) });
        assert_eq!(boot(root, Some("m")).current_boot_mode.as_deref(), Some("bios"));
    }

    proptest! {
        #[test]
        fn any_table_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = module_megabytes(&bytes);
        }
    }
}
