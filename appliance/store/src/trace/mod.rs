//! The boot trace: what every booting machine did, step by step, for who stands at a black screen.
//!
//! In: entries from the boot servers and the engine, at packet rate, never waiting. Out: the last entries of a machine
//! and a live feed. A bounded ring for each MAC address, or for the node where no address is known. New entries are in
//! memory and move to a file of their own every few seconds and at the end: a packet causes no disk write, the
//! committer is not held up, and a crash costs the last seconds.

mod memory;
mod shelf;

use crate::disk::{Disk, RealDisk};
use crate::error::ReadError;
use jiff::Timestamp;
use leasehold_domain::id::NodeId;
use leasehold_domain::mac::Mac;
use memory::{Key, Memory};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shelf::Shelf;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{broadcast, oneshot};

/// One step of a machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceEntry {
    pub at: Timestamp,
    /// The machine's address, where it is known.
    pub mac: Option<Mac>,
    /// The node it belongs to, where it is known. An entry without one is a stranger's.
    pub node: Option<NodeId>,
    /// What happened: `dhcp-discover`, `tftp-done`, `step-started`, …
    pub what: String,
    /// The particulars; above [`TraceOptions::detail_bytes`] they are left out.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub detail: Value,
}

/// Bounds of a trace. The defaults are meant for use.
#[derive(Clone, Debug)]
pub struct TraceOptions {
    /// Entries kept of each machine.
    pub per_machine: usize,
    /// MAC addresses of no known node that are kept; then the one that was silent longest goes.
    pub strangers: usize,
    /// About how many bytes of JSON an entry's detail may have.
    pub detail_bytes: usize,
    pub spill_every: Duration,
    /// Below this much free space nothing is written: the last of it is for the store.
    pub headroom_bytes: u64,
    pub disk: Arc<dyn Disk>,
}

impl Default for TraceOptions {
    fn default() -> TraceOptions {
        TraceOptions {
            per_machine: 500,
            strangers: 512,
            detail_bytes: 4096,
            spill_every: Duration::from_secs(10),
            headroom_bytes: 8 << 20,
            disk: Arc::new(RealDisk),
        }
    }
}

/// What a follower gets.
#[derive(Clone, Debug)]
pub enum TraceNews {
    Entry(Arc<TraceEntry>),
    /// He was too slow and so many entries passed him by; [`Trace::entries`] has them.
    Missed(u64),
}

/// Follows the trace of all machines.
#[derive(Debug)]
pub struct TraceFeed {
    receiver: broadcast::Receiver<Arc<TraceEntry>>,
}

