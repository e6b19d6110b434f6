//! `states/*`, `management/*`, `maintenance`: verbs that change where a node stands.

use super::asked::{Asked, Body, find, object};
use super::document::{boot_mode, time};
use super::version::needs;
use crate::Api;
use crate::error::ApiError;
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use leasehold_domain::command::Command;
use leasehold_domain::id::JobId;
use leasehold_domain::job::JobInput;
use leasehold_domain::node::Node;
use leasehold_domain::power::{BootDevice, BootSetting, PowerTarget};
use leasehold_domain::provision::{ProvisionState, Verb};
use leasehold_drivers::bmc::BmcError;
use leasehold_engine::config_drive;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

pub(super) async fn show(State(api): State<Api>, _: Asked, Path(ident): Path<String>) -> Result<Json<Value>, ApiError> {
    let view = api.engine.view();
    let node = find(&view, &ident)?;
    Ok(Json(json!({
        "console_enabled": false,
        "last_error": node.last_error,
        "power_state": node.power_state.map(|state| state.name()),
        "provision_state": node.provision_state.name(),
        "provision_updated_at": node.provision_updated_at.map(time),
        "target_power_state": node.target_power_state.map(|target| target.ends_in().name()),
        "target_provision_state": node.target_provision_state.map(ProvisionState::name),
        "raid_config": {},
        "target_raid_config": {},
        "boot_mode": null,
        "secure_boot": null,
    })))
}

/// The versions from which Ironic takes a verb.
fn since(verb: Verb) -> u16 {
    match verb {
        Verb::Manage | Verb::Provide => 4,
        Verb::Inspect => 6,
        Verb::Abort => 13,
        Verb::Clean => 15,
        Verb::Adopt => 17,
        Verb::Deploy | Verb::Rebuild | Verb::Undeploy => 1,
    }
}

