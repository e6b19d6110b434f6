//! The server: moves packets between the interfaces and the decision.
//!
//! Each interface has a raw socket for what is sent to all (and for answers to clients without an address), a UDP socket
//! on each of our addresses for what is sent to us and through relays, and a second raw socket for ARP. Packets are
//! decided one after the other under one lock on the offers; what waits (a probe, a commit) waits in a task of its own.
//! What came in together is committed together, and while that is on its way the next is gathered. When an interface goes away, its sockets are opened again
//! until it is back.

use super::config::{BadConfig, BootConfig, check};
use super::frame::{self, Datagram, EVERYBODY, Way};
use super::handle::{Action, Answer, Arrival, Outcome, Write, handle};
use super::packet::{Hear, PacketSocket, READABLE_OR_LOST};
use super::probe::Probes;
use super::rival::Rivals;
use crate::trace::{BootEvent, BootWhat, TraceSink};
use async_trait::async_trait;
use jiff::Timestamp;
use leasehold_domain::address::{Binding, ClientKey, DECLINED_SECONDS, Offers};
use leasehold_domain::{Command, View};
use leasehold_protocols::dhcp::{
    CLIENT_PORT, Destination, LARGEST_PACKET, Packet, Request, SERVER_PORT, ServerMessage,
};
use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

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
struct Counters {
    received: AtomicU64,
    refused_packets: AtomicU64,
    offers: AtomicU64,
    acks: AtomicU64,
    naks: AtomicU64,
    ignored: AtomicU64,
    addresses_taken: AtomicU64,
    commit_failures: AtomicU64,
    send_failures: AtomicU64,
    rival_messages: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// How many clients may wait for a commit at once.
const MOST_IN_FLIGHT: usize = 4096;
/// How many packets of one socket are taken before others have their turn.
const MOST_AT_ONCE: usize = 64;
/// How often another address is tried when a probe finds somebody.
const MOST_PROBES: usize = 4;
/// How many events about ignored and malformed packets one interface tells in a second: a flood of them must not push
/// everything else out of the trace.
const MOST_COMPLAINTS: u32 = 20;
/// How long after an interface was lost its sockets are opened again.
const REOPEN: Duration = Duration::from_secs(2);
/// Frame and headers around the largest message that is looked at.
const BUFFER: usize = LARGEST_PACKET + 128;

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
            let interface = Arc::new(Interface {
                config,
                parts: parts.clone(),
                memory: memory.clone(),
                ours: ours.clone(),
                counters: counters.clone(),
                probes: Probes::default(),
                rivals: Mutex::new(Rivals::default()),
                complaints: Mutex::new((0, Timestamp::UNIX_EPOCH)),
            });
            tasks.spawn(keep_serving(interface, sockets));
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

/// The sockets of one interface.
struct Sockets {
    dhcp: AsyncFd<PacketSocket>,
    arp: AsyncFd<PacketSocket>,
    /// One for each untagged address of ours.
    udp: Vec<(Ipv4Addr, UdpSocket)>,
}

impl Sockets {
    fn open(config: &BootConfig) -> Result<Sockets, StartError> {
        let interface = || config.interface.clone();
        let general = |error: io::Error| match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => StartError::Privilege { interface: interface(), error },
            Some(libc::ENODEV | libc::ENXIO) => StartError::NoInterface { interface: interface() },
            _ => StartError::Other { interface: interface(), error },
        };
        let raw = |hear| PacketSocket::open(&config.interface, hear).and_then(PacketSocket::register).map_err(general);
        let tagged = config.pools.iter().any(|pool| pool.vlan.is_some());
        let own = config.pools.iter().find(|pool| pool.vlan.is_none()).map(|pool| pool.server);
        let not_to = own.unwrap_or(Ipv4Addr::UNSPECIFIED);
        let hear = if tagged { Hear::TaggedDhcp } else { Hear::Dhcp { not_to } };
        let mut sockets = Sockets { dhcp: raw(hear)?, arp: raw(Hear::Arp)?, udp: Vec::new() };
        for pool in config.pools.iter().filter(|pool| pool.vlan.is_none()) {
            let address = pool.server;
            if sockets.udp.iter().any(|(known, _)| *known == address) {
                continue;
            }
            let udp = open_udp(&config.interface, address).map_err(|error| match error.raw_os_error() {
                Some(libc::EADDRNOTAVAIL) => StartError::NoAddress { interface: interface(), address },
                Some(libc::EADDRINUSE) => StartError::PortTaken { interface: interface(), address },
                _ => general(error),
            })?;
            sockets.udp.push((address, udp));
        }
        Ok(sockets)
    }

