//! One face for every switch: on which VLANs a port is, set and read back.
//!
//! In: [`Switch`] calls from the engine, ports by the names that the switch itself has for them, letter for letter. Out:
//! what the switch says of the port, or a [`SwitchError`]. What a driver cannot prove it does not claim: a call that
//! failed, or whose outcome is not known, leaves a port that counts as unsafe. A driver touches the named port only.

mod error;
pub mod fake;
pub mod ovsdb;

use async_trait::async_trait;
use std::collections::BTreeSet;
use std::fmt;

pub use error::SwitchError;

/// A VLAN's number, 1 to 4094 (IEEE 802.1Q; 0 and 4095 are no VLANs).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vlan(u16);

impl Vlan {
    /// `None`: there is no VLAN of that number.
    pub fn new(number: u16) -> Option<Vlan> {
        (1..=4094).contains(&number).then_some(Vlan(number))
    }

    /// Its number.
    pub fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Vlan {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(to)
    }
}

/// One VLAN without tags, and others with theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trunk {
    native: Vlan,
    tagged: BTreeSet<Vlan>,
}

impl Trunk {
    /// `None` where it would be no trunk: switches take a trunk without a list for one of all VLANs, and a VLAN comes
    /// either with tags or without.
    pub fn new(native: Vlan, tagged: BTreeSet<Vlan>) -> Option<Trunk> {
        (!tagged.is_empty() && !tagged.contains(&native)).then_some(Trunk { native, tagged })
    }

    /// The VLAN of frames without a tag.
    pub fn native(&self) -> Vlan {
        self.native
    }

    /// The VLANs whose frames have tags.
    pub fn tagged(&self) -> &BTreeSet<Vlan> {
        &self.tagged
    }
}

/// On which VLANs a port is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Membership {
    /// On the switch's idle VLAN, which nothing else is on: the machine hears nobody.
    Idle,
    /// On one, without tags.
    Access(Vlan),
    Trunk(Trunk),
}

impl fmt::Display for Membership {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Membership::Idle => to.write_str("idle"),
            Membership::Access(vlan) => write!(to, "VLAN {vlan}"),
            Membership::Trunk(trunk) => {
                let tagged: Vec<_> = trunk.tagged.iter().map(Vlan::to_string).collect();
                write!(to, "VLAN {} and, with tags, {}", trunk.native, tagged.join(", "))
            }
        }
    }
}

/// How a port is to stand: on which VLANs, and whether it is kept apart from the other machines on them (`protected`: two
/// ports that are do not hear each other, whatever their VLANs are). An idle port always is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    membership: Membership,
    protected: bool,
}

impl Wanted {
    /// For a machine that is nobody's.
    pub fn idle() -> Wanted {
        Wanted { membership: Membership::Idle, protected: true }
    }

    /// On this VLAN, and apart from the other machines there: for a VLAN on which machines of several people are worked on.
    pub fn alone(vlan: Vlan) -> Wanted {
        Wanted { membership: Membership::Access(vlan), protected: true }
    }

    /// There, among all others: for a user's own networks.
    pub fn among(membership: Membership) -> Wanted {
        Wanted { protected: membership == Membership::Idle, membership }
    }

    /// On which VLANs.
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// It is kept apart.
    pub fn is_protected(&self) -> bool {
        self.protected
    }

    /// Nobody hears it.
    pub fn is_idle(&self) -> bool {
        self.membership == Membership::Idle
    }

    /// The port stands so.
    pub fn is_met_by(&self, state: &PortState) -> bool {
        state.actual == Actual::Member(self.membership.clone()) && state.protected == self.protected
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&in_words(&Actual::Member(self.membership.clone()), self.protected))
    }
}

/// On which VLANs a switch says that a port is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actual {
    Member(Membership),
    /// Nothing that is set through this face; in words.
    Other(String),
}

impl fmt::Display for Actual {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Actual::Member(membership) => membership.fmt(to),
            Actual::Other(text) => to.write_str(text),
        }
    }
}

/// A port as the switch says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortState {
    /// The name that the switch itself has for it.
    pub name: String,
    pub actual: Actual,
    /// The switch keeps protected ports from hearing each other, whatever their VLANs are.
    pub protected: bool,
    /// Something is connected; `None`: the switch does not say.
    pub link: Option<bool>,
    /// Why the port does not work, or why its VLANs may not be what decides where its frames go.
    pub trouble: Option<String>,
}

impl PortState {
    /// How it stands, in words.
    pub fn standing(&self) -> String {
        in_words(&self.actual, self.protected)
    }
}

/// That an idle port is kept apart is no news, and neither is that another is not.
fn in_words(actual: &Actual, protected: bool) -> String {
    match (*actual == Actual::Member(Membership::Idle), protected) {
        (true, true) | (false, false) => actual.to_string(),
        (true, false) => format!("{actual}, not protected"),
        (false, true) => format!("{actual}, protected"),
    }
}

/// What a switch is, and what a person should know of how it is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    pub version: String,
    /// Why isolation may not be what it looks like.
    pub warnings: Vec<String>,
}

/// A switch. Calls may be repeated: each says what is wanted, and asking twice is harmless.
#[async_trait]
pub trait Switch: Send + Sync {
    /// Whether it can be reached and is what it was taken for.
    async fn check(&self) -> Result<Checked, SwitchError>;
    /// All ports, by name.
    async fn ports(&self) -> Result<Vec<PortState>, SwitchError>;
    /// One port.
    async fn port(&self, port: &str) -> Result<PortState, SwitchError>;
    /// Puts a port on these VLANs and on no others, apart or not. `Ok`: the switch has carried it out, and says so when it
    /// is asked afterwards. A change that somebody else made meanwhile is told, not overwritten. One that was given up
    /// before its answer came never comes about after a later one.
    async fn set(&self, port: &str, wanted: &Wanted) -> Result<PortState, SwitchError>;
    /// Ends what the driver holds open.
    async fn close(&self);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_vlans_from_1_to_4094() {
        assert_eq!([0, 4095, u16::MAX].map(Vlan::new), [None; 3]);
        assert_eq!([1, 4094].map(|number| Vlan::new(number).map(Vlan::number)), [Some(1), Some(4094)]);
    }

    #[test]
    fn an_idle_port_is_always_kept_apart() {
        assert_eq!(Wanted::among(Membership::Idle), Wanted::idle());
        let vlan = Vlan::new(7).expect("a VLAN");
        let (alone, among) = (Wanted::alone(vlan), Wanted::among(Membership::Access(vlan)));
        assert_eq!([&Wanted::idle(), &alone, &among].map(ToString::to_string), ["idle", "VLAN 7, protected", "VLAN 7"]);
        let actual = Actual::Member(Membership::Access(vlan));
        let state = PortState { name: "p".into(), actual, protected: true, link: None, trouble: None };
        assert_eq!([Wanted::idle(), alone, among].map(|wanted| wanted.is_met_by(&state)), [false, true, false]);
    }

    #[test]
    fn a_trunk_without_a_list_is_none() {
        let vlan = |number| Vlan::new(number).expect("a VLAN");
        assert_eq!(Trunk::new(vlan(5), BTreeSet::new()), None);
        assert_eq!(Trunk::new(vlan(5), [vlan(5), vlan(6)].into()), None);
        let trunk = Trunk::new(vlan(5), [vlan(7), vlan(6)].into()).expect("a trunk");
        assert_eq!(Membership::Trunk(trunk).to_string(), "VLAN 5 and, with tags, 6, 7");
    }
}
