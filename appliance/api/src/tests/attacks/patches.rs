//! JSON patches on what is not the sender's to change.

use super::*;

async fn patched(scene: &Scene, who: &Tenant, node: &str, patch: &Value) -> (u16, String) {
    let (status, answer) = scene.ask(who, "PATCH", &format!("/nodes/{node}"), patch.clone()).await;
    (status.as_u16(), answer.to_string())
}

fn set(path: &str, value: &Value) -> Value {
    json!([{"op": "replace", "path": path, "value": value}])
}

#[tokio::test]
async fn json_patch_takes_the_owner_or_the_lessee_over() {
    let scene = Scene::new("member", "admin").await;
    let node = scene.guarded("guarded").await;
    let before = scene.kept(&node);
    for (who, path, expected) in [
        (&scene.owner, "/owner", 403),
        (&scene.lessee, "/owner", 403),
        (&scene.lessee, "/lessee", 403),
        (&scene.stranger, "/owner", 404),
        (&scene.stranger, "/lessee", 404),
    ] {
        for value in [json!(who.project), json!(scene.stranger.project), Value::Null, json!("")] {
            for op in ["add", "replace", "remove"] {
                let patch = json!([{"op": op, "path": path, "value": value}]);
                let (status, answer) = patched(&scene, who, &node, &patch).await;
                assert_eq!(status, expected, "{op} {path} {value}: {answer}");
            }
        }
    }
    assert_eq!(scene.kept(&node), before);
    let (status, answer) = patched(&scene, &scene.owner, &node, &set("/lessee", &json!(scene.stranger.project))).await;
    assert_eq!(status, 200, "to lend it is the owner's: {answer}");
}

#[tokio::test]
async fn a_forbidden_patch_hides_between_allowed_ones() {
    let scene = Scene::new("member", "admin").await;
    let node = scene.guarded("guarded").await;
    let before = scene.kept(&node);
    let harmless = json!({"op": "add", "path": "/extra/a", "value": 1});
    for theft in [
        json!({"op": "replace", "path": "/owner", "value": scene.lessee.project}),
        json!({"op": "add", "path": "/driver_info/ipmi_address", "value": "10.0.0.66"}),
        json!({"op": "remove", "path": "/driver_info/ipmi_password"}),
        json!({"op": "add", "path": "/lessee/x", "value": 1}),
        json!({"op": "add", "path": "/~0owner", "value": scene.lessee.project}),
        json!({"op": "add", "path": "/OWNER", "value": scene.lessee.project}),
        json!({"op": "add", "path": "/owner ", "value": scene.lessee.project}),
        json!({"op": "add", "path": "/\u{43e}wner", "value": scene.lessee.project}),
    ] {
        for patch in [json!([harmless, theft, harmless]), json!([theft, harmless])] {
            let (status, answer) = patched(&scene, &scene.lessee, &node, &patch).await;
            assert!(matches!(status, 400 | 403), "{patch}: {status} {answer}");
        }
    }
    assert_eq!(scene.kept(&node), before);
    assert_eq!(patched(&scene, &scene.lessee, &node, &json!([harmless])).await.0, 200);
}

#[tokio::test]
async fn json_patch_sends_the_stored_password_to_another_machine() {
    let scene = Scene::new("admin", "admin").await;
    let node = scene.guarded("guarded").await;
    let before = scene.kept(&node);
    let mine = json!({"ipmi_address": "10.0.0.66", "ipmi_username": "root", "ipmi_password": "******"});
    for patch in [
        set("/driver_info", &mine),
        set("/driver_info/ipmi_address", &json!("10.0.0.66")),
        json!([{"op": "add", "path": "/driver_info/ipmi_port", "value": 6623}]),
        json!([{"op": "remove", "path": "/driver_info/ipmi_address"}]),
        json!([
            {"op": "remove", "path": "/driver_info/ipmi_address"},
            {"op": "add", "path": "/driver_info/ipmi_address", "value": "10.0.0.66"},
        ]),
        json!([{"op": "replace", "path": "/driver", "value": "redfish"},
               {"op": "add", "path": "/driver_info/redfish_address", "value": "https://10.0.0.66"},
               {"op": "add", "path": "/driver_info/redfish_password", "value": "******"}]),
    ] {
        for (who, expected) in [(&scene.owner, 400), (&scene.lessee, 403), (&scene.stranger, 404)] {
            let (status, answer) = patched(&scene, who, &node, &patch).await;
            assert_eq!(status, expected, "{patch}: {answer}");
            assert!(!answer.contains(SECRET));
        }
    }
    assert_eq!(scene.kept(&node), before);
    let own = json!({"ipmi_address": "10.0.0.66", "ipmi_username": "root", "ipmi_password": "another"});
    assert_eq!(patched(&scene, &scene.owner, &node, &set("/driver_info", &own)).await.0, 200, "a new one may go there");
}

