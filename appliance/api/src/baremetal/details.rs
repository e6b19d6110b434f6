//! What a node has beside its document: validation, inventory, VIFs, history, traits.

use super::asked::{Asked, Body, find, object};
use super::document::time;
use super::version::needs;
use crate::Api;
use crate::auth::Caller;
use crate::error::ApiError;
use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use leasehold_domain::command::Command;
use leasehold_domain::image::wanted_image;
use serde_json::{Map, Value, json};

/// What each interface needs, and whether it is there (`baremetal node validate`).
pub(super) async fn validate(
    State(api): State<Api>,
    Extension(_): Extension<Caller>,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let view = api.engine.view();
    let node = find(&view, &ident)?;
    let verdict = |result: Result<(), String>| match result {
        Ok(()) => json!({"result": true}),
        Err(reason) => json!({"result": false, "reason": reason}),
    };
    let bmc = api.engine.bmcs.validate(node).map_err(|error| error.to_string());
    let boot_port = view.ports_of(node.id).any(|port| port.settings.pxe_enabled);
    let boot = if boot_port {
        Ok(())
    } else {
        Err(format!(
            "Node {} has no port with pxe_enabled: create one with the MAC of its boot network card.",
            node.title()
        ))
    };
    let deploy = wanted_image(node).map(|_| ());
    let unsupported = |what: &str| json!({"result": null, "reason": format!("The driver {} does not support {what}.", node.settings.driver)});
    Ok(Json(json!({
        "power": verdict(bmc.clone()),
        "management": verdict(bmc),
        "boot": verdict(boot.clone()),
        "inspect": verdict(boot),
        "deploy": verdict(deploy),
        "network": {"result": true},
        "storage": {"result": true},
        "bios": unsupported("BIOS settings"),
        "console": unsupported("consoles"),
        "firmware": unsupported("firmware updates"),
        "raid": unsupported("RAID"),
        "rescue": unsupported("rescue"),
    })))
}

pub(super) async fn inventory(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    needs(asked.version, 81, "The inventory of a node")?;
    let node = find(&api.engine.view(), &ident)?.clone();
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

/// Attachments to tenant networks: none are made by this appliance yet, so none exist.
pub(super) async fn no_vifs(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    needs(asked.version, 28, "The list of VIFs")?;
    find(&api.engine.view(), &ident)?;
    Ok(Json(json!({"vifs": []})))
}

/// What went wrong and what was done: the ends of the node's jobs.
pub(super) async fn history(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    needs(asked.version, 78, "The history of a node")?;
    let node = find(&api.engine.view(), &ident)?.clone();
    let jobs = api.engine.store.jobs_of(node.id, 100).await?;
    let rows: Vec<Value> = jobs
        .iter()
        .filter_map(|job| {
            let reason = match &job.state {
                leasehold_domain::job::JobState::Failed(reason) => Some(reason.clone()),
                leasehold_domain::job::JobState::Superseded(reason) => Some(format!("superseded: {reason}")),
                _ => None,
            }?;
            Some(json!({
                "uuid": job.id, "created_at": job.ended_at.map(time), "severity": "ERROR", "event_type": job.kind,
                "event": reason, "conductor": *api.hostname, "user": job.actor,
            }))
        })
        .collect();
    Ok(Json(json!({"history": rows})))
}

pub(super) async fn traits(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    needs(asked.version, 37, "Node traits")?;
    let view = api.engine.view();
    Ok(Json(json!({"traits": find(&view, &ident)?.settings.traits})))
}

async fn give(api: &Api, asked: &Asked, command: Command) -> Result<StatusCode, ApiError> {
    api.submit(command, asked.caller.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn set_traits(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    body: Body,
) -> Result<StatusCode, ApiError> {
    needs(asked.version, 37, "Node traits")?;
    let body = object(body)?;
    let names =
        body.get("traits").and_then(Value::as_array).ok_or_else(|| ApiError::bad_request("traits must be a list."))?;
    let names: Option<Vec<String>> = names.iter().map(|name| name.as_str().map(str::to_owned)).collect();
    let names = names.ok_or_else(|| ApiError::bad_request("traits must be a list of strings."))?;
    let node = find(&api.engine.view(), &ident)?.id;
    give(&api, &asked, Command::SetTraits { node, traits: names }).await
}

pub(super) async fn clear_traits(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
) -> Result<StatusCode, ApiError> {
    needs(asked.version, 37, "Node traits")?;
    let node = find(&api.engine.view(), &ident)?.id;
    give(&api, &asked, Command::SetTraits { node, traits: Vec::new() }).await
}

pub(super) async fn add_trait(
    State(api): State<Api>,
    asked: Asked,
    Path((ident, name)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    needs(asked.version, 37, "Node traits")?;
    let node = find(&api.engine.view(), &ident)?.id;
    give(&api, &asked, Command::ChangeTrait { node, name, on: true }).await
}

pub(super) async fn remove_trait(
    State(api): State<Api>,
    asked: Asked,
    Path((ident, name)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    needs(asked.version, 37, "Node traits")?;
    let node = find(&api.engine.view(), &ident)?.id;
    give(&api, &asked, Command::ChangeTrait { node, name, on: false }).await
}
