//! What a job does with the switch ports of its node, and when: steps put into its list, where a cable is noted.
//!
//! Whether a switch is configured that knows the cable is not known here; without one the steps do nothing.

use crate::id::NodeId;
use crate::job::{JobKind, StepName};
use crate::node::Node;
use crate::view::View;

/// Begins what a node's `last_error` says of its switch ports while no job works on it; it stands at its end.
const WIRE: &str = "Switch ports: ";

/// That, and what stands before it.
pub fn wire_error(node: &Node) -> (&str, Option<&str>) {
    let text = node.last_error.as_deref().unwrap_or_default();
    text.split_once(WIRE).map_or((text, None), |(before, error)| (before.trim_end(), Some(error)))
}

/// The `last_error` that says this of its switch ports.
pub(crate) fn with_wire_error(node: &Node, error: Option<&str>) -> Option<String> {
    let text = match (wire_error(node).0, error) {
        (others, None) => others.to_owned(),
        ("", Some(error)) => format!("{WIRE}{error}"),
        (others, Some(error)) => format!("{others} {WIRE}{error}"),
    };
    Some(text).filter(|text| !text.is_empty())
}

/// A port of the node says which switch port its cable goes to, or had one set.
pub fn is_wired(view: &View, node: NodeId) -> bool {
    let held = |card| view.hardware.switch_ports.get(card).is_some();
    view.ports_of(node).any(|card| card.settings.is_cabled() || held(card.id))
}

/// The steps of a job, with those for the ports. A former user is cut off before anything else happens to his machine; a
/// machine that is nobody's ends on idle; one that is somebody's is put on his networks while it is off. It is off, too, when
/// it comes where the appliance boots machines: what a user runs on it must not be there. A machine that is adopted, or
/// whose power alone changes, keeps its place.
pub fn with_ports(kind: JobKind, steps: Vec<StepName>) -> Vec<StepName> {
    use StepName::{BootFromDisk, BootFromNetwork, PortsCleaning, PortsIdle, PortsProvisioning, PortsTenant, PowerOff};
    let taken_back = matches!(kind, JobKind::HandOver | JobKind::Undeploy);
    // A list of a user's may start the machine several times; it stays where it is meanwhile.
    let boot = steps.iter().position(|step| *step == BootFromNetwork);
    let own_system = steps.iter().rposition(|step| *step == BootFromDisk);
    let mut all = Vec::with_capacity(steps.len() + 4);
    if taken_back {
        all.push(PortsIdle);
    }
    for (at, step) in steps.into_iter().enumerate() {
        if boot == Some(at) {
            if !all.contains(&PowerOff) {
                all.push(PowerOff);
            }
            all.push(if taken_back { PortsCleaning } else { PortsProvisioning });
        }
        if own_system == Some(at) {
            all.push(PortsTenant);
        }
        all.push(step);
    }
    match kind {
        // Its user logs in from his networks.
        JobKind::Rescue => all.push(PortsTenant),
        JobKind::Inspect | JobKind::Clean | JobKind::Stop => all.push(PortsIdle),
        JobKind::HandOver | JobKind::Undeploy if boot.is_some() => all.push(PortsIdle),
        _ => {}
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::plan;
    use crate::power::PowerTarget;

    fn names(kind: JobKind, wipe: bool) -> String {
        let names: Vec<_> = with_ports(kind, plan(kind, wipe)).into_iter().map(StepName::name).collect();
        names.join(" ")
    }

    #[test]
    fn a_former_user_is_cut_off_first_and_a_free_machine_hears_nothing() {
        let expected = "ports-idle power-off release-instance ports-cleaning boot-from-network power-cycle await-agent \
                        wipe power-off ports-idle";
        assert_eq!(names(JobKind::HandOver, true), expected);
        assert_eq!(names(JobKind::Undeploy, true), expected);
        assert_eq!(names(JobKind::Undeploy, false), "ports-idle power-off release-instance");
        assert_eq!(names(JobKind::Clean, false), "power-off ports-idle");
        assert_eq!(names(JobKind::Stop, false), "power-off ports-idle");
    }

    #[test]
    fn a_machine_boots_on_provisioning_and_starts_its_own_system_on_its_users_networks() {
        assert_eq!(
            names(JobKind::Deploy, false),
            "prepare-image power-off ports-provisioning boot-from-network power-cycle await-agent write-image \
             install-bootloader power-off ports-tenant boot-from-disk power-on"
        );
        assert_eq!(names(JobKind::Unrescue, false), "power-off ports-tenant boot-from-disk power-on");
        for kind in [JobKind::Deploy, JobKind::Service, JobKind::Clean, JobKind::Inspect, JobKind::Rescue] {
            let steps = with_ports(kind, plan(kind, true));
            let place = |name| steps.iter().position(|step| *step == name);
            assert!(place(StepName::PortsProvisioning) < place(StepName::BootFromNetwork), "{kind:?}");
            assert!(place(StepName::PowerOff).is_some(), "{kind:?}");
            assert!(place(StepName::PowerOff) < place(StepName::PortsProvisioning), "{kind:?}: it may still run");
        }
    }

    #[test]
    fn what_runs_is_left_where_it_is() {
        for kind in [JobKind::Verify, JobKind::Adopt, JobKind::Power(PowerTarget::On)] {
            assert_eq!(with_ports(kind, plan(kind, true)), plan(kind, true));
        }
    }
}
