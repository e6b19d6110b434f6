//! Records of the hardware room through commands, and what must hold whatever happens.

use super::decide;
use crate::command::{Actor, Answer, Command, Context};
use crate::facet::Facet;
use crate::hardware::{
    Allocation, Body, Chassis, DeployTemplate, HardwareCommand, HardwareKey, HardwareRow, Outcome, PORTGROUP_NAME,
    Portgroup, Record, Runbook, Step, VolumeConnector, VolumeTarget, Wanted, free_class,
};
use crate::id::*;
use crate::job::{JobInput, StepName};
use crate::node::{Node, NodeSettings};
use crate::port::PortSettings;
use crate::power::PowerState;
use crate::provision::{ProvisionState, Verb};
use crate::refusal::Refusal;
use crate::view::{Change, View};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Map, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use uuid::Uuid;

#[derive(Default)]
struct World {
    view: View,
    seconds: i64,
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn node_id(number: u128) -> NodeId {
    NodeId(id(number))
}

impl World {
    fn give(&mut self, command: Command) -> Result<Answer, Refusal> {
        self.seconds += 1;
        let now = Timestamp::UNIX_EPOCH.checked_add(SignedDuration::from_secs(self.seconds)).expect("in range");
        let decision = decide(&self.view, &command, &Context { actor: Actor::named("ada"), now })?;
        for change in &decision.changes {
            self.view.apply(change);
        }
        Ok(decision.answer)
    }

    fn ask(&mut self, command: HardwareCommand) -> Result<HardwareRow, Refusal> {
        match self.give(Command::Hardware(command))? {
            Answer::Hardware(row) => Ok(row),
            other => panic!("no row: {other:?}"),
        }
    }

    fn create(&mut self, number: u128, body: Body) -> Result<HardwareRow, Refusal> {
        self.ask(HardwareCommand::Create { id: id(number), body: Box::new(body) })
    }

    fn change(&mut self, number: u128, revision: u64, body: Body) -> Result<HardwareRow, Refusal> {
        self.ask(HardwareCommand::Change { id: id(number), revision, body: Box::new(body) })
    }

    fn delete(&mut self, key: HardwareKey) -> Result<(), Refusal> {
        let revision = match key {
            HardwareKey::Allocation(id) => self.view.hardware.allocations.get(id).map(|row| row.revision),
            _ => Some(0),
        };
        let command = HardwareCommand::Delete { key, revision: revision.unwrap_or(0) };
        self.give(Command::Hardware(command)).map(|_| ())
    }

    /// A node as it is given, and in the state that is given.
    fn node(&mut self, number: u128, change: impl FnOnce(&mut Node)) {
        let settings = NodeSettings {
            name: Some(format!("n{number}")),
            driver: "ipmi".into(),
            resource_class: Some("c".into()),
            ..NodeSettings::default()
        };
        let mut node = Node::enrolled(node_id(number), settings, Timestamp::UNIX_EPOCH);
        node.provision_state = ProvisionState::Available;
        node.power_state = Some(PowerState::Off);
        change(&mut node);
        self.view.apply(&Change::PutNode(Arc::new(node)));
    }

    fn allocate(&mut self, number: u128, wanted: Wanted) -> Result<Arc<Record<Allocation>>, Refusal> {
        let (id, wanted) = (AllocationId(id(number)), Box::new(wanted));
        match self.ask(HardwareCommand::Allocate { id, wanted, backfill: None })? {
            HardwareRow::Allocation(record) => Ok(record),
            other => panic!("{other:?}"),
        }
    }

