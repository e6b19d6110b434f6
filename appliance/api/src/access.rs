//! Policy as handlers ask it: is this node there for the caller, and may he.
//!
//! Ironic's answers: what a caller may not see is not found (404); what he sees and may not do is forbidden (403).

use crate::auth::Caller;
use crate::error::ApiError;
use axum::http::StatusCode;
use leasehold_domain::command::{Actor, Judged};
use leasehold_domain::node::Node;
use leasehold_domain::policy::Target;
use std::borrow::Cow;

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
        self.policy.allows(rule, &self.credentials, target)
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
        self.allows("baremetal:node:get", &OfNode(node))
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
        Err(ApiError::not_found(format!("Node {ident} could not be found.")))
    }

    /// Who gives a command about this node: it holds only while owner and lessee are those of now.
    pub(crate) fn judged(&self, node: &Node) -> Actor {
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
