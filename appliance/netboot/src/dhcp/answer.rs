//! How answers go out: those through a relay or a router together, those to the own wire as frames.

use super::frame::{self, EVERYBODY, Way};
use super::handle::Answer;
use super::interface::Interface;
use super::packet::send_many;
use super::server::count;
use super::sockets::Sockets;
use crate::trace::{BootEvent, BootWhat};
use leasehold_protocols::dhcp::{CLIENT_PORT, Destination, SERVER_PORT};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

impl Interface {
    /// Sends the answers in their order, and tells of each what became of it.
    pub(super) fn send(&self, sockets: &Sockets, answers: Vec<Answer>) {
        let mut together: Vec<(SocketAddrV4, Answer)> = Vec::new();
        for answer in answers {
            match route(&answer) {
                Route::Routed(to) => {
                    if together.last().is_some_and(|(_, last)| last.server != answer.server) {
                        self.send_together(sockets, std::mem::take(&mut together));
                    }
                    together.push((to, answer));
                }
                Route::Wire { mac, address } => {
                    self.send_together(sockets, std::mem::take(&mut together));
                    let result = send_frame(sockets, &answer, mac, address);
                    self.told(answer, result);
                }
            }
        }
        self.send_together(sockets, together);
    }

    /// Sends from one of our addresses with as few system calls as can be. One that fails does not hold up the others.
    fn send_together(&self, sockets: &Sockets, answers: Vec<(SocketAddrV4, Answer)>) {
        let mut rest = answers;
        while let Some((_, first)) = rest.first() {
            let messages: Vec<_> = rest.iter().map(|(to, answer)| (*to, answer.bytes.as_slice())).collect();
            let (sent, result) = match sockets.udp(first.server) {
                Some(socket) => send_many(socket, &messages),
                None => (0, Err(io::ErrorKind::AddrNotAvailable.into())),
            };
            let mut unsent = rest.split_off(sent);
            rest.into_iter().for_each(|(_, answer)| self.told(answer, Ok(())));
            rest = unsent.split_off(unsent.len().min(1));
            unsent.into_iter().zip([result]).for_each(|((_, answer), result)| self.told(answer, result));
        }
    }

    /// Counts an answer and tells of it.
    fn told(&self, answer: Answer, result: io::Result<()>) {
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
}

/// How an answer reaches its client.
enum Route {
    /// The kernel's IP takes it there.
    Routed(SocketAddrV4),
    /// On the own wire, to a client that may not have its address yet.
    Wire { mac: [u8; 6], address: Ipv4Addr },
}

fn route(answer: &Answer) -> Route {
    match answer.destination {
        Destination::Relay(relay) => Route::Routed(SocketAddrV4::new(relay, SERVER_PORT)),
        Destination::Broadcast => Route::Wire { mac: EVERYBODY, address: Ipv4Addr::BROADCAST },
        Destination::Hardware { mac, address } => Route::Wire { mac, address },
        Destination::Address(address) if answer.on_wire => Route::Wire { mac: answer.mac, address },
        Destination::Address(address) => Route::Routed(SocketAddrV4::new(address, CLIENT_PORT)),
    }
}

fn send_frame(sockets: &Sockets, answer: &Answer, destination_mac: [u8; 6], destination: Ipv4Addr) -> io::Result<()> {
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
}
