//! The switches in the configuration, and the ports of nodes on them.
//!
//! In: a node, and where its ports are to stand (the idle, provisioning or cleaning VLAN of their switch, or the networks
//! of whoever has the machine). Out: the ports stand there and were read back, or why that is not known, which counts as
//! unsafe. Which switch port a node's port is on is noted in `local_link_connection`, as with Ironic: `switch_info` is
//! the switch's name here, or `switch_id` its id; `port_id` is the port.

#[cfg(test)]
mod job_tests;
#[cfg(test)]
mod tests;
mod wanted;

use leasehold_domain::View;
use leasehold_domain::id::NodeId;
use leasehold_domain::port::Port;
use leasehold_drivers::switch::{Switch, SwitchError, Vlan};
use std::sync::Arc;

/// A switch of the configuration.
pub struct KnownSwitch {
    /// Unique among the switches.
    pub name: String,
    /// What `switch_id` calls it, such as the MAC address that it has in LLDP.
    pub id: Option<String>,
    pub provisioning: Vlan,
    pub cleaning: Vlan,
    /// Knows the idle VLAN.
    pub driver: Arc<dyn Switch>,
}

/// Where a node's ports are to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stand {
    /// Nobody hears the machine, and it hears nobody.
    Idle,
    /// Where the appliance boots it; ports that do not boot from the network are idle meanwhile.
    Provisioning,
    /// The same, for a machine that may still hold somebody's data.
    Cleaning,
    /// On the networks that are attached to it; ports with none are idle.
    Tenant,
}

/// The ports are not known to stand where they should. All that could be set is set.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub struct Unsafe {
    why: String,
    /// Trying again may help without anybody doing anything.
    pub may_pass: bool,
}

/// A port of a switch.
struct Place<'a> {
    switch: &'a KnownSwitch,
    port: String,
}

/// All switches.
#[derive(Default)]
pub struct Switches {
    known: Vec<KnownSwitch>,
}

impl Switches {
    /// These.
    pub fn new(known: Vec<KnownSwitch>) -> Switches {
        Switches { known }
    }

    /// There are some.
    pub fn are_configured(&self) -> bool {
        !self.known.is_empty()
    }

    /// Asks each switch whether it is what it was taken for, and tells the log. One that does not answer now is no reason
    /// not to start: the jobs that need it say so.
    pub async fn check(&self) {
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

    /// Puts every port of a node whose switch is known where it is to stand, and reads it back. One that fails does not
    /// keep the others from being set. Out: what was done, for a timeline.
    ///
    /// # Errors
    /// When a port is not known to stand there.
    pub async fn set(&self, view: &View, node: NodeId, stand: Stand) -> Result<String, Unsafe> {
        let (mut done, mut failed, mut may_pass) = (Vec::new(), Vec::new(), true);
        for card in view.ports_of(node) {
            match self.set_one(view, card, stand).await {
                Ok(None) => {}
                Ok(Some(text)) => done.push(text),
                Err(trouble) => {
                    may_pass &= trouble.may_pass;
                    failed.push(format!("port {}: {}", card.settings.address, trouble.why));
                }
            }
        }
        match (failed.is_empty(), done.is_empty()) {
            (false, _) => Err(Unsafe { why: failed.join("; "), may_pass }),
            (true, true) => Ok("no switch is configured for the node's ports".to_owned()),
            (true, false) => Ok(done.join("; ")),
        }
    }

    /// Whether a switch is known for each of the node's ports, without asking any.
    ///
    /// # Errors
    /// When a port could not be put on the networks that are attached to it now, with the reason.
    pub fn validate(&self, view: &View, node: NodeId) -> Result<bool, String> {
        let mut all = true;
        for card in view.ports_of(node) {
            let told = |why| format!("port {}: {why}", card.settings.address);
            let Some(place) = self.place(card).map_err(told)? else {
                all = false;
                continue;
            };
            self.check_alone(view, card, &place).map_err(told)?;
            wanted::membership(view, card, Stand::Tenant, place.switch).map_err(told)?;
        }
        Ok(all && view.ports_of(node).next().is_some())
    }

    async fn set_one(&self, view: &View, card: &Port, stand: Stand) -> Result<Option<String>, Unsafe> {
        let lasting = |why: String| Unsafe { why, may_pass: false };
        let Some(place) = self.place(card).map_err(lasting)? else { return Ok(None) };
        self.check_alone(view, card, &place).map_err(lasting)?;
        let wanted = wanted::membership(view, card, stand, place.switch).map_err(lasting)?;
        let state = place.switch.driver.set(&place.port, &wanted).await;
        let state =
            state.map_err(|error: SwitchError| Unsafe { may_pass: error.may_pass(), why: error.to_string() })?;
        Ok(Some(format!("{} of {}: {}", state.name, place.switch.name, state.actual)))
    }

    /// Which switch port the cable of a node's port goes to. `None`: no switch in the configuration is named.
    fn place(&self, card: &Port) -> Result<Option<Place<'_>>, String> {
        let link = &card.settings.local_link_connection;
        let text = |key: &str| link.get(key).and_then(|value| value.as_str()).map(str::trim);
        let by_name = text("switch_info").and_then(|name| self.known.iter().find(|switch| switch.name == name));
        let is = |switch: &&KnownSwitch, id: &str| switch.id.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(id));
        let by_id = text("switch_id").and_then(|id| self.known.iter().find(|switch| is(switch, id)));
        let switch = match (by_name, by_id) {
            (Some(one), Some(other)) if one.name != other.name => {
                return Err(format!(
                    "its local_link_connection names two switches: switch_info '{}', switch_id that of '{}'",
                    one.name, other.name
                ));
            }
            (Some(switch), _) | (None, Some(switch)) => switch,
            (None, None) => return Ok(None),
        };
        match text("port_id").filter(|port| !port.is_empty()) {
            Some(port) => Ok(Some(Place { switch, port: port.to_owned() })),
            None => Err(format!("its local_link_connection names switch '{}' and no port_id", switch.name)),
        }
    }

    /// One cable goes to one port: what two ports of nodes claim is one of them's mistake, and setting it would cut off,
    /// or let in, the wrong machine.
    fn check_alone(&self, view: &View, card: &Port, place: &Place<'_>) -> Result<(), String> {
        let same = |other: &&Arc<Port>| {
            other.id != card.id
                && self.place(other).ok().flatten().is_some_and(|theirs| {
                    theirs.switch.name == place.switch.name && theirs.port.eq_ignore_ascii_case(&place.port)
                })
        };
        match view.ports().find(same) {
            None => Ok(()),
            Some(other) => Err(format!(
                "port '{}' of switch '{}' is noted for port {}, too: correct the local_link_connection of one of them",
                place.port, place.switch.name, other.settings.address
            )),
        }
    }
}
