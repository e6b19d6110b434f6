//! `/v1/deploy_templates`: steps of deployments, under the name of a trait.

use super::asked::{Asked, Body, new_uuid, object};
use super::patch::Reader;
use super::query::{self, Parameters};
use super::records::{self, Listed, Member, Settable, Shown, Since, member, new_members, page, without_secrets};
use crate::Api;
use crate::error::ApiError;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router, middleware};
use leasehold_domain::View;
use leasehold_domain::hardware::{Body as Given, DeployTemplate, HardwareRow, Record, Step, TEMPLATE_NAME};
use serde_json::{Map, Value};
use std::sync::Arc;

const SINCE: Since = Since { version: 55, what: "deploy templates", writing: StatusCode::METHOD_NOT_ALLOWED };

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/deploy_templates", get(list).post(create))
        .route("/deploy_templates/", get(list).post(create))
        .route("/deploy_templates/{template}", get(show).patch(change).delete(remove))
        .route_layer(middleware::from_fn(|request, next| records::known_in(SINCE, request, next)))
}

impl Shown for DeployTemplate {
    const PATH: &'static str = "deploy_templates";
    const ITEM: &'static str = "deploy_templates";
    const MEMBERS: &'static [Member] = &[
        member("description", 112),
        member("extra", 55).unsorted(),
        member("name", 55).brief(),
        member("steps", 55).unsorted(),
    ];

    fn members(record: &Record<DeployTemplate>, _: &View) -> Map<String, Value> {
        let body = &record.body;
        let members = [
            ("description", body.description.clone().into()),
            ("extra", body.extra.clone().into()),
            ("name", body.name.clone().into()),
            ("steps", body.steps.iter().map(|step| step.document("priority")).collect()),
        ];
        members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn conceal(members: &mut Map<String, Value>, _: &Record<DeployTemplate>, _: &View, _: &Asked) {
        members.get_mut("steps").into_iter().for_each(without_secrets);
    }

    fn of_row(row: &HardwareRow) -> Option<&Arc<Record<DeployTemplate>>> {
        match row {
            HardwareRow::DeployTemplate(record) => Some(record),
            _ => None,
        }
    }
}

impl Settable for DeployTemplate {
    fn read(members: &Map<String, Value>, _: &Asked, _: &View) -> Result<DeployTemplate, ApiError> {
        let read = Reader { members };
        Ok(DeployTemplate {
            name: read.text("name")?.ok_or_else(|| ApiError::bad_request("'name' is a required property."))?,
            description: read.short_text("description", 255)?,
            steps: steps(members, "priority", true)?,
            extra: read.object("extra")?,
        })
    }

    fn given(self) -> Given {
        Given::DeployTemplate(self)
    }
}

/// The steps of a document; `rank`: what their rank is called, `args`: whether each must give its arguments.
pub(super) fn steps(members: &Map<String, Value>, rank: &str, args: bool) -> Result<Vec<Step>, ApiError> {
    let list = match members.get("steps") {
        Some(Value::Array(list)) if !list.is_empty() => list,
        _ => return Err(ApiError::bad_request("'steps' is a required property: a list of at least one step.")),
    };
    let read = |given: &Value| {
        let step = Step::read(given, rank).filter(|_| !args || given.get("args").is_some());
        step.ok_or_else(|| {
            ApiError::bad_request(format!(
                "A step has interface, step, args and {rank} (a whole number), and nothing else; this one is not so: {given}"
            ))
        })
    };
    list.iter().map(read).collect()
}

async fn list(
    State(api): State<Api>,
    asked: Asked,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Value>, ApiError> {
    asked.caller.needs("baremetal:deploy_template:get", &())?;
    records::only(&parameters, &[])?;
    let detail = query::detail(&parameters, asked.version)?;
    let listed =
        Listed { path: "deploy_templates", detail, node: None, owner: None, keep: |_: &Record<DeployTemplate>| true };
    page(&asked, &api.engine.view(), &parameters, &listed)
}

async fn show(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Value>, ApiError> {
    asked.caller.needs("baremetal:deploy_template:get", &())?;
    query::only(&parameters, &["fields"])?;
    let fields = records::fields::<DeployTemplate>(&parameters, &asked)?;
    let view = api.engine.view();
    let record = records::find::<DeployTemplate>(&view, &asked, &ident, Some(TEMPLATE_NAME))?;
    Ok(Json(Value::Object(records::document(record, &view, &asked, fields.as_deref()))))
}

async fn create(State(api): State<Api>, asked: Asked, body: Body) -> Result<Response, ApiError> {
    asked.caller.needs("baremetal:deploy_template:create", &())?;
    let body = new_members::<DeployTemplate>(object(body)?, &asked)?;
    let template = DeployTemplate::read(&body, &asked, &api.engine.view())?;
    records::create(&api, &asked, new_uuid(&body)?, template, asked.caller.actor()).await
}

async fn change(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    records::change::<DeployTemplate>(&api, &asked, body, |view, _| {
        asked.caller.needs("baremetal:deploy_template:update", &())?;
        Ok((records::find(view, &asked, &ident, Some(TEMPLATE_NAME))?.clone(), asked.caller.actor()))
    })
    .await
}

async fn remove(State(api): State<Api>, asked: Asked, Path(ident): Path<String>) -> Result<StatusCode, ApiError> {
    asked.caller.needs("baremetal:deploy_template:delete", &())?;
    let record = records::find::<DeployTemplate>(&api.engine.view(), &asked, &ident, Some(TEMPLATE_NAME))?.clone();
    records::remove(&api, &record, asked.caller.actor()).await
}
