//! Lights, firmware modes and settings, firmware versions, virtual drives and interrupts against the fake BMC.

use super::fake::{EJECT, FakeBmc, RESET, SYSTEM};
use super::tests::{answer, driver};
use super::*;
use crate::bmc::features::Component;
use serde_json::{Value, json};

const UUID: &str = "6F0CA1B2-0000-4000-8000-0123456789AB";
const DRIVE: &str = "/redfish/v1/Chassis/1/Drives/0";
const SECURE_BOOT: &str = "/redfish/v1/Systems/1/SecureBoot";
const CD: &str = "/redfish/v1/Managers/1/VirtualMedia/Cd";

fn link(path: &str) -> Value {
    json!({"@odata.id": path})
}

fn light(name: &str, component: Component) -> LightName {
    LightName { name: name.to_owned(), component }
}

fn unsupported<T: std::fmt::Debug>(result: Result<T, BmcError>, word: &str) {
    let error = result.unwrap_err();
    assert!(matches!(&error, BmcError::Unsupported { detail, .. } if detail.contains(word)), "{error}");
}

/// A machine with a light of each kind.
fn lit(fake: &FakeBmc) {
    fake.edit(SYSTEM, json!({"IndicatorLED": "Off", "Storage": link("/storage")}));
    fake.edit("/redfish/v1/Chassis/1", json!({"Id": "1", "LocationIndicatorActive": false}));
    fake.edit("/storage", json!({"Members": [link("/storage/raid")]}));
    fake.edit("/storage/raid", json!({"Id": "raid", "Drives": [link(DRIVE), link("/gone")]}));
    fake.edit(DRIVE, json!({"Id": "0", "IndicatorLED": "Blinking"}));
}

#[tokio::test]
async fn lights_of_each_part_are_found_seen_and_switched() {
    let fake = FakeBmc::http().await;
    lit(&fake);
    let bmc = driver(&fake);
    let all = bmc.indicators().await.unwrap();
    let names: Vec<_> = all.iter().map(|found| found.light.to_string()).collect();
    assert_eq!(names, ["1@chassis", &format!("{UUID}@system"), "raid:0@disk"]);
    assert_eq!(all[0].choices, [Light::Off, Light::On], "the newer member cannot blink");
    let (system, chassis, disk) =
        (light(UUID, Component::System), light("1", Component::Chassis), light("raid:0", Component::Disk));
    assert_eq!(bmc.indicator(disk.clone()).await, Ok(Light::Blinking));
    bmc.set_indicator(system.clone(), Light::Blinking).await.unwrap();
    bmc.set_indicator(chassis.clone(), Light::On).await.unwrap();
    bmc.set_indicator(disk, Light::Off).await.unwrap();
    assert_eq!(fake.state().resources[SYSTEM]["IndicatorLED"], "Blinking");
    assert_eq!(fake.state().resources["/redfish/v1/Chassis/1"]["LocationIndicatorActive"], true);
    assert_eq!(fake.state().resources[DRIVE]["IndicatorLED"], "Off");
    assert_eq!(bmc.indicator(chassis.clone()).await, Ok(Light::On));
    unsupported(bmc.set_indicator(chassis, Light::Blinking).await, "does not do that");
    unsupported(bmc.indicator(light("2", Component::Chassis)).await, "1@chassis");
    fake.state().forgetful = true;
    assert!(matches!(bmc.set_indicator(system, Light::Off).await, Err(BmcError::Protocol { .. })));
}

#[tokio::test]
async fn a_bmc_without_lights_has_none() {
    let fake = FakeBmc::http().await;
    let bmc = driver(&fake);
    assert_eq!(bmc.indicators().await, Ok(Vec::new()));
    unsupported(bmc.set_indicator(light(UUID, Component::System), Light::On).await, "there is no light");
}

#[tokio::test]
async fn an_interrupt_is_a_reset_type_that_must_be_offered() {
    let fake = FakeBmc::http().await;
    let bmc = driver(&fake);
    unsupported(bmc.inject_nmi().await, "off");
    bmc.set_power(PowerTarget::On).await.unwrap();
    bmc.inject_nmi().await.unwrap();
    assert_eq!(fake.state().interrupts, 1);
    assert_eq!(fake.power(), "On");
    let offer = json!({"ResetType@Redfish.AllowableValues": ["On", "ForceOff"]});
    fake.edit(SYSTEM, json!({"Actions": {"#ComputerSystem.Reset": offer}}));
    unsupported(bmc.inject_nmi().await, "ForceOff");
    assert_eq!(fake.count(&format!("POST {RESET}")), 2);
}

