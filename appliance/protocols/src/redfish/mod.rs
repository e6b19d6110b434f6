//! Redfish resources (DMTF DSP0266, DSP0268) as real BMCs serve them, and what can be concluded from them.
//!
//! In: JSON bodies from a BMC. Out: structs in which everything is optional, the right system among several, the
//! reset type and boot override to ask for, sensor readings, log entries, and a sentence for each refusal.
//! Reading is lenient on purpose: a member of the wrong type is treated as absent, enumerations stay strings, what
//! is not known stays in `extra`. Nothing here does I/O; links are followed by the caller, by `@odata.id`.

mod bios;
mod boot;
mod chassis;
mod choose;
mod error;
mod firmware;
mod lamp;
mod lenient;
mod log;
mod manager;
mod media;
mod quirks;
mod reset;
mod root;
mod system;

pub use bios::{AttributeRegistry, Bios, BiosSetting, RegistryFile, SecureBoot, SystemParts, same_registry};
pub use boot::{
    Boot, BootPatchError, BootRequest, ENABLED_CONTINUOUS, ENABLED_DISABLED, ENABLED_ONCE, FirmwareMode, Override,
    ReadBack, boot_patch, mode_patch, override_in_force, read_back,
};
pub use chassis::{Chassis, ChassisPower, Reading, Sensor, Thermal};
pub use choose::{SystemChoiceError, choose_system};
pub use error::{MessageInfo, error_sentence, has_message};
pub use firmware::{ChassisParts, FirmwareComponent, NetworkAdapter, SoftwareInventory, UpdateService};
pub use lamp::{Lamp, Light, Storage};
pub use log::{LogRecord, LogService, log_service_rank, sort_newest_first};
pub use manager::Manager;
pub use media::{Eject, MediaHome, VirtualMedia};
pub use quirks::{Quirks, quirks_of};
pub use reset::{ActionInfo, PowerAction, reset_candidates};
pub use root::{Collection, Link, ServiceRoot, SessionService};
pub use system::{ComputerSystem, PowerState};

use serde::de::DeserializeOwned;

