//! The import folder: where an operator puts image files (a USB stick, say), to be imported without any network.
//!
//! In: a name below the folder, as somebody gave it. Out: an open regular file that lies there. The kernel itself keeps
//! the way within the folder (`openat2(2)`, `RESOLVE_BENEATH`): neither `..` nor a symbolic link leads out of it, also
//! when somebody changes the folder meanwhile; what is opened is what is looked at.

use super::ImageError;
use jiff::Timestamp;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Folders below each other that are looked into.
const DEPTH: usize = 8;
/// Files that are listed.
const MOST: usize = 10_000;

/// A file that can be imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderFile {
    /// Its path below the folder.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// When it was last written.
    pub modified: Option<Timestamp>,
}

/// The folder, if there is one.
#[derive(Clone, Debug)]
pub(super) struct ImportFolder(Option<PathBuf>);

impl ImportFolder {
    pub(super) fn new(path: Option<PathBuf>) -> ImportFolder {
        ImportFolder(path)
    }

    /// The folder, or why there is none.
    pub(super) fn path(&self) -> Result<&Path, String> {
        self.0.as_deref().ok_or_else(|| {
            "no import folder is configured ([images] import_folder): give an http URL, or upload the file".into()
        })
    }

    /// The name below the folder of a file with this absolute path.
    pub(super) fn name_of(&self, path: &Path) -> Result<PathBuf, String> {
        let folder = self.path()?;
        let below = |folder: &Path| path.strip_prefix(folder).map(Path::to_owned).ok();
        // The configured path may itself lead over a link.
        let found = below(folder).or_else(|| below(&folder.canonicalize().ok()?));
        found.ok_or_else(|| OUTSIDE.into())
    }

    /// Opens a regular file; its length with it.
    pub(super) fn open(&self, name: &Path) -> Result<(File, u64), String> {
        let folder = self.path()?;
        let within = File::open(folder).map_err(|error| format!("the import folder cannot be opened: {error}"))?;
        // Not to hang at a pipe, nor to become the terminal of a device.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let file = rustix::fs::openat2(&within, name, flags, Mode::empty(), resolve).map_err(|error| match error {
            Errno::XDEV | Errno::LOOP => OUTSIDE.to_owned(),
            error => std::io::Error::from(error).to_string(),
        })?;
        let file = File::from(file);
        let facts = file.metadata().map_err(|error| error.to_string())?;
        if !facts.is_file() {
            return Err("it is no regular file".into());
        }
        Ok((file, facts.len()))
    }

    /// The regular files below the folder, by name; hidden ones and links are left out.
    fn list(&self) -> Result<Vec<FolderFile>, String> {
        let folder = self.path()?;
        let mut found = Vec::new();
        let mut open = vec![(folder.to_owned(), 0)];
        while let Some((place, depth)) = open.pop() {
            let unreadable = |error: std::io::Error| format!("{} cannot be read: {error}", place.display());
            for entry in std::fs::read_dir(&place).map_err(unreadable)? {
                let entry = entry.map_err(unreadable)?;
                let (path, kind) = (entry.path(), entry.file_type().map_err(unreadable)?);
                let name = path.strip_prefix(folder).ok().and_then(Path::to_str);
                let Some(name) = name.filter(|_| !entry.file_name().as_encoded_bytes().starts_with(b".")) else {
                    continue;
                };
                if kind.is_dir() && depth < DEPTH {
                    open.push((path.clone(), depth + 1));
                } else if kind.is_file() && found.len() < MOST {
                    let facts = entry.metadata().map_err(unreadable)?;
                    let modified = facts.modified().ok().and_then(|at| Timestamp::try_from(at).ok());
                    found.push(FolderFile { name: name.to_owned(), size: facts.len(), modified });
                }
            }
        }
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }
}

const OUTSIDE: &str = "only files below the import folder of the appliance can be imported";

