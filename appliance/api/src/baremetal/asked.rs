//! What most handlers of the bare-metal API begin with: who asks in which version, which node is meant, what the body says.

use super::version::{Version, not_acceptable};
use crate::Api;
pub(super) use crate::access::no_node;
use crate::auth::Caller;
use crate::error::ApiError;
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderName, StatusCode, header};
use leasehold_domain::View;
use leasehold_domain::command::Actor;
use leasehold_domain::id::NodeId;
use leasehold_domain::job::JobKind;
use leasehold_domain::node::Node;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// A JSON body, or why it is none.
pub(super) type Body = Result<Json<Value>, JsonRejection>;

/// From this version on `.json` at the end of a name is part of the name.
const PLAIN_NAMES: u16 = 91;
/// From this version on nodes have names.
const NAMES: u16 = 5;

/// The request's circumstances that most handlers need.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) base: String,
    pub(super) version: Version,
    pub(super) caller: Caller,
    /// The most rows that a page has.
    pub(super) page_rows: usize,
}

impl axum::extract::FromRequestParts<Api> for Asked {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, api: &Api) -> Result<Asked, ApiError> {
        let base = super::base_of(&parts.uri, &parts.headers, &parts.extensions);
        let missing = || ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "The request was not authenticated.");
        let version = *parts.extensions.get::<Version>().ok_or_else(missing)?;
        let caller = parts.extensions.get::<Caller>().ok_or_else(missing)?.clone();
        Ok(Asked { base, version, caller, page_rows: api.limits.settings.page_rows })
    }
}

impl Asked {
    /// The node that a path names, where the rule says yes: the node, and who gives a command about it.
    pub(super) fn node(&self, view: &View, ident: &str, rule: &str) -> Result<(Arc<Node>, Actor), ApiError> {
        let Some(node) = look(view, ident, self.version)? else { return Err(self.caller.misses(rule, ident)) };
        let actor = self.caller.may(rule, node, ident)?;
        Ok((node.clone(), actor))
    }

    /// The node that a path or a parameter names, if it is there for the caller.
    pub(super) fn seen<'a>(&self, view: &'a View, ident: &str) -> Result<&'a Arc<Node>, ApiError> {
        const RULE: &str = "baremetal:node:get";
        let Some(node) = look(view, ident, self.version)? else { return Err(self.caller.misses(RULE, ident)) };
        self.caller.may(RULE, node, ident)?;
        Ok(node)
    }

    /// `Location` of something of this API.
    pub(super) fn place(&self, path: &str) -> [(HeaderName, String); 1] {
        [(header::LOCATION, format!("{}/v1/{path}", self.base))]
    }

    /// 406 for what this version of the API does not take yet.
    pub(super) fn needs(&self, since: u16, what: &str) -> Result<(), ApiError> {
        if self.version.0 >= since { Ok(()) } else { Err(not_acceptable(self.version, since, what)) }
    }
}

/// The node that a text names, by UUID or name.
pub(super) fn find<'a>(view: &'a View, ident: &str) -> Result<&'a Arc<Node>, ApiError> {
    look(view, ident, super::version::MAX)?.ok_or_else(|| no_node(ident))
}

/// The same in this version of the API; `None`: there is no such node, which is not the same for every caller to know.
fn look<'a>(view: &'a View, ident: &str, version: Version) -> Result<Option<&'a Arc<Node>>, ApiError> {
    let plain = ident.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~'));
    if !plain || ident.is_empty() || ident.len() > 255 {
        return Err(ApiError::bad_request(format!("Expected UUID or name for node: {ident}")));
    }
    let known = |ident: &str| match Uuid::parse_str(ident) {
        Ok(uuid) => view.node(NodeId(uuid)),
        Err(_) if version.0 < NAMES => None,
        Err(_) => view.node_by_name(ident),
    };
    let short = ident.strip_suffix(".json").filter(|_| version.0 < PLAIN_NAMES);
    Ok(short.and_then(known).or_else(|| known(ident)))
}

/// How long a change of power that holds a node is waited for, as Ironic waits for a lock before it says 409.
const SWITCHING: Duration = Duration::from_secs(3);

/// Returns when no change of power holds the node, or after [`SWITCHING`]. Clients look at the power state, see what
/// they wanted, and give the next command while the change is still being written down.
pub(super) async fn settle(api: &Api, node: NodeId) {
    let mut feed = api.engine.store.subscribe();
    let is_switching = || {
        let view = api.engine.view();
        let job = view.node(node).and_then(|node| view.running_job(node));
        job.is_some_and(|job| matches!(job.kind, JobKind::Power(_)))
    };
    let over = async { while is_switching() && feed.next().await.is_some() {} };
    // Whoever still holds it then is named by the refusal.
    let _late = tokio::time::timeout(SWITCHING, over).await;
}

/// What was sent, or a clear refusal of a body that is no JSON.
pub(super) fn json(body: Body) -> Result<Value, ApiError> {
    match body {
        Ok(Json(value)) => Ok(value),
        Err(rejection) => {
            Err(ApiError::new(rejection.status(), format!("The body is not usable: {}.", rejection.body_text())))
        }
    }
}

/// A JSON object, or a clear refusal.
pub(super) fn object(body: Body) -> Result<Map<String, Value>, ApiError> {
    match json(body)? {
        Value::Object(map) => Ok(map),
        _ => Err(ApiError::bad_request("The body must be a JSON object.")),
    }
}

/// A UUID in a body.
pub(super) fn uuid(text: &str) -> Result<Uuid, ApiError> {
    Uuid::parse_str(text).map_err(|_| ApiError::bad_request(format!("Expected a UUID but received {text}.")))
}

/// The UUID that a new thing is to have, or a fresh one.
pub(super) fn new_uuid(body: &Map<String, Value>) -> Result<Uuid, ApiError> {
    match body.get("uuid") {
        None | Some(Value::Null) => Ok(Uuid::new_v4()),
        Some(Value::String(text)) => uuid(text),
        Some(_) => Err(ApiError::bad_request("uuid must be a string.")),
    }
}
