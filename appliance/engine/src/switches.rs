//! The switches in the configuration, and the ports of nodes on them.
//!
//! In: a node, and where its ports are to stand (the idle, provisioning or cleaning VLAN of their switch, or the networks
//! of whoever has the machine). Out: the ports stand there and were read back, or why that is not known, which counts as
//! unsafe. Jobs ask for that at their places ([`Switches::set`]); while no job works on a node, [`keeper`] sees to it.
//!
//! What is not known to be idle is on record (`SwitchPort`), from before it is set until it was read back: so a crash
//! leaves no port of which nobody knows, and a cable is not forgotten before it was cut ([`Switches::cut`]).

mod cable;
#[cfg(test)]
mod job_tests;
mod keep;
#[cfg(test)]
mod keep_tests;
pub(crate) mod keeper;
mod notes;
mod set;
#[cfg(test)]
mod tests;
mod wanted;

use leasehold_domain::id::PortId;
use leasehold_drivers::switch::{Switch, Vlan, Wanted};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use notes::{NotNoted, Notes};
pub use set::Cut;

/// A switch of the configuration.
pub struct KnownSwitch {
    /// Unique among the switches.
    pub name: String,
    /// What `switch_id` calls it, such as the MAC address that it has in LLDP.
    pub id: Option<String>,
    /// The ports that machines are plugged into, by the switch's own names. No other is ever set.
    pub ports: BTreeSet<String>,
    /// The cabling that it is a part of: it carries the networks that name the same one.
    pub physical_network: Option<String>,
    pub idle: Vlan,
    pub provisioning: Vlan,
    pub cleaning: Vlan,
    /// Knows the idle VLAN, too.
    pub driver: Arc<dyn Switch>,
}

/// Where a node's ports are to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stand {
    /// Nobody hears the machine, and it hears nobody.
    Idle,
    /// Where the appliance boots it, apart from other machines; ports that do not boot from the network are idle meanwhile.
    Provisioning,
    /// The same, for a machine that may still hold somebody's data.
    Cleaning,
    /// On the networks that are attached to it; ports with none are idle.
    Tenant,
}

/// The ports are not known to stand where they should. All that could be set is set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Unsafe {
    why: String,
    /// Trying again may help without anybody doing anything.
    pub may_pass: bool,
}

impl Unsafe {
    /// Somebody has to do something first.
    fn lasting(why: String) -> Unsafe {
        Unsafe { why, may_pass: false }
    }
}

/// All switches.
#[derive(Default)]
pub struct Switches {
    known: Vec<KnownSwitch>,
    /// Whoever sets a port of a switch, and notes that, has its turn: one at a time.
    turns: Vec<Arc<tokio::sync::Mutex<()>>>,
    /// All VLANs that no user's network may have.
    reserved: BTreeSet<Vlan>,
    /// What this program has set since it began, by network card.
    proven: Mutex<HashMap<PortId, Proven>>,
}

/// A port that was set.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Proven {
    switch: usize,
    port: String,
    /// As it was last read back; `None`: it is not known, or no more.
    stands: Option<Wanted>,
}

impl Switches {
    /// These.
    pub fn new(known: Vec<KnownSwitch>) -> Switches {
        let turns = known.iter().map(|_| Arc::default()).collect();
        let reserved = known.iter().flat_map(|switch| [switch.idle, switch.provisioning, switch.cleaning]).collect();
        Switches { known, turns, reserved, proven: Mutex::default() }
    }

    /// There are some.
    pub fn are_configured(&self) -> bool {
        !self.known.is_empty()
    }

    /// The box itself needs this VLAN on one of its switches.
    pub fn reserves(&self, vlan: u16) -> bool {
        Vlan::new(vlan).is_some_and(|vlan| self.reserved.contains(&vlan))
    }

    /// Asks each switch whether it is what it was taken for, and tells the log. One that does not answer now is no reason
    /// not to start: the jobs that need it say so.
    pub async fn check(&self) {
        for (vlan, switches) in self.shared() {
            tracing::warn!(%vlan, ?switches, "machines at these switches hear each other there, if the switches are connected");
        }
        for switch in &self.known {
            match switch.driver.check().await {
                Ok(checked) => {
                    tracing::info!(switch = switch.name, version = checked.version, "the switch answers");
                    for warning in checked.warnings {
                        tracing::warn!(switch = switch.name, warning, "isolation may not be what it looks like");
                    }
                }
                Err(error) => tracing::error!(switch = switch.name, %error, "machines on this switch cannot be served"),
            }
        }
    }

    /// The VLANs on which machines are to be kept apart, and more than one switch has machines: each keeps apart its own.
    fn shared(&self) -> Vec<(Vlan, Vec<&str>)> {
        let mut by_vlan: BTreeMap<Vlan, Vec<&str>> = BTreeMap::new();
        for switch in &self.known {
            for vlan in BTreeSet::from([switch.idle, switch.provisioning, switch.cleaning]) {
                by_vlan.entry(vlan).or_default().push(&switch.name);
            }
        }
        by_vlan.into_iter().filter(|(_, switches)| switches.len() > 1).collect()
    }

    fn proven(&self) -> MutexGuard<'_, HashMap<PortId, Proven>> {
        self.proven.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
