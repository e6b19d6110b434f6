//! The lease API: esi-leap's v1 under `/lease`, for owners who offer nodes and lessees who claim them.
//!
//! In: requests of unmodified clients. Out: esi-leap's documents and error bodies. Rules say who may ask for what, an
//! offer says whom it is for, and both who a thing is there for ([`whose`]); whether a time is free is decided in the
//! domain. What is not over is shown from the state in memory, what is over from the disk: of that a list shows the
//! newest thousand.
//!
//! Where esi-leap fails this does not: a time that is taken is 409, an offer is claimed by its name, what is another's is
//! 404, and a name that several things have is 409 with the advice to use the UUID. Of ours is the header
//! `Idempotency-Key` ([`once`]): a request that is sent again after a lost answer makes nothing twice.

mod body;
mod calendar;
mod console;
mod discovery;
mod document;
mod events;
mod fault;
mod filter;
mod history;
mod leases;
mod nodes;
mod offers;
mod once;
mod quotas;
mod reservations;
mod time;
mod unique;
mod usage;
mod whose;

use crate::Api;
use crate::auth::at_socket;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, post};
use fault::{Asker, Fault};
use leasehold_domain::lease::Terms;
use leasehold_domain::policy::Target;

/// The one kind of thing that is leased here, as esi-leap calls it.
const RESOURCE_TYPE: &str = "ironic_node";
const LEASE_ADMIN: &str = "esi_leap:lease:lease_admin";
const OFFER_ADMIN: &str = "esi_leap:offer:offer_admin";

/// A refusal that comes before any handler, in this service's form.
pub(crate) fn refused(error: crate::error::ApiError) -> axum::response::Response {
    axum::response::IntoResponse::into_response(Fault::from(error))
}

pub(crate) fn router(api: &Api) -> Router<Api> {
    let v1 = Router::new()
        .route("/nodes", get(nodes::list))
        .route("/offers", get(offers::list).post(offers::create))
        .route("/offers/{ident}", get(offers::show).delete(offers::remove))
        .route("/offers/{ident}/claim", post(offers::claim))
        .route("/leases", get(leases::list).post(leases::create))
        .route("/leases/{ident}", get(leases::show).patch(leases::change).delete(leases::remove))
        .route("/events", get(events::list))
        .route("/console_auth_tokens", post(console::not_yet))
        .route("/console_auth_tokens/{node}", delete(console::not_yet))
        .fallback(fault::no_such_path);
    Router::new()
        .route("/lease", get(discovery::versions))
        .route("/lease/", get(discovery::versions))
        .route("/lease/v1", get(discovery::versions))
        .route("/lease/v1/", get(discovery::versions))
        .nest("/lease/v1", v1)
        .route("/appliance/v1/quotas", get(quotas::list))
        .route("/appliance/v1/quotas/{project}", get(quotas::show).put(quotas::set).delete(quotas::unset))
        .route("/appliance/v1/reservations", get(reservations::list).post(reservations::create))
        .route(
            "/appliance/v1/reservations/{id}",
            get(reservations::show).patch(reservations::change).delete(reservations::remove),
        )
        .route("/appliance/v1/usage", get(usage::show))
        .route("/appliance/v1/calendar", get(calendar::show))
        .route(
            "/appliance/v1/calendar/feed",
            get(calendar::feed::show).post(calendar::feed::create).delete(calendar::feed::remove),
        )
        .route("/appliance/v1/calendar/feeds/{secret}", get(calendar::feed::read))
        .method_not_allowed_fallback(fault::no_such_method)
        .layer(DefaultBodyLimit::max(api.limits.settings.network_body))
}

/// For the local socket: the same, for whoever administers this box.
pub(crate) fn local_router(api: &Api) -> Router<Api> {
    router(api).layer(from_fn_with_state(api.clone(), at_socket::callers))
}

fn may(asker: &Asker, rule: &str, target: &dyn Target) -> Result<(), Fault> {
    if asker.allows(rule, target) { Ok(()) } else { Err(Fault::forbidden(rule)) }
}

/// The terms for this caller: an administrator is held to no longest time.
fn terms(api: &Api, asker: &Asker) -> Terms {
    api.engine.settings.lease.terms(asker.allows(LEASE_ADMIN, &()))
}
