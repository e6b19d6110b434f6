//! Attachments: which network card of a node a network's port is on, and the address that DHCP gives there.

use super::{Place, TenantPort};
use crate::address::Subnet as Cidr;
use crate::driver::Interface;
use crate::id::NodeId;
use crate::job::{Job, JobKind, StepName};
use crate::mac::Mac;
use crate::node::Node;
use crate::port::Port;
use crate::provision::ProvisionState;
use crate::refusal::Refusal;
use crate::view::View;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// A port that is attached to something that is there.
#[derive(Clone, Debug)]
pub struct Vif<'a> {
    pub node: &'a Arc<Node>,
    pub place: Place,
    /// The address of the card, or of the group if it has one.
    pub mac: Option<Mac>,
}

impl Vif<'_> {
    /// Traffic of the network reaches the machine's user, as far as the appliance can know.
    pub fn is_live(&self) -> bool {
        matches!(self.node.provision_state, ProvisionState::Active | ProvisionState::Rescue)
    }
}

/// Where a port is attached, if what it was attached to is still there.
pub fn vif_of<'a>(view: &'a View, port: &TenantPort) -> Option<Vif<'a>> {
    let (node, place) = port.settings.attached?;
    let node = view.node(node)?;
    let mac = match place {
        Place::Port(id) => {
            let card = view.port(id).filter(|card| card.settings.node == node.id)?;
            Some(card.settings.address)
        }
        Place::Portgroup(id) => {
            let group = view.hardware.portgroups.get(id).filter(|group| group.body.node == node.id)?;
            group.body.address
        }
    };
    Some(Vif { node, place, mac })
}

/// The attached ports of a node.
pub fn vifs_of(view: &View, node: NodeId) -> impl Iterator<Item = &Arc<TenantPort>> {
    view.network.ports_on(node).filter(move |port| vif_of(view, port).is_some())
}

/// Finds the card or group for a port: groups before cards, cards that boot before others, the oldest first; those on
/// the network's own cabling before those that do not say on which they are. Refusals are Ironic's.
pub fn may_attach(view: &View, node: &Node, port: &TenantPort, wanted: Option<Place>) -> Result<Place, Refusal> {
    let title = node.title();
    if node.settings.interface(Interface::Network) == "noop" {
        return Err(Refusal::Invalid(format!(
            "The network interface of node {title} is noop: it attaches nothing. Set network_interface to flat."
        )));
    }
    if let Some(vif) = vif_of(view, port) {
        let place = if vif.node.id == node.id { format!("Ironic node {}", node.id) } else { "another node".into() };
        return Err(Refusal::InUse(format!(
            "Unable to attach VIF because VIF {} is already attached to {place}.",
            port.id
        )));
    }
    let physical = view.network.network(port.settings.network).and_then(|net| net.settings.physical_network.clone());
    let fits = |named: Option<&String>| match (&physical, named) {
        (Some(wanted), Some(named)) => wanted == named,
        _ => true,
    };
    let free = |place: Place| view.network.attached_to(place).is_none_or(|other| vif_of(view, other).is_none());
    // What is preferred sorts first.
    let mut candidates = Vec::new();
    for group in view.hardware.portgroups.of_node(node.id) {
        let place = Place::Portgroup(group.id);
        let named = group.body.physical_network.as_ref();
        let members = || view.ports_of(node.id).filter(|card| card.settings.portgroup == Some(group.id));
        let unused = members().all(|card| free(Place::Port(card.id)));
        if free(place) && unused && members().next().is_some() && fits(named) {
            candidates.push((named.is_none() && physical.is_some(), false, false, group.created_at, place));
        }
    }
    for card in view.ports_of(node.id) {
        let place = Place::Port(card.id);
        let named = card.settings.physical_network.as_ref();
        let grouped = card.settings.portgroup.and_then(|id| view.hardware.portgroups.get(id));
        let alone =
            grouped.is_none_or(|group| group.body.standalone_ports_supported && free(Place::Portgroup(group.id)));
        if free(place) && alone && fits(named) {
            let last = !card.settings.pxe_enabled;
            candidates.push((named.is_none() && physical.is_some(), true, last, card.created_at, place));
        }
    }
    candidates.sort();
    let found = candidates.iter().map(|(.., place)| *place).find(|place| wanted.is_none_or(|wanted| wanted == *place));
    found.ok_or_else(|| {
        Refusal::Invalid(format!(
            "Unable to attach VIF {}, not enough free physical ports: node {title} has no free port{} for it.",
            port.id,
            if physical.is_some() { " on the network's physical network" } else { "" }
        ))
    })
}

/// The address that the machine behind this card has by its networks, on a wire with this network: once it runs its own
/// system, or its user has been let into the ramdisk.
pub fn tenant_address(view: &View, mac: Mac, wire: Cidr) -> Option<Ipv4Addr> {
    if !view.network.has_attachments() {
        return None;
    }
    let card = view.port_by_mac(mac)?;
    let port = attached_at(view, card)?;
    view.node(card.settings.node).filter(|node| is_its_own(view, node))?;
    on_wire(port, wire)
}

/// Of a port's addresses the one that counts on a wire: a card has one by DHCP.
fn on_wire(port: &TenantPort, wire: Cidr) -> Option<Ipv4Addr> {
    port.settings.addresses.iter().map(|fixed| fixed.address).find(|address| wire.has_host(*address))
}

/// Whether a machine other than that behind this card has the address by its networks now, on a wire with this network.
pub fn is_anothers(view: &View, address: Ipv4Addr, mac: Mac, wire: Cidr) -> bool {
    view.network.attached_with(address).any(|port| {
        let Some(vif) = vif_of(view, port) else { return false };
        let mine = view.port_by_mac(mac).is_some_and(|card| match vif.place {
            Place::Port(id) => card.id == id,
            Place::Portgroup(id) => card.settings.portgroup == Some(id),
        });
        !mine && on_wire(port, wire) == Some(address) && is_its_own(view, vif.node)
    })
}

fn attached_at<'a>(view: &'a View, card: &Port) -> Option<&'a Arc<TenantPort>> {
    let group = || card.settings.portgroup.and_then(|id| view.network.attached_to(Place::Portgroup(id)));
    view.network.attached_to(Place::Port(card.id)).or_else(group)
}

/// The machine is in its user's hands: it runs his system, or the ramdisk as his rescue system, and no job makes it boot
/// into something else.
fn is_its_own(view: &View, node: &Node) -> bool {
    use ProvisionState::{Active, Deploying, Rescue, Servicing, Unrescuing};
    let boots = |job: &Job| job.steps.iter().any(|step| step.name.waits_for_machine()) || job.kind == JobKind::Unrescue;
    match view.running_job(node) {
        // The last step of a deployment, a service or the end of a rescue starts the machine from its disk.
        Some(job) if boots(job) => {
            matches!(node.provision_state, Active | Deploying | Servicing | Unrescuing)
                && job.current().is_some_and(|step| step.name == StepName::PowerOn)
        }
        _ => matches!(node.provision_state, Active | Rescue),
    }
}
