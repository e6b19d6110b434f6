//! `/v2.0/trunks`: several networks on one port, each with a VLAN tag but the port's own.

use super::fault::{Asker, Fault};
use super::list::{Asked, Document, Listed};
use super::members::{Body, Members, Said};
use super::target::OnNetwork;
use super::{about, changed_about, history, if_match, listed_at, made, may, new_about, parsed, ports};
use crate::Api;
use crate::identity::base::Base;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use leasehold_domain::View;
use leasehold_domain::command::{Answer, Command};
use leasehold_domain::id::{TenantPortId, TrunkId};
use leasehold_domain::network::{NetworkCommand, NetworkRow, Subport, TenantPort, Trunk, TrunkSettings, vif_of};
use serde_json::{Value, json};
use std::sync::Arc;
use uuid::Uuid;

const ATTRIBUTES: [&str; 12] = [
    "id",
    "name",
    "description",
    "project_id",
    "port_id",
    "admin_state_up",
    "status",
    "sub_ports",
    "tags",
    "created_at",
    "updated_at",
    "revision_number",
];

fn entry(subport: &Subport) -> Value {
    json!({"port_id": subport.port, "segmentation_type": "vlan", "segmentation_id": subport.tag})
}

fn document(view: &View, trunk: &Trunk) -> Document {
    let settings = &trunk.settings;
    let port = view.network.port(settings.port);
    let live = settings.admin_state_up && port.and_then(|port| vif_of(view, port)).is_some_and(|vif| vif.is_live());
    let mut document = about(&settings.about, trunk.id);
    for (name, value) in [
        ("port_id", json!(settings.port)),
        ("admin_state_up", json!(settings.admin_state_up)),
        ("status", json!(if live { "ACTIVE" } else { "DOWN" })),
        ("sub_ports", settings.subports.iter().map(entry).collect()),
    ] {
        document.insert(name.to_owned(), value);
    }
    history(&mut document, trunk.revision, trunk.created_at, trunk.updated_at);
    document
}

/// What a port that has a trunk shows of it.
pub(super) fn details(view: &View, port: &TenantPort) -> Option<Value> {
    let trunk = view.network.trunk_with(port.id).filter(|trunk| trunk.settings.port == port.id)?;
    let subports = trunk.settings.subports.iter().map(|subport| {
        let mut entry = entry(subport);
        let mac = view.network.port(subport.port).map(|port| port.settings.mac.to_string());
        entry["mac_address"] = mac.into();
        entry
    });
    Some(json!({"trunk_id": trunk.id, "sub_ports": subports.collect::<Vec<_>>()}))
}

fn target(trunk: &Trunk) -> OnNetwork<'_> {
    OnNetwork { project: &trunk.settings.about.project, network: None, device_owner: "" }
}

fn seen(view: &View, asker: &Asker, ident: &str) -> Result<Arc<Trunk>, Fault> {
    let found = parsed(ident).and_then(|id| view.network.trunk(TrunkId(id)));
    let found = found.filter(|trunk| asker.shows("get_trunk", trunk.id.0, &target(trunk)));
    found.cloned().ok_or_else(|| Fault::not_found("Trunk", ident))
}

pub(super) async fn list(State(api): State<Api>, asker: Asker, base: Base, asked: Asked) -> Result<Json<Value>, Fault> {
    let view = api.engine.view();
    let mut trunks: Vec<_> = view.network.trunks().filter(|trunk| asker.allows("get_trunk", &target(trunk))).collect();
    trunks.sort_by_key(|trunk| (trunk.created_at, trunk.id));
    let listed = Listed { name: "trunks", url: listed_at(&base, "trunks"), attributes: &ATTRIBUTES };
    asked.page(&listed, trunks.into_iter().map(|trunk| document(&view, trunk))).map(Json)
}

pub(super) async fn show(
    State(api): State<Api>,
    asker: Asker,
    Path(ident): Path<String>,
    asked: Asked,
) -> Result<Json<Value>, Fault> {
    let view = api.engine.view();
    let trunk = seen(&view, &asker, &ident)?;
    Ok(Json(json!({"trunk": asked.select(document(&view, &trunk))})))
}

/// A port that is there for the caller and that he may change: nobody puts another's port on his trunk.
fn own_port(view: &View, asker: &Asker, value: Option<&Value>) -> Result<TenantPortId, Fault> {
    let ident = value.and_then(Value::as_str).ok_or_else(|| Fault::bad_request("A port_id is missing."))?;
    let port = ports::seen(view, asker, ident)?;
    may(asker, "update_port", &ports::target(view, &port))?;
    Ok(port.id)
}

fn subports(view: &View, asker: &Asker, entries: &[Value]) -> Result<Vec<Subport>, Fault> {
    entries
        .iter()
        .map(|entry| {
            if entry.get("segmentation_type").is_some_and(|kind| !matches!(kind.as_str(), Some("vlan" | "inherit"))) {
                return Err(Fault::bad_request("segmentation_type is vlan."));
            }
            let port = own_port(view, asker, entry.get("port_id"))?;
            let tag = match entry.get("segmentation_id") {
                // As its network has it: a member is not always shown that.
                None | Some(Value::Null) => {
                    let network = view.network.port(port).and_then(|port| view.network.network(port.settings.network));
                    network.and_then(|network| network.settings.segmentation_id)
                }
                Some(tag) => {
                    let number = tag.as_u64().or_else(|| tag.as_str()?.parse().ok());
                    number.and_then(|number| u16::try_from(number).ok())
                }
            };
            let tag = tag.ok_or_else(|| Fault::bad_request("A subport needs its segmentation_id, 1 to 4094."))?;
            Ok(Subport { port, tag })
        })
        .collect()
}

