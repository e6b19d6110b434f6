//! Lists of steps that a user names: what a step looks like, and which a driver has.

use super::asked::Asked;
use super::states::unsupported;
use crate::Api;
use crate::error::ApiError;
use leasehold_domain::driver::{self, Interface};
use leasehold_domain::hardware::{INTERFACES, ServiceStep};
use leasehold_domain::job::JobInput;
use leasehold_domain::listed::{BMC_STEPS, bmc_work_on};
use leasehold_domain::node::Node;
use leasehold_domain::provision::Verb;
use serde_json::{Map, Value};

/// What the steps are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    Clean,
    Deploy,
    Service,
}

impl List {
    fn name(self) -> &'static str {
        match self {
            List::Clean => "clean_steps",
            List::Deploy => "deploy_steps",
            List::Service => "service_steps",
        }
    }
}

/// The clean steps that the agent knows, all of `deploy`.
const AGENT: [&str; 2] = ["erase_devices", "erase_devices_metadata"];

/// Reads a list of steps; each must be one that the node's driver has.
pub(super) fn read(list: List, value: &Value, node: &Node) -> Result<Vec<Value>, ApiError> {
    let bad = |why: String| ApiError::bad_request(format!("Invalid {}: {why}", list.name()));
    let steps = value.as_array().ok_or_else(|| bad("it must be a list.".into()))?;
    for step in steps {
        let members = step.as_object().ok_or_else(|| bad(format!("{step} is no object.")))?;
        check_form(list, members).map_err(|why| bad(format!("{why} ({step})")))?;
        check_known(list, members, node)?;
    }
    Ok(steps.clone())
}

fn check_form(list: List, step: &Map<String, Value>) -> Result<(), String> {
    let text = |name: &str| step.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let interface = text("interface").ok_or("a step needs its interface.")?;
    if !INTERFACES.contains(&interface) {
        return Err(format!("'{interface}' is not one of {}.", INTERFACES.join(", ")));
    }
    text("step").ok_or("a step needs its name (step).")?;
    let number = |name: &str| match step.get(name) {
        Some(Value::Number(number)) => number.as_u64().is_some(),
        Some(Value::String(text)) => !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()),
        Some(_) => false,
        None => list != List::Deploy || name != "priority",
    };
    for (name, value) in step {
        let fits = match name.as_str() {
            "interface" | "step" => true,
            "args" => value.is_object(),
            "priority" => list == List::Deploy && number("priority"),
            "order" => list != List::Deploy && number("order"),
            "execute_on_child_nodes" => list != List::Deploy && value.as_bool() == Some(false),
            "limit_child_node_execution" => list != List::Deploy && value.as_array().is_some_and(Vec::is_empty),
            _ => false,
        };
        if !fits {
            return Err(format!("'{name}' is unexpected or unusable."));
        }
    }
    if list == List::Deploy && (!step.contains_key("args") || !step.contains_key("priority")) {
        return Err("a deploy step needs args and priority.".into());
    }
    Ok(())
}

fn check_known(list: List, step: &Map<String, Value>, node: &Node) -> Result<(), ApiError> {
    // What of a deployment can be asked for is decided with the templates of its instance.
    if list == List::Deploy || driver::is_fake(&node.settings.driver) {
        return Ok(());
    }
    let text = |name: &str| step.get(name).and_then(Value::as_str).unwrap_or_default();
    let (interface, name) = (text("interface"), text("step"));
    if let Some(work) = bmc_work_on(&Value::Object(step.clone()), node) {
        let what = match list {
            List::Service => "service",
            _ => "clean",
        };
        return match work {
            Ok(_) => Ok(()),
            Err(why) => {
                Err(unsupported(node, &format!("the {what} step {interface}.{name} as it is asked for: {why}")))
            }
        };
    }
    if list == List::Clean && interface == "deploy" && AGENT.contains(&name) {
        return Ok(());
    }
    if list == List::Service && ServiceStep::find(&Value::Object(step.clone())).is_some() {
        return Ok(());
    }
    let known = match list {
        List::Service => {
            let names = ServiceStep::names();
            format!(
                "the service step {interface}.{name} with such arguments; it has {names}, without any{}",
                of_bmc(node)
            )
        }
        List::Clean => {
            format!("the clean step {interface}.{name}; it has deploy.{}{}", AGENT.join(", deploy."), of_bmc(node))
        }
        _ => format!("the step {interface}.{name} among {}", list.name()),
    };
    Err(unsupported(node, &known))
}

/// The steps of its BMC, for messages that list what a node has.
fn of_bmc(node: &Node) -> String {
    match [Interface::Bios, Interface::Firmware].iter().any(|kind| node.settings.interface(*kind) == "redfish") {
        true => format!(", and {BMC_STEPS}"),
        false => String::new(),
    }
}

