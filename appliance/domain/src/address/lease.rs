//! What a client is told: the server's side of RFC 2131 §4.3, as a pure decision.

use super::choose::Seeker;
use super::offers::Offers;
use super::pool::Pool;
use super::{Binding, ClientKey, Hold, later};
use crate::mac::Mac;
use crate::view::View;
use jiff::Timestamp;
use std::net::Ipv4Addr;

/// How long the address of a known machine stays on record without another write: renewals inside the first half of
/// it change nothing on disk.
const KEEP_KNOWN_SECONDS: i64 = 30 * 24 * 3600;
/// The address of an unknown machine stays on record longer than the machine is told, by its lease divided by this: firmware,
/// loader, installer and system each ask within minutes, and while the record covers what they are told, nothing is written.
const KEEP_UNKNOWN_LONGER: i64 = 4;
/// How long an address at which somebody else was found is left alone.
pub const DECLINED_SECONDS: i64 = 3600;

/// What a client's message means (RFC 2131 §4.3.2 and table 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Who has an address for me?
    Discover { requested: Option<Ipv4Addr> },
    /// I take the offer of this server.
    Select { server: Ipv4Addr, address: Ipv4Addr },
    /// I had this address before I was restarted.
    Reboot { address: Ipv4Addr },
    /// I go on using this address; `unicast`: asked of us alone (RENEWING), else of anybody (REBINDING).
    Extend { address: Ipv4Addr, unicast: bool },
    /// Somebody else is at this address.
    Decline { server: Option<Ipv4Addr>, address: Ipv4Addr },
    /// I am done with this address.
    Release { server: Option<Ipv4Addr>, address: Ipv4Addr },
    /// I have an address from elsewhere; what else should I know?
    Inform { address: Ipv4Addr },
}

impl Ask {
    /// Tells the four kinds of REQUEST apart. `Err`: the fields contradict each other.
    pub fn request(
        ciaddr: Ipv4Addr,
        requested: Option<Ipv4Addr>,
        server: Option<Ipv4Addr>,
        unicast: bool,
    ) -> Result<Ask, &'static str> {
        let in_use = Some(ciaddr).filter(|address| !address.is_unspecified());
        match (server, requested, in_use) {
            (Some(server), Some(address), _) | (Some(server), None, Some(address)) => {
                Ok(Ask::Select { server, address })
            }
            (None, _, Some(address)) => Ok(Ask::Extend { address, unicast }),
            (None, Some(address), None) => Ok(Ask::Reboot { address }),
            (_, None, None) => Err("it names no address"),
        }
    }
}

/// A message and who sent it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub ask: Ask,
    pub client: &'a ClientKey,
    pub mac: Mac,
}

/// An address and for how many seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    pub address: Ipv4Addr,
    pub seconds: u32,
}

/// What the client is told, and what is to be written first. Whoever writes says [`Offers::settled`] when it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Kept for the client in [`Offers`]. `fresh`: nobody of ours is known to be at the address; probe before offering.
    Offer { grant: Grant, fresh: bool },
    /// `write`: must be durable before the client hears of it. `None`: what is on record says it already.
    Ack { grant: Grant, write: Option<Binding> },
    /// Facts of the network without an address.
    Inform,
    /// A refusal that the client hears.
    Nak { why: String },
    /// Out of use from now on.
    Declined(Binding),
    /// Free from now on; `None`: it stays reserved for the machine.
    Released { unbind: Option<Ipv4Addr> },
    /// The client has taken another server's offer.
    OtherServer(Ipv4Addr),
    /// Nothing is said.
    Silent { why: String },
}

/// Decides what a client is told that is on the network of `pool`.
pub fn decide_lease(asked: &Asked<'_>, pool: &Pool, view: &View, offers: &mut Offers, now: Timestamp) -> Verdict {
    let known = view.port_by_mac(asked.mac).is_some();
    let seeker = Seeker { client: asked.client, mac: asked.mac, known, pool, view, now };
    match asked.ask {
        Ask::Discover { requested } => discover(&seeker, requested, offers),
        Ask::Select { server, .. } if server != pool.server => {
            offers.forget_client(asked.client);
            Verdict::OtherServer(server)
        }
        Ask::Select { address, .. } => select(&seeker, address, offers),
        Ask::Reboot { address } => reboot(&seeker, address, offers),
        Ask::Extend { address, unicast } => extend(&seeker, address, unicast, offers),
        Ask::Decline { server: Some(server), .. } | Ask::Release { server: Some(server), .. }
            if server != pool.server =>
        {
            Verdict::OtherServer(server)
        }
        Ask::Decline { address, .. } => decline(&seeker, address, offers),
        Ask::Release { address, .. } => release(&seeker, address, offers),
        Ask::Inform { address } if pool.network.has_host(address) => Verdict::Inform,
        Ask::Inform { address } => {
            silent(format!("{address} is not in {}, the network that it asks from", pool.network))
        }
    }
}

fn silent(why: String) -> Verdict {
    Verdict::Silent { why }
}

fn discover(seeker: &Seeker<'_>, requested: Option<Ipv4Addr>, offers: &mut Offers) -> Verdict {
    match seeker.choose(requested, offers) {
        Ok(choice) => {
            offers.put(choice.address, seeker.client, seeker.now);
            let fresh = !choice.own && !offers.is_probed(choice.address, seeker.now);
            Verdict::Offer { grant: Grant { address: choice.address, seconds: seeker.pool.lease_seconds }, fresh }
        }
        Err(none) => silent(none.to_string()),
    }
}

