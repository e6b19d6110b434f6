//! What a lessee writes on his node's record goes with him: whoever has the node next finds what its keepers said.

use crate::command::Actor;
use crate::decide::Room;
use crate::event::What;
use crate::hardware::{HardwareKey, RecordId};
use crate::job::JobInput;
use crate::lease::OwnersWord;
use crate::node::{Node, NodeSettings};
use crate::refusal::Refusal;
use crate::view::View;
use serde_json::Value;
use std::collections::BTreeSet;
use uuid::Uuid;

impl Room<'_> {
    /// The command comes from whoever leases the node, and does not own it.
    pub(in crate::decide) fn is_the_lessees(&self, node: &Node) -> bool {
        let (Actor::User(who), settings) = (&self.context.actor, &node.settings) else { return false };
        node.lease.is_some() && who.project.is_some() && who.project == settings.lessee && who.project != settings.owner
    }

    /// Somebody has changed what the node's record says, and its maintenance if that is named: if he keeps the node, it is
    /// what the record says also when its lessee is gone.
    pub(in crate::decide) fn note_keepers_word(
        &self,
        before: &Node,
        changed: &mut Node,
        maintenance: Option<(bool, Option<&str>)>,
    ) {
        if self.is_the_lessees(before) {
            return;
        }
        let Some(mut word) = changed.owners_word.take() else { return };
        word.follow(before, changed);
        if let Some((on, reason)) = maintenance {
            word.follow_maintenance(on, reason);
        }
        changed.owners_word = Some(word);
    }

    /// What its class is, and so for whom it is found, is for the node's keepers to say.
    pub(super) fn class_is_the_owners(&self, node: &Node, settings: &NodeSettings) -> Result<(), Refusal> {
        match node.settings.resource_class != settings.resource_class && self.is_the_lessees(node) {
            true => Err(Refusal::InUse(format!(
                "The resource class of node {} cannot be changed by whoever leases it.",
                node.title()
            ))),
            false => Ok(()),
        }
    }

    /// Firmware and its settings outlive a lease, and no wipe undoes them.
    pub(in crate::decide) fn firmware_is_the_owners(&self, node: &Node, input: &JobInput) -> Result<(), Refusal> {
        let steps = [&input.clean_steps, &input.deploy_steps, &input.service_steps].into_iter().flatten();
        let interface = |step: &Value| step.get("interface").and_then(Value::as_str).map(str::to_owned);
        let of_firmware = steps.filter_map(interface).find(|name| matches!(name.as_str(), "bios" | "firmware"));
        match of_firmware.filter(|_| self.is_the_lessees(node)) {
            Some(interface) => Err(Refusal::Forbidden(format!(
                "Steps of the interface {interface} stay when a lease is over: those who keep node {} may ask for them, \
                 whoever leases it may not.",
                node.title()
            ))),
            None => Ok(()),
        }
    }

    /// A record of the node that was there when its lessee came is not his to change.
    pub(in crate::decide) fn must_be_the_lessees(&self, node: &Node, key: HardwareKey) -> Result<(), Refusal> {
        let (kind, id) = key.title();
        match node.owners_word.as_ref().is_some_and(|word| word.volumes.contains(&id)) && self.is_the_lessees(node) {
            true => Err(Refusal::Forbidden(format!(
                "The {kind} {id} was made by those who keep node {}: whoever leases it cannot change it.",
                node.title()
            ))),
            false => Ok(()),
        }
    }

    /// The node is the lessee's from now on: what its keepers said of it is kept.
    pub(super) fn keep_word(view: &View, node: &mut Node) {
        let hardware = &view.hardware;
        let connectors = hardware.volume_connectors.of_node(node.id).map(|row| row.id.uuid());
        let targets = hardware.volume_targets.of_node(node.id).map(|row| row.id.uuid());
        let volumes: BTreeSet<Uuid> = connectors.chain(targets).collect();
        node.owners_word = Some(Box::new(OwnersWord::of(node, volumes)));
    }

    /// The node is its lessee's no more: what he made of its record is gone.
    pub(super) fn put_word_back(&mut self, node: &mut Node) {
        node.machine.console_enabled = false;
        let Some(word) = node.owners_word.take() else { return };
        self.forget_volumes(node.id, &word.volumes);
        let was = node.maintenance;
        word.put_back(node);
        if node.maintenance != was {
            let (on, reason) = (node.maintenance, node.maintenance_reason.clone());
            self.tell(node, What::Maintenance { on, reason, quarantine: false });
        }
    }
}