pub(super) async fn provision(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let body = object(body)?;
    let node = find(&api.engine.view(), &ident)?.clone();
    let target = body.get("target").and_then(Value::as_str).unwrap_or_default();
    let verb = Verb::from_name(target).ok_or_else(|| {
        let names: Vec<_> = Verb::ALL.iter().map(|verb| verb.name()).collect();
        ApiError::bad_request(format!("'{target}' is not a provision target; use one of: {}.", names.join(", ")))
    })?;
    if asked.version.0 < since(verb) {
        let message = format!("'{target}' is taken from API version 1.{} on.", since(verb));
        return Err(ApiError::new(StatusCode::NOT_ACCEPTABLE, message));
    }
    // Before 1.110 an abort meant a waiting clean or inspection only.
    if verb == Verb::Abort && asked.version.0 < 110 && node.provision_state == ProvisionState::DeployWait {
        return Err(ApiError::bad_request("A waiting deployment can be aborted from API version 1.110 on."));
    }
    let input = job_input(&node, verb, &body).await?;
    let command = Command::Provision { node: node.id, verb, job: JobId(Uuid::new_v4()), input: Box::new(input) };
    api.submit(command, asked.caller.actor()).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Reads what comes with a verb; what does not belong to it is refused.
async fn job_input(node: &Arc<Node>, verb: Verb, body: &Map<String, Value>) -> Result<JobInput, ApiError> {
    let mut input = JobInput { rebuild: verb == Verb::Rebuild, ..JobInput::default() };
    for (name, value) in body {
        match (name.as_str(), verb) {
            ("target", _) => {}
            (_, _) if value.is_null() => {}
            ("configdrive", Verb::Deploy | Verb::Rebuild) => {
                // Packing a large config drive takes a moment: not on an async thread.
                let (given, name, uuid) = (value.clone(), node.title(), node.id.to_string());
                let packed = tokio::task::spawn_blocking(move || config_drive::prepare(&given, &name, &uuid)).await;
                let packed =
                    packed.map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
                let packed = packed.map_err(|error| ApiError::bad_request(format!("Invalid configdrive: {error}.")))?;
                input.config_drive = Some(packed);
            }
            ("clean_steps", Verb::Clean) => input.clean_steps = clean_steps(value)?,
            _ => return Err(ApiError::bad_request(format!("'{name}' does not belong to target '{}'.", verb.name()))),
        }
    }
    if verb == Verb::Clean && input.clean_steps.is_empty() {
        return Err(ApiError::bad_request("\"clean_steps\" is required when setting target provision state to clean"));
    }
    Ok(input)
}

/// The clean steps that the agent knows.
fn clean_steps(value: &Value) -> Result<Vec<Value>, ApiError> {
    const KNOWN: [&str; 2] = ["erase_devices", "erase_devices_metadata"];
    let steps = value.as_array().ok_or_else(|| ApiError::bad_request("clean_steps must be a list."))?;
    for step in steps {
        let name = step.get("step").and_then(Value::as_str).unwrap_or_default();
        let interface = step.get("interface").and_then(Value::as_str).unwrap_or_default();
        if interface != "deploy" || !KNOWN.contains(&name) {
            return Err(ApiError::bad_request(format!(
                "node does not support this clean step: {{'interface': '{interface}', 'step': '{name}'}}; supported: deploy {}.",
                KNOWN.join(", deploy ")
            )));
        }
    }
    Ok(steps.clone())
}

pub(super) async fn power(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let body = object(body)?;
    let node = find(&api.engine.view(), &ident)?.id;
    let name = body.get("target").and_then(Value::as_str).unwrap_or_default();
    let target = PowerTarget::from_name(name).ok_or_else(|| {
        let names: Vec<_> = PowerTarget::ALL.iter().map(|target| target.name()).collect();
        ApiError::bad_request(format!("'{name}' is not a power target; use one of: {}.", names.join(", ")))
    })?;
    if matches!(target, PowerTarget::SoftOff | PowerTarget::SoftReboot) {
        needs(asked.version, 27, "Soft power control")
            .map_err(|error| ApiError::new(StatusCode::NOT_ACCEPTABLE, error.message))?;
    }
    let soft_timeout = match body.get("timeout") {
        None | Some(Value::Null) => None,
        Some(value) => {
            let seconds = value.as_u64().and_then(|seconds| u32::try_from(seconds).ok()).filter(|seconds| *seconds > 0);
            Some(seconds.ok_or_else(|| ApiError::bad_request("timeout must be a positive number of seconds."))?)
        }
    };
    let command = Command::Power { node, target, job: JobId(Uuid::new_v4()), soft_timeout };
    api.submit(command, asked.caller.actor()).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Consoles come with a later version of the appliance; `validate` says so, and so does this.
pub(super) async fn console(
    State(api): State<Api>,
    _: Asked,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    find(&api.engine.view(), &ident)?;
    Ok(Json(json!({"console_enabled": false, "console_info": null})))
}

pub(super) async fn set_maintenance(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    body: axum::body::Bytes,
) -> Result<StatusCode, ApiError> {
    let reason = match body.is_empty() {
        true => None,
        false => {
            let value: Value = serde_json::from_slice(&body)
                .map_err(|error| ApiError::bad_request(format!("The body is no JSON: {error}.")))?;
            value.get("reason").and_then(Value::as_str).map(str::to_owned)
        }
    };
    let node = find(&api.engine.view(), &ident)?.id;
    api.submit(Command::SetMaintenance { node, on: true, reason }, asked.caller.actor()).await?;
    Ok(StatusCode::ACCEPTED)
}

pub(super) async fn clear_maintenance(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
) -> Result<StatusCode, ApiError> {
    let node = find(&api.engine.view(), &ident)?.id;
    api.submit(Command::SetMaintenance { node, on: false, reason: None }, asked.caller.actor()).await?;
    Ok(StatusCode::ACCEPTED)
}

/// A BMC's refusal as HTTP: it is the node's trouble, not the caller's.
fn bmc_error(error: BmcError) -> ApiError {
    let status = match error {
        BmcError::Unsupported { .. } | BmcError::Refused { .. } => StatusCode::BAD_REQUEST,
        // Not 503: clients would ask six times more.
        _ => StatusCode::BAD_GATEWAY,
    };
    ApiError::new(status, error.to_string())
}

pub(super) async fn boot_device(
    State(api): State<Api>,
    _: Asked,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let node = find(&api.engine.view(), &ident)?.clone();
    let bmc = api.engine.bmcs.of(&node).map_err(|error| ApiError::bad_request(error.to_string()))?;
    let setting = bmc.boot_device().await.map_err(bmc_error)?;
    let device = match setting.device {
        BootDevice::None => Value::Null,
        device => device.name().into(),
    };
    Ok(Json(json!({"boot_device": device, "persistent": setting.persistent, "boot_mode": boot_mode(setting.mode)})))
}

pub(super) async fn supported_boot_devices(
    State(api): State<Api>,
    _: Asked,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    find(&api.engine.view(), &ident)?;
    let names: Vec<_> =
        BootDevice::ALL.iter().filter(|device| **device != BootDevice::None).map(|device| device.name()).collect();
    Ok(Json(json!({"supported_boot_devices": names})))
}

pub(super) async fn set_boot_device(
    State(api): State<Api>,
    _: Asked,
    Path(ident): Path<String>,
    Query(_): Query<BTreeMap<String, String>>,
    body: Body,
) -> Result<Response, ApiError> {
    let body = object(body)?;
    let name = body.get("boot_device").and_then(Value::as_str).unwrap_or_default();
    let device = BootDevice::from_name(name)
        .ok_or_else(|| ApiError::bad_request(format!("Invalid boot device {name} specified.")))?;
    let persistent = match body.get("persistent") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(given)) => *given,
        Some(Value::String(text)) => super::query::flag("persistent", text)?,
        Some(_) => return Err(ApiError::bad_request("persistent must be true or false.")),
    };
    let view = api.engine.view();
    let node = find(&view, &ident)?;
    if let Some(step) = view.running_job(node).and_then(|job| job.current()) {
        return Err(leasehold_domain::Refusal::Locked { node: node.title(), job: step.name.name() }.into());
    }
    let bmc = api.engine.bmcs.of(node).map_err(|error| ApiError::bad_request(error.to_string()))?;
    bmc.set_boot_device(BootSetting { device, persistent, mode: None }).await.map_err(bmc_error)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
