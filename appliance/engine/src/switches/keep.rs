//! How a switch port is to stand while no job works on its node. Pure.
//!
//! A machine that is somebody's is on his networks, as they are now; one that is nobody's, has failed, or is in quarantine,
//! is idle. What the box has never set it leaves alone, until somebody attaches a network to it: a machine that was adopted,
//! or is not the box's yet, runs where it is.

use super::cable::Place;
use super::{Stand, Switches, wanted};
use leasehold_domain::View;
use leasehold_domain::driver::Interface;
use leasehold_domain::port::Port;
use leasehold_domain::provision::ProvisionState;
use leasehold_drivers::switch::Wanted;

/// How a port is to stand.
pub(super) struct Kept<'a> {
    pub(super) place: Place<'a>,
    pub(super) wanted: Wanted,
    /// Why it is idle although its machine is somebody's.
    pub(super) complaint: Option<String>,
}

impl Switches {
    /// How this card's is; `None`: it is left as it is. An error, in words that follow the card's address: nobody knows.
    pub(super) fn kept<'a>(&'a self, view: &View, card: &'a Port) -> Result<Option<Kept<'a>>, String> {
        let set = view.hardware.switch_ports.get(card.id).is_some() || self.proven().contains_key(&card.id);
        let Some(stand) = stand(view, card, set) else { return Ok(None) };
        let Some(place) = self.place(view, card)? else { return Ok(None) };
        let kept = match wanted::standing(view, card, stand, place.switch, &self.reserved) {
            Ok(wanted) => Kept { place, wanted, complaint: None },
            // Where it is now may be a network that is his no more.
            Err(why) => Kept { place, wanted: Wanted::idle(), complaint: Some(why) },
        };
        Ok(Some(kept))
    }
}

/// `set`: the box has set its switch port.
fn stand(view: &View, card: &Port, set: bool) -> Option<Stand> {
    let node = view.node(card.settings.node)?;
    if node.job.is_some() {
        return None;
    }
    let switched = node.settings.interface(Interface::Network) != "noop";
    let his = matches!(node.provision_state, ProvisionState::Active | ProvisionState::Rescue);
    if his && switched && !node.is_in_quarantine() {
        return (set || wanted::attached(view, card).is_some()).then_some(Stand::Tenant);
    }
    let free = node.provision_state == ProvisionState::Available || node.is_in_quarantine();
    (set || free).then_some(Stand::Idle)
}
