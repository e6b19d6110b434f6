//! A node: one machine, what its keepers say about it, and where it stands.

use crate::driver::{self, Interface};
use crate::id::{JobId, LeaseId, NodeId};
use crate::lease::OwnersWord;
use crate::power::{BootMode, PowerState, PowerTarget};
use crate::provision::{ProvisionState, Standing};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// The fault of a node whose BMC does not answer any more. Ironic's word.
pub const POWER_FAILURE: &str = "power failure";

/// The fault of a node whose cleaning failed: it must not be used before somebody looked. Ironic's word.
pub const CLEAN_FAILURE: &str = "clean failure";

/// The fault of a node that could not be taken back from its last user: nobody gets it before somebody looked.
pub const QUARANTINE: &str = "quarantine";

/// The member of `instance_info` with the config drive of the node's user, as the API takes it. Masked in every answer.
pub const CONFIG_DRIVE: &str = "configdrive";

/// A secret that only the appliance's key opens (BMC passwords). Never shown, logged or put in an event.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(pub Vec<u8>);

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealed(…)")
    }
}

/// The attributes of a node that its keepers may set (Ironic's names and meaning).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeSettings {
    pub name: Option<String>,
    /// One of [`driver::DRIVERS`].
    pub driver: String,
    /// How to reach the BMC, without its secrets.
    pub driver_info: Map<String, Value>,
    /// The secret members of `driver_info` by name, sealed.
    pub driver_secrets: BTreeMap<String, Sealed>,
    pub properties: Map<String, Value>,
    pub extra: Map<String, Value>,
    /// What to deploy and how, from whoever uses the node now.
    pub instance_info: Map<String, Value>,
    pub instance_uuid: Option<Uuid>,
    pub resource_class: Option<String>,
    pub description: Option<String>,
    pub owner: Option<String>,
    pub lessee: Option<String>,
    pub traits: BTreeSet<String>,
    /// Wipe between two uses; `None`: as the appliance is configured (yes).
    pub automated_clean: Option<bool>,
    pub protected: bool,
    pub protected_reason: Option<String>,
    pub retired: bool,
    pub retired_reason: Option<String>,
    /// Hardware interfaces that are not the driver's default, by their member (`deploy_interface`).
    pub interfaces: BTreeMap<String, String>,
    /// Attributes that are kept and shown but have no effect in the drivers here (`conductor_group`, `shard`, …).
    pub labels: BTreeMap<String, Value>,
}

impl NodeSettings {
    /// The hardware interface that the node has.
    pub fn interface(&self, interface: Interface) -> &str {
        let chosen = self.interfaces.get(interface.member()).map(String::as_str);
        chosen.or_else(|| driver::find(&self.driver).map(|driver| driver.default_of(interface))).unwrap_or_default()
    }

    /// The node goes without this interface (`no-…`).
    pub fn lacks(&self, interface: Interface) -> bool {
        self.interface(interface).starts_with("no-")
    }

    /// A label that is a text, if it is set.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// The machine is never to be off: its power is cycled instead.
    pub fn never_off(&self) -> bool {
        self.labels.get("disable_power_off").and_then(Value::as_bool).unwrap_or(false)
    }

    /// The node that this one is a part of.
    pub fn parent(&self) -> Option<NodeId> {
        self.label("parent_node").and_then(|text| Uuid::parse_str(text).ok()).map(NodeId)
    }
}

/// What is known of the machine beside its power, and what somebody wants of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    pub console_enabled: bool,
    pub boot_mode: Option<BootMode>,
    pub secure_boot: Option<bool>,
    pub raid_config: Map<String, Value>,
    pub target_raid_config: Map<String, Value>,
    /// The light by which a machine is found in its rack.
    pub indicator: Option<String>,
}

