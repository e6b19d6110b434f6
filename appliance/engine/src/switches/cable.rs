//! Which switch port a network card's cable goes to: `local_link_connection`, as with Ironic. `switch_info` is the switch's
//! name in the configuration, or `switch_id` its id; `port_id` is the port.
//!
//! Names count letter for letter, and only ports that the configuration lists: no port has two names here. A cable to
//! something else is an error wherever a switch is meant; it is not for a node whose network interface is `noop`, nor where
//! the note itself says `unmanaged`.

use super::{KnownSwitch, Switches};
use leasehold_domain::View;
use leasehold_domain::driver::Interface;
use leasehold_domain::hardware::SwitchPort;
use leasehold_domain::id::{NodeId, PortId};
use leasehold_domain::port::{Port, PortSettings};
use std::sync::Arc;

/// A port of a switch.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// Its place in the list of switches.
    pub(super) at: usize,
    pub(super) switch: &'a KnownSwitch,
    pub(super) port: &'a str,
}

impl Place<'_> {
    /// As it is noted for this node.
    pub(super) fn of(&self, node: NodeId) -> SwitchPort {
        SwitchPort { node, switch: self.switch.name.clone(), port: self.port.to_owned() }
    }
}

impl Switches {
    /// Where it goes; `None`: no switch is meant. An error is in words that follow the card's address.
    pub(super) fn place(&self, view: &View, card: &Port) -> Result<Option<Place<'_>>, String> {
        let held = view.hardware.switch_ports.get(card.id).map(|held| &held.body);
        match (means_none(view, &card.settings), held) {
            (true, None) => Ok(None),
            // It was set once: what somebody says of the node now does not cut it.
            (true, Some(held)) => {
                let gone = || format!("its cable goes to {held}, which is not in the configuration");
                self.at(&held.switch, &held.port).map(Some).ok_or_else(gone)
            }
            (false, None) if self.known.is_empty() => Ok(None),
            (false, _) => self.named(&card.settings).map(Some),
        }
    }

    /// What is wrong with what somebody wants to note; `id`: the card, if it is there already.
    ///
    /// # Errors
    /// As said, in words for him.
    pub fn check_cable(&self, view: &View, id: Option<PortId>, settings: &PortSettings) -> Result<(), String> {
        if self.known.is_empty() || means_none(view, settings) {
            return Ok(());
        }
        let place = self.named(settings)?;
        self.check_alone(view, id, place)
    }

    /// A port of this name on a switch of this name.
    pub(super) fn at(&self, switch: &str, port: &str) -> Option<Place<'_>> {
        let (at, switch) = self.known.iter().enumerate().find(|(_, known)| known.name == switch)?;
        Some(Place { at, switch, port: switch.ports.get(port)? })
    }

    fn named(&self, card: &PortSettings) -> Result<Place<'_>, String> {
        let link = &card.local_link_connection;
        let text = |key: &str| link.get(key).and_then(|value| value.as_str());
        let (name, id) = (text("switch_info"), text("switch_id"));
        let by_id = |id: &str| self.known.iter().find(|switch| switch.id.as_deref() == Some(id));
        let unknown = |key: &str, value: &str| {
            let names: Vec<_> = self.known.iter().map(|switch| switch.name.as_str()).collect();
            format!(
                "its local_link_connection names {key} '{value}', which is no switch of the configuration ({}): correct \
                 it, or set network_type to unmanaged, or the node's network_interface to noop, if none is meant",
                names.join(", ")
            )
        };
        let switch = match (name, id) {
            (None, None) => {
                return Err("its local_link_connection names no switch: neither switch_info nor switch_id".to_owned());
            }
            (None, Some(id)) => by_id(id).ok_or_else(|| unknown("switch_id", id))?,
            (Some(name), id) => {
                let switch = self.known.iter().find(|switch| switch.name == name);
                let switch = switch.ok_or_else(|| unknown("switch_info", name))?;
                let meant = id.and_then(by_id);
                let own = switch.id.as_deref();
                if meant.is_some_and(|other| other.name != switch.name) || id.is_some() && own.is_some() && id != own {
                    return Err(format!(
                        "its local_link_connection names two switches: switch_info '{name}', and a switch_id that is \
                         not that one's"
                    ));
                }
                switch
            }
        };
        let port = text("port_id").unwrap_or_default();
        if port.is_empty() {
            return Err(format!("its local_link_connection names switch '{}' and no port_id", switch.name));
        }
        self.at(&switch.name, port).ok_or_else(|| {
            format!(
                "its local_link_connection names port_id '{port}', which is not among the ports of switch '{}' in the \
                 configuration",
                switch.name
            )
        })
    }

    /// One cable goes to one port: what two ports of nodes claim is one of them's mistake, and setting it would cut off,
    /// or let in, the wrong machine. Whoever holds it by the record has it.
    pub(super) fn check_alone(&self, view: &View, card: Option<PortId>, place: Place<'_>) -> Result<(), String> {
        let holder = place.of(NodeId(uuid::Uuid::nil())).holder(view).map(|held| held.id);
        if holder.is_some() && holder == card {
            return Ok(());
        }
        let says = |other: &Port| {
            let port = other.settings.local_link_connection.get("port_id").and_then(|port| port.as_str());
            port == Some(place.port)
                && self
                    .place(view, other)
                    .ok()
                    .flatten()
                    .is_some_and(|theirs| (theirs.at, theirs.port) == (place.at, place.port))
        };
        let same = |other: &&Arc<Port>| Some(other.id) != card && (holder == Some(other.id) || says(other));
        match view.ports().find(same) {
            None => Ok(()),
            Some(other) => Err(format!(
                "port '{}' of switch '{}' is noted for port {}, too: correct the local_link_connection of one of them",
                place.port, place.switch.name, other.settings.address
            )),
        }
    }
}

/// Nothing is said of a cable, or that it goes to no switch of ours.
fn means_none(view: &View, card: &PortSettings) -> bool {
    let noop = view.node(card.node).is_some_and(|node| node.settings.interface(Interface::Network) == "noop");
    !card.is_cabled() || noop
}
