//! `/v1/offers`: made, found, withdrawn, claimed.

use super::body::{Body, Said};
use super::fault::{Asker, Fault};
use super::filter::{Asked, OfferFilter, Wanted};
use super::once::{self, NewId};
use super::whose::{self, GET_OFFER};
use super::{document, history, leases, may, terms};
use crate::Api;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use leasehold_domain::command::{Answer, Command};
use leasehold_domain::id::{LeaseId, OfferId};
use leasehold_domain::lease::{LeaseCommand, LeaseRow, NewLease, NewOffer, Offer, OfferState};
use leasehold_store::EndedBy;
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) async fn list(State(api): State<Api>, asker: Asker, asked: Asked) -> Result<Json<Value>, Fault> {
    may(&asker, "esi_leap:offer:get_all", &())?;
    let view = api.engine.view();
    let filter = OfferFilter::read(&asked, &view, &asker)?;
    let mut rows: Vec<Arc<Offer>> = match &filter.project {
        Wanted::This(project) => view.lease.offers_of(project).cloned().collect(),
        Wanted::Nothing => Vec::new(),
        Wanted::Anything => view.lease.offers().cloned().collect(),
    };
    rows.retain(|offer| filter.takes(&view, offer));
    if filter.states.iter().any(|state| *state != OfferState::Available) {
        let by = filter.project.this().map_or(EndedBy::All, |project| EndedBy::Project(project.clone()));
        let (of, filter) = (view.clone(), filter.clone());
        rows.extend(history::offers(&api, vec![by], move |offer| filter.takes(&of, offer)).await?);
    }
    rows.retain(|offer| whose::sees(&asker, &view, &**offer));
    rows.sort_by_key(|offer| (offer.created_at, offer.id));
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
    let (node, actor) = whose::node_meant(&view, &asker, &ident)?;
    let lessee = lessee.map(|ident| whose::project_meant(&view, &asker, &ident)).transpose()?;
    let project = whose::acts_for(&asker, &node)?;
    // Since now, if nobody says since when; the end of time is never.
    let end = end.filter(|end| *end < Timestamp::MAX);
    let wanted = NewOffer { label, project, lessee, start, end, wish };
    let made = |offer: &Offer| (StatusCode::CREATED, Json(document::offer(&api.engine.view(), offer)));
    let is_it = |offer: &Offer| offer.node == node.id && once::is_same_offer(offer, &wanted);
    let known = match id {
        NewId::Fresh(_) => None,
        NewId::Keyed(id) => <Offer as whose::Thing>::with_id(&api, &view, id).await?,
    };
    if let Some(offer) = known {
        return if is_it(&offer) { Ok(made(&offer)) } else { Err(once::used_otherwise()) };
    }
    let command = LeaseCommand::Offer {
        id: OfferId(id.uuid()),
        node: node.id,
        wanted: Box::new(wanted.clone()),
        terms: terms(&api, &asker),
    };
    match api.submit(Command::Lease(command), actor).await {
        Err(error) if id.is_repeat(&error) => {
            let offer = api.engine.view().lease.offer(OfferId(id.uuid())).cloned();
            offer.filter(|offer| is_it(offer)).map(|offer| made(&offer)).ok_or_else(once::used_otherwise)
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
    let offer = whose::find::<Offer>(&api, &asker, &ident, "esi_leap:offer:claim").await?;
    let id = NewId::of(&headers, &asker, "lease")?;
    let mut said = Said::of(body)?;
    let project = asker.credentials.project_id.clone().ok_or_else(whose::no_project)?;
    let (start, end) = (said.time("start_time")?, said.time("end_time")?);
    let (label, purpose) = (said.label()?, said.purpose()?);
    said.end()?;
    let wanted = NewLease { label, purpose, project, start, end, ..NewLease::default() };
    let command = LeaseCommand::Claim {
        id: LeaseId(id.uuid()),
        offer: offer.id,
        wanted: Box::new(wanted.clone()),
        terms: terms(&api, &asker),
    };
    let made = leases::Made { id, wanted, offer: Some(offer.id), node: offer.node };
    if let Some(known) = made.known(&api).await? {
        return Ok(known);
    }
    if !offer.is_open() {
        return Err(Fault::conflict(format!(
            "Offer {} is {}: nothing of it can be claimed any more.",
            offer.id,
            document::offer_state(offer.state)
        )));
    }
    made.submit(&api, command, asker.actor()).await
}