    fn udp(&self, address: Ipv4Addr) -> Option<&UdpSocket> {
        self.udp.iter().find(|(known, _)| *known == address).or(self.udp.first()).map(|(_, socket)| socket)
    }
}

/// A UDP socket for what is sent to one address of ours on one interface. Without SO_REUSEADDR: a second server on
/// this machine is to be noticed.
fn open_udp(interface: &str, address: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddrV4::new(address, SERVER_PORT).into())?;
    let _ = socket.set_recv_buffer_size(4 << 20);
    UdpSocket::from_std(socket.into())
}

/// What is remembered for all interfaces together, under one lock.
#[derive(Default)]
struct Memory {
    offers: Offers,
    /// Clients for which something is being written, with the address that is bound: until that is done they are not
    /// heard again, so that commands about one address cannot overtake each other.
    in_flight: HashMap<ClientKey, Option<Ipv4Addr>>,
}

impl Memory {
    /// Notes that a client waits for a write. `None`: it waits for one already, or too many do; the decision is void
    /// and the client asks again.
    fn admit(&mut self, action: Action) -> Option<Action> {
        let Action::Commit(write) = &action else { return Some(action) };
        let Write { command, client, .. } = write.as_ref();
        let address = match command {
            Command::Bind(binding) => Some(binding.address),
            _ => None,
        };
        let waiting = self.in_flight.get(client);
        if waiting.is_none() && self.in_flight.len() < MOST_IN_FLIGHT {
            self.in_flight.insert(client.clone(), address);
            return Some(action);
        }
        // The write that is under way keeps its own address blocked, not this one.
        if let Some(address) = address.filter(|address| waiting != Some(&Some(*address))) {
            self.offers.settled(address);
        }
        None
    }
}

/// One interface: its configuration and what it remembers.
struct Interface {
    config: BootConfig,
    parts: Parts,
    memory: Arc<Mutex<Memory>>,
    ours: Arc<HashSet<Ipv4Addr>>,
    counters: Arc<Counters>,
    probes: Probes,
    rivals: Mutex<Rivals>,
    /// Complaints told in the second that began at this moment.
    complaints: Mutex<(u32, Timestamp)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves an interface for as long as the server lives.
async fn keep_serving(interface: Arc<Interface>, first: Sockets) {
    let mut sockets = Arc::new(first);
    loop {
        let error = serve(&interface, &sockets).await;
        tracing::warn!(interface = %interface.config.interface, %error, "lost the interface; trying to open it again");
        // Before the new ones are opened: the port of the old would be taken.
        drop(sockets);
        sockets = loop {
            tokio::time::sleep(REOPEN).await;
            match Sockets::open(&interface.config) {
                Ok(sockets) => break Arc::new(sockets),
                Err(error) => tracing::debug!(interface = %interface.config.interface, %error, "not back yet"),
            }
        };
        tracing::info!(interface = %interface.config.interface, "serving DHCP again");
    }
}

/// Serves until a socket fails.
async fn serve(interface: &Arc<Interface>, sockets: &Arc<Sockets>) -> io::Error {
    let mut tasks: JoinSet<io::Error> = JoinSet::new();
    let (one, all) = (interface.clone(), sockets.clone());
    tasks.spawn(async move {
        let hear = |frame: &[u8], note: super::packet::FrameNote| {
            let datagram = frame::read_datagram(frame, !note.checksum_pending)?;
            one.frame(&all, &datagram, note.vlan, note.for_others)
        };
        receive_frames(&all.dhcp, hear, |writes| one.commit(&all, writes)).await
    });
    let (one, all) = (interface.clone(), sockets.clone());
    tasks.spawn(async move {
        let hear = |frame: &[u8], note: super::packet::FrameNote| {
            if let Some(packet) = frame::read_arp(frame).filter(|_| note.vlan.is_none()) {
                one.probes.saw(&packet);
            }
            None
        };
        receive_frames(&all.arp, hear, |_none| ()).await
    });
    for index in 0..sockets.udp.len() {
        let (one, all) = (interface.clone(), sockets.clone());
        tasks.spawn(async move {
            let hear = |message: &[u8]| one.message(&all, message, Arrival { vlan: None, unicast: true });
            receive_messages(&all.udp[index].1, hear, |writes| one.commit(&all, writes)).await
        });
    }
    match tasks.join_next().await {
        Some(Ok(error)) => error,
        Some(Err(error)) => io::Error::other(error),
        None => io::Error::other("it has no sockets"),
    }
}

/// The socket is still good.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH | libc::EINTR | libc::ENOBUFS | libc::ENOMEM)
    )
}

