//! What is remembered for all interfaces together: offers, and the clients for which something is being written.

use super::handle::{Action, Write};
use leasehold_domain::Command;
use leasehold_domain::address::{ClientKey, Offers};
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many clients may wait for a commit at once.
const MOST_IN_FLIGHT: usize = 4096;

/// What is remembered for all interfaces together, under one lock.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) offers: Offers,
    /// Clients for which something is being written, with the address that is bound: until that is done they are not
    /// heard again, so that commands about one address cannot overtake each other.
    pub(super) in_flight: HashMap<ClientKey, Option<Ipv4Addr>>,
}

impl Memory {
    /// Notes that a client waits for a write. `None`: it waits for one already, or too many do; the decision is void
    /// and the client asks again.
    pub(super) fn admit(&mut self, action: Action) -> Option<Action> {
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

/// When this is dropped, the clients are heard again, and what the view shows of their addresses counts again.
pub(super) struct InFlight<'a> {
    pub(super) memory: &'a Mutex<Memory>,
    pub(super) clients: &'a [ClientKey],
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

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use leasehold_domain::address::{Binding, Hold};
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
