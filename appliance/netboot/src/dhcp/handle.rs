//! The decision about one message: no socket, no clock, no wait.

use super::config::BootConfig;
use crate::trace::{BootEvent, BootWhat, printable};
use jiff::Timestamp;
use leasehold_domain::address::{Ask, Asked, ClientKey, Grant, Offers, Pool, Verdict, decide_lease};
use leasehold_domain::boot::{self, BootClient, BootFacts, BootNeed, IpxeCan, NoBoot};
use leasehold_domain::mac::Mac;
use leasehold_domain::{Command, View};
use leasehold_protocols::dhcp::{
    BootFile, Destination, Lease, Network, Reply, ReplyKind, Request, RequestKind, destination,
};
use std::net::Ipv4Addr;

/// How a message came in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrival {
    /// The VLAN tag of its frame.
    pub vlan: Option<u16>,
    /// It was sent to our address, not to all.
    pub unicast: bool,
}

/// An answer that is ready to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The payload of the datagram.
    pub bytes: Vec<u8>,
    pub destination: Destination,
    /// The client's Ethernet address.
    pub mac: [u8; 6],
    /// Our address, where the answer comes from.
    pub server: Ipv4Addr,
    pub vlan: Option<u16>,
    /// The client is on the interface's own wire: what goes to it need not be routed.
    pub on_wire: bool,
    /// Told when it has gone out.
    pub event: BootEvent,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Action {
    Nothing,
    Send(Answer),
    /// Ask first whether somebody is at the address; if nobody answers, send; else put it out of use and decide again.
    Probe {
        address: Ipv4Addr,
        answer: Answer,
    },
    /// Make something durable first.
    Commit(Box<Write>),
}

/// What is written, and what follows when it is durable.
#[derive(Clone, Debug)]
pub struct Write {
    pub command: Command,
    /// For whom it is written.
    pub client: ClientKey,
    pub answer: Option<Answer>,
    pub event: Option<BootEvent>,
}

/// The decision.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Told at once.
    pub events: Vec<BootEvent>,
    pub action: Action,
    /// The client speaks to this other server.
    pub other_server: Option<Ipv4Addr>,
}

/// Decides what follows from a message.
pub fn handle(
    request: &Request,
    arrival: Arrival,
    config: &BootConfig,
    view: &View,
    offers: &mut Offers,
    now: Timestamp,
) -> Outcome {
    let mut outcome = Outcome { events: Vec::new(), action: Action::Nothing, other_server: None };
    let case = match Case::new(request, arrival, config, view) {
        Ok(case) => case,
        Err(why) => {
            outcome.events.push(BootEvent {
                client_ip: None,
                mac: Some(request.mac),
                what: BootWhat::DhcpIgnored { why },
            });
            return outcome;
        }
    };
    if request.kind == RequestKind::Discover {
        outcome.events.push(case.event(
            None,
            BootWhat::DhcpDiscover {
                arch: case.boot_client.title(),
                class: request.vendor_class.as_deref().map(printable).unwrap_or_default(),
            },
        ));
    }
    if !config.unknown_machines && view.port_by_mac(case.mac).is_none() {
        let why = "no node has a port with this address, and machines that are nobody's node get none here".into();
        outcome.events.push(case.event(None, BootWhat::DhcpIgnored { why }));
        return outcome;
    }
    let ask = match case.ask() {
        Ok(ask) => ask,
        Err(why) => {
            outcome.events.push(case.event(None, BootWhat::DhcpIgnored { why }));
            return outcome;
        }
    };
    let asked = Asked { ask, client: &case.client, mac: case.mac };
    let verdict = decide_lease(&asked, case.pool, view, offers, now);
    case.carry_out(verdict, &mut outcome);
    outcome
}

/// A message with all that is known of its sender.
struct Case<'a> {
    request: &'a Request,
    arrival: Arrival,
    config: &'a BootConfig,
    view: &'a View,
    pool: &'a Pool,
    mac: Mac,
    client: ClientKey,
    boot_client: BootClient,
}

