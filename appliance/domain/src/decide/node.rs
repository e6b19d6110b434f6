//! Nodes: enrolled, changed, put into maintenance, watched, removed.

use super::Room;
use super::node_change::address_of_bmc;
use crate::command::{Answer, MachineChange, NodeStart};
use crate::driver::Interface;
use crate::event::What;
use crate::hardware::check_traits;
use crate::id::NodeId;
use crate::node::{Node, NodeSettings, POWER_FAILURE};
use crate::power::PowerState;
use crate::provision::ProvisionState;
use crate::refusal::Refusal;
use crate::view::Change;
use std::sync::Arc;

impl Room<'_> {
    pub(super) fn node(&self, id: NodeId) -> Result<&Arc<Node>, Refusal> {
        self.view.node(id).ok_or_else(|| Refusal::NotFound { what: "Node", name: id.to_string() })
    }

    /// Refuses while a job holds the node.
    pub(super) fn must_be_free(&self, node: &Node) -> Result<(), Refusal> {
        match self.view.running_job(node).and_then(|job| job.current()) {
            Some(step) => Err(Refusal::Locked { node: node.title(), job: step.name.name() }),
            None => Ok(()),
        }
    }

    pub(super) fn create_node(
        &mut self,
        id: NodeId,
        settings: &NodeSettings,
        start: NodeStart,
    ) -> Result<Answer, Refusal> {
        if self.view.node(id).is_some() {
            return Err(Refusal::Exists { what: "A node with UUID", name: id.to_string() });
        }
        self.check_settings(id, settings, None)?;
        let mut node = Node::enrolled(id, settings.clone(), self.context.now);
        node.maintenance = start.maintenance;
        if start.available {
            node.provision_state = ProvisionState::Available;
        }
        let node = Arc::new(node);
        self.tell(&node, What::NodeCreated { name: settings.name.clone() });
        self.changes.push(Change::PutNode(node.clone()));
        Ok(Answer::Node(node))
    }

    pub(super) fn delete_node(&mut self, id: NodeId) -> Result<Answer, Refusal> {
        let node = self.node(id)?.clone();
        self.must_be_free(&node)?;
        if let Some(instance) = node.settings.instance_uuid
            && !node.maintenance
        {
            return Err(Refusal::InUse(format!(
                "Node {} belongs to instance {instance}: undeploy it first, or set it into maintenance.",
                node.title()
            )));
        }
        self.must_be_unleased(&node)?;
        if let Some(child) = self.view.children_of(id).next() {
            return Err(Refusal::InUse(format!(
                "Node {} has parts: take {} from it first (parent_node).",
                node.title(),
                child.title()
            )));
        }
        if node.settings.protected {
            return Err(Refusal::Forbidden(format!("Node {} is protected: unset 'protected' first.", node.title())));
        }
        if !node.provision_state.may_delete_node() && !node.maintenance {
            return Err(Refusal::InUse(format!(
                "Can not delete node \"{}\" while it is in provision state \"{}\": undeploy it first, or set it into \
                 maintenance if its machine is gone.",
                node.title(),
                node.provision_state.name()
            )));
        }
        self.view.ports_of(id).try_for_each(|card| self.must_be_unplugged(card))?;
        self.detach_all(&node);
        let ports: Vec<_> = self.view.ports_of(id).map(|port| port.id).collect();
        self.changes.extend(ports.into_iter().map(Change::DeletePort));
        self.forget_hardware_of(id);
        self.changes.push(Change::DeleteInventory(id));
        self.changes.push(Change::DeleteNode(id));
        self.tell(&node, What::NodeDeleted { name: node.settings.name.clone() });
        Ok(Answer::Done)
    }

    pub(super) fn set_maintenance(&mut self, id: NodeId, on: bool, reason: Option<&str>) -> Result<Answer, Refusal> {
        let node = self.node(id)?;
        let reason = reason.filter(|_| on).map(str::to_owned);
        let fault = node.lasting_fault();
        let mut changed = Node { maintenance: on, maintenance_reason: reason.clone(), fault, ..(**node).clone() };
        self.note_keepers_word(node, &mut changed, Some((on, reason.as_deref())));
        self.tell(&changed, What::Maintenance { on, reason, quarantine: false });
        Ok(Answer::Node(self.put_node(changed)))
    }

    pub(super) fn set_machine(&mut self, id: NodeId, what: &MachineChange) -> Result<Answer, Refusal> {
        let node = self.node(id)?;
        let title = node.title();
        let lacks = |interface: Interface, what: &str| match node.settings.lacks(interface) {
            true => Err(Refusal::Invalid(format!(
                "The driver {} of node {title} does not support {what}.",
                node.settings.driver
            ))),
            false => Ok(()),
        };
        let mut changed = (**node).clone();
        match what {
            MachineChange::Console(on) => {
                lacks(Interface::Console, "consoles")?;
                changed.machine.console_enabled = *on;
            }
            MachineChange::TargetRaid(wanted) => {
                lacks(Interface::Raid, "RAID")?;
                self.must_be_free(node)?;
                changed.machine.target_raid_config = wanted.clone();
            }
            MachineChange::BootMode(mode) => changed.machine.boot_mode = Some(*mode),
            MachineChange::Indicator(state) => changed.machine.indicator = Some(state.clone()),
            MachineChange::SecureBoot(on) => changed.machine.secure_boot = Some(*on),
            MachineChange::Asked(call) => {
                self.tell(&changed, What::BmcAsked { call: call.clone() });
                return Ok(Answer::Done);
            }
        }
        self.tell(&changed, What::NodeChanged);
        Ok(Answer::Node(self.put_node(changed)))
    }

    pub(super) fn set_traits(&mut self, id: NodeId, traits: &[String]) -> Result<Answer, Refusal> {
        check_traits(traits)?;
        let mut changed = (**self.node(id)?).clone();
        changed.settings.traits = traits.iter().cloned().collect();
        self.tell(&changed, What::NodeChanged);
        Ok(Answer::Node(self.put_node(changed)))
    }

    pub(super) fn change_trait(&mut self, id: NodeId, name: &str, on: bool) -> Result<Answer, Refusal> {
        let mut traits = self.node(id)?.settings.traits.clone();
        if on {
            traits.insert(name.to_owned());
        } else if !traits.remove(name) {
            return Err(Refusal::NotFound { what: "Trait", name: name.to_owned() });
        }
        self.set_traits(id, &traits.into_iter().collect::<Vec<_>>())
    }

    pub(super) fn observe_power(
        &mut self,
        id: NodeId,
        power: Option<PowerState>,
        error: Option<&str>,
    ) -> Result<Answer, Refusal> {
        let node = self.node(id)?.clone();
        let mut changed = (*node).clone();
        match power {
            Some(_) => {
                changed.power_state = power;
                // Somebody has started the machine by hand, and may have done with it what he liked.
                changed.wiped &= node.job.is_some() || power != Some(PowerState::On) || node.power_state == power;
                if node.fault.as_deref() == Some(POWER_FAILURE) {
                    changed.maintenance = false;
                    changed.maintenance_reason = None;
                    changed.fault = None;
                }
            }
            // A node that nobody works with yet, or that its keeper already set aside, stays as it is; and one that a job
            // has taken since it was asked, whose steps tell by themselves when its BMC is silent.
            None if node.provision_state == ProvisionState::Enroll || node.maintenance || node.job.is_some() => {
                return Ok(Answer::Done);
            }
            None => {
                changed.power_state = None;
                changed.maintenance = true;
                changed.fault = node.lasting_fault().or(Some(POWER_FAILURE.into()));
                let why = error.unwrap_or("its BMC does not answer");
                changed.maintenance_reason = Some(format!("The power state cannot be read: {why}"));
            }
        }
        if changed == *node {
            return Ok(Answer::Done);
        }
        if changed.power_state != node.power_state {
            self.tell(&changed, What::Power { to: changed.power_state });
        }
        if changed.maintenance != node.maintenance {
            let reason = changed.maintenance_reason.clone();
            self.tell(&changed, What::Maintenance { on: changed.maintenance, reason, quarantine: false });
        }
        Ok(Answer::Node(self.put_node(changed)))
    }

    pub(super) fn pin_certificate(&mut self, id: NodeId, address: &str, sha256: &str) -> Result<Answer, Refusal> {
        let node = self.node(id)?;
        // What another BMC has shown, before the address was changed, must not shut this one out.
        let (_, present) = address_of_bmc(&node.settings);
        if present.and_then(serde_json::Value::as_str) != Some(address) {
            return Err(Refusal::Conflict { what: "Node", name: node.title() });
        }
        if node.bmc_certificate.as_deref().is_some_and(|pinned| pinned != sha256) {
            return Err(Refusal::InUse(format!("Another certificate is already pinned for node {}.", node.title())));
        }
        let changed = Node { bmc_certificate: Some(sha256.to_owned()), ..(**node).clone() };
        Ok(Answer::Node(self.put_node(changed)))
    }
}
