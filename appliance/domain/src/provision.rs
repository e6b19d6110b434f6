//! Provision states and what moves a node between them: Ironic's names and its published state machine.
//!
//! [`step`] is the only way from one state to another. Verbs come from users, the other events from jobs.

use serde::{Deserialize, Serialize};

/// Where a node stands in its life. The names are Ironic's (`provision_state`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ProvisionState {
    #[serde(rename = "enroll")]
    Enroll,
    #[serde(rename = "verifying")]
    Verifying,
    #[serde(rename = "manageable")]
    Manageable,
    #[serde(rename = "inspecting")]
    Inspecting,
    #[serde(rename = "inspect wait")]
    InspectWait,
    #[serde(rename = "inspect failed")]
    InspectFailed,
    #[serde(rename = "cleaning")]
    Cleaning,
    #[serde(rename = "clean wait")]
    CleanWait,
    #[serde(rename = "clean failed")]
    CleanFailed,
    #[serde(rename = "available")]
    Available,
    #[serde(rename = "deploying")]
    Deploying,
    #[serde(rename = "wait call-back")]
    DeployWait,
    #[serde(rename = "deploy failed")]
    DeployFailed,
    #[serde(rename = "active")]
    Active,
    #[serde(rename = "deleting")]
    Deleting,
    #[serde(rename = "error")]
    Error,
    #[serde(rename = "adopting")]
    Adopting,
    #[serde(rename = "adopt failed")]
    AdoptFailed,
    #[serde(rename = "rescuing")]
    Rescuing,
    #[serde(rename = "rescue wait")]
    RescueWait,
    #[serde(rename = "rescue failed")]
    RescueFailed,
    #[serde(rename = "rescue")]
    Rescue,
    #[serde(rename = "unrescuing")]
    Unrescuing,
    #[serde(rename = "unrescue failed")]
    UnrescueFailed,
    #[serde(rename = "servicing")]
    Servicing,
    #[serde(rename = "service wait")]
    ServiceWait,
    #[serde(rename = "service failed")]
    ServiceFailed,
    /// A step of the list holds the job until somebody lets it go on.
    #[serde(rename = "clean hold")]
    CleanHold,
    #[serde(rename = "deploy hold")]
    DeployHold,
    #[serde(rename = "service hold")]
    ServiceHold,
}

/// What a user can ask for: the `target` of `PUT /v1/nodes/…/states/provision`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Verb {
    Manage,
    Inspect,
    Clean,
    Provide,
    Deploy,
    Rebuild,
    Undeploy,
    Abort,
    Adopt,
    Rescue,
    Unrescue,
    Service,
    Unhold,
}

/// What moves a node: a verb, or news from its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    Asked(Verb),
    /// The job now waits for the machine to call back.
    Waiting,
    /// It called back.
    Resumed,
    /// A step holds the job.
    Held,
    /// The machine is taken from whoever has it.
    HandOver,
    /// The job did what the present state stands for.
    Done,
    Failed,
}

/// A state and what it leads to; Ironic shows both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    pub state: ProvisionState,
    pub target: Option<ProvisionState>,
}

/// The event has no meaning in this state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAllowed {
    pub state: ProvisionState,
    /// What a user may ask for instead.
    pub allowed: Vec<Verb>,
}

impl ProvisionState {
    pub const ALL: [ProvisionState; 30] = {
        use ProvisionState::*;
        [
            Enroll,
            Verifying,
            Manageable,
            Inspecting,
            InspectWait,
            InspectFailed,
            Cleaning,
            CleanWait,
            CleanFailed,
            Available,
            Deploying,
            DeployWait,
            DeployFailed,
            Active,
            Deleting,
            Error,
            Adopting,
            AdoptFailed,
            Rescuing,
            RescueWait,
            RescueFailed,
            Rescue,
            Unrescuing,
            UnrescueFailed,
            Servicing,
            ServiceWait,
            ServiceFailed,
            CleanHold,
            DeployHold,
            ServiceHold,
        ]
    };

