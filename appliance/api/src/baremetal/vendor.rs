//! `vendor_passthru`: calls that one driver has beside Ironic's own, under the names that Ironic's drivers give them.

use super::asked::{Asked, Body};
use super::management::{bmc_error, bmc_to_change, note};
use super::nodes::wanted;
use super::query::{Parameters, flag};
use super::states::unsupported;
use crate::Api;
use crate::error::ApiError;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{Method as Http, StatusCode};
use leasehold_domain::driver::Interface;
use leasehold_domain::node::Node;
use leasehold_drivers::bmc::features::{RawRequest, VendorCall};
use serde_json::{Map, Value, json};

/// A method. All are called by POST and answer 202, as in Ironic; here the work is done by then.
#[derive(Debug)]
struct Method {
    name: &'static str,
    description: &'static str,
}

const SEND_RAW: &str = "send_raw";
const BMC_RESET: &str = "bmc_reset";
const EJECT_VMEDIA: &str = "eject_vmedia";

const IPMI: [Method; 2] = [
    Method {
        name: SEND_RAW,
        description: "Send raw bytes to the BMC. Required argument: 'raw_bytes' - a string of raw bytes, network \
                      function and command first (e.g. '0x06 0x01').",
    },
    Method {
        name: BMC_RESET,
        description: "Reset the BMC. Optional argument: 'warm' (Boolean) - for warm (True, the default) or cold (False) \
                      reset.",
    },
];

const REDFISH: [Method; 1] = [Method {
    name: EJECT_VMEDIA,
    description: "Eject a virtual media device. If no device is provided then all attached devices will be ejected. \
                  Optional argument: 'boot_device' - either 'cd', 'dvd', 'usb', or 'floppy'.",
}];

fn methods_of(node: &Node) -> &'static [Method] {
    match node.settings.interface(Interface::Vendor) {
        "ipmitool" => &IPMI,
        "redfish" => &REDFISH,
        _ => &[],
    }
}

pub(super) async fn methods(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let (node, _) = asked.node(&api.engine.view(), &ident, "baremetal:node:vendor_passthru")?;
    let about = |method: &Method| {
        json!({
            "http_methods": ["POST"], "async": true, "attach": false, "require_exclusive_lock": true,
            "description": method.description,
        })
    };
    let all: Map<_, _> = methods_of(&node).iter().map(|method| (method.name.to_owned(), about(method))).collect();
    Ok(Json(Value::Object(all)))
}

/// `vendor_passthru?method=NAME`
pub(super) async fn call(
    state: State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    Query(parameters): Query<Parameters>,
    http: Http,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    let name = parameters.get("method").cloned().unwrap_or_default();
    named_call(state, asked, Path((ident, name)), http, body).await
}

/// `vendor_passthru/NAME`
pub(super) async fn named_call(
    State(api): State<Api>,
    asked: Asked,
    Path((ident, name)): Path<(String, String)>,
    http: Http,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    let (node, actor) = asked.node(&api.engine.view(), &ident, "baremetal:node:vendor_passthru")?;
    if node.settings.lacks(Interface::Vendor) {
        return Err(unsupported(&node, "vendor methods"));
    }
    if name.is_empty() {
        return Err(ApiError::bad_request("Method not specified"));
    }
    let methods = methods_of(&node);
    if !methods.iter().any(|method| method.name == name) {
        let known: Vec<_> = methods.iter().map(|method| method.name).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(ApiError::bad_request(format!("No handler for method {name}; methods of this node: {known}.")));
    }
    if http != Http::POST {
        return Err(ApiError::bad_request(format!("The method {name} does not support HTTP {http}: use POST.")));
    }
    let given = match body.is_empty() {
        true => Ok(Json(json!({}))),
        false => Json::from_bytes(&body),
    };
    let call = read(&name, given)?;
    let told = match &call {
        // The bytes may be a password that is set.
        VendorCall::SendRaw(_) => SEND_RAW.to_owned(),
        VendorCall::ResetBmc { warm } => format!("{BMC_RESET} {}", if *warm { "warm" } else { "cold" }),
        VendorCall::EjectMedia { kind } => format!("{EJECT_VMEDIA} {}", kind.as_deref().unwrap_or("all")),
    };
    bmc_to_change(&api, &node).await?.vendor(call).await.map_err(bmc_error)?;
    note(&api, &node, actor, told).await?;
    Ok(StatusCode::ACCEPTED)
}

