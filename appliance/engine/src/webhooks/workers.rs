//! The workers of all webhooks, by project, and what wakes them.

use super::worker::Worker;
use super::{OF_A_PROJECT, Shared};
use crate::events::{Reader, may_be_of};
use leasehold_domain::Change;
use leasehold_domain::id::WebhookId;
use leasehold_domain::identity::IdentityRow;
use leasehold_domain::notice::{NoticeKey, NoticeRow};
use leasehold_domain::rows::Rows;
use leasehold_store::Update;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::{Notify, Semaphore};
use tokio::task::AbortHandle;

/// A worker that runs; it ends when this is dropped.
struct Running {
    wake: Arc<Notify>,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Those of a project.
struct OfProject {
    /// Places for its requests under way.
    places: Arc<Semaphore>,
    running: HashMap<WebhookId, Running>,
}

impl OfProject {
    fn wake(&self) {
        self.running.values().for_each(|worker| worker.wake.notify_one());
    }
}

/// The workers by project; `None`: of the whole box.
#[derive(Default)]
pub(super) struct Workers(HashMap<Option<String>, OfProject>);

impl Workers {
    /// A worker for each webhook, and none for what is no webhook any more.
    pub(super) fn keep(&mut self, shared: &Arc<Shared>) {
        let view = shared.store.view();
        for of_project in self.0.values_mut() {
            of_project.running.retain(|id, _| view.notices.webhook(*id).is_some());
        }
        self.0.retain(|_, of_project| !of_project.running.is_empty());
        for webhook in view.notices.webhooks() {
            let places = || OfProject { places: Arc::new(Semaphore::new(OF_A_PROJECT)), running: HashMap::new() };
            let of_project = self.0.entry(webhook.project.clone()).or_insert_with(places);
            of_project.running.entry(webhook.id).or_insert_with(|| {
                let wake = Arc::new(Notify::new());
                let worker = Worker::new(shared.clone(), webhook.id, wake.clone(), of_project.places.clone());
                Running { wake, task: tokio::spawn(worker.run()).abort_handle() }
            });
        }
    }

    pub(super) fn wake_all(&self) {
        self.0.values().for_each(OfProject::wake);
    }

