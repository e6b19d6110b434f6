//! What the deploy agent and the appliance say to each other: ironic-python-agent's wire, so that either agent works
//! with us and ours works with either service. Lookup, heartbeat and inspection go from agent to appliance; commands
//! go from appliance to agent (`POST {callback_url}/v1/commands/`). Readers are lenient: what a peer leaves out is
//! `None` or empty, what it adds is ignored.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Who may log in to a machine in rescue. The name is Ironic's.
pub const RESCUE_USER: &str = "rescue";

/// What a service shows in place of a token that it has handed out already, or that came another way.
pub const TOKEN_MASK: &str = "******";

/// Answer of `GET {api}/v1/lookup?addresses=…&node_uuid=…`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LookupAnswer {
    /// The node that the addresses belong to.
    pub node: LookupNode,
    /// How the agent is to behave.
    #[serde(default)]
    pub config: LookupConfig,
}

/// The fields of a node that an agent may see.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LookupNode {
    /// The node's id, used in every heartbeat.
    pub uuid: String,
    /// Free-form; `root_device` holds the hints for the disk to deploy to.
    #[serde(default)]
    pub properties: Map<String, Value>,
    /// Free-form; its `root_device` goes before that of `properties`.
    #[serde(default)]
    pub instance_info: Map<String, Value>,
    /// Free-form.
    #[serde(default)]
    pub driver_internal_info: Map<String, Value>,
}

/// Settings that come with a lookup.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LookupConfig {
    /// Seconds within which the appliance wants to hear a heartbeat.
    #[serde(default)]
    pub heartbeat_timeout: Option<f64>,
    /// The token of this boot, or [`TOKEN_MASK`] when the agent must know it already.
    #[serde(default)]
    pub agent_token: Option<String>,
}

/// Body of `POST {api}/v1/heartbeat/{uuid}`, answered by 202.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Where the agent takes commands, for example `https://192.0.2.7:9999`.
    pub callback_url: String,
    /// The token of this boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_token: Option<String>,
    /// Version of the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_version: Option<String>,
    /// The certificate (PEM) that the command service shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_verify_ca: Option<String>,
    /// `start`, `end` or `error`; only since API version 1.72.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_status: Option<String>,
    /// What is the matter, in plain words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_status_message: Option<String>,
}

/// Body of `POST {callback_url}/v1/commands/?wait=…&agent_token=…`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandRequest {
    /// `extension.method`, for example `standby.prepare_image`.
    pub name: String,
    /// Named parameters of the method.
    pub params: Map<String, Value>,
}

/// How far a command has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommandStatus {
    /// Still at work.
    #[serde(rename = "RUNNING")]
    Running,
    /// Done; see `command_result`.
    #[serde(rename = "SUCCEEDED")]
    Succeeded,
    /// Given up; see `command_error`.
    #[serde(rename = "FAILED")]
    Failed,
    /// The agent's steps are another version than the one the service planned with.
    #[serde(rename = "CLEAN_VERSION_MISMATCH", alias = "VERSION_MISMATCH")]
    VersionMismatch,
}

/// One command that an agent was given; parameters are not shown, for they may hold secrets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandResult {
    /// Made by the agent.
    pub id: String,
    /// The method without its extension, for example `prepare_image`.
    pub command_name: String,
    /// How far it is.
    pub command_status: CommandStatus,
    /// What failed: a [`CommandError`] object from most agents, a string from some.
    #[serde(default)]
    pub command_error: Option<Value>,
    /// What the command gave back.
    #[serde(default)]
    pub command_result: Option<Value>,
    /// How far a running command is; only from our agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leasehold_progress: Option<Progress>,
}

