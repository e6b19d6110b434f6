//! `/v1/chassis`: boxes that hold nodes.

use super::asked::{Asked, Body, new_uuid, object};
use super::patch::Reader;
use super::query::{self, Parameters};
use super::records::{self, Listed, Member, Settable, Shown, member, new_members, page};
use crate::Api;
use crate::error::ApiError;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use leasehold_domain::View;
use leasehold_domain::hardware::{Body as Given, Chassis, HardwareRow, Record};
use serde_json::{Map, Value};
use std::sync::Arc;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/chassis", get(list).post(create))
        .route("/chassis/", get(list).post(create))
        .route("/chassis/detail", get(list_detail))
        .route("/chassis/{chassis}", get(show).patch(change).delete(remove))
        .route("/chassis/{chassis}/nodes", get(nodes))
        .route("/chassis/{chassis}/nodes/detail", get(nodes_detail))
}

impl Shown for Chassis {
    const PATH: &'static str = "chassis";
    const ITEM: &'static str = "chassis";
    const BELOW: Option<&'static str> = Some("nodes");
    const MEMBERS: &'static [Member] = &[member("description", 1).brief(), member("extra", 1).unsorted()];

    fn members(record: &Record<Chassis>, _: &View) -> Map<String, Value> {
        let body = &record.body;
        Map::from_iter([
            ("description".to_owned(), body.description.clone().into()),
            ("extra".to_owned(), body.extra.clone().into()),
        ])
    }

    fn of_row(row: &HardwareRow) -> Option<&Arc<Record<Chassis>>> {
        match row {
            HardwareRow::Chassis(record) => Some(record),
            _ => None,
        }
    }
}

impl Settable for Chassis {
    fn read(members: &Map<String, Value>, _: &Asked, _: &View) -> Result<Chassis, ApiError> {
        let read = Reader { members };
        Ok(Chassis { description: read.short_text("description", 255)?, extra: read.object("extra")? })
    }

    fn given(self) -> Given {
        Given::Chassis(self)
    }
}

async fn list(
    State(api): State<Api>,
    asked: Asked,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Value>, ApiError> {
    asked.caller.needs("baremetal:chassis:get", &())?;
    records::only(&parameters, &[])?;
    let detail = query::detail(&parameters, asked.version)?;
    let listed = Listed { path: "chassis", detail, node: None, owner: None, keep: |_: &Record<Chassis>| true };
    page(&asked, &api.engine.view(), &parameters, &listed)
}

async fn list_detail(
    State(api): State<Api>,
    asked: Asked,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Value>, ApiError> {
    asked.caller.needs("baremetal:chassis:get", &())?;
    query::only(&parameters, &["limit", "marker", "sort_key", "sort_dir"])?;
    let listed =
        Listed { path: "chassis/detail", detail: true, node: None, owner: None, keep: |_: &Record<Chassis>| true };
    page(&asked, &api.engine.view(), &parameters, &listed)
}

async fn show(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Value>, ApiError> {
    asked.caller.needs("baremetal:chassis:get", &())?;
    query::only(&parameters, &["fields"])?;
    let fields = records::fields::<Chassis>(&parameters, &asked)?;
    let view = api.engine.view();
    let record = records::find::<Chassis>(&view, &asked, &ident, None)?;
    Ok(Json(Value::Object(records::document(record, &view, &asked, fields.as_deref()))))
}

async fn create(State(api): State<Api>, asked: Asked, body: Body) -> Result<Response, ApiError> {
    asked.caller.needs("baremetal:chassis:create", &())?;
    let body = new_members::<Chassis>(object(body)?, &asked)?;
    let chassis = Chassis::read(&body, &asked, &api.engine.view())?;
    records::create(&api, &asked, new_uuid(&body)?, chassis, asked.caller.actor()).await
}

async fn change(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    records::change::<Chassis>(&api, &asked, body, |view, _| {
        asked.caller.needs("baremetal:chassis:update", &())?;
        Ok((records::find(view, &asked, &ident, None)?.clone(), asked.caller.actor()))
    })
    .await
}

async fn remove(State(api): State<Api>, asked: Asked, Path(ident): Path<String>) -> Result<StatusCode, ApiError> {
    asked.caller.needs("baremetal:chassis:delete", &())?;
    let record = records::find::<Chassis>(&api.engine.view(), &asked, &ident, None)?.clone();
    records::remove(&api, &record, asked.caller.actor()).await
}

async fn nodes(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Result<Response, ApiError> {
    let detail = query::detail(&parameters, asked.version)?;
    nodes_of(&api, &asked, &ident, parameters, detail, "nodes").await
}

async fn nodes_detail(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Result<Response, ApiError> {
    nodes_of(&api, &asked, &ident, parameters, true, "nodes/detail").await
}

/// The nodes in it: the list of nodes, filtered.
async fn nodes_of(
    api: &Api,
    asked: &Asked,
    ident: &str,
    mut parameters: Parameters,
    detail: bool,
    tail: &str,
) -> Result<Response, ApiError> {
    let id = records::find::<Chassis>(&api.engine.view(), asked, ident, None)?.id;
    let path = format!("chassis/{id}/{tail}");
    parameters.insert("chassis_uuid".into(), id.to_string());
    super::list::page(api, asked, &parameters, detail, &path).await
}
