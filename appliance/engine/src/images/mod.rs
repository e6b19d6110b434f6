//! Images in the data folder: fetched or uploaded, verified, unpacked and packed for the agents.
//!
//! In: a URL or an upload, and the digest that its user knows. Out: `images/<id>/map.json` and `images/<id>/data`
//! (`leasehold_wire::image_map`), and an `Image` row. What a file is, its content decides, never its name. Nothing is
//! visible before all of it was verified. The files come before the row and go after it: a crash leaves a folder
//! without a row at worst, which the next start removes.

mod deposit;
mod error;
mod fetch;
mod folder;
mod format;
mod from_folder;
mod guard;
mod import;
mod pack;
mod qcow2;
mod read;
mod shelf;
mod signature;
mod sink;
mod space;
mod staged;
#[cfg(test)]
mod tests;
mod upload;
mod url;

pub use deposit::{Deposit, Reach};
pub use error::ImageError;
pub use fetch::Patience;
pub(crate) use fetch::with_causes;
pub use folder::FolderFile;
pub use from_folder::FromFolder;
pub(crate) use guard::{Guard, NotAllowed};
pub use guard::{Network, NoNetwork, never_fetched_from, private_networks};
pub use read::StoredImage;
pub use space::Usage;
pub use staged::Part;
pub use upload::Upload;

use fetch::Fetcher;
use folder::ImportFolder;
use leasehold_domain::View;
use leasehold_domain::command::{Actor, Command};
use leasehold_domain::id::{ImageId, JobId};
use leasehold_domain::image::{Checksum, HashAlgorithm, Image, ImageContent, ImageStatus, WantedImage};
use leasehold_domain::refusal::Refusal;
use leasehold_store::{Store, SubmitError};
use shelf::{Shelf, Streams};
use space::Space;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

/// Uploads at a time.
const UPLOADS: usize = 4;

/// Limits and places.
#[derive(Clone, Debug)]
pub struct ImageSettings {
    /// The data folder's `images`.
    pub folder: PathBuf,
    /// `file://` URLs may name files below this folder only; `None`: no file may be imported.
    pub import_folder: Option<PathBuf>,
    /// Larger images, as given and unpacked, are refused, in bytes.
    pub max_size: u64,
    /// Bytes that must stay free in the data folder.
    pub reserve: u64,
    /// The most that images may take, imports in progress included, in bytes; `None`: all but the reserve.
    pub quota: Option<u64>,
    /// Addresses that nobody may have images fetched from: [`never_fetched_from`], the box's own, and the networks of
    /// the BMCs and of machines in provisioning.
    pub forbidden: Vec<Network>,
    /// Narrower networks in those that images may be fetched from.
    pub allowed: Vec<Network>,
    /// With servers of images.
    pub patience: Patience,
}

/// The images.
pub struct ImageStore {
    settings: ImageSettings,
    fetcher: Fetcher,
    space: Space,
    /// One import of a file at a time: two deployments of the same image share the first one's work.
    turns: Mutex<HashMap<Checksum, Arc<tokio::sync::Mutex<()>>>>,
    /// Unpacking and packing use all cores: one image at a time.
    worker: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
    /// Imports that users asked for and that nobody else waits for.
    tasks: Mutex<HashMap<ImageId, tokio::task::AbortHandle>>,
    /// Images that somebody fills at this moment.
    filling: Mutex<HashSet<ImageId>>,
    shelf: Shelf,
    streams: Streams,
}

impl ImageStore {
    /// Opens the folder. What imports left that were cut off, and folders of images that `view` does not know, are
    /// removed.
    pub fn open(settings: ImageSettings, view: &View) -> Result<ImageStore, std::io::Error> {
        sweep(&settings.folder, view)?;
        std::fs::create_dir(settings.folder.join("incoming"))?;
        let guard = Guard::new(&settings.forbidden, &settings.allowed);
        let space =
            Space::new(settings.folder.clone(), settings.reserve, settings.quota, staged::total(&settings.folder)?);
        Ok(ImageStore {
            fetcher: Fetcher::new(ImportFolder::new(settings.import_folder.clone()), guard, settings.patience),
            space,
            turns: Mutex::default(),
            worker: Arc::new(Semaphore::new(1)),
            uploads: Arc::new(Semaphore::new(UPLOADS)),
            tasks: Mutex::default(),
            filling: Mutex::default(),
            shelf: Shelf::default(),
            streams: Streams::default(),
            settings,
        })
    }

