//! Other DHCP servers on our wires: told once, and again from time to time while they go on.

use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;
use std::net::Ipv4Addr;

/// How long after it was told of a rival is told of again.
const AGAIN: SignedDuration = SignedDuration::from_mins(10);
/// How many are remembered for an interface: the addresses come from the wire and may be invented.
const MOST: usize = 64;

/// The rivals that were seen on one interface.
#[derive(Debug, Default)]
pub(super) struct Rivals {
    seen: HashMap<Ipv4Addr, (u64, Timestamp)>,
}

impl Rivals {
    /// A message of or for another server was seen. `Some`: it is to be told, with how often it was seen so far.
    pub(super) fn saw(&mut self, server: Ipv4Addr, now: Timestamp) -> Option<u64> {
        if let Some((count, told)) = self.seen.get_mut(&server) {
            *count += 1;
            // A clock that was set back must not silence it.
            let due = now.duration_since(*told) >= AGAIN || now < *told;
            return due.then(|| {
                *told = now;
                *count
            });
        }
        if self.seen.len() >= MOST {
            return None;
        }
        self.seen.insert(server, (1, now));
        Some(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn told_once_and_again_later() {
        let mut rivals = Rivals::default();
        let server = Ipv4Addr::new(10, 0, 0, 66);
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(rivals.saw(server, now), Some(1));
        assert_eq!(rivals.saw(server, now), None);
        assert_eq!(rivals.saw(server, now + AGAIN), Some(3));
        assert_eq!(rivals.saw(server, now), Some(4), "the clock was set back");
        let told = (0..1000_u32).filter(|number| rivals.saw(Ipv4Addr::from(*number), now).is_some()).count();
        assert_eq!(told, MOST - 1);
    }
}
