//! `/v1/ports`: network cards of nodes. A port is there for whoever sees its node.

use super::asked::{Asked, Body, find, json, no_node, object, settle, uuid};
use super::operations::Patch;
use super::port_document::{LIST_FIELDS, PortField, check_creation, document, settings};
use super::query::{self, Parameters};
use super::version::not_acceptable;
use crate::Api;
use crate::access::{OfNode, forbidden};
use crate::error::ApiError;
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use leasehold_domain::View;
use leasehold_domain::command::{Answer, Command};
use leasehold_domain::facet::Facet;
use leasehold_domain::id::{NodeId, PortId, PortgroupId};
use leasehold_domain::mac::Mac;
use leasehold_domain::node::Node;
use leasehold_domain::port::{Port, PortSettings};
use leasehold_domain::provision::ProvisionState;
use serde_json::{Value, json};
use std::sync::Arc;
use uuid::Uuid;

const PARAMETERS: [&str; 13] = [
    "address",
    "conductor_groups",
    "description_contains",
    "detail",
    "fields",
    "limit",
    "marker",
    "node",
    "node_uuid",
    "portgroup",
    "shard",
    "sort_dir",
    "sort_key",
];

/// The port that a path names, by UUID or name, and its node: where the rule says yes for the node.
fn found(asked: &Asked, view: &View, ident: &str, rule: &str) -> Result<(Arc<Port>, Arc<Node>), ApiError> {
    let plain = ident.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~'));
    if !plain || ident.is_empty() {
        return Err(ApiError::bad_request(format!("Expected UUID or name for port: {ident}")));
    }
    let missing = || ApiError::not_found(format!("Port {ident} could not be found."));
    let port = match Uuid::parse_str(ident) {
        Ok(uuid) => view.port(PortId(uuid)),
        Err(_) if asked.version.0 < 88 => None,
        Err(_) => view.port_by_name(ident),
    };
    let port = port.ok_or_else(missing)?;
    let node = view.node(port.settings.node).filter(|node| asked.caller.sees(node)).ok_or_else(missing)?;
    asked.caller.needs(rule, &OfNode(node))?;
    Ok((port.clone(), node.clone()))
}

