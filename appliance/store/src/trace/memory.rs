//! The part of the trace that is not on the disk yet: the tail of each ring.

use super::TraceEntry;
use leasehold_domain::id::NodeId;
use leasehold_domain::mac::Mac;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// Whose ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Key {
    Mac(Mac),
    /// What is known of a node without an address, such as the steps of its jobs.
    Node(NodeId),
}

/// An entry and its place among all entries.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Numbered {
    pub(super) number: u64,
    pub(super) entry: Arc<TraceEntry>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Tail {
    pub(super) entries: VecDeque<Numbered>,
    /// A node's.
    pub(super) known: bool,
}

/// What goes to the disk in one go.
#[derive(Clone, Debug, Default)]
pub(super) struct Spill {
    /// Rings that go, before the tails are added.
    pub(super) forgotten: HashSet<Key>,
    pub(super) tails: HashMap<Key, Tail>,
    pub(super) next_number: u64,
}

#[derive(Debug)]
pub(super) struct Memory {
    next_number: u64,
    per_machine: usize,
    max_strangers: usize,
    fresh: HashMap<Key, Tail>,
    /// The last entry of each stranger, by its number.
    strangers: BTreeMap<u64, Arc<TraceEntry>>,
    stranger_numbers: HashMap<Mac, u64>,
    forgotten: HashSet<Key>,
    /// On its way to the disk: still to be found here until it is there.
    spilling: Arc<Spill>,
}

impl Memory {
    pub(super) fn new(next_number: u64, per_machine: usize, max_strangers: usize) -> Memory {
        Memory {
            next_number,
            per_machine,
            max_strangers,
            fresh: HashMap::new(),
            strangers: BTreeMap::new(),
            stranger_numbers: HashMap::new(),
            forgotten: HashSet::new(),
            spilling: Arc::default(),
        }
    }

    pub(super) fn push(&mut self, entry: Arc<TraceEntry>) {
        let key = match (entry.mac, entry.node) {
            (Some(mac), _) => Key::Mac(mac),
            (None, Some(node)) => Key::Node(node),
            // Nobody could ever ask for it.
            (None, None) => return,
        };
        let number = self.next_number;
        self.next_number += 1;
        let known = entry.node.is_some();
        if let Key::Mac(mac) = key {
            if let Some(old) = self.stranger_numbers.remove(&mac) {
                self.strangers.remove(&old);
            }
            if !known {
                self.strangers.insert(number, entry.clone());
                self.stranger_numbers.insert(mac, number);
            }
        }
        let tail = self.fresh.entry(key).or_default();
        tail.known = known;
        tail.entries.push_back(Numbered { number, entry });
        if tail.entries.len() > self.per_machine {
            tail.entries.pop_front();
        }
        while self.strangers.len() > self.max_strangers {
            let Some(mac) = self.strangers.pop_first().and_then(|(_, entry)| entry.mac) else { break };
            self.stranger_numbers.remove(&mac);
            self.fresh.remove(&Key::Mac(mac));
            self.forgotten.insert(Key::Mac(mac));
            // Bounded even when the disk takes nothing: the shelf has its own bound for strangers.
            if self.forgotten.len() > 16 * self.max_strangers.max(64) {
                self.forgotten.clear();
            }
        }
    }

    pub(super) fn entries(&self, key: Key) -> Vec<Numbered> {
        let mut entries = Vec::new();
        if !self.forgotten.contains(&key)
            && let Some(tail) = self.spilling.tails.get(&key)
        {
            entries.extend(tail.entries.iter().cloned());
        }
        if let Some(tail) = self.fresh.get(&key) {
            entries.extend(tail.entries.iter().cloned());
        }
        entries
    }

    /// The ring was forgotten and the disk does not know yet.
    pub(super) fn is_forgotten(&self, key: Key) -> bool {
        self.forgotten.contains(&key) || self.spilling.forgotten.contains(&key)
    }

    pub(super) fn strangers(&self) -> Vec<Arc<TraceEntry>> {
        self.strangers.values().rev().cloned().collect()
    }

    pub(super) fn forget(&mut self, key: Key) {
        self.fresh.remove(&key);
        self.forgotten.insert(key);
        if let Key::Mac(mac) = key
            && let Some(old) = self.stranger_numbers.remove(&mac)
        {
            self.strangers.remove(&old);
        }
    }

    /// Hands over what is new; `None` when nothing is.
    pub(super) fn begin_spill(&mut self) -> Option<Arc<Spill>> {
        if self.fresh.is_empty() && self.forgotten.is_empty() {
            return None;
        }
        self.spilling = Arc::new(Spill {
            forgotten: std::mem::take(&mut self.forgotten),
            tails: std::mem::take(&mut self.fresh),
            next_number: self.next_number,
        });
        Some(self.spilling.clone())
    }

    /// The hand-over is over; what did not reach the disk is new again.
    pub(super) fn end_spill(&mut self, written: bool) {
        let spill = std::mem::take(&mut self.spilling);
        if written {
            return;
        }
        for (key, mut tail) in spill.tails.clone() {
            if self.forgotten.contains(&key) {
                continue;
            }
            let newer = self.fresh.remove(&key).unwrap_or_default();
            tail.known = newer.entries.back().map_or(tail.known, |_| newer.known);
            tail.entries.extend(newer.entries);
            let excess = tail.entries.len().saturating_sub(self.per_machine);
            tail.entries.drain(..excess);
            self.fresh.insert(key, tail);
        }
        self.forgotten.extend(spill.forgotten.iter().copied());
    }
}
