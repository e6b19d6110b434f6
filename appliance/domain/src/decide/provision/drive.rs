//! The config drive of a node's user: it stays with the node from a deployment until the node is free again, and a
//! deployment that brings none uses it, as in Ironic (`instance_info/configdrive`, masked in every answer).

use crate::node::{CONFIG_DRIVE, Node, NodeSettings};
use crate::refusal::Refusal;
use serde_json::Value;

/// How base64 of gzip begins: two bytes of magic, and the one method that there is.
const GZIP: &str = "H4sI";

/// The drive that a deployment writes: the one that comes with it, which is kept from now on, or the one that is kept.
///
/// # Errors
/// What is kept is no config drive: a user wrote it there himself. It is not fetched from an address, as none is.
pub(super) fn of_deployment(node: &mut Node, given: Option<String>) -> Result<Option<String>, Refusal> {
    if let Some(drive) = given {
        node.settings.instance_info.insert(CONFIG_DRIVE.into(), drive.clone().into());
        return Ok(Some(drive));
    }
    match node.settings.instance_info.get(CONFIG_DRIVE) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) if is_drive(text) => Ok(Some(text.clone())),
        Some(_) => Err(Refusal::Invalid(format!(
            "instance_info/{CONFIG_DRIVE} of node {} is not base64 of a gzipped image: remove it, or give a config drive \
             with the request.",
            node.title()
        ))),
    }
}

fn is_drive(text: &str) -> bool {
    text.starts_with(GZIP) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte))
}

/// Nobody inherits the drive of the one before him: not with a node that gets another lessee, or without one another owner.
pub(in crate::decide) fn belongs_to_the_former(before: &NodeSettings, now: &NodeSettings) -> bool {
    let holder = |settings: &NodeSettings| settings.lessee.clone().or_else(|| settings.owner.clone());
    let same_drive = before.instance_info.get(CONFIG_DRIVE) == now.instance_info.get(CONFIG_DRIVE);
    same_drive && holder(before) != holder(now)
}
