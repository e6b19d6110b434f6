//! The rows of this room and what they are found by.

use super::{DeadLetter, Delivery, Webhook};
use crate::id::WebhookId;
use crate::rows::{Row, RowKey, Rows, key_bytes};
use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use uuid::Uuid;

/// A row of the room.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum NoticeRow {
    Webhook(Arc<Webhook>),
    Delivery(Arc<Delivery>),
    DeadLetter(Arc<DeadLetter>),
}

/// Which row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoticeKey {
    Webhook(WebhookId),
    Delivery(WebhookId),
    DeadLetter(WebhookId, u64),
}

impl Row for NoticeRow {
    type Key = NoticeKey;

    fn key(&self) -> NoticeKey {
        match self {
            NoticeRow::Webhook(row) => NoticeKey::Webhook(row.id),
            NoticeRow::Delivery(row) => NoticeKey::Delivery(row.webhook),
            NoticeRow::DeadLetter(row) => NoticeKey::DeadLetter(row.webhook, row.event),
        }
    }
}

impl RowKey for NoticeKey {
    fn bytes(&self) -> Vec<u8> {
        match self {
            NoticeKey::Webhook(id) => key_bytes(1, &[id.0.as_bytes()]),
            NoticeKey::Delivery(id) => key_bytes(2, &[id.0.as_bytes()]),
            NoticeKey::DeadLetter(id, event) => key_bytes(3, &[id.0.as_bytes(), &event.to_be_bytes()]),
        }
    }
}

/// All rows of the room.
#[derive(Clone, Debug, Default)]
pub struct Notices {
    webhooks: OrdMap<WebhookId, Arc<Webhook>>,
    /// By project; `None`: of the whole box.
    of_projects: OrdSet<(Option<String>, WebhookId)>,
    deliveries: OrdMap<WebhookId, Arc<Delivery>>,
    dead: OrdMap<(WebhookId, u64), Arc<DeadLetter>>,
}

impl Notices {
    pub fn webhook(&self, id: WebhookId) -> Option<&Arc<Webhook>> {
        self.webhooks.get(&id)
    }

    pub fn webhooks(&self) -> impl Iterator<Item = &Arc<Webhook>> {
        self.webhooks.values()
    }

    /// Those of a project, or of the whole box.
    pub fn webhooks_of(&self, project: Option<&str>) -> impl Iterator<Item = &Arc<Webhook>> {
        let project = project.map(str::to_owned);
        let range = (project.clone(), WebhookId(Uuid::nil()))..=(project, WebhookId(Uuid::max()));
        self.of_projects.range(range).filter_map(|(_, id)| self.webhooks.get(id))
    }

    pub fn delivery(&self, id: WebhookId) -> Option<&Arc<Delivery>> {
        self.deliveries.get(&id)
    }

    pub fn dead_letter(&self, id: WebhookId, event: u64) -> Option<&Arc<DeadLetter>> {
        self.dead.get(&(id, event))
    }

    /// What was given up of a webhook, oldest first.
    pub fn dead_letters(&self, id: WebhookId) -> impl Iterator<Item = &Arc<DeadLetter>> {
        self.dead.range((id, 0)..=(id, u64::MAX)).map(|(_, letter)| letter)
    }

    pub(crate) fn apply(&mut self, change: &Rows<NoticeRow>) {
        match change {
            Rows::Put(NoticeRow::Webhook(row)) => {
                self.forget(row.id);
                self.of_projects.insert((row.project.clone(), row.id));
                self.webhooks.insert(row.id, row.clone());
            }
            Rows::Put(NoticeRow::Delivery(row)) => {
                self.deliveries.insert(row.webhook, row.clone());
            }
            Rows::Put(NoticeRow::DeadLetter(row)) => {
                self.dead.insert((row.webhook, row.event), row.clone());
            }
            Rows::Delete(NoticeKey::Webhook(id)) => self.forget(*id),
            Rows::Delete(NoticeKey::Delivery(id)) => {
                self.deliveries.remove(id);
            }
            Rows::Delete(NoticeKey::DeadLetter(id, event)) => {
                self.dead.remove(&(*id, *event));
            }
        }
    }

    fn forget(&mut self, id: WebhookId) {
        if let Some(old) = self.webhooks.remove(&id) {
            self.of_projects.remove(&(old.project.clone(), id));
        }
    }
}
