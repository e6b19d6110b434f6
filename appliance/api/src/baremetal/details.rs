//! What a node has beside its document: validation, inventory, traits.

use super::asked::{Asked, Body, object};
use super::version::needs;
use crate::Api;
use crate::error::ApiError;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use leasehold_domain::command::Command;
use leasehold_domain::driver::{self, Interface};
use leasehold_domain::hardware::{boot_volume, deploy_steps};
use leasehold_domain::node::Node;
use leasehold_drivers::bmc::driver_info::{self, Unmet};
use serde_json::{Map, Value, json};

/// What each interface needs, and whether it is there (`baremetal node validate`).
pub(super) async fn validate(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let view = api.engine.view();
    let (node, _) = asked.node(&view, &ident, "baremetal:node:validate")?;
    let bmc = api.engine.bmcs.validate(&node).map_err(|error| error.to_string());
    let has_boot_port = view.ports_of(node.id).any(|port| port.settings.pxe_enabled);
    let fake = driver::is_fake(&node.settings.driver);
    let boot = match has_boot_port || fake {
        true => Ok(()),
        false => Err(format!(
            "Node {} has no port with pxe_enabled: create one with the MAC of its boot network card.",
            node.title()
        )),
    };
    let image = if fake { Ok(()) } else { crate::image::check_source(&view, &asked.caller, &node) };
    let deploy = image.and_then(|()| deploy_steps(&view, &node, &[]).map(|_| ()));
    let unmet = driver_info::unmet(&node.settings.driver, &node.settings.driver_info);
    let rows = Interface::ALL.into_iter().map(|interface| {
        let verdict = match interface {
            _ if node.settings.lacks(interface) => without(&node, interface),
            Interface::Management => managed(&node, bmc.clone()),
            Interface::Power => said(bmc.clone()),
            Interface::Bios | Interface::Firmware | Interface::Vendor if !fake => said(bmc.clone()),
            Interface::Boot | Interface::Inspect => said(boot.clone()),
            Interface::Deploy => said(deploy.clone()),
            Interface::Storage if !fake => said(boot_volume(&view, &node)),
            Interface::Network if !fake => super::vifs::verdict(&api, &view, &node),
            _ => json!({"result": true}),
        };
        (interface.name().to_owned(), with_unmet(verdict, interface, &unmet))
    });
    Ok(Json(Value::Object(rows.collect())))
}

/// The verdict with what `driver_info` asks of this interface in vain.
fn with_unmet(mut verdict: Value, interface: Interface, unmet: &[Unmet]) -> Value {
    let own: Vec<_> = unmet.iter().filter(|each| each.concerns(interface)).collect();
    if own.is_empty() {
        return verdict;
    }
    let said = verdict["reason"].as_str();
    let reasons: Vec<_> = said.into_iter().chain(own.iter().map(|each| each.reason.as_str())).collect();
    verdict["reason"] = reasons.join(" ").into();
    if verdict["result"] == true && own.iter().any(|each| each.fatal) {
        verdict["result"] = false.into();
    }
    verdict
}

fn said(result: Result<(), String>) -> Value {
    match result {
        Ok(()) => json!({"result": true}),
        Err(reason) => json!({"result": false, "reason": reason}),
    }
}

/// With what the driver's management cannot do at all, whatever its BMC: those calls are refused.
fn managed(node: &Node, bmc: Result<(), String>) -> Value {
    let lacking = driver::find(&node.settings.driver).and_then(driver::Driver::shortcomings);
    match (bmc, lacking) {
        (Ok(()), Some(reason)) => json!({"result": true, "reason": reason}),
        (bmc, _) => said(bmc),
    }
}

fn without(node: &Node, interface: Interface) -> Value {
    let reason = format!("The driver {} does not support {}.", node.settings.driver, interface.name());
    json!({"result": null, "reason": reason})
}

pub(super) async fn inventory(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    needs(asked.version, 81, "The inventory of a node")?;
    let (node, _) = asked.node(&api.engine.view(), &ident, "baremetal:node:inventory:get")?;
    let found = api.engine.store.inventory(node.id).await?;
    let found = found
        .ok_or_else(|| ApiError::not_found(format!("Node {} has no inventory yet: inspect it first.", node.title())))?;
    let inventory = found.get("inventory").cloned().unwrap_or_else(|| found.clone());
    let mut plugin_data = match found {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    plugin_data.remove("inventory");
    Ok(Json(json!({"inventory": inventory, "plugin_data": plugin_data})))
}

/// Before 1.37 there were no traits; what a path without them answered differs by method.
fn traits_are_in(asked: &Asked, otherwise: StatusCode) -> Result<(), ApiError> {
    needs(asked.version, 37, "Node traits").map_err(|error| ApiError { status: otherwise, ..error })
}

pub(super) async fn traits(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    traits_are_in(&asked, StatusCode::NOT_ACCEPTABLE)?;
    let (node, _) = asked.node(&api.engine.view(), &ident, "baremetal:node:traits:list")?;
    Ok(Json(json!({"traits": node.settings.traits})))
}

pub(super) async fn set_traits(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    body: Body,
) -> Result<StatusCode, ApiError> {
    traits_are_in(&asked, StatusCode::METHOD_NOT_ALLOWED)?;
    let (node, actor) = asked.node(&api.engine.view(), &ident, "baremetal:node:traits:set")?;
    let body = object(body)?;
    let names = body.get("traits").and_then(Value::as_array).filter(|_| body.len() == 1);
    let names = names.ok_or_else(|| ApiError::bad_request("The body must be {\"traits\": [..]}."))?;
    let names: Option<Vec<String>> = names.iter().map(|name| name.as_str().map(str::to_owned)).collect();
    let traits = names.ok_or_else(|| ApiError::bad_request("traits must be a list of strings."))?;
    api.submit(Command::SetTraits { node: node.id, traits }, actor).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn clear_traits(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
) -> Result<StatusCode, ApiError> {
    traits_are_in(&asked, StatusCode::NOT_FOUND)?;
    let (node, actor) = asked.node(&api.engine.view(), &ident, "baremetal:node:traits:delete")?;
    api.submit(Command::SetTraits { node: node.id, traits: Vec::new() }, actor).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn add_trait(
    State(api): State<Api>,
    asked: Asked,
    Path((ident, name)): Path<(String, String)>,
    body: Bytes,
) -> Result<Response, ApiError> {
    traits_are_in(&asked, StatusCode::METHOD_NOT_ALLOWED)?;
    let (node, actor) = asked.node(&api.engine.view(), &ident, "baremetal:node:traits:set")?;
    let nothing = body.is_empty() || serde_json::from_slice::<Value>(&body).is_ok_and(|body| is_nothing(&body));
    if !nothing {
        return Err(ApiError::bad_request("No body should be provided when adding a trait"));
    }
    let place = asked.place(&format!("nodes/{ident}/traits/{name}"));
    api.submit(Command::ChangeTrait { node: node.id, name, on: true }, actor).await?;
    Ok((StatusCode::NO_CONTENT, place).into_response())
}

fn is_nothing(body: &Value) -> bool {
    match body {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

pub(super) async fn remove_trait(
    State(api): State<Api>,
    asked: Asked,
    Path((ident, name)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    traits_are_in(&asked, StatusCode::NOT_FOUND)?;
    let (node, actor) = asked.node(&api.engine.view(), &ident, "baremetal:node:traits:delete")?;
    api.submit(Command::ChangeTrait { node: node.id, name, on: false }, actor).await?;
    Ok(StatusCode::NO_CONTENT)
}