#[tokio::test]
async fn json_patch_of_the_identity_of_a_node() {
    let scene = Scene::new("admin", "admin").await;
    let node = scene.guarded("guarded").await;
    let before = scene.kept(&node);
    for path in ["/uuid", "/uuid/x", "/id", "/links", "/links/0/href", "/reservation", "/provision_state", "/traits"] {
        for who in [&scene.owner, &scene.lessee] {
            let (status, answer) = patched(&scene, who, &node, &set(path, &json!(NOWHERE))).await;
            assert!(matches!(status, 400 | 403), "{path}: {status} {answer}");
        }
        assert_eq!(patched(&scene, &scene.stranger, &node, &set(path, &json!(NOWHERE))).await.0, 404, "{path}");
    }
    assert_eq!(scene.kept(&node), before);
}

#[tokio::test]
async fn json_patch_claims_the_instance_of_another() {
    let scene = Scene::new("member", "admin").await;
    let node = scene.guarded("guarded").await;
    let own = scene.strangers().await;
    let instance = json!("11111111-2222-3333-4444-555555555555");
    assert_eq!(patched(&scene, &scene.owner, &node, &set("/instance_uuid", &instance)).await.0, 200);
    let before = scene.kept(&node);
    assert_eq!(patched(&scene, &scene.stranger, &own, &set("/instance_uuid", &instance)).await.0, 409);
    let (_, found) = scene
        .ask(&scene.stranger, "GET", &format!("/nodes?instance_uuid={}", instance.as_str().expect("text")), Value::Null)
        .await;
    assert_eq!(found["nodes"], json!([]), "{found}");
    assert_eq!(patched(&scene, &scene.stranger, &node, &set("/instance_uuid", &Value::Null)).await.0, 404);
    assert_eq!(scene.kept(&node), before);
}

#[tokio::test]
async fn json_patch_replaces_the_whole_document() {
    let scene = Scene::new("admin", "admin").await;
    let node = scene.guarded("guarded").await;
    let before = scene.kept(&node);
    let all = json!({"owner": scene.lessee.project});
    for path in ["", "/", "//owner", "owner", "/-", "/0", "/owner/../lessee", "/.", "#/owner"] {
        for op in ["add", "replace", "remove"] {
            for who in [&scene.owner, &scene.lessee] {
                let patch = json!([{"op": op, "path": path, "value": all}]);
                let (status, answer) = patched(&scene, who, &node, &patch).await;
                assert!(matches!(status, 400 | 403), "{op} {path:?}: {status} {answer}");
            }
        }
    }
    for body in [json!({"owner": scene.lessee.project}), json!([[]]), json!([null]), json!([{"op": "replace"}])] {
        assert_eq!(patched(&scene, &scene.owner, &node, &body).await.0, 400, "{body}");
    }
    assert_eq!(scene.kept(&node), before);
}

#[tokio::test]
async fn json_patch_copies_or_moves_a_masked_value_where_it_is_shown() {
    let scene = Scene::new("admin", "admin").await;
    let node = scene.guarded("guarded").await;
    let before = scene.kept(&node);
    for op in ["copy", "move"] {
        for from in ["/driver_info/ipmi_password", "/driver_info", "/driver_info/ipmi_address", "/owner"] {
            for (who, expected) in [(&scene.owner, 400), (&scene.lessee, 400), (&scene.stranger, 404)] {
                let patch = json!([{"op": op, "from": from, "path": "/extra/a", "value": 1}]);
                let (status, answer) = patched(&scene, who, &node, &patch).await;
                assert_eq!(status, expected, "{patch}: {answer}");
                assert!(!answer.contains(SECRET) && !answer.contains("10.0.0.9"), "{answer}");
            }
        }
    }
    assert_eq!(scene.kept(&node), before);
}

#[tokio::test]
async fn json_patch_tests_guesses_of_a_secret() {
    let scene = Scene::new("admin", "admin").await;
    let node = scene.guarded("guarded").await;
    let before = scene.kept(&node);
    for who in [&scene.owner, &scene.lessee] {
        let mut answers = Vec::new();
        for guess in [SECRET, "sesame-of-any-bmc"] {
            let patch = json!([
                {"op": "test", "path": "/driver_info/ipmi_password", "value": guess},
                {"op": "add", "path": "/extra/a", "value": 1},
            ]);
            let (status, answer) = patched(&scene, who, &node, &patch).await;
            assert!(matches!(status, 400 | 403), "{answer}");
            answers.push((status, answer.replace(guess, "")));
        }
        assert_eq!(answers[0], answers[1], "the right guess is answered otherwise");
    }
    assert_eq!(scene.kept(&node), before);
    // Nor is a removal an oracle of what is there: the rule is asked before the document.
    for key in ["ipmi_password", "no_such_member"] {
        let patch = json!([{"op": "remove", "path": format!("/driver_info/{key}")}]);
        assert_eq!(patched(&scene, &scene.lessee, &node, &patch).await.0, 403, "{key}");
    }
}
