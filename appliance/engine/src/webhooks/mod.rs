//! Webhooks: the events of a project, sent to a URL as they happen, signed, in their order, each at least once.
//!
//! In: the log of events, the rows of [`leasehold_domain::notice`], the rules in force. Out: requests, and rows that say how
//! far each webhook was told. Each has a worker of its own, which reads the log from its durable place on: a receiver that is
//! slow or gone holds up nobody else, and a restart goes on where it was. What cannot be delivered is tried again, after
//! longer and longer pauses, and given up in the end: then it is a dead letter, and the next one's turn.

mod send;
mod sign;
#[cfg(test)]
mod tests;
mod worker;
mod workers;

pub use sign::new_secret;

use crate::images::{Network, never_fetched_from, private_networks};
use leasehold_domain::id::{ProjectId, WebhookId};
use leasehold_domain::identity::{IdentityKey, parse_id};
use leasehold_domain::notice::NoticeCommand;
use leasehold_domain::policy::Policy;
use leasehold_domain::rows::Rows;
use leasehold_domain::{Actor, Change, Command};
use leasehold_store::{News, Sealer, Store};
use send::Sender;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use workers::Workers;

/// The rules in force when it is asked.
pub type Rules = Arc<dyn Fn() -> Arc<Policy> + Send + Sync>;

/// Requests under way at a time, of all webhooks.
const AT_ONCE: usize = 256;
/// … and of those of one project, so that the slow receivers of some leave room for others.
const OF_A_PROJECT: usize = 4;

/// How webhooks are told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where nothing is sent to.
    pub forbidden: Vec<Network>,
    /// What lies there and is sent to all the same.
    pub allowed: Vec<Network>,
    /// `http://` is good, too: whoever is on the way reads, and cannot change, what is sent.
    pub plain_http: bool,
    /// How many a project may have.
    pub most: usize,
    /// A receiver has so long to answer.
    pub patience: Duration,
    /// The pause after the first failure; each next one is twice as long …
    pub first_pause: Duration,
    /// … up to this.
    pub longest_pause: Duration,
    /// What could not be delivered so long after it happened is given up, after some tries at least.
    pub give_up: Duration,
    /// What was given up and stays known, of each webhook.
    pub keep: usize,
    /// So often the log is looked at although nobody says that there is anything: so the place of a webhook whose project
    /// is quiet does not stay behind what the log keeps.
    pub look_every: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            forbidden: never_sent_to(),
            allowed: Vec::new(),
            plain_http: false,
            most: 10,
            patience: Duration::from_secs(15),
            first_pause: Duration::from_secs(5),
            longest_pause: Duration::from_secs(3600),
            give_up: Duration::from_secs(24 * 3600),
            keep: 100,
            look_every: Duration::from_secs(300),
        }
    }
}

/// Where nothing is sent to, wherever the box stands. Narrower networks of those that may be sent to all the same open
/// what is private.
pub fn never_sent_to() -> Vec<Network> {
    never_fetched_from().into_iter().chain(private_networks()).collect()
}

/// What all workers share.
pub(crate) struct Shared {
    store: Store,
    sealer: Arc<Sealer>,
    rules: Rules,
    settings: Settings,
    sender: Sender,
    under_way: Semaphore,
}

/// Refuses at once what can be seen to be wrong with a URL, without asking anybody.
pub fn check_url(settings: &Settings, url: &str) -> Result<(), String> {
    let sender = Sender::new(&settings.forbidden, &settings.allowed, settings.plain_http, settings.patience);
    sender.check(url).map(|_| ())
}

/// What a webhook's secret is sealed for.
pub fn seal_context(id: WebhookId) -> [Vec<u8>; 2] {
    [b"webhook".to_vec(), id.0.as_bytes().to_vec()]
}

/// Runs until the store closes.
pub async fn run(store: Store, sealer: Arc<Sealer>, rules: Rules, settings: Settings) {
    let sender = Sender::new(&settings.forbidden, &settings.allowed, settings.plain_http, settings.patience);
    let under_way = Semaphore::new(AT_ONCE);
    let shared = Arc::new(Shared { store, sealer, rules, settings, sender, under_way });
    let mut feed = shared.store.subscribe();
    let mut workers = Workers::default();
    sweep(&shared.store).await;
    workers.keep(&shared);
    while let Some(news) = feed.next().await {
        match news {
            News::Missed => {
                sweep(&shared.store).await;
                workers.keep(&shared);
                workers.wake_all();
            }
            News::Update(update) => {
                let is_gone =
                    |change: &Change| matches!(change, Change::Identity(Rows::Delete(IdentityKey::Project(_))));
                if update.changes.iter().any(is_gone) {
                    sweep(&shared.store).await;
                }
                workers.tell(&shared, &update);
            }
        }
    }
}

/// Removes the webhooks of projects that are gone.
async fn sweep(store: &Store) {
    let view = store.view();
    let is_gone = |project: &String| parse_id(project).is_none_or(|id| view.identity.project(ProjectId(id)).is_none());
    for webhook in view.notices.webhooks().filter(|webhook| webhook.project.as_ref().is_some_and(is_gone)) {
        let remove = Command::Notice(NoticeCommand::RemoveWebhook { id: webhook.id });
        if let Err(error) = store.submit(remove, Actor::System("webhooks")).await {
            tracing::warn!(%error, webhook = %webhook.id, "the webhook of a project that is gone stays for now");
        }
    }
}