pub(super) async fn list(
    State(api): State<Api>,
    asked: Asked,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Value>, ApiError> {
    let detail = query::detail(&parameters, asked.version)?;
    page(&api, &asked, &parameters, detail, if detail { "ports/detail" } else { "ports" }, Of::Any)
}

pub(super) async fn list_detail(
    State(api): State<Api>,
    asked: Asked,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Value>, ApiError> {
    page(&api, &asked, &parameters, true, "ports/detail", Of::Any)
}

pub(super) async fn list_of_node(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Value>, ApiError> {
    let detail = query::detail(&parameters, asked.version)?;
    let node = asked.seen(&api.engine.view(), &ident)?.id;
    page(&api, &asked, &parameters, detail, &format!("nodes/{node}/ports"), Of::Node(node))
}

pub(super) async fn list_detail_of_node(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Value>, ApiError> {
    let node = asked.seen(&api.engine.view(), &ident)?.id;
    page(&api, &asked, &parameters, true, &format!("nodes/{node}/ports/detail"), Of::Node(node))
}

/// Whose ports a list is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Any,
    Node(NodeId),
    Portgroup(PortgroupId),
}

/// One page of ports under `path`.
pub(super) fn page(
    api: &Api,
    asked: &Asked,
    parameters: &Parameters,
    detail: bool,
    path: &str,
    of: Of,
) -> Result<Json<Value>, ApiError> {
    let project = listed_project(asked)?;
    query::only(parameters, &PARAMETERS)?;
    query::not_with_fields(parameters, detail)?;
    let limit = query::limit(parameters, asked.page_rows)?;
    let order = query::order(parameters, |key| sort_key(key, asked))?;
    let fields = fields(parameters, asked)?;
    let view = api.engine.view();
    let filter = Filter::read(asked, &view, parameters, of, project)?;
    let marker = match parameters.get("marker") {
        Some(text) => Some(found(asked, &view, &uuid(text)?.to_string(), "baremetal:port:get")?.0.id),
        None => None,
    };
    let row = |port: &Arc<Port>| {
        let mut document = document(port, &view, &asked.base, asked.version);
        match &fields {
            Some(wanted) => document.retain(|name, _| wanted.contains(name) || name == "links"),
            None if !detail => document.retain(|name, _| LIST_FIELDS.contains(&name.as_str())),
            None => {}
        }
        Value::Object(document)
    };
    // Of all ports only the page is looked at; those of a node or a project are few.
    let everything = filter.narrow(&view);
    let ports: Vec<&Arc<Port>> = match (everything, order.key.is_some() || order.descending) {
        (None, false) => view.ports_after(marker).filter(|port| filter.takes(&view, port)).take(limit).collect(),
        (some, _) => {
            let mut ports = some.unwrap_or_else(|| view.ports_after(None).collect());
            ports.retain(|port| filter.takes(&view, port));
            ports.sort_by_key(|port| (port.created_at, port.id));
            query::sort(&mut ports, &order, |port, key| {
                document(port, &view, "", super::version::MAX).remove(key).unwrap_or_default()
            });
            let start = marker.and_then(|id| ports.iter().position(|port| port.id == id)).map_or(0, |at| at + 1);
            ports.into_iter().skip(start).take(limit).collect()
        }
    };
    let rows: Vec<Value> = ports.iter().copied().map(row).collect();
    let mut body = json!({"ports": rows});
    if let Some(last) = ports.last().filter(|_| ports.len() == limit) {
        body["next"] = query::next_link(&asked.base, path, parameters, limit, &last.id.to_string());
    }
    Ok(Json(body))
}

/// Whose ports the caller may list: everybody's, or those of his own project's nodes.
fn listed_project(asked: &Asked) -> Result<Option<String>, ApiError> {
    if asked.caller.allows("baremetal:port:list_all", &()) {
        return Ok(None);
    }
    let project = asked.caller.credentials.project_id.clone();
    let project = project.ok_or_else(|| forbidden("baremetal:port:list_all"))?;
    asked.caller.needs("baremetal:port:list", &())?;
    Ok(Some(project))
}

struct Filter {
    of: Of,
    address: Option<Mac>,
    shards: Option<Vec<String>>,
    groups: Option<Vec<String>>,
    contains: Option<String>,
    project: Option<String>,
}

impl Filter {
    fn read(
        asked: &Asked,
        view: &View,
        parameters: &Parameters,
        of: Of,
        project: Option<String>,
    ) -> Result<Filter, ApiError> {
        for (name, since) in [("shard", 82), ("conductor_groups", 99), ("portgroup", 24)] {
            if parameters.contains_key(name) {
                asked.needs(since, name)?;
            }
        }
        let node = parameters.get("node_uuid").or(parameters.get("node"));
        let group = parameters.get("portgroup");
        let shards = query::list_of(parameters, "shard");
        let exclusive = [node.is_some() || of != Of::Any, group.is_some(), shards.is_some()];
        if exclusive.into_iter().filter(|given| *given).count() > 1 {
            return Err(ApiError::new(
                StatusCode::FORBIDDEN,
                "Only one of node, portgroup and shard can be asked for.",
            ));
        }
        let of = match (of, node, group) {
            (Of::Any, Some(ident), _) => Of::Node(asked.seen(view, ident)?.id),
            (Of::Any, None, Some(ident)) => Of::Portgroup(portgroup(asked, view, ident)?),
            (of, ..) => of,
        };
        let address = match parameters.get("address") {
            Some(text) => Some(text.parse::<Mac>().map_err(|error| ApiError::bad_request(error.to_string()))?),
            None => None,
        };
        let groups = query::list_of(parameters, "conductor_groups");
        if groups.is_some() && (of != Of::Any || address.is_some()) {
            return Err(ApiError::bad_request(
                "Filtering by conductor_groups cannot be combined with node, portgroup, or address filters.",
            ));
        }
        let contains = parameters.get("description_contains").map(|text| text.to_lowercase());
        Ok(Filter { of, address, shards, groups, contains, project })
    }

    fn takes(&self, view: &View, port: &Port) -> bool {
        let settings = &port.settings;
        let node = || view.node(settings.node).map(|node| &node.settings);
        let label = |name: &str| node().and_then(|node| node.label(name)).unwrap_or_default();
        let within = |wanted: &Option<Vec<String>>, name: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted.iter().any(|one| one == label(name)))
        };
        let of = match self.of {
            Of::Any => true,
            Of::Node(node) => settings.node == node,
            Of::Portgroup(group) => settings.portgroup == Some(group),
        };
        of && self.address.is_none_or(|address| settings.address == address)
            && within(&self.shards, "shard")
            && within(&self.groups, "conductor_group")
            && self.contains.as_ref().is_none_or(|wanted| {
                settings.description.as_ref().is_some_and(|text| text.to_lowercase().contains(wanted))
            })
            && self.project.as_ref().is_none_or(|project| {
                node().is_some_and(|node| node.owner.as_ref() == Some(project) || node.lessee.as_ref() == Some(project))
            })
    }

    /// The ports that can be meant, where an index tells; `None`: all of them can.
    fn narrow<'a>(&self, view: &'a View) -> Option<Vec<&'a Arc<Port>>> {
        if let Some(address) = self.address {
            return Some(view.port_by_mac(address).into_iter().collect());
        }
        let of_nodes = |facet: Facet| view.nodes_of(facet, None).flat_map(|node| view.ports_of(node.id)).collect();
        match (self.of, &self.project, self.shards.as_deref()) {
            (Of::Node(node), ..) => Some(view.ports_of(node).collect()),
            (Of::Portgroup(group), ..) => {
                let node = view.hardware.portgroups.get(group).map(|group| group.body.node);
                Some(node.into_iter().flat_map(|node| view.ports_of(node)).collect())
            }
            (_, Some(project), _) => Some(of_nodes(Facet::Project(project.clone()))),
            (_, _, Some([shard])) => Some(of_nodes(Facet::Shard(shard.clone()))),
            _ => None,
        }
    }
}

