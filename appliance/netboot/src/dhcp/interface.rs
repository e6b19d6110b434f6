//! What happens on one interface: messages are decided, what must be durable is committed, then they are answered.

use super::config::BootConfig;
use super::frame::{self, ArpPacket, Datagram};
use super::handle::{Action, Answer, Arrival, Outcome, Write, handle};
use super::memory::{InFlight, Memory, lock};
use super::probe::Probes;
use super::rival::Rivals;
use super::server::{Counters, Parts, count};
use super::sockets::Sockets;
use crate::trace::{BootEvent, BootWhat};
use jiff::Timestamp;
use leasehold_domain::Command;
use leasehold_domain::address::{Binding, DECLINED_SECONDS};
use leasehold_protocols::dhcp::{CLIENT_PORT, Packet, Request, SERVER_PORT, ServerMessage};
use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// How often another address is tried when a probe finds somebody.
const MOST_PROBES: usize = 4;
/// How many events about ignored and malformed packets one interface tells in a second: a flood of them must not push
/// everything else out of the trace.
const MOST_COMPLAINTS: u32 = 20;

/// What follows from messages that came in together.
#[derive(Default)]
pub(super) struct Turn {
    /// They can go out at once.
    answers: Vec<Answer>,
    /// They must be durable before more is done.
    writes: Vec<Write>,
}

/// One interface: its configuration and what it remembers.
pub(super) struct Interface {
    config: BootConfig,
    parts: Parts,
    memory: Arc<Mutex<Memory>>,
    ours: Arc<HashSet<Ipv4Addr>>,
    pub(super) counters: Arc<Counters>,
    probes: Probes,
    rivals: Mutex<Rivals>,
    /// Complaints told in the second that began at this moment.
    complaints: Mutex<(u32, Timestamp)>,
}

