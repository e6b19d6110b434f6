//! A node and a port as Ironic's documents.

use super::fields::{INTERFACES, LABELS, LabelKind, NODE_FIELDS, interface};
use super::version::Version;
use jiff::Timestamp;
use leasehold_domain::View;
use leasehold_domain::job::{Job, StepState};
use leasehold_domain::node::Node;
use leasehold_domain::port::Port;
use leasehold_domain::power::BootMode;
use leasehold_domain::provision::ProvisionState;
use serde_json::{Map, Value, json};

/// What stands for a secret in every answer.
pub(super) const MASK: &str = "******";

/// Ironic's form of a time.
pub(super) fn time(at: Timestamp) -> Value {
    Value::String(format!("{}+00:00", at.strftime("%Y-%m-%dT%H:%M:%S")))
}

fn maybe_time(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, time)
}

/// The members of `driver_info`, secrets masked.
pub(super) fn driver_info(node: &Node) -> Map<String, Value> {
    let mut info = node.settings.driver_info.clone();
    info.extend(node.settings.driver_secrets.keys().map(|key| (key.clone(), MASK.into())));
    info
}

/// `instance_info` may carry credentials in URLs and a config drive; neither is shown.
fn instance_info(node: &Node) -> Map<String, Value> {
    let mut info = node.settings.instance_info.clone();
    for (key, value) in &mut info {
        let secret = key.ends_with("password") || key == "configdrive";
        if secret {
            *value = MASK.into();
        } else if let Value::String(text) = value
            && let Some(masked) = without_credentials(text)
        {
            *value = masked.into();
        }
    }
    info
}

/// `scheme://user:password@host/…` with the part before `@` masked.
fn without_credentials(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let authority = rest.split('/').next()?;
    let (_, host) = authority.rsplit_once('@')?;
    Some(format!("{scheme}://{MASK}@{host}{}", &rest[authority.len()..]))
}

/// The whole document of a node, all versions' members.
pub(super) fn node_document(node: &Node, view: &View, base: &str, hostname: &str) -> Map<String, Value> {
    let settings = &node.settings;
    let id = node.id.to_string();
    let job = view.running_job(node);
    let links = |tail: &str| {
        let path = if tail.is_empty() { format!("nodes/{id}") } else { format!("nodes/{id}/{tail}") };
        json!([
            {"href": format!("{base}/v1/{path}"), "rel": "self"},
            {"href": format!("{base}/{path}"), "rel": "bookmark"},
        ])
    };
    let mut document = Map::new();
    let mut put = |name: &str, value: Value| {
        document.insert(name.to_owned(), value);
    };
    put("uuid", id.clone().into());
    put("name", settings.name.clone().into());
    put("driver", settings.driver.clone().into());
    put("driver_info", driver_info(node).into());
    put("driver_internal_info", internal_info(node, job.map(AsRef::as_ref)).into());
    put("properties", settings.properties.clone().into());
    put("extra", settings.extra.clone().into());
    put("instance_info", instance_info(node).into());
    put("instance_uuid", settings.instance_uuid.map(|uuid| uuid.to_string()).into());
    put("resource_class", settings.resource_class.clone().into());
    put("description", settings.description.clone().into());
    put("owner", settings.owner.clone().into());
    put("lessee", settings.lessee.clone().into());
    put("automated_clean", settings.automated_clean.into());
    put("protected", settings.protected.into());
    put("protected_reason", settings.protected_reason.clone().into());
    put("retired", settings.retired.into());
    put("retired_reason", settings.retired_reason.clone().into());
    put("traits", settings.traits.iter().cloned().collect());
    put("power_state", node.power_state.map(|state| state.name()).into());
    put("target_power_state", node.target_power_state.map(|target| target.ends_in().name()).into());
    put("provision_state", node.provision_state.name().into());
    put("target_provision_state", node.target_provision_state.map(ProvisionState::name).into());
    put("provision_updated_at", maybe_time(node.provision_updated_at));
    put("maintenance", node.maintenance.into());
    put("maintenance_reason", node.maintenance_reason.clone().into());
    put("fault", node.fault.clone().into());
    put("last_error", node.last_error.clone().into());
    put("reservation", job.map(|_| hostname).into());
    put("conductor", hostname.into());
    put("console_enabled", false.into());
    put("inspection_started_at", maybe_time(node.inspection_started_at));
    put("inspection_finished_at", maybe_time(node.inspection_finished_at));
    put("created_at", time(node.created_at));
    put("updated_at", maybe_time(node.updated_at));
    for name in ["allocation_uuid", "boot_mode", "secure_boot", "health"] {
        put(name, Value::Null);
    }
    for name in ["clean_step", "deploy_step", "service_step", "raid_config", "target_raid_config"] {
        put(name, json!({}));
    }
    if let Some(step) = job.and_then(|job| job.current()) {
        let member = match node.provision_state {
            ProvisionState::Cleaning | ProvisionState::CleanWait => Some("clean_step"),
            ProvisionState::Deploying | ProvisionState::DeployWait => Some("deploy_step"),
            _ => None,
        };
        if let Some(member) = member {
            put(member, json!({"interface": "deploy", "step": step.name.name()}));
        }
    }
    for (label, kind) in LABELS {
        let empty = match (*label, kind) {
            ("conductor_group", _) => "".into(),
            (_, LabelKind::Flag) => false.into(),
            (_, LabelKind::Object) => json!({}),
            (_, LabelKind::Text) => Value::Null,
        };
        put(label, settings.labels.get(*label).cloned().unwrap_or(empty));
    }
    for name in INTERFACES.iter().map(|(name, _)| *name).chain(["management_interface", "power_interface"]) {
        put(name, interface(name, &settings.driver).into());
    }
    put("links", links(""));
    for name in ["ports", "portgroups", "states", "volume"] {
        put(name, links(name));
    }
    document
}

