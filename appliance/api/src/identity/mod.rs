//! The identity API: Keystone's v3 under `/identity`, as far as clients and administration need it, and the appliance's
//! own calls about accounts: one-time links and browsers' sessions.
//!
//! In: requests of unmodified clients. Out: Keystone's documents and error bodies. Rules `identity:*` say who may; beneath
//! them stands what no rule can open ([`access`]): nobody gives what he has not, and the accounts are administered from
//! the system or from their own domain only.

mod access;
mod accounts;
mod application_credentials;
mod assignments;
pub(crate) mod base;
mod body;
mod catalog;
mod discovery;
mod document;
mod domains;
mod fault;
mod grants;
mod groups;
mod links;
mod list;
mod login;
mod projects;
mod roles;
mod sessions;
mod token_document;
mod tokens;
mod users;

use crate::Api;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{get, post, put};
use leasehold_domain::command::{Actor, Command, Context};
use leasehold_domain::id::ProjectId;
use leasehold_domain::identity::{Bootstrap, IdentityCommand, User, built_in_roles};
use leasehold_store::{Store, SubmitError};
use std::time::Duration;
use uuid::Uuid;

/// Where version 3 is; what is nested there sees paths without it.
const V3: &str = "/identity/v3";
/// How often tokens and links that have expired are removed.
const SWEEP_EVERY: Duration = Duration::from_secs(300);

/// Makes what is always there, and the first user where there is none. To be called at every start.
pub async fn bootstrap(store: &Store, first: Option<User>) -> Result<(), SubmitError> {
    let wanted = Bootstrap {
        project: ProjectId(Uuid::new_v4()),
        roles: built_in_roles().iter().map(|_| Uuid::new_v4()).collect(),
        administrator: first,
    };
    let command = Command::Identity(IdentityCommand::Bootstrap(Box::new(wanted)));
    let context = Context { actor: Actor::System("first start"), now: jiff::Timestamp::now() };
    // Where nothing is missing nothing is asked of the disk: a box starts on a full one, too.
    if leasehold_domain::decide(&store.view(), &command, &context)?.changes.is_empty() {
        return Ok(());
    }
    store.submit(command, context.actor).await.map(drop)
}

/// Removes what has expired, for ever.
pub async fn housekeeping(store: Store) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        let now = jiff::Timestamp::now();
        let due = |store: &Store| {
            let view = store.view();
            let links = view.identity.invitations().any(|link| link.expires_at <= now);
            links || view.identity.tokens_over(now).next().is_some()
        };
        while due(&store) {
            let sweep = Command::Identity(IdentityCommand::Sweep);
            if let Err(error) = store.submit(sweep, Actor::System("identity")).await {
                tracing::debug!(%error, "expired tokens stay for now");
                break;
            }
        }
    }
}

/// A refusal that comes before any handler, in this service's form.
pub(crate) fn refused(error: crate::error::ApiError) -> axum::response::Response {
    axum::response::IntoResponse::into_response(fault::Fault::from(error))
}

pub(crate) fn router(api: &Api) -> Router<Api> {
    let keystone = Router::new()
        .route("/identity", get(discovery::versions))
        .route("/identity/", get(discovery::versions))
        .route("/identity/v3", get(discovery::v3))
        .route("/identity/v3/", get(discovery::v3))
        .nest(V3, v3().fallback(fault::no_such_path))
        .method_not_allowed_fallback(fault::no_such_method)
        .layer(DefaultBodyLimit::max(api.limits.settings.identity_body))
        .layer(from_fn(stamp));
    let own = Router::new()
        .route("/appliance/v1/session", get(sessions::show).post(sessions::open).delete(sessions::close))
        .route("/appliance/v1/invitations", post(links::make))
        .route("/appliance/v1/invitations/accept", post(links::accept))
        .layer(DefaultBodyLimit::max(api.limits.settings.identity_body));
    keystone.merge(own)
}

