//! Each member of `driver_info` that a driver lists is read, or named by `validate`; what nobody knows is kept.

use super::{Rig, VERSION};
use axum::http::StatusCode;
use leasehold_domain::driver::Interface;
use leasehold_drivers::bmc::driver_info::{self, Unmet};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// What a node needs to have a way to its BMC.
fn base(driver: &str) -> Map<String, Value> {
    let members = ["address", "username", "password"].map(|part| (format!("{driver}_{part}"), json!("127.0.0.1")));
    members.into_iter().collect()
}

/// Makes a node, asks for its verdict and takes it away. `None`: it was refused, in words that name the member.
async fn verdict(rig: &Rig, driver: &str, name: &str, value: Value) -> Option<Value> {
    let mut info = base(driver);
    info.insert(name.to_owned(), value.clone());
    let body = json!({"name": "asked", "driver": driver, "driver_info": info});
    let (status, made) = rig.call("POST", "/nodes", body).await;
    if status == StatusCode::BAD_REQUEST {
        assert!(made.to_string().contains(name), "{name}={value}: {made}");
        return None;
    }
    assert_eq!(status, StatusCode::CREATED, "{name}={value}: {made}");
    let (_, verdict) = rig.call("GET", "/nodes/asked/validate", Value::Null).await;
    assert_eq!(rig.call("DELETE", "/nodes/asked", Value::Null).await.0, StatusCode::NO_CONTENT);
    Some(verdict)
}

/// The interfaces whose verdict names the member.
fn naming<'a>(verdict: &'a Value, name: &str) -> Vec<(&'a str, &'a Value)> {
    let rows = verdict.as_object().expect("an object").iter();
    let named = rows.filter(|(_, row)| row["reason"].as_str().is_some_and(|reason| reason.contains(name)));
    named.map(|(interface, row)| (interface.as_str(), &row["result"])).collect()
}

fn unmet(driver: &str, name: &str, value: &Value) -> Option<Unmet> {
    driver_info::unmet(driver, &Map::from_iter([(name.to_owned(), value.clone())])).pop()
}

#[tokio::test]
async fn each_member_is_read_or_named() {
    let rig = Rig::new().await;
    for driver in ["ipmi", "redfish"] {
        for property in driver_info::of(driver) {
            let name = property.name;
            // An object is no value of any of them: who reads it says so, and who does not reads nothing.
            let nonsense = json!({"of": "no use"});
            if let Some(verdict) = verdict(&rig, driver, name, nonsense.clone()).await {
                let named = naming(&verdict, name);
                assert!(!named.is_empty(), "{name} is taken and dropped: {verdict}");
                let told = unmet(driver, name, &nonsense);
                let is_true = |named: &(&str, &Value)| *named.1 == true;
                let works = told.is_some_and(|told| !told.fatal);
                assert!(works || !named.iter().any(is_true), "{name} is unusable: {named:?}");
            }
            let vain = [json!("true"), json!("false"), json!("no"), json!("x")];
            let vain = vain.into_iter().find_map(|value| Some((unmet(driver, name, &value)?, value)));
            if let Some((told, value)) = vain {
                let verdict = verdict(&rig, driver, name, value.clone()).await.expect("no secret");
                let concerned: BTreeSet<_> =
                    Interface::ALL.into_iter().filter(|each| told.concerns(*each)).map(Interface::name).collect();
                let named: BTreeSet<_> = naming(&verdict, name).into_iter().map(|(interface, _)| interface).collect();
                assert!(named.is_superset(&concerned), "{name}={value}: {verdict}");
                assert!(
                    concerned.iter().all(|interface| !told.fatal || verdict[*interface]["result"] != true),
                    "{verdict}"
                );
            }
        }
    }
}

#[tokio::test]
async fn what_is_done_otherwise_hinders_nothing() {
    let rig = Rig::new().await;
    let verdict = verdict(&rig, "redfish", "deploy_kernel", json!("http://10.0.0.1/kernel")).await.expect("a node");
    assert_eq!((&verdict["power"]["result"], verdict["power"].get("reason")), (&json!(true), None));
    // There is no port yet, which is said first.
    let boot = verdict["boot"]["reason"].as_str().expect("a reason");
    assert!(boot.contains("pxe_enabled") && boot.ends_with("boot this appliance's own kernel and ramdisk."), "{boot}");
}

#[tokio::test]
async fn what_nobody_knows_is_kept_and_not_spoken_of() {
    let rig = Rig::new().await;
    for driver in ["ipmi", "redfish", "fake-hardware"] {
        let mut info = base(driver);
        info.insert("rack_position".into(), json!({"unit": 7}));
        info.insert("ipmi_colour".into(), json!("red"));
        let body = json!({"name": driver, "driver": driver, "driver_info": info});
        assert_eq!(rig.call("POST", "/nodes", body).await.0, StatusCode::CREATED);
        let (_, shown) = rig.call("GET", &format!("/nodes/{driver}"), Value::Null).await;
        assert_eq!(shown["driver_info"]["rack_position"], json!({"unit": 7}));
        assert_eq!(shown["driver_info"]["ipmi_colour"], "red");
        let (_, verdict) = rig.call("GET", &format!("/nodes/{driver}/validate"), Value::Null).await;
        assert_eq!((naming(&verdict, "rack_position"), naming(&verdict, "ipmi_colour")), (vec![], vec![]), "{verdict}");
    }
}

#[tokio::test]
async fn the_properties_of_a_driver_are_what_it_knows() {
    let rig = Rig::new().await;
    for driver in ["ipmi", "redfish"] {
        let path = format!("/baremetal/v1/drivers/{driver}/properties");
        let (status, listed) = rig.raw("GET", &path, "", &[(VERSION, "1.115")]).await;
        assert_eq!(status, StatusCode::OK);
        let listed: BTreeSet<_> = listed.as_object().expect("an object").keys().cloned().collect();
        assert_eq!(listed, driver_info::of(driver).map(|property| property.name.to_owned()).collect(), "{driver}");
    }
}
