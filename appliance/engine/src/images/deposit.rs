//! Images that were made first and are filled afterwards: by an upload, by a URL, or by what came in parts.
//!
//! In: the bytes, for an image whose owner said what they will be. Out: an image with data, or one that still waits,
//! with the reason why the last try came to nothing. One try at a time.

use super::import::Import;
use super::sink::{Sink, Taken};
use super::url::shown;
use super::{ImageError, ImageStore};
use leasehold_domain::command::{Actor, Command};
use leasehold_domain::id::ImageId;
use leasehold_domain::image::{Checksum, Given, HashAlgorithm, Image, ImageCommand, ImageStatus};
use leasehold_domain::refusal::Refusal;
use leasehold_store::{Store, SubmitError};
use std::sync::{Arc, PoisonError};
use tokio::sync::OwnedSemaphorePermit;

/// The algorithm of digests that we make ourselves: that of the packed disk, so that a raw file is hashed once.
const ALGORITHM: HashAlgorithm = HashAlgorithm::Sha256;

/// Somebody fills this image; nobody else does meanwhile.
pub(super) struct Filling {
    images: Arc<ImageStore>,
    id: ImageId,
}

impl Drop for Filling {
    fn drop(&mut self) {
        self.images.filling.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

/// An upload into an image. Dropped before its end, it leaves nothing.
pub struct Deposit {
    filler: Filler,
    sink: Sink,
    _place: OwnedSemaphorePermit,
}

/// What is needed to fill an image, whatever the way.
pub(super) struct Filler {
    pub(super) images: Arc<ImageStore>,
    pub(super) store: Store,
    actor: Actor,
    image: Arc<Image>,
    /// Bytes that its project's images may have; negative: any number.
    limit: i64,
    pub(super) import: Import,
    _filling: Filling,
}

/// Which URLs somebody may have an image filled from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// http and https.
    Web,
    /// These, and the import folder by `file:///…`: what lies there is not for every project.
    WebAndFolder,
}

/// Where the bytes are.
enum From {
    Url(String),
    Staged,
}

impl ImageStore {
    /// Somebody fills the image at this moment.
    pub fn is_being_filled(&self, id: ImageId) -> bool {
        self.filling.lock().unwrap_or_else(PoisonError::into_inner).contains(&id)
    }

    pub(super) fn fill(self: &Arc<Self>, id: ImageId) -> Result<Filling, ImageError> {
        let fresh = self.filling.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        if !fresh {
            return Err(ImageError::Filling);
        }
        Ok(Filling { images: self.clone(), id })
    }

    /// The image waits for its data, and its owner said what it will be.
    pub(super) fn waiting(&self, store: &Store, id: ImageId) -> Result<Arc<Image>, ImageError> {
        let image = store.view().image(id).cloned().ok_or_else(|| ImageError::Unknown(id.to_string()))?;
        if image.status != ImageStatus::Queued || !image.card.kept {
            return Err(Refusal::InUse(format!(
                "Image {id} has its data already: a filled image is never changed, make another."
            ))
            .into());
        }
        if image.card.disk_format.is_none() || image.card.container_format.is_none() {
            let why = "Properties disk_format, container_format must be set prior to saving data";
            return Err(ImageError::Unready(why.into()));
        }
        Ok(image)
    }

    fn filler(self: &Arc<Self>, store: &Store, actor: Actor, id: ImageId, limit: i64) -> Result<Filler, ImageError> {
        let image = self.waiting(store, id)?;
        let filling = self.fill(id)?;
        let import = self.begin(id)?;
        let (images, store) = (self.clone(), store.clone());
        Ok(Filler { images, store, actor, image, limit, import, _filling: filling })
    }

    /// Begins an upload into the image. `length`: bytes that the client announces; `limit`: bytes that the images of the
    /// project may have, negative for any number.
    pub async fn begin_deposit(
        self: &Arc<Self>,
        store: &Store,
        actor: Actor,
        id: ImageId,
        length: Option<u64>,
        limit: i64,
    ) -> Result<Deposit, ImageError> {
        let place = self.uploads.clone().try_acquire_owned().map_err(|_| ImageError::Busy(super::UPLOADS))?;
        let filler = self.filler(store, actor, id, limit)?;
        if let Some(length) = length {
            if length > self.settings.max_size {
                return Err(ImageError::too_large(self.settings.max_size));
            }
            self.expect_room(&store.view(), length)?;
        }
        let sink = filler.sink()?;
        Ok(Deposit { filler, sink, _place: place })
    }

