//! What the small kinds of things share: chassis, port groups, allocations, templates, runbooks, volumes, rules.
//!
//! A kind says its members and how a document is read ([`Shown`]); lists, pages, field selection, patches and the
//! answers to versions that do not know the kind are here.

use super::asked::{Asked, Body, json, uuid};
use super::document::{links, maybe_time, time};
use super::operations::Patch;
use super::query::{self, Parameters};
use super::version::{Version, not_acceptable, text};
use crate::Api;
use crate::access::OfNode;
use crate::error::ApiError;
use axum::Json;
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use leasehold_domain::View;
use leasehold_domain::command::{Actor, Answer, Command, Judged};
use leasehold_domain::hardware::{Body as Given, HardwareCommand, HardwareRow, Kind, Record, RecordId};
use leasehold_domain::id::NodeId;
use leasehold_domain::node::Node;
use leasehold_domain::policy::Target;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::sync::Arc;
use uuid::Uuid;

/// A member of a kind's documents.
pub(super) struct Member {
    pub(super) name: &'static str,
    pub(super) since: u16,
    /// A creation may give it.
    pub(super) given: bool,
    /// A patch may change it.
    pub(super) patched: bool,
    /// Lists can be sorted by it.
    pub(super) sortable: bool,
    /// Lists without details show it.
    pub(super) brief: bool,
}

/// A member that is given and patched.
pub(super) const fn member(name: &'static str, since: u16) -> Member {
    Member { name, since, given: true, patched: true, sortable: true, brief: false }
}

impl Member {
    pub(super) const fn brief(self) -> Member {
        Member { brief: true, ..self }
    }

    pub(super) const fn unsorted(self) -> Member {
        Member { sortable: false, ..self }
    }

    /// A creation gives it, nothing changes it.
    pub(super) const fn fixed(self) -> Member {
        Member { patched: false, ..self }
    }

    /// The appliance itself says it.
    pub(super) const fn kept(self) -> Member {
        Member { given: false, patched: false, ..self }
    }
}

/// A kind as the API shows it.
pub(super) trait Shown: Kind {
    /// Its path below `/v1`.
    const PATH: &'static str;
    /// The member of a list that holds its rows.
    const ITEM: &'static str;
    /// Beside `uuid`, `created_at`, `updated_at` and `links`, which all have.
    const MEMBERS: &'static [Member];
    /// What hangs below a record under a path of its own, which its document links to.
    const BELOW: Option<&'static str> = None;

    /// The values of all members of the kind, of whatever version, as they are kept.
    fn members(record: &Record<Self>, view: &View) -> Map<String, Value>;

    /// What of the members this caller may not see is made unrecognisable.
    fn conceal(_: &mut Map<String, Value>, _: &Record<Self>, _: &View, _: &Asked) {}

    fn of_row(row: &HardwareRow) -> Option<&Arc<Record<Self>>>;
}

/// A kind whose records are what documents say.
pub(super) trait Settable: Shown {
    /// Reads a whole document.
    fn read(members: &Map<String, Value>, asked: &Asked, view: &View) -> Result<Self, ApiError>;

    fn given(self) -> Given;
}

const COMMON: [Member; 3] =
    [member("uuid", 1).fixed().brief(), member("created_at", 1).kept(), member("updated_at", 1).kept()];

fn all_members<K: Shown>() -> impl Iterator<Item = &'static Member> {
    COMMON.iter().chain(K::MEMBERS)
}

fn find_member<K: Shown>(name: &str) -> Option<&'static Member> {
    all_members::<K>().find(|member| member.name == name)
}

/// The document of a record, or those of its members that are named.
pub(super) fn document<K: Shown>(
    record: &Record<K>,
    view: &View,
    asked: &Asked,
    fields: Option<&[String]>,
) -> Map<String, Value> {
    let mut members = K::members(record, view);
    K::conceal(&mut members, record, view, asked);
    let id = record.id.uuid().to_string();
    members.extend([
        ("uuid".to_owned(), id.clone().into()),
        ("created_at".to_owned(), time(record.created_at)),
        ("updated_at".to_owned(), maybe_time(record.updated_at)),
    ]);
    let wanted = |name: &str| fields.is_none_or(|wanted| wanted.iter().any(|field| field == name));
    members
        .retain(|name, _| wanted(name) && find_member::<K>(name).is_some_and(|member| member.since <= asked.version.0));
    if let Some(name) = K::BELOW.filter(|name| wanted(name)) {
        members.insert(name.to_owned(), links(&asked.base, &format!("{}/{id}/{name}", K::PATH)));
    }
    members.insert("links".into(), links(&asked.base, &format!("{}/{id}", K::PATH)));
    members
}

