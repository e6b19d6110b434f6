//! The server: moves packets between the interfaces and the decision.
//!
//! Each interface has a raw socket for what is sent to all (and for answers to clients without an address), a UDP socket
//! on each of our addresses for what is sent to us and through relays, and a second raw socket for ARP. Packets are
//! decided one after the other under one lock on the offers; what waits (a probe, a commit) waits in a task of its own.
//! What came in together is committed and answered together, and while a commit is on its way the next is gathered. When
//! an interface goes away, its sockets are opened again until it is back.

use super::config::{BadConfig, BootConfig, check};
use super::frame;
use super::handle::Arrival;
use super::interface::{Interface, Turn};
use super::memory::Memory;
use super::packet::FrameNote;
use super::sockets::{Sockets, receive_frames, receive_messages};
use crate::trace::TraceSink;
use async_trait::async_trait;
use jiff::Timestamp;
use leasehold_domain::{Command, View};
use std::collections::HashSet;
use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;

/// Makes commands durable.
#[async_trait]
pub trait Commit: Send + Sync {
    /// Returns when every command is on disk and the view shows it; `Err`, at its place, says why one was not carried out.
    async fn commit(&self, commands: Vec<Command>) -> Vec<Result<(), String>>;
}

/// What the server needs of the rest of the program.
#[derive(Clone)]
pub struct Parts {
    /// The current snapshot.
    pub view: Arc<dyn Fn() -> Arc<View> + Send + Sync>,
    pub commit: Arc<dyn Commit>,
    pub trace: TraceSink,
    /// The current moment.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] BadConfig),
    #[error("DHCP on {interface} needs the capabilities CAP_NET_RAW and CAP_NET_BIND_SERVICE: {error}")]
    Privilege { interface: String, error: io::Error },
    #[error("there is no interface {interface}: name one that `ip link` shows")]
    NoInterface { interface: String },
    #[error("{interface} does not have the address {address}: give it with `ip address add`, or correct the pool")]
    NoAddress { interface: String, address: Ipv4Addr },
    #[error(
        "{address} port 67 on {interface} is taken by another DHCP server on this machine: stop it, `ss -ulpn sport = 67` shows it"
    )]
    PortTaken { interface: String, address: Ipv4Addr },
    #[error("DHCP on {interface}: {error}")]
    Other { interface: String, error: io::Error },
}

/// How many of what since the start.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub received: u64,
    pub refused_packets: u64,
    pub offers: u64,
    pub acks: u64,
    pub naks: u64,
    pub ignored: u64,
    pub addresses_taken: u64,
    pub commit_failures: u64,
    pub send_failures: u64,
    pub rival_messages: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) received: AtomicU64,
    pub(super) refused_packets: AtomicU64,
    pub(super) offers: AtomicU64,
    pub(super) acks: AtomicU64,
    pub(super) naks: AtomicU64,
    pub(super) ignored: AtomicU64,
    pub(super) addresses_taken: AtomicU64,
    pub(super) commit_failures: AtomicU64,
    pub(super) send_failures: AtomicU64,
    pub(super) rival_messages: AtomicU64,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// How long after an interface was lost its sockets are opened again.
const REOPEN: Duration = Duration::from_secs(2);

/// The running server. Dropping it ends it.
pub struct DhcpServer {
    tasks: JoinSet<()>,
    counters: Arc<Counters>,
}

impl DhcpServer {
    /// Opens every interface and begins to answer. Must be called inside a tokio runtime. The sockets are open when
    /// this returns: privileges may be dropped after it, but then a lost interface cannot be opened again.
    pub fn start(configs: Vec<BootConfig>, parts: Parts) -> Result<DhcpServer, StartError> {
        check(&configs)?;
        let counters = Arc::new(Counters::default());
        let ours: Arc<HashSet<Ipv4Addr>> =
            Arc::new(configs.iter().flat_map(|config| &config.pools).map(|pool| pool.server).collect());
        let memory = Arc::new(Mutex::new(Memory::default()));
        let mut opened = Vec::with_capacity(configs.len());
        for config in configs {
            let sockets = Sockets::open(&config)?;
            opened.push((config, sockets));
        }
        let mut tasks = JoinSet::new();
        for (config, sockets) in opened {
            let interface = Interface::new(config, parts.clone(), memory.clone(), ours.clone(), counters.clone());
            tasks.spawn(keep_serving(Arc::new(interface), sockets));
        }
        Ok(DhcpServer { tasks, counters })
    }

    /// How many of what since the start.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        Counts {
            received: read(&counters.received),
            refused_packets: read(&counters.refused_packets),
            offers: read(&counters.offers),
            acks: read(&counters.acks),
            naks: read(&counters.naks),
            ignored: read(&counters.ignored),
            addresses_taken: read(&counters.addresses_taken),
            commit_failures: read(&counters.commit_failures),
            send_failures: read(&counters.send_failures),
            rival_messages: read(&counters.rival_messages),
        }
    }

    /// Ends the server; its sockets are closed when this returns.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

/// Serves an interface for as long as the server lives.
async fn keep_serving(interface: Arc<Interface>, first: Sockets) {
    let mut sockets = Arc::new(first);
    loop {
        let error = serve(&interface, &sockets).await;
        tracing::warn!(interface = %interface.name(), %error, "lost the interface; trying to open it again");
        // Before the new ones are opened: the port of the old would be taken.
        drop(sockets);
        sockets = loop {
            tokio::time::sleep(REOPEN).await;
            match Sockets::open(interface.config()) {
                Ok(sockets) => break Arc::new(sockets),
                Err(error) => tracing::debug!(interface = %interface.name(), %error, "not back yet"),
            }
        };
        tracing::info!(interface = %interface.name(), "serving DHCP again");
    }
}

/// Serves until a socket fails.
async fn serve(interface: &Arc<Interface>, sockets: &Arc<Sockets>) -> io::Error {
    let mut tasks: JoinSet<io::Error> = JoinSet::new();
    let (one, all) = (interface.clone(), sockets.clone());
    tasks.spawn(async move {
        let hear = |frame: &[u8], note: FrameNote, turn: &mut Turn| {
            if let Some(datagram) = frame::read_datagram(frame, !note.checksum_pending) {
                one.frame(&all, &datagram, note.vlan, note.for_others, turn);
            }
        };
        receive_frames(&all.dhcp, hear, |turn| one.carry_out(&all, turn)).await
    });
    let (one, all) = (interface.clone(), sockets.clone());
    tasks.spawn(async move {
        let hear = |frame: &[u8], note: FrameNote, (): &mut ()| {
            if let Some(packet) = frame::read_arp(frame).filter(|_| note.vlan.is_none()) {
                one.saw_arp(&packet);
            }
        };
        receive_frames(&all.arp, hear, |()| ()).await
    });
    for index in 0..sockets.udp.len() {
        let (one, all) = (interface.clone(), sockets.clone());
        tasks.spawn(async move {
            let arrival = Arrival { vlan: None, unicast: true };
            let hear = |message: &[u8], turn: &mut Turn| one.message(&all, message, arrival, turn);
            receive_messages(&all.udp[index].1, hear, |turn| one.carry_out(&all, turn)).await
        });
    }
    match tasks.join_next().await {
        Some(Ok(error)) => error,
        Some(Err(error)) => io::Error::other(error),
        None => io::Error::other("it has no sockets"),
    }
}
