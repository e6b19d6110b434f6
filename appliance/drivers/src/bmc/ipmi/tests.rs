//! The driver against simulated BMCs on loopback: what works, and every way in which a BMC can fail to answer.

use super::fake::{FakeBmc, hurried};
use super::*;
use crate::bmc::features::RawRequest;
use crate::bmc::guard::{Guarded, PowerOff, power_off_soft_then_hard};
use leasehold_domain::power::{BootDevice, BootMode};
use leasehold_protocols::ipmi::command::Control;
use leasehold_protocols::ipmi::packet;
use leasehold_protocols::ipmi::sim::{Config as SimConfig, Machine};
use std::time::Instant;
use tokio::net::UdpSocket;

fn suites(suites: &[CipherSuite]) -> SimConfig {
    SimConfig { suites: suites.to_vec(), ..SimConfig::default() }
}

fn running() -> Machine {
    Machine { power_on: true, ..Machine::default() }
}

#[tokio::test]
async fn power_goes_where_it_is_sent_with_both_suites() {
    for offered in [&CipherSuite::ALL[..], &[CipherSuite::Suite3], &[CipherSuite::Suite17]] {
        let fake = FakeBmc::start(suites(offered), Machine::default()).await;
        let bmc = fake.driver();
        assert_eq!(bmc.power().await, Ok(PowerState::Off));
        for (target, state) in [
            (PowerTarget::Off, PowerState::Off),
            (PowerTarget::SoftOff, PowerState::Off),
            (PowerTarget::On, PowerState::On),
            (PowerTarget::On, PowerState::On),
            (PowerTarget::Reboot, PowerState::On),
            (PowerTarget::Off, PowerState::Off),
            (PowerTarget::Reboot, PowerState::On),
        ] {
            assert_eq!(bmc.set_power(target).await, Ok(()), "{target:?}");
            assert_eq!(bmc.power().await, Ok(state), "{target:?}");
        }
        assert_eq!(fake.sim.lock().unwrap().machine.controls, [Control::On, Control::Cycle, Control::Off, Control::On]);
        assert_eq!(fake.open_sessions(), 1, "one session for all of it");
        bmc.close().await;
        assert_eq!(fake.open_sessions(), 0);
        assert_eq!(bmc.power().await, Ok(PowerState::On), "and a new one after the end");
        assert!(matches!(bmc.set_power(PowerTarget::SoftReboot).await, Err(BmcError::Unsupported { .. })));
    }
}

#[tokio::test]
async fn a_suite_that_is_insisted_on_is_not_traded() {
    let fake = FakeBmc::start(suites(&[CipherSuite::Suite3]), Machine::default()).await;
    let only = |id| IpmiBmc::new(Config { cipher_suite: Some(id), ..fake.config() }).unwrap();
    let error = only(17).power().await.unwrap_err();
    assert!(matches!(&error, BmcError::Unsupported { detail, .. } if detail.contains("offers 3")), "{error}");
    assert_eq!(only(3).power().await, Ok(PowerState::Off));
}

#[tokio::test]
async fn a_machine_is_identified() {
    let fake = FakeBmc::start(SimConfig::default(), Machine::default()).await;
    let identity = fake.driver().identity().await.unwrap();
    assert_eq!(
        identity,
        Identity {
            manufacturer: Some("Leasehold".into()),
            model: Some("Simulated node".into()),
            serial: Some("SIM-0001".into()),
            system_uuid: Some("61a39523-78f2-11e5-9862-e6402cfc3223".into()),
            bmc_firmware: Some("1.07".into()),
            bios_version: None,
        }
    );
}

#[tokio::test]
async fn an_empty_inventory_is_no_error() {
    let config = SimConfig { guid: [0; 16], ..SimConfig::default() };
    let fake = FakeBmc::start(config, Machine { fru: vec![0xff; 64], ..Machine::default() }).await;
    let identity = fake.driver().identity().await.unwrap();
    assert_eq!(identity, Identity { bmc_firmware: Some("1.07".into()), ..Identity::default() });
}

#[tokio::test]
async fn a_bmc_that_returns_little_at_once_is_read_in_small_pieces() {
    let config = SimConfig { chunk: 9, ..SimConfig::default() };
    let fake = FakeBmc::start(config, running()).await;
    let bmc = fake.driver();
    assert_eq!(bmc.identity().await.unwrap().serial.as_deref(), Some("SIM-0001"));
    assert_eq!(bmc.sensors().await.unwrap().len(), 4);
}

