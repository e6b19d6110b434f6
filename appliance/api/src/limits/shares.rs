//! How many changes of one user are with the committer at a time; his others wait in their order.

use leasehold_domain::id::UserId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The shares of all users; who has no change under way is not in it.
#[derive(Debug)]
pub(super) struct Shares {
    each: usize,
    users: Mutex<HashMap<UserId, Arc<Semaphore>>>,
}

impl Shares {
    pub(super) fn new(each: usize) -> Arc<Shares> {
        Arc::new(Shares { each, users: Mutex::default() })
    }

    /// Waits until one more may be under way.
    pub(super) async fn enter(self: &Arc<Self>, user: UserId) -> Share {
        let semaphore = {
            let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
            users.entry(user).or_insert_with(|| Arc::new(Semaphore::new(self.each))).clone()
        };
        // From here on, so that who gives up leaves nothing behind.
        let mut share = Share { shares: self.clone(), user, semaphore, permit: None };
        // It is never closed.
        share.permit = share.semaphore.clone().acquire_owned().await.ok();
        share
    }
}

/// A change under way.
#[derive(Debug)]
pub(crate) struct Share {
    shares: Arc<Shares>,
    user: UserId,
    semaphore: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.permit = None;
        let mut users = self.shares.users.lock().unwrap_or_else(PoisonError::into_inner);
        // One is the map's and one is ours: nobody else has it or waits.
        if Arc::strong_count(&self.semaphore) <= 2 {
            users.remove(&self.user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use uuid::Uuid;

    #[tokio::test]
    async fn one_waits_for_his_own_only_and_leaves_nothing() {
        let shares = Shares::new(2);
        let (ada, bob) = (UserId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2)));
        let first = shares.enter(ada).await;
        let second = shares.enter(ada).await;
        let mut third = Box::pin(shares.enter(ada));
        assert!((&mut third).now_or_never().is_none());
        drop(shares.enter(bob).await);
        drop(first);
        let third = third.await;
        let gone = Box::pin(shares.enter(ada));
        drop(gone);
        drop((second, third));
        assert!(shares.users.lock().expect("not poisoned").is_empty());
    }
}
