//! Steps that users write down: of deploy templates and of runbooks; and what of them a deployment here can do.

use crate::driver;
use crate::listed::{BMC_STEPS, bmc_work_on};
use crate::node::Node;
use crate::refusal::Refusal;
use crate::view::View;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The interfaces whose steps can be named, the one whose steps come first in front. Ironic's list.
pub const INTERFACES: [&str; 7] = ["vendor", "power", "management", "firmware", "deploy", "bios", "raid"];

/// A step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub interface: String,
    pub step: String,
    pub args: Map<String, Value>,
    /// A template's `priority` (highest first, 0: not at all), or a runbook's `order` (lowest first).
    pub rank: u32,
}

impl Step {
    /// Reads a step as users write it; `rank`: the name that its rank has. Numbers may be texts, as Ironic takes them.
    pub fn read(given: &Value, rank: &str) -> Option<Step> {
        let members = given.as_object()?;
        let text = |name: &str| members.get(name)?.as_str().map(str::to_owned);
        let args = match members.get("args") {
            None => Map::new(),
            Some(args) => args.as_object()?.clone(),
        };
        let rank_value = match members.get(rank)? {
            Value::String(text) => text.parse().ok()?,
            number => u32::try_from(number.as_u64()?).ok()?,
        };
        let known = |name: &String| ["interface", "step", "args", rank].contains(&name.as_str());
        let step = Step { interface: text("interface")?, step: text("step")?, args, rank: rank_value };
        members.keys().all(known).then_some(step)
    }

    /// The step as users see it.
    pub fn document(&self, rank: &str) -> Value {
        json!({"interface": self.interface, "step": self.step, "args": self.args, rank: self.rank})
    }
}

/// The name spaces of OpenStack's standard traits (os-traits), and the one for one's own.
const TRAIT_SPACES: [&str; 7] = ["COMPUTE_", "CUSTOM_", "HW_", "MISC_", "OWNER_", "RESOURCE_", "STORAGE_"];

/// What a trait may be called: one of a standard name space, or `CUSTOM_…`.
pub fn is_trait_name(name: &str) -> bool {
    let character = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let rest = TRAIT_SPACES.iter().find_map(|space| name.strip_prefix(space));
    rest.is_some_and(|rest| !rest.is_empty()) && name.len() <= 255 && name.chars().all(character)
}

/// Traits of one node, Ironic's limit.
const MOST_TRAITS: usize = 50;

/// The traits that a node is to have.
pub fn check_traits<'a>(traits: impl IntoIterator<Item = &'a String>) -> Result<(), Refusal> {
    let mut count = 0;
    for name in traits {
        count += 1;
        if !is_trait_name(name) {
            return Err(Refusal::Invalid(format!(
                "'{name}' is not a valid trait: use capital letters, digits and '_', with CUSTOM_ in front of your own."
            )));
        }
    }
    if count > MOST_TRAITS {
        return Err(Refusal::Invalid(format!("A node can have at most {MOST_TRAITS} traits.")));
    }
    Ok(())
}

/// At least one step, each of a known interface and named once.
pub(super) fn check_steps(steps: &[Step]) -> Result<(), Refusal> {
    if steps.is_empty() {
        return Err(Refusal::Invalid("At least one step is needed.".into()));
    }
    let mut seen = BTreeSet::new();
    for step in steps {
        if !INTERFACES.contains(&step.interface.as_str()) {
            return Err(Refusal::Invalid(format!(
                "'{}' is no interface that has steps; interfaces: {}.",
                step.interface,
                INTERFACES.join(", ")
            )));
        }
        if step.step.is_empty() {
            return Err(Refusal::Invalid("A step needs a name.".into()));
        }
        if !seen.insert((&step.interface, &step.step)) {
            return Err(Refusal::Invalid(format!(
                "Duplicate steps: there cannot be several with the same interface and step (interface: {}, step: {}).",
                step.interface, step.step
            )));
        }
    }
    Ok(())
}