impl CommandResult {
    /// The failure in words, whichever way the agent put it.
    #[must_use]
    pub fn error_text(&self) -> Option<String> {
        match self.command_error.as_ref()? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            Value::Object(object) => {
                let text = |key| object.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
                match (text("message"), text("details").or_else(|| text("error"))) {
                    (Some(message), Some(details)) => Some(format!("{message}: {details}")),
                    (one, other) => one.or(other).map(str::to_owned),
                }
            }
            other => Some(other.to_string()),
        }
    }
}

/// How far a long piece of work is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What is being done, in plain words.
    pub text: String,
    /// Units done so far.
    pub done: u64,
    /// Units in all, 0 when unknown.
    pub total: u64,
}

/// Answer of `GET {callback_url}/v1/commands/`, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CommandList {
    /// Every command that the agent still remembers.
    #[serde(default)]
    pub commands: Vec<CommandResult>,
}

/// A failure as the agent reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandError {
    /// Class of the failure, for example `ImageChecksumError`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The HTTP status that fits it.
    pub code: u16,
    /// What went wrong, in general.
    pub message: String,
    /// Why, and what to try.
    pub details: String,
}

/// Body of an HTTP error of the command service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// `Client` or `Server`.
    pub faultcode: String,
    /// What went wrong.
    pub faultstring: String,
}

/// Answer of `GET {callback_url}/v1/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// Seconds since 1970.
    #[serde(default)]
    pub started_at: Option<f64>,
    /// Version of the agent.
    #[serde(default)]
    pub version: Option<String>,
}

/// `image_info` of `standby.prepare_image`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageInfo {
    /// The image's id or name, for messages.
    #[serde(default)]
    pub id: String,
    /// Where the raw image can be fetched, tried in order.
    #[serde(default)]
    pub urls: Vec<String>,
    /// `sha256` or `sha512`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os_hash_algo: Option<String>,
    /// Hash of the raw image in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os_hash_value: Option<String>,
    /// The older way of saying the hash: the algorithm is told by its length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    /// `raw`; our agent takes nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_format: Option<String>,
    /// `whole-disk` (the default) or `partition`, which our agent refuses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_type: Option<String>,
    /// The node, for messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_uuid: Option<String>,
    /// Asks the stock agent to write while it reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_raw_images: Option<bool>,
    /// Where the block map is (`crate::image_map`); the frames lie beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leasehold_map_url: Option<String>,
    /// Bytes of the raw image, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

/// What an agent offers for cleaning or deploying: one entry of `get_clean_steps` or `get_deploy_steps`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Name of the step.
    pub step: String,
    /// Greater runs first, 0 only when asked for.
    pub priority: u32,
    /// `deploy` for everything an agent does.
    pub interface: String,
    /// The machine has to be booted again afterwards.
    #[serde(default)]
    pub reboot_requested: bool,
    /// May be ended half-way.
    #[serde(default)]
    pub abortable: bool,
}

/// Body of the POST to `ipa-inspection-callback-url`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Inspection {
    /// What the machine is made of.
    pub inventory: Inventory,
    /// MAC address of the interface that the machine booted from.
    #[serde(default)]
    pub boot_interface: Option<String>,
    /// The disk an image would go to without hints.
    #[serde(default)]
    pub root_disk: Option<Disk>,
    /// What could not be found out.
    #[serde(default)]
    pub error: Option<String>,
}

/// The machine as its agent sees it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Inventory {
    /// Network interfaces, in the kernel's order.
    #[serde(default)]
    pub interfaces: Vec<Interface>,
    /// Processors.
    #[serde(default)]
    pub cpu: Cpu,
    /// Disks that an image could be written to.
    #[serde(default)]
    pub disks: Vec<Disk>,
    /// Main memory.
    #[serde(default)]
    pub memory: Memory,
    /// IPv4 address of the BMC, `0.0.0.0` when there is none to be asked.
    #[serde(default)]
    pub bmc_address: Option<String>,
    /// IPv6 address of the BMC.
    #[serde(default)]
    pub bmc_v6address: Option<String>,
    /// MAC address of the BMC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bmc_mac: Option<String>,
    /// Maker, product, serial number and firmware.
    #[serde(default)]
    pub system_vendor: SystemVendor,
    /// How the machine was booted.
    #[serde(default)]
    pub boot: Boot,
    /// Name of the machine while the agent runs.
    #[serde(default)]
    pub hostname: Option<String>,
    /// Trusted platform module; only from our agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpm: Option<Tpm>,
}

