//! `states/*` beside provisioning, and `maintenance`: power, console, RAID, boot mode.

use super::asked::{Asked, Body, json, settle};
use super::document::{boot_mode, maybe_time, provision_state};
use super::management::{able, bmc_error, bmc_to_change};
use super::nodes::wanted;
use super::query::flag;
use super::version::needs;
use crate::Api;
use crate::error::ApiError;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use leasehold_domain::command::{Command, MachineChange};
use leasehold_domain::driver::{self, Ability, Interface};
use leasehold_domain::id::JobId;
use leasehold_domain::node::Node;
use leasehold_domain::power::{BootMode, PowerTarget};
use leasehold_domain::provision::ProvisionState;
use serde_json::{Map, Value, json};
use uuid::Uuid;

pub(super) async fn show(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let (node, _) = asked.node(&api.engine.view(), &ident, "baremetal:node:get_states")?;
    let machine = &node.machine;
    let mut states = json!({
        "console_enabled": machine.console_enabled,
        "last_error": node.last_error,
        "power_state": node.power_state.map(|state| state.name()),
        "provision_state": provision_state(node.provision_state, asked.version),
        "provision_updated_at": maybe_time(node.provision_updated_at),
        "target_power_state": node.target_power_state.map(|target| target.ends_in().name()),
        "target_provision_state": node.target_provision_state.map(ProvisionState::name),
    });
    if asked.version.0 >= 12 {
        states["raid_config"] = machine.raid_config.clone().into();
        states["target_raid_config"] = machine.target_raid_config.clone().into();
    }
    if asked.version.0 >= 75 {
        states["boot_mode"] = boot_mode(machine.boot_mode);
        states["secure_boot"] = machine.secure_boot.into();
    }
    Ok(Json(states))
}

/// 202, with the place where to look.
pub(super) fn accepted(asked: &Asked, ident: &str, tail: &str) -> Response {
    (StatusCode::ACCEPTED, asked.place(&format!("nodes/{ident}/{tail}"))).into_response()
}

/// A truth value of a body.
fn truth(body: &Map<String, Value>, name: &str) -> Result<bool, ApiError> {
    match body.get(name) {
        Some(Value::Bool(given)) => Ok(*given),
        Some(Value::String(text)) => flag(name, text),
        _ => Err(ApiError::bad_request(format!("{name} must be true or false."))),
    }
}

fn text<'a>(body: &'a Map<String, Value>, name: &str) -> Result<&'a str, ApiError> {
    let missing = || ApiError::bad_request(format!("{name} must be given, as a string."));
    body.get(name).and_then(Value::as_str).ok_or_else(missing)
}

pub(super) async fn power(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    body: Body,
) -> Result<Response, ApiError> {
    let (node, actor) = asked.node(&api.engine.view(), &ident, "baremetal:node:set_power_state")?;
    let body = wanted(body, &["target", "timeout"])?;
    let name = text(&body, "target")?;
    let target = PowerTarget::from_name(name);
    if matches!(target, Some(PowerTarget::SoftOff | PowerTarget::SoftReboot)) {
        asked.needs(27, "Soft power control")?;
    }
    let soft_timeout = match body.get("timeout") {
        None | Some(Value::Null) => None,
        Some(value) => {
            asked.needs(27, "timeout")?;
            let seconds = value.as_u64().and_then(|seconds| u32::try_from(seconds).ok()).filter(|seconds| *seconds > 0);
            Some(seconds.ok_or_else(|| ApiError::bad_request("timeout has to be positive integer"))?)
        }
    };
    let target = target.ok_or_else(|| {
        let names: Vec<_> = PowerTarget::ALL.iter().map(|target| target.name()).collect();
        ApiError::bad_request(format!("'{name}' is not a power target; use one of: {}.", names.join(", ")))
    })?;
    settle(&api, node.id).await;
    let command = Command::Power { node: node.id, target, job: JobId(Uuid::new_v4()), soft_timeout };
    api.submit(command, actor).await?;
    Ok(accepted(&asked, &ident, "states"))
}

fn is_unstable(node: &Node) -> Result<(), ApiError> {
    match node.provision_state.is_busy() {
        false => Ok(()),
        true => Err(ApiError::new(
            StatusCode::CONFLICT,
            format!("Node {} is in {} state: try again later.", node.title(), node.provision_state.name()),
        )),
    }
}

/// 400 for what the node's driver has no way to do.
pub(super) fn unsupported(node: &Node, what: &str) -> ApiError {
    ApiError::bad_request(format!(
        "The driver {} of node {} does not support {what}.",
        node.settings.driver,
        node.title()
    ))
}

pub(super) async fn set_boot_mode(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    body: Body,
) -> Result<Response, ApiError> {
    let (node, actor) = asked.node(&api.engine.view(), &ident, "baremetal:node:set_boot_mode")?;
    needs(asked.version, 76, "The change of a boot mode")?;
    let body = wanted(body, &["target"])?;
    let mode = match text(&body, "target")? {
        "bios" => BootMode::Bios,
        "uefi" => BootMode::Uefi,
        other => {
            return Err(ApiError::bad_request(format!(
                "Invalid boot mode {other} requested for node. Allowed boot modes are: bios, uefi"
            )));
        }
    };
    is_unstable(&node)?;
    able(&node, Ability::BootMode)?;
    if !driver::is_fake(&node.settings.driver) {
        bmc_to_change(&api, &node).await?.set_boot_mode(mode).await.map_err(bmc_error)?;
    }
    api.submit(Command::SetMachine { node: node.id, what: MachineChange::BootMode(mode) }, actor).await?;
    Ok(accepted(&asked, &ident, "states"))
}

