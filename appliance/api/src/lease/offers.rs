//! `/v1/offers`: made, found, withdrawn, claimed.

use super::body::{Body, Said};
use super::fault::{Asker, Fault};
use super::filter::{Asked, OfferFilter};
use super::once::{self, NewId};
use super::whose::{self, GET_OFFER, Thing};
use super::{document, history, leases, may, terms};
use crate::Api;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use leasehold_domain::command::{Answer, Command};
use leasehold_domain::id::{LeaseId, OfferId};
use leasehold_domain::lease::{Lease, LeaseCommand, LeaseRow, NewLease, NewOffer, Offer, OfferState};
use leasehold_store::EndedBy;
use serde_json::{Value, json};
use std::sync::Arc;
use uuid::Uuid;

pub(super) async fn list(State(api): State<Api>, asker: Asker, asked: Asked) -> Result<Json<Value>, Fault> {
    may(&asker, "esi_leap:offer:get_all", &())?;
    let view = api.engine.view();
    let filter = OfferFilter::read(&asked, &view, &asker)?;
    let (asker, filter) = (Arc::new(asker), Arc::new(filter));
    let of = view.clone();
    // Also of what is over: what others do not see takes no place among the newest.
    let wanted = {
        let (asker, filter) = (asker.clone(), filter.clone());
        move |offer: &Offer| filter.takes(&of, offer) && whose::sees(&asker, &of, offer)
    };
    let mut rows: Vec<Arc<Offer>> = match (filter.project.this(), filter.node()) {
        _ if filter.finds_nothing() => Vec::new(),
        (Some(project), _) => view.lease.offers_of(project).cloned().collect(),
        (None, Some(node)) => view.lease.offers_on(node).cloned().collect(),
        (None, None) => view.lease.offers().cloned().collect(),
    };
    rows.retain(|offer| wanted(offer));
    if !filter.finds_nothing() && filter.states.iter().any(|state| *state != OfferState::Available) {
        let by = match (filter.node(), filter.project.this()) {
            (Some(node), _) => EndedBy::Node(node),
            (None, Some(project)) => EndedBy::Project(project.clone()),
            (None, None) => EndedBy::All,
        };
        rows.extend(history::offers(&api, vec![by], wanted).await?);
    }
    rows.sort_by_key(|offer| (offer.created_at, offer.id));
    // One that ended while it was listed was found twice.
    rows.dedup_by_key(|offer| offer.id);
    let rows: Vec<Value> = rows.iter().map(|offer| document::offer(&view, offer)).collect();
    Ok(Json(json!({"offers": rows})))
}

pub(super) async fn show(
    State(api): State<Api>,
    asker: Asker,
    Path(ident): Path<String>,
) -> Result<Json<Value>, Fault> {
    let offer = whose::find::<Offer>(&api, &asker, &ident, GET_OFFER).await?;
    Ok(Json(document::offer(&api.engine.view(), &offer)))
}

