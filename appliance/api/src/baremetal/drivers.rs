//! `/v1/drivers`, `/v1/conductors`: what this box can drive, and the box itself.

use super::asked::Asked;
use super::document::{links, time};
use super::query::{self, Parameters, flag_of};
use super::version::needs;
use crate::Api;
use crate::error::ApiError;
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use jiff::Timestamp;
use leasehold_domain::driver::{self, DRIVERS, Driver, Interface};
use leasehold_drivers::bmc::driver_info;
use leasehold_drivers::bmc::fake::Work;
use serde_json::{Map, Value, json};

/// The version from which an interface is shown.
fn since(interface: Interface) -> u16 {
    match interface {
        Interface::Storage => 33,
        Interface::Rescue => 38,
        Interface::Bios => 40,
        Interface::Firmware => 86,
        _ => 30,
    }
}

fn document(driver: &Driver, api: &Api, asked: &Asked, detail: bool) -> Map<String, Value> {
    let (base, name) = (&asked.base, driver.name);
    let mut document = Map::new();
    document.insert("name".into(), name.into());
    document.insert("hosts".into(), json!([*api.hostname]));
    document.insert("links".into(), links(base, &format!("drivers/{name}")));
    if asked.version.0 >= 14 {
        document.insert("properties".into(), links(base, &format!("drivers/{name}/properties")));
    }
    if asked.version.0 >= 30 {
        document.insert("type".into(), "dynamic".into());
        for interface in Interface::ALL.into_iter().filter(|each| detail && since(*each) <= asked.version.0) {
            let member = interface.member();
            document.insert(format!("default_{member}"), driver.default_of(interface).into());
            document.insert(format!("enabled_{member}s"), json!(driver.choices(interface)));
        }
    }
    document
}

/// The members that `fields=` names, from 1.77 on.
fn select(mut document: Map<String, Value>, parameters: &Parameters, asked: &Asked) -> Result<Value, ApiError> {
    let Some(names) = query::list_of(parameters, "fields") else { return Ok(Value::Object(document)) };
    asked.needs(77, "fields")?;
    query::all_known(&names, |name| document.contains_key(name))?;
    document.retain(|name, _| name == "links" || names.contains(name));
    Ok(Value::Object(document))
}

pub(super) async fn list(
    State(api): State<Api>,
    asked: Asked,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Value>, ApiError> {
    query::only(&parameters, &["type", "detail", "fields"])?;
    let detail = flag_of(&parameters, "detail")?;
    query::not_with_fields(&parameters, detail == Some(true))?;
    asked.caller.needs("baremetal:driver:get", &())?;
    if detail.is_some() || parameters.contains_key("type") {
        asked.needs(30, "type and detail of drivers")?;
    }
    let classic = match parameters.get("type").map(String::as_str) {
        None | Some("dynamic") => false,
        Some("classic") => true,
        Some(_) => {
            return Err(ApiError::bad_request(
                "\"type\" filter must be one of \"classic\" or \"dynamic\", if specified.",
            ));
        }
    };
    let drivers = DRIVERS.iter().filter(|_| !classic);
    let rows =
        drivers.map(|driver| select(document(driver, &api, &asked, detail.unwrap_or(false)), &parameters, &asked));
    Ok(Json(json!({"drivers": rows.collect::<Result<Vec<_>, _>>()?})))
}

fn known(name: &str) -> Result<&'static Driver, ApiError> {
    driver::find(name).ok_or_else(|| ApiError::not_found(format!("Could not find the following driver(s): {name}.")))
}

