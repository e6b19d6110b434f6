//! BIOS settings and firmware versions, as the node's BMC tells them now.
//!
//! Ironic keeps what it read at the last inspection or cleaning. Here the BMC is asked each time: what is shown is what
//! is in force. Where a BMC has none, or the driver reads none, the list is empty, as in Ironic.

use super::asked::Asked;
use super::document::{links, time};
use super::management::{bmc_error, bmc_of};
use super::query::{self, Parameters, flag_of, list_of};
use super::version::needs;
use crate::Api;
use crate::error::ApiError;
use axum::Json;
use axum::extract::{Path, Query, State};
use jiff::Timestamp;
use leasehold_domain::driver::Interface;
use leasehold_domain::node::Node;
use leasehold_drivers::bmc::BmcError;
use leasehold_drivers::bmc::features::{BiosSetting, FirmwareComponent};
use serde_json::{Map, Value, json};

/// From this version on a setting comes with what its registry says.
const REGISTRY: u16 = 74;
const PLAIN: [&str; 2] = ["name", "value"];

/// Whether this interface of the node asks a BMC.
fn is_asked(node: &Node, interface: Interface) -> bool {
    node.settings.interface(interface) == "redfish"
}

/// Nothing, where the BMC has nothing to tell.
fn told<T>(answer: Result<Vec<T>, BmcError>) -> Result<Vec<T>, ApiError> {
    match answer {
        Err(BmcError::Unsupported { .. }) => Ok(Vec::new()),
        answer => answer.map_err(bmc_error),
    }
}

async fn settings(api: &Api, node: &Node) -> Result<Vec<BiosSetting>, ApiError> {
    match is_asked(node, Interface::Bios) {
        true => told(bmc_of(api, node)?.bios_settings().await),
        false => Ok(Vec::new()),
    }
}

/// All that is known of a setting.
fn members(setting: &BiosSetting) -> Map<String, Value> {
    let all = json!({
        "name": setting.name,
        "value": setting.value,
        "attribute_type": setting.kind,
        "allowable_values": setting.allowed,
        "lower_bound": setting.lower_bound,
        "upper_bound": setting.upper_bound,
        "min_length": setting.min_length,
        "max_length": setting.max_length,
        "read_only": setting.read_only,
        "reset_required": setting.reset_required,
        "unique": setting.unique,
    });
    match all {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// The chosen members of a setting, and those that are always there. It was read now, and is as old as that.
fn setting_document(asked: &Asked, ident: &str, setting: &BiosSetting, chosen: impl Fn(&str) -> bool) -> Value {
    let mut map = members(setting);
    map.retain(|name, _| chosen(name));
    map.insert("links".into(), links(&asked.base, &format!("nodes/{ident}/bios/{}", setting.name)));
    map.insert("created_at".into(), time(Timestamp::now()));
    map.insert("updated_at".into(), Value::Null);
    Value::Object(map)
}

const ALWAYS: [&str; 3] = ["created_at", "updated_at", "links"];

pub(super) async fn list(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Value>, ApiError> {
    needs(asked.version, 40, "The BIOS settings of a node")?;
    let (node, _) = asked.node(&api.engine.view(), &ident, "baremetal:node:bios:get")?;
    query::only(&parameters, if asked.version.0 >= REGISTRY { &["detail", "fields"] } else { &[] })?;
    let detail = flag_of(&parameters, "detail")? == Some(true);
    query::not_with_fields(&parameters, detail)?;
    let all = members(&BiosSetting::default());
    let fields = list_of(&parameters, "fields");
    query::all_known(fields.iter().flatten(), |name| all.contains_key(name) || ALWAYS.contains(&name))?;
    let chosen = |name: &str| match &fields {
        _ if detail => true,
        Some(names) => names.iter().any(|field| field == name),
        None => PLAIN.contains(&name),
    };
    let found = settings(&api, &node).await?;
    let rows: Vec<_> = found.iter().map(|setting| setting_document(&asked, &ident, setting, chosen)).collect();
    Ok(Json(json!({"bios": rows})))
}

pub(super) async fn show(
    State(api): State<Api>,
    asked: Asked,
    Path((ident, name)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    needs(asked.version, 40, "The BIOS settings of a node")?;
    let (node, _) = asked.node(&api.engine.view(), &ident, "baremetal:node:bios:get")?;
    let found = settings(&api, &node).await?;
    let missing = || ApiError::not_found(format!("Node {} doesn't have a BIOS setting '{name}'", node.id));
    let setting = found.iter().find(|setting| setting.name == name).ok_or_else(missing)?;
    let whole = asked.version.0 >= REGISTRY;
    let document = setting_document(&asked, &ident, setting, |member| whole || PLAIN.contains(&member));
    Ok(Json(json!({ name: document })))
}

/// From this version on a component says who made it.
const IDENTITY_SINCE: u16 = 114;
const IDENTITY: [&str; 3] = ["vendor", "model", "serial_number"];

/// All that is known of a component. Nobody keeps what ran before: that stays unknown.
fn component(found: &FirmwareComponent) -> Map<String, Value> {
    let all = json!({
        "component": found.component,
        "initial_version": null,
        "current_version": found.version,
        "last_version_flashed": null,
        "vendor": found.vendor,
        "model": found.model,
        "serial_number": found.serial_number,
        "created_at": time(Timestamp::now()),
        "updated_at": null,
    });
    match all {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

pub(super) async fn firmware(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Value>, ApiError> {
    needs(asked.version, 86, "The firmware of a node")?;
    let (node, _) = asked.node(&api.engine.view(), &ident, "baremetal:node:firmware:get")?;
    query::only(&parameters, &["detail", "fields"])?;
    let known = component(&FirmwareComponent::default());
    let fields = list_of(&parameters, "fields");
    query::all_known(fields.iter().flatten(), |name| known.contains_key(name))?;
    let hidden = |name: &str| asked.version.0 < IDENTITY_SINCE && IDENTITY.contains(&name);
    if let Some(name) = fields.iter().flatten().find(|name| hidden(name)) {
        return Err(ApiError::bad_request(format!("Field {name} requires at least API version 1.{IDENTITY_SINCE}.")));
    }
    let chosen = |name: &str| match &fields {
        Some(names) => names.iter().any(|field| field == name) || ALWAYS.contains(&name),
        None => !hidden(name),
    };
    let found = match is_asked(&node, Interface::Firmware) {
        true => told(bmc_of(&api, &node)?.firmware().await)?,
        false => Vec::new(),
    };
    let rows: Vec<Map<_, _>> =
        found.iter().map(|found| component(found).into_iter().filter(|(name, _)| chosen(name)).collect()).collect();
    Ok(Json(json!({"firmware": rows})))
}