#[tokio::test]
async fn sensors_have_values_units_and_health() {
    let fake = FakeBmc::start(SimConfig::default(), running()).await;
    let bmc = fake.driver();
    let sensor = |name: &str, value, unit: &str, health: Option<&str>| Sensor {
        name: name.into(),
        value,
        unit: unit.into(),
        health: health.map(str::to_owned),
    };
    let expected = [
        sensor("CPU Temp", Some(45.0), "Celsius", Some("ok")),
        sensor("FAN 1", Some(4800.0), "RPM", Some("ok")),
        sensor("12V", Some(12.06), "V", Some("ok")),
        sensor("PSU 1", None, "", Some("ok")),
    ];
    assert_eq!(bmc.sensors().await.unwrap(), expected);
    {
        let machine = &mut fake.sim.lock().unwrap().machine;
        machine.power_on = false;
        machine.sensors[0].raw = 96;
        machine.sensors[3].raw = 0x03;
    }
    let expected = [
        sensor("CPU Temp", Some(96.0), "Celsius", Some("critical")),
        sensor("FAN 1", None, "RPM", None),
        sensor("12V", Some(12.06), "V", Some("ok")),
        sensor("PSU 1", None, "", Some("critical")),
    ];
    assert_eq!(bmc.sensors().await.unwrap(), expected);
}

#[tokio::test]
async fn the_log_reads_newest_first_also_where_ids_have_gaps() {
    let fake = FakeBmc::start(SimConfig::default(), Machine::default()).await;
    let bmc = fake.driver();
    let entries = bmc.event_log(2).await.unwrap();
    assert_eq!(
        entries[0],
        LogEntry {
            id: "3".into(),
            time: Some("2023-11-14T22:15:20Z".into()),
            severity: Some("critical".into()),
            message: "Temperature CPU Temp: Upper Critical - going high".into(),
        }
    );
    assert_eq!((entries.len(), entries[1].id.as_str(), entries[1].severity.as_deref()), (2, "2", Some("ok")));
    // An entry in the middle was deleted: the ids are 1 and 9.
    {
        let log = &mut fake.sim.lock().unwrap().machine.log;
        log.remove(1);
        log[1][0] = 9;
    }
    let ids: Vec<String> = bmc.event_log(10).await.unwrap().into_iter().map(|entry| entry.id).collect();
    assert_eq!(ids, ["9", "1"]);
    fake.sim.lock().unwrap().machine.log.clear();
    assert_eq!(bmc.event_log(10).await, Ok(vec![]));
}

#[tokio::test]
async fn boot_overrides_are_set_kept_and_cleared() {
    let fake = FakeBmc::start(SimConfig::default(), Machine::default()).await;
    let bmc = fake.driver();
    let none = BootSetting { device: BootDevice::None, persistent: false, mode: None };
    assert_eq!(bmc.boot_device().await, Ok(none));
    for device in [BootDevice::Pxe, BootDevice::Disk, BootDevice::Cdrom, BootDevice::Bios] {
        for (persistent, mode) in [(false, BootMode::Uefi), (true, BootMode::Bios)] {
            let setting = BootSetting { device, persistent, mode: Some(mode) };
            assert_eq!(bmc.set_boot_device(setting).await, Ok(()));
            assert_eq!(bmc.boot_device().await, Ok(setting));
        }
    }
    assert!(fake.sim.lock().unwrap().machine.boot_flags_stay, "an override must not expire after 60 s");
    // Without a mode it keeps the one that it has.
    let uefi = BootSetting { device: BootDevice::Pxe, persistent: false, mode: Some(BootMode::Uefi) };
    bmc.set_boot_device(uefi).await.unwrap();
    bmc.set_boot_device(BootSetting { device: BootDevice::Disk, mode: None, ..uefi }).await.unwrap();
    assert_eq!(bmc.boot_device().await, Ok(BootSetting { device: BootDevice::Disk, ..uefi }));
    bmc.set_boot_device(none).await.unwrap();
    assert_eq!(bmc.boot_device().await, Ok(none));
}

