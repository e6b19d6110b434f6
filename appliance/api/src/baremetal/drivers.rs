//! `/v1/drivers` and `/v1/conductors`: what this box can drive, and the box itself.

use super::asked::Asked;
use super::document::time;
use super::fields::{INTERFACES, interface};
use super::query::{Parameters, flag};
use super::version::needs;
use crate::Api;
use crate::error::ApiError;
use axum::Json;
use axum::extract::{Path, Query, State};
use jiff::Timestamp;
use leasehold_engine::bmcs::DRIVERS;
use serde_json::{Map, Value, json};

fn document(name: &str, api: &Api, asked: &Asked, detail: bool) -> Value {
    let base = &asked.base;
    let mut document = json!({
        "name": name,
        "hosts": [*api.hostname],
        "links": [
            {"href": format!("{base}/v1/drivers/{name}"), "rel": "self"},
            {"href": format!("{base}/drivers/{name}"), "rel": "bookmark"},
        ],
        "properties": [
            {"href": format!("{base}/v1/drivers/{name}/properties"), "rel": "self"},
            {"href": format!("{base}/drivers/{name}/properties"), "rel": "bookmark"},
        ],
    });
    if asked.version.0 >= 30 {
        document["type"] = "dynamic".into();
        if detail {
            for member in
                INTERFACES.iter().map(|(member, _)| *member).chain(["management_interface", "power_interface"])
            {
                let Some(value) = interface(member, name) else { continue };
                document[format!("default_{member}")] = value.clone().into();
                document[format!("enabled_{member}s")] = json!([value]);
            }
        }
    }
    document
}

pub(super) async fn list(
    State(api): State<Api>,
    asked: Asked,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Value>, ApiError> {
    let detail = parameters.get("detail").map(|text| flag("detail", text)).transpose()?.unwrap_or(false);
    let classic = parameters.get("type").is_some_and(|kind| kind == "classic");
    let rows: Vec<Value> = match classic {
        true => Vec::new(),
        false => DRIVERS.iter().map(|name| document(name, &api, &asked, detail)).collect(),
    };
    Ok(Json(json!({"drivers": rows})))
}

fn known(name: &str) -> Result<(), ApiError> {
    let found = DRIVERS.contains(&name);
    found.then_some(()).ok_or_else(|| ApiError::not_found(format!("Could not find the following driver(s): {name}.")))
}

pub(super) async fn show(
    State(api): State<Api>,
    asked: Asked,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    known(&name)?;
    Ok(Json(document(&name, &api, &asked, true)))
}

/// What `driver_info` takes, for people.
pub(super) async fn properties(Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    known(&name)?;
    let entries: &[(&str, &str)] = match name.as_str() {
        "ipmi" => &[
            ("ipmi_address", "IP address or hostname of the BMC. Required."),
            ("ipmi_port", "UDP port of the BMC. Optional, default 623."),
            ("ipmi_username", "User name. Required."),
            ("ipmi_password", "Password. Required; sealed at rest and never shown."),
            ("ipmi_cipher_suite", "17 or 3. Optional: the best that the BMC offers."),
        ],
        _ => &[
            ("redfish_address", "URL or address of the BMC; https unless it says http. Required."),
            ("redfish_system_id", "Path of the system where a BMC has several. Optional."),
            ("redfish_username", "User name. Required."),
            ("redfish_password", "Password. Required; sealed at rest and never shown."),
            ("redfish_verify_ca", "Path of a CA bundle; else the certificate seen at enrolment is pinned. Optional."),
        ],
    };
    let map: Map<String, Value> = entries.iter().map(|(key, text)| ((*key).to_owned(), (*text).into())).collect();
    Ok(Json(Value::Object(map)))
}

fn conductor_document(api: &Api, asked: &Asked, detail: bool) -> Value {
    let base = &asked.base;
    let host = &api.hostname;
    let mut document = json!({
        "hostname": **host,
        "conductor_group": "",
        "alive": true,
        "links": [
            {"href": format!("{base}/v1/conductors/{host}"), "rel": "self"},
            {"href": format!("{base}/conductors/{host}"), "rel": "bookmark"},
        ],
        "created_at": time(api.started),
        "updated_at": time(Timestamp::now()),
    });
    if detail {
        document["drivers"] = json!(DRIVERS);
    }
    document
}

pub(super) async fn conductors(
    State(api): State<Api>,
    asked: Asked,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Value>, ApiError> {
    needs(asked.version, 49, "The list of conductors")?;
    let detail = parameters.get("detail").map(|text| flag("detail", text)).transpose()?.unwrap_or(false);
    Ok(Json(json!({"conductors": [conductor_document(&api, &asked, detail)]})))
}

pub(super) async fn conductor(
    State(api): State<Api>,
    asked: Asked,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    needs(asked.version, 49, "A conductor")?;
    if name != *api.hostname {
        return Err(ApiError::not_found(format!("Conductor {name} could not be found.")));
    }
    Ok(Json(conductor_document(&api, &asked, true)))
}
