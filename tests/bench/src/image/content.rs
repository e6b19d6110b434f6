//! The images that are measured with: a real file system, one that is half noise, and the Debian image where it is built.
//!
//! What an image holds decides how much of it travels: programs and texts pack to about a third, noise does not pack at
//! all. So each image is told apart in the tables.

use crate::appliance::noise;
use crate::lab::Lab;
use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const SIZE: u64 = 2 << 30;
const HELD: u64 = 460 << 20;
/// Of that, what a file system needs for itself.
const OWN: u64 = 20 << 20;
/// Pieces of content, evenly spread.
const PIECE: u64 = 20 << 20;
/// Where the machine has programs and what belongs to them.
const PROGRAMS: &[&str] = &["/usr/sbin", "/usr/bin", "/usr/share", "/usr/lib"];

/// An image.
pub(super) struct Content {
    /// What stands in the table.
    pub(super) name: &'static str,
    pub(super) path: PathBuf,
    pub(super) sha256: String,
}

/// Those that can be had here.
pub(super) fn all(lab: &Lab) -> Result<Vec<Content>> {
    let folder = lab.folder("images")?;
    let mut contents = Vec::new();
    let mut add = |name, path: PathBuf| -> Result<()> {
        contents.push(Content { name, sha256: hash(&path)?, path });
        Ok(())
    };
    let path = folder.join("files.raw");
    if file_system(lab, &path)? {
        add("files", path)?;
    }
    let path = folder.join("noise.raw");
    half_noise(&path)?;
    add("half noise", path)?;
    if let Some(built) = std::env::var_os("LEASEHOLD_DEBIAN_IMAGE").map(PathBuf::from).filter(|path| path.is_file()) {
        // Only files below the import folder may be imported.
        let path = folder.join("debian.raw");
        fs::copy(&built, &path).with_context(|| format!("copying {}", built.display()))?;
        add("Debian", path)?;
    }
    Ok(contents)
}

/// An ext4 file system with the machine's own programs in it; false where there is no mkfs.ext4.
fn file_system(lab: &Lab, path: &Path) -> Result<bool> {
    let Some(program) = lab.program("mkfs.ext4") else { return Ok(false) };
    let tree = lab.folder("tree")?;
    let mut left = HELD - OWN;
    for from in PROGRAMS {
        copy(Path::new(from), &tree.join(&from[1..]), &mut left)?;
    }
    File::create(path)?.set_len(SIZE)?;
    let made = Command::new(program).args(["-q", "-F", "-d"]).arg(&tree).arg(path).status()?;
    ensure!(made.success(), "mkfs.ext4 could not make a file system of {}", tree.display());
    fs::remove_dir_all(&tree)?;
    mark(path)?;
    Ok(true)
}

/// Copies what still fits of a folder, in the order of its names; links and devices are left out.
fn copy(from: &Path, to: &Path, left: &mut u64) -> Result<()> {
    let Ok(entries) = fs::read_dir(from) else { return Ok(()) };
    let mut entries = entries.collect::<std::io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    fs::create_dir_all(to)?;
    for entry in entries {
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &target, left)?;
        } else if kind.is_file() {
            // Whole blocks of the file system.
            let size = entry.metadata()?.len().next_multiple_of(4096);
            if let Some(rest) = left.checked_sub(size) {
                fs::copy(entry.path(), target)?;
                *left = rest;
            }
        }
    }
    Ok(())
}

/// Pieces of which every other MiB is noise and the rest text that packs to almost nothing.
fn half_noise(path: &Path) -> Result<()> {
    let file = File::create(path)?;
    file.set_len(SIZE)?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let (random, pieces) = (noise(8 << 20), HELD / PIECE);
    let text: Vec<u8> =
        (0..1 << 20_u32).flat_map(|line| format!("line {line} of a file in an image\n").into_bytes()).collect();
    for piece in 0..pieces {
        out.seek(SeekFrom::Start(SIZE / pieces * piece / (1 << 20) * (1 << 20)))?;
        for part in 0..PIECE >> 20 {
            let at = usize::try_from((piece * 31 + part * 7) % 7)? << 20;
            let kind = if part % 2 == 0 { &random } else { &text };
            out.write_all(&kind[at..at + (1 << 20)])?;
        }
    }
    out.into_inner()?.sync_all()?;
    mark(path)
}

/// A disk's first block has this mark; without it the file is taken for no disk.
fn mark(path: &Path) -> Result<()> {
    let file = File::options().write(true).open(path)?;
    file.write_all_at(&[0x55, 0xaa], 510)?;
    Ok(file.sync_all()?)
}

/// SHA-256 of a file.
fn hash(path: &Path) -> Result<String> {
    hash_of(path, fs::metadata(path)?.len())
}

/// SHA-256 of as many bytes at the beginning of a file.
pub(super) fn hash_of(path: &Path, length: u64) -> Result<String> {
    let (mut file, mut hasher, mut buffer) = (File::open(path)?.take(length), Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hasher.finalize())),
            count => hasher.update(&buffer[..count]),
        }
    }
}
