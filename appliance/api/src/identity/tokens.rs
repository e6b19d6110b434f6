//! Tokens: issued for a password, a token or an application credential; shown, checked and ended.

use super::access::Facts;
use super::base::Base;
use super::body::Body;
use super::catalog::catalog as catalog_document;
use super::document;
use super::fault::{Asker, Fault};
use super::list::Filters;
use super::login::{self, Proof, Wanted, Which};
use super::token_document;
use crate::Api;
use crate::auth::login::{LoginError, by_password};
use crate::auth::{Origin, find_token, secret};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use jiff::{SignedDuration, Timestamp};
use leasehold_domain::command::{Actor, Answer, Command, Who};
use leasehold_domain::id::CredentialId;
use leasehold_domain::identity::{
    ApplicationCredential, Digest, IdentityCommand, IdentityRow, Scope, SecretHash, Token, User, id_text, parse_id,
};
use serde_json::{Value, json};
use std::sync::Arc;

const SUBJECT: HeaderName = HeaderName::from_static("x-subject-token");

/// Who has proved who he is, and how.
struct Proven {
    user: Arc<User>,
    methods: Vec<String>,
    credential: Option<Arc<ApplicationCredential>>,
    parent: Option<Arc<Token>>,
}

/// A token to be issued.
pub(super) struct Order {
    pub(super) user: Arc<User>,
    pub(super) scope: Scope,
    pub(super) methods: Vec<String>,
    pub(super) credential: Option<Arc<ApplicationCredential>>,
    pub(super) parent: Option<Arc<Token>>,
    pub(super) lifetime: SignedDuration,
    pub(super) session: bool,
    pub(super) origin: Origin,
}

/// Issues a token: its text, which is nowhere else, and its row.
pub(super) async fn give(api: &Api, order: Order) -> Result<(String, Arc<Token>), Fault> {
    let view = api.engine.view();
    let now = Timestamp::now();
    let roles = match &order.credential {
        Some(credential) => view.identity.grounds_of(credential, now),
        None => view.identity.grounds(&order.user, order.scope),
    };
    let roles = roles.ok_or_else(Fault::unauthorized)?;
    let ends = [
        Some(now.checked_add(order.lifetime).unwrap_or(Timestamp::MAX)),
        order.credential.as_ref().and_then(|credential| credential.expires_at),
        order.parent.as_ref().map(|parent| parent.expires_at),
    ];
    let expires_at = ends.into_iter().flatten().min().unwrap_or(now);
    let no_randomness = || Fault::new(StatusCode::INTERNAL_SERVER_ERROR, "The system gives no random numbers.");
    let (text, digest) = secret::make().ok_or_else(no_randomness)?;
    let token = Token {
        digest,
        user: order.user.id,
        scope: order.scope,
        roles,
        issued_at: now,
        expires_at,
        methods: order.methods,
        credential: order.credential.as_ref().map(|credential| credential.id),
        parent: order.parent.as_ref().map(|parent| parent.digest),
        audit_id: secret::audit_id(),
        session: order.session,
    };
    let who = Who { scope: order.scope.to_string(), ..order.origin.who(&order.user) };
    let command = IdentityCommand::IssueToken { token: Box::new(token), user: order.user };
    let committed = api.submit(Command::Identity(command), Actor::User(who.into())).await?;
    match committed.answer {
        Answer::Identity(IdentityRow::Token(row)) => Ok((text, row)),
        _ => Err(Fault::new(StatusCode::INTERNAL_SERVER_ERROR, "The token was not stored.")),
    }
}

/// `POST /v3/auth/tokens`.
pub(super) async fn issue(
    State(api): State<Api>,
    Base(base): Base,
    origin: Origin,
    filters: Filters,
    body: Body,
) -> Result<Response, Fault> {
    let Json(body) = body?;
    let view = api.engine.view();
    let proof = login::proof(&view.identity, &body)?;
    let wanted = login::wanted(&view.identity, &body)?;
    let proven = prove(&api, proof, &origin).await?;
    let scope = match (&proven.credential, wanted) {
        (_, Wanted::Nothing) => return Err(Fault::unauthorized()),
        // What it is for was said when it was made.
        (Some(credential), Wanted::Usual) => Scope::Project(credential.project),
        (Some(credential), Wanted::Scope(scope)) if scope == Scope::Project(credential.project) => scope,
        (Some(_), Wanted::Scope(_)) => return Err(Fault::unauthorized()),
        (None, Wanted::Scope(scope)) => scope,
        (None, Wanted::Usual) => {
            let default = proven.user.default_project.map(Scope::Project);
            let view = api.engine.view();
            default.filter(|scope| view.identity.grounds(&proven.user, *scope).is_some()).unwrap_or(Scope::Unscoped)
        }
    };
    let (text, token) = give(
        &api,
        Order {
            user: proven.user.clone(),
            scope,
            methods: proven.methods,
            credential: proven.credential,
            parent: proven.parent,
            lifetime: api.guard.settings.token_lifetime,
            session: false,
            origin,
        },
    )
    .await?;
    let view = api.engine.view();
    let region = &api.guard.settings.region;
    let with_catalog = (!filters.has_name("nocatalog")).then_some((base.as_str(), region.as_str()));
    let document = token_document::token(&view.identity, &proven.user, &token, with_catalog);
    Ok((StatusCode::CREATED, [(SUBJECT, text)], Json(document)).into_response())
}

