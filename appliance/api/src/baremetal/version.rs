//! Microversions: what the caller asks for, what it gets, and the headers that say so.
//!
//! Ironic's rule: no header means 1.1; `latest` means the newest; a version outside the range is 406 with the range in
//! the headers, upon which clients choose another. Every answer carries the range, the version and a request id.

use crate::Api;
use crate::auth::{Caller, RequestId};
use crate::error::ApiError;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// The minor version of API 1.x that this request speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) u16);

pub(crate) const MIN: Version = Version(1);
pub(crate) const MAX: Version = Version(115);

const ASKED: &str = "x-openstack-ironic-api-version";
const ASKED_GENERIC: &str = "openstack-api-version";

/// `1.N`.
pub(crate) fn text(version: Version) -> String {
    format!("1.{}", version.0)
}

/// Authenticates, negotiates, and stamps the answer.
pub(crate) async fn negotiate(State(api): State<Api>, request: Request, next: Next) -> Response {
    let id = request.extensions().get::<RequestId>().cloned().unwrap_or_else(RequestId::new);
    let (version, mut response) = match asked(request.headers()) {
        Ok(version) => (version, answer(&api, request, next, version).await),
        Err(error) => (MIN, error.into_response()),
    };
    let headers = response.headers_mut();
    stamp(headers, "x-openstack-ironic-api-minimum-version", &text(MIN));
    stamp(headers, "x-openstack-ironic-api-maximum-version", &text(MAX));
    stamp(headers, "x-openstack-ironic-api-version", &text(version));
    stamp(headers, "openstack-request-id", &id.0);
    response
}

async fn answer(api: &Api, request: Request, next: Next, version: Version) -> Response {
    let (mut parts, body) = request.into_parts();
    match Caller::from_request_parts(&mut parts, api).await {
        Ok(caller) => {
            parts.extensions.insert(caller);
            parts.extensions.insert(version);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(error) => error.into_response(),
    }
}

fn stamp(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

fn asked(headers: &HeaderMap) -> Result<Version, ApiError> {
    let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let generic = value(ASKED_GENERIC).and_then(|value| value.strip_prefix("baremetal ")).map(str::trim);
    let Some(wanted) = value(ASKED).or(generic) else { return Ok(MIN) };
    if wanted.eq_ignore_ascii_case("latest") {
        return Ok(MAX);
    }
    let unreadable = || ApiError::new(StatusCode::NOT_ACCEPTABLE, format!("'{wanted}' is no API version: write 1.N."));
    let minor = wanted.strip_prefix("1.").and_then(|minor| minor.parse().ok()).map(Version).ok_or_else(unreadable)?;
    if (MIN..=MAX).contains(&minor) {
        return Ok(minor);
    }
    Err(ApiError::new(
        StatusCode::NOT_ACCEPTABLE,
        format!(
            "Version {wanted} was requested but the minor version is not supported by this API service. The supported \
             version range is: [{}, {}].",
            text(MIN),
            text(MAX)
        ),
    ))
}

/// `what` exists only since version `since`; older callers get what Ironic tells them: it is not there.
pub(crate) fn needs(version: Version, since: u16, what: &str) -> Result<(), ApiError> {
    if version.0 >= since {
        return Ok(());
    }
    Err(ApiError::new(
        StatusCode::NOT_FOUND,
        format!("{what} is available from API version 1.{since} on; this request speaks {}.", text(version)),
    ))
}

/// 406: this version of the API does not take that yet.
pub(crate) fn not_acceptable(version: Version, since: u16, what: &str) -> ApiError {
    ApiError::new(
        StatusCode::NOT_ACCEPTABLE,
        format!("{what} is taken from API version 1.{since} on; this request speaks {}.", text(version)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &'static str, value: &'static str) -> Result<Version, StatusCode> {
        let headers = HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))]);
        asked(&headers).map_err(|error| error.status)
    }

    #[test]
    fn versions_are_read_as_clients_send_them() {
        assert_eq!(asked(&HeaderMap::new()).ok(), Some(Version(1)));
        assert_eq!(of(ASKED, "1.109"), Ok(Version(109)));
        assert_eq!(of(ASKED, "latest"), Ok(MAX));
        assert_eq!(of(ASKED_GENERIC, "baremetal 1.60"), Ok(Version(60)));
        assert_eq!(of(ASKED_GENERIC, "compute 2.1"), Ok(MIN));
        for bad in ["1.116", "1.0", "2.1", "one", ""] {
            assert_eq!(of(ASKED, bad), Err(StatusCode::NOT_ACCEPTABLE), "{bad}");
        }
    }
}