/// What is to be done, from the arguments.
fn read(name: &str, body: Body) -> Result<VendorCall, ApiError> {
    match name {
        SEND_RAW => {
            let body = wanted(body, &["raw_bytes"])?;
            let text = body.get("raw_bytes").and_then(Value::as_str).filter(|text| !text.trim().is_empty());
            let missing = || ApiError::bad_request("Parameter raw_bytes (string of bytes) was not specified.");
            let request = RawRequest::read(text.ok_or_else(missing)?);
            request.map(VendorCall::SendRaw).map_err(|why| ApiError::bad_request(format!("raw_bytes: {why}.")))
        }
        BMC_RESET => {
            let body = wanted(body, &["warm"])?;
            let warm = match body.get("warm") {
                None | Some(Value::Null) => true,
                Some(Value::Bool(warm)) => *warm,
                Some(Value::String(text)) => flag("warm", text)?,
                Some(_) => return Err(ApiError::bad_request("warm must be true or false.")),
            };
            Ok(VendorCall::ResetBmc { warm })
        }
        _ => {
            const KINDS: [&str; 4] = ["cd", "dvd", "usb", "floppy"];
            let body = wanted(body, &["boot_device"])?;
            let kind = match body.get("boot_device") {
                None | Some(Value::Null) => None,
                Some(Value::String(kind)) if KINDS.contains(&kind.as_str()) => Some(kind.clone()),
                Some(other) => {
                    let kinds = KINDS.join(", ");
                    return Err(ApiError::bad_request(format!("Boot device {other} is not a valid value: {kinds}.")));
                }
            };
            Ok(VendorCall::EjectMedia { kind })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(name: &str, body: Value) -> Result<VendorCall, u16> {
        read(name, Ok(Json(body))).map_err(|error| error.status.as_u16())
    }

    #[test]
    fn arguments_are_read_as_ironics_drivers_take_them() {
        assert_eq!(reading(BMC_RESET, json!({})), Ok(VendorCall::ResetBmc { warm: true }));
        assert_eq!(reading(BMC_RESET, json!({"warm": "False"})), Ok(VendorCall::ResetBmc { warm: false }));
        assert_eq!(reading(EJECT_VMEDIA, json!({})), Ok(VendorCall::EjectMedia { kind: None }));
        assert_eq!(
            reading(EJECT_VMEDIA, json!({"boot_device": "cd"})),
            Ok(VendorCall::EjectMedia { kind: Some("cd".into()) })
        );
        assert!(matches!(reading(SEND_RAW, json!({"raw_bytes": "0x06 0x01"})), Ok(VendorCall::SendRaw(_))));
    }

    #[test]
    fn other_arguments_are_refused() {
        for (name, body) in [
            (BMC_RESET, json!({"warm": 7})),
            (BMC_RESET, json!({"warm": "perhaps"})),
            (BMC_RESET, json!({"cold": true})),
            (BMC_RESET, json!([])),
            (EJECT_VMEDIA, json!({"boot_device": "tape"})),
            (EJECT_VMEDIA, json!({"boot_device": 1})),
            (SEND_RAW, json!({})),
            (SEND_RAW, json!({"raw_bytes": " "})),
            (SEND_RAW, json!({"raw_bytes": "0x06"})),
            (SEND_RAW, json!({"raw_bytes": [6, 1]})),
            (SEND_RAW, json!({"raw_bytes": "6 1", "more": 1})),
        ] {
            assert_eq!(reading(name, body.clone()), Err(400), "{name} {body}");
        }
    }
}
