//! `/v1/leases`: given, found, their ends moved, given back.

use super::body::{Body, Said};
use super::fault::{Asker, Fault};
use super::filter::{Asked, LeaseFilter, Over, Wanted};
use super::once::{self, NewId};
use super::whose::{self, GET_LEASE, Thing};
use super::{LEASE_ADMIN, document, history, may, terms};
use crate::Api;
use crate::error::ApiError;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use leasehold_domain::View;
use leasehold_domain::command::{Actor, Answer, Command};
use leasehold_domain::id::{JobId, LeaseId, NodeId, OfferId};
use leasehold_domain::lease::{Lease, LeaseCommand, LeaseRow, NewLease};
use leasehold_store::EndedBy;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// Whose leases are asked for.
struct Parties {
    /// Either of them is this project.
    either: Option<String>,
    lessee: Wanted<String>,
    owner: Wanted<String>,
}

impl Parties {
    /// What is asked for, if the caller may: whatever is not his own project's is for administrators.
    fn read(asked: &Asked, view: &View, asker: &Asker) -> Result<Parties, Fault> {
        let lessee = asked.project("project_id", view, asker);
        let owner = asked.project("owner_id", view, asker);
        let parties = Parties { either: None, lessee, owner };
        match asked.text("view") {
            None => may(asker, "esi_leap:lease:get_all", &())?,
            Some("all") => return may(asker, LEASE_ADMIN, &()).map(|()| parties),
            Some(other) => return Err(Fault::bad_request(format!("'{other}' is no view: 'all' is."))),
        }
        let own = asker.credentials.project_id.as_ref();
        // Of an owner's leases, those of one lessee are his to see, too.
        let named = if parties.owner == Wanted::Anything { &parties.lessee } else { &parties.owner };
        match named {
            Wanted::Anything => match own {
                Some(own) => Ok(Parties { either: Some(own.clone()), ..parties }),
                None => may(asker, LEASE_ADMIN, &()).map(|()| parties),
            },
            Wanted::This(project) if Some(project) == own => Ok(parties),
            _ => may(asker, LEASE_ADMIN, &()).map(|()| parties),
        }
    }

    fn takes(&self, lease: &Lease) -> bool {
        let either = self.either.as_ref().is_none_or(|own| *own == lease.project || *own == lease.owner);
        either && self.lessee.takes(&lease.project) && self.owner.takes(&lease.owner)
    }

    /// Where they are found in memory; more may come of it than is asked for.
    fn live(&self, view: &View, offer: Option<OfferId>) -> Vec<Arc<Lease>> {
        let book = &view.lease;
        if let Some(offer) = offer {
            return book.claims_of(offer).cloned().collect();
        }
        match (&self.either, self.lessee.this(), self.owner.this()) {
            (Some(own), ..) => {
                let both = book.leases_of(own).chain(book.leases_by_owner(own));
                both.map(|lease| (lease.id, lease.clone())).collect::<BTreeMap<_, _>>().into_values().collect()
            }
            (None, Some(lessee), _) => book.leases_of(lessee).cloned().collect(),
            (None, None, Some(owner)) => book.leases_by_owner(owner).cloned().collect(),
            (None, None, None) => book.leases().cloned().collect(),
        }
    }

    /// Where they are found on the disk.
    fn over(&self, offer: Option<OfferId>) -> Vec<EndedBy> {
        let (lessee, owner) =
            (|name: &String| EndedBy::Project(name.clone()), |name: &String| EndedBy::Owner(name.clone()));
        match (offer, &self.either, self.lessee.this(), self.owner.this()) {
            (Some(offer), ..) => vec![EndedBy::Offer(offer)],
            (None, Some(own), ..) => vec![lessee(own), owner(own)],
            (None, None, Some(name), _) => vec![lessee(name)],
            (None, None, None, Some(name)) => vec![owner(name)],
            (None, None, None, None) => vec![EndedBy::All],
        }
    }
}

pub(super) async fn list(State(api): State<Api>, asker: Asker, asked: Asked) -> Result<Json<Value>, Fault> {
    let view = api.engine.view();
    let parties = Arc::new(Parties::read(&asked, &view, &asker)?);
    let filter = LeaseFilter::read(&asked, &view)?;
    let offer = filter.offer.this().copied();
    let mut rows = parties.live(&view, offer);
    rows.retain(|lease| parties.takes(lease) && filter.takes(&view, lease));
    let over = filter.over();
    if over != Over::None {
        let (by, of, filter, parties) = (parties.over(offer), view.clone(), filter.clone(), parties.clone());
        let wanted = move |lease: &Lease| parties.takes(lease) && filter.takes(&of, lease);
        rows.extend(history::leases(&api, by, over == Over::All, wanted).await?);
    }
    rows.retain(|lease| whose::sees(&asker, &view, &**lease));
    rows.sort_by_key(|lease| (lease.created_at, lease.id));
    // One that ended while it was listed was found twice.
    rows.dedup_by_key(|lease| lease.id);
    let rows: Vec<Value> = rows.iter().map(|lease| document::lease(&view, lease)).collect();
    Ok(Json(json!({"leases": rows})))
}

pub(super) async fn show(
    State(api): State<Api>,
    asker: Asker,
    Path(ident): Path<String>,
) -> Result<Json<Value>, Fault> {
    let lease = whose::find::<Lease>(&api, &asker, &ident, GET_LEASE).await?;
    Ok(Json(document::lease(&api.engine.view(), &lease)))
}

/// A lease that a request makes.
pub(super) struct Made {
    pub(super) id: NewId,
    pub(super) wanted: NewLease,
}

type Answered = (StatusCode, Json<Value>);

