//! `/appliance/v1/reservations`: several nodes at once, all or nothing.
//!
//! What comes of one is ordinary leases, one for each node, that have its UUID as their `leasehold_reservation_uuid`; as long as one
//! of them goes on, all that go on are moved and given back together here. Of ours: esi-leap has no such thing.

use super::body::{Body, Said};
use super::fault::{Asker, Fault};
use super::once::NewId;
use super::whose::{self, Thing};
use super::{LEASE_ADMIN, document, terms, time};
use crate::Api;
use crate::auth::secret::sha256;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use jiff::{SignedDuration, Timestamp};
use leasehold_domain::command::Command;
use leasehold_domain::id::{JobId, LeaseId, OfferId, ReservationId};
use leasehold_domain::lease::search::{MOST_NEEDS, Need, Shortage, next_fit, pick};
use leasehold_domain::lease::{Lease, LeaseCommand, NewLease, Span};
use leasehold_domain::{Refusal, View};
use leasehold_store::SubmitError;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use uuid::{Builder, Uuid};

/// Nodes of one reservation: they are decided on in one go.
const MOST_NODES: usize = 100;
const CLAIM: &str = "esi_leap:offer:claim";

fn invalid(name: &str, why: &str) -> Fault {
    Fault::bad_request(format!("Invalid input for field/attribute {name}. {why}"))
}

/// `nodes`: what is needed, a kind of node each.
fn needs(value: Option<Value>) -> Result<Vec<Need>, Fault> {
    let example = "such as [{\"count\": 2, \"resource_class\": \"gpu\"}]";
    let Some(Value::Array(kinds)) = value else {
        return Err(invalid("nodes", &format!("Say how many nodes of which kind, {example}.")));
    };
    if kinds.is_empty() || kinds.len() > MOST_NEEDS {
        return Err(invalid("nodes", &format!("There may be 1 to {MOST_NEEDS} kinds of nodes, {example}.")));
    }
    let needs: Vec<Need> = kinds.into_iter().map(need).collect::<Result<_, _>>()?;
    match needs.iter().map(|need| need.count).sum::<usize>() > MOST_NODES {
        true => Err(invalid("nodes", &format!("A reservation may have {MOST_NODES} nodes."))),
        false => Ok(needs),
    }
}

fn need(value: Value) -> Result<Need, Fault> {
    let Value::Object(mut map) = value else { return Err(invalid("nodes", "Each kind must be a JSON object.")) };
    let count = match map.remove("count") {
        None => 1,
        Some(value) => {
            let count = value.as_u64().and_then(|count| usize::try_from(count).ok());
            count
                .filter(|count| (1..=MOST_NODES).contains(count))
                .ok_or_else(|| invalid("nodes.count", &format!("It must be a whole number from 1 to {MOST_NODES}.")))?
        }
    };
    let resource_class = match map.remove("resource_class") {
        None | Some(Value::Null) => None,
        Some(Value::String(class)) => Some(class),
        Some(_) => return Err(invalid("nodes.resource_class", "It must be a string.")),
    };
    let traits = match map.remove("traits") {
        None | Some(Value::Null) => BTreeSet::new(),
        Some(value) => serde_json::from_value(value)
            .map_err(|_| invalid("nodes.traits", "They must be a list of names of traits."))?,
    };
    let properties = match map.remove("properties") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(properties)) => properties,
        Some(_) => return Err(invalid("nodes.properties", "They must be a JSON object.")),
    };
    match map.keys().next() {
        Some(name) => Err(Fault::bad_request(format!("Unknown attribute 'nodes.{name}'."))),
        None => Ok(Need { count, resource_class, traits, properties }),
    }
}

/// Leases as one document.
fn reservation(view: &View, id: ReservationId, leases: &[Arc<Lease>]) -> Value {
    let first = leases.iter().map(|lease| lease.span.start).min();
    let last = leases.iter().map(|lease| lease.span.end).max();
    let name = leases.first().and_then(|lease| lease.label.name.clone());
    json!({
        "uuid": id.to_string(),
        "name": name,
        "start_time": first.map(time::shown),
        "end_time": last.map(time::shown),
        "leases": leases.iter().map(|lease| document::lease(view, lease)).collect::<Vec<_>>(),
    })
}

