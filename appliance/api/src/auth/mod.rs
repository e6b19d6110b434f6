//! Who is asking: a token, a name with its password (HTTP Basic), or the cookie of a browser's session.
//!
//! In: the headers of a request. Out: a [`Caller`] with his credentials within a scope, the same for all services, or 401
//! with the same words for an unknown user, a wrong password and a disabled account. What is computed for a token or a
//! user is kept until something changes that it rests on; tokens are stored as digests and looked up in memory.

pub(crate) mod at_socket;
mod known;
mod lockout;
pub(crate) mod login;
mod looks;
pub(crate) mod open;
mod passwords;
pub(crate) mod secret;
pub(crate) mod session;

pub use passwords::{PasswordError, Passwords, check_new, hash};

use crate::Api;
use crate::audit::Hidings;
use crate::error::ApiError;
use crate::limits::Ticket;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::{Extensions, HeaderMap, StatusCode, header, request::Parts};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use known::{Known, Whose};
use leasehold_domain::command::{Actor, Who};
use leasehold_domain::identity::{Scope, Token, User};
use leasehold_domain::policy::{Credentials, Policy};
use lockout::Lockout;
use login::{Claim, LoginError};
use looks::{Look, Looks};
use std::convert::Infallible;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

/// The header in which clients send their token.
pub(crate) const TOKEN_HEADER: &str = "x-auth-token";
/// The one call that somebody with a one-time password may make, beside Keystone's own for it.
const PASSWORD_CALL: &str = "/appliance/v1/password";

/// How authentication behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a token is good.
    pub token_lifetime: SignedDuration,
    /// How long a browser's session is good.
    pub session_lifetime: SignedDuration,
    /// How long a one-time link is good when its maker says nothing.
    pub link_lifetime: SignedDuration,
    /// The region that the catalog names.
    pub region: String,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            token_lifetime: SignedDuration::from_hours(1),
            session_lifetime: SignedDuration::from_hours(12),
            link_lifetime: SignedDuration::from_hours(72),
            region: "RegionOne".into(),
        }
    }
}

/// What authentication remembers between requests.
#[derive(Default)]
pub struct Guard {
    pub(crate) settings: Settings,
    known: Known,
    lockout: Lockout,
    looks: Looks,
}

impl Guard {
    pub fn new(settings: Settings) -> Guard {
        Guard { settings, ..Guard::default() }
    }

    /// Whether this account may be tried from this address now.
    pub(crate) fn try_login(&self, account: &str, address: Option<IpAddr>, now: Timestamp) -> Result<(), LoginError> {
        self.lockout.wait(account, address, now).map_or(Ok(()), |wait| Err(LoginError::Wait(wait)))
    }

    /// A look at a password, once it is this address's turn, or 503.
    pub(crate) async fn look(&self, address: Option<IpAddr>) -> Result<Look, ApiError> {
        self.looks.take(address).await
    }

    pub(crate) fn login_succeeded(&self, account: &str, address: Option<IpAddr>, now: Timestamp) {
        self.lockout.succeeded(account, address, now);
    }

    pub(crate) fn login_failed(&self, account: &str, address: Option<IpAddr>, now: Timestamp) {
        self.lockout.failed(account, address, now);
    }
}

/// The id of a request: among its extensions, in its answer's headers, and in every row of the audit that comes of it.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(pub(crate) Arc<str>);

impl RequestId {
    pub(crate) fn new() -> RequestId {
        RequestId(format!("req-{}", uuid::Uuid::new_v4()).into())
    }
}

/// A request whose sender is known.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) user: Arc<User>,
    pub(crate) credentials: Arc<Credentials>,
    /// The rules that were in force when the request came.
    pub(crate) policy: Arc<Policy>,
    pub(crate) scope: Scope,
    /// What he showed, where it was a token or a session.
    pub(crate) token: Option<Arc<Token>>,
    pub(crate) origin: Origin,
    /// What he was told is not there although it is.
    pub(crate) hidings: Hidings,
}

