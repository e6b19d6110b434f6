//! Debian's kernel package: the kernel, its modules, and what depends on what.
//!
//! In: the unpacked package. Out: a chosen set of modules with all they need, and the tables modprobe reads.
//! The package carries no modules.dep (depmod runs at installation), so the tables are made here from each module's
//! own `.modinfo`; they cover exactly the modules that go into an image.
//! Debian 12 ships modules plain, Debian 13 as .ko.xz; they go into images plain, since the image is compressed as a whole.
//! The modules themselves stay byte for byte Debian's, signatures included.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::elf::Elf;
use crate::packages::Packages;
use crate::tools::XZ;
use crate::tree::Tree;

/// An unpacked kernel package.
pub(crate) struct Kernel {
    /// As `uname -r` will say.
    pub(crate) release: String,
    /// The bootable kernel, signed by Debian for Secure Boot.
    pub(crate) vmlinuz: Vec<u8>,
    modules: PathBuf,
    files: BTreeMap<String, PathBuf>,
    builtin: BTreeSet<String>,
}

/// A chosen module: its path below `kernel/…`, its contents and its own description.
pub(crate) struct Module {
    path: String,
    data: Vec<u8>,
    info: ModuleInfo,
}

/// What a module says of itself in `.modinfo`.
#[derive(Debug, Default, PartialEq, Eq)]
struct ModuleInfo {
    depends: Vec<String>,
    /// Modules that should be loaded before it, where they exist.
    soft: Vec<String>,
    aliases: Vec<String>,
}

/// Modules by name. Names use `_` where file names may use `-`.
pub(crate) type Modules = BTreeMap<String, Module>;

impl Kernel {
    /// Reads the generic kernel that `linux-image-amd64` stands for.
    pub(crate) fn generic(packages: &Packages) -> Result<Self> {
        let package = packages.behind("linux-image-amd64", "linux-image-")?;
        Self::read(&packages.unpacked(&package)?)
    }

    fn read(package: &Path) -> Result<Self> {
        let modules = ["usr/lib/modules", "lib/modules"]
            .iter()
            .map(|folder| package.join(folder))
            .find(|folder| folder.is_dir())
            .context("the kernel package has no modules")?;
        let Some(release) = fs::read_dir(&modules)?.next() else { bail!("the kernel package has no modules") };
        let release = release?.file_name().to_string_lossy().into_owned();
        let modules = modules.join(&release);
        let vmlinuz = package.join(format!("boot/vmlinuz-{release}"));
        let vmlinuz = fs::read(&vmlinuz).with_context(|| format!("cannot read {}", vmlinuz.display()))?;
        let builtin = fs::read_to_string(modules.join("modules.builtin")).context("cannot read modules.builtin")?;
        let builtin = builtin.lines().filter_map(module_name).collect();
        let mut files = BTreeMap::new();
        find_modules(&modules.join("kernel"), &mut files)?;
        Ok(Self { release, vmlinuz, modules, files, builtin })
    }

    /// The modules of these names and everything they need. A name that is built into the kernel needs no file.
    ///
    /// # Errors
    /// When the kernel has no such module: a driver that silently went missing would strand machines.
    pub(crate) fn select(&self, names: &[&str]) -> Result<Modules> {
        let mut chosen = Modules::new();
        let mut open: Vec<String> = Vec::new();
        for name in names {
            let name = name.replace('-', "_");
            if self.files.contains_key(&name) {
                open.push(name);
            } else if !self.builtin.contains(&name) {
                bail!("the kernel {} has no module {name}", self.release);
            }
        }
        while let Some(name) = open.pop() {
            if chosen.contains_key(&name) {
                continue;
            }
            let Some(file) = self.files.get(&name) else { continue };
            let module = self.load(file).with_context(|| format!("cannot read the module {name}"))?;
            for needed in &module.info.depends {
                if !self.files.contains_key(needed) && !self.builtin.contains(needed) {
                    bail!("the module {name} needs {needed}, which the kernel {} does not have", self.release);
                }
            }
            open.extend(module.info.depends.iter().chain(&module.info.soft).cloned());
            chosen.insert(name, module);
        }
        Ok(chosen)
    }

    fn load(&self, file: &Path) -> Result<Module> {
        let path = file.strip_prefix(&self.modules)?.to_string_lossy().into_owned();
        let (path, data) = match path.strip_suffix(".xz") {
            Some(plain) => (plain.to_owned(), XZ.run(&self.modules, &["-dc", &file.to_string_lossy()])?),
            None => (path, fs::read(file)?),
        };
        let info = Elf::new(&data)?.section(".modinfo")?.map(parse_modinfo).unwrap_or_default();
        Ok(Module { path, data, info })
    }