#[tokio::test]
async fn a_bmc_that_forgets_the_bits_of_an_override_has_it_once() {
    let config = SimConfig { forgets_boot_bits: true, ..SimConfig::default() };
    let fake = FakeBmc::start(config, Machine::default()).await;
    let bmc = fake.driver();
    let wanted = BootSetting { device: BootDevice::Pxe, persistent: true, mode: Some(BootMode::Bios) };
    assert_eq!(bmc.set_boot_device(wanted).await, Ok(()));
    assert_eq!(bmc.boot_device().await, Ok(BootSetting { persistent: false, ..wanted }));
}

#[tokio::test]
async fn stale_flags_of_a_used_override_are_no_override() {
    let fake = FakeBmc::start(SimConfig::default(), Machine::default()).await;
    let bmc = fake.driver();
    let once = BootSetting { device: BootDevice::Pxe, persistent: false, mode: Some(BootMode::Bios) };
    bmc.set_boot_device(once).await.unwrap();
    // The firmware has used it.
    fake.sim.lock().unwrap().machine.boot.valid = false;
    assert_eq!(bmc.boot_device().await.unwrap().device, BootDevice::None);
}

#[tokio::test]
async fn wrong_credentials_are_told_and_not_retried_for_long() {
    let fake = FakeBmc::start(SimConfig::default(), Machine::default()).await;
    let start = Instant::now();
    for (user, password, hint) in [("admin", "wrong", "password is wrong"), ("nobody", "password", "user name")] {
        for suite in [17, 3] {
            let config =
                Config { username: user.into(), password: password.into(), cipher_suite: Some(suite), ..fake.config() };
            let error = IpmiBmc::new(config).unwrap().power().await.unwrap_err();
            assert!(matches!(&error, BmcError::Credentials { detail, .. } if detail.contains(hint)), "{error}");
        }
    }
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    let mut users = SimConfig::default();
    users.users[0].privilege = Privilege::User;
    let fake = FakeBmc::start(users, Machine::default()).await;
    let error = fake.driver().power().await.unwrap_err();
    assert!(matches!(&error, BmcError::Credentials { detail, .. } if detail.contains("privilege")), "{error}");
    // As user it may look, but not switch.
    let bmc = IpmiBmc::new(Config { privilege: Privilege::User, ..fake.config() }).unwrap();
    assert_eq!(bmc.power().await, Ok(PowerState::Off));
    let error = bmc.set_power(PowerTarget::On).await.unwrap_err();
    assert!(matches!(&error, BmcError::Credentials { detail, .. } if detail.contains("0xd4")), "{error}");
}

#[test]
fn bad_configurations_are_refused_before_anything_is_sent() {
    let refused = |config: Config| IpmiBmc::new(config).err().unwrap();
    let good = Config::new("192.0.2.1", "admin", "password");
    assert!(matches!(refused(Config { address: "  ".into(), ..good.clone() }), BmcError::Unsupported { .. }));
    assert!(matches!(refused(Config { address: "https://x/".into(), ..good.clone() }), BmcError::Unsupported { .. }));
    assert!(matches!(refused(Config { password: "x".repeat(21), ..good.clone() }), BmcError::Credentials { .. }));
    assert!(matches!(refused(Config { cipher_suite: Some(0), ..good.clone() }), BmcError::Unsupported { .. }));
    assert!(!format!("{good:?}").contains("password"));
    assert!(IpmiBmc::new(Config { address: "[2001:db8::1]".into(), ..good }).is_ok());
}

