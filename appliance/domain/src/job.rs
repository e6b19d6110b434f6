//! Jobs: long work on a node as an ordered list of named, idempotent steps, each with a deadline and a record.
//!
//! The record is what a user sees as timeline. Steps are kept by name, so that another version of the program can
//! go on with a job or say that it cannot.

use crate::id::{ImageId, JobId, NodeId};
use crate::node::Sealed;
use crate::power::PowerTarget;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a job is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobKind {
    /// Enroll → manageable: address and credentials of the BMC work.
    Verify,
    Inspect,
    Clean,
    Deploy,
    /// Active → available: the machine is stopped, then cleaned.
    Undeploy,
    /// From whoever has the machine to nobody, wiped, whatever it was doing: a lease has ended or begins.
    HandOver,
    /// A machine that already runs is taken over as it is.
    Adopt,
    /// A user's machine runs the ramdisk, so that he can look at its disks.
    Rescue,
    /// Back from there to the machine's own system.
    Unrescue,
    /// Steps on a user's machine, which is his again afterwards.
    Service,
    /// Back to the machine's own system after a service that failed.
    Return,
    /// A change of power that a user asked for.
    Power(PowerTarget),
    /// After an abort: the machine must not go on booting into a job that is no more.
    Stop,
}

/// One step. The names are stored and shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepName {
    /// The BMC answers and takes the credentials; its certificate is pinned.
    CheckBmc,
    ReadPower,
    /// The image is in the data folder, verified and packed.
    PrepareImage,
    /// The next boot, and only that, is from the network.
    BootFromNetwork,
    /// Off and on again.
    PowerCycle,
    /// The agent calls back; until then the node is in a wait state.
    AwaitAgent,
    /// The agent reported what the machine consists of.
    AwaitInventory,
    Wipe,
    WriteImage,
    /// Firmware knows the new system (UEFI boot entry).
    InstallBootloader,
    PowerOff,
    /// From now on the machine boots from its disk.
    BootFromDisk,
    PowerOn,
    /// What the former user left on the node's record is gone.
    ReleaseInstance,
    /// The power change of a `Power` job.
    ChangePower,
    /// The ramdisk lets its user in.
    OpenRescue,
    /// The steps of a `Service` job.
    RunService,
    /// The BMC has taken a change of the BIOS settings, which the machine's next start brings into force.
    SetBios,
    /// The settings show what was asked for.
    CheckBios,
    /// The BMC has taken new firmware.
    UpdateFirmware,
    /// The update has ended, and the version is read back.
    CheckFirmware,
    /// The node's switch ports are where nobody hears it.
    PortsIdle,
    /// They are where the appliance boots machines.
    PortsProvisioning,
    /// They are where it boots one that may still hold somebody's data.
    PortsCleaning,
    /// They are on the networks of whoever has the machine.
    PortsTenant,
    /// A step of another version of the program.
    #[serde(other)]
    Unknown,
}

impl StepName {
    /// The stored and shown name.
    pub fn name(self) -> &'static str {
        match self {
            StepName::CheckBmc => "check-bmc",
            StepName::ReadPower => "read-power",
            StepName::PrepareImage => "prepare-image",
            StepName::BootFromNetwork => "boot-from-network",
            StepName::PowerCycle => "power-cycle",
            StepName::AwaitAgent => "await-agent",
            StepName::AwaitInventory => "await-inventory",
            StepName::Wipe => "wipe",
            StepName::WriteImage => "write-image",
            StepName::InstallBootloader => "install-bootloader",
            StepName::PowerOff => "power-off",
            StepName::BootFromDisk => "boot-from-disk",
            StepName::PowerOn => "power-on",
            StepName::ReleaseInstance => "release-instance",
            StepName::ChangePower => "change-power",
            StepName::OpenRescue => "open-rescue",
            StepName::RunService => "run-service",
            StepName::SetBios => "set-bios",
            StepName::CheckBios => "check-bios",
            StepName::UpdateFirmware => "update-firmware",
            StepName::CheckFirmware => "check-firmware",
            StepName::PortsIdle => "ports-idle",
            StepName::PortsProvisioning => "ports-provisioning",
            StepName::PortsCleaning => "ports-cleaning",
            StepName::PortsTenant => "ports-tenant",
            StepName::Unknown => "unknown",
        }
    }

    /// The step waits for the machine rather than works: the node shows a wait state meanwhile.
    pub fn waits_for_machine(self) -> bool {
        matches!(self, StepName::AwaitAgent | StepName::AwaitInventory)
    }

    /// It changes the machine's firmware or settings of that, or looks whether they have changed.
    fn is_of_firmware(self) -> bool {
        use StepName::{CheckBios, CheckFirmware, SetBios, UpdateFirmware};
        matches!(self, UpdateFirmware | CheckFirmware | SetBios | CheckBios)
    }

    /// It puts the node's switch ports somewhere.
    pub fn is_of_ports(self) -> bool {
        use StepName::{PortsCleaning, PortsIdle, PortsProvisioning, PortsTenant};
        matches!(self, PortsIdle | PortsProvisioning | PortsCleaning | PortsTenant)
    }

    /// Seconds after which the step has failed, with all its attempts. Generous: firmware of large servers takes ten
    /// minutes to reach the network, and a full wipe of a slow disk takes hours.
    pub fn deadline_seconds(self) -> i64 {
        match self {
            StepName::CheckBmc | StepName::ReadPower => 60,
            StepName::BootFromNetwork | StepName::BootFromDisk => 180,
            StepName::PortsIdle | StepName::PortsProvisioning | StepName::PortsCleaning | StepName::PortsTenant => 300,
            StepName::PowerCycle | StepName::PowerOff | StepName::PowerOn | StepName::ChangePower => 300,
            StepName::AwaitAgent | StepName::AwaitInventory => 1800,
            StepName::PrepareImage => 3600,
            StepName::WriteImage => 7200,
            StepName::Wipe | StepName::RunService => 24 * 3600,
            StepName::InstallBootloader | StepName::OpenRescue | StepName::SetBios => 300,
            StepName::CheckBios => 900,
            StepName::UpdateFirmware | StepName::CheckFirmware => 2 * 3600,
            StepName::ReleaseInstance | StepName::Unknown => 60,
        }
    }

    /// The step is for a machine that boots and runs an agent; a node without a machine leaves it out.
    pub fn needs_machine(self) -> bool {
        matches!(
            self,
            StepName::PrepareImage
                | StepName::BootFromNetwork
                | StepName::PowerCycle
                | StepName::InstallBootloader
                | StepName::BootFromDisk
        )
    }

    /// Seconds that a step has when it is taken up again after a restart, however long that took.
    pub fn least_seconds(self) -> i64 {
        self.deadline_seconds() / 4
    }
}

