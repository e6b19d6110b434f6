//! `/v1/volume`: connectors and targets of nodes.

use super::asked::{Asked, Body, new_uuid, object};
use super::document::links;
use super::patch::Reader;
use super::query::{self, Parameters};
use super::records::{self, Listed, Member, Settable, Shown, Since, is_of, member, new_members, page, with_new_node};
use crate::Api;
use crate::access::OfNode;
use crate::error::ApiError;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router, middleware};
use leasehold_domain::hardware::{Body as Given, HardwareRow, Record, VolumeConnector, VolumeTarget};
use leasehold_domain::id::NodeId;
use leasehold_domain::job::JobKind;
use leasehold_domain::{Actor, View};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;

const SINCE: Since = Since { version: 32, what: "volumes", writing: StatusCode::NOT_FOUND };

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/volume", get(root))
        .route("/volume/", get(root))
        .route("/volume/connectors", get(list::<VolumeConnector>).post(create::<VolumeConnector>))
        .route("/volume/connectors/", get(list::<VolumeConnector>).post(create::<VolumeConnector>))
        .route("/volume/connectors/{id}", kept::<VolumeConnector>())
        .route("/volume/targets", get(list::<VolumeTarget>).post(create::<VolumeTarget>))
        .route("/volume/targets/", get(list::<VolumeTarget>).post(create::<VolumeTarget>))
        .route("/volume/targets/{id}", kept::<VolumeTarget>())
        .route("/nodes/{node}/volume", get(root_of_node))
        .route("/nodes/{node}/volume/", get(root_of_node))
        .route("/nodes/{node}/volume/connectors", get(list_of_node::<VolumeConnector>))
        .route("/nodes/{node}/volume/targets", get(list_of_node::<VolumeTarget>))
        .route_layer(middleware::from_fn(|request, next| records::known_in(SINCE, request, next)))
}

fn kept<K: Settable>() -> axum::routing::MethodRouter<Api> {
    get(show::<K>).patch(change::<K>).delete(remove::<K>)
}

impl Shown for VolumeConnector {
    const PATH: &'static str = "volume/connectors";
    const ITEM: &'static str = "connectors";
    const MEMBERS: &'static [Member] = &[
        member("connector_id", 32).brief(),
        member("extra", 32).unsorted(),
        member("node_uuid", 32).brief().unsorted(),
        member("type", 32).brief(),
    ];

    fn members(record: &Record<VolumeConnector>, _: &View) -> Map<String, Value> {
        let body = &record.body;
        let members = [
            ("connector_id", body.connector_id.clone().into()),
            ("extra", body.extra.clone().into()),
            ("node_uuid", body.node.to_string().into()),
            ("type", body.kind.clone().into()),
        ];
        members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn of_row(row: &HardwareRow) -> Option<&Arc<Record<VolumeConnector>>> {
        match row {
            HardwareRow::VolumeConnector(record) => Some(record),
            _ => None,
        }
    }
}

impl Settable for VolumeConnector {
    fn read(members: &Map<String, Value>, _: &Asked, _: &View) -> Result<VolumeConnector, ApiError> {
        Ok(VolumeConnector {
            node: records::node_of(members)?,
            kind: required(members, "type")?,
            connector_id: required(members, "connector_id")?,
            extra: Reader { members }.object("extra")?,
        })
    }

    fn given(self) -> Given {
        Given::VolumeConnector(self)
    }
}

impl Shown for VolumeTarget {
    const PATH: &'static str = "volume/targets";
    const ITEM: &'static str = "targets";
    const MEMBERS: &'static [Member] = &[
        member("boot_index", 32).brief(),
        member("extra", 32).unsorted(),
        member("node_uuid", 32).brief().unsorted(),
        member("properties", 32).unsorted(),
        member("volume_id", 32).brief(),
        member("volume_type", 32).brief(),
    ];

    fn members(record: &Record<VolumeTarget>, _: &View) -> Map<String, Value> {
        let body = &record.body;
        let members = [
            ("boot_index", body.boot_index.into()),
            ("extra", body.extra.clone().into()),
            ("node_uuid", body.node.to_string().into()),
            ("properties", body.properties.clone().into()),
            ("volume_id", body.volume_id.clone().into()),
            ("volume_type", body.volume_type.clone().into()),
        ];
        members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// How to reach a volume may hold credentials of the storage.
    fn conceal(members: &mut Map<String, Value>, record: &Record<VolumeTarget>, view: &View, asked: &Asked) {
        let rule = "baremetal:volume:view_target_properties";
        let may = view.node(record.body.node).is_some_and(|node| asked.caller.allows(rule, &OfNode(node)));
        if !may {
            let words = format!("** Value redacted: Requires permission {rule} access. Permission denied. **");
            members.insert("properties".into(), json!({"redacted_contents": words}));
        }
    }

    fn of_row(row: &HardwareRow) -> Option<&Arc<Record<VolumeTarget>>> {
        match row {
            HardwareRow::VolumeTarget(record) => Some(record),
            _ => None,
        }
    }
}

impl Settable for VolumeTarget {
    fn read(members: &Map<String, Value>, _: &Asked, _: &View) -> Result<VolumeTarget, ApiError> {
        let read = Reader { members };
        let index = members.get("boot_index").and_then(|value| match value {
            Value::String(text) => text.parse().ok(),
            other => other.as_i64(),
        });
        Ok(VolumeTarget {
            node: records::node_of(members)?,
            volume_type: required(members, "volume_type")?,
            volume_id: required(members, "volume_id")?,
            boot_index: index
                .ok_or_else(|| ApiError::bad_request("'boot_index' is a required property: a whole number."))?,
            properties: read.object("properties")?,
            extra: read.object("extra")?,
        })
    }

