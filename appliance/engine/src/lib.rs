//! Long work: jobs carried out step by step, and reconcilers that compare wanted with actual.
//!
//! In: the committed state (jobs that run, nodes to watch) and what BMCs and agents say. Out: commands to the store
//! (`StartStep`, `EndStep`, `ObservePower`, …) and calls to BMCs and agents. Nothing is kept here that a restart would
//! miss: a job goes on at its recorded step, and each step first looks whether its effect is already there.

mod agent_client;
pub mod bmcs;
pub mod config_drive;
pub mod diagnosis;
pub mod events;
pub mod images;
pub mod leases;
mod power_sync;
pub mod rescue;
mod runner;
mod steps;
mod supervisor;
pub mod switches;
pub mod tickets;
pub mod webhooks;

use bmcs::Bmcs;
use images::ImageStore;
use leasehold_domain::command::{Actor, Command};
use leasehold_domain::id::NodeId;
use leasehold_domain::node::{Node, Sealed};
use leasehold_domain::{Refusal, View};
use leasehold_store::{Committed, SealError, Sealer, Store, SubmitError, Trace};
use leases::LeaseSettings;
use std::sync::Arc;
use std::time::Duration;
use switches::Switches;
use tickets::Tickets;

/// How the engine is to work.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Base URL of the TLS boot listener as nodes reach it, without a slash at the end: agents fetch images there.
    pub agent_url: String,
    /// How thoroughly a node is wiped between two uses.
    pub wipe: Wipe,
    /// How often the power state of each node is read.
    pub power_sync_every: Duration,
    /// How long an operating system may take to shut down before its power is cut.
    pub soft_off_patience: Duration,
    /// After a restart of the appliance: how long a machine that is waited for may stay silent until it is taken to
    /// have missed its network boot, and is started again.
    pub silence_patience: Duration,
    /// On what terms nodes are leased.
    pub lease: LeaseSettings,
}

/// What the automatic wipe does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wipe {
    /// Every byte: by discard or write-zeroes where the disk does that, else written; read back.
    Full,
    /// Partition tables, file system and RAID signatures only: quick, and the former user's data stays readable.
    Metadata,
}

/// The engine's way to everything it works with.
#[derive(Clone)]
pub struct Engine {
    pub store: Store,
    pub trace: Trace,
    pub bmcs: Arc<Bmcs>,
    pub images: Arc<ImageStore>,
    pub tickets: Arc<Tickets>,
    pub sealer: Arc<Sealer>,
    pub switches: Arc<Switches>,
    pub settings: Arc<Settings>,
}

impl Engine {
    /// Starts the supervisor of jobs and the reconcilers; they end when the returned handle is dropped.
    pub fn start(&self) -> Running {
        self.images.resume(&self.store);
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(supervisor::run(self.clone()));
        tasks.spawn(power_sync::run(self.clone()));
        tasks.spawn(leases::run(self.clone()));
        tasks.spawn(switches::keeper::run(self.clone()));
        Running { tasks }
    }

    /// The state now.
    pub fn view(&self) -> Arc<View> {
        self.store.view()
    }

    /// Seals a secret, bound to `context`.
    pub fn seal(&self, secret: &[u8], context: &[&[u8]]) -> Result<Sealed, SealError> {
        self.sealer.seal(secret, context)
    }

    /// The node, its BMC's certificate pinned where one is to be.
    pub(crate) async fn pinned(&self, id: NodeId) -> Result<Arc<Node>, String> {
        let find = || self.view().node(id).cloned().ok_or_else(|| "The node was removed.".to_owned());
        let node = find()?;
        let Some(pin) = self.bmcs.certificate_to_pin(&node).await.map_err(|error| error.to_string())? else {
            return Ok(node);
        };
        match self.tell(pin).await.map_err(|error| error.to_string())? {
            Some(_) => find(),
            None => Err("The address of its BMC was changed meanwhile: ask again.".into()),
        }
    }

    /// Gives a command in the engine's name. `None`: it was refused, which for the engine means that the job is no
    /// longer the current one.
    pub(crate) async fn tell(&self, command: Command) -> Result<Option<Committed>, SubmitError> {
        let name = command.name();
        match self.store.submit(command, Actor::System("engine")).await {
            Ok(committed) => Ok(Some(committed)),
            Err(SubmitError::Refused(Refusal::Stale | Refusal::NotFound { .. })) => Ok(None),
            Err(SubmitError::Refused(refusal)) => {
                tracing::warn!(command = name, %refusal, "the engine's report was refused");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// The engine at work; dropping it stops it at once (jobs go on at the next start).
pub struct Running {
    tasks: tokio::task::JoinSet<()>,
}

impl Running {
    /// Returns when a part has ended, which is a defect: without it jobs would hang in silence.
    pub async fn failed(&mut self) -> String {
        match self.tasks.join_next().await {
            Some(Err(error)) => format!("a part of the engine failed: {error}"),
            _ => "a part of the engine has ended".into(),
        }
    }
}
