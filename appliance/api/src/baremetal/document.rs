//! A node as Ironic's document, each caller seeing what he may.

use super::fields::{Field, Kind, LABELS, LabelKind, NODE_FIELDS};
use super::version::Version;
use crate::access::OfNode;
use crate::auth::Caller;
use jiff::Timestamp;
use leasehold_domain::View;
use leasehold_domain::driver::Interface;
use leasehold_domain::job::{Job, StepState};
use leasehold_domain::node::Node;
use leasehold_domain::power::BootMode;
use leasehold_domain::provision::ProvisionState;
use serde_json::{Map, Value, json};

/// What stands for a secret in every answer.
pub(super) const MASK: &str = "******";

/// Ironic's form of a time.
pub(super) fn time(at: Timestamp) -> Value {
    Value::String(format!("{}+00:00", at.strftime("%Y-%m-%dT%H:%M:%S")))
}

pub(super) fn maybe_time(at: Option<Timestamp>) -> Value {
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
        if let Some(masked) = masked(key, value) {
            *value = masked;
        }
    }
    info
}

/// What is shown in place of a member of `instance_info`; `None`: the member itself.
pub(super) fn masked(key: &str, value: &Value) -> Option<Value> {
    if key.ends_with("password") || key == "configdrive" {
        return Some(MASK.into());
    }
    value.as_str().and_then(without_credentials).map(Value::from)
}

/// `scheme://user:password@host/…` with the part before `@` masked.
fn without_credentials(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let authority = rest.split('/').next()?;
    let (_, host) = authority.rsplit_once('@')?;
    Some(format!("{scheme}://{MASK}@{host}{}", &rest[authority.len()..]))
}

/// A node and what its document is made from. Members are made one by one, so that a list pays for those it shows.
#[derive(Clone, Copy)]
pub(super) struct Shown<'a> {
    pub(super) node: &'a Node,
    pub(super) view: &'a View,
    /// The URL under which the caller reaches this API.
    pub(super) base: &'a str,
    pub(super) hostname: &'a str,
    pub(super) caller: &'a Caller,
    /// The caller is shown every member (secrets apart), without a look at the rule of each.
    pub(super) unmasked: bool,
}

/// The rule for whoever is shown every member of a node.
pub(super) const THRESHOLD: &str = "baremetal:node:get:filter_threshold";

