//! Programs from Debian packages for our images: busybox, and dynamic programs with the libraries they need.
//!
//! In: unpacked packages. Out: entries in a tree.
//! Libraries are found by what the program itself asks for, so an image carries no library that nobody loads.
//! Both layouts of Debian are read: `/lib` and `/bin` apart (12's packages) and merged into `/usr` (13's).
//! Programs of our own are looked at before they go in: they must be static, for these images have no loader for them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::elf::Elf;
use crate::packages::Packages;
use crate::tree::Tree;

/// Where Debian keeps shared libraries of amd64, merged and not.
const LIBRARY_FOLDERS: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];
/// The dynamic loader's name and the place every dynamic program of amd64 expects it in.
const LOADER: &str = "ld-linux-x86-64.so.2";

/// Puts Debian's static busybox into `bin`, with a link for each of its applets.
pub(crate) fn busybox(packages: &Packages, tree: &mut Tree) -> Result<()> {
    let package = packages.unpacked("busybox-static")?;
    let program = first_of(&package, &["usr/bin/busybox", "bin/busybox"])?;
    let data = fs::read(&program)?;
    // The program itself knows its applets; it is static, so it runs here as well as there.
    let list = Command::new(&program).arg("--list").output().context("cannot run busybox --list")?;
    let mut applets = 0;
    for applet in String::from_utf8_lossy(&list.stdout).lines().map(str::trim).filter(|applet| is_plain(applet)) {
        tree.link(&format!("bin/{applet}"), "busybox");
        applets += 1;
    }
    if applets == 0 {
        bail!("busybox --list named no applet");
    }
    tree.file("bin/busybox", 0o755, data);
    Ok(())
}

/// A file name that needs no thought (busybox has an applet called `[`, which is fine, and may list itself).
fn is_plain(applet: &str) -> bool {
    !applet.is_empty() && applet != "busybox" && !applet.contains('/')
}

/// Puts a program of a package, given by its possible places, to `target`, with its libraries and the loader.
pub(crate) fn dynamic(
    packages: &Packages,
    package: &str,
    places: &[&str],
    target: &str,
    tree: &mut Tree,
) -> Result<()> {
    let mut shelf = Shelf { packages, closure: packages.closure(package)?, unpacked: Vec::new() };
    let program = first_of(&packages.unpacked(package)?, places)?;
    let data = fs::read(&program)?;
    let mut open = Elf::new(&data).with_context(|| format!("cannot read {}", program.display()))?.needed()?;
    tree.file(target, 0o755, data);
    open.push(LOADER.to_owned());
    let mut done = BTreeSet::new();
    while let Some(name) = open.pop() {
        if !done.insert(name.clone()) {
            continue;
        }
        let file = shelf.find(&name)?.with_context(|| format!("{target} needs {name}: no package has it"))?;
        let data = fs::read(&file)?;
        open.extend(Elf::new(&data).with_context(|| format!("cannot read {}", file.display()))?.needed()?);
        let place = if name == LOADER { format!("lib64/{name}") } else { format!("usr/lib/x86_64-linux-gnu/{name}") };
        tree.file(&place, 0o755, data);
    }
    Ok(())
}

/// Libraries whose packages are called otherwise, by the beginnings of both names.
const CALLED_OTHERWISE: &[(&str, &str)] =
    &[("libm", "libc6"), ("libpthread", "libc6"), ("libz", "zlib1g"), ("libcrypto", "libssl"), ("libe2p", "libext2fs")];

/// The packages that a program depends on. Only those are fetched that have a library which is asked for, as far as their
/// names tell.
struct Shelf<'a> {
    packages: &'a Packages,
    closure: Vec<String>,
    unpacked: Vec<PathBuf>,
}

