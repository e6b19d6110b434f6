//! Debian packages as unpacked folders, fetched by name through the machine's own apt configuration.
//!
//! In: package names. Out: the folder a package was unpacked into, kept in the cache for the next run.
//! The newest candidate apt knows is used; without package lists, what the cache already has.
//! Nothing is installed and no maintainer script runs: `apt-get download` and `dpkg-deb -x` only.
//! A folder appears under its final name only when it is whole, so a broken run leaves nothing half done.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};

use crate::tools::{APT_CACHE, APT_GET, DPKG_DEB};

/// The cache of downloaded and unpacked packages.
pub(crate) struct Packages {
    folder: PathBuf,
    /// What apt said of a package's candidate version, asked once: in a container each question takes most of a second.
    candidates: RefCell<BTreeMap<String, Option<String>>>,
    closures: RefCell<BTreeMap<String, Vec<String>>>,
}

impl Packages {
    /// Opens the cache, making its folder where there is none.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make the cache folder {}", folder.display()))?;
        let folder = folder.canonicalize().with_context(|| format!("cannot read {}", folder.display()))?;
        Ok(Self { folder, candidates: RefCell::default(), closures: RefCell::default() })
    }

    /// Asks apt for the candidates of all these packages at once. Only faster than without, never needed.
    pub(crate) fn look_up(&self, names: &[&str]) -> Result<()> {
        let mut known = self.candidates.borrow_mut();
        let open: Vec<&str> = names.iter().copied().filter(|name| !known.contains_key(*name)).collect();
        if open.is_empty() {
            return Ok(());
        }
        let output = APT_CACHE.run(&self.folder, &[&["policy"], open.as_slice()].concat())?;
        let found = parse_policy(&String::from_utf8_lossy(&output));
        known.extend(open.iter().map(|name| ((*name).to_owned(), found.get(*name).cloned())));
        Ok(())
    }

    /// The folder with the contents of the package `name`.
    pub(crate) fn unpacked(&self, name: &str) -> Result<PathBuf> {
        let archive = self.archive(name)?;
        let stem = archive.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let tree = self.folder.join(format!("{stem}.tree"));
        if tree.is_dir() {
            return Ok(tree);
        }
        let partial = tempfile::tempdir_in(&self.folder)?;
        let target = partial.path().join("tree");
        fs::create_dir(&target)?;
        DPKG_DEB.run(&self.folder, &["-x", &archive.to_string_lossy(), &target.to_string_lossy()])?;
        put_in_place(&target, &tree)?;
        Ok(tree)
    }

    /// The package that a metapackage such as `linux-image-amd64` stands for: its first dependency of that name.
    pub(crate) fn behind(&self, meta: &str, prefix: &str) -> Result<String> {
        parse_depends(&self.depends(&[meta], &[])?)
            .into_iter()
            .find(|name| name.starts_with(prefix))
            .ok_or_else(|| anyhow!("the package {meta} depends on no {prefix}…: run apt-get update"))
    }

    /// The package and everything it depends on, transitively, in the order of names.
    pub(crate) fn closure(&self, name: &str) -> Result<Vec<String>> {
        if let Some(known) = self.closures.borrow().get(name) {
            return Ok(known.clone());
        }
        self.look_up_closures(&[name])?;
        Ok(self.closures.borrow().get(name).cloned().unwrap_or_default())
    }

    /// Asks apt at once what all these packages depend on; for each, that is what all depend on. Only faster than one
    /// question each, never needed.
    pub(crate) fn look_up_closures(&self, names: &[&str]) -> Result<()> {
        let mut all = parse_depends(&self.depends(names, &["--recurse"])?);
        all.extend(names.iter().map(|name| (*name).to_owned()));
        all.sort();
        all.dedup();
        self.look_up(&all.iter().map(String::as_str).collect::<Vec<_>>())?;
        self.closures.borrow_mut().extend(names.iter().map(|name| ((*name).to_owned(), all.clone())));
        Ok(())
    }

    fn depends(&self, names: &[&str], more: &[&str]) -> Result<String> {
        let only_hard =
            ["--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks", "--no-replaces", "--no-enhances"];
        let output = APT_CACHE.run(&self.folder, &[&["depends"], only_hard.as_slice(), more, names].concat())?;
        Ok(String::from_utf8_lossy(&output).into_owned())
    }

    /// The .deb file of a package: from the cache when it is the candidate, else freshly downloaded.
    fn archive(&self, name: &str) -> Result<PathBuf> {
        self.look_up(&[name])?;
        let candidate = self.candidates.borrow().get(name).cloned().flatten();
        let cached = self.cached(name)?;
        match candidate {
            Some(version) => {
                let wanted = format!("{name}_{}_", version.replace(':', "%3a"));
                if let Some(hit) = cached.iter().find(|path| file_name(path).starts_with(&wanted)) {
                    return Ok(hit.clone());
                }
                self.download(name)
            }
            None => cached
                .into_iter()
                .next_back()
                .ok_or_else(|| anyhow!("apt knows no package {name} and the cache has none: run apt-get update")),
        }
    }

    fn cached(&self, name: &str) -> Result<Vec<PathBuf>> {
        let prefix = format!("{name}_");
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let file = file_name(&path);
            if file.starts_with(&prefix) && file.ends_with(".deb") {
                found.push(path);
            }
        }
        found.sort();
        Ok(found)
    }

    fn download(&self, name: &str) -> Result<PathBuf> {
        let partial = tempfile::tempdir_in(&self.folder)?;
        // The sandbox user cannot write into a folder made for us alone; apt would only warn, so say it up front.
        APT_GET
            .run(partial.path(), &["-q", "-o", "APT::Sandbox::User=root", "download", name])
            .with_context(|| format!("the package {name} cannot be downloaded (is apt-get update needed?)"))?;
        let mut files = fs::read_dir(partial.path())?;
        let Some(file) = files.next() else { bail!("apt-get download {name} left no file") };
        let file = file?.path();
        let target = self.folder.join(file_name(&file));
        put_in_place(&file, &target)?;
        Ok(target)
    }
}

