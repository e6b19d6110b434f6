//! Ports of networks: their addresses are given here, one after the other, so that no two get the same.

use super::same_revision;
use crate::command::Answer;
use crate::decide::Room;
use crate::id::{NetworkId, TenantPortId};
use crate::network::{
    Allocation, FixedAddress, Kind, NetworkKey, NetworkRow, Subnet, TenantPort, TenantPortSettings, allocate, vif_of,
};
use crate::refusal::Refusal;
use std::sync::Arc;

/// A profile is a client's note; it is kept short.
const MOST_PROFILE: usize = 4096;

impl Room<'_> {
    pub(super) fn tenant_port(&self, id: TenantPortId) -> Result<Arc<TenantPort>, Refusal> {
        let found = self.view.network.port(id).cloned();
        found.ok_or_else(|| Refusal::NotFound { what: "Port", name: id.to_string() })
    }

    fn check_tenant_port(&self, id: TenantPortId, settings: &TenantPortSettings) -> Result<(), Refusal> {
        settings.about.check()?;
        self.network_of(settings.network)?;
        if settings.mac.0[0] & 1 == 1 || settings.mac.0 == [0; 6] {
            return Err(Refusal::Invalid(format!(
                "Invalid input for mac_address. Reason: '{}' is zero or a group address.",
                settings.mac
            )));
        }
        if self.view.network.port_by_mac(settings.network, settings.mac).is_some_and(|other| other != id) {
            return Err(Refusal::InUse(format!(
                "Unable to complete operation for network {}. The mac address {} is in use.",
                settings.network, settings.mac
            )));
        }
        for (what, text) in [
            ("device_id", &settings.device_id),
            ("device_owner", &settings.device_owner),
            ("binding:host_id", &settings.host),
        ] {
            if text.chars().count() > 255 {
                return Err(Refusal::Invalid(format!("'{what}' has more than 255 characters.")));
            }
        }
        if serde_json::to_string(&settings.profile).is_ok_and(|text| text.len() > MOST_PROFILE) {
            return Err(Refusal::Invalid(format!("binding:profile has more than {MOST_PROFILE} characters.")));
        }
        Ok(())
    }

    fn addresses(
        &self,
        id: TenantPortId,
        network: NetworkId,
        wanted: &Allocation,
    ) -> Result<Vec<FixedAddress>, Refusal> {
        let mut subnets: Vec<&Subnet> = self.view.network.subnets_of(network).map(AsRef::as_ref).collect();
        subnets.sort_by_key(|subnet| (subnet.created_at, subnet.id));
        let taken =
            |subnet, address| self.view.network.port_by_address(subnet, address).is_some_and(|holder| holder != id);
        allocate(&network.to_string(), &subnets, wanted, taken)
    }

    pub(super) fn create_tenant_port(
        &mut self,
        id: TenantPortId,
        settings: &TenantPortSettings,
        wanted: &Allocation,
        limit: i64,
    ) -> Result<Answer, Refusal> {
        if self.view.network.port(id).is_some() {
            return Err(Refusal::Exists { what: "A port with UUID", name: id.to_string() });
        }
        self.check_tenant_port(id, settings)?;
        self.within_quota(&settings.about.project, Kind::Port, limit)?;
        let addresses = self.addresses(id, settings.network, wanted)?;
        let port = self.begun(id, TenantPortSettings { addresses, attached: None, ..settings.clone() });
        Ok(self.put_network_row(NetworkRow::Port(port)))
    }

    pub(super) fn change_tenant_port(
        &mut self,
        id: TenantPortId,
        revision: u64,
        settings: &TenantPortSettings,
        wanted: Option<&Allocation>,
    ) -> Result<Answer, Refusal> {
        let old = self.tenant_port(id)?;
        same_revision("Port", id, old.revision, revision)?;
        let before = &old.settings;
        if before.network != settings.network || before.about.project != settings.about.project {
            return Err(Refusal::Invalid("Cannot update read-only attribute of a port.".into()));
        }
        if vif_of(self.view, &old).is_some() && (before.mac != settings.mac || before.host != settings.host) {
            return Err(Refusal::InUse(format!(
                "Unable to complete operation on port {id}: it is attached to a node, whose network card gives its MAC \
                 address and host; detach it first (baremetal node vif detach)."
            )));
        }
        self.check_tenant_port(id, settings)?;
        let addresses = match wanted {
            Some(wanted) => self.addresses(id, settings.network, wanted)?,
            None => before.addresses.clone(),
        };
        let attached = before.attached;
        let port = self.changed(&old, TenantPortSettings { addresses, attached, ..settings.clone() });
        Ok(self.put_network_row(NetworkRow::Port(port)))
    }

    /// An attached port is detached with it, as in Neutron.
    pub(super) fn delete_tenant_port(&mut self, id: TenantPortId) -> Result<Answer, Refusal> {
        self.tenant_port(id)?;
        if let Some(trunk) = self.view.network.trunk_with(id) {
            return Err(Refusal::InUse(format!(
                "Port {id} is currently in use by trunk {}: remove it from there first.",
                trunk.id
            )));
        }
        self.delete_network_row(NetworkKey::Port(id));
        Ok(Answer::Done)
    }
}
