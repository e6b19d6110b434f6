//! Which databases the switches of the configuration turned out to be.
//!
//! The same switch may be reached by several addresses. Configured twice, each of its ports would have two names, and two
//! machines could be noted for one port.

use leasehold_protocols::ovsdb::RowId;
use std::sync::{Mutex, PoisonError};

/// One for all switches of the program.
#[derive(Debug, Default)]
pub struct Databases {
    seen: Mutex<Vec<Seen>>,
}

#[derive(Debug)]
struct Seen {
    /// The one row of the whole database.
    id: String,
    /// The only bridge that counts; `None`: all of them.
    bridge: Option<String>,
    switch: String,
}

impl Databases {
    /// The switch has this database, or this bridge of it, for itself. The error: another one has it, of this name.
    pub(super) fn claim(&self, id: &RowId, bridge: Option<&str>, switch: &str) -> Result<(), String> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let meets = |other: &&Seen| {
            let both = bridge.zip(other.bridge.as_deref());
            other.id == id.as_str() && other.switch != switch && both.is_none_or(|(one, other)| one == other)
        };
        if let Some(other) = seen.iter().find(meets) {
            return Err(other.switch.clone());
        }
        // A switch whose database was made anew is the new one from then on.
        let bridge = bridge.map(str::to_owned);
        seen.retain(|one| one.switch != switch);
        seen.push(Seen { id: id.as_str().to_owned(), bridge, switch: switch.to_owned() });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_has_one_name() {
        let id = |text: &str| RowId::parse(text).expect("an id");
        let one = id("f8e6b6a1-0b0d-4f43-9a53-0123456789ab");
        let other = id("f8e6b6a1-0b0d-4f43-9a53-0123456789ac");
        let all = Databases::default();
        assert_eq!(all.claim(&one, None, "tor1"), Ok(()));
        assert_eq!(all.claim(&one, None, "tor1"), Ok(()), "again");
        assert_eq!(all.claim(&one, None, "tor2"), Err("tor1".into()));
        assert_eq!(all.claim(&one, Some("br"), "tor2"), Err("tor1".into()), "all bridges are taken");
        assert_eq!(all.claim(&other, Some("a"), "tor2"), Ok(()));
        assert_eq!(all.claim(&other, Some("b"), "tor3"), Ok(()), "another bridge");
        assert_eq!(all.claim(&other, Some("a"), "tor4"), Err("tor2".into()));
        assert_eq!(all.claim(&other, None, "tor1"), Err("tor2".into()));
    }
}