    /// Puts the modules into the tree below `lib/modules/RELEASE`, with the tables over `known`.
    pub(crate) fn install(&self, tree: &mut Tree, base: &str, modules: &Modules, known: &[&Modules]) {
        let folder = format!("{base}/{}", self.release);
        for module in modules.values() {
            tree.file(&format!("{folder}/{}", module.path), 0o644, module.data.clone());
        }
        let all: BTreeMap<&String, &Module> = known.iter().flat_map(|modules| modules.iter()).collect();
        tree.file(&format!("{folder}/modules.dep"), 0o644, dependency_table(&all));
        tree.file(&format!("{folder}/modules.alias"), 0o644, alias_table(&all));
    }
}

/// The modules of `all` that are not in `less`.
pub(crate) fn without(all: Modules, less: &Modules) -> Modules {
    all.into_iter().filter(|(name, _)| !less.contains_key(name)).collect()
}

fn find_modules(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            find_modules(&path, files)?;
        } else if let Some(name) = module_name(&path.to_string_lossy()) {
            files.insert(name, path);
        }
    }
    Ok(())
}

/// The name of a module from the path of its file; none when the file is no module.
fn module_name(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let name = file.strip_suffix(".xz").unwrap_or(file).strip_suffix(".ko")?;
    Some(name.replace('-', "_"))
}

