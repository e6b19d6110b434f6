//! The store as the rest of the program sees it: a handle that is cheap to clone.

use crate::audit::chain::Link;
use crate::audit::{self, AuditEntry, AuditFilter, AuditPage, AuditRow, Refusals, Source, Verified};
use crate::base::Base;
use crate::committer::{Committer, Message, Request};
use crate::disk::{Ballast, Disk, RealDisk};
use crate::ended::{self, EndedBy, EndedPage, EndedPlace};
use crate::error::{Fault, OpenError, ReadError, SubmitError};
use crate::event_index::EventsBy;
use crate::event_log::{self, Cursor, CursorCipher, CursorError, EventPage, EventsFrom};
use crate::feed::{Feed, Update};
use crate::journal::{self, Journal};
use crate::live;
use crate::lock::FolderLock;
use crate::metrics::{Metrics, Tally};
use crate::schema::{self, Counters};
use arc_swap::ArcSwap;
use jiff::Timestamp;
use leasehold_domain::event::Event;
use leasehold_domain::id::{LeaseId, NodeId, OfferId};
use leasehold_domain::job::Job;
use leasehold_domain::lease::{Lease, Offer};
use leasehold_domain::view::View;
use leasehold_domain::{Actor, Answer, Command, Context, Decision, Refusal};
use redb::ReadTransaction;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;
use tokio::sync::{Semaphore, broadcast, oneshot, watch};

/// The time, from outside.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What decides: [`leasehold_domain::decide`], or a test's own.
pub type Rules = fn(&View, &Command, &Context) -> Result<Decision, Refusal>;

/// How long a sequence of records is kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Never more than this many.
    pub at_most: u64,
    /// Age removes records only beyond this many: a clock that jumps does not empty the history.
    pub at_least: u64,
    pub days: u32,
}

/// How a store is opened. The defaults are meant for use.
#[derive(Clone)]
pub struct Options {
    pub clock: Clock,
    pub rules: Rules,
    /// Commands that may wait; who comes then waits in [`Store::submit`].
    pub queue: usize,
    /// Commands in one commit.
    pub batch: usize,
    /// Memory for pages of the database.
    pub cache_bytes: usize,
    /// Held on the disk to be given up when it is full.
    pub ballast_bytes: u64,
    /// Below this much free space nothing is written any more.
    pub headroom_bytes: u64,
    /// How often it is tried to leave a bad state.
    pub retry: Duration,
    pub events: Retention,
    /// The events take no more than so many bytes.
    pub events_bytes: u64,
    pub audit: Retention,
    /// Offers and leases that are over.
    pub leases: Retention,
    /// The audit's entries take no more than so many bytes.
    pub audit_bytes: u64,
    /// Ended jobs kept of each node, beside its last one.
    pub jobs_per_node: usize,
    /// How long refusals are gathered before they are written to the audit.
    pub gather_refusals: Duration,
    /// How often records that are too old are removed.
    pub trim_every: Duration,
    /// Nothing to do for this long: time to move bindings from the journal into the database.
    pub fold_after: Duration,
    /// Nothing to do for this long: time to give space back to the disk.
    pub idle: Duration,
    pub disk: Arc<dyn Disk>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            clock: Arc::new(Timestamp::now),
            rules: leasehold_domain::decide,
            queue: 4096,
            batch: 1024,
            cache_bytes: 16 << 20,
            ballast_bytes: 4 << 20,
            headroom_bytes: 8 << 20,
            retry: Duration::from_secs(1),
            events: Retention { at_most: 1_000_000, at_least: 10_000, days: 90 },
            events_bytes: 256 << 20,
            audit: Retention { at_most: 1_000_000, at_least: 10_000, days: 400 },
            leases: Retention { at_most: 2_000_000, at_least: 10_000, days: 3660 },
            audit_bytes: 256 << 20,
            jobs_per_node: 50,
            gather_refusals: Duration::from_secs(5),
            trim_every: Duration::from_secs(600),
            fold_after: Duration::from_secs(3),
            idle: Duration::from_secs(120),
            disk: Arc::new(RealDisk),
        }
    }
}

/// Whether the store takes changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    Ready,
    /// The disk is full: reads go on, changes are refused. Leaves by itself when there is space.
    Full(String),
    /// The disk or the database fails: reads of the state go on. It is tried again and again.
    Failing(String),
    Closed,
}

/// A command that was carried out.
#[derive(Clone, Debug)]
pub struct Committed {
    pub answer: Answer,
    /// The state with the command in it (and with what was committed together with it).
    pub view: Arc<View>,
    /// The number of that state in [`Update::snapshot`].
    pub snapshot: u64,
}

