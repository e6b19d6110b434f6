//! Calls that are not a user's: other services' events, and those of ramdisks, which have a listener of their own.

use super::asked::{Asked, Body, object};
use super::version::needs;
use crate::error::ApiError;
use axum::http::StatusCode;
use serde_json::Value;

/// Ironic's kinds of events: what a network service says of its ports.
const EVENTS: [&str; 3] = ["network.bind_port", "network.unbind_port", "network.delete_port"];

/// Networks are the appliance's own: news of them are taken note of, and change nothing.
pub(super) async fn events(asked: Asked, body: Body) -> Result<StatusCode, ApiError> {
    needs(asked.version, 54, "Events")?;
    asked.caller.needs("baremetal:events:post", &())?;
    let body = object(body)?;
    let events = body.get("events").and_then(Value::as_array).filter(|_| body.len() == 1);
    for event in events.ok_or_else(|| ApiError::bad_request("events must be a list."))? {
        let name = event.get("event").and_then(Value::as_str).unwrap_or_default();
        if !EVENTS.contains(&name) {
            return Err(ApiError::bad_request(format!("Unknown event '{name}': events are {}.", EVENTS.join(", "))));
        }
        tracing::debug!(%event, "an event of another service");
    }
    Ok(StatusCode::NO_CONTENT)
}

fn elsewhere() -> ApiError {
    ApiError::bad_request("Ramdisks call the appliance on the provisioning network, with the secret of their boot.")
}

pub(super) async fn lookup(asked: Asked) -> Result<StatusCode, ApiError> {
    needs(asked.version, 22, "The lookup of a ramdisk")?;
    Err(elsewhere())
}

pub(super) async fn heartbeat(asked: Asked) -> Result<StatusCode, ApiError> {
    needs(asked.version, 22, "The heartbeat of a ramdisk")?;
    Err(elsewhere())
}