    /// Has the image filled from a URL. What becomes of it, the image says.
    pub fn deposit_from_url(
        self: &Arc<Self>,
        store: &Store,
        actor: Actor,
        id: ImageId,
        url: &str,
        limit: i64,
        reach: Reach,
    ) -> Result<(), ImageError> {
        if reach == Reach::Web && url.starts_with("file:") {
            return Err(ImageError::Unready("Only http and https URLs can be imported: upload the file".into()));
        }
        self.fetcher.check(url)?;
        let filler = self.filler(store, actor, id, limit)?;
        self.in_background(id, filler.fill_from(From::Url(url.to_owned())));
        Ok(())
    }

    /// Has the image filled with what came in parts.
    pub async fn deposit_staged(
        self: &Arc<Self>,
        store: &Store,
        actor: Actor,
        id: ImageId,
        limit: i64,
    ) -> Result<(), ImageError> {
        self.staged(id).await?.ok_or_else(|| {
            ImageError::Unready(format!("Nothing was staged for image {id}: PUT its data to …/stage first"))
        })?;
        let filler = self.filler(store, actor, id, limit)?;
        self.in_background(id, filler.fill_from(From::Staged));
        Ok(())
    }

    fn in_background(self: &Arc<Self>, id: ImageId, work: impl Future<Output = ()> + Send + 'static) {
        let images = self.clone();
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let task = tokio::spawn(async move {
            work.await;
            images.tasks.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        });
        tasks.insert(id, task.abort_handle());
    }
}

impl Deposit {
    /// Takes the next bytes.
    pub async fn take(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        self.sink.take(bytes).await
    }

    /// All bytes came: checks and packs them, and fills the image.
    pub async fn finish(self) -> Result<Arc<Image>, ImageError> {
        let taken = self.sink.finish().await?;
        self.filler.complete(taken).await
    }
}

impl Filler {
    fn sink(&self) -> Result<Sink, ImageError> {
        let checksum = Checksum { algorithm: ALGORITHM, hex: String::new() };
        Ok(self.images.sink(&self.store, &self.import, &checksum)?.with_md5())
    }

    async fn fetch(&self, url: &str) -> Result<Taken, ImageError> {
        let mut sink = self.sink()?;
        let max_size = self.images.settings.max_size;
        let expect = |length| match length > max_size {
            true => Err(ImageError::too_large(max_size)),
            false => self.images.expect_room(&self.store.view(), length),
        };
        self.images.fetcher.fetch(url, &mut sink, expect).await?;
        tracing::info!(image = %self.image.id, url = shown(url), bytes = sink.taken(), "fetched");
        sink.finish().await
    }

    /// Gets the bytes, then fills the image with them; a failure is told by the image.
    async fn fill_from(self, from: From) {
        let taken = match from {
            From::Url(url) => self.fetch(&url).await,
            From::Staged => self.take_staged().await,
        };
        match taken {
            Ok(taken) => drop(self.complete(taken).await),
            Err(error) => unfit(&self.store, self.image.id, &error).await,
        }
    }

    async fn complete(self, taken: Taken) -> Result<Arc<Image>, ImageError> {
        let Filler { images, store, actor, image, limit, import, _filling } = self;
        let checksum = Checksum { algorithm: ALGORITHM, hex: taken.hex };
        let given = Given { size: taken.size, md5: taken.md5.unwrap_or_default() };
        let said = image.card.disk_format.as_deref().or(Some("raw"));
        let filled = match images.complete_as(&store, import, taken.claim, &checksum, said).await {
            Ok(complete) => {
                let content = complete.content.clone();
                let command = Command::Image(ImageCommand::Fill { id: image.id, checksum, given, content, limit });
                images.keep(&store, complete, command, actor).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = &filled {
            unfit(&store, image.id, error).await;
        }
        filled
    }
}

/// Says in the image's row why the try came to nothing.
async fn unfit(store: &Store, id: ImageId, error: &ImageError) {
    tracing::warn!(image = %id, %error, "an image could not be filled");
    let reason = error.to_string();
    let told = store.submit(Command::Image(ImageCommand::Unfit { id, reason }), Actor::System("engine")).await;
    match told {
        // It was deleted meanwhile.
        Ok(_) | Err(SubmitError::Refused(_)) => {}
        Err(error) => tracing::warn!(image = %id, %error, "that an image was not filled was not recorded"),
    }
}