/// Moves a finished file or folder to its name; a second run that was faster is as good as ours.
fn put_in_place(from: &Path, to: &Path) -> Result<()> {
    match fs::rename(from, to) {
        Err(_) if to.exists() => Ok(()),
        other => other.with_context(|| format!("cannot write {}", to.display())),
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Reads the candidate versions from the output of `apt-cache policy`; packages without one are left out.
fn parse_policy(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut name = "";
    for line in text.lines() {
        if let Some(heading) = line.strip_suffix(':').filter(|heading| !heading.starts_with(' ')) {
            name = heading;
        } else if let Some(version) = line.strip_prefix("  Candidate: ").filter(|version| *version != "(none)") {
            found.insert(name.to_owned(), version.to_owned());
        }
    }
    found
}

/// Reads the names from the output of `apt-cache depends`: of alternatives the first, no virtual packages.
fn parse_depends(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut alternative = false;
    for line in text.lines() {
        let line = line.trim_start();
        let (is_alternative, rest) = match line.strip_prefix('|') {
            Some(rest) => (true, rest),
            None => (false, line),
        };
        let Some(name) = rest.strip_prefix("Depends: ").or_else(|| rest.strip_prefix("PreDepends: ")) else {
            continue;
        };
        let name = name.trim();
        if !alternative && !name.starts_with('<') {
            // A name may carry an architecture qualifier, which download does not need.
            names.push(name.split(':').next().unwrap_or(name).to_owned());
        }
        alternative = is_alternative;
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_read_from_policy() {
        let text = "ipxe:\n  Installed: (none)\n  Candidate: 1.0.0+git-1\n  Version table:\n     1.0.0+git-1 500\ngone:\n  Installed: 1\n  Candidate: (none)\nxz-utils:\n  Candidate: 5\n";
        let found = parse_policy(text);
        assert_eq!(found.get("ipxe").map(String::as_str), Some("1.0.0+git-1"));
        assert_eq!(found.get("xz-utils").map(String::as_str), Some("5"));
        assert_eq!(found.len(), 2);
        assert!(parse_policy("").is_empty());
    }

    #[test]
    fn dependencies_take_the_first_alternative_and_skip_virtual_packages() {
        let text = "dropbear-bin\n  Depends: libc6\n |Depends: debconf\n  Depends: <debconf-2.0>\n    cdebconf\n  PreDepends: zlib1g\n  Depends: <x>\n  Depends: perl:any\n";
        assert_eq!(parse_depends(text), ["libc6", "debconf", "zlib1g", "perl"]);
    }

    #[test]
    fn a_finished_file_takes_its_place_and_a_second_run_does_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        fs::create_dir(&a).unwrap();
        fs::create_dir(&b).unwrap();
        fs::write(b.join("whole"), "x").unwrap();
        put_in_place(&a, &b).unwrap();
        assert!(b.join("whole").exists());
    }
}
