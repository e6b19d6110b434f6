//! Random sequences of commands: what is in memory is what is on the disk, and refusals leave nothing.

use crate::common::{ENGINE, cases, node_id, open, rows, user};
use jiff::Timestamp;
use leasehold_domain::address::{Binding, ClientKey, Hold};
use leasehold_domain::command::StepEnd;
use leasehold_domain::id::{ImageId, JobId, PortId, UserId};
use leasehold_domain::identity::{IdentityCommand, User};
use leasehold_domain::image::{Card, Checksum, HashAlgorithm, Image, ImageContent, ImageStatus};
use leasehold_domain::job::{JobInput, StepState};
use leasehold_domain::mac::Mac;
use leasehold_domain::node::NodeSettings;
use leasehold_domain::port::PortSettings;
use leasehold_domain::power::{PowerState, PowerTarget};
use leasehold_domain::provision::{ProvisionState, Verb};
use leasehold_domain::view::View;
use leasehold_domain::{Actor, Command};
use leasehold_store::{News, SubmitError};
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use uuid::Uuid;

/// One wish, made into a command when the state is known.
#[derive(Clone, Debug)]
pub(crate) enum Wish {
    CreateNode(u8, u8),
    ChangeNode(u8, u8, bool),
    DeleteNode(u8),
    CreatePort(u8, u8, u8),
    MovePort(u8, u8),
    DeletePort(u8),
    /// Mostly one of the verbs that the node's state allows: otherwise a node would hardly get anywhere.
    Verb(u8, u8, bool),
    Power(u8, PowerTarget),
    /// The node's job goes on by one move.
    Advance(u8, bool),
    Maintenance(u8, bool),
    ObservePower(u8, Option<PowerState>),
    /// Each client has one address. (Of two, the view's index knows the one written last, and none when that one was
    /// given back; the next start then knows the other.)
    Bind(u8, bool),
    Unbind(u8),
    Image(u8, u8),
    User(u8, bool),
}

pub(crate) fn any_wish() -> impl Strategy<Value = Wish> {
    let node = 0_u8..4;
    let few = 0_u8..5;
    prop_oneof![
        3 => (node.clone(), few.clone()).prop_map(|(node, name)| Wish::CreateNode(node, name)),
        2 => (node.clone(), few.clone(), any::<bool>()).prop_map(|(node, name, old)| Wish::ChangeNode(node, name, old)),
        1 => node.clone().prop_map(Wish::DeleteNode),
        3 => (few.clone(), node.clone(), few.clone()).prop_map(|(port, node, mac)| Wish::CreatePort(port, node, mac)),
        1 => (few.clone(), node.clone()).prop_map(|(port, node)| Wish::MovePort(port, node)),
        1 => few.clone().prop_map(Wish::DeletePort),
        6 => (node.clone(), any::<u8>(), any::<bool>())
            .prop_map(|(node, verb, drive)| Wish::Verb(node, verb, drive)),
        2 => (node.clone(), proptest::sample::select(PowerTarget::ALL.to_vec()))
            .prop_map(|(node, target)| Wish::Power(node, target)),
        20 => (node.clone(), proptest::bool::weighted(0.9)).prop_map(|(node, ok)| Wish::Advance(node, ok)),
        1 => (node.clone(), any::<bool>()).prop_map(|(node, on)| Wish::Maintenance(node, on)),
        1 => (node, proptest::option::of(proptest::sample::select(vec![PowerState::On, PowerState::Off])))
            .prop_map(|(node, power)| Wish::ObservePower(node, power)),
        2 => (few.clone(), any::<bool>()).prop_map(|(address, bound)| Wish::Bind(address, bound)),
        1 => few.clone().prop_map(Wish::Unbind),
        2 => (few.clone(), 0_u8..4).prop_map(|(image, what)| Wish::Image(image, what)),
        1 => (few, any::<bool>()).prop_map(|(user, new)| Wish::User(user, new)),
    ]
}

fn uuid(number: u8) -> Uuid {
    Uuid::from_u128(number.into())
}

fn settings(name: u8) -> NodeSettings {
    let digest = "a".repeat(64);
    let instance_info = json!({ "image_source": "http://box/image", "image_checksum": digest, "image_os_hash_algo": "sha256",
        "image_os_hash_value": digest });
    NodeSettings {
        name: Some(format!("n{name}")),
        driver: "ipmi".into(),
        instance_info: instance_info.as_object().cloned().unwrap_or_default(),
        ..NodeSettings::default()
    }
}

