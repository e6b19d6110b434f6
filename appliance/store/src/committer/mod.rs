//! The committer: the one thread that decides and writes.
//!
//! In: commands from a bounded queue. Out: commits, each of all that was queued; then the new snapshot, the feed, the
//! answers, in this order. Commands about bindings of addresses are a batch of their own and go to the journal. When the disk is full or fails, the database is closed and opened again; what a commit left
//! behind is told from its number, so that no caller is told the wrong thing.

mod housekeeping;
mod recovery;

use crate::audit::{self, AuditEntry, Refusal, Source};
use crate::batch::{Batch, Limits};
use crate::disk::Ballast;
use crate::error::{Fault, SubmitError};
use crate::event_log;
use crate::feed::Update;
use crate::journal::{Entry, Journal};
use crate::metrics::Tally;
use crate::schema::Counters;
use crate::store::{Committed, Health, Options, Shared};
use jiff::Timestamp;
use leasehold_domain::{Actor, Answer, Command, Context};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// A command on its way.
pub(crate) struct Request {
    pub(crate) command: Command,
    pub(crate) actor: Actor,
    pub(crate) answer: oneshot::Sender<Result<Committed, SubmitError>>,
    /// The place in the queue, free again when the request is dropped.
    pub(crate) _place: OwnedSemaphorePermit,
}

pub(crate) enum Message {
    Submit(Vec<Request>),
    Close,
}

pub(crate) struct Committer {
    shared: Arc<Shared>,
    receiver: Receiver<Message>,
    options: Options,
    dir: PathBuf,
    ballast: Ballast,
    journal: Journal,
    /// Of the last commit to the database.
    counters: Counters,
    /// A batch of which it is not known whether it reached the disk, until the database is open again.
    unclear: Option<Batch>,
    last_try: Instant,
    last_flush: Instant,
    last_trim: Instant,
    last_commit: Instant,
    compacted_at: u64,
}

