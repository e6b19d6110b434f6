//! Why requests were turned away, counted.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Why a request was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    UserRate,
    AddressRate,
    UserRequests,
    AddressRequests,
    Requests,
    Streams,
    UserStreams,
    Connections,
    AddressConnections,
    Body,
    Headers,
    Target,
}

const ALL: [(Why, &str); 12] = [
    (Why::UserRate, "user_rate"),
    (Why::AddressRate, "address_rate"),
    (Why::UserRequests, "user_requests"),
    (Why::AddressRequests, "address_requests"),
    (Why::Requests, "requests"),
    (Why::Streams, "streams"),
    (Why::UserStreams, "user_streams"),
    (Why::Connections, "connections"),
    (Why::AddressConnections, "address_connections"),
    (Why::Body, "body"),
    (Why::Headers, "headers"),
    (Why::Target, "target"),
];

impl Why {
    /// The key of the configuration that bounds it, as the metrics name it.
    pub(crate) fn name(self) -> &'static str {
        ALL[self as usize].1
    }
}

/// Counts since the program started.
#[derive(Debug, Default)]
pub(super) struct Tally([AtomicU64; ALL.len()]);

impl Tally {
    pub(super) fn count(&self, why: Why) {
        self.0[why as usize].fetch_add(1, Relaxed);
    }

    /// In Prometheus' text format.
    pub(super) fn write(&self, text: &mut String) {
        const NAME: &str = "leasehold_requests_limited_total";
        // Writing into a String cannot fail.
        let _ = writeln!(text, "# HELP {NAME} Requests and connections turned away by a limit.\n# TYPE {NAME} counter");
        for (why, name) in ALL {
            let _ = writeln!(text, "{NAME}{{why=\"{name}\"}} {}", self.0[why as usize].load(Relaxed));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_name_and_count() {
        for (at, (why, name)) in ALL.into_iter().enumerate() {
            assert_eq!((why as usize, why.name()), (at, name));
        }
        let (tally, mut text) = (Tally::default(), String::new());
        tally.count(Why::Body);
        tally.write(&mut text);
        assert!(text.contains("{why=\"body\"} 1\n") && text.contains("{why=\"target\"} 0\n"));
    }
}