/// What handle and committer share.
pub(crate) struct Shared {
    pub(crate) base: Base,
    pub(crate) view: ArcSwap<View>,
    pub(crate) snapshot: AtomicU64,
    /// Taken away when the store closes, so that its readers are told.
    pub(crate) feed: Mutex<Option<broadcast::Sender<Arc<Update>>>>,
    pub(crate) health: watch::Sender<Health>,
    pub(crate) refusals: Mutex<Refusals>,
    pub(crate) places: Arc<Semaphore>,
    pub(crate) tally: Tally,
    pub(crate) next_event: AtomicU64,
    pub(crate) lock: Mutex<Option<FolderLock>>,
    cursors: CursorCipher,
    clock: Clock,
    queue: usize,
}

/// The store. A clone is the same store.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    sender: mpsc::Sender<Message>,
}

/// The database's file name in the state folder.
const FILE: &str = "leasehold.redb";
/// Updates that a reader of the feed may be behind.
const FEED: usize = 1024;

impl Store {
    /// Opens the state folder, which must exist, and starts the committer. Reads all live rows: blocks for some
    /// milliseconds, longer after a crash, when the database checks itself.
    pub fn open(dir: &Path, options: Options) -> Result<Store, OpenError> {
        let lock = FolderLock::take(dir)?;
        let file = dir.join(FILE);
        let base = Base::new(file.clone(), options.cache_bytes, options.disk.clone());
        let ballast = Ballast::of(dir, options.ballast_bytes);
        let mut opened = base.open();
        // A full disk can keep the database from opening after a crash: that is what the ballast is for.
        if opened == Err(Fault::Full) && ballast.release() {
            opened = base.open();
        }
        let load = |read: &ReadTransaction| {
            let mut view = live::load(read)?;
            let journal = Journal::open(dir, options.disk.clone(), journal::read_folded(read)?, &mut view)?;
            Ok((view, journal, Counters::read(read)?, schema::cursor_key(read)?))
        };
        let (view, journal, counters, key) =
            opened.and_then(|()| base.read(load)).map_err(|fault| in_words(fault, dir, &file))?;

        let (sender, receiver) = mpsc::channel();
        let shared = Arc::new(Shared {
            base,
            view: ArcSwap::from_pointee(view),
            snapshot: AtomicU64::new(0),
            feed: Mutex::new(Some(broadcast::channel(FEED).0)),
            health: watch::Sender::new(Health::Ready),
            refusals: Mutex::default(),
            places: Arc::new(Semaphore::new(options.queue)),
            tally: Tally::default(),
            next_event: AtomicU64::new(counters.next_event),
            lock: Mutex::new(Some(lock)),
            cursors: CursorCipher::new(&key),
            clock: options.clock.clone(),
            queue: options.queue,
        });
        let committer = Committer::new(shared.clone(), receiver, options, counters, dir, ballast, journal);
        std::thread::Builder::new()
            .name("committer".into())
            .spawn(move || committer.run())
            .map_err(|source| OpenError::Io { what: "cannot start the committer of", path: dir.to_owned(), source })?;
        Ok(Store { shared, sender })
    }

    /// Has a command decided and, if no rule refuses it, carried out: when this returns `Ok`, it is on the disk and
    /// [`Store::view`] shows it. Waits while the queue is full. A call that is dropped may still be carried out.
    pub async fn submit(&self, command: Command, actor: Actor) -> Result<Committed, SubmitError> {
        let place = self.shared.places.clone().acquire_owned().await.map_err(|_| SubmitError::Closed)?;
        let (answer, answered) = oneshot::channel();
        let request = Request { command, actor, answer, _place: place };
        self.sender.send(Message::Submit(vec![request])).map_err(|_| SubmitError::Closed)?;
        answered.await.map_err(|_| SubmitError::Closed)?
    }

    /// [`Store::submit`] for many at once: they reach the committer together, and whoever asks is woken once. Each is
    /// decided, and may be refused, by itself; the results are in the order of the commands.
    pub async fn submit_all(&self, commands: Vec<Command>, actor: &Actor) -> Vec<Result<Committed, SubmitError>> {
        let mut requests = Vec::with_capacity(commands.len());
        let mut answers = Vec::with_capacity(commands.len());
        for command in commands {
            let place = match self.shared.places.clone().try_acquire_owned() {
                Ok(place) => Ok(place),
                Err(_) => {
                    // What waits here holds places that only an answer frees.
                    let _ = self.sender.send(Message::Submit(std::mem::take(&mut requests)));
                    self.shared.places.clone().acquire_owned().await
                }
            };
            let Ok(_place) = place else {
                answers.push(None);
                continue;
            };
            let (answer, answered) = oneshot::channel();
            requests.push(Request { command, actor: actor.clone(), answer, _place });
            answers.push(Some(answered));
        }
        // Who is not taken on is answered by the end of his channel.
        let _ = self.sender.send(Message::Submit(requests));
        let mut results = Vec::with_capacity(answers.len());
        for answered in answers {
            let result = match answered {
                Some(answered) => answered.await.unwrap_or(Err(SubmitError::Closed)),
                None => Err(SubmitError::Closed),
            };
            results.push(result);
        }
        results
    }