/// A port group by UUID or name, of a node that the caller sees.
fn portgroup(asked: &Asked, view: &View, ident: &str) -> Result<PortgroupId, ApiError> {
    use leasehold_domain::hardware::PORTGROUP_NAME;
    let groups = &view.hardware.portgroups;
    let group = match Uuid::parse_str(ident) {
        Ok(uuid) => groups.get(PortgroupId(uuid)),
        Err(_) => groups.find(PORTGROUP_NAME, ident),
    };
    let seen = group.filter(|group| view.node(group.body.node).is_some_and(|node| asked.caller.sees(node)));
    seen.map(|group| group.id).ok_or_else(|| ApiError::not_found(format!("Portgroup {ident} could not be found.")))
}

fn sort_key(key: &str, asked: &Asked) -> Result<(), ApiError> {
    match PortField::known(key) {
        Some(field) if field.since > asked.version.0 => Err(not_acceptable(asked.version, field.since, key)),
        Some(field) if !field.nested => Ok(()),
        _ => Err(query::bad_sort_key(key)),
    }
}

/// The members that `fields=` names, if all exist.
fn fields(parameters: &Parameters, asked: &Asked) -> Result<Option<Vec<String>>, ApiError> {
    let Some(names) = query::names(parameters, asked.version)? else { return Ok(None) };
    for name in &names {
        match PortField::known(name) {
            Some(field) if field.since > asked.version.0 => {
                return Err(not_acceptable(asked.version, field.since, name));
            }
            Some(_) => {}
            None => return Err(ApiError::bad_request(format!("Field(s) \"{name}\" are not valid."))),
        }
    }
    Ok(Some(names))
}

