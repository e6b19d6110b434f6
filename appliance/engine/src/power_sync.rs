//! Compares the recorded power state of each node with what its BMC says, for as long as the appliance runs.
//!
//! A node that a job works on is left alone. A BMC that stays silent for three rounds puts its node into
//! maintenance with the fault `power failure`; the first answer ends that.

use crate::Engine;
use leasehold_domain::command::Command;
use leasehold_domain::id::NodeId;
use leasehold_domain::node::POWER_FAILURE;
use leasehold_domain::provision::ProvisionState;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Silent rounds after which a BMC counts as lost.
const ROUNDS: u32 = 3;
/// BMCs that are asked at the same time.
const AT_ONCE: usize = 16;

/// Runs for ever.
pub(crate) async fn run(engine: Engine) {
    let mut silent: HashMap<NodeId, u32> = HashMap::new();
    let gate = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        tokio::time::sleep(engine.settings.power_sync_every).await;
        let mut round = JoinSet::new();
        for node in engine.view().nodes_after(None) {
            let watched = node.provision_state != ProvisionState::Enroll && node.job.is_none();
            if !watched || (node.maintenance && node.fault.as_deref() != Some(POWER_FAILURE)) {
                continue;
            }
            let (engine, gate, id) = (engine.clone(), gate.clone(), node.id);
            round.spawn(async move {
                let _permit = gate.acquire().await;
                (id, look(&engine, id).await)
            });
        }
        let mut heard = HashMap::new();
        while let Some(result) = round.join_next().await {
            let Ok((id, Some(error))) = result else { continue };
            let rounds = silent.get(&id).copied().unwrap_or(0) + 1;
            heard.insert(id, rounds);
            // Told again each round, which changes nothing more: the first time the disk may have been full.
            if rounds >= ROUNDS {
                let lost = Command::ObservePower { node: id, power: None, error: Some(error) };
                if let Err(error) = engine.tell(lost).await {
                    tracing::warn!(%error, "could not record a lost BMC");
                }
            }
        }
        silent = heard;
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
