//! Against Open vSwitch itself. It must be there (`packaging/prepare build`): without a real peer this driver is a guess.

mod peer;
mod tls;

use super::tests::{config, vlan};
use super::*;
use crate::switch::Trunk;
use peer::{Hook, Peer, proxy};
use std::path::PathBuf;
use std::sync::Arc;

/// What only a change's request has in it.
const UPDATE: &str = r#""op":"update""#;
/// What only a snapshot's request has in it.
const SNAPSHOT: &str = r#""table":"Interface""#;

fn switch_at(path: PathBuf) -> OvsdbSwitch {
    OvsdbSwitch::new(config(Address::Unix(path))).expect("a switch")
}

fn switch(peer: &Peer) -> OvsdbSwitch {
    switch_at(peer.path("db.sock"))
}

/// A switch in whose conversation something happens.
fn disturbed(
    peer: &Arc<Peer>,
    text: &'static str,
    nth: usize,
    act: impl FnOnce(&Peer) + Send + 'static,
) -> OvsdbSwitch {
    let other = peer.clone();
    switch_at(proxy(peer, Hook { text, nth, act: Box::new(move || act(&other)) }))
}

fn trunk(native: u16, tagged: &[u16]) -> Membership {
    Membership::Trunk(Trunk::new(vlan(native), tagged.iter().copied().map(vlan).collect()).expect("a trunk"))
}

fn access(number: u16) -> Membership {
    Membership::Access(vlan(number))
}

#[tokio::test]
async fn a_port_is_put_on_its_vlans_and_the_daemon_moves_its_frames_so() {
    let peer = Peer::new(&["n1", "n2", "up"]);
    peer.control(&["set", "port", "n2", "tag=10", "other_config:mine=kept", "protected=false"]);
    peer.control(&["set", "port", "up", "protected=false", "vlan_mode=trunk", "trunks=10,20"]);
    let switch = switch(&peer);
    let checked = switch.check().await.expect("a switch");
    assert!(checked.version.starts_with("Open vSwitch, database 8."), "{checked:?}");
    assert_eq!(checked.warnings.len(), 1, "n1 is on all VLANs: {checked:?}");
    assert_eq!(peer.reaches("n1"), ["up"; 0], "untagged frames of a trunk are on VLAN 0");

    let state = switch.set("n1", &access(10)).await.expect("set");
    assert_eq!((state.name.as_str(), state.actual.clone()), ("n1", Actual::Member(access(10))));
    assert_eq!((state.protected, state.link, state.trouble), (true, Some(true), None));
    assert_eq!(peer.columns("n1"), "access 10 []");
    assert_eq!(peer.reaches("n1"), ["n2", "up"]);

    switch.set("n1", &access(20)).await.expect("set");
    assert_eq!(peer.reaches("n1"), ["up"]);

    switch.set("n1", &trunk(10, &[20, 30])).await.expect("set");
    assert_eq!(peer.columns("n1"), "native-untagged 10 [20, 30]");
    assert_eq!(peer.reaches("n1"), ["n2", "up"]);
    assert_eq!(switch.port("n1").await.map(|state| state.actual), Ok(Actual::Member(trunk(10, &[20, 30]))));

    // A machine that nobody has: nothing of the trunk is left, and nobody hears it.
    switch.set("n1", &Membership::Idle).await.expect("set");
    assert_eq!(peer.columns("n1"), "access 4000 []");
    assert_eq!(peer.reaches("n1"), ["up"; 0]);
    assert_eq!(peer.reaches("n2"), ["up"]);
    switch.set("n1", &Membership::Idle).await.expect("again");

    let all: Vec<_> =
        switch.ports().await.expect("ports").into_iter().map(|port| (port.name, port.actual.to_string())).collect();
    let expected = [
        ("br", "trunk with no tag, all VLANs"),
        ("n1", "idle"),
        ("n2", "VLAN 10"),
        ("up", "trunk with no tag, VLANs 10, 20"),
    ];
    assert_eq!(all, expected.map(|(name, actual)| (name.to_owned(), actual.to_owned())));
    // What nobody named is as it was.
    assert_eq!(peer.columns("n2"), "[] 10 []");
    assert_eq!(peer.control(&["get", "port", "n2", "other_config", "protected"]), "{mine=kept}\nfalse");
    assert_eq!(peer.control(&["get", "port", "n1", "protected"]), "true");
    assert_eq!(peer.columns("up"), "trunk [] [10, 20]");
}

