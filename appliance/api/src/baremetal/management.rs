//! `management/*` and what else speaks to a BMC at once: boot device, NMI, virtual media.

use super::asked::{Asked, Body, settle};
use super::document::boot_mode;
use super::nodes::wanted;
use super::query::flag;
use super::states::unsupported;
use super::version::needs;
use crate::Api;
use crate::error::ApiError;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{Method, StatusCode};
use leasehold_domain::command::{Actor, Command, MachineChange};
use leasehold_domain::driver::{self, Ability};
use leasehold_domain::node::Node;
use leasehold_domain::power::{BootDevice, BootSetting};
use leasehold_drivers::bmc::{Bmc, BmcError};
use serde_json::{Value, json};
use std::sync::Arc;

/// A BMC's refusal as HTTP: it is the node's trouble, not the caller's.
pub(super) fn bmc_error(error: BmcError) -> ApiError {
    let status = match error {
        BmcError::Unsupported { .. } | BmcError::Refused { .. } => StatusCode::BAD_REQUEST,
        // Not 503: clients would ask six times more.
        _ => StatusCode::BAD_GATEWAY,
    };
    // Who may look at a boot device need not be shown where the BMC is.
    ApiError::new(status, error.without_address().to_string())
}

/// 400 for what the node's driver cannot do at all, as `validate` says it.
pub(super) fn able(node: &Node, ability: Ability) -> Result<(), ApiError> {
    match driver::find(&node.settings.driver).is_some_and(|driver| driver.can(ability)) {
        true => Ok(()),
        false => Err(unsupported(node, ability.words())),
    }
}

/// The node's BMC, to look at something.
pub(super) fn bmc_of(api: &Api, node: &Node) -> Result<Arc<dyn Bmc>, ApiError> {
    api.engine.bmcs.of(node).map_err(|error| ApiError::bad_request(error.to_string()))
}

/// The node's BMC, to change something: not while a job holds the node.
pub(super) async fn bmc_to_change(api: &Api, node: &Node) -> Result<Arc<dyn Bmc>, ApiError> {
    settle(api, node.id).await;
    let view = api.engine.view();
    if let Some(step) = view.node(node.id).and_then(|node| view.running_job(node)).and_then(|job| job.current()) {
        return Err(leasehold_domain::Refusal::Locked { node: node.title(), job: step.name.name() }.into());
    }
    bmc_of(api, node)
}

/// Writes into events and audit what the BMC was asked for and has done.
pub(super) async fn note(api: &Api, node: &Node, actor: Actor, call: String) -> Result<(), ApiError> {
    api.submit(Command::SetMachine { node: node.id, what: MachineChange::Asked(call) }, actor).await?;
    Ok(())
}

pub(super) async fn boot_device(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let (node, _) = asked.node(&api.engine.view(), &ident, "baremetal:node:get_boot_device")?;
    let setting = bmc_of(&api, &node)?.boot_device().await.map_err(bmc_error)?;
    let device = match setting.device {
        BootDevice::None => Value::Null,
        device => device.name().into(),
    };
    Ok(Json(json!({"boot_device": device, "persistent": setting.persistent, "boot_mode": boot_mode(setting.mode)})))
}

pub(super) async fn supported_boot_devices(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    asked.node(&api.engine.view(), &ident, "baremetal:node:get_boot_device")?;
    let names: Vec<_> =
        BootDevice::ALL.iter().filter(|device| **device != BootDevice::None).map(|device| device.name()).collect();
    Ok(Json(json!({"supported_boot_devices": names})))
}

pub(super) async fn set_boot_device(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let (node, actor) = asked.node(&api.engine.view(), &ident, "baremetal:node:set_boot_device")?;
    let body = wanted(body, &["boot_device", "persistent"])?;
    let name = body.get("boot_device").and_then(Value::as_str).unwrap_or_default();
    let device = BootDevice::from_name(name)
        .ok_or_else(|| ApiError::bad_request(format!("Invalid boot device {name} specified.")))?;
    let persistent = match body.get("persistent") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(given)) => *given,
        Some(Value::String(text)) => flag("persistent", text)?,
        Some(_) => return Err(ApiError::bad_request("persistent must be true or false.")),
    };
    let bmc = bmc_to_change(&api, &node).await?;
    bmc.set_boot_device(BootSetting { device, persistent, mode: None }).await.map_err(bmc_error)?;
    let how_long = if persistent { "persistent" } else { "once" };
    note(&api, &node, actor, format!("boot-device {} {how_long}", device.name())).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn inject_nmi(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
) -> Result<StatusCode, ApiError> {
    needs(asked.version, 29, "An NMI")?;
    let (node, actor) = asked.node(&api.engine.view(), &ident, "baremetal:node:inject_nmi")?;
    able(&node, Ability::Nmi)?;
    bmc_to_change(&api, &node).await?.inject_nmi().await.map_err(bmc_error)?;
    note(&api, &node, actor, "inject-nmi".into()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Virtual media: no driver here attaches any, and each says so. Before 1.89 there is no such path.
pub(super) async fn virtual_media(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    method: Method,
) -> Result<StatusCode, ApiError> {
    needs(asked.version, if method == Method::GET { 93 } else { 89 }, "Virtual media")?;
    let rule = match method {
        Method::GET => "baremetal:node:vmedia:get",
        Method::POST => "baremetal:node:vmedia:attach",
        Method::DELETE => "baremetal:node:vmedia:detach",
        _ => return Err(ApiError::new(StatusCode::METHOD_NOT_ALLOWED, format!("Virtual media do not take {method}."))),
    };
    let (node, _) = asked.node(&api.engine.view(), &ident, rule)?;
    Err(unsupported(&node, Ability::VirtualMedia.words()))
}
