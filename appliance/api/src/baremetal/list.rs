//! Lists of nodes: filters of each version, whose nodes the caller may list, pages.
//!
//! The narrowest index first, then the filters, then policy. A page costs what it shows, not what there is.

use super::asked::{Asked, find, no_node, uuid};
use super::document::{Shown, THRESHOLD};
use super::fields::LIST_FIELDS;
use super::query::{self, Parameters, flag_of};
use super::version::not_acceptable;
use crate::Api;
use crate::error::ApiError;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use leasehold_domain::View;
use leasehold_domain::facet::Facet;
use leasehold_domain::id::NodeId;
use leasehold_domain::node::{CLEAN_FAILURE, Node, POWER_FAILURE};
use leasehold_domain::provision::ProvisionState;
use serde_json::{Value, json};
use std::sync::Arc;
use uuid::Uuid;

/// Each parameter of the list, and since which version it is taken.
const PARAMETERS: [(&str, u16); 26] = [
    ("fields", 8),
    ("detail", 1),
    ("limit", 1),
    ("marker", 1),
    ("sort_key", 1),
    ("sort_dir", 1),
    ("associated", 1),
    ("chassis_uuid", 1),
    ("conductor", 49),
    ("conductor_group", 46),
    ("description_contains", 1),
    ("driver", 16),
    ("fault", 42),
    ("include_children", 83),
    ("instance_name", 104),
    ("instance_uuid", 1),
    ("lessee", 65),
    ("maintenance", 1),
    ("owner", 50),
    ("parent_node", 83),
    ("project", 1),
    ("provision_state", 9),
    ("resource_class", 21),
    ("retired", 1),
    ("shard", 82),
    ("sharded", 82),
];

/// Which of a node's parts are listed.
enum Parts {
    Left,
    Of(NodeId),
    All,
}

/// What a list is asked for.
struct Filter {
    associated: Option<bool>,
    maintenance: Option<bool>,
    retired: Option<bool>,
    sharded: Option<bool>,
    shards: Option<Vec<String>>,
    state: Option<ProvisionState>,
    instance: Option<Uuid>,
    parts: Parts,
    chassis: Option<String>,
    class: Option<String>,
    owner: Option<String>,
    lessee: Option<String>,
    /// Owner or lessee: the caller's own project where he may not list others'.
    project: Option<String>,
    driver: Option<String>,
    fault: Option<String>,
    group: Option<String>,
    conductor: Option<String>,
    instance_name: Option<String>,
    contains: Option<String>,
}

impl Filter {
    fn read(api: &Api, asked: &Asked, view: &View, parameters: &Parameters) -> Result<Filter, ApiError> {
        let project = listed_project(asked, parameters.get("project"))?;
        for name in parameters.keys() {
            match PARAMETERS.iter().find(|(known, _)| known == name) {
                Some((_, since)) if *since > asked.version.0 => {
                    return Err(not_acceptable(asked.version, *since, name));
                }
                Some(_) => {}
                None => return Err(ApiError::bad_request(format!("Unknown argument: \"{name}\"."))),
            }
        }
        let text = |name: &str| parameters.get(name).cloned();
        let state = match text("provision_state") {
            Some(name) => Some(
                ProvisionState::from_name(&name)
                    .ok_or_else(|| ApiError::bad_request(format!("Provision state \"{name}\" is not valid")))?,
            ),
            None => None,
        };
        let fault = text("fault");
        const FAULTS: [&str; 4] = [POWER_FAILURE, CLEAN_FAILURE, "rescue abort failure", "service failure"];
        if let Some(unknown) = fault.as_ref().filter(|fault| !FAULTS.contains(&fault.as_str())) {
            return Err(ApiError::bad_request(format!(
                "Unrecognized fault \"{unknown}\" is specified, allowed faults are {}.",
                FAULTS.join(", ")
            )));
        }
        let parts = match (flag_of(parameters, "include_children")?, text("parent_node")) {
            (Some(true), _) => Parts::All,
            // A parent that is not there for the caller has no parts.
            (_, Some(ident)) => Parts::Of(asked.seen(view, &ident).map_or(NodeId(Uuid::nil()), |node| node.id)),
            _ => Parts::Left,
        };
        let conductor = text("conductor");
        Ok(Filter {
            associated: flag_of(parameters, "associated")?,
            maintenance: flag_of(parameters, "maintenance")?,
            retired: flag_of(parameters, "retired")?,
            sharded: flag_of(parameters, "sharded")?,
            shards: query::list_of(parameters, "shard"),
            state,
            instance: text("instance_uuid").map(|text| uuid(&text)).transpose()?,
            parts,
            chassis: text("chassis_uuid").map(|text| uuid(&text).map(|uuid| uuid.to_string())).transpose()?,
            class: text("resource_class"),
            owner: text("owner"),
            lessee: text("lessee"),
            project,
            driver: text("driver"),
            fault,
            group: text("conductor_group").map(|group| group.to_lowercase()),
            // There is one conductor: this box. Another has no nodes.
            conductor: conductor.filter(|name| **name != *api.hostname),
            instance_name: text("instance_name"),
            contains: text("description_contains").map(|text| text.to_lowercase()),
        })
    }

