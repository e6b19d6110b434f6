//! `/v1/runbooks`: steps of cleanings and services, written down for others to use.

use super::asked::{Asked, Body, json, new_uuid, object};
use super::patch::Reader;
use super::query::{self, Parameters};
use super::records::{
    self, Listed, Member, Owned, Settable, Shown, Since, member, new_members, page, texts, without_secrets,
};
use crate::Api;
use crate::access::forbidden;
use crate::error::ApiError;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router, middleware};
use leasehold_domain::View;
use leasehold_domain::command::Command;
use leasehold_domain::hardware::{
    Body as Given, HardwareCommand, HardwareRow, RUNBOOK_NAME, Record, Runbook, is_trait_name,
};
use leasehold_domain::node::Node;
use serde_json::{Map, Value, json};
use std::sync::Arc;

const SINCE: Since = Since { version: 92, what: "runbooks", writing: StatusCode::METHOD_NOT_ALLOWED };
/// From this version on runbooks have traits and a description, and any name.
const TRAITS: u16 = 112;
const TRAITS_SINCE: Since = Since { version: TRAITS, what: "runbook traits", writing: StatusCode::NOT_FOUND };

pub(super) fn routes() -> Router<Api> {
    let own = Router::new()
        .route("/runbooks", get(list).post(create))
        .route("/runbooks/", get(list).post(create))
        .route("/runbooks/{runbook}", get(show).patch(change).delete(remove))
        .route_layer(middleware::from_fn(|request, next| records::known_in(SINCE, request, next)));
    let traits = Router::new()
        .route("/runbooks/{runbook}/traits", get(show_traits).put(set_traits).delete(clear_traits))
        .route("/runbooks/{runbook}/traits/{name}", put(add_trait).delete(remove_trait))
        .route_layer(middleware::from_fn(|request, next| records::known_in(TRAITS_SINCE, request, next)));
    own.merge(traits)
}

impl Shown for Runbook {
    const PATH: &'static str = "runbooks";
    const ITEM: &'static str = "runbooks";
    const MEMBERS: &'static [Member] = &[
        member("description", TRAITS),
        member("disable_ramdisk", 92),
        member("extra", 92).unsorted(),
        member("name", 92).brief(),
        member("owner", 92),
        member("public", 92),
        member("steps", 92).unsorted(),
        member("traits", TRAITS).kept().unsorted(),
    ];

    fn members(record: &Record<Runbook>, _: &View) -> Map<String, Value> {
        let body = &record.body;
        let members = [
            ("description", body.description.clone().into()),
            ("disable_ramdisk", body.disable_ramdisk.into()),
            ("extra", body.extra.clone().into()),
            ("name", body.name.clone().into()),
            ("owner", body.owner.clone().into()),
            ("public", body.public.into()),
            ("steps", body.steps.iter().map(|step| step.document("order")).collect()),
            ("traits", body.traits.iter().cloned().collect()),
        ];
        members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn conceal(members: &mut Map<String, Value>, _: &Record<Runbook>, _: &View, _: &Asked) {
        members.get_mut("steps").into_iter().for_each(without_secrets);
    }

    fn of_row(row: &HardwareRow) -> Option<&Arc<Record<Runbook>>> {
        match row {
            HardwareRow::Runbook(record) => Some(record),
            _ => None,
        }
    }
}

impl Settable for Runbook {
    fn read(members: &Map<String, Value>, _: &Asked, _: &View) -> Result<Runbook, ApiError> {
        let read = Reader { members };
        let public = read.flag("public")?.unwrap_or(false);
        Ok(Runbook {
            name: read.text("name")?.ok_or_else(|| ApiError::bad_request("'name' is a required property."))?,
            description: read.short_text("description", 255)?,
            steps: super::deploy_templates::steps(members, "order", false)?,
            disable_ramdisk: read.flag("disable_ramdisk")?.unwrap_or(false),
            public,
            // What is everybody's is nobody's.
            owner: read.short_text("owner", 255)?.filter(|_| !public),
            traits: texts(members, "traits")?.into_iter().collect(),
            extra: read.object("extra")?,
        })
    }

    fn given(self) -> Given {
        Given::Runbook(self)
    }
}

