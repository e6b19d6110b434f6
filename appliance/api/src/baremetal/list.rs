//! Lists of nodes: what is asked for, whose nodes the caller may list, pages.
//!
//! The narrowest index first, then the filters, then policy. A page costs what it shows, not what there is.

use super::asked::{Asked, find, no_node, uuid};
use super::document::{Columns, Shown, THRESHOLD};
use super::fields::LIST_FIELDS;
use super::filter::{Filter, listed_project};
use super::query::{self, Parameters};
use super::selection::Selection;
use crate::Api;
use crate::error::ApiError;
use crate::limits::fair::another_turn;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use leasehold_domain::View;
use leasehold_domain::id::NodeId;
use leasehold_domain::node::Node;
use serde_json::{Value, json};
use std::sync::Arc;

/// So many nodes are written in one turn: a fifth of a millisecond, and a thousand would be three of them.
const PIECE: usize = 64;

pub(super) async fn list(
    State(api): State<Api>,
    asked: Asked,
    Query(parameters): Query<Parameters>,
) -> Result<Response, ApiError> {
    let detail = query::detail(&parameters, asked.version)?;
    page(&api, &asked, &parameters, detail, if detail { "nodes/detail" } else { "nodes" }).await
}

pub(super) async fn list_detail(
    State(api): State<Api>,
    asked: Asked,
    Query(parameters): Query<Parameters>,
) -> Result<Response, ApiError> {
    if let Some(name) = ["fields", "detail"].into_iter().find(|name| parameters.contains_key(*name)) {
        return Err(ApiError::bad_request(format!("Unknown argument: \"{name}\".")));
    }
    page(&api, &asked, &parameters, true, "nodes/detail").await
}

/// One page of nodes under `path`. Also for lists of a chassis' nodes, with `chassis_uuid` among the parameters.
pub(super) async fn page(
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
    let key = |node: &Node, name: &str| Shown::of(api, asked, &view, node).looked_at(unmasked).sortable(name);
    let selection = Selection { view: &view, filter: &filter, order: &order, marker, limit, shared: unmasked };
    let nodes = selection.nodes(&api.orders, &key);
    let columns = Columns::of(fields.as_deref(), asked.version);
    let page = Page { asked, parameters, path, limit };
    page.answer(&nodes, |node, body| columns.write(Shown::of(api, asked, &view, node).looked_at(unmasked), body)).await
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
    async fn answer(
        &self,
        nodes: &[&Arc<Node>],
        write: impl Fn(&Node, &mut Vec<u8>) -> serde_json::Result<()>,
    ) -> Result<Response, ApiError> {
        let mut body = br#"{"nodes":["#.to_vec();
        for (at, node) in nodes.iter().enumerate() {
            if at > 0 {
                body.push(b',');
            }
            if at % PIECE == PIECE - 1 {
                another_turn().await;
            }
            let before = body.len();
            write(node, &mut body).map_err(unwritable)?;
            if at == 0 {
                // The others will be about as long.
                body.reserve((body.len() - before + 64) * nodes.len());
            }
        }
        body.push(b']');
        // Of one instance there is one node at most.
        let full = nodes.len() == self.limit && !self.parameters.contains_key("instance_uuid");
        if let Some(last) = nodes.last().filter(|_| full) {
            let link = query::next_link(&self.asked.base, self.path, self.parameters, self.limit, &last.id.to_string());
            body.extend_from_slice(br#","next":"#);
            serde_json::to_writer(&mut body, &link).map_err(unwritable)?;
        }
        body.push(b'}');
        Ok(json_bytes(body))
    }
}

/// What should not happen to a document of ours.
pub(super) fn unwritable(error: serde_json::Error) -> ApiError {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

/// An answer whose body is JSON already.
pub(super) fn json_bytes(body: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
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
