//! Nodes: enrolled, changed, put into maintenance, watched, removed.

use super::Room;
use crate::command::Answer;
use crate::event::What;
use crate::id::NodeId;
use crate::node::{Node, NodeSettings, POWER_FAILURE, is_node_name};
use crate::power::PowerState;
use crate::provision::ProvisionState;
use crate::refusal::Refusal;
use crate::view::Change;
use std::sync::Arc;

/// Traits of one node, Ironic's limit.
const MOST_TRAITS: usize = 50;

/// What a trait may be called: Ironic takes the standard ones and `CUSTOM_…`.
fn is_trait_name(name: &str) -> bool {
    let character = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    !name.is_empty() && name.len() <= 255 && name.chars().all(character)
}

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

    pub(super) fn create_node(&mut self, id: NodeId, settings: &NodeSettings) -> Result<Answer, Refusal> {
        if self.view.node(id).is_some() {
            return Err(Refusal::Exists { what: "A node with UUID", name: id.to_string() });
        }
        self.check_settings(id, settings)?;
        let node = Arc::new(Node::enrolled(id, settings.clone(), self.context.now));
        self.tell(&node, What::NodeCreated { name: settings.name.clone() });
        self.changes.push(Change::PutNode(node.clone()));
        Ok(Answer::Node(node))
    }

    pub(super) fn change_node(
        &mut self,
        id: NodeId,
        revision: u64,
        settings: &NodeSettings,
    ) -> Result<Answer, Refusal> {
        let node = self.node(id)?.clone();
        if node.revision != revision {
            return Err(Refusal::Conflict { what: "Node", name: node.title() });
        }
        self.check_settings(id, settings)?;
        let old = &node.settings;
        if (old.driver != settings.driver
            || old.driver_info != settings.driver_info
            || old.driver_secrets != settings.driver_secrets)
            && node.provision_state.is_busy()
        {
            self.must_be_free(&node)?;
        }
        if old.instance_uuid.is_some()
            && settings.instance_uuid.is_some()
            && old.instance_uuid != settings.instance_uuid
        {
            return Err(Refusal::InUse(format!(
                "Node {} already belongs to an instance: remove its instance_uuid first.",
                node.title()
            )));
        }
        let another_bmc = address_of_bmc(old) != address_of_bmc(settings);
        let mut changed = Node { settings: settings.clone(), ..(*node).clone() };
        if another_bmc {
            changed.bmc_certificate = None;
        }
        self.tell(&changed, What::NodeChanged);
        Ok(Answer::Node(self.put_node(changed)))
    }

    fn check_settings(&self, id: NodeId, settings: &NodeSettings) -> Result<(), Refusal> {
        if let Some(name) = &settings.name {
            if !is_node_name(name) {
                return Err(Refusal::Invalid(format!(
                    "'{name}' is not a valid node name: use letters, digits, '-', '.', '_' and '~', and no UUID."
                )));
            }
            if self.view.node_by_name(name).is_some_and(|other| other.id != id) {
                return Err(Refusal::Exists { what: "A node with name", name: name.clone() });
            }
        }
        if let Some(instance) = settings.instance_uuid
            && self.view.node_by_instance(instance).is_some_and(|other| other.id != id)
        {
            return Err(Refusal::Exists { what: "A node with instance UUID", name: instance.to_string() });
        }
        Ok(())
    }

    pub(super) fn delete_node(&mut self, id: NodeId) -> Result<Answer, Refusal> {
        let node = self.node(id)?.clone();
        self.must_be_free(&node)?;
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
        let ports: Vec<_> = self.view.ports_of(id).map(|port| port.id).collect();
        self.changes.extend(ports.into_iter().map(Change::DeletePort));
        self.changes.push(Change::DeleteInventory(id));
        self.changes.push(Change::DeleteNode(id));
        self.tell(&node, What::NodeDeleted { name: node.settings.name.clone() });
        Ok(Answer::Done)
    }

    pub(super) fn set_maintenance(&mut self, id: NodeId, on: bool, reason: Option<&str>) -> Result<Answer, Refusal> {
        let node = self.node(id)?;
        let reason = reason.filter(|_| on).map(str::to_owned);
        let changed = Node { maintenance: on, maintenance_reason: reason.clone(), fault: None, ..(**node).clone() };
        self.tell(&changed, What::Maintenance { on, reason });
        Ok(Answer::Node(self.put_node(changed)))
    }

    pub(super) fn set_traits(&mut self, id: NodeId, traits: &[String]) -> Result<Answer, Refusal> {
        if let Some(bad) = traits.iter().find(|name| !is_trait_name(name)) {
            return Err(Refusal::Invalid(format!(
                "'{bad}' is not a valid trait: use capital letters, digits and '_', with CUSTOM_ in front of your own."
            )));
        }
        if traits.len() > MOST_TRAITS {
            return Err(Refusal::Invalid(format!("A node can have at most {MOST_TRAITS} traits.")));
        }
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
                changed.fault = Some(POWER_FAILURE.into());
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
            self.tell(&changed, What::Maintenance { on: changed.maintenance, reason });
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

/// The members of `driver_info` that say which BMC it is: with another one, a pinned certificate means nothing.
fn address_of_bmc(settings: &NodeSettings) -> (&str, Option<&serde_json::Value>) {
    let key = format!("{}_address", settings.driver);
    (&settings.driver, settings.driver_info.get(&key))
}
