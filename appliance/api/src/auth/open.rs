//! Callers without credentials (`auth_type: none`): on a listener of its own, which only an operator opens, on a
//! loopback address only, each is one user whom he named, with that user's rights and no others.
//!
//! Whoever is logged in on the box can reach the listener; that is its purpose. A browser there must not: a page from
//! anywhere could have it send requests (cross-site), also by a name of the page's own that suddenly means loopback (DNS
//! rebinding). So a request must name a loopback address as its host, and nothing in it may say that a page sent it.

use super::{TOKEN_HEADER, unknown};
use crate::Api;
use crate::auth::login::Claim;
use crate::error::ApiError;
use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use leasehold_domain::identity::User;
use std::net::IpAddr;
use std::sync::Arc;

/// Among a request's extensions: who its sender is when he shows nothing.
#[derive(Clone, Debug)]
pub(crate) struct ActsAs(pub(crate) Arc<str>);

/// What keystoneauth sends for a token where there is to be none.
const NO_TOKEN: &str = "notused";

/// The request shows no credentials.
fn shows_nothing(headers: &HeaderMap) -> bool {
    let token = headers.get(TOKEN_HEADER);
    token.is_none_or(|token| token == NO_TOKEN)
        && !headers.contains_key(header::AUTHORIZATION)
        && !headers.contains_key(header::COOKIE)
}

/// The user that a request without credentials is of, where it came by the open listener.
pub(super) fn user(api: &Api, acts_as: Option<&ActsAs>, headers: &HeaderMap) -> Option<Result<Arc<User>, ApiError>> {
    let ActsAs(name) = acts_as.filter(|_| shows_nothing(headers))?;
    let view = api.engine.view();
    let found = Claim::plain(name).find(&view.identity).filter(|user| user.enabled && !user.one_time).cloned();
    if found.is_none() {
        tracing::warn!(user = %name, "local.open_as names no enabled user: requests without credentials are refused");
    }
    Some(found.ok_or_else(unknown))
}

/// Turns away what a browser sent, or what does not name a loopback address.
pub(crate) async fn no_browser(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let of_page = headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site");
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).and_then(|host| host.parse().ok());
    let host: Option<Authority> = request.uri().authority().cloned().or(host);
    if of_page || !host.is_some_and(|host| is_loopback(host.host())) {
        let message = "Here clients on this box are served, at a loopback address, and no browsers.";
        return ApiError::new(StatusCode::FORBIDDEN, message).into_response();
    }
    next.run(request).await
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn only_loopback_is_a_host_here() {
        for good in ["localhost", "LOCALHOST", "127.0.0.1", "127.8.8.8", "[::1]"] {
            assert!(is_loopback(good), "{good}");
        }
        for bad in ["localhost.evil.example", "evil.example", "10.0.0.1", "0.0.0.0", "[::]", "127.1", ""] {
            assert!(!is_loopback(bad), "{bad}");
        }
    }

    #[test]
    fn whoever_shows_something_is_asked_for_it() {
        let with = |name: &'static str, value: &'static str| {
            HeaderMap::from_iter([(header::HeaderName::from_static(name), HeaderValue::from_static(value))])
        };
        assert!(shows_nothing(&HeaderMap::new()) && shows_nothing(&with("x-auth-token", "notused")));
        for (name, value) in [("x-auth-token", "abc"), ("authorization", "Basic x"), ("cookie", "leasehold=x")] {
            assert!(!shows_nothing(&with(name, value)), "{name}");
        }
    }
}
