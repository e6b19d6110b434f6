//! The URL under which the caller reaches the appliance, from his own request: the catalog tells no other.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, Uri, header};
use std::convert::Infallible;

/// Scheme, host and port: `https://box:8443`.
#[derive(Clone, Debug)]
pub(crate) struct Base(pub(crate) String);

/// `Host` of HTTP/1.1 or the authority of h2. What is no host name, address or port is not repeated.
pub(crate) fn of(uri: &Uri, headers: &HeaderMap, extensions: &Extensions) -> String {
    let said = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let host = said.or_else(|| uri.authority().map(|authority| authority.as_str()));
    let is_host = |host: &&str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
        !host.is_empty() && host.len() <= 262 && host.bytes().all(fits)
    };
    let secure = extensions.get::<crate::serve::Connection>().is_some_and(|connection| connection.secure);
    let scheme = if secure { "https" } else { "http" };
    format!("{scheme}://{}", host.filter(is_host).unwrap_or("localhost"))
}

impl<S: Sync> FromRequestParts<S> for Base {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Base, Infallible> {
        Ok(Base(of(&parts.uri, &parts.headers, &parts.extensions)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn a_strange_host_is_not_repeated() {
        let with = |host: &'static str| {
            let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(host))]);
            of(&Uri::from_static("/identity"), &headers, &Extensions::new())
        };
        assert_eq!(with("box.example:8443"), "http://box.example:8443");
        assert_eq!(with("[fd00::1]:8443"), "http://[fd00::1]:8443");
        assert_eq!(with("evil\" onload=\"x"), "http://localhost");
        assert_eq!(with("a@b/c"), "http://localhost");
    }
}