#[tokio::test]
async fn the_firmware_mode_changes_alone_and_the_override_stays() {
    let fake = FakeBmc::http().await;
    let once = json!({"BootSourceOverrideEnabled": "Once", "BootSourceOverrideTarget": "Pxe"});
    fake.edit(SYSTEM, json!({ "Boot": once }));
    let bmc = driver(&fake);
    assert_eq!(bmc.boot_mode().await, Ok(Some(BootMode::Bios)));
    bmc.set_boot_mode(BootMode::Uefi).await.unwrap();
    bmc.set_boot_mode(BootMode::Uefi).await.unwrap();
    assert_eq!(fake.count("PATCH"), 1, "what is there is not asked for");
    let boot = fake.state().resources[SYSTEM]["Boot"].clone();
    assert_eq!((&boot["BootSourceOverrideMode"], &boot["BootSourceOverrideTarget"]), (&json!("UEFI"), &json!("Pxe")));
    assert_eq!(bmc.boot_mode().await, Ok(Some(BootMode::Uefi)));
    fake.edit(SYSTEM, json!({"Boot": {"BootSourceOverrideMode@Redfish.AllowableValues": ["UEFI"]}}));
    unsupported(bmc.set_boot_mode(BootMode::Bios).await, "UEFI");
}

#[tokio::test]
async fn a_mode_that_is_forgotten_is_no_success() {
    let fake = FakeBmc::http().await;
    fake.state().forgetful = true;
    let error = driver(&fake).set_boot_mode(BootMode::Uefi).await.unwrap_err();
    assert!(matches!(&error, BmcError::Protocol { detail, .. } if detail.contains("still shows Legacy")), "{error}");
}

#[tokio::test]
async fn secure_boot_is_switched_in_uefi_mode_only() {
    let fake = FakeBmc::http().await;
    let bmc = driver(&fake);
    unsupported(bmc.secure_boot().await, "no secure boot");
    fake.edit(SYSTEM, json!({"SecureBoot": link(SECURE_BOOT)}));
    fake.edit(SECURE_BOOT, json!({"SecureBootEnable": false, "SecureBootCurrentBoot": "Disabled"}));
    assert_eq!(bmc.secure_boot().await, Ok(Some(false)));
    unsupported(bmc.set_secure_boot(true).await, "needs UEFI");
    bmc.set_boot_mode(BootMode::Uefi).await.unwrap();
    bmc.set_secure_boot(true).await.unwrap();
    assert_eq!(fake.state().resources[SECURE_BOOT]["SecureBootEnable"], true);
    assert_eq!(bmc.secure_boot().await, Ok(Some(true)));
    fake.state().forgetful = true;
    assert!(matches!(bmc.set_secure_boot(false).await, Err(BmcError::Protocol { .. })));
}

#[tokio::test]
async fn settings_come_with_what_their_registry_says() {
    let fake = FakeBmc::http().await;
    let bmc = driver(&fake);
    unsupported(bmc.bios_settings().await, "no BIOS settings");
    fake.edit(SYSTEM, json!({"Bios": link("/bios")}));
    fake.edit("/bios", json!({"AttributeRegistry": "Reg.v1_0", "Attributes": {"NumLock": "On", "Cores": 8}}));
    let plain = bmc.bios_settings().await.unwrap();
    assert_eq!(plain.iter().map(|found| found.kind.is_none()).collect::<Vec<_>>(), [true, true]);

    fake.edit("/redfish/v1/", json!({"Registries": link("/registries")}));
    fake.edit("/registries", json!({"Members": [link("/registries/Base.1.0"), link("/registries/Reg.v1_0")]}));
    fake.edit("/registries/Reg.v1_0", json!({"Id": "Reg.v1_0", "Location": [{"Language": "en", "Uri": "/reg.json"}]}));
    let num_lock = json!({"AttributeName": "NumLock", "Type": "Enumeration", "Value": [{"ValueName": "On"}]});
    fake.edit("/reg.json", json!({"RegistryEntries": {"Attributes": [num_lock]}}));
    let bmc = driver(&fake);
    let settings = bmc.bios_settings().await.unwrap();
    let of = |name: &str| settings.iter().find(|found| found.name == name).unwrap();
    assert_eq!(of("NumLock").allowed.as_deref(), Some(&["On".to_owned()][..]));
    assert_eq!((of("Cores").value.as_deref(), &of("Cores").kind), (Some("8"), &None));
    assert_eq!(fake.count("GET /registries/Base"), 0, "the one of that name is opened first");
    fake.fault("/reg.json", answer(500, ""));
    assert_eq!(bmc.bios_settings().await.unwrap().len(), 2, "a broken registry costs the explanations only");
}

