//! Objects of networks as rules see them.

use leasehold_domain::View;
use leasehold_domain::id::NetworkId;
use leasehold_domain::network::NetworkSettings;
use leasehold_domain::policy::Target;
use std::borrow::Cow;

/// A thing of a project on a network; either may be what a request would make of it.
pub(super) struct OnNetwork<'a> {
    pub(super) project: &'a str,
    pub(super) network: Option<&'a NetworkSettings>,
    pub(super) device_owner: &'a str,
}

impl<'a> OnNetwork<'a> {
    pub(super) fn of(view: &'a View, project: &'a str, network: NetworkId) -> OnNetwork<'a> {
        let network = view.network.network(network).map(|network| &network.settings);
        OnNetwork { project, network, device_owner: "" }
    }

    /// A network itself.
    pub(super) fn itself(network: &'a NetworkSettings) -> OnNetwork<'a> {
        OnNetwork { project: &network.about.project, network: Some(network), device_owner: "" }
    }
}

fn truth(value: bool) -> Cow<'static, str> {
    Cow::Borrowed(if value { "True" } else { "False" })
}

impl Target for OnNetwork<'_> {
    fn attribute(&self, name: &str) -> Option<Cow<'_, str>> {
        match name {
            "project_id" => Some(Cow::Borrowed(self.project)),
            "network:project_id" => self.network.map(|network| Cow::Borrowed(network.about.project.as_str())),
            "shared" => self.network.map(|network| truth(network.shared)),
            "router:external" => self.network.map(|network| truth(network.external)),
            "device_owner" => Some(Cow::Borrowed(self.device_owner)),
            _ => None,
        }
    }
}
