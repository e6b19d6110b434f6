//! Each call of the API that concerns a BMC, on each driver: what arrives at the BMC, or the refusal, and that `validate`
//! says the same.

mod driver_info;
mod peers;
mod steps;

use super::{Rig, VERSION, fault};
use axum::http::StatusCode;
use peers::Peer;
use serde_json::{Value, json};

/// What must come of a call on one driver.
enum Comes {
    /// This arrives at the BMC.
    Arrives(&'static str),
    /// It is refused with these words, which `validate` has at this interface, too.
    Refused(&'static str, &'static str),
    /// It is refused by name: the node has other methods.
    NoSuchMethod,
    /// There is no BMC: the record keeps it.
    Kept,
}

use Comes::{Arrives, Kept, NoSuchMethod, Refused};

/// The call, and what comes of it with ipmi, redfish and fake-hardware. Order matters: secure boot needs UEFI.
fn table() -> Vec<(&'static str, &'static str, Value, [Comes; 3])> {
    let lacks = |what| Refused("management", what);
    vec![
        (
            "PUT",
            "/management/boot_device",
            json!({"boot_device": "pxe", "persistent": false}),
            [Arrives("boot Pxe"), Arrives(r#""BootSourceOverrideTarget":"Pxe""#), Kept],
        ),
        (
            "PUT",
            "/management/inject_nmi",
            Value::Null,
            [Arrives("DiagnosticInterrupt"), Arrives(r#"POST /reset {"ResetType":"Nmi"}"#), lacks("an NMI")],
        ),
        (
            "PUT",
            "/management/indicators/LIGHT",
            json!({"state": "BLINKING"}),
            [lacks("indicators"), Arrives(r#"PATCH /system {"IndicatorLED":"Blinking"}"#), Kept],
        ),
        (
            "PUT",
            "/states/boot_mode",
            json!({"target": "uefi"}),
            [lacks("the change of the boot mode"), Arrives(r#""BootSourceOverrideMode":"UEFI""#), Kept],
        ),
        (
            "PUT",
            "/states/secure_boot",
            json!({"target": true}),
            [lacks("the change of secure boot"), Arrives(r#"PATCH /secure {"SecureBootEnable":true}"#), Kept],
        ),
        (
            "POST",
            "/vmedia",
            json!({"device_type": "cdrom", "image_url": "http://127.0.0.1/x.iso"}),
            [lacks("virtual media"), lacks("virtual media"), lacks("virtual media")],
        ),
        (
            "POST",
            "/vendor_passthru?method=send_raw",
            json!({"raw_bytes": "0x00 0x02 0x03"}),
            [Arrives("Reset"), NoSuchMethod, NoSuchMethod],
        ),
        (
            "POST",
            "/vendor_passthru/bmc_reset",
            json!({"warm": false}),
            [Arrives("resets (1, 0)"), NoSuchMethod, NoSuchMethod],
        ),
        (
            "POST",
            "/vendor_passthru/eject_vmedia",
            json!({"boot_device": "cd"}),
            [NoSuchMethod, Arrives("POST /media/cd/eject"), NoSuchMethod],
        ),
        (
            "PUT",
            "/states/raid",
            json!({"logical_disks": [{"size_gb": 100, "raid_level": "1"}]}),
            [Refused("raid", "raid"), Refused("raid", "raid"), Kept],
        ),
    ]
}

async fn node(rig: &Rig, driver: &str, info: &Value) {
    let body = json!({"name": driver, "driver": driver, "driver_info": info});
    let (status, made) = rig.call("POST", "/nodes", body).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
}

#[tokio::test]
async fn nothing_is_accepted_and_dropped() {
    let rig = Rig::new().await;
    let (ipmi, redfish) = (peers::ipmi().await, peers::redfish().await);
    let drivers = [("ipmi", Some(&ipmi)), ("redfish", Some(&redfish)), ("fake-hardware", None)];
    let mut verdicts = Vec::new();
    for (driver, peer) in &drivers {
        node(&rig, driver, &peer.map_or(json!({}), |peer: &Peer| peer.info.clone())).await;
        verdicts.push(rig.call("GET", &format!("/nodes/{driver}/validate"), Value::Null).await.1);
    }
    for (method, path, body, comes) in table() {
        for (((driver, peer), verdict), comes) in drivers.iter().zip(&verdicts).zip(comes) {
            let light = if *driver == "fake-hardware" { "led@system" } else { "u-1@system" };
            let url = format!("/nodes/{driver}{}", path.replace("LIGHT", light));
            let before = peer.map(Peer::told).unwrap_or_default();
            let (status, answer) = rig.call(method, &url, body.clone()).await;
            let after = peer.map(Peer::told).unwrap_or_default();
            match comes {
                Arrives(what) => {
                    assert!(status.is_success(), "{method} {url}: {status} {answer}");
                    assert!(after.contains(what) && before != after, "{method} {url} has brought about: {after}");
                }
                Refused(interface, what) => {
                    assert!(matches!(status.as_u16(), 400 | 404), "{method} {url}: {status}");
                    let words = fault(&answer).to_lowercase();
                    assert!(words.contains("does not support") && words.contains(&what.to_lowercase()), "{words}");
                    let said = verdict[interface]["reason"].as_str().unwrap_or_default();
                    assert!(said.contains(what), "validate says of {interface} of {driver}: {said}");
                    assert_eq!(before, after, "{method} {url} is refused and does something");
                }
                NoSuchMethod => {
                    assert_eq!(status.as_u16(), 400, "{method} {url}: {answer}");
                    assert!(fault(&answer).starts_with("No handler for method"), "{answer}");
                    assert_eq!(before, after, "{method} {url} is refused and does something");
                }
                Kept => assert!(status.is_success(), "{method} {url}: {status} {answer}"),
            }
        }
    }
    let states = rig.call("GET", "/nodes/redfish/states", Value::Null).await.1;
    assert_eq!((&states["boot_mode"], &states["secure_boot"]), (&json!("uefi"), &json!(true)));
    let page = rig.api.engine.store.audit_page(None, 100, Default::default()).await.expect("an audit");
    let noted: Vec<_> = page.rows.iter().filter_map(|row| row.entry()).map(|entry| entry.what).collect();
    for call in ["boot-device pxe once", "inject-nmi", "indicator u-1@system BLINKING", "send_raw", "bmc_reset cold"] {
        assert!(noted.contains(&format!("set-machine {call}")), "{call} is not among {noted:?}");
    }
}

#[tokio::test]
async fn what_a_bmc_tells_is_shown_as_ironic_shows_it() {
    let rig = Rig::new().await;
    let (ipmi, redfish) = (peers::ipmi().await, peers::redfish().await);
    node(&rig, "ipmi", &ipmi.info).await;
    node(&rig, "redfish", &redfish.info).await;
    let get = async |path: &str| rig.call("GET", &format!("/nodes/{path}"), Value::Null).await;

    let (_, list) = get("redfish/bios").await;
    let rows = list["bios"].as_array().expect("a list");
    let pairs: Vec<_> = rows.iter().map(|row| (row["name"].as_str(), row["value"].as_str())).collect();
    assert_eq!(pairs, [(Some("Cores"), Some("8")), (Some("NumLock"), Some("On"))]);
    assert!(rows.iter().all(|row| row.get("read_only").is_none() && row["links"].is_array()), "{list}");
    let (_, detailed) = get("redfish/bios?detail=True").await;
    assert!(detailed["bios"][0].get("read_only").is_some(), "{detailed}");
    let (_, chosen) = get("redfish/bios?fields=value").await;
    assert!(chosen["bios"][0].get("name").is_none() && chosen["bios"][0]["value"] == "8", "{chosen}");
    assert_eq!(get("redfish/bios?fields=colour").await.0, StatusCode::BAD_REQUEST);
    let (_, one) = get("redfish/bios/NumLock").await;
    assert_eq!((&one["NumLock"]["value"], one["NumLock"].get("unique")), (&json!("On"), Some(&Value::Null)));
    let old = rig.raw("GET", "/baremetal/v1/nodes/redfish/bios/NumLock", "", &[(VERSION, "1.73")]).await.1;
    assert!(old["NumLock"].get("unique").is_none(), "{old}");
    assert_eq!(get("redfish/bios/Nothing").await.0, StatusCode::NOT_FOUND);

    let (_, list) = get("redfish/firmware").await;
    let rows = list["firmware"].as_array().expect("a list");
    let pairs: Vec<_> = rows.iter().map(|row| (row["component"].as_str(), row["current_version"].as_str())).collect();
    assert_eq!(pairs, [(Some("bios"), Some("2.1")), (Some("bmc"), Some("7.7"))]);
    assert_eq!(rows[1]["model"], "iBMC");
    let old = rig.raw("GET", "/baremetal/v1/nodes/redfish/firmware", "", &[(VERSION, "1.113")]).await.1;
    assert!(old["firmware"][1].get("model").is_none() && old["firmware"][1].get("created_at").is_some(), "{old}");

    let (_, lights) = get("redfish/management/indicators").await;
    let light = &lights["indicators"][0];
    assert_eq!((&light["name"], &light["component"]), (&json!("u-1@system"), &json!("system")));
    assert_eq!(get("redfish/management/indicators/u-1@system").await.1, json!({"state": "OFF"}));
    assert_eq!(get("redfish/management/indicators/u-2@system").await.0, StatusCode::BAD_REQUEST);
    let methods =
        |answer: Value| -> Vec<String> { answer.as_object().into_iter().flatten().map(|(n, _)| n.clone()).collect() };
    assert_eq!(methods(get("redfish/vendor_passthru/methods").await.1), ["eject_vmedia"]);
    assert_eq!(methods(get("ipmi/vendor_passthru/methods").await.1), ["bmc_reset", "send_raw"]);
    let put = rig.call("PUT", "/nodes/ipmi/vendor_passthru?method=bmc_reset", json!({})).await;
    assert!(put.0 == StatusCode::BAD_REQUEST && fault(&put.1).contains("HTTP PUT"), "{}", put.1);

    // What the driver does not read is an empty list, as in Ironic, and `validate` says why.
    assert_eq!(get("ipmi/bios").await.1, json!({"bios": []}));
    assert_eq!(get("ipmi/firmware").await.1, json!({"firmware": []}));
    let (_, verdict) = get("ipmi/validate").await;
    assert_eq!((&verdict["bios"]["result"], &verdict["firmware"]["result"]), (&Value::Null, &Value::Null));
    assert_eq!(verdict["vendor"]["result"], true);
    let (_, verdict) = get("redfish/validate").await;
    for interface in ["bios", "firmware", "vendor", "management"] {
        assert_eq!(verdict[interface]["result"], true, "{interface}");
    }
}

#[tokio::test]
async fn settings_that_would_be_dropped_are_told() {
    let rig = Rig::new().await;
    let base = json!({"ipmi_address": "127.0.0.1", "ipmi_username": "u", "ipmi_password": "p"});
    for (n, (key, value, fine)) in [
        ("ipmi_bridging", "single", false),
        ("ipmi_bridging", "no", true),
        ("ipmi_protocol_version", "1.5", false),
        ("ipmi_priv_level", "USER", false),
        ("ipmi_priv_level", "operator", true),
        ("ipmi_hex_kg_key", "zz", false),
        ("ipmi_hex_kg_key", "0102", true),
    ]
    .into_iter()
    .enumerate()
    {
        let mut info = base.clone();
        info[key] = value.into();
        let body = json!({"name": format!("n{n}"), "driver": "ipmi", "driver_info": info});
        let (status, made) = rig.call("POST", "/nodes", body).await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
        let (_, verdict) = rig.call("GET", &format!("/nodes/n{n}/validate"), Value::Null).await;
        let power = &verdict["power"];
        assert_eq!(power["result"], fine, "{key}={value}: {power}");
        let reason = power["reason"].as_str().unwrap_or_default();
        assert!(fine || reason.contains(key), "{key}={value}: {reason}");
    }
    let (_, shown) = rig.call("GET", "/nodes/n6", Value::Null).await;
    assert_eq!(shown["driver_info"]["ipmi_hex_kg_key"], "******");
}
