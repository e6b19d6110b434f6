//! What deploy agents ask on the provisioning network: lookup, heartbeat, inspection, images.
//!
//! The wire is ironic-python-agent's. A lookup gives nothing secret away (the token came on the kernel command line);
//! every other call proves the boot secret of the node's present job. Refusals here are terse: whoever asks without the
//! secret learns nothing.

use crate::Api;
use crate::error::ApiError;
use crate::serve::Connection;
use axum::body::Body;
use axum::extract::{Extension, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use leasehold_domain::command::{Actor, Command};
use leasehold_domain::id::NodeId;
use leasehold_domain::job::Job;
use leasehold_domain::mac::Mac;
use leasehold_domain::node::Node;
use leasehold_engine::images::StoredImage;
use leasehold_store::TraceEntry;
use leasehold_wire::agent::{Heartbeat, LookupAnswer, LookupConfig, LookupNode, TOKEN_MASK};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;

/// Within how many seconds an agent should call again.
const HEARTBEAT_SECONDS: f64 = 60.0;
/// Longest certificate of an agent, in PEM, and longest URL: both are kept with its node.
const CERTIFICATE_LIMIT: usize = 16 << 10;
const URL_LIMIT: usize = 300;
/// Bytes of an image that are read at a time.
const CHUNK: u64 = 1 << 20;

pub(crate) fn router() -> Router<Api> {
    Router::new()
        .route("/", get(discovery))
        .route("/v1", get(discovery))
        .route("/v1/", get(discovery))
        .route("/v1/lookup", get(lookup))
        .route("/v1/heartbeat/{node}", post(heartbeat))
        .route("/v1/continue_inspection", post(continue_inspection))
        .route("/images/{ticket}/{part}", get(image))
}

/// The stock agent looks which versions there are before it speaks.
async fn discovery() -> Json<Value> {
    let version = json!({"id": "v1", "status": "CURRENT", "min_version": "1.1", "version": "1.115", "links": []});
    Json(json!({"name": "OpenStack Ironic API", "default_version": version, "versions": [version], "id": "v1"}))
}

/// The node that has one of these cards and whose machine is meant to boot the ramdisk now.
fn expected(api: &Api, macs: &[Mac], wanted: Option<NodeId>) -> Option<(Arc<Node>, Arc<Job>)> {
    let view = api.engine.view();
    let node = macs.iter().find_map(|mac| view.node_by_mac(*mac)).or_else(|| wanted.and_then(|id| view.node(id)))?;
    if wanted.is_some_and(|id| id != node.id) {
        return None;
    }
    let job = view.running_job(node).filter(|job| job.wants_agent())?;
    Some((node.clone(), job.clone()))
}

fn trace(api: &Api, node: Option<NodeId>, mac: Option<Mac>, what: &str, detail: Value) {
    api.engine.trace.push(TraceEntry { at: Timestamp::now(), mac, node, what: what.to_owned(), detail });
}

async fn lookup(
    State(api): State<Api>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Result<Json<LookupAnswer>, ApiError> {
    let addresses = query.get("addresses").map(String::as_str).unwrap_or_default();
    let macs: Vec<Mac> = addresses.split(',').filter_map(|text| text.trim().parse().ok()).take(64).collect();
    // Only what could be read goes into the trace: anybody on the network can ask.
    let addresses = macs.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let wanted = query.get("node_uuid").and_then(|text| Uuid::parse_str(text).ok()).map(NodeId);
    let Some((node, _)) = expected(&api, &macs, wanted) else {
        trace(&api, None, macs.first().copied(), "agent-lookup-refused", json!({"addresses": addresses}));
        return Err(ApiError::not_found("No node with these addresses is waiting for an agent."));
    };
    let mac = macs.iter().copied().find(|mac| api.engine.view().node_by_mac(*mac).is_some());
    trace(&api, Some(node.id), mac, "agent-lookup", json!({"addresses": addresses}));
    let root_device = |map: &Map<String, Value>| -> Map<String, Value> {
        map.get("root_device").map(|hints| ("root_device".to_owned(), hints.clone())).into_iter().collect()
    };
    Ok(Json(LookupAnswer {
        node: LookupNode {
            uuid: node.id.to_string(),
            properties: root_device(&node.settings.properties),
            instance_info: root_device(&node.settings.instance_info),
            driver_internal_info: Map::new(),
        },
        config: LookupConfig { heartbeat_timeout: Some(HEARTBEAT_SECONDS), agent_token: Some(TOKEN_MASK.into()) },
    }))
}

fn unknown() -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "The agent token is not valid for a boot of this node.")
}

