//! Steps of a service: what can be done on a user's machine that is his again afterwards.

use serde_json::Value;

/// Who carries a step out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceStep {
    /// The job waits, with the agent up, until somebody lets it go on (`unhold`). Ironic's reserved step.
    Hold,
    /// The agent. It has no step that touches a user's disks.
    Agent,
}

/// By interface and name.
const KNOWN: [(&str, &str, ServiceStep); 2] =
    [("power", "hold", ServiceStep::Hold), ("deploy", "clean_uefi_nvram", ServiceStep::Agent)];

impl ServiceStep {
    /// The step that is meant by `{interface, step, …}`; it takes no arguments.
    pub fn find(step: &Value) -> Option<ServiceStep> {
        let text = |name: &str| step.get(name).and_then(Value::as_str);
        let arguments = step.get("args").and_then(Value::as_object).is_some_and(|args| !args.is_empty());
        let fits = |(interface, name, _): &&(&str, &str, ServiceStep)| {
            text("interface") == Some(interface) && text("step") == Some(name)
        };
        KNOWN.iter().find(fits).filter(|_| !arguments).map(|(_, _, found)| *found)
    }

    /// The names of all, for messages.
    pub fn names() -> String {
        KNOWN.map(|(interface, name, _)| format!("{interface}.{name}")).join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_step_is_found_by_interface_and_name_and_takes_no_arguments() {
        let find = |step| ServiceStep::find(&step);
        assert_eq!(find(json!({"interface": "power", "step": "hold", "args": {}})), Some(ServiceStep::Hold));
        assert_eq!(find(json!({"interface": "deploy", "step": "clean_uefi_nvram"})), Some(ServiceStep::Agent));
        assert_eq!(find(json!({"interface": "deploy", "step": "hold"})), None);
        assert_eq!(find(json!({"interface": "deploy", "step": "erase_devices"})), None);
        assert_eq!(find(json!({"interface": "power", "step": "hold", "args": {"for": 1}})), None);
    }
}
