//! Images that are being read: kept open between the range requests of agents, and how many of those there are.

use super::StoredImage;
use leasehold_domain::id::{ImageId, JobId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Images kept open.
const OPEN: usize = 16;
/// Answers with image bytes to one agent at a time. Ours asks for four at most.
const STREAMS: usize = 16;

/// The images read last, the latest at the end.
#[derive(Default)]
pub(super) struct Shelf {
    images: Mutex<Vec<(ImageId, Arc<StoredImage>)>>,
}

impl Shelf {
    /// The image, opened if it is not here.
    pub(super) fn take(
        &self,
        id: ImageId,
        open: impl FnOnce() -> std::io::Result<StoredImage>,
    ) -> std::io::Result<Arc<StoredImage>> {
        let mut images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        let image = match images.iter().position(|(other, _)| *other == id) {
            Some(at) => images.remove(at).1,
            None => Arc::new(open()?),
        };
        if images.len() >= OPEN {
            images.remove(0);
        }
        images.push((id, image.clone()));
        Ok(image)
    }

    /// Lets go of a deleted image, so that its space comes free.
    pub(super) fn forget(&self, id: ImageId) {
        self.images.lock().unwrap_or_else(PoisonError::into_inner).retain(|(other, _)| *other != id);
    }
}

/// The answers under way, by job.
#[derive(Default)]
pub(super) struct Streams {
    jobs: Mutex<HashMap<JobId, Arc<Semaphore>>>,
}

impl Streams {
    pub(super) fn enter(&self, job: JobId) -> Option<OwnedSemaphorePermit> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.retain(|_, places| places.available_permits() < STREAMS);
        let places = jobs.entry(job).or_insert_with(|| Arc::new(Semaphore::new(STREAMS))).clone();
        places.try_acquire_owned().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn an_image_is_opened_once_until_it_is_forgotten_or_pushed_out() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["map.json", "data"] {
            std::fs::write(folder.path().join(name), b"x").expect("written");
        }
        let shelf = Shelf::default();
        let opened = std::cell::Cell::new(0);
        let take = |number: usize| {
            let id = ImageId(Uuid::from_u128(number as u128));
            let open = || {
                opened.set(opened.get() + 1);
                StoredImage::open(folder.path())
            };
            shelf.take(id, open).expect("opened");
            opened.get()
        };
        assert_eq!((take(1), take(1)), (1, 1));
        shelf.forget(ImageId(Uuid::from_u128(1)));
        assert_eq!(take(1), 2);
        for number in 2..=OPEN {
            take(number);
        }
        assert_eq!(take(1), OPEN + 1, "still here");
        take(OPEN + 1);
        assert_eq!(take(1), OPEN + 2, "used lately: another went");
        assert_eq!(take(2), OPEN + 3);
    }

    #[test]
    fn an_agent_has_so_many_streams_and_another_its_own() {
        let streams = Streams::default();
        let (one, other) = (JobId(Uuid::from_u128(1)), JobId(Uuid::from_u128(2)));
        let mut held: Vec<_> = (0..STREAMS).map(|_| streams.enter(one).expect("a place")).collect();
        assert!(streams.enter(one).is_none());
        assert!(streams.enter(other).is_some());
        held.pop();
        assert!(streams.enter(one).is_some());
        held.clear();
        assert!(streams.enter(other).is_some());
        assert_eq!(streams.jobs.lock().expect("sound").len(), 1, "idle jobs are forgotten");
    }
}
