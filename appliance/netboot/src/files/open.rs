//! Reading a boot file tree: the manifest, then every file in it, opened below the root, measured, hashed and mapped.

use super::path::normalize;
use super::{BootFile, MANIFEST, MappedFile, Tree};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use thiserror::Error;

/// The version of the manifest's format that this program reads.
const VERSION: u32 = 1;
/// Bounds that keep a damaged manifest from eating memory or descriptors.
const LARGEST_MANIFEST: u64 = 4 << 20;
const MOST_FILES: usize = 4096;
/// The part of the name space that HTTP answers with scripts; see `http`.
const RESERVED: &str = "script";

/// Why a tree cannot be served.
#[derive(Debug, Error)]
pub enum BootFilesError {
    /// The folder or the manifest cannot be read.
    #[error("cannot read {path}: {source}. Build the boot files first (boot-images) or correct the path")]
    Unreadable { path: PathBuf, source: io::Error },
    /// The manifest is not what it should be.
    #[error("{path} is not a usable manifest: {why}. Build the boot files again")]
    Manifest { path: PathBuf, why: String },
    /// Files that the manifest names are not as it says.
    #[error("boot files in {folder} are not as their manifest says: {}. Build them again", list(.problems))]
    Files { folder: PathBuf, problems: Vec<FileProblem> },
}

/// What is wrong with one file.
#[derive(Debug, PartialEq, Eq)]
pub struct FileProblem {
    /// The path as the manifest names it.
    pub path: String,
    /// What is wrong with it.
    pub why: String,
}

fn list(problems: &[FileProblem]) -> String {
    let mut out = String::new();
    for (index, problem) in problems.iter().enumerate() {
        let separator = if index == 0 { "" } else { "; " };
        // Writing to a String cannot fail.
        let _ = write!(out, "{separator}{}: {}", problem.path, problem.why);
    }
    out
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    version: u32,
    files: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    path: String,
    sha256: String,
    size: u64,
}

/// What tells a file on disk from another one or from its own later state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Reads the tree in `folder`; files of `before` that are unchanged on disk are taken over as they are.
pub(super) fn read_tree(folder: &Path, before: &Tree) -> Result<Tree, BootFilesError> {
    let root = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| BootFilesError::Unreadable { path: folder.to_owned(), source: error.into() })?;
    let entries = read_manifest(&root, folder)?;
    let results = Mutex::new((Tree::with_capacity(entries.len()), Vec::new()));
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(entry) = entries.get(next.fetch_add(1, Ordering::Relaxed)) {
            let result = read_file(&root, entry, before);
            let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
            match result {
                Ok(file) => drop(results.0.insert(file.path.clone(), file)),
                Err(why) => results.1.push(FileProblem { path: entry.path.clone(), why }),
            }
        }
    };
    // Hashing takes a core a second for some hundred megabytes: use them all.
    std::thread::scope(|scope| {
        let helpers = std::thread::available_parallelism().map_or(1, usize::from).min(entries.len());
        for _ in 1..helpers {
            scope.spawn(work);
        }
        work();
    });
    let (tree, mut problems) = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    if problems.is_empty() {
        return Ok(tree);
    }
    problems.sort_by(|a, b| a.path.cmp(&b.path));
    Err(BootFilesError::Files { folder: folder.to_owned(), problems })
}

