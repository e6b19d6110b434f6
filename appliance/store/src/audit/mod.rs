//! The audit: what people did or tried, without what the appliance says to itself.
//!
//! In: commands and what they change, refusals. Out: entries, each bound to the one before it by a hash ([`chain`]),
//! with what was before and after ([`difference`]). A command that was carried out has its entry in the same transaction.
//! Refusals are gathered in memory and written together now and then ([`refusals`]).

pub mod chain;
mod difference;
mod log;
mod refusals;

pub use difference::without_login;
pub use log::{AuditFilter, AuditPage, AuditRow, Verified};
pub(crate) use log::{Limit, append, chain_rows, encode, first_time, newest, page, rows_after, trim, verify};
pub(crate) use refusals::{Refusal, Refusals};

use jiff::Timestamp;
use leasehold_domain::command::MachineChange;
use leasehold_domain::view::{Change, View};
use leasehold_domain::{Actor, Command, Context};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::net::IpAddr;

/// An entry of the audit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When it happened, or, of refusals, when the last one did.
    pub at: Timestamp,
    pub actor: String,
    #[serde(flatten)]
    pub source: Source,
    /// The command, with its verb where it has one: `provision active`.
    pub what: String,
    /// The id of what it was about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    pub outcome: Outcome,
    /// What it changed, before and after, without secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Value>,
}

/// Where a command came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The user's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What his credentials were for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The id of the request, as the answer's header names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
}

impl Source {
    pub(crate) fn of(actor: &Actor) -> Source {
        let Actor::User(who) = actor else { return Source::default() };
        Source {
            user: who.user.map(|user| user.0.simple().to_string()),
            scope: Some(who.scope.clone()).filter(|scope| !scope.is_empty()),
            address: who.address,
            request: who.request.clone(),
        }
    }
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Done,
    /// So often since then; the reason is that of the last time.
    Refused {
        reason: String,
        count: u64,
        since: Timestamp,
    },
}

/// People are audited; the appliance's own parts have the timeline.
pub(crate) fn is_audited(actor: &Actor) -> bool {
    !matches!(actor, Actor::System(_))
}

/// The entry of a command that is carried out on this state with these changes.
pub(crate) fn entry(view: &View, command: &Command, context: &Context, changes: &[Change]) -> AuditEntry {
    let (what, subject) = describe(command);
    let change = match command {
        Command::NotePolicy { changed, .. } => Some(serde_json::json!({"rules": changed})),
        _ => difference::difference(view, changes),
    };
    AuditEntry {
        at: context.now,
        actor: context.actor.to_string(),
        source: Source::of(&context.actor),
        what,
        subject,
        outcome: Outcome::Done,
        change,
    }
}

/// Name and subject of a command. Settings and secrets are not told: the events say what changed.
pub(crate) fn describe(command: &Command) -> (String, Option<String>) {
    let name = command.name();
    let (what, subject) = match command {
        Command::CreateNode { id, .. } | Command::ChangeNode { id, .. } | Command::DeleteNode { id } => {
            (None, id.to_string())
        }
        Command::CreatePort { id, .. } | Command::ChangePort { id, .. } | Command::DeletePort { id } => {
            (None, id.to_string())
        }
        Command::Provision { node, verb, .. } => (Some(verb.name()), node.to_string()),
        Command::Power { node, target, .. } => (Some(target.name()), node.to_string()),
        Command::SetMaintenance { node, on, .. } => (Some(if *on { "on" } else { "off" }), node.to_string()),
        Command::SetMachine { node, what: MachineChange::Asked(call) } => (Some(call.as_str()), node.to_string()),
        Command::SetTraits { node, .. }
        | Command::ChangeTrait { node, .. }
        | Command::ObservePower { node, .. }
        | Command::PinCertificate { node, .. }
        | Command::SetMachine { node, .. } => (None, node.to_string()),
        Command::StartStep { job, step }
        | Command::StepProgress { job, step, .. }
        | Command::EndStep { job, step, .. } => (Some(step.name()), job.to_string()),
        Command::UseImage { job, .. }
        | Command::BootAgain { job }
        | Command::HoldJob { job }
        | Command::AgentHeartbeat { job, .. }
        | Command::SaveInventory { job, .. }
        | Command::AgentFailed { job, .. } => (None, job.to_string()),
        Command::Bind(binding) => (None, binding.address.to_string()),
        Command::Unbind { address } => (None, address.to_string()),
        Command::AddImage(image) => (None, image.id.to_string()),
        Command::ImageReady { id, .. }
        | Command::ImageFailed { id, .. }
        | Command::NameImage { id, .. }
        | Command::DeleteImage { id }
        | Command::EvictImage { id } => (None, id.to_string()),
        Command::Image(command) => (None, command.image().to_string()),
        Command::NotePolicy { file, .. } => (None, file.clone()),
        Command::Identity(command) => (None, command.subject()),
        Command::Network(command) => (None, command.subject()),
        Command::Hardware(command) => (None, command.subject()),
        Command::Lease(command) => (None, command.subject()),
        Command::Notice(command) => (None, command.subject()),
    };
    (what.map_or_else(|| name.to_owned(), |what| format!("{name} {what}")), Some(subject))
}
