//! Subnets: inside one network they do not overlap.

use super::same_revision;
use crate::command::Answer;
use crate::decide::Room;
use crate::id::SubnetId;
use crate::network::{Kind, NetworkKey, NetworkRow, Subnet, SubnetSettings};
use crate::refusal::Refusal;
use std::sync::Arc;

impl Room<'_> {
    fn subnet_of(&self, id: SubnetId) -> Result<Arc<Subnet>, Refusal> {
        let found = self.view.network.subnet(id).cloned();
        found.ok_or_else(|| Refusal::NotFound { what: "Subnet", name: id.to_string() })
    }

    fn check_subnet(&self, id: SubnetId, settings: &SubnetSettings) -> Result<(), Refusal> {
        settings.about.check()?;
        settings.check().map_err(|bad| Refusal::Invalid(bad.to_string()))?;
        self.network_of(settings.network)?;
        let cidr = settings.cidr;
        let overlaps = |other: &Arc<Subnet>| {
            let theirs = other.settings.cidr;
            other.id != id && (theirs.contains(cidr.address()) || cidr.contains(theirs.address()))
        };
        match self.view.network.subnets_of(settings.network).find(|other| overlaps(other)) {
            Some(other) => Err(Refusal::Invalid(format!(
                "Invalid input for operation: Requested subnet with cidr: {cidr} for network: {} overlaps with another \
                 subnet: {}.",
                settings.network, other.settings.cidr
            ))),
            None => Ok(()),
        }
    }

    pub(super) fn create_subnet(
        &mut self,
        id: SubnetId,
        settings: &SubnetSettings,
        limit: i64,
    ) -> Result<Answer, Refusal> {
        if self.view.network.subnet(id).is_some() {
            return Err(Refusal::Exists { what: "A subnet with UUID", name: id.to_string() });
        }
        self.check_subnet(id, settings)?;
        self.within_quota(&settings.about.project, Kind::Subnet, limit)?;
        let subnet = self.begun(id, settings.clone());
        Ok(self.put_network_row(NetworkRow::Subnet(subnet)))
    }

    pub(super) fn change_subnet(
        &mut self,
        id: SubnetId,
        revision: u64,
        settings: &SubnetSettings,
    ) -> Result<Answer, Refusal> {
        let old = self.subnet_of(id)?;
        same_revision("Subnet", id, old.revision, revision)?;
        let before = &old.settings;
        let fixed = before.network == settings.network
            && before.cidr == settings.cidr
            && before.about.project == settings.about.project;
        if !fixed {
            return Err(Refusal::Invalid("Cannot update read-only attribute of a subnet.".into()));
        }
        self.check_subnet(id, settings)?;
        if let Some(gateway) = settings.gateway
            && let Some(port) = self.view.network.port_by_address(id, gateway)
        {
            return Err(Refusal::InUse(format!(
                "Current gateway ip {gateway} already in use by port {port}. Unable to update."
            )));
        }
        let subnet = self.changed(&old, settings.clone());
        Ok(self.put_network_row(NetworkRow::Subnet(subnet)))
    }

    pub(super) fn delete_subnet(&mut self, id: SubnetId) -> Result<Answer, Refusal> {
        self.subnet_of(id)?;
        if self.view.network.has_addresses(id) {
            return Err(Refusal::InUse(format!(
                "Unable to complete operation on subnet {id}: One or more ports have an IP allocation from this subnet."
            )));
        }
        self.delete_network_row(NetworkKey::Subnet(id));
        Ok(Answer::Done)
    }
}
