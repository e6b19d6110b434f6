//! Which firmware runs where: network adapters of a chassis and the inventory of the update service (DSP0268).

use super::chassis::Status;
use super::lenient;
use super::root::Link;
use serde::Deserialize;

/// The parts of a chassis that this room follows beside its sensors.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ChassisParts {
    #[serde(deserialize_with = "lenient::object")]
    pub network_adapters: Link,
}

/// `NetworkAdapter`: a network card.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkAdapter {
    #[serde(deserialize_with = "lenient::text")]
    pub id: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    pub manufacturer: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    pub model: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    pub serial_number: Option<String>,
    #[serde(deserialize_with = "lenient::list")]
    pub controllers: Vec<AdapterController>,
}

/// One controller on a network card.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AdapterController {
    #[serde(deserialize_with = "lenient::text")]
    pub firmware_package_version: Option<String>,
}

/// `UpdateService`: what tells the firmware of every part.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct UpdateService {
    #[serde(deserialize_with = "lenient::object")]
    pub firmware_inventory: Link,
}

/// `SoftwareInventory`: one part and its firmware.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SoftwareInventory {
    #[serde(deserialize_with = "lenient::text")]
    pub id: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    pub name: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    pub version: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    pub manufacturer: Option<String>,
    #[serde(deserialize_with = "lenient::object")]
    pub status: Status,
}

/// A part with firmware, named as Ironic names it: `bios`, `bmc`, `nic:ID`; other parts by what the BMC calls them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FirmwareComponent {
    pub component: String,
    pub version: String,
    pub vendor: Option<String>,
    pub model: Option<String>,
    pub serial_number: Option<String>,
}

impl NetworkAdapter {
    /// The firmware of the card, by its serial number or, without one, its id.
    pub fn firmware(&self) -> Option<FirmwareComponent> {
        let version = self.controllers.iter().find_map(|controller| kept(&controller.firmware_package_version))?;
        let name = kept(&self.serial_number).or_else(|| kept(&self.id))?;
        Some(FirmwareComponent {
            component: format!("nic:{name}"),
            version,
            vendor: kept(&self.manufacturer),
            model: kept(&self.model),
            serial_number: kept(&self.serial_number),
        })
    }
}

impl SoftwareInventory {
    /// The firmware that runs; `None` for what is stored beside it (an older or a newer version) and what has none.
    pub fn firmware(&self) -> Option<FirmwareComponent> {
        let state = self.status.state.as_deref().unwrap_or("Enabled");
        let id = kept(&self.id)?;
        // Dell keeps the versions before and after among the installed ones, by these names.
        let beside = ["Previous-", "Available-"].iter().any(|prefix| id.starts_with(prefix));
        if beside || !matches!(state, "Enabled" | "StandbySpare" | "InTest") {
            return None;
        }
        let (version, vendor) = (kept(&self.version)?, kept(&self.manufacturer));
        Some(FirmwareComponent { component: id, version, vendor, model: kept(&self.name), serial_number: None })
    }
}

/// A text that is one.
fn kept(text: &Option<String>) -> Option<String> {
    text.as_deref().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_card_is_named_by_its_serial_number() {
        let adapter: NetworkAdapter =
            serde_json::from_value(json!({"Id": "NIC.1", "SerialNumber": "ABC", "Model": " ",
            "Manufacturer": "Contoso", "Controllers": [{}, {"FirmwarePackageVersion": "22.5"}]}))
            .unwrap();
        let found = adapter.firmware().unwrap();
        assert_eq!((found.component.as_str(), found.version.as_str(), found.model), ("nic:ABC", "22.5", None));
        let nameless = NetworkAdapter { serial_number: None, ..adapter };
        assert_eq!(nameless.firmware().unwrap().component, "nic:NIC.1");
        assert_eq!(NetworkAdapter::default().firmware(), None);
    }

    #[test]
    fn only_what_runs_is_told() {
        let of = |value: serde_json::Value| serde_json::from_value::<SoftwareInventory>(value).unwrap().firmware();
        assert!(of(json!({"Id": "PSU1", "Version": "00.1", "Status": {"State": "Enabled"}})).is_some());
        assert!(of(json!({"Id": "CPLD", "Version": 7})).is_some_and(|found| found.version == "7"));
        assert!(of(json!({"Id": "Previous-1-BIOS", "Version": "1"})).is_none());
        assert!(of(json!({"Id": "BIOS", "Version": "1", "Status": {"State": "Disabled"}})).is_none());
        assert!(of(json!({"Id": "BIOS", "Version": " "})).is_none());
    }
}