/// What each deployment does, with the priorities of Ironic's direct deploy interface.
const ALWAYS: [(&str, u32); 6] = [
    ("deploy", 100),
    ("write_image", WRITE_IMAGE),
    ("prepare_instance_boot", 60),
    ("tear_down_agent", 40),
    ("switch_to_tenant_network", 30),
    ("boot_instance", 20),
];
const WRITE_IMAGE: u32 = 80;
/// What the agent can do before it writes the image; a BMC can, too ([`crate::listed`]).
const WIPES: [&str; 2] = ["erase_devices", "erase_devices_metadata"];

/// The steps that the node's deployment does before the image is written, in their order, as its agent takes them:
/// from the templates that are named like one of the instance's traits, and from `asked`, which comes before them.
/// An error says which step can not be done.
pub fn deploy_steps(view: &View, node: &Node, asked: &[Step]) -> Result<Vec<Value>, String> {
    let traits = instance_traits(node)?;
    if let Some(missing) = traits.iter().find(|name| !node.settings.traits.contains(*name)) {
        return Err(format!("Cannot specify instance traits that are not also set on the node: {missing}."));
    }
    let templates = traits.iter().filter_map(|name| view.hardware.deploy_templates.find(super::TEMPLATE_NAME, name));
    let mut steps: BTreeMap<(&str, &str), (&Step, String)> = BTreeMap::new();
    for template in templates {
        for step in &template.body.steps {
            let source = format!("deploy template {}", template.body.name);
            if let Some((_, other)) = steps.insert((&step.interface, &step.step), (step, source.clone())) {
                return Err(format!(
                    "The step {}.{} is in {source} and in {other}: only one of them can be meant.",
                    step.interface, step.step
                ));
            }
        }
    }
    for step in asked {
        steps.insert((&step.interface, &step.step), (step, "the request".to_owned()));
    }
    let mut extra = Vec::new();
    let fake = driver::is_fake(&node.settings.driver);
    for (step, source) in steps.into_values() {
        // Where there is no machine, every step can be done.
        if fake && step.rank > 0 {
            extra.push(step);
            continue;
        }
        if is_extra(step, node)
            .map_err(|why| format!("The step {}.{} of {source}: {why}.", step.interface, step.step))?
        {
            extra.push(step);
        }
    }
    extra.sort_by(|one, other| (other.rank, &one.step).cmp(&(one.rank, &other.step)));
    Ok(extra.into_iter().map(|step| step.document("priority")).collect())
}

/// Whether the step is to be done beside those that are always done.
fn is_extra(step: &Step, node: &Node) -> Result<bool, String> {
    let name = step.step.as_str();
    let early = || match step.rank {
        0 => Ok(false),
        rank if rank > WRITE_IMAGE && rank < 100 => Ok(true),
        _ => Err(format!("its priority must be between {} and 99: before the image is written", WRITE_IMAGE + 1)),
    };
    if let Some(work) = bmc_work_on(&step.document("priority"), node) {
        return work.and_then(|_| early());
    }
    let always = ALWAYS.iter().find(|(known, _)| *known == name && step.interface == "deploy");
    if let Some((_, priority)) = always {
        return match step.rank == *priority && step.args.is_empty() {
            true => Ok(false),
            false => Err(format!("it is always done with priority {priority} and takes no arguments here")),
        };
    }
    if step.interface != "deploy" || !WIPES.contains(&name) {
        let known: Vec<_> = WIPES.iter().map(|name| format!("deploy.{name}")).collect();
        return match step.rank {
            0 => Ok(false),
            _ => Err(format!("no driver here has such a deploy step; known: {}, {BMC_STEPS}", known.join(", "))),
        };
    }
    match step.rank {
        0 => Ok(false),
        _ if !step.args.is_empty() => Err("it takes no arguments".into()),
        _ => early(),
    }
}

/// `instance_info/traits`, where an allocation writes them.
fn instance_traits(node: &Node) -> Result<BTreeSet<String>, String> {
    let wrong = || "instance_info/traits must be a list of trait names.".to_owned();
    match node.settings.instance_info.get("traits") {
        None | Some(Value::Null) => Ok(BTreeSet::new()),
        Some(Value::Array(names)) => {
            names.iter().map(|name| name.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
        }
        Some(_) => Err(wrong()),
    }
}
