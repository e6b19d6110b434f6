//! Settings of the BIOS: given to the BMC before the machine's next start, and read back after it.

use super::Outcome;
use super::bmc::patiently;
use crate::Engine;
use leasehold_domain::job::Job;
use leasehold_domain::listed::{BmcWork, Part};
use leasehold_domain::node::Node;
use leasehold_drivers::bmc::features::BiosSetting;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long settings may take to show after the machine has started and its agent has called: BMCs hear of them from the
/// firmware, and some read them late.
const SHOW_WITHIN: Duration = Duration::from_secs(600);
/// Between two looks at them.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Settings that a message lists.
const MOST_TOLD: usize = 12;

/// What the job's present step is to do.
fn work(job: &Job) -> Result<BmcWork, String> {
    match job.part() {
        Some(Part::Bmc(work)) => Ok(work),
        _ => Err("The job names no such step.".to_owned()),
    }
}

/// Gives the change to the BMC. Asked twice, it is the same change.
pub(super) async fn set(engine: &Engine, job: &Job, node: &Node) -> Outcome {
    match work(job)? {
        BmcWork::ApplyBios(wanted) => {
            let asked = patiently(engine, node, |bmc| {
                let wanted = wanted.clone();
                async move { bmc.set_bios_settings(wanted).await }
            });
            asked.await.map_err(|why| format!("The BIOS settings {} were not taken: {why}", list(&wanted)))?;
            Ok(Some(format!("at the next start: {}", list(&wanted))))
        }
        _ => {
            let asked = patiently(engine, node, |bmc| async move { bmc.reset_bios().await });
            asked.await.map_err(|why| format!("The BIOS settings were not reset: {why}"))?;
            Ok(Some("at the next start: the factory's settings".to_owned()))
        }
    }
}

/// Waits until the settings show what was asked for.
pub(super) async fn check(engine: &Engine, job: &Job, node: &Node) -> Outcome {
    let BmcWork::ApplyBios(wanted) = work(job)? else {
        // Nobody knows what the factory's settings are.
        let shown = patiently(engine, node, |bmc| async move { bmc.bios_settings().await }).await?;
        return Ok(Some(format!("started with the factory's settings; the BMC shows {}", shown.len())));
    };
    let deadline = tokio::time::Instant::now() + SHOW_WITHIN;
    loop {
        let shown = patiently(engine, node, |bmc| async move { bmc.bios_settings().await }).await?;
        let missing = missing(&wanted, &shown);
        if missing.is_empty() {
            return Ok(Some(format!("in force: {}", list(&wanted))));
        }
        if tokio::time::Instant::now() >= deadline {
            // Without it the settings are named all the same.
            let said = patiently(engine, node, |bmc| async move { bmc.bios_outcome().await }).await.ok().flatten();
            let said = said.map(|said| format!(" The BMC says: {said}")).unwrap_or_default();
            return Err(format!(
                "The machine was started, and its BMC still does not show these BIOS settings: {}.{said}",
                missing.join("; ")
            ));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn list(wanted: &BTreeMap<String, Value>) -> String {
    let mut told: Vec<_> =
        wanted.iter().take(MOST_TOLD).map(|(name, value)| format!("{name}={}", text(value))).collect();
    if wanted.len() > MOST_TOLD {
        told.push(format!("and {} more", wanted.len() - MOST_TOLD));
    }
    told.join(", ")
}

/// As the list of settings has it.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What does not show yet, in words.
fn missing(wanted: &BTreeMap<String, Value>, shown: &[BiosSetting]) -> Vec<String> {
    let of =
        |name: &str| shown.iter().find(|setting| setting.name == name).and_then(|setting| setting.value.as_deref());
    let same = |wanted: &str, shown: &str| match wanted.to_ascii_lowercase().as_str() {
        // The list writes them with capitals, as Ironic does.
        truth @ ("true" | "false") => shown.eq_ignore_ascii_case(truth),
        _ => wanted.trim() == shown,
    };
    let missing = wanted.iter().filter_map(|(name, value)| {
        let (value, is) = (text(value), of(name));
        let differs = is.is_none_or(|is| !same(&value, is) && value != is);
        differs.then(|| format!("{name} was to be {value} and is {}", is.unwrap_or("not there")))
    });
    missing.take(MOST_TOLD).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_does_not_show_is_told_by_name_and_value() {
        let shown = |name: &str, value: Option<&str>| BiosSetting {
            name: name.into(),
            value: value.map(str::to_owned),
            ..BiosSetting::default()
        };
        let all =
            [shown("Mode", Some("Uefi")), shown("Cores", Some("8")), shown("Quiet", Some("True")), shown("X", None)];
        let wanted =
            |pairs: &[(&str, Value)]| pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let there = [("Mode", json!("Uefi")), ("Cores", json!(8)), ("Cores", json!("8")), ("Quiet", json!(true))];
        for pair in there {
            assert!(missing(&wanted(std::slice::from_ref(&pair)), &all).is_empty(), "{pair:?}");
        }
        assert!(missing(&wanted(&[("Quiet", json!("true"))]), &all).is_empty());
        let absent = wanted(&[("Mode", json!("uefi")), ("Cores", json!(9)), ("Gone", json!(1)), ("X", json!("a"))]);
        assert_eq!(
            missing(&absent, &all),
            [
                "Cores was to be 9 and is 8",
                "Gone was to be 1 and is not there",
                "Mode was to be uefi and is Uefi",
                "X was to be a and is not there"
            ]
        );
    }
}
