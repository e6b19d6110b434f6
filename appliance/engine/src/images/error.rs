//! Why an image cannot be used, in the words of whoever asked for it.

use leasehold_domain::Refusal;
use leasehold_domain::image::Checksum;
use leasehold_store::SubmitError;
use std::io;

/// Why an image cannot be used. No text holds the secret part of a URL.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("there is no image '{0}' in the data folder: give a URL with a checksum, or upload it first")]
    Unknown(String),
    #[error("the image {0} is not ready: {1}")]
    NotReady(String, String),
    #[error("the image could not be fetched from {url}: {why}")]
    Fetch { url: String, why: String },
    /// `from`: a URL, an upload, or the name of an image.
    #[error("the image from {from} does not match its checksum: expected {expected}, got {got}; nothing was written")]
    Checksum { from: String, expected: String, got: String },
    #[error("the image cannot be deployed: {0}")]
    Format(String),
    #[error("the image is larger than {limit_mib} MiB, which the configuration allows at most ([images] max_size_gib)")]
    TooLarge { limit_mib: u64 },
    /// `needed` and `free` in MiB; images that may be evicted count as free.
    #[error(
        "the data folder has no room: the image needs {needed} MiB more, {free} MiB are free; delete images that are \
         not used (leasehold image list)"
    )]
    NoSpace { needed: u64, free: u64 },
    #[error("the disk that holds the data folder is full; delete images that are not used (leasehold image list)")]
    DiskFull,
    #[error("too many images are being uploaded at a time ({0}): try again when one is done")]
    Busy(usize),
    #[error(
        "the appliance was stopped during the import, and keeps no passwords or signatures of URLs: add the image again"
    )]
    Forgotten,
    /// `at`: where the next part begins.
    #[error("the parts of the image that are here end at byte {at}: the next one must begin there")]
    Offset { at: u64 },
    #[error("somebody fills this image at this moment: wait for the end of that")]
    Filling,
    #[error("{0}")]
    Unready(String),
    #[error("the import was stopped: nobody waits for it any more")]
    Stopped,
    #[error("the image could not be stored: {0}")]
    Io(io::Error),
    #[error("{0}")]
    Store(#[from] SubmitError),
}

impl From<io::Error> for ImageError {
    fn from(error: io::Error) -> ImageError {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ImageError::DiskFull,
            _ => ImageError::Io(error),
        }
    }
}

impl From<Refusal> for ImageError {
    fn from(refusal: Refusal) -> ImageError {
        ImageError::Store(SubmitError::Refused(refusal))
    }
}

impl ImageError {
    pub(super) fn checksum(from: &str, expected: &Checksum, got: String) -> ImageError {
        ImageError::Checksum { from: from.to_owned(), expected: expected.hex.clone(), got }
    }

    pub(super) fn too_large(limit: u64) -> ImageError {
        ImageError::TooLarge { limit_mib: limit >> 20 }
    }
}
