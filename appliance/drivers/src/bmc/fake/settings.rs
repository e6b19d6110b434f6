//! How a machine that is not there behaves: delays and failures, from `driver_info`.
//!
//! `fake_WORK_delay` is a number of seconds, `fake_WORK_fail` the reason with which the work fails (or `true`). The works
//! are those of [`Work`]. A member that begins with `fake_` and says something else is refused, so that a misspelt
//! one is noticed.

use leasehold_domain::driver::truth;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest delay: an hour shows every state long enough.
const LONGEST_SECONDS: f64 = 3600.0;

/// A kind of work that a real machine or its BMC would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// The BMC answers, at enrolment and adoption.
    Verify,
    Power,
    /// The boot device and the like.
    Management,
    /// The machine starts and its agent calls.
    Boot,
    Inspect,
    Clean,
    Deploy,
    Rescue,
    Service,
}

impl Work {
    pub const ALL: [Work; 9] = [
        Work::Verify,
        Work::Power,
        Work::Management,
        Work::Boot,
        Work::Inspect,
        Work::Clean,
        Work::Deploy,
        Work::Rescue,
        Work::Service,
    ];

    /// The word in the names of settings.
    pub fn name(self) -> &'static str {
        match self {
            Work::Verify => "verify",
            Work::Power => "power",
            Work::Management => "management",
            Work::Boot => "boot",
            Work::Inspect => "inspect",
            Work::Clean => "clean",
            Work::Deploy => "deploy",
            Work::Rescue => "rescue",
            Work::Service => "service",
        }
    }
}

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("driver_info/{key} is not usable: {why}")]
pub struct BadSetting {
    pub key: String,
    pub why: String,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    delays: BTreeMap<Work, Duration>,
    failures: BTreeMap<Work, String>,
}

impl Settings {
    /// Reads a node's `driver_info`.
    ///
    /// # Errors
    /// [`BadSetting`] for an unknown `fake_…`, a delay that is no number from 0 to 3600, a failure that is no text.
    pub fn read(info: &Map<String, Value>) -> Result<Settings, BadSetting> {
        let mut settings = Settings::default();
        for (key, value) in info {
            let Some(rest) = key.strip_prefix("fake_") else { continue };
            let bad = |why: String| BadSetting { key: key.clone(), why };
            let (name, what) = rest.rsplit_once('_').unwrap_or((rest, ""));
            let work = Work::ALL.into_iter().find(|work| work.name() == name);
            match (work, what) {
                (Some(work), "delay") => {
                    let delay = seconds(value).ok_or_else(|| {
                        bad(format!("{value} is not a number of seconds from 0 to {LONGEST_SECONDS}"))
                    })?;
                    settings.delays.insert(work, delay);
                }
                (Some(work), "fail") => {
                    let reason = match (truth(value), value) {
                        (Some(false), _) | (_, Value::Null) => continue,
                        (Some(true), _) => format!("The {} was asked to fail (driver_info/{key}).", work.name()),
                        (None, Value::String(reason)) => reason.clone(),
                        _ => return Err(bad("write the reason as a text, or true".into())),
                    };
                    settings.failures.insert(work, reason);
                }
                _ => {
                    let names: Vec<_> = Work::ALL.iter().map(|work| work.name()).collect();
                    return Err(bad(format!(
                        "there are fake_WORK_delay and fake_WORK_fail, with WORK one of {}",
                        names.join(", ")
                    )));
                }
            }
        }
        Ok(settings)
    }

    /// Does the work: takes its time, and fails where it is to fail.
    ///
    /// # Errors
    /// The reason that was set.
    pub async fn work(&self, work: Work) -> Result<(), String> {
        if let Some(delay) = self.delays.get(&work) {
            tokio::time::sleep(*delay).await;
        }
        match self.failures.get(&work) {
            Some(reason) => Err(reason.clone()),
            None => Ok(()),
        }
    }
}

fn seconds(value: &Value) -> Option<Duration> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    (0.0..=LONGEST_SECONDS).contains(&number).then(|| Duration::from_secs_f64(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(info: Value) -> Result<Settings, BadSetting> {
        let Value::Object(info) = info else { unreachable!("an object") };
        Settings::read(&info)
    }

    #[tokio::test]
    async fn work_takes_its_time_and_fails_as_it_was_told() {
        let info = json!({"fake_deploy_delay": "2.5", "fake_clean_fail": "no disk", "fake_power_fail": true});
        let settings = read(info).expect("usable");
        assert_eq!(settings.delays, BTreeMap::from([(Work::Deploy, Duration::from_millis(2500))]));
        assert_eq!(settings.work(Work::Clean).await, Err("no disk".into()));
        assert!(settings.work(Work::Power).await.is_err());
        assert_eq!(settings.work(Work::Verify).await, Ok(()));
    }

    #[test]
    fn a_misspelt_setting_is_noticed() {
        for (bad, value) in [
            ("fake_depoly_delay", json!(1)),
            ("fake_deploy", json!(1)),
            ("fake_deploy_delay", json!(-1)),
            ("fake_deploy_delay", json!("NaN")),
            ("fake_deploy_delay", json!(1e9)),
            ("fake_deploy_fail", json!([1])),
        ] {
            assert_eq!(read(json!({bad: value})).expect_err("refused").key, bad);
        }
        assert!(read(json!({"ipmi_address": "10.0.0.1", "fake_clean_fail": "no"})).is_ok());
    }

    proptest! {
        #[test]
        fn any_setting_is_read_or_refused(key in "(fake_)?[a-z_]{0,20}", number in any::<f64>(), text in "\\PC{0,9}") {
            let _either = read(json!({&key: number}));
            let _either = read(json!({key: text}));
        }
    }
}
