//! `Bios` with its settings, the registry that explains them, and `SecureBoot` (DSP0268).

use super::lenient;
use super::root::Link;
use super::system::Settings;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::HashMap;

/// `Bios`: the settings of the firmware as they are in force.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Bios {
    #[serde(deserialize_with = "lenient::object")]
    pub attributes: Map<String, Value>,
    /// The id of the registry that explains the settings.
    #[serde(deserialize_with = "lenient::text")]
    pub attribute_registry: Option<String>,
    #[serde(rename = "@Redfish.Settings", deserialize_with = "lenient::object")]
    pub settings: Settings,
}

/// `AttributeRegistry`: what each setting may be.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AttributeRegistry {
    #[serde(deserialize_with = "lenient::object")]
    pub registry_entries: RegistryEntries,
}

/// `RegistryEntries` of a registry.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RegistryEntries {
    #[serde(deserialize_with = "lenient::list")]
    pub attributes: Vec<RegistryEntry>,
}

/// What a registry says about one setting.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RegistryEntry {
    #[serde(deserialize_with = "lenient::text")]
    attribute_name: Option<String>,
    /// `Enumeration`, `Integer`, `String`, `Boolean`, `Password`.
    #[serde(rename = "Type", deserialize_with = "lenient::text")]
    kind: Option<String>,
    #[serde(deserialize_with = "lenient::list")]
    value: Vec<AllowedValue>,
    #[serde(deserialize_with = "lenient::integer")]
    lower_bound: Option<i64>,
    #[serde(deserialize_with = "lenient::integer")]
    upper_bound: Option<i64>,
    #[serde(deserialize_with = "lenient::integer")]
    min_length: Option<i64>,
    #[serde(deserialize_with = "lenient::integer")]
    max_length: Option<i64>,
    #[serde(deserialize_with = "lenient::truth")]
    read_only: Option<bool>,
    #[serde(deserialize_with = "lenient::truth")]
    reset_required: Option<bool>,
    #[serde(deserialize_with = "lenient::truth")]
    is_system_unique_property: Option<bool>,
}

/// One value that an enumerated setting may have.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct AllowedValue {
    #[serde(deserialize_with = "lenient::text")]
    value_name: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    value_display_name: Option<String>,
}

/// A setting, with what its registry says about it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BiosSetting {
    pub name: String,
    /// As text, whatever it was; `None` for one without a value.
    pub value: Option<String>,
    pub kind: Option<String>,
    pub allowed: Option<Vec<String>>,
    pub lower_bound: Option<i64>,
    pub upper_bound: Option<i64>,
    pub min_length: Option<i64>,
    pub max_length: Option<i64>,
    pub read_only: Option<bool>,
    pub reset_required: Option<bool>,
    pub unique: Option<bool>,
}

impl Bios {
    /// The settings by name. A password is never told: BMCs should answer `null` for one, and some do not.
    pub fn explained(&self, registry: Option<&AttributeRegistry>) -> Vec<BiosSetting> {
        let entries = registry.map(|registry| registry.registry_entries.attributes.as_slice()).unwrap_or_default();
        let known: HashMap<&str, &RegistryEntry> =
            entries.iter().filter_map(|entry| Some((entry.attribute_name.as_deref()?, entry))).collect();
        self.attributes.iter().map(|(name, value)| setting(name, value, known.get(name.as_str()).copied())).collect()
    }
}

fn setting(name: &str, value: &Value, entry: Option<&RegistryEntry>) -> BiosSetting {
    let text = match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        // As Ironic's column of texts has them.
        Value::Bool(true) => Some("True".to_owned()),
        Value::Bool(false) => Some("False".to_owned()),
        other => Some(other.to_string()),
    };
    let bare = BiosSetting { name: name.to_owned(), value: text, ..BiosSetting::default() };
    let Some(entry) = entry else { return bare };
    let names = entry.value.iter().filter_map(|value| value.value_name.clone().or(value.value_display_name.clone()));
    let names: Vec<String> = names.collect();
    BiosSetting {
        value: bare.value.filter(|_| entry.kind.as_deref() != Some("Password")),
        kind: entry.kind.clone(),
        allowed: (!names.is_empty()).then_some(names),
        lower_bound: entry.lower_bound,
        upper_bound: entry.upper_bound,
        min_length: entry.min_length,
        max_length: entry.max_length,
        read_only: entry.read_only,
        reset_required: entry.reset_required,
        unique: entry.is_system_unique_property,
        ..bare
    }
}

/// `MessageRegistryFile`: where a registry is found.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RegistryFile {
    #[serde(deserialize_with = "lenient::text")]
    pub id: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    pub registry: Option<String>,
    #[serde(deserialize_with = "lenient::list")]
    pub location: Vec<RegistryLocation>,
}

/// One translation of a registry.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RegistryLocation {
    #[serde(deserialize_with = "lenient::text")]
    pub language: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    pub uri: Option<String>,
}

