//! What one user, one address and all together may have of the listeners at a time.
//!
//! In: connections, requests, and who they turn out to be from. Out: a request goes on, waits for its turn, or is turned
//! away: 429 with `Retry-After` where one has too much, 503 where the box is full, 413, 414 and 431 for sizes, each in the
//! form of the service that was asked ([`admit`]). Rates are token buckets ([`rate`]), what is open is counted
//! ([`counts`]), processor time goes round between users ([`queue`], [`fair`]), and so do changes ([`shares`]). The local
//! socket is not bounded; agents have bounds of their own.

mod admit;
pub(crate) mod counts;
pub(crate) mod fair;
mod queue;
mod rate;
mod settings;
mod shares;
mod tally;
mod ticket;

pub(crate) use admit::{admit, admit_agents};
pub use rate::Rate;
pub use settings::Settings;
pub(crate) use tally::Why;
pub(crate) use ticket::Ticket;

use counts::Counts;
use fair::Turns;
use leasehold_domain::command::Actor;
use leasehold_domain::id::UserId;
use rate::Rates;
use shares::{Share, Shares};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;
use tally::Tally;

/// Instead of an address that is not known.
const UNKNOWN: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// The bounds, and how much of them is taken.
#[derive(Debug)]
pub struct Limits {
    pub(crate) settings: Settings,
    user_rate: Rates<UserId>,
    address_rate: Rates<IpAddr>,
    requests: Arc<Counts<()>>,
    of_users: Arc<Counts<UserId>>,
    of_networks: Arc<Counts<IpAddr>>,
    streams: Arc<Counts<()>>,
    of_streams: Arc<Counts<UserId>>,
    of_agents: Arc<Counts<()>>,
    turns: Arc<Turns>,
    changes: Arc<Shares>,
    tally: Tally,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::new(Settings::default())
    }
}

impl Limits {
    pub fn new(settings: Settings) -> Limits {
        const ANY: usize = usize::MAX;
        Limits {
            user_rate: Rates::new(settings.user_rate),
            address_rate: Rates::new(settings.address_rate),
            requests: Counts::new(settings.requests, ANY),
            of_users: Counts::new(ANY, settings.user_requests),
            of_networks: Counts::new(ANY, settings.address_requests),
            streams: Counts::new(settings.streams, ANY),
            of_streams: Counts::new(ANY, settings.user_streams),
            of_agents: Counts::new(settings.agent_requests, ANY),
            turns: Arc::new(Turns::new(settings.parallel)),
            changes: Shares::new(settings.user_changes),
            tally: Tally::default(),
            settings,
        }
    }

    /// Waits until one more change of this user may be with the committer. The appliance's own parts do not wait.
    pub(crate) async fn change(&self, actor: &Actor) -> Option<Share> {
        let Actor::User(who) = actor else { return None };
        Some(self.changes.enter(who.user?).await)
    }

    pub(crate) fn count(&self, why: Why) {
        self.tally.count(why);
    }

    /// Counts of what was turned away, and what is under way, in Prometheus' text format.
    pub(crate) fn write_metrics(&self, text: &mut String) {
        use std::fmt::Write;
        self.tally.write(text);
        // Writing into a String cannot fail.
        for (name, help, value) in [
            ("leasehold_requests", "Requests in progress on the listener for users.", self.requests.taken()),
            ("leasehold_streams", "Uploads, downloads and feeds of users in progress.", self.of_streams.taken()),
            ("leasehold_agent_requests", "Calls of agents in progress, without images.", self.of_agents.taken()),
        ] {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
        }
    }
}

/// Addresses that one person can choose among count as one: an IPv6 network of 64 bits.
pub(crate) fn network_of(address: Option<IpAddr>) -> IpAddr {
    match address {
        Some(IpAddr::V6(address)) => match address.to_ipv4_mapped() {
            Some(address) => IpAddr::V4(address),
            None => IpAddr::V6(Ipv6Addr::from(u128::from(address) & !u128::from(u64::MAX))),
        },
        Some(address) => address,
        None => UNKNOWN,
    }
}

/// Whole seconds for `Retry-After`, at least one.
fn seconds(wait: Duration) -> u64 {
    wait.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX).max(1)
}