#[tokio::test]
async fn a_silent_bmc_is_unreachable_after_its_tries() {
    let silent = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
    let start = Instant::now();
    let error = IpmiBmc::new(hurried(silent.local_addr().unwrap())).unwrap().power().await.unwrap_err();
    assert!(matches!(error, BmcError::Unreachable { .. }), "{error}");
    assert!((Duration::from_millis(250)..Duration::from_secs(10)).contains(&start.elapsed()), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_told_apart() {
    let address = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap();
    let error = IpmiBmc::new(hurried(address)).unwrap().power().await.unwrap_err();
    assert!(matches!(&error, BmcError::Unreachable { detail, .. } if detail.contains("nothing listens")), "{error}");
}

#[tokio::test]
async fn garbage_is_told_as_garbage() {
    let noise = Box::new(|answer: Vec<u8>| vec![(Duration::ZERO, vec![0x5a; answer.len()])]);
    let fake = FakeBmc::spoiled(SimConfig::default(), Machine::default(), noise).await;
    let error = IpmiBmc::new(hurried(fake.address)).unwrap().power().await.unwrap_err();
    assert!(matches!(&error, BmcError::Protocol { detail, .. } if detail.contains("make no sense")), "{error}");
}

#[tokio::test]
async fn answers_that_are_cut_are_not_believed() {
    let cut = Box::new(|mut answer: Vec<u8>| {
        answer.truncate(answer.len() - 3);
        vec![(Duration::ZERO, answer)]
    });
    let fake = FakeBmc::spoiled(SimConfig::default(), Machine::default(), cut).await;
    let error = IpmiBmc::new(hurried(fake.address)).unwrap().power().await.unwrap_err();
    assert!(matches!(error, BmcError::Protocol { .. }), "{error}");
}

#[tokio::test]
async fn a_flood_between_the_answers_does_not_hold_them_up() {
    let flood = Box::new(|answer: Vec<u8>| {
        let mut all: Vec<_> = (0..200u8).map(|n| (Duration::ZERO, packet::unprotected(0x11, &[n; 40]))).collect();
        all.insert(100, (Duration::ZERO, answer));
        all
    });
    let fake = FakeBmc::spoiled(SimConfig::default(), running(), flood).await;
    assert_eq!(fake.driver().power().await, Ok(PowerState::On));
}

#[tokio::test]
async fn an_endless_flood_without_an_answer_ends_at_the_tries() {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    let flood = tokio::spawn(async move {
        let mut buffer = [0; 2048];
        let (_, peer) = socket.recv_from(&mut buffer).await.unwrap();
        loop {
            let _ = socket.send_to(&[6, 0, 0xff, 7, 0, 0, 0, 0], peer).await;
            tokio::task::yield_now().await;
        }
    });
    let error = IpmiBmc::new(hurried(address)).unwrap().power().await.unwrap_err();
    flood.abort();
    assert!(matches!(error, BmcError::Protocol { .. }), "{error}");
}

#[tokio::test]
async fn a_slow_bmc_is_waited_for() {
    // Slower than the first repetition.
    let slow = Box::new(|answer: Vec<u8>| vec![(Duration::from_millis(700), answer)]);
    let fake = FakeBmc::spoiled(SimConfig::default(), running(), slow).await;
    assert_eq!(fake.driver().power().await, Ok(PowerState::On));
}

#[tokio::test]
async fn a_call_ends_at_its_own_limit() {
    let slow = Box::new(|answer: Vec<u8>| vec![(Duration::from_millis(250), answer)]);
    let fake = FakeBmc::spoiled(SimConfig::default(), running(), slow).await;
    let mut config = fake.config();
    config.limits.call = Duration::from_millis(600);
    let error = IpmiBmc::new(config).unwrap().power().await.unwrap_err();
    assert!(matches!(&error, BmcError::Unreachable { detail, .. } if detail.contains("0.6 s")), "{error}");
}

#[tokio::test]
async fn a_strangers_answers_are_not_heard() {
    // The BMC's port is silent; another port answers in its place, with answers that would open a session.
    let front = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
    let address = front.local_addr().unwrap();
    let stranger = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
    let relay = tokio::spawn(async move {
        let mut sim = leasehold_protocols::ipmi::sim::Sim::new(SimConfig::default(), running(), [7; 32]);
        let mut buffer = [0; 2048];
        loop {
            let (len, peer) = front.recv_from(&mut buffer).await.unwrap();
            sim.handle(Duration::ZERO, peer, &buffer[..len]);
            while let Some((peer, answer)) = sim.transmit() {
                stranger.send_to(&answer, peer).await.unwrap();
            }
        }
    });
    let error = IpmiBmc::new(hurried(address)).unwrap().power().await.unwrap_err();
    relay.abort();
    assert!(matches!(error, BmcError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn a_bmc_that_was_restarted_is_asked_in_a_new_session() {
    let fake = FakeBmc::start(SimConfig::default(), running()).await;
    let bmc = fake.driver();
    assert_eq!(bmc.power().await, Ok(PowerState::On));
    fake.sim.lock().unwrap().restart();
    assert_eq!(bmc.power().await, Ok(PowerState::On));
    assert_eq!(fake.open_sessions(), 1);
}

#[tokio::test]
async fn a_call_that_is_given_up_leaves_no_session_behind() {
    let slow = Box::new(|answer: Vec<u8>| vec![(Duration::from_millis(20), answer)]);
    let fake = FakeBmc::spoiled(SimConfig::default(), running(), slow).await;
    let bmc = Arc::new(fake.driver());
    assert_eq!(bmc.power().await, Ok(PowerState::On));
    assert_eq!(fake.open_sessions(), 1);
    let call = tokio::spawn({
        let bmc = bmc.clone();
        async move { bmc.sensors().await }
    });
    tokio::task::yield_now().await;
    call.abort();
    let _ = call.await;
    let deadline = Instant::now() + Duration::from_secs(10);
    while fake.open_sessions() > 0 {
        assert!(Instant::now() < deadline, "the session stays open");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(bmc.power().await, Ok(PowerState::On));
}

#[tokio::test]
async fn a_guarded_bmc_shuts_down_softly_or_is_cut_off() {
    for (obeys, expected) in [(Some(Duration::ZERO), PowerOff::Soft), (None, PowerOff::Hard)] {
        let machine = Machine { power_on: true, obeys_soft_off: obeys, ..Machine::default() };
        let fake = FakeBmc::start(SimConfig::default(), machine).await;
        let bmc = Guarded::with_linger(Arc::new(fake.driver()), Duration::from_secs(10), Duration::ZERO);
        assert_eq!(power_off_soft_then_hard(&bmc, Duration::from_millis(10)).await, Ok(expected));
        assert_eq!(bmc.power().await, Ok(PowerState::Off));
        let deadline = Instant::now() + Duration::from_secs(10);
        while fake.open_sessions() > 0 {
            assert!(Instant::now() < deadline, "the session stays open");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

#[tokio::test]
async fn an_nmi_reaches_a_machine_that_is_on() {
    let fake = FakeBmc::start(SimConfig::default(), running()).await;
    let bmc = fake.driver();
    bmc.inject_nmi().await.unwrap();
    assert_eq!(fake.sim.lock().unwrap().machine.controls, [Control::DiagnosticInterrupt]);
    assert_eq!(bmc.power().await, Ok(PowerState::On));
    bmc.set_power(PowerTarget::Off).await.unwrap();
    let error = bmc.inject_nmi().await.unwrap_err();
    assert!(matches!(&error, BmcError::Unsupported { detail, .. } if detail.contains("off")), "{error}");
    assert_eq!(fake.open_sessions(), 1, "one session for all of it");
}

#[tokio::test]
async fn a_bmc_that_is_reset_gets_a_new_session_afterwards() {
    let fake = FakeBmc::start(SimConfig::default(), running()).await;
    let bmc = fake.driver();
    bmc.vendor(VendorCall::ResetBmc { warm: true }).await.unwrap();
    bmc.vendor(VendorCall::ResetBmc { warm: false }).await.unwrap();
    assert_eq!(fake.sim.lock().unwrap().machine.bmc_resets, (1, 1), "each once");
    let start = Instant::now();
    assert_eq!(bmc.power().await, Ok(PowerState::On));
    assert!(start.elapsed() < fake.config().limits.request, "without waiting for the session that is no more");
}

#[tokio::test]
async fn a_raw_request_is_carried_out_or_refused_with_its_code() {
    let fake = FakeBmc::start(SimConfig::default(), running()).await;
    let bmc = fake.driver();
    let raw = |text: &str| VendorCall::SendRaw(RawRequest::read(text).unwrap());
    // Chassis Control: off.
    bmc.vendor(raw("0x00 0x02 0x00")).await.unwrap();
    assert_eq!(fake.sim.lock().unwrap().machine.controls, [Control::Off]);
    let error = bmc.vendor(raw("0x00 0x7f")).await.unwrap_err();
    assert!(matches!(&error, BmcError::Unsupported { detail, .. } if detail.contains("0xc1")), "{error}");
    let none = bmc.vendor(VendorCall::EjectMedia { kind: None }).await;
    assert!(matches!(none, Err(BmcError::Unsupported { .. })));
}

#[tokio::test]
async fn what_must_not_be_done_twice_is_not_repeated_in_a_new_session() {
    let fake = FakeBmc::start(SimConfig::default(), running()).await;
    let bmc = fake.driver();
    assert_eq!(bmc.power().await, Ok(PowerState::On));
    // The BMC has started anew behind our back: the old session is noticed before the interrupt is sent.
    fake.sim.lock().unwrap().restart();
    bmc.inject_nmi().await.unwrap();
    assert_eq!(fake.sim.lock().unwrap().machine.controls, [Control::DiagnosticInterrupt]);
}
