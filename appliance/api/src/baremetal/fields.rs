//! The table of a node's members: since which version each exists, which rule shows it, and which rule changes it.
//!
//! It drives what is shown and masked, what may be asked for by `fields=` and `sort_key=`, and what a creation or a
//! patch may touch. Versions are from Ironic's API version history, rules from its policy.

use super::version::Version;

/// Who may set a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Only the appliance.
    Never,
    /// A keeper, at creation and by patch. The rule is that of the patch.
    Both(&'static str),
    /// A keeper, by patch only.
    Patch(&'static str),
    /// A keeper, at creation only.
    Creation,
}

/// One member.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) since: u16,
    pub(super) change: Change,
    /// Below the threshold for all members, this rule shows it; `None`: who sees the node sees it.
    pub(super) shown_by: Option<&'static str>,
    pub(super) kind: Kind,
}

/// How a member is used in lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Lists can be sorted by it.
    Plain,
    /// An object or a list: nothing to sort by.
    Nested,
    /// A link that `fields=` does not name.
    Link,
}

const UPDATE: &str = "baremetal:node:update";
const INTERFACES: &str = "baremetal:node:update:driver_interfaces";

const fn shown(name: &'static str, since: u16) -> Field {
    Field { name, since, change: Change::Never, shown_by: None, kind: Kind::Plain }
}

const fn nested(name: &'static str, since: u16) -> Field {
    Field { kind: Kind::Nested, ..shown(name, since) }
}

const fn link(name: &'static str, since: u16) -> Field {
    Field { kind: Kind::Link, ..shown(name, since) }
}

const fn set(name: &'static str, since: u16, rule: &'static str) -> Field {
    Field { change: Change::Both(rule), ..shown(name, since) }
}

const fn object(name: &'static str, since: u16, rule: &'static str) -> Field {
    Field { change: Change::Both(rule), ..nested(name, since) }
}

const fn patched(name: &'static str, since: u16) -> Field {
    Field { change: Change::Patch(UPDATE), ..shown(name, since) }
}

const fn masked(field: Field, rule: &'static str) -> Field {
    Field { shown_by: Some(rule), ..field }
}

/// All members of a node.
pub(super) const NODE_FIELDS: &[Field] = &[
    shown("allocation_uuid", 52),
    set("automated_clean", 47, UPDATE),
    set("bios_interface", 40, INTERFACES),
    set("boot_interface", 31, INTERFACES),
    shown("boot_mode", 75),
    set("chassis_uuid", 1, "baremetal:node:update:chassis_uuid"),
    nested("clean_step", 7),
    shown("conductor", 49),
    set("conductor_group", 46, "baremetal:node:update:conductor_group"),
    shown("console_enabled", 1),
    set("console_interface", 31, INTERFACES),
    shown("created_at", 1),
    set("deploy_interface", 31, INTERFACES),
    nested("deploy_step", 44),
    set("description", 51, UPDATE),
    set("disable_power_off", 95, "baremetal:node:update:disable_power_off"),
    set("driver", 1, INTERFACES),
    masked(object("driver_info", 1, "baremetal:node:update:driver_info"), "baremetal:node:get:driver_info"),
    masked(nested("driver_internal_info", 3), "baremetal:node:get:driver_internal_info"),
    object("extra", 1, "baremetal:node:update_extra"),
    shown("fault", 42),
    set("firmware_interface", 86, INTERFACES),
    shown("health", 109),
    set("inspect_interface", 31, INTERFACES),
    shown("inspection_finished_at", 6),
    shown("inspection_started_at", 6),
    object("instance_info", 1, "baremetal:node:update_instance_info"),
    set("instance_name", 104, "baremetal:node:update_instance_info"),
    set("instance_uuid", 1, "baremetal:node:update:instance_uuid"),
    masked(shown("last_error", 1), "baremetal:node:get:last_error"),
    set("lessee", 65, "baremetal:node:update:lessee"),
    nested("links", 1),
    set("maintenance", 1, UPDATE),
    shown("maintenance_reason", 1),
    set("management_interface", 31, INTERFACES),
    set("name", 5, "baremetal:node:update:name"),
    object("network_data", 66, "baremetal:node:update:network_data"),
    set("network_interface", 20, INTERFACES),
    set("owner", 50, "baremetal:node:update:owner"),
    set("parent_node", 83, "baremetal:node:update:parent_node"),
    link("portgroups", 24),
    link("ports", 1),
    set("power_interface", 31, INTERFACES),
    shown("power_state", 1),
    object("properties", 1, "baremetal:node:update:properties"),
    patched("protected", 48),
    patched("protected_reason", 48),
    shown("provision_state", 1),
    shown("provision_updated_at", 1),
    nested("raid_config", 12),
    set("raid_interface", 31, INTERFACES),
    set("rescue_interface", 38, INTERFACES),
    masked(shown("reservation", 1), "baremetal:node:get:reservation"),
    set("resource_class", 21, UPDATE),
    set("retired", 61, "baremetal:node:update:retired"),
    set("retired_reason", 61, "baremetal:node:update:retired"),
    shown("secure_boot", 75),
    nested("service_step", 87),
    set("shard", 82, "baremetal:node:update:shard"),
    link("states", 14),
    set("storage_interface", 33, INTERFACES),
    shown("target_power_state", 1),
    shown("target_provision_state", 1),
    nested("target_raid_config", 12),
    nested("traits", 37),
    shown("updated_at", 1),
    Field { change: Change::Creation, ..shown("uuid", 1) },
    set("vendor_interface", 31, INTERFACES),
    link("volume", 32),
];

/// Members that a list shows when nobody names others.
pub(super) const LIST_FIELDS: &[&str] =
    &["instance_uuid", "links", "maintenance", "name", "power_state", "provision_state", "uuid"];

/// The member with this name, in whatever version.
pub(super) fn known(name: &str) -> Option<&'static Field> {
    NODE_FIELDS.binary_search_by(|field| field.name.cmp(name)).ok().map(|at| &NODE_FIELDS[at])
}

impl Field {
    /// The member exists in this version.
    pub(super) fn is_in(&self, version: Version) -> bool {
        self.since <= version.0
    }

    /// The rule for a patch of the member; `None`: no patch may touch it.
    pub(super) fn patched_by(&self) -> Option<&'static str> {
        match self.change {
            Change::Both(rule) | Change::Patch(rule) => Some(rule),
            Change::Never | Change::Creation => None,
        }
    }

    /// A creation may name it.
    pub(super) fn is_for_creation(&self) -> bool {
        matches!(self.change, Change::Both(_) | Change::Creation)
    }
}

/// Plain labels: kept and shown; what they mean is said where they are used.
pub(super) const LABELS: &[(&str, LabelKind)] = &[
    ("chassis_uuid", LabelKind::Uuid),
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
    Uuid,
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
            assert!(known(name).is_some(), "{name}");
        }
        assert!(!known("lessee").expect("a member").is_in(Version(64)));
    }

    #[test]
    fn whose_a_node_is_has_a_rule_of_its_own() {
        for name in ["owner", "lessee", "driver_info", "name", "shard", "parent_node"] {
            assert_ne!(known(name).and_then(Field::patched_by), Some(UPDATE), "{name}");
        }
        for name in ["uuid", "provision_state", "reservation", "traits", "links"] {
            assert_eq!(known(name).and_then(Field::patched_by), None, "{name}");
        }
    }
}
