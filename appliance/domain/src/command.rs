//! Every command that can change the state, who gives it, and what it answers.
//!
//! Ids and secrets are made by the adapter and passed in: replaying the same commands gives the same state.

use crate::address::Binding;
use crate::hardware::{HardwareCommand, HardwareRow};
use crate::id::{ImageId, JobId, NodeId, PortId, UserId};
use crate::identity::{IdentityCommand, IdentityRow};
use crate::image::{Image, ImageCommand, ImageContent, JudgedImage};
use crate::job::{Job, JobInput, StepName};
use crate::lease::{LeaseCommand, LeaseRow};
use crate::network::{NetworkCommand, NetworkRow};
use crate::node::{Node, NodeSettings};
use crate::notice::NoticeCommand;
use crate::port::{Port, PortSettings};
use crate::power::{BootMode, PowerState, PowerTarget};
use crate::provision::Verb;
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// Who gives a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A user.
    User(Arc<Who>),
    /// The local command line, by Unix user id.
    Local(u32),
    /// A part of the appliance: `engine`, `dhcp`, `agent`.
    System(&'static str),
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Actor::User(who) => f.write_str(&who.name),
            Actor::Local(uid) => write!(f, "local user {uid}"),
            Actor::System(part) => f.write_str(part),
        }
    }
}

/// A user who gives a command, and on what ground.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Who {
    pub name: String,
    pub user: Option<UserId>,
    /// What his credentials are for: `project …`, `domain …`, `system`, or nothing.
    pub scope: String,
    /// The project that his credentials are for.
    pub project: Option<String>,
    /// Where the request came from.
    pub address: Option<IpAddr>,
    /// The id of the request, as the answer's header names it.
    pub request: Option<String>,
    /// What policy was asked about: the command holds only while it is still so.
    pub judged: Vec<Judged>,
    /// The image that he may deploy.
    pub image: Option<JudgedImage>,
}

/// Policy said yes for a node that belonged to these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    pub node: NodeId,
    pub owner: Option<String>,
    pub lessee: Option<String>,
}

impl Actor {
    /// A user of whom only the name is known.
    pub fn named(name: &str) -> Actor {
        Actor::User(Arc::new(Who { name: name.to_owned(), ..Who::default() }))
    }
}

/// The circumstances of a command.
#[derive(Clone, Debug)]
pub struct Context {
    pub actor: Actor,
    pub now: Timestamp,
}

/// How a step of a job ended.
#[derive(Clone, Debug, PartialEq)]
pub enum StepEnd {
    Done(Option<String>),
    /// For good. The reason becomes the node's `last_error`.
    Failed(String),
}

/// How a new node begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeStart {
    /// Free at once, as API versions before 1.11 have it; else it is to be verified and cleaned first.
    pub available: bool,
    pub maintenance: bool,
}

/// One thing of a machine that is another from now on.
#[derive(Clone, Debug, PartialEq)]
pub enum MachineChange {
    Console(bool),
    BootMode(BootMode),
    SecureBoot(bool),
    Indicator(String),
    /// The RAID volumes that the next cleaning is to make.
    TargetRaid(Map<String, Value>),
    /// Its BMC was asked for this and has done it; nothing of the node is another by it.
    Asked(String),
}

/// A command.
#[derive(Clone, Debug)]
pub enum Command {
    CreateNode {
        id: NodeId,
        settings: Box<NodeSettings>,
        start: NodeStart,
    },
    /// The whole new settings, based on `revision` of the node; and its maintenance, if it is to be another.
    ChangeNode {
        id: NodeId,
        revision: u64,
        settings: Box<NodeSettings>,
        maintenance: Option<bool>,
    },
    /// Something of the machine beside its power that a user set, or that its BMC told.
    SetMachine {
        node: NodeId,
        what: MachineChange,
    },
    DeleteNode {
        id: NodeId,
    },
    CreatePort {
        id: PortId,
        settings: Box<PortSettings>,
    },
    ChangePort {
        id: PortId,
        revision: u64,
        settings: Box<PortSettings>,
    },
    DeletePort {
        id: PortId,
    },
    /// A provision verb; `job` is the id of the job it starts.
    Provision {
        node: NodeId,
        verb: Verb,
        job: JobId,
        input: Box<JobInput>,
    },
    /// A power change that a user wants.
    Power {
        node: NodeId,
        target: PowerTarget,
        job: JobId,
        soft_timeout: Option<u32>,
    },
    SetMaintenance {
        node: NodeId,
        on: bool,
        reason: Option<String>,
    },
    /// Traits of a node: all of them, as they are to be.
    SetTraits {
        node: NodeId,
        traits: Vec<String>,
    },
    /// One trait more, or less.
    ChangeTrait {
        node: NodeId,
        name: String,
        on: bool,
    },

