//! URLs of images: where a redirect leads, what a log may show, whose password goes where.

use http::uri::Authority;
use http::{HeaderValue, Uri};

/// A URL as logs, answers and rows may hold it: without user, password and query (which may carry a signature).
pub(super) fn shown(url: &str) -> String {
    let (base, query) = match url.find(['?', '#']) {
        Some(at) => (&url[..at], "?…"),
        None => (url, ""),
    };
    let Some((scheme, rest)) = base.split_once("://") else { return format!("{base}{query}") };
    let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let host = host.rsplit_once('@').map_or(host.to_owned(), |(_, host)| format!("******@{host}"));
    format!("{scheme}://{host}{path}{query}")
}

/// Whether [`shown`] left something out of this text.
pub(super) fn hides_something(shown: &str) -> bool {
    shown.contains("://******@") || shown.ends_with("?…")
}

/// Takes user and password out of a URL: the URL without them, and what to send instead (RFC 7617).
pub(super) fn credentials(url: Uri) -> Option<(Uri, Option<HeaderValue>)> {
    let authority = url.authority()?;
    let Some((user, host)) = authority.as_str().rsplit_once('@') else { return Some((url, None)) };
    let token = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, unescaped(user));
    let mut value = HeaderValue::from_str(&format!("Basic {token}")).ok()?;
    value.set_sensitive(true);
    let host: Authority = host.parse().ok()?;
    let mut parts = url.into_parts();
    parts.authority = Some(host);
    Some((Uri::from_parts(parts).ok()?, Some(value)))
}

fn unescaped(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    out
}

/// The target of a redirect (RFC 3986 §5, without dot segments: the server resolves them).
pub(super) fn resolve(from: &Uri, to: &str) -> Option<Uri> {
    let to = to.split('#').next().filter(|to| !to.is_empty())?;
    if let Some(host_and_path) = to.strip_prefix("//") {
        return format!("{}://{host_and_path}", from.scheme_str()?).parse().ok();
    }
    let has_scheme = to.find([':', '/', '?']).is_some_and(|at| at > 0 && to.as_bytes()[at] == b':');
    if has_scheme {
        return to
            .parse()
            .ok()
            .filter(|uri: &Uri| uri.scheme().is_some() && uri.host().is_some_and(|host| !host.is_empty()));
    }
    let path = match to.as_bytes()[0] {
        b'/' => to.to_owned(),
        b'?' => format!("{}{to}", from.path()),
        _ => {
            let folder = from.path().rfind('/').map_or("/", |at| &from.path()[..=at]);
            format!("{folder}{to}")
        }
    };
    let mut parts = from.clone().into_parts();
    parts.path_and_query = Some(path.parse().ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_redirect_leads_where_a_browser_would_go() {
        let from: Uri = "http://box:8000/a/b.img?x=1".parse().expect("a URL");
        for (to, expected) in [
            ("https://other/c", Some("https://other/c")),
            ("/c?y", Some("http://box:8000/c?y")),
            ("c.img", Some("http://box:8000/a/c.img")),
            ("?z", Some("http://box:8000/a/b.img?z")),
            ("//other/c", Some("http://other/c")),
            ("c:d", None),
            ("", None),
            ("#top", None),
        ] {
            assert_eq!(resolve(&from, to).map(|uri| uri.to_string()).as_deref(), expected, "{to}");
        }
    }

    #[test]
    fn passwords_and_signatures_are_not_shown() {
        assert_eq!(shown("http://u:secret@box/a?sig=secret"), "http://******@box/a?…");
        assert_eq!(shown("file:///srv/a"), "file:///srv/a");
        assert_eq!(shown("http://u:sec/ret@box/a"), "http://u:sec/ret@box/a", "no user part: a path");
        assert!(hides_something(&shown("http://u:p@box/a")) && hides_something(&shown("http://box/a?b")));
        assert!(!hides_something(&shown("http://box/a")));
        let (uri, value) = credentials("http://ada:a%40b@box:1/x".parse().expect("a URL")).expect("read");
        assert_eq!(uri, "http://box:1/x");
        assert_eq!(value.expect("a header"), "Basic YWRhOmFAYg==");
    }

    proptest! {
        #[test]
        fn any_redirect_is_followed_or_not(to in "\\PC{0,40}") {
            let from: Uri = "http://box/a/b".parse().expect("a URL");
            if let Some(uri) = resolve(&from, &to) {
                prop_assert!(uri.host().is_some());
            }
            let _any_text_is_shown = shown(&to);
        }

        #[test]
        fn what_was_escaped_is_unescaped(bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
            let text: String = bytes.iter().map(|byte| format!("%{byte:02x}")).collect();
            prop_assert_eq!(unescaped(&text), bytes);
        }
    }
}
