//! A file tree in memory: what goes into an archive or a file system image.
//!
//! In: files, folders, links and device nodes by path. Out: an ordered walk, or real files below a folder.
//! Order is by path and modes are stated, never taken from the disk, so that images do not depend on umask or luck.
//! Folders above an entry appear by themselves, before it.
//! Paths are relative, with `/` between parts and no leading slash.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use anyhow::{Context, Result, bail};

/// One entry of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Folder {
        mode: u32,
    },
    File {
        mode: u32,
        data: Vec<u8>,
    },
    Link {
        target: String,
    },
    /// A character device by its numbers.
    Device {
        mode: u32,
        major: u32,
        minor: u32,
    },
}

/// The entries by path. A later entry replaces an earlier one of the same path.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    nodes: BTreeMap<String, Node>,
}

impl Tree {
    pub(crate) fn folder(&mut self, path: &str, mode: u32) {
        self.put(path, Node::Folder { mode });
    }

    pub(crate) fn file(&mut self, path: &str, mode: u32, data: impl Into<Vec<u8>>) {
        self.put(path, Node::File { mode, data: data.into() });
    }

    pub(crate) fn link(&mut self, path: &str, target: &str) {
        self.put(path, Node::Link { target: target.to_owned() });
    }

    pub(crate) fn device(&mut self, path: &str, mode: u32, major: u32, minor: u32) {
        self.put(path, Node::Device { mode, major, minor });
    }

    fn put(&mut self, path: &str, node: Node) {
        for (at, _) in path.match_indices('/') {
            self.nodes.entry(path[..at].to_owned()).or_insert(Node::Folder { mode: 0o755 });
        }
        self.nodes.insert(path.to_owned(), node);
    }

    /// All entries, folders before what is in them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_str(), node))
    }

    /// Makes the tree as real files below `folder`, for the file-system builder.
    pub(crate) fn write_below(&self, folder: &Path) -> Result<()> {
        for (path, node) in self.iter() {
            let target = folder.join(path);
            match node {
                Node::Folder { .. } => fs::create_dir_all(&target),
                Node::File { data, .. } => fs::write(&target, data),
                Node::Link { target: to } => symlink(to, &target),
                Node::Device { .. } => bail!("{path}: a device node needs an archive, not a folder"),
            }
            .with_context(|| format!("cannot write {}", target.display()))?;
            if let Node::Folder { mode } | Node::File { mode, .. } = node {
                fs::set_permissions(&target, fs::Permissions::from_mode(*mode))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_before_what_is_in_them() {
        let mut tree = Tree::default();
        tree.file("a/b/c", 0o644, "x");
        tree.link("a/b-link", "b");
        let paths: Vec<&str> = tree.iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["a", "a/b", "a/b-link", "a/b/c"]);
    }

    #[test]
    fn a_stated_folder_keeps_its_mode() {
        let mut tree = Tree::default();
        tree.folder("root", 0o700);
        tree.file("root/file", 0o600, "x");
        assert_eq!(tree.iter().next(), Some(("root", &Node::Folder { mode: 0o700 })));
    }

    #[test]
    fn the_tree_becomes_files_with_its_own_modes() {
        let mut tree = Tree::default();
        tree.file("bin/run", 0o755, "run");
        tree.link("sbin", "bin");
        let folder = tempfile::tempdir().unwrap();
        tree.write_below(folder.path()).unwrap();
        let run = folder.path().join("sbin/run");
        assert_eq!(fs::read(&run).unwrap(), b"run");
        assert_eq!(fs::metadata(&run).unwrap().permissions().mode() & 0o7777, 0o755);
    }
}
