//! The config drive of a node's user: how long it stays, and who gets it.

use super::*;
use crate::node::CONFIG_DRIVE;

const FIRST: &str = "H4sIfirst";
const SECOND: &str = "H4sIsecond";

impl World {
    /// Asks with this drive, and gives the one that the job has.
    fn with_drive(&mut self, verb: Verb, drive: Option<&str>) -> Option<String> {
        self.jobs += 1;
        let job = JobId(Uuid::from_u128(1000 + self.jobs));
        let input = Box::new(JobInput { config_drive: drive.map(str::to_owned), ..JobInput::default() });
        self.must(Command::Provision { node: NODE, verb, job, input });
        let written = self.job().expect("a job").input.config_drive.clone();
        self.finish();
        written
    }

    fn kept(&self) -> Option<Value> {
        self.node().settings.instance_info.get(CONFIG_DRIVE).cloned()
    }

    /// A node that was deployed with a drive.
    fn deployed() -> World {
        let mut world = World::at(&[Verb::Manage, Verb::Provide]);
        assert_eq!(world.with_drive(Verb::Deploy, Some(FIRST)).as_deref(), Some(FIRST));
        assert_eq!(world.node().provision_state, ProvisionState::Active);
        world
    }
}

#[test]
fn a_rebuild_without_a_drive_has_the_former_and_one_with_a_drive_has_that() {
    let mut world = World::deployed();
    assert_eq!(world.with_drive(Verb::Rebuild, None).as_deref(), Some(FIRST));
    assert_eq!(world.with_drive(Verb::Rebuild, Some(SECOND)).as_deref(), Some(SECOND));
    assert_eq!(world.with_drive(Verb::Rebuild, None).as_deref(), Some(SECOND));
}

#[test]
fn other_jobs_between_keep_it_and_get_none_of_it() {
    let mut world = World::deployed();
    world.must(Command::Power {
        node: NODE,
        target: PowerTarget::Reboot,
        job: JobId(Uuid::from_u128(77)),
        soft_timeout: None,
    });
    assert_eq!(world.job().expect("a job").input.config_drive, None);
    world.finish();
    assert_eq!(world.with_drive(Verb::Rebuild, None).as_deref(), Some(FIRST));
}

#[test]
fn a_deployment_that_failed_is_tried_again_with_the_same() {
    let mut world = World::at(&[Verb::Manage, Verb::Provide]);
    let job = JobId(Uuid::from_u128(999));
    let input = Box::new(JobInput { config_drive: Some(FIRST.into()), ..JobInput::default() });
    world.must(Command::Provision { node: NODE, verb: Verb::Deploy, job, input });
    assert!(world.work(|_| StepEnd::Failed("no image".into())));
    assert_eq!(world.node().provision_state, ProvisionState::DeployFailed);
    assert_eq!(world.with_drive(Verb::Deploy, None).as_deref(), Some(FIRST));
}

#[test]
fn nothing_is_left_for_the_next_one() {
    let mut world = World::deployed();
    world.verb(Verb::Undeploy).expect("legal");
    world.finish();
    assert_eq!((world.node().provision_state, world.kept()), (ProvisionState::Available, None));
    let image = json!({"image_source": "http://box/image", "image_checksum": "a".repeat(64)});
    let Value::Object(image) = image else { unreachable!("an object") };
    change(&mut world, |settings| settings.instance_info = image).expect("it is free");
    assert_eq!(world.with_drive(Verb::Deploy, None), None);
}

#[test]
fn whoever_gets_the_node_next_does_not_get_the_drive() {
    let project = |name: &str| Some(name.to_owned());
    // Owner and lessee before and after, and whether it is somebody else's then.
    for (before, after, anothers) in [
        ([None, None], [None, project("ada")], true),
        ([None, project("ada")], [None, project("eve")], true),
        ([project("box"), project("ada")], [project("box"), None], true),
        ([project("box"), None], [project("shop"), None], true),
        ([project("box"), project("ada")], [project("shop"), project("ada")], false),
        ([project("ada"), None], [project("ada"), project("ada")], false),
    ] {
        let mut world = World::at(&[Verb::Manage, Verb::Provide]);
        let set = |world: &mut World, [owner, lessee]: &[Option<String>; 2]| {
            change(world, |settings| (settings.owner, settings.lessee) = (owner.clone(), lessee.clone()))
        };
        set(&mut world, &before).expect("allowed");
        world.with_drive(Verb::Deploy, Some(FIRST));
        set(&mut world, &after).expect("allowed");
        assert_eq!(world.kept().is_none(), anothers, "{before:?} {after:?}");
        assert_eq!(world.with_drive(Verb::Rebuild, None).is_none(), anothers, "{before:?} {after:?}");
    }
}

#[test]
fn what_is_no_drive_is_refused_in_words_and_never_fetched() {
    for bad in [
        json!("http://10.0.0.1/drive"),
        json!("/etc/shadow"),
        json!("H4sI http://x"),
        json!({"user_data": "x"}),
        json!(7),
    ] {
        let mut world = World::at(&[Verb::Manage, Verb::Provide]);
        change(&mut world, |settings| {
            settings.instance_info.insert(CONFIG_DRIVE.into(), bad.clone());
        })
        .expect("it is kept");
        let Err(Refusal::Invalid(words)) = world.verb(Verb::Deploy) else { panic!("{bad} is taken") };
        assert!(words.contains("instance_info/configdrive") && !words.contains("10.0.0.1"), "{words}");
        assert_eq!(world.with_drive(Verb::Deploy, Some(FIRST)).as_deref(), Some(FIRST), "one that is given counts");
    }
}
