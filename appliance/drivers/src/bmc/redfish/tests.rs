//! The driver against the fake BMC, on loopback.

use super::fake::{Certificate, FakeBmc, Fault, PASSWORD, RESET, SYSTEM, USER};
use super::*;
use leasehold_domain::power::{BootDevice, BootMode};
use serde_json::json;
use std::time::Instant;

pub(super) fn driver(fake: &FakeBmc) -> RedfishBmc {
    let mut config = fake.config();
    config.pin = fake.fingerprint;
    RedfishBmc::new(config).unwrap()
}

/// Waits until something that happens in another task has happened.
async fn eventually(what: &str, happened: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !happened() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub(super) fn answer(status: u16, body: &str) -> Fault {
    Fault::Answer(status, Vec::new(), body.to_owned())
}

const PXE_ONCE: BootSetting = BootSetting { device: BootDevice::Pxe, persistent: false, mode: Some(BootMode::Uefi) };

#[tokio::test]
async fn the_identity_comes_from_system_manager_and_root() {
    let fake = FakeBmc::https().await;
    let identity = driver(&fake).identity().await.unwrap();
    assert_eq!(
        identity,
        Identity {
            manufacturer: Some("Contoso".to_owned()),
            model: Some("Model 3".to_owned()),
            serial: None,
            system_uuid: Some("6f0ca1b2-0000-4000-8000-0123456789ab".to_owned()),
            bmc_firmware: Some("7.7".to_owned()),
            bios_version: Some("2.1".to_owned()),
        }
    );
}

#[tokio::test]
async fn a_bmc_without_a_manager_is_still_identified() {
    let fake = FakeBmc::http().await;
    fake.fault("/redfish/v1/Managers/1", answer(500, ""));
    assert_eq!(driver(&fake).identity().await.unwrap().bmc_firmware, None);
}

#[tokio::test]
async fn power_goes_where_it_is_sent() {
    let fake = FakeBmc::http().await;
    let bmc = driver(&fake);
    assert_eq!(bmc.power().await, Ok(PowerState::Off));
    for (target, state) in [
        (PowerTarget::On, PowerState::On),
        (PowerTarget::Reboot, PowerState::On),
        (PowerTarget::SoftOff, PowerState::Off),
        (PowerTarget::Reboot, PowerState::On),
        (PowerTarget::Off, PowerState::Off),
    ] {
        bmc.set_power(target).await.unwrap();
        assert_eq!(bmc.power().await, Ok(state), "{target:?}");
    }
    assert_eq!(fake.count(&format!("POST {RESET}")), 5);
}

#[tokio::test]
async fn a_power_state_that_is_there_is_not_asked_for() {
    let fake = FakeBmc::http().await;
    let bmc = driver(&fake);
    bmc.set_power(PowerTarget::Off).await.unwrap();
    bmc.set_power(PowerTarget::SoftOff).await.unwrap();
    assert_eq!(fake.count("POST /redfish/v1/Systems"), 0);
}

#[tokio::test]
async fn a_refusal_counts_only_if_the_state_is_not_there() {
    let fake = FakeBmc::http().await;
    fake.fault(RESET, answer(409, r#"{"error": {"message": "no"}}"#));
    let bmc = driver(&fake);
    let refused = bmc.set_power(PowerTarget::On).await.unwrap_err();
    assert!(matches!(&refused, BmcError::Refused { detail, .. } if detail.contains("no")), "{refused}");
    fake.edit(SYSTEM, json!({"PowerState": "PoweringOff"}));
    assert!(bmc.set_power(PowerTarget::Off).await.is_err());
}

#[tokio::test]
async fn poorer_reset_types_do() {
    let fake = FakeBmc::http().await;
    let offer = |values: serde_json::Value| json!({"Actions": {"#ComputerSystem.Reset": {"ResetType@Redfish.AllowableValues": values}}});
    fake.edit(SYSTEM, offer(json!(["PushPowerButton", "PowerCycle"])));
    let bmc = driver(&fake);
    bmc.set_power(PowerTarget::On).await.unwrap();
    bmc.set_power(PowerTarget::Reboot).await.unwrap();
    let impossible = bmc.set_power(PowerTarget::Off).await.unwrap_err();
    assert!(matches!(&impossible, BmcError::Unsupported { detail, .. } if detail.contains("PushPowerButton")));
    bmc.set_power(PowerTarget::SoftOff).await.unwrap();
    assert_eq!(fake.power(), "Off");
}

#[tokio::test]
async fn reset_types_may_stand_in_the_action_info_or_nowhere() {
    let fake = FakeBmc::http().await;
    fake.edit(
        SYSTEM,
        json!({"Actions": {"#ComputerSystem.Reset": {"ResetType@Redfish.AllowableValues": null,
        "@Redfish.ActionInfo": "/info"}}}),
    );
    fake.edit("/info", json!({"Parameters": [{"Name": "ResetType", "AllowableValues": ["PowerCycle", "On"]}]}));
    let bmc = driver(&fake);
    bmc.set_power(PowerTarget::On).await.unwrap();
    bmc.set_power(PowerTarget::Reboot).await.unwrap();
    assert!(matches!(bmc.set_power(PowerTarget::Off).await, Err(BmcError::Unsupported { .. })));
    // Without the info everything is tried; this one knows no ForceOn, but PushPowerButton.
    fake.fault("/info", answer(404, ""));
    bmc.set_power(PowerTarget::Off).await.unwrap();
    assert_eq!(fake.power(), "Off");
}

#[tokio::test]
async fn a_boot_device_is_set_and_read_back() {
    let fake = FakeBmc::http().await;
    let bmc = driver(&fake);
    let none = BootSetting { device: BootDevice::None, persistent: false, mode: Some(BootMode::Bios) };
    assert_eq!(bmc.boot_device().await, Ok(none));
    for device in [BootDevice::Pxe, BootDevice::Disk, BootDevice::Cdrom, BootDevice::Bios] {
        for persistent in [false, true] {
            for mode in [BootMode::Uefi, BootMode::Bios] {
                let setting = BootSetting { device, persistent, mode: Some(mode) };
                bmc.set_boot_device(setting).await.unwrap();
                assert_eq!(bmc.boot_device().await, Ok(setting));
            }
        }
    }
    bmc.set_boot_device(BootSetting { device: BootDevice::None, persistent: true, mode: None }).await.unwrap();
    assert_eq!(bmc.boot_device().await, Ok(none));
}

#[tokio::test]
async fn an_override_that_lasts_longer_is_taken() {
    let fake = FakeBmc::http().await;
    fake.state().once_reads_as = "Continuous";
    let bmc = driver(&fake);
    bmc.set_boot_device(PXE_ONCE).await.unwrap();
    assert_eq!(bmc.boot_device().await, Ok(BootSetting { persistent: true, ..PXE_ONCE }));
}

#[tokio::test]
async fn an_override_that_is_forgotten_is_told() {
    let fake = FakeBmc::http().await;
    fake.state().forgetful = true;
    let error = driver(&fake).set_boot_device(PXE_ONCE).await.unwrap_err();
    assert!(error.to_string().contains("was told to boot from Pxe and shows None"), "{error}");
}

#[tokio::test]
async fn an_override_that_is_not_offered_changes_nothing() {
    let fake = FakeBmc::http().await;
    fake.edit(SYSTEM, json!({"Boot": {"BootSourceOverrideTarget@Redfish.AllowableValues": ["None", "Hdd"]}}));
    let error = driver(&fake).set_boot_device(PXE_ONCE).await.unwrap_err();
    assert!(matches!(&error, BmcError::Unsupported { detail, .. } if detail.contains("None, Hdd")), "{error}");
    assert_eq!(fake.count("PATCH"), 0);
}

#[tokio::test]
async fn the_settings_resource_takes_the_override_where_there_is_one() {
    let fake = FakeBmc::http().await;
    let settings = "/redfish/v1/Systems/1/Settings";
    fake.edit(SYSTEM, json!({"@Redfish.Settings": {"SettingsObject": {"@odata.id": settings}}}));
    fake.edit(settings, json!({"Boot": {"BootSourceOverrideTarget": "None"}}));
    let bmc = driver(&fake);
    bmc.set_boot_device(PXE_ONCE).await.unwrap();
    assert_eq!((fake.count(&format!("PATCH {settings}")), fake.count("PATCH")), (1, 1));
    assert_eq!(bmc.boot_device().await.unwrap().device, BootDevice::Pxe);
}

#[tokio::test]
async fn a_stale_tag_is_read_again_once() {
    let fake = FakeBmc::http().await;
    fake.state().etag = Some(1);
    let bmc = driver(&fake);
    bmc.set_boot_device(PXE_ONCE).await.unwrap();
    assert_eq!(fake.count("PATCH"), 1);
    fake.state().rivals = 1;
    bmc.set_boot_device(PXE_ONCE).await.unwrap();
    assert_eq!(fake.count("PATCH"), 3);
    fake.state().rivals = 2;
    let error = bmc.set_boot_device(PXE_ONCE).await.unwrap_err();
    assert!(matches!(&error, BmcError::Refused { detail, .. } if detail.contains("ETag")), "{error}");
    assert_eq!(fake.count("PATCH"), 5);
}

#[tokio::test]
async fn sensors_come_from_the_old_lists_or_the_new_resources() {
    let fake = FakeBmc::http().await;
    let bmc = driver(&fake);
    let names = |sensors: Vec<Sensor>| sensors.into_iter().map(|sensor| sensor.name).collect::<Vec<_>>();
    assert_eq!(names(bmc.sensors().await.unwrap()), ["CPU", "12V"]);
    fake.edit("/redfish/v1/Chassis/1", json!({"Thermal": null, "Power": null}));
    let inlet = Sensor { name: "Inlet".to_owned(), value: Some(22.0), unit: "Celsius".to_owned(), health: None };
    assert_eq!(bmc.sensors().await, Ok(vec![inlet]));
    fake.edit("/redfish/v1/Chassis/1", json!({"Sensors": null}));
    assert!(matches!(bmc.sensors().await, Err(BmcError::Unsupported { .. })));
}

#[tokio::test]
async fn the_event_log_is_the_hardware_log_newest_first() {
    let fake = FakeBmc::http().await;
    let bmc = driver(&fake);
    let log = bmc.event_log(2).await.unwrap();
    assert_eq!(log.iter().map(|entry| entry.message.as_str()).collect::<Vec<_>>(), ["third", "second"]);
    assert_eq!(log[0].time.as_deref(), Some("2026-01-03T00:00:00Z"));
    // A log whose pages go round in a circle comes to an end.
    fake.edit("/sel2", json!({"Members@odata.nextLink": "/sel"}));
    assert_eq!(bmc.event_log(1).await.unwrap().len(), 1);
    fake.edit(SYSTEM, json!({"LogServices": null}));
    assert!(matches!(bmc.event_log(2).await, Err(BmcError::Unsupported { .. })));
}

#[tokio::test]
async fn one_session_serves_a_conversation_and_ends_with_it() {
    let fake = FakeBmc::https().await;
    let bmc = driver(&fake);
    bmc.identity().await.unwrap();
    bmc.power().await.unwrap();
    assert_eq!(fake.logins(), (1, 1, 0));
    bmc.close().await;
    assert_eq!(fake.logins(), (1, 0, 0));
    bmc.power().await.unwrap();
    drop(bmc);
    eventually("the session of a dropped driver ends", || fake.state().sessions.is_empty()).await;
    assert_eq!(fake.state().sessions_made, 2);
}

#[tokio::test]
async fn a_lost_session_is_begun_anew_once() {
    let fake = FakeBmc::http().await;
    let bmc = driver(&fake);
    bmc.power().await.unwrap();
    fake.state().sessions.clear();
    bmc.power().await.unwrap();
    assert_eq!(fake.state().sessions_made, 2);
    fake.fault(SYSTEM, answer(401, ""));
    assert!(matches!(bmc.power().await, Err(BmcError::Credentials { .. })));
    assert_eq!(fake.state().sessions_made, 3);
}

#[tokio::test]
async fn without_a_session_service_basic_does() {
    let fake = FakeBmc::http().await;
    fake.edit("/redfish/v1/", json!({"Links": null, "SessionService": null}));
    fake.state().resources.remove("/redfish/v1/SessionService");
    let bmc = driver(&fake);
    bmc.power().await.unwrap();
    bmc.close().await;
    assert_eq!(fake.count("DELETE"), 0);
    assert!(matches!(fake.logins(), (0, 0, 1..)), "{:?}", fake.logins());
}

#[tokio::test]
async fn a_session_service_that_is_named_but_absent_or_full_is_done_without() {
    let fake = FakeBmc::http().await;
    let full = r#"{"error": {"@Message.ExtendedInfo": [{"MessageId": "Base.1.4.SessionLimitExceeded"}]}}"#;
    for fault in [answer(404, ""), answer(503, full)] {
        fake.fault("/redfish/v1/SessionService/Sessions", fault);
        driver(&fake).power().await.unwrap();
    }
    assert_eq!(fake.state().sessions_made, 0);
}

#[tokio::test]
async fn wrong_credentials_are_told_after_one_try() {
    let fake = FakeBmc::http().await;
    let wrong = || RedfishBmc::new(Config { password: "wrong".to_owned(), ..fake.config() }).unwrap();
    let error = wrong().power().await.unwrap_err();
    assert!(error.to_string().contains("check user name and password"), "{error}");
    assert!(!error.to_string().contains("wrong"), "{error}");
    assert_eq!(fake.count("POST"), 1, "each further try can lock the account");
    fake.edit("/redfish/v1/", json!({"Links": null, "SessionService": null}));
    assert!(matches!(wrong().power().await, Err(BmcError::Credentials { .. })));
}

#[tokio::test]
async fn two_systems_need_a_name() {
    let fake = FakeBmc::http().await;
    fake.edit(
        "/redfish/v1/Systems",
        json!({"Members": [{"@odata.id": "/redfish/v1/Systems/0"}, {"@odata.id": SYSTEM}]}),
    );
    let error = driver(&fake).set_power(PowerTarget::On).await.unwrap_err();
    assert!(error.to_string().contains("/redfish/v1/Systems/0") && error.to_string().contains(SYSTEM), "{error}");
    assert_eq!(fake.power(), "Off");
    for name in ["1", SYSTEM] {
        let named = RedfishBmc::new(Config { system_id: Some(name.to_owned()), ..fake.config() }).unwrap();
        assert_eq!(named.power().await, Ok(PowerState::Off));
    }
    let stranger = RedfishBmc::new(Config { system_id: Some("7".to_owned()), ..fake.config() }).unwrap();
    assert!(matches!(stranger.power().await, Err(BmcError::Unsupported { .. })));
}

#[tokio::test]
async fn the_pin_is_the_certificates_sha256() {
    let fake = FakeBmc::https().await;
    let untrusting = RedfishBmc::new(fake.config()).unwrap();
    assert_eq!(untrusting.fetch_certificate_fingerprint().await.ok(), fake.fingerprint);
    assert_eq!(untrusting.seen_fingerprint(), None, "asking for it trusts nothing");
    assert_eq!(fake.count(""), 0, "and sends nothing");
    assert_eq!(driver(&fake).power().await, Ok(PowerState::Off));
    let stranger = RedfishBmc::new(Config { pin: Some([7; 32]), ..fake.config() }).unwrap();
    let error = stranger.power().await.unwrap_err();
    let got = hex::encode(fake.fingerprint.unwrap());
    assert!(matches!(&error, BmcError::Certificate { pinned, got: g, .. } if *pinned == "07".repeat(32) && *g == got));
}

#[tokio::test]
async fn a_changed_certificate_ends_the_trust_before_any_credential() {
    let fake = FakeBmc::https().await;
    let (pinned, first_use) = (driver(&fake), RedfishBmc::new(fake.config()).unwrap());
    pinned.power().await.unwrap();
    first_use.power().await.unwrap();
    assert_eq!(first_use.seen_fingerprint(), fake.fingerprint);
    let other = fake.replace(Certificate::self_signed()).await;
    for bmc in [pinned, first_use] {
        let error = bmc.power().await.unwrap_err();
        assert!(matches!(error, BmcError::Certificate { .. }), "{error}");
    }
    assert_eq!(other.count(""), 0);
}

#[tokio::test]
async fn a_ca_vouches_for_the_certificates_it_issued() {
    let (certificate, ca) = Certificate::issued();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, ca).unwrap();
    let with_ca = |fake: &FakeBmc, file: &std::path::Path| {
        RedfishBmc::new(Config { verify_ca: Some(file.to_owned()), ..fake.config() })
    };
    let issued = FakeBmc::start(Some(certificate)).await;
    assert_eq!(with_ca(&issued, &file).unwrap().power().await, Ok(PowerState::Off));
    let self_made = FakeBmc::https().await;
    let error = with_ca(&self_made, &file).unwrap().power().await.unwrap_err();
    assert!(error.to_string().contains("name the CA that issued it"), "{error}");
    // A self-signed certificate vouches for itself.
    std::fs::write(&file, self_made.certificate_pem.as_ref().unwrap()).unwrap();
    assert_eq!(with_ca(&self_made, &file).unwrap().power().await, Ok(PowerState::Off));
    assert!(with_ca(&issued, &file).unwrap().power().await.is_err());
    std::fs::write(&file, "no certificate").unwrap();
    let error = with_ca(&issued, &file).err().unwrap();
    assert!(error.to_string().contains("there is no certificate in it"), "{error}");
    assert!(with_ca(&issued, &folder.path().join("absent")).is_err());
}

#[tokio::test]
async fn what_is_no_tls_is_told() {
    let fake = FakeBmc::http().await;
    let bmc = RedfishBmc::new(Config { address: format!("https://{}", fake.address), ..fake.config() }).unwrap();
    let error = bmc.power().await.unwrap_err();
    assert!(error.to_string().contains("does not speak TLS"), "{error}");
}

/// A driver with little patience.
fn hasty(fake: &FakeBmc) -> RedfishBmc {
    let mut config = fake.config();
    config.limits.request = Duration::from_millis(150);
    config.limits.body = 64 << 10;
    RedfishBmc::new(config).unwrap()
}

#[tokio::test]
async fn silent_and_dripping_answers_end_in_time() {
    let fake = FakeBmc::http().await;
    for fault in [Fault::Silent, Fault::Drip] {
        fake.fault(SYSTEM, fault);
        let error = hasty(&fake).power().await.unwrap_err();
        assert!(matches!(&error, BmcError::Unreachable { detail, .. } if detail.contains(SYSTEM)), "{error}");
    }
}

#[tokio::test]
async fn a_whole_call_has_its_own_end() {
    let fake = FakeBmc::http().await;
    fake.fault(SYSTEM, Fault::Silent);
    let mut config = fake.config();
    config.limits.call = Duration::from_millis(150);
    let bmc = RedfishBmc::new(config).unwrap();
    let error = bmc.power().await.unwrap_err();
    assert!(matches!(&error, BmcError::Unreachable { detail, .. } if detail.contains("0.15 s")), "{error}");
    // The driver is of use afterwards.
    fake.state().faults.clear();
    assert_eq!(bmc.power().await, Ok(PowerState::Off));
}

#[tokio::test]
async fn a_silent_peer_does_not_hold_the_handshake() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = Config::new(format!("https://{}", listener.local_addr().unwrap()), USER, PASSWORD);
    config.limits.connect = Duration::from_millis(150);
    let error = RedfishBmc::new(config).unwrap().power().await.unwrap_err();
    assert!(matches!(&error, BmcError::Unreachable { detail, .. } if detail.contains("no connection")), "{error}");
}

#[tokio::test]
async fn an_address_where_nobody_is_is_told() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let bmc = RedfishBmc::new(Config::new(format!("https://{address}"), USER, PASSWORD)).unwrap();
    let error = bmc.power().await.unwrap_err();
    assert!(matches!(&error, BmcError::Unreachable { .. }) && error.to_string().contains("check its power, cable"));
    bmc.close().await;
}

