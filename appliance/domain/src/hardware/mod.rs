//! What the bare-metal API knows beside nodes and ports: chassis, port groups, allocations, templates, volumes, rules.
//!
//! In: commands about them. Out: rows. A kind is one file: what a record says ([`Kind`]), and the rules it must keep.
//! They follow their node where they have one.

mod allocation;
mod chassis;
mod deploy_template;
mod inspection_rule;
mod portgroup;
mod record;
mod rows;
pub mod rules;
mod runbook;
mod service;
mod steps;
mod switch_port;
mod volume;

pub use allocation::{ALLOCATION_NAME, Allocation, Outcome, Wanted, check_backfill, choose, free_class, may_lose};
pub use chassis::Chassis;
pub use deploy_template::{DeployTemplate, TEMPLATE_NAME};
pub use inspection_rule::{InspectionRule, MAIN_PHASE};
pub use portgroup::{DEFAULT_MODE, PORTGROUP_ADDRESS, PORTGROUP_NAME, Portgroup};
pub use record::{Kind, Record, RecordId, Table};
pub use rows::{Catalogue, HardwareKey, HardwareRow};
pub use runbook::{RUNBOOK_NAME, Runbook};
pub use service::ServiceStep;
pub use steps::{INTERFACES, Step, check_traits, deploy_steps, is_trait_name};
pub use switch_port::SwitchPort;
pub use volume::{VolumeConnector, VolumeTarget, boot_volume};

use crate::id::{AllocationId, NodeId, PortId};
use serde_json::{Map, Value};
use uuid::Uuid;

/// What a record of any kind says. Allocations are made by their own command.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    Chassis(Chassis),
    Portgroup(Portgroup),
    DeployTemplate(DeployTemplate),
    Runbook(Runbook),
    VolumeConnector(VolumeConnector),
    VolumeTarget(VolumeTarget),
    InspectionRule(InspectionRule),
}

/// A command about them.
#[derive(Clone, Debug)]
pub enum HardwareCommand {
    Create {
        id: Uuid,
        body: Box<Body>,
    },
    /// All that the record is to say, based on `revision` of it.
    Change {
        id: Uuid,
        revision: u64,
        body: Box<Body>,
    },
    Delete {
        key: HardwareKey,
        revision: u64,
    },
    /// Finds a node. `backfill`: this one, which is in use already.
    Allocate {
        id: AllocationId,
        wanted: Box<Wanted>,
        backfill: Option<NodeId>,
    },
    /// What of an allocation can be changed.
    ChangeAllocation {
        id: AllocationId,
        revision: u64,
        name: Option<String>,
        extra: Map<String, Value>,
    },
    /// A switch port is about to be set for a network card, whose note of it is that of this revision.
    HoldSwitchPort {
        card: PortId,
        revision: u64,
        place: SwitchPort,
    },
    /// It was read back that it is idle.
    FreeSwitchPort {
        card: PortId,
        place: SwitchPort,
    },
    /// Why the node's switch ports are not as they should be, while no job works on it; `None`: they are.
    NoteWire {
        node: NodeId,
        error: Option<String>,
    },
}

impl HardwareCommand {
    /// The name for audit, log and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            HardwareCommand::Create { body, .. } => match **body {
                Body::Chassis(_) => "create-chassis",
                Body::Portgroup(_) => "create-portgroup",
                Body::DeployTemplate(_) => "create-deploy-template",
                Body::Runbook(_) => "create-runbook",
                Body::VolumeConnector(_) => "create-volume-connector",
                Body::VolumeTarget(_) => "create-volume-target",
                Body::InspectionRule(_) => "create-inspection-rule",
            },
            HardwareCommand::Change { body, .. } => match **body {
                Body::Chassis(_) => "change-chassis",
                Body::Portgroup(_) => "change-portgroup",
                Body::DeployTemplate(_) => "change-deploy-template",
                Body::Runbook(_) => "change-runbook",
                Body::VolumeConnector(_) => "change-volume-connector",
                Body::VolumeTarget(_) => "change-volume-target",
                Body::InspectionRule(_) => "change-inspection-rule",
            },
            HardwareCommand::Delete { key, .. } => match key {
                HardwareKey::Chassis(_) => "delete-chassis",
                HardwareKey::Portgroup(_) => "delete-portgroup",
                HardwareKey::Allocation(_) => "delete-allocation",
                HardwareKey::DeployTemplate(_) => "delete-deploy-template",
                HardwareKey::Runbook(_) => "delete-runbook",
                HardwareKey::VolumeConnector(_) => "delete-volume-connector",
                HardwareKey::VolumeTarget(_) => "delete-volume-target",
                HardwareKey::InspectionRule(_) => "delete-inspection-rule",
                HardwareKey::SwitchPort(_) => "delete-switch-port",
            },
            HardwareCommand::HoldSwitchPort { .. } => "hold-switch-port",
            HardwareCommand::FreeSwitchPort { .. } => "free-switch-port",
            HardwareCommand::NoteWire { .. } => "note-wire",
            HardwareCommand::Allocate { .. } => "allocate",
            HardwareCommand::ChangeAllocation { .. } => "change-allocation",
        }
    }

    /// The id of what it is about.
    pub fn subject(&self) -> String {
        match self {
            HardwareCommand::Create { id, .. } | HardwareCommand::Change { id, .. } => id.to_string(),
            HardwareCommand::Delete { key, .. } => key.title().1.to_string(),
            HardwareCommand::Allocate { id, .. } | HardwareCommand::ChangeAllocation { id, .. } => id.to_string(),
            HardwareCommand::HoldSwitchPort { card, .. } | HardwareCommand::FreeSwitchPort { card, .. } => {
                card.to_string()
            }
            HardwareCommand::NoteWire { node, .. } => node.to_string(),
        }
    }
}
