//! A browser's session: a cookie that scripts cannot read and other sites cannot send, and a second token, bound to it,
//! that our own page sends with whatever changes something.

use super::secret::sha256;
use super::unknown;
use crate::error::ApiError;
use axum::http::{HeaderMap, Method, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// `__Host-`: browsers take it over TLS only, for this host and the whole of it.
const COOKIE: &str = "__Host-leasehold";
/// The header that goes with every request that changes something.
pub(crate) const CSRF_HEADER: &str = "x-csrf-token";

/// The value of the session cookie, if there is exactly one.
pub(crate) fn cookie(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut ours = pairs.filter(|(name, _)| *name == COOKIE).map(|(_, value)| value);
    let value = ours.next()?;
    ours.next().is_none().then_some(value)
}

/// The `Set-Cookie` that opens a session.
pub(crate) fn set_cookie(value: &str, seconds: i64) -> String {
    format!("{COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; Secure; SameSite=Strict")
}

/// The second token of a session: only who knows the cookie's value can compute it, and it does not give that away.
pub(crate) fn csrf_token(cookie: &str) -> String {
    URL_SAFE_NO_PAD.encode(sha256(format!("leasehold csrf\0{cookie}").as_bytes()))
}

/// A cookie alone is good for looking, not for changing.
pub(crate) fn check_csrf(method: &Method, headers: &HeaderMap, cookie: &str) -> Result<(), ApiError> {
    if method.is_safe() {
        return Ok(());
    }
    let given = super::only(headers, CSRF_HEADER).unwrap_or_default();
    // Digests of both: how long the comparison takes says nothing about the right value.
    if sha256(given.as_bytes()) == sha256(csrf_token(cookie).as_bytes()) {
        return Ok(());
    }
    if given.is_empty() {
        let message = format!("A session's request that changes something carries {CSRF_HEADER}.");
        return Err(ApiError::new(StatusCode::FORBIDDEN, message));
    }
    Err(unknown())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    #[test]
    fn the_header_is_needed_for_changes_only_and_must_be_this_sessions() {
        let mut headers = HeaderMap::new();
        assert!(check_csrf(&Method::GET, &headers, "a").is_ok());
        assert!(check_csrf(&Method::POST, &headers, "a").is_err());
        headers.insert(CSRF_HEADER, HeaderValue::from_str(&csrf_token("b")).expect("ASCII"));
        assert!(check_csrf(&Method::DELETE, &headers, "a").is_err(), "another session's");
        assert!(check_csrf(&Method::DELETE, &headers, "b").is_ok());
    }

    proptest! {
        #[test]
        fn any_cookie_header_is_read_or_passed_over(line in "[ -~]{0,60}") {
            let headers = HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_str(&line).expect("ASCII"))]);
            let _either_is_fine = cookie(&headers);
        }
    }

    #[test]
    fn a_cookie_is_found_among_others_and_not_when_it_is_there_twice() {
        let of = |line: &'static str| {
            cookie(&HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_static(line))])).map(str::to_owned)
        };
        assert_eq!(of("a=b; __Host-leasehold=x; c=d").as_deref(), Some("x"));
        assert_eq!(of("__Host-leasehold=x; __Host-leasehold=y"), None);
    }
}
