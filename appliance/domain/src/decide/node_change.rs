//! What may be said of a node, and what may be changed of it in which state.

use super::Room;
use super::provision::drive;
use crate::command::Answer;
use crate::driver::{self, Interface};
use crate::event::What;
use crate::id::{ChassisId, NodeId};
use crate::node::{CONFIG_DRIVE, Node, NodeSettings, RESERVED_NAMES, is_node_name};
use crate::provision::ProvisionState;
use crate::refusal::Refusal;
use std::sync::Arc;
use uuid::Uuid;

impl Room<'_> {
    pub(super) fn change_node(
        &mut self,
        id: NodeId,
        revision: u64,
        settings: &NodeSettings,
        maintenance: Option<bool>,
    ) -> Result<Answer, Refusal> {
        let node = self.node(id)?.clone();
        if node.revision != revision {
            return Err(Refusal::Conflict { what: "Node", name: node.title() });
        }
        let mut settings = settings.clone();
        // A reason belongs to its flag and goes with it.
        settings.protected_reason =
            settings.protected_reason.filter(|_| settings.protected || !node.settings.protected);
        settings.retired_reason = settings.retired_reason.filter(|_| settings.retired || !node.settings.retired);
        self.check_settings(id, &settings, Some(&node))?;
        self.check_change(&node, &settings, maintenance)?;
        self.leases_allow(&node, &settings)?;
        if drive::belongs_to_the_former(&node.settings, &settings) {
            settings.instance_info.remove(CONFIG_DRIVE);
        }
        self.allocation_follows(&node, &settings)?;
        let another_bmc = address_of_bmc(&node.settings) != address_of_bmc(&settings);
        let another_driver = is_driven_otherwise(&node.settings, &settings);
        let mut changed = Node { settings, ..(*node).clone() };
        if another_bmc {
            changed.bmc_certificate = None;
        }
        // What was wiped was the machine that was meant before.
        changed.wiped &= !another_bmc && !another_driver;
        self.tell(&changed, What::NodeChanged);
        self.note_keepers_word(&node, &mut changed, maintenance.map(|on| (on, None)));
        if let Some(on) = maintenance.filter(|on| *on != node.maintenance) {
            changed.maintenance = on;
            changed.maintenance_reason = None;
            changed.fault = changed.lasting_fault();
            self.tell(&changed, What::Maintenance { on, reason: None, quarantine: false });
        }
        Ok(Answer::Node(self.put_node(changed)))
    }

    /// What holds for every node, new or changed.
    pub(super) fn check_settings(
        &self,
        id: NodeId,
        settings: &NodeSettings,
        before: Option<&Arc<Node>>,
    ) -> Result<(), Refusal> {
        self.check_names(id, settings)?;
        let Some(driver) = driver::find(&settings.driver) else {
            return Err(Refusal::Invalid(format!(
                "No valid host was found. Reason: the driver '{}' is not enabled here; drivers: {}.",
                settings.driver,
                driver::names()
            )));
        };
        for interface in Interface::ALL {
            let chosen = settings.interface(interface);
            if !driver.choices(interface).contains(&chosen) {
                return Err(Refusal::Invalid(format!(
                    "The {} '{chosen}' is not supported by driver {}; it has: {}.",
                    interface.member(),
                    driver.name,
                    driver.choices(interface).join(", ")
                )));
            }
        }
        self.check_relations(id, settings, before.map(|node| &node.settings))?;
        if settings.protected_reason.is_some() && !settings.protected {
            return Err(Refusal::Invalid("protected_reason can be set only together with protected.".into()));
        }
        if settings.retired_reason.is_some() && !settings.retired {
            return Err(Refusal::Invalid("retired_reason can be set only together with retired.".into()));
        }
        Ok(())
    }

    fn check_names(&self, id: NodeId, settings: &NodeSettings) -> Result<(), Refusal> {
        if let Some(name) = &settings.name {
            if !is_node_name(name) {
                return Err(Refusal::Invalid(format!(
                    "'{name}' is not a valid node name: use letters, digits, '-', '.', '_' and '~', and no UUID."
                )));
            }
            if RESERVED_NAMES.contains(&name.as_str()) {
                return Err(Refusal::Invalid(format!(
                    "The word \"{name}\" is reserved and can not be used as a node name. Reserved words are: {}.",
                    RESERVED_NAMES.join(", ")
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

    /// Chassis and parent exist, and the parent is the same owner's: nobody hangs his machine into another's.
    fn check_relations(
        &self,
        id: NodeId,
        settings: &NodeSettings,
        before: Option<&NodeSettings>,
    ) -> Result<(), Refusal> {
        let is_new = |name: &str| settings.label(name) != before.and_then(|before| before.label(name));
        if let Some(text) = settings.label("chassis_uuid").filter(|_| is_new("chassis_uuid")) {
            let chassis = Uuid::parse_str(text).ok().map(ChassisId);
            if chassis.is_none_or(|chassis| self.view.hardware.chassis.get(chassis).is_none()) {
                return Err(Refusal::Invalid(format!("Chassis {text} could not be found.")));
            }
        }
        if let Some(text) = settings.label("parent_node").filter(|_| is_new("parent_node")) {
            let parent = settings.parent().filter(|parent| *parent != id).and_then(|parent| self.view.node(parent));
            let usable = |parent: &&Arc<Node>| {
                parent.settings.owner == settings.owner && parent.settings.label("parent_node").is_none()
            };
            // The same words whether it is not there or another's: existence is nobody else's business.
            if parent.filter(usable).is_none() {
                return Err(Refusal::Invalid(format!(
                    "Unable to apply the requested parent_node '{text}': it is no node of the same owner that can have parts."
                )));
            }
            if self.view.children_of(id).next().is_some() {
                return Err(Refusal::Invalid("A node that has parts can not be a part of another.".into()));
            }
        }
        Ok(())
    }

    /// What the node's present state allows.
    fn check_change(
        &self,
        node: &Arc<Node>,
        settings: &NodeSettings,
        maintenance: Option<bool>,
    ) -> Result<(), Refusal> {
        let (old, state, title) = (&node.settings, node.provision_state, node.title());
        let refused = |what: &str, how: &str| {
            Err(Refusal::InUse(format!(
                "{what} of node {title} can not be changed in provision state \"{}\"{how}.",
                state.name()
            )))
        };
        let only_frees = old.instance_uuid.is_some()
            && *settings == NodeSettings { instance_uuid: None, ..old.clone() }
            && maintenance.is_none();
        let in_transition = node.target_provision_state.is_some() && !state.may_be_changed_on_its_way();
        if in_transition && !(node.maintenance && only_frees) {
            return Err(Refusal::InUse(format!(
                "Node {title} can not be updated while a state transition is in progress."
            )));
        }
        if settings.protected && !old.protected && !state.may_be_protected() {
            return refused("The protection", ": only a node that is in use can be protected");
        }
        if settings.retired && !old.retired && state == ProvisionState::Available {
            return refused("The retirement", ": manage it first");
        }
        let set_aside = node.maintenance || maintenance == Some(true);
        let another_driver = is_driven_otherwise(old, settings);
        if another_driver && !(state.is_unused() || set_aside) {
            return refused("The driver or an interface", "; set it into maintenance first");
        }
        if old.resource_class.is_some() && old.resource_class != settings.resource_class && !state.is_unused() {
            return refused("The resource class", "");
        }
        let another_bmc = old.driver != settings.driver
            || old.driver_info != settings.driver_info
            || old.driver_secrets != settings.driver_secrets;
        if another_bmc && state.is_busy() {
            self.must_be_free(node)?;
        }
        if old.instance_uuid.is_some()
            && settings.instance_uuid.is_some()
            && old.instance_uuid != settings.instance_uuid
        {
            return Err(Refusal::InUse(format!(
                "Node {title} already belongs to an instance: remove its instance_uuid first."
            )));
        }
        if old.driver != settings.driver && node.machine.console_enabled {
            return Err(Refusal::InUse(format!(
                "Node {title} can not get another driver while its console is enabled: disable it first."
            )));
        }
        Ok(())
    }
}

/// By another driver, or the same one by other interfaces.
fn is_driven_otherwise(old: &NodeSettings, new: &NodeSettings) -> bool {
    old.driver != new.driver || Interface::ALL.into_iter().any(|one| old.interface(one) != new.interface(one))
}

/// The members of `driver_info` that say which BMC it is: with another one, a pinned certificate means nothing.
pub(super) fn address_of_bmc(settings: &NodeSettings) -> (&str, Option<&serde_json::Value>) {
    let key = format!("{}_address", settings.driver);
    (&settings.driver, settings.driver_info.get(&key))
}
