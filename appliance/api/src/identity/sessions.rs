//! `/appliance/v1/session`: the browser's way in and out.

use super::fault::Fault;
use super::tokens::{Order, end, give};
use crate::Api;
use crate::auth::login::{Claim, ONE_TIME, by_password};
use crate::auth::{Caller, Origin, session};
use crate::error::ApiError;
use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use leasehold_domain::identity::{Scope, User, id_text};
use serde::Deserialize;
use serde_json::{Value, json};

/// What a login page sends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    username: String,
    password: String,
}

fn document(api: &Api, user: &User, scope: Scope, roles: impl IntoIterator<Item = String>, cookie: &str) -> Value {
    let view = api.engine.view();
    let project = match scope {
        Scope::Project(id) => view.identity.project(id).map(|row| json!({"id": row.id_text(), "name": row.name})),
        _ => None,
    };
    json!({
        "user": {"id": id_text(user.id.0), "name": user.name},
        "scope": scope.to_string(),
        "project": project,
        "roles": roles.into_iter().collect::<Vec<_>>(),
        "csrf_token": session::csrf_token(cookie),
    })
}

/// Opens a session: the cookie, and in the body the token that goes with every change.
pub(super) async fn open(
    State(api): State<Api>,
    origin: Origin,
    body: Result<Json<Login>, JsonRejection>,
) -> Result<Response, ApiError> {
    let Json(login) = body.map_err(|rejection| ApiError::new(rejection.status(), rejection.body_text()))?;
    let user = by_password(&api, &Claim::plain(&login.username), &login.password, &origin).await?;
    if user.one_time {
        let id = id_text(user.id.0);
        let body = json!({"error": "one-time password", "message": ONE_TIME, "user": {"id": id, "name": user.name}});
        return Ok((StatusCode::FORBIDDEN, Json(body)).into_response());
    }
    let scope = api.engine.view().identity.usual_scope(&user);
    let order = Order {
        user: user.clone(),
        scope,
        methods: vec!["password".into()],
        credential: None,
        parent: None,
        lifetime: api.guard.settings.session_lifetime,
        session: true,
        origin,
    };
    let (cookie, token) = give(&api, order).await.map_err(Fault::into_api_error)?;
    let view = api.engine.view();
    let roles = token.roles.iter().filter_map(|id| view.identity.role(*id)).map(|role| role.name.clone());
    let document = document(&api, &user, scope, roles, &cookie);
    let seconds = api.guard.settings.session_lifetime.as_secs();
    let cookie = session::set_cookie(&cookie, seconds);
    Ok((StatusCode::CREATED, [(header::SET_COOKIE, cookie)], Json(document)).into_response())
}

/// Who is logged in: what a page that is loaded again asks first.
pub(super) async fn show(State(api): State<Api>, caller: Caller, headers: HeaderMap) -> Result<Json<Value>, ApiError> {
    let (cookie, _) = own(&caller, &headers)?;
    Ok(Json(document(&api, &caller.user, caller.scope, caller.credentials.roles.iter().cloned(), cookie)))
}

fn own<'a>(caller: &Caller, headers: &'a HeaderMap) -> Result<(&'a str, [u8; 32]), ApiError> {
    let token = caller.token.as_ref().filter(|token| token.session);
    let none = || ApiError::not_found("This request belongs to no session: it has no session's cookie.");
    let cookie = session::cookie(headers).ok_or_else(none)?;
    token.map(|token| (cookie, token.digest)).ok_or_else(none)
}

pub(super) async fn close(State(api): State<Api>, caller: Caller, headers: HeaderMap) -> Result<Response, ApiError> {
    let (_, digest) = own(&caller, &headers)?;
    end(&api, digest, caller.actor()).await.map_err(Fault::into_api_error)?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, session::set_cookie("", 0))]).into_response())
}