/// A network interface.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Interface {
    /// The kernel's name.
    pub name: String,
    /// Lower case, with colons.
    #[serde(default)]
    pub mac_address: Option<String>,
    /// The first IPv4 address.
    #[serde(default)]
    pub ipv4_address: Option<String>,
    /// The first IPv6 address that is not temporary.
    #[serde(default)]
    pub ipv6_address: Option<String>,
    /// A link is there.
    #[serde(default)]
    pub has_carrier: Option<bool>,
    /// What the neighbour says of itself: (TLV type, value in hexadecimal), in the frame's order.
    #[serde(default)]
    pub lldp: Option<Vec<(u8, String)>>,
    /// PCI vendor, for example `0x8086`.
    #[serde(default)]
    pub vendor: Option<String>,
    /// PCI device, for example `0x100e`.
    #[serde(default)]
    pub product: Option<String>,
    /// DHCP client id of an InfiniBand interface.
    #[serde(default)]
    pub client_id: Option<String>,
    /// Name that the BIOS gives.
    #[serde(default)]
    pub biosdevname: Option<String>,
    /// Mbit/s of the link.
    #[serde(default)]
    pub speed_mbps: Option<u64>,
    /// For example `0000:00:03.0`.
    #[serde(default)]
    pub pci_address: Option<String>,
    /// Kernel driver.
    #[serde(default)]
    pub driver: Option<String>,
}

/// The processors together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cpu {
    /// As the processor names itself.
    #[serde(default)]
    pub model_name: Option<String>,
    /// MHz, as text.
    #[serde(default)]
    pub frequency: Option<String>,
    /// Logical processors.
    #[serde(default)]
    pub count: u32,
    /// `x86_64` or `aarch64`.
    #[serde(default)]
    pub architecture: Option<String>,
    /// Features.
    #[serde(default)]
    pub flags: Vec<String>,
    /// Packages.
    #[serde(default)]
    pub socket_count: Option<u32>,
}

/// A disk.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Disk {
    /// For example `/dev/nvme0n1`.
    pub name: String,
    /// As the disk names itself.
    #[serde(default)]
    pub model: Option<String>,
    /// Bytes.
    #[serde(default)]
    pub size: u64,
    /// Turning platters.
    #[serde(default)]
    pub rotational: Option<bool>,
    /// World-wide name, for example `0x5000c500a1b2c3d4`.
    #[serde(default)]
    pub wwn: Option<String>,
    /// Serial number.
    #[serde(default)]
    pub serial: Option<String>,
    /// Maker.
    #[serde(default)]
    pub vendor: Option<String>,
    /// World-wide name with the vendor's extension.
    #[serde(default)]
    pub wwn_with_extension: Option<String>,
    /// The vendor's extension of the world-wide name.
    #[serde(default)]
    pub wwn_vendor_extension: Option<String>,
    /// SCSI host, channel, target and unit.
    #[serde(default)]
    pub hctl: Option<String>,
    /// For example `/dev/disk/by-path/pci-0000:00:1f.2-ata-1`.
    #[serde(default)]
    pub by_path: Option<String>,
    /// Bytes of a logical sector.
    #[serde(default)]
    pub logical_sectors: Option<u64>,
    /// Bytes of a physical sector.
    #[serde(default)]
    pub physical_sectors: Option<u64>,
    /// `nvme`, `sata`, `sas`, `virtio`, `usb`.
    #[serde(default)]
    pub tran: Option<String>,
}

