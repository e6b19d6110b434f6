//! The small system image: what the virtual rack deploys, and a first image for trying real machines.
//!
//! In: Debian's kernel, busybox, dropbear, GRUB and shim; our first-boot program; the scripts of `boot-images/system`.
//! Out: one raw image and its `.sha256`. It boots by BIOS (GRUB in the BIOS boot partition) and by UEFI (Debian's signed
//! shim and GRUB, so Secure Boot may stay on), with the same kernel, initramfs and configuration from the EFI partition.
//! The root is a squashfs, never written to: its hash on a running machine is its hash in the image.
//! What differs between machines comes from the config drive; what must be written lives in memory.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::archive;
use crate::disk::{self, Contents, ESP_NUMBER};
use crate::kernel::Kernel;
use crate::loaders::write_file;
use crate::packages::Packages;
use crate::ramdisk::{COMMON, SERVER_DRIVERS, UDHCPC};
use crate::tools::{GRUB_MKIMAGE, MKSQUASHFS};
use crate::tree::Tree;
use crate::userland;

const HOW: &str = "cargo build -p leasehold-first-boot --profile agent --target x86_64-unknown-linux-musl";

/// Needed before the root is there.
const STORAGE: &[&str] = &[
    "virtio_pci",
    "virtio_blk",
    "virtio_scsi",
    "sd_mod",
    "ahci",
    "nvme",
    "ata_piix",
    "megaraid_sas",
    "mpt3sas",
    "smartpqi",
    "aacraid",
    "hpsa",
    "vmw_pvscsi",
    "hv_storvsc",
    "squashfs",
];

/// Needed by the running system, besides the drivers of servers.
const RUNNING: &[&str] = &[
    "virtio_net",
    "virtio_rng",
    "e1000",
    "e1000e",
    "button",
    "evdev",
    "vfat",
    "isofs",
    "sr_mod",
    "nls_cp437",
    "nls_ascii",
    "8021q",
    "efivarfs",
];

/// What GRUB for BIOS needs to find and read its configuration, the kernel and the initramfs.
const GRUB_MODULES: &[&str] =
    &["biosdisk", "part_gpt", "fat", "normal", "linux", "serial", "terminal", "test", "boot", "configfile"];