impl RegistryFile {
    /// Whether it is about the registry of this id. Some name it without its version.
    pub fn is(&self, wanted: &str) -> bool {
        [&self.id, &self.registry].into_iter().flatten().any(|name| same_registry(name, wanted))
    }

    /// The path of the registry, in English where there is a choice.
    pub fn path(&self) -> Option<&str> {
        let english = |location: &&RegistryLocation| {
            location.language.as_deref().is_some_and(|language| language == "en" || language.starts_with("en-"))
        };
        let chosen = self.location.iter().find(english).or_else(|| self.location.first())?;
        chosen.uri.as_deref().filter(|uri| !uri.is_empty())
    }
}

/// `BiosAttributeRegistry.v1_0_2` and `BiosAttributeRegistry.1.0`, and the same name alone.
pub fn same_registry(name: &str, wanted: &str) -> bool {
    let stem = |text: &str| text.split('.').next().unwrap_or_default().to_ascii_lowercase();
    !stem(wanted).is_empty() && stem(name) == stem(wanted)
}

/// `SecureBoot` of a system.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SecureBoot {
    #[serde(rename = "@odata.etag", deserialize_with = "lenient::text")]
    pub odata_etag: Option<String>,
    /// Whether the next boot checks signatures.
    #[serde(deserialize_with = "lenient::truth")]
    pub secure_boot_enable: Option<bool>,
    #[serde(rename = "@Redfish.Settings", deserialize_with = "lenient::object")]
    pub settings: Settings,
}

/// The parts of a system that this room follows beside those of [`super::ComputerSystem`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SystemParts {
    #[serde(deserialize_with = "lenient::object")]
    pub bios: Link,
    #[serde(deserialize_with = "lenient::object")]
    pub secure_boot: Link,
    #[serde(deserialize_with = "lenient::object")]
    pub storage: Link,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn bios(attributes: Value) -> Bios {
        serde_json::from_value(json!({"Attributes": attributes, "AttributeRegistry": "Reg.1.0"})).unwrap()
    }

    #[test]
    fn settings_are_explained_by_their_registry() {
        let registry: AttributeRegistry = serde_json::from_value(json!({"RegistryEntries": {"Attributes": [
            {"AttributeName": "BootMode", "Type": "Enumeration", "ReadOnly": false, "ResetRequired": true,
             "Value": [{"ValueName": "Uefi"}, {"ValueDisplayName": "Legacy"}, {}, 7]},
            {"AttributeName": "Fans", "Type": "Integer", "LowerBound": 1, "UpperBound": "100"},
            {"AttributeName": "AdminPassword", "Type": "Password", "MinLength": 4.5},
            {"Type": "Integer"}, "junk"]}}))
        .unwrap();
        let attributes =
            json!({"BootMode": "Uefi", "Fans": 40, "AdminPassword": "secret", "Alone": true, "None": null});
        let settings = bios(attributes).explained(Some(&registry));
        let of = |name: &str| settings.iter().find(|setting| setting.name == name).unwrap();
        let mode = of("BootMode");
        assert_eq!((mode.value.as_deref(), mode.kind.as_deref()), (Some("Uefi"), Some("Enumeration")));
        assert_eq!(mode.allowed.as_deref(), Some(&["Uefi".to_owned(), "Legacy".to_owned()][..]));
        assert_eq!((mode.read_only, mode.reset_required, mode.unique), (Some(false), Some(true), None));
        let fans = of("Fans");
        assert_eq!((fans.value.as_deref(), fans.lower_bound, fans.upper_bound), (Some("40"), Some(1), Some(100)));
        assert_eq!((of("AdminPassword").value.as_deref(), of("AdminPassword").min_length), (None, None));
        assert_eq!((of("Alone").value.as_deref(), &of("Alone").kind), (Some("True"), &None));
        assert_eq!(of("None").value, None);
        assert_eq!(settings.len(), 5);
    }

    #[test]
    fn without_a_registry_names_and_values_remain() {
        let settings = bios(json!({"A": 1})).explained(None);
        assert_eq!(settings, [BiosSetting { name: "A".into(), value: Some("1".into()), ..BiosSetting::default() }]);
        assert_eq!(bios(json!([1, 2])).explained(None), []);
    }

    #[test]
    fn a_registry_is_found_by_its_name_and_read_in_english() {
        let file: RegistryFile = serde_json::from_value(json!({"Id": "BiosReg.v1_2", "Location": [
            {"Language": "de", "Uri": "/de"}, {"Language": "en-US", "Uri": "/en"}]}))
        .unwrap();
        assert!(file.is("BiosReg.1.0") && file.is("biosreg") && !file.is("Base.1.0") && !file.is(""));
        assert_eq!(file.path(), Some("/en"));
        let one: RegistryFile = serde_json::from_value(json!({"Location": {"Uri": "/only"}})).unwrap();
        assert_eq!((one.path(), one.is("x")), (Some("/only"), false));
        assert_eq!(RegistryFile::default().path(), None);
    }
}