/// Hands every message of a UDP socket to `hear`, and what must be durable of those that came together to `commit`, until
/// the socket fails.
async fn receive_messages(
    socket: &UdpSocket,
    hear: impl Fn(&[u8]) -> Option<Write>,
    commit: impl Fn(Vec<Write>),
) -> io::Error {
    let mut buffer = vec![0; BUFFER];
    loop {
        if let Err(error) = socket.readable().await {
            return error;
        }
        let mut writes = Vec::new();
        for _ in 0..MOST_AT_ONCE {
            match socket.try_recv_from(&mut buffer) {
                Ok((length, _)) => writes.extend(hear(&buffer[..length])),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // What an earlier answer met (a relay that is gone) is told to the next read.
                Err(error) if is_passing(&error) => {}
                Err(error) => return error,
            }
        }
        commit(writes);
        tokio::task::yield_now().await;
    }
}

/// The same for the frames of a raw socket.
async fn receive_frames(
    socket: &AsyncFd<PacketSocket>,
    hear: impl Fn(&[u8], super::packet::FrameNote) -> Option<Write>,
    commit: impl Fn(Vec<Write>),
) -> io::Error {
    let mut buffer = vec![0; BUFFER];
    loop {
        let mut ready = match socket.ready(READABLE_OR_LOST).await {
            Ok(ready) => ready,
            Err(error) => return error,
        };
        let lost = ready.ready().is_error();
        let mut writes = Vec::new();
        // As many as there are, but not for ever: other tasks of this thread have packets, too.
        for _ in 0..MOST_AT_ONCE {
            match ready.try_io(|socket| socket.get_ref().receive(&mut buffer)) {
                Ok(Ok(note)) if note.outgoing => {}
                Ok(Ok(note)) => writes.extend(hear(&buffer[..note.length], note)),
                Ok(Err(error)) if is_passing(&error) => {}
                Ok(Err(error)) => return error,
                // A send may have met the error before: the kernel tells it once.
                Err(_would_block) if lost => return io::Error::from_raw_os_error(libc::ENETDOWN),
                Err(_would_block) => break,
            }
        }
        commit(writes);
        tokio::task::yield_now().await;
    }
}

impl Interface {
    fn now(&self) -> Timestamp {
        (self.parts.clock)()
    }

    fn tell(&self, event: BootEvent) {
        if matches!(event.what, BootWhat::DhcpIgnored { .. }) {
            count(&self.counters.ignored);
            let now = self.now();
            let mut complaints = lock(&self.complaints);
            if now.duration_since(complaints.1).as_secs() != 0 {
                *complaints = (0, now);
            }
            complaints.0 += 1;
            if complaints.0 > MOST_COMPLAINTS {
                return;
            }
        }
        (self.parts.trace)(event);
    }

