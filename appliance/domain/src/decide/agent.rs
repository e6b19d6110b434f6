//! What an agent tells about its job. The adapter has checked the boot secret; here the report must still belong to
//! the job and the boot that are current.

use super::Room;
use crate::command::{Answer, StepEnd};
use crate::event::What;
use crate::id::JobId;
use crate::job::{INVENTORY_ARRIVED, Job, StepName, StepRecord, StepState};
use crate::node::{AgentContact, Node};
use crate::refusal::Refusal;
use crate::view::Change;
use serde_json::Value;
use std::sync::Arc;

impl Room<'_> {
    /// The running job and its node, if this report is of its present boot.
    fn agent_job(&self, id: JobId, boot: u32) -> Result<(Arc<Job>, Arc<Node>), Refusal> {
        let (job, node) = self.running(id)?;
        if job.boots != boot || !job.wants_agent() {
            return Err(Refusal::Stale);
        }
        Ok((job, node))
    }

    pub(super) fn agent_heartbeat(
        &mut self,
        id: JobId,
        boot: u32,
        callback_url: &str,
        certificate: Option<&str>,
        version: &str,
    ) -> Result<Answer, Refusal> {
        let (job, node) = self.agent_job(id, boot)?;
        let first = node.agent.as_ref().is_none_or(|agent| agent.job != id);
        let contact = AgentContact {
            job: id,
            callback_url: callback_url.to_owned(),
            certificate: certificate.map(str::to_owned),
            version: version.to_owned(),
            last_seen: self.context.now,
            failure: node.agent.as_ref().filter(|agent| agent.job == id).and_then(|agent| agent.failure.clone()),
        };
        let changed = Node { agent: Some(contact), ..(*node).clone() };
        if first {
            self.tell(&changed, What::AgentCalled { job: id, version: version.to_owned() });
        }
        if waits_in(&job, StepName::AwaitAgent) {
            let detail = Some(format!("the agent ({version}) called from {callback_url}"));
            return self.finish_step(&job, &changed, StepName::AwaitAgent, &StepEnd::Done(detail));
        }
        Ok(Answer::Node(self.put_node(changed)))
    }

    pub(super) fn save_inventory(&mut self, id: JobId, boot: u32, inventory: &Value) -> Result<Answer, Refusal> {
        let (job, node) = self.agent_job(id, boot)?;
        if !inventory.is_object() {
            return Err(Refusal::Invalid("The inventory must be a JSON object.".into()));
        }
        let wanted = |step: &StepRecord| step.name == StepName::AwaitInventory && step.state != StepState::Done;
        let inspects = job.steps.iter().any(wanted);
        let mut changed = (*node).clone();
        let mut kept = inventory.clone();
        if inspects {
            let properties = &mut changed.settings.properties;
            for (key, value) in properties_of(inventory) {
                properties.entry(key).or_insert(value);
            }
            match self.apply_rules(&changed, inventory) {
                Ok((settings, found)) => {
                    changed.settings = settings;
                    kept = found;
                }
                Err(why) => {
                    self.changes.push(Change::PutInventory(node.id, Arc::new(kept)));
                    return self.give_up(id, &node, why);
                }
            }
        }
        self.changes.push(Change::PutInventory(node.id, Arc::new(kept)));
        self.tell(&node, What::InventorySaved);
        if inspects {
            changed.inspection_finished_at = Some(self.context.now);
            if waits_in(&job, StepName::AwaitInventory) {
                let detail = Some(INVENTORY_ARRIVED.to_owned());
                return self.finish_step(&job, &changed, StepName::AwaitInventory, &StepEnd::Done(detail));
            }
            // A machine can be quicker than its BMC: the start is not yet recorded as done. The step will look.
            return Ok(Answer::Node(self.put_node(changed)));
        }
        Ok(Answer::Node(node))
    }

    /// Notes that the agent gave up. The job is ended by its runner, which stops the machine first.
    pub(super) fn agent_failed(&mut self, id: JobId, boot: u32, message: &str) -> Result<Answer, Refusal> {
        let (_, node) = self.agent_job(id, boot)?;
        self.give_up(id, &node, format!("The agent on the machine could not go on: {message}"))
    }

    /// Notes why the job cannot go on; its runner stops the machine and ends it.
    fn give_up(&mut self, id: JobId, node: &Node, why: String) -> Result<Answer, Refusal> {
        let known = node.agent.clone().filter(|agent| agent.job == id);
        let contact = known.unwrap_or_else(|| AgentContact {
            job: id,
            callback_url: String::new(),
            certificate: None,
            version: String::new(),
            last_seen: self.context.now,
            failure: None,
        });
        let changed = Node { agent: Some(AgentContact { failure: Some(why), ..contact }), ..node.clone() };
        Ok(Answer::Node(self.put_node(changed)))
    }
}

fn waits_in(job: &Job, step: StepName) -> bool {
    job.current().is_some_and(|record| record.name == step && record.state == StepState::Running)
}

/// The scheduling properties that Ironic's inspection sets: `cpus`, `cpu_arch`, `memory_mb`, `local_gb`. What a
/// keeper has set himself stays.
fn properties_of(inventory: &Value) -> Vec<(String, Value)> {
    let inner = inventory.get("inventory").unwrap_or(inventory);
    let mut found = Vec::new();
    let mut add = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            found.push((key.to_owned(), value));
        }
    };
    add("cpus", inner.pointer("/cpu/count").filter(|count| count.is_u64()).cloned());
    add("cpu_arch", inner.pointer("/cpu/architecture").filter(|arch| arch.is_string()).cloned());
    add("memory_mb", inner.pointer("/memory/physical_mb").filter(|size| size.is_u64()).cloned());
    let disks = inner.pointer("/disks").and_then(Value::as_array);
    let smallest = disks.and_then(|disks| disks.iter().filter_map(|disk| disk.get("size")?.as_u64()).min());
    add("local_gb", smallest.map(|bytes| Value::from(bytes >> 30)));
    found
}
