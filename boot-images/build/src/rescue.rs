//! The rescue archive: what the ramdisk has besides where a machine's user is let in to look at its disks.
//!
//! In: Debian's SSH server, file system and volume tools, the scripts of `boot-images/rescue`. Out: a tree that is laid
//! over the ramdisk's own, for a boot script adds it to a rescue and to nothing else.
//! It replaces busybox's applets of the same names: these know every file system, and load its driver by asking the kernel.

use anyhow::Result;

use crate::packages::Packages;
use crate::tree::Tree;
use crate::userland;

/// Programs by package. All go to `bin`, whether users or the administrator would call them.
const PROGRAMS: &[(&str, &[&str])] = &[
    ("dropbear-bin", &["dropbear", "dropbearkey"]),
    // Debian's busybox shell runs its own applets before it looks at programs, so users get another one.
    ("bash", &["bash"]),
    ("mount", &["mount", "umount", "losetup"]),
    ("util-linux", &["lsblk", "blkid", "wipefs", "findmnt"]),
    ("fdisk", &["fdisk", "sfdisk"]),
    ("e2fsprogs", &["e2fsck", "mke2fs", "resize2fs", "tune2fs", "debugfs"]),
    ("xfsprogs", &["xfs_repair", "mkfs.xfs"]),
    ("btrfs-progs", &["btrfs"]),
    ("dosfstools", &["fsck.fat"]),
    ("mdadm", &["mdadm"]),
    ("lvm2", &["lvm"]),
    ("dmsetup", &["dmsetup"]),
    ("cryptsetup-bin", &["cryptsetup"]),
    ("efibootmgr", &["efibootmgr"]),
    ("rsync", &["rsync"]),
];

/// What `scp` and `sftp` talk to.
const SFTP: &str = "openssh-sftp-server";

/// Further names of programs that look at the name they are called by.
const NAMES: &[(&str, &[&str])] = &[
    ("e2fsck", &["fsck.ext2", "fsck.ext3", "fsck.ext4"]),
    ("mke2fs", &["mkfs.ext2", "mkfs.ext3", "mkfs.ext4"]),
    ("tune2fs", &["e2label"]),
    ("fsck.fat", &["fsck.vfat"]),
    ("lvm", &["pvs", "pvscan", "vgs", "vgscan", "vgchange", "vgimport", "lvs", "lvscan", "lvchange"]),
];

/// File systems, volumes and what they are encrypted with; the ways of a network to a user's card; the power button.
pub(crate) const MODULES: &[&str] = &[
    "ext4",
    "xfs",
    "btrfs",
    "vfat",
    "isofs",
    "squashfs",
    "loop",
    "nls_cp437",
    "nls_ascii",
    "nls_utf8",
    "dm_mod",
    "dm_crypt",
    "dm_mirror",
    "dm_snapshot",
    "dm_thin_pool",
    "dm_raid",
    "raid0",
    "raid1",
    "raid10",
    "raid456",
    "xts",
    "algif_skcipher",
    "algif_hash",
    "8021q",
    "bonding",
    "button",
    "evdev",
];

/// Everything but the drivers.
pub(crate) fn tree(packages: &Packages) -> Result<Tree> {
    let names = PROGRAMS.iter().map(|(package, _)| *package).chain([SFTP]);
    packages.look_up_closures(&names.collect::<Vec<_>>())?;
    let mut tree = Tree::default();
    for (package, programs) in PROGRAMS {
        for program in *programs {
            let places = ["usr/sbin/", "sbin/", "usr/bin/", "bin/"].map(|folder| format!("{folder}{program}"));
            let places: Vec<&str> = places.iter().map(String::as_str).collect();
            userland::dynamic(packages, package, &places, &format!("bin/{program}"), &mut tree)?;
        }
    }
    for (program, names) in NAMES {
        for name in *names {
            tree.link(&format!("bin/{name}"), program);
        }
    }
    // Where Debian's dropbear looks for it.
    let place = ["usr/lib/openssh/sftp-server"];
    userland::dynamic(packages, SFTP, &place, "usr/lib/sftp-server", &mut tree)?;
    tree.link("usr/bin", "../bin");
    tree.link("usr/sbin", "../bin");
    tree.folder("root", 0o700);
    tree.folder("mnt", 0o755);
    for (path, mode, text) in [
        ("bin/sudo", 0o755, include_str!("../../rescue/sudo")),
        ("etc/leasehold/rescue", 0o755, include_str!("../../rescue/rescue")),
        ("etc/acpi/PWRF/00000080", 0o755, include_str!("../../rescue/power-button")),
        ("etc/lvm/lvm.conf", 0o644, include_str!("../../rescue/lvm.conf")),
        // One user, who is root by another name: the machine is his.
        ("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\nrescue:x:0:0:rescue:/root:/bin/bash\n"),
        ("etc/group", 0o644, "root:x:0:\n"),
        // No password opens either until the agent is given one.
        ("etc/shadow", 0o600, "root:*:20000:0:99999:7:::\nrescue:*:20000:0:99999:7:::\n"),
        ("etc/shells", 0o644, "/bin/bash\n/bin/sh\n"),
        ("etc/nsswitch.conf", 0o644, "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n"),
        ("etc/hosts", 0o644, "127.0.0.1 localhost\n"),
        ("etc/profile", 0o644, include_str!("../../rescue/profile")),
    ] {
        tree.file(path, mode, text);
    }
    tree.link("etc/resolv.conf", "/run/resolv.conf");
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_name_stands_for_one_program_that_is_there() {
        let programs: Vec<&str> = PROGRAMS.iter().flat_map(|(_, programs)| programs.iter().copied()).collect();
        let names: Vec<&str> = NAMES.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        let all: BTreeSet<&str> = programs.iter().chain(&names).copied().collect();
        assert_eq!(all.len(), programs.len() + names.len());
        assert!(NAMES.iter().all(|(program, _)| programs.contains(program)));
    }
}
