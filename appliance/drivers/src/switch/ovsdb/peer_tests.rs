//! Against Open vSwitch itself. It must be there (`packaging/prepare build`): without a real peer this driver is a guess.

mod datapath;
mod peer;
mod tls;

use super::change::Written;
use super::tests::{config, vlan};
use super::*;
use crate::switch::{Actual, Membership, Trunk};
use peer::{Hook, Peer, proxy};
use std::path::PathBuf;
use std::sync::Arc;

/// What only a change's request has in it.
const UPDATE: &str = r#""op":"update""#;
/// What only a snapshot's request has in it.
const SNAPSHOT: &str = r#""table":"Interface""#;

fn switch_at(path: PathBuf) -> OvsdbSwitch {
    OvsdbSwitch::new(config(Address::Unix(path)), Arc::default()).expect("a switch")
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

fn trunk(native: u16, tagged: &[u16]) -> Wanted {
    let trunk = Trunk::new(vlan(native), tagged.iter().copied().map(vlan).collect());
    Wanted::among(Membership::Trunk(trunk.expect("a trunk")))
}

fn access(number: u16) -> Wanted {
    Wanted::among(Membership::Access(vlan(number)))
}

fn member(wanted: &Wanted) -> Actual {
    Actual::Member(wanted.membership().clone())
}

#[tokio::test]
async fn a_port_is_put_on_its_vlans_and_the_daemon_moves_its_frames_so() {
    let peer = Peer::new(&["n1", "n2", "up"]);
    peer.control(&["set", "port", "n2", "tag=10", "other_config:mine=kept", "protected=false"]);
    peer.control(&["set", "port", "n1", "protected=false"]);
    peer.control(&["set", "port", "up", "protected=false", "vlan_mode=trunk", "trunks=10,20"]);
    let switch = switch(&peer);
    let checked = switch.check().await.expect("a switch");
    assert!(checked.version.starts_with("Open vSwitch, database 8."), "{checked:?}");
    assert_eq!(checked.warnings.len(), 1, "n1 is on all VLANs: {checked:?}");
    assert_eq!(peer.reaches("n1"), ["up"; 0], "untagged frames of a trunk are on VLAN 0");

    let state = switch.set("n1", &access(10)).await.expect("set");
    assert_eq!((state.name.as_str(), state.actual.clone()), ("n1", member(&access(10))));
    assert_eq!((state.protected, state.link, state.trouble), (false, Some(true), None));
    assert_eq!(peer.columns("n1"), "access 10 []");
    assert_eq!(peer.reaches("n1"), ["n2", "up"]);

    switch.set("n1", &access(20)).await.expect("set");
    assert_eq!(peer.reaches("n1"), ["up"]);

    switch.set("n1", &trunk(10, &[20, 30])).await.expect("set");
    assert_eq!(peer.columns("n1"), "native-untagged 10 [20, 30]");
    assert_eq!(peer.reaches("n1"), ["n2", "up"]);
    assert_eq!(switch.port("n1").await.map(|state| state.actual), Ok(member(&trunk(10, &[20, 30]))));

    // A machine that nobody has: nothing of the trunk is left, and nobody hears it.
    switch.set("n1", &Wanted::idle()).await.expect("set");
    assert_eq!(peer.columns("n1"), "access 4000 []");
    assert_eq!(peer.reaches("n1"), ["up"; 0]);
    assert_eq!(peer.reaches("n2"), ["up"]);
    switch.set("n1", &Wanted::idle()).await.expect("again");

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
    assert_eq!(peer.columns("up"), "trunk [] [10, 20]");
}

#[tokio::test]
async fn a_port_is_found_by_its_own_name_and_no_other() {
    let peer = Peer::new(&["n1", "n2"]);
    let bond = ["add-bond", "br", "bond", "b1", "b2", "--", "set", "interface", "b1", "type=dummy", "--"];
    peer.control(&[&bond[..], &["set", "interface", "b2", "type=dummy"]].concat());
    let switch = switch(&peer);
    let mac = peer.control(&["get", "interface", "n2", "mac_in_use"]).replace('"', "");
    // An interface of a port, and a MAC address, would be second names of it.
    for unknown in ["n3", "", "N1", " n1", "b2", &mac, &"n".repeat(10_000), "n1\0", "[\"set\",[]]"] {
        assert!(matches!(switch.set(unknown, &access(10)).await, Err(SwitchError::UnknownPort { .. })), "{unknown}");
    }
    assert_eq!(switch.set("bond", &access(11)).await.map(|state| state.name), Ok("bond".into()));
    assert_eq!((peer.columns("n1"), peer.columns("n2")), ("[] [] []".into(), "[] [] []".into()));
}

#[tokio::test]
async fn a_switch_that_is_configured_twice_is_used_by_one_name() {
    let peer = Peer::new(&["n1"]);
    let databases = Arc::<Databases>::default();
    let named = |name: &str, path: PathBuf| {
        let config = Config { name: name.into(), ..config(Address::Unix(path)) };
        OvsdbSwitch::new(config, databases.clone()).expect("a switch")
    };
    let hook = Hook { text: "nothing", nth: 1, act: Box::new(|| {}) };
    let (one, other) = (named("tor1", peer.path("db.sock")), named("tor2", proxy(&peer, hook)));
    one.set("n1", &access(10)).await.expect("set");
    let error = other.set("n1", &access(11)).await.expect_err("the same");
    assert!(error.to_string().contains("it is the same as 'tor1'") && !error.may_pass(), "{error}");
    assert!(other.check().await.is_err());
    assert_eq!(peer.columns("n1"), "access 10 []");
}

#[tokio::test]
async fn whether_a_port_is_kept_apart_is_set_with_its_vlans_and_read_back() {
    let peer = Peer::new(&["n1", "n2"]);
    let protected = || peer.control(&["get", "port", "n1", "protected"]);
    peer.control(&["set", "port", "n1", "protected=false"]);
    let switch = switch(&peer);
    for (wanted, kept_apart) in [
        (Wanted::alone(vlan(100)), "true"),
        (access(10), "false"),
        (Wanted::idle(), "true"),
        (trunk(10, &[20]), "false"),
    ] {
        let state = switch.set("n1", &wanted).await.expect("set");
        assert!(wanted.is_met_by(&state), "{state:?}");
        assert_eq!(protected(), kept_apart, "{wanted}");
    }
    for (wanted, meddled, got) in [
        (Wanted::alone(vlan(100)), "false", "VLAN 100"),
        (Wanted::idle(), "false", "idle, not protected"),
        (access(10), "true", "VLAN 10, protected"),
    ] {
        let peer = Peer::new(&["n1"]);
        let value = format!("protected={meddled}");
        let other = disturbed(&peer, SNAPSHOT, 2, move |peer| drop(peer.control(&["set", "port", "n1", &value])));
        let error = other.set("n1", &wanted).await.expect_err("not kept");
        let (wanted, got) = (wanted.to_string(), got.to_owned());
        assert_eq!(error, SwitchError::NotKept { switch: "tor1".into(), port: "n1".into(), wanted, got });
    }
}

#[tokio::test]
async fn machines_that_are_worked_on_do_not_hear_each_other_and_those_of_a_network_do() {
    let peer = Peer::new(&["n1", "n2", "up"]);
    peer.control(&["set", "port", "up", "protected=false", "vlan_mode=trunk", "trunks=10,100"]);
    let switch = switch(&peer);
    for (wanted, reached) in
        [(Wanted::alone(vlan(100)), &["up"][..]), (access(10), &["n2", "up"]), (Wanted::idle(), &[])]
    {
        for port in ["n1", "n2"] {
            switch.set(port, &wanted).await.expect("set");
        }
        assert_eq!(peer.reaches("n1"), reached, "{wanted}");
    }
}

#[tokio::test]
async fn a_change_that_was_given_up_does_not_come_about_after_later_ones() {
    let peer = Peer::new(&["n1"]);
    let switch = switch(&peer);
    switch.set("n1", &Wanted::idle()).await.expect("set");
    // Its answer did not come, so it was given up, and the port put elsewhere and on idle again.
    let before = switch.snapshot().await.expect("a snapshot");
    let found = before.find("n1").expect("a port");
    for wanted in [access(20), Wanted::idle()] {
        switch.set("n1", &wanted).await.expect("set");
    }
    // Now it reaches the database, which shows the port as it was.
    let late = switch.write(before.root.as_ref().expect("a root"), found, &access(10)).await;
    assert_eq!(late, Ok(Written::Overtaken));
    assert_eq!(peer.columns("n1"), "access 4000 []");
}

#[tokio::test]
async fn what_must_not_be_set_is_refused() {
    let peer = Peer::new(&["n1"]);
    let refused = async |port: &str, wanted: Wanted| {
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
        OvsdbSwitch::new(config, Arc::default()).expect("a switch")
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
    switch.set("n1", &Wanted::idle()).await.expect("set");
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
    let hasty = OvsdbSwitch::new(hasty, Arc::default()).expect("a switch");
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
    let idle = switch.set("gone", &Wanted::idle()).await.expect("nobody hears it");
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
