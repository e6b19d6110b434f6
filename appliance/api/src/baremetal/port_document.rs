//! A port as Ironic's document, and back: members by version, types, cabling.

use super::document::{links, maybe_time, time};
use super::patch::Reader;
use super::version::{Version, not_acceptable};
use crate::error::ApiError;
use leasehold_domain::View;
use leasehold_domain::id::{NodeId, PortgroupId};
use leasehold_domain::mac::{BadMac, Mac};
use leasehold_domain::network::Place;
use leasehold_domain::port::{Port, PortSettings};
use serde_json::{Map, Value, json};

/// One member of a port.
pub(super) struct PortField {
    pub(super) name: &'static str,
    pub(super) since: u16,
    /// A patch may touch it, and a creation name it.
    pub(super) patched: bool,
    /// An object or a list: nothing to sort by.
    pub(super) nested: bool,
}

const fn shown(name: &'static str, since: u16) -> PortField {
    PortField { name, since, patched: false, nested: false }
}

const fn set(name: &'static str, since: u16) -> PortField {
    PortField { name, since, patched: true, nested: false }
}

const fn nested(field: PortField) -> PortField {
    PortField { nested: true, ..field }
}

/// All members of a port.
pub(super) const PORT_FIELDS: &[PortField] = &[
    set("address", 1),
    set("available_for_dynamic_portgroup", 111),
    set("category", 101),
    shown("created_at", 1),
    set("description", 97),
    nested(set("extra", 1)),
    nested(shown("internal_info", 18)),
    set("is_smartnic", 53),
    nested(shown("links", 1)),
    nested(set("local_link_connection", 19)),
    set("name", 88),
    set("node_uuid", 1),
    set("physical_network", 34),
    set("portgroup_uuid", 24),
    set("pxe_enabled", 19),
    shown("updated_at", 1),
    shown("uuid", 1),
    set("vendor", 100),
];

/// Members that a list shows when nobody names others.
pub(super) const LIST_FIELDS: [&str; 3] = ["address", "links", "uuid"];

impl PortField {
    /// The member with this name, in whatever version.
    pub(super) fn known(name: &str) -> Option<&'static PortField> {
        PORT_FIELDS.iter().find(|field| field.name == name)
    }
}

/// The members of a port that this version knows.
pub(super) fn document(port: &Port, view: &View, base: &str, version: Version) -> Map<String, Value> {
    let known = PORT_FIELDS.iter().filter(|field| field.since <= version.0);
    known.map(|field| (field.name.to_owned(), member(port, view, base, version, field.name))).collect()
}

fn member(port: &Port, view: &View, base: &str, version: Version, name: &str) -> Value {
    let settings = &port.settings;
    match name {
        "uuid" => port.id.to_string().into(),
        "address" => settings.address.to_string().into(),
        "node_uuid" => settings.node.to_string().into(),
        "extra" => settings.extra.clone().into(),
        "created_at" => time(port.created_at),
        "updated_at" => maybe_time(port.updated_at),
        "links" => links(base, &format!("ports/{}", port.id)),
        // What a network has attached here. Never masked: clients wait for it.
        "internal_info" => match view.network.attached_to(Place::Port(port.id)) {
            Some(tenant) => json!({"tenant_vif_port_id": tenant.id.to_string()}),
            None => json!({}),
        },
        "local_link_connection"
            if !has_vtep(version) && settings.local_link_connection.keys().any(|key| is_vtep(key)) =>
        {
            json!({})
        }
        "local_link_connection" => settings.local_link_connection.clone().into(),
        "pxe_enabled" => settings.pxe_enabled.into(),
        "portgroup_uuid" => settings.portgroup.map(|group| group.to_string()).into(),
        "physical_network" => settings.physical_network.clone().into(),
        "is_smartnic" => settings.is_smartnic.into(),
        "name" => settings.name.clone().into(),
        "description" => settings.description.clone().into(),
        "vendor" => settings.vendor.clone().into(),
        "category" => settings.category.clone().into(),
        "available_for_dynamic_portgroup" => settings.available_for_dynamic_portgroup.into(),
        _ => Value::Null,
    }
}