async fn heartbeat(
    State(api): State<Api>,
    Extension(connection): Extension<Connection>,
    Path(node): Path<String>,
    body: Result<Json<Heartbeat>, axum::extract::rejection::JsonRejection>,
) -> Result<StatusCode, ApiError> {
    let Json(call) = body.map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
    let node = Uuid::parse_str(&node).map(NodeId).map_err(|_| unknown())?;
    let token = call.agent_token.as_deref().unwrap_or_default();
    let view = api.engine.view();
    let job = api.engine.tickets.authenticate(&view, node, token).ok_or_else(unknown)?;
    check_callback(&call.callback_url, connection.peer)?;
    check_certificate(call.agent_verify_ca.as_deref())?;
    if call.agent_status.as_deref() == Some("error") {
        let message = call.agent_status_message.unwrap_or_else(|| "it gave no reason".into());
        let message = message.chars().take(1000).collect::<String>();
        trace(&api, Some(node), None, "agent-failed", json!({"message": message}));
        api.submit(Command::AgentFailed { job: job.id, boot: job.boots, message }, Actor::System("agent")).await?;
        return Ok(StatusCode::ACCEPTED);
    }
    let known = view.node(node).and_then(|node| node.agent.as_ref());
    let first = known.is_none_or(|agent| agent.job != job.id);
    if first {
        trace(&api, Some(node), None, "agent-heartbeat", json!({"callback_url": call.callback_url}));
    }
    let command = Command::AgentHeartbeat {
        job: job.id,
        boot: job.boots,
        callback_url: call.callback_url,
        certificate: call.agent_verify_ca,
        version: call.agent_version.unwrap_or_else(|| "unknown".into()).chars().take(80).collect(),
    };
    api.submit(command, Actor::System("agent")).await?;
    Ok(StatusCode::ACCEPTED)
}