#[tokio::test]
async fn firmware_has_ironics_names_and_the_rest_its_own() {
    let fake = FakeBmc::http().await;
    fake.edit("/redfish/v1/Chassis/1", json!({"NetworkAdapters": link("/nics")}));
    fake.edit("/nics", json!({"Members": [link("/nics/1")]}));
    fake.edit("/nics/1", json!({"Id": "1", "SerialNumber": "S1", "Controllers": [{"FirmwarePackageVersion": "22.1"}]}));
    fake.edit("/redfish/v1/", json!({"UpdateService": link("/update")}));
    fake.edit("/update", json!({"FirmwareInventory": link("/inventory")}));
    let psu = json!({"Id": "PSU1", "Version": "9", "Status": {"State": "Enabled"}});
    fake.edit("/inventory", json!({"Members": [psu, {"Id": "Previous-1", "Version": "8"}]}));
    let found = driver(&fake).firmware().await.unwrap();
    let versions: Vec<_> = found.iter().map(|part| (part.component.as_str(), part.version.as_str())).collect();
    assert_eq!(versions, [("bios", "2.1"), ("bmc", "7.7"), ("nic:S1", "22.1"), ("PSU1", "9")]);
}

#[tokio::test]
async fn images_are_taken_out_of_virtual_drives() {
    let fake = FakeBmc::http().await;
    let bmc = driver(&fake);
    let eject = |kind: Option<&str>| VendorCall::EjectMedia { kind: kind.map(str::to_owned) };
    unsupported(bmc.vendor(eject(None)).await, "no virtual drives");
    fake.edit("/redfish/v1/Managers/1", json!({"VirtualMedia": link("/media")}));
    fake.edit("/media", json!({"Members": [link(CD), link("/media/usb")]}));
    let action = json!({"#VirtualMedia.EjectMedia": {"target": format!("{CD}{EJECT}")}});
    fake.edit(CD, json!({"Inserted": true, "Image": "http://x/a.iso", "MediaTypes": ["CD"], "Actions": action}));
    fake.edit("/media/usb", json!({"Inserted": true, "Image": "http://x/b.img", "MediaTypes": ["USBStick"]}));
    let inserted = |path: &str| fake.state().resources[path]["Inserted"] == true;
    unsupported(bmc.vendor(eject(Some("floppy"))).await, "floppy");
    bmc.vendor(eject(Some("cd"))).await.unwrap();
    assert_eq!((inserted(CD), inserted("/media/usb")), (false, true));
    bmc.vendor(eject(None)).await.unwrap();
    assert!(!inserted("/media/usb"), "a drive without the action is changed");
    bmc.vendor(eject(None)).await.unwrap();
    assert_eq!(
        (fake.count(&format!("POST {CD}")), fake.count("PATCH /media/usb")),
        (1, 1),
        "empty ones are left alone"
    );
    unsupported(bmc.vendor(VendorCall::ResetBmc { warm: true }).await, "IPMI");
}

#[tokio::test]
async fn basic_authentication_is_used_alone_where_it_is_wanted() {
    let fake = FakeBmc::http().await;
    let bmc = RedfishBmc::new(Config { basic_only: true, ..fake.config() }).unwrap();
    bmc.power().await.unwrap();
    let (sessions, _, basic) = fake.logins();
    assert!(sessions == 0 && basic > 0, "{sessions} {basic}");
}
