//! Progress of jobs: steps begin, tell, end; the node follows.

use super::Room;
use crate::command::{Answer, StepEnd};
use crate::event::What;
use crate::id::{ImageId, JobId};
use crate::job::{JOB_VERSION, Job, JobKind, JobState, StepName, StepRecord, StepState};
use crate::node::{CLEAN_FAILURE, Node};
use crate::power::PowerState;
use crate::provision::{Event, ProvisionState, step};
use crate::refusal::Refusal;
use crate::view::Change;
use jiff::SignedDuration;
use std::sync::Arc;

/// Details are kept short: they are shown in tables.
const DETAIL_LENGTH: usize = 2000;

impl Room<'_> {
    /// A running job that still holds its node.
    pub(super) fn running(&self, id: JobId) -> Result<(Arc<Job>, Arc<Node>), Refusal> {
        let job = self.view.job(id).filter(|job| job.is_running()).ok_or(Refusal::Stale)?;
        let node = self.view.node(job.node).filter(|node| node.job == Some(id)).ok_or(Refusal::Stale)?;
        Ok((job.clone(), node.clone()))
    }

    pub(super) fn start_step(&mut self, id: JobId, name: StepName) -> Result<Answer, Refusal> {
        let (job, node) = self.running(id)?;
        if job.version != JOB_VERSION || name == StepName::Unknown {
            let reason = "This job was begun by another version of the program, whose steps this one does not know.";
            return self.finish_step(&job, &node, name, &StepEnd::Failed(reason.into()));
        }
        let mut changed = (*job).clone();
        let record = current(&mut changed, name)?;
        record.state = StepState::Running;
        record.attempts += 1;
        // The start is that of the first attempt, and so is the deadline, within bounds: its least time is left
        // however long the appliance was down, and never more than all of it wherever the clock has jumped.
        record.started_at.get_or_insert(self.context.now);
        let limit = name.deadline_seconds();
        let attempt = record.attempts;
        let after =
            |seconds| self.context.now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(self.context.now);
        let (least, most) = (after(name.least_seconds()), after(limit));
        record.deadline = Some(record.deadline.map_or(most, |deadline| deadline.clamp(least, most)));
        if name == StepName::PowerCycle {
            changed.boots += 1;
        }
        let mut moved = (*node).clone();
        if name == StepName::PowerCycle {
            moved.agent = None;
        }
        if name.waits_for_machine()
            && let Ok(next) = step(moved.standing(), Event::Waiting)
        {
            self.move_to(&mut moved, next);
        }
        self.tell(&moved, What::StepStarted { job: id, step: name, attempt });
        let job = Arc::new(changed);
        self.changes.push(Change::PutJob(job.clone()));
        if moved != *node {
            self.put_node(moved);
        }
        Ok(Answer::Job(job))
    }

    pub(super) fn step_progress(&mut self, id: JobId, name: StepName, detail: &str) -> Result<Answer, Refusal> {
        let (job, _) = self.running(id)?;
        let mut changed = (*job).clone();
        current(&mut changed, name)?.detail = Some(shortened(detail));
        let job = Arc::new(changed);
        self.changes.push(Change::PutJob(job.clone()));
        Ok(Answer::Job(job))
    }

    pub(super) fn use_image(&mut self, id: JobId, image: ImageId) -> Result<Answer, Refusal> {
        let (job, _) = self.running(id)?;
        self.touch_image(image)?;
        let mut changed = (*job).clone();
        changed.input.image = Some(image);
        let job = Arc::new(changed);
        self.changes.push(Change::PutJob(job.clone()));
        Ok(Answer::Job(job))
    }

    /// Goes back from waiting for the machine to starting it, with fresh time for both.
    pub(super) fn boot_again(&mut self, id: JobId) -> Result<Answer, Refusal> {
        let (job, node) = self.running(id)?;
        let waits = |step: &StepRecord| step.name.waits_for_machine() && step.state == StepState::Running;
        if node.agent.is_some() || !job.current().is_some_and(waits) {
            return Err(Refusal::Stale);
        }
        let mut changed = (*job).clone();
        // The last of the starts that a list of steps may have: those before it are over.
        let begun = changed.steps.iter().take_while(|step| step.state != StepState::Pending).count();
        let boot = changed.steps.iter().take(begun).rposition(|step| step.name == StepName::BootFromNetwork);
        let boot = boot.ok_or(Refusal::Stale)?;
        for record in changed.steps.iter_mut().skip(boot) {
            *record = StepRecord::pending(record.name);
        }
        let job = Arc::new(changed);
        self.changes.push(Change::PutJob(job.clone()));
        Ok(Answer::Job(job))
    }

    pub(super) fn end_step(&mut self, id: JobId, name: StepName, end: &StepEnd) -> Result<Answer, Refusal> {
        let (job, node) = self.running(id)?;
        self.finish_step(&job, &node, name, end)
    }

    /// Ends a step of `job`; `node` is the node as this decision has changed it so far.
    pub(super) fn finish_step(
        &mut self,
        job: &Job,
        node: &Node,
        name: StepName,
        end: &StepEnd,
    ) -> Result<Answer, Refusal> {
        let mut job = job.clone();
        let mut node = node.clone();
        let now = self.context.now;
        let record = current(&mut job, name)?;
        record.ended_at = Some(now);
        let (ok, detail) = match end {
            StepEnd::Done(detail) => (true, detail.clone()),
            StepEnd::Failed(reason) => (false, Some(reason.clone())),
        };
        record.state = if ok { StepState::Done } else { StepState::Failed };
        record.detail = detail.as_deref().map(shortened).or(record.detail.take());
        self.tell(&node, What::StepEnded { job: job.id, step: name, ok, detail: detail.clone() });

        if ok {
            self.follow_step(&job, &mut node, name);
        }
        let over = !ok || job.current().is_none();
        if over {
            self.end_job(&mut job, &mut node, detail.filter(|_| !ok));
        }
        let (kind, id) = (job.kind, node.id);
        self.changes.push(Change::PutJob(Arc::new(job)));
        let node = self.put_node(node);
        if over {
            self.leases_follow(id, kind, detail_of(end));
        }
        Ok(Answer::Node(node))
    }

    /// What a step that was done means for the node.
    fn follow_step(&mut self, job: &Job, node: &mut Node, name: StepName) {
        match name {
            StepName::AwaitAgent | StepName::AwaitInventory => {
                if let Ok(next) = step(node.standing(), Event::Resumed) {
                    self.move_to(node, next);
                }
            }
            StepName::PowerOff => self.set_power(node, PowerState::Off),
            StepName::Wipe if job.has_wiped() => {
                // A lessee may have his machine wiped; it is still his, and what he may change beside its disks is not reset.
                node.wiped = node.lease.is_none();
                if node.wiped && node.is_in_quarantine() {
                    node.fault = None;
                }
            }
            StepName::PowerOn | StepName::PowerCycle => self.set_power(node, PowerState::On),
            StepName::ChangePower => {
                if let JobKind::Power(target) = job.kind {
                    self.set_power(node, target.ends_in());
                }
            }
            StepName::ReleaseInstance => {
                node.settings.instance_info.clear();
                node.settings.instance_uuid = None;
                node.settings.labels.remove("instance_name");
                self.end_allocation(node.id);
                if let Ok(next) = step(node.standing(), Event::Done) {
                    self.move_to(node, next);
                }
            }
            _ => {}
        }
    }

    fn set_power(&mut self, node: &mut Node, power: PowerState) {
        if node.power_state != Some(power) {
            node.power_state = Some(power);
            self.tell(node, What::Power { to: Some(power) });
        }
    }

    fn end_job(&mut self, job: &mut Job, node: &mut Node, failure: Option<String>) {
        job.ended_at = Some(self.context.now);
        job.state = match &failure {
            None => JobState::Done,
            Some(reason) => JobState::Failed(reason.clone()),
        };
        job.input.config_drive = None;
        job.input.rescue_password = None;
        node.job = None;
        node.agent = None;
        node.target_power_state = None;
        if let Some(reason) = &failure {
            node.last_error = Some(reason.clone());
            // What came after the wipe is not known.
            node.wiped = false;
        }
        let moves = !matches!(job.kind, JobKind::Power(_) | JobKind::Stop);
        let event = if failure.is_none() { Event::Done } else { Event::Failed };
        let cleaning = matches!(node.provision_state, ProvisionState::Cleaning | ProvisionState::CleanWait);
        if cleaning && let Some(reason) = &failure {
            node.maintenance = true;
            node.fault = node.lasting_fault().or(Some(CLEAN_FAILURE.into()));
            node.maintenance_reason = Some(format!("Cleaning failed: {reason}"));
            let reason = node.maintenance_reason.clone();
            self.tell(node, What::Maintenance { on: true, reason, quarantine: false });
        }
        let mut standing = node.standing();
        if cleaning && node.settings.retired {
            // It is wiped, and nobody gets it any more.
            standing.target = Some(ProvisionState::Manageable);
        }
        if moves && let Ok(next) = step(standing, event) {
            self.move_to(node, next);
        }
        self.tell(node, What::JobEnded { job: job.id, kind: job.kind, ok: failure.is_none(), detail: failure });
    }
}

/// The record of the job's present step, if it is the one that is meant.
fn current(job: &mut Job, name: StepName) -> Result<&mut crate::job::StepRecord, Refusal> {
    let record = job.steps.iter_mut().find(|step| step.state != StepState::Done).ok_or(Refusal::Stale)?;
    if record.name == name { Ok(record) } else { Err(Refusal::Stale) }
}

/// Why, if it has failed.
fn detail_of(end: &StepEnd) -> Option<&str> {
    match end {
        StepEnd::Done(_) => None,
        StepEnd::Failed(reason) => Some(reason),
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(DETAIL_LENGTH).collect()
}
