//! One-time secrets that need no storage: derived from the appliance's key and the job they belong to.
//!
//! The boot secret of a machine is bound to its node, job and boot: with the job over, or the machine started again,
//! it opens nothing, and after a crash it is the same again. An image ticket lets the agent of one job fetch one
//! image. (Design, "Deploy agent".)

use leasehold_domain::View;
use leasehold_domain::id::NodeId;
use leasehold_domain::job::{Job, JobKind};
use leasehold_store::Sealer;
use std::sync::Arc;

/// Makes and checks them.
pub struct Tickets {
    sealer: Arc<Sealer>,
}

impl Tickets {
    /// With the appliance's key.
    pub fn new(sealer: Arc<Sealer>) -> Tickets {
        Tickets { sealer }
    }

    /// The boot secret of the job's present boot: the kernel parameter `ipa-agent-token`.
    pub fn boot_token(&self, job: &Job) -> String {
        let secret = self.sealer.derive(&[
            b"boot",
            job.node.0.as_bytes(),
            job.id.0.as_bytes(),
            &job.generation.to_be_bytes(),
            &job.boots.to_be_bytes(),
        ]);
        hex::encode(secret)
    }

    /// The job that an agent with this token belongs to, if it is the node's present one and this is its present boot.
    pub fn authenticate(&self, view: &View, node: NodeId, token: &str) -> Option<Arc<Job>> {
        let node = view.node(node)?;
        let job = view.running_job(node).filter(|job| job.wants_agent())?;
        same(token, &self.boot_token(job)).then(|| job.clone())
    }

    /// The part of an image's URL that lets this job's agent fetch it.
    pub fn image_ticket(&self, job: &Job) -> String {
        let secret = self.sealer.derive(&[b"image", job.id.0.as_bytes(), &job.generation.to_be_bytes()]);
        hex::encode(&secret[..16])
    }

    /// The running deployment that this ticket belongs to.
    pub fn job_of_ticket(&self, view: &View, ticket: &str) -> Option<Arc<Job>> {
        let deployments = view.jobs().filter(|job| job.kind == JobKind::Deploy && job.is_running());
        deployments.filter(|job| same(ticket, &self.image_ticket(job))).last().cloned()
    }
}

/// Compares without telling by its time how much was right.
fn same(given: &str, expected: &str) -> bool {
    let (given, expected) = (given.as_bytes(), expected.as_bytes());
    let differences = given.iter().zip(expected).fold(0, |seen, (a, b)| seen | (a ^ b));
    given.len() == expected.len() && differences == 0
}
