//! The transfers under way: found by slot (for the event loop) and by client (for repeated requests), and counted.

use super::socket::Sender;
use crate::files::BootFile;
use leasehold_protocols::tftp::Transfer;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

/// Names a transfer; a slot is used again, so its generation tells its users apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

/// Who asked, and on which listener: what makes two requests the same client's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Client {
    pub(super) peer: SocketAddrV4,
    pub(super) listener: usize,
}

/// All that is known of one transfer.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) client: Client,
    pub(super) transfer: Transfer,
    pub(super) file: Arc<BootFile>,
    pub(super) sender: Sender,
    /// The request's fingerprint, to tell a repetition from a new wish.
    pub(super) request: u64,
    pub(super) started: Duration,
    /// The live entry in the timers.
    pub(super) queued: Option<Duration>,
    /// The socket's buffer was full; the loop has been told to wait for it.
    pub(super) waiting_to_write: bool,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    active: Option<Active>,
}

/// All transfers.
#[derive(Debug, Default)]
pub(super) struct Table {
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_client: HashMap<Client, Key>,
    per_address: HashMap<Ipv4Addr, usize>,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.by_client.len()
    }

    pub(super) fn count_of(&self, address: Ipv4Addr) -> usize {
        self.per_address.get(&address).copied().unwrap_or(0)
    }

    pub(super) fn of_client(&self, client: Client) -> Option<Key> {
        self.by_client.get(&client).copied()
    }

    pub(super) fn get(&mut self, key: Key) -> Option<&mut Active> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        if slot.generation == key.generation { slot.active.as_mut() } else { None }
    }

    /// The name that the next transfer will have; its socket is registered with the loop under that name first.
    pub(super) fn next_key(&mut self) -> Key {
        let slot = *self.free.last().unwrap_or(&(self.slots.len() as u32));
        // Generation 0 is never given out: the loop's own sockets use it.
        let generation = self.slots.get(slot as usize).map_or(1, |slot| slot.generation);
        Key { slot, generation }
    }

    /// Takes up a transfer under the name that [`Table::next_key`] gave.
    pub(super) fn insert(&mut self, active: Active) -> Key {
        let key = self.next_key();
        self.by_client.insert(active.client, key);
        *self.per_address.entry(*active.client.peer.ip()).or_default() += 1;
        self.free.pop();
        match self.slots.get_mut(key.slot as usize) {
            Some(slot) => slot.active = Some(active),
            None => self.slots.push(Slot { generation: key.generation, active: Some(active) }),
        }
        key
    }

    /// Ends a transfer; its socket closes when the returned value is dropped.
    pub(super) fn remove(&mut self, key: Key) -> Option<Active> {
        let slot = self.slots.get_mut(key.slot as usize).filter(|slot| slot.generation == key.generation)?;
        let active = slot.active.take()?;
        slot.generation = slot.generation.checked_add(1).unwrap_or(1);
        self.free.push(key.slot);
        self.by_client.remove(&active.client);
        let address = *active.client.peer.ip();
        if let Some(count) = self.per_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.per_address.remove(&address);
            }
        }
        Some(active)
    }

    /// Takes out all transfers.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Active> + use<> {
        let Table { slots, .. } = std::mem::take(self);
        slots.into_iter().filter_map(|slot| slot.active)
    }

    /// A transfer whose client has not answered anything since `before`: the one that may make room when all slots
    /// are taken, as requests with forged addresses never are answered.
    pub(super) fn unanswered_since(&self, before: Duration) -> Option<Key> {
        let candidates = self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let active = slot.active.as_ref()?;
            let forgettable = !active.transfer.heard() && active.started <= before;
            forgettable.then_some((active.started, Key { slot: index as u32, generation: slot.generation }))
        });
        candidates.min().map(|(_, key)| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_of_a_transfer_is_far_below_two_kilobytes() {
        // With its entries in the two maps and the timers.
        let bytes = size_of::<Slot>() + size_of::<(Client, Key)>() * 2 + size_of::<(Ipv4Addr, usize)>() * 2 + 64;
        assert!(bytes < 1024, "{bytes}");
    }
}
