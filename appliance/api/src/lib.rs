//! The HTTP faces of the appliance: the bare-metal API for users, the agent's calls, the appliance's own API.
//!
//! In: HTTP requests from the listeners of each trust zone (public, boot, local). Out: commands to the store, answers
//! made from a snapshot. Authentication and translation happen here; what is allowed and what follows is decided in
//! the domain. One router for each zone: [`public`], [`boot`], [`local`].

mod access;
mod agent;
mod appliance;
mod audit;
pub mod auth;
mod baremetal;
mod cut;
mod error;
mod events;
mod health;
pub mod identity;
mod idle;
mod image;
mod images;
mod import_folder;
mod lease;
pub mod limits;
mod named;
mod network;
pub mod policy;
mod quarantine;
pub mod serve;
pub mod tenants;
#[cfg(test)]
mod tests;
mod timeline;
pub mod url;
mod webhooks;

use arc_swap::ArcSwap;
use auth::{Guard, Passwords};
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::{Extension, Router};
pub use baremetal::Orders;
use jiff::Timestamp;
use leasehold_domain::command::{Actor, Command};
use leasehold_domain::policy::Policy;
use leasehold_domain::{Refusal, View};
use leasehold_engine::Engine;
use leasehold_store::{Committed, SubmitError};
use std::sync::Arc;

/// How often a change is made anew when others come between.
const TRIES: usize = 5;

/// What every handler works with.
#[derive(Clone)]
pub struct Api {
    pub engine: Engine,
    pub passwords: Arc<Passwords>,
    /// What authentication remembers between requests, and its settings.
    pub guard: Arc<Guard>,
    /// The rules in force; a checked reload swaps them.
    pub policy: Arc<ArcSwap<Policy>>,
    /// Where a reload finds them.
    pub policy_source: Arc<policy::Source>,
    /// What one user, one address and all together may have of the listeners.
    pub limits: Arc<limits::Limits>,
    /// What a project may have of networks and images.
    pub tenants: Arc<tenants::Tenants>,
    /// Where events may be sent to, and how.
    pub webhooks: Arc<leasehold_engine::webhooks::Settings>,
    /// Nodes in the orders that lists were sorted in.
    pub orders: Arc<Orders>,
    /// This box's name, shown as conductor.
    pub hostname: Arc<str>,
    pub started: Timestamp,
    /// The file with the one-time password; removed at its first change.
    pub password_file: Arc<std::path::PathBuf>,
}

impl Api {
    /// Gives a command for somebody.
    async fn submit(&self, command: Command, actor: Actor) -> Result<Committed, SubmitError> {
        let _share = self.limits.change(&actor).await;
        self.engine.store.submit(command, actor).await
    }

    /// Gives a command that `make` bases on what is the case now. Somebody else's change between its reading and the
    /// commit is no reason to bother the caller: it is made anew, up to [`TRIES`] times.
    async fn submit_current(
        &self,
        make: impl Fn(&View) -> Result<(Command, Actor), error::ApiError>,
    ) -> Result<Committed, error::ApiError> {
        let mut tries = 1;
        loop {
            let (command, actor) = make(&self.engine.view())?;
            match self.submit(command, actor).await {
                Err(SubmitError::Refused(Refusal::Conflict { .. })) if tries < TRIES => tries += 1,
                done => return Ok(done?),
            }
        }
    }
}

/// What users reach: services told apart by path, JSON 404 elsewhere.
pub fn public(api: Api) -> Router {
    Router::new()
        .merge(baremetal::router(&api))
        .merge(appliance::router(&api))
        .merge(identity::router(&api))
        .merge(network::router(&api))
        .merge(image::router(&api))
        .merge(lease::router(&api))
        .merge(images::public_router(&api))
        .merge(audit::public_router())
        .merge(events::router())
        .merge(webhooks::router())
        .merge(health::public_router(&api))
        .fallback(error::no_such_path)
        .method_not_allowed_fallback(error::no_such_method)
        .layer(from_fn_with_state(api.clone(), limits::admit))
        .layer(from_fn_with_state(api.clone(), audit::witness))
        .layer(DefaultBodyLimit::max(api.limits.settings.bare_metal_body))
        .with_state(api)
}

/// What clients on this box reach without credentials: all that users reach, as this user of the default domain.
pub fn open(api: Api, user: &str) -> Router {
    public(api).layer(Extension(auth::open::ActsAs(user.into()))).layer(from_fn(auth::open::no_browser))
}

/// What nodes reach on the provisioning network: agents' calls and their images.
pub fn boot(api: Api) -> Router {
    agent::router()
        .fallback(error::no_such_path)
        .method_not_allowed_fallback(error::no_such_method)
        .layer(from_fn_with_state(api.clone(), limits::admit_agents))
        .layer(DefaultBodyLimit::max(4 << 20))
        .with_state(api)
}

/// What programs on this box reach that are to know what happens and nothing else. Who may open the socket is for the
/// rights of its file to say.
pub fn told(api: Api) -> Router {
    events::local_router(&api)
        .fallback(error::no_such_path)
        .method_not_allowed_fallback(error::no_such_method)
        .with_state(api)
}

/// What the local command line reaches; the socket's peer credentials have been checked.
pub fn local(api: Api) -> Router {
    Router::new()
        .merge(appliance::local_router())
        .merge(identity::local_router())
        .merge(images::local_router())
        .merge(health::local_router())
        .merge(policy::local_router())
        .merge(audit::local_router())
        .merge(events::local_router(&api))
        .merge(webhooks::local_router(&api))
        .merge(lease::local_router(&api))
        .fallback(error::no_such_path)
        .method_not_allowed_fallback(error::no_such_method)
        .layer(DefaultBodyLimit::max(1 << 20))
        .with_state(api)
}