fn read_manifest(root: &OwnedFd, folder: &Path) -> Result<Vec<Entry>, BootFilesError> {
    let path = folder.join(MANIFEST);
    let unreadable = |source| BootFilesError::Unreadable { path: path.clone(), source };
    let unusable = |why: String| BootFilesError::Manifest { path: path.clone(), why };
    let mut text = String::new();
    let file = open_below(root, MANIFEST).map_err(unreadable)?;
    file.take(LARGEST_MANIFEST + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > LARGEST_MANIFEST {
        return Err(unusable(format!("it is larger than {LARGEST_MANIFEST} bytes")));
    }
    let manifest: Manifest = serde_json::from_str(&text).map_err(|error| unusable(error.to_string()))?;
    if manifest.version != VERSION {
        return Err(unusable(format!("its version is {}, this program reads {VERSION}", manifest.version)));
    }
    if manifest.files.len() > MOST_FILES {
        return Err(unusable(format!("it names {} files, at most {MOST_FILES} are served", manifest.files.len())));
    }
    let mut seen = std::collections::HashSet::new();
    for entry in &manifest.files {
        if normalize(entry.path.as_bytes()).as_deref() != Ok(&entry.path) {
            return Err(unusable(format!("{:?} is not a plain relative path", entry.path)));
        }
        if entry.path.split('/').next() == Some(RESERVED) {
            return Err(unusable(format!("{:?}: below \"{RESERVED}\" are the boot scripts", entry.path)));
        }
        if !seen.insert(entry.path.as_str()) {
            return Err(unusable(format!("{:?} is in it twice", entry.path)));
        }
    }
    Ok(manifest.files)
}

fn read_file(root: &OwnedFd, entry: &Entry, before: &Tree) -> Result<Arc<BootFile>, String> {
    let mut sha256 = [0; 32];
    hex::decode_to_slice(&entry.sha256, &mut sha256)
        .map_err(|_| "its sha256 is not 64 hexadecimal digits".to_owned())?;
    let file = open_below(root, &entry.path).map_err(|error| match error.raw_os_error() {
        Some(code) if code == rustix::io::Errno::XDEV.raw_os_error() => {
            "it is a link that leaves the folder".to_owned()
        }
        _ => error.to_string(),
    })?;
    let about = file.metadata().map_err(|error| error.to_string())?;
    if !about.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    if about.len() != entry.size {
        return Err(format!("it has {} bytes instead of {}", about.len(), entry.size));
    }
    let identity = Identity {
        device: about.dev(),
        inode: about.ino(),
        size: about.len(),
        modified: (about.mtime(), about.mtime_nsec()),
        changed: (about.ctime(), about.ctime_nsec()),
    };
    if let Some(known) = before.get(&entry.path)
        && known.identity == identity
        && known.sha256 == sha256
    {
        return Ok(Arc::clone(known));
    }
    let found = hash(&file).map_err(|error| error.to_string())?;
    if found != sha256 {
        return Err(format!("its SHA-256 is {} instead of {}", hex::encode(found), entry.sha256));
    }
    let content = MappedFile::new(file).map_err(|error| error.to_string())?;
    if content.bytes().len() as u64 != entry.size {
        return Err("it changed while it was read".to_owned());
    }
    // Half of the hash is more than enough to tell two contents apart, and keeps headers short.
    let etag = format!("\"{}\"", hex::encode(&sha256[..16]));
    Ok(Arc::new(BootFile { path: entry.path.clone(), sha256, etag, content, identity }))
}

/// Opens a path that cannot leave `root`, whatever links lie on the way. Does not wait for the writer of a pipe.
fn open_below(root: &OwnedFd, path: &str) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(root, path, flags, Mode::empty(), resolve).map(File::from)?)
}

