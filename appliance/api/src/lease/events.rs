//! `/v1/events`: what became of leases, for who follows them.
//!
//! Out of the box's one sequence of events: those in which a lease came into another state, with esi-leap's names and
//! its whole numbers. An event carries owner and lessee of its moment, and is there for them and administrators, whoever
//! they are later. One answer has ten thousand at most, the oldest; `last_event_id` goes on from there.

use super::fault::{Asker, Fault};
use super::filter::{Asked, Wanted};
use super::{RESOURCE_TYPE, may, time};
use crate::Api;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use leasehold_domain::event::{Event, What};
use leasehold_domain::lease::LeaseState;
use leasehold_store::{Cursor, CursorError, EventsBy, EventsFrom, ReadError, Recorded};
use serde_json::{Value, json};

/// Events of one answer.
const MOST: usize = 10_000;
const ADMIN: &str = "esi_leap:event:event_admin";
const TYPES: [&str; 6] = [
    "esi_leap.lease.fulfill.start",
    "esi_leap.lease.fulfill.end",
    "esi_leap.lease.fulfill.error",
    "esi_leap.lease.delete.start",
    "esi_leap.lease.delete.end",
    "esi_leap.lease.delete.error",
];

/// What esi-leap calls it that a lease became this.
fn kind(from: Option<LeaseState>, to: LeaseState) -> Option<&'static str> {
    let began = matches!(from, None | Some(LeaseState::Created | LeaseState::WaitFulfill));
    let name = match to {
        // Only its end was moved.
        _ if from == Some(to) => return None,
        LeaseState::Created => return None,
        LeaseState::WaitFulfill => TYPES[0],
        LeaseState::Active => TYPES[1],
        LeaseState::Error if began => TYPES[2],
        LeaseState::WaitExpire | LeaseState::WaitCancel => TYPES[3],
        LeaseState::Expired | LeaseState::Deleted => TYPES[4],
        LeaseState::Error => TYPES[5],
    };
    Some(name)
}

fn kind_of(event: &Event) -> Option<&'static str> {
    match &event.what {
        What::LeaseChanged { from, state, .. } => kind(*from, *state),
        _ => None,
    }
}

fn document(recorded: &Recorded) -> Option<Value> {
    let event = &recorded.event;
    let What::LeaseChanged { lease, .. } = &event.what else { return None };
    Some(json!({
        "id": recorded.cursor.number(),
        "event_type": kind_of(event)?,
        "event_time": time::shown(event.at),
        "object_type": "lease",
        "object_uuid": lease.to_string(),
        "resource_type": RESOURCE_TYPE,
        "resource_uuid": event.node.map(|node| node.to_string()),
        "lessee_id": event.lessee,
        "owner_id": event.owner,
    }))
}

/// Whose events: of everybody, of a project, or of nobody.
fn whose(api: &Api, asker: &Asker, asked: &Asked) -> Result<Wanted<String>, Fault> {
    let named = asked.project("lessee_or_owner_id", &api.engine.view(), asker);
    let own = asker.credentials.project_id.clone();
    match named {
        named if asker.allows(ADMIN, &()) => Ok(named),
        Wanted::Anything => own.map(Wanted::This).ok_or_else(|| Fault::forbidden(ADMIN)),
        Wanted::This(project) if Some(&project) == own.as_ref() => Ok(Wanted::This(project)),
        _ => Err(Fault::forbidden(ADMIN)),
    }
}

/// Those whose events are looked at.
fn projects(whose: &Wanted<String>) -> Option<Vec<String>> {
    match whose {
        Wanted::Anything => None,
        Wanted::This(project) => Some(vec![project.clone()]),
        Wanted::Nothing => Some(Vec::new()),
    }
}

pub(super) async fn list(State(api): State<Api>, asker: Asker, asked: Asked) -> Result<Json<Value>, Fault> {
    may(&asker, "esi_leap:event:get_all", &())?;
    asked.only(&[
        "last_event_id",
        "last_event_time",
        "lessee_or_owner_id",
        "event_type",
        "resource_type",
        "resource_uuid",
    ])?;
    let whose = whose(&api, &asker, &asked)?;
    let since = asked.time("last_event_time")?;
    let node = asked.node(&api.engine.view())?;
    let wanted_kind =
        match asked.text("event_type") {
            None => None,
            Some(name) => Some(TYPES.into_iter().find(|known| *known == name).ok_or_else(|| {
                Fault::bad_request(format!("'{name}' is no type of event: {} are.", TYPES.join(", ")))
            })?),
        };
    let mut after = asked.text("last_event_id").map(cursor).transpose()?.flatten();
    let by = EventsBy { whose: projects(&whose), leases: true, since, until: None };
    let wanted = move |event: &Event| {
        let party = |project: &Option<String>| project.as_ref().is_some_and(|project| whose.takes(project));
        kind_of(event).is_some_and(|kind| wanted_kind.is_none_or(|wanted| wanted == kind))
            && (party(&event.owner) || party(&event.lessee))
            && since.is_none_or(|since| time::as_shown(event.at) > since)
            && event.node.is_some_and(|id| node.takes(&id))
    };
    let mut rows = Vec::new();
    loop {
        let from = EventsFrom::After(after);
        let page = api.engine.store.events_of(by.clone(), from, MOST - rows.len(), wanted.clone());
        let page = page.await.map_err(too_old)?;
        rows.extend(page.events.iter().filter_map(document));
        after = Some(page.next);
        if !page.more || rows.len() >= MOST {
            return Ok(Json(json!({"events": rows})));
        }
    }
}

/// 0 is before all events.
fn cursor(text: &str) -> Result<Option<Cursor>, Fault> {
    match text.parse::<u64>() {
        Ok(0) => Ok(None),
        Ok(number) => Ok(Some(Cursor::from_number(number))),
        Err(_) => Err(Fault::bad_request(format!("last_event_id: '{text}' is no whole number."))),
    }
}

fn too_old(error: ReadError) -> Fault {
    match error {
        ReadError::Cursor(CursorError::TooOld) => Fault::new(StatusCode::GONE, CursorError::TooOld.to_string()),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_of_a_lease_has_its_name() {
        use LeaseState::{Active, Created, Deleted, Error, Expired, WaitCancel, WaitExpire, WaitFulfill};
        for (from, to, name) in [
            (None, Created, None),
            (Some(Created), Created, None),
            (Some(Created), WaitFulfill, Some("fulfill.start")),
            (Some(WaitFulfill), Active, Some("fulfill.end")),
            (Some(Active), Active, None),
            (Some(WaitFulfill), Error, Some("fulfill.error")),
            (Some(Active), WaitExpire, Some("delete.start")),
            (Some(Active), WaitCancel, Some("delete.start")),
            (Some(WaitExpire), Expired, Some("delete.end")),
            (Some(WaitCancel), Deleted, Some("delete.end")),
            (Some(Created), Deleted, Some("delete.end")),
            (Some(WaitCancel), Error, Some("delete.error")),
        ] {
            let wanted = name.map(|name| format!("esi_leap.lease.{name}"));
            assert_eq!(kind(from, to).map(str::to_owned), wanted, "{from:?} {to:?}");
        }
    }
}