/// Main memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Bytes that the kernel has.
    #[serde(default)]
    pub total: u64,
    /// MiB that are plugged in.
    #[serde(default)]
    pub physical_mb: Option<u64>,
}

/// Who made the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemVendor {
    /// Product.
    #[serde(default)]
    pub product_name: Option<String>,
    /// Serial number of the chassis.
    #[serde(default)]
    pub serial_number: Option<String>,
    /// Maker.
    #[serde(default)]
    pub manufacturer: Option<String>,
    /// BIOS or UEFI.
    #[serde(default)]
    pub firmware: Option<Firmware>,
}

/// The machine's firmware.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firmware {
    /// Maker.
    #[serde(default)]
    pub vendor: Option<String>,
    /// Version.
    #[serde(default)]
    pub version: Option<String>,
    /// As the firmware writes it, mostly month/day/year.
    #[serde(default)]
    pub build_date: Option<String>,
}

/// How the machine was booted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// `bios` or `uefi`.
    #[serde(default)]
    pub current_boot_mode: Option<String>,
    /// MAC address that it came over.
    #[serde(default)]
    pub pxe_interface: Option<String>,
    /// UEFI Secure Boot is on; only from our agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secure_boot: Option<bool>,
}

/// A trusted platform module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tpm {
    /// One is there.
    #[serde(default)]
    pub present: bool,
    /// `1.2` or `2.0`.
    #[serde(default)]
    pub version: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stock_agents_result_is_read() {
        let text = r#"{"id":"1","command_name":"execute_clean_step","command_params":{"step":{}},
            "command_status":"CLEAN_VERSION_MISMATCH","command_error":{"type":"VersionMismatch","code":500,
            "message":"Hardware managers version mismatch, reload agent","details":"current 1"},"command_result":null}"#;
        let result: CommandResult = serde_json::from_str(text).unwrap();
        assert_eq!(result.command_status, CommandStatus::VersionMismatch);
        assert_eq!(result.error_text().unwrap(), "Hardware managers version mismatch, reload agent: current 1");
    }

    #[test]
    fn a_lookup_without_extras_is_read() {
        let answer: LookupAnswer = serde_json::from_str(
            r#"{"node":{"uuid":"u","links":[]},"config":{"heartbeat_timeout":300,"agent_token":"******","metrics":{}}}"#,
        )
        .unwrap();
        assert_eq!(answer.config.agent_token.as_deref(), Some(TOKEN_MASK));
        assert_eq!(answer.config.heartbeat_timeout, Some(300.0));
    }

    #[test]
    fn a_stock_inventory_survives_a_round_trip() {
        let text = r#"{"inventory":{"interfaces":[{"name":"eth0","mac_address":"52:54:00:00:00:01","ipv4_address":"192.0.2.5",
            "has_carrier":true,"lldp":[[1,"0402"],[2,"05"]],"vendor":"0x1af4","product":"0x0001","client_id":null}],
            "cpu":{"model_name":"x","frequency":"2600.0","count":2,"architecture":"x86_64","flags":["fpu"]},
            "disks":[{"name":"/dev/vda","model":"","size":10737418240,"rotational":true,"wwn":null}],
            "memory":{"total":1,"physical_mb":1024},"bmc_address":"0.0.0.0","boot":{"current_boot_mode":"bios"},
            "system_vendor":{"product_name":"p","serial_number":"","manufacturer":"QEMU","firmware":{"vendor":"v"}}},
            "boot_interface":"52:54:00:00:00:01","configuration":{"collectors":["default"]}}"#;
        let read: Inspection = serde_json::from_str(text).unwrap();
        assert_eq!(read.inventory.interfaces[0].lldp.as_ref().unwrap()[0], (1, "0402".to_owned()));
        let again: Inspection = serde_json::from_str(&serde_json::to_string(&read).unwrap()).unwrap();
        assert_eq!(again, read);
    }
}
