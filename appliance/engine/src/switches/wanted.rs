//! On which VLANs a node's port is to be. Pure: the state in, a membership or what is wrong with the state out.

use super::{KnownSwitch, Stand};
use leasehold_domain::View;
use leasehold_domain::network::{Place, TenantPort};
use leasehold_domain::port::Port;
use leasehold_drivers::switch::{Membership, Trunk, Vlan};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The membership; an error is in words that follow the port's address.
pub(super) fn membership(view: &View, card: &Port, stand: Stand, switch: &KnownSwitch) -> Result<Membership, String> {
    let boots = card.settings.pxe_enabled;
    match stand {
        Stand::Provisioning if boots => Ok(Membership::Access(switch.provisioning)),
        Stand::Cleaning if boots => Ok(Membership::Access(switch.cleaning)),
        Stand::Idle | Stand::Provisioning | Stand::Cleaning => Ok(Membership::Idle),
        Stand::Tenant => tenant(view, card, switch),
    }
}

fn tenant(view: &View, card: &Port, switch: &KnownSwitch) -> Result<Membership, String> {
    let group = || card.settings.portgroup.and_then(|id| view.network.attached_to(Place::Portgroup(id)));
    let Some(port) = view.network.attached_to(Place::Port(card.id)).or_else(group) else {
        return Ok(Membership::Idle);
    };
    let Some(native) = vlan_of(view, port, switch)? else { return Ok(Membership::Idle) };
    let Some(trunk) = view.network.trunk_with(port.id).filter(|trunk| trunk.settings.port == port.id) else {
        return Ok(Membership::Access(native));
    };
    let mut tagged = BTreeSet::new();
    for subport in trunk.settings.subports.iter().filter(|_| trunk.settings.admin_state_up) {
        let Some(port) = view.network.port(subport.port) else { continue };
        let Some(vlan) = vlan_of(view, port, switch)? else { continue };
        if vlan.number() != subport.tag {
            return Err(format!(
                "trunk {} brings VLAN {vlan} to the machine as {}, and switches do not change numbers: give the \
                 subport the VLAN's own",
                trunk.id, subport.tag
            ));
        }
        tagged.insert(vlan);
    }
    if tagged.is_empty() {
        return Ok(Membership::Access(native));
    }
    let trunk_of = Trunk::new(native, tagged).map(Membership::Trunk);
    trunk_of.ok_or_else(|| format!("trunk {} brings VLAN {native} both with a tag and without", trunk.id))
}

/// The VLAN of a network's port; `None` while it, or its network, is switched off.
fn vlan_of(view: &View, port: &Arc<TenantPort>, switch: &KnownSwitch) -> Result<Option<Vlan>, String> {
    let id = port.settings.network;
    let network = view.network.network(id).ok_or_else(|| format!("its network {id} is not there"))?;
    if !port.settings.admin_state_up || !network.settings.admin_state_up {
        return Ok(None);
    }
    let vlan = network.settings.segmentation_id.and_then(Vlan::new).ok_or_else(|| {
        format!("network {id} has no VLAN, so no switch can bring it to a machine: use one of type vlan")
    })?;
    if vlan == switch.provisioning || vlan == switch.cleaning {
        return Err(format!("VLAN {vlan} of network {id} is where the appliance boots machines: give it another"));
    }
    Ok(Some(vlan))
}
