//! Compares the recorded power state of each node with what its BMC says, for as long as the appliance runs.
//!
//! A node that a job works on is left alone. A BMC that stays silent for three rounds puts its node into
//! maintenance with the fault `power failure`; the first answer ends that.

use crate::Engine;
use leasehold_domain::command::Command;
use leasehold_domain::id::NodeId;
use leasehold_domain::node::{Node, POWER_FAILURE};
use leasehold_domain::provision::ProvisionState;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// Silent rounds after which a BMC counts as lost.
const ROUNDS: u32 = 3;
/// Only each so many rounds is a lost BMC asked, so that many of them leave room for the others.
const LOST_EVERY: u64 = 5;
/// BMCs that are asked at the same time.
const AT_ONCE: usize = 64;

/// Runs for ever. A BMC that takes its time holds up only itself: its next round is left out while this one lasts.
pub(crate) async fn run(engine: Engine) {
    let mut silent: HashMap<NodeId, u32> = HashMap::new();
    let mut asked: HashSet<NodeId> = HashSet::new();
    let mut looks: JoinSet<(NodeId, Option<String>)> = JoinSet::new();
    let gate = Arc::new(Semaphore::new(AT_ONCE));
    let mut rounds = tokio::time::interval(engine.settings.power_sync_every);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick comes at once; a BMC deserves a moment after a start.
    rounds.tick().await;
    let mut round = 0_u64;
    loop {
        tokio::select! {
            _ = rounds.tick() => {
                round += 1;
                let view = engine.view();
                silent.retain(|id, _| view.node(*id).is_some());
                engine.bmcs.forget_others(|id| view.node(id).is_some());
                for node in view.nodes_after(None).filter(|node| is_due(node, round)) {
                    if asked.insert(node.id) {
                        let (engine, gate, id) = (engine.clone(), gate.clone(), node.id);
                        looks.spawn(async move {
                            let _permit = gate.acquire().await;
                            (id, look(&engine, id).await)
                        });
                    }
                }
            }
            Some(result) = looks.join_next() => match result {
                Ok((id, error)) => {
                    asked.remove(&id);
                    note(&engine, &mut silent, id, error).await;
                }
                Err(error) => {
                    tracing::error!(%error, "a look at a BMC failed; all are asked again");
                    asked.clear();
                    looks.abort_all();
                }
            },
        }
    }
}

/// The node is watched, and asked in this round.
fn is_due(node: &Node, round: u64) -> bool {
    let lost = node.fault.as_deref() == Some(POWER_FAILURE);
    let watched = node.provision_state != ProvisionState::Enroll && node.job.is_none();
    watched && if lost { round.is_multiple_of(LOST_EVERY) } else { !node.maintenance }
}

/// Counts silent rounds; from the third on the node is told to be lost. Again each time, which changes nothing more: the
/// first time the disk may have been full.
async fn note(engine: &Engine, silent: &mut HashMap<NodeId, u32>, id: NodeId, error: Option<String>) {
    let Some(error) = error else {
        silent.remove(&id);
        return;
    };
    let rounds = silent.entry(id).or_default();
    *rounds += 1;
    if *rounds >= ROUNDS {
        let lost = Command::ObservePower { node: id, power: None, error: Some(error) };
        if let Err(error) = engine.tell(lost).await {
            tracing::warn!(%error, "could not record a lost BMC");
        }
    }
}

/// Reads one node's power and records it; the error, if its BMC does not answer.
async fn look(engine: &Engine, id: NodeId) -> Option<String> {
    engine.view().node(id)?;
    // Its address may have been changed since it was enrolled, and with it what is pinned.
    let node = match engine.pinned(id).await {
        Ok(node) => node,
        Err(error) => return Some(error),
    };
    let bmc = match engine.bmcs.of(&node) {
        Ok(bmc) => bmc,
        Err(error) => return Some(error.to_string()),
    };
    match bmc.power().await {
        Ok(power) => {
            // A job may have begun meanwhile: what it does to the power is its own to tell.
            let idle = engine.view().node(id).is_some_and(|node| node.job.is_none());
            if idle {
                let seen = Command::ObservePower { node: id, power: Some(power), error: None };
                if let Err(error) = engine.tell(seen).await {
                    tracing::warn!(%error, "could not record a power state");
                }
            }
            None
        }
        Err(error) => Some(error.to_string()),
    }
}
