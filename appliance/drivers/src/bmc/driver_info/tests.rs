//! The table against Ironic's, and what it says of each value.

use super::*;
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeSet;

/// What Ironic's `GET /v1/drivers/ipmi/properties` lists with its default interfaces.
const UPSTREAM_IPMI: &[&str] = &[
    "ipmi_address",
    "ipmi_password",
    "ipmi_hex_kg_key",
    "ipmi_port",
    "ipmi_priv_level",
    "ipmi_username",
    "ipmi_bridging",
    "ipmi_transit_channel",
    "ipmi_transit_address",
    "ipmi_target_channel",
    "ipmi_target_address",
    "ipmi_local_address",
    "ipmi_protocol_version",
    "ipmi_force_boot_device",
    "ipmi_disable_boot_timeout",
    "ipmi_cipher_suite",
    "ipmi_terminal_port",
];
const UPSTREAM_REDFISH: &[&str] = &[
    "redfish_address",
    "redfish_system_id",
    "redfish_username",
    "redfish_password",
    "redfish_verify_ca",
    "redfish_auth_type",
    "redfish_tls_minimum_version",
    "redfish_tls_ciphers",
    "firmware_update_unresponsive_bmc_wait",
    "deploy_iso",
    "rescue_iso",
    "config_via_removable",
    "bootloader",
    "external_http_url",
    "vmedia_transport_protocol",
];
const UPSTREAM_BOTH: &[&str] = &[
    "deploy_kernel",
    "deploy_ramdisk",
    "rescue_kernel",
    "rescue_ramdisk",
    "kernel_append_params",
    "force_persistent_boot_device",
    "image_http_proxy",
    "image_https_proxy",
    "image_no_proxy",
    "image_download_source",
    "deploy_forces_oob_reboot",
    "agent_verify_ca",
];
/// What its code reads and does not list.
const UNLISTED: &[&str] = &[
    "pxe_template",
    "fast_track",
    "cleaning_runbook",
    "cleaning_network",
    "provisioning_network",
    "inspection_network",
    "rescuing_network",
    "servicing_network",
];

#[test]
fn each_member_that_ironic_knows_is_known() {
    for (driver, own) in [("ipmi", UPSTREAM_IPMI), ("redfish", UPSTREAM_REDFISH)] {
        let upstream: BTreeSet<_> = [own, UPSTREAM_BOTH, UNLISTED].concat().into_iter().collect();
        let known: Vec<_> = of(driver).map(|property| property.name).collect();
        assert_eq!(known.iter().copied().collect::<BTreeSet<_>>(), upstream, "{driver}");
        assert_eq!(known.len(), upstream.len(), "{driver}: each once");
    }
    assert_eq!(of("fake-hardware").count(), 0);
}

/// Values that ask for what is done, and values that ask for something else.
const VALUES: &[(&str, &[&str], &[&str])] = &[
    ("ipmi_force_boot_device", &["false", "no"], &["true", "1", "perhaps"]),
    ("ipmi_disable_boot_timeout", &["true"], &["false"]),
    ("redfish_system_id", &["/redfish/v1/Systems/1"], &[]),
    ("redfish_auth_type", &["auto", "basic"], &["session", "Session"]),
    ("redfish_tls_minimum_version", &["1.1", "1.2"], &["1.3", "1.0", "new"]),
    ("force_persistent_boot_device", &["Default", "default", "False"], &["Always", "Never", "True"]),
    ("config_via_removable", &["false"], &["true"]),
    ("deploy_forces_oob_reboot", &["true"], &["false"]),
    ("agent_verify_ca", &["true"], &["false", "/etc/ca.pem"]),
    ("image_download_source", &["local"], &["http", "swift"]),
    ("fast_track", &["false"], &["true"]),
];

#[test]
fn what_is_asked_for_in_vain_is_told_by_name_and_nothing_else_is() {
    let asked = |driver: &str, name: &str, value: Value| {
        let info = Map::from_iter([(name.to_owned(), value), ("rack_position".to_owned(), json!(7))]);
        unmet(driver, &info)
    };
    for driver in BOTH {
        for property in of(driver) {
            let (name, named) = (property.name, VALUES.iter().find(|row| row.0 == property.name));
            let (met, not): (&[&str], &[&str]) = match (&property.effect, named) {
                (Done, None) => (&["x"], &[]),
                (Never(_), None) => (&[], &["x", "true", "false"]),
                (Must(..), None) => (&[], &["x"]),
                (Only(..) | Must(..), Some(row)) => (row.1, row.2),
                (_, named) => panic!("{name}: {named:?} says something else than the table"),
            };
            for value in met {
                assert_eq!(asked(driver, name, json!(value)), [], "{name}={value}");
            }
            for value in not {
                let told = asked(driver, name, json!(value));
                assert!(matches!(told.as_slice(), [one] if one.reason.contains(name)), "{name}={value}: {told:?}");
                assert_eq!(told[0].fatal, matches!(property.effect, Must(..)), "{name}={value}");
                assert!(Interface::ALL.into_iter().any(|interface| told[0].concerns(interface)));
            }
            for nothing in [Value::Null, json!("")] {
                assert_eq!(asked(driver, name, nothing), [], "{name} without a value");
            }
        }
    }
    assert_eq!(asked("ipmi", "ipmi_force_boot_device", json!(true)).len(), 1);
    assert_eq!(asked("redfish", "redfish_system_id", json!(1)).len(), 1);
    assert_eq!(asked("redfish", "redfish_tls_minimum_version", json!(1.2)), []);
    assert_eq!(asked("ipmi", "redfish_tls_ciphers", json!("x")), [], "another driver's");
}

proptest! {
    #[test]
    fn any_value_of_any_member_is_read(at in 0..PROPERTIES.len(), text in "\\PC{0,9}", number in any::<f64>()) {
        for value in [json!(text), json!(number), json!([text]), json!({ "a": number })] {
            let info = Map::from_iter([(PROPERTIES[at].name.to_owned(), value)]);
            for driver in BOTH {
                let told = unmet(driver, &info);
                prop_assert!(told.len() <= 1);
            }
        }
    }
}
