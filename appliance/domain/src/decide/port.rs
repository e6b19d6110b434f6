//! Ports: a MAC address belongs to one node only.

use super::Room;
use crate::command::Answer;
use crate::event::What;
use crate::id::PortId;
use crate::network::Place;
use crate::node::Node;
use crate::port::{Port, PortSettings};
use crate::provision::ProvisionState;
use crate::refusal::Refusal;
use crate::view::Change;
use std::sync::Arc;

impl Room<'_> {
    pub(super) fn port(&self, id: PortId) -> Result<&Arc<Port>, Refusal> {
        self.view.port(id).ok_or_else(|| Refusal::NotFound { what: "Port", name: id.to_string() })
    }

    fn check_port(&self, id: PortId, settings: &PortSettings) -> Result<(), Refusal> {
        self.node(settings.node)?;
        if settings.address.0[0] & 1 == 1 || settings.address.0 == [0; 6] {
            return Err(Refusal::Invalid(format!(
                "{} is not the address of one network card: it is zero or a group address.",
                settings.address
            )));
        }
        if self.view.port_by_mac(settings.address).is_some_and(|other| other.id != id) {
            return Err(Refusal::Exists { what: "A port with MAC address", name: settings.address.to_string() });
        }
        if let Some(name) = &settings.name
            && self.view.port_by_name(name).is_some_and(|other| other.id != id)
        {
            return Err(Refusal::Exists { what: "A port with name", name: name.clone() });
        }
        Ok(())
    }

    /// The group is the same node's, and its ports lie in one physical network.
    fn check_membership(&self, id: PortId, settings: &PortSettings) -> Result<(), Refusal> {
        let Some(group) = settings.portgroup else { return Ok(()) };
        let Some(found) = self.view.hardware.portgroups.get(group) else {
            return Err(Refusal::Invalid(format!("Portgroup {group} could not be found.")));
        };
        if found.body.node != settings.node {
            return Err(Refusal::Invalid("Port can not be added to a portgroup belonging to a different node.".into()));
        }
        if settings.pxe_enabled && !found.body.standalone_ports_supported {
            return Err(Refusal::InUse(format!(
                "Portgroup {group} does not support standalone ports: its ports can not have pxe_enabled."
            )));
        }
        let of_others = self.view.ports_of(settings.node);
        let mut of_others = of_others.filter(|port| port.settings.portgroup == Some(group) && port.id != id);
        let network = match of_others.next() {
            Some(other) => other.settings.physical_network.as_ref(),
            None if found.body.physical_network.is_none() => return Ok(()),
            None => found.body.physical_network.as_ref(),
        };
        if network != settings.physical_network.as_ref() {
            return Err(Refusal::InUse(format!(
                "The port's physical network is another than that of portgroup {group} ({}).",
                network.map_or("none", String::as_str)
            )));
        }
        Ok(())
    }

    /// Cables are changed where nobody relies on them; an address while nobody boots by it; and a port moves only to a
    /// node of the same owner, else it would carry his machine's traffic to somebody else.
    fn check_port_change(&self, node: &Node, old: &PortSettings, new: &PortSettings) -> Result<(), Refusal> {
        if old.node != new.node {
            let to = self.node(new.node)?;
            if to.settings.owner != node.settings.owner {
                return Err(Refusal::Invalid(format!(
                    "Unable to apply the requested node_uuid '{}'. Requested value was invalid.",
                    new.node
                )));
            }
        }
        let in_use = node.provision_state == ProvisionState::Active || node.settings.instance_uuid.is_some();
        if old.address != new.address && in_use && !node.maintenance {
            return Err(Refusal::InUse(format!(
                "Cannot update the address of a port of node {}: it is active or belongs to an instance.",
                node.title()
            )));
        }
        use ProvisionState::{Enroll, InspectWait, Inspecting, Manageable};
        let free = matches!(node.provision_state, Enroll | Inspecting | InspectWait | Manageable);
        let another = old.portgroup != new.portgroup
            || old.pxe_enabled != new.pxe_enabled
            || old.local_link_connection != new.local_link_connection
            || old.physical_network != new.physical_network;
        if another && !free && !node.maintenance {
            return Err(Refusal::InUse(format!(
                "A port's portgroup_uuid, pxe_enabled, local_link_connection and physical_network can be changed only \
                 while its node is enroll, inspecting, inspect wait or manageable, or in maintenance; node {} is \"{}\".",
                node.title(),
                node.provision_state.name()
            )));
        }
        Ok(())
    }

    pub(super) fn create_port(&mut self, id: PortId, settings: &PortSettings) -> Result<Answer, Refusal> {
        if self.view.port(id).is_some() {
            return Err(Refusal::Exists { what: "A port with UUID", name: id.to_string() });
        }
        self.check_port(id, settings)?;
        self.check_membership(id, settings)?;
        let node = self.node(settings.node)?.clone();
        let port = Arc::new(Port {
            id,
            revision: 0,
            settings: settings.clone(),
            created_at: self.context.now,
            updated_at: None,
        });
        self.tell(&node, What::PortCreated { address: settings.address.to_string() });
        self.changes.push(Change::PutPort(port.clone()));
        Ok(Answer::Port(port))
    }

    pub(super) fn change_port(
        &mut self,
        id: PortId,
        revision: u64,
        settings: &PortSettings,
    ) -> Result<Answer, Refusal> {
        let old = self.port(id)?.clone();
        if old.revision != revision {
            return Err(Refusal::Conflict { what: "Port", name: id.to_string() });
        }
        self.check_port(id, settings)?;
        let node = self.node(old.settings.node)?.clone();
        self.check_port_change(&node, &old.settings, settings)?;
        if old.settings.portgroup != settings.portgroup
            || old.settings.physical_network != settings.physical_network
            || old.settings.node != settings.node
        {
            self.check_membership(id, settings)?;
        }
        if old.settings.address != settings.address || old.settings.node != settings.node {
            self.must_be_free(&node)?;
            let to = self.node(settings.node)?.clone();
            self.must_be_free(&to)?;
        }
        // Whatever maintenance lets him do: a switch port that is not idle is not forgotten.
        if old.settings.local_link_connection != settings.local_link_connection || old.settings.node != settings.node {
            let held = self.must_be_unplugged(&old);
            if held.is_err() {
                self.must_be_free(&node)?;
            }
            held?;
        }
        let port = Arc::new(Port {
            revision: old.revision + 1,
            settings: settings.clone(),
            updated_at: Some(self.context.now),
            ..(*old).clone()
        });
        self.tell(&node, What::PortChanged { address: settings.address.to_string() });
        self.changes.push(Change::PutPort(port.clone()));
        Ok(Answer::Port(port))
    }

    pub(super) fn delete_port(&mut self, id: PortId) -> Result<Answer, Refusal> {
        let port = self.port(id)?.clone();
        let node = self.node(port.settings.node)?.clone();
        self.must_be_free(&node)?;
        if let Some(vif) = self.view.network.attached_to(Place::Port(id)) {
            return Err(Refusal::InUse(format!(
                "Cannot delete the port {} as it is bound to VIF {}: detach that first.",
                port.settings.address, vif.id
            )));
        }
        self.must_be_unplugged(&port)?;
        self.tell(&node, What::PortDeleted { address: port.settings.address.to_string() });
        self.changes.push(Change::DeletePort(id));
        Ok(Answer::Done)
    }
}