/// Reads `key=value` strings that end in zero bytes.
fn parse_modinfo(section: &[u8]) -> ModuleInfo {
    let mut info = ModuleInfo::default();
    for entry in section.split(|byte| *byte == 0) {
        let Ok(entry) = std::str::from_utf8(entry) else { continue };
        match entry.split_once('=') {
            Some(("depends", names)) => {
                info.depends
                    .extend(names.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")));
            }
            Some(("softdep", text)) => info.soft.extend(soft_before(text)),
            Some(("alias", alias)) => info.aliases.push(alias.to_owned()),
            _ => {}
        }
    }
    info
}

/// From `pre: a b post: c`: what comes before.
fn soft_before(text: &str) -> Vec<String> {
    let mut before = false;
    let mut names = Vec::new();
    for word in text.split_whitespace() {
        match word {
            "pre:" => before = true,
            "post:" => before = false,
            name if before => names.push(name.replace('-', "_")),
            _ => {}
        }
    }
    names
}

/// modules.dep as depmod writes it: `path: needed needed…`, the last needed being the first to load.
fn dependency_table(modules: &BTreeMap<&String, &Module>) -> String {
    let mut text = String::new();
    for (name, module) in modules {
        text.push_str(&module.path);
        text.push(':');
        for needed in load_order(name, modules).iter().rev().filter(|needed| needed != name) {
            if let Some(module) = modules.get(needed) {
                text.push(' ');
                text.push_str(&module.path);
            }
        }
        text.push('\n');
    }
    text
}

/// The module and all it needs, each after what it needs itself.
fn load_order(name: &String, modules: &BTreeMap<&String, &Module>) -> Vec<String> {
    fn visit(
        name: &String,
        modules: &BTreeMap<&String, &Module>,
        seen: &mut BTreeSet<String>,
        order: &mut Vec<String>,
    ) {
        if !seen.insert(name.clone()) {
            return;
        }
        if let Some(module) = modules.get(name) {
            for needed in module.info.soft.iter().chain(&module.info.depends) {
                visit(needed, modules, seen, order);
            }
            order.push(name.clone());
        }
    }
    let mut order = Vec::new();
    visit(name, modules, &mut BTreeSet::new(), &mut order);
    order
}

/// modules.alias as depmod writes it: `alias PATTERN NAME`.
fn alias_table(modules: &BTreeMap<&String, &Module>) -> String {
    let mut text = String::new();
    for (name, module) in modules {
        for alias in &module.info.aliases {
            text.push_str(&format!("alias {alias} {name}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::elf::tests::with_sections;

    /// A kernel package in a folder, with modules given as (path, modinfo).
    fn package(modules: &[(&str, &str)], builtin: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("lib/modules/6.1.0-test");
        fs::create_dir_all(base.join("kernel")).unwrap();
        fs::create_dir_all(folder.path().join("boot")).unwrap();
        fs::write(folder.path().join("boot/vmlinuz-6.1.0-test"), "kernel").unwrap();
        fs::write(base.join("modules.builtin"), builtin).unwrap();
        for (path, info) in modules {
            let file = base.join("kernel").join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            let info = info.replace('|', "\0") + "\0";
            fs::write(file, with_sections(&[(".modinfo", info.as_bytes())])).unwrap();
        }
        folder
    }

    fn sample() -> tempfile::TempDir {
        package(
            &[
                ("a/virtio_net.ko", "alias=virtio:d00000001v*|depends=virtio,net-failover"),
                ("a/net_failover.ko", "depends=failover"),
                ("a/failover.ko", "depends="),
                ("b/virtio.ko", "depends=virtio_ring"),
                ("b/virtio_ring.ko", "license=GPL"),
                ("c/other.ko", "depends="),
                ("c/with-soft.ko", "depends=other|softdep=pre: crc-fast missing post: late"),
                ("c/crc-fast.ko", "depends="),
                ("c/broken.ko", "depends=gone"),
            ],
            "kernel/drivers/char/tpm/tpm_tis.ko\n",
        )
    }

    #[test]
    fn a_selection_brings_everything_it_needs_and_nothing_else() {
        let folder = sample();
        let kernel = Kernel::read(folder.path()).unwrap();
        assert_eq!(kernel.release, "6.1.0-test");
        let chosen = kernel.select(&["virtio-net", "tpm_tis"]).unwrap();
        let names: Vec<&String> = chosen.keys().collect();
        assert_eq!(names, ["failover", "net_failover", "virtio", "virtio_net", "virtio_ring"]);
    }

    #[test]
    fn the_tables_are_what_modprobe_reads() {
        let folder = sample();
        let kernel = Kernel::read(folder.path()).unwrap();
        let chosen = kernel.select(&["virtio_net", "with_soft"]).unwrap();
        let all: BTreeMap<&String, &Module> = chosen.iter().collect();
        let dependencies = dependency_table(&all);
        // The last one named is loaded first: virtio_ring before virtio, failover before net_failover.
        assert!(
            dependencies.contains(
                "kernel/a/virtio_net.ko: kernel/a/net_failover.ko kernel/a/failover.ko kernel/b/virtio.ko kernel/b/virtio_ring.ko\n"
            ),
            "{dependencies}"
        );
        assert!(dependencies.contains("kernel/c/with-soft.ko: kernel/c/other.ko kernel/c/crc-fast.ko\n"));
        assert_eq!(alias_table(&all), "alias virtio:d00000001v* virtio_net\n");
    }

    #[test]
    fn an_unknown_module_or_a_missing_need_is_an_error() {
        let folder = sample();
        let kernel = Kernel::read(folder.path()).unwrap();
        let error = kernel.select(&["nothing"]).err().unwrap().to_string();
        assert_eq!(error, "the kernel 6.1.0-test has no module nothing");
        let error = kernel.select(&["broken"]).err().unwrap().to_string();
        assert_eq!(error, "the module broken needs gone, which the kernel 6.1.0-test does not have");
    }

    #[test]
    fn a_further_archive_holds_only_what_the_first_has_not_but_tables_over_both() {
        let folder = sample();
        let kernel = Kernel::read(folder.path()).unwrap();
        let main = kernel.select(&["virtio"]).unwrap();
        let further = without(kernel.select(&["virtio_net"]).unwrap(), &main);
        let mut tree = Tree::default();
        kernel.install(&mut tree, "lib/modules", &further, &[&main, &further]);
        let paths: Vec<&str> = tree.iter().map(|(path, _)| path).filter(|path| path.contains(".ko")).collect();
        assert_eq!(paths.len(), 3, "{paths:?}");
        let (_, table) = tree.iter().find(|(path, _)| path.ends_with("modules.dep")).unwrap();
        let crate::tree::Node::File { data, .. } = table else { unreachable!() };
        assert!(String::from_utf8_lossy(data).contains("kernel/b/virtio.ko:"));
    }

    proptest! {
        #[test]
        fn any_modinfo_is_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            parse_modinfo(&bytes);
        }

        #[test]
        fn any_graph_of_modules_gives_an_order_with_each_module_once(
            edges in proptest::collection::vec((0_usize..6, 0_usize..6), 0..20)
        ) {
            let mut modules = Modules::new();
            for name in 0..6 {
                let depends = edges.iter().filter(|(from, _)| *from == name).map(|(_, to)| to.to_string()).collect();
                let info = ModuleInfo { depends, ..ModuleInfo::default() };
                modules.insert(name.to_string(), Module { path: name.to_string(), data: vec![], info });
            }
            let all: BTreeMap<&String, &Module> = modules.iter().collect();
            for name in modules.keys() {
                let order = load_order(name, &all);
                let unique: BTreeSet<&String> = order.iter().collect();
                prop_assert_eq!(unique.len(), order.len());
                prop_assert_eq!(order.last(), Some(name));
            }
        }
    }
}