    /// A datagram that the raw socket heard. Gives what must be durable before more is done.
    fn frame(
        self: &Arc<Self>,
        sockets: &Arc<Sockets>,
        datagram: &Datagram<'_>,
        vlan: Option<u16>,
        for_others: bool,
    ) -> Option<Write> {
        let from_server = datagram.source_port == SERVER_PORT && datagram.destination_port == CLIENT_PORT;
        if from_server {
            self.overheard(datagram, vlan);
            return None;
        }
        if datagram.destination_port != SERVER_PORT {
            return None;
        }
        let pools = || self.config.pools.iter().filter(|pool| pool.vlan == vlan);
        let to_all = datagram.destination.is_broadcast()
            || pools().any(|pool| pool.is_local() && pool.network.broadcast() == datagram.destination);
        // Untagged unicast comes by the UDP socket; on a VLAN there is none, and the kernel calls every tag foreign.
        let tagged_to_us = vlan.is_some() && pools().any(|pool| pool.server == datagram.destination);
        if !(to_all || tagged_to_us) || (for_others && vlan.is_none()) {
            return None;
        }
        self.message(sockets, datagram.payload, Arrival { vlan, unicast: !to_all })
    }

    /// A message of a server to a client, which is none of ours: whatever we send, this socket does not hear.
    fn overheard(&self, datagram: &Datagram<'_>, vlan: Option<u16>) {
        let served = self.config.pools.iter().any(|pool| pool.is_local() && pool.vlan == vlan);
        if let Ok(message) = ServerMessage::decode(datagram.payload)
            && served
        {
            self.rival(message.server, Some(datagram.source_mac));
        }
    }

    fn rival(&self, server: Ipv4Addr, hardware: Option<[u8; 6]>) {
        if self.ours.contains(&server) {
            return;
        }
        count(&self.counters.rival_messages);
        if let Some(seen) = lock(&self.rivals).saw(server, self.now()) {
            let interface = self.config.interface.clone();
            self.tell(BootEvent {
                client_ip: None,
                mac: None,
                what: BootWhat::RivalServer { address: server, hardware, interface, seen },
            });
        }
    }

    /// A client's message, whichever way it came. Gives what must be durable before more is done.
    fn message(self: &Arc<Self>, sockets: &Arc<Sockets>, bytes: &[u8], arrival: Arrival) -> Option<Write> {
        count(&self.counters.received);
        let packet = match Packet::decode(bytes) {
            Ok(packet) => packet,
            Err(why) => {
                count(&self.counters.refused_packets);
                let why = format!("a malformed message: {why}");
                self.tell(BootEvent { client_ip: None, mac: None, what: BootWhat::DhcpIgnored { why } });
                return None;
            }
        };
        // A relay hands other servers' answers around as well.
        if packet.is_reply() {
            return None;
        }
        match Request::from_packet(&packet) {
            Ok(request) => self.request(sockets, request, arrival, 0),
            Err(why) => {
                count(&self.counters.refused_packets);
                let why = format!("a malformed message: {why}");
                self.tell(BootEvent { client_ip: None, mac: Some(packet.mac()), what: BootWhat::DhcpIgnored { why } });
                None
            }
        }
    }

    /// Decides and acts, or gives what must be durable first. `probes`: how many addresses were found taken for this
    /// message.
    fn request(
        self: &Arc<Self>,
        sockets: &Arc<Sockets>,
        request: Request,
        arrival: Arrival,
        probes: usize,
    ) -> Option<Write> {
        let outcome = {
            let mut memory = lock(&self.memory);
            // Inside the lock: a write that was settled before is in this snapshot.
            let view = (self.parts.view)();
            let outcome = handle(&request, arrival, &self.config, &view, &mut memory.offers, self.now());
            match memory.admit(outcome.action) {
                Some(action) => Outcome { action, ..outcome },
                None => {
                    count(&self.counters.ignored);
                    return None;
                }
            }
        };
        // When another address is tried for the same message, its events were told already.
        if probes == 0 {
            for event in outcome.events {
                self.tell(event);
            }
        }
        if let Some(server) = outcome.other_server {
            self.rival(server, None);
        }
        match outcome.action {
            Action::Nothing => {}
            Action::Send(answer) => self.send(sockets, answer),
            Action::Probe { address, answer } => {
                let (one, sockets) = (self.clone(), sockets.clone());
                tokio::spawn(one.probe(sockets, request, arrival, address, answer, probes));
            }
            Action::Commit(write) => return Some(*write),
        }
        None
    }