    fn of(&self, number: u128) -> &Arc<Node> {
        self.view.node(node_id(number)).expect("the node")
    }
}

fn wanted(class: &str) -> Wanted {
    Wanted { resource_class: class.into(), ..Wanted::default() }
}

fn error_of(record: &Record<Allocation>) -> &str {
    match &record.body.outcome {
        Outcome::Error(why) => why,
        Outcome::Active(node) => panic!("it has {node}"),
    }
}

#[test]
fn an_allocation_takes_a_node_and_gives_it_back() {
    let mut world = World::default();
    world.node(1, |_| {});
    let record = world.allocate(10, Wanted { traits: Vec::new(), ..wanted("c") }).expect("decided");
    assert_eq!(record.body.outcome, Outcome::Active(node_id(1)));
    assert_eq!(world.of(1).settings.instance_uuid, Some(id(10)));
    assert_eq!(world.of(1).settings.instance_info.get("traits"), Some(&json!([])));
    assert_eq!(world.view.hardware.allocation_of(node_id(1)).map(|row| row.id), Some(AllocationId(id(10))));
    let second = world.allocate(11, wanted("c")).expect("decided");
    assert!(error_of(&second).contains("no available nodes match the resource class c"));
    world.delete(HardwareKey::Allocation(AllocationId(id(10)))).expect("deleted");
    assert_eq!(world.of(1).settings.instance_uuid, None);
    assert!(world.view.hardware.allocation_of(node_id(1)).is_none());
}

#[test]
fn what_is_not_free_is_not_given() {
    for (what, change) in [
        ("maintenance", (|node| node.maintenance = true) as fn(&mut Node)),
        ("power", |node| node.power_state = None),
        ("instance", |node| node.settings.instance_uuid = Some(Uuid::nil())),
        ("state", |node| node.provision_state = ProvisionState::Manageable),
        ("on its way", |node| node.target_provision_state = Some(ProvisionState::Active)),
        ("retired", |node| node.settings.retired = true),
        ("class", |node| node.settings.resource_class = Some("other".into())),
    ] {
        let mut world = World::default();
        world.node(1, change);
        assert!(matches!(world.allocate(10, wanted("c")).expect("decided").body.outcome, Outcome::Error(_)), "{what}");
    }
}

#[test]
fn the_reason_says_what_was_missing() {
    let mut world = World::default();
    world.node(1, |_| {});
    let traits = world.allocate(10, Wanted { traits: vec!["CUSTOM_X".into()], ..wanted("c") }).expect("decided");
    assert!(error_of(&traits).contains("no suitable nodes have the requested traits CUSTOM_X"));
    let other = Wanted { candidate_nodes: vec![node_id(1)], ..wanted("d") };
    let other = world.allocate(11, other).expect("decided");
    assert!(error_of(&other).contains("none of the requested nodes are available and match the resource class d"));
    assert!(matches!(world.allocate(12, wanted("")), Err(Refusal::Invalid(_))), "without a class");
    let stranger = Wanted { candidate_nodes: vec![node_id(9)], ..wanted("c") };
    assert!(matches!(world.allocate(13, stranger), Err(Refusal::Invalid(_))));
}

#[test]
fn candidates_come_in_their_order_and_a_namesake_first() {
    let mut world = World::default();
    for number in 1..=4 {
        world.node(number, |_| {});
    }
    let candidates = Wanted { candidate_nodes: vec![node_id(3), node_id(2)], ..wanted("c") };
    let first = world.allocate(10, candidates).expect("decided");
    assert_eq!(first.body.outcome, Outcome::Active(node_id(3)));
    let namesake = world.allocate(11, Wanted { name: Some("n4".into()), ..wanted("c") }).expect("decided");
    assert_eq!(namesake.body.outcome, Outcome::Active(node_id(4)));
    let taken = world.allocate(12, Wanted { name: Some("n4".into()), ..wanted("c") });
    assert!(matches!(taken, Err(Refusal::Exists { .. })), "a name is one allocation's");
}

#[test]
fn an_allocation_is_not_taken_from_under_a_machine_in_use() {
    let mut world = World::default();
    world.node(1, |_| {});
    world.allocate(10, wanted("c")).expect("decided");
    let key = HardwareKey::Allocation(AllocationId(id(10)));
    let mut node = (**world.of(1)).clone();
    node.provision_state = ProvisionState::Active;
    world.view.apply(&Change::PutNode(Arc::new(node.clone())));
    assert!(matches!(world.delete(key), Err(Refusal::InUse(_))));
    let without = NodeSettings { instance_uuid: None, ..node.settings.clone() };
    let (id, revision) = (node.id, node.revision);
    let settings = Box::new(without);
    let refused = world.give(Command::ChangeNode { id, revision, settings, maintenance: None });
    assert!(matches!(refused, Err(Refusal::InUse(_))), "not by a patch of the node either");
    node.maintenance = true;
    world.view.apply(&Change::PutNode(Arc::new(node)));
    world.delete(key).expect("in maintenance everything goes");
}

#[test]
fn an_instance_that_is_removed_from_a_free_node_ends_its_allocation() {
    let mut world = World::default();
    world.node(1, |_| {});
    world.allocate(10, wanted("c")).expect("decided");
    let node = world.of(1).clone();
    let settings = Box::new(NodeSettings { instance_uuid: None, ..node.settings.clone() });
    let (id, revision) = (node.id, node.revision);
    world.give(Command::ChangeNode { id, revision, settings, maintenance: None }).expect("changed");
    assert_eq!(world.view.hardware.allocations.after(None).count(), 0);
}

#[test]
fn an_undeployed_node_has_no_allocation() {
    let mut world = World::default();
    world.node(1, |node| node.settings.driver = "fake-hardware".into());
    world.allocate(10, wanted("c")).expect("decided");
    let mut job = 100;
    let mut go = |world: &mut World, verb: Verb, until: StepName| {
        job += 1;
        let job = JobId(id(job));
        let input = Box::new(JobInput::default());
        world.give(Command::Provision { node: node_id(1), verb, job, input }).expect("legal");
        while let Some(step) = world.view.job(job).and_then(|job| job.current()).map(|step| step.name) {
            world.give(Command::StartStep { job, step }).expect("begun");
            let end = crate::command::StepEnd::Done(None);
            world.give(Command::EndStep { job, step, end }).expect("done");
            if step == until {
                break;
            }
        }
    };
    go(&mut world, Verb::Deploy, StepName::Unknown);
    assert_eq!(world.of(1).provision_state, ProvisionState::Active);
    assert!(world.view.hardware.allocation_of(node_id(1)).is_some());
    go(&mut world, Verb::Undeploy, StepName::ReleaseInstance);
    assert_eq!(world.view.hardware.allocations.after(None).count(), 0);
    assert_eq!(world.of(1).settings.instance_uuid, None);
}

#[test]
fn a_node_in_use_gets_the_allocation_that_it_would_have_had() {
    let mut world = World::default();
    world.node(1, |node| node.provision_state = ProvisionState::Active);
    world.node(2, |_| {});
    let ask = |world: &mut World, number: u128, node: u128, wanted: Wanted| {
        let (id, wanted) = (AllocationId(id(number)), Box::new(wanted));
        world.ask(HardwareCommand::Allocate { id, wanted, backfill: Some(node_id(node)) })
    };
    assert!(matches!(ask(&mut world, 10, 2, wanted("c")), Err(Refusal::InUse(_))), "it is free");
    assert!(matches!(ask(&mut world, 10, 1, wanted("d")), Err(Refusal::InUse(_))), "another class");
    let HardwareRow::Allocation(record) = ask(&mut world, 10, 1, wanted("")).expect("made") else { panic!("a row") };
    assert_eq!((record.body.wanted.resource_class.as_str(), &record.body.outcome), ("c", &Outcome::Active(node_id(1))));
    assert!(matches!(ask(&mut world, 11, 1, wanted("c")), Err(Refusal::InUse(_))), "it has one");
}

#[test]
fn a_chassis_with_nodes_stays() {
    let mut world = World::default();
    world.create(5, Body::Chassis(Chassis::default())).expect("made");
    world.node(1, |node| {
        node.settings.labels.insert("chassis_uuid".into(), id(5).to_string().into());
    });
    let key = HardwareKey::Chassis(ChassisId(id(5)));
    assert!(matches!(world.delete(key), Err(Refusal::Invalid(_))));
    world.give(Command::DeleteNode { id: node_id(1) }).expect("gone");
    world.delete(key).expect("empty");
}

fn group(node: u128, name: &str) -> Portgroup {
    Portgroup {
        node: node_id(node),
        name: Some(name.into()),
        address: None,
        mode: "active-backup".into(),
        properties: Map::new(),
        standalone_ports_supported: true,
        physical_network: None,
        category: None,
        extra: Map::new(),
    }
}

#[test]
fn port_groups_keep_their_ports_and_their_owner() {
    let mut world = World::default();
    world.node(1, |node| node.provision_state = ProvisionState::Manageable);
    world.node(2, |node| node.settings.owner = Some("another".into()));
    world.node(3, |_| {});
    world.create(5, Body::Portgroup(group(1, "g"))).expect("made");
    assert!(matches!(world.create(6, Body::Portgroup(group(1, "g"))), Err(Refusal::Exists { .. })));
    let moved = world.change(5, 0, Body::Portgroup(group(2, "g")));
    assert!(matches!(moved, Err(Refusal::Invalid(_))), "to another owner");
    let address = "52:54:00:00:00:01".parse().expect("a MAC");
    let port = PortSettings { portgroup: Some(PortgroupId(id(5))), ..PortSettings::new(node_id(1), address) };
    world.give(Command::CreatePort { id: PortId(id(7)), settings: Box::new(port) }).expect("made");
    assert!(matches!(world.delete(HardwareKey::Portgroup(PortgroupId(id(5)))), Err(Refusal::Invalid(_))));
    assert!(matches!(world.change(5, 0, Body::Portgroup(group(3, "g"))), Err(Refusal::Invalid(_))), "not with ports");
    let alone = Portgroup { standalone_ports_supported: false, ..group(1, "g") };
    assert!(matches!(world.change(5, 0, Body::Portgroup(alone)), Err(Refusal::InUse(_))), "its port boots");
    assert!(matches!(world.change(5, 7, Body::Portgroup(group(1, "h"))), Err(Refusal::Conflict { .. })));
    world.change(5, 0, Body::Portgroup(group(1, "h"))).expect("renamed");
    let names = |name: &str| world.view.hardware.portgroups.find(PORTGROUP_NAME, name).is_some();
    assert_eq!((names("g"), names("h")), (false, true));
    world.give(Command::DeleteNode { id: node_id(1) }).expect("gone");
    assert_eq!(world.view.hardware.portgroups.after(None).count(), 0, "its groups are gone with it");
}

fn target(node: u128, boot_index: i64) -> Body {
    Body::VolumeTarget(VolumeTarget {
        node: node_id(node),
        volume_type: "iscsi".into(),
        volume_id: "v".into(),
        boot_index,
        properties: Map::new(),
        extra: Map::new(),
    })
}

#[test]
fn volumes_change_while_the_machine_is_off() {
    let mut world = World::default();
    world.node(1, |node| node.power_state = Some(PowerState::On));
    world.create(5, target(1, 1)).expect("made");
    assert!(matches!(world.create(6, target(1, 1)), Err(Refusal::Exists { .. })), "one volume for a place");
    assert!(matches!(world.change(5, 0, target(1, 2)), Err(Refusal::Invalid(_))));
    let key = HardwareKey::VolumeTarget(VolumeTargetId(id(5)));
    assert!(matches!(world.delete(key), Err(Refusal::Invalid(_))));
    world.node(1, |_| {});
    world.delete(key).expect("it is off");
    let connector = Body::VolumeConnector(VolumeConnector {
        node: node_id(1),
        kind: "iqn".into(),
        connector_id: "x".into(),
        extra: Map::new(),
    });
    world.create(7, connector.clone()).expect("made");
    assert!(matches!(world.create(8, connector), Err(Refusal::Exists { .. })));
}

fn step(name: &str, priority: u32) -> Step {
    Step { interface: "deploy".into(), step: name.into(), args: Map::new(), rank: priority }
}

/// A node that could be deployed, whose instance has the trait CUSTOM_T.
fn deployable(world: &mut World) {
    world.node(1, |node| {
        node.settings.traits.insert("CUSTOM_T".into());
        let info = &mut node.settings.instance_info;
        info.insert("traits".into(), json!(["CUSTOM_T"]));
        info.insert("image_source".into(), json!("http://box/image"));
        info.insert("image_checksum".into(), json!("a".repeat(64)));
    });
    let address = "52:54:00:00:00:01".parse().expect("a MAC");
    let settings = Box::new(PortSettings::new(node_id(1), address));
    world.give(Command::CreatePort { id: PortId(id(7)), settings }).expect("made");
}

fn deploy(world: &mut World) -> Result<Vec<StepName>, Refusal> {
    let (job, input) = (JobId(id(100)), Box::new(JobInput::default()));
    world.give(Command::Provision { node: node_id(1), verb: Verb::Deploy, job, input })?;
    let job = world.view.job(job).expect("running");
    Ok(job.steps.iter().map(|step| step.name).collect())
}

#[test]
fn a_template_adds_its_steps_to_a_deployment() {
    let mut world = World::default();
    deployable(&mut world);
    let steps = vec![step("erase_devices_metadata", 90), step("write_image", 80)];
    let template = DeployTemplate { name: "CUSTOM_T".into(), steps, ..DeployTemplate::default() };
    world.create(5, Body::DeployTemplate(template)).expect("made");
    let steps = deploy(&mut world).expect("deploying");
    let place = |name| steps.iter().position(|step| *step == name);
    assert!(place(StepName::AwaitAgent) < place(StepName::Wipe) && place(StepName::Wipe) < place(StepName::WriteImage));
    let job = world.view.job(JobId(id(100))).expect("running");
    assert_eq!(job.input.deploy_steps[0]["step"], "erase_devices_metadata");
    assert!(job.wants_agent() || job.steps[0].name == StepName::PrepareImage);
}

#[test]
fn a_template_that_asks_for_what_no_driver_does_refuses_the_deployment() {
    for (bad, why) in [
        (Step { interface: "bios".into(), ..step("other", 150) }, "no driver here has"),
        (Step { interface: "bios".into(), ..step("factory_reset", 90) }, "only redfish has this step"),
        (step("erase_devices", 70), "before the image"),
        (step("write_image", 30), "always done"),
    ] {
        let mut world = World::default();
        deployable(&mut world);
        let template = DeployTemplate { name: "CUSTOM_T".into(), steps: vec![bad], ..DeployTemplate::default() };
        world.create(5, Body::DeployTemplate(template)).expect("made");
        let refused = deploy(&mut world).expect_err("refused").to_string();
        assert!(refused.contains(why) && refused.contains("CUSTOM_T"), "{refused}");
        assert_eq!(world.of(1).provision_state, ProvisionState::Available, "nothing was changed");
    }
}

#[test]
fn a_template_changes_bios_settings_before_the_image_is_written() {
    let args = Map::from_iter([("settings".to_owned(), json!([{"name": "NumLock", "value": "On"}]))]);
    let bios = |rank| Step { interface: "bios".into(), args: args.clone(), ..step("apply_configuration", rank) };
    let deployed = |step: Step| {
        let mut world = World::default();
        deployable(&mut world);
        let mut node = Node::clone(world.of(1));
        node.settings.driver = "redfish".into();
        world.view.apply(&Change::PutNode(Arc::new(node)));
        let template = DeployTemplate { name: "CUSTOM_T".into(), steps: vec![step], ..DeployTemplate::default() };
        world.create(5, Body::DeployTemplate(template)).expect("made");
        deploy(&mut world)
    };
    let steps = deployed(bios(90)).expect("deploying");
    assert_eq!(steps[..2], [StepName::PrepareImage, StepName::SetBios]);
    assert_eq!(steps[5..7], [StepName::CheckBios, StepName::WriteImage]);
    assert!(deployed(bios(70)).expect_err("refused").to_string().contains("before the image"));
    let none = Step { args: Map::new(), ..bios(90) };
    assert!(deployed(none).expect_err("refused").to_string().contains("settings"));
}

#[test]
fn a_node_that_is_to_boot_from_a_volume_is_not_deployed_to_a_disk() {
    let mut world = World::default();
    deployable(&mut world);
    world.create(5, target(1, 3)).expect("made");
    world.create(6, target(1, 0)).expect("made");
    let refused = deploy(&mut world).expect_err("refused").to_string();
    assert!(refused.contains("boots from volume"), "{refused}");
    world.delete(HardwareKey::VolumeTarget(VolumeTargetId(id(6)))).expect("gone");
    deploy(&mut world).expect("deploying");
}

#[test]
fn templates_and_runbooks_are_well_formed() {
    let mut world = World::default();
    let template = |name: &str, steps| {
        Body::DeployTemplate(DeployTemplate { name: name.into(), steps, ..DeployTemplate::default() })
    };
    for bad in [
        template("not-a-trait", vec![step("x", 1)]),
        template("CUSTOM_T", Vec::new()),
        template("CUSTOM_T", vec![step("x", 1), step("x", 2)]),
        template("CUSTOM_T", vec![Step { interface: "disk".into(), ..step("x", 1) }]),
        Body::Runbook(Runbook {
            name: "r".into(),
            steps: vec![step("x", 1)],
            public: true,
            owner: Some("p".into()),
            ..Runbook::default()
        }),
    ] {
        assert!(matches!(world.create(5, bad.clone()), Err(Refusal::Invalid(_))), "{bad:?}");
    }
    world.create(5, template("CUSTOM_T", vec![step("x", 1)])).expect("made");
}

fn some_node() -> impl Strategy<Value = (u128, bool, bool, bool, Option<u8>, Option<u8>, BTreeSet<u8>)> {
    (
        1..8_u128,
        proptest::bool::weighted(0.8),
        proptest::bool::weighted(0.2),
        any::<bool>(),
        proptest::option::of(0..2_u8),
        proptest::option::of(0..2_u8),
        proptest::collection::btree_set(0..2_u8, 0..2),
    )
}

proptest! {
    /// Whatever is asked for, in whatever order: nobody gets what is not his, nothing is given twice, and who gets
    /// nothing could have got nothing.
    #[test]
    fn allocations_keep_their_rules(
        nodes in proptest::collection::vec(some_node(), 0..8),
        asked in proptest::collection::vec(
            (proptest::option::of(0..2_u8), proptest::option::of(0..2_u8), any::<bool>(),
             proptest::collection::vec(1..8_u128, 0..3), any::<bool>()),
            0..10,
        ),
    ) {
        let project = |number: u8| format!("p{number}");
        let mut world = World::default();
        for (number, available, maintenance, class, owner, lessee, traits) in nodes {
            world.node(number, |node| {
                if !available {
                    node.provision_state = ProvisionState::Manageable;
                }
                node.maintenance = maintenance;
                node.settings.resource_class = Some(if class { "c" } else { "d" }.into());
                node.settings.owner = owner.map(project);
                node.settings.lessee = lessee.map(project);
                node.settings.traits = traits.into_iter().map(|number| format!("CUSTOM_{number}")).collect();
            });
        }
        for (number, (owner, of_trait, class, candidates, and_back)) in asked.into_iter().enumerate() {
            let candidates: Vec<_> =
                candidates.into_iter().map(node_id).filter(|id| world.view.node(*id).is_some()).collect();
            let wanted = Wanted {
                resource_class: if class { "c" } else { "d" }.into(),
                traits: of_trait.map(|number| format!("CUSTOM_{number}")).into_iter().collect(),
                candidate_nodes: candidates,
                owner: owner.map(project),
                ..Wanted::default()
            };
            let suits = |node: &Node| {
                let settings = &node.settings;
                free_class(node) == Some(&wanted.resource_class)
                    && wanted.traits.iter().all(|name| settings.traits.contains(name))
                    && (wanted.candidate_nodes.is_empty() || wanted.candidate_nodes.contains(&node.id))
                    && (wanted.owner.is_none() || settings.owner == wanted.owner || settings.lessee == wanted.owner)
            };
            let possible: BTreeSet<_> =
                world.view.nodes_after(None).filter(|node| suits(node)).map(|node| node.id).collect();
            let number = 100 + number as u128;
            let record = world.allocate(number, wanted.clone()).expect("decided");
            match &record.body.outcome {
                Outcome::Active(node) => prop_assert!(possible.contains(node)),
                Outcome::Error(why) => {
                    prop_assert!(possible.is_empty(), "{why}");
                    prop_assert!(!why.is_empty());
                }
            }
            if and_back {
                world.delete(HardwareKey::Allocation(record.id)).expect("nothing is in use");
            }
            // The two sides of the link agree, and so does the index of what is free.
            for row in world.view.hardware.allocations.after(None) {
                if let Outcome::Active(node) = row.body.outcome {
                    let node = world.view.node(node).expect("there");
                    prop_assert_eq!(node.settings.instance_uuid, Some(row.id.0));
                }
            }
            for class in ["c", "d"] {
                let free: BTreeSet<_> =
                    world.view.nodes_of(Facet::Free(class.into(), None), None).map(|node| node.id).collect();
                let scanned: BTreeSet<_> = world
                    .view
                    .nodes_after(None)
                    .filter(|node| free_class(node) == Some(class))
                    .map(|node| node.id)
                    .collect();
                prop_assert_eq!(free, scanned);
            }
        }
    }

    /// Records are found by what they are, whatever came, changed and went; no two share what is one's own.
    #[test]
    fn the_table_is_what_a_scan_finds(
        wishes in proptest::collection::vec((0..5_u128, 1..4_u128, 0..3_u8, 0..3_u8), 0..40),
    ) {
        let mut world = World::default();
        for number in 1..4 {
            world.node(number, |node| node.provision_state = ProvisionState::Manageable);
        }
        for (number, node, name, what) in wishes {
            let key = PortgroupId(id(number));
            let body = Body::Portgroup(group(node, &format!("g{name}")));
            let revision = world.view.hardware.portgroups.get(key).map_or(0, |row| row.revision);
            let _refused_or_not = match what {
                0 => world.create(number, body).map(|_| ()),
                1 => world.change(number, revision, body).map(|_| ()),
                _ => {
                    let command = HardwareCommand::Delete { key: HardwareKey::Portgroup(key), revision };
                    world.give(Command::Hardware(command)).map(|_| ())
                }
            };
            let table = &world.view.hardware.portgroups;
            let rows: Vec<_> = table.after(None).cloned().collect();
            let names: BTreeSet<_> = rows.iter().map(|row| row.body.name.clone()).collect();
            prop_assert_eq!(names.len(), rows.len());
            prop_assert!(rows.is_sorted_by_key(|row| (row.created_at, row.id)));
            for row in &rows {
                let found = table.find(PORTGROUP_NAME, row.body.name.as_deref().expect("named"));
                prop_assert_eq!(found.map(|found| found.id), Some(row.id));
            }
            for node in 1..4 {
                let of_node: BTreeSet<_> = table.of_node(node_id(node)).map(|row| row.id).collect();
                let scanned: BTreeSet<_> =
                    rows.iter().filter(|row| row.body.node == node_id(node)).map(|row| row.id).collect();
                prop_assert_eq!(of_node, scanned);
            }
        }
    }
}
