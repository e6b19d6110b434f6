//! How an image comes into the data folder: a file in `incoming`, checked, packed, moved to its place, its row written.

use super::sink::Sink;
use super::space::Claim;
use super::url::{hides_something, shown};
use super::{ImageError, ImageStore, format, pack, remove_folder};
use jiff::Timestamp;
use leasehold_domain::command::{Actor, Answer, Command, Context};
use leasehold_domain::decide;
use leasehold_domain::id::ImageId;
use leasehold_domain::image::{Card, Checksum, HashAlgorithm, Image, ImageContent, ImageStatus, Visibility};
use leasehold_domain::refusal::Refusal;
use leasehold_store::{Store, SubmitError};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use uuid::Uuid;

/// The folder of one import below `incoming`. It goes when nobody works in it any more.
pub(super) struct Workplace {
    folder: PathBuf,
    stopped: AtomicBool,
}

impl Drop for Workplace {
    fn drop(&mut self) {
        let folder = std::mem::take(&mut self.folder);
        let remove = move || {
            if let Err(error) = remove_folder(&folder) {
                tracing::warn!(%error, "what an import left could not be removed; the next start does");
            }
        };
        // Large files take their time to go.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

/// An import in progress. When it is dropped (the job was aborted, the client hung up), the work for it stops.
pub(super) struct Import {
    pub(super) id: ImageId,
    place: Arc<Workplace>,
}

impl Drop for Import {
    fn drop(&mut self) {
        self.place.stopped.store(true, Ordering::Release);
    }
}

impl Import {
    /// The file as it was given.
    pub(super) fn given(&self) -> PathBuf {
        self.place.folder.join("given")
    }
}

/// An image whose files are complete, not yet in their place. The claims hold until its row counts.
pub(super) struct Complete {
    import: Import,
    pub(super) content: ImageContent,
    _claims: Vec<Claim>,
}

impl ImageStore {
    pub(super) fn begin(&self, id: ImageId) -> Result<Import, ImageError> {
        let folder = self.settings.folder.join("incoming").join(Uuid::new_v4().to_string());
        // Not off this thread: who stops waiting for it would leave a folder that nobody removes.
        std::fs::create_dir(&folder)?;
        Ok(Import { id, place: Arc::new(Workplace { folder, stopped: AtomicBool::new(false) }) })
    }

    /// A file that is given: hashed, counted, written.
    pub(super) fn sink(
        self: &Arc<Self>,
        store: &Store,
        import: &Import,
        checksum: &Checksum,
    ) -> Result<Sink, ImageError> {
        let claim = Claim::new(self, store);
        Sink::new(&import.given(), checksum.algorithm, self.settings.max_size, claim)
    }

    /// Unpacks and packs the given file, whose space `given_claim` counts and whose digest was right.
    pub(super) async fn complete(
        self: &Arc<Self>,
        store: &Store,
        import: Import,
        given_claim: Claim,
        checksum: &Checksum,
    ) -> Result<Complete, ImageError> {
        self.complete_as(store, import, given_claim, checksum, None).await
    }

    /// The same for a file that its owner said is `raw` or `qcow2`, and who may want it back as he gave it: what cannot
    /// be made again from the disk is kept beside it.
    pub(super) async fn complete_as(
        self: &Arc<Self>,
        store: &Store,
        import: Import,
        given_claim: Claim,
        checksum: &Checksum,
        said: Option<&str>,
    ) -> Result<Complete, ImageError> {
        let permit = self.worker.clone().acquire_owned().await.map_err(|_| ImageError::Stopped)?;
        let (place, given, max_size) = (import.place.clone(), import.given(), self.settings.max_size);
        let mut claim = Claim::new(self, store);
        let sha256 = (checksum.algorithm == HashAlgorithm::Sha256).then(|| checksum.hex.clone());
        let runtime = tokio::runtime::Handle::current();
        let said = said.map(str::to_owned);
        let packed = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let source = format::open(&given, max_size)?;
            if let Some(said) = said.as_deref().filter(|said| *said != source.name()) {
                return Err(ImageError::Format(format!(
                    "it is said to be {said} (disk_format), and its content is {}",
                    source.name()
                )));
            }
            let known = sha256.as_deref().filter(|_| source.is_raw());
            let mut content = pack::pack(&source, known, &place.folder, pack::threads(), |bytes| {
                if place.stopped.load(Ordering::Acquire) {
                    return Err(ImageError::Stopped);
                }
                runtime.block_on(claim.spend(bytes))
            })?;
            let again = source.is_raw();
            drop(source);
            if said.is_some() && !again {
                let file = std::fs::File::open(&given)?;
                content.stored_size += file.metadata()?.len();
                file.sync_all()?;
                return Ok((content, vec![claim, given_claim]));
            }
            std::fs::remove_file(&given)?;
            drop(given_claim);
            Ok((content, vec![claim]))
        });
        // A panic is the reader's, on a file that it was not made for.
        let packed = packed.await.unwrap_or_else(|_| Err(ImageError::Format("its content cannot be read".into())));
        let (content, claims) = packed?;
        Ok(Complete { import, content, _claims: claims })
    }