/// The members that `fields=` names; `None`: it names none.
pub(super) fn fields<K: Shown>(parameters: &Parameters, asked: &Asked) -> Result<Option<Vec<String>>, ApiError> {
    let Some(names) = query::names(parameters, asked.version)? else { return Ok(None) };
    let mut unknown = Vec::new();
    for name in &names {
        match find_member::<K>(name) {
            Some(member) if member.since > asked.version.0 => {
                return Err(not_acceptable(asked.version, member.since, name));
            }
            Some(_) => {}
            None if name == "links" || K::BELOW == Some(name) => {}
            None => unknown.push(name.as_str()),
        }
    }
    if unknown.is_empty() {
        return Ok(Some(names));
    }
    Err(ApiError::bad_request(format!("Field(s) \"{}\" are not valid", unknown.join(", "))))
}

/// Which rows of a kind a list is about.
pub(super) struct Listed<'a, F> {
    /// The list's own path below `/v1`.
    pub(super) path: &'a str,
    pub(super) detail: bool,
    /// Only those of this node.
    pub(super) node: Option<NodeId>,
    /// Only those of this project.
    pub(super) owner: Option<&'a str>,
    pub(super) keep: F,
}

/// Parameters that every list takes.
pub(super) const PAGING: [&str; 6] = ["fields", "detail", "limit", "marker", "sort_key", "sort_dir"];

/// Refuses parameters that are neither for paging nor among `more`.
pub(super) fn only(parameters: &Parameters, more: &[&str]) -> Result<(), ApiError> {
    query::only(parameters, &[&PAGING[..], more].concat())
}

/// One page of a list.
pub(super) fn page<K: Shown, F: Fn(&Record<K>) -> bool>(
    asked: &Asked,
    view: &View,
    parameters: &Parameters,
    listed: &Listed<'_, F>,
) -> Result<Json<Value>, ApiError> {
    let limit = query::limit(parameters, asked.page_rows)?;
    let order = query::order(parameters, |key| match find_member::<K>(key) {
        Some(member) if member.since > asked.version.0 => Err(not_acceptable(asked.version, member.since, key)),
        Some(member) if member.sortable => Ok(()),
        _ => Err(query::bad_sort_key(key)),
    })?;
    let brief = || all_members::<K>().filter(|member| member.brief).map(|member| member.name.to_owned()).collect();
    let fields = match fields::<K>(parameters, asked)? {
        Some(fields) => Some(fields),
        None if listed.detail => None,
        None => Some(brief()),
    };
    let table = K::table(&view.hardware);
    let marker = match parameters.get("marker") {
        Some(text) => {
            let id = K::Id::new(uuid(text)?);
            Some(table.get(id).map(|row| row.id).ok_or_else(|| not_found::<K>(text))?)
        }
        None => None,
    };
    let shown = |record: &Arc<Record<K>>| Value::Object(document(record, view, asked, fields.as_deref()));
    let mut last = None;
    let mut rows = Vec::new();
    let mut take = |record: &Arc<Record<K>>| {
        last = Some(record.id.uuid().to_string());
        rows.push(shown(record));
    };
    // In the order of creation only the page is looked at; any other order is one of all rows.
    if listed.node.is_none() && listed.owner.is_none() && order.key.is_none() && !order.descending {
        table.after(marker).filter(|record| (listed.keep)(record)).take(limit).for_each(&mut take);
    } else {
        let mut all: Vec<_> = match (listed.node, listed.owner) {
            (Some(node), _) => table.of_node(node).collect(),
            (None, Some(owner)) => table.of_owner(owner).collect(),
            (None, None) => table.after(None).collect(),
        };
        all.retain(|record| (listed.keep)(record));
        all.sort_by_key(|record| (record.created_at, record.id));
        query::sort(&mut all, &order, |record, key| sortable(record, view, key));
        let start = marker.and_then(|id| all.iter().position(|record| record.id == id)).map_or(0, |at| at + 1);
        all.into_iter().skip(start).take(limit).for_each(&mut take);
    }
    let full = rows.len() == limit;
    let mut body = Map::from_iter([(K::ITEM.to_owned(), Value::Array(rows))]);
    if let Some(last) = last.filter(|_| full) {
        body.insert("next".into(), query::next_link(&asked.base, listed.path, parameters, limit, &last));
    }
    Ok(Json(Value::Object(body)))
}

