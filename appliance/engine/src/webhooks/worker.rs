//! One webhook's worker: reads on, delivers in order, pauses after a failure, gives up in the end.

use super::send::Message;
use super::sign::signature;
use super::{Shared, seal_context};
use crate::events::{Reader, is_wanted};
use jiff::{SignedDuration, Timestamp};
use leasehold_domain::id::{ProjectId, WebhookId};
use leasehold_domain::identity::parse_id;
use leasehold_domain::notice::{DeadLetter, Delivery, Failing, NoticeCommand, Webhook};
use leasehold_domain::{Actor, Command, View};
use leasehold_store::{Cursor, CursorError, EventsFrom, ReadError, Recorded};
use ring::rand::{SecureRandom, SystemRandom};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

/// Events that are read together.
const AT_ONCE: usize = 50;
/// Fewer tries than this are no reason to give up, however long the program was down meanwhile.
const LEAST_TRIES: u32 = 3;
/// How often it is written down how far a webhook was told that is told all the time: after a crash it is told as much again.
const NOTE_EVERY: Duration = Duration::from_secs(1);
/// Events of others that may lie behind a webhook's durable place: far fewer than the log keeps at least.
const BEHIND: u64 = 2000;
const NOT_KEPT: &str = "the event is no longer kept";
const NO_SECRET: &str = "the webhook's secret is none: remove it and make it anew";
/// Before it is tried again what the store could not do.
const PAUSE: Duration = Duration::from_secs(5);

pub(super) struct Worker {
    shared: Arc<Shared>,
    id: WebhookId,
    wake: Arc<Notify>,
    /// For the requests of its project.
    places: Arc<Semaphore>,
    noted: Instant,
    /// The last that was delivered is longer ago than the last that was given up.
    gave_up: bool,
    /// Not before this moment is the next one tried again.
    pause: Option<Instant>,
}

/// What became of a look at the log.
enum Look {
    /// There may be more.
    Again,
    /// There is nothing, until somebody wakes it, or for long.
    Rest,
    /// Not before then.
    Until(Instant),
}

