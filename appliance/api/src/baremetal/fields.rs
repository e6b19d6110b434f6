//! The table of a node's members: since which version each exists, and whether a patch may change it.
//!
//! It drives what is shown, what may be asked for by `fields=`, and what a patch may touch. Versions are from Ironic's
//! API version history.

use super::version::Version;

/// Who may change a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Only the appliance.
    Never,
    /// A keeper, by patch or at creation.
    Patch,
    /// An own call sets it at any time, and a creation may.
    CreateOnly,
}

/// One member.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) since: u16,
    pub(super) change: Change,
}

const fn shown(name: &'static str, since: u16) -> Field {
    Field { name, since, change: Change::Never }
}

const fn patched(name: &'static str, since: u16) -> Field {
    Field { name, since, change: Change::Patch }
}

/// All members of a node.
pub(super) const NODE_FIELDS: &[Field] = &[
    shown("allocation_uuid", 52),
    patched("automated_clean", 47),
    patched("bios_interface", 40),
    patched("boot_interface", 31),
    shown("boot_mode", 75),
    patched("chassis_uuid", 1),
    shown("clean_step", 7),
    shown("conductor", 49),
    patched("conductor_group", 46),
    shown("console_enabled", 1),
    patched("console_interface", 31),
    shown("created_at", 1),
    patched("deploy_interface", 31),
    shown("deploy_step", 44),
    patched("description", 51),
    patched("disable_power_off", 95),
    patched("driver", 1),
    patched("driver_info", 1),
    shown("driver_internal_info", 3),
    patched("extra", 1),
    shown("fault", 42),
    patched("firmware_interface", 86),
    shown("health", 109),
    patched("inspect_interface", 31),
    shown("inspection_finished_at", 6),
    shown("inspection_started_at", 6),
    patched("instance_info", 1),
    patched("instance_name", 104),
    patched("instance_uuid", 1),
    shown("last_error", 1),
    patched("lessee", 65),
    shown("links", 1),
    patched("maintenance", 1),
    patched("maintenance_reason", 1),
    patched("management_interface", 31),
    patched("name", 5),
    patched("network_data", 66),
    patched("network_interface", 20),
    patched("owner", 50),
    patched("parent_node", 83),
    shown("portgroups", 24),
    shown("ports", 1),
    patched("power_interface", 31),
    shown("power_state", 1),
    patched("properties", 1),
    patched("protected", 48),
    patched("protected_reason", 48),
    shown("provision_state", 1),
    shown("provision_updated_at", 1),
    shown("raid_config", 12),
    patched("raid_interface", 31),
    patched("rescue_interface", 38),
    shown("reservation", 1),
    patched("resource_class", 21),
    patched("retired", 61),
    patched("retired_reason", 61),
    shown("secure_boot", 75),
    shown("service_step", 87),
    patched("shard", 82),
    shown("states", 14),
    patched("storage_interface", 33),
    shown("target_power_state", 1),
    shown("target_provision_state", 1),
    shown("target_raid_config", 12),
    shown("traits", 37),
    shown("updated_at", 1),
    Field { name: "uuid", since: 1, change: Change::CreateOnly },
    patched("vendor_interface", 31),
    shown("volume", 32),
];

/// Members that a list shows when nobody names others.
pub(super) const LIST_FIELDS: &[&str] =
    &["instance_uuid", "links", "maintenance", "name", "power_state", "provision_state", "uuid"];

/// The member with this name, if it exists in this version.
pub(super) fn field(name: &str, version: Version) -> Option<&'static Field> {
    NODE_FIELDS.iter().find(|field| field.name == name && field.since <= version.0)
}

/// The hardware interfaces that each node has here. They are fixed: a driver does everything itself.
pub(super) const INTERFACES: &[(&str, &str)] = &[
    ("bios_interface", "no-bios"),
    ("boot_interface", "ipxe"),
    ("console_interface", "no-console"),
    ("deploy_interface", "direct"),
    ("firmware_interface", "no-firmware"),
    ("inspect_interface", "agent"),
    ("network_interface", "noop"),
    ("raid_interface", "no-raid"),
    ("rescue_interface", "no-rescue"),
    ("storage_interface", "noop"),
    ("vendor_interface", "no-vendor"),
];

/// The interface that this member stands for, for a node of this driver; `None`: the member is no interface.
pub(super) fn interface(member: &str, driver: &str) -> Option<String> {
    match member {
        "management_interface" | "power_interface" => {
            Some(if driver == "ipmi" { "ipmitool".to_owned() } else { driver.to_owned() })
        }
        _ => INTERFACES.iter().find(|(name, _)| *name == member).map(|(_, value)| (*value).to_owned()),
    }
}

/// Plain labels: kept and shown, without an effect in the drivers here.
pub(super) const LABELS: &[(&str, LabelKind)] = &[
    ("chassis_uuid", LabelKind::Text),
    ("conductor_group", LabelKind::Text),
    ("disable_power_off", LabelKind::Flag),
    ("instance_name", LabelKind::Text),
    ("network_data", LabelKind::Object),
    ("parent_node", LabelKind::Text),
    ("shard", LabelKind::Text),
];

/// What a label holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LabelKind {
    Text,
    Flag,
    Object,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_complete_for_lists() {
        assert!(NODE_FIELDS.is_sorted_by(|a, b| a.name < b.name));
        for name in LIST_FIELDS {
            assert!(field(name, Version(115)).is_some(), "{name}");
        }
        assert!(field("lessee", Version(64)).is_none());
    }
}
