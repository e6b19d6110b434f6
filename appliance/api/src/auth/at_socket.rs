//! Callers on the local socket, where the socket's peer credentials were looked at: whoever administers this box, with all
//! rights of an administrator of the whole system, and within a project where he names one.
//!
//! For services whose rules ask for a caller. What he does is in the audit under his Unix user id, as all that is done there.

use super::{Caller, Origin};
use crate::Api;
use crate::audit::Hidings;
use crate::error::ApiError;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use leasehold_domain::View;
use leasehold_domain::id::{ProjectId, UserId};
use leasehold_domain::identity::{DEFAULT_DOMAIN, Project, Scope, User, id_text, parse_id};
use leasehold_domain::policy::Credentials;
use std::sync::Arc;
use uuid::Uuid;

/// Names the project for which something is done, by its id or name.
pub(crate) const PROJECT_HEADER: &str = "x-leasehold-project";

/// What he is: an administrator, and what that implies.
const ROLES: [&str; 4] = ["admin", "manager", "member", "reader"];

/// Puts the local user into the request's extensions, as the caller that handlers look for.
pub(crate) async fn callers(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let origin = Origin::of(request.extensions());
    let caller = match origin.uid {
        Some(uid) => caller(&api, uid, origin, request.headers()),
        None => Err(ApiError::new(StatusCode::FORBIDDEN, "This socket is for local users.")),
    };
    match caller {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(error) => error.into_response(),
    }
}

fn caller(api: &Api, uid: u32, origin: Origin, headers: &HeaderMap) -> Result<Caller, ApiError> {
    let view = api.engine.view();
    let project = match headers.get(PROJECT_HEADER) {
        Some(named) => Some(project_named(&view, &String::from_utf8_lossy(named.as_bytes()))?),
        None => None,
    };
    // Nobody's account: its id is no user's, and its password opens nothing.
    let id = UserId(Uuid::from_u128(u128::from(uid)));
    let user = User::new(id, &format!("local user {uid}"), String::new(), api.started);
    let credentials = Credentials {
        user_id: id_text(id.0),
        user_domain_id: id_text(DEFAULT_DOMAIN.0),
        project_id: project.as_ref().map(|project| project.id_text()),
        project_domain_id: project.as_ref().map(|project| id_text(project.domain.0)),
        domain_id: None,
        system: true,
        roles: ROLES.map(str::to_owned).into(),
    };
    Ok(Caller {
        user: Arc::new(user),
        credentials: Arc::new(credentials),
        policy: api.policy.load_full(),
        scope: project.map_or(Scope::System, |project| Scope::Project(project.id)),
        token: None,
        origin,
        hidings: Hidings::default(),
    })
}

/// By its id, else by its name where only one is called so.
fn project_named(view: &View, ident: &str) -> Result<Arc<Project>, ApiError> {
    let directory = &view.identity;
    if let Some(project) = parse_id(ident).and_then(|id| directory.project(ProjectId(id))) {
        return Ok(project.clone());
    }
    let domains = directory.projects().filter(|project| project.is_domain());
    let mut named = domains.filter_map(|domain| directory.project_by_name(domain.id, ident));
    match (named.next(), named.next()) {
        (Some(project), None) => Ok(project.clone()),
        (Some(_), Some(_)) => Err(ApiError::bad_request(format!(
            "Several projects are called {ident}: name the one that you mean by its id."
        ))),
        (None, _) => Err(ApiError::bad_request(format!("No project named {ident}."))),
    }
}
