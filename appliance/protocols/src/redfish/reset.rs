//! Which `ResetType` (DSP0268, Resource.ResetType) does what is wanted on this BMC.

use super::lenient;
use serde::Deserialize;

/// What is wanted of the power, and the interrupt that travels with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerAction {
    On,
    /// Cut the power at once.
    ForceOff,
    /// Ask the operating system to shut down.
    GracefulOff,
    /// Restart a machine that is on, without asking it.
    Restart,
    /// A non-maskable interrupt for the operating system.
    Interrupt,
}

impl PowerAction {
    /// The reset types that do it, best first. Pushing the power button acts differently on an on and an off machine:
    /// the caller asks only for a change from the other state.
    fn preferences(self) -> &'static [&'static str] {
        match self {
            PowerAction::On => &["On", "ForceOn", "PushPowerButton"],
            PowerAction::ForceOff => &["ForceOff"],
            PowerAction::GracefulOff => &["GracefulShutdown", "PushPowerButton"],
            PowerAction::Restart => &["ForceRestart", "PowerCycle", "FullPowerCycle"],
            PowerAction::Interrupt => &["Nmi"],
        }
    }
}

/// The reset types to ask for, in this order, given what the BMC says it takes. `allowed` of `None` means that it
/// does not say: then each may be tried until one is taken. Empty means that this BMC cannot do it.
pub fn reset_candidates(action: PowerAction, allowed: Option<&[String]>) -> Vec<&'static str> {
    let preferences = action.preferences().iter().copied();
    match allowed {
        None => preferences.collect(),
        Some(allowed) => preferences.filter(|name| allowed.iter().any(|offered| offered == name)).collect(),
    }
}

/// `ActionInfo`: the parameters of an action, where they do not stand in the action itself.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ActionInfo {
    #[serde(deserialize_with = "lenient::list")]
    pub parameters: Vec<ActionParameter>,
}

/// One parameter of an action.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ActionParameter {
    #[serde(deserialize_with = "lenient::text")]
    pub name: Option<String>,
    #[serde(deserialize_with = "lenient::texts")]
    pub allowable_values: Option<Vec<String>>,
}

impl ActionInfo {
    /// The values that a parameter takes; `None` when the BMC does not say.
    pub fn allowed(&self, parameter: &str) -> Option<Vec<String>> {
        let found = self.parameters.iter().find(|candidate| candidate.name.as_deref() == Some(parameter))?;
        found.allowable_values.clone().filter(|values| !values.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_best_offered_type_comes_first() {
        let all = offered(&["PowerCycle", "ForceRestart", "On", "ForceOff", "GracefulShutdown", "PushPowerButton"]);
        assert_eq!(reset_candidates(PowerAction::Restart, Some(&all)), ["ForceRestart", "PowerCycle"]);
        assert_eq!(reset_candidates(PowerAction::On, Some(&all))[0], "On");
        assert_eq!(reset_candidates(PowerAction::GracefulOff, Some(&all))[0], "GracefulShutdown");
    }

    #[test]
    fn poorer_bmcs_get_what_they_have() {
        let button = offered(&["PushPowerButton", "PowerCycle"]);
        assert_eq!(reset_candidates(PowerAction::On, Some(&button)), ["PushPowerButton"]);
        assert_eq!(reset_candidates(PowerAction::Restart, Some(&button)), ["PowerCycle"]);
        assert_eq!(reset_candidates(PowerAction::ForceOff, Some(&button)), Vec::<&str>::new());
    }

    #[test]
    fn a_silent_bmc_is_tried_with_each() {
        assert_eq!(reset_candidates(PowerAction::GracefulOff, None), ["GracefulShutdown", "PushPowerButton"]);
    }

    #[test]
    fn values_are_read_from_the_action_info() {
        let info: ActionInfo = serde_json::from_str(
            r#"{"Parameters": [{"Name": "Other"}, {"Name": "ResetType", "AllowableValues": ["On", "ForceOff"]}]}"#,
        )
        .unwrap();
        assert_eq!(info.allowed("ResetType"), Some(offered(&["On", "ForceOff"])));
        assert_eq!(info.allowed("Other"), None);
    }
}
