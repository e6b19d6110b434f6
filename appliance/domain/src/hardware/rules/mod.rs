//! Inspection rules at work: rules × inventory × node → what the node is to be.
//!
//! In: rules as they were given, the inventory of an inspection, the node and its ports. Out: changed settings, or the
//! reason why the inspection has failed. Pure. Ironic's operators, actions and placeholders (`{inventory[cpu][count]}`),
//! but for `api-call`: this appliance asks no servers for a rule. A rule cannot give a node away: owner and lessee are not
//! among what it sets.

mod action;
mod arguments;
mod attribute;
mod condition;
mod placeholder;
#[cfg(test)]
mod tests;

use super::inspection_rule::InspectionRule;
use super::record::Record;
use crate::id::PortId;
use crate::node::{Node, NodeSettings};
use crate::port::PortSettings;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What rules work on, and what becomes of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspected {
    pub settings: NodeSettings,
    pub ports: BTreeMap<PortId, PortSettings>,
    /// What the agent sent: `inventory`, and beside it what Ironic calls plugin data.
    pub found: Map<String, Value>,
    /// What `log` actions said: level and words.
    pub said: Vec<(String, String)>,
}

/// The placeholders' world at one moment, without secrets.
struct Context {
    known: Map<String, Value>,
}

/// Whether a rule can be understood and carried out. The reason is for its author.
pub(super) fn check(rule: &InspectionRule) -> Result<(), String> {
    if rule.actions.is_empty() {
        return Err("A rule needs at least one action.".into());
    }
    for condition in &rule.conditions {
        condition::check(condition)?;
    }
    rule.actions.iter().try_for_each(action::check)
}

/// Applies the rules that the inventory meets, the highest priority first; among equals, the oldest. An error is the
/// reason why the inspection has failed.
pub fn apply<'a>(
    rules: impl IntoIterator<Item = &'a Arc<Record<InspectionRule>>>,
    node: &Node,
    mut inspected: Inspected,
) -> Result<Inspected, String> {
    let mut rules: Vec<_> = rules.into_iter().collect();
    rules.sort_by_key(|rule| (-rule.body.priority, rule.created_at, rule.id));
    for rule in rules {
        let in_rule = |why: String| {
            let name = rule.body.description.clone().unwrap_or_else(|| rule.id.to_string());
            format!("Inspection rule \"{name}\": {why}")
        };
        if meets(&rule.body, node, &inspected).map_err(in_rule)? {
            for action in &rule.body.actions {
                action::carry_out(action, node, &mut inspected).map_err(in_rule)?;
            }
        }
    }
    Ok(inspected)
}

fn meets(rule: &InspectionRule, node: &Node, inspected: &Inspected) -> Result<bool, String> {
    let context = Context::of(node, inspected);
    for given in &rule.conditions {
        if !condition::holds(given, &context)? {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Context {
    fn of(node: &Node, inspected: &Inspected) -> Context {
        let settings = &inspected.settings;
        let node = json!({
            "uuid": node.id,
            "name": settings.name,
            "driver": settings.driver,
            "driver_info": settings.driver_info,
            "properties": settings.properties,
            "extra": settings.extra,
            "instance_info": settings.instance_info,
            "instance_uuid": settings.instance_uuid,
            "resource_class": settings.resource_class,
            "description": settings.description,
            "owner": settings.owner,
            "lessee": settings.lessee,
            "traits": settings.traits,
            "provision_state": node.provision_state.name(),
            "power_state": node.power_state.map(|state| state.name()),
            "maintenance": node.maintenance,
        });
        let mut plugin_data = inspected.found.clone();
        let inventory = plugin_data.remove("inventory").unwrap_or(Value::Null);
        let known = [("node", node), ("inventory", inventory), ("plugin_data", Value::Object(plugin_data))];
        Context { known: known.into_iter().map(|(name, value)| (name.to_owned(), masked(value))).collect() }
    }

    fn with_item(&self, item: &Value) -> Context {
        let mut known = self.known.clone();
        known.insert("item".into(), item.clone());
        Context { known }
    }
}

/// Members that a machine or its keeper may have filled with secrets are not for rules, which copy what they see.
fn masked(value: Value) -> Value {
    const SECRET: [&str; 3] = ["password", "auth_token", "bmc_password"];
    match value {
        Value::Object(map) => {
            let hide = |(key, value): (String, Value)| match SECRET.contains(&key.as_str()) {
                true => (key, Value::from("***")),
                false => (key, masked(value)),
            };
            Value::Object(map.into_iter().map(hide).collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(masked).collect()),
        other => other,
    }
}

/// The items of a loop; `None`: there is no loop. An object is one item, as in Ironic.
fn loop_items(given: &Value) -> Option<Vec<Value>> {
    match given.get("loop")? {
        Value::Array(items) if !items.is_empty() => Some(items.clone()),
        Value::Object(item) if !item.is_empty() => Some(vec![Value::Object(item.clone())]),
        _ => None,
    }
}
