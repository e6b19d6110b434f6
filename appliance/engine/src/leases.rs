//! Carries out what time brings about: offers and leases begin and end, nodes go from one to the next.
//!
//! Sleeps until the next edge. Level, not edge: whatever woke it, it looks at what is due by now, in the order in which
//! that came, and at the nodes that the news are about; at the start, and where news were missed, at all of them.

mod alarm;
#[cfg(test)]
mod tests;

use crate::Engine;
use alarm::Alarm;
use jiff::{SignedDuration, Timestamp};
use leasehold_domain::command::{Actor, Command};
use leasehold_domain::id::{JobId, NodeId};
use leasehold_domain::lease::{Due, Edge, LeaseCommand, LeaseKey, Terms, due};
use leasehold_domain::view::Change;
use leasehold_store::{News, SubmitError};
use std::collections::BTreeSet;
use std::time::Duration;
use uuid::Uuid;

/// Before it is tried again what the store could not take (a full disk), or refused.
const PAUSE: Duration = Duration::from_secs(2);
/// Edges that go to the store together.
const AT_ONCE: usize = 512;
/// From here on an edge is late, which the log tells: the program was down, or the clock was set.
const LATE: SignedDuration = SignedDuration::from_secs(2);

/// On what terms nodes are leased.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseSettings {
    /// Those for whoever is not an administrator.
    pub users: Terms,
}

impl LeaseSettings {
    /// The terms for who asks: an administrator is held to no length and no horizon.
    pub fn terms(&self, administrator: bool) -> Terms {
        match administrator {
            true => self.users.of_administrators(),
            false => self.users,
        }
    }
}

/// Runs until the store closes.
pub(crate) async fn run(engine: Engine) {
    let alarm = match Alarm::new() {
        Ok(alarm) => alarm,
        Err(error) => {
            tracing::error!(%error, "no timer can be had for the edges of leases");
            return;
        }
    };
    let mut feed = engine.store.subscribe();
    let mut nodes = engaged(&engine).await;
    loop {
        let all_done = carry_out_edges(&engine).await & settle(&engine, &mut nodes).await;
        let next = engine.view().lease.next_edge().map(|(at, _)| engine.store.now().duration_until(at));
        let wake = async {
            match all_done {
                true => alarm.rings(next).await,
                false => tokio::time::sleep(PAUSE).await,
            }
        };
        tokio::select! {
            news = feed.next() => match news {
                // The store is closing: what comes meanwhile is caught up at the next start.
                None => return,
                Some(News::Missed) => nodes = engaged(&engine).await,
                Some(News::Update(update)) => nodes.extend(update.changes.iter().filter_map(node_of)),
            },
            () = wake => {}
        }
    }
}

/// Carries out what time has brought about, in the order in which that came. Gives whether all of it was done.
async fn carry_out_edges(engine: &Engine) -> bool {
    let (mut given, mut late) = (BTreeSet::new(), Vec::new());
    loop {
        let (view, now) = (engine.view(), engine.store.now());
        let mut edges: Vec<(Timestamp, Edge)> = view.lease.edges_until(now).collect();
        let left = edges.len();
        edges.retain(|edge| !given.contains(edge));
        edges.truncate(AT_ONCE);
        if edges.is_empty() {
            tell_late(&late);
            // One that is still there although it was carried out was refused.
            return left == 0;
        }
        let terms = engine.settings.lease.users;
        let tick = |(_, edge): &(Timestamp, Edge)| LeaseCommand::Tick { edge: *edge, job: new_job(), terms };
        if !give(engine, edges.iter().map(tick).collect()).await {
            return false;
        }
        late.extend(edges.iter().map(|(at, _)| *at).filter(|at| at.duration_until(now) > LATE));
        given.extend(edges);
    }
}

fn tell_late(late: &[Timestamp]) {
    let (Some(first), Some(last)) = (late.iter().min(), late.iter().max()) else { return };
    tracing::info!(
        count = late.len(),
        %first,
        %last,
        "begins and ends of leases had come while the appliance was down or before its clock was set; they are caught up"
    );
}

/// Brings each of these nodes to who should have it, or begins to. Gives whether the store took all of it; then none of
/// them is left.
async fn settle(engine: &Engine, nodes: &mut BTreeSet<NodeId>) -> bool {
    let view = engine.view();
    nodes.retain(|node| due(&view, *node) != Due::Nothing);
    while !nodes.is_empty() {
        let some: Vec<_> = nodes.iter().copied().take(AT_ONCE).collect();
        let settle = |node: &NodeId| LeaseCommand::Settle { node: *node, job: new_job() };
        if !give(engine, some.iter().map(settle).collect()).await {
            return false;
        }
        for node in some {
            nodes.remove(&node);
        }
    }
    true
}

/// Gives commands in the engine's name. Gives whether the store took them, refused or not: a refusal is a defect, which
/// must hold nothing else up.
async fn give(engine: &Engine, commands: Vec<LeaseCommand>) -> bool {
    let commands = commands.into_iter().map(Command::Lease).collect();
    let mut taken = true;
    for result in engine.store.submit_all(commands, &Actor::System("leases")).await {
        match result {
            Ok(_) => {}
            Err(SubmitError::Refused(refusal)) => tracing::error!(%refusal, "the edge of a lease was refused"),
            Err(error) => {
                tracing::warn!(%error, "the edge of a lease cannot be stored now; trying again");
                taken = false;
            }
        }
    }
    taken
}

/// The node that a change says something of, as far as leases are concerned.
fn node_of(change: &Change) -> Option<NodeId> {
    match change {
        Change::PutNode(node) => Some(node.id),
        Change::Lease(rows) => match rows.key() {
            LeaseKey::Lease(node, _) => Some(node),
            // Nobody has a node by an offer or a quota.
            LeaseKey::Offer(..) | LeaseKey::Quota(_) => None,
        },
        _ => None,
    }
}

/// The nodes that something is to be done about, by a look at all that are leased or being taken back.
async fn engaged(engine: &Engine) -> BTreeSet<NodeId> {
    let view = engine.view();
    let look = move || view.lease.engaged().filter(|node| due(&view, *node) != Due::Nothing).collect();
    // Many leases are many looks.
    tokio::task::spawn_blocking(look).await.unwrap_or_default()
}

fn new_job() -> JobId {
    JobId(Uuid::new_v4())
}
