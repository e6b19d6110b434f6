//! A node as Ironic's document, each caller seeing what he may.

use super::fields::{Field, LABELS, LabelKind, NODE_FIELDS};
use super::masks::{driver_info, instance_info, is_close, redacted};
use super::selection::Key;
use super::shape::Shape;
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
use std::sync::LazyLock;

/// Ironic's form of a time.
pub(super) fn time(at: Timestamp) -> Value {
    Value::String(format!("{}+00:00", at.strftime("%Y-%m-%dT%H:%M:%S")))
}

pub(super) fn maybe_time(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, time)
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

/// How a member is read off a node.
#[derive(Clone, Copy)]
enum Reader {
    Own(for<'a> fn(Shown<'a>) -> Shape<'a>),
    Interface(Interface),
    Label(&'static str, LabelKind),
}

/// A member with what it takes to write it, looked up once and not once for each node.
struct Column {
    field: &'static Field,
    /// `,"name":`
    label: String,
    reader: Reader,
}

impl Column {
    fn read<'a>(&self, shown: Shown<'a>) -> Shape<'a> {
        match self.reader {
            Reader::Own(read) => read(shown),
            Reader::Interface(interface) => shown.node.settings.interface(interface).into(),
            Reader::Label(name, kind) => shown.label(name, kind),
        }
    }
}

/// All members, in the table's order.
static COLUMNS: LazyLock<Vec<Column>> = LazyLock::new(|| {
    let column =
        |field: &'static Field| Column { field, label: format!(",\"{}\":", field.name), reader: reader(field.name) };
    NODE_FIELDS.iter().map(column).collect()
});

/// The members that a document shows.
pub(super) struct Columns {
    columns: Vec<&'static Column>,
    version: Version,
}

impl Columns {
    /// Those that this version knows and `fields` names; all of them if it names none.
    pub(super) fn of(fields: Option<&[String]>, version: Version) -> Columns {
        let wanted = |field: &Field| match fields {
            None => true,
            Some(names) => field.name == "links" || names.iter().any(|name| name == field.name),
        };
        let known = COLUMNS.iter().filter(|column| column.field.is_in(version) && wanted(column.field));
        Columns { columns: known.collect(), version }
    }

    /// The document of a node as the caller is to see it.
    pub(super) fn write(&self, shown: Shown<'_>, out: &mut Vec<u8>) -> serde_json::Result<()> {
        let start = out.len();
        for column in &self.columns {
            out.extend_from_slice(column.label.as_bytes());
            shown.visible(column, self.version).write(out)?;
        }
        // The first comma is in the place of the bracket.
        match out.get_mut(start) {
            Some(comma) => *comma = b'{',
            None => out.push(b'{'),
        }
        out.push(b'}');
        Ok(())
    }
}

