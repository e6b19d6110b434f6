//! Changes of BIOS settings and of firmware against the fake BMC.

use super::fake::{FakeBmc, Fault, SYSTEM};
use super::tests::{answer, driver};
use super::*;
use serde_json::json;

const BIOS: &str = "/redfish/v1/Systems/1/Bios";
const PENDING: &str = "/redfish/v1/Systems/1/Bios/Settings";
const SIMPLE_UPDATE: &str = "/update/simple";
const TASK: &str = "/redfish/v1/TaskService/Tasks/7";

fn link(path: &str) -> Value {
    json!({"@odata.id": path})
}

fn wanted(pairs: Value) -> BTreeMap<String, Value> {
    pairs.as_object().cloned().unwrap_or_default().into_iter().collect()
}

fn words<T: std::fmt::Debug>(result: Result<T, BmcError>) -> String {
    result.unwrap_err().to_string()
}

/// A machine whose settings change at its next start, with a registry.
fn configurable(fake: &FakeBmc) {
    fake.edit(SYSTEM, json!({"Bios": link(BIOS)}));
    let attributes = json!({"NumLock": "On", "Cores": 8, "Quiet": true, "Serial": "1", "Admin": null, "Slot": "a"});
    let reset = json!({"#Bios.ResetBios": {"target": "/reset-bios"}});
    let settings = json!({"SettingsObject": link(PENDING)});
    fake.edit(
        BIOS,
        json!({"AttributeRegistry": "Reg.1.0", "Attributes": attributes, "Actions": reset, "@Redfish.Settings": settings}),
    );
    fake.edit(PENDING, json!({"Attributes": attributes}));
    fake.edit("/redfish/v1/", json!({"Registries": link("/registries")}));
    fake.edit("/registries", json!({"Members": [link("/registries/Reg.1.0")]}));
    fake.edit("/registries/Reg.1.0", json!({"Id": "Reg.1.0", "Location": [{"Uri": "/reg.json"}]}));
    let entries = json!([
        {"AttributeName": "NumLock", "Type": "Enumeration", "Value": [{"ValueName": "On"}, {"ValueName": "Off"}]},
        {"AttributeName": "Cores", "Type": "Integer", "LowerBound": 1, "UpperBound": 16},
        {"AttributeName": "Serial", "Type": "String", "ReadOnly": true},
        {"AttributeName": "Admin", "Type": "Password"}]);
    fake.edit("/reg.json", json!({"RegistryEntries": {"Attributes": entries}}));
}

