//! `GET /appliance/v1/usage[?from=…&to=…&by=…&project=…&owner=…&format=csv]`: node-time offered, leased, used and idle.
//!
//! Days are those of UTC, `to` is the day after the last one, and of today and later only what has been counts. `by` names
//! what sums are kept apart by: any of day, project, owner, class, node. A project sees what it had as the lessee and what
//! it let others have; readers of the whole system see everything. What is meant by the figures is told in
//! `domain::lease::figures`; they are exact in seconds.

mod csv;
mod document;

use super::fault::{Asker, Fault};
use super::filter::{Asked, Wanted};
use crate::Api;
use crate::access::forbidden;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use document::Report;
use jiff::civil::Date;
use jiff::tz::Offset;
use jiff::{Timestamp, ToSpan};
use leasehold_domain::View;
use leasehold_domain::id::OfferId;
use leasehold_domain::lease::figures::{By, Day, Side, Tally, Window, day_of};
use leasehold_domain::lease::{Lease, Offer};
use leasehold_domain::policy::Target;
use leasehold_store::{Account, EndedBy};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Semaphore;

const RULE: &str = "appliance:usage";
/// Sums of one answer.
const MOST: usize = 50_000;
/// Days of one answer: ten years.
const LONGEST: Day = 3660;
/// Days of an answer that names none.
const USUAL: i64 = 30;
/// Figures of everything are made by one request at a time, and so are those of projects: each takes a processor.
static OF_ALL: Semaphore = Semaphore::const_new(1);
static OF_PROJECTS: Semaphore = Semaphore::const_new(1);

/// The project whose figures are meant, as the rule sees it.
struct OfProject<'a>(&'a str);

impl Target for OfProject<'_> {
    fn attribute(&self, name: &str) -> Option<Cow<'_, str>> {
        (name == "project_id").then_some(Cow::Borrowed(self.0))
    }
}

pub(super) async fn show(
    State(api): State<Api>,
    asker: Asker,
    headers: HeaderMap,
    asked: Asked,
) -> Result<Response, Fault> {
    asked.only(&["from", "to", "by", "project", "owner", "format"])?;
    let (view, now) = (api.engine.view(), api.engine.store.now());
    let sides = sides(&asked, &view, &asker)?;
    let by = by(asked.text("by").unwrap_or("project,day"))?;
    let window = window(&asked, now)?;
    let as_csv = as_csv(asked.text("format"), &headers)?;
    let turn = if sides.contains(&Side::All) { &OF_ALL } else { &OF_PROJECTS };
    let closed = |_| Fault::new(StatusCode::SERVICE_UNAVAILABLE, "The program is ending.");
    let _turn = turn.acquire().await.map_err(closed)?;
    let mut tallies = Vec::new();
    for side in sides {
        let tally = count(&api, view.clone(), side.clone(), by, window).await?;
        if tally.is_full() {
            return Err(Fault::bad_request(format!(
                "These would be more than {MOST} sums: ask for fewer days, or keep them apart by less."
            )));
        }
        tallies.push((side, tally));
    }
    let report = Report { view: &view, by, window, tallies: &tallies };
    Ok(if as_csv {
        let disposition = "attachment; filename=\"usage.csv\"";
        let kind = [(header::CONTENT_TYPE, "text/csv; charset=utf-8"), (header::CONTENT_DISPOSITION, disposition)];
        (kind, report.csv()).into_response()
    } else {
        Json(report.json()).into_response()
    })
}

/// Whose figures, if the caller may see them.
fn sides(asked: &Asked, view: &View, asker: &Asker) -> Result<Vec<Side>, Fault> {
    let own = asker.credentials.project_id.as_deref();
    let named = match (asked.text("project"), asked.text("owner")) {
        (Some(_), Some(_)) => {
            return Err(Fault::bad_request(
                "Ask for what a project had, or for what an owner gave, not for both at once.",
            ));
        }
        (None, None) if asker.allows(RULE, &()) => return Ok(vec![Side::All]),
        (None, None) => {
            let own = own.filter(|own| asker.allows(RULE, &OfProject(own))).ok_or_else(|| forbidden(RULE))?;
            return Ok(vec![Side::Owner(own.to_owned()), Side::Lessee(own.to_owned())]);
        }
        (Some(_), None) => "project",
        (None, Some(_)) => "owner",
    };
    match asked.project(named, view, asker) {
        Wanted::This(project) if asker.allows(RULE, &OfProject(&project)) => {
            Ok(vec![if named == "project" { Side::Lessee(project) } else { Side::Owner(project) }])
        }
        // Who may see everything is told that there is no such project; others not even that.
        Wanted::Nothing if asker.allows(RULE, &()) => {
            Err(Fault::bad_request(format!("No project named {}.", asked.text(named).unwrap_or_default())))
        }
        _ => Err(forbidden(RULE).into()),
    }
}