/// What became of a delivery.
enum Went {
    Told,
    /// Why, in words for whose webhook it is.
    Failed(String),
    /// The project was closed, or the webhook removed, before it was its turn.
    Closed,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, id: WebhookId, wake: Arc<Notify>, places: Arc<Semaphore>) -> Worker {
        Worker { shared, id, wake, places, noted: Instant::now(), gave_up: false, pause: None }
    }

    /// Runs until the webhook is removed.
    pub(super) async fn run(mut self) {
        loop {
            let view = self.shared.store.view();
            let Some(webhook) = view.notices.webhook(self.id).cloned() else { return };
            let look = match is_open(&view, &webhook) {
                true => self.look(&view, &webhook).await,
                // A project that is closed is told nothing; when it is opened again, all of it.
                false => Look::Rest,
            };
            // Whoever sleeps long must not keep what was then.
            drop(view);
            match look {
                Look::Again => {}
                Look::Rest => self.rest(Instant::now() + self.shared.settings.look_every).await,
                Look::Until(moment) => self.rest(moment).await,
            }
        }
    }

    /// Until it is woken, or this moment comes.
    async fn rest(&self, moment: Instant) {
        tokio::select! {
            () = self.wake.notified() => {}
            () = tokio::time::sleep_until(moment) => {}
        }
    }

    async fn look(&mut self, view: &View, webhook: &Webhook) -> Look {
        let letter = view.notices.dead_letters(self.id).find(|letter| letter.again).cloned();
        if let Some(letter) = letter {
            let failure = match self.once_more(&letter).await {
                Went::Told => None,
                Went::Failed(why) => Some(why),
                Went::Closed => return Look::Rest,
            };
            let tried = NoticeCommand::Tried { id: self.id, event: letter.event, failure };
            return if self.give(tried).await { Look::Again } else { Look::Until(Instant::now() + PAUSE) };
        }
        if let Some(moment) = self.pause.filter(|moment| *moment > Instant::now()) {
            return Look::Until(moment);
        }
        let Some(delivery) = view.notices.delivery(self.id).cloned() else { return Look::Rest };
        self.read(webhook, (*delivery).clone()).await
    }

    /// Reads on from where it is, and delivers what it finds.
    async fn read(&mut self, webhook: &Webhook, mut delivery: Delivery) -> Look {
        let store = self.shared.store.clone();
        let told = self.reader(webhook);
        let (kinds, by) = (webhook.kinds.clone(), told.by());
        let wanted =
            move |event: &leasehold_domain::event::Event| is_wanted(&kinds, event.what.kind()) && told.is_told(event);
        let begin = delivery.done;
        let from = EventsFrom::After(Some(Cursor::from_number(begin)));
        let page = match store.events_of(by, from, AT_ONCE, wanted).await {
            Ok(page) => page,
            Err(ReadError::Cursor(CursorError::TooOld)) => return self.skip(delivery).await,
            Err(error) => {
                tracing::warn!(%error, webhook = %self.id, "events cannot be read for a webhook");
                return Look::Until(Instant::now() + PAUSE);
            }
        };
        let mut unnoted = false;
        for recorded in &page.events {
            match self.deliver(recorded).await {
                Went::Told => {
                    let failed_before = delivery.failing.take().is_some();
                    delivery.done = recorded.cursor.number();
                    delivery.delivered_at = Some(store.now());
                    (self.pause, self.gave_up) = (None, false);
                    unnoted = true;
                    if failed_before || self.noted.elapsed() >= NOTE_EVERY {
                        unnoted = !self.note(&delivery).await;
                    }
                }
                Went::Failed(why) => return self.failed(delivery, recorded, why).await,
                Went::Closed => {
                    if unnoted {
                        self.note(&delivery).await;
                    }
                    return Look::Rest;
                }
            }
        }
        delivery.done = page.next.number().max(delivery.done);
        // What is others' is not worth a write each time, but now and then.
        let past = delivery.done.saturating_sub(begin);
        let far = past >= BEHIND || (past > 0 && self.noted.elapsed() >= self.shared.settings.look_every);
        if (unnoted || far) && !self.note(&delivery).await {
            return Look::Until(Instant::now() + PAUSE);
        }
        if page.more { Look::Again } else { Look::Rest }
    }

    fn reader(&self, webhook: &Webhook) -> Reader {
        Reader::of_project((self.shared.rules)(), webhook.project.as_deref())
    }

    /// The log has lost events that were still to be delivered: that is noted, and it goes on with the oldest.
    async fn skip(&mut self, mut delivery: Delivery) -> Look {
        let store = self.shared.store.clone();
        let oldest = store.events_after(None, 1, |_| true).await;
        let Ok(oldest) = oldest else { return Look::Until(Instant::now() + PAUSE) };
        let first = oldest.events.first().map_or(store.newest_cursor().number() + 1, |event| event.cursor.number());
        delivery.done = first.saturating_sub(1);
        delivery.missed_at = Some(store.now());
        if self.note(&delivery).await { Look::Again } else { Look::Until(Instant::now() + PAUSE) }
    }

    /// A failure: a pause, or the end of it.
    async fn failed(&mut self, mut delivery: Delivery, recorded: &Recorded, why: String) -> Look {
        let now = self.shared.store.now();
        let before = delivery.failing.take();
        let tries = before.as_ref().map_or(0, |failing| failing.tries).saturating_add(1);
        let since = before.map_or(now, |failing| failing.since);
        let settings = &self.shared.settings;
        let give_up = SignedDuration::try_from(settings.give_up).unwrap_or(SignedDuration::MAX);
        // By the event's age: what came while a receiver was gone is not each tried for a day after the other.
        // Once one was given up, nobody is there until one comes through again: the others that are as old get one try.
        let least = if self.gave_up { 1 } else { LEAST_TRIES };
        if tries >= least && recorded.event.at.duration_until(now) >= give_up {
            let letter = DeadLetter {
                webhook: self.id,
                event: recorded.cursor.number(),
                kind: recorded.event.what.kind().into(),
                at: recorded.event.at,
                tries,
                died_at: now,
                why: why.clone(),
                again: false,
            };
            let keep = settings.keep;
            if self.give(NoticeCommand::Bury { letter: Box::new(letter), keep }).await {
                tracing::warn!(webhook = %self.id, why, tries, "an event cannot be delivered and is given up");
                self.gave_up = true;
                let delivery = Delivery { done: recorded.cursor.number(), ..delivery };
                self.note(&delivery).await;
            }
            // The next one's turn, after as long a pause.
            return self.rest_after(tries);
        }
        delivery.failing = Some(Failing { since, tries, why });
        self.note(&delivery).await;
        self.rest_after(tries)
    }

    fn rest_after(&mut self, tries: u32) -> Look {
        let moment = Instant::now() + pause(&self.shared.settings, tries);
        self.pause = Some(moment);
        Look::Until(moment)
    }

    /// One more try for what was given up.
    async fn once_more(&self, letter: &DeadLetter) -> Went {
        let before = Some(Cursor::from_number(letter.event.saturating_sub(1)));
        let page = match self.shared.store.events_after(before, 1, |_| true).await {
            Ok(page) => page,
            Err(ReadError::Cursor(CursorError::TooOld)) => return Went::Failed(NOT_KEPT.into()),
            Err(error) => {
                tracing::warn!(%error, webhook = %self.id, "an event cannot be read for a webhook");
                return Went::Failed("the event could not be read".into());
            }
        };
        match page.events.first().filter(|recorded| recorded.cursor.number() == letter.event) {
            Some(recorded) => self.deliver(recorded).await,
            None => Went::Failed(NOT_KEPT.into()),
        }
    }

    /// Delivers one event when it is its turn; nothing, if its webhook is not told of it by the rules of that moment.
    async fn deliver(&self, recorded: &Recorded) -> Went {
        // First its project's, so that who waits for that holds up nobody else's.
        let (Ok(_own), Ok(_place)) = (self.places.acquire().await, self.shared.under_way.acquire().await) else {
            return Went::Closed;
        };
        let Some(webhook) = self.open_now() else { return Went::Closed };
        let Some(document) = self.reader(&webhook).document(&self.shared.store, recorded) else { return Went::Told };
        match self.signed(&webhook, recorded, document.to_string()) {
            Ok(message) => match self.shared.sender.send(&webhook.url, &message).await {
                Ok(()) => Went::Told,
                Err(why) => Went::Failed(why),
            },
            Err(why) => Went::Failed(why.into()),
        }
    }

    /// The webhook, if it is one now, and its project has not been closed.
    fn open_now(&self) -> Option<Arc<Webhook>> {
        let view = self.shared.store.view();
        view.notices.webhook(self.id).filter(|webhook| is_open(&view, webhook)).cloned()
    }

    fn signed(&self, webhook: &Webhook, recorded: &Recorded, body: String) -> Result<Message, &'static str> {
        let context = seal_context(webhook.id);
        let context: Vec<&[u8]> = context.iter().map(Vec::as_slice).collect();
        let secret = self.shared.sealer.open_sealed(&webhook.secret, &context).map_err(|error| {
            tracing::warn!(%error, webhook = %self.id, "the secret of a webhook cannot be opened");
            NO_SECRET
        })?;
        let id = self.shared.store.cursor_text(recorded.cursor);
        // The moment of the try, by which receivers turn away what is sent again by others later.
        let timestamp = Timestamp::now().as_second();
        let signed = secret.as_str().and_then(|secret| signature(secret, &id, timestamp, &body));
        Ok(Message { id, timestamp, signature: signed.ok_or(NO_SECRET)?, body })
    }

    /// Writes down how far it was told. Gives whether the store took it.
    async fn note(&mut self, delivery: &Delivery) -> bool {
        self.noted = Instant::now();
        self.give(NoticeCommand::Note(delivery.clone())).await
    }

    async fn give(&self, command: NoticeCommand) -> bool {
        match self.shared.store.submit(Command::Notice(command), Actor::System("webhooks")).await {
            Ok(_) => true,
            // The webhook was removed: the next look sees that.
            Err(leasehold_store::SubmitError::Refused(_)) => true,
            Err(error) => {
                tracing::warn!(%error, webhook = %self.id, "how a delivery went cannot be stored now");
                false
            }
        }
    }
}