/// An agent may have itself called back only at the address it calls from: nobody is sent elsewhere with our commands.
fn check_callback(url: &str, peer: Option<IpAddr>) -> Result<(), ApiError> {
    if url.len() > URL_LIMIT {
        return Err(ApiError::bad_request(format!("callback_url is longer than {URL_LIMIT} bytes.")));
    }
    let refused = |why: &str| ApiError::bad_request(format!("The callback_url '{url}' is refused: {why}."));
    let uri: Uri = url.parse().map_err(|_| refused("it is no URL"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(refused("it is neither http nor https"));
    }
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let host: IpAddr = host.parse().map_err(|_| refused("its host is no IP address"))?;
    match peer {
        Some(peer) if peer != host => Err(refused("it names another machine than the one that calls")),
        _ => Ok(()),
    }
}

fn check_certificate(pem: Option<&str>) -> Result<(), ApiError> {
    match pem {
        Some(pem) if pem.len() > CERTIFICATE_LIMIT => {
            Err(ApiError::bad_request(format!("agent_verify_ca is longer than {CERTIFICATE_LIMIT} bytes.")))
        }
        _ => Ok(()),
    }
}

/// The report of an inspection. The secret is in the URL, since the stock agent sends none itself.
async fn continue_inspection(
    State(api): State<Api>,
    Query(query): Query<BTreeMap<String, String>>,
    body: Result<Json<Value>, axum::extract::rejection::JsonRejection>,
) -> Result<Response, ApiError> {
    let Json(report) = body.map_err(|rejection| ApiError::bad_request(rejection.body_text()))?;
    let node = query.get("node_uuid").and_then(|text| Uuid::parse_str(text).ok()).map(NodeId).ok_or_else(unknown)?;
    let token = query.get("agent_token").map(String::as_str).unwrap_or_default();
    let view = api.engine.view();
    let job = api.engine.tickets.authenticate(&view, node, token).ok_or_else(unknown)?;
    let macs: Vec<Mac> = report
        .pointer("/inventory/interfaces")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|interface| interface.get("mac_address")?.as_str()?.parse().ok())
        .collect();
    // A machine whose cards are not the node's is not the node, whatever it says.
    let is_the_node = macs.iter().any(|mac| view.node_by_mac(*mac).is_some_and(|owner| owner.id == node));
    if !is_the_node {
        return Err(ApiError::bad_request("The inventory names no network card of this node."));
    }
    trace(&api, Some(node), None, "agent-inventory", json!({"interfaces": macs.len()}));
    let command = Command::SaveInventory { job: job.id, boot: job.boots, inventory: report };
    api.submit(command, Actor::System("agent")).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({"uuid": node.to_string()}))).into_response())
}

/// The image of a running deployment: its map, its frames, or the raw disk.
async fn image(
    State(api): State<Api>,
    Path((ticket, part)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let gone = || ApiError::not_found("There is no such image.");
    let job = api.engine.tickets.job_of_ticket(&api.engine.view(), &ticket).ok_or_else(gone)?;
    let id = job.input.image.ok_or_else(gone)?;
    let kind = match part.as_str() {
        "map" => Part::Map,
        "data" => Part::Data,
        "raw" => Part::Raw,
        _ => return Err(gone()),
    };
    let place = api.engine.images.stream(job.id).ok_or_else(|| {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "This agent reads as much at a time as it may: try again.")
    })?;
    let images = api.engine.images.clone();
    let opened = tokio::task::spawn_blocking(move || {
        let stored = images.stored(id)?;
        let size = match kind {
            Part::Map => stored.map_size(),
            Part::Data => stored.data_size(),
            Part::Raw => stored.raw_size()?,
        };
        Ok((stored, size))
    });
    let opened = opened.await.unwrap_or_else(|error| Err(std::io::Error::other(error.to_string())));
    let (stored, size) = opened.map_err(|error| {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, format!("The image cannot be read: {error}"))
    })?;
    let asked = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let span = match asked.map(|text| range(text, size)) {
        None | Some(Asked::Whole) => None,
        Some(Asked::Span(first, last)) => Some((first, last)),
        Some(Asked::Outside) => {
            let content_range = format!("bytes */{size}");
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, [(header::CONTENT_RANGE, content_range)]).into_response());
        }
    };
    let (start, end) = span.map_or((0, size), |(first, last)| (first, last + 1));
    let body = Body::from_stream(chunks(stored, place, kind, start, end));
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::ACCEPT_RANGES, header::HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_LENGTH, header::HeaderValue::from(end - start));
    if span.is_some() {
        if let Ok(value) = header::HeaderValue::from_str(&format!("bytes {start}-{}/{size}", end - 1)) {
            headers.insert(header::CONTENT_RANGE, value);
        }
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Map,
    Data,
    Raw,
}

