//! The decision tables of booting: who is who, and who gets what.

use super::*;
use crate::id::{JobId, NodeId, PortId};
use crate::job::{JOB_VERSION, JobInput, JobState, StepName, StepRecord, StepState, plan};
use crate::node::NodeSettings;
use crate::port::{Port, PortSettings};
use crate::view::Change;
use jiff::Timestamp;
use proptest::prelude::*;
use uuid::Uuid;

const MAC: Mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);

fn source() -> BootSource {
    BootSource {
        tftp: Ipv4Addr::new(10, 0, 0, 1),
        files_url: "http://10.0.0.1/boot/files".into(),
        script_url: "http://10.0.0.1/boot/script".into(),
        unknown: UnknownMachines::NoBoot,
    }
}

fn agent_source() -> AgentSource {
    AgentSource {
        kernel_url: "http://10.0.0.1/k".into(),
        initrds: vec![Initrd { url: "http://10.0.0.1/i".into(), condition: InitrdCondition::Always }],
        rescue: Some(Initrd { url: "http://10.0.0.1/rescue".into(), condition: InitrdCondition::Always }),
        api_url: "https://10.0.0.1:6385".into(),
        inspection_url: "https://10.0.0.1:6385/v1/continue_inspection".into(),
        pin: Some("ab12".into()),
        consoles: vec!["ttyS0,115200".into(), "tty0".into()],
        extra: vec![KernelArgument { key: "nomodeset".into(), value: None }],
    }
}

/// A node with a port; with a job of this kind whose steps up to this one are begun.
fn view(pxe_enabled: bool, job: Option<(JobKind, StepName)>) -> View {
    let mut view = View::default();
    let settings = NodeSettings { name: Some("n1".into()), ..NodeSettings::default() };
    let mut node = Node::enrolled(NodeId(Uuid::from_u128(1)), settings, Timestamp::UNIX_EPOCH);
    if let Some((kind, reached)) = job {
        let names = plan(kind, true);
        let at = names.iter().position(|name| *name == reached).expect("a step of the job");
        let steps = names.iter().enumerate().map(|(index, name)| StepRecord {
            name: *name,
            state: match index.cmp(&at) {
                std::cmp::Ordering::Less => StepState::Done,
                std::cmp::Ordering::Equal => StepState::Running,
                std::cmp::Ordering::Greater => StepState::Pending,
            },
            attempts: 0,
            started_at: None,
            ended_at: None,
            deadline: None,
            detail: None,
        });
        let job = Job {
            id: JobId(Uuid::from_u128(2)),
            node: node.id,
            kind,
            version: JOB_VERSION,
            generation: 1,
            boots: 1,
            state: JobState::Running,
            steps: steps.collect(),
            input: JobInput::default(),
            actor: "test".into(),
            created_at: Timestamp::UNIX_EPOCH,
            ended_at: None,
        };
        node.job = Some(job.id);
        view.apply(&Change::PutJob(Arc::new(job)));
    }
    view.apply(&Change::PutNode(Arc::new(node)));
    view.apply(&Change::PutPort(Arc::new(Port {
        id: PortId(Uuid::from_u128(3)),
        revision: 0,
        settings: PortSettings { pxe_enabled, ..PortSettings::new(NodeId(Uuid::from_u128(1)), MAC) },
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: None,
    })));
    view
}

#[test]
fn who_is_who() {
    let can = Some(IpxeCan { http: true, linux: true });
    type Row<'a> = (&'a [u16], &'a [u8], &'a [Vec<u8>], Option<IpxeCan>, BootClient);
    let table: [Row<'_>; 13] = [
        (&[0], b"PXEClient:Arch:00000:UNDI:002001", &[], None, BootClient::PxeBios),
        (&[], b"PXEClient:Arch:00000:UNDI:002001", &[], None, BootClient::PxeBios),
        (&[], b"PXEClient", &[], None, BootClient::PxeBios),
        (&[7], b"PXEClient:Arch:00007:UNDI:003016", &[], None, BootClient::PxeUefi(Arch::X64Uefi)),
        (&[9], b"PXEClient:Arch:00009:UNDI:003016", &[], None, BootClient::PxeUefi(Arch::X64Uefi)),
        (&[], b"PXEClient:Arch:00007:UNDI:003016", &[], None, BootClient::PxeUefi(Arch::X64Uefi)),
        (&[11], b"PXEClient:Arch:00011:UNDI:003016", &[], None, BootClient::PxeUefi(Arch::Arm64Uefi)),
        (&[16], b"HTTPClient:Arch:00016:UNDI:003016", &[], None, BootClient::HttpUefi(Arch::X64Uefi)),
        (&[19], b"HTTPClient:Arch:00019:UNDI:003016", &[], None, BootClient::HttpUefi(Arch::Arm64Uefi)),
        (
            &[0],
            b"PXEClient:Arch:00000:UNDI:002001",
            &[b"iPXE".to_vec()],
            None,
            BootClient::Ipxe { arch: Arch::X86Bios, can: None },
        ),
        (&[7], b"PXEClient:Arch:00007:UNDI:003010", &[], can, BootClient::Ipxe { arch: Arch::X64Uefi, can }),
        (&[], b"", &[], None, BootClient::None),
        (&[7], b"systemd", &[], None, BootClient::None),
    ];
    for (architectures, vendor_class, user_classes, ipxe, client) in table {
        let facts = BootFacts { architectures, vendor_class, user_classes, ipxe };
        assert_eq!(classify(&facts), client, "{facts:?}");
    }
}