/// Builds the image and writes it with its hash.
pub(crate) fn build(packages: &Packages, first_boot: &Path, out: &Path) -> Result<()> {
    let first_boot = userland::static_program(first_boot, HOW)?;
    packages.look_up(&["busybox-static", "dropbear-bin", "grub-pc-bin", "grub-efi-amd64-signed", "shim-signed"])?;
    let kernel = Kernel::generic(packages)?;
    let root = squashfs(&root_tree(packages, &kernel, first_boot)?)?;
    let name = disk::root_name(&root);
    let initramfs = archive::initramfs(&initramfs_tree(packages, &kernel)?)?;
    let grub_config = include_str!("../../system/grub.cfg").replace("@ROOT@", &name);

    let grub = Grub::of(packages, &format!("(,gpt{ESP_NUMBER})/EFI/debian"), GRUB_MODULES)?;
    let contents = Contents {
        boot_sector: &grub.boot_sector,
        core_image: &grub.core_image,
        esp: &[
            ("EFI/BOOT/BOOTX64.EFI", &grub.shim),
            ("EFI/BOOT/grubx64.efi", &grub.efi),
            // Where Debian's signed GRUB looks; GRUB for BIOS is told the same place.
            ("EFI/debian/grub.cfg", grub_config.as_bytes()),
            ("vmlinuz", &kernel.vmlinuz),
            ("initramfs", &initramfs),
        ],
        seed: Sha256::digest(&root).into(),
        root_bytes: root.len() as u64,
        root_name: &name,
    };
    let image = disk::image(&contents, &root)?;
    write_file(out, &image)?;
    let sum = hex::encode(Sha256::digest(&image));
    let file = out.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut beside = out.as_os_str().to_owned();
    beside.push(".sha256");
    write_file(Path::new(&beside), format!("{sum}  {file}\n").as_bytes())?;
    eprintln!(
        "{}: {} bytes, kernel {}, initramfs {} bytes, root {} bytes (sha256 {}), image sha256 {sum}",
        out.display(),
        image.len(),
        kernel.release,
        initramfs.len(),
        root.len(),
        hex::encode(Sha256::digest(&root)),
    );
    Ok(())
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The tree that is there until the root is mounted.
fn initramfs_tree(packages: &Packages, kernel: &Kernel) -> Result<Tree> {
    let mut tree = Tree::default();
    for folder in ["proc", "sys", "dev", "run", "root"] {
        tree.folder(folder, 0o755);
    }
    tree.device("dev/console", 0o600, 5, 1);
    userland::busybox(packages, &mut tree)?;
    tree.link("sbin", "bin");
    tree.file("init", 0o755, include_str!("../../system/initramfs-init"));
    tree.file("etc/leasehold/common", 0o644, COMMON);
    let modules = kernel.select(STORAGE)?;
    kernel.install(&mut tree, "lib/modules", &modules, &[&modules]);
    Ok(tree)
}

/// The root file system.
fn root_tree(packages: &Packages, kernel: &Kernel, first_boot: Vec<u8>) -> Result<Tree> {
    let mut tree = Tree::default();
    for folder in ["proc", "sys", "dev", "run", "tmp", "var", "mnt"] {
        tree.folder(folder, 0o755);
    }
    tree.folder("root", 0o700);
    userland::busybox(packages, &mut tree)?;
    tree.link("sbin", "bin");
    tree.link("usr/bin", "../bin");
    tree.link("usr/sbin", "../bin");
    tree.link("lib", "usr/lib");
    tree.file("bin/leasehold-first-boot", 0o755, first_boot);
    for (places, target) in [
        (["usr/sbin/dropbear", "sbin/dropbear"], "bin/dropbear"),
        (["usr/bin/dropbearkey", "bin/dropbearkey"], "bin/dropbearkey"),
    ] {
        userland::dynamic(packages, "dropbear-bin", &places, target, &mut tree)?;
    }
    for (path, mode, text) in [
        ("etc/inittab", 0o644, include_str!("../../system/etc/inittab")),
        ("etc/leasehold/common", 0o644, COMMON),
        ("etc/leasehold/start", 0o755, include_str!("../../system/etc/start")),
        ("etc/leasehold/ssh", 0o755, include_str!("../../system/etc/ssh")),
        ("etc/leasehold/ready", 0o755, include_str!("../../system/etc/ready")),
        ("etc/leasehold/udhcpc", 0o755, UDHCPC),
        ("etc/acpi/PWRF/00000080", 0o755, include_str!("../../system/etc/power-button")),
        ("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\n"),
        ("etc/group", 0o644, "root:x:0:\n"),
        // No password opens this account; keys do.
        ("etc/shadow", 0o600, "root:*:20000:0:99999:7:::\n"),
        ("etc/shells", 0o644, "/bin/sh\n"),
        ("etc/nsswitch.conf", 0o644, "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n"),
        ("etc/hosts", 0o644, "127.0.0.1 localhost\n"),
    ] {
        tree.file(path, mode, text);
    }
    tree.link("etc/resolv.conf", "/run/resolv.conf");
    let modules = kernel.select(&[STORAGE, RUNNING, SERVER_DRIVERS].concat())?;
    kernel.install(&mut tree, "usr/lib/modules", &modules, &[&modules]);
    Ok(tree)
}

/// The squashfs of the tree: everything root's, all times zero, so that the bytes depend on the tree alone.
fn squashfs(tree: &Tree) -> Result<Vec<u8>> {
    let folder = tempfile::tempdir()?;
    let source = folder.path().join("root");
    fs::create_dir(&source)?;
    tree.write_below(&source)?;
    let source_mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&source, source_mode)?;
    let target = folder.path().join("root.squashfs");
    let (source, target_name) = (source.to_string_lossy(), target.to_string_lossy());
    let mut arguments =
        vec![source.as_ref(), target_name.as_ref(), "-all-root", "-no-xattrs", "-noappend", "-quiet", "-no-progress"];
    arguments.extend(["-comp", "zstd", "-Xcompression-level", "19"]);
    arguments.extend(["-mkfs-time", "0", "-all-time", "0"]);
    MKSQUASHFS.run(folder.path(), &arguments)?;
    read(&target)
}

/// GRUB for BIOS and for UEFI, and the shim that lets Secure Boot stay on.
pub(crate) struct Grub {
    pub(crate) boot_sector: Vec<u8>,
    pub(crate) core_image: Vec<u8>,
    pub(crate) shim: Vec<u8>,
    pub(crate) efi: Vec<u8>,
}

impl Grub {
    /// From Debian's packages. `prefix` is where GRUB for BIOS looks for its configuration, on the drive it came from.
    pub(crate) fn of(packages: &Packages, prefix: &str, modules: &[&str]) -> Result<Grub> {
        let bios = packages.unpacked("grub-pc-bin")?.join("usr/lib/grub/i386-pc");
        let efi = packages.unpacked("grub-efi-amd64-signed")?;
        Ok(Grub {
            boot_sector: read(&bios.join("boot.img"))?,
            core_image: core_image(&bios, prefix, modules)?,
            shim: read(&packages.unpacked("shim-signed")?.join("usr/lib/shim/shimx64.efi.signed"))?,
            efi: read(&efi.join("usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"))?,
        })
    }
}

fn core_image(grub: &Path, prefix: &str, modules: &[&str]) -> Result<Vec<u8>> {
    let folder = tempfile::tempdir()?;
    let target = folder.path().join("core.img");
    let (grub, target_name) = (grub.to_string_lossy(), target.to_string_lossy());
    let mut arguments = vec!["-O", "i386-pc", "-d", &grub, "-o", &target_name, "-p", prefix];
    arguments.extend(modules);
    GRUB_MKIMAGE.run(folder.path(), &arguments)?;
    read(&target)
}