fn owned(record: &Record<Runbook>) -> Owned<'_> {
    Owned { attribute: "runbook.owner", owner: record.body.owner.as_deref() }
}

/// The runbook that a path names, if it is there for the caller: his project's, or everybody's.
fn seen<'a>(asked: &Asked, view: &'a View, ident: &str) -> Result<&'a Arc<Record<Runbook>>, ApiError> {
    let record = records::find::<Runbook>(view, asked, ident, Some(RUNBOOK_NAME))?;
    match record.body.public || asked.caller.shows("baremetal:runbook:get", record.id.0, &owned(record)) {
        true => Ok(record),
        false => Err(records::not_found::<Runbook>(ident)),
    }
}

/// As [`seen`], where all of the rules say yes.
fn located(asked: &Asked, view: &View, ident: &str, rules: &[&str]) -> Result<Arc<Record<Runbook>>, ApiError> {
    let record = seen(asked, view, ident)?;
    rules.iter().try_for_each(|rule| asked.caller.needs(rule, &owned(record)))?;
    Ok(record.clone())
}

/// The steps of a runbook for a node, as a verb takes them: one that the caller may use and that was written for such
/// nodes.
pub(super) fn steps_for(view: &View, asked: &Asked, node: &Node, ident: &str) -> Result<Vec<Value>, ApiError> {
    let record = seen(asked, view, ident)?;
    let project = asked.caller.credentials.project_id.clone();
    // What is everybody's is used as if it were one's own project's.
    let owner = if record.body.public { project.as_deref() } else { record.body.owner.as_deref() };
    asked.caller.needs("baremetal:runbook:use", &Owned { attribute: "runbook.owner", owner })?;
    if !record.body.suits(node, asked.version.0 < TRAITS) {
        return Err(ApiError::bad_request(format!(
            "This runbook has not been approved for use on node {}: the node has none of its traits ({}).",
            node.title(),
            if asked.version.0 < TRAITS { record.body.name.clone() } else { join(record) }
        )));
    }
    Ok(record.body.ordered().into_iter().map(|step| step.document("order")).collect())
}

fn join(record: &Record<Runbook>) -> String {
    record.body.traits.iter().cloned().collect::<Vec<_>>().join(", ")
}

