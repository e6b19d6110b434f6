//! Takes the bytes of an image file as they come: hashes them and writes them into the incoming folder.
//!
//! Hashing and writing happen off the async threads, a chunk at a time, while the next chunk arrives. Chunks of zeros
//! are left out of the file and take no space.

use super::ImageError;
use super::space::Claim;
use leasehold_domain::image::HashAlgorithm;
use md5::Md5;
use sha2::{Digest, Sha256, Sha512};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// Bytes that are hashed and written at a time.
pub(super) const CHUNK: usize = 1 << 20;
/// Comparing with zeros is fast; looking at each byte is not.
pub(super) static ZEROS: [u8; 4 << 20] = [0; 4 << 20];

/// The digest of what passes, in whichever algorithm was asked for.
pub(super) enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    pub(super) fn new(algorithm: HashAlgorithm) -> Hasher {
        match algorithm {
            HashAlgorithm::Sha256 => Hasher::Sha256(Sha256::new()),
            HashAlgorithm::Sha512 => Hasher::Sha512(Sha512::new()),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha256(hasher) => hasher.update(bytes),
            Hasher::Sha512(hasher) => hasher.update(bytes),
        }
    }

    pub(super) fn hex(self) -> String {
        match self {
            Hasher::Sha256(hasher) => hex::encode(hasher.finalize()),
            Hasher::Sha512(hasher) => hex::encode(hasher.finalize()),
        }
    }
}

/// All digests of what passes.
struct Digests {
    checked: Hasher,
    md5: Option<Md5>,
}

impl Digests {
    fn update(&mut self, bytes: &[u8]) {
        self.checked.update(bytes);
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
    }
}

/// What came of a file that came whole.
pub(super) struct Taken {
    /// The digest in hex.
    pub(super) hex: String,
    /// Where it was asked for.
    pub(super) md5: Option<String>,
    pub(super) size: u64,
    /// On what was written.
    pub(super) claim: Claim,
}

type Work = JoinHandle<std::io::Result<(Digests, Vec<u8>)>>;

/// A file in the making.
pub(super) struct Sink {
    file: Arc<File>,
    buffer: Vec<u8>,
    /// The chunk before this one, still being hashed and written.
    work: Option<Work>,
    /// Here while nothing is being hashed.
    idle: Option<(Digests, Vec<u8>)>,
    taken: u64,
    written: u64,
    limit: u64,
    claim: Claim,
}

impl Sink {
    /// Makes the file `path`; more than `limit` bytes are refused.
    pub(super) fn new(path: &Path, algorithm: HashAlgorithm, limit: u64, claim: Claim) -> Result<Sink, ImageError> {
        let file = Arc::new(File::create_new(path)?);
        let digests = Digests { checked: Hasher::new(algorithm), md5: None };
        let idle = Some((digests, Vec::with_capacity(CHUNK)));
        Ok(Sink { file, buffer: Vec::with_capacity(CHUNK), work: None, idle, taken: 0, written: 0, limit, claim })
    }

    /// Makes an MD5, too, for clients that compare nothing else. To be said before the first byte.
    pub(super) fn with_md5(mut self) -> Sink {
        if let Some((digests, _)) = &mut self.idle {
            digests.md5 = Some(Md5::new());
        }
        self
    }

    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Takes the next bytes.
    pub(super) async fn take(&mut self, mut bytes: &[u8]) -> Result<(), ImageError> {
        self.taken += bytes.len() as u64;
        if self.taken > self.limit {
            return Err(ImageError::too_large(self.limit));
        }
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == CHUNK {
                self.pass_on().await?;
            }
        }
        Ok(())
    }

    /// Waits for the chunk that is being worked on.
    async fn settle(&mut self) -> Result<(Digests, Vec<u8>), ImageError> {
        match (self.work.take(), self.idle.take()) {
            (Some(work), _) => Ok(work.await.map_err(|error| std::io::Error::other(error.to_string()))??),
            (None, Some(idle)) => Ok(idle),
            (None, None) => Err(std::io::Error::other("writing has failed before").into()),
        }
    }

    async fn pass_on(&mut self) -> Result<(), ImageError> {
        let empty = self.buffer[..] == ZEROS[..self.buffer.len()];
        if !empty {
            self.claim.spend(self.buffer.len() as u64).await?;
        }
        let (mut hasher, spare) = self.settle().await?;
        let mut chunk = std::mem::replace(&mut self.buffer, spare);
        let (file, at) = (self.file.clone(), self.written);
        self.written += chunk.len() as u64;
        self.work = Some(tokio::task::spawn_blocking(move || {
            hasher.update(&chunk);
            if !empty {
                file.write_all_at(&chunk, at)?;
            }
            chunk.clear();
            Ok((hasher, chunk))
        }));
        Ok(())
    }

    /// Everything came.
    pub(super) async fn finish(mut self) -> Result<Taken, ImageError> {
        self.pass_on().await?;
        let (digests, _) = self.settle().await?;
        self.file.set_len(self.taken)?;
        let md5 = digests.md5.map(|md5| hex::encode(md5.finalize()));
        Ok(Taken { hex: digests.checked.hex(), md5, size: self.taken, claim: self.claim })
    }
}