    fn takes(&self, node: &Node) -> bool {
        let settings = &node.settings;
        let same = |wanted: &Option<String>, given: Option<&str>| wanted.is_none() || wanted.as_deref() == given;
        let label = |name: &str| settings.label(name);
        self.associated.is_none_or(|wanted| settings.instance_uuid.is_some() == wanted)
            && self.maintenance.is_none_or(|wanted| node.maintenance == wanted)
            && self.retired.is_none_or(|wanted| settings.retired == wanted)
            && self.sharded.is_none_or(|wanted| label("shard").is_some() == wanted)
            && self
                .shards
                .as_ref()
                .is_none_or(|shards| label("shard").is_some_and(|shard| shards.iter().any(|wanted| wanted == shard)))
            && self.state.is_none_or(|wanted| node.provision_state == wanted)
            && self.instance.is_none_or(|wanted| settings.instance_uuid == Some(wanted))
            && match self.parts {
                Parts::Left => settings.parent().is_none(),
                Parts::Of(parent) => settings.parent() == Some(parent),
                Parts::All => true,
            }
            && same(&self.chassis, label("chassis_uuid"))
            && same(&self.class, settings.resource_class.as_deref())
            && same(&self.owner, settings.owner.as_deref())
            && same(&self.lessee, settings.lessee.as_deref())
            && self.project.as_ref().is_none_or(|wanted| {
                settings.owner.as_ref() == Some(wanted) || settings.lessee.as_ref() == Some(wanted)
            })
            && self.driver.as_ref().is_none_or(|wanted| settings.driver == *wanted)
            && same(&self.fault, node.fault.as_deref())
            && self.group.as_ref().is_none_or(|wanted| label("conductor_group").unwrap_or_default() == wanted)
            && same(&self.instance_name, label("instance_name"))
            && self.contains.as_ref().is_none_or(|wanted| {
                settings.description.as_ref().is_some_and(|text| text.to_lowercase().contains(wanted))
            })
    }

    /// Every node that can be meant, oldest first, found by the narrowest index that the filter allows.
    fn candidates<'a>(&self, view: &'a View, after: Option<NodeId>) -> Box<dyn Iterator<Item = &'a Arc<Node>> + 'a> {
        if self.conductor.is_some() {
            return Box::new(std::iter::empty());
        }
        if let Some(instance) = self.instance {
            return Box::new(view.node_by_instance(instance).into_iter().filter(move |node| Some(node.id) != after));
        }
        let project = self.project.as_ref().or(self.owner.as_ref()).or(self.lessee.as_ref());
        let facet = match (&self.parts, &self.chassis, project, self.shards.as_deref(), &self.class, self.state) {
            (Parts::Of(parent), ..) => Facet::Parent(*parent),
            (_, Some(chassis), ..) => Facet::Chassis(chassis.clone()),
            (_, _, Some(project), ..) => Facet::Project(project.clone()),
            (_, _, _, Some([shard]), ..) => Facet::Shard(shard.clone()),
            (_, _, _, _, Some(class), _) => Facet::Class(class.clone()),
            (_, _, _, _, _, Some(state)) => Facet::State(state),
            _ => return Box::new(view.nodes_after(after)),
        };
        Box::new(view.nodes_of(facet, after))
    }
}

/// Whose nodes the caller may list: everybody's (then of the project that he asks for), or his own project's.
fn listed_project(asked: &Asked, wanted: Option<&String>) -> Result<Option<String>, ApiError> {
    if asked.caller.allows("baremetal:node:list_all", &()) {
        return Ok(wanted.cloned());
    }
    match asked.caller.credentials.project_id.as_ref() {
        Some(own) if wanted.is_none_or(|wanted| wanted == own) => {
            asked.caller.needs("baremetal:node:list", &())?;
            Ok(Some(own.clone()))
        }
        _ => Err(crate::access::forbidden("baremetal:node:list_all")),
    }
}

pub(super) async fn list(
    State(api): State<Api>,
    asked: Asked,
    Query(parameters): Query<Parameters>,
) -> Result<Response, ApiError> {
    let detail = query::detail(&parameters, asked.version)?;
    page(&api, &asked, &parameters, detail, if detail { "nodes/detail" } else { "nodes" })
}

pub(super) async fn list_detail(
    State(api): State<Api>,
    asked: Asked,
    Query(parameters): Query<Parameters>,
) -> Result<Response, ApiError> {
    if let Some(name) = ["fields", "detail"].into_iter().find(|name| parameters.contains_key(*name)) {
        return Err(ApiError::bad_request(format!("Unknown argument: \"{name}\".")));
    }
    page(&api, &asked, &parameters, true, "nodes/detail")
}

