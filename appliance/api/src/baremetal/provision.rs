//! `states/provision`: verbs, what comes with each, and from which version on.
//!
//! Ironic's order: is the node there, may the caller, does the version know the verb, does the state allow it, is what
//! comes with it in order. The state is decided in the domain; what comes with the verb is read here.

use super::asked::{Asked, Body, settle};
use super::nodes::wanted;
use super::states::accepted;
use super::steps::{self, List};
use super::version::{Version, not_acceptable};
use crate::Api;
use crate::error::ApiError;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use leasehold_domain::command::Command;
use leasehold_domain::driver;
use leasehold_domain::id::JobId;
use leasehold_domain::job::JobInput;
use leasehold_domain::node::{Node, Sealed};
use leasehold_domain::provision::{ProvisionState, Verb};
use leasehold_engine::config_drive;
use leasehold_engine::rescue::{RescuePasswordError, keep_password};
use serde_json::{Map, Value};
use std::sync::Arc;
use uuid::Uuid;

const ARGUMENTS: [&str; 8] = [
    "target",
    "configdrive",
    "clean_steps",
    "deploy_steps",
    "service_steps",
    "rescue_password",
    "disable_ramdisk",
    "runbook",
];

/// The version from which Ironic takes a verb, by the name that is used for it.
fn since(name: &str) -> u16 {
    match name {
        "manage" | "provide" => 4,
        "inspect" => 6,
        "abort" => 13,
        "clean" => 15,
        "adopt" => 17,
        "rescue" | "unrescue" => 38,
        "deploy" | "undeploy" => 73,
        "unhold" => 85,
        "service" => 87,
        _ => 1,
    }
}

/// An abort has come to one state after the other.
fn check_abort(state: ProvisionState, version: Version) -> Result<(), ApiError> {
    let since = match state {
        ProvisionState::InspectWait => 41,
        ProvisionState::DeployWait => 110,
        _ => return Ok(()),
    };
    match version.0 >= since {
        true => Ok(()),
        false => Err(not_acceptable(version, since, &format!("The abort of \"{}\"", state.name()))),
    }
}

pub(super) async fn provision(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    body: Body,
) -> Result<Response, ApiError> {
    let view = api.engine.view();
    let (node, mut actor) = asked.node(&view, &ident, "baremetal:node:set_provision_state")?;
    let body = wanted(body, &ARGUMENTS)?;
    let target = body.get("target").and_then(Value::as_str).unwrap_or_default();
    let verb = Verb::from_name(target).ok_or_else(|| {
        let names: Vec<_> = Verb::ALL.iter().map(|verb| verb.name()).collect();
        ApiError::bad_request(format!("'{target}' is not a provision target; use one of: {}.", names.join(", ")))
    })?;
    asked.needs(since(target), &format!("'{target}'"))?;
    for (name, rule) in [
        ("clean_steps", "baremetal:node:set_provision_state:clean_steps"),
        ("service_steps", "baremetal:node:set_provision_state:service_steps"),
    ] {
        if is_given(&body, name) && !is_given(&body, "runbook") {
            actor = asked.caller.may(rule, &node, &ident)?;
        }
    }
    if verb == Verb::Abort {
        check_abort(node.provision_state, asked.version)?;
    }
    // Words about what came with a verb are of no use where the verb itself is not possible.
    let job = JobId(Uuid::new_v4());
    check_state(&api, &node, verb, job)?;
    let input = Box::new(job_input(&api, &asked, &node, verb, job, &body).await?);
    let actor = crate::image::may_deploy(&view, &asked.caller, &node, verb, actor)?;
    settle(&api, node.id).await;
    api.submit(Command::Provision { node: node.id, verb, job, input }, actor).await?;
    Ok(accepted(&asked, &ident, "states"))
}

fn is_given(body: &Map<String, Value>, name: &str) -> bool {
    body.get(name).is_some_and(|value| !value.is_null())
}

/// The refusal of a state that does not allow the verb, before what comes with it is read.
fn check_state(api: &Api, node: &Node, verb: Verb, job: JobId) -> Result<(), ApiError> {
    use leasehold_domain::provision::{Event, step};
    if step(node.standing(), Event::Asked(verb)).is_ok() {
        return Ok(());
    }
    // The decision finds the words.
    let context =
        leasehold_domain::Context { actor: leasehold_domain::Actor::System("api"), now: jiff::Timestamp::now() };
    let command = Command::Provision { node: node.id, verb, job, input: Box::default() };
    match leasehold_domain::decide(&api.engine.view(), &command, &context) {
        Ok(_) => Ok(()),
        Err(refusal) => Err(refusal.into()),
    }
}

