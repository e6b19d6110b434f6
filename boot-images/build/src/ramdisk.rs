//! The deploy ramdisk: kernel, initramfs with the agent, an archive of further drivers, and the one for rescues.
//!
//! In: Debian's kernel and busybox, the agent as a static binary, the scripts of `boot-images/ramdisk`.
//! Out: `agent/x86_64/{vmlinuz,initramfs,drivers,rescue}`.
//! One kernel for all machines: the generic one is smaller on the wire (8 MB, xz) than the cloud one (14 MB) and has
//! every driver. The initramfs holds what virtual machines and plain boards have; `drivers` is a second archive with
//! the network cards and controllers of servers, which a boot script adds where the machine is not known to be virtual.
//! Drivers that need firmware from outside Debian's main section (bnx2x, qla2xxx…) are left out: they could not start.

use std::path::Path;

use anyhow::Result;

use crate::archive;
use crate::kernel::{Kernel, without};
use crate::loaders::write_file;
use crate::packages::Packages;
use crate::rescue;
use crate::tree::Tree;
use crate::userland;

const INIT: &str = include_str!("../../ramdisk/init");
pub(crate) const UDHCPC: &str = include_str!("../../ramdisk/udhcpc");
/// Shared with the system image, which brings it under the same name.
pub(crate) const COMMON: &str = include_str!("../../ramdisk/common");
const HOW: &str = "cargo build -p leasehold-agent --profile agent --target x86_64-unknown-linux-musl";

/// In the initramfs itself: virtual machines, on-board AHCI and NVMe, Intel's on-board card, IPMI, firmware variables.
const MAIN: &[&str] = &[
    "virtio_pci",
    "virtio_net",
    "virtio_blk",
    "virtio_scsi",
    "virtio_rng",
    "sd_mod",
    "ahci",
    "nvme",
    "e1000e",
    "e1000",
    "ipmi_si",
    "ipmi_devintf",
    "tpm_tis",
    "tpm_crb",
    "efivarfs",
];

/// In the further archive: network cards and storage controllers of servers.
pub(crate) const SERVER_DRIVERS: &[&str] = &[
    // Network: Intel, NVIDIA/Mellanox, Broadcom, Chelsio, Emulex, Solarflare, Marvell, AMD, Amazon, VMware, Hyper-V.
    "igb",
    "igc",
    "ixgbe",
    "ixgbevf",
    "i40e",
    "iavf",
    "ice",
    "mlx4_en",
    "mlx5_core",
    "bnxt_en",
    "tg3",
    "cxgb4",
    "be2net",
    "sfc",
    "qede",
    "atlantic",
    "r8169",
    "ena",
    "vmxnet3",
    "hv_netvsc",
    // Storage: Broadcom/LSI, Microchip/Adaptec, HPE, VMware, Hyper-V.
    "megaraid_sas",
    "mpt3sas",
    "smartpqi",
    "aacraid",
    "hpsa",
    "vmw_pvscsi",
    "hv_storvsc",
    "ata_piix",
    // A BMC that speaks SSIF, and I2C it sits on.
    "ipmi_ssif",
    "i2c_i801",
];

/// Builds the files below `out`.
pub(crate) fn build(packages: &Packages, agent: &Path, out: &Path) -> Result<()> {
    let agent = userland::static_program(agent, HOW)?;
    let kernel = Kernel::generic(packages)?;
    let main = kernel.select(MAIN)?;
    let further = without(kernel.select(SERVER_DRIVERS)?, &main);
    let rescue_only = without(without(kernel.select(rescue::MODULES)?, &main), &further);

    let mut tree = Tree::default();
    for folder in ["proc", "sys", "dev", "run", "tmp", "etc"] {
        tree.folder(folder, 0o755);
    }
    // The kernel opens this before /init has mounted anything.
    tree.device("dev/console", 0o600, 5, 1);
    userland::busybox(packages, &mut tree)?;
    // The kernel asks for modules by this name.
    tree.link("sbin", "bin");
    tree.file("init", 0o755, INIT);
    tree.file("etc/leasehold/common", 0o644, COMMON);
    tree.file("etc/leasehold/udhcpc", 0o755, UDHCPC);
    tree.file("etc/passwd", 0o644, "root:x:0:0:root:/:/bin/sh\n");
    tree.file("bin/leasehold-agent", 0o755, agent);
    kernel.install(&mut tree, "lib/modules", &main, &[&main]);

    let mut drivers = Tree::default();
    // Either archive may be there without the other, or over it: the tables of both know everything. A module that is not
    // there is not loaded, and nothing else comes of it.
    let all = [&main, &further, &rescue_only];
    kernel.install(&mut drivers, "lib/modules", &further, &all);

    let mut rescue = rescue::tree(packages)?;
    kernel.install(&mut rescue, "lib/modules", &rescue_only, &all);

    let folder = out.join("agent/x86_64");
    let mut sum = 0;
    for (name, data) in [
        ("vmlinuz", kernel.vmlinuz.clone()),
        ("initramfs", archive::initramfs(&tree)?),
        ("drivers", archive::initramfs(&drivers)?),
        ("rescue", archive::initramfs(&rescue)?),
    ] {
        write_file(&folder.join(name), &data)?;
        sum += data.len();
        eprintln!("{}: {} bytes ({sum} so far)", folder.join(name).display(), data.len());
    }
    let (main, further, rescue) = (main.len(), further.len(), rescue_only.len());
    eprintln!("kernel {}, {main} modules, {further} further ones and {rescue} for rescues", kernel.release);
    Ok(())
}
