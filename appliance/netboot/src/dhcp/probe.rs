//! ARP probes (RFC 5227 §2.1.1): is somebody at this address?

use super::frame::ArpPacket;
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};
use tokio::sync::oneshot;

/// How many probes run at once on an interface.
const MOST: usize = 1024;

struct Waiting {
    /// The machine that is to get the address: if it is the one that answers, it has the address already.
    client: [u8; 6],
    found: oneshot::Sender<[u8; 6]>,
}

/// The probes that wait for an answer on one interface.
#[derive(Default)]
pub(super) struct Probes {
    waiting: Mutex<HashMap<Ipv4Addr, Waiting>>,
}

/// Ends the wait when it is dropped.
pub(super) struct Probe<'a> {
    probes: &'a Probes,
    address: Ipv4Addr,
    /// Gives the Ethernet address of whoever is there.
    pub(super) found: oneshot::Receiver<[u8; 6]>,
}

impl Probes {
    /// Begins to wait. `None`: this address is being probed already, or too many are.
    pub(super) fn begin(&self, address: Ipv4Addr, client: [u8; 6]) -> Option<Probe<'_>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= MOST || waiting.contains_key(&address) {
            return None;
        }
        let (sender, found) = oneshot::channel();
        waiting.insert(address, Waiting { client, found: sender });
        Some(Probe { probes: self, address, found })
    }

    /// An ARP packet was seen.
    pub(super) fn saw(&self, packet: &ArpPacket) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever speaks from the address has it; whoever probes for it at the same time is about to.
        let address = if packet.sender.is_unspecified() { packet.target } else { packet.sender };
        let other = |probe: &mut Waiting| probe.client != packet.sender_mac;
        if waiting.get_mut(&address).is_some_and(other)
            && let Some(probe) = waiting.remove(&address)
        {
            // The receiver may have gone; then nobody wants to know.
            let _ = probe.found.send(packet.sender_mac);
        }
    }
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        self.probes.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
    const CLIENT: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const STRANGER: [u8; 6] = [2, 0, 0, 0, 0, 2];

    fn arp(sender_mac: [u8; 6], sender: Ipv4Addr, target: Ipv4Addr) -> ArpPacket {
        ArpPacket { sender_mac, sender, target }
    }

    #[test]
    fn only_somebody_else_counts() {
        let probes = Probes::default();
        let mut probe = probes.begin(ADDRESS, CLIENT).expect("the first");
        assert!(probes.begin(ADDRESS, STRANGER).is_none(), "one at a time");
        probes.saw(&arp(CLIENT, ADDRESS, Ipv4Addr::new(10, 0, 0, 1)));
        probes.saw(&arp(STRANGER, Ipv4Addr::new(10, 0, 0, 8), ADDRESS));
        assert!(probe.found.try_recv().is_err());
        probes.saw(&arp(STRANGER, ADDRESS, Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(probe.found.try_recv(), Ok(STRANGER));
        drop(probe);
        let mut probe = probes.begin(ADDRESS, CLIENT).expect("the former has ended");
        probes.saw(&arp(STRANGER, Ipv4Addr::UNSPECIFIED, ADDRESS));
        assert_eq!(probe.found.try_recv(), Ok(STRANGER), "it probes for the same address");
    }
}