/// The SHA-256 of a file, read with `pread`: unlike a mapping, that survives a truncation.
fn hash(file: &File) -> io::Result<[u8; 32]> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    let mut at = 0;
    loop {
        match file.read_at(&mut buffer, at) {
            Ok(0) => return Ok(hasher.finalize().into()),
            Ok(count) => {
                hasher.update(&buffer[..count]);
                at += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::{BootFiles, LookupError, PathRefused};
    use super::*;
    use std::fs;

    /// Writes a tree with a right manifest into `folder`.
    pub(crate) fn write_tree(folder: &Path, files: &[(&str, &[u8])]) {
        let mut entries = Vec::new();
        for (path, content) in files {
            let target = folder.join(path);
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            let fresh = target.with_extension("new");
            fs::write(&fresh, content).unwrap();
            fs::rename(&fresh, &target).unwrap();
            let sha256 = hex::encode(Sha256::digest(content));
            entries.push(serde_json::json!({"path": path, "sha256": sha256, "size": content.len()}));
        }
        write_manifest(folder, &serde_json::json!({"version": 1, "files": entries}).to_string());
    }

    fn write_manifest(folder: &Path, text: &str) {
        fs::write(folder.join(MANIFEST), text).unwrap();
    }

    fn problem(folder: &Path) -> String {
        BootFiles::open(folder).unwrap_err().to_string()
    }

    #[test]
    fn finds_files_by_what_firmware_sends() {
        let folder = tempfile::tempdir().unwrap();
        write_tree(folder.path(), &[("ipxe/x86_64/snponly.efi", b"MZ..."), ("empty", b"")]);
        let files = BootFiles::open(folder.path()).unwrap();
        let file = files.lookup(b"/ipxe/x86_64/snponly.efi").unwrap();
        assert_eq!(file.content().bytes(), b"MZ...");
        assert_eq!((file.size(), file.path()), (5, "ipxe/x86_64/snponly.efi"));
        assert_eq!(hex::encode(file.sha256())[..32], file.etag()[1..33]);
        assert_eq!(files.lookup(b"empty").unwrap().size(), 0);
        assert_eq!(files.lookup(b"/manifest.json").unwrap_err(), LookupError::Missing);
        assert_eq!(files.lookup(b"ipxe").unwrap_err(), LookupError::Missing);
        assert_eq!(files.lookup(b"../x").unwrap_err(), LookupError::Refused(PathRefused::Parent));
        assert_eq!(
            files.list().iter().map(|file| file.path()).collect::<Vec<_>>(),
            ["empty", "ipxe/x86_64/snponly.efi"]
        );
    }

    #[test]
    fn every_altered_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        write_tree(folder.path(), &[("a", b"aaaa"), ("b", b"bbbb"), ("c", b"cccc"), ("d", b"dddd")]);
        fs::write(folder.path().join("a"), b"aaaX").unwrap();
        fs::write(folder.path().join("b"), b"bbb").unwrap();
        fs::remove_file(folder.path().join("c")).unwrap();
        let text = problem(folder.path());
        assert!(text.contains("a: its SHA-256 is"), "{text}");
        assert!(text.contains("b: it has 3 bytes instead of 4"), "{text}");
        assert!(text.contains("c: No such file"), "{text}");
        assert!(!text.contains("d: "), "{text}");
    }

    #[test]
    fn links_may_stay_inside_but_not_leave() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), b"x").unwrap();
        let folder = tempfile::tempdir().unwrap();
        write_tree(folder.path(), &[("real", b"x"), ("link", b"x")]);
        fs::remove_file(folder.path().join("link")).unwrap();
        std::os::unix::fs::symlink("real", folder.path().join("link")).unwrap();
        assert_eq!(BootFiles::open(folder.path()).unwrap().lookup(b"link").unwrap().content().bytes(), b"x");
        let absolute = outside.path().join("secret");
        for target in [absolute.as_path(), Path::new("../../../../../../../../../../etc/hostname")] {
            fs::remove_file(folder.path().join("link")).unwrap();
            std::os::unix::fs::symlink(target, folder.path().join("link")).unwrap();
            let text = problem(folder.path());
            assert!(text.contains("link: it is a link that leaves the folder"), "{text}");
        }
    }

    #[test]
    fn bad_manifests_are_refused_with_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        assert!(problem(folder.path()).contains("cannot read"));
        assert!(problem(&folder.path().join("absent")).contains("cannot read"));
        let hash = "0".repeat(64);
        for (text, why) in [
            ("not json".to_owned(), "expected"),
            (r#"{"version":2,"files":[]}"#.to_owned(), "its version is 2"),
            (r#"{"version":1}"#.to_owned(), "missing field"),
            (
                format!(r#"{{"version":1,"files":[{{"path":"../x","sha256":"{hash}","size":1}}]}}"#),
                "plain relative path",
            ),
            (format!(r#"{{"version":1,"files":[{{"path":"/x","sha256":"{hash}","size":1}}]}}"#), "plain relative path"),
            (format!(r#"{{"version":1,"files":[{{"path":"script/x","sha256":"{hash}","size":1}}]}}"#), "boot scripts"),
            (r#"{"version":1,"files":[{"path":"x","sha256":"xyz","size":1}]}"#.to_owned(), "64 hexadecimal digits"),
            (format!(r#"{{"version":1,"files":[{{"path":"x","sha256":"{hash}","size":-1}}]}}"#), "invalid value"),
        ] {
            write_manifest(folder.path(), &text);
            let told = problem(folder.path());
            assert!(told.contains(why), "{text}: {told}");
        }
    }

    #[test]
    fn a_folder_or_pipe_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        write_tree(folder.path(), &[("x", b"")]);
        fs::remove_file(folder.path().join("x")).unwrap();
        fs::create_dir(folder.path().join("x")).unwrap();
        assert!(problem(folder.path()).contains("not a regular file"));
        fs::remove_dir(folder.path().join("x")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, folder.path().join("x"), rustix::fs::FileType::Fifo, Mode::RUSR, 0)
            .unwrap();
        assert!(problem(folder.path()).contains("not a regular file"));
    }

    #[test]
    fn reload_keeps_what_is_unchanged_and_refuses_what_is_bad() {
        let folder = tempfile::tempdir().unwrap();
        write_tree(folder.path(), &[("same", b"same"), ("old", b"old")]);
        let files = BootFiles::open(folder.path()).unwrap();
        let (same, old) = (files.lookup(b"same").unwrap(), files.lookup(b"old").unwrap());
        // A manifest that does not fit changes nothing.
        let manifest = fs::read_to_string(folder.path().join(MANIFEST)).unwrap();
        write_manifest(folder.path(), "{}");
        assert!(files.reload().is_err());
        assert!(Arc::ptr_eq(&same, &files.lookup(b"same").unwrap()));
        // A file replaced by rename is taken up; its earlier readers keep what they have.
        write_manifest(folder.path(), &manifest);
        fs::write(folder.path().join("old.new"), b"new content").unwrap();
        fs::rename(folder.path().join("old.new"), folder.path().join("old")).unwrap();
        let entry = |path: &str, content: &[u8]| serde_json::json!({"path": path, "sha256": hex::encode(Sha256::digest(content)), "size": content.len()});
        let entries = [entry("same", b"same"), entry("old", b"new content")];
        write_manifest(folder.path(), &serde_json::json!({"version": 1, "files": entries}).to_string());
        assert_eq!(files.reload().unwrap(), 2);
        assert!(Arc::ptr_eq(&same, &files.lookup(b"same").unwrap()));
        assert_eq!(files.lookup(b"old").unwrap().content().bytes(), b"new content");
        assert_eq!(old.content().bytes(), b"old");
    }
}