/// Reads from `start` to `end`, a chunk at a time, off the async threads; the place is taken until all of it is sent.
fn chunks(
    stored: Arc<StoredImage>,
    place: OwnedSemaphorePermit,
    part: Part,
    start: u64,
    end: u64,
) -> impl futures_util::Stream<Item = std::io::Result<bytes::Bytes>> {
    futures_util::stream::unfold(start, move |at| {
        let _held = &place;
        let stored = stored.clone();
        async move {
            if at >= end {
                return None;
            }
            let read = tokio::task::spawn_blocking(move || {
                // A block of the raw disk is unpacked as a whole: it is sent as a whole, too.
                let step = if part == Part::Raw { stored.raw_step(at)? } else { CHUNK };
                let mut buffer = vec![0; usize::try_from((end - at).min(step)).map_err(std::io::Error::other)?];
                match part {
                    Part::Map => stored.read_map(&mut buffer, at)?,
                    Part::Data => stored.read_data(&mut buffer, at)?,
                    Part::Raw => stored.read_raw(&mut buffer, at)?,
                }
                Ok(bytes::Bytes::from(buffer))
            });
            let read = read.await.unwrap_or_else(|error| Err(std::io::Error::other(error.to_string())));
            // After an error the stream ends: the length promised is not reached, and the agent notices.
            let next = read.as_ref().map_or(end, |bytes: &bytes::Bytes| at + bytes.len() as u64);
            Some((read, next))
        }
    })
}

/// What a `Range` header asks for (RFC 9110 §14): one range, or everything when it is not understood.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Whole,
    /// First and last byte, both included.
    Span(u64, u64),
    Outside,
}

pub(crate) fn range(text: &str, size: u64) -> Asked {
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|spec| spec.trim().split_once('-')) else {
        return Asked::Whole;
    };
    match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), _) if first >= size => Asked::Outside,
        (Ok(first), Ok(last)) if last >= first => Asked::Span(first, last.min(size - 1)),
        (Ok(first), Err(_)) if last.is_empty() => Asked::Span(first, size - 1),
        (Err(_), Ok(0)) if first.is_empty() => Asked::Outside,
        (Err(_), Ok(count)) if first.is_empty() && size > 0 => Asked::Span(size.saturating_sub(count), size - 1),
        _ => Asked::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_kept_of_an_agent_is_bounded() {
        let peer = Some(IpAddr::from([10, 0, 0, 7]));
        assert!(check_callback("https://10.0.0.7:9999", peer).is_ok());
        assert!(check_callback(&format!("https://10.0.0.7/{}", "x".repeat(URL_LIMIT)), peer).is_err());
        assert!(check_certificate(None).is_ok() && check_certificate(Some("PEM")).is_ok());
        assert!(check_certificate(Some(&"x".repeat(CERTIFICATE_LIMIT + 1))).is_err());
    }

    #[test]
    fn ranges_mean_what_the_rfc_says() {
        assert_eq!(range("bytes=0-9", 100), Asked::Span(0, 9));
        assert_eq!(range("bytes=90-", 100), Asked::Span(90, 99));
        assert_eq!(range("bytes=-10", 100), Asked::Span(90, 99));
        assert_eq!(range("bytes=50-500", 100), Asked::Span(50, 99));
        assert_eq!(range("bytes=100-", 100), Asked::Outside);
        assert_eq!(range("bytes=0-1,5-6", 100), Asked::Whole);
        assert_eq!(range("items=0-1", 100), Asked::Whole);
    }

    proptest! {
        #[test]
        fn a_range_lies_inside_whatever_is_asked(text in "(bytes=)?[0-9]{0,20}-?[0-9]{0,20}", size in 0_u64..1000) {
            if let Asked::Span(first, last) = range(&text, size) {
                prop_assert!(first <= last && last < size);
            }
        }
    }

    #[test]
    fn an_agent_is_called_back_only_where_it_calls_from() {
        let peer = "10.0.0.7".parse().ok();
        assert!(check_callback("https://10.0.0.7:9999", peer).is_ok());
        for bad in
            ["https://10.0.0.8:9999", "https://evil.example:9999", "ftp://10.0.0.7", "file:///etc", "", "10.0.0.7"]
        {
            assert!(check_callback(bad, peer).is_err(), "{bad}");
        }
    }
}