/// A member as lists are sorted by it.
fn sortable<K: Shown>(record: &Record<K>, view: &View, key: &str) -> Value {
    match key {
        "uuid" => record.id.uuid().to_string().into(),
        "created_at" => record.created_at.to_string().into(),
        "updated_at" => record.updated_at.map(|at| at.to_string()).into(),
        _ => match K::members(record, view).remove(key).unwrap_or(Value::Null) {
            Value::Number(number) => format!("{:020}", number.as_i64().unwrap_or_default()).into(),
            other => other,
        },
    }
}

pub(super) fn not_found<K: Kind>(ident: &str) -> ApiError {
    ApiError::not_found(format!("{} {ident} could not be found.", K::WHAT))
}

/// The name or UUID that a path gives: before version 1.91 `.json` at its end said nothing.
pub(super) fn plain<'a>(asked: &Asked, ident: &'a str) -> &'a str {
    ident.strip_suffix(".json").filter(|_| asked.version.0 < 91).unwrap_or(ident)
}

/// The record that a path names by UUID or, under `names`, by name.
pub(super) fn find<'a, K: Kind>(
    view: &'a View,
    asked: &Asked,
    ident: &str,
    names: Option<&'static str>,
) -> Result<&'a Arc<Record<K>>, ApiError> {
    let table = K::table(&view.hardware);
    let found = match (Uuid::parse_str(plain(asked, ident)), names) {
        (Ok(uuid), _) => table.get(K::Id::new(uuid)),
        (Err(_), Some(what)) => table.find(what, ident).or_else(|| table.find(what, plain(asked, ident))),
        (Err(_), None) => return Err(ApiError::bad_request(format!("Expected a UUID but received {ident}."))),
    };
    found.ok_or_else(|| not_found::<K>(ident))
}

/// The document that a creation gives: only members that there are in this version.
pub(super) fn new_members<K: Shown>(body: Map<String, Value>, asked: &Asked) -> Result<Map<String, Value>, ApiError> {
    let known =
        |name: &str| find_member::<K>(name).is_some_and(|member| member.given && member.since <= asked.version.0);
    match body.keys().find(|name| !known(name)) {
        Some(name) => Err(ApiError::bad_request(format!(
            "Additional properties are not allowed ('{name}' was unexpected in version {}).",
            text(asked.version)
        ))),
        None => Ok(body),
    }
}

/// Gives the command that creates a record, and answers with its document.
pub(super) async fn create<K: Settable>(
    api: &Api,
    asked: &Asked,
    id: Uuid,
    record: K,
    actor: Actor,
) -> Result<Response, ApiError> {
    let command = HardwareCommand::Create { id, body: Box::new(record.given()) };
    created::<K>(api, asked, command, actor).await
}

/// Gives a command that brings a new record, and answers with its document.
pub(super) async fn created<K: Shown>(
    api: &Api,
    asked: &Asked,
    command: HardwareCommand,
    actor: Actor,
) -> Result<Response, ApiError> {
    let answer = api.submit(Command::Hardware(command), actor).await?.answer;
    let record = of_answer::<K>(&answer)?;
    let document = document(record, &api.engine.view(), asked, None);
    let place = asked.place(&format!("{}/{}", K::PATH, record.id));
    Ok((StatusCode::CREATED, place, Json(Value::Object(document))).into_response())
}

pub(super) fn of_answer<K: Shown>(answer: &Answer) -> Result<&Arc<Record<K>>, ApiError> {
    let found = match answer {
        Answer::Hardware(row) => K::of_row(row),
        _ => None,
    };
    found.ok_or_else(|| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "The command brought something else."))
}

