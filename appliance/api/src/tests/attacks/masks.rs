//! Ways around a mask: another version, a choice of members, an order, a filter.

use super::*;

const HIDDEN: [&str; 4] = [SECRET, "10.0.0.9", "ipmi_address", "ipmi_username"];

#[tokio::test]
async fn microversion_downgrade_reaches_an_unmasked_member() {
    let scene = Scene::new("member", "member").await;
    let node = scene.guarded("guarded").await;
    let ask = async |who: &Tenant, path: &str, version: &str| {
        let headers = [("x-auth-token", who.token.as_str()), (VERSION, version)];
        let answer = scene.rig.ask("GET", &format!("/baremetal/v1{path}"), Value::Null, &headers).await;
        (answer.status, answer.body.to_string())
    };
    let mut shown = 0;
    for minor in 1..=115 {
        let version = format!("1.{minor}");
        for path in
            [format!("/nodes/{node}"), "/nodes/detail".to_owned(), format!("/nodes/detail?instance_uuid={NOWHERE}")]
        {
            let (status, text) = ask(&scene.lessee, &path, &version).await;
            shown += usize::from(status == StatusCode::OK && text.contains(&node));
            assert!(HIDDEN.iter().all(|hidden| !text.contains(hidden)), "{version} {path}: {text}");
            let (_, text) = ask(&scene.owner, &path, &version).await;
            assert!(!text.contains(SECRET), "{version} {path}: {text}");
            let (_, text) = ask(&scene.stranger, &path, &version).await;
            assert!(!text.contains("ipmi") && !text.contains("the owner's"), "{version} {path}: {text}");
        }
    }
    assert!(shown > 200, "the node itself is shown: {shown}");
    for strange in ["latest", "1.999", "0.9", "1", "", "1.1, 1.115", "2.0", "1.-1", "-1.1"] {
        let (_, text) = ask(&scene.lessee, &format!("/nodes/{node}"), strange).await;
        assert!(HIDDEN.iter().all(|hidden| !text.contains(hidden)), "{strange}: {text}");
    }
}

#[tokio::test]
async fn a_choice_of_members_reaches_a_masked_one() {
    let scene = Scene::new("member", "member").await;
    let node = scene.guarded("guarded").await;
    for path in [
        format!("/nodes/{node}?fields=driver_info"),
        format!("/nodes/{node}?fields=driver_info,driver_info"),
        "/nodes?fields=uuid,driver_info".to_owned(),
        "/nodes?fields=driver_info/ipmi_address".to_owned(),
        format!("/nodes/{node}/states"),
        format!("/nodes/{node}/validate"),
        format!("/nodes/{node}/vendor_passthru/methods"),
        "/nodes?fields=driver_info&sort_key=driver_info".to_owned(),
        "/nodes/detail?sort_key=driver_info".to_owned(),
    ] {
        let (_, answer) = scene.ask(&scene.lessee, "GET", &path, Value::Null).await;
        let text = answer.to_string();
        assert!(!text.contains(SECRET) && !text.contains("10.0.0.9"), "{path}: {text}");
    }
    let (_, answer) = scene.ask(&scene.owner, "GET", &format!("/nodes/{node}?fields=driver_info"), Value::Null).await;
    assert_eq!(answer["driver_info"]["ipmi_password"], "******", "{answer}");
}

#[tokio::test]
async fn an_order_or_a_filter_is_an_oracle_of_what_is_hidden() {
    let scene = Scene::new("member", "member").await;
    for path in [
        "/nodes?sort_key=driver_info",
        "/nodes?sort_key=driver_internal_info",
        "/nodes?sort_key=instance_info",
        "/nodes?driver_info=x",
        "/nodes?ipmi_address=10.0.0.9",
        "/nodes?owner%00=x",
    ] {
        let (status, answer) = scene.ask(&scene.lessee, "GET", path, Value::Null).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}: {answer}");
    }
    // A marker, a parent, a port's node: named, they are there only for who sees them.
    for path in [
        format!("/nodes?marker={}", scene.node),
        format!("/ports?node={}", scene.node),
        format!("/portgroups?node={}", scene.node),
        format!("/volume/targets?node={}", scene.node),
        format!("/nodes?parent_node={}", scene.node),
        format!("/allocations?node={}", scene.node),
    ] {
        let (status, answer) = scene.ask(&scene.stranger, "GET", &path, Value::Null).await;
        let absent = path.replace(&scene.node, NOWHERE);
        let (other, nothing) = scene.ask(&scene.stranger, "GET", &absent, Value::Null).await;
        assert_eq!((status, answer.to_string().replace(&scene.node, NOWHERE)), (other, nothing.to_string()), "{path}");
    }
}

#[tokio::test]
async fn a_change_answers_with_what_a_look_does_not_show() {
    let scene = Scene::new("member", "admin").await;
    let node = scene.guarded("guarded").await;
    let patch = json!([{"op": "add", "path": "/extra/a", "value": 1}]);
    for version in ["1.1", "1.50", "1.115"] {
        let headers = [("x-auth-token", scene.lessee.token.as_str()), (VERSION, version)];
        let answer = scene.rig.ask("PATCH", &format!("/baremetal/v1/nodes/{node}"), patch.clone(), &headers).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        let text = answer.body.to_string();
        assert!(HIDDEN.iter().all(|hidden| !text.contains(hidden)), "{version}: {text}");
    }
}
