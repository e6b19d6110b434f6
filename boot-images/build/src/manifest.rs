//! The manifest of a data folder: every file with its size and SHA-256.
//!
//! In: a folder. Out: `manifest.json` in it, `{"version":1,"files":[{"path","sha256","size"}]}`, by path.
//! The program that serves the folder compares it, so that a half-copied or altered file is found before a machine boots it.
//! The manifest itself is not in its list; links are refused, since what they point to may change unseen.
//! It appears under its name only when it is whole.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use sha2::{Digest, Sha256};

const NAME: &str = "manifest.json";

#[derive(Debug, Serialize, PartialEq, Eq)]
struct Manifest {
    version: u32,
    files: Vec<Entry>,
}

#[derive(Debug, Serialize, PartialEq, Eq)]
struct Entry {
    path: String,
    sha256: String,
    size: u64,
}

/// Writes the manifest of everything in `folder`.
pub(crate) fn write(folder: &Path) -> Result<()> {
    let mut files = Vec::new();
    collect(folder, "", &mut files)?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let mut text = serde_json::to_string_pretty(&Manifest { version: 1, files })?;
    text.push('\n');
    let mut partial = tempfile::NamedTempFile::new_in(folder)?;
    partial.write_all(text.as_bytes())?;
    write_readable(partial, &folder.join(NAME))
}

/// Puts a finished temporary file in its place, readable by all as other data files are.
pub(crate) fn write_readable(partial: tempfile::NamedTempFile, target: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    partial.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
    partial.persist(target).with_context(|| format!("cannot write {}", target.display()))?;
    Ok(())
}

/// The SHA-256 of a file in hexadecimal, and its size in bytes.
pub(crate) fn hash(path: &Path) -> Result<(String, u64)> {
    let mut file = fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut size = 0;
    loop {
        let count = file.read(&mut buffer).with_context(|| format!("cannot read {}", path.display()))?;
        if count == 0 {
            return Ok((hex::encode(hasher.finalize()), size));
        }
        hasher.update(&buffer[..count]);
        size += count as u64;
    }
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<Entry>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read the folder {}", folder.display()))? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            bail!("{}: a file name that is not UTF-8", entry.path().display());
        };
        let path = format!("{prefix}{name}");
        let kind = entry.file_type()?;
        if kind.is_dir() {
            collect(&entry.path(), &format!("{path}/"), files)?;
        } else if kind.is_file() {
            // Temporary files of a run that broke off begin with a dot and are nobody's data.
            if path != NAME && !name.starts_with('.') {
                let (sha256, size) = hash(&entry.path())?;
                files.push(Entry { path, sha256, size });
            }
        } else {
            bail!("{}: neither a file nor a folder; put the file itself there", entry.path().display());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_lists_every_file_but_itself_by_path() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("ipxe/x86_64")).unwrap();
        fs::write(folder.path().join("z"), "abc").unwrap();
        fs::write(folder.path().join("ipxe/x86_64/a.efi"), "").unwrap();
        write(folder.path()).unwrap();
        let first = fs::read_to_string(folder.path().join(NAME)).unwrap();
        write(folder.path()).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join(NAME)).unwrap(), first);
        let value: serde_json::Value = serde_json::from_str(&first).unwrap();
        assert_eq!(
            value,
            serde_json::json!({"version": 1, "files": [
                {"path": "ipxe/x86_64/a.efi", "size": 0,
                 "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
                {"path": "z", "size": 3,
                 "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
            ]})
        );
    }

    #[test]
    fn a_link_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("elsewhere", folder.path().join("link")).unwrap();
        let error = write(folder.path()).unwrap_err().to_string();
        assert!(error.contains("neither a file nor a folder"), "{error}");
        assert!(!folder.path().join(NAME).exists());
    }
}
