//! Networks: made, changed, removed when nothing is on them.

use super::same_revision;
use crate::command::Answer;
use crate::decide::Room;
use crate::id::NetworkId;
use crate::network::{Kind, Network, NetworkKey, NetworkRow, NetworkSettings};
use crate::refusal::Refusal;
use std::sync::Arc;

impl Room<'_> {
    pub(super) fn network_of(&self, id: NetworkId) -> Result<Arc<Network>, Refusal> {
        let found = self.view.network.network(id).cloned();
        found.ok_or_else(|| Refusal::NotFound { what: "Network", name: id.to_string() })
    }

    /// One VLAN of one cabling is one network.
    fn check_segment(&self, id: NetworkId, settings: &NetworkSettings) -> Result<(), Refusal> {
        settings.check()?;
        let Some(vlan) = settings.segmentation_id else { return Ok(()) };
        let same = |other: &&Arc<Network>| {
            let theirs = &other.settings;
            other.id != id
                && theirs.segmentation_id == Some(vlan)
                && theirs.physical_network == settings.physical_network
        };
        if self.view.network.networks().any(|other| same(&other)) {
            let place = settings.physical_network.as_deref().unwrap_or("the default physical network");
            return Err(Refusal::InUse(format!(
                "Unable to create the network. The VLAN {vlan} on physical network {place} is in use."
            )));
        }
        Ok(())
    }

    pub(super) fn create_network(
        &mut self,
        id: NetworkId,
        settings: &NetworkSettings,
        limit: i64,
    ) -> Result<Answer, Refusal> {
        if self.view.network.network(id).is_some() {
            return Err(Refusal::Exists { what: "A network with UUID", name: id.to_string() });
        }
        self.check_segment(id, settings)?;
        self.within_quota(&settings.about.project, Kind::Network, limit)?;
        let network = self.begun(id, settings.clone());
        Ok(self.put_network_row(NetworkRow::Network(network)))
    }

    pub(super) fn change_network(
        &mut self,
        id: NetworkId,
        revision: u64,
        settings: &NetworkSettings,
    ) -> Result<Answer, Refusal> {
        let old = self.network_of(id)?;
        same_revision("Network", id, old.revision, revision)?;
        self.check_segment(id, settings)?;
        let project = &old.settings.about.project;
        if *project != settings.about.project {
            return Err(Refusal::Invalid("Cannot update read-only attribute project_id.".into()));
        }
        if old.settings.shared && !settings.shared {
            let foreign = self.view.network.ports_of(id).any(|port| port.settings.about.project != *project);
            if foreign {
                return Err(Refusal::InUse(format!(
                    "Unable to reconfigure sharing settings for network {id}. Multiple tenants are using it."
                )));
            }
        }
        let network = self.changed(&old, settings.clone());
        Ok(self.put_network_row(NetworkRow::Network(network)))
    }

    pub(super) fn delete_network(&mut self, id: NetworkId) -> Result<Answer, Refusal> {
        self.network_of(id)?;
        if self.view.network.ports_of(id).next().is_some() {
            return Err(Refusal::InUse(format!(
                "Unable to complete operation on network {id}. There are one or more ports still in use on the network."
            )));
        }
        let subnets: Vec<_> = self.view.network.subnets_of(id).map(|subnet| subnet.id).collect();
        for subnet in subnets {
            self.delete_network_row(NetworkKey::Subnet(subnet));
        }
        self.delete_network_row(NetworkKey::Network(id));
        Ok(Answer::Done)
    }
}
