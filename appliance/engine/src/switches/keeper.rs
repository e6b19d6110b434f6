//! Keeps switch ports as they are to be while no job works on their nodes: what a user attaches or detaches, what becomes of
//! his networks, what a failure has left, and what somebody changes by hand.
//!
//! Level, not edge: each pass compares how every port is to stand ([`super::keep`]) with what was last read back of it, and
//! sets those that differ. What fails is told on the node (`last_error`) and tried again, after ever longer pauses. Once a
//! minute the switches are asked whether everything still stands so.

use super::notes::Notes;
use super::set::Purpose;
use super::{Switches, Unsafe};
use crate::Engine;
use leasehold_domain::View;
use leasehold_domain::hardware::HardwareCommand;
use leasehold_domain::id::{NodeId, PortId};
use leasehold_domain::view::Change;
use leasehold_domain::wire_steps::wire_error;
use leasehold_drivers::switch::Wanted;
use leasehold_store::News;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

/// The pause before the second try of a port; each further one is twice as long, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How often the switches are asked whether everything is as it was read back.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// From one pass to the next: many changes that come together are looked at together.
const BREATH: Duration = Duration::from_millis(50);

/// A port that could not be set.
struct Trouble {
    why: String,
    tries: u32,
    again_at: Instant,
}

#[derive(Default)]
struct Keeper {
    troubles: HashMap<PortId, Trouble>,
    at_work: HashSet<PortId>,
    work: JoinSet<(PortId, Result<Option<String>, Unsafe>)>,
    /// Looks at switches, one at a time each.
    looks: JoinSet<()>,
}

/// Runs for ever.
pub(crate) async fn run(engine: Engine) {
    if !engine.switches.are_configured() {
        return std::future::pending().await;
    }
    let mut feed = engine.store.subscribe();
    let mut keeper = Keeper::default();
    let mut looks = tokio::time::interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let told = keeper.pass(&engine);
        for (node, error) in told {
            if let Err(error) = engine.store.note(HardwareCommand::NoteWire { node, error }).await {
                tracing::warn!(%node, why = error.why, "what its switch ports are cannot be noted on a node");
            }
        }
        let next = keeper.troubles.values().map(|trouble| trouble.again_at).min();
        let again = async {
            match next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            over = news(&mut feed) => if over { return },
            Some(done) = keeper.work.join_next() => keeper.done(done),
            _ = looks.tick() => if keeper.looks.is_empty() {
                for at in 0..engine.switches.known.len() {
                    let switches = engine.switches.clone();
                    keeper.looks.spawn(async move { switches.look_at(at).await });
                }
            },
            Some(_) = keeper.looks.join_next() => {}
            () = again => {}
        }
    }
}

/// Waits for something that may mean another place for a port. True: the store is closing.
async fn news(feed: &mut leasehold_store::Feed) -> bool {
    loop {
        match feed.next().await {
            None => return true,
            Some(News::Missed) => break,
            Some(News::Update(update)) if update.changes.iter().any(matters) => break,
            Some(News::Update(_)) => {}
        }
    }
    tokio::time::sleep(BREATH).await;
    false
}

fn matters(change: &Change) -> bool {
    matches!(
        change,
        Change::PutNode(_)
            | Change::DeleteNode(_)
            | Change::PutPort(_)
            | Change::DeletePort(_)
            | Change::Network(_)
            | Change::Hardware(_)
    )
}