impl Caller {
    pub(crate) fn actor(&self) -> Actor {
        match self.origin.uid {
            Some(uid) => Actor::Local(uid),
            None => Actor::User(self.who().into()),
        }
    }

    pub(crate) fn who(&self) -> Who {
        let project = self.credentials.project_id.clone();
        Who { scope: self.scope.to_string(), project, ..self.origin.who(&self.user) }
    }
}

/// Where a request came from and which it is, for limits and the audit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    pub(crate) address: Option<IpAddr>,
    /// The Unix user at the other end of the local socket.
    pub(crate) uid: Option<u32>,
    request: Option<RequestId>,
}

impl Origin {
    pub(crate) fn of(extensions: &Extensions) -> Origin {
        let connection = extensions.get::<crate::serve::Connection>();
        Origin {
            address: connection.and_then(|connection| connection.peer),
            uid: connection.and_then(|connection| connection.uid),
            request: extensions.get::<RequestId>().cloned(),
        }
    }

    /// A user whose request this is, without a scope.
    pub(crate) fn who(&self, user: &User) -> Who {
        Who { user: Some(user.id), ..self.stranger(&user.name) }
    }

    /// Somebody who only says that this is his name.
    pub(crate) fn stranger(&self, name: &str) -> Who {
        let request = self.request.as_ref().map(|id| id.0.to_string());
        Who { name: name.to_owned(), address: self.address, request, ..Who::default() }
    }
}

impl<S: Sync> FromRequestParts<S> for Origin {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Origin, Infallible> {
        Ok(Origin::of(&parts.extensions))
    }
}

/// A [`Caller`] for a service that words its refusals as `F`.
pub(crate) struct CallerOr<F> {
    caller: Caller,
    refusal: PhantomData<fn() -> F>,
}

impl<F> Deref for CallerOr<F> {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.caller
    }
}

impl<F: From<ApiError> + IntoResponse> FromRequestParts<Api> for CallerOr<F> {
    type Rejection = F;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<CallerOr<F>, F> {
        Ok(CallerOr { caller: Caller::from_request_parts(parts, api).await?, refusal: PhantomData })
    }
}

impl FromRequestParts<Api> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Caller, ApiError> {
        if let Some(known) = parts.extensions.get::<Caller>() {
            return Ok(known.clone());
        }
        let (user, token) = identified(parts, api).await?;
        let whose = token.as_ref().map_or(Whose::User(user.id), |token| Whose::Token(token.digest));
        let view = api.engine.view();
        let (scope, credentials) =
            api.guard.known.of(&view.identity, whose, &user, token.as_deref()).ok_or_else(unknown)?;
        let policy = api.policy.load_full();
        let (origin, hidings) = (Origin::of(&parts.extensions), Hidings::default());
        let caller = Caller { user, credentials, policy, scope, token, origin, hidings };
        if let Some(witness) = parts.extensions.get::<crate::audit::Witness>() {
            witness.saw(&caller);
        }
        Ok(caller)
    }
}

/// 401: the same words whatever was wrong.
pub(crate) fn unknown() -> ApiError {
    ApiError::new(
        StatusCode::UNAUTHORIZED,
        "The request needs a valid token, or a user name and password that are right.",
    )
}

/// Who it is; from here on the request is his, within his limits. Who it is not, pays with his address's.
async fn identified(parts: &Parts, api: &Api) -> Result<(Arc<User>, Option<Arc<Token>>), ApiError> {
    let ticket = parts.extensions.get::<Ticket>();
    let found = identify(parts, api).await;
    match (&found, ticket) {
        (Ok((user, _)), Some(ticket)) => ticket.is_of(user.id).await?,
        (Err(error), Some(ticket)) if error.status == StatusCode::UNAUTHORIZED => ticket.is_nobodys()?,
        _ => {}
    }
    found
}