/// Reads a resource from the bytes of a body. Members of a wrong type are skipped; only what is no JSON object at all
/// is an error, as a phrase that continues "the answer …".
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    let value: serde_json::Value = serde_json::from_slice(body).map_err(|error| format!("is not JSON ({error})"))?;
    if !value.is_object() {
        return Err("is JSON, but not an object".to_owned());
    }
    serde_json::from_value(value).map_err(|error| format!("is not the expected resource ({error})"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    /// JSON that looks like Redfish: known member names with values of any kind at any depth.
    fn redfish_like() -> impl Strategy<Value = Value> {
        let names = prop::sample::select(vec![
            "@odata.id",
            "Members",
            "Members@odata.nextLink",
            "Systems",
            "Links",
            "Sessions",
            "SessionService",
            "Id",
            "UUID",
            "PowerState",
            "Boot",
            "BootSourceOverrideEnabled",
            "BootSourceOverrideTarget",
            "BootSourceOverrideTarget@Redfish.AllowableValues",
            "BootSourceOverrideMode",
            "Actions",
            "#ComputerSystem.Reset",
            "target",
            "ResetType@Redfish.AllowableValues",
            "@Redfish.ActionInfo",
            "@Redfish.Settings",
            "SettingsObject",
            "Temperatures",
            "Fans",
            "Voltages",
            "PowerSupplies",
            "Name",
            "Reading",
            "ReadingCelsius",
            "ReadingUnits",
            "Status",
            "Health",
            "State",
            "Created",
            "Message",
            "error",
            "@Message.ExtendedInfo",
            "MessageId",
            "MessageArgs",
            "Vendor",
            "Product",
            "Manufacturer",
            "Model",
            "Parameters",
            "AllowableValues",
            "LogServices",
            "Entries",
            "FirmwareVersion",
            "ManagedBy",
            "Chassis",
            "Bios",
            "Attributes",
            "AttributeRegistry",
            "RegistryEntries",
            "AttributeName",
            "Type",
            "Value",
            "ValueName",
            "LowerBound",
            "Location",
            "Uri",
            "IndicatorLED",
            "IndicatorLED@Redfish.AllowableValues",
            "LocationIndicatorActive",
            "SecureBootEnable",
            "Drives",
            "Controllers",
            "FirmwarePackageVersion",
            "SerialNumber",
            "Version",
            "Inserted",
            "MediaTypes",
            "#VirtualMedia.EjectMedia",
        ]);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
            prop::sample::select(vec![
                "On",
                "Pxe",
                "Once",
                "UEFI",
                "/redfish/v1/Systems/1",
                "OK",
                "Lit",
                "Password",
                "AdminPassword",
                "2026-01-01T00:00:00Z"
            ])
            .prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 48, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((names.clone(), inner), 0..7).prop_map(|members| {
                    Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
                }),
            ]
        })
    }

    /// Reads a body as every resource there is and draws every conclusion from it.
    fn read_everything(body: &[u8]) {
        let root: Option<ServiceRoot> = parse(body).ok();
        let system: Option<ComputerSystem> = parse(body).ok();
        if let Some(root) = &root {
            let _ = (root.sessions_link(), quirks_of(Some(root), system.as_ref()));
        }
        if let Some(system) = &system {
            let quirks = quirks_of(root.as_ref(), Some(system));
            for action in [
                PowerAction::On,
                PowerAction::ForceOff,
                PowerAction::GracefulOff,
                PowerAction::Restart,
                PowerAction::Interrupt,
            ] {
                let _ = reset_candidates(action, system.reset_types().as_deref());
            }
            let _ = (system.power(), system.reset_target(), system.etag(), override_in_force(&system.boot));
            for enabled in [ENABLED_ONCE, ENABLED_CONTINUOUS, ENABLED_DISABLED] {
                for mode in [None, Some(FirmwareMode::Uefi), Some(FirmwareMode::Legacy)] {
                    let request = BootRequest { target: "Pxe", enabled, mode };
                    let _ = (boot_patch(&system.boot, request, &quirks), read_back(&system.boot, request));
                }
            }
        }
        if let Ok(collection) = parse::<Collection>(body) {
            let links: Vec<String> = collection.links().map(str::to_owned).collect();
            let _ = choose_system(&links, None);
            let _ = choose_system(&links, Some("1"));
            let _ = collection.next();
            let mut records = collection.inline::<LogRecord>();
            sort_newest_first(&mut records);
            let _: Vec<_> = records.iter().map(LogRecord::text).collect();
        }
        let _ = parse::<Thermal>(body).map(|thermal| thermal.readings());
        let _ = parse::<ChassisPower>(body).map(|power| power.readings());
        let _ = parse::<Sensor>(body).map(|sensor| sensor.to_reading());
        let _ = parse::<Lamp>(body).map(|lamp| {
            let patches: Vec<_> = lamp.choices().into_iter().map(|light| lamp.patch(light)).collect();
            (lamp.light(), patches, lamp.name().map(str::to_owned))
        });
        let registry = parse::<AttributeRegistry>(body).ok();
        let _ = parse::<Bios>(body).map(|bios| bios.explained(registry.as_ref()));
        let _ = parse::<RegistryFile>(body).map(|file| (file.is("Bios.1.0"), file.path().map(str::to_owned)));
        let _ = parse::<NetworkAdapter>(body).map(|adapter| adapter.firmware());
        let _ = parse::<SoftwareInventory>(body).map(|part| part.firmware());
        let _ = parse::<VirtualMedia>(body).map(|drive| (drive.is_inserted(), drive.is_a("cd"), drive.eject()));
        let _ = (parse::<SecureBoot>(body), parse::<SystemParts>(body), parse::<Storage>(body));
        let _ = (parse::<ChassisParts>(body), parse::<UpdateService>(body), parse::<MediaHome>(body));
        let _ = parse::<Manager>(body);
        let _ = parse::<Chassis>(body);
        let _ = parse::<LogService>(body).map(|service| log_service_rank(&service));
        let _ = parse::<ActionInfo>(body).map(|info| info.allowed("ResetType"));
        let _ = parse::<SessionService>(body);
        let _ = (error_sentence(body), has_message(body, "SessionLimitExceeded"));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..400)) {
            read_everything(&body);
        }

        #[test]
        fn arbitrary_json_never_panics(value in redfish_like()) {
            read_everything(&serde_json::to_vec(&value).unwrap());
        }

        #[test]
        fn any_object_is_read_as_a_system(value in redfish_like()) {
            let readable = parse::<ComputerSystem>(&serde_json::to_vec(&value).unwrap()).is_ok();
            prop_assert_eq!(readable, value.is_object());
        }
    }

    #[test]
    fn what_is_no_object_is_refused_in_words() {
        assert!(parse::<ServiceRoot>(b"<html>").unwrap_err().starts_with("is not JSON"));
        assert_eq!(parse::<ServiceRoot>(b"[]").unwrap_err(), "is JSON, but not an object");
        assert!(parse::<ServiceRoot>(&b"[".repeat(100_000)).unwrap_err().starts_with("is not JSON"));
    }

    #[test]
    fn members_of_a_wrong_type_are_absent() {
        let body = json!({"Id": 1, "SerialNumber": {"x": 1}, "UUID": ["a"], "Boot": 7, "Actions": "no", "Model": null});
        let system: ComputerSystem = parse(body.to_string().as_bytes()).unwrap();
        assert_eq!(system.id.as_deref(), Some("1"));
        assert_eq!((system.serial_number, system.uuid, system.model), (None, None, None));
        assert!(system.boot.target.is_none());
    }
}
