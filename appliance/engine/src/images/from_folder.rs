//! A file of the import folder made an image, whole or not at all.
//!
//! In: its name in the folder, the name and the audience that the image is to have, and a digest if one is known. Out: an
//! image that is ready. What the file is, its content decides; without a digest the box makes one, and tells it.

use super::import::{foresee, new_image};
use super::sink::{Sink, Taken};
use super::{ImageError, ImageStore, format};
use leasehold_domain::command::{Actor, Command};
use leasehold_domain::id::ImageId;
use leasehold_domain::image::{Card, Checksum, Given, HashAlgorithm, Image, ImageStatus, Visibility};
use leasehold_store::Store;
use std::path::PathBuf;
use std::sync::Arc;
use uuid::Uuid;

/// What is to be made of a file.
#[derive(Clone, Debug)]
pub struct FromFolder {
    /// Its path below the import folder.
    pub file: String,
    pub name: String,
    /// What the file must have; `None`: whatever it has.
    pub checksum: Option<Checksum>,
    /// The project whose image it will be; `None`: the box's own.
    pub owner: Option<String>,
    pub visibility: Visibility,
}

impl FromFolder {
    /// The row as it begins.
    fn image(&self, id: ImageId, checksum: Checksum) -> Image {
        let card = Card {
            kept: true,
            owner: self.owner.clone(),
            visibility: self.visibility,
            container_format: Some("bare".into()),
            ..Card::default()
        };
        let from = Some(format!("file:{}", self.file));
        Image { card, ..new_image(id, Some(self.name.clone()), from, checksum, ImageStatus::Active) }
    }

    fn algorithm(&self) -> HashAlgorithm {
        self.checksum.as_ref().map_or(HashAlgorithm::Sha256, |checksum| checksum.algorithm)
    }
}

impl ImageStore {
    /// Imports a file. Dropped before its end, it leaves nothing.
    pub async fn import_from_folder(
        self: &Arc<Self>,
        store: &Store,
        actor: Actor,
        wanted: FromFolder,
    ) -> Result<Arc<Image>, ImageError> {
        let _place = self.uploads.clone().try_acquire_owned().map_err(|_| ImageError::Busy(super::UPLOADS))?;
        let id = ImageId(Uuid::new_v4());
        let unknown = Checksum { algorithm: wanted.algorithm(), hex: String::new() };
        if wanted.owner.is_none() {
            self.replace_failed(store, &actor, &wanted.name).await?;
        }
        foresee(store, &Command::AddImage(Box::new(wanted.image(id, unknown.clone()))), &actor)?;
        let import = self.begin(id)?;
        let sink = self.sink(store, &import, &unknown)?.with_md5();
        let taken = self.take_file(store, &wanted.file, sink).await?;
        if let Some(expected) = wanted.checksum.as_ref().filter(|expected| expected.hex != taken.hex) {
            return Err(ImageError::checksum(&wanted.file, expected, taken.hex));
        }
        let checksum = Checksum { hex: taken.hex, ..unknown };
        let found = format::by_first_bytes(&import.given())?;
        let complete = self.complete_as(store, import, taken.claim, &checksum, Some(found)).await?;
        let mut image = wanted.image(id, checksum);
        image.card.disk_format = Some(complete.content.given_format.clone());
        image.card.given = Some(Given { size: taken.size, md5: taken.md5.unwrap_or_default() });
        image.content = Some(complete.content.clone());
        self.keep(store, complete, Command::AddImage(Box::new(image)), actor).await
    }

    async fn take_file(self: &Arc<Self>, store: &Store, file: &str, mut sink: Sink) -> Result<Taken, ImageError> {
        let max_size = self.settings.max_size;
        let expect = |length| match length > max_size {
            true => Err(ImageError::too_large(max_size)),
            false => self.expect_room(&store.view(), length),
        };
        self.fetcher.copy(file, PathBuf::from(file), &mut sink, expect).await?;
        sink.finish().await
    }
}