async fn prove(api: &Api, proof: Proof, origin: &Origin) -> Result<Proven, Fault> {
    match proof {
        Proof::Password { claim, password } => {
            let user = by_password(api, &claim, &password, origin).await?;
            if user.one_time {
                return Err(LoginError::OneTime(user.id).into());
            }
            Ok(Proven { user, methods: vec!["password".into()], credential: None, parent: None })
        }
        Proof::Token(text) => {
            let parent = find_token(api, &text).filter(|token| !token.session).ok_or_else(Fault::unauthorized)?;
            let view = api.engine.view();
            view.identity.check_token(&parent, Timestamp::now()).map_err(|_| Fault::unauthorized())?;
            let user = view.identity.user(parent.user).ok_or_else(Fault::unauthorized)?.clone();
            let credential = parent.credential.and_then(|id| view.identity.credential(id)).cloned();
            let mut methods = parent.methods.clone();
            if !methods.iter().any(|method| method == "token") {
                methods.push("token".into());
            }
            Ok(Proven { user, methods, credential, parent: Some(parent) })
        }
        Proof::ApplicationCredential { which, secret } => by_credential(api, &which, &secret, origin).await,
    }
}

async fn by_credential(api: &Api, which: &Which, secret: &str, origin: &Origin) -> Result<Proven, Fault> {
    let view = api.engine.view();
    let (account, found) = match which {
        Which::Id(id) => (id.clone(), parse_id(id).and_then(|id| view.identity.credential(CredentialId(id)))),
        Which::Name { user, name } => {
            let of = user.find(&view.identity);
            let found = of.and_then(|user| {
                let mut credentials = view.identity.credentials_of(user.id);
                credentials.find(|credential| credential.name.eq_ignore_ascii_case(name))
            });
            (format!("{} {name}", user.told()), found)
        }
    };
    let account = format!("application credential {account}");
    let (address, now) = (origin.address, Timestamp::now());
    api.guard.try_login(&account, address, now)?;
    let usable = found.filter(|credential| view.identity.grounds_of(credential, now).is_some());
    let _look = api.guard.look(address).await?;
    let right = match usable.map(|credential| &credential.secret) {
        Some(SecretHash::Random(digest)) if secret::digest_of(secret) == Some(*digest) => true,
        Some(SecretHash::Chosen(hash)) => api.passwords.check_stored(Some(hash), secret).await?,
        // Whatever is wrong takes as long to find out.
        _ => api.passwords.check_stored(None, secret).await?,
    };
    match usable.filter(|_| right) {
        Some(credential) => {
            api.guard.login_succeeded(&account, address, now);
            let user = view.identity.user(credential.user).ok_or_else(Fault::unauthorized)?.clone();
            let methods = vec!["application_credential".into()];
            Ok(Proven { user, methods, credential: Some(credential.clone()), parent: None })
        }
        None => {
            api.guard.login_failed(&account, address, now);
            crate::auth::login::note(api, &account, origin, "unknown, wrong secret or over");
            Err(Fault::unauthorized())
        }
    }
}

/// The token that a call is about.
fn subject(api: &Api, headers: &HeaderMap) -> Result<Arc<Token>, Fault> {
    let text = headers.get(SUBJECT).and_then(|value| value.to_str().ok());
    let text = text.ok_or_else(|| Fault::bad_request("The header X-Subject-Token names the token that is meant."))?;
    let token = find_token(api, text).filter(|token| !token.session);
    token.ok_or_else(|| Fault::new(StatusCode::NOT_FOUND, "This is not a recognized token."))
}

