//! The image that a trial deploys: the small system from `boot-images`, or the user's own by file or URL.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256, Sha512};

use crate::daemon::Daemon;
use crate::folder::RunFolder;
use crate::stop::Stop;

/// How long the download of a user's image may take.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(1800);

/// What is deployed.
#[derive(Debug, Clone)]
pub struct Image {
    /// The file, on this machine.
    pub file: PathBuf,
    /// `sha256` or `sha512`.
    pub algorithm: &'static str,
    /// In hexadecimal.
    pub checksum: String,
    /// Whether it is our own small system, which tells its nonce over SSH and never writes to its disk.
    pub ours: bool,
}

impl Image {
    /// The small system that `leasehold-boot-images` made, with the `.sha256` beside it.
    ///
    /// # Errors
    /// When one of the two files is missing.
    pub fn small_system(file: &Path) -> Result<Self> {
        Ok(Self { ours: true, ..Self::built(file)? })
    }

    /// Another image that `leasehold-boot-images` made, with the `.sha256` beside it.
    ///
    /// # Errors
    /// As [`Self::small_system`].
    pub fn built(file: &Path) -> Result<Self> {
        let beside = PathBuf::from(format!("{}.sha256", file.display()));
        let missing = || format!("{} is missing: packaging/try and check build it", beside.display());
        let text = std::fs::read_to_string(&beside).with_context(missing)?;
        let checksum = text.split_ascii_whitespace().next().with_context(missing)?.to_owned();
        let (algorithm, checksum) = parse_checksum(&checksum)?;
        if !file.is_file() {
            bail!("{} is missing: packaging/try and check build it", file.display());
        }
        Ok(Self { file: file.canonicalize()?, algorithm, checksum, ours: false })
    }

    /// The user's image. A URL is downloaded into the run's folder: the appliance's namespace has no way out.
    ///
    /// # Errors
    /// When it cannot be fetched or does not have the checksum.
    pub fn of_user(source: &str, checksum: &str, folder: &RunFolder, stop: &Stop) -> Result<Self> {
        let (algorithm, checksum) = parse_checksum(checksum)?;
        let file = if source.contains("://") {
            download(source, folder, stop)?
        } else {
            PathBuf::from(source).canonicalize().with_context(|| format!("the image {source} cannot be read"))?
        };
        let found = digest(&file, algorithm)?;
        if found != checksum {
            bail!("{source} has the {algorithm} checksum {found}, not {checksum}");
        }
        Ok(Self { file, algorithm, checksum, ours: false })
    }

    /// Whether it is a QEMU image and not the disk's own bytes, by its first four.
    pub fn is_qcow2(&self) -> bool {
        let mut magic = [0; 4];
        File::open(&self.file).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && &magic == b"QFI\xfb"
    }

    /// The `file://` URL by which the appliance imports it.
    pub fn url(&self) -> String {
        format!("file://{}", self.file.display())
    }
}

/// The algorithm that a checksum of this length was made by, and the checksum in lower case.
///
/// # Errors
/// When it is neither SHA-256 nor SHA-512 in hexadecimal.
pub fn parse_checksum(text: &str) -> Result<(&'static str, String)> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.rsplit(':').next().unwrap_or_default().to_owned();
    let algorithm = match digits.len() {
        64 => "sha256",
        128 => "sha512",
        _ => bail!("{text:?} is no checksum: a SHA-256 (64 digits) or SHA-512 (128 digits) in hexadecimal is needed"),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        bail!("{text:?} is no checksum: it has characters that are no hexadecimal digits");
    }
    if lower.len() != digits.len() && lower != format!("{algorithm}:{digits}") {
        bail!("{text:?} names another algorithm than its length tells ({algorithm})");
    }
    Ok((algorithm, digits))
}

/// The digest of a file by `sha256` or `sha512`, in hexadecimal.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn digest(file: &Path, algorithm: &str) -> Result<String> {
    let mut file = File::open(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let (mut short, mut long) = (Sha256::new(), Sha512::new());
    let mut buffer = vec![0; 1 << 20];
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        match algorithm {
            "sha512" => long.update(&buffer[..length]),
            _ => short.update(&buffer[..length]),
        }
    }
    Ok(if algorithm == "sha512" { hex::encode(long.finalize()) } else { hex::encode(short.finalize()) })
}

/// In the host's network, by curl: proxies and certificates are then the machine's own.
fn download(url: &str, folder: &RunFolder, stop: &Stop) -> Result<PathBuf> {
    let file = folder.file("user-image");
    let mut curl = Command::new("curl");
    curl.args(["--fail", "--location", "--silent", "--show-error", "--proto", "=http,https,ftp", "--output"]);
    curl.arg(&file).arg(url);
    let mut curl = Daemon::start_on_host(folder, "image-download", curl)?;
    let status = stop.until(&format!("the download of {url}"), DOWNLOAD_LIMIT, Duration::from_millis(100), || {
        curl.wait(Duration::ZERO)
    })?;
    if !status.success() {
        bail!("{url} cannot be fetched: {}", crate::daemon::last_lines(curl.log(), 2));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_tell_their_algorithm() {
        let (short, long) = ("aB".repeat(32), "0".repeat(128));
        assert_eq!(parse_checksum(&short).unwrap(), ("sha256", "ab".repeat(32)));
        assert_eq!(parse_checksum(&format!("sha512:{long}")).unwrap(), ("sha512", long.clone()));
        for wrong in [&short[1..], &format!("sha256:{long}"), &"x".repeat(64), "", &"0".repeat(32)] {
            assert!(parse_checksum(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn digests_are_the_algorithms_own() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "abc").unwrap();
        assert!(digest(file.path(), "sha256").unwrap().starts_with("ba7816bf8f01cfea"));
        assert!(digest(file.path(), "sha512").unwrap().starts_with("ddaf35a193617aba"));
    }
}