    /// Ironic's spelling.
    pub fn name(self) -> &'static str {
        use ProvisionState::*;
        match self {
            Enroll => "enroll",
            Verifying => "verifying",
            Manageable => "manageable",
            Inspecting => "inspecting",
            InspectWait => "inspect wait",
            InspectFailed => "inspect failed",
            Cleaning => "cleaning",
            CleanWait => "clean wait",
            CleanFailed => "clean failed",
            Available => "available",
            Deploying => "deploying",
            DeployWait => "wait call-back",
            DeployFailed => "deploy failed",
            Active => "active",
            Deleting => "deleting",
            Error => "error",
            Adopting => "adopting",
            AdoptFailed => "adopt failed",
            Rescuing => "rescuing",
            RescueWait => "rescue wait",
            RescueFailed => "rescue failed",
            Rescue => "rescue",
            Unrescuing => "unrescuing",
            UnrescueFailed => "unrescue failed",
            Servicing => "servicing",
            ServiceWait => "service wait",
            ServiceFailed => "service failed",
            CleanHold => "clean hold",
            DeployHold => "deploy hold",
            ServiceHold => "service hold",
        }
    }

    /// The state with this name, if there is one.
    pub fn from_name(name: &str) -> Option<ProvisionState> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Work is going on and a job holds the node.
    pub fn is_busy(self) -> bool {
        use ProvisionState::*;
        matches!(
            self,
            Verifying
                | Inspecting
                | InspectWait
                | Cleaning
                | CleanWait
                | CleanHold
                | Deploying
                | DeployWait
                | DeployHold
                | Deleting
                | Adopting
                | Rescuing
                | RescueWait
                | Unrescuing
                | Servicing
                | ServiceWait
                | ServiceHold
        )
    }

    /// A step holds the job until somebody lets it go on.
    pub fn is_held(self) -> bool {
        matches!(self, ProvisionState::CleanHold | ProvisionState::DeployHold | ProvisionState::ServiceHold)
    }

    /// The node can be removed: no former user's data can be on it. Ironic's DELETE_ALLOWED_STATES; where something
    /// failed, the keeper first brings it to `manageable`, or sets it into maintenance.
    pub fn may_delete_node(self) -> bool {
        use ProvisionState::*;
        matches!(self, Enroll | Manageable | Available | AdoptFailed)
    }

    /// The node may be changed although it is on its way to another state. Ironic's UPDATE_ALLOWED_STATES.
    pub fn may_be_changed_on_its_way(self) -> bool {
        use ProvisionState::*;
        matches!(
            self,
            DeployFailed
                | Inspecting
                | InspectFailed
                | InspectWait
                | CleanFailed
                | Error
                | Verifying
                | AdoptFailed
                | RescueFailed
                | UnrescueFailed
                | ServiceHold
                | ServiceFailed
        )
    }

    /// Driver, interfaces and resource class may be changed: nobody relies on them.
    pub fn is_unused(self) -> bool {
        use ProvisionState::*;
        matches!(self, Enroll | Inspecting | InspectWait | Manageable | Available)
    }

    /// A system of its user's is deployed, whether or not it runs at the moment.
    pub fn is_deployed(self) -> bool {
        use ProvisionState::*;
        self.may_be_protected() || matches!(self, Servicing | ServiceWait | ServiceHold | ServiceFailed)
    }

    /// The machine is a user's, and may be protected from him.
    pub fn may_be_protected(self) -> bool {
        use ProvisionState::*;
        matches!(self, Active | Rescue | Rescuing | RescueWait | RescueFailed | Unrescuing | UnrescueFailed)
    }
}

impl Verb {
    pub const ALL: [Verb; 13] = [
        Verb::Manage,
        Verb::Inspect,
        Verb::Clean,
        Verb::Provide,
        Verb::Deploy,
        Verb::Rebuild,
        Verb::Undeploy,
        Verb::Abort,
        Verb::Adopt,
        Verb::Rescue,
        Verb::Unrescue,
        Verb::Service,
        Verb::Unhold,
    ];

    /// Ironic's spelling in the API.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Manage => "manage",
            Verb::Inspect => "inspect",
            Verb::Clean => "clean",
            Verb::Provide => "provide",
            Verb::Deploy => "active",
            Verb::Rebuild => "rebuild",
            Verb::Undeploy => "deleted",
            Verb::Abort => "abort",
            Verb::Adopt => "adopt",
            Verb::Rescue => "rescue",
            Verb::Unrescue => "unrescue",
            Verb::Service => "service",
            Verb::Unhold => "unhold",
        }
    }

    /// The verb with this name; `deploy` and `undeploy` say the same as `active` and `deleted`.
    pub fn from_name(name: &str) -> Option<Verb> {
        match name {
            "deploy" => Some(Verb::Deploy),
            "undeploy" => Some(Verb::Undeploy),
            _ => Self::ALL.into_iter().find(|verb| verb.name() == name),
        }
    }
}

/// The verbs that `state` allows.
pub fn allowed(state: ProvisionState) -> Vec<Verb> {
    let standing = Standing { state, target: None };
    Verb::ALL.into_iter().filter(|verb| next(standing, Event::Asked(*verb)).is_some()).collect()
}

