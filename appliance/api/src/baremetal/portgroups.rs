//! `/v1/portgroups`: ports of a node that work as one.

use super::asked::{Asked, Body, new_uuid, object};
use super::patch::Reader;
use super::query::{self, Parameters};
use super::records::{self, Listed, Member, Settable, Shown, Since, is_of, member, new_members, page, with_new_node};
use super::version::not_acceptable;
use crate::Api;
use crate::error::ApiError;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router, middleware};
use leasehold_domain::View;
use leasehold_domain::hardware::{Body as Given, DEFAULT_MODE, HardwareRow, Kind, PORTGROUP_NAME, Portgroup, Record};
use leasehold_domain::id::NodeId;
use leasehold_domain::mac::Mac;
use leasehold_domain::network::Place;
use leasehold_domain::provision::ProvisionState;
use serde_json::{Map, Value};
use std::sync::Arc;

const SINCE: Since = Since { version: 23, what: "port groups", writing: StatusCode::NOT_FOUND };
/// Since when lists of a node's or group's parts are there.
const SUBLISTS: Since =
    Since { version: 24, what: "lists of a node's port groups and of a group's ports", writing: StatusCode::NOT_FOUND };

pub(super) fn routes() -> Router<Api> {
    let own = Router::new()
        .route("/portgroups", get(list).post(create))
        .route("/portgroups/", get(list).post(create))
        .route("/portgroups/detail", get(list_detail))
        .route("/portgroups/{portgroup}", get(show).patch(change).delete(remove))
        .route_layer(middleware::from_fn(|request, next| records::known_in(SINCE, request, next)));
    let of_nodes = Router::new()
        .route("/nodes/{node}/portgroups", get(list_of_node))
        .route("/nodes/{node}/portgroups/detail", get(list_of_node_detail))
        .route("/portgroups/{portgroup}/ports", get(ports))
        .route("/portgroups/{portgroup}/ports/detail", get(ports_detail))
        .route_layer(middleware::from_fn(|request, next| records::known_in(SUBLISTS, request, next)));
    own.merge(of_nodes)
}

impl Shown for Portgroup {
    const PATH: &'static str = "portgroups";
    const ITEM: &'static str = "portgroups";
    const BELOW: Option<&'static str> = Some("ports");
    const MEMBERS: &'static [Member] = &[
        member("address", 23).brief(),
        member("category", 103),
        member("dynamic_portgroup", 111).kept(),
        member("extra", 23).unsorted(),
        member("internal_info", 23).kept().unsorted(),
        member("mode", 26),
        member("name", 23).brief(),
        member("node_uuid", 23).unsorted(),
        member("physical_network", 102),
        member("properties", 26).unsorted(),
        member("standalone_ports_supported", 23),
    ];

    fn members(record: &Record<Portgroup>, view: &View) -> Map<String, Value> {
        let body = &record.body;
        let members = [
            ("address", body.address.map(|address| address.to_string()).into()),
            ("category", body.category.clone().into()),
            ("dynamic_portgroup", false.into()),
            ("extra", body.extra.clone().into()),
            ("internal_info", super::vifs::attached(view, Place::Portgroup(record.id)).into()),
            ("mode", body.mode.clone().into()),
            ("name", body.name.clone().into()),
            ("node_uuid", body.node.to_string().into()),
            ("physical_network", body.physical_network.clone().into()),
            ("properties", body.properties.clone().into()),
            ("standalone_ports_supported", body.standalone_ports_supported.into()),
        ];
        members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn of_row(row: &HardwareRow) -> Option<&Arc<Record<Portgroup>>> {
        match row {
            HardwareRow::Portgroup(record) => Some(record),
            _ => None,
        }
    }
}

impl Settable for Portgroup {
    fn read(members: &Map<String, Value>, _: &Asked, _: &View) -> Result<Portgroup, ApiError> {
        let read = Reader { members };
        let address = match read.text("address")?.filter(|text| !text.is_empty()) {
            Some(text) => Some(mac(&text)?),
            None => None,
        };
        Ok(Portgroup {
            node: records::node_of(members)?,
            name: read.text("name")?.filter(|name| !name.is_empty()),
            address,
            mode: read.text("mode")?.unwrap_or_else(|| DEFAULT_MODE.to_owned()),
            properties: read.object("properties")?,
            standalone_ports_supported: read.flag("standalone_ports_supported")?.unwrap_or(true),
            physical_network: read.short_text("physical_network", 64)?,
            category: read.short_text("category", 80)?,
            extra: read.object("extra")?,
        })
    }

    fn given(self) -> Given {
        Given::Portgroup(self)
    }
}

fn mac(text: &str) -> Result<Mac, ApiError> {
    text.parse().map_err(|_| ApiError::bad_request(format!("Expected a MAC address but received {text}.")))
}

/// What is filtered by; Ironic takes one of these at a time.
const FILTERS: [&str; 4] = ["node", "address", "shard", "conductor_groups"];

