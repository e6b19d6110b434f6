//! Decisions about the hardware room: records come, change and go as their kind's rules say; allocations find nodes.

use super::Room;
use crate::command::Answer;
use crate::driver;
use crate::event::What;
use crate::hardware::rules::{self, Inspected};
use crate::hardware::{
    Allocation, Body, HardwareCommand, HardwareKey, Kind, Outcome, Record, RecordId, Step, Wanted, boot_volume,
    check_backfill, check_traits, choose, deploy_steps, may_lose,
};
use crate::id::{AllocationId, NodeId};
use crate::node::{Node, NodeSettings};
use crate::refusal::Refusal;
use crate::rows::Rows;
use crate::view::Change;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use uuid::Uuid;

impl Room<'_> {
    pub(super) fn hardware(&mut self, command: &HardwareCommand) -> Result<Answer, Refusal> {
        match command {
            HardwareCommand::Create { id, body } => match &**body {
                Body::Chassis(body) => self.create_record(*id, body),
                Body::Portgroup(body) => self.create_record(*id, body),
                Body::DeployTemplate(body) => self.create_record(*id, body),
                Body::Runbook(body) => self.create_record(*id, body),
                Body::VolumeConnector(body) => self.create_record(*id, body),
                Body::VolumeTarget(body) => self.create_record(*id, body),
                Body::InspectionRule(body) => self.create_record(*id, body),
            },
            HardwareCommand::Change { id, revision, body } => match &**body {
                Body::Chassis(body) => self.change_record(*id, *revision, body),
                Body::Portgroup(body) => self.change_record(*id, *revision, body),
                Body::DeployTemplate(body) => self.change_record(*id, *revision, body),
                Body::Runbook(body) => self.change_record(*id, *revision, body),
                Body::VolumeConnector(body) => self.change_record(*id, *revision, body),
                Body::VolumeTarget(body) => self.change_record(*id, *revision, body),
                Body::InspectionRule(body) => self.change_record(*id, *revision, body),
            },
            HardwareCommand::Delete { key, revision } => match key {
                HardwareKey::Chassis(id) => self.delete_record::<crate::hardware::Chassis>(*id, *revision),
                HardwareKey::Portgroup(id) => self.delete_record::<crate::hardware::Portgroup>(*id, *revision),
                HardwareKey::Allocation(id) => self.delete_allocation(*id, *revision),
                HardwareKey::DeployTemplate(id) => {
                    self.delete_record::<crate::hardware::DeployTemplate>(*id, *revision)
                }
                HardwareKey::Runbook(id) => self.delete_record::<crate::hardware::Runbook>(*id, *revision),
                HardwareKey::VolumeConnector(id) => {
                    self.delete_record::<crate::hardware::VolumeConnector>(*id, *revision)
                }
                HardwareKey::VolumeTarget(id) => self.delete_record::<crate::hardware::VolumeTarget>(*id, *revision),
                HardwareKey::InspectionRule(id) => {
                    self.delete_record::<crate::hardware::InspectionRule>(*id, *revision)
                }
                HardwareKey::SwitchPort(card) => Err(Refusal::Invalid(format!(
                    "The switch port of port {card} is forgotten when it was read back that it is idle."
                ))),
            },
            HardwareCommand::Allocate { id, wanted, backfill } => self.allocate(*id, wanted, *backfill),
            HardwareCommand::ChangeAllocation { id, revision, name, extra } => {
                let mut body = self.record::<Allocation>(*id)?.body.clone();
                body.wanted.name.clone_from(name);
                body.wanted.extra.clone_from(extra);
                self.change_record(id.0, *revision, &body)
            }
            HardwareCommand::HoldSwitchPort { card, revision, place } => self.hold_switch_port(*card, *revision, place),
            HardwareCommand::FreeSwitchPort { card, place } => self.free_switch_port(*card, place),
            HardwareCommand::NoteWire { node, error } => self.note_wire(*node, error.as_deref()),
        }
    }

    fn record<K: Kind>(&self, id: K::Id) -> Result<Arc<Record<K>>, Refusal> {
        let found = K::table(&self.view.hardware).get(id).cloned();
        found.ok_or_else(|| Refusal::NotFound { what: K::WHAT, name: id.to_string() })
    }

    /// No other record of the kind has what must be one record's own.
    fn check_unique<K: Kind>(&self, id: K::Id, body: &K) -> Result<(), Refusal> {
        let table = K::table(&self.view.hardware);
        for (what, value) in body.unique() {
            if table.find(what, &value).is_some_and(|other| other.id != id) {
                return Err(Refusal::Exists { what, name: value });
            }
        }
        Ok(())
    }

    fn create_record<K: Kind>(&mut self, id: Uuid, body: &K) -> Result<Answer, Refusal> {
        let id = K::Id::new(id);
        if K::table(&self.view.hardware).get(id).is_some() {
            return Err(Refusal::Exists { what: K::WHAT, name: id.to_string() });
        }
        body.check(self.view, None)?;
        self.check_unique(id, body)?;
        let record = Record { id, revision: 0, body: body.clone(), created_at: self.context.now, updated_at: None };
        self.tell_of(K::row_key(id), body.node(), |kind, id| What::RecordCreated { kind, id });
        Ok(self.put_record(record))
    }

    fn change_record<K: Kind>(&mut self, id: Uuid, revision: u64, body: &K) -> Result<Answer, Refusal> {
        let id = K::Id::new(id);
        let before = self.record::<K>(id)?;
        if before.revision != revision {
            return Err(Refusal::Conflict { what: K::WHAT, name: id.to_string() });
        }
        self.may_be_changed(&*before)?;
        body.check(self.view, Some(&before))?;
        self.check_unique(id, body)?;
        self.tell_of(K::row_key(id), body.node(), |kind, id| What::RecordChanged { kind, id });
        let revision = revision + 1;
        Ok(self.put_record(Record {
            id,
            revision,
            body: body.clone(),
            created_at: before.created_at,
            updated_at: Some(self.context.now),
        }))
    }

    fn delete_record<K: Kind>(&mut self, id: K::Id, revision: u64) -> Result<Answer, Refusal> {
        let before = self.record::<K>(id)?;
        if before.revision != revision {
            return Err(Refusal::Conflict { what: K::WHAT, name: id.to_string() });
        }
        self.may_be_changed(&*before)?;
        K::check_removal(&before, self.view)?;
        self.forget_record(&before);
        Ok(Answer::Done)
    }

    fn may_be_changed<K: Kind>(&self, record: &Record<K>) -> Result<(), Refusal> {
        match record.body.node().and_then(|node| self.view.node(node)) {
            Some(node) => self.must_be_the_lessees(node, K::row_key(record.id)),
            None => Ok(()),
        }
    }

    fn put_record<K: Kind>(&mut self, record: Record<K>) -> Answer {
        let row = K::row(Arc::new(record));
        self.changes.push(Change::Hardware(Rows::Put(row.clone())));
        Answer::Hardware(row)
    }

    fn forget_record<K: Kind>(&mut self, record: &Record<K>) {
        let key = K::row_key(record.id);
        self.tell_of(key, record.body.node(), |kind, id| What::RecordDeleted { kind, id });
        self.changes.push(Change::Hardware(Rows::Delete(key)));
    }

    fn tell_of(&mut self, key: HardwareKey, node: Option<NodeId>, what: impl FnOnce(String, String) -> What) {
        let (kind, id) = key.title();
        let what = what(kind.to_owned(), id.to_string());
        match node.and_then(|node| self.view.node(node)).cloned() {
            Some(node) => self.tell(&node, what),
            None => self.tell_all(what),
        }
    }

    fn allocate(&mut self, id: AllocationId, wanted: &Wanted, backfill: Option<NodeId>) -> Result<Answer, Refusal> {
        if self.view.hardware.allocations.get(id).is_some() {
            return Err(Refusal::Exists { what: "An allocation with UUID", name: id.to_string() });
        }
        // Which node it is, is not said: whoever asks may not see it.
        if self.view.node_by_instance(id.0).is_some_and(|other| Some(other.id) != backfill) {
            return Err(Refusal::InUse(format!("Instance {id} is already associated with a node.")));
        }
        let wanted = self.completed(wanted, backfill)?;
        let outcome = match backfill {
            Some(node) => {
                let node = self.node(node)?;
                check_backfill(node, &wanted)?;
                if let Some(instance) = node.settings.instance_uuid.filter(|instance| *instance != id.0) {
                    let title = node.title();
                    return Err(Refusal::InUse(format!("Node {title} is associated with instance {instance}.")));
                }
                Outcome::Active(node.id)
            }
            None => match choose(self.view, &wanted) {
                Ok(node) => Outcome::Active(node),
                Err(why) => Outcome::Error(format!("Failed to process allocation {id}: {why}.")),
            },
        };
        let body = Allocation { wanted, outcome };
        body.check(self.view, None)?;
        self.check_unique(id, &body)?;
        self.tell_of(HardwareKey::Allocation(id), body.node(), |kind, id| What::RecordCreated { kind, id });
        if let Some(node) = body.node() {
            let mut node = (**self.node(node)?).clone();
            node.settings.instance_uuid = Some(id.0);
            node.settings.instance_info.insert("traits".into(), body.wanted.traits.clone().into());
            self.tell(&node, What::NodeChanged);
            self.put_node(node);
        }
        let (created_at, updated_at) = (self.context.now, None);
        Ok(self.put_record(Record { id, revision: 0, body, created_at, updated_at }))
    }

    /// The request with what it leaves to the node that it names; what it names must be there.
    fn completed(&self, wanted: &Wanted, backfill: Option<NodeId>) -> Result<Wanted, Refusal> {
        let mut wanted = wanted.clone();
        for candidate in &wanted.candidate_nodes {
            if self.view.node(*candidate).is_none() {
                return Err(Refusal::Invalid(format!("Node {candidate} could not be found.")));
            }
        }
        if wanted.resource_class.is_empty()
            && let Some(node) = backfill
        {
            wanted.resource_class = self.node(node)?.settings.resource_class.clone().unwrap_or_default();
        }
        if wanted.resource_class.is_empty() && backfill.is_none() {
            return Err(Refusal::Invalid("The resource_class field is mandatory when not backfilling.".into()));
        }
        Ok(wanted)
    }

    fn delete_allocation(&mut self, id: AllocationId, revision: u64) -> Result<Answer, Refusal> {
        let node = self.record::<Allocation>(id)?.body.node();
        let answer = self.delete_record::<Allocation>(id, revision)?;
        if let Some(node) = node.and_then(|node| self.view.node(node)) {
            let mut node = (**node).clone();
            node.settings.instance_uuid = None;
            self.tell(&node, What::NodeChanged);
            self.put_node(node);
        }
        Ok(answer)
    }

    /// The node loses its instance: so does its allocation its node, and with it its sense.
    pub(super) fn end_allocation(&mut self, node: NodeId) {
        if let Some(allocation) = self.view.hardware.allocation_of(node).cloned() {
            self.forget_record(&*allocation);
        }
    }

    /// Somebody changes a node's settings: without its instance, an allocation ends too, if the state allows it.
    pub(super) fn allocation_follows(&mut self, node: &Node, settings: &NodeSettings) -> Result<(), Refusal> {
        if settings.instance_uuid.is_some() || node.settings.instance_uuid.is_none() {
            return Ok(());
        }
        if let Some(allocation) = self.view.hardware.allocation_of(node.id) {
            may_lose(node, allocation.id)?;
            self.end_allocation(node.id);
        }
        Ok(())
    }

    /// The node goes, and all that belongs to it here.
    pub(super) fn forget_hardware_of(&mut self, node: NodeId) {
        let hardware = &self.view.hardware;
        let groups: Vec<_> = hardware.portgroups.of_node(node).cloned().collect();
        let connectors: Vec<_> = hardware.volume_connectors.of_node(node).cloned().collect();
        let targets: Vec<_> = hardware.volume_targets.of_node(node).cloned().collect();
        groups.iter().for_each(|row| self.forget_record(&**row));
        connectors.iter().for_each(|row| self.forget_record(&**row));
        targets.iter().for_each(|row| self.forget_record(&**row));
        self.end_allocation(node);
    }

    /// The volumes of the node go, but those that are to be kept.
    pub(super) fn forget_volumes(&mut self, node: NodeId, kept: &BTreeSet<Uuid>) {
        let hardware = &self.view.hardware;
        let connectors: Vec<_> = hardware.volume_connectors.of_node(node).cloned().collect();
        let targets: Vec<_> = hardware.volume_targets.of_node(node).cloned().collect();
        connectors.iter().filter(|row| !kept.contains(&row.id.uuid())).for_each(|row| self.forget_record(&**row));
        targets.iter().filter(|row| !kept.contains(&row.id.uuid())).for_each(|row| self.forget_record(&**row));
    }

    /// The deployment can do what templates and volumes of the node ask of it: the steps that it does beside its own.
    /// `asked`: steps that came with the request.
    pub(super) fn steps_of_deployment(&self, node: &Node, asked: &[Value]) -> Result<Vec<Value>, Refusal> {
        let refused = |why: String| {
            Refusal::Invalid(format!("Failed to validate deploy or power info for node {}. Error: {why}", node.title()))
        };
        let asked: Option<Vec<Step>> = asked.iter().map(|step| Step::read(step, "priority")).collect();
        let asked = asked.ok_or_else(|| refused("a deploy step needs interface, step, args and priority.".into()))?;
        if !driver::is_fake(&node.settings.driver) {
            boot_volume(self.view, node).map_err(refused)?;
        }
        deploy_steps(self.view, node, &asked).map_err(refused)
    }

    /// Applies the inspection rules to a node whose inventory has arrived, and changes its ports as they say. Gives the
    /// node's settings and the inventory as they are to be, or why the inspection has failed.
    pub(super) fn apply_rules(&mut self, node: &Node, found: &Value) -> Result<(NodeSettings, Value), String> {
        let (changes, events) = (self.changes.len(), self.events.len());
        let applied = self.try_rules(node, found);
        if applied.is_err() {
            self.changes.truncate(changes);
            self.events.truncate(events);
        }
        applied
    }

    fn try_rules(&mut self, node: &Node, found: &Value) -> Result<(NodeSettings, Value), String> {
        let rules = self.view.hardware.inspection_rules.after(None);
        let found = found.as_object().cloned().unwrap_or_default();
        let ports: BTreeMap<_, _> = self.view.ports_of(node.id).map(|port| (port.id, port.settings.clone())).collect();
        let before = Inspected { settings: node.settings.clone(), ports, found, said: Vec::new() };
        let after = rules::apply(rules, node, before)?;
        let in_rules = |refusal: Refusal| format!("The inspection rules give what is not possible: {refusal}");
        self.check_settings(node.id, &after.settings, self.view.node(node.id)).map_err(in_rules)?;
        let known = self.view.node(node.id).map(|node| node.settings.traits.clone()).unwrap_or_default();
        if after.settings.traits != known {
            check_traits(&after.settings.traits).map_err(in_rules)?;
        }
        for (id, settings) in &after.ports {
            let before = self.view.port(*id).filter(|port| port.settings != *settings);
            if let Some(revision) = before.map(|port| port.revision) {
                self.change_port(*id, revision, settings).map_err(in_rules)?;
            }
        }
        for (level, message) in after.said {
            self.tell(node, What::RuleSaid { level, message });
        }
        Ok((after.settings, Value::Object(after.found)))
    }
}
