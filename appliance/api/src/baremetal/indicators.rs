//! `management/indicators`: the lights by which a machine and its parts are found in the rack.
//!
//! A Redfish BMC is asked each time. A node without a machine has one light, kept in its record; IPMI has a lamp that
//! can be lit but not looked at, and Ironic's driver offers none.

use super::asked::{Asked, Body};
use super::document::links;
use super::management::{able, bmc_error, bmc_of, bmc_to_change, note};
use super::nodes::wanted;
use super::states::unsupported;
use crate::Api;
use crate::error::ApiError;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use leasehold_domain::command::{Command, MachineChange};
use leasehold_domain::driver::{self, Ability};
use leasehold_domain::node::Node;
use leasehold_drivers::bmc::features::{Light, LightName};
use serde_json::{Value, json};

/// The one light of a machine that is not there.
const LED: (&str, &str) = ("led", "system");
const LIGHTS: [Light; 3] = [Light::Blinking, Light::Off, Light::On];

/// Ironic's spelling.
fn state_name(light: Light) -> &'static str {
    match light {
        Light::On => "ON",
        Light::Off => "OFF",
        Light::Blinking => "BLINKING",
        Light::Unknown => "UNKNOWN",
    }
}

/// The light that a path names, `NAME@COMPONENT`: the part before the component may be anything.
fn named(text: &str) -> Result<(&str, &str), ApiError> {
    let malformed = || ApiError::bad_request(format!("Malformed indicator name \"{text}\": write NAME@COMPONENT."));
    text.split_once('@').ok_or_else(malformed)
}

fn light_of(node: &Node, text: &str) -> Result<LightName, ApiError> {
    named(text)?;
    LightName::read(text).ok_or_else(|| unsupported(node, &format!("the indicator {text}")))
}

/// A machine that is not there has its one light only.
fn is_the_led(node: &Node, text: &str) -> Result<(), ApiError> {
    match named(text)? == LED {
        true => Ok(()),
        false => Err(unsupported(node, &format!("the indicator {text}"))),
    }
}

fn row(asked: &Asked, ident: &str, name: &str, component: &str, choices: &[Light]) -> Value {
    let states: Vec<_> = choices.iter().copied().map(state_name).collect();
    json!({
        "name": name, "component": component, "readonly": choices.is_empty(), "states": states,
        "links": links(&asked.base, &format!("nodes/{ident}/management/indicators/{name}")),
    })
}

pub(super) async fn list(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let (node, _) = asked.node(&api.engine.view(), &ident, "baremetal:node:get_indicator_state")?;
    able(&node, Ability::Indicators)?;
    if driver::is_fake(&node.settings.driver) {
        let (name, component) = LED;
        let only = row(&asked, &ident, &format!("{name}@{component}"), component, &LIGHTS);
        return Ok(Json(json!({"indicators": [only]})));
    }
    let found = bmc_of(&api, &node)?.indicators().await.map_err(bmc_error)?;
    let rows: Vec<_> = found
        .iter()
        .map(|found| row(&asked, &ident, &found.light.to_string(), found.light.component.name(), &found.choices))
        .collect();
    Ok(Json(json!({"indicators": rows})))
}

pub(super) async fn show(
    State(api): State<Api>,
    asked: Asked,
    Path((ident, name)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let (node, _) = asked.node(&api.engine.view(), &ident, "baremetal:node:get_indicator_state")?;
    able(&node, Ability::Indicators)?;
    if driver::is_fake(&node.settings.driver) {
        is_the_led(&node, &name)?;
        return Ok(Json(json!({"state": node.machine.indicator.as_deref().unwrap_or("OFF")})));
    }
    let light = light_of(&node, &name)?;
    let state = bmc_of(&api, &node)?.indicator(light).await.map_err(bmc_error)?;
    Ok(Json(json!({"state": state_name(state)})))
}

pub(super) async fn set(
    State(api): State<Api>,
    asked: Asked,
    Path((ident, name)): Path<(String, String)>,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let (node, actor) = asked.node(&api.engine.view(), &ident, "baremetal:node:set_indicator_state")?;
    able(&node, Ability::Indicators)?;
    let fake = driver::is_fake(&node.settings.driver);
    if fake {
        is_the_led(&node, &name)?;
    }
    let body = wanted(body, &["state"])?;
    let state = body.get("state").and_then(Value::as_str).unwrap_or_default();
    let Some(state) = LIGHTS.into_iter().find(|light| state_name(*light) == state) else {
        let states = LIGHTS.map(state_name).join(", ");
        return Err(ApiError::bad_request(format!("Invalid indicator state; states: {states}.")));
    };
    if fake {
        let what = MachineChange::Indicator(state_name(state).to_owned());
        api.submit(Command::SetMachine { node: node.id, what }, actor).await?;
        return Ok(StatusCode::NO_CONTENT);
    }
    let light = light_of(&node, &name)?;
    bmc_to_change(&api, &node).await?.set_indicator(light, state).await.map_err(bmc_error)?;
    note(&api, &node, actor, format!("indicator {name} {}", state_name(state))).await?;
    Ok(StatusCode::NO_CONTENT)
}
