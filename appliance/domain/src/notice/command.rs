//! What can be asked of this room.

use super::{DeadLetter, Delivery, Webhook};
use crate::id::WebhookId;

/// A command about those who are told.
#[derive(Clone, Debug, PartialEq)]
pub enum NoticeCommand {
    /// `done`: the place in the log from which on it is told. `most`: how many a project may have.
    AddWebhook {
        webhook: Box<Webhook>,
        done: u64,
        most: usize,
    },
    RemoveWebhook {
        id: WebhookId,
    },
    /// One more try for what was given up; `event`: `None`: for all of it.
    Redeliver {
        id: WebhookId,
        event: Option<u64>,
    },
    /// So far it was told now.
    Note(Delivery),
    /// An event is given up; the newest `keep` of the webhook stay known.
    Bury {
        letter: Box<DeadLetter>,
        keep: usize,
    },
    /// The one more try has been made: why it failed, if it did.
    Tried {
        id: WebhookId,
        event: u64,
        failure: Option<String>,
    },
}

impl NoticeCommand {
    /// The name for audit, log and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            NoticeCommand::AddWebhook { .. } => "create-webhook",
            NoticeCommand::RemoveWebhook { .. } => "delete-webhook",
            NoticeCommand::Redeliver { .. } => "redeliver-webhook",
            NoticeCommand::Note(_) => "note-delivery",
            NoticeCommand::Bury { .. } => "bury-delivery",
            NoticeCommand::Tried { .. } => "note-redelivery",
        }
    }

    /// The id of what it is about.
    pub fn subject(&self) -> String {
        let id = match self {
            NoticeCommand::AddWebhook { webhook, .. } => webhook.id,
            NoticeCommand::RemoveWebhook { id }
            | NoticeCommand::Redeliver { id, .. }
            | NoticeCommand::Tried { id, .. } => *id,
            NoticeCommand::Note(delivery) => delivery.webhook,
            NoticeCommand::Bury { letter, .. } => letter.webhook,
        };
        id.to_string()
    }
}
