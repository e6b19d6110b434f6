//! A DHCP client on a raw wire: it can be any machine, and sees how an answer was sent.

use crate::wire::{self, Wire};
use anyhow::{Context, Result, bail, ensure};
use leasehold_protocols::dhcp::client::{ClientMessage, Firmware};
use leasehold_protocols::dhcp::{Packet, ServerMessage};
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

pub(crate) const OFFER: u8 = 2;
pub(crate) const ACK: u8 = 5;
pub(crate) const NAK: u8 = 6;
/// Between two tries.
const AGAIN: Duration = Duration::from_millis(1200);
const TRIES: u32 = 6;

/// What a server said, and to which hardware address.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) message: ServerMessage,
    pub(crate) to_mac: [u8; 6],
    /// Option 82.
    pub(crate) relay_information: Option<Vec<u8>>,
}

impl Answer {
    pub(crate) fn boot_file(&self) -> String {
        String::from_utf8_lossy(&self.message.boot_file).into_owned()
    }

    /// Reads a server's payload.
    pub(crate) fn read(payload: &[u8], to_mac: [u8; 6]) -> Option<Answer> {
        let packet = Packet::decode(payload).ok()?;
        let message = ServerMessage::from_packet(&packet).ok()?;
        Some(Answer { message, to_mac, relay_information: packet.option(82).map(<[u8]>::to_vec) })
    }
}

/// The client.
pub(crate) struct Dhcp {
    pub(crate) wire: Wire,
    next: Cell<u32>,
    /// Every exchange that any server answered so far.
    answered: RefCell<HashSet<u32>>,
    /// Every server that was heard.
    pub(crate) servers: RefCell<HashSet<Ipv4Addr>>,
}

impl Dhcp {
    pub(crate) fn new(wire: Wire) -> Dhcp {
        Dhcp { wire, next: Cell::new(0x1000), answered: RefCell::default(), servers: RefCell::default() }
    }

    /// A number that no exchange had yet.
    pub(crate) fn xid(&self) -> u32 {
        self.next.set(self.next.get() + 1);
        self.next.get()
    }

    pub(crate) fn discover(&self, firmware: Firmware, mac: [u8; 6]) -> ClientMessage {
        ClientMessage::discover(firmware, mac, self.xid())
    }

    /// Broadcasts a message; answers are looked for later.
    pub(crate) fn say(&self, message: &ClientMessage) -> Result<()> {
        self.wire.send(&wire::from_client(message.mac, &message.encode()))
    }

    /// Whether an exchange was answered, by what was heard until now.
    pub(crate) fn was_answered(&self, xid: u32) -> bool {
        self.answered.borrow().contains(&xid)
    }

    /// Sends until `server` answers with one of `kinds`.
    pub(crate) fn ask_of(&self, server: Ipv4Addr, message: &ClientMessage, kinds: &[u8]) -> Result<Answer> {
        for _ in 0..TRIES {
            self.say(message)?;
            if let Some(answer) = self.hear(server, message, kinds, Instant::now() + AGAIN)? {
                return Ok(answer);
            }
        }
        bail!("{server} did not answer (wanted {kinds:?}) to {message:?}")
    }

    fn hear(
        &self,
        server: Ipv4Addr,
        message: &ClientMessage,
        kinds: &[u8],
        deadline: Instant,
    ) -> Result<Option<Answer>> {
        while let Some(heard) = self.wire.receive(deadline)? {
            if heard.from.port() != 67 || heard.to.port() != 68 {
                continue;
            }
            let answer = Answer::read(&heard.payload, heard.to_mac).context("a server's answer is malformed")?;
            self.answered.borrow_mut().insert(answer.message.xid);
            self.servers.borrow_mut().insert(answer.message.server);
            let ours = answer.message.xid == message.xid && answer.message.server == server;
            if ours && kinds.contains(&answer.message.message_type) {
                return Ok(Some(answer));
            }
        }
        Ok(None)
    }

    /// The whole way to an address: offer and acknowledgement.
    pub(crate) fn bind(&self, server: Ipv4Addr, discover: &ClientMessage) -> Result<(Answer, Answer)> {
        let offer = self.ask_of(server, discover, &[OFFER])?;
        let ack = self.ask_of(server, &discover.select(server, offer.message.yiaddr), &[ACK])?;
        ensure!(
            ack.message.yiaddr == offer.message.yiaddr,
            "offered {}, bound {}",
            offer.message.yiaddr,
            ack.message.yiaddr
        );
        Ok((offer, ack))
    }
}