/// Whether the headers of a request show something by which its sender may turn out to be known.
pub(crate) fn may_be_known(api: &Api, headers: &HeaderMap) -> bool {
    match headers.get(TOKEN_HEADER) {
        Some(token) => token.to_str().is_ok_and(|text| find_token(api, text).is_some()),
        None => headers.contains_key(header::AUTHORIZATION) || session::cookie(headers).is_some(),
    }
}

async fn identify(parts: &Parts, api: &Api) -> Result<(Arc<User>, Option<Arc<Token>>), ApiError> {
    if let Some(user) = open::user(api, parts.extensions.get(), &parts.headers) {
        return Ok((user?, None));
    }
    if parts.headers.contains_key(TOKEN_HEADER) {
        let token = only(&parts.headers, TOKEN_HEADER).and_then(|text| find_token(api, text)).ok_or_else(unknown)?;
        return with_user(api, token.filter_session(false)?);
    }
    if parts.headers.contains_key(header::AUTHORIZATION) {
        let given = only(&parts.headers, header::AUTHORIZATION.as_str());
        let (name, password) = given.and_then(basic).ok_or_else(unknown)?;
        let user = login::by_password(api, &Claim::plain(&name), &password, &Origin::of(&parts.extensions)).await?;
        if user.one_time && parts.uri.path() != PASSWORD_CALL {
            return Err(LoginError::OneTime(user.id).into());
        }
        return Ok((user, None));
    }
    let text = session::cookie(&parts.headers).ok_or_else(unknown)?;
    let token = find_token(api, text).ok_or_else(unknown)?.filter_session(true)?;
    session::check_csrf(&parts.method, &parts.headers, text)?;
    with_user(api, token)
}

/// The value of a header that is there exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// The token of this text, if it has not expired.
pub(crate) fn find_token(api: &Api, text: &str) -> Option<Arc<Token>> {
    let digest = secret::digest_of(text)?;
    let view = api.engine.view();
    view.identity.token(&digest).filter(|token| token.expires_at > Timestamp::now()).cloned()
}

trait OfKind: Sized {
    /// A session is taken from a cookie only, a token from a header only: neither may stand in for the other.
    fn filter_session(self, session: bool) -> Result<Self, ApiError>;
}

impl OfKind for Arc<Token> {
    fn filter_session(self, session: bool) -> Result<Self, ApiError> {
        if self.session == session { Ok(self) } else { Err(unknown()) }
    }
}

fn with_user(api: &Api, token: Arc<Token>) -> Result<(Arc<User>, Option<Arc<Token>>), ApiError> {
    let view = api.engine.view();
    let user = view.identity.user(token.user).ok_or_else(unknown)?;
    Ok((user.clone(), Some(token)))
}

/// Lets a request pass only with a known caller, whom handlers find among the extensions.
pub(crate) async fn known_callers(State(_): State<Api>, caller: Caller, mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(caller);
    next.run(request).await
}

/// User name and password of an `Authorization: Basic` header (RFC 7617).
fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, token) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(token.trim()).ok()?).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_header_is_read_or_refused(header in "\\PC{0,80}") {
            let _either_is_fine = basic(&header);
        }

        #[test]
        fn what_a_client_encodes_is_read(name in "[^:\\p{C}]{0,20}", password in "\\PC{0,20}") {
            let header = format!("Basic {}", STANDARD.encode(format!("{name}:{password}")));
            prop_assert_eq!(basic(&header), Some((name, password)));
        }
    }

    #[test]
    fn a_header_that_is_there_twice_is_not_taken() {
        let mut headers = HeaderMap::new();
        headers.append(TOKEN_HEADER, header::HeaderValue::from_static("one"));
        assert_eq!(only(&headers, TOKEN_HEADER), Some("one"));
        headers.append(TOKEN_HEADER, header::HeaderValue::from_static("two"));
        assert_eq!(only(&headers, TOKEN_HEADER), None);
    }
}
