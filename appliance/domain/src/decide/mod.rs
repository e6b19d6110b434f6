//! Decisions: `decide(view, command, context)` gives the changes and events that follow, or a refusal.
//!
//! In: a snapshot, a command, who and when. Out: a [`Decision`] or a [`Refusal`]. Pure, and quick: by key and by
//! index, never by scan. One file for each kind of thing.

mod agent;
mod hardware;
#[cfg(test)]
mod hardware_tests;
mod identity;
mod image;
mod job;
mod lease;
mod network;
mod node;
mod node_change;
mod notice;
mod port;
mod provision;
mod switch_port;
#[cfg(test)]
mod tests;

use crate::command::{Actor, Answer, Command, Context};
use crate::event::{Event, What};
use crate::node::Node;
use crate::refusal::Refusal;
use crate::view::{Change, View};
use std::sync::Arc;

/// What follows from a command.
#[derive(Clone, Debug)]
pub struct Decision {
    pub changes: Vec<Change>,
    pub events: Vec<Event>,
    pub answer: Answer,
}

/// Decides a command.
pub fn decide(view: &View, command: &Command, context: &Context) -> Result<Decision, Refusal> {
    let mut room = Room { view, context, changes: Vec::new(), events: Vec::new(), ahead: None };
    room.still_as_judged()?;
    let answer = room.carry_out(command)?;
    room.note_deployed();
    Ok(Decision { changes: room.changes, events: room.events, answer })
}

/// One decision in the making: what it reads, and what it has gathered so far.
struct Room<'a> {
    view: &'a View,
    context: &'a Context,
    changes: Vec<Change>,
    events: Vec<Event>,
    /// The view with the first of the changes; of how many.
    ahead: Option<(View, usize)>,
}

impl Room<'_> {
    /// The state with what this decision has changed so far.
    fn seen(&mut self) -> View {
        let (mut view, known) = self.ahead.take().unwrap_or_else(|| (self.view.clone(), 0));
        self.changes.iter().skip(known).for_each(|change| view.apply(change));
        self.ahead = Some((view.clone(), self.changes.len()));
        view
    }

    fn carry_out(&mut self, command: &Command) -> Result<Answer, Refusal> {
        match command {
            Command::CreateNode { id, settings, start } => self.create_node(*id, settings, *start),
            Command::ChangeNode { id, revision, settings, maintenance } => {
                self.change_node(*id, *revision, settings, *maintenance)
            }
            Command::SetMachine { node, what } => self.set_machine(*node, what),
            Command::DeleteNode { id } => self.delete_node(*id),
            Command::SetMaintenance { node, on, reason } => self.set_maintenance(*node, *on, reason.as_deref()),
            Command::SetTraits { node, traits } => self.set_traits(*node, traits),
            Command::ChangeTrait { node, name, on } => self.change_trait(*node, name, *on),
            Command::ObservePower { node, power, error } => self.observe_power(*node, *power, error.as_deref()),
            Command::PinCertificate { node, address, sha256 } => self.pin_certificate(*node, address, sha256),

            Command::CreatePort { id, settings } => self.create_port(*id, settings),
            Command::ChangePort { id, revision, settings } => self.change_port(*id, *revision, settings),
            Command::DeletePort { id } => self.delete_port(*id),

            Command::Provision { node, verb, job, input } => self.provision(*node, *verb, *job, input),
            Command::Power { node, target, job, soft_timeout } => self.power(*node, *target, *job, *soft_timeout),

            Command::StartStep { job, step } => self.start_step(*job, *step),
            Command::StepProgress { job, step, detail } => self.step_progress(*job, *step, detail),
            Command::EndStep { job, step, end } => self.end_step(*job, *step, end),
            Command::HoldJob { job } => self.hold(*job),
            Command::BootAgain { job } => self.boot_again(*job),
            Command::UseImage { job, image } => self.use_image(*job, *image),

            Command::AgentHeartbeat { job, boot, callback_url, certificate, version } => {
                self.agent_heartbeat(*job, *boot, callback_url, certificate.as_deref(), version)
            }
            Command::SaveInventory { job, boot, inventory } => self.save_inventory(*job, *boot, inventory),
            Command::AgentFailed { job, boot, message } => self.agent_failed(*job, *boot, message),

            Command::Bind(binding) => {
                self.changes.push(Change::PutBinding(Arc::new(binding.clone())));
                Ok(Answer::Done)
            }
            Command::Unbind { address } => {
                self.changes.push(Change::DeleteBinding(*address));
                Ok(Answer::Done)
            }

            Command::AddImage(image) => self.add_image(image),
            Command::ImageReady { id, content } => self.image_ready(*id, content),
            Command::ImageFailed { id, reason } => self.image_failed(*id, reason),
            Command::NameImage { id, name } => self.name_image(*id, name),
            Command::DeleteImage { id } => self.delete_image(*id),
            Command::EvictImage { id } => self.evict_image(*id),

            Command::Image(command) => self.image_command(command),
            Command::NotePolicy { .. } => Ok(Answer::Done),
            Command::Identity(command) => self.identity(command),
            Command::Network(command) => self.network(command),
            Command::Hardware(command) => self.hardware(command),
            Command::Lease(command) => self.lease_command(command),
            Command::Notice(command) => self.notice(command),
        }
    }

    /// The nodes still belong to those for whom policy said yes: between that and now an owner or a lease may have ended.
    fn still_as_judged(&self) -> Result<(), Refusal> {
        let Actor::User(who) = &self.context.actor else { return Ok(()) };
        for judged in &who.judged {
            let known = self.view.node(judged.node);
            let node = known.ok_or_else(|| Refusal::NotFound { what: "Node", name: judged.node.to_string() })?;
            if node.settings.owner != judged.owner || node.settings.lessee != judged.lessee {
                return Err(Refusal::Conflict { what: "Node", name: node.title() });
            }
        }
        Ok(())
    }

    /// Records an event about a node, with its owner and lessee of this moment.
    fn tell(&mut self, node: &Node, what: What) {
        self.events.push(Event {
            at: self.context.now,
            node: Some(node.id),
            owner: node.settings.owner.clone(),
            lessee: node.settings.lessee.clone(),
            what,
        });
    }

    /// Records an event that belongs to no node.
    fn tell_all(&mut self, what: What) {
        self.events.push(Event { at: self.context.now, node: None, owner: None, lessee: None, what });
    }

    /// Writes a changed node: counts the revision, stamps the time.
    fn put_node(&mut self, mut node: Node) -> Arc<Node> {
        node.revision += 1;
        node.updated_at = Some(self.context.now);
        let node = Arc::new(node);
        self.changes.push(Change::PutNode(node.clone()));
        node
    }
}
