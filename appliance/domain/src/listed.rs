//! What a user's list of steps comes to: the parts of it that the agent carries out, and what the BMC is to do.
//!
//! Ironic's names and arguments (`bios.apply_configuration`, `bios.factory_reset`, `firmware.update`). Each piece of work
//! of a BMC has a place of its own among a job's steps, so that a restart finds how far it has come. The machine is
//! started from the network after each: firmware takes changes over at a start, and an agent that calls shows that the
//! machine still comes up.

use crate::driver::Interface;
use crate::job::{Job, JobKind, StepName};
use crate::node::Node;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::ops::Range;

/// What a BMC can be asked to do by a step, beside power and boot device.
#[derive(Clone, Debug, PartialEq)]
pub enum BmcWork {
    /// These settings of the BIOS are to have these values: texts, numbers or truth values.
    ApplyBios(BTreeMap<String, Value>),
    /// All of them are to be as they left the factory.
    ResetBios,
    UpdateFirmware(FirmwareUpdate),
}

/// One part's new firmware.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirmwareUpdate {
    /// `bios`, `bmc` or `nic:ID`.
    pub component: String,
    /// Where the BMC fetches it. The box does not.
    pub url: String,
    /// Seconds for which the BMC is left alone afterwards.
    pub wait: u32,
}

/// The longest `wait` of a firmware update, in seconds.
const LONGEST_WAIT: u64 = 1800;
/// How a BMC can be told to fetch a file (`TransferProtocol` of Redfish), as far as Ironic's users write URLs for it.
const SCHEMES: [&str; 6] = ["http", "https", "ftp", "sftp", "nfs", "tftp"];
/// The steps of BMCs, for messages.
pub const BMC_STEPS: &str = "bios.apply_configuration, bios.factory_reset, firmware.update";

/// What the step asks of a BMC, in order; `None`: it is no such step. An error says what is wrong with its arguments.
pub fn bmc_work(step: &Value) -> Option<Result<Vec<BmcWork>, String>> {
    let text = |name: &str| step.get(name).and_then(Value::as_str);
    let args = step.get("args").and_then(Value::as_object);
    match (text("interface")?, text("step")?) {
        ("bios", "apply_configuration") => {
            Some(settings(args).and_then(wanted_settings).map(|wanted| vec![BmcWork::ApplyBios(wanted)]))
        }
        ("bios", "factory_reset") => Some(match args.is_none_or(Map::is_empty) {
            true => Ok(vec![BmcWork::ResetBios]),
            false => Err("it takes no arguments".to_owned()),
        }),
        ("firmware", "update") => Some(
            settings(args).and_then(|list| list.iter().map(|one| update(one).map(BmcWork::UpdateFirmware)).collect()),
        ),
        _ => None,
    }
}

/// [`bmc_work`], where the node has the interface for it.
pub fn bmc_work_on(step: &Value, node: &Node) -> Option<Result<Vec<BmcWork>, String>> {
    let work = bmc_work(step)?;
    let interface = match step.get("interface").and_then(Value::as_str) {
        Some("bios") => Interface::Bios,
        _ => Interface::Firmware,
    };
    let has = node.settings.interface(interface);
    if has != "redfish" {
        return Some(Err(format!("its {} is {has}, and only redfish has this step", interface.member())));
    }
    Some(work)
}

/// The only argument that these steps take.
fn settings(args: Option<&Map<String, Value>>) -> Result<&[Value], String> {
    let wrong = || "it takes one argument, settings, a list that is not empty".to_owned();
    let args = args.filter(|args| args.len() == 1).ok_or_else(wrong)?;
    let list = args.get("settings").and_then(Value::as_array).filter(|list| !list.is_empty());
    list.map(Vec::as_slice).ok_or_else(wrong)
}

fn wanted_settings(list: &[Value]) -> Result<BTreeMap<String, Value>, String> {
    let mut wanted = BTreeMap::new();
    for one in list {
        let members = one.as_object().filter(|members| members.len() == 2);
        let name = members.and_then(|members| members.get("name")?.as_str()).filter(|name| !name.is_empty());
        let value = members.and_then(|members| members.get("value"));
        let value = value.filter(|value| value.is_string() || value.is_number() || value.is_boolean());
        let (Some(name), Some(value)) = (name, value) else {
            return Err(
                "each of its settings is {\"name\": …, \"value\": …} with a text, a number or a truth value".into()
            );
        };
        if wanted.insert(name.to_owned(), value.clone()).is_some() {
            return Err(format!("the setting {name} is named twice"));
        }
    }
    Ok(wanted)
}