    async fn fetch(
        self: &Arc<Self>,
        store: &Store,
        id: ImageId,
        url: &str,
        checksum: &Checksum,
    ) -> Result<Complete, ImageError> {
        let import = self.begin(id)?;
        let mut sink = self.sink(store, &import, checksum)?;
        let max_size = self.settings.max_size;
        let expect = |length| match length > max_size {
            true => Err(ImageError::too_large(max_size)),
            false => self.expect_room(&store.view(), length),
        };
        self.fetcher.fetch(url, &mut sink, expect).await?;
        tracing::info!(image = %id, url = shown(url), bytes = sink.taken(), "fetched");
        let claim = verified(sink, &shown(url), checksum).await?;
        self.complete(store, import, claim, checksum).await
    }

    /// Puts the files in their place, then gives the command that makes them known. Once begun it is carried through,
    /// whether or not somebody still waits for it: between the two steps nothing may be dropped.
    pub(super) async fn keep(
        self: &Arc<Self>,
        store: &Store,
        complete: Complete,
        command: Command,
        actor: Actor,
    ) -> Result<Arc<Image>, ImageError> {
        let (images, store) = (self.clone(), store.clone());
        let kept = tokio::spawn(async move { images.carry_through(&store, complete, command, actor).await });
        kept.await.unwrap_or_else(|error| Err(std::io::Error::other(error.to_string()).into()))
    }

    async fn carry_through(
        &self,
        store: &Store,
        complete: Complete,
        command: Command,
        actor: Actor,
    ) -> Result<Arc<Image>, ImageError> {
        let id = complete.import.id;
        tokio::fs::rename(&complete.import.place.folder, self.folder_of(id)).await?;
        // The rename must be on disk before the row is.
        tokio::fs::File::open(&self.settings.folder).await?.sync_all().await?;
        match store.submit(command, actor).await.map(|done| done.answer) {
            Ok(Answer::Image(image)) => Ok(image),
            Ok(_) => Err(ImageError::Unknown(id.to_string())),
            Err(error) => {
                // With any other error it is not known whether the row is there; the next start finds out.
                if matches!(error, SubmitError::Refused(_) | SubmitError::DiskFull { .. }) {
                    self.remove_files(id).await;
                }
                Err(error.into())
            }
        }
    }

    pub(super) async fn import_for_deployment(
        self: &Arc<Self>,
        store: &Store,
        url: &str,
        checksum: Checksum,
        project: Option<String>,
    ) -> Result<Arc<Image>, ImageError> {
        let id = ImageId(Uuid::new_v4());
        let complete = self.fetch(store, id, url, &checksum).await?;
        let content = Some(complete.content.clone());
        // Who has to show a password or a signature for a file need not share it with everybody who knows its digest.
        let card = match project.filter(|_| hides_something(&shown(url))) {
            Some(project) => Card { owner: Some(project), visibility: Visibility::Private, ..Card::default() },
            None => Card::default(),
        };
        let image = Image { content, card, ..new_image(id, None, Some(shown(url)), checksum, ImageStatus::Active) };
        self.keep(store, complete, Command::AddImage(Box::new(image)), Actor::System("engine")).await
    }

    /// Has an image fetched that a user wants to keep under a name. It is `Queued` until it has come; a file that is
    /// here already only gets its name.
    pub async fn add_by_url(
        self: &Arc<Self>,
        store: &Store,
        actor: Actor,
        name: &str,
        url: &str,
        checksum: Checksum,
    ) -> Result<Arc<Image>, ImageError> {
        self.fetcher.check(url)?;
        if let Some(image) = self.name_existing(store, &actor, name, &checksum).await? {
            return Ok(image);
        }
        self.replace_failed(store, &actor, name).await?;
        let id = ImageId(Uuid::new_v4());
        let image = new_image(id, Some(name.to_owned()), Some(shown(url)), checksum.clone(), ImageStatus::Queued);
        let queued = store.submit(Command::AddImage(Box::new(image.clone())), actor).await?;
        self.spawn(store, id, Some(url.to_owned()), checksum);
        match queued.answer {
            Answer::Image(image) => Ok(image),
            _ => Ok(Arc::new(image)),
        }
    }