/// Where a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepState {
    Pending,
    Running,
    Done,
    Failed,
}

/// The record of one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    pub name: StepName,
    pub state: StepState,
    /// How often it was begun; more than once after a restart or a retry.
    pub attempts: u32,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    /// When it has failed if it is not done.
    pub deadline: Option<Timestamp>,
    /// What came of it, or what it is waiting for, in a user's words.
    pub detail: Option<String>,
}

impl StepRecord {
    /// A step that nobody has begun.
    pub fn pending(name: StepName) -> StepRecord {
        StepRecord {
            name,
            state: StepState::Pending,
            attempts: 0,
            started_at: None,
            ended_at: None,
            deadline: None,
            detail: None,
        }
    }
}

/// How a job stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    Running,
    Done,
    Failed(String),
    /// Another job or an abort took its place.
    Superseded(String),
}

/// What the job needs beside the node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobInput {
    /// The config drive: a file system image, base64 of gzip, as the API takes it; or `None`.
    pub config_drive: Option<String>,
    /// The image that `prepare-image` found or made.
    pub image: Option<ImageId>,
    /// Clean steps that a user asked for (`[{interface, step, args}]`); empty: the automatic wipe.
    pub clean_steps: Vec<Value>,
    /// What a deployment does beside its own steps, before the image is written (`[{interface, step, args}]`).
    pub deploy_steps: Vec<Value>,
    /// Steps of a `Service` job, in the same form.
    pub service_steps: Vec<Value>,
    /// The hash of the user's password in the rescue system; the password itself is kept nowhere.
    pub rescue_password: Option<Sealed>,
    /// How many steps of a list that hold the job somebody has let go on.
    pub holds_passed: u32,
    /// Deploy even where this image already is (`rebuild`).
    pub rebuild: bool,
    /// How long a soft power change may take, in seconds.
    pub soft_timeout: Option<u32>,
}

/// A job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    pub id: JobId,
    pub node: NodeId,
    pub kind: JobKind,
    /// Of the list of steps: a program that knows another version refuses to go on.
    pub version: u32,
    /// The node's generation when the job began.
    pub generation: u64,
    /// How often the machine was started for this job; each start has a boot secret of its own.
    pub boots: u32,
    pub state: JobState,
    pub steps: Vec<StepRecord>,
    pub input: JobInput,
    /// Who asked.
    pub actor: String,
    pub created_at: Timestamp,
    pub ended_at: Option<Timestamp>,
}

/// What the timeline says of an inventory that was waited for.
pub const INVENTORY_ARRIVED: &str = "the inventory arrived";

/// The listed step that wipes all of all disks. Its relatives leave data behind.
const ERASE: &str = "erase_devices";

/// The version of the lists in [`plan`].
pub const JOB_VERSION: u32 = 1;

