//! Images that a user sends.

use super::import::{Import, foresee, new_image, verified};
use super::sink::Sink;
use super::{ImageError, ImageStore};
use leasehold_domain::command::{Actor, Command};
use leasehold_domain::id::ImageId;
use leasehold_domain::image::{Checksum, Image, ImageStatus};
use leasehold_store::Store;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;

/// An upload in progress. Dropped before its end, it leaves nothing.
pub struct Upload {
    images: Arc<ImageStore>,
    store: Store,
    actor: Actor,
    name: String,
    checksum: Checksum,
    import: Import,
    sink: Sink,
    _place: OwnedSemaphorePermit,
}

impl ImageStore {
    /// Begins an upload; whatever can be refused before the first byte is. `length`: bytes that the client announces.
    pub async fn begin_upload(
        self: &Arc<Self>,
        store: &Store,
        actor: Actor,
        name: &str,
        checksum: Checksum,
        length: Option<u64>,
    ) -> Result<Upload, ImageError> {
        let place = self.uploads.clone().try_acquire_owned().map_err(|_| ImageError::Busy(super::UPLOADS))?;
        let view = store.view();
        let id = ImageId(Uuid::new_v4());
        let known = view.image_by_checksum(&checksum).filter(|image| image.name.as_deref() != Some(name));
        let replaces = view.image_by_name(name).is_some_and(|image| {
            matches!(image.status, ImageStatus::Failed(_)) || image.checksum.as_ref() == Some(&checksum)
        });
        if let Some(image) = known {
            foresee(store, &Command::NameImage { id: image.id, name: name.to_owned() }, &actor)?;
        } else if !replaces {
            let image = new_image(id, Some(name.to_owned()), None, checksum.clone(), ImageStatus::Active);
            foresee(store, &Command::AddImage(Box::new(image)), &actor)?;
        }
        if let Some(length) = length {
            if length > self.settings.max_size {
                return Err(ImageError::too_large(self.settings.max_size));
            }
            self.expect_room(&view, length)?;
        }
        let import = self.begin(id)?;
        let sink = self.sink(store, &import, &checksum)?;
        let (images, store, name) = (self.clone(), store.clone(), name.to_owned());
        Ok(Upload { images, store, actor, name, checksum, import, sink, _place: place })
    }
}

impl Upload {
    /// Takes the next bytes.
    pub async fn take(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        self.sink.take(bytes).await
    }

    /// All bytes came: checks and packs them, and makes the image known. A file that is here already gets the name
    /// instead.
    pub async fn finish(self) -> Result<Arc<Image>, ImageError> {
        let Upload { images, store, actor, name, checksum, import, sink, .. } = self;
        let _turn = images.turn(&checksum).await;
        let id = import.id;
        let claim = verified(sink, "this upload", &checksum).await?;
        if let Some(image) = images.name_existing(&store, &actor, &name, &checksum).await? {
            return Ok(image);
        }
        images.replace_failed(&store, &actor, &name).await?;
        let complete = images.complete(&store, import, claim, &checksum).await?;
        let content = Some(complete.content.clone());
        let image = Image { content, ..new_image(id, Some(name), None, checksum, ImageStatus::Active) };
        images.keep(&store, complete, Command::AddImage(Box::new(image)), actor).await
    }
}