fn by(text: &str) -> Result<By, Fault> {
    let mut by = By::default();
    for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let part = match name {
            "day" => &mut by.day,
            "project" => &mut by.project,
            "owner" => &mut by.owner,
            "class" => &mut by.class,
            "node" => &mut by.node,
            _ => {
                return Err(Fault::bad_request(format!(
                    "by: '{name}' is nothing that sums are kept apart by: day, project, owner, class and node are."
                )));
            }
        };
        *part = true;
    }
    Ok(by)
}

fn day(name: &str, text: &str) -> Result<Date, Fault> {
    let date = text.parse::<Date>().ok().filter(|date| text.len() == 10 && (1970..9999).contains(&date.year()));
    date.ok_or_else(|| Fault::bad_request(format!("{name}: '{text}' is no day such as 2026-11-24.")))
}

fn window(asked: &Asked, now: Timestamp) -> Result<Window, Fault> {
    let today = Offset::UTC.to_datetime(now).date();
    let tomorrow = today.saturating_add(1.day());
    let end = asked.text("to").map_or(Ok(tomorrow), |text| day("to", text))?;
    let first = match asked.text("from") {
        Some(text) => day("from", text)?,
        None => end.saturating_sub(USUAL.days()),
    };
    let number = |date: Date| Offset::UTC.to_timestamp(date.at(0, 0, 0, 0)).map_or(0, day_of);
    let window = Window { first: number(first), end: number(end), now };
    match window.end - window.first {
        ..=0 => Err(Fault::bad_request(format!("from {first} to {end}: 'to' is the day after the last one."))),
        days if days > LONGEST => Err(Fault::bad_request(format!("Ask for {LONGEST} days at most."))),
        _ => Ok(window),
    }
}

/// What is asked for by name, or else by the header.
fn as_csv(format: Option<&str>, headers: &HeaderMap) -> Result<bool, Fault> {
    match format {
        Some("csv") => Ok(true),
        Some("json") => Ok(false),
        Some(other) => Err(Fault::bad_request(format!("format: '{other}' is none: json and csv are."))),
        None => {
            let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
            let first = accept.split(',').map(|kind| kind.split(';').next().unwrap_or_default().trim());
            Ok(first.clone().next() == Some("text/csv"))
        }
    }
}

/// Adds up a snapshot and the history before it.
struct Counting {
    view: Arc<View>,
    tally: Tally,
}

impl Account for Counting {
    fn open_offer(&self, id: OfferId) -> Option<Arc<Offer>> {
        self.view.lease.offer(id).cloned()
    }

    fn offer(&mut self, offer: &Offer) {
        // What was open in the snapshot and has ended since is counted as it was.
        if offer.is_open() || self.view.lease.offer(offer.id).is_none() {
            let node = self.view.node(offer.node);
            self.tally.offer(offer, node.and_then(|node| node.settings.resource_class.as_deref()));
        }
    }

    fn lease(&mut self, lease: &Lease, offer: Option<&Offer>) {
        if !lease.state.is_over() || self.view.lease.lease(lease.id).is_none() {
            let node = self.view.node(lease.node);
            self.tally.lease(lease, offer, node.and_then(|node| node.settings.resource_class.as_deref()));
        }
    }
}

async fn count(api: &Api, view: Arc<View>, side: Side, by: By, window: Window) -> Result<Tally, Fault> {
    let book = &view.lease;
    let (offers, leases, open, live): (_, _, Vec<Arc<Offer>>, Vec<Arc<Lease>>) = match &side {
        Side::All => {
            (Some(EndedBy::All), EndedBy::All, book.offers().cloned().collect(), book.leases().cloned().collect())
        }
        Side::Owner(project) => (
            Some(EndedBy::Project(project.clone())),
            EndedBy::Owner(project.clone()),
            book.offers_of(project).cloned().collect(),
            book.leases_by_owner(project).cloned().collect(),
        ),
        Side::Lessee(project) => {
            (None, EndedBy::Project(project.clone()), Vec::new(), book.leases_of(project).cloned().collect())
        }
    };
    let since = Timestamp::from_second(i64::from(window.first) * 86_400).unwrap_or(Timestamp::MIN);
    let mut counting = Counting { view, tally: Tally::new(side, by, window, MOST) };
    open.iter().for_each(|offer| counting.offer(offer));
    Ok(api.engine.store.account(offers, leases, since, live, counting).await?.tally)
}

/// The names of parts, as they are asked for, and whether they are.
fn parts(by: By) -> BTreeMap<&'static str, bool> {
    [("day", by.day), ("project", by.project), ("owner", by.owner), ("class", by.class), ("node", by.node)].into()
}