pub(super) async fn show(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Result<Json<Value>, ApiError> {
    let view = api.engine.view();
    let (port, _) = found(&asked, &view, &ident, "baremetal:port:get")?;
    query::only(&parameters, &["fields"])?;
    let wanted = fields(&parameters, &asked)?;
    let mut document = document(&port, &view, &asked.base, asked.version);
    document.retain(|name, _| name == "links" || wanted.as_ref().is_none_or(|wanted| wanted.contains(name)));
    Ok(Json(Value::Object(document)))
}

pub(super) async fn create(State(api): State<Api>, asked: Asked, body: Body) -> Result<Response, ApiError> {
    let mut body = object(body)?;
    let view = api.engine.view();
    let ident = match (body.remove("node_ident"), body.remove("node_uuid")) {
        (Some(ident), None) => {
            asked.needs(94, "node_ident")?;
            ident
        }
        (None, Some(ident)) => ident,
        _ => return Err(ApiError::bad_request("A port needs the node_uuid of its node.")),
    };
    let ident = ident.as_str().ok_or_else(|| ApiError::bad_request("node_uuid must be a string."))?.to_owned();
    let node = find(&view, &ident).ok().filter(|node| asked.caller.sees(node));
    // Where the node is not there for the caller, the rule is asked about nothing: the answer tells nothing either.
    match node {
        Some(node) => asked.caller.needs("baremetal:port:create", &OfNode(node))?,
        None => asked.caller.needs("baremetal:port:create", &())?,
    }
    let node = node.ok_or_else(|| ApiError { status: StatusCode::BAD_REQUEST, ..no_node(&ident) })?;
    let id = PortId(super::asked::new_uuid(&body)?);
    body.remove("uuid");
    body.insert("node_uuid".into(), node.id.to_string().into());
    check_creation(&body, asked.version)?;
    let settings = Box::new(settings(&body, asked.version, named_switches(&api))?);
    check_group(&asked, &view, &settings)?;
    if !settings.local_link_connection.is_empty() {
        may_cable(&api, &asked)?;
        check_cable(&api, &view, None, &settings)?;
    }
    let committed = api.submit(Command::CreatePort { id, settings }, asked.caller.judged(node)).await?;
    let document = document_of(&api, &asked, &committed.answer)?;
    Ok((StatusCode::CREATED, asked.place(&format!("ports/{id}")), Json(document)).into_response())
}

/// Where a cable goes decides which machine this box puts on which VLAN. A project that owns a node has no say in that: it
/// could name the switch port of another's machine, and have it moved or cut off, or forget the one of its own while a
/// lessee's network is there. Where the box sets no switch, the note is as Ironic has it.
fn may_cable(api: &Api, asked: &Asked) -> Result<(), ApiError> {
    match api.engine.switches.are_configured() && !asked.caller.allows(CABLE, &()) {
        true => Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "This box sets the switch port that local_link_connection names: an administrator of the system notes, \
             changes and deletes it.",
        )),
        false => Ok(()),
    }
}

/// Where the box sets switch ports, a switch may be named by `switch_info` alone: that is its name here.
fn named_switches(api: &Api) -> bool {
    api.engine.switches.are_configured()
}

/// A cable goes to a switch port that the box may set, and that no other cable goes to.
fn check_cable(api: &Api, view: &View, id: Option<PortId>, settings: &PortSettings) -> Result<(), ApiError> {
    let checked = api.engine.switches.check_cable(view, id, settings);
    checked.map_err(|why| ApiError::bad_request(format!("Port {}: {why}.", settings.address)))
}

/// Asked about no node: who may do this whosever the node is.
const CABLE: &str = "baremetal:port:create";

/// A port group of a node that the caller does not see is answered like one that is not there.
fn check_group(asked: &Asked, view: &View, settings: &PortSettings) -> Result<(), ApiError> {
    let Some(group) = settings.portgroup else { return Ok(()) };
    let missing = |error| ApiError { status: StatusCode::BAD_REQUEST, ..error };
    portgroup(asked, view, &group.to_string()).map(drop).map_err(missing)
}

