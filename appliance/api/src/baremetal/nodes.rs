//! `/v1/nodes`: one node, creation, change, removal. Lists are in [`super::list`].

use super::asked::{Asked, Body, json, new_uuid, object, settle};
use super::document::{Columns, Shown, THRESHOLD};
use super::list::{json_bytes, unwritable};
use super::patch::{self, NodePatch};
use super::query::{self, Parameters, flag_of};
use crate::Api;
use crate::access::OfNode;
use crate::error::ApiError;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use leasehold_domain::View;
use leasehold_domain::command::{Answer, Command, NodeStart};
use leasehold_domain::id::NodeId;
use leasehold_domain::node::Node;
use serde_json::{Map, Value};

impl<'a> Shown<'a> {
    /// A node as this caller is shown it.
    pub(super) fn of(api: &'a Api, asked: &'a Asked, view: &'a View, node: &'a Node) -> Shown<'a> {
        let (base, caller) = (asked.base.as_str(), &asked.caller);
        Shown { node, view, base, hostname: &api.hostname, caller, unmasked: false }
    }

    /// With the threshold asked about for this node, unless it is known to be passed.
    pub(super) fn looked_at(self, passed: bool) -> Shown<'a> {
        Shown { unmasked: passed || self.caller.allows(THRESHOLD, &OfNode(self.node)), ..self }
    }
}

pub(super) async fn show(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Result<Response, ApiError> {
    let view = api.engine.view();
    let node = asked.seen(&view, &ident)?;
    query::only(&parameters, &["fields"])?;
    let fields = query::node_fields(&parameters, asked.version)?;
    let shown = Shown::of(&api, &asked, &view, node).looked_at(false);
    document_of(shown, &Columns::of(fields.as_deref(), asked.version))
}

/// A node as an answer.
fn document_of(shown: Shown<'_>, columns: &Columns) -> Result<Response, ApiError> {
    let mut body = Vec::with_capacity(4096);
    columns.write(shown, &mut body).map_err(unwritable)?;
    Ok(json_bytes(body))
}

/// The node of an answer, as a document.
fn answered(api: &Api, asked: &Asked, answer: &Answer) -> Result<Response, ApiError> {
    let Answer::Node(node) = answer else {
        return Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "The change brought no node."));
    };
    let view = api.engine.view();
    document_of(Shown::of(api, asked, &view, node).looked_at(false), &Columns::of(None, asked.version))
}

/// Whoever may make nodes for himself only is their owner, whatever he says.
fn owner_of_new(asked: &Asked, body: &mut Map<String, Value>) -> Result<(), ApiError> {
    let own = asked.caller.allows("baremetal:node:create:self_owned_node", &());
    if !own {
        return asked.caller.needs("baremetal:node:create", &());
    }
    let credentials = &asked.caller.credentials;
    if credentials.system {
        return Ok(());
    }
    let project = credentials.project_id.clone().ok_or_else(|| crate::access::forbidden("baremetal:node:create"))?;
    let wanted = body.get("owner").filter(|owner| !owner.is_null());
    if wanted.is_some_and(|owner| owner.as_str() != Some(&project)) {
        return Err(ApiError::bad_request(
            "Cannot create a node as a project scoped admin with an owner other than your own project.",
        ));
    }
    body.insert("owner".into(), project.into());
    Ok(())
}

pub(super) async fn create(State(api): State<Api>, asked: Asked, body: Body) -> Result<Response, ApiError> {
    let body = json(body);
    // Policy before syntax: who may not create nodes learns nothing of what they are made of.
    let mut body = match body {
        Ok(Value::Object(body)) => body,
        other => {
            owner_of_new(&asked, &mut Map::new())?;
            other?;
            return Err(ApiError::bad_request("The body must be a JSON object."));
        }
    };
    // Versions are about what was sent, not about the owner that is put in here.
    let wanted = body.clone();
    owner_of_new(&asked, &mut body)?;
    patch::check_creation(&wanted, asked.version)?;
    let id = NodeId(new_uuid(&body)?);
    patch::name_parent(&asked, &api.engine.view(), &mut body)?;
    let settings = Box::new(patch::new_settings(&api, id, &body)?);
    // Until 1.10 new nodes were free at once.
    let start = NodeStart { available: asked.version.0 < 11, maintenance: patch::wants_maintenance(&body)? };
    let command = Command::CreateNode { id, settings, start };
    let answer = api.submit(command, asked.caller.actor()).await?.answer;
    let document = answered(&api, &asked, &answer)?;
    Ok((StatusCode::CREATED, asked.place(&format!("nodes/{id}")), document).into_response())
}

pub(super) async fn change(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    Query(parameters): Query<Parameters>,
    body: Body,
) -> Result<Response, ApiError> {
    asked.seen(&api.engine.view(), &ident)?;
    query::only(&parameters, &["reset_interfaces"])?;
    if parameters.contains_key("reset_interfaces") {
        asked.needs(45, "reset_interfaces")?;
    }
    let reset = flag_of(&parameters, "reset_interfaces")?.unwrap_or(false);
    let patch = NodePatch::read(&json(body)?, asked.version, reset)?;
    let committed = api
        .submit_current(|view| {
            let node = asked.seen(view, &ident)?;
            let actor = patch.authorize(&asked, node, &ident)?;
            Ok((patch.command(&api, &asked, view, node)?, actor))
        })
        .await?;
    answered(&api, &asked, &committed.answer)
}

pub(super) async fn remove(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
) -> Result<StatusCode, ApiError> {
    let view = api.engine.view();
    let by_own = || asked.node(&view, &ident, "baremetal:node:delete:self_owned_node");
    let (node, actor) = asked.node(&view, &ident, "baremetal:node:delete").or_else(|error| match error.status {
        StatusCode::FORBIDDEN => by_own(),
        _ => Err(error),
    })?;
    // Enrolled anew it would be as any other, with its last lessee's data: whoever keeps the box may, its owner may not.
    if node.is_in_quarantine() && !asked.caller.allows("baremetal:node:delete", &()) {
        let text = format!("Node {} is in quarantine: it is deleted by an administrator of the system.", node.title());
        return Err(ApiError::new(StatusCode::CONFLICT, text));
    }
    settle(&api, node.id).await;
    let cards: Vec<_> = view.ports_of(node.id).map(|card| card.id).collect();
    api.submit_cut(&cards, |_| Ok((Command::DeleteNode { id: node.id }, actor.clone()))).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A detachment that names nothing.
pub(super) async fn no_vif(asked: Asked, Path(_): Path<String>) -> ApiError {
    match super::version::needs(asked.version, 28, "The list of VIFs") {
        Ok(()) => ApiError::bad_request("Name the VIF that is to be detached: DELETE …/vifs/VIF."),
        Err(error) => error,
    }
}

/// Reads the body of a `PUT` that says what is wanted, after policy.
pub(super) fn wanted(body: Body, known: &[&str]) -> Result<Map<String, Value>, ApiError> {
    let body = object(body)?;
    match body.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(ApiError::bad_request(format!("Unknown argument: \"{name}\"."))),
        None => Ok(body),
    }
}
