//! What the boot trace says about a machine that did not call back, and what to try.

use crate::Engine;
use jiff::Timestamp;
use leasehold_domain::id::NodeId;
use leasehold_domain::job::{JobState, StepName, StepState};

/// Entries that are looked at.
const TRACE_LIMIT: usize = 500;

/// What to try, for a node whose machine is awaited or did not come; `None` when nothing is amiss.
pub async fn hint(engine: &Engine, node: NodeId) -> Option<String> {
    let job = engine.view().last_job(node).cloned()?;
    let step = job.current().filter(|step| step.name.waits_for_machine())?;
    let waits = matches!(job.state, JobState::Running | JobState::Failed(_)) && step.state != StepState::Pending;
    let started = job.steps.iter().find(|step| step.name == StepName::PowerCycle)?.started_at?;
    if waits { Some(why_no_agent(engine, node, started).await) } else { None }
}

/// One sentence or two for the person at the black screen.
pub(crate) async fn why_no_agent(engine: &Engine, node: NodeId, since: Timestamp) -> String {
    let kinds = heard(engine, node, since).await;
    let macs: Vec<_> = engine.view().ports_of(node).map(|port| port.settings.address).collect();
    let addresses = macs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    explain(&kinds, &addresses)
}

/// Whether the machine has fetched something to boot since then. To ask for an address is not enough: a system on its
/// disk does that, too.
pub(crate) async fn boots(engine: &Engine, node: NodeId, since: Timestamp) -> bool {
    let kinds = heard(engine, node, since).await;
    kinds.iter().any(|kind| ["tftp", "http", "agent"].iter().any(|part| kind.starts_with(part)))
}

/// What the machine was heard of since then.
async fn heard(engine: &Engine, node: NodeId, since: Timestamp) -> Vec<String> {
    let view = engine.view();
    let macs: Vec<_> = view.ports_of(node).map(|port| port.settings.address).collect();
    match engine.trace.entries(Some(node), &macs, TRACE_LIMIT).await {
        Ok(entries) => entries.iter().filter(|entry| entry.at >= since).map(|entry| entry.what.clone()).collect(),
        Err(error) => {
            tracing::warn!(%error, "the boot trace could not be read");
            Vec::new()
        }
    }
}

/// The furthest point that a boot reached decides what is worth trying.
fn explain(kinds: &[String], macs: &str) -> String {
    let seen = |part: &str| kinds.iter().any(|kind| kind.contains(part));
    if seen("agent") {
        "The agent looked itself up but never reported: read the machine's console.".into()
    } else if seen("http") {
        "It fetched its boot script or kernel but its agent never called: the kernel lacks a driver for this machine's \
         network card, or the ramdisk got no address; read the machine's console."
            .into()
    } else if seen("tftp") {
        "It fetched its boot loader by TFTP and then stopped: the loader has no driver for this network card, or \
         firmware refuses it (Secure Boot)."
            .into()
    } else if seen("dhcp") {
        "It asked for an address but fetched nothing: another DHCP server may have answered, or a firewall stands \
         between."
            .into()
    } else {
        format!(
            "No DHCP request from {macs} was seen at all: network boot may be off in its firmware, the port may be in \
             another VLAN, held by spanning tree (set it to edge/portfast) or bonded (LACP), the cable may be in another \
             card, or the MAC address may be wrong."
        )
    }
}

#[cfg(test)]
mod tests {
    use super::explain;

    #[test]
    fn the_furthest_point_reached_decides() {
        let told = |kinds: &[&str]| explain(&kinds.iter().map(|kind| (*kind).to_owned()).collect::<Vec<_>>(), "aa:bb");
        assert!(told(&[]).contains("No DHCP request from aa:bb"));
        assert!(told(&["dhcp-discover", "dhcp-offer"]).contains("fetched nothing"));
        assert!(told(&["dhcp-ack", "tftp-done"]).contains("Secure Boot"));
        assert!(told(&["dhcp-ack", "http-served"]).contains("network card"));
    }
}