/// What may be patched; anything else is refused, as is what this version does not know.
pub(super) fn check_patch<K: Shown>(patch: &Patch, asked: &Asked) -> Result<(), ApiError> {
    for operation in &patch.operations {
        match find_member::<K>(operation.member()) {
            Some(member) if member.patched && member.since <= asked.version.0 => {}
            Some(member) if member.patched => {
                return Err(not_acceptable(asked.version, member.since, member.name));
            }
            _ => return Err(operation.refused()),
        }
    }
    Ok(())
}

/// Patches a record. `locate` finds it, where the caller may change it so: the record, and who gives the command.
pub(super) async fn change<K: Settable>(
    api: &Api,
    asked: &Asked,
    body: Body,
    locate: impl Fn(&View, &Patch) -> Result<(Arc<Record<K>>, Actor), ApiError>,
) -> Result<Json<Value>, ApiError> {
    let body = json(body)?;
    let make = |view: &View| {
        let patch = Patch::read(&body);
        // Who may not change it learns nothing about his patch.
        let (record, actor) = locate(view, patch.as_ref().unwrap_or(&Patch { operations: Vec::new() }))?;
        let patch = patch?;
        check_patch::<K>(&patch, asked)?;
        let members = patch.apply(K::members(&record, view))?;
        let given = Box::new(K::read(&members, asked, view)?.given());
        let command = HardwareCommand::Change { id: record.id.uuid(), revision: record.revision, body: given };
        Ok((Command::Hardware(command), actor))
    };
    let committed = api.submit_current(make).await?;
    let record = of_answer::<K>(&committed.answer)?;
    Ok(Json(Value::Object(document(record, &api.engine.view(), asked, None))))
}

/// Deletes a record.
pub(super) async fn remove<K: Shown>(api: &Api, record: &Record<K>, actor: Actor) -> Result<StatusCode, ApiError> {
    let command = HardwareCommand::Delete { key: K::row_key(record.id), revision: record.revision };
    api.submit(Command::Hardware(command), actor).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Something that one project owns, as rules see it.
pub(super) struct Owned<'a> {
    /// `allocation.owner`, `runbook.owner`.
    pub(super) attribute: &'static str,
    pub(super) owner: Option<&'a str>,
}

impl Target for Owned<'_> {
    fn attribute(&self, name: &str) -> Option<Cow<'_, str>> {
        self.owner.filter(|_| name == self.attribute).map(Cow::Borrowed)
    }
}

/// Whose rows a list shows: everybody's (`None`), or one project's. `all` and `own` are the rules for either; `asked_for`
/// is the owner that the caller named.
pub(super) fn listed_project(
    asked: &Asked,
    all: &str,
    own: &str,
    asked_for: Option<&String>,
) -> Result<Option<String>, ApiError> {
    if asked.caller.allows(all, &()) {
        return Ok(asked_for.cloned());
    }
    let project = asked.caller.credentials.project_id.clone();
    match (&project, asked_for) {
        (Some(mine), Some(named)) if mine != named => Err(crate::access::forbidden(all)),
        (None, _) => Err(crate::access::forbidden(all)),
        (Some(_), _) => {
            asked.caller.needs(own, &())?;
            Ok(project)
        }
    }
}

/// A node is the project's: it owns or leases it.
pub(super) fn is_of(view: &View, node: NodeId, project: Option<&str>) -> bool {
    let Some(project) = project else { return true };
    view.node(node).is_some_and(|node| {
        let settings = &node.settings;
        settings.owner.as_deref() == Some(project) || settings.lessee.as_deref() == Some(project)
    })
}

/// The node that a new record is to belong to, where the rule says yes: the node, and who gives the command. A node that
/// the caller does not see is not there (400: it is not what he asked for, but a part of it).
pub(super) fn node_for_new(
    asked: &Asked,
    view: &View,
    body: &Map<String, Value>,
    rule: &str,
) -> Result<(Arc<Node>, Actor), ApiError> {
    let ident = match body.get("node_uuid") {
        Some(Value::String(text)) => text,
        _ => return Err(ApiError::bad_request("'node_uuid' is a required property, and a UUID.")),
    };
    let node = view.node(NodeId(uuid(ident)?)).filter(|node| asked.caller.sees(node));
    match node {
        Some(node) => {
            asked.caller.needs(rule, &OfNode(node))?;
            Ok((node.clone(), asked.caller.judged(node)))
        }
        None => {
            asked.caller.needs(rule, &())?;
            Err(ApiError::bad_request(format!("Node {ident} could not be found.")))
        }
    }
}