pub(super) async fn create(
    State(api): State<Api>,
    asker: Asker,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Fault> {
    may(&asker, "esi_leap:offer:create", &())?;
    let id = NewId::of(&headers, &asker, "offer")?;
    let mut said = Said::of(body)?;
    said.resource_type()?;
    let ident = said.needed("resource_uuid")?;
    let lessee = said.text("lessee_id", 255)?;
    let (start, end) = (said.time("start_time")?, said.time("end_time")?);
    let label = said.label()?;
    let wish = said.wish(&label)?;
    said.end()?;
    let view = api.engine.view();
    let lessee = lessee.map(|ident| whose::project_meant(&view, &asker, &ident)).transpose();
    // Since now, if nobody says since when; the end of time is never.
    let end = end.filter(|end| *end < Timestamp::MAX);
    let made = |offer: &Offer| (StatusCode::CREATED, Json(document::offer(&api.engine.view(), offer)));
    if let (NewId::Keyed(id), Ok(lessee)) = (id, &lessee)
        && let Some(offer) = <Offer as Thing>::with_id(&api, &view, id).await?
        && whose::sees(&asker, &view, &*offer)
    {
        // Also when the node is not there for him any more.
        let project = offer.project.clone();
        let wanted = NewOffer { label, project, lessee: lessee.clone(), start, end, wish };
        let same = whose::is_node(&view, offer.node, &ident) && once::is_same_offer(&offer, &wanted);
        return if same { Ok(made(&offer)) } else { Err(once::used_otherwise()) };
    }
    let (node, actor) = whose::node_meant(&view, &asker, &ident)?;
    let (lessee, project) = (lessee?, whose::acts_for(&asker, &node)?);
    let wanted = NewOffer { label, project, lessee, start, end, wish };
    let command = LeaseCommand::Offer {
        id: OfferId(id.uuid()),
        node: node.id,
        wanted: Box::new(wanted.clone()),
        terms: terms(&api, &asker),
    };
    match api.submit(Command::Lease(command), actor).await {
        Err(error) if id.is_repeat(&error) => {
            let offer = <Offer as Thing>::with_id(&api, &api.engine.view(), id.uuid()).await?;
            let is_it = |offer: &Arc<Offer>| offer.node == node.id && once::is_same_offer(offer, &wanted);
            offer.filter(is_it).map(|offer| made(&offer)).ok_or_else(once::used_otherwise)
        }
        done => match done?.answer {
            Answer::Lease(LeaseRow::Offer(offer)) => Ok(made(&offer)),
            _ => Err(Fault::no_answer()),
        },
    }
}

pub(super) async fn remove(
    State(api): State<Api>,
    asker: Asker,
    Path(ident): Path<String>,
) -> Result<Json<Value>, Fault> {
    let offer = whose::find::<Offer>(&api, &asker, &ident, "esi_leap:offer:delete").await?;
    if !offer.is_open() {
        return Err(Fault::not_found("Offer", &ident));
    }
    api.submit(Command::Lease(LeaseCommand::Withdraw { id: offer.id }), asker.actor()).await?;
    Ok(Json(Value::Null))
}

pub(super) async fn claim(
    State(api): State<Api>,
    asker: Asker,
    Path(ident): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Fault> {
    let id = NewId::of(&headers, &asker, "lease")?;
    let mut said = Said::of(body)?;
    let project = asker.credentials.project_id.clone();
    let (start, end) = (said.time("start_time")?, said.time("end_time")?);
    let (label, purpose) = (said.label()?, said.purpose()?);
    said.end()?;
    let made = project.map(|project| {
        let wanted = NewLease { label, purpose, project, start, end, ..NewLease::default() };
        leases::Made { id, wanted }
    });
    if let Some(made) = &made
        && let Some(known) = made.known(&api, &asker).await?
    {
        // Also when the offer is not there any more.
        let is_of = is_claim_of(&api, &known.lease, &ident).await?;
        return made.answer(&known, is_of);
    }
    let offer = whose::find::<Offer>(&api, &asker, &ident, "esi_leap:offer:claim").await?;
    let made = made.ok_or_else(whose::no_project)?;
    let command = LeaseCommand::Claim {
        id: LeaseId(id.uuid()),
        offer: offer.id,
        wanted: Box::new(made.wanted.clone()),
        terms: terms(&api, &asker),
    };
    if !offer.is_open() {
        return Err(Fault::conflict(format!(
            "Offer {} is {}: nothing of it can be claimed any more.",
            offer.id,
            document::offer_state(offer.state)
        )));
    }
    made.submit((&api, &asker), command, asker.actor(), (Some(offer.id), offer.node)).await
}

/// The lease was claimed from the offer that is called so.
async fn is_claim_of(api: &Api, lease: &Lease, ident: &str) -> Result<bool, Fault> {
    let Some(id) = lease.offer else { return Ok(false) };
    if let Ok(meant) = Uuid::parse_str(ident) {
        return Ok(meant == id.0);
    }
    let offer = <Offer as Thing>::with_id(api, &api.engine.view(), id.0).await?;
    Ok(offer.is_some_and(|offer| offer.label.name.as_deref() == Some(ident)))
}
