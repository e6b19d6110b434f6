//! Where an answer goes (RFC 2131 §4.1).

use super::reply::{Reply, ReplyKind};
use super::request::Request;
use std::net::Ipv4Addr;

/// Where an answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To the relay, on the server port.
    Relay(Ipv4Addr),
    /// To an address that the client has and answers for.
    Address(Ipv4Addr),
    /// To all on the wire.
    Broadcast,
    /// To the client's Ethernet address, with an IP address that it does not yet answer ARP for.
    Hardware { mac: [u8; 6], address: Ipv4Addr },
}

/// Where `reply` to `request` goes.
#[must_use]
pub fn destination(request: &Request, reply: &Reply) -> Destination {
    if request.is_relayed() {
        return Destination::Relay(request.giaddr);
    }
    // A client that is refused its address must not be relied on to answer for it.
    if reply.kind == ReplyKind::Nak {
        return Destination::Broadcast;
    }
    if !request.ciaddr.is_unspecified() {
        return Destination::Address(request.ciaddr);
    }
    match &reply.lease {
        Some(lease) if !request.wants_broadcast() => Destination::Hardware { mac: request.mac, address: lease.address },
        _ => Destination::Broadcast,
    }
}

#[cfg(test)]
mod tests {
    use super::super::client::{ClientMessage, Firmware};
    use super::super::reply::Lease;
    use super::*;

    #[test]
    fn the_four_rules() {
        let mac = [2, 0, 0, 0, 0, 1];
        let address = Ipv4Addr::new(10, 0, 0, 9);
        let server = Ipv4Addr::new(10, 0, 0, 1);
        let mut offer = Reply::new(ReplyKind::Offer, server);
        offer.lease = Some(Lease { address, seconds: 60 });
        let nak = Reply::new(ReplyKind::Nak, server);

        let mut message = ClientMessage::discover(Firmware::IpxeBios, mac, 1);
        let mut of = |change: &dyn Fn(&mut ClientMessage), reply: &Reply| {
            change(&mut message);
            destination(&Request::decode(&message.encode()).unwrap(), reply)
        };
        assert_eq!(of(&|m| m.flags = 0, &offer), Destination::Hardware { mac, address });
        assert_eq!(of(&|m| m.flags = 0x8000, &offer), Destination::Broadcast);
        assert_eq!(of(&|m| m.ciaddr = address, &offer), Destination::Address(address));
        assert_eq!(of(&|_| (), &nak), Destination::Broadcast);
        let relay = Ipv4Addr::new(10, 9, 0, 1);
        assert_eq!(of(&|m| m.giaddr = relay, &nak), Destination::Relay(relay));
        assert_eq!(of(&|_| (), &offer), Destination::Relay(relay));
    }
}
