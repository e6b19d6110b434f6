//! Rules as people write them, and what must hold for any rule.

use super::placeholder::{Missing, fill};
use super::{Context, Inspected, apply, check};
use crate::hardware::{InspectionRule, Record};
use crate::id::{InspectionRuleId, NodeId, PortId};
use crate::node::{Node, NodeSettings};
use crate::port::PortSettings;
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("no object: {other}"),
    }
}

fn node() -> Node {
    let settings = NodeSettings {
        name: Some("n1".into()),
        driver: "ipmi".into(),
        owner: Some("p1".into()),
        driver_info: object(json!({"ipmi_address": "10.0.0.9"})),
        ..NodeSettings::default()
    };
    Node::enrolled(NodeId(Uuid::from_u128(1)), settings, Timestamp::UNIX_EPOCH)
}

fn before() -> Inspected {
    let found = json!({
        "inventory": {
            "cpu": {"count": 8, "architecture": "x86_64"},
            "memory": {"physical_mb": 16384},
            "system_vendor": {"product_name": "PowerThing 9", "serial_number": ""},
            "bmc_address": "10.1.2.3",
            "disks": [{"size": 4}],
            "auth_token": "sesame",
        },
        "lldp": {"switch": "s1"},
    });
    let port = PortSettings::new(NodeId(Uuid::from_u128(1)), "52:54:00:00:00:01".parse().expect("a MAC"));
    Inspected {
        settings: node().settings,
        ports: BTreeMap::from([(PortId(Uuid::from_u128(7)), port)]),
        found: object(found),
        said: Vec::new(),
    }
}

fn rule(number: u128, priority: i64, conditions: Value, actions: Value) -> Arc<Record<InspectionRule>> {
    let list = |value: Value| value.as_array().cloned().expect("a list");
    let body =
        InspectionRule { priority, conditions: list(conditions), actions: list(actions), ..InspectionRule::default() };
    check(&body).expect("a good rule");
    let id = InspectionRuleId(Uuid::from_u128(number));
    Arc::new(Record { id, revision: 0, body, created_at: Timestamp::UNIX_EPOCH, updated_at: None })
}

fn run(rules: &[Arc<Record<InspectionRule>>]) -> Result<Inspected, String> {
    apply(rules, &node(), before())
}

/// Whether a condition is met by the inventory.
fn met(condition: Value) -> bool {
    let rules = [rule(1, 0, json!([condition]), json!([{"op": "log", "args": {"msg": "met"}}]))];
    !run(&rules).expect("judged").said.is_empty()
}

#[test]
fn operators_judge_as_ironics() {
    for (condition, expected) in [
        (json!({"op": "eq", "args": {"values": ["{inventory[cpu][count]}", 8]}}), true),
        (json!({"op": "eq", "args": ["{inventory.cpu.architecture}", "x86_64"]}), true),
        (json!({"op": "!eq", "args": ["{inventory.cpu.architecture}", "x86_64"]}), false),
        (json!({"op": "! eq", "args": {"values": [1, "x"]}}), true),
        (json!({"op": "eq", "args": {"values": ["1", 1], "force_strings": true}}), true),
        (json!({"op": "lt", "args": {"values": [4, "{inventory[cpu][count]}", 16]}}), true),
        (json!({"op": "gt", "args": {"values": ["{inventory[memory][physical_mb]}", 99999]}}), false),
        (json!({"op": "is-empty", "args": {"value": "{inventory[system_vendor][serial_number]}"}}), true),
        (json!({"op": "is-empty", "args": {"value": "{inventory[nothing]}"}}), true),
        (json!({"op": "is-empty", "args": {"value": "{inventory[disks]}"}}), false),
        (json!({"op": "is-none", "args": {"value": "{inventory[nothing]}"}}), true),
        (json!({"op": "is-true", "args": {"value": "yes"}}), true),
        (json!({"op": "is-false", "args": {"value": "{node.maintenance}"}}), true),
        (json!({"op": "in-net", "args": {"address": "{inventory[bmc_address]}", "subnet": "10.1.0.0/16"}}), true),
        (json!({"op": "in-net", "args": {"address": "10.2.0.1", "subnet": "10.1.0.0/16"}}), false),
        (json!({"op": "in-net", "args": {"address": "fe80::1", "subnet": "10.1.0.0/0"}}), false),
        (json!({"op": "matches", "args": {"value": "PowerThing 9", "regex": "PowerThing"}}), false),
        (json!({"op": "matches", "args": {"value": "PowerThing 9", "regex": "Power.*"}}), true),
        (
            json!({"op": "contains", "args": {"value": "{inventory[system_vendor][product_name]}", "regex": "g \\d"}}),
            true,
        ),
        (json!({"op": "one-of", "args": {"value": "{inventory[cpu][count]}", "values": [4, 8]}}), true),
        (json!({"op": "eq", "args": ["{item}", "b"], "loop": ["a", "b"], "multiple": "any"}), true),
        (json!({"op": "eq", "args": ["{item}", "b"], "loop": ["a", "b"], "multiple": "all"}), false),
        (json!({"op": "eq", "args": ["{item}", "b"], "loop": ["a", "b"], "multiple": "last"}), true),
        (json!({"op": "eq", "args": ["{item}", "b"], "loop": ["b", "a"], "multiple": "first"}), true),
    ] {
        assert_eq!(met(condition.clone()), expected, "{condition}");
    }
}