    /// Makes all of it durable with one commit, then answers.
    fn commit(self: &Arc<Self>, sockets: &Arc<Sockets>, writes: Vec<Write>) {
        if writes.is_empty() {
            return;
        }
        let (one, sockets) = (self.clone(), sockets.clone());
        tokio::spawn(async move {
            let mut commands = Vec::with_capacity(writes.len());
            let mut clients = Vec::with_capacity(writes.len());
            let mut answers = Vec::with_capacity(writes.len());
            for Write { command, client, answer, event } in writes {
                commands.push(command);
                clients.push(client);
                answers.push((answer, event));
            }
            let results = {
                let _over = InFlight { memory: &one.memory, clients: &clients };
                one.parts.commit.commit(commands).await
            };
            for (result, (answer, event)) in results.into_iter().zip(answers) {
                one.conclude(&sockets, result, answer, event);
            }
        });
    }

    fn conclude(
        &self,
        sockets: &Sockets,
        result: Result<(), String>,
        answer: Option<Answer>,
        event: Option<BootEvent>,
    ) {
        match result {
            Ok(()) => {
                if let Some(event) = event {
                    self.tell(event);
                }
                if let Some(answer) = answer {
                    self.send(sockets, answer);
                }
            }
            // No answer: the client asks again, and nothing was promised that is not on disk.
            Err(why) => {
                count(&self.counters.commit_failures);
                let mac = answer.map(|answer| answer.mac).or_else(|| event.and_then(|event| event.mac));
                let why = format!("its address could not be recorded, so it was not given: {why}");
                self.tell(BootEvent { client_ip: None, mac, what: BootWhat::DhcpIgnored { why } });
            }
        }
    }

    /// Asks on the wire whether somebody is at the address, then offers it, or another one.
    ///
    /// The future is boxed because it can lead back to itself, with the next address.
    fn probe(
        self: Arc<Self>,
        sockets: Arc<Sockets>,
        request: Request,
        arrival: Arrival,
        address: Ipv4Addr,
        answer: Answer,
        probes: usize,
    ) -> BoxFuture {
        Box::pin(async move {
            let Some(taken) = self.ask_wire(&sockets, address, request.mac).await else { return };
            let now = self.now();
            let Some(by) = taken else {
                lock(&self.memory).offers.found_free(address, now);
                self.send(&sockets, answer);
                return;
            };
            count(&self.counters.addresses_taken);
            lock(&self.memory).offers.found_taken(address, now);
            self.tell(BootEvent {
                client_ip: Some(address),
                mac: Some(request.mac),
                what: BootWhat::AddressTaken { address, by: Some(by) },
            });
            // Kept in memory in any case; on disk so that the next start knows it, too.
            let out_of_use = Command::Bind(Binding::declined(address, now, DECLINED_SECONDS));
            for why in self.parts.commit.commit(vec![out_of_use]).await.into_iter().filter_map(Result::err) {
                count(&self.counters.commit_failures);
                tracing::warn!(%address, %why, "could not record that an address is taken by a stranger");
            }
            if probes + 1 < MOST_PROBES {
                let write = self.request(&sockets, request, arrival, probes + 1);
                self.commit(&sockets, write.into_iter().collect());
            }
        })
    }

    /// Who is at the address: `Some(None)` nobody. `None`: it is being asked already; the first question is answered.
    async fn ask_wire(&self, sockets: &Sockets, address: Ipv4Addr, client: [u8; 6]) -> Option<Option<[u8; 6]>> {
        let mut probe = self.probes.begin(address, client)?;
        let wire = sockets.arp.get_ref();
        let question = frame::write_probe(wire.mac(), address);
        for _ in 0..2 {
            if wire.send(&question).is_err() {
                count(&self.counters.send_failures);
            }
            if let Ok(found) = tokio::time::timeout(self.config.probe / 2, &mut probe.found).await {
                return Some(found.ok());
            }
        }
        Some(None)
    }

