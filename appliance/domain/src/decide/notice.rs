//! Decisions about webhooks: who is told, how far he was told, and what was given up.

use super::Room;
use crate::command::Answer;
use crate::id::WebhookId;
use crate::notice::{DeadLetter, Delivery, NoticeCommand, NoticeKey, NoticeRow, Webhook};
use crate::refusal::Refusal;
use crate::rows::Rows;
use crate::view::Change;
use std::sync::Arc;

impl Room<'_> {
    pub(super) fn notice(&mut self, command: &NoticeCommand) -> Result<Answer, Refusal> {
        match command {
            NoticeCommand::AddWebhook { webhook, done, most } => self.add_webhook(webhook, *done, *most)?,
            NoticeCommand::RemoveWebhook { id } => self.remove_webhook(*id)?,
            NoticeCommand::Redeliver { id, event } => self.redeliver(*id, *event)?,
            NoticeCommand::Note(delivery) => self.note_delivery(delivery)?,
            NoticeCommand::Bury { letter, keep } => self.bury(letter, *keep)?,
            NoticeCommand::Tried { id, event, failure } => self.tried(*id, *event, failure.as_deref())?,
        }
        Ok(Answer::Done)
    }

    fn put_notice(&mut self, row: NoticeRow) {
        self.changes.push(Change::Notice(Rows::Put(row)));
    }

    fn delete_notice(&mut self, key: NoticeKey) {
        self.changes.push(Change::Notice(Rows::Delete(key)));
    }

    fn webhook(&self, id: WebhookId) -> Result<&Arc<Webhook>, Refusal> {
        let missing = || Refusal::NotFound { what: "Webhook", name: id.to_string() };
        self.view.notices.webhook(id).ok_or_else(missing)
    }

    fn add_webhook(&mut self, webhook: &Webhook, done: u64, most: usize) -> Result<(), Refusal> {
        if self.view.notices.webhook(webhook.id).is_some() {
            return Err(Refusal::Exists { what: "Webhook", name: webhook.id.to_string() });
        }
        let has = self.view.notices.webhooks_of(webhook.project.as_deref()).count();
        if has >= most {
            return Err(Refusal::InUse(format!("There are {has} webhooks, and may be {most}: remove one.")));
        }
        self.put_notice(NoticeRow::Webhook(Arc::new(webhook.clone())));
        let delivery = Delivery { webhook: webhook.id, done, delivered_at: None, failing: None, missed_at: None };
        self.put_notice(NoticeRow::Delivery(Arc::new(delivery)));
        Ok(())
    }

    fn remove_webhook(&mut self, id: WebhookId) -> Result<(), Refusal> {
        self.webhook(id)?;
        let letters: Vec<u64> = self.view.notices.dead_letters(id).map(|letter| letter.event).collect();
        for event in letters {
            self.delete_notice(NoticeKey::DeadLetter(id, event));
        }
        self.delete_notice(NoticeKey::Delivery(id));
        self.delete_notice(NoticeKey::Webhook(id));
        Ok(())
    }

    fn redeliver(&mut self, id: WebhookId, event: Option<u64>) -> Result<(), Refusal> {
        self.webhook(id)?;
        let letters: Vec<DeadLetter> = match event {
            Some(event) => vec![self.letter(id, event)?],
            None => self.view.notices.dead_letters(id).map(|letter| (**letter).clone()).collect(),
        };
        for letter in letters {
            self.put_notice(NoticeRow::DeadLetter(Arc::new(DeadLetter { again: true, ..letter })));
        }
        Ok(())
    }

    fn letter(&self, id: WebhookId, event: u64) -> Result<DeadLetter, Refusal> {
        let missing = || Refusal::NotFound { what: "Dead letter of webhook", name: id.to_string() };
        self.view.notices.dead_letter(id, event).map(|letter| (**letter).clone()).ok_or_else(missing)
    }

    fn note_delivery(&mut self, delivery: &Delivery) -> Result<(), Refusal> {
        self.webhook(delivery.webhook)?;
        // What was done is not done again, whoever says so late.
        if self.view.notices.delivery(delivery.webhook).is_some_and(|known| known.done > delivery.done) {
            return Err(Refusal::Stale);
        }
        self.put_notice(NoticeRow::Delivery(Arc::new(delivery.clone())));
        Ok(())
    }

    fn bury(&mut self, letter: &DeadLetter, keep: usize) -> Result<(), Refusal> {
        let id = letter.webhook;
        self.webhook(id)?;
        let known = self.view.notices.delivery(id).ok_or(Refusal::Stale)?;
        if known.done >= letter.event {
            return Err(Refusal::Stale);
        }
        let delivery = Delivery { done: letter.event, ..(**known).clone() };
        let letters: Vec<u64> = self.view.notices.dead_letters(id).map(|letter| letter.event).collect();
        let beyond = (letters.len() + 1).saturating_sub(keep.max(1));
        for event in letters.into_iter().take(beyond) {
            self.delete_notice(NoticeKey::DeadLetter(id, event));
        }
        self.put_notice(NoticeRow::DeadLetter(Arc::new(letter.clone())));
        self.put_notice(NoticeRow::Delivery(Arc::new(delivery)));
        Ok(())
    }

    fn tried(&mut self, id: WebhookId, event: u64, failure: Option<&str>) -> Result<(), Refusal> {
        let letter = self.letter(id, event)?;
        match failure {
            None => self.delete_notice(NoticeKey::DeadLetter(id, event)),
            Some(why) => {
                let tries = letter.tries.saturating_add(1);
                let letter = DeadLetter { again: false, tries, why: why.to_owned(), ..letter };
                self.put_notice(NoticeRow::DeadLetter(Arc::new(letter)));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::command::{Actor, Command, Context};
    use crate::id::WebhookId;
    use crate::node::Sealed;
    use crate::notice::{DeadLetter, Delivery, Failing, NoticeCommand, Webhook};
    use crate::{Refusal, View, decide};
    use jiff::Timestamp;
    use uuid::Uuid;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn give(view: &mut View, command: NoticeCommand) -> Result<(), Refusal> {
        let context = Context { actor: Actor::System("test"), now: NOW };
        let decision = decide(view, &Command::Notice(command), &context)?;
        decision.changes.iter().for_each(|change| view.apply(change));
        Ok(())
    }

    fn id(number: u128) -> WebhookId {
        WebhookId(Uuid::from_u128(number))
    }

    fn add(number: u128, project: &str, most: usize) -> NoticeCommand {
        let webhook = Webhook {
            id: id(number),
            project: Some(project.into()),
            url: "https://example.org/".into(),
            kinds: Vec::new(),
            secret: Sealed(Vec::new()),
            created_by: "anna".into(),
            created_at: NOW,
        };
        NoticeCommand::AddWebhook { webhook: Box::new(webhook), done: 7, most }
    }

    fn letter(event: u64) -> NoticeCommand {
        let letter = DeadLetter {
            webhook: id(1),
            event,
            kind: "lease.active".into(),
            at: NOW,
            tries: 3,
            died_at: NOW,
            why: "no".into(),
            again: false,
        };
        NoticeCommand::Bury { letter: Box::new(letter), keep: 2 }
    }

    fn dead(view: &View) -> Vec<(u64, bool, u32)> {
        view.notices.dead_letters(id(1)).map(|letter| (letter.event, letter.again, letter.tries)).collect()
    }

    #[test]
    fn a_project_has_so_many_and_what_goes_leaves_nothing() {
        let mut view = View::default();
        give(&mut view, add(1, "own", 2)).expect("the first");
        give(&mut view, add(2, "own", 2)).expect("the second");
        assert!(matches!(give(&mut view, add(3, "own", 2)), Err(Refusal::InUse(_))));
        give(&mut view, add(4, "other", 2)).expect("another's");
        give(&mut view, letter(9)).expect("given up");
        give(&mut view, NoticeCommand::RemoveWebhook { id: id(1) }).expect("removed");
        assert_eq!((dead(&view), view.notices.delivery(id(1))), (Vec::new(), None));
        assert_eq!(view.notices.webhooks_of(Some("own")).count(), 1);
        for late in [letter(10), NoticeCommand::RemoveWebhook { id: id(1) }] {
            assert!(matches!(give(&mut view, late), Err(Refusal::NotFound { .. })));
        }
    }

    #[test]
    fn the_newest_that_were_given_up_stay_and_can_be_tried_once_more() {
        let mut view = View::default();
        give(&mut view, add(1, "own", 2)).expect("added");
        for event in 8..=10 {
            give(&mut view, letter(event)).expect("given up");
        }
        assert_eq!(give(&mut view, letter(10)), Err(Refusal::Stale), "it is behind that one");
        assert_eq!(dead(&view), [(9, false, 3), (10, false, 3)]);
        assert_eq!(view.notices.delivery(id(1)).map(|delivery| delivery.done), Some(10));
        give(&mut view, NoticeCommand::Redeliver { id: id(1), event: None }).expect("all");
        assert_eq!(dead(&view), [(9, true, 3), (10, true, 3)]);
        give(&mut view, NoticeCommand::Tried { id: id(1), event: 9, failure: None }).expect("it went");
        let failure = Some("no".to_owned());
        give(&mut view, NoticeCommand::Tried { id: id(1), event: 10, failure }).expect("it did not");
        assert_eq!(dead(&view), [(10, false, 4)]);
        let gone = NoticeCommand::Redeliver { id: id(1), event: Some(9) };
        assert!(matches!(give(&mut view, gone), Err(Refusal::NotFound { .. })));
    }

    #[test]
    fn what_was_told_stays_told() {
        let mut view = View::default();
        give(&mut view, add(1, "own", 2)).expect("added");
        let failing = Some(Failing { since: NOW, tries: 1, why: "no".into() });
        let at = |done, failing| Delivery { webhook: id(1), done, delivered_at: None, failing, missed_at: None };
        give(&mut view, NoticeCommand::Note(at(9, failing.clone()))).expect("noted");
        assert_eq!(give(&mut view, NoticeCommand::Note(at(8, None))), Err(Refusal::Stale));
        assert_eq!(view.notices.delivery(id(1)).and_then(|delivery| delivery.failing.clone()), failing);
    }
}