fn document_of(api: &Api, asked: &Asked, answer: &Answer) -> Result<Value, ApiError> {
    match answer {
        Answer::Port(port) => Ok(Value::Object(document(port, &api.engine.view(), &asked.base, asked.version))),
        _ => Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "The change brought no port.")),
    }
}

/// A patch of a port whose operations name members that may be changed.
fn read_patch(body: &Value, asked: &Asked) -> Result<Patch, ApiError> {
    let patch = Patch::read(body)?;
    for operation in &patch.operations {
        match PortField::known(operation.member()).filter(|field| field.patched) {
            Some(field) if field.since > asked.version.0 => {
                return Err(not_acceptable(asked.version, field.since, field.name));
            }
            Some(_) => {}
            None => return Err(operation.refused()),
        }
    }
    Ok(patch)
}

/// The command that the patch amounts to, for the port as it is now.
fn changed(
    api: &Api,
    asked: &Asked,
    view: &View,
    port: &Port,
    node: &Node,
    patch: &Patch,
) -> Result<Command, ApiError> {
    if node.provision_state == ProvisionState::Inspecting && asked.version.0 >= 39 {
        return Err(ApiError::new(
            StatusCode::CONFLICT,
            format!("Cannot update port \"{}\" on \"{}\" while it is in state \"inspecting\".", port.id, node.id),
        ));
    }
    let mut members = document(port, view, "", super::version::MAX);
    members.retain(|name, _| PortField::known(name).is_some_and(|field| field.patched));
    let members = patch.apply(members)?;
    let cabled_by = if patch.touches("local_link_connection") { asked.version } else { super::version::MAX };
    let settings = Box::new(settings(&members, cabled_by, named_switches(api))?);
    if settings.local_link_connection != port.settings.local_link_connection {
        check_cable(api, view, Some(port.id), &settings)?;
    }
    if settings.node != port.settings.node && !view.node(settings.node).is_some_and(|to| asked.caller.sees(to)) {
        return Err(ApiError::bad_request(format!(
            "Unable to apply the requested node_uuid '{}'. Requested value was invalid.",
            settings.node
        )));
    }
    check_group(asked, view, &settings)?;
    if asked.version.0 >= 102 && patch.touches("physical_network") && settings.portgroup.is_some() {
        return Err(ApiError::bad_request("physical_network cannot be changed while the port belongs to a portgroup."));
    }
    Ok(Command::ChangePort { id: port.id, revision: port.revision, settings })
}

pub(super) async fn change(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let port = found(&asked, &api.engine.view(), &ident, "baremetal:port:update")?.0.id;
    let patch = read_patch(&json(body)?, &asked)?;
    let committed = api
        .submit_cut(&[port], |view| {
            let (port, node) = found(&asked, view, &ident, "baremetal:port:update")?;
            let moved = patch.touches("node_uuid") && !port.settings.local_link_connection.is_empty();
            if moved || patch.touches("local_link_connection") {
                may_cable(&api, &asked)?;
            }
            Ok((changed(&api, &asked, view, &port, &node, &patch)?, asked.caller.judged(&node)))
        })
        .await?;
    document_of(&api, &asked, &committed.answer).map(Json)
}

pub(super) async fn remove(
    State(api): State<Api>,
    asked: Asked,
    Path(ident): Path<String>,
) -> Result<StatusCode, ApiError> {
    let (port, node) = found(&asked, &api.engine.view(), &ident, "baremetal:port:delete")?;
    if !port.settings.local_link_connection.is_empty() {
        may_cable(&api, &asked)?;
    }
    settle(&api, node.id).await;
    let actor = asked.caller.judged(&node);
    api.submit_cut(&[port.id], |_| Ok((Command::DeletePort { id: port.id }, actor.clone()))).await?;
    Ok(StatusCode::NO_CONTENT)
}