fn update(one: &Value) -> Result<FirmwareUpdate, String> {
    let form =
        || "each of its settings is {\"component\": …, \"url\": …}, and may have a \"wait\" in seconds".to_owned();
    let members = one.as_object().ok_or_else(form)?;
    if members.keys().any(|name| !["component", "url", "wait"].contains(&name.as_str())) {
        return Err(form());
    }
    let text = |name: &str| members.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).ok_or_else(form);
    let (component, url) = (text("component")?, text("url")?);
    let nic = component.strip_prefix("nic:").is_some_and(|id| !id.is_empty());
    if !nic && component != "bios" && component != "bmc" {
        return Err(format!(
            "'{component}' is no component: use bios, bmc or nic:ID, as the list of its firmware has them"
        ));
    }
    check_url(url)?;
    let wait = match members.get("wait") {
        None | Some(Value::Null) => 0,
        Some(Value::Number(number)) => number.as_u64().filter(|wait| *wait <= LONGEST_WAIT).ok_or_else(form)?,
        Some(Value::String(text)) => text.parse().ok().filter(|wait| *wait <= LONGEST_WAIT).ok_or_else(form)?,
        Some(_) => return Err(form()),
    };
    let wait = u32::try_from(wait).map_err(|_| form())?;
    Ok(FirmwareUpdate { component: component.to_owned(), url: url.to_owned(), wait })
}

/// It goes to the BMC as it is; a job's record is no place for passwords.
fn check_url(url: &str) -> Result<(), String> {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if !SCHEMES.contains(&scheme.to_ascii_lowercase().as_str()) || host.is_empty() || url.contains(char::is_whitespace)
    {
        return Err(format!("the BMC fetches the firmware itself: its url begins with {}://", SCHEMES.join("://, ")));
    }
    match host.contains('@') {
        true => Err("its url must not carry a password: it is kept in the record of the job".to_owned()),
        false => Ok(()),
    }
}

/// A part of a list: steps of the agent that follow each other, by their places, or one piece of work of the BMC.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    Agent(Range<usize>),
    Bmc(BmcWork),
}

impl Part {
    /// The job's steps that carry the part out (`agent`: what stands for the agent's) are found by these names.
    fn is_of(&self, name: StepName) -> bool {
        match self {
            Part::Agent(_) => matches!(name, StepName::Wipe | StepName::RunService),
            Part::Bmc(BmcWork::ApplyBios(_) | BmcWork::ResetBios) => {
                matches!(name, StepName::SetBios | StepName::CheckBios)
            }
            Part::Bmc(BmcWork::UpdateFirmware(_)) => {
                matches!(name, StepName::UpdateFirmware | StepName::CheckFirmware)
            }
        }
    }
}

/// The parts of a list. What is wrong with a step's arguments was told before the job began.
pub fn parts(list: &[Value]) -> Vec<Part> {
    let mut parts = Vec::new();
    for (at, step) in list.iter().enumerate() {
        match bmc_work(step) {
            Some(work) => parts.extend(work.unwrap_or_default().into_iter().map(Part::Bmc)),
            None => match parts.last_mut() {
                Some(Part::Agent(range)) => range.end = at + 1,
                _ => parts.push(Part::Agent(at..at + 1)),
            },
        }
    }
    parts
}

/// The steps that carry a list out, ending with the agent at work; `None`: the BMC has no work in it. `agent`: the step
/// that stands for those of the agent.
fn carried_out(list: &[Value], agent: StepName) -> Option<Vec<StepName>> {
    use StepName::*;
    const START: [StepName; 3] = [BootFromNetwork, PowerCycle, AwaitAgent];
    let parts = parts(list);
    if !parts.iter().any(|part| matches!(part, Part::Bmc(_))) {
        return None;
    }
    let mut steps = Vec::new();
    for part in parts {
        let (before, after) = match part {
            Part::Agent(_) => {
                if steps.is_empty() {
                    steps.extend(START);
                }
                steps.push(agent);
                continue;
            }
            Part::Bmc(BmcWork::UpdateFirmware(_)) => (UpdateFirmware, CheckFirmware),
            Part::Bmc(_) => (SetBios, CheckBios),
        };
        steps.push(before);
        steps.extend(START);
        steps.push(after);
    }
    Some(steps)
}

/// The steps of a job whose list has work for the BMC; `None`: the job goes as any other of its kind.
pub fn plan_of_list(kind: JobKind, list: &[Value]) -> Option<Vec<StepName>> {
    use StepName::*;
    Some(match kind {
        JobKind::Clean => [&carried_out(list, Wipe)?[..], &[PowerOff]].concat(),
        JobKind::Service => [&carried_out(list, RunService)?[..], &[PowerOff, BootFromDisk, PowerOn]].concat(),
        JobKind::Deploy => {
            let end = [WriteImage, InstallBootloader, PowerOff, BootFromDisk, PowerOn];
            [&[PrepareImage][..], &carried_out(list, Wipe)?, &end].concat()
        }
        _ => return None,
    })
}

impl Job {
    /// The steps that its user, or a template for him, has named.
    pub fn listed(&self) -> &[Value] {
        match self.kind {
            JobKind::Clean => &self.input.clean_steps,
            JobKind::Deploy => &self.input.deploy_steps,
            JobKind::Service => &self.input.service_steps,
            _ => &[],
        }
    }