#[test]
fn actions_change_the_node_its_ports_and_what_is_kept() {
    let port = Uuid::from_u128(7).to_string();
    let actions = json!([
        {"op": "set-attribute", "args": {"path": "properties/cpu_model", "value": "{inventory[system_vendor][product_name]}"}},
        {"op": "set-attribute", "args": ["/extra/rack/row", 3]},
        {"op": "set-attribute", "args": {"path": "resource_class", "value": "big"}},
        {"op": "extend-attribute", "args": {"path": "extra/tags", "value": "a", "unique": true}},
        {"op": "extend-attribute", "args": {"path": "extra/tags", "value": "a", "unique": true}},
        {"op": "set-capability", "args": {"name": "boot_mode", "value": "uefi"}},
        {"op": "set-capability", "args": {"name": "boot_mode", "value": "bios"}},
        {"op": "add-trait", "args": {"name": "CUSTOM_BIG"}},
        {"op": "set-plugin-data", "args": {"path": "mine.size", "value": "{inventory[memory][physical_mb]}"}},
        {"op": "unset-plugin-data", "args": {"path": "not.there"}},
        {"op": "set-port-attribute", "args": {"port_id": port, "path": "extra/switch", "value": "{plugin_data[lldp][switch]}"}},
        {"op": "set-attribute", "args": ["{item[path]}", "{item[value]}"],
         "loop": [{"path": "/driver_info/ipmi_address", "value": "{inventory[bmc_address]}"}]},
        {"op": "log", "args": {"msg": "{node.name} has {inventory[cpu][count]} cores, {inventory[auth_token]}"}},
    ]);
    let after = run(&[rule(1, 0, json!([]), actions)]).expect("applied");
    let settings = &after.settings;
    assert_eq!(settings.properties["cpu_model"], "PowerThing 9");
    assert_eq!(Value::Object(settings.extra.clone()), json!({"rack": {"row": 3}, "tags": ["a"]}));
    assert_eq!(settings.resource_class.as_deref(), Some("big"));
    assert_eq!(settings.properties["capabilities"], "boot_mode:bios");
    assert!(settings.traits.contains("CUSTOM_BIG"));
    assert_eq!(after.found["mine"], json!({"size": "16384"}));
    assert_eq!(after.ports.values().next().expect("the port").extra["switch"], "s1");
    assert_eq!(settings.driver_info["ipmi_address"], "10.1.2.3");
    assert_eq!(after.said, [("info".to_owned(), "n1 has 8 cores, ***".to_owned())]);
}

#[test]
fn the_highest_priority_comes_first_and_conditions_decide() {
    let set = |number, priority, value: &str, conditions| {
        rule(number, priority, conditions, json!([{"op": "set-attribute", "args": ["extra/x", value]}]))
    };
    let never = json!([{"op": "eq", "args": [1, 2]}]);
    let after = run(&[set(1, 5, "five", json!([])), set(2, 9, "nine", json!([])), set(3, 1, "one", never)]);
    assert_eq!(after.expect("applied").settings.extra["x"], "five");
}

#[test]
fn an_inspection_fails_with_the_rules_words() {
    let failing = rule(1, 0, json!([]), json!([{"op": "fail", "args": {"msg": "too old"}}]));
    assert!(run(&[failing]).expect_err("failed").contains("too old"));
    let missing = json!([{"op": "set-attribute", "args": ["extra/x", "{inventory[nothing]}"]}]);
    assert!(run(&[rule(1, 0, json!([]), missing)]).expect_err("failed").contains("nothing for the placeholder"));
    let secret = json!([{"op": "set-attribute", "args": ["driver_info/ipmi_password", "x"]}]);
    assert!(run(&[rule(1, 0, json!([]), secret)]).expect_err("failed").contains("secret"));
}