fn select(seeker: &Seeker<'_>, address: Ipv4Addr, offers: &mut Offers) -> Verdict {
    let pool = seeker.pool;
    if !pool.gives(address) && seeker.reserved(offers) != Some(address) {
        return Verdict::Nak { why: format!("{address} is not an address of the pool in {}", pool.network) };
    }
    // After a restart the offer is forgotten; whoever comes with it gets the address if it is his to have.
    let elsewhere = seeker.record().filter(|record| record.address != address && record.holds(seeker.now));
    if let Some(record) = elsewhere.filter(|_| offers.of(seeker.client, seeker.now) != Some(address)) {
        return Verdict::Nak { why: format!("{} is this client's address, not {address}", record.address) };
    }
    if !seeker.may_have(address, offers) {
        return Verdict::Nak { why: format!("{address} is taken by another machine") };
    }
    acknowledge(seeker, address, offers)
}

fn reboot(seeker: &Seeker<'_>, address: Ipv4Addr, offers: &mut Offers) -> Verdict {
    if !seeker.pool.network.contains(address) {
        return foreign(seeker, address);
    }
    match own_record(seeker, address) {
        Some(record) if record.address == address && seeker.may_have(address, offers) => {
            acknowledge(seeker, address, offers)
        }
        Some(_) => Verdict::Nak { why: format!("{address} is not this client's address any more") },
        None => silent(format!("there is no record of it having {address}")),
    }
}

fn extend(seeker: &Seeker<'_>, address: Ipv4Addr, unicast: bool, offers: &mut Offers) -> Verdict {
    if !seeker.pool.network.contains(address) {
        return foreign(seeker, address);
    }
    let own = own_record(seeker, address).is_some_and(|record| record.address == address);
    if own && seeker.may_have(address, offers) {
        return acknowledge(seeker, address, offers);
    }
    let holder = seeker.view.binding(address).filter(|binding| binding.holds(seeker.now) && !seeker.owns(binding));
    if own || holder.is_some() {
        return Verdict::Nak { why: format!("{address} is taken by another machine") };
    }
    if unicast {
        return Verdict::Nak { why: format!("there is no record of this client having {address}") };
    }
    silent(format!("there is no record of it having {address}; another server may have one"))
}

/// A client that wants an address of another network on this wire.
fn foreign(seeker: &Seeker<'_>, address: Ipv4Addr) -> Verdict {
    let why = format!("{address} is not in {}, the network here", seeker.pool.network);
    if seeker.pool.authoritative { Verdict::Nak { why } } else { silent(why) }
}

/// What is on record for the client: by its key, or at the address itself for a machine that became known meanwhile.
fn own_record<'a>(seeker: &Seeker<'a>, address: Ipv4Addr) -> Option<&'a Binding> {
    let at_address = seeker.view.binding(address).map(AsRef::as_ref).filter(|binding| seeker.owns(binding));
    at_address.or_else(|| seeker.view.binding_of(seeker.client).map(AsRef::as_ref))
}

fn acknowledge(seeker: &Seeker<'_>, address: Ipv4Addr, offers: &mut Offers) -> Verdict {
    let lease = i64::from(seeker.pool.lease_seconds);
    let now = seeker.now;
    let grant = Grant { address, seconds: seeker.pool.lease_seconds };
    let own = seeker.view.binding(address).filter(|binding| seeker.owns(binding));
    offers.forget_client(seeker.client);
    let (keep, enough) = match seeker.known {
        true => (KEEP_KNOWN_SECONDS.max(2 * lease), lease.max(KEEP_KNOWN_SECONDS / 2)),
        false => (lease + lease / KEEP_UNKNOWN_LONGER, lease),
    };
    let hold = Hold::Bound { client: seeker.client.clone(), mac: seeker.mac };
    if own.is_some_and(|binding| binding.hold == hold && binding.expires >= later(now, enough)) {
        return Verdict::Ack { grant, write: None };
    }
    offers.writing(address, Some(seeker.client));
    let since = own.map_or(now, |binding| binding.since);
    Verdict::Ack { grant, write: Some(Binding { address, hold, since, expires: later(now, keep) }) }
}

/// The client has a claim to the address: on record, or by an offer.
fn has_claim(seeker: &Seeker<'_>, address: Ipv4Addr, offers: &Offers) -> bool {
    let record = seeker.view.binding(address).is_some_and(|binding| seeker.owns(binding));
    record || offers.of(seeker.client, seeker.now) == Some(address)
}

fn decline(seeker: &Seeker<'_>, address: Ipv4Addr, offers: &mut Offers) -> Verdict {
    if !has_claim(seeker, address, offers) {
        return silent(format!("it declines {address}, which it was not given"));
    }
    if !offers.may_decline(seeker.mac, seeker.now) {
        return silent(format!("it declines too many addresses; {address} stays in use"));
    }
    offers.forget_client(seeker.client);
    offers.writing(address, None);
    Verdict::Declined(Binding::declined(address, seeker.now, DECLINED_SECONDS))
}

fn release(seeker: &Seeker<'_>, address: Ipv4Addr, offers: &mut Offers) -> Verdict {
    if !has_claim(seeker, address, offers) {
        return silent(format!("it releases {address}, which it does not have"));
    }
    offers.forget_client(seeker.client);
    let on_record = seeker.view.binding(address).is_some_and(|binding| seeker.owns(binding));
    Verdict::Released { unbind: Some(address).filter(|_| on_record && !seeker.known) }
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