/// What a deploy agent told when it called back; it belongs to one job and is forgotten with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentContact {
    pub job: JobId,
    /// Where the agent takes commands.
    pub callback_url: String,
    /// The agent's own certificate (PEM), the only one accepted at `callback_url`.
    pub certificate: Option<String>,
    pub version: String,
    pub last_seen: Timestamp,
    /// It said that it cannot go on, and why.
    #[serde(default)]
    pub failure: Option<String>,
}

/// A node and all that is known to be true of it now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    pub id: NodeId,
    /// Counts changes, so that a writer can say on what he bases his change.
    pub revision: u64,
    pub settings: NodeSettings,
    pub provision_state: ProvisionState,
    pub target_provision_state: Option<ProvisionState>,
    pub provision_updated_at: Option<Timestamp>,
    pub power_state: Option<PowerState>,
    pub target_power_state: Option<PowerTarget>,
    pub maintenance: bool,
    pub maintenance_reason: Option<String>,
    /// Why the appliance itself put the node into maintenance (`power failure`, `clean failure`); `None`: it did not.
    pub fault: Option<String>,
    pub last_error: Option<String>,
    /// The job that holds the node. A node has one at a time.
    pub job: Option<JobId>,
    /// Rises with every job, so that a report from an old one is recognised.
    pub generation: u64,
    /// SHA-256 of the BMC's certificate, pinned when the node was enrolled (hex).
    pub bmc_certificate: Option<String>,
    pub agent: Option<AgentContact>,
    #[serde(default)]
    pub machine: Machine,
    /// The lease under which the node is its lessee's.
    #[serde(default)]
    pub lease: Option<LeaseId>,
    /// Since its disks were last proven to be wiped, nobody had the machine.
    #[serde(default)]
    pub wiped: bool,
    /// What its keepers say of the node while a lessee has it, who may write over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owners_word: Option<Box<OwnersWord>>,
    pub inspection_started_at: Option<Timestamp>,
    pub inspection_finished_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Option<Timestamp>,
}

impl Node {
    /// A node as it is when it has just been enrolled.
    pub fn enrolled(id: NodeId, settings: NodeSettings, now: Timestamp) -> Node {
        Node {
            id,
            revision: 0,
            settings,
            provision_state: ProvisionState::Enroll,
            target_provision_state: None,
            provision_updated_at: None,
            power_state: None,
            target_power_state: None,
            maintenance: false,
            maintenance_reason: None,
            fault: None,
            last_error: None,
            job: None,
            generation: 0,
            bmc_certificate: None,
            agent: None,
            machine: Machine::default(),
            lease: None,
            wiped: false,
            owners_word: None,
            inspection_started_at: None,
            inspection_finished_at: None,
            created_at: now,
            updated_at: None,
        }
    }

    /// State and target, as the state machine takes them.
    pub fn standing(&self) -> Standing {
        Standing { state: self.provision_state, target: self.target_provision_state }
    }

    /// Nobody gets it before a wipe of it was proven.
    pub fn is_in_quarantine(&self) -> bool {
        self.fault.as_deref() == Some(QUARANTINE)
    }

    /// What stays of the fault when somebody sets or ends maintenance: that the node was not proven to be clean.
    pub(crate) fn lasting_fault(&self) -> Option<String> {
        self.fault.clone().filter(|fault| fault == QUARANTINE)
    }

    /// The name if it has one, else the UUID: what messages call the node.
    pub fn title(&self) -> String {
        self.settings.name.clone().unwrap_or_else(|| self.id.to_string())
    }
}

/// Words that stand in the place of a node's name in the API's paths.
pub const RESERVED_NAMES: [&str; 6] = ["detail", "maintenance", "management", "states", "validate", "vendor_passthru"];

/// A legal node name: what Ironic takes, a host name or several joined by dots.
pub fn is_node_name(name: &str) -> bool {
    let character = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~');
    !name.is_empty() && name.len() <= 255 && name.chars().all(character) && Uuid::parse_str(name).is_err()
}