    fn send(&self, sockets: &Sockets, answer: Answer) {
        let result = self.send_bytes(sockets, &answer);
        match (result, &answer.event.what) {
            (Ok(()), BootWhat::DhcpOffer { .. }) => count(&self.counters.offers),
            (Ok(()), BootWhat::DhcpNak { .. }) => count(&self.counters.naks),
            (Ok(()), _) => count(&self.counters.acks),
            (Err(error), _) => {
                count(&self.counters.send_failures);
                let why = format!("the answer could not be sent: {error}");
                self.tell(BootEvent { what: BootWhat::DhcpIgnored { why }, ..answer.event });
                return;
            }
        }
        self.tell(answer.event);
    }

    fn send_bytes(&self, sockets: &Sockets, answer: &Answer) -> io::Result<()> {
        let raw = |destination_mac, destination| {
            let wire = sockets.dhcp.get_ref();
            let way = Way {
                source_mac: wire.mac(),
                destination_mac,
                vlan: answer.vlan,
                source: answer.server,
                destination,
                source_port: SERVER_PORT,
                destination_port: CLIENT_PORT,
            };
            let frame = frame::write_datagram(&way, &answer.bytes)
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it is too long"))?;
            wire.send(&frame)
        };
        let routed = |address, port| {
            let socket = sockets.udp(answer.server).ok_or(io::ErrorKind::AddrNotAvailable)?;
            socket.try_send_to(&answer.bytes, SocketAddrV4::new(address, port).into()).map(|_| ())
        };
        match answer.destination {
            Destination::Relay(relay) => routed(relay, SERVER_PORT),
            Destination::Broadcast => raw(EVERYBODY, Ipv4Addr::BROADCAST),
            Destination::Hardware { mac, address } => raw(mac, address),
            Destination::Address(address) if answer.on_wire => raw(answer.mac, address),
            Destination::Address(address) => routed(address, CLIENT_PORT),
        }
    }
}

/// When this is dropped, the clients are heard again, and what the view shows of their addresses counts again.
struct InFlight<'a> {
    memory: &'a Mutex<Memory>,
    clients: &'a [ClientKey],
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let mut memory = lock(self.memory);
        for client in self.clients {
            if let Some(address) = memory.in_flight.remove(client).flatten() {
                memory.offers.settled(address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leasehold_domain::address::Hold;
    use leasehold_domain::mac::Mac;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    fn bind(address: Ipv4Addr, client: &ClientKey) -> Action {
        let hold = Hold::Bound { client: client.clone(), mac: MAC };
        let binding = Binding { address, hold, since: Timestamp::UNIX_EPOCH, expires: Timestamp::MAX };
        Action::Commit(Box::new(Write {
            command: Command::Bind(binding),
            client: client.clone(),
            answer: None,
            event: None,
        }))
    }

    #[test]
    fn a_client_waits_for_one_write_at_a_time() {
        let client = ClientKey::Mac(MAC);
        let (first, second) = (Ipv4Addr::new(10, 0, 0, 8), Ipv4Addr::new(10, 0, 0, 9));
        let now = Timestamp::UNIX_EPOCH;
        let memory = Mutex::new(Memory::default());
        // As the decision does it, each time before it is admitted.
        let decide = |address| {
            let mut memory = lock(&memory);
            memory.offers.writing(address, Some(&client));
            memory.admit(bind(address, &client)).is_some()
        };
        assert!(decide(first));
        assert!(!decide(first), "the same again is void, and its address stays blocked");
        assert!(!decide(second), "another is void, and its address is free");
        assert_eq!(lock(&memory).offers.holder(first, now), Some(&client));
        assert_eq!(lock(&memory).offers.holder(second, now), None);
        drop(InFlight { memory: &memory, clients: std::slice::from_ref(&client) });
        assert_eq!(lock(&memory).offers.holder(first, now), None, "what the view shows counts again");
        assert!(decide(second), "heard again");
    }

    #[test]
    fn writes_in_flight_are_bounded() {
        let mut memory = Memory::default();
        let admitted = (0..5000_u32)
            .filter(|number| {
                let client = ClientKey::Identifier(number.to_be_bytes().to_vec());
                memory.admit(bind(Ipv4Addr::from(*number), &client)).is_some()
            })
            .count();
        assert_eq!(admitted, MOST_IN_FLIGHT);
    }
}
