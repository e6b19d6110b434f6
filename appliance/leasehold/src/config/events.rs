//! How long it is kept what happened, and whom it may be sent to: `[events]`.

use super::{ConfigError, MOST_GIB};
use leasehold_engine::images::{Network, never_fetched_from};
use leasehold_engine::webhooks::Settings;
use leasehold_store::Retention;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// The keys of the table.
pub(super) const KEYS: &[&str] =
    &["keep_days", "max_mib", "socket", "webhooks", "webhook_to", "webhook_http", "webhook_hours"];

/// How many of the events are kept.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Events {
    pub(crate) keep_days: u32,
    /// The most that they take, in MiB; the oldest go first.
    pub(crate) max_mib: u64,
    /// A socket where whoever may open it reads all events, and nothing else. `None`: there is none.
    pub(crate) socket: Option<PathBuf>,
    /// Webhooks of one project.
    pub(crate) webhooks: u32,
    /// Inner addresses and networks that events may be sent to.
    #[serde(deserialize_with = "super::networks")]
    pub(crate) webhook_to: Vec<Network>,
    /// Whether events may be sent in the clear.
    pub(crate) webhook_http: bool,
    /// How long it is tried to deliver an event.
    pub(crate) webhook_hours: u32,
}

impl Default for Events {
    fn default() -> Events {
        Events {
            keep_days: 90,
            max_mib: 256,
            socket: None,
            webhooks: 10,
            webhook_to: Vec::new(),
            webhook_http: false,
            webhook_hours: 24,
        }
    }
}

impl Events {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.keep_days == 0 || self.max_mib == 0 || self.max_mib > MOST_GIB {
            let why = format!("keep_days must be at least 1, max_mib 1 to {MOST_GIB}");
            return Err(ConfigError::Value { key: "events".into(), why });
        }
        if !(1..=24 * 30).contains(&self.webhook_hours) {
            let why = "must be 1 to 720".into();
            return Err(ConfigError::Value { key: "events.webhook_hours".into(), why });
        }
        let never = never_fetched_from();
        if self.webhook_to.iter().any(|network| never.iter().any(|inner| network.overlaps(*inner))) {
            let why = "loopback and link-local addresses and those that are no host's stay closed, whatever is named";
            return Err(ConfigError::Value { key: "events.webhook_to".into(), why: why.into() });
        }
        Ok(())
    }

    /// As the engine takes it; `forbidden`: the box's own networks.
    pub(crate) fn webhooks(&self, forbidden: Vec<Network>) -> Settings {
        Settings {
            forbidden,
            allowed: self.webhook_to.clone(),
            plain_http: self.webhook_http,
            most: usize::try_from(self.webhooks).unwrap_or(usize::MAX),
            give_up: Duration::from_secs(3600 * u64::from(self.webhook_hours)),
            ..Settings::default()
        }
    }

    /// As the store takes it, beside the bytes.
    pub(crate) fn retention(&self, usual: Retention) -> Retention {
        Retention { days: self.keep_days, ..usual }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn refusal(text: &str) -> String {
        Config::parse(text).expect_err("a refusal").to_string()
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        assert!(refusal("[events]\nkeep_day = 1").contains("did you mean 'events.keep_days'"));
        for bad in ["keep_days = 0", "max_mib = 0", "webhook_hours = 0", "webhook_hours = 721"] {
            assert!(refusal(&format!("[events]\n{bad}")).contains("events"), "{bad}");
        }
        assert!(refusal("[events]\nwebhook_to = ['127.0.0.1']").contains("events.webhook_to"));
        assert!(refusal("[events]\nwebhook_to = ['nowhere']").contains("is no network"));
    }

    #[test]
    fn nothing_is_sent_to_inner_networks_or_in_the_clear_unless_that_is_said() {
        let settings = Config::parse("").expect("defaults").events.webhooks(Vec::new());
        assert!(settings.allowed.is_empty() && !settings.plain_http);
        let said = Config::parse("[events]\nwebhook_to = ['10.77.0.5']\nwebhook_http = true").expect("a mirror");
        let settings = said.events.webhooks(Vec::new());
        assert!(settings.allowed.len() == 1 && settings.plain_http);
    }
}
