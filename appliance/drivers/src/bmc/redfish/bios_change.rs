//! Changes of the firmware's settings: into the resource that the BMC keeps for the next start, and what became of them.

use super::address::quoted;
use super::service::{optional, said};
use super::session::Session;
use crate::bmc::BmcError;
use crate::bmc::features::BiosSetting;
use leasehold_protocols::redfish::Bios;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Names and values that a refusal lists.
const MOST_NAMED: usize = 12;

impl Session {
    /// Asks for all of them in one request: a BMC takes all or none.
    pub(super) async fn set_bios_settings(&mut self, wanted: &BTreeMap<String, Value>) -> Result<(), BmcError> {
        let link = self.bios_path().await?;
        let (resource, header) = self.get::<Value>(&link).await?;
        let bios = self.read_bios(&resource)?;
        let known = self.explained(&bios).await?;
        let mut attributes = Map::new();
        for (name, value) in wanted {
            let fitted = fit(name, value, &bios, &known).map_err(|why| self.endpoint.refused(why))?;
            attributes.insert(name.clone(), fitted);
        }
        let mut body = json!({ "Attributes": attributes });
        // Where the BMC lets one say when, it is said: some change nothing at a start otherwise.
        let times = resource.pointer("/@Redfish.Settings/SupportedApplyTimes").and_then(Value::as_array);
        if times.is_some_and(|times| times.iter().any(|time| time == "OnReset")) {
            body["@Redfish.SettingsApplyTime"] =
                json!({"@odata.type": "#Settings.v1_0_0.PreferredApplyTime", "ApplyTime": "OnReset"});
        }
        let etag = |header: Option<String>, resource: &Value| {
            header.or_else(|| resource.get("@odata.etag")?.as_str().map(str::to_owned))
        };
        let (path, etag) = match bios.settings.settings_object.path().map(str::to_owned) {
            Some(pending) => match optional(self.get::<Value>(&pending).await)? {
                Some((resource, header)) => (pending, etag(header, &resource)),
                None => (pending, None),
            },
            None => (link, etag(header, &resource)),
        };
        self.patch(&path, &body, etag.as_deref()).await
    }

    /// Has the BMC forget every change, from the next start on.
    pub(super) async fn reset_bios(&mut self) -> Result<(), BmcError> {
        let link = self.bios_path().await?;
        let (resource, _) = self.get::<Value>(&link).await?;
        let target = resource.pointer("/Actions/#Bios.ResetBios/target").and_then(Value::as_str).map(str::to_owned);
        let Some(target) = target else {
            return Err(self.endpoint.unsupported("it has no way to reset the BIOS settings of this machine"));
        };
        match self.post(&target, &json!({})).await {
            // Some want to be told what there is only one of.
            Err(BmcError::Refused { .. }) => self.post(&target, &json!({"ResetType": "default"})).await,
            answer => answer,
        }
    }

    /// The messages that the BMC keeps about the last change.
    pub(super) async fn bios_outcome(&mut self) -> Result<Option<String>, BmcError> {
        let link = self.bios_path().await?;
        let (resource, _) = self.get::<Value>(&link).await?;
        Ok(said(resource.pointer("/@Redfish.Settings/Messages")))
    }

    fn read_bios(&self, resource: &Value) -> Result<Bios, BmcError> {
        serde_json::from_value(resource.clone())
            .map_err(|error| self.endpoint.protocol(format!("its BIOS settings cannot be read ({error})")))
    }
}

/// The value in the kind that the setting has, or why the BMC need not be asked.
fn fit(name: &str, value: &Value, bios: &Bios, known: &[BiosSetting]) -> Result<Value, String> {
    let shown = quoted(name);
    let setting = known.iter().find(|setting| setting.name == name);
    let (Some(setting), Some(current)) = (setting, bios.attributes.get(name)) else {
        return Err(format!("there is no BIOS setting {shown} (names are as the list of its BIOS settings has them)"));
    };
    if setting.read_only == Some(true) {
        return Err(format!("the BIOS setting {shown} can only be read"));
    }
    // A step is kept in the record of its job: no place for a password, and one cannot be read back.
    if setting.kind.as_deref() == Some("Password") {
        return Err(format!("the BIOS setting {shown} is a password: set it at the BMC"));
    }
    let fitted = in_kind_of(current, setting.kind.as_deref(), value)
        .ok_or_else(|| format!("the BIOS setting {shown} cannot be {value}: it is {current} now"))?;
    if let (Some(allowed), Some(text)) = (&setting.allowed, fitted.as_str())
        && !allowed.iter().any(|one| one == text)
    {
        let some: Vec<_> = allowed.iter().take(MOST_NAMED).map(|one| quoted(one)).collect();
        return Err(format!("the BIOS setting {shown} cannot be {value}: it can be {}", some.join(", ")));
    }
    if let Some(number) = fitted.as_i64() {
        let low = setting.lower_bound.filter(|low| number < *low).map(|low| format!("at least {low}"));
        let high = setting.upper_bound.filter(|high| number > *high).map(|high| format!("at most {high}"));
        if let Some(bound) = low.or(high) {
            return Err(format!("the BIOS setting {shown} cannot be {value}: it must be {bound}"));
        }
    }
    Ok(fitted)
}

/// People write numbers and truth values as texts, and the other way round.
fn in_kind_of(current: &Value, kind: Option<&str>, value: &Value) -> Option<Value> {
    match (current, value) {
        (Value::Number(_), Value::String(text)) => text.trim().parse::<i64>().ok().map(Value::from),
        (Value::Bool(_), Value::String(text)) => match text.trim().to_ascii_lowercase().as_str() {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            _ => None,
        },
        (Value::String(_), Value::Number(number)) => Some(Value::String(number.to_string())),
        (Value::Null, value) => match (kind, value) {
            (Some("Integer"), Value::String(text)) => text.trim().parse::<i64>().ok().map(Value::from),
            _ => Some(value.clone()),
        },
        (Value::Number(_), Value::Number(_))
        | (Value::Bool(_), Value::Bool(_))
        | (Value::String(_), Value::String(_)) => Some(value.clone()),
        _ => None,
    }
}