#[test]
fn who_gets_what() {
    let wanted = view(true, Some((JobKind::Deploy, StepName::AwaitAgent)));
    let need = boot_need(&wanted, MAC, UnknownMachines::NoBoot);
    let tftp = |file| Ok(BootFile::Tftp { server: source().tftp, file });
    let ipxe = |arch, can| BootClient::Ipxe { arch, can };
    let table = [
        (BootClient::PxeBios, tftp("ipxe/undionly.kpxe")),
        (BootClient::PxeUefi(Arch::X64Uefi), tftp("ipxe/x86_64/snponly.efi")),
        (
            BootClient::HttpUefi(Arch::X64Uefi),
            Ok(BootFile::Http { url: "http://10.0.0.1/boot/files/ipxe/x86_64/snponly.efi".into() }),
        ),
        (
            ipxe(Arch::X64Uefi, None),
            Ok(BootFile::Script { url: "http://10.0.0.1/boot/script/52:54:00:12:34:56".into() }),
        ),
        (ipxe(Arch::X86Bios, Some(IpxeCan { http: false, linux: true })), Err(NoBoot::IpxeCannot)),
        (BootClient::PxeUefi(Arch::Arm64Uefi), Err(NoBoot::NoLoader { arch: Arch::Arm64Uefi })),
        (BootClient::HttpUefi(Arch::Arm64Uefi), Err(NoBoot::NoLoader { arch: Arch::Arm64Uefi })),
        (ipxe(Arch::Arm64Uefi, None), Err(NoBoot::NoLoader { arch: Arch::Arm64Uefi })),
        (BootClient::None, Err(NoBoot::NotBooting)),
    ];
    for (client, file) in table {
        assert_eq!(boot_file(&need, &client, MAC, &source()), file, "{client:?}");
    }
}

#[test]
fn only_a_job_that_wants_the_agent_boots_a_machine() {
    let file = |view: &View, unknown| boot_file(&boot_need(view, MAC, unknown), &BootClient::PxeBios, MAC, &source());
    let quiet = UnknownMachines::NoBoot;
    assert!(file(&view(true, Some((JobKind::Inspect, StepName::AwaitInventory))), quiet).is_ok());
    assert!(file(&view(true, Some((JobKind::Deploy, StepName::PowerCycle))), quiet).is_ok());
    let refused = [
        (view(true, None), "no job"),
        (view(true, Some((JobKind::Deploy, StepName::BootFromNetwork))), "no job"),
        (view(true, Some((JobKind::Deploy, StepName::PowerOn))), "no job"),
        (view(true, Some((JobKind::Verify, StepName::CheckBmc))), "no job"),
        (view(false, Some((JobKind::Deploy, StepName::AwaitAgent))), "pxe_enabled is false"),
        (View::default(), "create the port"),
    ];
    for (view, words) in refused {
        let why = file(&view, quiet).expect_err("nothing to boot").to_string();
        assert!(why.contains(words), "{why}");
    }
    assert!(file(&View::default(), UnknownMachines::Notice).is_ok(), "a notice at its screen");
}

