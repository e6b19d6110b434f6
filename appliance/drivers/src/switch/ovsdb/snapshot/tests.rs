//! What rows mean, and which make no sense.

use super::*;
use serde_json::{Value, json};

fn vlan(number: u16) -> Vlan {
    Vlan::new(number).expect("a VLAN")
}

fn row(value: &Value) -> Row {
    Row::read(value.as_object().expect("an object")).expect("a row")
}

fn meaning(mode: Value, tag: Value, trunks: Value) -> Option<String> {
    let columns = row(&json!({"vlan_mode": mode, "tag": tag, "trunks": trunks}));
    membership(&columns, vlan(4000)).map(|actual| match actual {
        Actual::Member(member) => member.to_string(),
        Actual::Other(words) => format!("other: {words}"),
    })
}

#[test]
fn the_columns_of_a_port_mean_what_open_vswitch_makes_of_them() {
    let none = || json!(["set", []]);
    for (mode, tag, trunks, expected) in [
        (none(), json!(7), none(), "VLAN 7"),
        (json!("access"), json!(7), json!(["set", [8, 9]]), "VLAN 7"),
        (json!("access"), json!(4000), none(), "idle"),
        (json!("native-untagged"), json!(7), json!(8), "VLAN 7 and, with tags, 8"),
        (none(), none(), none(), "other: trunk with no tag, all VLANs"),
        (none(), none(), json!(8), "other: trunk with no tag, VLANs 8"),
        (json!("access"), none(), none(), "other: access with no tag"),
        (none(), json!(0), none(), "other: access with tag 0"),
        (json!("native-untagged"), json!(7), none(), "other: native-untagged with tag 7, all VLANs"),
        (json!("native-untagged"), json!(7), json!(["set", [7, 8]]), "other: native-untagged with tag 7, VLANs 7, 8"),
        (json!("native-untagged"), json!(7), json!(["set", [0, 8]]), "other: native-untagged with tag 7, VLANs 0, 8"),
        (json!("native-tagged"), json!(7), json!(8), "other: native-tagged with tag 7, VLANs 8"),
        (json!("dot1q-tunnel"), json!(7), none(), "other: dot1q-tunnel with tag 7"),
    ] {
        assert_eq!(meaning(mode, tag, trunks).as_deref(), Some(expected));
    }
    assert_eq!(meaning(json!(3), json!(7), json!(["set", []])), None);
    assert_eq!(meaning(json!("access"), json!(["set", [7, 8]]), json!(["set", []])), None);
    assert_eq!(meaning(json!("access"), json!(7), json!("8")), None);
}

#[test]
fn what_is_written_is_read_as_the_same() {
    let trunk = Trunk::new(vlan(7), [vlan(8), vlan(4094)].into()).expect("a trunk");
    let among = [Membership::Access(vlan(7)), Membership::Trunk(trunk)].map(Wanted::among);
    for wanted in [Wanted::idle(), Wanted::alone(vlan(7))].into_iter().chain(among) {
        let written = columns(&wanted, vlan(4000));
        assert_eq!(membership(&written, vlan(4000)), Some(Actual::Member(wanted.membership().clone())));
        assert_eq!(written.set("protected"), Some(&[Atom::Boolean(wanted.is_protected())][..]));
    }
}

const IDS: [&str; 6] = [
    "00000000-0000-4000-8000-000000000001",
    "00000000-0000-4000-8000-000000000002",
    "00000000-0000-4000-8000-000000000003",
    "00000000-0000-4000-8000-000000000004",
    "00000000-0000-4000-8000-000000000005",
    "00000000-0000-4000-8000-000000000006",
];

/// Two ports of a bridge: `bond` of the interfaces `a` and `b`, and `p`, whose interface is called `bond`.
fn two_ports(fail_mode: &str) -> Vec<Outcome> {
    let uuid = |at: usize| json!(["uuid", IDS[at]]);
    let none = json!(["set", []]);
    let port = |at: usize, name: &str, interfaces: Value| {
        row(&json!({"_uuid": uuid(at), "name": name, "interfaces": interfaces, "vlan_mode": none, "tag": 7,
            "trunks": none, "protected": true}))
    };
    let interface = |at: usize, name: &str, ofport: i64| {
        row(&json!({"_uuid": uuid(at), "name": name, "error": none, "ofport": ofport, "link_state": "up",
            "mac_in_use": "02:00:00:00:00:0a"}))
    };
    let rows = |rows| Outcome { rows, count: 0 };
    vec![
        rows(vec![]),
        rows(vec![row(&json!({"_uuid": uuid(0), "name": "br", "ports": ["set", [uuid(1), uuid(2)]],
            "controller": none, "fail_mode": fail_mode, "mirrors": none}))]),
        rows(vec![port(1, "p", uuid(3)), port(2, "bond", json!(["set", [uuid(4), uuid(5)]]))]),
        rows(vec![interface(3, "bond", 1), interface(4, "a", 2), interface(5, "b", -1)]),
    ]
}

