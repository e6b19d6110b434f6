//! Where a database listens, in Open vSwitch's own spelling: `tcp:HOST:PORT`, `ssl:HOST:PORT`, `unix:/PATH`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The port that IANA gave OVSDB.
const PORT: u16 = 6640;

/// Where the database listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// In the clear and without any proof of who is who: for a wire that nobody else is on.
    Tcp {
        host: String,
        port: u16,
    },
    /// TLS, which Open vSwitch calls by its old name.
    Ssl {
        host: String,
        port: u16,
    },
    Unix(PathBuf),
}

/// A text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no address of a database: write tcp:HOST:PORT, ssl:HOST:PORT or unix:/PATH")]
pub struct NoAddress(String);

impl FromStr for Address {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Address, NoAddress> {
        let none = || NoAddress(text.to_owned());
        let (kind, rest) = text.split_once(':').ok_or_else(none)?;
        match kind {
            "unix" if rest.starts_with('/') => Ok(Address::Unix(PathBuf::from(rest))),
            "tcp" => host_and_port(rest).map(|(host, port)| Address::Tcp { host, port }).ok_or_else(none),
            "ssl" => host_and_port(rest).map(|(host, port)| Address::Ssl { host, port }).ok_or_else(none),
            _ => Err(none()),
        }
    }
}

/// `HOST`, `HOST:PORT` or `[IPv6]:PORT`.
fn host_and_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (host, after) = bracketed.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, if after.is_empty() { None } else { Some(after.strip_prefix(':')?) })
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = port.map_or(Some(PORT), |port| port.parse().ok().filter(|port| *port != 0))?;
    let clean = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
    clean.then(|| (host.to_owned(), port))
}

impl fmt::Display for Address {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, host, port) = match self {
            Address::Unix(path) => return write!(to, "unix:{}", path.display()),
            Address::Tcp { host, port } => ("tcp", host, port),
            Address::Ssl { host, port } => ("ssl", host, port),
        };
        if host.contains(':') { write!(to, "{kind}:[{host}]:{port}") } else { write!(to, "{kind}:{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_open_vswitch_writes() {
        for same in ["tcp:192.0.2.1:6641", "ssl:tor1.example:6640", "tcp:[2001:db8::1]:6640", "unix:/run/ovs/db.sock"] {
            assert_eq!(same.parse::<Address>().map(|address| address.to_string()), Ok(same.to_owned()));
        }
        assert_eq!("ssl:tor1".parse(), Ok(Address::Ssl { host: "tor1".into(), port: 6640 }));
        assert_eq!("tcp:[::1]".parse(), Ok(Address::Tcp { host: "::1".into(), port: 6640 }));
        for bad in [
            "",
            "tor1",
            "tcp:",
            "tcp::6640",
            "tcp:h:0",
            "tcp:h:x",
            "tcp:h:70000",
            "tcp:[h]:1",
            "tcp:[::1]6640",
            "unix:db.sock",
            "ptcp:6640",
            "https://h",
            "tcp:a b:1",
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
