//! A real Debian to start from: systemd, SSH, cloud-init; for BIOS and UEFI, as one raw image.
//!
//! In: Debian packages by mmdebstrap, from the machine's own sources. Out: a sparse raw image and its `.sha256`.
//! It boots by BIOS (GRUB in the BIOS boot partition) and by UEFI (Debian's signed shim and GRUB). The root is ext4 and
//! grows into the disk at the first boot. Everything personal comes from the config drive: no password, key, host name
//! or machine id is in it. Needs root, as mmdebstrap makes device nodes and owners.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::disk::{self, Contents};
use crate::loaders::write_file;
use crate::manifest;
use crate::packages::Packages;
use crate::system::Grub;
use crate::tools::{APT_CONFIG, APT_GET, MKE2FS, MMDEBSTRAP, SYSTEMCTL};

/// What makes it a system one can work with.
const INCLUDED: &[&str] = &[
    "ca-certificates",
    "cloud-guest-utils",
    "cloud-init",
    "dbus",
    "e2fsprogs",
    "fdisk",
    "initramfs-tools",
    "iproute2",
    "kmod",
    "netbase",
    "openssh-server",
    // cloud-init writes rules for it: without it nobody becomes root.
    "sudo",
    "systemd-resolved",
    "systemd-sysv",
    "systemd-timesyncd",
    "udev",
    "zstd",
];

/// Left out of every package: a tenant who wants them installs the package anew.
const EXCLUDED: &[&str] = &["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*"];

/// What GRUB for BIOS needs to find and read its configuration, the kernel and the initramfs.
const GRUB_MODULES: &[&str] =
    &["biosdisk", "part_gpt", "ext2", "normal", "linux", "serial", "terminal", "test", "boot", "configfile", "search"];

/// Free space in the root before it has grown, bytes.
const SPARE: u64 = 256 << 20;

