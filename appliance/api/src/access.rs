//! Policy as handlers ask it: is this node there for the caller, and may he.
//!
//! Ironic's answers: what a caller may not see is not found (404); what he sees and may not do is forbidden (403).

use crate::auth::Caller;
use crate::error::ApiError;
use axum::http::StatusCode;
use jiff::Timestamp;
use leasehold_domain::command::{Actor, Judged};
use leasehold_domain::id::NodeId;
use leasehold_domain::node::{Node, NodeSettings};
use leasehold_domain::policy::Target;
use std::borrow::Cow;
use std::sync::LazyLock;
use uuid::Uuid;

/// The rule for whom a node is there.
const SEE_NODE: &str = "baremetal:node:get";

/// Stands in for a node that is not there. Its owner and lessee are no project's ids, and as long as those.
static NOBODYS: LazyLock<Node> = LazyLock::new(|| {
    let nobody = Some("-".repeat(32));
    let settings = NodeSettings { owner: nobody.clone(), lessee: nobody, ..NodeSettings::default() };
    Node::enrolled(NodeId(Uuid::nil()), settings, Timestamp::UNIX_EPOCH)
});

/// A node that is not there, in the same words whether it is another's or nobody's.
pub(crate) fn no_node(ident: &str) -> ApiError {
    ApiError::not_found(format!("Node {ident} could not be found."))
}

/// A node as rules see it.
pub(crate) struct OfNode<'a>(pub(crate) &'a Node);

impl Target for OfNode<'_> {
    fn attribute(&self, name: &str) -> Option<Cow<'_, str>> {
        let settings = &self.0.settings;
        match name {
            "node.owner" => settings.owner.as_deref().map(Cow::Borrowed),
            "node.lessee" => settings.lessee.as_deref().map(Cow::Borrowed),
            "node.uuid" => Some(Cow::Owned(self.0.id.to_string())),
            "node.driver" => Some(Cow::Borrowed(&settings.driver)),
            "node.resource_class" => settings.resource_class.as_deref().map(Cow::Borrowed),
            _ => None,
        }
    }
}

impl Caller {
    /// Whether the rule says yes to the caller for this.
    pub(crate) fn allows(&self, rule: &str, target: &dyn Target) -> bool {
        self.hidings.asked(rule);
        self.policy.allows(rule, &self.credentials, target)
    }

    /// Whether the caller is shown this thing. If not he is told that it is not there, and the audit why.
    pub(crate) fn shows(&self, rule: &'static str, id: Uuid, target: &dyn Target) -> bool {
        self.allows(rule, target) || self.hides(rule, id)
    }

    /// No: this rule hides this thing from the caller.
    pub(crate) fn hides(&self, rule: &'static str, id: Uuid) -> bool {
        self.hidings.note(rule, id);
        false
    }

    /// Yes, or 403.
    pub(crate) fn needs(&self, rule: &str, target: &dyn Target) -> Result<(), ApiError> {
        if self.allows(rule, target) {
            return Ok(());
        }
        Err(forbidden(rule))
    }

    /// May see the node.
    pub(crate) fn sees(&self, node: &Node) -> bool {
        self.shows(SEE_NODE, node.id.0, &OfNode(node))
    }

    /// The node is there for the caller and the rule says yes: who gives the command, bound to the node's owner and
    /// lessee of this moment. 404 under the name the caller used, or 403.
    pub(crate) fn may(&self, rule: &str, node: &Node, ident: &str) -> Result<Actor, ApiError> {
        if self.allows(rule, &OfNode(node)) {
            return Ok(self.judged(node));
        }
        if self.sees(node) {
            return Err(forbidden(rule));
        }
        Err(no_node(ident))
    }

    /// What [`Caller::may`] says of a node that nobody has. The same rules are asked as of one that is another's, so
    /// that the time of the answer does not tell the two apart.
    pub(crate) fn misses(&self, rule: &str, ident: &str) -> ApiError {
        let _told_nobody = self.may(rule, &NOBODYS, ident);
        no_node(ident)
    }

    /// Who gives a command about this node: it holds only while owner and lessee are those of now.
    pub(crate) fn judged(&self, node: &Node) -> Actor {
        if let Some(uid) = self.origin.uid {
            return Actor::Local(uid);
        }
        let mut who = self.who();
        who.judged.push(Judged {
            node: node.id,
            owner: node.settings.owner.clone(),
            lessee: node.settings.lessee.clone(),
        });
        Actor::User(who.into())
    }
}

/// 403, with the rule's name, so that an administrator can look it up with `leasehold policy explain`.
pub(crate) fn forbidden(rule: &str) -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, format!("Policy does not allow {rule} to be performed."))
}
