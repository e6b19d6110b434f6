//! Addresses: `http://host[:port]/path?query` and the same with `https`.

/// An address, split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// `https`.
    pub tls: bool,
    /// Name or address, IPv6 without brackets.
    pub host: String,
    /// 80 or 443 unless given.
    pub port: u16,
    /// Path and query, always with a leading `/`.
    pub target: String,
}

/// The text is no address that can be called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an http or https address: {0}")]
pub struct UrlError(String);

impl UrlError {
    pub(super) fn new(text: &str) -> UrlError {
        UrlError(text.chars().take(200).collect())
    }
}

impl Url {
    /// Splits an address.
    ///
    /// # Errors
    /// When it is not `http` or `https`, has no host, a bad port, a user name, or bytes that cannot stand in a request line.
    pub fn parse(text: &str) -> Result<Url, UrlError> {
        let wrong = || UrlError::new(text);
        let (tls, rest) = if let Some(rest) = text.strip_prefix("https://") {
            (true, rest)
        } else if let Some(rest) = text.strip_prefix("http://") {
            (false, rest)
        } else {
            return Err(wrong());
        };
        if !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong());
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, target) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
            let (host, after) = rest.split_once(']').ok_or_else(wrong)?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| wrong())?;
            (host, after)
        } else {
            authority.find(':').map_or((authority, ""), |at| authority.split_at(at))
        };
        if host.is_empty() || host.contains(['@', ']', '[', '\\', '"', '<', '>']) || authority.contains('@') {
            return Err(wrong());
        }
        let port = match port.strip_prefix(':') {
            Some(digits) => digits.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?,
            None if port.is_empty() => {
                if tls {
                    443
                } else {
                    80
                }
            }
            None => return Err(wrong()),
        };
        Ok(Url { tls, host: host.to_owned(), port, target })
    }

    /// Where a redirect answer of this address leads.
    ///
    /// # Errors
    /// When the location is neither an address nor an absolute path.
    pub fn join(&self, location: &str) -> Result<Url, UrlError> {
        if location.starts_with('/') && !location.starts_with("//") {
            let mut url = Url::parse(&format!("http://x{location}"))?;
            url.tls = self.tls;
            url.host.clone_from(&self.host);
            url.port = self.port;
            return Ok(url);
        }
        Url::parse(location)
    }

    /// For the `Host` field.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

impl std::fmt::Display for Url {
    /// Without the query, which may hold a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = self.target.split('?').next().unwrap_or_default();
        write!(f, "{}://{}{path}", if self.tls { "https" } else { "http" }, self.authority())
    }
}

/// Escapes everything but RFC 3986's unreserved characters.
#[must_use]
pub fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&hex::encode_upper([byte]));
        }
    }
    out
}

/// Undoes escapes (and `+` for a space, as forms write it); what is no escape stays.
#[must_use]
pub fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let mut escaped = [0u8; 1];
        match (byte, bytes.get(at + 1..at + 3)) {
            (b'%', Some(digits)) if hex::decode_to_slice(digits, &mut escaped).is_ok() => {
                out.push(escaped[0]);
                at += 3;
            }
            (b'+', _) => {
                out.push(b' ');
                at += 1;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The named values of a query string.
#[must_use]
pub fn query_pairs(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decode(key), percent_decode(value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_are_split() {
        let url = Url::parse("https://192.0.2.1:6385/v1/lookup?a=b").unwrap();
        assert_eq!(url, Url { tls: true, host: "192.0.2.1".into(), port: 6385, target: "/v1/lookup?a=b".into() });
        assert_eq!(url.to_string(), "https://192.0.2.1:6385/v1/lookup");
        let six = Url::parse("http://[2001:db8::1]").unwrap();
        assert_eq!((six.host.as_str(), six.port, six.target.as_str()), ("2001:db8::1", 80, "/"));
        assert_eq!(six.authority(), "[2001:db8::1]");
        assert_eq!(Url::parse("http://a?q").unwrap().target, "/?q");
    }

    #[test]
    fn what_cannot_be_called_is_refused() {
        for text in [
            "",
            "a",
            "ftp://a",
            "http://",
            "http://:80",
            "http://a:0",
            "http://a:99999",
            "http://u@a",
            "http://a b",
            "http://a/\r\nX: y",
            "http://[::1",
            "http://[zz]/",
            "http://a:x/",
        ] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn redirects_stay_or_move() {
        let url = Url::parse("https://a:1/b?c").unwrap();
        assert_eq!(url.join("/d").unwrap(), Url { tls: true, host: "a".into(), port: 1, target: "/d".into() });
        assert_eq!(url.join("http://b/d").unwrap().port, 80);
        assert!(url.join("//b/d").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in ".{0,200}") {
            let _ = Url::parse(&text);
            let _ = query_pairs(&text);
        }

        #[test]
        fn escapes_round_trip(text in ".{0,100}") {
            prop_assert_eq!(percent_decode(&percent_encode(&text)), text);
        }
    }
}