#[test]
fn what_cannot_be_done_is_refused_when_it_is_written() {
    let bad = |conditions: Value, actions: Value| {
        let list = |value: Value| value.as_array().cloned().expect("a list");
        let rule = InspectionRule { conditions: list(conditions), actions: list(actions), ..InspectionRule::default() };
        check(&rule).is_err()
    };
    let fine = json!([{"op": "log", "args": ["x"]}]);
    assert!(!bad(json!([]), fine.clone()));
    for action in [
        json!({"op": "api-call", "args": {"url": "http://10.0.0.1/"}}),
        json!({"op": "set-attribute", "args": {"path": "owner", "value": "p2"}}),
        json!({"op": "set-attribute", "args": {"path": "/lessee", "value": "p2"}}),
        json!({"op": "set-attribute", "args": {"path": "extra/x"}}),
        json!({"op": "set-attribute", "args": ["a", "b", "c"]}),
        json!({"op": "set-attribute", "args": {"path": "extra/x", "value": 1, "more": 1}}),
        json!({"op": "add-trait", "args": {"name": "lower"}}),
        json!({"op": "log", "args": {"msg": "x", "level": "loud"}}),
        json!({"op": "log"}),
        json!({"args": ["x"]}),
    ] {
        assert!(bad(json!([]), json!([action.clone()])), "{action}");
    }
    for condition in [
        json!({"op": "equals", "args": [1, 1]}),
        json!({"op": "!!eq", "args": [1, 1]}),
        json!({"op": "matches", "args": {"value": "x", "regex": "("}}),
        json!({"op": "in-net", "args": {"address": "x", "subnet": "10.0.0.0/40"}}),
        json!({"op": "eq", "args": [1, 1], "multiple": "some"}),
        json!({"op": "eq", "args": {"values": 7}}),
    ] {
        assert!(bad(json!([condition.clone()]), fine.clone()), "{condition}");
    }
    assert!(bad(json!([]), json!([])), "without an action");
}

/// What the machine tells is never read as a rule's text.
#[test]
fn the_inventory_brings_no_placeholders() {
    let mut inspected = before();
    inspected.found.insert("lldp".into(), json!({"switch": "{node.driver_info[ipmi_address]}"}));
    let actions = json!([{"op": "set-attribute", "args": ["{item[path]}", "{item[value]}"],
        "loop": [{"path": "extra/x", "value": "{plugin_data[lldp][switch]}"}]}]);
    let after = apply(&[rule(1, 0, json!([]), actions)], &node(), inspected).expect("applied");
    assert_eq!(after.settings.extra["x"], "{node.driver_info[ipmi_address]}");
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[{}a-z.\\[\\]/:!]{0,12}".prop_map(Value::from),
        proptest::sample::select(vec!["{inventory[cpu][count]}", "{item}", "owner", "lessee", "extra/x", "properties"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(
                proptest::sample::select(vec!["path", "value", "name", "values", "regex", "msg", "x"]),
                inner,
                0..4
            )
            .prop_map(|map| Value::Object(map.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())),
        ]
    })
}

proptest! {
    /// Any rule is refused, fails, or is applied; and no rule gives the node away.
    #[test]
    fn no_rule_gives_a_node_away(
        condition in "(eq|lt|is-empty|matches|in-net|one-of|!contains)",
        action in "(set|extend|del)-attribute|(set|unset)-capability|(add|remove)-trait|(set|extend|unset)-plugin-data|log",
        condition_args in value(), action_args in value(), looped in proptest::option::of(value()),
    ) {
        let given = |op: &str, args: &Value| match &looped {
            Some(items) => json!({"op": op, "args": args, "loop": items}),
            None => json!({"op": op, "args": args}),
        };
        let body = InspectionRule {
            conditions: vec![given(&condition, &condition_args)],
            actions: vec![given(&action, &action_args)],
            ..InspectionRule::default()
        };
        let _either_is_fine = check(&body);
        let id = InspectionRuleId(Uuid::nil());
        for conditions in [body.conditions.clone(), Vec::new()] {
            let body = InspectionRule { conditions, ..body.clone() };
            let rule =
                Arc::new(Record { id, revision: 0, body, created_at: Timestamp::UNIX_EPOCH, updated_at: None });
            if let Ok(after) = run(&[rule]) {
                prop_assert_eq!(&after.settings.owner, &node().settings.owner);
                prop_assert_eq!(&after.settings.lessee, &node().settings.lessee);
                prop_assert_eq!(&after.found["inventory"], &before().found["inventory"]);
            }
        }
    }

    #[test]
    fn any_text_is_filled_or_stays(text in "[{}a-z.\\[\\]'!: ]{0,30}") {
        let context = Context::of(&node(), &before());
        prop_assert!(fill(&text.clone().into(), &context, Missing::Stays).is_ok());
        if !text.contains(['{', '}']) {
            prop_assert_eq!(fill(&text.clone().into(), &context, Missing::Fails), Ok(Value::from(text)));
        }
    }
}