    /// The engine begins (again) with a step.
    StartStep {
        job: JobId,
        step: StepName,
    },
    /// A step that runs tells how far it is.
    StepProgress {
        job: JobId,
        step: StepName,
        detail: String,
    },
    EndStep {
        job: JobId,
        step: StepName,
        end: StepEnd,
    },
    /// The step that runs waits for somebody's word (`unhold`).
    HoldJob {
        job: JobId,
    },
    /// The machine that is waited for has missed its network boot: the job starts it again.
    BootAgain {
        job: JobId,
    },
    /// `prepare-image` found or made this image.
    UseImage {
        job: JobId,
        image: ImageId,
    },
    /// What a BMC said about power; `None`: it does not answer.
    ObservePower {
        node: NodeId,
        power: Option<PowerState>,
        error: Option<String>,
    },
    /// The certificate of the node's BMC, seen at enrolment.
    PinCertificate {
        node: NodeId,
        /// `driver_info/…_address` as it was when the certificate was shown.
        address: String,
        sha256: String,
    },

    /// A verified agent of this job called.
    AgentHeartbeat {
        job: JobId,
        boot: u32,
        callback_url: String,
        certificate: Option<String>,
        version: String,
    },
    /// A verified agent of this job reports what the machine consists of.
    SaveInventory {
        job: JobId,
        boot: u32,
        inventory: Value,
    },
    /// The agent says that it cannot go on.
    AgentFailed {
        job: JobId,
        boot: u32,
        message: String,
    },

    /// An address was acknowledged, renewed or found taken.
    Bind(Binding),
    /// The client gives its address back.
    Unbind {
        address: Ipv4Addr,
    },

    AddImage(Box<Image>),
    ImageReady {
        id: ImageId,
        content: ImageContent,
    },
    ImageFailed {
        id: ImageId,
        reason: String,
    },
    /// An image that came for a deployment gets a name, and stays from then on.
    NameImage {
        id: ImageId,
        name: String,
    },
    DeleteImage {
        id: ImageId,
    },
    /// Space is short: an image that nobody asked to keep and nobody used for long goes.
    EvictImage {
        id: ImageId,
    },

    Image(ImageCommand),
    /// A changed policy file is put in force: for the audit, which is all that changes here.
    NotePolicy {
        file: String,
        /// The rules that say something else than before.
        changed: Vec<String>,
    },

    Identity(IdentityCommand),
    Network(NetworkCommand),
    Hardware(HardwareCommand),
    Lease(LeaseCommand),
    Notice(NoticeCommand),
}

impl Command {
    /// The name for audit, log and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Command::CreateNode { .. } => "create-node",
            Command::ChangeNode { .. } => "change-node",
            Command::DeleteNode { .. } => "delete-node",
            Command::SetMachine { .. } => "set-machine",
            Command::CreatePort { .. } => "create-port",
            Command::ChangePort { .. } => "change-port",
            Command::DeletePort { .. } => "delete-port",
            Command::Provision { .. } => "provision",
            Command::Power { .. } => "power",
            Command::SetMaintenance { .. } => "set-maintenance",
            Command::SetTraits { .. } => "set-traits",
            Command::ChangeTrait { .. } => "change-trait",
            Command::StartStep { .. } => "start-step",
            Command::StepProgress { .. } => "step-progress",
            Command::EndStep { .. } => "end-step",
            Command::HoldJob { .. } => "hold-job",
            Command::BootAgain { .. } => "boot-again",
            Command::UseImage { .. } => "use-image",
            Command::ObservePower { .. } => "observe-power",
            Command::PinCertificate { .. } => "pin-certificate",
            Command::AgentHeartbeat { .. } => "agent-heartbeat",
            Command::SaveInventory { .. } => "save-inventory",
            Command::AgentFailed { .. } => "agent-failed",
            Command::Bind(_) => "bind-address",
            Command::Unbind { .. } => "unbind-address",
            Command::AddImage(_) => "add-image",
            Command::ImageReady { .. } => "image-ready",
            Command::ImageFailed { .. } => "image-failed",
            Command::NameImage { .. } => "name-image",
            Command::DeleteImage { .. } => "delete-image",
            Command::EvictImage { .. } => "evict-image",
            Command::Image(command) => command.name(),
            Command::NotePolicy { .. } => "reload-policy",
            Command::Identity(command) => command.name(),
            Command::Network(command) => command.name(),
            Command::Hardware(command) => command.name(),
            Command::Lease(command) => command.name(),
            Command::Notice(command) => command.name(),
        }
    }
}

/// What a command that was carried out answers: the thing as it is now.
#[derive(Clone, Debug)]
pub enum Answer {
    Node(Arc<Node>),
    Port(Arc<Port>),
    Job(Arc<Job>),
    Image(Arc<Image>),
    Identity(IdentityRow),
    Network(NetworkRow),
    Hardware(HardwareRow),
    Lease(LeaseRow),
    /// Done, and there is nothing to show.
    Done,
}