/// One move of the state machine.
pub fn step(from: Standing, event: Event) -> Result<Standing, NotAllowed> {
    // A job's event is nothing that a user could ask for instead.
    let verbs = || match event {
        Event::Asked(_) => allowed(from.state),
        _ => Vec::new(),
    };
    next(from, event).ok_or_else(|| NotAllowed { state: from.state, allowed: verbs() })
}

/// The table of moves.
fn next(from: Standing, event: Event) -> Option<Standing> {
    use ProvisionState::*;
    let to = |state, target| Standing { state, target };
    let next = match (from.state, event) {
        (Enroll, Event::Asked(Verb::Manage)) => to(Verifying, Some(Manageable)),
        (Verifying, Event::Done) => to(Manageable, None),
        (Verifying, Event::Failed) => to(Enroll, None),

        (Available | InspectFailed | CleanFailed | AdoptFailed, Event::Asked(Verb::Manage)) => to(Manageable, None),

        (Manageable | InspectFailed, Event::Asked(Verb::Inspect)) => to(Inspecting, Some(Manageable)),
        (Inspecting, Event::Waiting) => to(InspectWait, from.target),
        (InspectWait, Event::Resumed) => to(Inspecting, from.target),
        (Inspecting | InspectWait, Event::Done) => to(Manageable, None),
        (Inspecting | InspectWait, Event::Failed) => to(InspectFailed, Some(Manageable)),
        (InspectWait, Event::Asked(Verb::Abort)) => to(InspectFailed, Some(Manageable)),

        (Manageable, Event::Asked(Verb::Clean)) => to(Cleaning, Some(Manageable)),
        (Manageable, Event::Asked(Verb::Provide)) => to(Cleaning, Some(Available)),
        (Cleaning, Event::Waiting) => to(CleanWait, from.target),
        (CleanWait, Event::Resumed) => to(Cleaning, from.target),
        // Only a node that was on its way to `available` may become free.
        (Cleaning | CleanWait, Event::Done) => match from.target {
            Some(Available) => to(Available, None),
            _ => to(Manageable, None),
        },
        (Cleaning | CleanWait, Event::Failed) => to(CleanFailed, from.target),
        (CleanWait | CleanHold, Event::Asked(Verb::Abort)) => to(CleanFailed, from.target),
        (Cleaning | CleanWait, Event::Held) => to(CleanHold, from.target),
        (CleanHold, Event::Asked(Verb::Unhold)) => to(Cleaning, from.target),

        // Not from `error`: there a former user's machine could not be stopped; it must be undeployed, and wiped, first.
        (Available | DeployFailed, Event::Asked(Verb::Deploy)) => to(Deploying, Some(Active)),
        (Active | DeployFailed | Error, Event::Asked(Verb::Rebuild)) => to(Deploying, Some(Active)),
        (Deploying, Event::Waiting) => to(DeployWait, from.target),
        (DeployWait, Event::Resumed) => to(Deploying, from.target),
        (Deploying | DeployWait, Event::Done) => to(Active, None),
        (Deploying | DeployWait, Event::Failed) => to(DeployFailed, Some(Active)),
        (DeployWait | DeployHold, Event::Asked(Verb::Abort)) => to(DeployFailed, Some(Active)),
        (Deploying | DeployWait, Event::Held) => to(DeployHold, from.target),
        (DeployHold, Event::Asked(Verb::Unhold)) => to(Deploying, from.target),

        (
            Active | DeployWait | DeployFailed | Error | Rescue | RescueWait | RescueFailed | UnrescueFailed
            | ServiceWait | ServiceFailed,
            Event::Asked(Verb::Undeploy),
        ) => to(Deleting, Some(Available)),
        // Where nobody has it yet, there is nothing to take.
        (Enroll | Verifying, Event::HandOver) => return None,
        (_, Event::HandOver) => to(Deleting, Some(Available)),
        (Deleting, Event::Done) => to(Cleaning, Some(Available)),
        (Deleting, Event::Failed) => to(Error, Some(Available)),

        (Manageable | AdoptFailed, Event::Asked(Verb::Adopt)) => to(Adopting, Some(Active)),
        (Adopting, Event::Done) => to(Active, None),
        (Adopting, Event::Failed) => to(AdoptFailed, Some(Active)),

        (Active | Rescue | RescueFailed | UnrescueFailed | ServiceFailed, Event::Asked(Verb::Rescue)) => {
            to(Rescuing, Some(Rescue))
        }
        (Rescuing, Event::Waiting) => to(RescueWait, from.target),
        (RescueWait, Event::Resumed) => to(Rescuing, from.target),
        (Rescuing | RescueWait, Event::Done) => to(Rescue, None),
        (Rescuing | RescueWait, Event::Failed) => to(RescueFailed, Some(Rescue)),
        (RescueWait, Event::Asked(Verb::Abort)) => to(RescueFailed, Some(Rescue)),
        (Rescue | RescueFailed | UnrescueFailed, Event::Asked(Verb::Unrescue)) => to(Unrescuing, Some(Active)),
        (Unrescuing, Event::Done) => to(Active, None),
        (Unrescuing, Event::Failed) => to(UnrescueFailed, Some(Active)),

        (Active | ServiceFailed, Event::Asked(Verb::Service)) => to(Servicing, Some(Active)),
        (Servicing, Event::Waiting) => to(ServiceWait, from.target),
        (ServiceWait, Event::Resumed) => to(Servicing, from.target),
        (Servicing | ServiceWait, Event::Done) => to(Active, None),
        (Servicing | ServiceWait, Event::Failed) => to(ServiceFailed, Some(Active)),
        (Servicing | ServiceWait, Event::Held) => to(ServiceHold, from.target),
        (ServiceWait | ServiceHold, Event::Asked(Verb::Abort)) => to(ServiceFailed, Some(Active)),
        (ServiceFailed, Event::Asked(Verb::Abort)) => to(Active, None),
        (ServiceHold, Event::Asked(Verb::Unhold)) => to(Servicing, from.target),

        _ => return None,
    };
    Some(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn walk(start: ProvisionState, events: &[Event]) -> Standing {
        events.iter().fold(Standing { state: start, target: None }, |at, event| step(at, *event).expect("a legal move"))
    }

    #[test]
    fn a_node_goes_from_enroll_to_active_and_back() {
        use Event::*;
        let life = [
            Asked(Verb::Manage),
            Done,
            Asked(Verb::Inspect),
            Waiting,
            Resumed,
            Done,
            Asked(Verb::Provide),
            Waiting,
            Resumed,
            Done,
            Asked(Verb::Deploy),
            Waiting,
            Resumed,
            Done,
        ];
        assert_eq!(walk(ProvisionState::Enroll, &life), Standing { state: ProvisionState::Active, target: None });
        let back = [Asked(Verb::Undeploy), Done, Waiting, Resumed, Done];
        assert_eq!(walk(ProvisionState::Active, &back).state, ProvisionState::Available);
    }

    #[test]
    fn a_refusal_names_what_is_allowed() {
        let refused = step(Standing { state: ProvisionState::Available, target: None }, Event::Asked(Verb::Inspect));
        assert_eq!(
            refused,
            Err(NotAllowed { state: ProvisionState::Available, allowed: vec![Verb::Manage, Verb::Deploy] })
        );
    }

    #[test]
    fn a_machine_whose_former_user_could_not_be_put_out_is_not_given_to_another() {
        assert_eq!(allowed(ProvisionState::Error), [Verb::Rebuild, Verb::Undeploy]);
    }

    #[test]
    fn a_running_deployment_cannot_be_aborted_only_a_waiting_one() {
        assert!(!allowed(ProvisionState::Deploying).contains(&Verb::Abort));
        assert!(allowed(ProvisionState::DeployWait).contains(&Verb::Abort));
    }

    #[test]
    fn names_are_unique_and_round_trip() {
        for state in ProvisionState::ALL {
            assert_eq!(ProvisionState::from_name(state.name()), Some(state));
        }
        for verb in Verb::ALL {
            assert_eq!(Verb::from_name(verb.name()), Some(verb));
        }
    }

    fn any_event() -> impl Strategy<Value = Event> {
        let jobs =
            proptest::sample::select(vec![Event::Waiting, Event::Resumed, Event::Held, Event::Done, Event::Failed]);
        prop_oneof![proptest::sample::select(Verb::ALL.to_vec()).prop_map(Event::Asked), jobs]
    }

    proptest! {
        /// Whatever happens, a node becomes free only by a cleaning that ended well.
        #[test]
        fn only_a_finished_cleaning_makes_a_node_available(events in proptest::collection::vec(any_event(), 0..60)) {
            let mut at = Standing { state: ProvisionState::Enroll, target: None };
            for event in events {
                let Ok(next) = step(at, event) else { continue };
                if next.state == ProvisionState::Available {
                    prop_assert!(matches!(at.state, ProvisionState::Cleaning | ProvisionState::CleanWait));
                    prop_assert_eq!(event, Event::Done);
                }
                prop_assert_eq!(next.state.is_busy() && next.target.is_none(), false, "busy without a target");
                at = next;
            }
        }
    }
}