#[tokio::test]
async fn ports_are_found_by_what_a_cable_is_noted_with() {
    let peer = Peer::new(&["n1", "n2"]);
    let bond = [
        "add-bond",
        "br",
        "bond",
        "b1",
        "b2",
        "--",
        "set",
        "interface",
        "b1",
        "type=dummy",
        "--",
        "set",
        "interface",
        "b2",
        "type=dummy",
    ];
    peer.control(&bond);
    let switch = switch(&peer);
    let mac = peer.control(&["get", "interface", "n2", "mac_in_use"]).replace('"', "").to_uppercase();
    assert_eq!(switch.set(&mac, &access(10)).await.map(|state| state.name), Ok("n2".into()));
    assert_eq!(switch.set("b2", &access(11)).await.map(|state| state.name), Ok("bond".into()));
    for unknown in ["n3", "", "N1", &"n".repeat(10_000), "n1\0", "[\"set\",[]]"] {
        assert!(matches!(switch.set(unknown, &access(10)).await, Err(SwitchError::UnknownPort { .. })), "{unknown}");
    }
    let mac = r#"mac="02:00:00:00:00:0a""#;
    for name in ["n1", "n2"] {
        peer.control(&["set", "interface", name, "type=internal", mac]);
    }
    let same = ["n1", "n2"].map(|name| peer.control(&["get", "interface", name, "mac_in_use"]));
    assert_eq!(same[0], same[1], "the daemon has taken the addresses");
    let error = switch.set(same[0].trim_matches('"'), &access(12)).await.expect_err("two ports");
    assert!(matches!(&error, SwitchError::AmbiguousPort { candidates, .. } if *candidates == ["n1", "n2"]), "{error}");
    assert_eq!((peer.columns("n1"), peer.columns("n2")), ("[] [] []".into(), "access 10 []".into()));
}

#[tokio::test]
async fn what_must_not_be_set_is_refused() {
    let peer = Peer::new(&["n1"]);
    let refused = async |port: &str, wanted: Membership| {
        let error = switch(&peer).set(port, &wanted).await.expect_err("refused");
        assert!(matches!(error, SwitchError::Unsupported { .. }) && !error.may_pass(), "{error}");
        error.to_string()
    };
    assert!(refused("br", access(10)).await.contains("the bridge's own"));
    assert!(refused("n1", access(4000)).await.contains("VLAN 4000 is its idle VLAN"));
    assert!(refused("n1", trunk(10, &[20, 4000])).await.contains("idle VLAN"));
    assert!(refused("n1", trunk(4000, &[20])).await.contains("idle VLAN"));
    peer.control(&["set-controller", "br", "tcp:192.0.2.1:6653"]);
    assert!(refused("n1", access(10)).await.contains("an OpenFlow controller decides"));
    assert_eq!(peer.columns("n1"), "[] [] []");

    let elsewhere = |bridge: &str| {
        let config = Config { bridge: Some(bridge.into()), ..config(Address::Unix(peer.path("db.sock"))) };
        OvsdbSwitch::new(config).expect("a switch")
    };
    peer.control(&["del-controller", "br", "--", "add-br", "br2", "--", "set", "bridge", "br2", "datapath_type=dummy"]);
    assert!(matches!(elsewhere("br2").set("n1", &access(10)).await, Err(SwitchError::UnknownPort { .. })));
    assert!(matches!(elsewhere("br3").check().await, Err(SwitchError::Unsupported { .. })));
    elsewhere("br").set("n1", &access(10)).await.expect("set");
}