/// What of the reservation the caller sees.
fn group(view: &View, asker: &Asker, ident: &str) -> Result<(ReservationId, Vec<Arc<Lease>>), Fault> {
    let missing = || Fault::not_found("Reservation", ident);
    let id = Uuid::parse_str(ident).map(ReservationId).map_err(|_| missing())?;
    let leases: Vec<_> = view.lease.group(id).filter(|lease| whose::sees(asker, view, &***lease)).cloned().collect();
    if leases.is_empty() { Err(missing()) } else { Ok((id, leases)) }
}

/// The leases of the reservation that have not come to their end, if the caller may do this with each of them: also with
/// those that he does not see, which are another owner's.
fn group_to_act_on(
    view: &View,
    asker: &Asker,
    ident: &str,
    rule: &str,
) -> Result<(ReservationId, Vec<LeaseId>), Fault> {
    let (id, _) = group(view, asker, ident)?;
    let may = |lease: &Arc<Lease>| whose::sees(asker, view, &**lease) && lease.allowed(asker, rule);
    match view.lease.group_ahead(id).all(may) {
        true => Ok((id, view.lease.group_ahead(id).map(|lease| lease.id).collect())),
        false => Err(Fault::forbidden(rule)),
    }
}

pub(super) async fn list(State(api): State<Api>, asker: Asker) -> Result<Json<Value>, Fault> {
    let view = api.engine.view();
    let groups: BTreeSet<ReservationId> = match &asker.credentials.project_id {
        Some(project) => view.lease.leases_of(project).filter_map(|lease| lease.group).collect(),
        None if asker.allows(LEASE_ADMIN, &()) => view.lease.groups().collect(),
        None => return Err(whose::no_project()),
    };
    let shown = groups.into_iter().filter_map(|id| {
        let (id, leases) = group(&view, &asker, &id.to_string()).ok()?;
        Some(reservation(&view, id, &leases))
    });
    Ok(Json(json!({"reservations": shown.collect::<Vec<_>>()})))
}

pub(super) async fn show(
    State(api): State<Api>,
    asker: Asker,
    Path(ident): Path<String>,
) -> Result<Json<Value>, Fault> {
    let view = api.engine.view();
    let (id, leases) = group(&view, &asker, &ident)?;
    Ok(Json(reservation(&view, id, &leases)))
}