fn port_settings(node: u8, mac: u8) -> PortSettings {
    PortSettings::new(node_id(node.into()), Mac([2, 0, 0, 0, 0, mac]))
}

fn useful(state: ProvisionState) -> &'static [Verb] {
    use ProvisionState::*;
    match state {
        Enroll | CleanFailed => &[Verb::Manage],
        Available => &[Verb::Manage, Verb::Deploy],
        Manageable => &[Verb::Inspect, Verb::Clean, Verb::Provide, Verb::Adopt],
        InspectFailed => &[Verb::Manage, Verb::Inspect],
        AdoptFailed => &[Verb::Manage, Verb::Adopt],
        InspectWait | CleanWait => &[Verb::Abort],
        DeployWait => &[Verb::Abort, Verb::Undeploy],
        DeployFailed | Error => &[Verb::Deploy, Verb::Rebuild, Verb::Undeploy],
        Active => &[Verb::Rebuild, Verb::Undeploy],
        // On the way, or in a life (rescue, service, hold) that the rules' own tests lead.
        _ => &[],
    }
}

/// The command for a wish. `fresh` makes ids of jobs.
pub(crate) fn command(view: &View, wish: &Wish, fresh: u128) -> Command {
    let now = Timestamp::UNIX_EPOCH;
    let node = |number: &u8| node_id((*number).into());
    let job = JobId(Uuid::from_u128(fresh));
    match wish {
        Wish::CreateNode(id, name) => Command::CreateNode {
            id: node(id),
            settings: Box::new(settings(*name)),
            start: leasehold_domain::command::NodeStart::default(),
        },
        Wish::ChangeNode(id, name, stale) => {
            let revision = view.node(node(id)).map_or(0, |node| node.revision) + u64::from(*stale);
            Command::ChangeNode { id: node(id), revision, settings: Box::new(settings(*name)), maintenance: None }
        }
        Wish::DeleteNode(id) => Command::DeleteNode { id: node(id) },
        Wish::CreatePort(port, node, mac) => {
            Command::CreatePort { id: PortId(uuid(*port)), settings: Box::new(port_settings(*node, *mac)) }
        }
        Wish::MovePort(port, node) => {
            let id = PortId(uuid(*port));
            let old = view.port(id);
            let mac = old.map_or(0, |port| port.settings.address.0[5]);
            let revision = old.map_or(0, |port| port.revision);
            Command::ChangePort { id, revision, settings: Box::new(port_settings(*node, mac)) }
        }
        Wish::DeletePort(port) => Command::DeletePort { id: PortId(uuid(*port)) },
        Wish::Verb(id, pick, drive) => {
            let verbs = view.node(node(id)).map_or(&[Verb::Manage][..], |node| useful(node.provision_state));
            let verbs = if *pick > 200 { &Verb::ALL[..] } else { verbs };
            let Some(verb) = verbs.get(usize::from(*pick) % verbs.len().max(1)) else {
                return Command::ObservePower { node: node(id), power: None, error: None };
            };
            let config_drive = drive.then(|| format!("H4sI{fresh}"));
            let input = Box::new(JobInput { config_drive, ..JobInput::default() });
            Command::Provision { node: node(id), verb: *verb, job, input }
        }
        Wish::Power(id, target) => Command::Power { node: node(id), target: *target, job, soft_timeout: None },
        Wish::Advance(id, ok) => {
            let running = view.node(node(id)).and_then(|node| view.running_job(node));
            match running.and_then(|job| job.current().map(|step| (job.id, step.clone()))) {
                Some((job, step)) if step.state == StepState::Pending => Command::StartStep { job, step: step.name },
                Some((job, step)) => {
                    let end = if *ok { StepEnd::Done(None) } else { StepEnd::Failed("no".into()) };
                    Command::EndStep { job, step: step.name, end }
                }
                None => Command::AgentFailed { job, boot: 0, message: "nobody asked".into() },
            }
        }
        Wish::Maintenance(id, on) => Command::SetMaintenance { node: node(id), on: *on, reason: None },
        Wish::ObservePower(id, power) => Command::ObservePower { node: node(id), power: *power, error: None },
        Wish::Bind(address, bound) => {
            let mac = Mac([2, 0, 0, 0, 1, *address]);
            let hold = if *bound { Hold::Bound { client: ClientKey::Mac(mac), mac } } else { Hold::Declined };
            Command::Bind(Binding { address: Ipv4Addr::new(10, 0, 0, *address), hold, since: now, expires: now })
        }
        Wish::Unbind(address) => Command::Unbind { address: Ipv4Addr::new(10, 0, 0, *address) },
        Wish::Image(id, what) => {
            let id = ImageId(uuid(*id));
            match what {
                0 => {
                    let checksum = Checksum { algorithm: HashAlgorithm::Sha256, hex: "a".repeat(64) };
                    let (name, source_url, status, content) = (None, None, ImageStatus::Queued, None);
                    let image = Image {
                        id,
                        name,
                        source_url,
                        checksum: Some(checksum),
                        status,
                        content,
                        created_at: now,
                        used_at: now,
                        card: Card::default(),
                    };
                    Command::AddImage(Box::new(image))
                }
                1 => {
                    let (raw_sha256, given_format) = ("b".repeat(64), "raw".into());
                    let content = ImageContent { raw_size: 1, raw_sha256, stored_size: 1, given_format };
                    Command::ImageReady { id, content }
                }
                2 => Command::ImageFailed { id, reason: "no".into() },
                _ => Command::DeleteImage { id },
            }
        }
        Wish::User(id, new) => {
            let (user, password_hash) = (UserId(uuid(*id)), format!("hash {fresh}"));
            if *new {
                let user = User::new(user, &format!("u{id}"), password_hash, now);
                Command::Identity(IdentityCommand::CreateUser(Box::new(user)))
            } else {
                Command::Identity(IdentityCommand::SetPassword { user, password_hash, one_time: false })
            }
        }
    }
}

