//! `ComputerSystem`: the machine itself.

use super::boot::Boot;
use super::lenient;
use super::root::Link;
use serde::Deserialize;
use serde_json::{Map, Value};

/// A computer system as its BMC describes it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ComputerSystem {
    #[serde(rename = "@odata.id", deserialize_with = "lenient::text")]
    pub odata_id: Option<String>,
    #[serde(rename = "@odata.etag", deserialize_with = "lenient::text")]
    pub odata_etag: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    pub id: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    pub name: Option<String>,
    #[serde(rename = "UUID", deserialize_with = "lenient::text")]
    pub uuid: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    pub manufacturer: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    pub model: Option<String>,
    #[serde(rename = "SKU", deserialize_with = "lenient::text")]
    pub sku: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    pub serial_number: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    pub bios_version: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    pub power_state: Option<String>,
    #[serde(deserialize_with = "lenient::object")]
    pub boot: Boot,
    #[serde(deserialize_with = "lenient::object")]
    pub actions: Actions,
    #[serde(deserialize_with = "lenient::object")]
    pub links: SystemLinks,
    #[serde(deserialize_with = "lenient::object")]
    pub log_services: Link,
    #[serde(rename = "@Redfish.Settings", deserialize_with = "lenient::object")]
    pub settings: Settings,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// `Actions` of a system.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Actions {
    #[serde(rename = "#ComputerSystem.Reset", deserialize_with = "lenient::maybe")]
    pub reset: Option<ResetAction>,
}

/// `#ComputerSystem.Reset`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ResetAction {
    #[serde(deserialize_with = "lenient::text")]
    pub target: Option<String>,
    #[serde(rename = "ResetType@Redfish.AllowableValues", deserialize_with = "lenient::texts")]
    pub allowable: Option<Vec<String>>,
    /// A path with the same knowledge, where the values do not stand in the action itself.
    #[serde(rename = "@Redfish.ActionInfo", deserialize_with = "lenient::text")]
    pub action_info: Option<String>,
}

/// `Links` of a system.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SystemLinks {
    #[serde(deserialize_with = "lenient::list")]
    pub chassis: Vec<Link>,
    #[serde(deserialize_with = "lenient::list")]
    pub managed_by: Vec<Link>,
}

/// `@Redfish.Settings`: the resource that takes changes in the place of this one.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Settings {
    #[serde(deserialize_with = "lenient::object")]
    pub settings_object: Link,
}

/// What `PowerState` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerState {
    /// It has power, or is about to have it, or is not yet without.
    On,
    Off,
}

impl ComputerSystem {
    /// Whether the machine has power. A machine that is powering off counts as on until it is off: who waits for it
    /// to be dark must not go on early. `None` when the BMC does not say, or says a word that no standard knows.
    pub fn power(&self) -> Option<PowerState> {
        match self.power_state.as_deref()?.to_ascii_lowercase().as_str() {
            "on" | "poweringon" | "poweringoff" | "paused" => Some(PowerState::On),
            "off" => Some(PowerState::Off),
            _ => None,
        }
    }

    /// Where a reset is asked for.
    pub fn reset_target(&self) -> Option<&str> {
        self.actions.reset.as_ref()?.target.as_deref().filter(|target| !target.is_empty())
    }

    /// The reset types that the BMC offers in the action itself; `None` when it does not say.
    pub fn reset_types(&self) -> Option<Vec<String>> {
        self.actions.reset.as_ref()?.allowable.clone().filter(|values| !values.is_empty())
    }

    /// The entity tag in the body. The `ETag` header, where there is one, goes before it.
    pub fn etag(&self) -> Option<&str> {
        self.odata_etag.as_deref().filter(|etag| !etag.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_power(state: &str) -> Option<PowerState> {
        ComputerSystem { power_state: Some(state.to_owned()), ..Default::default() }.power()
    }

    #[test]
    fn a_machine_is_off_only_when_it_is() {
        assert_eq!(with_power("Off"), Some(PowerState::Off));
        assert_eq!(with_power("PoweringOff"), Some(PowerState::On));
        assert_eq!(with_power("PoweringOn"), Some(PowerState::On));
        assert_eq!(with_power("on"), Some(PowerState::On));
        assert_eq!(with_power("Undefined"), None);
        assert_eq!(ComputerSystem::default().power(), None);
    }

    #[test]
    fn what_is_unknown_is_kept() {
        let system: ComputerSystem =
            serde_json::from_str(r#"{"Id": "1", "Oem": {"Vendor": {"x": 1}}, "PowerState": "Dreaming"}"#).unwrap();
        assert!(system.extra.contains_key("Oem"));
        assert_eq!(system.power_state.as_deref(), Some("Dreaming"));
    }
}