impl Committer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        receiver: Receiver<Message>,
        options: Options,
        counters: Counters,
        dir: &Path,
        ballast: Ballast,
        journal: Journal,
    ) -> Committer {
        let now = Instant::now();
        let dir = dir.to_owned();
        let (last_try, last_flush, last_trim, last_commit) = (now, now, now, now);
        let compacted_at = counters.batch;
        Committer {
            shared,
            receiver,
            options,
            dir,
            ballast,
            journal,
            counters,
            unclear: None,
            last_try,
            last_flush,
            last_trim,
            last_commit,
            compacted_at,
        }
    }

    pub(crate) fn run(mut self) {
        // Whatever ends this thread, nobody waits for it in vain.
        let _farewell = Farewell(self.shared.clone());
        self.recover();
        loop {
            match self.receiver.recv_timeout(self.rest()) {
                Ok(Message::Submit(first)) => {
                    let (requests, closing) = self.gather(first);
                    self.handle(requests);
                    if closing {
                        break;
                    }
                }
                Ok(Message::Close) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.tend();
        }
        self.handle_rest();
        self.flush_refusals(true);
        self.fold_all();
        self.shared.base.close();
    }

    /// How long the thread may sleep.
    fn rest(&self) -> Duration {
        if self.is_ready() { self.options.gather_refusals } else { self.options.retry }
    }

    fn is_ready(&self) -> bool {
        *self.shared.health.borrow() == Health::Ready
    }

    fn set_health(&self, health: Health) {
        self.shared.health.send_if_modified(|present| {
            if *present == health {
                return false;
            }
            match &health {
                Health::Ready => tracing::info!("the store takes changes again"),
                Health::Full(why) | Health::Failing(why) => tracing::error!("the store takes no changes: {why}"),
                Health::Closed => tracing::debug!("the store is closed"),
            }
            *present = health;
            true
        });
    }

    /// All that is queued, up to the size of a batch; and whether the store is to be closed.
    fn gather(&self, first: Vec<Request>) -> (Vec<Request>, bool) {
        let mut requests = first;
        while requests.len() < self.options.batch {
            match self.receiver.try_recv() {
                Ok(Message::Submit(more)) => requests.extend(more),
                Ok(Message::Close) => return (requests, true),
                Err(_) => break,
            }
        }
        (requests, false)
    }

    /// What was queued before the end.
    fn handle_rest(&mut self) {
        // From now on nobody gets a place in the queue.
        self.shared.places.close();
        while let Ok(message) = self.receiver.try_recv() {
            if let Message::Submit(first) = message {
                let (requests, _) = self.gather(first);
                self.handle(requests);
            }
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            // Age is a matter of housekeeping.
            events: event_log::Limit {
                at_most: self.options.events.at_most,
                bytes: self.options.events_bytes,
                at_least: self.options.events.at_most,
                since: Timestamp::MIN,
            },
            audit: audit::Limit {
                at_most: self.options.audit.at_most,
                bytes: self.options.audit_bytes,
                at_least: self.options.audit.at_most,
                since: Timestamp::MIN,
            },
            jobs_per_node: self.options.jobs_per_node,
        }
    }

    /// Decides, writes, publishes and answers.
    fn handle(&mut self, requests: Vec<Request>) {
        self.watch_space();
        if !self.is_ready() && self.last_try.elapsed() >= self.options.retry {
            self.recover();
        }
        // They read nothing that the others change, nor the other way round, and the others need not wait for a fold.
        let (bindings, others): (Vec<_>, Vec<_>) = requests.into_iter().partition(|one| is_binding(&one.command));
        if !others.is_empty() {
            self.handle_batch(others, true);
        }
        if !bindings.is_empty() {
            self.handle_batch(bindings, false);
        }
    }

    fn handle_batch(&mut self, requests: Vec<Request>, with_refusals: bool) {
        let mut batch = self.new_batch();
        let mut carried_out: Vec<(Request, Answer)> = Vec::new();
        let mut refused: Vec<(Request, SubmitError)> = Vec::new();
        for request in requests {
            if let Some(error) = self.closed_to(&request.command) {
                Tally::add(&self.shared.tally.failed, 1);
                respond(request, Err(error));
                continue;
            }
            let context = Context { actor: request.actor.clone(), now: (self.options.clock)() };
            match batch.decide(self.options.rules, &request.command, &context, self.limits()) {
                Ok(answer) => carried_out.push((request, answer)),
                Err(error) => {
                    self.count(&request, &error, context.now);
                    refused.push((request, error));
                }
            }
        }
        let gathered = if with_refusals { self.take_refusals(&mut batch) } else { Vec::new() };
        let written = if batch.is_empty() { Ok(()) } else { self.commit(batch) };
        match written {
            Ok(()) => {
                Tally::add(&self.shared.tally.commands, carried_out.len());
                let view = self.shared.view.load_full();
                let snapshot = self.shared.snapshot.load(Ordering::Acquire);
                // Backwards: who gave many commands waits for the first one's answer, and then has all of them at once.
                for (request, error) in refused.into_iter().rev() {
                    respond(request, Err(error));
                }
                for (request, answer) in carried_out.into_iter().rev() {
                    respond(request, Ok(Committed { answer, view: view.clone(), snapshot }));
                }
            }
            Err(error) => {
                self.shared.refusals.lock().unwrap_or_else(PoisonError::into_inner).put_back(gathered);
                // A refusal may rest on a command of this batch that is now void.
                let requests = carried_out.into_iter().map(|(request, _)| request);
                for request in requests.chain(refused.into_iter().map(|(request, _)| request)) {
                    Tally::add(&self.shared.tally.failed, 1);
                    respond(request, Err(error.clone()));
                }
            }
        }
    }

    fn new_batch(&self) -> Batch {
        Batch::on(self.shared.view.load().as_ref().clone(), self.counters)
    }

    fn count(&self, request: &Request, error: &SubmitError, now: Timestamp) {
        let SubmitError::Refused(refusal) = error else {
            Tally::add(&self.shared.tally.failed, 1);
            return;
        };
        Tally::add(&self.shared.tally.refused, 1);
        if audit::is_audited(&request.actor) {
            let (what, subject) = audit::describe(&request.command);
            let (actor, source) = (request.actor.to_string(), Source::of(&request.actor));
            let (subject, reason) = (subject.as_deref(), refusal.to_string());
            self.shared
                .note_refusal(Refusal { actor: &actor, source: &source, what: &what, subject, reason: &reason }, now);
        }
    }

    /// Why a command is not even decided, if it is not.
    fn closed_to(&self, command: &Command) -> Option<SubmitError> {
        let health = self.shared.health.borrow().clone();
        match health {
            Health::Ready => None,
            // What makes room must be possible; it has headroom or the ballast's space to be written in.
            Health::Full(_) if frees_space(command) && self.unclear.is_none() && self.shared.base.is_open() => None,
            Health::Full(reason) => Some(SubmitError::DiskFull { reason }),
            Health::Failing(reason) => Some(SubmitError::Failed { reason }),
            Health::Closed => Some(SubmitError::Closed),
        }
    }

    /// Puts gathered refusals into the batch when it is time.
    fn take_refusals(&mut self, batch: &mut Batch) -> Vec<AuditEntry> {
        if !self.is_ready() || self.last_flush.elapsed() < self.options.gather_refusals {
            return Vec::new();
        }
        self.last_flush = Instant::now();
        let gather = self.options.gather_refusals;
        let mut refusals = self.shared.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = refusals.take(self.last_flush, gather);
        drop(refusals);
        for entry in &entries {
            batch.add_audit(entry);
        }
        entries
    }

    /// Writes gathered refusals: those that are due, or at the end all of them.
    fn flush_refusals(&mut self, all: bool) {
        if !self.is_ready() {
            return;
        }
        let mut batch = self.new_batch();
        self.last_flush = Instant::now();
        let mut refusals = self.shared.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let entries =
            if all { refusals.take_all() } else { refusals.take(self.last_flush, self.options.gather_refusals) };
        drop(refusals);
        if entries.is_empty() {
            return;
        }
        for entry in &entries {
            batch.add_audit(entry);
        }
        if self.commit(batch).is_err() {
            self.shared.refusals.lock().unwrap_or_else(PoisonError::into_inner).put_back(entries);
        }
    }

    /// Writes a batch and publishes it; or neither.
    fn commit(&mut self, mut batch: Batch) -> Result<(), SubmitError> {
        if !batch.bindings.is_empty() {
            if batch.is_bindings_only() {
                match self.append(&batch) {
                    Ok(()) => {
                        self.tell(batch);
                        return Ok(());
                    }
                    Err(fault) => tracing::warn!(%fault, "the journal of bindings failed; the database takes them"),
                }
            }
            // The journal must not have an older word on what the database is told now.
            let mut fold = self.journal.whole_fold();
            fold.addresses.extend(batch.bindings.iter().map(Entry::address));
            batch.fold(fold).map_err(|fault| SubmitError::Failed { reason: fault.to_string() })?;
        }
        match self.write(&batch) {
            Ok(()) => {
                self.publish(batch);
                Ok(())
            }
            Err(fault) => self.rescue(batch, fault),
        }
    }

    fn append(&mut self, batch: &Batch) -> Result<(), Fault> {
        let start = Instant::now();
        let result = self.journal.append(&batch.bindings);
        self.note_commit(start);
        result
    }

    fn write(&self, batch: &Batch) -> Result<(), Fault> {
        let start = Instant::now();
        let limits = self.limits();
        let result = self.shared.base.write(|transaction| batch.write(transaction, limits));
        self.note_commit(start);
        result
    }

    fn note_commit(&self, start: Instant) {
        let micros = usize::try_from(start.elapsed().as_micros()).unwrap_or(usize::MAX);
        Tally::add(&self.shared.tally.commit_micros, micros);
        Tally::add(&self.shared.tally.commits, 1);
    }

    /// The database has the batch.
    fn publish(&mut self, batch: Batch) {
        self.counters = batch.counters;
        if let Some(fold) = &batch.fold {
            self.journal.folded(fold);
        }
        self.tell(batch);
    }

    /// Shows a batch that is on the disk.
    fn tell(&mut self, batch: Batch) {
        self.last_commit = Instant::now();
        let shared = &self.shared;
        shared.view.store(Arc::new(batch.view));
        shared.next_event.store(batch.counters.next_event, Ordering::Release);
        let snapshot = shared.snapshot.fetch_add(1, Ordering::AcqRel) + 1;
        if batch.changes.is_empty() && batch.events.is_empty() {
            return;
        }
        let update = Update { snapshot, changes: batch.changes, events: batch.events };
        if let Some(feed) = shared.feed.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            // Nobody may be listening.
            let _ = feed.send(Arc::new(update));
        }
    }
}

fn respond(request: Request, result: Result<Committed, SubmitError>) {
    // The caller may have gone.
    let _ = request.answer.send(result);
}

/// Commands that change bindings and nothing else.
fn is_binding(command: &Command) -> bool {
    matches!(command, Command::Bind(_) | Command::Unbind { .. })
}

/// Commands that let a person make room on a full disk.
fn frees_space(command: &Command) -> bool {
    matches!(command, Command::DeleteImage { .. } | Command::EvictImage { .. } | Command::ImageFailed { .. })
}

/// Ends the store when the committer ends, however that happens.
struct Farewell(Arc<Shared>);

impl Drop for Farewell {
    fn drop(&mut self) {
        self.0.places.close();
        self.0.base.close();
        *self.0.feed.lock().unwrap_or_else(PoisonError::into_inner) = None;
        *self.0.lock.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.0.health.send_replace(Health::Closed);
    }
}