impl Interface {
    /// `memory` and `ours` (our addresses) are those of all interfaces together.
    pub(super) fn new(
        config: BootConfig,
        parts: Parts,
        memory: Arc<Mutex<Memory>>,
        ours: Arc<HashSet<Ipv4Addr>>,
        counters: Arc<Counters>,
    ) -> Interface {
        let (probes, rivals) = (Probes::default(), Mutex::default());
        Interface {
            config,
            parts,
            memory,
            ours,
            counters,
            probes,
            rivals,
            complaints: Mutex::new((0, Timestamp::UNIX_EPOCH)),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.config.interface
    }

    pub(super) fn config(&self) -> &BootConfig {
        &self.config
    }

    fn now(&self) -> Timestamp {
        (self.parts.clock)()
    }

    pub(super) fn tell(&self, event: BootEvent) {
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

    /// An ARP packet was seen.
    pub(super) fn saw_arp(&self, packet: &ArpPacket) {
        self.probes.saw(packet);
    }

    /// A datagram that the raw socket heard.
    pub(super) fn frame(
        self: &Arc<Self>,
        sockets: &Arc<Sockets>,
        datagram: &Datagram<'_>,
        vlan: Option<u16>,
        for_others: bool,
        turn: &mut Turn,
    ) {
        let from_server = datagram.source_port == SERVER_PORT && datagram.destination_port == CLIENT_PORT;
        if from_server {
            return self.overheard(datagram, vlan);
        }
        if datagram.destination_port != SERVER_PORT {
            return;
        }
        let pools = || self.config.pools.iter().filter(|pool| pool.vlan == vlan);
        let to_all = datagram.destination.is_broadcast()
            || pools().any(|pool| pool.is_local() && pool.network.broadcast() == datagram.destination);
        // Untagged unicast comes by the UDP socket; on a VLAN there is none, and the kernel calls every tag foreign.
        let tagged_to_us = vlan.is_some() && pools().any(|pool| pool.server == datagram.destination);
        if !(to_all || tagged_to_us) || (for_others && vlan.is_none()) {
            return;
        }
        self.message(sockets, datagram.payload, Arrival { vlan, unicast: !to_all }, turn);
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

    /// A client's message, whichever way it came.
    pub(super) fn message(self: &Arc<Self>, sockets: &Arc<Sockets>, bytes: &[u8], arrival: Arrival, turn: &mut Turn) {
        count(&self.counters.received);
        let packet = match Packet::decode(bytes) {
            Ok(packet) => packet,
            Err(why) => {
                count(&self.counters.refused_packets);
                let why = format!("a malformed message: {why}");
                return self.tell(BootEvent { client_ip: None, mac: None, what: BootWhat::DhcpIgnored { why } });
            }
        };
        // A relay hands other servers' answers around as well.
        if packet.is_reply() {
            return;
        }
        match Request::from_packet(&packet) {
            Ok(request) => self.request(sockets, request, arrival, 0, turn),
            Err(why) => {
                count(&self.counters.refused_packets);
                let why = format!("a malformed message: {why}");
                self.tell(BootEvent { client_ip: None, mac: Some(packet.mac()), what: BootWhat::DhcpIgnored { why } });
            }
        }
    }

    /// Decides. `probes`: how many addresses were found taken for this message.
    fn request(
        self: &Arc<Self>,
        sockets: &Arc<Sockets>,
        request: Request,
        arrival: Arrival,
        probes: usize,
        turn: &mut Turn,
    ) {
        let outcome = {
            let mut memory = lock(&self.memory);
            // Inside the lock: a write that was settled before is in this snapshot.
            let view = (self.parts.view)();
            let outcome = handle(&request, arrival, &self.config, &view, &mut memory.offers, self.now());
            match memory.admit(outcome.action) {
                Some(action) => Outcome { action, ..outcome },
                None => {
                    count(&self.counters.ignored);
                    return;
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
            Action::Send(answer) => turn.answers.push(answer),
            Action::Probe { address, answer } => {
                let (one, sockets) = (self.clone(), sockets.clone());
                tokio::spawn(one.probe(sockets, request, arrival, address, answer, probes));
            }
            Action::Commit(write) => turn.writes.push(*write),
        }
    }

    /// Makes durable what must be, with one commit, and answers: at once what needs no write, the rest after it.
    pub(super) fn carry_out(self: &Arc<Self>, sockets: &Arc<Sockets>, turn: Turn) {
        // First, so that the disk is at work while the others are answered.
        if !turn.writes.is_empty() {
            begin(self.clone().commit(sockets.clone(), turn.writes));
        }
        self.send(sockets, turn.answers);
    }

    /// Makes all of it durable with one commit, then answers.
    fn commit(self: Arc<Self>, sockets: Arc<Sockets>, writes: Vec<Write>) -> BoxFuture<()> {
        let one = self;
        Box::pin(async move {
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
            let concluded = results.into_iter().zip(answers);
            let answers = concluded.filter_map(|(result, (answer, event))| one.conclude(result, answer, event));
            one.send(&sockets, answers.collect());
        })
    }

    /// Gives the answer that may go out now.
    fn conclude(&self, result: Result<(), String>, answer: Option<Answer>, event: Option<BootEvent>) -> Option<Answer> {
        match result {
            Ok(()) => {
                if let Some(event) = event {
                    self.tell(event);
                }
                answer
            }
            // No answer: the client asks again, and nothing was promised that is not on disk.
            Err(why) => {
                count(&self.counters.commit_failures);
                let mac = answer.map(|answer| answer.mac).or_else(|| event.and_then(|event| event.mac));
                let why = format!("its address could not be recorded, so it was not given: {why}");
                self.tell(BootEvent { client_ip: None, mac, what: BootWhat::DhcpIgnored { why } });
                None
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
    ) -> BoxFuture<()> {
        Box::pin(async move {
            let Some(taken) = self.ask_wire(&sockets, address, request.mac).await else { return };
            let now = self.now();
            let Some(by) = taken else {
                lock(&self.memory).offers.found_free(address, now);
                self.send(&sockets, vec![answer]);
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
                let mut turn = Turn::default();
                self.request(&sockets, request, arrival, probes + 1, &mut turn);
                self.carry_out(&sockets, turn);
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
}

/// Runs a future in a task of its own, but its first part at once: what it waits for is under way when this returns.
fn begin(mut future: BoxFuture<()>) {
    if future.as_mut().poll(&mut Context::from_waker(Waker::noop())) == Poll::Pending {
        tokio::spawn(future);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn the_first_part_of_what_is_begun_is_done_at_once_and_the_rest_when_it_can() {
        let ((first, mut done_first), (go, wait), (second, done_second)) =
            (oneshot::channel(), oneshot::channel(), oneshot::channel());
        begin(Box::pin(async move {
            first.send(1).unwrap();
            second.send(wait.await.unwrap()).unwrap();
        }));
        assert_eq!(done_first.try_recv(), Ok(1));
        go.send(2).unwrap();
        assert_eq!(done_second.await, Ok(2));
    }
}