/// How the member of this name in [`NODE_FIELDS`] is read.
fn reader(name: &str) -> Reader {
    if let Some(interface) = Interface::of_member(name) {
        return Reader::Interface(interface);
    }
    if let Some((label, kind)) = LABELS.iter().find(|(label, _)| *label == name) {
        return Reader::Label(label, *kind);
    }
    Reader::Own(match name {
        "uuid" => |it| it.node.id.0.into(),
        "name" => |it| it.node.settings.name.as_ref().into(),
        "driver" => |it| (&it.node.settings.driver).into(),
        "driver_info" => |it| driver_info(it.node, is_close(it.caller, it.node)).into(),
        "driver_internal_info" => {
            |it| Value::from(internal_info(it.node, it.view.running_job(it.node).map(AsRef::as_ref))).into()
        }
        "properties" => |it| (&it.node.settings.properties).into(),
        "extra" => |it| (&it.node.settings.extra).into(),
        "instance_info" => |it| instance_info(it.node, is_close(it.caller, it.node)).into(),
        "instance_uuid" => |it| it.node.settings.instance_uuid.into(),
        "resource_class" => |it| it.node.settings.resource_class.as_ref().into(),
        "description" => |it| it.node.settings.description.as_ref().into(),
        "owner" => |it| it.node.settings.owner.as_ref().into(),
        "lessee" => |it| it.node.settings.lessee.as_ref().into(),
        "automated_clean" => |it| it.node.settings.automated_clean.into(),
        "protected" => |it| it.node.settings.protected.into(),
        "protected_reason" => |it| it.node.settings.protected_reason.as_ref().into(),
        "retired" => |it| it.node.settings.retired.into(),
        "retired_reason" => |it| it.node.settings.retired_reason.as_ref().into(),
        "traits" => |it| Shape::Texts(&it.node.settings.traits),
        "power_state" => |it| it.node.power_state.map(|state| state.name()).into(),
        "target_power_state" => |it| it.node.target_power_state.map(|target| target.ends_in().name()).into(),
        "provision_state" => |it| it.node.provision_state.name().into(),
        "target_provision_state" => |it| it.node.target_provision_state.map(ProvisionState::name).into(),
        "provision_updated_at" => |it| it.node.provision_updated_at.into(),
        "maintenance" => |it| it.node.maintenance.into(),
        "maintenance_reason" => |it| it.node.maintenance_reason.as_ref().into(),
        "fault" => |it| it.node.fault.as_ref().into(),
        "last_error" => |it| it.node.last_error.as_ref().into(),
        "reservation" => |it| it.view.running_job(it.node).map(|_| it.hostname).into(),
        "conductor" => |it| it.hostname.into(),
        "console_enabled" => |it| it.node.machine.console_enabled.into(),
        "boot_mode" => |it| boot_mode(it.node.machine.boot_mode).into(),
        "secure_boot" => |it| it.node.machine.secure_boot.into(),
        "raid_config" => |it| (&it.node.machine.raid_config).into(),
        "target_raid_config" => |it| (&it.node.machine.target_raid_config).into(),
        "inspection_started_at" => |it| it.node.inspection_started_at.into(),
        "inspection_finished_at" => |it| it.node.inspection_finished_at.into(),
        "created_at" => |it| it.node.created_at.into(),
        "updated_at" => |it| it.node.updated_at.into(),
        "allocation_uuid" => |it| {
            let allocation = it.view.hardware.allocations.of_node(it.node.id).next();
            allocation.map(|allocation| allocation.id.to_string()).map(Value::from).into()
        },
        "clean_step" => |it| it.step("clean_step"),
        "deploy_step" => |it| it.step("deploy_step"),
        "service_step" => |it| it.step("service_step"),
        "links" => |it| it.links(""),
        "ports" => |it| it.links("ports"),
        "portgroups" => |it| it.links("portgroups"),
        "states" => |it| it.links("states"),
        "volume" => |it| it.links("volume"),
        // What is not known here, such as `health`.
        _ => |_| Shape::Null,
    })
}

impl<'a> Shown<'a> {
    /// What a patch works on: all members that one may touch, of all versions, as they are.
    pub(super) fn document(self) -> Map<String, Value> {
        let patched = COLUMNS.iter().filter(|column| column.field.patched_by().is_some());
        patched.map(|column| (column.field.name.to_owned(), column.read(self).into_value())).collect()
    }

    /// A member as the caller is to see it.
    fn visible(self, column: &Column, version: Version) -> Shape<'a> {
        let field = column.field;
        if field.name == "provision_state" {
            return provision_state(self.node.provision_state, version).into();
        }
        match field.shown_by {
            Some(rule) if !self.unmasked && !self.caller.allows(rule, &OfNode(self.node)) => {
                Shape::Made(redacted(field, rule))
            }
            _ => column.read(self),
        }
    }

    /// A member to sort by. One that is masked for the caller would be told by its place.
    pub(super) fn sortable(self, name: &str) -> Key {
        let column = COLUMNS.iter().find(|column| column.field.name == name)?;
        self.visible(column, super::version::MAX).into_key()
    }

    /// The step that the node's job is at, under the member of its present state.
    fn step(self, member: &str) -> Shape<'a> {
        use ProvisionState::{CleanHold, CleanWait, Cleaning, DeployHold, DeployWait, Deploying};
        use ProvisionState::{ServiceHold, ServiceWait, Servicing};
        let present = match self.node.provision_state {
            Cleaning | CleanWait | CleanHold => "clean_step",
            Deploying | DeployWait | DeployHold => "deploy_step",
            Servicing | ServiceWait | ServiceHold => "service_step",
            _ => "",
        };
        let step = self.view.running_job(self.node).filter(|_| member == present).and_then(|job| job.current());
        step.map_or(Shape::Empty, |step| json!({"interface": "deploy", "step": step.name.name()}).into())
    }

    fn links(self, below: &'static str) -> Shape<'a> {
        Shape::Links { base: self.base, node: self.node.id, below }
    }

    fn label(self, name: &str, kind: LabelKind) -> Shape<'a> {
        match (self.node.settings.labels.get(name), kind) {
            (Some(Value::String(text)), _) => text.into(),
            (Some(value), _) => Shape::Kept(value),
            (None, _) if name == "conductor_group" => "".into(),
            (None, LabelKind::Flag) => false.into(),
            (None, LabelKind::Object) => Shape::Empty,
            (None, LabelKind::Text | LabelKind::Uuid) => Shape::Null,
        }
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
    fn times_have_ironics_form() {
        assert_eq!(time(Timestamp::UNIX_EPOCH), "1970-01-01T00:00:00+00:00");
    }
}
