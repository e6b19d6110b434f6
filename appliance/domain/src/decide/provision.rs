//! Provision and power verbs: what a user asks for, and the job that follows.
//!
//! State, target and job change here, with the command itself, before its 202 goes out: clients look at once.

pub(super) mod drive;

use super::Room;
use crate::command::Answer;
use crate::driver::{self, Interface};
use crate::event::What;
use crate::id::{JobId, NodeId};
use crate::job::{JOB_VERSION, Job, JobInput, JobKind, JobState, StepRecord, plan};
use crate::listed::plan_of_list;
use crate::node::Node;
use crate::power::{PowerState, PowerTarget};
use crate::provision::{Event, ProvisionState, Standing, Verb, step};
use crate::refusal::Refusal;
use crate::view::Change;
use crate::wire_steps::{is_wired, with_ports};
use std::sync::Arc;

impl Room<'_> {
    pub(super) fn provision(
        &mut self,
        id: NodeId,
        verb: Verb,
        job: JobId,
        input: &JobInput,
    ) -> Result<Answer, Refusal> {
        let node = self.node(id)?.clone();
        let next = match step(node.standing(), Event::Asked(verb)) {
            Ok(next) => next,
            Err(refused) => {
                // While somebody works on it, the state says nothing about what could be asked for.
                self.must_be_free(&node)?;
                let (node, state, allowed) = (node.title(), refused.state, refused.allowed);
                return Err(Refusal::State { node, verb, state, allowed });
            }
        };
        if verb == Verb::Unhold {
            return self.let_go_on(&node, next);
        }
        let supersedes = matches!(verb, Verb::Abort | Verb::Undeploy) && node.provision_state.is_busy();
        let taken_back = self.view.running_job(&node).is_some_and(|job| job.kind == JobKind::HandOver);
        if !supersedes || taken_back {
            // That a node is taken from who had it, nobody stops.
            self.must_be_free(&node)?;
        }
        self.check_verb(&node, verb)?;
        self.firmware_is_the_owners(&node, input)?;

        let mut changed = (*node).clone();
        changed.last_error = None;
        if supersedes && let Some(running) = self.view.running_job(&node).cloned() {
            self.supersede(&running, verb.name());
            changed.job = None;
            changed.agent = None;
        }
        let kind = match next.state {
            ProvisionState::Verifying => Some(JobKind::Verify),
            ProvisionState::Inspecting => {
                changed.inspection_started_at = Some(self.context.now);
                changed.inspection_finished_at = None;
                Some(JobKind::Inspect)
            }
            ProvisionState::Cleaning => Some(JobKind::Clean),
            ProvisionState::Deploying => Some(JobKind::Deploy),
            ProvisionState::Deleting => {
                self.detach_all(&node);
                Some(JobKind::Undeploy)
            }
            ProvisionState::Adopting => Some(JobKind::Adopt),
            ProvisionState::Rescuing => Some(JobKind::Rescue),
            ProvisionState::Unrescuing => Some(JobKind::Unrescue),
            ProvisionState::Servicing => Some(JobKind::Service),
            // A user's machine that was serviced in vain is his again, and starts its own system.
            ProvisionState::Active => Some(JobKind::Return),
            _ if verb == Verb::Abort => {
                changed.last_error =
                    Some(format!("Aborted by {} while in \"{}\".", self.context.actor, node.provision_state.name()));
                Some(JobKind::Stop)
            }
            _ => None,
        };
        self.move_to(&mut changed, next);
        if let Some(kind) = kind {
            let mut input = input.clone();
            if kind == JobKind::Clean {
                changed.settings.instance_info.remove(crate::node::CONFIG_DRIVE);
            }
            if kind == JobKind::Deploy {
                input.config_drive = drive::of_deployment(&mut changed, input.config_drive.take())?;
                input.deploy_steps = self.steps_of_deployment(&node, &input.deploy_steps)?;
            }
            let wipe = match verb {
                Verb::Clean => true,
                Verb::Deploy | Verb::Rebuild => !input.deploy_steps.is_empty(),
                _ => changed.settings.automated_clean != Some(false) || node.is_in_quarantine(),
            };
            if kind == JobKind::Deploy && !driver::is_fake(&node.settings.driver) {
                input.image = self.image_to_deploy(&node)?;
            }
            self.start_job(&mut changed, job, kind, wipe, input);
        }
        Ok(Answer::Node(self.put_node(changed)))
    }

    /// The job that held itself goes on where it is. It counts, so that it is not held there again after a restart.
    fn let_go_on(&mut self, node: &Node, next: Standing) -> Result<Answer, Refusal> {
        if let Some(job) = self.view.running_job(node) {
            let mut job = (**job).clone();
            job.input.holds_passed += 1;
            self.changes.push(Change::PutJob(Arc::new(job)));
        }
        let mut changed = node.clone();
        self.move_to(&mut changed, next);
        Ok(Answer::Node(self.put_node(changed)))
    }

    /// A step of the running job waits for somebody's word.
    pub(super) fn hold(&mut self, job: JobId) -> Result<Answer, Refusal> {
        let (_, node) = self.running(job)?;
        let next = step(node.standing(), Event::Held).map_err(|_| Refusal::Stale)?;
        let mut changed = (*node).clone();
        self.move_to(&mut changed, next);
        Ok(Answer::Node(self.put_node(changed)))
    }

    fn check_verb(&self, node: &Node, verb: Verb) -> Result<(), Refusal> {
        use Verb::{Clean, Deploy, Inspect, Provide, Rebuild, Rescue, Service, Unrescue};
        let title = node.title();
        let fake = driver::is_fake(&node.settings.driver);
        if node.maintenance && matches!(verb, Deploy | Rebuild | Clean | Provide | Rescue | Unrescue | Service) {
            let why = node.maintenance_reason.as_deref().unwrap_or("no reason was given");
            return Err(Refusal::Invalid(format!(
                "The {} operation can't be performed on node {title} because it's in maintenance mode ({why}).",
                verb.name()
            )));
        }
        let mends =
            matches!(verb, Verb::Manage | Inspect | Clean | Provide | Verb::Undeploy | Verb::Abort | Verb::Unhold);
        if node.is_in_quarantine() && !mends {
            return Err(Refusal::Invalid(format!(
                "The {} operation can't be performed on node {title} because it's in quarantine: it was not proven that it \
                 was wiped after its last lease. Have it taken back once more, or cleaned.",
                verb.name()
            )));
        }
        if node.settings.protected && matches!(verb, Verb::Undeploy | Verb::Rebuild) {
            return Err(Refusal::Forbidden(format!("Node {title} is protected: unset 'protected' first.")));
        }
        if node.settings.retired && verb == Verb::Provide {
            return Err(Refusal::Invalid(format!("Node {title} is retired and can not become available.")));
        }
        let lacks = match verb {
            Inspect if node.settings.lacks(Interface::Inspect) => Some("inspection"),
            Rescue if node.settings.lacks(Interface::Rescue) => Some("rescue"),
            _ => None,
        };
        if let Some(what) = lacks {
            let driver = &node.settings.driver;
            return Err(Refusal::Invalid(format!("The driver {driver} of node {title} does not support {what}.")));
        }
        let boots_ramdisk = matches!(verb, Inspect | Clean | Provide | Deploy | Rebuild | Rescue | Service);
        let has_boot_port = self.view.ports_of(node.id).any(|port| port.settings.pxe_enabled);
        if boots_ramdisk && !fake && !has_boot_port {
            return Err(Refusal::Invalid(format!(
                "Node {title} has no port to boot from: create one with the MAC address of its boot network card \
                 (baremetal port create MAC --node {title})."
            )));
        }
        Ok(())
    }

    pub(super) fn supersede(&mut self, running: &Job, what: &str) {
        let mut ended = running.clone();
        ended.state = JobState::Superseded(format!("{} asked for \"{what}\"", self.context.actor));
        ended.ended_at = Some(self.context.now);
        // The record stays; what a user put on his machine does not.
        ended.input.config_drive = None;
        ended.input.rescue_password = None;
        self.changes.push(Change::PutJob(Arc::new(ended)));
    }

    /// Puts the node into another standing, and tells.
    pub(super) fn move_to(&mut self, node: &mut Node, next: Standing) {
        let from = node.provision_state;
        node.provision_state = next.state;
        node.target_provision_state = next.target;
        node.provision_updated_at = Some(self.context.now);
        self.tell(node, What::Provision { from, to: next.state, target: next.target, error: node.last_error.clone() });
    }

    pub(super) fn start_job(&mut self, node: &mut Node, id: JobId, kind: JobKind, wipe: bool, input: JobInput) {
        // From here on a machine may be written to, or is somebody's.
        if !matches!(kind, JobKind::Verify | JobKind::Inspect | JobKind::Power(PowerTarget::Off) | JobKind::Stop) {
            node.wiped = false;
        }
        node.generation += 1;
        node.job = Some(id);
        node.agent = None;
        let mut job = Job {
            id,
            node: node.id,
            kind,
            version: JOB_VERSION,
            generation: node.generation,
            boots: 0,
            state: JobState::Running,
            steps: Vec::new(),
            input,
            actor: self.context.actor.to_string(),
            created_at: self.context.now,
            ended_at: None,
        };
        let is_fake = driver::is_fake(&node.settings.driver);
        let listed = if is_fake { None } else { plan_of_list(kind, job.listed()) };
        let mut steps = listed.unwrap_or_else(|| plan(kind, wipe));
        if is_wired(self.view, node.id) {
            steps = with_ports(kind, steps);
        }
        if is_fake {
            steps.retain(|step| !step.needs_machine());
        }
        job.steps = steps.into_iter().map(StepRecord::pending).collect();
        self.note_use(node.id, kind);
        self.tell(node, What::JobStarted { job: id, kind });
        self.changes.push(Change::PutJob(Arc::new(job)));
    }

    pub(super) fn power(
        &mut self,
        id: NodeId,
        target: PowerTarget,
        job: JobId,
        soft_timeout: Option<u32>,
    ) -> Result<Answer, Refusal> {
        let node = self.node(id)?.clone();
        if matches!(node.provision_state, ProvisionState::Cleaning | ProvisionState::CleanWait) {
            return Err(Refusal::Invalid(format!(
                "The requested action \"{}\" can not be performed on node \"{}\" while it is in state \"{}\".",
                target.name(),
                node.title(),
                node.provision_state.name()
            )));
        }
        if node.settings.never_off() && matches!(target, PowerTarget::Off | PowerTarget::SoftOff) {
            return Err(Refusal::Invalid(format!(
                "Node {} is never to be off (disable_power_off): reboot it instead.",
                node.title()
            )));
        }
        if node.is_in_quarantine() && node.maintenance && target.ends_in() == PowerState::On {
            return Err(Refusal::Invalid(format!(
                "Node {} is in quarantine and stays off: release it first, to mend it.",
                node.title()
            )));
        }
        self.must_be_free(&node)?;
        let mut changed = (*node).clone();
        changed.target_power_state = Some(target);
        changed.last_error = None;
        let input = JobInput { soft_timeout, ..JobInput::default() };
        self.start_job(&mut changed, job, JobKind::Power(target), false, input);
        Ok(Answer::Node(self.put_node(changed)))
    }
}
