//! Jobs with steps of a BMC: each change has a start of its own.

use super::*;

fn cleaning(steps: Value) -> (World, JobId) {
    let mut world = World::at(&[Verb::Manage]);
    let Value::Array(clean_steps) = steps else { unreachable!("a list") };
    let (job, input) = (JobId(Uuid::from_u128(999)), JobInput { clean_steps, ..JobInput::default() });
    world.must(Command::Provision { node: NODE, verb: Verb::Clean, job, input: Box::new(input) });
    (world, job)
}

/// Works until this step has been reached for the `nth` time, and begins it.
fn reach(world: &mut World, step: StepName, nth: usize) {
    loop {
        let job = world.job().expect("it runs");
        let done = job.steps.iter().filter(|record| record.name == step && record.state == StepState::Done).count();
        if done + 1 == nth && job.current().is_some_and(|record| record.name == step) {
            world.must(Command::StartStep { job: job.id, step });
            return;
        }
        assert!(world.work(|_| StepEnd::Done(None)), "the job has no {}", step.name());
    }
}

fn two_changes() -> Value {
    json!([
        {"interface": "bios", "step": "factory_reset"},
        {"interface": "bios", "step": "apply_configuration", "args": {"settings": [{"name": "A", "value": 1}]}},
    ])
}

#[test]
fn each_change_has_its_start_and_its_agent() {
    use crate::listed::{BmcWork, Part};
    let (mut world, _) = cleaning(two_changes());
    let part = |world: &World| world.job().and_then(|job| job.part());
    assert_eq!(part(&world), Some(Part::Bmc(BmcWork::ResetBios)));
    reach(&mut world, StepName::CheckBios, 1);
    assert_eq!(part(&world), Some(Part::Bmc(BmcWork::ResetBios)));
    let first = world.job().expect("it runs");
    assert!(first.wants_agent() && world.node().agent.is_some(), "the agent stays until it is switched off");
    reach(&mut world, StepName::AwaitAgent, 2);
    assert_eq!(world.node().provision_state, ProvisionState::CleanWait);
    assert_eq!(
        world.give(heartbeat(first.id, first.boots)).err(),
        Some(Refusal::Stale),
        "an agent of the start before"
    );
    assert_eq!(world.job().map(|job| job.boots), Some(2));
    world.must(heartbeat(first.id, 2));
    assert!(matches!(part(&world), Some(Part::Bmc(BmcWork::ApplyBios(_)))));
    world.finish();
    assert_eq!(world.node().provision_state, ProvisionState::Manageable);
    assert_eq!(world.node().power_state, Some(PowerState::Off));
}

#[test]
fn a_machine_that_missed_a_later_boot_does_not_begin_the_list_again() {
    let (mut world, job) = cleaning(two_changes());
    reach(&mut world, StepName::AwaitAgent, 2);
    world.must(Command::BootAgain { job });
    let back = world.job().expect("running");
    let done: Vec<_> =
        back.steps.iter().take_while(|step| step.state == StepState::Done).map(|step| step.name).collect();
    assert_eq!(done[done.len() - 2..], [StepName::CheckBios, StepName::SetBios]);
    assert_eq!(back.current().map(|step| step.name), Some(StepName::BootFromNetwork));
    world.finish();
    assert_eq!(world.node().provision_state, ProvisionState::Manageable);
}

#[test]
fn a_change_that_fails_ends_in_clean_failed_with_its_reason() {
    let (mut world, job) = cleaning(two_changes());
    reach(&mut world, StepName::SetBios, 1);
    let end = StepEnd::Failed("the BIOS setting A is locked".into());
    world.must(Command::EndStep { job, step: StepName::SetBios, end });
    let node = world.node();
    assert_eq!(node.provision_state, ProvisionState::CleanFailed);
    assert_eq!(node.last_error.as_deref(), Some("the BIOS setting A is locked"));
    assert!(node.maintenance);
}