    /// The part of its list that the job's present step carries out.
    pub fn part(&self) -> Option<Part> {
        let current = self.current()?.name;
        let before = self.steps.iter().take_while(|step| step.state == crate::job::StepState::Done);
        let nth = before.filter(|step| step.name == current).count();
        parts(self.listed()).into_iter().filter(|part| part.is_of(current)).nth(nth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn bios(settings: Value) -> Value {
        json!({"interface": "bios", "step": "apply_configuration", "args": {"settings": settings}})
    }

    fn firmware(settings: Value) -> Value {
        json!({"interface": "firmware", "step": "update", "args": {"settings": settings}})
    }

    fn wipe(name: &str) -> Value {
        json!({"interface": "deploy", "step": name})
    }

    #[test]
    fn settings_have_their_form() {
        let work = bmc_work(&bios(json!([{"name": "A", "value": "On"}, {"name": "B", "value": 7}])));
        let wanted = BTreeMap::from([("A".to_owned(), json!("On")), ("B".to_owned(), json!(7))]);
        assert_eq!(work, Some(Ok(vec![BmcWork::ApplyBios(wanted)])));
        for bad in [
            json!([]),
            json!({"A": "On"}),
            json!([{"name": "A"}]),
            json!([{"name": "A", "value": null}]),
            json!([{"name": "", "value": 1}]),
            json!([{"name": "A", "value": 1, "more": 1}]),
            json!([{"name": "A", "value": 1}, {"name": "A", "value": 2}]),
        ] {
            assert!(bmc_work(&bios(bad.clone())).is_some_and(|work| work.is_err()), "{bad}");
        }
        let reset = json!({"interface": "bios", "step": "factory_reset", "args": {}});
        assert_eq!(bmc_work(&reset), Some(Ok(vec![BmcWork::ResetBios])));
        let reset = json!({"interface": "bios", "step": "factory_reset", "args": {"settings": []}});
        assert!(bmc_work(&reset).is_some_and(|work| work.is_err()));
        assert_eq!(bmc_work(&wipe("erase_devices")), None);
        assert_eq!(bmc_work(&json!({"interface": "bios", "step": "other"})), None);
    }

    #[test]
    fn firmware_says_what_and_where_from() {
        let work = bmc_work(&firmware(json!([{"component": "nic:1", "url": "https://h/f.bin", "wait": "30"}])));
        let update = FirmwareUpdate { component: "nic:1".into(), url: "https://h/f.bin".into(), wait: 30 };
        assert_eq!(work, Some(Ok(vec![BmcWork::UpdateFirmware(update)])));
        for (component, url) in [
            ("disk", "http://h/f"),
            ("nic:", "http://h/f"),
            ("bmc", "file:///etc/passwd"),
            ("bmc", "http://"),
            ("bmc", "http://u:p@h/f"),
            ("bmc", "http://h/a b"),
            ("bmc", "h/f"),
        ] {
            let work = bmc_work(&firmware(json!([{"component": component, "url": url}])));
            assert!(work.is_some_and(|work| work.is_err()), "{component} {url}");
        }
        for wait in [json!(-1), json!(1801), json!([])] {
            let work = bmc_work(&firmware(json!([{"component": "bmc", "url": "http://h/f", "wait": wait}])));
            assert!(work.is_some_and(|work| work.is_err()));
        }
    }

    #[test]
    fn a_list_is_carried_out_in_its_order_with_a_start_after_each_change() {
        use StepName::*;
        let two =
            firmware(json!([{"component": "bmc", "url": "http://h/1"}, {"component": "bios", "url": "http://h/2"}]));
        let list = [
            wipe("erase_devices_metadata"),
            wipe("erase_devices"),
            bios(json!([{"name": "A", "value": 1}])),
            wipe("erase_devices_metadata"),
            two,
        ];
        let start = [BootFromNetwork, PowerCycle, AwaitAgent];
        let expected = [
            &start[..],
            &[Wipe, SetBios],
            &start,
            &[CheckBios, Wipe, UpdateFirmware],
            &start,
            &[CheckFirmware, UpdateFirmware],
            &start,
            &[CheckFirmware, PowerOff],
        ]
        .concat();
        assert_eq!(plan_of_list(JobKind::Clean, &list), Some(expected));
        let ranges: Vec<_> = parts(&list).into_iter().filter(|part| matches!(part, Part::Agent(_))).collect();
        assert_eq!(ranges, [Part::Agent(0..2), Part::Agent(3..4)]);
        let deploy = plan_of_list(JobKind::Deploy, &list[2..3]).expect("the BMC has work");
        assert_eq!(deploy[..2], [PrepareImage, SetBios]);
        assert_eq!(deploy[5..7], [CheckBios, WriteImage]);
        let service = plan_of_list(JobKind::Service, &list[2..3]).expect("the BMC has work");
        assert_eq!(service[service.len() - 3..], [PowerOff, BootFromDisk, PowerOn]);
        assert_eq!(plan_of_list(JobKind::Clean, &list[..2]), None, "an agent's list goes as it always did");
        assert_eq!(plan_of_list(JobKind::Undeploy, &list), None);
    }
}