impl super::ImageStore {
    /// What lies in the import folder.
    pub async fn import_folder(&self) -> Result<Vec<FolderFile>, ImageError> {
        let folder = self.fetcher.folder().clone();
        let listed = tokio::task::spawn_blocking(move || folder.list()).await;
        let listed = listed.unwrap_or_else(|error| Err(error.to_string()));
        listed.map_err(ImageError::Unready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::symlink;

    /// A folder `import` with a file in it, and a secret beside it.
    fn made() -> (tempfile::TempDir, ImportFolder) {
        let place = tempfile::tempdir().expect("a folder");
        let import = place.path().join("import");
        std::fs::create_dir_all(import.join("stick/.trash")).expect("folders");
        for (name, text) in [("import/a.img", "image"), ("import/stick/b.img", "b"), ("secret", "secret")] {
            std::fs::write(place.path().join(name), text).expect("written");
        }
        std::fs::write(import.join(".hidden"), "x").expect("written");
        std::fs::write(import.join("stick/.trash/c.img"), "x").expect("written");
        (place, ImportFolder::new(Some(import)))
    }

    #[test]
    fn only_regular_files_below_the_folder_are_opened() {
        let (place, folder) = made();
        let import = place.path().join("import");
        symlink("../secret", import.join("out")).expect("linked");
        symlink(place.path().join("secret"), import.join("away")).expect("linked");
        symlink("/proc/self/root", import.join("root")).expect("linked");
        symlink("stick/b.img", import.join("newest")).expect("linked");
        symlink("round", import.join("round")).expect("linked");
        rustix::fs::mkfifoat(rustix::fs::CWD, import.join("pipe"), Mode::RUSR | Mode::WUSR).expect("a pipe");
        let open = |name: &str| folder.open(Path::new(name)).map(|(_, size)| size);
        assert_eq!((open("a.img"), open("stick/b.img"), open("stick/../a.img")), (Ok(5), Ok(1), Ok(5)));
        assert_eq!(open("newest"), Ok(1), "a link within");
        let secret = place.path().join("secret");
        for bad in ["../secret", "out", "away", "root/etc/passwd", "stick/../../secret", "round"]
            .into_iter()
            .chain([secret.to_str().expect("UTF-8"), "/etc/passwd"])
        {
            assert_eq!(open(bad), Err(OUTSIDE.into()), "{bad}");
        }
        for bad in ["", ".", "stick", "pipe", "none", "a.img/x"] {
            let why = open(bad).expect_err(bad);
            assert!(why != OUTSIDE, "{bad}: {why}");
        }
        assert!(ImportFolder::new(None).open(Path::new("a.img")).expect_err("none").contains("import_folder"));
    }

    #[test]
    fn what_can_be_imported_is_listed() {
        let (place, folder) = made();
        symlink("a.img", place.path().join("import/link")).expect("linked");
        let listed = folder.list().expect("listed");
        let names: Vec<_> = listed.iter().map(|file| (file.name.as_str(), file.size)).collect();
        assert_eq!(names, [("a.img", 5), ("stick/b.img", 1)]);
        assert!(listed[0].modified.is_some());
        assert!(ImportFolder::new(Some(place.path().join("none"))).list().is_err());
    }

    #[test]
    fn a_path_is_told_by_its_name_in_the_folder() {
        let (place, folder) = made();
        let name = |path: &str| folder.name_of(&place.path().join(path));
        assert_eq!(name("import/stick/b.img"), Ok("stick/b.img".into()));
        assert!(name("secret").is_err() && folder.name_of(Path::new("/etc/passwd")).is_err());
        symlink(place.path().join("import"), place.path().join("link")).expect("linked");
        let linked = ImportFolder::new(Some(place.path().join("link")));
        let real = place.path().canonicalize().expect("there").join("import/a.img");
        assert_eq!(linked.name_of(&real), Ok("a.img".into()));
    }

    proptest! {
        #[test]
        fn no_name_leads_out(name in "(\\.\\./|\\./|/|stick/|a\\.img|secret|import/|x|\\PC){0,8}") {
            let (_place, folder) = made();
            if let Ok((mut file, _)) = folder.open(Path::new(&name)) {
                let mut text = String::new();
                std::io::Read::read_to_string(&mut file, &mut text).expect("read");
                prop_assert!(text != "secret");
            }
        }
    }
}