/// Takes the steps from the runbook that is named: one that the caller may use and that fits the node.
pub(super) fn from_runbook(
    api: &Api,
    asked: &Asked,
    node: &Node,
    verb: Verb,
    body: &Map<String, Value>,
    input: &mut JobInput,
) -> Result<(), ApiError> {
    asked.needs(92, "runbook")?;
    let view = api.engine.view();
    let ident = body.get("runbook").and_then(Value::as_str).unwrap_or_default();
    let steps = super::runbooks::steps_for(&view, asked, node, ident)?;
    let (list, mine) = match verb {
        Verb::Clean => (List::Clean, &mut input.clean_steps),
        _ => (List::Service, &mut input.service_steps),
    };
    if !mine.is_empty() {
        return Err(ApiError::bad_request(format!(
            "Please provide either \"{}\" or a runbook, but not both.",
            list.name()
        )));
    }
    *mine = read(list, &Value::Array(steps), node)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use leasehold_domain::id::NodeId;
    use leasehold_domain::node::NodeSettings;
    use serde_json::json;

    fn node(driver: &str) -> Node {
        let settings = NodeSettings { driver: driver.into(), ..NodeSettings::default() };
        Node::enrolled(NodeId(uuid::Uuid::nil()), settings, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_step_has_its_form() {
        let fake = node("fake-hardware");
        let good = json!([{"interface": "bios", "step": "apply", "args": {}, "order": 1}]);
        assert!(read(List::Clean, &good, &fake).is_ok());
        assert!(read(List::Deploy, &good, &fake).is_err(), "without a priority");
        for bad in [
            json!({}),
            json!([7]),
            json!([{"interface": "bios"}]),
            json!([{"step": "apply"}]),
            json!([{"interface": "disk", "step": "apply"}]),
            json!([{"interface": "bios", "step": "apply", "args": []}]),
            json!([{"interface": "bios", "step": "apply", "extra": 1}]),
            json!([{"interface": "bios", "step": "apply", "order": -1}]),
        ] {
            assert!(read(List::Clean, &bad, &fake).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_driver_takes_the_steps_that_it_has() {
        let step = |interface: &str, name: &str| json!([{"interface": interface, "step": name}]);
        let real = node("ipmi");
        assert!(read(List::Clean, &step("deploy", "erase_devices"), &real).is_ok());
        assert!(read(List::Clean, &step("bios", "apply"), &real).is_err());
        assert!(read(List::Service, &step("deploy", "clean_uefi_nvram"), &real).is_ok());
        let refused = read(List::Service, &step("deploy", "erase_devices"), &real).expect_err("a user's disks").message;
        assert!(refused.contains("power.hold, deploy.clean_uefi_nvram"), "{refused}");
    }

    #[test]
    fn a_bmc_has_its_steps_where_the_node_has_the_interface() {
        let settings = json!([{"name": "NumLock", "value": "Off"}]);
        let bios = json!([{"interface": "bios", "step": "apply_configuration", "args": {"settings": settings}}]);
        let reset = json!([{"interface": "bios", "step": "factory_reset"}]);
        let new = json!([{"component": "bmc", "url": "http://h/f.bin"}]);
        let firmware = json!([{"interface": "firmware", "step": "update", "args": {"settings": new}}]);
        let refused =
            |list, steps: &Value, node: &Node| read(list, steps, node).expect_err("it has no such step").message;
        for steps in [&bios, &reset, &firmware] {
            for list in [List::Clean, List::Service] {
                assert!(read(list, steps, &node("redfish")).is_ok(), "{steps}");
                assert!(read(list, steps, &node("fake-hardware")).is_ok(), "{steps}");
                let words = refused(list, steps, &node("ipmi"));
                assert!(words.contains("does not support") && words.contains("only redfish has this step"), "{words}");
            }
        }
        let mut without = node("redfish");
        without.settings.interfaces.insert("bios_interface".into(), "no-bios".into());
        assert!(refused(List::Clean, &bios, &without).contains("its bios_interface is no-bios"));
        assert!(read(List::Clean, &firmware, &without).is_ok());
        let bad = json!([{"interface": "bios", "step": "apply_configuration", "args": {}}]);
        assert!(refused(List::Clean, &bad, &node("redfish")).contains("one argument, settings"));
        let unknown = json!([{"interface": "bios", "step": "other"}]);
        assert!(refused(List::Clean, &unknown, &node("redfish")).contains("firmware.update"));
        assert!(!refused(List::Clean, &unknown, &node("ipmi")).contains("firmware.update"));
    }
}