    fn given(self) -> Given {
        Given::VolumeTarget(self)
    }
}

fn required(members: &Map<String, Value>, name: &str) -> Result<String, ApiError> {
    let text = Reader { members }.text(name)?;
    text.ok_or_else(|| ApiError::bad_request(format!("'{name}' is a required property.")))
}

/// Where connectors and targets are.
fn root_document(asked: &Asked, path: &str) -> Value {
    json!({
        "links": links(&asked.base, &format!("{path}/")),
        "connectors": links(&asked.base, &format!("{path}/connectors")),
        "targets": links(&asked.base, &format!("{path}/targets")),
    })
}

async fn root(asked: Asked) -> Result<Json<Value>, ApiError> {
    asked.caller.needs("baremetal:volume:get", &())?;
    Ok(Json(root_document(&asked, "volume")))
}

async fn root_of_node(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let (node, _) = asked.node(&api.engine.view(), &ident, "baremetal:volume:get")?;
    Ok(Json(root_document(&asked, &format!("nodes/{}/volume", node.id))))
}

async fn list<K: Shown>(
    State(api): State<Api>,
    asked: Asked,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Value>, ApiError> {
    listed::<K>(&api, &asked, &parameters, None)
}

async fn list_of_node<K: Shown>(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Value>, ApiError> {
    let node = asked.seen(&api.engine.view(), &ident)?.id;
    listed::<K>(&api, &asked, &parameters, Some(node))
}

fn listed<K: Shown>(
    api: &Api,
    asked: &Asked,
    parameters: &Parameters,
    parent: Option<NodeId>,
) -> Result<Json<Value>, ApiError> {
    let all = "baremetal:volume:list_all";
    let project = records::listed_project(asked, all, "baremetal:volume:list", None)?;
    records::only(parameters, &["node"])?;
    let detail = query::flag_of(parameters, "detail")?.unwrap_or(false);
    if detail && parameters.contains_key("fields") {
        return Err(ApiError::bad_request("Can't fetch a subset of fields with 'detail' set"));
    }
    let view = api.engine.view();
    let node = match (parent, parameters.get("node")) {
        (Some(node), _) => Some(node),
        (None, Some(ident)) => Some(asked.seen(&view, ident)?.id),
        (None, None) => None,
    };
    let keep = |record: &Record<K>| record.body.node().is_some_and(|node| is_of(&view, node, project.as_deref()));
    let path = match parent {
        Some(node) => format!("nodes/{node}/{}", K::PATH),
        None => K::PATH.to_owned(),
    };
    page(asked, &view, parameters, &Listed { path: &path, detail, node, owner: None, keep })
}

fn located<K: Shown>(asked: &Asked, view: &View, ident: &str, rule: &str) -> Result<(Arc<Record<K>>, Actor), ApiError> {
    let record = records::find::<K>(view, asked, ident, None)?;
    records::of_node(asked, view, record, rule, ident)
}

async fn show<K: Shown>(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Value>, ApiError> {
    query::only(&parameters, &["fields"])?;
    let view = api.engine.view();
    let (record, _) = located::<K>(&asked, &view, &ident, "baremetal:volume:get")?;
    let fields = records::fields::<K>(&parameters, &asked)?;
    Ok(Json(Value::Object(records::document(&record, &view, &asked, fields.as_deref()))))
}

async fn create<K: Settable>(State(api): State<Api>, asked: Asked, body: Body) -> Result<Response, ApiError> {
    let body = object(body)?;
    let view = api.engine.view();
    let (_, actor) = records::node_for_new(&asked, &view, &body, "baremetal:volume:create")?;
    let body = new_members::<K>(body, &asked)?;
    let record = K::read(&body, &asked, &view)?;
    records::create(&api, &asked, new_uuid(&body)?, record, actor).await
}

/// A change of power takes a moment, and what volumes may be changed depends on how it ends: clients ask for both in one
/// breath. Ironic waits for its lock; so does this.
async fn power_settled(api: &Api, node: Option<NodeId>) {
    const PATIENCE: Duration = Duration::from_secs(3);
    let changing = || {
        let view = api.engine.view();
        let job = node.and_then(|id| view.node(id)).and_then(|node| view.running_job(node).cloned());
        job.is_some_and(|job| matches!(job.kind, JobKind::Power(_)))
    };
    // Subscribed first, looked afterwards: what comes in between is not missed.
    let mut feed = api.engine.store.subscribe();
    let settled = async { while changing() && feed.next().await.is_some() {} };
    // Whoever is not done by then is judged as he is.
    let _in_time = tokio::time::timeout(PATIENCE, settled).await;
}

async fn change<K: Settable>(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let rule = "baremetal:volume:update";
    let (record, _) = located::<K>(&asked, &api.engine.view(), &ident, rule)?;
    power_settled(&api, record.body.node()).await;
    records::change::<K>(&api, &asked, body, |view, patch| {
        let (record, actor) = located::<K>(&asked, view, &ident, rule)?;
        Ok((record, with_new_node(&asked, view, patch, actor)?))
    })
    .await
}

async fn remove<K: Shown>(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
) -> Result<StatusCode, ApiError> {
    let rule = "baremetal:volume:delete";
    let (record, actor) = located::<K>(&asked, &api.engine.view(), &ident, rule)?;
    power_settled(&api, record.body.node()).await;
    records::remove(&api, &record, actor).await
}