/// One page of nodes under `path`. Also for lists of a chassis' nodes, with `chassis_uuid` among the parameters.
pub(super) fn page(
    api: &Api,
    asked: &Asked,
    parameters: &Parameters,
    detail: bool,
    path: &str,
) -> Result<Response, ApiError> {
    let view = api.engine.view();
    let filter = Filter::read(api, asked, &view, parameters)?;
    let limit = query::limit(parameters, asked.page_rows)?;
    let order = query::order(parameters, |key| query::node_sort_key(key, asked.version))?;
    let wanted = query::node_fields(parameters, asked.version)?;
    let default: Vec<String> = LIST_FIELDS.iter().map(|name| (*name).to_owned()).collect();
    let fields = if detail { None } else { Some(wanted.unwrap_or(default)) };
    let marker = match parameters.get("marker") {
        Some(text) => Some(marked(asked, &view, text)?),
        None => None,
    };
    // One look at the rule serves whoever sees everything; else each node is asked about.
    let unmasked = asked.caller.allows(THRESHOLD, &());
    let select = |node: &Arc<Node>| {
        let shown = Shown::of(api, asked, &view, node).looked_at(unmasked);
        (node.id, shown.select(fields.as_deref(), asked.version))
    };
    let page = Page { asked, parameters, path, limit };
    // A sorted list has no cheap order: all of it is sorted. Else only the page is looked at.
    if order.key.is_some() || order.descending {
        let mut nodes: Vec<&Arc<Node>> = filter.candidates(&view, None).filter(|node| filter.takes(node)).collect();
        query::sort(&mut nodes, &order, |node, key| {
            Shown::of(api, asked, &view, node).looked_at(unmasked).sortable(key)
        });
        let start = marker.and_then(|id| nodes.iter().position(|node| node.id == id)).map_or(0, |at| at + 1);
        return page.answer(nodes.into_iter().skip(start).map(select));
    }
    page.answer(filter.candidates(&view, marker).filter(|node| filter.takes(node)).map(select))
}

fn marked(asked: &Asked, view: &View, text: &str) -> Result<NodeId, ApiError> {
    let node = find(view, &uuid(text)?.to_string())?;
    if asked.caller.sees(node) { Ok(node.id) } else { Err(no_node(text)) }
}

struct Page<'a> {
    asked: &'a Asked,
    parameters: &'a Parameters,
    path: &'a str,
    limit: usize,
}

impl Page<'_> {
    /// One page of documents and, if it is full, the link to the next. Written node by node: as one value, a page of a
    /// thousand nodes would be a tree of some hundred thousand small allocations.
    fn answer(&self, rows: impl Iterator<Item = (NodeId, Value)>) -> Result<Response, ApiError> {
        let unwritable = |error: serde_json::Error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
        let mut body = br#"{"nodes":["#.to_vec();
        let mut last = None;
        let mut count = 0;
        for (id, row) in rows.take(self.limit) {
            if last.is_some() {
                body.push(b',');
            }
            last = Some(id);
            count += 1;
            serde_json::to_writer(&mut body, &row).map_err(unwritable)?;
        }
        body.push(b']');
        // Of one instance there is one node at most.
        let full = count == self.limit && !self.parameters.contains_key("instance_uuid");
        if let Some(last) = last.filter(|_| full) {
            let link = query::next_link(&self.asked.base, self.path, self.parameters, self.limit, &last.to_string());
            body.extend_from_slice(br#","next":"#);
            serde_json::to_writer(&mut body, &link).map_err(unwritable)?;
        }
        body.push(b'}');
        Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
    }
}

/// `/v1/nodes/{node}/children`: its parts.
pub(super) async fn children(
    State(api): State<Api>,
    asked: Asked,
    axum::extract::Path(ident): axum::extract::Path<String>,
) -> Result<axum::Json<Value>, ApiError> {
    super::version::needs(asked.version, 83, "The list of a node's parts")?;
    let view = api.engine.view();
    let parent = asked.seen(&view, &ident)?.id;
    let project = listed_project(&asked, None)?;
    let parts = view.children_of(parent).filter(|node| {
        let settings = &node.settings;
        project.is_none() || settings.owner == project || settings.lessee == project
    });
    let parts: Vec<_> = parts.map(|node| node.id.to_string()).collect();
    let href = format!("{}/v1/nodes?parent_node={parent}", asked.base);
    Ok(axum::Json(json!({"children": parts, "links": {"href": href, "rel": "children"}})))
}

/// `/v1/shards`: each shard and how many nodes it has.
pub(super) async fn shards(State(api): State<Api>, asked: Asked) -> Result<axum::Json<Value>, ApiError> {
    super::version::needs(asked.version, 82, "The list of shards")?;
    asked.caller.needs("baremetal:shards:get", &())?;
    let shards = api.engine.view().shards();
    let unsharded = api.engine.view().node_count() - shards.iter().map(|(_, count)| count).sum::<usize>();
    let mut rows: Vec<Value> = shards.iter().map(|(name, count)| json!({"name": name, "count": count})).collect();
    if unsharded > 0 {
        rows.push(json!({"name": "None", "count": unsharded}));
    }
    Ok(axum::Json(json!({"shards": rows})))
}
