//! The network boot loaders: iPXE from Debian's package.
//!
//! In: the package `ipxe`. Out: `ipxe/undionly.kpxe` (BIOS), `ipxe/x86_64/snponly.efi` and `ipxe/x86_64/ipxe.efi` (UEFI).
//! undionly and snponly drive the card through the firmware that already talked to it, so any card works;
//! ipxe.efi has drivers of its own, for firmware whose network stack is broken.
//! The files are Debian's, unchanged.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::packages::Packages;

/// Where a loader comes from (the first that exists: the place moved between releases) and where it goes.
const LOADERS: [(&[&str], &str); 3] = [
    (&["usr/lib/ipxe/undionly.kpxe"], "ipxe/undionly.kpxe"),
    (&["usr/lib/ipxe/snponly.efi"], "ipxe/x86_64/snponly.efi"),
    (&["boot/ipxe.efi", "usr/lib/ipxe/ipxe.efi"], "ipxe/x86_64/ipxe.efi"),
];

/// Copies the loaders below `out`.
pub(crate) fn build(packages: &Packages, out: &Path) -> Result<()> {
    let package = packages.unpacked("ipxe")?;
    for (sources, target) in LOADERS {
        let Some(source) = sources.iter().map(|source| package.join(source)).find(|source| source.is_file()) else {
            bail!("the package ipxe has no {}: this release of Debian is not known", sources.join(" or "));
        };
        let data = fs::read(&source).with_context(|| format!("cannot read {}", source.display()))?;
        let target = out.join(target);
        write_file(&target, &data)?;
        eprintln!("{}: {} bytes", target.display(), data.len());
    }
    Ok(())
}

/// Writes a file whole or not at all, making the folders above it.
pub(crate) fn write_file(target: &Path, data: &[u8]) -> Result<()> {
    use std::io::Write;
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let mut partial = tempfile::NamedTempFile::new_in(folder)?;
    partial.write_all(data).with_context(|| format!("cannot write {}", target.display()))?;
    crate::manifest::write_readable(partial, target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_with_its_folders_and_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a/b/file");
        write_file(&target, b"one").unwrap();
        write_file(&target, b"two").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"two");
        assert_eq!(fs::read_dir(target.parent().unwrap()).unwrap().count(), 1);
    }
}
