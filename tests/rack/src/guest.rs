//! The command line of a node's QEMU: pure, from the plan, the accelerator and what the next boot tries.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::plan::{self, Firmware, NodePlan};

/// Which accelerator QEMU uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// The kernel's virtual machines, proven to work by [`crate::kvm::probe`].
    Kvm,
    /// QEMU's own translation.
    Tcg,
}

/// A device that a boot override names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootDevice {
    Pxe,
    Disk,
}

/// How a node's firmware boots from the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NetworkBoot {
    /// As it comes: by iPXE in the card's ROM (BIOS), by OVMF's PXE client (UEFI).
    #[default]
    Pxe,
    /// UEFI HTTP Boot and nothing else.
    Http,
    /// An iPXE of the machine's owner, tried before anything else, that fetches the machine's boot script from a place
    /// it knows, whatever DHCP says. BIOS only.
    OwnIpxe,
}

/// What one start of a machine tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// The device of a boot override.
    pub device: Option<BootDevice>,
    pub network: NetworkBoot,
}

/// The files of a node.
#[derive(Debug, Clone)]
pub struct GuestFiles {
    /// The disk: raw.
    pub disk: PathBuf,
    /// UEFI variables; only OVMF has them.
    pub variables: PathBuf,
    /// What the serial console printed, over all starts.
    pub serial_log: PathBuf,
    /// The live serial console: a Unix socket.
    pub serial_socket: PathBuf,
    /// QMP for the power agent.
    pub qmp: PathBuf,
    /// QMP for people: screenshots, questions.
    pub qmp_user: PathBuf,
}

/// OVMF's code and the empty variables that belong to it; 4M since Debian 12.
pub const OVMF_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
pub const OVMF_VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// iPXE in the form of a Linux kernel, which takes its script as a kernel's command line.
const IPXE_KERNEL: &str = "/usr/lib/ipxe/ipxe.lkrn";

/// What the firmware tries, as QEMU's boot indices: lower first, `None` not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct BootOrder {
    disk: Option<u8>,
    network: Option<u8>,
}

fn boot_order(start: Start) -> BootOrder {
    match start.device {
        // Its iPXE has index 0.
        _ if start.network == NetworkBoot::OwnIpxe => BootOrder { disk: Some(1), network: None },
        // A machine as it comes: its disk, and the network when that does not boot.
        None => BootOrder { disk: Some(0), network: Some(1) },
        Some(BootDevice::Pxe) => BootOrder { disk: Some(1), network: Some(0) },
        Some(BootDevice::Disk) => BootOrder { disk: Some(0), network: None },
    }
}

/// The accelerator's part of the command line.
pub fn accelerator_arguments(accelerator: Accelerator) -> [&'static str; 4] {
    match accelerator {
        Accelerator::Kvm => ["-accel", "kvm", "-cpu", "host"],
        // More translated code than this is thrown away and made again; a node stays below 2 GiB.
        Accelerator::Tcg => ["-accel", "tcg,tb-size=256", "-cpu", "max"],
    }
}

/// All arguments of `qemu-system-x86_64` for one start of `node`.
pub fn arguments(node: &NodePlan, accelerator: Accelerator, start: Start, files: &GuestFiles) -> Vec<OsString> {
    let mut list = Arguments::default();
    list.add(["-name", node.name]).add(["-nodefaults", "-no-user-config"]).add(["-display", "none", "-vga", "std"]);
    list.add(accelerator_arguments(accelerator)).add(["-machine", "q35", "-smp", "1"]);
    list.option("-m", format!("{}M", plan::NODE_MEMORY_MIB)).option("-uuid", node.uuid);
    list.option("-smbios", format!("type=1,manufacturer=Leasehold,product=Virtual rack,serial={}", node.serial));
    // A restart inside the machine ends QEMU: the power agent starts it again, with an order that no longer holds
    // an override that was meant for one boot.
    list.add(["-action", "reboot=shutdown"]).add(["-boot", "strict=on,menu=off"]);
    list.add(["-object", "rng-random,id=rng0,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng0"]);

    let order = boot_order(start);
    let index = |index: Option<u8>| index.map_or(String::new(), |index| format!(",bootindex={index}"));
    list.option("-drive", joined("if=none,id=disk0,format=raw,cache=writeback,discard=unmap,file=", &files.disk));
    list.option("-device", format!("virtio-blk-pci,drive=disk0,serial={}-disk{}", node.serial, index(order.disk)));
    list.option("-netdev", format!("tap,id=net0,ifname={},script=no,downscript=no,vnet_hdr=off", node.name));
    // OVMF brings its own PXE client; the card's ROM would put iPXE in front of it. Without network boot SeaBIOS
    // must not see the ROM either.
    let rom = if node.firmware == Firmware::Uefi || order.network.is_none() { ",romfile=" } else { "" };
    list.option("-device", format!("virtio-net-pci,netdev=net0,mac={}{}{rom}", node.mac, index(order.network)));

    if node.firmware == Firmware::Uefi {
        list.option("-drive", format!("if=pflash,format=raw,unit=0,readonly=on,file={OVMF_CODE}"));
        list.option("-drive", joined("if=pflash,format=raw,unit=1,file=", &files.variables));
        // The provisioning network is IPv4: asking for IPv6 first only costs half a minute.
        list.option("-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=n");
        if start.network == NetworkBoot::Http {
            list.option("-fw_cfg", "name=opt/org.tianocore/IPv4PXESupport,string=n");
        }
    }
    if start.network == NetworkBoot::OwnIpxe {
        let script = format!("dhcp && chain http://{}/boot/script/{}", plan::PROVISIONING_ADDRESS, node.mac);
        list.option("-kernel", IPXE_KERNEL).option("-append", script);
    }

    let mut serial = joined("socket,id=serial0,server=on,wait=off,path=", &files.serial_socket);
    serial.push(joined(",logappend=on,logfile=", &files.serial_log));
    list.option("-chardev", serial).add(["-serial", "chardev:serial0"]);
    for (id, socket) in [("qmp0", &files.qmp), ("qmp1", &files.qmp_user)] {
        list.option("-chardev", joined(&format!("socket,id={id},server=on,wait=off,path="), socket));
        list.option("-mon", format!("chardev={id},mode=control"));
    }
    list.0
}

