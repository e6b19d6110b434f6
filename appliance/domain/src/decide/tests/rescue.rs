//! A user's machine in rescue and in service: what is kept of it, and how it comes back to him.

use super::*;
use crate::job::JobKind;
use crate::node::Sealed;

const ACTIVE: [Verb; 3] = [Verb::Manage, Verb::Provide, Verb::Deploy];

impl World {
    /// A node that is deployed, and asked for this.
    fn asked(verb: Verb, input: JobInput) -> (World, JobId) {
        let mut world = World::at(&ACTIVE);
        let job = JobId(Uuid::from_u128(999));
        world.must(Command::Provision { node: NODE, verb, job, input: Box::new(input) });
        (world, job)
    }

    /// Works up to this step, and begins it.
    fn reach(&mut self, step: StepName) {
        while self.job().and_then(|job| job.current().map(|step| step.name)) != Some(step) {
            assert!(self.work(|_| StepEnd::Done(None)), "the job has no {}", step.name());
        }
        let job = self.job().expect("it runs").id;
        self.must(Command::StartStep { job, step });
    }

    fn kind(&self) -> Option<JobKind> {
        self.job().map(|job| job.kind)
    }
}

fn password() -> JobInput {
    JobInput { rescue_password: Some(Sealed(b"a sealed hash".to_vec())), ..JobInput::default() }
}

/// The record of a job as the decision about this command leaves it.
fn left_of(world: &World, job: JobId, command: &Command) -> Arc<Job> {
    let context = Context { actor: Actor::System("test"), now: world.now };
    let decision = decide(&world.view, command, &context).expect("legal");
    let mine = |change: &Change| match change {
        Change::PutJob(ended) if ended.id == job => Some(ended.clone()),
        _ => None,
    };
    decision.changes.iter().find_map(mine).expect("the job is written")
}

#[test]
fn a_rescue_keeps_no_password_however_it_ends() {
    let (mut world, job) = World::asked(Verb::Rescue, password());
    world.reach(StepName::AwaitAgent);
    assert_eq!(world.node().provision_state, ProvisionState::RescueWait);
    let input = Box::new(JobInput::default());
    for verb in [Verb::Abort, Verb::Undeploy] {
        let instead = Command::Provision { node: NODE, verb, job: JobId(Uuid::from_u128(998)), input: input.clone() };
        assert_eq!(left_of(&world, job, &instead).input.rescue_password, None, "{verb:?}");
    }
    let boot = world.job().expect("it runs").boots;
    world.must(heartbeat(job, boot));
    world.must(Command::StartStep { job, step: StepName::OpenRescue });
    assert!(world.job().is_some_and(|job| job.input.rescue_password.is_some()), "the agent is to be told");
    for end in [StepEnd::Done(None), StepEnd::Failed("no SSH".into())] {
        let command = Command::EndStep { job, step: StepName::OpenRescue, end };
        assert_eq!(left_of(&world, job, &command).input.rescue_password, None);
    }
    world.must(Command::EndStep { job, step: StepName::OpenRescue, end: StepEnd::Done(None) });
    assert_eq!((world.node().provision_state, world.job()), (ProvisionState::Rescue, None));
    world.verb(Verb::Unrescue).expect("legal");
    world.finish();
    assert_eq!(world.node().provision_state, ProvisionState::Active);
}

#[test]
fn a_rescue_that_failed_is_tried_again_or_taken_back() {
    let (mut world, job) = World::asked(Verb::Rescue, password());
    world.reach(StepName::AwaitAgent);
    world.must(Command::EndStep { job, step: StepName::AwaitAgent, end: StepEnd::Failed("it never called".into()) });
    let node = world.node();
    assert_eq!(
        (node.provision_state, node.last_error.as_deref()),
        (ProvisionState::RescueFailed, Some("it never called"))
    );
    world.verb(Verb::Rescue).expect("again");
    world.finish();
    assert_eq!((world.node().provision_state, world.node().last_error.clone()), (ProvisionState::Rescue, None));
    world.verb(Verb::Rescue).expect("with another password");
    world.reach(StepName::AwaitAgent);
    world.verb(Verb::Abort).expect("legal");
    world.finish();
    world.verb(Verb::Unrescue).expect("legal");
    world.finish();
    assert_eq!(world.node().provision_state, ProvisionState::Active);
}

#[test]
fn a_machine_that_cannot_boot_the_ramdisk_is_not_taken_from_its_user() {
    for (verb, input) in [(Verb::Rescue, password()), (Verb::Service, JobInput::default())] {
        let mut world = World::at(&ACTIVE);
        world.must(Command::DeletePort { id: PortId(Uuid::from_u128(7)) });
        let job = JobId(Uuid::from_u128(999));
        let refused = world.give(Command::Provision { node: NODE, verb, job, input: Box::new(input) });
        let why = refused.expect_err("refused").to_string();
        assert!(why.contains("no port to boot from"), "{why}");
    }
}

#[test]
fn a_service_that_was_aborted_gives_the_machine_back_to_its_system() {
    let (mut world, _) = World::asked(Verb::Service, JobInput::default());
    world.reach(StepName::AwaitAgent);
    assert_eq!(world.node().provision_state, ProvisionState::ServiceWait);
    world.verb(Verb::Abort).expect("legal");
    assert_eq!((world.node().provision_state, world.kind()), (ProvisionState::ServiceFailed, Some(JobKind::Stop)));
    world.finish();
    assert_eq!(world.node().power_state, Some(PowerState::Off));
    world.verb(Verb::Abort).expect("legal");
    assert_eq!((world.node().provision_state, world.kind()), (ProvisionState::Active, Some(JobKind::Return)));
    world.finish();
    let node = world.node();
    assert_eq!(
        (node.provision_state, node.power_state, node.job),
        (ProvisionState::Active, Some(PowerState::On), None)
    );
}

#[test]
fn what_was_let_go_on_is_on_record() {
    let (mut world, job) = World::asked(Verb::Service, JobInput::default());
    world.reach(StepName::RunService);
    world.must(Command::HoldJob { job });
    assert_eq!(world.node().provision_state, ProvisionState::ServiceHold);
    world.verb(Verb::Unhold).expect("legal");
    assert_eq!(world.node().provision_state, ProvisionState::Servicing);
    assert_eq!(world.job().map(|job| job.input.holds_passed), Some(1));
    world.must(Command::EndStep { job, step: StepName::RunService, end: StepEnd::Done(None) });
    world.finish();
    assert_eq!(world.node().provision_state, ProvisionState::Active);
}
