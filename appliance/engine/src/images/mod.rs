//! Images in the data folder: fetched, verified, unpacked and packed for the agents.
//!
//! In: a URL and the digest that its user knows, or an upload. Out: `images/<id>/map.json` and `images/<id>/data`
//! (`leasehold_wire::image_map`), and an `Image` row. What a file is, its content decides, never its name. Nothing is
//! visible before all of it was verified; a crash half-way leaves only a folder under `incoming` that the next start
//! removes.

mod fetch;
mod format;
mod pack;
mod read;

pub use read::StoredImage;

use fetch::Fetcher;
use jiff::Timestamp;
use leasehold_domain::View;
use leasehold_domain::command::{Actor, Command};
use leasehold_domain::id::ImageId;
use leasehold_domain::image::{Checksum, Image, ImageContent, ImageStatus, WantedImage};
use leasehold_store::{Store, SubmitError};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use uuid::Uuid;

/// Why an image cannot be used. In the words of whoever asked for it.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("there is no image '{0}' in the data folder: give a URL with a checksum, or upload it first")]
    Unknown(String),
    #[error("the image {0} is not ready: {1}")]
    NotReady(String, String),
    #[error("the image could not be fetched from {url}: {why}")]
    Fetch { url: String, why: String },
    #[error("the image from {url} does not match its checksum: expected {expected}, got {got}; nothing was written")]
    Checksum { url: String, expected: String, got: String },
    #[error("the image cannot be deployed: {0}")]
    Format(String),
    #[error(
        "the data folder has no room: the image needs {needed} MiB, {free} MiB are free; delete images that are not used"
    )]
    NoSpace { needed: u64, free: u64 },
    #[error("the image could not be stored: {0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Store(#[from] SubmitError),
}

/// Limits and places.
#[derive(Clone, Debug)]
pub struct ImageSettings {
    /// The data folder's `images`.
    pub folder: PathBuf,
    /// `file://` URLs may name files below this folder only; `None`: no file may be imported.
    pub import_folder: Option<PathBuf>,
    /// Larger images (unpacked) are refused, in bytes.
    pub max_size: u64,
    /// Bytes that must stay free in the data folder.
    pub reserve: u64,
}

/// The images.
pub struct ImageStore {
    settings: ImageSettings,
    fetcher: Fetcher,
    /// One import of a file at a time: two deployments of the same image share the first one's work.
    importing: Mutex<HashMap<Checksum, Arc<tokio::sync::Mutex<()>>>>,
    /// Unpacking and packing are heavy: one at a time.
    worker: tokio::sync::Semaphore,
}

impl ImageStore {
    /// Opens the folder; leftovers of imports that were cut off are removed.
    pub fn open(settings: ImageSettings) -> Result<ImageStore, std::io::Error> {
        let incoming = settings.folder.join("incoming");
        match std::fs::remove_dir_all(&incoming) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::fs::create_dir_all(&incoming)?;
        let fetcher = Fetcher::new(settings.import_folder.clone());
        let worker = tokio::sync::Semaphore::new(1);
        Ok(ImageStore { settings, fetcher, importing: Mutex::default(), worker })
    }

    /// The image that `instance_info` names, brought into the data folder if it is not there yet.
    pub async fn ensure(&self, store: &Store, wanted: &WantedImage) -> Result<Arc<Image>, ImageError> {
        if !wanted.source.contains("://") {
            return known(&store.view(), wanted);
        }
        let checksum = wanted.checksum.clone().ok_or_else(|| ImageError::Unknown(wanted.source.clone()))?;
        let turn = {
            let mut importing = self.importing.lock().unwrap_or_else(PoisonError::into_inner);
            importing.retain(|_, turn| Arc::strong_count(turn) > 1);
            importing.entry(checksum.clone()).or_default().clone()
        };
        let _turn = turn.lock().await;
        if let Some(image) = store.view().image_by_checksum(&checksum)
            && self.folder_of(image.id).join("map.json").exists()
        {
            return Ok(image.clone());
        }
        self.import(store, &wanted.source, checksum).await
    }