#[test]
fn a_port_is_found_by_its_name_alone() {
    let snapshot = Snapshot::read(&two_ports("standalone"), None, vlan(4000)).expect("a snapshot");
    let found = |name: &str| snapshot.find(name).map(|port| port.name.as_str());
    assert_eq!(found("bond"), Some("bond"), "the port of that name, not the one with such an interface");
    for other in ["a", "02:00:00:00:00:0a", "br", "BOND", ""] {
        assert_eq!(found(other), None, "{other}");
    }
    let bond = snapshot.find("bond").expect("a port");
    assert_eq!(bond.broken().as_deref(), Some("interface b: the switch has not taken it up"));
    assert_eq!((bond.state().link, bond.state().protected), (Some(true), true));
    let other = Snapshot::read(&two_ports("standalone"), Some("other"), vlan(4000)).expect("a snapshot");
    assert!(other.ports.is_empty(), "ports of other bridges do not count");
}

#[test]
fn who_else_hears_the_idle_vlan_is_told() {
    let with = |mode: Value, tag: Value, trunks: Value| {
        let mut rows = two_ports("standalone");
        let columns = row(&json!({"vlan_mode": mode, "tag": tag, "trunks": trunks}));
        rows[2].rows[0].0.extend(columns.0);
        Snapshot::read(&rows, None, vlan(4000)).expect("a snapshot").warnings(vlan(4000)).join("; ")
    };
    let none = || json!(["set", []]);
    assert_eq!(with(json!("access"), json!(4000), none()), "", "it is idle itself, and protected");
    assert_eq!(with(none(), json!(7), json!(4000)), "");
    assert_eq!(with(none(), none(), json!(["set", [7, 8]])), "");
    let told = with(none(), none(), none());
    assert_eq!(told, "port 'p' is on the idle VLAN 4000, too (trunk with no tag, all VLANs): list its VLANs");
    assert!(with(json!("native-untagged"), json!(7), json!(["set", [8, 4000]])).contains("'p' is on the idle"));
    assert!(with(json!("native-tagged"), json!(4000), json!(8)).contains("'p' is on the idle"));
    assert!(with(json!("trunk"), json!(7), none()).contains("'p' is on the idle"));
    let mut rows = two_ports("standalone");
    rows[2].rows[0].0.extend(row(&json!({"tag": 4000, "protected": false})).0);
    let warnings = Snapshot::read(&rows, None, vlan(4000)).expect("a snapshot").warnings(vlan(4000));
    assert_eq!(warnings, ["port 'p' is idle and not protected: it hears other idle ports"]);
}

#[test]
fn rules_that_go_before_vlans_are_told() {
    let snapshot = Snapshot::read(&two_ports("secure"), None, vlan(4000)).expect("a snapshot");
    let port = snapshot.find("p").expect("a port");
    assert!(port.controlled().is_some());
    assert!(port.state().trouble.is_some_and(|why| why.contains("fail_mode is secure")));
}

#[test]
fn rows_that_lack_something_are_no_snapshot() {
    let idle = vlan(4000);
    for (table, length) in [(1, 6), (2, 7), (3, 6)] {
        let whole = two_ports("secure");
        let names: Vec<_> = whole[table].rows[0].0.keys().cloned().collect();
        assert_eq!(names.len(), length);
        for name in
            names.iter().filter(|name| !["fail_mode", "error", "link_state", "mac_in_use"].contains(&name.as_str()))
        {
            let mut rows = two_ports("secure");
            rows[table].rows[0].0.remove(name);
            assert!(Snapshot::read(&rows, None, idle).is_err(), "{name} of table {table}");
        }
    }
    assert!(Snapshot::read(&[], None, idle).is_err());
}

#[test]
fn what_lies_in_two_places_is_no_snapshot() {
    let idle = vlan(4000);
    let mut rows = two_ports("standalone");
    let mut twin = rows[1].rows[0].clone();
    twin.0.extend(row(&json!({"_uuid": ["uuid", IDS[5]], "name": "br2"})).0);
    rows[1].rows.push(twin);
    for bridge in [None, Some("br")] {
        assert_eq!(Snapshot::read(&rows, bridge, idle).err(), Some("a port in two bridges"));
    }
    let mut rows = two_ports("standalone");
    rows[2].rows[0].0.extend(row(&json!({"interfaces": ["uuid", IDS[4]]})).0);
    assert_eq!(Snapshot::read(&rows, None, idle).err(), Some("an interface in two ports"));
    let mut rows = two_ports("standalone");
    let root = row(&json!({"_uuid": ["uuid", IDS[5]], "next_cfg": 7, "cur_cfg": 7}));
    rows[0].rows = vec![root.clone()];
    let read = Snapshot::read(&rows, None, idle).expect("a snapshot");
    assert_eq!(read.root.map(|root| root.next_cfg), Some(7));
    rows[0].rows.push(root);
    assert_eq!(Snapshot::read(&rows, None, idle).err(), Some("several switches"));
}