#[tokio::test]
async fn what_undermines_isolation_is_told() {
    let peer = Peer::new(&["n1", "n2"]);
    let switch = switch(&peer);
    switch.set("n1", &Membership::Idle).await.expect("set");
    switch.set("n2", &access(10)).await.expect("set");
    let warnings = async || switch.check().await.expect("a switch").warnings;
    assert_eq!(warnings().await, [""; 0]);
    peer.control(&[
        "--",
        "--id=@m",
        "create",
        "mirror",
        "name=m",
        "select_all=true",
        "--",
        "set",
        "bridge",
        "br",
        "mirrors=@m",
    ]);
    assert_eq!(warnings().await, ["bridge 'br' has a mirror: copies of frames go where it says"]);
    peer.control(&["clear", "bridge", "br", "mirrors", "--", "set", "port", "n1", "protected=false"]);
    assert_eq!(warnings().await, ["port 'n1' is idle and not protected: it hears other idle ports"]);
}

#[tokio::test]
async fn what_somebody_else_changes_meanwhile_is_seen_and_not_overwritten() {
    let peer = Peer::new(&["n1", "n2"]);
    let switch = disturbed(&peer, UPDATE, 1, |peer| drop(peer.control(&["set", "port", "n1", "tag=77"])));
    let error = switch.set("n1", &access(10)).await.expect_err("changed");
    assert_eq!(error, SwitchError::Changed { switch: "tor1".into(), port: "n1".into() });
    assert!(error.may_pass());
    assert_eq!(peer.columns("n1"), "[] 77 []", "it is theirs");
    switch.set("n1", &access(10)).await.expect("what is there now is known");
}

#[tokio::test]
async fn a_change_of_another_port_is_no_conflict() {
    let peer = Peer::new(&["n1", "n2"]);
    let switch = disturbed(&peer, UPDATE, 1, |peer| {
        peer.control(&["set", "port", "n2", "tag=77", "--", "set", "port", "n1", "other_config:note=x"]);
    });
    switch.set("n1", &access(10)).await.expect("set");
    assert_eq!(peer.columns("n2"), "[] 77 []");
    assert_eq!(peer.control(&["get", "port", "n1", "other_config"]), "{note=x}");
}

#[tokio::test]
async fn a_port_that_goes_or_gets_another_name_is_not_the_port_any_more() {
    let peer = Peer::new(&["n1"]);
    // A name is for a port's life: another name is another port.
    let switch = disturbed(&peer, UPDATE, 1, |peer| {
        peer.control(&["del-port", "n1"]);
        peer.add_port("n1b");
    });
    assert!(matches!(switch.set("n1", &access(10)).await, Err(SwitchError::Changed { .. })));
    assert!(matches!(switch.set("n1", &access(10)).await, Err(SwitchError::UnknownPort { .. })));
    assert_eq!(peer.columns("n1b"), "[] [] []");
}

#[tokio::test]
async fn a_port_that_was_replaced_by_one_of_its_name_is_seen() {
    let peer = Peer::new(&["n1"]);
    let switch = disturbed(&peer, SNAPSHOT, 2, |peer| {
        peer.control(&["del-port", "n1"]);
        peer.add_port("n1");
    });
    assert!(matches!(switch.set("n1", &access(10)).await, Err(SwitchError::Changed { .. })));
}

#[tokio::test]
async fn a_port_that_moves_to_another_bridge_is_not_followed() {
    let peer = Peer::new(&["n1"]);
    peer.control(&["add-br", "br2", "--", "set", "bridge", "br2", "datapath_type=dummy"]);
    let switch = disturbed(&peer, UPDATE, 1, |peer| {
        let id = peer.control(&["get", "port", "n1", "_uuid"]);
        peer.control(&["remove", "bridge", "br", "ports", &id, "--", "add", "bridge", "br2", "ports", &id]);
    });
    assert!(matches!(switch.set("n1", &access(10)).await, Err(SwitchError::Changed { .. })));
    assert_eq!(peer.columns("n1"), "[] [] []");
}