#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn add<const N: usize>(&mut self, words: [&str; N]) -> &mut Self {
        self.0.extend(words.map(OsString::from));
        self
    }

    fn option(&mut self, name: &str, value: impl Into<OsString>) -> &mut Self {
        self.0.extend([name.into(), value.into()]);
        self
    }
}

/// QEMU splits options at commas; a comma in a path is written twice.
fn joined(prefix: &str, path: &std::path::Path) -> OsString {
    let mut text = OsString::from(prefix);
    text.push(path.to_string_lossy().replace(',', ",,"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(node: usize, device: Option<BootDevice>) -> String {
        line_by(node, device, NetworkBoot::Pxe)
    }

    fn line_by(node: usize, device: Option<BootDevice>, network: NetworkBoot) -> String {
        let file = |name: &str| PathBuf::from("/run,1").join(name);
        let files = GuestFiles {
            disk: file("disk"),
            variables: file("vars"),
            serial_log: file("serial"),
            serial_socket: file("serial.sock"),
            qmp: file("qmp"),
            qmp_user: file("qmp-user"),
        };
        let all = arguments(&plan::NODES[node], Accelerator::Tcg, Start { device, network }, &files);
        all.iter().map(|one| one.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn overrides_become_boot_indices() {
        let pxe = line(0, Some(BootDevice::Pxe));
        assert!(pxe.contains("serial=RACK-0010-disk,bootindex=1") && pxe.contains("00:10,bootindex=0"), "{pxe}");
        let disk = line(0, Some(BootDevice::Disk));
        assert!(disk.contains("disk,bootindex=0") && disk.contains("00:10,romfile="), "{disk}");
        let none = line(0, None);
        assert!(none.contains("disk,bootindex=0") && none.contains("00:10,bootindex=1 "), "{none}");
    }

    #[test]
    fn uefi_has_its_own_variables_and_no_option_rom() {
        let uefi = line(1, Some(BootDevice::Pxe));
        assert!(uefi.contains("file=/run,,1/vars") && uefi.contains("bootindex=0,romfile="), "{uefi}");
        assert!(!line(0, None).contains("pflash"));
    }

    #[test]
    fn a_node_boots_from_the_network_in_the_way_that_is_set() {
        assert!(!line(1, Some(BootDevice::Pxe)).contains("IPv4PXESupport"));
        assert!(line_by(1, Some(BootDevice::Pxe), NetworkBoot::Http).contains("IPv4PXESupport,string=n"));
        let own = line_by(0, None, NetworkBoot::OwnIpxe);
        assert!(own.contains("ipxe.lkrn") && own.contains("/boot/script/52:54:00:77:00:10"), "{own}");
        // QEMU gives what `-kernel` names index 0, and takes no index twice.
        assert!(own.contains("disk,bootindex=1 ") && !own.contains("bootindex=0"), "{own}");
    }

    #[test]
    fn a_node_takes_less_than_two_gib() {
        // Translated code (256 MiB) and QEMU itself come on top of the guest's memory.
        const { assert!(plan::NODE_MEMORY_MIB + 256 + 300 < 2048) };
    }
}