/// A record of a node that a path names, where the rule says yes. It is not there where its node is not.
pub(super) fn of_node<K: Kind>(
    asked: &Asked,
    view: &View,
    record: &Arc<Record<K>>,
    rule: &str,
    ident: &str,
) -> Result<(Arc<Record<K>>, Actor), ApiError> {
    let node = record.body.node().and_then(|node| view.node(node)).filter(|node| asked.caller.sees(node));
    let node = node.ok_or_else(|| not_found::<K>(ident))?;
    asked.caller.needs(rule, &OfNode(node))?;
    Ok((record.clone(), asked.caller.judged(node)))
}

/// A patch that moves a record to another node: the caller must see that one, and it is judged with the first.
pub(super) fn with_new_node(asked: &Asked, view: &View, patch: &Patch, actor: Actor) -> Result<Actor, ApiError> {
    let named = patch.operations.iter().filter(|operation| operation.member() == "node_uuid");
    let Some(value) = named.filter_map(|operation| operation.value.as_ref()).next_back() else { return Ok(actor) };
    let text = value.as_str().ok_or_else(|| ApiError::bad_request("node_uuid must be a string."))?;
    let node = view.node(NodeId(uuid(text)?)).filter(|node| asked.caller.sees(node));
    let node = node.ok_or_else(|| {
        ApiError::bad_request(format!("Unable to apply the requested node_uuid '{text}'. Requested value was invalid."))
    })?;
    match actor {
        Actor::User(who) => {
            let mut who = (*who).clone();
            let (owner, lessee) = (node.settings.owner.clone(), node.settings.lessee.clone());
            who.judged.push(Judged { node: node.id, owner, lessee });
            Ok(Actor::User(who.into()))
        }
        other => Ok(other),
    }
}

/// The node of a whole document.
pub(super) fn node_of(members: &Map<String, Value>) -> Result<NodeId, ApiError> {
    match members.get("node_uuid") {
        Some(Value::String(text)) => Ok(NodeId(uuid(text)?)),
        _ => Err(ApiError::bad_request("'node_uuid' is a required property, and a UUID.")),
    }
}

/// Reads a list of texts; nothing is an empty one.
pub(super) fn texts(members: &Map<String, Value>, name: &str) -> Result<Vec<String>, ApiError> {
    let wrong = || ApiError::bad_request(format!("{name} must be a list of strings."));
    match members.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(list)) => {
            list.iter().map(|value| value.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
        }
        Some(_) => Err(wrong()),
    }
}

/// Hides values whose names say that they are secrets, however deep.
pub(super) fn without_secrets(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let key = key.to_lowercase();
                let secret = ["password", "passwd", "secret", "token"].iter().any(|word| key.contains(word));
                if secret && !value.is_object() && !value.is_array() {
                    *value = super::masks::MASK.into();
                } else {
                    without_secrets(value);
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(without_secrets),
        _ => {}
    }
}

/// The version from which a kind exists, and what older versions are told: reading answers 404; writing 404 or, as
/// Ironic has it for the newer kinds, 405.
#[derive(Clone, Copy)]
pub(super) struct Since {
    pub(super) version: u16,
    pub(super) what: &'static str,
    pub(super) writing: StatusCode,
}

/// Lets a request pass only if its version knows the kind.
pub(super) async fn known_in(since: Since, request: Request, next: Next) -> Response {
    let Some(version) = request.extensions().get::<Version>().copied() else {
        return ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "The request was not authenticated.").into_response();
    };
    if version.0 < since.version {
        let status = if request.method() == Method::GET { StatusCode::NOT_FOUND } else { since.writing };
        let message = format!(
            "The API version {} does not allow {}: they are there from 1.{} on.",
            text(version),
            since.what,
            since.version
        );
        return ApiError::new(status, message).into_response();
    }
    next.run(request).await
}