async fn run(wishes: Vec<Wish>) {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let mut feed = store.subscribe();
    let mut jobs = BTreeSet::new();
    for (fresh, wish) in (1000..).zip(&wishes) {
        let before = store.view();
        let commits = store.metrics().commits;
        let actor: Actor = if fresh % 2 == 0 { ENGINE } else { user() };
        match store.submit(command(&before, wish, fresh), actor).await {
            Ok(committed) => assert!(Arc::ptr_eq(&committed.view, &store.view())),
            Err(SubmitError::Refused(_)) => {
                assert_eq!(store.metrics().commits, commits, "a refusal wrote something: {wish:?}");
                assert!(Arc::ptr_eq(&before, &store.view()));
                continue;
            }
            Err(error) => panic!("{wish:?}: {error}"),
        }
        jobs.extend(store.view().jobs().map(|job| (job.node, job.id)));
    }
    let last = rows(&store.view());
    store.close().await;
    let mut told = Vec::new();
    let mut replica = View::default();
    while let Some(news) = feed.next().await {
        let News::Update(update) = news else { panic!("nothing was missed") };
        update.changes.iter().for_each(|change| replica.apply(change));
        told.extend(update.events.iter().cloned());
    }
    assert_eq!(rows(&replica), last, "who follows the feed has the same state");

    let store = open(dir.path());
    assert_eq!(rows(&store.view()), last, "what is read back is what was there");
    let page = store.events_after(None, usize::MAX, |_| true).await.expect("read");
    assert_eq!(page.events, told);
    for node in 0..4 {
        let node = node_id(node);
        let timeline: BTreeSet<_> =
            store.jobs_of(node, usize::MAX).await.expect("read").iter().map(|job| (job.node, job.id)).collect();
        let made_since = jobs.iter().filter(|(of, _)| *of == node);
        assert!(timeline.iter().all(|job| jobs.contains(job)));
        if store.view().node(node).is_none() {
            assert!(timeline.is_empty(), "the jobs of a deleted node are gone");
        } else if !wishes.iter().any(|wish| matches!(wish, Wish::DeleteNode(_))) {
            assert_eq!(timeline.len(), made_since.count());
        }
    }
    store.close().await;
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn memory_and_disk_say_the_same(wishes in proptest::collection::vec(any_wish(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(run(wishes));
    }
}
