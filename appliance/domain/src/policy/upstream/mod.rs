//! The rules that the services have by default upstream, a table each, in upstream's names.
//!
//! In: nothing. Out: [`tables`]: name, rule, the scopes it is for, the name it had earlier, the calls it guards. The tables
//! are facts of Ironic 39, esi-leap 1.0, Neutron, Glance and Keystone of 2026 with new defaults and scopes enforced; what
//! this program thinks better stands in the policy file that is shipped, not here. One table is its own ([`own`]).

mod esi_leap;
mod glance;
mod ironic;
mod keystone;
mod neutron;
mod own;

use super::Credentials;

/// A service with rules of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Service {
    Baremetal,
    Lease,
    Network,
    Image,
    Identity,
    /// Not upstream's but the appliance's own.
    Appliance,
}

impl Service {
    pub const ALL: [Service; 6] =
        [Service::Baremetal, Service::Lease, Service::Network, Service::Image, Service::Identity, Service::Appliance];

    /// The type of the service in the catalog.
    pub fn name(self) -> &'static str {
        match self {
            Service::Baremetal => "baremetal",
            Service::Lease => "lease",
            Service::Network => "network",
            Service::Image => "image",
            Service::Identity => "identity",
            Service::Appliance => "appliance",
        }
    }
}

/// The kinds of tokens that a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// Scopes are not asked for.
    pub const ANY: Scopes = Scopes(0);
    pub const SYSTEM: Scopes = Scopes(1);
    pub const PROJECT: Scopes = Scopes(2);
    pub const SYSTEM_OR_PROJECT: Scopes = Scopes(3);
    /// System, project and domain.
    pub const ALL: Scopes = Scopes(7);

    const DOMAIN_BIT: u8 = 4;

    /// Whether the caller's token is of such a scope. One without scope counts as a project's, as in oslo.policy: rules
    /// then find no project in it.
    pub fn admit(self, who: &Credentials) -> bool {
        let scope = if who.system {
            Scopes::SYSTEM.0
        } else if who.domain_id.is_some() {
            Scopes::DOMAIN_BIT
        } else {
            Scopes::PROJECT.0
        };
        self == Scopes::ANY || self.0 & scope != 0
    }

    /// The names, in oslo.policy's words.
    pub fn names(self) -> Vec<&'static str> {
        [("system", Scopes::SYSTEM.0), ("domain", Scopes::DOMAIN_BIT), ("project", Scopes::PROJECT.0)]
            .into_iter()
            .filter_map(|(name, bit)| (self.0 & bit != 0).then_some(name))
            .collect()
    }
}

/// A rule as upstream has it.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub name: &'static str,
    /// The rule.
    pub check: &'static str,
    pub scopes: Scopes,
    /// The name that it had earlier: a file that says something of that name speaks of this rule.
    pub former: Option<&'static str>,
    /// The calls that it guards, `METHOD /path`; empty for a rule that others are made of.
    pub calls: &'static str,
}

impl Row {
    const fn new(name: &'static str, check: &'static str, scopes: Scopes, calls: &'static str) -> Row {
        Row { name, check, scopes, former: None, calls }
    }

    const fn scoped(mut self, scopes: Scopes) -> Row {
        self.scopes = scopes;
        self
    }

    const fn formerly(mut self, name: &'static str) -> Row {
        self.former = Some(name);
        self
    }
}

/// All tables.
pub fn tables() -> [(Service, &'static [Row]); 6] {
    [
        (Service::Baremetal, ironic::ROWS),
        (Service::Lease, esi_leap::ROWS),
        (Service::Network, neutron::ROWS),
        (Service::Image, glance::ROWS),
        (Service::Identity, keystone::ROWS),
        (Service::Appliance, own::ROWS),
    ]
}
