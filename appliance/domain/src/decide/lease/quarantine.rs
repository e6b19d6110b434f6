//! Quarantine: a node that could not be taken back from its lessee. Nobody gets it before a wipe of it was proven.
//!
//! The fault stands until the step that wipes is done, whatever becomes of maintenance: that only says whether the node
//! may be worked on.

use crate::command::Answer;
use crate::decide::Room;
use crate::event::What;
use crate::id::{JobId, NodeId};
use crate::node::Node;
use crate::provision::{Event, Verb, step};
use crate::refusal::Refusal;
use std::sync::Arc;

impl Room<'_> {
    /// Nobody lets others have a node of which nobody knows what is on it.
    pub(super) fn must_not_be_in_quarantine(&self, node: &Node) -> Result<(), Refusal> {
        match node.is_in_quarantine() {
            true => Err(Refusal::InUse(format!(
                "Node {} is in quarantine: it was not proven that it was wiped after its last lease.",
                node.title()
            ))),
            false => Ok(()),
        }
    }

    pub(super) fn retry_hand_over(&mut self, id: NodeId, job: JobId) -> Result<Answer, Refusal> {
        let node = self.out_of_maintenance(id)?;
        self.hand_over(&self.view.clone(), node, job);
        let node = self.changes.iter().rev().find_map(|change| match change {
            crate::view::Change::PutNode(node) => Some(node.clone()),
            _ => None,
        });
        node.map(Answer::Node).ok_or_else(|| Refusal::Invalid("The node cannot be taken back in this state.".into()))
    }

    pub(super) fn release(&mut self, id: NodeId) -> Result<Answer, Refusal> {
        let mut node = self.out_of_maintenance(id)?;
        if let Ok(next) = step(node.standing(), Event::Asked(Verb::Manage)) {
            self.move_to(&mut node, next);
        }
        Ok(Answer::Node(self.put_node(node)))
    }

    /// A node in quarantine, to be worked on.
    fn out_of_maintenance(&mut self, id: NodeId) -> Result<Node, Refusal> {
        let node = self.node(id)?.clone();
        if !node.is_in_quarantine() {
            return Err(Refusal::Invalid(format!("Node {} is not in quarantine.", node.title())));
        }
        self.must_be_free(&node)?;
        let changed = Node { maintenance: false, maintenance_reason: None, ..Arc::unwrap_or_clone(node) };
        self.tell(&changed, What::Maintenance { on: false, reason: None, quarantine: true });
        Ok(changed)
    }
}
