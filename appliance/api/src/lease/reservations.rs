//! `/appliance/v1/reservations`: several nodes at once, all or nothing.
//!
//! What comes of one is ordinary leases, one for each node, that have its UUID as their `leasehold_reservation_uuid`; as long as one
//! of them goes on, all that go on are moved and given back together here. Of ours: esi-leap has no such thing.

use super::body::{Body, Said};
use super::fault::{Asker, Fault};
use super::once::NewId;
use super::whose::{self, Thing};
use super::{LEASE_ADMIN, document, may, terms, time};
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

/// Leases as one document, in an order of their own: it is the same whoever looks them up, and how.
fn reservation(view: &View, id: ReservationId, leases: &[Arc<Lease>]) -> Value {
    let mut leases = leases.to_vec();
    leases.sort_by_key(|lease| lease.id);
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

type Answered = (StatusCode, Json<Value>);

/// What a request wishes for.
struct Asked {
    id: NewId,
    needs: Arc<Vec<Need>>,
    wanted: NewLease,
}

impl Asked {
    fn read(asker: &Asker, headers: &HeaderMap, body: Body) -> Result<Asked, Fault> {
        let id = NewId::of(headers, asker, "reservation")?;
        let mut said = Said::of(body)?;
        let needs = needs(said.take("nodes"))?;
        let project = asker.credentials.project_id.clone().ok_or_else(whose::no_project)?;
        let (start, end) = (said.time("start_time")?, said.time("end_time")?);
        let (label, purpose) = (said.label()?, said.purpose()?);
        said.end()?;
        let group = Some(ReservationId(id.uuid()));
        let mut wanted = NewLease { label, purpose, project, start, end, group, ..NewLease::default() };
        wanted.label.request = Some(in_short(&needs, &wanted));
        Ok(Asked { id, needs: Arc::new(needs), wanted })
    }

    fn group(&self) -> ReservationId {
        ReservationId(self.id.uuid())
    }

    fn count(&self) -> usize {
        self.needs.iter().map(|need| need.count).sum()
    }

    /// What an earlier request with the same key made, as it is now: also of leases that are over.
    async fn known(&self, api: &Api) -> Result<Option<Answered>, Fault> {
        let NewId::Keyed(_) = self.id else { return Ok(None) };
        let (view, group) = (api.engine.view(), self.group());
        let lease = async |number| Lease::with_id(api, &view, lease_id(group, number).0).await;
        let Some(first) = lease(0).await? else { return Ok(None) };
        let wanted = &self.wanted;
        let same = match first.label.request {
            Some(request) => wanted.label.request == Some(request),
            // Made before requests were kept.
            None => {
                let (was, is) = (&first.label, &wanted.label);
                (&was.name, &was.properties, &first.project, &first.purpose)
                    == (&is.name, &is.properties, &wanted.project, &wanted.purpose)
            }
        };
        if !same {
            return Err(super::once::used_otherwise());
        }
        let mut leases = vec![first];
        for number in 1..self.count() {
            leases.extend(lease(number).await?);
        }
        Ok(Some((StatusCode::CREATED, Json(reservation(&view, group, &leases)))))
    }
}

/// All that is wished for, so that another wish is another text, also after the program has changed.
fn in_short(needs: &[Need], wanted: &NewLease) -> Uuid {
    let nodes: Vec<Value> =
        needs.iter().map(|need| json!([need.count, need.resource_class, need.traits, need.properties])).collect();
    let times = [wanted.start, wanted.end].map(|at| at.map(time::shown));
    let (label, purpose) = (&wanted.label, &wanted.purpose);
    let text = json!([nodes, times, label.name, label.properties, purpose, wanted.project]).to_string();
    uuid_of(&format!("wish\n{text}"))
}

fn uuid_of(text: &str) -> Uuid {
    let digest = sha256(text.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    Builder::from_custom_bytes(bytes).into_uuid()
}

pub(super) async fn create(
    State(api): State<Api>,
    asker: Asker,
    headers: HeaderMap,
    body: Body,
) -> Result<Answered, Fault> {
    may(&asker, CLAIM, &())?;
    let asked = Asked::read(&asker, &headers, body)?;
    if let Some(known) = asked.known(&api).await? {
        return Ok(known);
    }
    let (group, terms) = (asked.group(), terms(&api, &asker));
    let mut tries = 1;
    loop {
        let (view, now) = (api.engine.view(), time::as_shown(api.engine.store.now()));
        let begin = asked.wanted.start.map_or(now, |start| start.max(now));
        let end = asked.wanted.end.unwrap_or_else(|| begin.saturating_add(terms.usual).unwrap_or(Timestamp::MAX));
        let span = Span::new(begin, end).map_err(|empty| Fault::bad_request(empty.to_string()))?;
        let offers = find(&view, &asked, span).await?;
        may_claim(&view, &asker, &offers)?;
        let numbered = offers.into_iter().enumerate();
        let claims = numbered.map(|(number, offer)| (lease_id(group, number), offer)).collect();
        let lease = NewLease { start: Some(begin), end: Some(end), ..asked.wanted.clone() };
        let command = LeaseCommand::Reserve { id: group, claims, wanted: Box::new(lease), terms };
        match api.submit(Command::Lease(command), asker.actor()).await {
            Ok(_) => {
                let view = api.engine.view();
                let leases: Vec<_> = view.lease.group(group).cloned().collect();
                return Ok((StatusCode::CREATED, Json(reservation(&view, group, &leases))));
            }
            // Somebody was quicker at one of the offers that were found.
            Err(SubmitError::Refused(Refusal::InUse(_) | Refusal::NotFound { .. })) if tries < crate::TRIES => {
                tries += 1
            }
            Err(error) if asked.id.is_repeat(&error) => {
                return asked.known(&api).await?.ok_or_else(|| error.into());
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Offers for all that is wished for. Looks at every node of a class, so not where others wait.
async fn find(view: &Arc<View>, asked: &Asked, span: Span) -> Result<Vec<OfferId>, Fault> {
    let (view, needs) = (view.clone(), asked.needs.clone());
    let (project, later) = (asked.wanted.project.clone(), asked.wanted.start.is_some());
    let search = move || {
        let found = pick(&view, &project, &needs, span);
        found.map_err(|short| shortage(&view, &project, &needs, (short, span, later)))
    };
    match tokio::task::spawn_blocking(search).await {
        Ok(found) => found.map_err(Fault::conflict),
        Err(_) => Err(Fault::new(StatusCode::INTERNAL_SERVER_ERROR, "The search for nodes came to no end.")),
    }
}

/// The lease of this number, so that a request that is sent again finds what it made.
fn lease_id(group: ReservationId, number: usize) -> LeaseId {
    LeaseId(uuid_of(&format!("lease of a reservation\n{group}\n{number}")))
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
