//! How a node's switch port is to stand. Pure: the state in, VLANs or what is wrong with the state out.

use super::{KnownSwitch, Stand};
use leasehold_domain::View;
use leasehold_domain::network::{Place, TenantPort};
use leasehold_domain::port::Port;
use leasehold_drivers::switch::{Membership, Trunk, Vlan, Wanted};
use std::collections::BTreeSet;
use std::sync::Arc;

/// How it is to stand; an error is in words that follow the port's address. Where the appliance works on machines each is
/// kept apart from the others: the next one may be somebody else's.
pub(super) fn standing(
    view: &View,
    card: &Port,
    stand: Stand,
    switch: &KnownSwitch,
    reserved: &BTreeSet<Vlan>,
) -> Result<Wanted, String> {
    let boots = card.settings.pxe_enabled;
    match stand {
        Stand::Provisioning if boots => Ok(Wanted::alone(switch.provisioning)),
        Stand::Cleaning if boots => Ok(Wanted::alone(switch.cleaning)),
        Stand::Idle | Stand::Provisioning | Stand::Cleaning => Ok(Wanted::idle()),
        Stand::Tenant => tenant(view, card, &Ground { switch, reserved }).map(Wanted::among),
    }
}

/// The network's port that is on the card, by itself or by its group.
pub(super) fn attached<'a>(view: &'a View, card: &Port) -> Option<&'a Arc<TenantPort>> {
    let group = || card.settings.portgroup.and_then(|id| view.network.attached_to(Place::Portgroup(id)));
    view.network.attached_to(Place::Port(card.id)).or_else(group)
}

/// Where a network is to be brought.
struct Ground<'a> {
    switch: &'a KnownSwitch,
    reserved: &'a BTreeSet<Vlan>,
}

fn tenant(view: &View, card: &Port, ground: &Ground<'_>) -> Result<Membership, String> {
    let Some(port) = attached(view, card) else { return Ok(Membership::Idle) };
    let Some(native) = vlan_of(view, port, ground)? else { return Ok(Membership::Idle) };
    let Some(trunk) = view.network.trunk_with(port.id).filter(|trunk| trunk.settings.port == port.id) else {
        return Ok(Membership::Access(native));
    };
    let mut tagged = BTreeSet::new();
    for subport in trunk.settings.subports.iter().filter(|_| trunk.settings.admin_state_up) {
        let Some(port) = view.network.port(subport.port) else { continue };
        let Some(vlan) = vlan_of(view, port, ground)? else { continue };
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
fn vlan_of(view: &View, port: &Arc<TenantPort>, ground: &Ground<'_>) -> Result<Option<Vlan>, String> {
    let id = port.settings.network;
    let network = view.network.network(id).ok_or_else(|| format!("its network {id} is not there"))?;
    if !port.settings.admin_state_up || !network.settings.admin_state_up {
        return Ok(None);
    }
    let vlan = network.settings.segmentation_id.and_then(Vlan::new).ok_or_else(|| {
        format!("network {id} has no VLAN, so no switch can bring it to a machine: use one of type vlan")
    })?;
    // The same number elsewhere is another network.
    let (theirs, ours) = (&network.settings.physical_network, &ground.switch.physical_network);
    if theirs != ours {
        let name = |physical: &Option<String>| match physical {
            Some(name) => format!("on physical network '{name}'"),
            None => "on no named physical network".to_owned(),
        };
        return Err(format!(
            "network {id} is {}, and switch '{}' is {} (physical_network): VLAN {vlan} there is another network",
            name(theirs),
            ground.switch.name,
            name(ours)
        ));
    }
    if ground.reserved.contains(&vlan) {
        return Err(format!(
            "VLAN {vlan} of network {id} is one on which the appliance keeps machines: give it another"
        ));
    }
    Ok(Some(vlan))
}