async fn submit(api: &Api, command: NetworkCommand, asker: &Asker) -> Result<Arc<Trunk>, Fault> {
    match api.submit(Command::Network(command), asker.actor()).await?.answer {
        Answer::Network(NetworkRow::Trunk(trunk)) => Ok(trunk),
        _ => Err(super::no_answer()),
    }
}

pub(super) async fn create(State(api): State<Api>, asker: Asker, body: Body) -> Result<Response, Fault> {
    let view = api.engine.view();
    let mut members = Members::of(body, "trunk")?;
    let about = new_about(&mut members, &asker)?;
    let port = match members.take("port_id") {
        Said::This(value) => own_port(&view, &asker, Some(&value))?,
        _ => return Err(Fault::bad_request("Failed to parse request. Required attribute 'port_id' not specified")),
    };
    let entries = members.list("sub_ports")?.over(Vec::new(), Vec::new());
    let settings = TrunkSettings {
        about,
        port,
        admin_state_up: members.flag("admin_state_up")?.over(true, true),
        subports: subports(&view, &asker, &entries)?,
    };
    members.end()?;
    let wanted = OnNetwork { project: &settings.about.project, network: None, device_owner: "" };
    may(&asker, "create_trunk", &wanted)?;
    let id = TrunkId(Uuid::new_v4());
    let trunk = submit(&api, NetworkCommand::CreateTrunk { id, settings: Box::new(settings) }, &asker).await?;
    Ok(made("trunk", document(&api.engine.view(), &trunk)))
}

async fn put(api: &Api, asker: &Asker, trunk: &Trunk, settings: TrunkSettings) -> Result<Document, Fault> {
    let command = NetworkCommand::ChangeTrunk { id: trunk.id, revision: trunk.revision, settings: Box::new(settings) };
    let trunk = submit(api, command, asker).await?;
    Ok(document(&api.engine.view(), &trunk))
}

pub(super) async fn change(
    State(api): State<Api>,
    asker: Asker,
    Path(ident): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Fault> {
    let trunk = seen(&api.engine.view(), &asker, &ident)?;
    if_match(&headers, trunk.revision)?;
    may(&asker, "update_trunk", &target(&trunk))?;
    let mut members = Members::of(body, "trunk")?;
    members.fixed("port_id", &json!(trunk.settings.port))?;
    let settings = TrunkSettings {
        about: changed_about(&mut members, &trunk.settings.about, trunk.id)?,
        admin_state_up: members.flag("admin_state_up")?.over(trunk.settings.admin_state_up, true),
        ..trunk.settings.clone()
    };
    members.end()?;
    Ok(Json(json!({"trunk": put(&api, &asker, &trunk, settings).await?})))
}

fn given(body: Body) -> Result<Vec<Value>, Fault> {
    let Json(body) = body?;
    let entries = body.get("sub_ports").and_then(Value::as_array).cloned();
    entries.ok_or_else(|| Fault::bad_request("Unable to find 'sub_ports' in request body."))
}

pub(super) async fn add(
    State(api): State<Api>,
    asker: Asker,
    Path(ident): Path<String>,
    body: Body,
) -> Result<Json<Value>, Fault> {
    let view = api.engine.view();
    let trunk = seen(&view, &asker, &ident)?;
    may(&asker, "add_subports", &target(&trunk))?;
    let mut settings = trunk.settings.clone();
    settings.subports.extend(subports(&view, &asker, &given(body)?)?);
    put(&api, &asker, &trunk, settings).await.map(|document| Json(Value::Object(document)))
}

pub(super) async fn take(
    State(api): State<Api>,
    asker: Asker,
    Path(ident): Path<String>,
    body: Body,
) -> Result<Json<Value>, Fault> {
    let trunk = seen(&api.engine.view(), &asker, &ident)?;
    may(&asker, "remove_subports", &target(&trunk))?;
    let mut settings = trunk.settings.clone();
    for entry in given(body)? {
        let id = entry.get("port_id").and_then(Value::as_str).unwrap_or_default();
        let at = settings.subports.iter().position(|subport| subport.port.to_string() == id);
        let at = at.ok_or_else(|| Fault::not_found("SubPort", id))?;
        settings.subports.remove(at);
    }
    put(&api, &asker, &trunk, settings).await.map(|document| Json(Value::Object(document)))
}

pub(super) async fn subports_of(
    State(api): State<Api>,
    asker: Asker,
    Path(ident): Path<String>,
) -> Result<Json<Value>, Fault> {
    let trunk = seen(&api.engine.view(), &asker, &ident)?;
    may(&asker, "get_subports", &target(&trunk))?;
    Ok(Json(json!({"sub_ports": trunk.settings.subports.iter().map(entry).collect::<Vec<_>>()})))
}

pub(super) async fn remove(
    State(api): State<Api>,
    asker: Asker,
    Path(ident): Path<String>,
) -> Result<StatusCode, Fault> {
    let trunk = seen(&api.engine.view(), &asker, &ident)?;
    may(&asker, "delete_trunk", &target(&trunk))?;
    api.submit(Command::Network(NetworkCommand::DeleteTrunk { id: trunk.id }), asker.actor()).await?;
    Ok(StatusCode::NO_CONTENT)
}