impl Keeper {
    /// Sets what differs. Gives what is to be said of nodes that is not yet.
    fn pass(&mut self, engine: &Engine) -> Vec<(NodeId, Option<String>)> {
        let view = engine.view();
        let now = Instant::now();
        let mut nodes: BTreeMap<NodeId, Vec<String>> = BTreeMap::new();
        engine.switches.proven().retain(|card, _| view.port(*card).is_some());
        self.troubles.retain(|card, _| view.port(*card).is_some_and(|card| is_ours(&view, card.settings.node)));
        for card in view.ports().filter(|card| is_ours(&view, card.settings.node)) {
            let errors = nodes.entry(card.settings.node).or_default();
            let mut tell = |why: &str| errors.push(format!("port {}: {why}", card.settings.address));
            let kept = match engine.switches.kept(&view, card) {
                Ok(Some(kept)) => kept,
                Ok(None) => {
                    self.troubles.remove(&card.id);
                    continue;
                }
                Err(why) => {
                    self.troubles.remove(&card.id);
                    tell(&why);
                    continue;
                }
            };
            if let Some(complaint) = &kept.complaint {
                tell(complaint);
            }
            if engine.switches.stands(card.id, &kept) {
                self.troubles.remove(&card.id);
                continue;
            }
            let trouble = self.troubles.get(&card.id);
            if let Some(trouble) = trouble {
                tell(&trouble.why);
            }
            if trouble.is_none_or(|trouble| trouble.again_at <= now) && self.at_work.insert(card.id) {
                if let Some(trouble) = self.troubles.get_mut(&card.id) {
                    // It is at work now: what comes of it says when next.
                    trouble.again_at = now + LONGEST_PAUSE * 2;
                }
                let (engine, card) = (engine.clone(), card.id);
                self.work
                    .spawn(async move { (card, engine.switches.set_one(&engine.store, card, Purpose::Keep).await) });
            }
        }
        let said = |node: NodeId| view.node(node).and_then(|node| wire_error(node).1.map(str::to_owned));
        let told =
            nodes.into_iter().map(|(node, errors)| (node, Some(errors.join("; ")).filter(|all| !all.is_empty())));
        told.filter(|(node, error)| said(*node) != *error).collect()
    }

    /// What came of setting a port.
    fn done(&mut self, done: Result<(PortId, Result<Option<String>, Unsafe>), tokio::task::JoinError>) {
        let (card, result) = match done {
            Ok(done) => done,
            Err(error) => {
                tracing::error!(%error, "a switch port's keeper failed; all ports are looked at again");
                self.work.abort_all();
                self.at_work.clear();
                return;
            }
        };
        self.at_work.remove(&card);
        match result {
            Ok(done) => {
                self.troubles.remove(&card);
                if let Some(done) = done {
                    tracing::info!(%card, done, "a switch port was set");
                }
            }
            Err(Unsafe { why, may_pass }) => {
                tracing::warn!(%card, why, may_pass, "a switch port is not known to be as it should");
                let tries = self.troubles.get(&card).map_or(0, |trouble| trouble.tries);
                let pause = FIRST_PAUSE.saturating_mul(1 << tries.min(10)).min(LONGEST_PAUSE);
                let again_at = Instant::now() + pause;
                self.troubles.insert(card, Trouble { why, tries: tries + 1, again_at });
            }
        }
    }
}

/// No job works on it.
fn is_ours(view: &View, node: NodeId) -> bool {
    view.node(node).is_some_and(|node| node.job.is_none())
}

impl Switches {
    /// It was read back to stand so.
    fn stands(&self, card: PortId, kept: &super::keep::Kept<'_>) -> bool {
        let all = self.proven();
        let proven = all.get(&card);
        proven.is_some_and(|proven| {
            (proven.switch, proven.port.as_str()) == (kept.place.at, kept.place.port)
                && proven.stands.as_ref() == Some(&kept.wanted)
        })
    }

    /// Asks a switch whether its ports stand as they were read back, and forgets that of those that do not. Those of one
    /// that does not answer stand as they did, as far as anybody knows.
    pub(super) async fn look_at(&self, at: usize) {
        let (Some(switch), Some(turn)) = (self.known.get(at), self.turns.get(at)) else { return };
        let _turn = turn.lock().await;
        let ports = match switch.driver.ports().await {
            Ok(ports) => ports,
            Err(error) => {
                tracing::warn!(switch = switch.name, %error, "a switch cannot be asked how its ports stand");
                return;
            }
        };
        let now: HashMap<&str, _> = ports.iter().map(|port| (port.name.as_str(), port)).collect();
        for (card, proven) in self.proven().iter_mut().filter(|(_, proven)| proven.switch == at) {
            let is_so = |stands: &Wanted| now.get(proven.port.as_str()).is_some_and(|port| stands.is_met_by(port));
            if proven.stands.as_ref().is_some_and(|stands| !is_so(stands)) {
                tracing::warn!(switch = switch.name, port = proven.port, %card, "somebody has changed a switch port");
                proven.stands = None;
            }
        }
    }
}