impl<'a> Case<'a> {
    fn new(request: &'a Request, arrival: Arrival, config: &'a BootConfig, view: &'a View) -> Result<Case<'a>, String> {
        let pool = pool_for(request, arrival, config)?;
        let mac = Mac(request.mac);
        let known = view.port_by_mac(mac).is_some();
        let client = ClientKey::of(mac, request.client_id.as_deref(), known);
        let boot_client = boot::classify(&BootFacts {
            architectures: &request.architectures,
            vendor_class: request.vendor_class.as_deref().unwrap_or_default(),
            user_classes: &request.user_classes,
            ipxe: request.ipxe.as_ref().map(|ipxe| IpxeCan { http: ipxe.http(), linux: ipxe.linux() }),
        });
        Ok(Case { request, arrival, config, view, pool, mac, client, boot_client })
    }

    fn event(&self, client_ip: Option<Ipv4Addr>, what: BootWhat) -> BootEvent {
        BootEvent { client_ip, mac: Some(self.mac.0), what }
    }

    fn ask(&self) -> Result<Ask, String> {
        let Request { ciaddr, requested, server, .. } = *self.request;
        let in_use = Some(ciaddr).filter(|address| !address.is_unspecified());
        let missing = |what: &str| format!("its {what} names no address");
        match self.request.kind {
            RequestKind::Discover => Ok(Ask::Discover { requested }),
            RequestKind::Request => Ask::request(ciaddr, requested, server, self.arrival.unicast)
                .map_err(|why| format!("its request makes no sense: {why}")),
            RequestKind::Decline => {
                requested.map(|address| Ask::Decline { server, address }).ok_or_else(|| missing("decline"))
            }
            RequestKind::Release => {
                in_use.map(|address| Ask::Release { server, address }).ok_or_else(|| missing("release"))
            }
            RequestKind::Inform => in_use.map(|address| Ask::Inform { address }).ok_or_else(|| missing("inform")),
        }
    }

    fn carry_out(&self, verdict: Verdict, outcome: &mut Outcome) {
        match verdict {
            Verdict::Offer { grant, fresh } => {
                let (boot, note) = self.boot();
                let what = BootWhat::DhcpOffer {
                    address: grant.address,
                    boot_file: boot.as_ref().map(|boot| boot.name().to_owned()),
                    note,
                };
                let event = self.event(Some(grant.address), what);
                let reply = self.reply(ReplyKind::Offer, Some(grant), boot);
                let Some(answer) = self.answer(&reply, event, outcome) else { return };
                // Behind a relay ARP does not reach, whatever network the relay names.
                let on_wire = self.pool.is_local() && self.pool.vlan.is_none() && !self.request.is_relayed();
                let probe = fresh && on_wire && !self.config.probe.is_zero();
                outcome.action = match probe {
                    true => Action::Probe { address: grant.address, answer },
                    false => Action::Send(answer),
                };
            }
            Verdict::Ack { grant, write } => {
                let (boot, _) = self.boot();
                let event = self.event(Some(grant.address), BootWhat::DhcpAck { address: grant.address });
                let reply = self.reply(ReplyKind::Ack, Some(grant), boot);
                let Some(answer) = self.answer(&reply, event, outcome) else { return };
                outcome.action = match write {
                    None => Action::Send(answer),
                    Some(binding) => self.commit(Command::Bind(binding), Some(answer), None),
                };
            }
            Verdict::Inform => {
                let (boot, _) = self.boot();
                let address = self.request.ciaddr;
                let event = self.event(Some(address), BootWhat::DhcpAck { address });
                let reply = self.reply(ReplyKind::Ack, None, boot);
                if let Some(answer) = self.answer(&reply, event, outcome) {
                    outcome.action = Action::Send(answer);
                }
            }
            Verdict::Nak { why } => {
                let event = self.event(None, BootWhat::DhcpNak { why: why.clone() });
                let mut reply = Reply::new(ReplyKind::Nak, self.pool.server);
                reply.message = Some(why);
                if let Some(answer) = self.answer(&reply, event, outcome) {
                    outcome.action = Action::Send(answer);
                }
            }
            Verdict::Declined(binding) => {
                let what = BootWhat::AddressTaken { address: binding.address, by: None };
                let event = self.event(None, what);
                outcome.action = self.commit(Command::Bind(binding), None, Some(event));
            }
            Verdict::Released { unbind } => {
                let address = self.request.ciaddr;
                let event = self.event(Some(address), BootWhat::DhcpReleased { address });
                match unbind {
                    None => outcome.events.push(event),
                    Some(address) => {
                        outcome.action = self.commit(Command::Unbind { address }, None, Some(event));
                    }
                }
            }
            Verdict::OtherServer(server) => {
                outcome.other_server = Some(server);
                let why = format!("it speaks to the DHCP server {server}, not to us");
                outcome.events.push(self.event(None, BootWhat::DhcpIgnored { why }));
            }
            Verdict::Silent { why } => outcome.events.push(self.event(None, BootWhat::DhcpIgnored { why })),
        }
    }

    fn commit(&self, command: Command, answer: Option<Answer>, event: Option<BootEvent>) -> Action {
        Action::Commit(Box::new(Write { command, client: self.client.clone(), answer, event }))
    }

    /// The boot file, and for a boot client that is to start nothing from the network why.
    fn boot(&self) -> (Option<BootFile>, Option<String>) {
        let source = &self.config.source;
        let need = boot::boot_need(self.view, self.mac, source.unknown);
        let file = match boot::boot_file(&need, &self.boot_client, self.mac, source) {
            Ok(boot::BootFile::Tftp { server, file }) => BootFile::Tftp { server, file: file.into() },
            Ok(boot::BootFile::Http { url }) => BootFile::Http { url },
            Ok(boot::BootFile::Script { url }) => BootFile::Script { url },
            Err(NoBoot::NotBooting) => return (None, None),
            Err(why) => return (None, Some(why.to_string())),
        };
        match need {
            BootNeed::Nothing(why) => (Some(file), Some(why.to_string())),
            BootNeed::Agent { .. } | BootNeed::Notice => (Some(file), None),
        }
    }

    fn reply(&self, kind: ReplyKind, grant: Option<Grant>, boot: Option<BootFile>) -> Reply {
        let Pool { network, server, router, dns, domain, .. } = self.pool;
        Reply {
            kind,
            server: *server,
            lease: grant.map(|Grant { address, seconds }| Lease { address, seconds }),
            network: Network {
                mask: Some(network.mask()),
                broadcast: Some(network.broadcast()),
                routers: router.iter().copied().collect(),
                dns: dns.clone(),
                domain: domain.clone(),
            },
            boot,
            message: None,
        }
    }

    /// Bytes and way of a reply; `None` when it cannot be said, which the events tell.
    fn answer(&self, reply: &Reply, event: BootEvent, outcome: &mut Outcome) -> Option<Answer> {
        match reply.encode(self.request) {
            Ok(bytes) => Some(Answer {
                bytes,
                destination: destination(self.request, reply),
                mac: self.mac.0,
                server: self.pool.server,
                vlan: self.pool.vlan,
                on_wire: self.pool.is_local(),
                event,
            }),
            Err(error) => {
                let why = format!("it cannot be answered: {error}");
                outcome.events.push(self.event(None, BootWhat::DhcpIgnored { why }));
                None
            }
        }
    }
}

/// The pool of the network that a message comes from.
fn pool_for<'a>(request: &Request, arrival: Arrival, config: &'a BootConfig) -> Result<&'a Pool, String> {
    let around = |address: Ipv4Addr| config.pools.iter().find(|pool| pool.network.contains(address));
    if request.is_relayed() {
        let link = request.link.unwrap_or(request.giaddr);
        return around(link).ok_or_else(|| format!("it came through the relay of {link}, for which there is no pool"));
    }
    // A client behind a router renews straight with us.
    if arrival.unicast
        && !request.ciaddr.is_unspecified()
        && let Some(pool) = around(request.ciaddr)
    {
        return Ok(pool);
    }
    let own = config.pools.iter().find(|pool| pool.is_local() && pool.vlan == arrival.vlan);
    own.ok_or_else(|| match arrival.vlan {
        Some(vlan) => format!("it is on VLAN {vlan}, for which {} has no pool", config.interface),
        None => format!("{} has no pool for its own wire", config.interface),
    })
}

#[cfg(test)]
#[path = "handle_tests.rs"]
mod tests;