impl Made {
    /// What an earlier request with the same key made, if the caller still sees it; whatever has become since of the offer
    /// that was claimed and of who sees the node.
    pub(super) async fn known(&self, api: &Api, asker: &Asker) -> Result<Option<Known>, Fault> {
        let NewId::Keyed(id) = self.id else { return Ok(None) };
        let view = api.engine.view();
        let found = <Lease as Thing>::with_id(api, &view, id).await?;
        Ok(found.filter(|lease| whose::sees(asker, &view, &**lease)).map(|lease| Known { view, lease }))
    }

    /// `is_of`: whether a lease is of the offer or node that was meant.
    pub(super) fn answer(&self, known: &Known, is_of: bool) -> Result<Answered, Fault> {
        match is_of && once::is_same_lease(&known.lease, &self.wanted) {
            true => Ok((StatusCode::CREATED, Json(document::lease(&known.view, &known.lease)))),
            false => Err(once::used_otherwise()),
        }
    }

    /// `offer`, `node`: what the command is about, if somebody with the same key was quicker.
    pub(super) async fn submit(
        &self,
        (api, asker): (&Api, &Asker),
        command: LeaseCommand,
        actor: Actor,
        (offer, node): (Option<OfferId>, NodeId),
    ) -> Result<Answered, Fault> {
        match api.submit(Command::Lease(command), actor).await {
            Err(error) if self.id.is_repeat(&error) => match self.known(api, asker).await? {
                Some(known) => self.answer(&known, (known.lease.offer, known.lease.node) == (offer, node)),
                None => Err(error.into()),
            },
            done => match done?.answer {
                Answer::Lease(LeaseRow::Lease(lease)) => {
                    Ok((StatusCode::CREATED, Json(document::lease(&api.engine.view(), &lease))))
                }
                _ => Err(Fault::no_answer()),
            },
        }
    }
}

/// What an earlier request made.
pub(super) struct Known {
    view: Arc<View>,
    pub(super) lease: Arc<Lease>,
}

pub(super) async fn create(
    State(api): State<Api>,
    asker: Asker,
    headers: HeaderMap,
    body: Body,
) -> Result<Answered, Fault> {
    may(&asker, "esi_leap:lease:create", &())?;
    let id = NewId::of(&headers, &asker, "lease")?;
    let mut said = Said::of(body)?;
    said.resource_type()?;
    let (ident, lessee) = (said.needed("resource_uuid")?, said.needed("project_id")?);
    let (start, end) = (said.time("start_time")?, said.time("end_time")?);
    let (label, purpose) = (said.label()?, said.purpose()?);
    let wish = said.wish(&label)?;
    said.end()?;
    let view = api.engine.view();
    let project = whose::lessee_meant(&view, &asker, &lessee);
    if let Ok(project) = &project {
        let wanted = NewLease {
            label: label.clone(),
            purpose: purpose.clone(),
            project: project.clone(),
            start,
            end,
            wish,
            ..NewLease::default()
        };
        let made = Made { id, wanted };
        if let Some(known) = made.known(&api, &asker).await? {
            return made.answer(&known, known.lease.offer.is_none() && whose::is_node(&view, known.lease.node, &ident));
        }
    }
    let (node, actor) = whose::node_meant(&view, &asker, &ident)?;
    let owner = whose::acts_for(&asker, &node)?;
    let made =
        Made { id, wanted: NewLease { label, purpose, project: project?, start, end, wish, ..NewLease::default() } };
    let command = LeaseCommand::Lease {
        id: LeaseId(id.uuid()),
        node: node.id,
        owner,
        wanted: Box::new(made.wanted.clone()),
        terms: terms(&api, &asker),
    };
    made.submit((&api, &asker), command, actor, (None, node.id)).await
}

/// Only the end can be another.
pub(super) async fn change(
    State(api): State<Api>,
    asker: Asker,
    Path(ident): Path<String>,
    body: Body,
) -> Result<Json<Value>, Fault> {
    let lease = whose::find::<Lease>(&api, &asker, &ident, "esi_leap:lease:update").await?;
    let mut said = Said::of(body)?;
    if said.names().any(|name| name != "end_time") {
        return Err(Fault::bad_request("Only the end_time field may be updated"));
    }
    let missing = || Fault::bad_request("end_time is missing: it is what may be updated.");
    let end = said.time("end_time")?.ok_or_else(missing)?;
    if lease.state.is_over() {
        return Err(is_over(&lease));
    }
    let (id, terms) = (lease.id, terms(&api, &asker));
    let make = |view: &View| match view.lease.lease(id) {
        Some(lease) => {
            let command = LeaseCommand::ChangeEnd { id, revision: lease.revision, end, terms };
            Ok((Command::Lease(command), asker.actor()))
        }
        None => Err(ApiError::new(StatusCode::CONFLICT, format!("Lease {id} is over: its end cannot be moved."))),
    };
    match api.submit_current(make).await?.answer {
        Answer::Lease(LeaseRow::Lease(lease)) => Ok(Json(document::lease(&api.engine.view(), &lease))),
        _ => Err(Fault::no_answer()),
    }
}

fn is_over(lease: &Lease) -> Fault {
    Fault::conflict(format!("Lease {} is {}: its end cannot be moved.", lease.id, lease.state.name()))
}

/// It is given back, or called off.
pub(super) async fn remove(
    State(api): State<Api>,
    asker: Asker,
    Path(ident): Path<String>,
) -> Result<Json<Value>, Fault> {
    let lease = whose::find::<Lease>(&api, &asker, &ident, "esi_leap:lease:delete").await?;
    if lease.state.is_over() {
        return Err(Fault::not_found("Lease", &ident));
    }
    let command = LeaseCommand::End { id: lease.id, job: JobId(Uuid::new_v4()) };
    api.submit(Command::Lease(command), asker.actor()).await?;
    Ok(Json(Value::Null))
}