    /// Wakes those whom an update may be about. How far a webhook was told, and that somebody logged in, is about none.
    pub(super) fn tell(&mut self, shared: &Arc<Shared>, update: &Update) {
        for change in &update.changes {
            match change {
                Change::Notice(rows) if matches!(rows.key(), NoticeKey::Webhook(_)) => self.keep(shared),
                // Somebody asks for one more try.
                Change::Notice(Rows::Put(NoticeRow::DeadLetter(letter))) if letter.again => {
                    let worker = self.0.values().find_map(|of_project| of_project.running.get(&letter.webhook));
                    worker.into_iter().for_each(|worker| worker.wake.notify_one());
                }
                // One was closed or opened, and with it all below it.
                Change::Identity(Rows::Put(IdentityRow::Project(_))) => self.wake_all(),
                _ => {}
            }
        }
        if update.events.is_empty() {
            return;
        }
        for (project, of_project) in &self.0 {
            let by = Reader::of_project((shared.rules)(), project.as_deref()).by();
            if update.events.iter().any(|recorded| may_be_of(&by, &recorded.event)) {
                of_project.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::send::Sender;
    use super::super::{Rules, Settings};
    use super::*;
    use jiff::Timestamp;
    use leasehold_domain::event::{Event, What};
    use leasehold_domain::id::{ProjectId, RoleId};
    use leasehold_domain::identity::{Project, Role};
    use leasehold_domain::notice::{DeadLetter, Delivery};
    use leasehold_domain::policy::Policy;
    use leasehold_store::{Cursor, KeySource, Options, Recorded, Sealer, Store};
    use std::time::Duration;
    use uuid::Uuid;

    const NAMES: [Option<&str>; 3] = [Some("a"), Some("b"), None];

    fn id(number: usize) -> WebhookId {
        WebhookId(Uuid::from_u128(number as u128))
    }

    fn shared(folder: &std::path::Path) -> Arc<Shared> {
        let settings = Settings::default();
        let sender = Sender::new(&[], &[], false, settings.patience);
        let sealer = Arc::new(Sealer::open(&KeySource::File(folder.join("key"))).expect("a key"));
        let store = Store::open(folder, Options::default()).expect("a store");
        let rules: Rules = Arc::new(|| Arc::new(Policy::default()));
        Arc::new(Shared { store, sealer, rules, settings, sender, under_way: Semaphore::new(1) })
    }

    /// Two workers of each, that only sleep.
    fn asleep() -> Workers {
        let running = || Running {
            wake: Arc::new(Notify::new()),
            task: tokio::spawn(std::future::pending::<()>()).abort_handle(),
        };
        let of_project = |(at, name): (usize, &Option<&str>)| {
            let running = (0..2).map(|one| (id(2 * at + one), running())).collect();
            (name.map(str::to_owned), OfProject { places: Arc::new(Semaphore::new(1)), running })
        };
        Workers(NAMES.iter().enumerate().map(of_project).collect())
    }

    async fn woken(workers: &Workers) -> Vec<usize> {
        let mut woken = Vec::new();
        for at in 0..2 * NAMES.len() {
            let worker = workers.0.values().find_map(|of_project| of_project.running.get(&id(at))).expect("one");
            if tokio::time::timeout(Duration::ZERO, worker.wake.notified()).await.is_ok() {
                woken.push(at);
            }
        }
        woken
    }

    #[tokio::test]
    async fn only_those_are_woken_whom_an_update_may_be_about() {
        let folder = tempfile::tempdir().expect("a folder");
        let shared = shared(folder.path());
        let mut workers = asleep();
        let change = |change: Change| Update { snapshot: 1, changes: vec![change], events: Vec::new() };
        let role = Role { id: RoleId(Uuid::nil()), name: "x".into(), description: String::new(), built_in: false };
        let told = Delivery { webhook: id(0), done: 7, delivered_at: None, failing: None, missed_at: None };
        let letter = |again| DeadLetter {
            webhook: id(3),
            event: 1,
            kind: "node.created".into(),
            at: Timestamp::UNIX_EPOCH,
            tries: 3,
            died_at: Timestamp::UNIX_EPOCH,
            why: String::new(),
            again,
        };
        let project = Project {
            id: ProjectId(Uuid::nil()),
            name: "x".into(),
            description: String::new(),
            domain: ProjectId(Uuid::nil()),
            parent: None,
            enabled: false,
            tags: Vec::new(),
            created_at: Timestamp::UNIX_EPOCH,
        };
        let letter = |again| Change::Notice(Rows::Put(NoticeRow::DeadLetter(Arc::new(letter(again)))));
        let event = |owner: &str| {
            let owner = Some(owner.to_owned());
            let event = Event { at: Timestamp::UNIX_EPOCH, node: None, owner, lessee: None, what: What::NodeChanged };
            let events = vec![Recorded { cursor: Cursor::from_number(1), event: Arc::new(event) }];
            Update { snapshot: 1, changes: Vec::new(), events }
        };
        for (name, update, expected) in [
            // As a login is one.
            ("identity", change(Change::Identity(Rows::Put(IdentityRow::Role(Arc::new(role))))), vec![]),
            ("note", change(Change::Notice(Rows::Put(NoticeRow::Delivery(Arc::new(told))))), vec![]),
            ("given up", change(letter(false)), vec![]),
            ("once more", change(letter(true)), vec![3]),
            (
                "project",
                change(Change::Identity(Rows::Put(IdentityRow::Project(Arc::new(project))))),
                vec![0, 1, 2, 3, 4, 5],
            ),
            ("event of a", event("a"), vec![0, 1, 4, 5]),
            ("event of another", event("c"), vec![4, 5]),
        ] {
            workers.tell(&shared, &update);
            assert_eq!(woken(&workers).await, expected, "{name}");
        }
    }
}