impl Shown<'_> {
    /// What a patch works on: all members of all versions, as they are.
    pub(super) fn document(self) -> Map<String, Value> {
        NODE_FIELDS.iter().map(|field| (field.name.to_owned(), self.member(field.name))).collect()
    }

    /// The members that this version knows and `fields` names; all of them if it names none.
    pub(super) fn select(self, fields: Option<&[String]>, version: Version) -> Value {
        let wanted = |field: &Field| match fields {
            None => true,
            Some(names) => field.name == "links" || names.iter().any(|name| name == field.name),
        };
        let known = NODE_FIELDS.iter().filter(|field| field.is_in(version) && wanted(field));
        let members = known.map(|field| (field.name.to_owned(), self.visible(field, version)));
        Value::Object(members.collect())
    }

    /// A member as the caller is to see it.
    fn visible(self, field: &Field, version: Version) -> Value {
        if field.name == "provision_state" {
            return provision_state(self.node.provision_state, version);
        }
        match field.shown_by {
            Some(rule) if !self.unmasked && !self.caller.allows(rule, &OfNode(self.node)) => {
                let text = format!("** Redacted: it takes {rule} to see this. **");
                match field.kind {
                    Kind::Nested => json!({"content": text}),
                    _ => text.into(),
                }
            }
            _ => self.member(field.name),
        }
    }

    /// One member by its name in [`NODE_FIELDS`].
    pub(super) fn member(self, name: &str) -> Value {
        let Shown { node, view, hostname, .. } = self;
        let (settings, machine) = (&node.settings, &node.machine);
        match name {
            "uuid" => node.id.to_string().into(),
            "name" => settings.name.clone().into(),
            "driver" => settings.driver.clone().into(),
            "driver_info" => driver_info(node).into(),
            "driver_internal_info" => internal_info(node, view.running_job(node).map(AsRef::as_ref)).into(),
            "properties" => settings.properties.clone().into(),
            "extra" => settings.extra.clone().into(),
            "instance_info" => instance_info(node).into(),
            "instance_uuid" => settings.instance_uuid.map(|uuid| uuid.to_string()).into(),
            "resource_class" => settings.resource_class.clone().into(),
            "description" => settings.description.clone().into(),
            "owner" => settings.owner.clone().into(),
            "lessee" => settings.lessee.clone().into(),
            "automated_clean" => settings.automated_clean.into(),
            "protected" => settings.protected.into(),
            "protected_reason" => settings.protected_reason.clone().into(),
            "retired" => settings.retired.into(),
            "retired_reason" => settings.retired_reason.clone().into(),
            "traits" => settings.traits.iter().cloned().collect(),
            "power_state" => node.power_state.map(|state| state.name()).into(),
            "target_power_state" => node.target_power_state.map(|target| target.ends_in().name()).into(),
            "provision_state" => node.provision_state.name().into(),
            "target_provision_state" => node.target_provision_state.map(ProvisionState::name).into(),
            "provision_updated_at" => maybe_time(node.provision_updated_at),
            "maintenance" => node.maintenance.into(),
            "maintenance_reason" => node.maintenance_reason.clone().into(),
            "fault" => node.fault.clone().into(),
            "last_error" => node.last_error.clone().into(),
            "reservation" => view.running_job(node).map(|_| hostname).into(),
            "conductor" => hostname.into(),
            "console_enabled" => machine.console_enabled.into(),
            "boot_mode" => boot_mode(machine.boot_mode),
            "secure_boot" => machine.secure_boot.into(),
            "raid_config" => machine.raid_config.clone().into(),
            "target_raid_config" => machine.target_raid_config.clone().into(),
            "inspection_started_at" => maybe_time(node.inspection_started_at),
            "inspection_finished_at" => maybe_time(node.inspection_finished_at),
            "created_at" => time(node.created_at),
            "updated_at" => maybe_time(node.updated_at),
            "allocation_uuid" => {
                view.hardware.allocations.of_node(node.id).next().map(|allocation| allocation.id.to_string()).into()
            }
            "clean_step" | "deploy_step" | "service_step" => self.step(name),
            "links" => self.links(""),
            "ports" | "portgroups" | "states" | "volume" => self.links(name),
            _ => self.chosen(name),
        }
    }

    /// A member to sort by. One that is masked for the caller would be told by its place.
    pub(super) fn sortable(self, name: &str) -> Value {
        let field = super::fields::known(name);
        field.map_or(Value::Null, |field| self.visible(field, super::version::MAX))
    }

    /// The step that the node's job is at, under the member of its present state.
    fn step(self, member: &str) -> Value {
        use ProvisionState::{CleanHold, CleanWait, Cleaning, DeployHold, DeployWait, Deploying};
        use ProvisionState::{ServiceHold, ServiceWait, Servicing};
        let present = match self.node.provision_state {
            Cleaning | CleanWait | CleanHold => "clean_step",
            Deploying | DeployWait | DeployHold => "deploy_step",
            Servicing | ServiceWait | ServiceHold => "service_step",
            _ => return json!({}),
        };
        match self.view.running_job(self.node).and_then(|job| job.current()) {
            Some(step) if member == present => json!({"interface": "deploy", "step": step.name.name()}),
            _ => json!({}),
        }
    }

    fn links(self, tail: &str) -> Value {
        let (id, base) = (self.node.id, self.base);
        let path = if tail.is_empty() { format!("nodes/{id}") } else { format!("nodes/{id}/{tail}") };
        links(base, &path)
    }

    /// Hardware interfaces and labels; null for what is not known here.
    fn chosen(self, name: &str) -> Value {
        let settings = &self.node.settings;
        if let Some(interface) = Interface::of_member(name) {
            return settings.interface(interface).into();
        }
        let Some((_, kind)) = LABELS.iter().find(|(label, _)| *label == name) else { return Value::Null };
        settings.labels.get(name).cloned().unwrap_or_else(|| match (name, kind) {
            ("conductor_group", _) => "".into(),
            (_, LabelKind::Flag) => false.into(),
            (_, LabelKind::Object) => json!({}),
            (_, LabelKind::Text | LabelKind::Uuid) => Value::Null,
        })
    }
}

/// The two links of a thing.
pub(super) fn links(base: &str, path: &str) -> Value {
    json!([
        {"href": format!("{base}/v1/{path}"), "rel": "self"},
        {"href": format!("{base}/{path}"), "rel": "bookmark"},
    ])
}

/// The state as this version of the API calls it: before 1.2 a free node had none, before 1.39 nobody waited for an
/// inspection.
pub(super) fn provision_state(state: ProvisionState, version: Version) -> Value {
    match state {
        ProvisionState::Available if version.0 < 2 => Value::Null,
        ProvisionState::InspectWait if version.0 < 39 => ProvisionState::Inspecting.name().into(),
        state => state.name().into(),
    }
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
