//! The event loop of the TFTP server.

use super::TftpConfig;
use super::socket::{Listener, Sender, greatest_block, is_answerable};
use super::table::{Active, Client, Key, Table};
use super::timers::Timers;
use crate::files::{BootFiles, LookupError};
use crate::trace::{BootEvent, BootWhat, TraceSink, printable};
use leasehold_protocols::tftp::{
    ErrorCode, Limits, MAX_REQUEST, Outcome, Outgoing, Packet, PacketError, Request, Transfer, encode_error, negotiate,
};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Sockets looked at per turn of the loop.
const EVENTS: usize = 256;
/// Requests taken per turn, so that a flood of them does not hold up the transfers.
const REQUESTS_PER_TURN: usize = 32;
/// A repeated request this soon after the client's last ACK is a delayed copy; later, the client has started again.
const COPY: Duration = Duration::from_secs(1);
/// A transfer whose client has been silent from the start for this long makes room for others when all slots are taken.
const UNANSWERED: Duration = Duration::from_secs(1);
/// How often the listeners are bound to their interfaces again, in case one was deleted and made anew.
const ATTACH: Duration = Duration::from_secs(2);
/// Longer than any packet of a client but a request.
const LONGEST_ANSWER: usize = 600;

/// What an event belongs to, packed into the number that epoll keeps: generation above, slot below.
/// Generation 0 is the loop's own: the slot is the listener's index, or this for the signal to stop.
const STOP: u64 = u32::MAX as u64;

pub(super) struct Worker {
    epoll: OwnedFd,
    listeners: Vec<Listener>,
    files: Arc<BootFiles>,
    trace: TraceSink,
    most_transfers: usize,
    most_per_client: usize,
    limits: Limits,
    table: Table,
    timers: Timers,
    scratch: Vec<u8>,
    start: Instant,
}

