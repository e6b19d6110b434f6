//! The one place that a driver talks to, and the paths that lead there.

use crate::bmc::BmcError;
use http::Uri;
use std::fmt;

/// Scheme, host and port of a BMC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) https: bool,
    /// Host name or address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Endpoint {
    /// Reads a configured address.
    pub(super) fn parse(address: &str) -> Result<Self, BmcError> {
        let unusable = |why: &str| BmcError::Unsupported {
            address: address.to_owned(),
            detail: format!("{why}: write it as https://HOST or https://HOST:PORT"),
        };
        let trimmed = address.trim();
        let with_scheme =
            if trimmed.contains("://") { trimmed.to_owned() } else { format!("https://{}", bracketed(trimmed)) };
        let uri: Uri = with_scheme.parse().map_err(|_| unusable("its address cannot be understood"))?;
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            // The address goes into messages and logs; a password must not.
            let hidden = BmcError::Unsupported {
                address: uri.host().unwrap_or("?").to_owned(),
                detail: "its address holds a user name: user name and password have their own fields".to_owned(),
            };
            return Err(hidden);
        }
        if !matches!(uri.path().trim_end_matches('/'), "" | "/redfish" | "/redfish/v1") || uri.query().is_some() {
            return Err(unusable("its address has a path that is not Redfish's"));
        }
        Self::of(&uri).ok_or_else(|| unusable("its address is not one of HTTP or HTTPS"))
    }

    fn of(uri: &Uri) -> Option<Self> {
        let https = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let port = match uri.port() {
            Some(port) => port.as_str().parse().ok().filter(|port| *port != 0)?,
            None if https => 443,
            None => 80,
        };
        (!host.is_empty()).then_some(Endpoint { https, host, port })
    }

    /// `HOST` or `HOST:PORT`, for the Host header.
    pub(super) fn authority(&self) -> String {
        let host = bracketed(&self.host);
        match (self.https, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }

    /// The path of a link or a redirect. An absolute URL counts only when it leads back here: what a BMC says must
    /// not send the credentials elsewhere.
    pub(super) fn path_of(&self, link: &str) -> Result<String, BmcError> {
        let uri: Uri = link.parse().map_err(|_| self.protocol(format!("it points to {}", quoted(link))))?;
        if uri.scheme().is_some() && Self::of(&uri).as_ref() != Some(self) {
            return Err(self.protocol(format!("it points to another host, {}, which is not followed", quoted(link))));
        }
        let path = uri.path_and_query().map(|path| path.as_str()).unwrap_or_default();
        // `//host/path` would be another host to some, a path to others.
        if path.starts_with('/') && !path.starts_with("//") {
            Ok(path.to_owned())
        } else {
            Err(self.protocol(format!("it points to {}", quoted(link))))
        }
    }

    pub(super) fn protocol(&self, detail: impl Into<String>) -> BmcError {
        BmcError::Protocol { address: self.to_string(), detail: detail.into() }
    }

    pub(super) fn unreachable(&self, detail: impl Into<String>) -> BmcError {
        BmcError::Unreachable { address: self.to_string(), detail: detail.into() }
    }

    pub(super) fn refused(&self, detail: impl Into<String>) -> BmcError {
        BmcError::Refused { address: self.to_string(), detail: detail.into() }
    }

    pub(super) fn unsupported(&self, detail: impl Into<String>) -> BmcError {
        BmcError::Unsupported { address: self.to_string(), detail: detail.into() }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.https { "https" } else { "http" }, self.authority())
    }
}

/// An IPv6 address in the brackets that URLs want.
fn bracketed(host: &str) -> String {
    if host.parse::<std::net::Ipv6Addr>().is_ok() { format!("[{host}]") } else { host.to_owned() }
}

/// Something that a BMC sent, short and harmless enough for a message.
pub(super) fn quoted(text: &str) -> String {
    let mut short: String = text.chars().take(120).filter(|c| !c.is_control()).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("\"{short}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(address: &str) -> String {
        Endpoint::parse(address).map_or_else(|error| format!("error: {error}"), |endpoint| endpoint.to_string())
    }

    #[test]
    fn addresses_in_their_usual_spellings() {
        assert_eq!(shown("10.0.0.5"), "https://10.0.0.5");
        assert_eq!(shown(" https://BMC.example:443/redfish/v1/ "), "https://bmc.example");
        assert_eq!(shown("http://10.0.0.5:8000"), "http://10.0.0.5:8000");
        assert_eq!(shown("fd00::5"), "https://[fd00::5]");
        assert_eq!(shown("https://[fd00::5]:8443"), "https://[fd00::5]:8443");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in ["", "ftp://10.0.0.5", "https://", "https://h/other", "https://h/?x=1", "https://h:0", "a b"] {
            assert!(shown(bad).contains("write it as https://HOST"), "{bad}: {}", shown(bad));
        }
        let message = shown("https://admin:secret@10.0.0.5");
        assert!(message.starts_with("error") && !message.contains("secret"), "{message}");
    }

    #[test]
    fn links_stay_on_the_host() {
        let endpoint = Endpoint::parse("https://10.0.0.5").unwrap();
        assert_eq!(endpoint.path_of("/redfish/v1/Systems#/x").unwrap(), "/redfish/v1/Systems");
        assert_eq!(endpoint.path_of("https://10.0.0.5:443/a?b=c").unwrap(), "/a?b=c");
        for foreign in
            ["https://10.0.0.6/a", "http://10.0.0.5/a", "//10.0.0.6/a", "Systems/1", "", "/a b", "/a\r\nX: y"]
        {
            assert!(endpoint.path_of(foreign).is_err(), "{foreign}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(address in ".{0,60}", link in ".{0,60}") {
            let _ = Endpoint::parse(&address);
            let _ = Endpoint::parse("https://bmc").unwrap().path_of(&link);
        }
    }
}
