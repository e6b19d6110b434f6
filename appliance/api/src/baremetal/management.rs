//! `management/*` and what else speaks to a BMC at once: boot device, indicators, NMI, virtual media, vendor methods.

use super::asked::{Asked, Body, settle};
use super::document::{boot_mode, links};
use super::nodes::wanted;
use super::query::flag;
use super::states::unsupported;
use super::version::needs;
use crate::Api;
use crate::error::ApiError;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{Method, StatusCode};
use leasehold_domain::command::{Command, MachineChange};
use leasehold_domain::driver;
use leasehold_domain::node::Node;
use leasehold_domain::power::{BootDevice, BootSetting};
use leasehold_drivers::bmc::BmcError;
use serde_json::{Value, json};

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
    asked: Asked,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let (node, _) = asked.node(&api.engine.view(), &ident, "baremetal:node:get_boot_device")?;
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
    let (node, _) = asked.node(&api.engine.view(), &ident, "baremetal:node:set_boot_device")?;
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
    settle(&api, node.id).await;
    let view = api.engine.view();
    if let Some(step) = view.node(node.id).and_then(|node| view.running_job(node)).and_then(|job| job.current()) {
        return Err(leasehold_domain::Refusal::Locked { node: node.title(), job: step.name.name() }.into());
    }
    let bmc = api.engine.bmcs.of(&node).map_err(|error| ApiError::bad_request(error.to_string()))?;
    bmc.set_boot_device(BootSetting { device, persistent, mode: None }).await.map_err(bmc_error)?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn inject_nmi(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
) -> Result<StatusCode, ApiError> {
    needs(asked.version, 29, "An NMI")?;
    let (node, _) = asked.node(&api.engine.view(), &ident, "baremetal:node:inject_nmi")?;
    Err(unsupported(&node, "an NMI"))
}

/// The one light of a machine that is not there.
const LED: (&str, &str) = ("led", "system");
const LED_STATES: [&str; 3] = ["BLINKING", "OFF", "ON"];

/// The node has this indicator, named `NAME@COMPONENT`.
fn indicator(node: &Node, name: &str) -> Result<(), ApiError> {
    let Some(named) = name.split_once('@') else {
        return Err(ApiError::bad_request(format!("Malformed indicator name \"{name}\": write NAME@COMPONENT.")));
    };
    match named == LED && driver::is_fake(&node.settings.driver) {
        true => Ok(()),
        false => Err(unsupported(node, &format!("the indicator {name}"))),
    }
}

pub(super) async fn indicators(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let (node, _) = asked.node(&api.engine.view(), &ident, "baremetal:node:get_indicator_state")?;
    let (name, component) = LED;
    let name = format!("{name}@{component}");
    let rows = match driver::is_fake(&node.settings.driver) {
        true => json!([{
            "name": name, "component": component, "readonly": false, "states": LED_STATES,
            "links": links(&asked.base, &format!("nodes/{ident}/management/indicators/{name}")),
        }]),
        false => json!([]),
    };
    Ok(Json(json!({"indicators": rows})))
}

pub(super) async fn show_indicator(
    State(api): State<Api>,
    asked: Asked,
    Path((ident, name)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let (node, _) = asked.node(&api.engine.view(), &ident, "baremetal:node:get_indicator_state")?;
    indicator(&node, &name)?;
    Ok(Json(json!({"state": node.machine.indicator.as_deref().unwrap_or("OFF")})))
}

pub(super) async fn set_indicator(
    State(api): State<Api>,
    asked: Asked,
    Path((ident, name)): Path<(String, String)>,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let (node, actor) = asked.node(&api.engine.view(), &ident, "baremetal:node:set_indicator_state")?;
    indicator(&node, &name)?;
    let body = wanted(body, &["state"])?;
    let state = body.get("state").and_then(Value::as_str).unwrap_or_default();
    if !LED_STATES.contains(&state) {
        return Err(ApiError::bad_request(format!("Invalid indicator state; states: {}.", LED_STATES.join(", "))));
    }
    let what = MachineChange::Indicator(state.to_owned());
    api.submit(Command::SetMachine { node: node.id, what }, actor).await?;
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
    Err(unsupported(&node, "virtual media"))
}

/// Methods that a driver has beside Ironic's own: none.
pub(super) async fn vendor_methods(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    asked.node(&api.engine.view(), &ident, "baremetal:node:vendor_passthru")?;
    Ok(Json(json!({})))
}

/// A call of one of them.
pub(super) async fn vendor_call(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
) -> Result<StatusCode, ApiError> {
    let (node, _) = asked.node(&api.engine.view(), &ident, "baremetal:node:vendor_passthru")?;
    Err(unsupported(&node, "vendor methods"))
}

pub(super) async fn named_vendor_call(
    state: State<Api>,
    asked: Asked,
    Path((ident, _)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    vendor_call(state, asked, Path(ident)).await
}