impl Worker {
    pub(super) fn new(
        config: &TftpConfig,
        listeners: Vec<Listener>,
        stop: &OwnedFd,
        files: Arc<BootFiles>,
        trace: TraceSink,
    ) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, stop, EventData::new_u64(STOP), EventFlags::IN)?;
        for (listener, index) in listeners.iter().zip(0u64..) {
            epoll::add(&epoll, &listener.socket, EventData::new_u64(index), EventFlags::IN)?;
        }
        Ok(Worker {
            epoll,
            listeners,
            files,
            trace,
            most_transfers: config.most_transfers,
            most_per_client: config.most_per_client,
            limits: Limits { blksize: config.blksize, windowsize: config.windowsize },
            table: Table::default(),
            timers: Timers::default(),
            scratch: Vec::new(),
            start: Instant::now(),
        })
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Serves until the signal to stop.
    pub(super) fn run(mut self) {
        let mut events = Vec::with_capacity(EVENTS);
        let mut attach = self.now() + ATTACH;
        loop {
            let now = self.now();
            if now >= attach {
                self.listeners.iter().for_each(Listener::attach_again);
                attach = now + ATTACH;
            }
            let wait = self.timers.next().map_or(attach, |at| at.min(attach)).saturating_sub(now);
            let wait = Timespec::try_from(wait).ok();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), wait.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => {
                    // Cannot happen with a descriptor and buffer of our own; the health check sees the end.
                    tracing::error!(%error, "TFTP stopped: the kernel refuses to wait for packets");
                    return;
                }
            }
            for event in events.drain(..) {
                let (data, flags) = (event.data, event.flags);
                let data = data.u64();
                let key = Key { slot: (data & 0xffff_ffff) as u32, generation: (data >> 32) as u32 };
                if data == STOP {
                    self.end_all();
                    return;
                } else if key.generation == 0 {
                    self.requests(key.slot as usize);
                } else {
                    self.transfer_event(key, flags);
                }
            }
            self.deadlines();
        }
    }

    /// Reads requests from a listener, a bounded number at a time.
    fn requests(&mut self, listener: usize) {
        let mut buffer = [0; MAX_REQUEST + 64];
        for _ in 0..REQUESTS_PER_TURN {
            let Some(socket) = self.listeners.get(listener).map(|listener| &listener.socket) else { return };
            match socket.recv_from(&mut buffer) {
                Ok((length, SocketAddr::V4(peer))) => {
                    if is_answerable(peer) {
                        self.request(Client { peer, listener }, &buffer[..length]);
                    }
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // An ICMP error about an earlier answer; the next datagram may be fine.
                Err(_) => {}
            }
        }
    }

    /// Takes one datagram that came to a listening port.
    fn request(&mut self, client: Client, datagram: &[u8]) {
        match Packet::parse(datagram) {
            Ok(Packet::Read(request)) => self.read(client, &request, fingerprint(datagram)),
            Ok(Packet::Write(request)) => {
                let why = "this server takes no files; it only serves boot files";
                self.refuse(client, request.file, ErrorCode::AccessViolation, why);
            }
            // An error is never answered with an error, or two servers could keep each other busy for ever.
            Ok(Packet::Error { .. }) | Err(PacketError::Short(_)) => {}
            Ok(Packet::Data { .. } | Packet::Ack { .. } | Packet::OptionAck(_)) => {
                let why = "this port takes requests only; the transfer has another port";
                self.answer_error(client, ErrorCode::UnknownTransfer, why);
            }
            Err(error) => self.refuse(client, b"", ErrorCode::IllegalOperation, &error.to_string()),
        }
    }

    fn read(&mut self, client: Client, request: &Request<'_>, fingerprint: u64) {
        let now = self.now();
        if let Some(key) = self.table.of_client(client) {
            if self.is_repetition(key, fingerprint, now) {
                return;
            }
            self.fail(key, "the client asked again from the same port, so its first transfer is over");
        }
        if self.table.len() >= self.most_transfers {
            match self.table.unanswered_since(now.saturating_sub(UNANSWERED)) {
                Some(key) => self.fail(key, "the client never answered, and its place was needed for others"),
                None => {
                    let why = format!("the server is busy with {} transfers; try again", self.most_transfers);
                    return self.refuse(client, request.file, ErrorCode::Undefined, &why);
                }
            }
        }
        if self.table.count_of(*client.peer.ip()) >= self.most_per_client {
            let why = format!("this address has {} transfers under way already; try again", self.most_per_client);
            return self.refuse(client, request.file, ErrorCode::Undefined, &why);
        }
        let file = match self.files.lookup(request.file) {
            Ok(file) => file,
            Err(error) => {
                let code = match error {
                    LookupError::Refused(_) => ErrorCode::AccessViolation,
                    LookupError::Missing => ErrorCode::FileNotFound,
                };
                return self.refuse(client, request.file, code, &error.to_string());
            }
        };
        let Some(listener) = self.listeners.get(client.listener) else { return };
        let mut limits = self.limits;
        if request.options.get("blksize").is_some() {
            limits.blksize = limits.blksize.min(greatest_block(listener, client.peer));
        }
        let agreed = negotiate(request, file.size(), &limits);
        let key = self.table.next_key();
        let sender = Sender::open(listener, agreed.blksize).and_then(|sender| {
            epoll::add(&self.epoll, sender.socket(), EventData::new_u64(token(key)), EventFlags::IN)?;
            Ok(sender)
        });
        let sender = match sender {
            Ok(sender) => sender,
            Err(error) => {
                let why = format!("the server has no socket for another transfer ({error}); try again");
                return self.refuse(client, request.file, ErrorCode::Undefined, &why);
            }
        };
        let what = BootWhat::TftpStart { file: file.path().to_owned(), size: file.size() };
        self.tell(client.peer, what);
        let key = self.table.insert(Active {
            client,
            transfer: Transfer::new(agreed, now),
            file,
            sender,
            request: fingerprint,
            started: now,
            queued: None,
            waiting_to_write: false,
        });
        self.pump(key);
    }

    /// Whether a request from a client that has a transfer is a copy of the one that started it. If the client has not
    /// answered at all, our first packet was probably lost, and it is sent again.
    fn is_repetition(&mut self, key: Key, fingerprint: u64, now: Duration) -> bool {
        let Some(active) = self.table.get(key) else { return false };
        if active.request != fingerprint {
            return false;
        }
        if active.transfer.heard() {
            return now.saturating_sub(active.transfer.heard_at()) < COPY;
        }
        active.transfer.repeat();
        self.pump(key);
        true
    }

    /// Something happened on the socket of a transfer.
    fn transfer_event(&mut self, key: Key, flags: EventFlags) {
        let now = self.now();
        // The transfer may have ended earlier in the same turn.
        let Some(active) = self.table.get(key) else { return };
        if flags.intersects(EventFlags::IN | EventFlags::ERR | EventFlags::HUP) {
            let mut buffer = [0; LONGEST_ANSWER];
            match active.sender.socket().recv_from(&mut buffer) {
                Ok((length, SocketAddr::V4(peer))) if peer == active.client.peer => {
                    let content = active.file.content().bytes();
                    if let Some(outcome) = active.transfer.on_datagram(&buffer[..length], content, now) {
                        return self.finish(key, outcome);
                    }
                }
                Ok((length, SocketAddr::V4(stranger))) => {
                    turn_away(active.sender.socket(), stranger, &buffer[..length]);
                }
                // Nothing there after all, or an ICMP error, which anybody on the path could forge.
                Ok(_) | Err(_) => {}
            }
        }
        self.pump(key);
    }

    /// Sends what is due, as far as the socket takes it, and queues the next deadline.
    fn pump(&mut self, key: Key) {
        let now = self.now();
        let Some(active) = self.table.get(key) else { return };
        let full = loop {
            let content = active.file.content().bytes();
            let peer = active.client.peer;
            let sent = match active.transfer.outgoing(content, &mut self.scratch) {
                None => break false,
                Some(Outgoing::Packet(bytes)) => active.sender.packet(peer, bytes),
                Some(Outgoing::Run(run)) => active.sender.run(peer, &run),
            };
            active.transfer.sent(sent.packets, now);
            if sent.full {
                break true;
            }
        };
        if full != active.waiting_to_write {
            let flags = if full { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            let changed = epoll::modify(&self.epoll, active.sender.socket(), EventData::new_u64(token(key)), flags);
            // Should the kernel refuse, the deadline sends what is missing.
            active.waiting_to_write = changed.is_ok() && full;
        }
        self.timers.set(key, active.transfer.deadline(), &mut active.queued);
    }

    fn deadlines(&mut self) {
        let now = self.now();
        while let Some((at, key)) = self.timers.due(now) {
            let Some(active) = self.table.get(key) else { continue };
            if active.queued != Some(at) {
                continue;
            }
            active.queued = None;
            match active.transfer.on_deadline(now) {
                Some(outcome) => self.finish(key, outcome),
                None => self.pump(key),
            }
        }
    }

    /// Ends a transfer the way its state machine says.
    fn finish(&mut self, key: Key, outcome: Outcome) {
        let now = self.now();
        let Some(active) = self.table.remove(key) else { return };
        let content = active.file.content().bytes();
        let (file, size) = (active.file.path().to_owned(), active.file.size());
        let bytes = active.transfer.acknowledged(content);
        let what = match outcome {
            Outcome::Done => {
                let millis = now.saturating_sub(active.started).as_millis();
                BootWhat::TftpDone { file, bytes, millis: u64::try_from(millis).unwrap_or(u64::MAX) }
            }
            Outcome::ClientError { .. } if !active.transfer.data_sent() => BootWhat::TftpSizeAsked { file, size },
            Outcome::ClientError { code, message } => {
                let why = format!("the client ended it with error {code}: {}", printable(&message));
                BootWhat::TftpFailed { file, why: format!("{why} (after {bytes} of {size} bytes)") }
            }
            Outcome::Silent if active.transfer.everything_sent(content) => {
                let why = "all of it was sent, but the client never acknowledged the end; it may have what it needs";
                BootWhat::TftpFailed { file, why: why.to_owned() }
            }
            Outcome::Silent => {
                let why = format!("the client fell silent after {bytes} of {size} bytes");
                BootWhat::TftpFailed { file, why }
            }
            Outcome::Illegal => {
                let why = "a packet came that has no place in a transfer";
                let packet = encode_error(ErrorCode::IllegalOperation, why);
                active.sender.packet(active.client.peer, &packet);
                BootWhat::TftpFailed { file, why: why.to_owned() }
            }
        };
        self.tell(active.client.peer, what);
    }

    /// Ends a transfer for a reason of ours, without a word to the client.
    fn fail(&mut self, key: Key, why: &str) {
        if let Some(active) = self.table.remove(key) {
            let file = active.file.path().to_owned();
            self.tell(active.client.peer, BootWhat::TftpFailed { file, why: why.to_owned() });
        }
    }

    /// The server stops: clients are told, so that they need not wait for their timeouts.
    fn end_all(&mut self) {
        let why = "the boot server is being stopped";
        let packet = encode_error(ErrorCode::Undefined, why);
        for active in self.table.drain() {
            active.sender.packet(active.client.peer, &packet);
            let file = active.file.path().to_owned();
            self.tell(active.client.peer, BootWhat::TftpFailed { file, why: why.to_owned() });
        }
    }

    fn refuse(&self, client: Client, file: &[u8], code: ErrorCode, why: &str) {
        self.answer_error(client, code, why);
        self.tell(client.peer, BootWhat::TftpFailed { file: printable(file), why: why.to_owned() });
    }

    fn answer_error(&self, client: Client, code: ErrorCode, why: &str) {
        if let Some(listener) = self.listeners.get(client.listener) {
            // Lost or not sent, the client asks again.
            let _ = listener.socket.send_to(&encode_error(code, why), client.peer);
        }
    }

    fn tell(&self, peer: SocketAddrV4, what: BootWhat) {
        (self.trace)(BootEvent { client_ip: Some(*peer.ip()), mac: None, what });
    }
}

/// Answers a packet that came to a transfer's port from elsewhere (RFC 1350, section 4); the transfer goes on.
fn turn_away(socket: &UdpSocket, stranger: SocketAddrV4, datagram: &[u8]) {
    if is_answerable(stranger) && !matches!(Packet::parse(datagram), Ok(Packet::Error { .. })) {
        let packet = encode_error(ErrorCode::UnknownTransfer, "this port belongs to another client's transfer");
        let _ = rustix::net::sendto(socket.as_fd(), &packet, rustix::net::SendFlags::empty(), &stranger);
    }
}

fn token(key: Key) -> u64 {
    (u64::from(key.generation) << 32) | u64::from(key.slot)
}

fn fingerprint(datagram: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    datagram.hash(&mut hasher);
    hasher.finish()
}