/// The steps of a job, in order. `wipe`: automated cleaning is on for the node; of a deployment: something is asked for
/// that comes before the image.
pub fn plan(kind: JobKind, wipe: bool) -> Vec<StepName> {
    use StepName::*;
    let cleaning = [BootFromNetwork, PowerCycle, AwaitAgent, Wipe, PowerOff];
    match kind {
        JobKind::Verify => vec![CheckBmc, ReadPower],
        JobKind::Inspect => vec![BootFromNetwork, PowerCycle, AwaitInventory, PowerOff],
        JobKind::Clean if wipe => cleaning.to_vec(),
        JobKind::Clean => vec![PowerOff],
        JobKind::Deploy => {
            let before: &[StepName] = if wipe { &[Wipe] } else { &[] };
            let start = [PrepareImage, BootFromNetwork, PowerCycle, AwaitAgent];
            let end = [WriteImage, InstallBootloader, PowerOff, BootFromDisk, PowerOn];
            [&start, before, &end].concat()
        }
        // Its keeper may do without a wipe between his own uses, not between two people's.
        JobKind::HandOver => [&[PowerOff, ReleaseInstance][..], &cleaning].concat(),
        JobKind::Undeploy if wipe => [&[PowerOff, ReleaseInstance][..], &cleaning].concat(),
        JobKind::Undeploy => vec![PowerOff, ReleaseInstance],
        JobKind::Adopt => vec![CheckBmc, ReadPower],
        JobKind::Power(_) => vec![ChangePower],
        JobKind::Stop => vec![PowerOff],
        JobKind::Rescue => vec![BootFromNetwork, PowerCycle, AwaitAgent, OpenRescue],
        JobKind::Unrescue | JobKind::Return => vec![PowerOff, BootFromDisk, PowerOn],
        JobKind::Service => {
            vec![BootFromNetwork, PowerCycle, AwaitAgent, RunService, PowerOff, BootFromDisk, PowerOn]
        }
    }
}

impl Job {
    /// The step that runs or comes next; `None` when all are done.
    pub fn current(&self) -> Option<&StepRecord> {
        self.steps.iter().find(|step| step.state != StepState::Done)
    }

    /// Its steps have wiped the machine's disks: by the automatic wipe, or because its user named that. After the last of
    /// them, for his list may go on with another start.
    pub fn has_wiped(&self) -> bool {
        let done = |step: &StepRecord| step.name != StepName::Wipe || step.state == StepState::Done;
        let erases = |step: &Value| step.get("step").and_then(Value::as_str).is_some_and(|name| name == ERASE);
        let listed = self.listed();
        // An image follows.
        self.kind != JobKind::Deploy && self.steps.iter().all(done) && (listed.is_empty() || listed.iter().any(erases))
    }

    /// Something is being written to the firmware or its settings, or takes effect at the machine's next start and was not
    /// seen to be there yet: cut off now, the machine might never start again. Each of these steps has its deadline.
    pub fn flashes(&self) -> bool {
        let begun = |step: &&StepRecord| step.state != StepState::Pending;
        let steps = self.steps.iter().take_while(begun);
        let last = steps.filter(|step| step.name.is_of_firmware()).last();
        last.is_some_and(|step| match step.name {
            StepName::UpdateFirmware | StepName::SetBios => true,
            _ => step.state == StepState::Running,
        })
    }

    /// The job still has work to do.
    pub fn is_running(&self) -> bool {
        self.state == JobState::Running
    }

    /// The machine is meant to boot our ramdisk now: it was started for this job, and the agent is wanted until its
    /// last step that needs it is done.
    pub fn wants_agent(&self) -> bool {
        let last_use = self.steps.iter().rposition(|step| {
            matches!(
                step.name,
                StepName::AwaitAgent
                    | StepName::AwaitInventory
                    | StepName::Wipe
                    | StepName::WriteImage
                    | StepName::InstallBootloader
                    | StepName::OpenRescue
                    | StepName::RunService
                    | StepName::CheckBios
                    | StepName::CheckFirmware
            )
        });
        let boot = self.steps.iter().position(|step| step.name == StepName::PowerCycle);
        match (boot, last_use) {
            (Some(boot), Some(last)) => {
                self.is_running()
                    && self.steps[boot].state != StepState::Pending
                    && self.steps[last].state != StepState::Done
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn step_names_are_what_is_stored() {
        let kinds = [JobKind::Verify, JobKind::Inspect, JobKind::Deploy, JobKind::Undeploy, JobKind::Stop];
        for kind in kinds.into_iter().chain([JobKind::Rescue, JobKind::Unrescue, JobKind::Service, JobKind::Return]) {
            for step in plan(kind, true) {
                assert_eq!(serde_json::to_value(step).expect("a string"), step.name());
            }
        }
        assert_eq!(serde_json::from_str::<StepName>("\"of-tomorrow\"").expect("any name is read"), StepName::Unknown);
    }

    #[test]
    fn a_node_is_never_freed_without_a_wipe_unless_its_keeper_said_so() {
        assert!(plan(JobKind::Undeploy, true).contains(&StepName::Wipe));
        assert!(plan(JobKind::Clean, true).contains(&StepName::Wipe));
    }
}