impl TraceFeed {
    /// Waits for the next entry; `None` when the trace is closed.
    pub async fn next(&mut self) -> Option<TraceNews> {
        match self.receiver.recv().await {
            Ok(entry) => Some(TraceNews::Entry(entry)),
            Err(broadcast::error::RecvError::Lagged(count)) => Some(TraceNews::Missed(count)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

/// The trace. A clone is the same trace.
#[derive(Clone)]
pub struct Trace {
    shared: Arc<Shared>,
    sender: Sender<Message>,
}

struct Shared {
    memory: Mutex<Memory>,
    shelf: Shelf,
    feed: Mutex<Option<broadcast::Sender<Arc<TraceEntry>>>>,
    options: TraceOptions,
}

enum Message {
    /// Write what is new now, and say when it is done.
    Spill(oneshot::Sender<()>),
    Close(oneshot::Sender<()>),
}

/// Entries that a follower may be behind.
const FEED: usize = 1024;

impl Trace {
    /// Opens the trace of a state folder that [`Store::open`](crate::Store::open) has locked. Never fails for what is
    /// in the file: a damaged one is set aside, and on a full disk the trace is kept in memory until there is space.
    pub fn open(dir: &Path, options: TraceOptions) -> std::io::Result<Trace> {
        let shelf = Shelf::open(dir, options.disk.clone(), options.headroom_bytes);
        let memory = Memory::new(shelf.next_number(), options.per_machine, options.strangers);
        let feed = Mutex::new(Some(broadcast::channel(FEED).0));
        let shared = Arc::new(Shared { memory: Mutex::new(memory), shelf, feed, options });
        let (sender, receiver) = channel();
        let spiller = shared.clone();
        std::thread::Builder::new().name("trace".into()).spawn(move || spiller.run(&receiver))?;
        Ok(Trace { shared, sender })
    }

    /// Adds an entry. Quick, and without waiting for a disk: to be called for every packet.
    pub fn push(&self, mut entry: TraceEntry) {
        if size(&entry.detail, self.shared.options.detail_bytes).is_none() {
            entry.detail = serde_json::json!({ "left_out": "the detail was too long" });
        }
        let entry = Arc::new(entry);
        self.shared.memory().push(entry.clone());
        if let Some(feed) = self.shared.feed().as_ref() {
            // Nobody may be following.
            let _ = feed.send(entry);
        }
    }

    /// The last entries of a machine, oldest first: those of the node itself and of these addresses.
    pub async fn entries(
        &self,
        node: Option<NodeId>,
        macs: &[Mac],
        limit: usize,
    ) -> Result<Vec<Arc<TraceEntry>>, ReadError> {
        let keys: Vec<Key> = node.map(Key::Node).into_iter().chain(macs.iter().copied().map(Key::Mac)).collect();
        let shared = self.shared.clone();
        let done = tokio::task::spawn_blocking(move || {
            // Memory first: what is on its way to the disk meanwhile is then found twice rather than not at all.
            let recent: Vec<_> = keys.iter().flat_map(|key| shared.memory().entries(*key)).collect();
            let kept: Vec<_> = keys.into_iter().filter(|key| !shared.memory().is_forgotten(*key)).collect();
            let mut entries = shared.shelf.entries(&kept)?;
            entries.extend(recent);
            entries.sort_by_key(|entry| entry.number);
            entries.dedup_by_key(|entry| entry.number);
            let excess = entries.len().saturating_sub(limit);
            Ok::<_, crate::error::Fault>(entries.into_iter().skip(excess).map(|entry| entry.entry).collect())
        });
        done.await.map_err(|error| ReadError::Failed(error.to_string()))?.map_err(ReadError::from)
    }

    /// Addresses that were seen and belong to no node, with the last entry of each, the newest first. Only of the time
    /// since the program started.
    pub fn strangers(&self) -> Vec<Arc<TraceEntry>> {
        self.shared.memory().strangers()
    }

    /// Removes what is kept of a node that was deleted.
    pub fn forget(&self, node: NodeId, macs: &[Mac]) {
        let mut memory = self.shared.memory();
        memory.forget(Key::Node(node));
        for mac in macs {
            memory.forget(Key::Mac(*mac));
        }
    }

    /// Follows all machines from now on.
    pub fn subscribe(&self) -> TraceFeed {
        let receiver =
            self.shared.feed().as_ref().map_or_else(|| broadcast::channel(1).1, broadcast::Sender::subscribe);
        TraceFeed { receiver }
    }

    /// Writes what is new to the disk now.
    pub async fn spill(&self) {
        let (done, written) = oneshot::channel();
        if self.sender.send(Message::Spill(done)).is_ok() {
            let _ = written.await;
        }
    }

    /// Writes what is new and closes the file.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.sender.send(Message::Close(done)).is_ok() {
            let _ = closed.await;
        }
    }
}

impl Shared {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn feed(&self) -> MutexGuard<'_, Option<broadcast::Sender<Arc<TraceEntry>>>> {
        self.feed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, receiver: &Receiver<Message>) {
        loop {
            let message = receiver.recv_timeout(self.options.spill_every);
            self.spill();
            match message {
                Ok(Message::Spill(done)) => {
                    let _ = done.send(());
                }
                Ok(Message::Close(done)) => {
                    *self.feed() = None;
                    self.shelf.close();
                    let _ = done.send(());
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.shelf.close(),
            }
        }
    }

    fn spill(&self) {
        let Some(spill) = self.memory().begin_spill() else { return };
        let result = self.shelf.write(&spill, self.options.per_machine, self.options.strangers);
        if let Err(fault) = &result {
            tracing::debug!(%fault, "the boot trace stays in memory");
        }
        self.memory().end_spill(result.is_ok());
    }
}

/// About how many bytes of JSON a value makes; `None` when more than `limit`.
fn size(value: &Value, limit: usize) -> Option<usize> {
    let left = |used: usize| limit.checked_sub(used).map(|_| used);
    match value {
        Value::Null | Value::Bool(_) => left(5),
        Value::Number(_) => left(12),
        Value::String(text) => left(text.len() + 2),
        Value::Array(items) => {
            items.iter().try_fold(2, |used, item| left(used + 1 + size(item, limit.checked_sub(used)?)?))
        }
        Value::Object(members) => members.iter().try_fold(2, |used, (name, item)| {
            let used = used + name.len() + 4;
            left(used + size(item, limit.checked_sub(used)?)?)
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::fs;
    use uuid::Uuid;

    fn mac(number: u8) -> Mac {
        Mac([2, 0, 0, 0, 0, number])
    }

    fn node(number: u128) -> NodeId {
        NodeId(Uuid::from_u128(number))
    }

    fn entry(second: i64, mac: Option<Mac>, node: Option<NodeId>) -> TraceEntry {
        let at = Timestamp::from_second(second).expect("a time");
        TraceEntry { at, mac, node, what: format!("step {second}"), detail: json!({ "n": second }) }
    }

    fn options() -> TraceOptions {
        // Only when the test says so.
        TraceOptions { per_machine: 5, strangers: 3, spill_every: Duration::from_secs(3600), ..TraceOptions::default() }
    }

    async fn seconds(trace: &Trace, node: Option<NodeId>, macs: &[Mac]) -> Vec<i64> {
        let entries = trace.entries(node, macs, 100).await.expect("read");
        entries.iter().map(|entry| entry.at.as_second()).collect()
    }

    #[tokio::test]
    async fn entries_are_kept_over_a_restart_and_bounded() {
        let dir = tempfile::tempdir().expect("a folder");
        let trace = Trace::open(dir.path(), options()).expect("open");
        for second in 0..4 {
            trace.push(entry(second, Some(mac(1)), Some(node(1))));
        }
        trace.push(entry(4, None, Some(node(1))));
        trace.spill().await;
        trace.push(entry(5, Some(mac(1)), Some(node(1))));
        trace.push(entry(6, Some(mac(1)), Some(node(1))));
        assert_eq!(seconds(&trace, Some(node(1)), &[mac(1)]).await, [0, 1, 2, 3, 4, 5, 6]);
        trace.close().await;
        drop(trace);

        let trace = Trace::open(dir.path(), options()).expect("open");
        assert_eq!(seconds(&trace, Some(node(1)), &[mac(1)]).await, [1_i64, 2, 3, 4, 5, 6], "five of the address");
        trace.push(entry(7, Some(mac(1)), Some(node(1))));
        assert_eq!(trace.entries(None, &[mac(1)], 2).await.expect("read").len(), 2);
        trace.forget(node(1), &[mac(1)]);
        assert_eq!(seconds(&trace, Some(node(1)), &[mac(1)]).await, [0_i64; 0]);
        trace.close().await;
        let trace = Trace::open(dir.path(), options()).expect("open");
        assert_eq!(seconds(&trace, Some(node(1)), &[mac(1)]).await, [0_i64; 0]);
    }

    #[tokio::test]
    async fn strangers_push_each_other_out_but_no_node() {
        let dir = tempfile::tempdir().expect("a folder");
        let trace = Trace::open(dir.path(), options()).expect("open");
        trace.push(entry(0, Some(mac(200)), Some(node(1))));
        for second in 1..=10 {
            trace.push(entry(second, Some(mac(u8::try_from(second).expect("small"))), None));
            trace.spill().await;
        }
        let strangers: Vec<_> = trace.strangers().iter().filter_map(|entry| entry.mac).collect();
        assert_eq!(strangers, [mac(10), mac(9), mac(8)]);
        assert_eq!(seconds(&trace, None, &[mac(7), mac(8), mac(200)]).await, [0, 8]);
        trace.close().await;
        let trace = Trace::open(dir.path(), options()).expect("open");
        assert_eq!(seconds(&trace, None, &[mac(7), mac(8), mac(200)]).await, [0, 8]);
    }

    #[tokio::test]
    async fn followers_see_entries_as_they_come_and_are_told_when_they_are_slow() {
        let dir = tempfile::tempdir().expect("a folder");
        let trace = Trace::open(dir.path(), options()).expect("open");
        let mut feed = trace.subscribe();
        trace.push(entry(1, Some(mac(1)), None));
        assert!(matches!(feed.next().await, Some(TraceNews::Entry(entry)) if entry.at.as_second() == 1));
        for second in 0..2000 {
            trace.push(entry(second, Some(mac(1)), None));
        }
        assert!(matches!(feed.next().await, Some(TraceNews::Missed(_))));
        trace.close().await;
        while let Some(news) = feed.next().await {
            assert!(matches!(news, TraceNews::Entry(_)));
        }
    }

    #[tokio::test]
    async fn a_damaged_file_is_set_aside() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("trace.redb"), "this is no database, however long it may be").expect("written");
        let trace = Trace::open(dir.path(), options()).expect("open");
        trace.push(entry(1, Some(mac(1)), None));
        trace.spill().await;
        assert_eq!(seconds(&trace, None, &[mac(1)]).await, [1]);
        assert!(dir.path().join("trace.redb.damaged").exists());
    }

    #[tokio::test]
    async fn a_full_disk_keeps_the_trace_in_memory() {
        #[derive(Debug)]
        struct Full;
        impl Disk for Full {
            fn available(&self, _: &Path) -> std::io::Result<u64> {
                Ok(0)
            }
        }
        let dir = tempfile::tempdir().expect("a folder");
        let trace = Trace::open(dir.path(), TraceOptions { disk: Arc::new(Full), ..options() }).expect("open");
        for second in 0..20 {
            trace.push(entry(second, Some(mac(1)), None));
            trace.spill().await;
        }
        assert_eq!(seconds(&trace, None, &[mac(1)]).await, [15, 16, 17, 18, 19]);
    }

    #[tokio::test]
    async fn an_endless_detail_is_left_out() {
        let dir = tempfile::tempdir().expect("a folder");
        let trace = Trace::open(dir.path(), options()).expect("open");
        trace.push(TraceEntry { detail: json!({ "a": ["x".repeat(5000)] }), ..entry(1, Some(mac(1)), None) });
        let entries = trace.entries(None, &[mac(1)], 1).await.expect("read");
        assert!(entries[0].detail.to_string().len() < 100);
    }
}