pub(super) async fn show(
    State(api): State<Api>,
    asked: Asked,
    Path(name): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Value>, ApiError> {
    asked.caller.needs("baremetal:driver:get", &())?;
    query::only(&parameters, &["fields"])?;
    select(document(known(&name)?, &api, &asked, true), &parameters, &asked).map(Json)
}

/// What `driver_info` takes, for people.
pub(super) async fn properties(asked: Asked, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    asked.caller.needs("baremetal:driver:get_properties", &())?;
    let known = driver_info::of(known(&name)?.name);
    let mut map: Map<String, Value> = known.map(|each| (each.name.to_owned(), each.told().into())).collect();
    if driver::is_fake(&name) {
        for work in Work::ALL.map(Work::name) {
            map.insert(format!("fake_{work}_delay"), format!("Seconds that the {work} takes. Optional.").into());
            map.insert(format!("fake_{work}_fail"), format!("Why the {work} fails. Optional: it does not.").into());
        }
    }
    Ok(Json(Value::Object(map)))
}

/// What a RAID configuration may say of a logical disk.
pub(super) async fn raid_properties(asked: Asked, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    asked.caller.needs("baremetal:driver:get_raid_logical_disk_properties", &())?;
    asked.needs(12, "RAID")?;
    let driver = known(&name)?;
    if driver.default_of(Interface::Raid) == "no-raid" {
        return Err(ApiError::not_found(format!("Driver {name} does not support raid.")));
    }
    Ok(Json(json!({
        "raid_level": "RAID level of the logical disk: JBOD, 0, 1, 2, 5, 6, 1+0, 5+0 or 6+0. Required.",
        "size_gb": "Size in GiB, or MAX for all that is left. Required.",
    })))
}

/// Methods that a driver has beside Ironic's own: none.
pub(super) async fn vendor_methods(asked: Asked, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    asked.caller.needs("baremetal:driver:vendor_passthru", &())?;
    known(&name)?;
    Ok(Json(json!({})))
}

/// A call of one of them.
pub(super) async fn vendor_call(asked: Asked, Path(name): Path<String>) -> Result<StatusCode, ApiError> {
    asked.caller.needs("baremetal:driver:vendor_passthru", &())?;
    known(&name)?;
    Err(ApiError::bad_request(format!("The driver {name} has no vendor methods.")))
}

const CONDUCTOR_FIELDS: [&str; 7] =
    ["hostname", "conductor_group", "drivers", "alive", "created_at", "updated_at", "links"];

fn conductor_document(api: &Api, asked: &Asked, fields: &[String]) -> Value {
    let host = &api.hostname;
    let mut document = json!({
        "hostname": **host,
        "conductor_group": "",
        "alive": true,
        "drivers": DRIVERS.iter().map(|driver| driver.name).collect::<Vec<_>>(),
        "links": links(&asked.base, &format!("conductors/{host}")),
        "created_at": time(api.started),
        "updated_at": time(Timestamp::now()),
    });
    if let Value::Object(members) = &mut document {
        members.retain(|name, _| name == "links" || fields.iter().any(|field| field == name));
    }
    document
}

fn conductor_fields(parameters: &Parameters, asked: &Asked, detail: bool) -> Result<Vec<String>, ApiError> {
    let names = query::names(parameters, asked.version)?;
    query::all_known(names.iter().flatten(), |name| CONDUCTOR_FIELDS.contains(&name))?;
    let default: &[&str] = if detail { &CONDUCTOR_FIELDS } else { &["hostname", "conductor_group", "alive"] };
    Ok(names.unwrap_or_else(|| default.iter().map(|name| (*name).to_owned()).collect()))
}

pub(super) async fn conductors(
    State(api): State<Api>,
    asked: Asked,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Value>, ApiError> {
    needs(asked.version, 49, "The list of conductors")?;
    asked.caller.needs("baremetal:conductor:get", &())?;
    query::only(&parameters, &["detail", "fields", "limit", "marker", "sort_key", "sort_dir"])?;
    query::limit(&parameters, asked.page_rows)?;
    query::order(&parameters, |key| match key {
        "hostname" | "conductor_group" | "created_at" | "updated_at" => Ok(()),
        _ => Err(query::bad_sort_key(key)),
    })?;
    let fields = conductor_fields(&parameters, &asked, query::detail(&parameters, asked.version)?)?;
    // After the only one there is none.
    let rows = match parameters.get("marker") {
        None => vec![conductor_document(&api, &asked, &fields)],
        Some(marker) if **marker == *api.hostname => Vec::new(),
        Some(marker) => return Err(no_conductor(marker)),
    };
    Ok(Json(json!({"conductors": rows})))
}

fn no_conductor(name: &str) -> ApiError {
    ApiError::not_found(format!("Conductor {name} could not be found."))
}

pub(super) async fn conductor(
    State(api): State<Api>,
    asked: Asked,
    Path(name): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Value>, ApiError> {
    needs(asked.version, 49, "A conductor")?;
    asked.caller.needs("baremetal:conductor:get", &())?;
    query::only(&parameters, &["fields"])?;
    let fields = conductor_fields(&parameters, &asked, true)?;
    if name != *api.hostname {
        return Err(no_conductor(&name));
    }
    Ok(Json(conductor_document(&api, &asked, &fields)))
}
