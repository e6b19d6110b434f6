//! The account of the data folder: what images take, what imports take meanwhile, and what may still come.
//!
//! Every writer holds a [`Claim`] and asks it before it writes; the claim asks here. When space is short, images that
//! may go (`Image::may_be_evicted`) go, the longest unused first; when that is not enough, the writer is told.

use super::{ImageError, ImageStore};
use jiff::Timestamp;
use leasehold_domain::View;
use leasehold_domain::command::{Actor, Command};
use leasehold_domain::image::Image;
use leasehold_store::{Store, SubmitError};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Writers ask for so many bytes at a time.
const STEP: u64 = 8 << 20;

/// The account of the folder of images.
pub(super) struct Space {
    folder: PathBuf,
    reserve: u64,
    quota: Option<u64>,
    /// Bytes that claims hold: what imports in progress wrote or may write at once.
    claimed: AtomicU64,
    /// Bytes of files that come in parts and wait for the rest.
    pub(super) staged: AtomicU64,
    /// Who makes room does so alone, else two would evict an image each where one is enough.
    making_room: tokio::sync::Mutex<()>,
}

/// How full the folder is, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Images that are kept.
    pub stored: u64,
    /// Imports in progress.
    pub temporary: u64,
    /// What may still come, without evicting anything.
    pub free: u64,
    /// What would come free if every image went that may go.
    pub evictable: u64,
    /// The most that images may take, if that is limited.
    pub quota: Option<u64>,
}

impl Space {
    pub(super) fn new(folder: PathBuf, reserve: u64, quota: Option<u64>, staged: u64) -> Space {
        let (claimed, staged) = (AtomicU64::new(0), AtomicU64::new(staged));
        Space { folder, reserve, quota, claimed, staged, making_room: tokio::sync::Mutex::default() }
    }

    /// How full the folder is; what is evictable is left at 0.
    fn measure(&self, view: &View) -> std::io::Result<Usage> {
        let stat = rustix::fs::statvfs(&self.folder)?;
        let stored = view.images().map(|image| stored_size(image)).sum::<u64>();
        let temporary = self.claimed.load(Ordering::Acquire) + self.staged.load(Ordering::Acquire);
        let mut free = stat.f_bavail.saturating_mul(stat.f_frsize).saturating_sub(self.reserve);
        if let Some(quota) = self.quota {
            free = free.min(quota.saturating_sub(stored).saturating_sub(temporary));
        }
        Ok(Usage { stored, temporary, free, evictable: 0, quota: self.quota })
    }
}

fn stored_size(image: &Image) -> u64 {
    image.content.as_ref().map_or(0, |content| content.stored_size)
}

/// What may go now, the longest unused first.
fn evictable(view: &View, now: Timestamp) -> Vec<Arc<Image>> {
    let mut found: Vec<_> = view.images().filter(|image| image.may_be_evicted(now)).cloned().collect();
    if found.is_empty() {
        return found;
    }
    // Running jobs, and nodes whose next deployment names the image by its id.
    let in_jobs: Vec<_> = view.jobs().filter(|job| job.is_running()).filter_map(|job| job.input.image).collect();
    let named: Vec<_> = view
        .nodes_after(None)
        .filter_map(|node| node.settings.instance_info.get("image_source")?.as_str()?.parse::<uuid::Uuid>().ok())
        .collect();
    found.retain(|image| !in_jobs.contains(&image.id) && !named.contains(&image.id.0));
    found.sort_by_key(|image| (image.used_at, image.id));
    found
}

impl ImageStore {
    /// How full the folder is.
    pub fn usage(&self, view: &View) -> std::io::Result<Usage> {
        let evictable = evictable(view, Timestamp::now()).iter().map(|image| stored_size(image)).sum();
        Ok(Usage { evictable, ..self.space.measure(view)? })
    }

    /// Refuses early what cannot fit whatever goes; nothing is evicted on the word of a stranger.
    pub(super) fn expect_room(&self, view: &View, bytes: u64) -> Result<(), ImageError> {
        let usage = self.usage(view)?;
        let free = usage.free.saturating_add(usage.evictable);
        if bytes > free {
            return Err(ImageError::NoSpace { needed: mib(bytes), free: free >> 20 });
        }
        Ok(())
    }

    /// Sees to it that `bytes` are free, and books them.
    async fn book(&self, store: &Store, bytes: u64) -> Result<(), ImageError> {
        let _alone = self.space.making_room.lock().await;
        loop {
            let view = store.view();
            let usage = self.space.measure(&view)?;
            if usage.free >= bytes {
                self.space.claimed.fetch_add(bytes, Ordering::AcqRel);
                return Ok(());
            }
            let candidates = evictable(&view, Timestamp::now());
            let Some(image) = candidates.first() else {
                return Err(ImageError::NoSpace { needed: mib(bytes), free: usage.free >> 20 });
            };
            match store.submit(Command::EvictImage { id: image.id }, Actor::System("engine")).await {
                Ok(_) => {
                    tracing::info!(image = %image.id, unused_since = %image.used_at, "space is short: an image goes");
                    self.remove_files(image.id).await;
                }
                // Somebody used, named or deleted it this moment: look again.
                Err(SubmitError::Refused(_)) => tokio::task::yield_now().await,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Whole MiB, rounded up: "needs 0 MiB" helps nobody.
fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

/// The right to write so many bytes; given back when it is dropped.
pub(super) struct Claim {
    images: Arc<ImageStore>,
    store: Store,
    booked: u64,
    spent: u64,
}

impl Claim {
    pub(super) fn new(images: &Arc<ImageStore>, store: &Store) -> Claim {
        Claim { images: images.clone(), store: store.clone(), booked: 0, spent: 0 }
    }

    /// Asks for room for `bytes` more.
    pub(super) async fn spend(&mut self, bytes: u64) -> Result<(), ImageError> {
        let spent = self.spent + bytes;
        if spent > self.booked {
            let missing = spent - self.booked;
            let booked = match self.images.book(&self.store, missing.max(STEP)).await {
                Err(ImageError::NoSpace { .. }) if missing < STEP => {
                    self.images.book(&self.store, missing).await.map(|()| missing)
                }
                other => other.map(|()| missing.max(STEP)),
            };
            self.booked += booked?;
        }
        self.spent = spent;
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.images.space.claimed.fetch_sub(self.booked, Ordering::AcqRel);
    }
}
