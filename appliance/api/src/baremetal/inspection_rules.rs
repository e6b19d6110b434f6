//! `/v1/inspection_rules`: what is to become of nodes by what an inspection finds.

use super::asked::{Asked, Body, new_uuid, object};
use super::patch::Reader;
use super::query::{self, Parameters};
use super::records::{self, Listed, Member, Settable, Shown, Since, member, new_members, page};
use crate::Api;
use crate::error::ApiError;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router, middleware};
use leasehold_domain::View;
use leasehold_domain::hardware::{Body as Given, HardwareRow, InspectionRule, MAIN_PHASE, Record};
use serde_json::{Map, Value, json};
use std::sync::Arc;

const SINCE: Since = Since { version: 96, what: "inspection rules", writing: StatusCode::METHOD_NOT_ALLOWED };

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/inspection_rules", get(list).post(create))
        .route("/inspection_rules/", get(list).post(create))
        .route("/inspection_rules/{rule}", get(show).patch(change).delete(remove))
        .route_layer(middleware::from_fn(|request, next| records::known_in(SINCE, request, next)))
}

impl Shown for InspectionRule {
    const PATH: &'static str = "inspection_rules";
    const ITEM: &'static str = "inspection_rules";
    const MEMBERS: &'static [Member] = &[
        member("actions", 96).unsorted(),
        member("conditions", 96).unsorted(),
        member("description", 96).brief(),
        member("phase", 96).brief(),
        member("priority", 96).brief(),
        member("sensitive", 96),
    ];

    fn members(record: &Record<InspectionRule>, _: &View) -> Map<String, Value> {
        let body = &record.body;
        let members = [
            ("actions", body.actions.iter().map(|action| as_shown(action, false)).collect()),
            ("conditions", body.conditions.iter().map(|condition| as_shown(condition, true)).collect()),
            ("description", body.description.clone().into()),
            ("phase", body.phase.clone().into()),
            ("priority", body.priority.into()),
            ("sensitive", body.sensitive.into()),
        ];
        members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn conceal(members: &mut Map<String, Value>, record: &Record<InspectionRule>, _: &View, _: &Asked) {
        if record.body.sensitive {
            members.insert("actions".into(), Value::Null);
            members.insert("conditions".into(), Value::Null);
        }
    }

    fn of_row(row: &HardwareRow) -> Option<&Arc<Record<InspectionRule>>> {
        match row {
            HardwareRow::InspectionRule(record) => Some(record),
            _ => None,
        }
    }
}

impl Settable for InspectionRule {
    fn read(members: &Map<String, Value>, _: &Asked, _: &View) -> Result<InspectionRule, ApiError> {
        let read = Reader { members };
        let not_whole = || ApiError::bad_request("priority must be a whole number.");
        let priority = match members.get("priority") {
            None | Some(Value::Null) => 0,
            // The command line sends a text.
            Some(Value::String(text)) => text.parse().map_err(|_| not_whole())?,
            Some(value) => value.as_i64().ok_or_else(not_whole)?,
        };
        Ok(InspectionRule {
            description: read.short_text("description", 255)?,
            priority,
            sensitive: read.flag("sensitive")?.unwrap_or(false),
            phase: read.short_text("phase", 16)?.unwrap_or_else(|| MAIN_PHASE.to_owned()),
            conditions: operations(members, "conditions")?,
            actions: operations(members, "actions")?,
        })
    }

    fn given(self) -> Given {
        Given::InspectionRule(self)
    }
}

/// The conditions or actions of a rule. Their sense is judged by the domain; here they are only objects.
fn operations(members: &Map<String, Value>, name: &str) -> Result<Vec<Value>, ApiError> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(list)) if list.iter().all(Value::is_object) => Ok(list.clone()),
        Some(_) => Err(ApiError::bad_request(format!("{name} must be a list of objects with op and args."))),
    }
}

/// Operator and arguments, and the loop where there is one.
fn as_shown(given: &Value, condition: bool) -> Value {
    let mut shown = json!({"op": given.get("op"), "args": given.get("args")});
    let looped = given.get("loop").filter(|items| {
        items.as_array().is_some_and(|list| !list.is_empty()) || items.as_object().is_some_and(|map| !map.is_empty())
    });
    if let Some(items) = looped {
        shown["loop"] = items.clone();
        if condition {
            shown["multiple"] = given.get("multiple").cloned().unwrap_or_else(|| "any".into());
        }
    }
    shown
}

async fn list(
    State(api): State<Api>,
    asked: Asked,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Value>, ApiError> {
    asked.caller.needs("baremetal:inspection_rule:get", &())?;
    records::only(&parameters, &["phase"])?;
    let detail = query::detail(&parameters, asked.version)?;
    let phase = parameters.get("phase");
    let keep = |record: &Record<InspectionRule>| phase.is_none_or(|phase| record.body.phase == *phase);
    page(
        &asked,
        &api.engine.view(),
        &parameters,
        &Listed { path: "inspection_rules", detail, node: None, owner: None, keep },
    )
}

async fn show(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Value>, ApiError> {
    asked.caller.needs("baremetal:inspection_rule:get", &())?;
    query::only(&parameters, &["fields"])?;
    let fields = records::fields::<InspectionRule>(&parameters, &asked)?;
    let view = api.engine.view();
    let record = records::find::<InspectionRule>(&view, &asked, &ident, None)?;
    Ok(Json(Value::Object(records::document(record, &view, &asked, fields.as_deref()))))
}

async fn create(State(api): State<Api>, asked: Asked, body: Body) -> Result<Response, ApiError> {
    asked.caller.needs("baremetal:inspection_rule:create", &())?;
    let body = new_members::<InspectionRule>(object(body)?, &asked)?;
    let rule = InspectionRule::read(&body, &asked, &api.engine.view())?;
    records::create(&api, &asked, new_uuid(&body)?, rule, asked.caller.actor()).await
}

async fn change(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    records::change::<InspectionRule>(&api, &asked, body, |view, _| {
        asked.caller.needs("baremetal:inspection_rule:update", &())?;
        Ok((records::find(view, &asked, &ident, None)?.clone(), asked.caller.actor()))
    })
    .await
}

async fn remove(State(api): State<Api>, asked: Asked, Path(ident): Path<String>) -> Result<StatusCode, ApiError> {
    asked.caller.needs("baremetal:inspection_rule:delete", &())?;
    let record = records::find::<InspectionRule>(&api.engine.view(), &asked, &ident, None)?.clone();
    records::remove(&api, &record, asked.caller.actor()).await
}
