//! Why a command was not carried out, in the user's words: what, why, what to do.

use crate::provision::{ProvisionState, Verb};

/// A refusal. Each kind has one HTTP status, named in its documentation; the API translates.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 404. `what`: "Node", "Port", …
    #[error("{what} {name} could not be found.")]
    NotFound { what: &'static str, name: String },
    /// 409: a name, MAC address or UUID is taken.
    #[error("{what} {name} already exists: choose another, or change the existing one.")]
    Exists { what: &'static str, name: String },
    /// 400: the state does not allow the verb.
    #[error("The requested action \"{}\" can not be performed on node \"{node}\" while it is in state \"{}\".{}", .verb.name(), .state.name(), allowed_text(.allowed))]
    State { node: String, verb: Verb, state: ProvisionState, allowed: Vec<Verb> },
    /// 409: a job holds the node.
    #[error("Node {node} is locked by its job \"{job}\", please retry after the job is completed.")]
    Locked { node: String, job: &'static str },
    /// 409: somebody changed it since the caller read it.
    #[error("{what} {name} was changed by somebody else in the meantime: read it again and repeat the change.")]
    Conflict { what: &'static str, name: String },
    /// 409: still in use, protected, and the like.
    #[error("{0}")]
    InUse(String),
    /// 409: a switch port is not known to be idle, and would be forgotten.
    #[error("{0}")]
    Plugged(String),
    /// 400: the request itself is wrong.
    #[error("{0}")]
    Invalid(String),
    /// A report of a job, step or boot that is no longer the current one. 409.
    #[error("This report belongs to a job that is over or was replaced; it changes nothing.")]
    Stale,
    /// 403.
    #[error("{0}")]
    Forbidden(String),
    /// 403, as Nova has it: more leases or offers than a project, or all of a tree, may have.
    #[error("{0}")]
    OverQuota(String),
    /// 413: more than the project may have.
    #[error("{0}")]
    TooMuch(String),
}

fn allowed_text(allowed: &[Verb]) -> String {
    if allowed.is_empty() {
        return " No action is possible until its job has ended.".into();
    }
    let names: Vec<_> = allowed.iter().map(|verb| verb.name()).collect();
    format!(" Allowed now: {}.", names.join(", "))
}