#[tokio::test]
async fn settings_go_to_the_resource_for_the_next_start_in_their_kind() {
    let fake = FakeBmc::http().await;
    configurable(&fake);
    let bmc = driver(&fake);
    let change = json!({"NumLock": "Off", "Cores": "4", "Quiet": "False", "Slot": 7});
    bmc.set_bios_settings(wanted(change)).await.unwrap();
    let pending = fake.state().resources[PENDING].clone();
    let expected = json!({"NumLock": "Off", "Cores": 4, "Quiet": false, "Serial": "1", "Admin": null, "Slot": "7"});
    assert_eq!(pending["Attributes"], expected);
    assert!(pending.get("@Redfish.SettingsApplyTime").is_none(), "a BMC that does not ask is not told");
    assert_eq!(fake.state().resources[BIOS]["Attributes"]["NumLock"], "On", "until the machine starts");
    let times = json!({"SupportedApplyTimes": ["Immediate", "OnReset"]});
    fake.edit(BIOS, json!({"@Redfish.Settings": times}));
    bmc.set_bios_settings(wanted(json!({"Cores": 5}))).await.unwrap();
    let pending = fake.state().resources[PENDING].clone();
    assert_eq!(pending["@Redfish.SettingsApplyTime"]["ApplyTime"], "OnReset");
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_the_name_before_the_bmc_is_asked() {
    let fake = FakeBmc::http().await;
    configurable(&fake);
    let bmc = driver(&fake);
    for (name, value, why) in [
        ("Turbo", json!("On"), "there is no BIOS setting \"Turbo\""),
        ("NumLock", json!("Sometimes"), "it can be \"On\", \"Off\""),
        ("NumLock", json!(true), "it is \"On\" now"),
        ("Cores", json!("many"), "it is 8 now"),
        ("Cores", json!(17), "at most 16"),
        ("Cores", json!(0), "at least 1"),
        ("Quiet", json!("maybe"), "it is true now"),
        ("Serial", json!("2"), "can only be read"),
        ("Admin", json!("secret"), "is a password"),
    ] {
        let told = words(bmc.set_bios_settings(wanted(json!({"Cores": 4, name: value}))).await);
        assert!(told.contains(why) && told.contains(name), "{name}: {told}");
    }
    assert_eq!(fake.count("PATCH"), 0);
}

#[tokio::test]
async fn what_the_bmc_refuses_is_told_in_its_words() {
    let fake = FakeBmc::http().await;
    configurable(&fake);
    let body = r#"{"error": {"@Message.ExtendedInfo": [{"Message": "The value 4 for Cores is locked."}]}}"#;
    fake.fault(PENDING, Fault::Answer(400, Vec::new(), body.to_owned()));
    let told = words(driver(&fake).set_bios_settings(wanted(json!({"Cores": 4}))).await);
    assert!(told.contains("The value 4 for Cores is locked."), "{told}");
    let bmc = driver(&fake);
    assert_eq!(bmc.bios_outcome().await, Ok(None));
    let messages = json!([{"Message": "%1 was not applied.", "MessageArgs": ["Cores"]}]);
    fake.edit(BIOS, json!({"@Redfish.Settings": {"Messages": messages}}));
    assert_eq!(bmc.bios_outcome().await, Ok(Some("Cores was not applied.".to_owned())));
}

#[tokio::test]
async fn a_bmc_without_a_resource_for_the_next_start_takes_the_change_where_it_shows() {
    let fake = FakeBmc::http().await;
    configurable(&fake);
    fake.edit(BIOS, json!({"@Redfish.Settings": null, "AttributeRegistry": null}));
    driver(&fake).set_bios_settings(wanted(json!({"NumLock": "Maybe"}))).await.unwrap();
    assert_eq!(fake.state().resources[BIOS]["Attributes"]["NumLock"], "Maybe", "nobody says what it can be");
}

#[tokio::test]
async fn a_reset_is_an_action_that_must_be_offered() {
    let fake = FakeBmc::http().await;
    configurable(&fake);
    let bmc = driver(&fake);
    fake.fault("/reset-bios", answer(204, ""));
    bmc.reset_bios().await.unwrap();
    assert_eq!(fake.count("POST /reset-bios"), 1);
    fake.fault("/reset-bios", Fault::AnswerTimes(1, 400, String::new()));
    assert!(words(bmc.reset_bios().await).contains("cannot do that"), "the fake has no such action");
    assert_eq!(fake.count("POST /reset-bios"), 3, "asked again with the type of reset");
    fake.edit(BIOS, json!({"Actions": null}));
    assert!(words(bmc.reset_bios().await).contains("no way to reset"));
}

/// A BMC that fetches firmware.
fn updatable(fake: &FakeBmc) {
    fake.edit("/redfish/v1/", json!({"UpdateService": link("/update")}));
    let action = json!({"target": SIMPLE_UPDATE, "TransferProtocol@Redfish.AllowableValues": ["HTTP", "HTTPS"]});
    fake.edit("/update", json!({"Actions": {"#UpdateService.SimpleUpdate": action}}));
    let place = vec![("Location", format!("https://bmc.internal{TASK}"))];
    fake.fault(SIMPLE_UPDATE, Fault::Answer(202, place, String::new()));
}

async fn update(fake: &FakeBmc, component: &str, url: &str) -> Result<Option<String>, BmcError> {
    driver(fake).update_firmware(component.to_owned(), url.to_owned()).await
}

#[tokio::test]
async fn firmware_is_fetched_by_the_bmc_which_tells_where_it_tells_more() {
    let fake = FakeBmc::http().await;
    assert!(words(update(&fake, "bmc", "http://h/f").await).contains("no service for updates"));
    updatable(&fake);
    assert_eq!(update(&fake, "bmc", "http://h/f").await, Ok(Some(TASK.to_owned())));
    assert!(words(update(&fake, "bmc", "nfs://h/f").await).contains("by HTTP, HTTPS"));
    let body = json!({"@odata.type": "#Task.v1_4_3.Task", "@odata.id": "/tasks/9", "TaskState": "New"}).to_string();
    fake.fault(SIMPLE_UPDATE, Fault::Answer(202, Vec::new(), body));
    assert_eq!(update(&fake, "bios", "https://h/f").await, Ok(Some("/tasks/9".to_owned())));
    fake.fault(SIMPLE_UPDATE, answer(204, ""));
    assert_eq!(update(&fake, "bios", "https://h/f").await, Ok(None), "it keeps that to itself");
    let asking = r#"{"error": {"message": "Missing Targets."}}"#;
    let before = fake.count("POST /update");
    fake.fault(SIMPLE_UPDATE, Fault::AnswerTimes(2, 400, asking.to_owned()));
    assert!(words(update(&fake, "bios", "https://h/f").await).contains("Missing Targets."));
    assert_eq!(fake.count("POST /update") - before, 2, "asked again with what it is for");
    fake.edit("/update", json!({"Actions": null}));
    assert!(words(update(&fake, "bmc", "http://h/f").await).contains("SimpleUpdate"));
}

#[tokio::test]
async fn an_update_is_followed_to_its_end() {
    let fake = FakeBmc::http().await;
    let bmc = driver(&fake);
    let said = |words: &str| words.to_owned();
    for (body, state) in [
        (json!({"TaskState": "New"}), FirmwareTask::Waiting(said("New"))),
        (json!({"TaskState": "Running", "PercentComplete": 40}), FirmwareTask::Working(said("Running: 40 %"))),
        (json!({"TaskState": "Completed", "TaskStatus": "Warning"}), FirmwareTask::Done),
        (
            json!({"TaskState": "Exception", "Messages": [{"Message": "The signature is wrong."}]}),
            FirmwareTask::Failed(said("Exception: The signature is wrong.")),
        ),
        (json!({"TaskState": "Completed", "TaskStatus": "Critical"}), FirmwareTask::Failed(said("Completed"))),
    ] {
        fake.state().resources.insert(TASK.to_owned(), body.clone());
        assert_eq!(bmc.firmware_task(TASK.to_owned()).await, Ok(state), "{body}");
    }
    assert_eq!(bmc.firmware_task("/gone".to_owned()).await, Ok(FirmwareTask::Forgotten));
    fake.fault(TASK, answer(202, ""));
    assert_eq!(bmc.firmware_task(TASK.to_owned()).await, Ok(FirmwareTask::Working(said("accepted"))));
    fake.fault(TASK, answer(204, ""));
    assert_eq!(bmc.firmware_task(TASK.to_owned()).await, Ok(FirmwareTask::Done), "a monitor at its end");
    fake.fault(TASK, answer(500, ""));
    assert!(bmc.firmware_task(TASK.to_owned()).await.is_err());
}