    /// The state as last committed. Never waits.
    pub fn view(&self) -> Arc<View> {
        self.shared.view.load_full()
    }

    /// The time by the store's clock, which decides when something is over.
    pub fn now(&self) -> Timestamp {
        (self.shared.clock)()
    }

    /// The number of the present state; [`Update::snapshot`] counts on from it.
    pub fn snapshot(&self) -> u64 {
        self.shared.snapshot.load(Ordering::Acquire)
    }

    /// Follows what is committed from now on.
    pub fn subscribe(&self) -> Feed {
        let feed = self.shared.feed.lock().unwrap_or_else(PoisonError::into_inner);
        let receiver = feed.as_ref().map_or_else(|| broadcast::channel(1).1, broadcast::Sender::subscribe);
        Feed { receiver }
    }

    /// Whether changes are taken, to be watched.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.shared.health.subscribe()
    }

    pub fn metrics(&self) -> Metrics {
        let shared = &self.shared;
        shared.tally.read(shared.queue.saturating_sub(shared.places.available_permits()))
    }

    /// Notes for the audit that something was refused before it became a command (a login, a missing right). Bounded:
    /// it never waits, and equal refusals are counted.
    pub fn note_refusal(&self, actor: &str, what: &str, subject: Option<&str>, reason: &str) {
        let source = Source::default();
        let refusal = audit::Refusal { actor, source: &source, what, subject, reason };
        self.shared.note_refusal(refusal, (self.shared.clock)());
    }

    /// The same of a user, with all that is known of him and his request.
    pub fn note_refusal_of(&self, actor: &Actor, what: &str, subject: Option<&str>, reason: &str) {
        let (name, source) = (actor.to_string(), Source::of(actor));
        let refusal = audit::Refusal { actor: &name, source: &source, what, subject, reason };
        self.shared.note_refusal(refusal, (self.shared.clock)());
    }

    /// The durable events after a cursor (`None`: from the oldest kept on) that `wanted` takes, `limit` at most. A page
    /// may be empty although there are more: go on from its `next`.
    pub async fn events_after(
        &self,
        after: Option<Cursor>,
        limit: usize,
        wanted: impl Fn(&Event) -> bool + Send + 'static,
    ) -> Result<EventPage, ReadError> {
        self.events_of(EventsBy::default(), EventsFrom::After(after), limit, wanted).await
    }

    /// The durable events that `by` finds and `wanted` takes, from a place on, either way, `limit` at most. A page looks at
    /// some thousands and may be empty although there are more: go on from its `next`. What it costs does not depend on
    /// how many events others have.
    pub async fn events_of(
        &self,
        by: EventsBy,
        from: EventsFrom,
        limit: usize,
        wanted: impl Fn(&Event) -> bool + Send + 'static,
    ) -> Result<EventPage, ReadError> {
        let next = self.shared.next_event.load(Ordering::Acquire);
        Ok(self.read(move |read| event_log::page(read, &by, from, limit, next, wanted)).await??)
    }

    /// The place after the last event that is committed: who reads the view and then goes on from here misses nothing,
    /// when he takes the cursor first.
    pub fn newest_cursor(&self) -> Cursor {
        Cursor(self.shared.next_event.load(Ordering::Acquire).saturating_sub(1))
    }

    /// A cursor for those outside: it tells nothing of how much happens here.
    pub fn cursor_text(&self, cursor: Cursor) -> String {
        self.shared.cursors.text(cursor)
    }

    /// The same, in a text that no other has: two of them do not tell whether anything came between that their reader
    /// may not see. Where the system gives no random numbers it is the common text.
    pub fn fresh_cursor_text(&self, cursor: Cursor) -> String {
        let cursors = &self.shared.cursors;
        cursors.fresh_text(cursor).unwrap_or_else(|| cursors.text(cursor))
    }

    /// Reads a cursor that [`Store::cursor_text`] or [`Store::fresh_cursor_text`] made.
    pub fn cursor_from_text(&self, text: &str) -> Result<Cursor, CursorError> {
        self.shared.cursors.cursor(text)
    }

    /// The newest rows of the audit, newest first. Refusals appear some seconds late, counted.
    pub async fn audit(&self, limit: usize) -> Result<Vec<AuditEntry>, ReadError> {
        self.read(move |read| audit::newest(read, limit)).await
    }

    /// The entries of the audit before this number (`None`: the newest) that are wanted, newest first.
    pub async fn audit_page(
        &self,
        before: Option<u64>,
        limit: usize,
        filter: AuditFilter,
    ) -> Result<AuditPage, ReadError> {
        self.read(move |read| audit::page(read, before, limit, &filter)).await
    }

    /// The entries after this number, oldest first, to be kept elsewhere; before them the number and link of the last one
    /// that was removed by age or size.
    pub async fn audit_rows_after(&self, after: u64, limit: usize) -> Result<(u64, Link, Vec<AuditRow>), ReadError> {
        self.read(move |read| audit::rows_after(read, after, limit)).await
    }

    /// Follows the audit's whole chain; `noted` is an entry whose link was kept elsewhere.
    pub async fn audit_verify(&self, noted: Option<(u64, Link)>) -> Result<Verified, ReadError> {
        self.read(move |read| {
            let counters = Counters::read(read)?;
            audit::verify(read, (counters.next_audit.saturating_sub(1), counters.audit_head), noted)
        })
        .await
    }

    /// The jobs of a node, newest first: its timeline. Config drives are only in jobs that still run or were the last.
    pub async fn jobs_of(&self, node: NodeId, limit: usize) -> Result<Vec<Arc<Job>>, ReadError> {
        let mut jobs = jobs_in_memory(&self.view(), node);
        let known: Vec<_> = jobs.iter().map(|job| job.id).collect();
        let ended = self.read(move |read| live::ended_jobs(read, node, limit)).await?;
        jobs.extend(ended.into_iter().filter(|job| !known.contains(&job.id)));
        jobs.sort_by_key(|job| std::cmp::Reverse((job.generation, job.created_at)));
        jobs.truncate(limit);
        Ok(jobs)
    }

    /// What the last inspection of a node found.
    pub async fn inventory(&self, node: NodeId) -> Result<Option<serde_json::Value>, ReadError> {
        self.read(move |read| live::inventory(read, node)).await
    }

    /// An offer that is over; those that are not are in [`Store::view`].
    pub async fn ended_offer(&self, id: OfferId) -> Result<Option<Arc<Offer>>, ReadError> {
        self.read(move |read| ended::offer(read, id)).await
    }

    /// A lease that is over.
    pub async fn ended_lease(&self, id: LeaseId) -> Result<Option<Arc<Lease>>, ReadError> {
        self.read(move |read| ended::one_lease(read, id)).await
    }

    /// The offers that are over, that any of `by` finds and `wanted` takes, newest first, after `after` (`None`: from
    /// the newest on), `limit` at most. A page looks at some thousands and may be empty although there are more: go on
    /// from its `next`.
    pub async fn ended_offers(
        &self,
        by: Vec<EndedBy>,
        after: Option<EndedPlace>,
        limit: usize,
        wanted: impl Fn(&Offer) -> bool + Send + 'static,
    ) -> Result<EndedPage<Offer>, ReadError> {
        self.read(move |read| ended::page(read, &by, after, limit, wanted)).await
    }

    /// [`Store::ended_offers`] of leases.
    pub async fn ended_leases(
        &self,
        by: Vec<EndedBy>,
        after: Option<EndedPlace>,
        limit: usize,
        wanted: impl Fn(&Lease) -> bool + Send + 'static,
    ) -> Result<EndedPage<Lease>, ReadError> {
        self.read(move |read| ended::page(read, &by, after, limit, wanted)).await
    }

    /// Ends the store: what is queued is still carried out, then the database is closed and the folder is free.
    pub async fn close(&self) {
        let mut health = self.shared.health.subscribe();
        // The committer is gone already when nobody takes the message.
        let _ = self.sender.send(Message::Close);
        let _ = health.wait_for(|health| *health == Health::Closed).await;
    }

    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, ReadError> {
        let shared = self.shared.clone();
        let done = tokio::task::spawn_blocking(move || shared.base.read(work)).await;
        match done {
            Ok(result) => Ok(result?),
            Err(error) => Err(ReadError::Failed(error.to_string())),
        }
    }
}

impl Shared {
    pub(crate) fn note_refusal(&self, refusal: audit::Refusal<'_>, at: Timestamp) {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner).note(refusal, at);
    }
}

/// The jobs of a node that are in memory.
fn jobs_in_memory(view: &View, node: NodeId) -> Vec<Arc<Job>> {
    let last = view.last_job(node).cloned();
    let running = view.node(node).and_then(|node| view.running_job(node)).cloned();
    let differs = running.filter(|job| last.as_ref().is_none_or(|last| last.id != job.id));
    last.into_iter().chain(differs).collect()
}

fn in_words(fault: Fault, dir: &Path, file: &Path) -> OpenError {
    match fault {
        Fault::Full => OpenError::DiskFull { dir: dir.to_owned() },
        Fault::Newer { found, known } => OpenError::Newer { dir: dir.to_owned(), found, known },
        Fault::Damaged(why) => OpenError::Damaged { file: file.to_owned(), why },
        other => OpenError::Failed { file: file.to_owned(), why: other.to_string() },
    }
}