/// The project whose webhook it is has not been closed.
fn is_open(view: &View, webhook: &Webhook) -> bool {
    match &webhook.project {
        None => true,
        Some(project) => parse_id(project).is_some_and(|id| view.identity.is_open(ProjectId(id))),
    }
}

/// Twice as long after each failure, up to the longest; half of it by chance, so that many do not come together.
fn pause(settings: &super::Settings, tries: u32) -> Duration {
    let doubled = 2_u32.checked_pow(tries.saturating_sub(1)).unwrap_or(u32::MAX);
    let full = settings.first_pause.saturating_mul(doubled).min(settings.longest_pause);
    let mut byte = [128_u8];
    // Without chance it is the middle.
    let _ = SystemRandom::new().fill(&mut byte);
    full / 2 + full.mul_f64(f64::from(byte[0]) / 512.0)
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_differ() {
        let settings = Settings::default();
        for (tries, full) in [(1, 5), (2, 10), (4, 40), (20, 3600), (u32::MAX, 3600)] {
            let pauses: Vec<f64> = (0..50).map(|_| pause(&settings, tries).as_secs_f64()).collect();
            let full = f64::from(full);
            assert!(pauses.iter().all(|pause| (full / 2.0..=full).contains(pause)), "{tries}: {pauses:?}");
            assert!(pauses.iter().any(|pause| *pause != pauses[0]));
        }
    }
}
