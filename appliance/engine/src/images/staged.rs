//! Files that come in parts: each part is appended, also after a restart, until somebody imports the whole.
//!
//! In: parts, each with the place where it begins. Out: one file beside the images, `staged-<image>`. Its length says
//! how much is here: a client that was cut off asks for it, and goes on from there.

use super::deposit::{Filler, Filling};
use super::sink::{CHUNK, Taken};
use super::space::Claim;
use super::{ImageError, ImageStore};
use leasehold_domain::id::ImageId;
use leasehold_store::Store;
use md5::Md5;
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::fs::File;
use tokio::io::{AsyncSeekExt, AsyncWriteExt};
use uuid::Uuid;

const PREFIX: &str = "staged-";

/// The image whose parts a file of this name holds.
pub(super) fn image_of(name: &str) -> Option<ImageId> {
    name.strip_prefix(PREFIX).and_then(|id| Uuid::parse_str(id).ok()).map(ImageId)
}

/// Bytes of all parts that are here.
pub(super) fn total(folder: &Path) -> std::io::Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if image_of(&entry.file_name().to_string_lossy()).is_some() {
            sum += entry.metadata()?.len();
        }
    }
    Ok(sum)
}

/// A part in progress. What came of it counts even if it is cut off.
pub struct Part {
    images: Arc<ImageStore>,
    file: File,
    claim: Option<Claim>,
    at: u64,
    written: u64,
    _filling: Filling,
}

impl ImageStore {
    fn staged_file(&self, id: ImageId) -> PathBuf {
        self.settings.folder.join(format!("{PREFIX}{id}"))
    }

    /// Parts of the image are here.
    pub fn is_staged(&self, id: ImageId) -> bool {
        self.staged_file(id).exists()
    }

    /// How many bytes of the image's parts are here; `None`: none ever came.
    pub async fn staged(&self, id: ImageId) -> Result<Option<u64>, ImageError> {
        match tokio::fs::metadata(self.staged_file(id)).await {
            Ok(facts) => Ok(Some(facts.len())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Begins a part at `offset`, which must be where the last one ended; `None`: all from the start.
    pub async fn begin_part(
        self: &Arc<Self>,
        store: &Store,
        id: ImageId,
        offset: Option<u64>,
        length: Option<u64>,
    ) -> Result<Part, ImageError> {
        self.waiting(store, id)?;
        let filling = self.fill(id)?;
        let here = self.staged(id).await?.unwrap_or(0);
        if let Some(offset) = offset.filter(|offset| *offset != here) {
            tracing::debug!(image = %id, offset, here, "a part that does not begin where the last one ended");
            return Err(ImageError::Offset { at: here });
        }
        let at = if offset.is_some() { here } else { 0 };
        if let Some(length) = length {
            if at.saturating_add(length) > self.settings.max_size {
                return Err(ImageError::too_large(self.settings.max_size));
            }
            self.expect_room(&store.view(), length)?;
        }
        let path = self.staged_file(id);
        let mut file = File::options().create(true).write(true).truncate(false).open(path).await?;
        file.set_max_buf_size(CHUNK);
        if offset.is_none() && here > 0 {
            file.set_len(0).await?;
            self.space.staged.fetch_sub(here, Ordering::AcqRel);
        }
        file.seek(std::io::SeekFrom::Start(at)).await?;
        let claim = Some(Claim::new(self, store));
        Ok(Part { images: self.clone(), file, claim, at, written: 0, _filling: filling })
    }

    /// Removes what came in parts.
    pub(super) async fn unstage(&self, id: ImageId) {
        let Ok(Some(length)) = self.staged(id).await else { return };
        match tokio::fs::remove_file(self.staged_file(id)).await {
            Ok(()) => {
                self.space.staged.fetch_sub(length, Ordering::AcqRel);
            }
            Err(error) => tracing::warn!(image = %id, %error, "the parts of an image could not be removed"),
        }
    }
}

impl Part {
    /// Takes the next bytes.
    pub async fn take(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        let length = bytes.len() as u64;
        if self.at + self.written + length > self.images.settings.max_size {
            return Err(ImageError::too_large(self.images.settings.max_size));
        }
        if let Some(claim) = &mut self.claim {
            claim.spend(length).await?;
        }
        self.file.write_all(bytes).await?;
        self.written += length;
        Ok(())
    }

    /// All of the part came: how many bytes are here now.
    pub async fn finish(mut self) -> Result<u64, ImageError> {
        self.file.flush().await?;
        self.file.sync_all().await?;
        Ok(self.at + self.written)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // The claim ends here; what was written stays, and is counted by itself.
        self.images.space.staged.fetch_add(self.written, Ordering::AcqRel);
        self.claim = None;
    }
}

impl Filler {
    /// Takes what came in parts as the image's file.
    pub(super) async fn take_staged(&self) -> Result<Taken, ImageError> {
        let id = self.import.id;
        let length = self.images.staged(id).await?.unwrap_or(0);
        let given = self.import.given();
        let mut claim = Claim::new(&self.images, &self.store);
        tokio::fs::rename(self.images.staged_file(id), &given).await?;
        self.images.space.staged.fetch_sub(length, Ordering::AcqRel);
        claim.spend(length).await?;
        let digests = tokio::task::spawn_blocking(move || digests(&given)).await;
        let (hex, md5) = digests.unwrap_or_else(|error| Err(std::io::Error::other(error.to_string())))?;
        Ok(Taken { hex, md5: Some(md5), size: length, claim })
    }
}

/// SHA-256 and MD5 of a file.
fn digests(path: &Path) -> std::io::Result<(String, String)> {
    let mut file = std::fs::File::open(path)?;
    let (mut sha256, mut md5) = (Sha256::new(), Md5::new());
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok((hex::encode(sha256.finalize()), hex::encode(md5.finalize())));
        }
        sha256.update(&buffer[..count]);
        md5.update(&buffer[..count]);
    }
}