    async fn import(&self, store: &Store, url: &str, checksum: Checksum) -> Result<Arc<Image>, ImageError> {
        let id = ImageId(Uuid::new_v4());
        let workplace = self.settings.folder.join("incoming").join(id.to_string());
        tokio::fs::create_dir_all(&workplace).await?;
        let done = self.import_in(&workplace, url, &checksum).await;
        let content = match done {
            Ok(content) => content,
            Err(error) => {
                tokio::fs::remove_dir_all(&workplace).await.ok();
                return Err(error);
            }
        };
        let now = Timestamp::now();
        let image = Image {
            id,
            name: None,
            source_url: Some(url.to_owned()),
            checksum,
            status: ImageStatus::Active,
            content: Some(content),
            created_at: now,
            used_at: now,
        };
        tokio::fs::rename(&workplace, self.folder_of(id)).await?;
        sync_folder(&self.settings.folder).await?;
        store.submit(Command::AddImage(Box::new(image.clone())), Actor::System("engine")).await?;
        Ok(Arc::new(image))
    }

    async fn import_in(&self, workplace: &Path, url: &str, checksum: &Checksum) -> Result<ImageContent, ImageError> {
        let given = workplace.join("given");
        let room = self.room()?;
        let got = self.fetcher.fetch(url, &given, checksum.algorithm, room.min(self.settings.max_size)).await?;
        if got != checksum.hex {
            return Err(ImageError::Checksum { url: url.to_owned(), expected: checksum.hex.clone(), got });
        }
        let _permit = self.worker.acquire().await;
        let (folder, max_size) = (workplace.to_owned(), self.settings.max_size);
        let packed = tokio::task::spawn_blocking(move || {
            let source = format::open(&given, max_size)?;
            let content = pack::pack(source, &folder, room)?;
            std::fs::remove_file(&given)?;
            Ok::<_, ImageError>(content)
        });
        packed.await.map_err(|error| std::io::Error::other(error.to_string()))?
    }

    /// Bytes that an import may use.
    fn room(&self) -> Result<u64, ImageError> {
        let stat = rustix::fs::statvfs(&self.settings.folder).map_err(std::io::Error::from)?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        let room = free.saturating_sub(self.settings.reserve);
        if room == 0 {
            return Err(ImageError::NoSpace { needed: self.settings.reserve >> 20, free: free >> 20 });
        }
        Ok(room)
    }

    fn folder_of(&self, id: ImageId) -> PathBuf {
        self.settings.folder.join(id.to_string())
    }

    /// The stored bytes of an image.
    pub fn stored(&self, id: ImageId) -> std::io::Result<StoredImage> {
        StoredImage::open(&self.folder_of(id))
    }
}

fn known(view: &View, wanted: &WantedImage) -> Result<Arc<Image>, ImageError> {
    let by_id = Uuid::parse_str(&wanted.source).ok().and_then(|id| view.image(ImageId(id)));
    let image = by_id.or_else(|| view.images().find(|image| image.name.as_deref() == Some(&wanted.source)));
    let image = image.ok_or_else(|| ImageError::Unknown(wanted.source.clone()))?;
    match &image.status {
        ImageStatus::Active => {}
        ImageStatus::Queued => {
            return Err(ImageError::NotReady(wanted.source.clone(), "its data is not here yet".into()));
        }
        ImageStatus::Failed(why) => return Err(ImageError::NotReady(wanted.source.clone(), why.clone())),
    }
    if let Some(expected) = wanted.checksum.as_ref().filter(|expected| **expected != image.checksum) {
        let (expected, got) = (expected.hex.clone(), image.checksum.hex.clone());
        return Err(ImageError::Checksum { url: wanted.source.clone(), expected, got });
    }
    Ok(image.clone())
}

/// Makes a rename durable.
async fn sync_folder(folder: &Path) -> std::io::Result<()> {
    tokio::fs::File::open(folder).await?.sync_all().await
}