impl Shelf<'_> {
    fn find(&mut self, name: &str) -> Result<Option<PathBuf>> {
        if let Some(found) = library(&self.unpacked, name) {
            return Ok(Some(found));
        }
        while let Some(at) = likeliest(&self.closure, name) {
            self.unpacked.push(self.packages.unpacked(&self.closure.swap_remove(at))?);
            if let Some(found) = library(&self.unpacked[self.unpacked.len() - 1..], name) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

/// Which of these packages is the first to look into for a library: the one with the shortest of the names that begin as
/// it does, else any that has to do with libraries, else any.
fn likeliest(packages: &[String], library: &str) -> Option<usize> {
    let stem = library.split(".so").next().unwrap_or(library).replace('_', "-").to_ascii_lowercase();
    let stem = CALLED_OTHERWISE.iter().find(|(name, _)| *name == stem).map_or(stem.as_str(), |(_, package)| package);
    let rank = |name: &String| (!name.starts_with(stem), !name.contains("lib"), name.len());
    packages.iter().enumerate().min_by_key(|(_, name)| rank(name)).map(|(at, _)| at)
}

/// The file of a library in any of the unpacked packages. Links inside a package are followed, others are not ours.
fn library(packages: &[PathBuf], name: &str) -> Option<PathBuf> {
    packages
        .iter()
        .flat_map(|package| LIBRARY_FOLDERS.iter().map(move |folder| (package, package.join(folder).join(name))))
        .filter_map(|(package, path)| Some((package, path.canonicalize().ok()?)))
        .find(|(package, path)| path.starts_with(package))
        .map(|(_, path)| path)
}

/// The first of these places that is a file.
pub(crate) fn first_of(package: &Path, places: &[&str]) -> Result<PathBuf> {
    match places.iter().map(|place| package.join(place)).find(|path| path.is_file()) {
        Some(path) => Ok(path),
        None => bail!("{} has no {}: this release of Debian is not known", package.display(), places.join(" or ")),
    }
}

/// Reads one of our own programs; it must be static and executable.
pub(crate) fn static_program(path: &Path, how: &str) -> Result<Vec<u8>> {
    let data = fs::read(path).with_context(|| format!("cannot read {} ({how})", path.display()))?;
    let elf = Elf::new(&data).with_context(|| format!("{} is no program for this image", path.display()))?;
    if !elf.is_static()? {
        bail!("{} is not static: {how}", path.display());
    }
    if fs::metadata(path)?.permissions().mode() & 0o111 == 0 {
        bail!("{} is not executable: {how}", path.display());
    }
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_program_is_refused_with_the_way_to_build_it() {
        // Test programs of this target are dynamic (glibc).
        let me = std::env::current_exe().unwrap();
        let error = static_program(&me, "build it for musl").unwrap_err().to_string();
        assert!(error.ends_with("is not static: build it for musl"), "{error}");
    }

    #[test]
    fn a_text_file_is_no_program() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("agent");
        fs::write(&file, "#!/bin/sh\n").unwrap();
        let error = format!("{:#}", static_program(&file, "build it").unwrap_err());
        assert!(error.contains("not a 64-bit little-endian ELF file"), "{error}");
    }

    #[test]
    fn the_package_of_a_library_is_looked_into_first() {
        let packages =
            ["libc6", "libcap2", "debconf", "zlib1g", "libssl3t64", "libblkid1", "libzstd1"].map(str::to_owned);
        let first = |library| likeliest(&packages, library).map(|at| packages[at].as_str());
        for (library, package) in [
            ("libc.so.6", "libc6"),
            ("libm.so.6", "libc6"),
            ("libz.so.1", "zlib1g"),
            ("libcrypto.so.3", "libssl3t64"),
            ("libblkid.so.1", "libblkid1"),
        ] {
            assert_eq!(first(library), Some(package), "{library}");
        }
        assert_ne!(first("libother.so.1"), Some("debconf"));
        assert_eq!(likeliest(&[], "libc.so.6"), None);
    }

    #[test]
    fn a_library_is_found_through_links_inside_its_package_only() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let libraries = root.join("one/usr/lib/x86_64-linux-gnu");
        fs::create_dir_all(&libraries).unwrap();
        fs::write(libraries.join("liba.so.1.2"), "a").unwrap();
        std::os::unix::fs::symlink("liba.so.1.2", libraries.join("liba.so.1")).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", libraries.join("libb.so.1")).unwrap();
        let packages = [root.join("one")];
        assert_eq!(library(&packages, "liba.so.1"), Some(libraries.join("liba.so.1.2")));
        assert_eq!(library(&packages, "libb.so.1"), None);
    }
}