pub(super) async fn set_secure_boot(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    body: Body,
) -> Result<Response, ApiError> {
    let (node, actor) = asked.node(&api.engine.view(), &ident, "baremetal:node:set_secure_boot")?;
    needs(asked.version, 76, "The change of secure boot")?;
    let on = truth(&wanted(body, &["target"])?, "target")?;
    is_unstable(&node)?;
    able(&node, Ability::SecureBoot)?;
    if !driver::is_fake(&node.settings.driver) {
        bmc_to_change(&api, &node).await?.set_secure_boot(on).await.map_err(bmc_error)?;
    }
    api.submit(Command::SetMachine { node: node.id, what: MachineChange::SecureBoot(on) }, actor).await?;
    Ok(accepted(&asked, &ident, "states"))
}

pub(super) async fn set_raid(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let (node, actor) = asked.node(&api.engine.view(), &ident, "baremetal:node:set_raid_state")?;
    asked.needs(12, "A RAID configuration")?;
    if node.settings.lacks(Interface::Raid) {
        return Err(ApiError { status: StatusCode::NOT_FOUND, ..unsupported(&node, "RAID") });
    }
    let Value::Object(config) = json(body)? else {
        return Err(ApiError::bad_request("The RAID configuration must be a JSON object."));
    };
    check_raid(&config)?;
    api.submit(Command::SetMachine { node: node.id, what: MachineChange::TargetRaid(config) }, actor).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What each logical disk says at least. An empty configuration takes the wish back.
fn check_raid(config: &Map<String, Value>) -> Result<(), ApiError> {
    const LEVELS: [&str; 9] = ["JBOD", "0", "1", "2", "5", "6", "1+0", "5+0", "6+0"];
    if config.is_empty() {
        return Ok(());
    }
    let bad = |why: &str| ApiError::bad_request(format!("RAID config validation error: {why}."));
    if let Some(name) = config.keys().find(|name| *name != "logical_disks") {
        return Err(bad(&format!("'{name}' is unexpected")));
    }
    let disks = config.get("logical_disks").and_then(Value::as_array).filter(|disks| !disks.is_empty());
    for disk in disks.ok_or_else(|| bad("logical_disks must be a list of disks"))? {
        let level = disk.get("raid_level").and_then(Value::as_str);
        if !level.is_some_and(|level| LEVELS.contains(&level)) {
            return Err(bad(&format!("raid_level is one of {}", LEVELS.join(", "))));
        }
        let size = disk.get("size_gb");
        let whole =
            size.and_then(Value::as_str) == Some("MAX") || size.and_then(Value::as_u64).is_some_and(|gb| gb > 0);
        if !whole {
            return Err(bad("size_gb is a positive number or MAX"));
        }
    }
    Ok(())
}

pub(super) async fn console(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let (node, _) = asked.node(&api.engine.view(), &ident, "baremetal:node:get_console")?;
    let enabled = node.machine.console_enabled;
    let info = if enabled { json!({}) } else { Value::Null };
    Ok(Json(json!({"console_enabled": enabled, "console_info": info})))
}

/// For a state that there is not, or that is not set so.
pub(super) async fn no_such_state(Path((_, name)): Path<(String, String)>) -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, format!("The state {name} is not set like that."))
}

pub(super) async fn set_console(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    body: Body,
) -> Result<Response, ApiError> {
    let (node, actor) = asked.node(&api.engine.view(), &ident, "baremetal:node:set_console_state")?;
    let on = truth(&wanted(body, &["enabled"])?, "enabled")?;
    api.submit(Command::SetMachine { node: node.id, what: MachineChange::Console(on) }, actor).await?;
    Ok(accepted(&asked, &ident, "states/console"))
}

pub(super) async fn set_maintenance(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    body: axum::body::Bytes,
) -> Result<StatusCode, ApiError> {
    let (node, actor) = asked.node(&api.engine.view(), &ident, "baremetal:node:set_maintenance")?;
    let body: Value = match body.is_empty() {
        true => json!({}),
        false => serde_json::from_slice(&body)
            .map_err(|error| ApiError::bad_request(format!("The body is not usable: {error}.")))?,
    };
    let reason = match body.get("reason") {
        None | Some(Value::Null) => None,
        Some(Value::String(reason)) => Some(reason.clone()),
        Some(_) => return Err(ApiError::bad_request("reason must be a string.")),
    };
    api.submit(Command::SetMaintenance { node: node.id, on: true, reason }, actor).await?;
    Ok(StatusCode::ACCEPTED)
}

pub(super) async fn clear_maintenance(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
) -> Result<StatusCode, ApiError> {
    let (node, actor) = asked.node(&api.engine.view(), &ident, "baremetal:node:clear_maintenance")?;
    api.submit(Command::SetMaintenance { node: node.id, on: false, reason: None }, actor).await?;
    Ok(StatusCode::ACCEPTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raid_configuration_says_what_each_disk_is() {
        let check = |config: Value| {
            let Value::Object(config) = config else { unreachable!("an object") };
            check_raid(&config).is_ok()
        };
        assert!(check(json!({})));
        assert!(check(
            json!({"logical_disks": [{"size_gb": 100, "raid_level": "1"}, {"size_gb": "MAX", "raid_level": "5"}]})
        ));
        for bad in [
            json!({"logical_disks": []}),
            json!({"logical_disks": [{"size_gb": 0, "raid_level": "1"}]}),
            json!({"logical_disks": [{"size_gb": 1, "raid_level": "7"}]}),
            json!({"logical_disks": [7]}),
            json!({"disks": []}),
        ] {
            assert!(!check(bad.clone()), "{bad}");
        }
    }
}