/// A creation names only members that exist, in this version.
pub(super) fn check_creation(members: &Map<String, Value>, version: Version) -> Result<(), ApiError> {
    for (name, value) in members {
        match PortField::known(name).filter(|field| field.patched) {
            Some(field) if field.since > version.0 && is_given(name, value) => {
                return Err(not_acceptable(version, field.since, name));
            }
            Some(_) => {}
            None => return Err(ApiError::bad_request(format!("Unknown attribute '{name}' of a port."))),
        }
    }
    Ok(())
}

/// Reads a whole port document. `version` is that of whoever says where the cable goes; `by_name`: switches have names
/// here.
pub(super) fn settings(
    members: &Map<String, Value>,
    version: Version,
    by_name: bool,
) -> Result<PortSettings, ApiError> {
    let read = Reader { members };
    let address =
        read.text("address")?.ok_or_else(|| ApiError::bad_request("A port needs the address (MAC) of its card."))?;
    let address: Mac = address.parse().map_err(|error: BadMac| ApiError::bad_request(error.to_string()))?;
    let uuid = |name: &str| read.text(name)?.map(|text| super::asked::uuid(&text)).transpose();
    let node = uuid("node_uuid")?.ok_or_else(|| ApiError::bad_request("A port needs the node_uuid of its node."))?;
    let physical_network = read.short_text("physical_network", 64)?;
    if physical_network.as_deref() == Some("") {
        return Err(ApiError::bad_request("A non-empty value is required when setting physical_network"));
    }
    let is_smartnic = read.flag("is_smartnic")?.unwrap_or(false);
    let link = read.object("local_link_connection")?;
    Ok(PortSettings {
        name: read.short_text("name", 255)?.filter(|name| !name.is_empty()),
        pxe_enabled: read.flag("pxe_enabled")?.unwrap_or(true),
        physical_network,
        local_link_connection: cabling(link, is_smartnic, version, by_name)?,
        extra: read.object("extra")?,
        is_smartnic,
        portgroup: uuid("portgroup_uuid")?.map(PortgroupId),
        description: read.short_text("description", 255)?,
        vendor: read.short_text("vendor", 32)?,
        category: read.short_text("category", 80)?,
        available_for_dynamic_portgroup: read.flag("available_for_dynamic_portgroup")?.unwrap_or(true),
        ..PortSettings::new(NodeId(node), address)
    })
}

/// Something else than what a port has where nobody said anything.
fn is_given(name: &str, value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Object(map) => !map.is_empty(),
        Value::Bool(given) => *given == (name == "is_smartnic"),
        _ => true,
    }
}

fn is_vtep(key: &str) -> bool {
    key.starts_with("vtep-")
}

/// Ironic knew OVN's VTEP switches from 1.90 to 1.104.
fn has_vtep(version: Version) -> bool {
    (90..105).contains(&version.0)
}