/// What the appliance itself noted: where the agent is, and how the present job stands.
fn internal_info(node: &Node, job: Option<&Job>) -> Map<String, Value> {
    let mut info = Map::new();
    if let Some(agent) = &node.agent {
        info.insert("agent_url".into(), agent.callback_url.clone().into());
        info.insert("agent_version".into(), agent.version.clone().into());
        info.insert("agent_last_heartbeat".into(), time(agent.last_seen));
    }
    if let Some(certificate) = &node.bmc_certificate {
        info.insert("bmc_certificate_sha256".into(), certificate.clone().into());
    }
    if let Some(job) = job {
        let steps: Vec<_> = job
            .steps
            .iter()
            .map(|step| json!({"step": step.name, "state": step.state, "detail": step.detail}))
            .collect();
        let index = job.steps.iter().position(|step| step.state != StepState::Done);
        info.insert("job".into(), json!({"kind": job.kind, "steps": steps, "current": index}));
    }
    info
}

/// The members of `document` that this version knows and `fields` names; all of them if it names none.
pub(super) fn select(document: Map<String, Value>, fields: Option<&[String]>, version: Version) -> Value {
    let mut document = document;
    if version < Version(2) && document.get("provision_state").is_some_and(|state| state == "available") {
        // Before 1.2 a free node had no state at all.
        document.insert("provision_state".into(), Value::Null);
    }
    document.retain(|name, _| {
        let known = NODE_FIELDS.iter().any(|field| field.name == name && field.since <= version.0);
        known && fields.is_none_or(|wanted| wanted.iter().any(|field| field == name))
    });
    Value::Object(document)
}

/// Members of a port: since which version, and its value.
pub(super) fn port_document(port: &Port, base: &str, version: Version) -> Map<String, Value> {
    let settings = &port.settings;
    let id = port.id.to_string();
    let members = [
        ("uuid", 1, json!(id)),
        ("address", 1, settings.address.to_string().into()),
        ("node_uuid", 1, settings.node.to_string().into()),
        ("extra", 1, settings.extra.clone().into()),
        ("created_at", 1, time(port.created_at)),
        ("updated_at", 1, maybe_time(port.updated_at)),
        (
            "links",
            1,
            json!([
                {"href": format!("{base}/v1/ports/{id}"), "rel": "self"},
                {"href": format!("{base}/ports/{id}"), "rel": "bookmark"},
            ]),
        ),
        ("internal_info", 18, json!({})),
        ("local_link_connection", 19, settings.local_link_connection.clone().into()),
        ("pxe_enabled", 19, settings.pxe_enabled.into()),
        ("portgroup_uuid", 24, Value::Null),
        ("physical_network", 34, settings.physical_network.clone().into()),
        ("is_smartnic", 53, settings.is_smartnic.into()),
        ("name", 88, settings.name.clone().into()),
    ];
    members
        .into_iter()
        .filter(|(_, since, _)| *since <= version.0)
        .map(|(name, _, value)| (name.to_owned(), value))
        .collect()
}

/// Ironic's name of a boot mode.
pub(super) fn boot_mode(mode: Option<BootMode>) -> Value {
    match mode {
        Some(BootMode::Bios) => "bios".into(),
        Some(BootMode::Uefi) => "uefi".into(),
        None => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_in_urls_are_masked() {
        assert_eq!(without_credentials("http://u:p@host/x@y").as_deref(), Some("http://******@host/x@y"));
        assert_eq!(without_credentials("http://host/x@y"), None);
        assert_eq!(without_credentials("plain"), None);
    }

    #[test]
    fn times_have_ironics_form() {
        assert_eq!(time(Timestamp::UNIX_EPOCH), "1970-01-01T00:00:00+00:00");
    }
}
