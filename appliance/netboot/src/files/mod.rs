//! The boot file tree: loaders, kernels and initramfs images that machines fetch by TFTP and HTTP.
//! In: a folder with a `manifest.json` that names every file with its size and SHA-256. Out: [`BootFile`]s, found by
//! the path a client sent, without a lock, each mapped into memory once for all its readers.
//! What the manifest does not name does not exist for a client, so no path can lead out of the folder; a symbolic
//! link that leaves it is refused when the tree is opened. A file is never changed in place, only replaced by rename
//! (see `mapping.rs`); [`BootFiles::reload`] takes up a new manifest, and a bad one changes nothing.

mod mapping;
mod open;
mod path;

pub use mapping::MappedFile;
pub use open::{BootFilesError, FileProblem};
pub use path::{PathRefused, normalize};

#[cfg(test)]
pub(crate) use open::tests;

use arc_swap::ArcSwap;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;

/// The name of the manifest within the folder. `boot-images` writes it last, after every file is in place.
pub const MANIFEST: &str = "manifest.json";

/// A file of the tree. Whoever holds one can go on reading it after a reload has replaced it.
#[derive(Debug)]
pub struct BootFile {
    path: String,
    sha256: [u8; 32],
    etag: String,
    content: MappedFile,
    identity: open::Identity,
}

impl BootFile {
    /// The path below the root, without a leading slash.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.content.bytes().len() as u64
    }

    /// The SHA-256 of the content, as the manifest says and as was checked.
    #[must_use]
    pub fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// A strong entity tag (RFC 9110, 8.8.3), quotes included: it follows from the content alone.
    #[must_use]
    pub fn etag(&self) -> &str {
        &self.etag
    }

    /// The content.
    #[must_use]
    pub fn content(&self) -> &MappedFile {
        &self.content
    }
}

/// Why a path leads to no file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LookupError {
    /// The path itself is not acceptable.
    #[error("{0}")]
    Refused(#[from] PathRefused),
    /// The path is fine, but the manifest does not name it.
    #[error("there is no such file in the boot file tree")]
    Missing,
}

type Tree = HashMap<String, Arc<BootFile>>;

/// The tree as it is served now.
#[derive(Debug)]
pub struct BootFiles {
    folder: PathBuf,
    tree: ArcSwap<Tree>,
}

impl BootFiles {
    /// Opens the tree in `folder`, checks every size and hash, and maps every file.
    /// This reads all files once, which also brings them into the page cache.
    ///
    /// # Errors
    /// The manifest cannot be read or one of its files is missing, of the wrong size or altered; the error names all
    /// such files.
    pub fn open(folder: &Path) -> Result<Self, BootFilesError> {
        let files = Self::empty(folder);
        files.reload()?;
        Ok(files)
    }

    /// A tree that serves nothing until the first [`BootFiles::reload`], for a box whose boot files are not built yet.
    #[must_use]
    pub fn empty(folder: &Path) -> Self {
        BootFiles { folder: folder.to_owned(), tree: ArcSwap::from_pointee(Tree::new()) }
    }

    /// Reads the manifest again and serves what it names from now on; returns the number of files. Files that have
    /// not changed on disk keep their mapping and are not hashed again. Transfers under way end with what they began.
    ///
    /// # Errors
    /// As [`BootFiles::open`]; the tree served so far stays.
    pub fn reload(&self) -> Result<usize, BootFilesError> {
        let tree = open::read_tree(&self.folder, &self.tree.load())?;
        let count = tree.len();
        self.tree.store(Arc::new(tree));
        Ok(count)
    }

    /// Finds a file by the path a client sent, with or without leading slash.
    ///
    /// # Errors
    /// [`LookupError`] says whether the path is refused or leads nowhere.
    pub fn lookup(&self, path: &[u8]) -> Result<Arc<BootFile>, LookupError> {
        let path = normalize(path)?;
        self.tree.load().get(path.as_str()).cloned().ok_or(LookupError::Missing)
    }

    /// All files, in the order of their paths.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<BootFile>> {
        let mut all: Vec<_> = self.tree.load().values().cloned().collect();
        all.sort_by(|a, b| a.path.cmp(&b.path));
        all
    }

    /// The folder the tree was read from.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}