#[test]
fn only_firmware_that_waits_for_a_file_is_sent_to_its_disk_by_a_loader() {
    let idle = boot_need(&view(true, None), MAC, UnknownMachines::NoBoot);
    let stranger = boot_need(&View::default(), MAC, UnknownMachines::NoBoot);
    let ipxe = |arch| BootClient::Ipxe { arch, can: None };
    let table = [
        (BootClient::PxeBios, false),
        (ipxe(Arch::X86Bios), false),
        (BootClient::PxeUefi(Arch::X64Uefi), true),
        (BootClient::HttpUefi(Arch::X64Uefi), true),
        (ipxe(Arch::X64Uefi), true),
        (BootClient::PxeUefi(Arch::Arm64Uefi), false),
        (BootClient::None, false),
    ];
    for (client, sent) in table {
        assert_eq!(boot_file(&idle, &client, MAC, &source()).is_ok(), sent, "{client:?}");
        assert!(boot_file(&stranger, &client, MAC, &source()).is_err(), "{client:?}");
    }
    let why = boot_file(&idle, &BootClient::PxeUefi(Arch::Arm64Uefi), MAC, &source());
    assert!(matches!(why, Err(NoBoot::NoJob { .. })), "{why:?}");
}

#[test]
fn the_agents_script() {
    let wanted = view(true, Some((JobKind::Inspect, StepName::AwaitInventory)));
    let script = boot_script(&wanted, MAC, UnknownMachines::NoBoot, &agent_source(), |node, job| {
        Some(format!("{}-{}", node.title(), job.boots))
    });
    let BootScript::Agent { arguments, kernel, initrds, .. } = script else { panic!("{script:?}") };
    let line: Vec<String> = arguments
        .iter()
        .map(|KernelArgument { key, value }| value.as_ref().map_or(key.clone(), |value| format!("{key}={value}")))
        .collect();
    assert_eq!(
        line,
        [
            "ipa-api-url=https://10.0.0.1:6385",
            "ipa-agent-token=n1-1",
            "ipa-inspection-callback-url=https://10.0.0.1:6385/v1/continue_inspection",
            "leasehold-pin=ab12",
            "BOOTIF=01-52-54-00-12-34-56",
            "console=ttyS0,115200",
            "console=tty0",
            "nomodeset",
        ]
    );
    assert_eq!((kernel.as_str(), initrds.len()), ("http://10.0.0.1/k", 1));

    let deploying = view(true, Some((JobKind::Deploy, StepName::AwaitAgent)));
    let script = boot_script(&deploying, MAC, UnknownMachines::NoBoot, &agent_source(), |_, _| Some("t".into()));
    let BootScript::Agent { arguments, .. } = script else { panic!("{script:?}") };
    assert!(arguments.iter().all(|argument| argument.key != "ipa-inspection-callback-url"));
}

#[test]
fn only_a_rescue_loads_what_lets_a_user_in() {
    let loaded = |kind| {
        let view = view(true, Some((kind, StepName::AwaitAgent)));
        let script = boot_script(&view, MAC, UnknownMachines::NoBoot, &agent_source(), |_, _| Some("t".into()));
        let BootScript::Agent { initrds, .. } = script else { panic!("{script:?}") };
        initrds.into_iter().map(|initrd| initrd.url).collect::<Vec<_>>()
    };
    assert_eq!(loaded(JobKind::Rescue), ["http://10.0.0.1/i", "http://10.0.0.1/rescue"]);
    assert_eq!(loaded(JobKind::Service), ["http://10.0.0.1/i"]);
}

#[test]
fn the_other_scripts() {
    let never = |_: &Node, _: &Job| -> Option<String> { panic!("no secret is made when nothing boots") };
    let agent = agent_source();
    let quiet = UnknownMachines::NoBoot;
    assert!(matches!(boot_script(&view(true, None), MAC, quiet, &agent, never), BootScript::Disk { .. }));
    let BootScript::Refuse { text } = boot_script(&View::default(), MAC, quiet, &agent, never) else { panic!() };
    assert_eq!(text, "No node has a port 52:54:00:12:34:56: create the port to enrol it.");
    let wanted = view(true, Some((JobKind::Deploy, StepName::AwaitAgent)));
    let used = boot_script(&wanted, MAC, quiet, &agent, |_, _| None);
    assert!(matches!(used, BootScript::Refuse { text } if text.contains("works once")));
}

proptest! {
    #[test]
    fn any_facts_are_classified(
        architectures in proptest::collection::vec(any::<u16>(), 0..4),
        vendor_class in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..40),
            "(PXE|HTTP)Client(:Arch:[0-9]{0,7})?.{0,6}".prop_map(String::into_bytes),
        ],
        user_class in proptest::collection::vec(any::<u8>(), 0..8),
    ) {
        let user_classes = [user_class];
        let facts = BootFacts {
            architectures: &architectures,
            vendor_class: &vendor_class,
            user_classes: &user_classes,
            ipxe: None,
        };
        prop_assert!(!classify(&facts).title().is_empty());
    }
}