async fn list(
    State(api): State<Api>,
    asked: Asked,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Value>, ApiError> {
    let (all, own) = ("baremetal:runbook:list_all", "baremetal:runbook:list");
    let project = records::listed_project(&asked, all, own, parameters.get("project"))?;
    records::only(&parameters, &["project"])?;
    let detail = query::detail(&parameters, asked.version)?;
    let keep = |record: &Record<Runbook>| {
        project.is_none() || record.body.public || record.body.owner.as_ref() == project.as_ref()
    };
    page(&asked, &api.engine.view(), &parameters, &Listed { path: "runbooks", detail, node: None, owner: None, keep })
}

async fn show(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Value>, ApiError> {
    query::only(&parameters, &["fields"])?;
    let view = api.engine.view();
    let record = seen(&asked, &view, &ident)?;
    let fields = records::fields::<Runbook>(&parameters, &asked)?;
    Ok(Json(Value::Object(records::document(record, &view, &asked, fields.as_deref()))))
}

/// Before version 1.112 the name is a trait.
fn check_name(asked: &Asked, name: &str) -> Result<(), ApiError> {
    if asked.version.0 >= TRAITS || is_trait_name(name) {
        return Ok(());
    }
    Err(ApiError::bad_request(format!(
        "'{name}' is not a valid name of a runbook: before API version 1.112 it must be a trait (CUSTOM_…)."
    )))
}

async fn create(State(api): State<Api>, asked: Asked, body: Body) -> Result<Response, ApiError> {
    asked.caller.needs("baremetal:runbook:create", &())?;
    let body = new_members::<Runbook>(object(body)?, &asked)?;
    let mut runbook = Runbook::read(&body, &asked, &api.engine.view())?;
    check_name(&asked, &runbook.name)?;
    if !asked.caller.credentials.system {
        let project = asked.caller.credentials.project_id.clone();
        let project = project.ok_or_else(|| forbidden("baremetal:runbook:create"))?;
        if runbook.owner.as_ref().is_some_and(|owner| *owner != project) {
            return Err(ApiError::bad_request(
                "Cannot create a runbook as a project scoped admin with an owner other than your own project.",
            ));
        }
        if runbook.public {
            return Err(ApiError::bad_request("Cannot create a public runbook as a project scoped admin."));
        }
        runbook.owner = Some(project);
    }
    records::create(&api, &asked, new_uuid(&body)?, runbook, asked.caller.actor()).await
}

async fn change(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    records::change::<Runbook>(&api, &asked, body, |view, patch| {
        let mut rules = Vec::new();
        for operation in &patch.operations {
            rules.push(match operation.member() {
                "owner" => "baremetal:runbook:update:owner",
                "public" => "baremetal:runbook:update:public",
                _ => "baremetal:runbook:update",
            });
        }
        if rules.is_empty() {
            rules.push("baremetal:runbook:update");
        }
        let record = located(&asked, view, &ident, &rules)?;
        let last = |member: &str| patch.operations.iter().rfind(|operation| operation.member() == member);
        let owner = last("owner").and_then(|operation| operation.value.as_ref()).is_some_and(|value| !value.is_null());
        let public = match last("public") {
            Some(operation) => operation.value == Some(Value::Bool(true)),
            None => record.body.public,
        };
        if owner && public {
            return Err(ApiError::bad_request("There cannot be an owner for a public runbook"));
        }
        if let Some(Value::String(name)) = last("name").and_then(|operation| operation.value.as_ref()) {
            check_name(&asked, name)?;
        }
        Ok((record, asked.caller.actor()))
    })
    .await
}

async fn remove(State(api): State<Api>, asked: Asked, Path(ident): Path<String>) -> Result<StatusCode, ApiError> {
    let record = located(&asked, &api.engine.view(), &ident, &["baremetal:runbook:delete"])?;
    records::remove(&api, &record, asked.caller.actor()).await
}

async fn show_traits(State(api): State<Api>, asked: Asked, Path(ident): Path<String>) -> Result<Json<Value>, ApiError> {
    let view = api.engine.view();
    Ok(Json(json!({"traits": seen(&asked, &view, &ident)?.body.traits})))
}

/// Changes the traits of a runbook.
async fn with_traits(api: &Api, asked: &Asked, ident: &str, change: impl Fn(&mut Runbook)) -> Result<(), ApiError> {
    let record = located(asked, &api.engine.view(), ident, &["baremetal:runbook:update"])?;
    let mut runbook = record.body.clone();
    change(&mut runbook);
    let body = Box::new(runbook.given());
    let command = HardwareCommand::Change { id: record.id.0, revision: record.revision, body };
    api.submit(Command::Hardware(command), asked.caller.actor()).await?;
    Ok(())
}

async fn set_traits(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let body = match json(body)? {
        Value::Object(body) if body.len() == 1 && body.contains_key("traits") => body,
        _ => return Err(ApiError::bad_request("The body must be {\"traits\": […]}.")),
    };
    let traits = texts(&body, "traits")?;
    with_traits(&api, &asked, &ident, |runbook| runbook.traits = traits.iter().cloned().collect()).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn clear_traits(State(api): State<Api>, asked: Asked, Path(ident): Path<String>) -> Result<StatusCode, ApiError> {
    with_traits(&api, &asked, &ident, |runbook| runbook.traits.clear()).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn add_trait(
    State(api): State<Api>,
    asked: Asked,
    Path((ident, name)): Path<(String, String)>,
    body: axum::body::Bytes,
) -> Result<Response, ApiError> {
    if !body.is_empty() && serde_json::from_slice::<Value>(&body).is_ok_and(|body| body != json!({})) {
        return Err(ApiError::bad_request("No body should be provided when adding a trait"));
    }
    with_traits(&api, &asked, &ident, |runbook| {
        runbook.traits.insert(name.clone());
    })
    .await?;
    Ok((StatusCode::NO_CONTENT, asked.place(&format!("runbooks/{ident}/traits/{name}"))).into_response())
}

async fn remove_trait(
    State(api): State<Api>,
    asked: Asked,
    Path((ident, name)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    with_traits(&api, &asked, &ident, |runbook| {
        runbook.traits.remove(&name);
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}