    /// Goes on with the imports that users asked for and that the end of the program cut off.
    pub fn resume(self: &Arc<Self>, store: &Store) {
        let queued: Vec<_> =
            store.view().images().filter(|image| image.status == ImageStatus::Queued).cloned().collect();
        for image in queued {
            // Without a digest it is its owner's to fill.
            let Some(checksum) = image.checksum.clone() else { continue };
            // A row does not hold the secret part of a URL.
            let url = image.source_url.clone().filter(|url| !hides_something(url));
            self.spawn(store, image.id, url, checksum);
        }
    }

    fn spawn(self: &Arc<Self>, store: &Store, id: ImageId, url: Option<String>, checksum: Checksum) {
        let (images, store) = (self.clone(), store.clone());
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let task = tokio::spawn(async move {
            images.bring(&store, id, url.as_deref(), &checksum).await;
            images.tasks.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        });
        tasks.insert(id, task.abort_handle());
    }

    /// Fetches a queued image and says in its row what came of it.
    async fn bring(self: &Arc<Self>, store: &Store, id: ImageId, url: Option<&str>, checksum: &Checksum) {
        let _turn = self.turn(checksum).await;
        let result = match url {
            Some(url) => self.fetch(store, id, url, checksum).await,
            None => Err(ImageError::Forgotten),
        };
        let result = match result {
            Ok(complete) => {
                let ready = Command::ImageReady { id, content: complete.content.clone() };
                self.keep(store, complete, ready, Actor::System("engine")).await
            }
            Err(error) => Err(error),
        };
        let Err(error) = result else { return };
        if matches!(error, ImageError::Store(SubmitError::Refused(_) | SubmitError::Closed)) {
            return;
        }
        tracing::warn!(image = %id, %error, "an image could not be brought here");
        let failed = Command::ImageFailed { id, reason: error.to_string() };
        if let Err(error) = store.submit(failed, Actor::System("engine")).await {
            tracing::warn!(image = %id, %error, "that an image has failed was not recorded");
        }
    }

    /// If the file is here or coming, it gets this name, or the refusal says which name it has.
    pub(super) async fn name_existing(
        &self,
        store: &Store,
        actor: &Actor,
        name: &str,
        checksum: &Checksum,
    ) -> Result<Option<Arc<Image>>, ImageError> {
        let usable = self.usable(store, checksum, None).await?;
        let view = store.view();
        let is_coming = |image: &&Arc<Image>| image.status == ImageStatus::Queued && image.card.owner.is_none();
        let queued = || view.images_by_checksum(checksum).find(is_coming).cloned();
        let Some(image) = usable.or_else(queued) else { return Ok(None) };
        if image.name.as_deref() == Some(name) {
            return Ok(Some(image));
        }
        let named = Command::NameImage { id: image.id, name: name.to_owned() };
        match store.submit(named, actor.clone()).await.map(|done| done.answer) {
            Ok(Answer::Image(image)) => Ok(Some(image)),
            Ok(_) => Ok(Some(image)),
            // Gone this moment.
            Err(SubmitError::Refused(Refusal::NotFound { .. })) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// An image that has failed makes way for another attempt under its name.
    pub(super) async fn replace_failed(&self, store: &Store, actor: &Actor, name: &str) -> Result<(), ImageError> {
        let failed =
            store.view().image_by_name(name).filter(|image| matches!(image.status, ImageStatus::Failed(_))).cloned();
        match failed {
            Some(image) => match self.delete(store, image.id, actor.clone()).await {
                Err(ImageError::Store(SubmitError::Refused(Refusal::NotFound { .. }))) => Ok(()),
                other => other,
            },
            None => Ok(()),
        }
    }
}

/// Compares the digest of what came; the claim on its space.
pub(super) async fn verified(sink: Sink, from: &str, checksum: &Checksum) -> Result<Claim, ImageError> {
    let taken = sink.finish().await?;
    if taken.hex != checksum.hex {
        return Err(ImageError::checksum(from, checksum, taken.hex));
    }
    Ok(taken.claim)
}

/// A row as it begins.
pub(super) fn new_image(
    id: ImageId,
    name: Option<String>,
    source_url: Option<String>,
    checksum: Checksum,
    status: ImageStatus,
) -> Image {
    let now = Timestamp::now();
    let (checksum, card) = (Some(checksum), Card::default());
    Image { id, name, source_url, checksum, status, content: None, created_at: now, used_at: now, card }
}

/// Asks the rules what they would say to a command now, before the work for it is done.
pub(super) fn foresee(store: &Store, command: &Command, actor: &Actor) -> Result<(), ImageError> {
    let context = Context { actor: actor.clone(), now: Timestamp::now() };
    decide(&store.view(), command, &context)?;
    Ok(())
}