#[tokio::test]
async fn what_is_read_back_as_something_else_is_no_success() {
    let peer = Peer::new(&["n1"]);
    let switch =
        disturbed(&peer, SNAPSHOT, 2, |peer| drop(peer.control(&["set", "port", "n1", "trunks=5", "vlan_mode=trunk"])));
    let error = switch.set("n1", &access(10)).await.expect_err("not kept");
    let (wanted, got) = ("VLAN 10".into(), "trunk with tag 10, VLANs 5".into());
    assert_eq!(error, SwitchError::NotKept { switch: "tor1".into(), port: "n1".into(), wanted, got });
}

#[tokio::test]
async fn a_dead_daemon_has_carried_nothing_out() {
    let peer = Peer::new(&["n1"]);
    let hook = Hook {
        text: UPDATE,
        nth: 1,
        act: {
            let peer = peer.clone();
            Box::new(move || peer.kill_daemon())
        },
    };
    let mut hasty = config(Address::Unix(proxy(&peer, hook)));
    hasty.limits.apply = Duration::from_millis(500);
    let hasty = OvsdbSwitch::new(hasty).expect("a switch");
    let error = hasty.set("n1", &access(10)).await.expect_err("the daemon is dead");
    assert!(matches!(error, SwitchError::NotApplied { .. }) && error.may_pass(), "{error}");
    assert!(error.to_string().contains("ovs-vswitchd has not confirmed it within 0.5 s"), "{error}");
    // What the database shows by now does not count while nobody confirms it.
    assert_eq!(peer.columns("n1"), "access 10 []");
    assert!(matches!(hasty.set("n1", &access(10)).await, Err(SwitchError::NotApplied { .. })));
    peer.start_daemon();
    switch(&peer).set("n1", &access(10)).await.expect("set");
}

#[tokio::test]
async fn a_change_waits_for_a_daemon_that_comes_back() {
    let peer = Peer::new(&["n1"]);
    peer.kill_daemon();
    let other = peer.clone();
    let act = Box::new(move || other.start_daemon());
    let switch = switch_at(proxy(&peer, Hook { text: r#""until":"!=""#, nth: 1, act }));
    switch.set("n1", &access(10)).await.expect("set");
}

#[tokio::test]
async fn a_database_that_dies_in_the_middle_is_told_and_found_again() {
    let peer = Peer::new(&["n1"]);
    let switch = disturbed(&peer, UPDATE, 1, Peer::kill_database);
    let error = switch.set("n1", &access(10)).await.expect_err("the database is dead");
    assert!(matches!(error, SwitchError::Unreachable { .. }) && error.may_pass(), "{error}");
    assert!(switch.set("n1", &access(10)).await.is_err(), "it is still dead");
    peer.start_database();
    switch.set("n1", &access(10)).await.expect("set");
    assert_eq!(peer.columns("n1"), "access 10 []");
}

#[tokio::test]
async fn a_port_whose_interface_is_not_there_can_only_be_idle() {
    let peer = Peer::new(&["n1"]);
    peer.control(&["--no-wait", "add-port", "br", "gone", "--", "set", "interface", "gone", "type=no-such-kind"]);
    let switch = switch(&peer);
    let error = switch.set("gone", &access(10)).await.expect_err("broken");
    assert!(matches!(error, SwitchError::Broken { .. }), "{error}");
    let idle = switch.set("gone", &Membership::Idle).await.expect("nobody hears it");
    assert!(idle.trouble.is_some());
    switch.set("n1", &access(10)).await.expect("another's trouble is not this one's");
}

#[tokio::test]
async fn many_ports_are_set_at_once() {
    let names: Vec<String> = (1..=20).map(|number| format!("n{number}")).collect();
    let peer = Peer::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let switch = Arc::new(switch(&peer));
    let mut tasks = tokio::task::JoinSet::new();
    for (at, name) in names.into_iter().enumerate() {
        let switch = switch.clone();
        tasks.spawn(async move { switch.set(&name, &access(u16::try_from(at).expect("small") + 100)).await });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("it ends").expect("set");
    }
    let states = switch.ports().await.expect("ports");
    let vlans: std::collections::BTreeSet<_> =
        states.into_iter().filter(|port| port.name != "br").map(|port| port.actual.to_string()).collect();
    assert_eq!(vlans.len(), 20);
}