/// For the local socket, whose peer has been checked by its credentials.
pub(crate) fn local_router() -> Router<Api> {
    Router::new()
        .route("/appliance/v1/accounts", get(accounts::list).post(accounts::create))
        .route("/appliance/v1/accounts/{name}/link", post(accounts::link))
}

fn v3() -> Router<Api> {
    let grant = || get(grants::check).head(grants::check).put(grants::give).delete(grants::take);
    let mut v3 = Router::new()
        .route("/auth/tokens", post(tokens::issue).get(tokens::validate).head(tokens::check).delete(tokens::revoke))
        .route("/auth/projects", get(tokens::projects))
        .route("/auth/domains", get(tokens::domains))
        .route("/auth/system", get(tokens::system))
        .route("/auth/catalog", get(tokens::catalog))
        .route("/projects", get(projects::list).post(projects::create))
        .route("/projects/{id}", get(projects::show).patch(projects::change).delete(projects::remove))
        .route("/domains", get(domains::list).post(domains::create))
        .route("/domains/{id}", get(domains::show).patch(domains::change).delete(domains::remove))
        .route("/users", get(users::list).post(users::create))
        .route("/users/{id}", get(users::show).patch(users::change).delete(users::remove))
        .route("/users/{id}/password", post(users::change_password))
        .route("/users/{id}/projects", get(users::projects))
        .route("/users/{id}/groups", get(users::groups))
        .route(
            "/users/{user}/application_credentials",
            get(application_credentials::list).post(application_credentials::create),
        )
        .route(
            "/users/{user}/application_credentials/{id}",
            get(application_credentials::show).delete(application_credentials::remove),
        )
        .route("/users/{user}/access_rules", get(application_credentials::access_rules))
        .route("/groups", get(groups::list).post(groups::create))
        .route("/groups/{id}", get(groups::show).patch(groups::change).delete(groups::remove))
        .route("/groups/{id}/users", get(groups::members))
        .route(
            "/groups/{id}/users/{user}",
            put(groups::add).delete(groups::take_out).get(groups::is_member).head(groups::is_member),
        )
        .route("/roles", get(roles::list).post(roles::create))
        .route("/roles/{id}", get(roles::show).patch(roles::change).delete(roles::remove))
        .route("/roles/{id}/implies", get(roles::implied))
        .route(
            "/roles/{id}/implies/{implied}",
            put(roles::imply).get(roles::check_implied).head(roles::check_implied).delete(roles::end_implied),
        )
        .route("/role_inferences", get(roles::inferences))
        .route("/role_assignments", get(assignments::list).head(assignments::list))
        .route("/services", get(catalog::services))
        .route("/services/{id}", get(catalog::service))
        .route("/endpoints", get(catalog::endpoints))
        .route("/endpoints/{id}", get(catalog::endpoint))
        .route("/regions", get(catalog::regions))
        .route("/regions/{id}", get(catalog::region));
    for place in ["/projects/{place}", "/domains/{place}", "/system"] {
        for party in ["users", "groups"] {
            v3 = v3
                .route(&format!("{place}/{party}/{{party}}/roles"), get(grants::list))
                .route(&format!("{place}/{party}/{{party}}/roles/{{role}}"), grant());
            if place != "/system" {
                let inherited = format!("/OS-INHERIT{place}/{party}/{{party}}/roles");
                v3 = v3
                    .route(&format!("{inherited}/inherited_to_projects"), get(grants::list))
                    .route(&format!("{inherited}/{{role}}/inherited_to_projects"), grant());
            }
        }
    }
    v3
}

/// Gives the answer the headers that Keystone's have.
async fn stamp(request: Request, next: Next) -> Response {
    let base = base::of(request.uri(), request.headers(), request.extensions());
    let mut answer = next.run(request).await;
    let headers = answer.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("X-Auth-Token"));
    if answer.status() == StatusCode::UNAUTHORIZED
        && let Ok(challenge) = HeaderValue::from_str(&format!("Keystone uri=\"{base}/identity\""))
    {
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    answer
}