/// Reads what comes with a verb; what does not belong to it is refused.
async fn job_input(
    api: &Api,
    asked: &Asked,
    node: &Arc<Node>,
    verb: Verb,
    job: JobId,
    body: &Map<String, Value>,
) -> Result<JobInput, ApiError> {
    let mut input = JobInput { rebuild: verb == Verb::Rebuild, ..JobInput::default() };
    for (name, value) in body.iter().filter(|(_, value)| !value.is_null()) {
        match (name.as_str(), verb) {
            ("target", _) => {}
            ("configdrive", Verb::Deploy | Verb::Rebuild) => {
                input.config_drive = Some(packed_drive(asked.version, node, verb, value).await?);
            }
            ("clean_steps", Verb::Clean) => input.clean_steps = steps::read(List::Clean, value, node)?,
            ("service_steps", Verb::Service) => input.service_steps = steps::read(List::Service, value, node)?,
            ("deploy_steps", Verb::Deploy | Verb::Rebuild) => {
                asked.needs(69, "deploy_steps")?;
                input.deploy_steps = steps::read(List::Deploy, value, node)?;
            }
            ("disable_ramdisk", Verb::Clean) => no_ramdisk(asked, 70, node, value)?,
            ("disable_ramdisk", Verb::Service) => no_ramdisk(asked, 108, node, value)?,
            ("rescue_password", Verb::Rescue) => {
                input.rescue_password = Some(kept_password(api, job, value).await?);
            }
            ("runbook", Verb::Clean | Verb::Service) => {}
            _ => {
                return Err(ApiError::bad_request(format!(
                    "\"{name}\" is not valid when setting target provision state to {}.",
                    verb.name()
                )));
            }
        }
    }
    if is_given(body, "runbook") {
        steps::from_runbook(api, asked, node, verb, body, &mut input)?;
    }
    let missing = match verb {
        Verb::Clean if input.clean_steps.is_empty() => "clean_steps",
        Verb::Service if input.service_steps.is_empty() => "service_steps",
        Verb::Rescue if input.rescue_password.is_none() => "rescue_password",
        _ => return Ok(input),
    };
    Err(ApiError::bad_request(format!(
        "A non-empty \"{missing}\" is required when setting target provision state to {}.",
        verb.name()
    )))
}

/// The password of a rescue, hashed and sealed: from here on nobody knows it.
async fn kept_password(api: &Api, job: JobId, value: &Value) -> Result<Sealed, ApiError> {
    let password = value.as_str().unwrap_or_default().to_owned();
    let sealer = api.engine.sealer.clone();
    let kept = tokio::task::spawn_blocking(move || keep_password(&sealer, job, &password)).await;
    let broken = |error: String| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error);
    kept.map_err(|error| broken(error.to_string()))?.map_err(|error| match error {
        RescuePasswordError::Form => ApiError::bad_request(format!("{error}.")),
        error => broken(error.to_string()),
    })
}

/// Every step here but those of a machine that is not there is carried out by an agent, which runs in the ramdisk.
fn no_ramdisk(asked: &Asked, since: u16, node: &Node, value: &Value) -> Result<(), ApiError> {
    asked.needs(since, "disable_ramdisk")?;
    match driver::truth(value) {
        Some(true) if !driver::is_fake(&node.settings.driver) => {
            Err(super::states::unsupported(node, "steps without the ramdisk (disable_ramdisk)"))
        }
        Some(_) => Ok(()),
        None => Err(ApiError::bad_request("disable_ramdisk must be true or false.")),
    }
}

async fn packed_drive(version: Version, node: &Arc<Node>, verb: Verb, value: &Value) -> Result<String, ApiError> {
    let since = match value {
        _ if verb == Verb::Rebuild && version.0 < 35 => 35,
        Value::Object(map) if map.contains_key("vendor_data") && version.0 < 59 => 59,
        Value::Object(_) if version.0 < 56 => 56,
        _ => 1,
    };
    if since > version.0 {
        return Err(ApiError::bad_request(format!(
            "Such a config drive is only supported starting with API version 1.{since}."
        )));
    }
    // Packing a large config drive takes a moment: not on an async thread.
    let (given, name, uuid) = (value.clone(), node.title(), node.id.to_string());
    let packed = tokio::task::spawn_blocking(move || config_drive::prepare(&given, &name, &uuid)).await;
    let packed = packed.map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    packed.map_err(|error| ApiError::bad_request(format!("Invalid configdrive: {error}.")))
}