pub(super) async fn create(
    State(api): State<Api>,
    asker: Asker,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Fault> {
    let id = NewId::of(&headers, &asker, "reservation")?;
    let group = ReservationId(id.uuid());
    let mut said = Said::of(body)?;
    let needs = needs(said.take("nodes"))?;
    let project = asker.credentials.project_id.clone().ok_or_else(whose::no_project)?;
    let (start, end) = (said.time("start_time")?, said.time("end_time")?);
    let (label, purpose) = (said.label()?, said.purpose()?);
    said.end()?;
    let made = |view: &View| {
        let leases: Vec<_> = view.lease.group(group).cloned().collect();
        (StatusCode::CREATED, Json(reservation(view, group, &leases)))
    };
    let wanted: usize = needs.iter().map(|need| need.count).sum();
    let is_it = |view: &View| {
        let mut leases = view.lease.group(group);
        let first = leases.next();
        first.is_some_and(|lease| lease.label == label && lease.project == project && lease.purpose == purpose)
            && 1 + leases.count() == wanted
    };
    if let NewId::Keyed(_) = id
        && Lease::with_id(&api, &api.engine.view(), lease_id(group, 0).0).await?.is_some()
    {
        let view = api.engine.view();
        return if is_it(&view) { Ok(made(&view)) } else { Err(super::once::used_otherwise()) };
    }
    let terms = terms(&api, &asker);
    let mut tries = 1;
    loop {
        let (view, now) = (api.engine.view(), Timestamp::now());
        let begin = start.map_or(now, |start| start.max(now));
        let end = end.unwrap_or_else(|| begin.saturating_add(terms.usual).unwrap_or(Timestamp::MAX));
        let span = Span::new(begin, end).map_err(|empty| Fault::bad_request(empty.to_string()))?;
        let offers = pick(&view, &project, &needs, span)
            .map_err(|short| Fault::conflict(shortage(&view, &project, &needs, (short, span, start.is_some()))))?;
        may_claim(&view, &asker, &offers)?;
        let numbered = offers.into_iter().enumerate();
        let claims = numbered.map(|(number, offer)| (lease_id(group, number), offer)).collect();
        let lease = NewLease {
            label: label.clone(),
            purpose: purpose.clone(),
            project: project.clone(),
            start: Some(begin),
            end: Some(end),
            group: Some(group),
            ..NewLease::default()
        };
        let command = LeaseCommand::Reserve { id: group, claims, wanted: Box::new(lease), terms };
        match api.submit(Command::Lease(command), asker.actor()).await {
            Ok(_) => return Ok(made(&api.engine.view())),
            // Somebody was quicker at one of the offers that were found.
            Err(SubmitError::Refused(Refusal::InUse(_) | Refusal::NotFound { .. })) if tries < crate::TRIES => {
                tries += 1
            }
            Err(error) if id.is_repeat(&error) => {
                let view = api.engine.view();
                return if is_it(&view) { Ok(made(&view)) } else { Err(super::once::used_otherwise()) };
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The lease of this number, so that a request that is sent again finds what it made.
fn lease_id(group: ReservationId, number: usize) -> LeaseId {
    let digest = sha256(format!("lease of a reservation\n{group}\n{number}").as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    LeaseId(Builder::from_custom_bytes(bytes).into_uuid())
}

fn may_claim(view: &View, asker: &Asker, offers: &[OfferId]) -> Result<(), Fault> {
    let mut found = offers.iter().filter_map(|id| view.lease.offer(*id));
    match found.all(|offer| offer.allowed(asker, CLAIM)) {
        true => Ok(()),
        false => Err(Fault::forbidden(CLAIM)),
    }
}

/// What is short, and when it would not be.
fn shortage(view: &View, project: &str, needs: &[Need], (short, span, later): (Shortage, Span, bool)) -> String {
    let need = &needs[short.need];
    let kind = need.resource_class.as_ref().map_or("nodes".to_owned(), |class| format!("`{class}`"));
    let whole = if needs.len() == 1 { need.count.to_string() } else { "all".to_owned() };
    let length: SignedDuration = span.length();
    let next = match next_fit(view, project, needs, span.start, length) {
        Some(at) => format!("{whole} from {} UTC.", time::shown(at)),
        None => format!("no offer has {whole} for so long: ask for fewer nodes, or for a shorter time."),
    };
    let when = if later { format!("{span}") } else { "now".to_owned() };
    format!("{} of {} {kind} free {when}, {next}", short.found, need.count)
}

/// Only the end can be another: of all of its leases that go on.
pub(super) async fn change(
    State(api): State<Api>,
    asker: Asker,
    Path(ident): Path<String>,
    body: Body,
) -> Result<Json<Value>, Fault> {
    let (id, leases) = group_to_act_on(&api.engine.view(), &asker, &ident, "esi_leap:lease:update")?;
    let mut said = Said::of(body)?;
    let end = said.time("end_time")?.ok_or_else(|| invalid("end_time", "Mandatory field missing."))?;
    said.end()?;
    let command = LeaseCommand::ChangeGroupEnd { id, leases, end, terms: terms(&api, &asker) };
    api.submit(Command::Lease(command), asker.actor()).await?;
    let view = api.engine.view();
    let (id, leases) = group(&view, &asker, &ident)?;
    Ok(Json(reservation(&view, id, &leases)))
}

/// All of its leases are given back, or called off.
pub(super) async fn remove(
    State(api): State<Api>,
    asker: Asker,
    Path(ident): Path<String>,
) -> Result<Json<Value>, Fault> {
    let (id, leases) = group_to_act_on(&api.engine.view(), &asker, &ident, "esi_leap:lease:delete")?;
    let leases = leases.into_iter().map(|lease| (lease, JobId(Uuid::new_v4()))).collect();
    api.submit(Command::Lease(LeaseCommand::EndGroup { id, leases }), asker.actor()).await?;
    Ok(Json(Value::Null))
}