    /// The image that `wanted` names, for this job: brought into the data folder if it is not there yet, and noted as
    /// the job's, which keeps it there.
    pub async fn provide(
        self: &Arc<Self>,
        store: &Store,
        wanted: &WantedImage,
        job: JobId,
    ) -> Result<Arc<Image>, ImageError> {
        loop {
            let image = self.ensure(store, wanted, job).await?;
            let told = store.submit(Command::UseImage { job, image: image.id }, Actor::System("engine")).await;
            match told {
                // It was evicted or deleted this moment: once more.
                Err(SubmitError::Refused(Refusal::NotFound { .. })) => {}
                // The job is over; its runner finds that out for itself.
                Ok(_) | Err(SubmitError::Refused(_)) => return Ok(image),
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn ensure(
        self: &Arc<Self>,
        store: &Store,
        wanted: &WantedImage,
        job: JobId,
    ) -> Result<Arc<Image>, ImageError> {
        if !wanted.source.contains("://") {
            let image = known(&store.view(), wanted)?;
            if self.has_files(store, &image).await? {
                return Ok(image);
            }
            return Err(ImageError::NotReady(wanted.source.clone(), FILES_GONE.into()));
        }
        let checksum = wanted.checksum.clone().ok_or_else(|| ImageError::Unknown(wanted.source.clone()))?;
        let _turn = self.turn(&checksum).await;
        let project = project_of(&store.view(), job);
        if let Some(image) = self.usable(store, &checksum, project.as_deref()).await? {
            return Ok(image);
        }
        self.import_for_deployment(store, &wanted.source, checksum, project).await
    }

    /// The image of this file, if it is here and this project may use it.
    async fn usable(
        &self,
        store: &Store,
        checksum: &Checksum,
        project: Option<&str>,
    ) -> Result<Option<Arc<Image>>, ImageError> {
        let fits = |image: &&Arc<Image>| match project {
            None => image.card.owner.is_none() && image.card.is_visible_to(None),
            Some(_) => image.card.is_visible_to(project),
        };
        let find = || {
            let view = store.view();
            view.images_by_checksum(checksum).filter(fits).find(|image| image.check_usable().is_ok()).cloned()
        };
        while let Some(image) = find() {
            if self.has_files(store, &image).await? {
                return Ok(Some(image));
            }
        }
        Ok(None)
    }

    /// Whether the image's files are there; if somebody took them away, its row says so from now on.
    async fn has_files(&self, store: &Store, image: &Image) -> Result<bool, ImageError> {
        if tokio::fs::try_exists(self.folder_of(image.id).join("map.json")).await? {
            return Ok(true);
        }
        tracing::warn!(image = %image.id, "its files are gone from the data folder");
        let failed = Command::ImageFailed { id: image.id, reason: FILES_GONE.into() };
        match store.submit(failed, Actor::System("engine")).await {
            Ok(_) | Err(SubmitError::Refused(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for its turn to work on a file.
    async fn turn(&self, checksum: &Checksum) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            turns.entry(checksum.clone()).or_default().clone()
        };
        turn.lock_owned().await
    }

    /// Removes an image, its row first. Refused while a job uses it.
    pub async fn delete(&self, store: &Store, id: ImageId, actor: Actor) -> Result<(), ImageError> {
        store.submit(Command::DeleteImage { id }, actor).await?;
        let task = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        if let Some(task) = task {
            task.abort();
        }
        self.remove_files(id).await;
        Ok(())
    }

    /// Removes the files of an image that has no row any more. What cannot be removed now goes at the next start.
    async fn remove_files(&self, id: ImageId) {
        self.shelf.forget(id);
        self.unstage(id).await;
        let folder = self.folder_of(id);
        let removed = tokio::task::spawn_blocking(move || remove_folder(&folder)).await;
        if let Err(error) = removed.unwrap_or_else(|error| Err(std::io::Error::other(error.to_string()))) {
            tracing::warn!(image = %id, %error, "the files of an image could not be removed");
        }
    }

    fn folder_of(&self, id: ImageId) -> PathBuf {
        self.settings.folder.join(id.to_string())
    }

    /// The stored bytes of an image. Blocks while files are opened, for an image that was not read lately.
    pub fn stored(&self, id: ImageId) -> std::io::Result<Arc<StoredImage>> {
        self.shelf.take(id, || StoredImage::open(&self.folder_of(id)))
    }

    /// A place for one more answer with an image's bytes to this job's agent; `None`: it has enough of them.
    pub fn stream(&self, job: JobId) -> Option<OwnedSemaphorePermit> {
        self.streams.enter(job)
    }
}

const FILES_GONE: &str = "its files are gone from the data folder: delete it and add it again";

fn known(view: &View, wanted: &WantedImage) -> Result<Arc<Image>, ImageError> {
    let image = find(view, &wanted.source).ok_or_else(|| ImageError::Unknown(wanted.source.clone()))?;
    image.check_usable().map_err(|why| ImageError::NotReady(wanted.source.clone(), why))?;
    if let Some(expected) = wanted.checksum.as_ref().filter(|expected| !is_digest_of(image, expected)) {
        let got = image.checksum.as_ref().map(|checksum| checksum.hex.clone()).unwrap_or_default();
        return Err(ImageError::checksum(&wanted.source, expected, got));
    }
    Ok(image.clone())
}

/// The digest is that of the file as it was given, or of the disk that was made of it: a download may be either.
fn is_digest_of(image: &Image, digest: &Checksum) -> bool {
    let of_disk =
        |content: &ImageContent| digest.algorithm == HashAlgorithm::Sha256 && content.raw_sha256 == digest.hex;
    image.checksum.as_ref() == Some(digest) || image.content.as_ref().is_some_and(of_disk)
}

/// For whom a job works: the project that has the node now.
fn project_of(view: &View, job: JobId) -> Option<String> {
    let settings = &view.node(view.job(job)?.node)?.settings;
    settings.lessee.clone().or_else(|| settings.owner.clone())
}

/// The image with this id or name; of a name that projects use, too, the box's own image.
pub fn find<'a>(view: &'a View, ident: &str) -> Option<&'a Arc<Image>> {
    match Uuid::parse_str(ident) {
        Ok(id) => view.image(ImageId(id)),
        Err(_) => view.image_by_name(ident),
    }
}

/// What begins so is on its way out.
const SWEPT: &str = "swept-";

/// Puts away what belongs to no image. Large files take their time to go: that is left to a thread, so that the start
/// need not wait.
fn sweep(folder: &Path, view: &View) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let is_active = |id| view.image(ImageId(id)).is_some_and(|image| image.status == ImageStatus::Active);
    let mut doomed = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let goes = match Uuid::parse_str(&name) {
            Ok(id) => !is_active(id),
            Err(_) if staged::image_of(&name).is_some() => {
                let waits = |id| view.image(id).is_some_and(|image| image.status == ImageStatus::Queued);
                !staged::image_of(&name).is_some_and(waits)
            }
            // Other names are not ours: they stay.
            Err(_) => name == "incoming" || name.starts_with(SWEPT),
        };
        if goes {
            let aside = folder.join(format!("{SWEPT}{}", Uuid::new_v4()));
            std::fs::rename(entry.path(), &aside)?;
            doomed.push(aside);
        }
    }
    std::thread::spawn(move || {
        for folder in doomed {
            if let Err(error) = remove_folder(&folder) {
                tracing::warn!(folder = %folder.display(), %error, "what an import left could not be removed");
            }
        }
    });
    Ok(())
}

/// Removes a folder with all that is in it, or a file; none is fine too.
fn remove_folder(folder: &Path) -> std::io::Result<()> {
    let removed = if folder.is_file() { std::fs::remove_file(folder) } else { std::fs::remove_dir_all(folder) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