#[tokio::test]
async fn cut_endless_and_senseless_answers_are_told() {
    let fake = FakeBmc::http().await;
    let page = Fault::Answer(200, vec![("Content-Type", "text/html".to_owned())], "<html>Log in</html>".to_owned());
    for (fault, words) in [
        (Fault::Cut, "ends in the middle"),
        (Fault::Endless, "longer than 65536 bytes"),
        (page, "is not JSON"),
        (answer(200, "[1, 2]"), "not an object"),
        (answer(200, ""), "is not JSON"),
        (answer(200, "{}"), "does not say whether the machine is on"),
        (answer(200, r#"{"PowerState": "Perhaps"}"#), "Perhaps"),
    ] {
        fake.fault(SYSTEM, fault.clone());
        let error = hasty(&fake).power().await.unwrap_err();
        assert!(matches!(&error, BmcError::Protocol { detail, .. } if detail.contains(words)), "{fault:?}: {error}");
    }
    fake.state().faults.clear();
    assert_eq!(hasty(&fake).power().await, Ok(PowerState::Off));
}

#[tokio::test]
async fn what_is_no_redfish_service_is_told() {
    let fake = FakeBmc::http().await;
    for (fault, words) in [
        (answer(404, "nothing"), "there is no Redfish service"),
        (answer(200, "<html>"), "is this a BMC?"),
        (answer(200, "{}"), "names no systems"),
    ] {
        fake.fault("/redfish/v1/", fault);
        let error = driver(&fake).power().await.unwrap_err();
        assert!(matches!(&error, BmcError::Protocol { .. }) && error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn redirects_are_followed_on_the_same_host_only() {
    let fake = FakeBmc::http().await;
    let to = |place: String| Fault::Answer(308, vec![("Location", place)], String::new());
    fake.fault("/redfish/v1/Systems", to("/redfish/v1/Systems2".to_owned()));
    fake.edit("/redfish/v1/Systems2", json!({"Members": [{"@odata.id": SYSTEM}]}));
    assert_eq!(driver(&fake).power().await, Ok(PowerState::Off));
    let thief = FakeBmc::http().await;
    fake.fault("/redfish/v1/Systems", to(format!("http://{}/redfish/v1/Systems", thief.address)));
    let error = driver(&fake).power().await.unwrap_err();
    assert!(error.to_string().contains("another host"), "{error}");
    assert_eq!(thief.count(""), 0);
    fake.fault("/redfish/v1/Systems", to("/redfish/v1/Systems".to_owned()));
    let error = driver(&fake).power().await.unwrap_err();
    assert!(error.to_string().contains("redirected without end"), "{error}");
}

#[tokio::test]
async fn a_link_to_another_host_is_not_followed() {
    let (fake, thief) = (FakeBmc::http().await, FakeBmc::http().await);
    let elsewhere = format!("http://{}{SYSTEM}", thief.address);
    fake.edit("/redfish/v1/Systems", json!({"Members": [{"@odata.id": elsewhere}]}));
    assert!(matches!(driver(&fake).power().await, Err(BmcError::Protocol { .. })));
    assert_eq!(thief.count(""), 0);
}

#[tokio::test]
async fn a_busy_bmc_is_asked_again_a_few_times() {
    let fake = FakeBmc::http().await;
    fake.fault(SYSTEM, Fault::AnswerTimes(2, 503, String::new()));
    assert_eq!(driver(&fake).power().await, Ok(PowerState::Off));
    fake.fault(SYSTEM, Fault::AnswerTimes(3, 503, r#"{"error": {"message": "rebooting"}}"#.to_owned()));
    let error = driver(&fake).power().await.unwrap_err();
    assert!(matches!(&error, BmcError::Refused { detail, .. } if detail.contains("busy")), "{error}");
}

#[tokio::test]
async fn what_the_bmc_says_reaches_the_user() {
    let fake = FakeBmc::http().await;
    fake.fault(RESET, answer(403, r#"{"error": {"message": "Operator only"}}"#));
    let error = driver(&fake).set_power(PowerTarget::On).await.unwrap_err().to_string();
    assert!(error.contains("may not do that: Operator only") && error.contains("role"), "{error}");
}

#[test]
fn a_configuration_shows_no_password() {
    let shown = format!("{:?}", Config::new("https://bmc", USER, PASSWORD));
    assert!(shown.contains(USER) && !shown.contains(PASSWORD), "{shown}");
}