/// Where the cable goes: what of it must be said, and how a switch is named. Ironic demands `port_id` and `switch_id`, or
/// of a Smart NIC `hostname`; `by_name`: the name of a switch (`switch_info`) does as well.
fn cabling(
    mut link: Map<String, Value>,
    is_smartnic: bool,
    version: Version,
    by_name: bool,
) -> Result<Map<String, Value>, ApiError> {
    const KNOWN: [&str; 7] = [
        "port_id",
        "switch_id",
        "hostname",
        "switch_info",
        "network_type",
        "vtep-logical-switch",
        "vtep-physical-switch",
    ];
    let bad = |why: &str| Err(ApiError::bad_request(format!("local_link_connection: {why}.")));
    if let Some(name) = link.iter().find(|(name, value)| !KNOWN.contains(&name.as_str()) || !value.is_string()) {
        return bad(&format!("'{}' is not known, or is no string", name.0));
    }
    let has = |name: &str| link.contains_key(name);
    if has("network_type") && version.0 < 64 {
        return Err(not_acceptable(version, 64, "local_link_connection/network_type"));
    }
    if link.keys().any(|key| is_vtep(key)) && version.0 < 90 {
        return Err(not_acceptable(version, 90, "A VTEP switch"));
    }
    let kind = link.get("network_type").and_then(Value::as_str);
    if kind.is_some_and(|kind| !matches!(kind, "managed" | "unmanaged")) {
        return bad("network_type is managed or unmanaged");
    }
    if is_smartnic && !(has("port_id") && has("hostname")) {
        return bad("a Smart NIC port must have port_id and hostname");
    }
    let vtep = has("vtep-logical-switch") && has("vtep-physical-switch");
    let named = by_name && has("switch_info");
    let whole = has("port_id") && (has("switch_id") || has("hostname") || vtep || named);
    if !link.is_empty() && !whole && kind != Some("unmanaged") {
        let or = if by_name { " or switch_info" } else { "" };
        return bad(&format!("it needs port_id and switch_id{or}"));
    }
    if let Some(Value::String(switch)) = link.get_mut("switch_id") {
        let datapath = switch.strip_prefix("0x").filter(|rest| rest.len() == 16);
        let is_datapath = datapath.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match switch.parse::<Mac>() {
            Ok(mac) => *switch = mac.to_string(),
            Err(_) if is_datapath => *switch = switch.to_lowercase(),
            Err(_) => {
                let why = format!("switch_id '{switch}' is neither a MAC address nor an OpenFlow datapath (0x…)");
                return bad(&why);
            }
        }
    }
    Ok(link)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(link: Value, version: u16) -> Result<Map<String, Value>, u16> {
        let Value::Object(link) = link else { unreachable!("an object") };
        cabling(link, false, Version(version), false).map_err(|error| error.status.as_u16())
    }

    #[test]
    fn the_table_is_sorted() {
        assert!(PORT_FIELDS.is_sorted_by(|a, b| a.name < b.name));
        for name in LIST_FIELDS {
            assert!(PortField::known(name).is_some(), "{name}");
        }
    }

    #[test]
    fn a_cable_goes_to_a_port_of_a_switch() {
        let good = read(json!({"port_id": "eth1", "switch_id": "AA:BB:CC:00:11:22", "switch_info": "sw1"}), 115);
        assert_eq!(good.expect("usable")["switch_id"], "aa:bb:cc:00:11:22");
        assert!(read(json!({}), 19).is_ok());
        assert!(read(json!({"network_type": "unmanaged"}), 64).is_ok());
        assert_eq!(read(json!({"network_type": "unmanaged"}), 63), Err(406));
        for bad in [
            json!({"port_id": "eth1"}),
            json!({"port_id": 1, "switch_id": "aa:bb:cc:00:11:22"}),
            json!({"port_id": "eth1", "switch_id": "sw1"}),
            json!({"port_id": "eth1", "switch_id": "0x12"}),
            json!({"port_id": "eth1", "switch_id": "aa:bb:cc:00:11:22", "color": "red"}),
            json!({"network_type": "own"}),
        ] {
            assert_eq!(read(bad.clone(), 115), Err(400), "{bad}");
        }
    }

    #[test]
    fn a_switch_that_the_box_knows_needs_no_id() {
        let link = || json!({"port_id": "eth1", "switch_info": "tor1"}).as_object().cloned().unwrap_or_default();
        assert!(cabling(link(), false, Version(115), true).is_ok());
        assert!(cabling(link(), false, Version(115), false).is_err(), "as with Ironic");
        let only = json!({"switch_info": "tor1"}).as_object().cloned().unwrap_or_default();
        assert!(cabling(only, false, Version(115), true).is_err());
    }

    proptest! {
        #[test]
        fn any_document_is_read_or_refused(name in "[a-z_]{0,12}", text in "\\PC{0,9}", version in 1..=115_u16) {
            let members = [("address", json!("52:54:00:00:00:01")), (name.as_str(), json!(text))];
            let members: Map<_, _> = members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            let _either = check_creation(&members, Version(version)).and_then(|()| settings(&members, Version(version), version % 2 == 0));
        }
    }
}