async fn list(
    State(api): State<Api>,
    asked: Asked,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Value>, ApiError> {
    let detail = query::detail(&parameters, asked.version)?;
    listed(&api, &asked, &parameters, detail, "portgroups", None)
}

async fn list_detail(
    State(api): State<Api>,
    asked: Asked,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Value>, ApiError> {
    listed(&api, &asked, &parameters, true, "portgroups/detail", None)
}

async fn list_of_node(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Value>, ApiError> {
    let node = asked.seen(&api.engine.view(), &ident)?.id;
    let detail = query::detail(&parameters, asked.version)?;
    listed(&api, &asked, &parameters, detail, &format!("nodes/{node}/portgroups"), Some(node))
}

async fn list_of_node_detail(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Value>, ApiError> {
    let node = asked.seen(&api.engine.view(), &ident)?.id;
    listed(&api, &asked, &parameters, true, &format!("nodes/{node}/portgroups/detail"), Some(node))
}

fn listed(
    api: &Api,
    asked: &Asked,
    parameters: &Parameters,
    detail: bool,
    path: &str,
    parent: Option<NodeId>,
) -> Result<Json<Value>, ApiError> {
    let all = "baremetal:portgroup:list_all";
    let project = records::listed_project(asked, all, "baremetal:portgroup:list", None)?;
    records::only(parameters, &FILTERS)?;
    for (name, since) in [("shard", 106), ("conductor_groups", 99)] {
        if parameters.contains_key(name) && asked.version.0 < since {
            return Err(not_acceptable(asked.version, since, &format!("The filter by {name}")));
        }
    }
    let filters = FILTERS.iter().filter(|name| parameters.contains_key(**name)).count() + usize::from(parent.is_some());
    if filters > 1 {
        return Err(ApiError::bad_request("Filtering by node, address, or shard simultaneously is not supported."));
    }
    let view = api.engine.view();
    let node = match (parent, parameters.get("node")) {
        (Some(node), _) => Some(node),
        (None, Some(ident)) => Some(asked.seen(&view, ident)?.id),
        (None, None) => None,
    };
    let address = parameters.get("address").map(|text| mac(text)).transpose()?;
    let label = ["shard", "conductor_groups"].into_iter().find_map(|name| {
        let label = if name == "shard" { name } else { "conductor_group" };
        query::list_of(parameters, name).map(|values| (label, values))
    });
    let keep = |record: &Record<Portgroup>| {
        let is_labelled = |label: &str, values: &[String]| {
            let value = view.node(record.body.node).and_then(|node| node.settings.label(label)).unwrap_or_default();
            values.iter().any(|wanted| wanted == value)
        };
        is_of(&view, record.body.node, project.as_deref())
            && address.is_none_or(|address| record.body.address == Some(address))
            && label.as_ref().is_none_or(|(label, values)| is_labelled(label, values))
    };
    page(asked, &view, parameters, &Listed { path, detail, node, owner: None, keep })
}

/// The port group that a path names, where the rule says yes for its node.
fn located(
    asked: &Asked,
    view: &View,
    ident: &str,
    rule: &str,
) -> Result<(Arc<Record<Portgroup>>, leasehold_domain::Actor), ApiError> {
    let record = records::find::<Portgroup>(view, asked, ident, Some(PORTGROUP_NAME))?;
    records::of_node(asked, view, record, rule, ident)
}

async fn ports(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Value>, ApiError> {
    let detail = query::detail(&parameters, asked.version)?;
    ports_of(&api, &asked, &ident, &parameters, detail, "ports")
}

async fn ports_detail(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Value>, ApiError> {
    ports_of(&api, &asked, &ident, &parameters, true, "ports/detail")
}

/// The ports in it: the list of ports, filtered.
fn ports_of(
    api: &Api,
    asked: &Asked,
    ident: &str,
    parameters: &Parameters,
    detail: bool,
    tail: &str,
) -> Result<Json<Value>, ApiError> {
    let (group, _) = located(asked, &api.engine.view(), ident, "baremetal:node:get")?;
    let path = format!("portgroups/{}/{tail}", group.id);
    super::ports::page(api, asked, parameters, detail, &path, super::ports::Of::Portgroup(group.id))
}

async fn show(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Value>, ApiError> {
    query::only(&parameters, &["fields"])?;
    let view = api.engine.view();
    let (record, _) = located(&asked, &view, &ident, "baremetal:portgroup:get")?;
    let fields = records::fields::<Portgroup>(&parameters, &asked)?;
    Ok(Json(Value::Object(records::document(&record, &view, &asked, fields.as_deref()))))
}

async fn create(State(api): State<Api>, asked: Asked, body: Body) -> Result<Response, ApiError> {
    let body = object(body)?;
    let view = api.engine.view();
    let (_, actor) = records::node_for_new(&asked, &view, &body, "baremetal:portgroup:create")?;
    for name in ["mode", "properties"] {
        if asked.version.0 < 26 && body.get(name).is_some_and(|value| !value.is_null()) {
            return Err(not_acceptable(asked.version, 26, name));
        }
    }
    let body = new_members::<Portgroup>(body, &asked)?;
    let group = Portgroup::read(&body, &asked, &view)?;
    records::create(&api, &asked, new_uuid(&body)?, group, actor).await
}

async fn change(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    records::change::<Portgroup>(&api, &asked, body, |view, patch| {
        let (record, actor) = located(&asked, view, &ident, "baremetal:portgroup:update")?;
        let removed = patch.operations.iter().any(|operation| operation.path == "/mode" && operation.value.is_none());
        if removed {
            return Err(ApiError::bad_request("'mode' is a mandatory attribute and can not be removed"));
        }
        let actor = with_new_node(&asked, view, patch, actor)?;
        let inspected = view
            .node(record.body.node)
            .filter(|node| node.provision_state == ProvisionState::Inspecting && asked.version.0 >= 39);
        match inspected {
            Some(node) => Err(ApiError::new(
                StatusCode::CONFLICT,
                format!(
                    "Cannot update {} \"{}\" on node \"{}\" while it is in state \"inspecting\".",
                    Portgroup::WHAT.to_lowercase(),
                    record.id,
                    node.title()
                ),
            )),
            None => Ok((record, actor)),
        }
    })
    .await
}

async fn remove(State(api): State<Api>, asked: Asked, Path(ident): Path<String>) -> Result<StatusCode, ApiError> {
    let (record, actor) = located(&asked, &api.engine.view(), &ident, "baremetal:portgroup:delete")?;
    records::remove(&api, &record, actor).await
}
