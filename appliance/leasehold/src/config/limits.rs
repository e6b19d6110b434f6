//! What users, addresses and all together may have of the listeners, as the configuration says it.

use super::ConfigError;
use leasehold_api::limits::{Rate, Settings};
use serde::Deserialize;
use std::time::Duration;

/// The keys, for [`super::keys`].
pub(super) const KEYS: &[&str] = &[
    "user_rate",
    "user_burst",
    "address_rate",
    "address_burst",
    "requests",
    "user_requests",
    "address_requests",
    "streams",
    "user_streams",
    "user_changes",
    "agent_requests",
    "connections",
    "address_connections",
    "page_rows",
    "bare_metal_body_kib",
    "identity_body_kib",
    "network_body_kib",
    "image_body_kib",
    "headers_kib",
    "target_kib",
    "head_seconds",
    "idle_seconds",
    "stall_seconds",
];

/// Larger numbers are slips of the pen.
const MOST: usize = 10_000_000;

/// The section `[limits]`; what each key means stands in `config/leasehold.toml`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limits {
    user_rate: u32,
    user_burst: u32,
    address_rate: u32,
    address_burst: u32,
    requests: usize,
    user_requests: usize,
    address_requests: usize,
    streams: usize,
    user_streams: usize,
    user_changes: usize,
    agent_requests: usize,
    connections: usize,
    address_connections: usize,
    page_rows: usize,
    bare_metal_body_kib: usize,
    identity_body_kib: usize,
    network_body_kib: usize,
    image_body_kib: usize,
    headers_kib: usize,
    target_kib: usize,
    head_seconds: u64,
    idle_seconds: u64,
    stall_seconds: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        let usual = Settings::default();
        Limits {
            user_rate: usual.user_rate.per_second,
            user_burst: usual.user_rate.burst,
            address_rate: usual.address_rate.per_second,
            address_burst: usual.address_rate.burst,
            requests: usual.requests,
            user_requests: usual.user_requests,
            address_requests: usual.address_requests,
            streams: usual.streams,
            user_streams: usual.user_streams,
            user_changes: usual.user_changes,
            agent_requests: usual.agent_requests,
            connections: usual.connections,
            address_connections: usual.address_connections,
            page_rows: usual.page_rows,
            bare_metal_body_kib: usual.bare_metal_body >> 10,
            identity_body_kib: usual.identity_body >> 10,
            network_body_kib: usual.network_body >> 10,
            image_body_kib: usual.image_body >> 10,
            headers_kib: usual.header_bytes >> 10,
            target_kib: usual.target_bytes >> 10,
            head_seconds: usual.head_time.as_secs(),
            idle_seconds: usual.idle_time.as_secs(),
            stall_seconds: usual.stall_time.as_secs(),
        }
    }
}

impl Limits {
    /// As the listeners take them.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            user_rate: Rate { per_second: self.user_rate, burst: self.user_burst },
            address_rate: Rate { per_second: self.address_rate, burst: self.address_burst },
            requests: self.requests,
            user_requests: self.user_requests,
            address_requests: self.address_requests,
            streams: self.streams,
            user_streams: self.user_streams,
            user_changes: self.user_changes,
            agent_requests: self.agent_requests,
            connections: self.connections,
            address_connections: self.address_connections,
            page_rows: self.page_rows,
            bare_metal_body: self.bare_metal_body_kib << 10,
            identity_body: self.identity_body_kib << 10,
            network_body: self.network_body_kib << 10,
            image_body: self.image_body_kib << 10,
            header_bytes: self.headers_kib << 10,
            target_bytes: self.target_kib << 10,
            head_time: Duration::from_secs(self.head_seconds),
            idle_time: Duration::from_secs(self.idle_seconds),
            stall_time: Duration::from_secs(self.stall_seconds),
            ..Settings::default()
        }
    }

    /// What cannot be said by types alone.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |key: &str, why: String| Err(ConfigError::Value { key: format!("limits.{key}"), why });
        let rates = [
            ("user_rate", self.user_rate),
            ("user_burst", self.user_burst),
            ("address_rate", self.address_rate),
            ("address_burst", self.address_burst),
        ];
        let counts = [
            ("requests", self.requests),
            ("user_requests", self.user_requests),
            ("address_requests", self.address_requests),
            ("streams", self.streams),
            ("user_streams", self.user_streams),
            ("user_changes", self.user_changes),
            ("agent_requests", self.agent_requests),
            ("connections", self.connections),
            ("address_connections", self.address_connections),
        ];
        let rates = rates.map(|(key, value)| (key, usize::try_from(value).unwrap_or(usize::MAX)));
        if let Some((key, _)) = rates.iter().chain(&counts).find(|(_, value)| !(1..=MOST).contains(value)) {
            return wrong(key, format!("must be 1 to {MOST}"));
        }
        if !(1..=10_000).contains(&self.page_rows) {
            return wrong("page_rows", "must be 1 to 10000".into());
        }
        let bodies = [
            // A config drive must fit in.
            ("bare_metal_body_kib", self.bare_metal_body_kib, Settings::default().bare_metal_body >> 10),
            ("identity_body_kib", self.identity_body_kib, 16),
            ("network_body_kib", self.network_body_kib, 16),
            ("image_body_kib", self.image_body_kib, 16),
            // A token, and what browsers and proxies add.
            ("headers_kib", self.headers_kib, 8),
            ("target_kib", self.target_kib, 2),
        ];
        const LARGEST_KIB: usize = 64 << 10;
        for (key, value, least) in bodies {
            if !(least..=LARGEST_KIB).contains(&value) {
                return wrong(key, format!("must be {least} to {LARGEST_KIB}"));
            }
        }
        let times = [
            ("head_seconds", self.head_seconds),
            ("idle_seconds", self.idle_seconds),
            ("stall_seconds", self.stall_seconds),
        ];
        if let Some((key, _)) = times.iter().find(|(_, seconds)| !(1..=3600).contains(seconds)) {
            return wrong(key, "must be 1 to 3600 (an hour)".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    #[test]
    fn every_key_is_read_and_a_misspelt_one_names_the_nearest() {
        for key in KEYS {
            let text = format!("[limits]\n{key} = 7000\n");
            let refused = Config::parse(&text).err().map(|error| error.to_string());
            // What is refused is refused for its value, under its name.
            assert!(refused.as_ref().is_none_or(|why| why.contains(&format!("limits.{key}: must be"))), "{refused:?}");
        }
        let misspelt = Config::parse("[limits]\nuser_rat = 3").expect_err("unknown").to_string();
        assert_eq!(misspelt, "unknown key 'limits.user_rat'; did you mean 'limits.user_rate'?");
    }

    #[test]
    fn what_would_shut_everybody_out_is_refused() {
        for (key, value) in [("user_rate", "0"), ("requests", "0"), ("page_rows", "0"), ("stall_seconds", "0")] {
            let refused = Config::parse(&format!("[limits]\n{key} = {value}")).expect_err("too small").to_string();
            assert!(refused.starts_with(&format!("limits.{key}: must be 1 to")), "{refused}");
        }
        let drive = Config::parse("[limits]\nbare_metal_body_kib = 64").expect_err("too small").to_string();
        assert!(drive.contains("must be 5120 to"), "{drive}");
    }

    #[test]
    fn nothing_said_is_what_the_listeners_have_anyway() {
        assert_eq!(Limits::default().settings(), Settings::default());
    }
}