/// Everybody looks at his own tokens; at others' as rules say.
fn may_see(asker: &Asker, rule: &str, subject: &Token) -> Result<(), Fault> {
    let own = asker.token.as_ref().is_some_and(|token| token.digest == subject.digest) || asker.is(subject.user);
    let facts = Facts::default().with("target.token.user_id", id_text(subject.user.0));
    if own || asker.asks(rule, &facts, None) { Ok(()) } else { Err(Fault::forbidden(rule)) }
}

fn seen(api: &Api, asker: &Asker, headers: &HeaderMap) -> Result<(Arc<Token>, Arc<User>), Fault> {
    let token = subject(api, headers)?;
    may_see(asker, "identity:validate_token", &token)?;
    let view = api.engine.view();
    let user = view.identity.user(token.user).filter(|_| view.identity.check_token(&token, Timestamp::now()).is_ok());
    let over = || Fault::new(StatusCode::NOT_FOUND, "This is not a recognized token.");
    Ok((token, user.ok_or_else(over)?.clone()))
}

pub(super) async fn validate(
    State(api): State<Api>,
    asker: Asker,
    Base(base): Base,
    filters: Filters,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    let (token, user) = seen(&api, &asker, &headers)?;
    let view = api.engine.view();
    let region = &api.guard.settings.region;
    let with_catalog = (!filters.has_name("nocatalog")).then_some((base.as_str(), region.as_str()));
    let document = token_document::token(&view.identity, &user, &token, with_catalog);
    let text = headers.get(SUBJECT).cloned().into_iter().map(|text| (SUBJECT, text));
    Ok((HeaderMap::from_iter(text), Json(document)).into_response())
}

pub(super) async fn check(State(api): State<Api>, asker: Asker, headers: HeaderMap) -> Result<StatusCode, Fault> {
    seen(&api, &asker, &headers).map(|_| StatusCode::OK)
}

pub(super) async fn revoke(State(api): State<Api>, asker: Asker, headers: HeaderMap) -> Result<StatusCode, Fault> {
    let token = subject(&api, &headers)?;
    may_see(&asker, "identity:revoke_token", &token)?;
    end(&api, token.digest, asker.actor()).await
}

/// Ends a token; one that has just ended by itself is no error.
pub(super) async fn end(api: &Api, digest: Digest, actor: Actor) -> Result<StatusCode, Fault> {
    use leasehold_domain::Refusal;
    use leasehold_store::SubmitError;
    match api.submit(Command::Identity(IdentityCommand::RevokeToken { digest }), actor).await {
        Ok(_) | Err(SubmitError::Refused(Refusal::NotFound { .. })) => Ok(StatusCode::NO_CONTENT),
        Err(error) => Err(error.into()),
    }
}

/// The projects for which the caller could have a token.
pub(super) async fn projects(
    State(api): State<Api>,
    asker: Asker,
    Base(base): Base,
    filters: Filters,
) -> Result<Json<Value>, Fault> {
    let view = api.engine.view();
    let rows = view.identity.projects_of(asker.user.id).into_iter().map(|row| document::project(row, &base));
    Ok(Json(filters.page("projects", &format!("{base}/identity/v3/auth/projects"), rows)?))
}

pub(super) async fn domains(
    State(api): State<Api>,
    asker: Asker,
    Base(base): Base,
    filters: Filters,
) -> Result<Json<Value>, Fault> {
    let view = api.engine.view();
    let rows = view.identity.domains_of(asker.user.id).into_iter().map(|row| document::domain(row, &base));
    Ok(Json(filters.page("domains", &format!("{base}/identity/v3/auth/domains"), rows)?))
}

pub(super) async fn system(State(api): State<Api>, asker: Asker, Base(base): Base) -> Json<Value> {
    let view = api.engine.view();
    let has = view.identity.grounds(&asker.user, Scope::System).is_some();
    let system = if has { json!([{"all": true}]) } else { json!([]) };
    Json(json!({"system": system, "links": {"self": format!("{base}/identity/v3/auth/system")}}))
}

pub(super) async fn catalog(State(api): State<Api>, asker: Asker, Base(base): Base) -> Result<Json<Value>, Fault> {
    if asker.scope == Scope::Unscoped {
        return Err(Fault::new(StatusCode::FORBIDDEN, "A token that is for nothing has no catalog."));
    }
    let link = json!({"self": format!("{base}/identity/v3/auth/catalog")});
    Ok(Json(json!({"catalog": catalog_document(&base, &api.guard.settings.region), "links": link})))
}