/// Builds the image with this kernel package (`linux-image-amd64`; `linux-image-cloud-amd64` knows virtual machines only).
pub(crate) fn build(packages: &Packages, kernel: &str, out: &Path) -> Result<()> {
    if fs::metadata("/proc/self").map(|own| own.uid()).unwrap_or(1) != 0 {
        bail!("building a Debian image needs root: mmdebstrap makes device nodes and gives files their owners");
    }
    packages.look_up(&["grub-pc-bin", "grub-efi-amd64-signed", "shim-signed"])?;
    let id = Uuid::new_v4();
    let folder =
        tempfile::tempdir_in(out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
    let tree = folder.path().join("root");
    bootstrap(folder.path(), kernel, &tree)?;
    settle(&tree, id)?;
    let file_system = folder.path().join("root.ext4");
    let bytes = ext4(folder.path(), &tree, id, &file_system)?;

    let grub = Grub::of(packages, &format!("(,gpt{})/boot/grub", disk::ROOT_NUMBER), GRUB_MODULES)?;
    let start = include_str!("../../debian/grub-efi.cfg").replace("@ROOT@", &id.to_string());
    let contents = Contents {
        boot_sector: &grub.boot_sector,
        core_image: &grub.core_image,
        esp: &[
            ("EFI/BOOT/BOOTX64.EFI", &grub.shim),
            ("EFI/BOOT/grubx64.efi", &grub.efi),
            ("EFI/debian/grub.cfg", start.as_bytes()),
        ],
        seed: Sha256::digest(id.as_bytes()).into(),
        root_bytes: bytes,
        root_name: "debian-root",
    };
    let image = tempfile::NamedTempFile::new_in(folder.path())?;
    image.as_file().set_len(disk::size(bytes)?)?;
    disk::write(image.reopen()?, &contents, File::open(&file_system)?)?;
    let sum = sha256(image.path())?;
    manifest::write_readable(image, out)?;
    let name = out.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut beside = out.as_os_str().to_owned();
    beside.push(".sha256");
    write_file(Path::new(&beside), format!("{sum}  {name}\n").as_bytes())?;
    eprintln!("{}: {} bytes, root {bytes} bytes, sha256 {sum}", out.display(), disk::size(bytes)?);
    Ok(())
}

/// Unpacks and configures Debian below `tree`, in the release of this machine.
fn bootstrap(folder: &Path, kernel: &str, tree: &Path) -> Result<()> {
    let release = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let release = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).unwrap_or_default();
    let sources = sources(folder, release.trim_matches('"'))?;
    if sources.is_empty() {
        bail!("apt on this machine knows no Debian registry: is there a file in /etc/apt/sources.list.d?");
    }
    // How this machine reaches its registry (proxies, certificates) counts for the build, and stays out of the image.
    let settings = String::from_utf8_lossy(&APT_CONFIG.run(folder, &["dump"])?).into_owned();
    let ways: String =
        settings.lines().filter(|line| line.starts_with("Acquire::")).map(|line| format!("{line}\n")).collect();
    let ways_file = folder.join("apt.conf");
    fs::write(&ways_file, ways)?;
    let list = folder.join("sources.list");
    fs::write(&list, sources)?;
    let mut arguments = vec!["--quiet".to_owned(), "--variant=minbase".into(), "--format=directory".into()];
    arguments.push(format!("--aptopt={}", ways_file.display()));
    arguments.push("--aptopt=Apt::Install-Recommends \"false\"".into());
    arguments.extend(EXCLUDED.iter().map(|path| format!("--dpkgopt=path-exclude={path}")));
    arguments.push(format!("--include={kernel},{}", INCLUDED.join(",")));
    arguments.extend([release.trim_matches('"').to_owned(), tree.display().to_string(), list.display().to_string()]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    MMDEBSTRAP.run(folder, &arguments)?;
    Ok(())
}

/// The Debian sources of this machine's apt, one line each.
fn sources(folder: &Path, release: &str) -> Result<String> {
    let format = "$(REPO_URI) $(CODENAME) $(COMPONENT)";
    let output = APT_GET.run(folder, &["indextargets", "--format", format, "Created-By: Packages"])?;
    let mut lines: Vec<String> =
        String::from_utf8_lossy(&output).lines().filter_map(|line| source(line, release)).collect();
    lines.sort();
    lines.dedup();
    Ok(lines.concat())
}

/// A line of `sources.list` for the release itself, its updates and its security fixes; other suites are left out. The archive's key is
/// found by mmdebstrap.
fn source(target: &str, release: &str) -> Option<String> {
    let mut words = target.split_whitespace();
    let (uri, suite, component) = (words.next()?, words.next()?, words.next()?);
    let more = suite.strip_prefix(release)?;
    if !["", "-updates", "-security"].contains(&more) || component != "main" {
        return None;
    }
    Some(format!("deb {uri} {suite} {component}\n"))
}

/// Takes out what belongs to the building machine, and puts in what the image needs to start.
fn settle(tree: &Path, id: Uuid) -> Result<()> {
    for gone in ["etc/apt/apt.conf.d/99mmdebstrap", "etc/apt/sources.list", "etc/resolv.conf", "etc/hostname"] {
        remove(&tree.join(gone))?;
    }
    for entry in fs::read_dir(tree.join("etc/apt/sources.list.d"))?.chain(fs::read_dir(tree.join("etc/ssh"))?) {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.starts_with(tree.join("etc/apt")) || name.starts_with("ssh_host_") {
            remove(&path)?;
        }
    }
    // Empty: systemd makes one at the first start.
    fs::write(tree.join("etc/machine-id"), "")?;
    remove(&tree.join("var/lib/dbus/machine-id"))?;
    fs::write(tree.join("etc/fstab"), format!("UUID={id} / ext4 errors=remount-ro 0 1\n"))?;
    std::os::unix::fs::symlink("/run/systemd/resolve/stub-resolv.conf", tree.join("etc/resolv.conf"))?;
    let grub = tree.join("boot/grub");
    fs::create_dir_all(&grub)?;
    let config = include_str!("../../debian/grub.cfg").replace("@ROOT@", &id.to_string());
    fs::write(grub.join("grub.cfg"), config)?;
    fs::write(tree.join("etc/cloud/cloud.cfg.d/90_leasehold.cfg"), include_str!("../../debian/cloud.cfg"))?;
    let root = format!("--root={}", tree.display());
    SYSTEMCTL.run(tree, &[&root, "enable", "systemd-networkd", "systemd-resolved", "ssh"])?;
    for link in ["vmlinuz", "initrd.img"] {
        if tree.join(link).symlink_metadata().is_err() {
            bail!("the kernel package made no /{link}: this release of Debian is not known");
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// The file system with all of the tree in it; its size in bytes.
fn ext4(folder: &Path, tree: &Path, id: Uuid, target: &Path) -> Result<u64> {
    // Blocks of 4 KiB, a tenth for the file system itself.
    let used = used(tree)?;
    let bytes = (used + used / 10 + SPARE).next_multiple_of(1 << 20);
    let (id, blocks) = (id.to_string(), (bytes / 4096).to_string());
    let (tree, target) = (tree.to_string_lossy(), target.to_string_lossy());
    let arguments =
        ["-q", "-t", "ext4", "-b", "4096", "-m", "1", "-L", "root", "-U", &id, "-d", &tree, &target, &blocks];
    MKE2FS.run(folder, &arguments)?;
    Ok(bytes)
}

/// Bytes that the files below take, in blocks of 4 KiB.
fn used(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        sum += metadata.len().next_multiple_of(4096);
        if metadata.is_dir() {
            sum += used(&entry.path())?;
        }
    }
    Ok(sum)
}

fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hash.finalize())),
            count => hash.update(&buffer[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_releases_own_suites_are_taken() {
        let line = |suite: &str| source(&format!("http://a/debian/ {suite} main"), "bookworm");
        let wanted = |suite: &str| format!("deb http://a/debian/ {suite} main\n");
        assert_eq!(line("bookworm"), Some(wanted("bookworm")));
        assert_eq!(line("bookworm-security"), Some(wanted("bookworm-security")));
        assert_eq!(line("bookworm-backports"), None);
        assert_eq!(line("trixie"), None);
        assert_eq!(source("http://a bookworm contrib", "bookworm"), None);
        assert_eq!(source("cut", "bookworm"), None);
    }

    #[test]
    fn the_size_counts_blocks_of_all_levels() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("a/b"), [1]).unwrap();
        let folder_size = fs::metadata(folder.path().join("a")).unwrap().len().next_multiple_of(4096);
        assert_eq!(used(folder.path()).unwrap(), 4096 + folder_size);
    }
}
