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

/// A node that is about to boot its agent boots the same whatever its own members say.
async fn boots_the_same(info: Value) {
    let rig = super::super::Rig::new().await;
    let (id, _) = rig.inspected_node("n1", "52:54:00:00:00:01").await;
    let mac: Mac = "52:54:00:00:00:01".parse().expect("a MAC");
    let script = |view: &leasehold_domain::View| {
        boot_script(view, mac, UnknownMachines::NoBoot, &source(), |_, _| Some("t".into()))
    };
    let mut view = (*rig.api.engine.view()).clone();
    let BootScript::Agent { arguments: before, kernel, initrds, .. } = script(&view) else { panic!("its agent") };
    let mut node = (**rig.api.engine.view().node(id).expect("there")).clone();
    let info = info.as_object().expect("an object").clone();
    node.settings.instance_info = info.clone();
    node.settings.driver_info.extend(info.clone());
    node.settings.extra = info.clone();
    node.settings.properties = info;
    view.apply(&leasehold_domain::Change::PutNode(Arc::new(node)));
    let BootScript::Agent { arguments, kernel: now, initrds: ram, title } = script(&view) else { panic!("its agent") };
    assert_eq!((arguments, now, ram), (before, kernel, initrds), "something of a node's own is in its boot");
    assert!(!title.contains('\n') && !title.contains("chain"), "{title}");
}

#[tokio::test]
async fn boot_script_injection_by_kernel_parameters() {
    let evil = "x\nchain http://10.0.0.66/evil\nshell ipa-api-url=https://10.0.0.66";
    boots_the_same(json!({
        "kernel_append_params": evil, "pxe_append_params": evil, "ramdisk_kernel_arguments": evil,
        "capabilities": {"boot_option": evil}, "root_device": {"name": evil},
    }))
    .await;
}

#[tokio::test]
async fn path_traversal_from_an_iso() {
    boots_the_same(json!({
        "boot_iso": "file:///../../../etc/shadow", "deploy_iso": "../../../etc/shadow", "rescue_iso": "/dev/zero",
        "deploy_kernel": "../../../etc/shadow", "deploy_ramdisk": "file:///etc/shadow", "kernel": "../../key",
        "ramdisk": "../../../etc/shadow", "deploy_kernel/x86_64": "http://10.0.0.66/k",
    }))
    .await;
    let scene = Scene::new("admin", "admin").await;
    for device in ["cdrom", "../../etc"] {
        for url in ["file:///../../etc/shadow", "../../../etc/shadow", "/etc/shadow", "http://127.0.0.1/x.iso"] {
            let body = json!({"device_type": device, "image_url": url, "image_download_source": "local"});
            let path = format!("/nodes/{}/vmedia", scene.node);
            let (status, answer) = scene.ask(&scene.owner, "POST", &path, body).await;
            assert!(status.is_client_error(), "{device} {url}: {answer}");
            assert!(!answer.to_string().contains("root:"), "{answer}");
        }
    }
}

#[tokio::test]
async fn path_traversal_from_a_template() {
    boots_the_same(json!({
        "pxe_template": "../../../etc/shadow", "ipxe_template": "../../../../etc/passwd",
        "pxe_bootfile_name": "../../../etc/shadow", "boot_template": "a/../../b",
    }))
    .await;
    // Templates of deployments have names, not files; no step takes a path.
    let scene = Scene::new("admin", "admin").await;
    let root = Tenant { project: String::new(), token: scene.rig.token("admin", PASSWORD, system()).await };
    for name in ["../../../etc/shadow", "CUSTOM_../X", "/etc/shadow", "CUSTOM_A/../B", "CUSTOM_A\0", "CUSTOM_%2e%2e"] {
        let steps = json!([{"interface": "deploy", "step": "write_image", "args": {}, "priority": 10}]);
        let body = json!({"name": name, "steps": steps});
        let (status, answer) = scene.with(&root, "POST", "/baremetal/v1/deploy_templates", body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{name:?}: {answer}");
    }
    for path in ["..%2f..%2fkey", "%2e%2e/key", "CUSTOM_A%2f..%2f..", "%2fetc%2fshadow"] {
        let (status, _) =
            scene.with(&root, "GET", &format!("/baremetal/v1/deploy_templates/{path}"), Value::Null).await;
        assert!(status.is_client_error(), "{path}");
    }
}

#[tokio::test]
async fn absolute_template_path() {
    boots_the_same(json!({
        "pxe_template": "/etc/shadow", "ipxe_template": "/proc/self/environ", "template": "/etc/leasehold/tls.key",
        "inspector_template": "file:///etc/shadow",
    }))
    .await;
}

/// What an image says of itself, or of what should start it, starts nothing: its loader is found by name on the disk that
/// was written, by the agent, which runs nothing of it (`boot-images/agent`, `boot::efi`, `boot::fat`).
#[tokio::test]
async fn bootloader_tricks_of_an_image() {
    boots_the_same(json!({
        "bootloader": "file:///etc/shadow", "image_bootloader": "http://10.0.0.66/esp.img", "kernel_id": NOWHERE,
        "ramdisk_id": NOWHERE, "image_properties": {"kernel_id": NOWHERE, "bootloader": "../../../etc/shadow"},
        "boot_option": "ramdisk", "image_type": "partition", "root_gb": 1,
    }))
    .await;
}

#[tokio::test]
async fn a_config_drive_is_fetched_or_read_for_the_sender() {
    let rig = super::super::Rig::new().await;
    // Born free, as nodes were in old versions: it may be deployed, but for its config drive.
    let body = json!({"driver": "fake-hardware", "name": "free"}).to_string();
    assert_eq!(rig.raw("POST", "/baremetal/v1/nodes", body, &[(VERSION, "1.10")]).await.0, StatusCode::CREATED);
    for drive in
        ["http://127.0.0.1/x", "https://169.254.169.254/latest", "file:///etc/shadow", "/etc/shadow", "../../key"]
    {
        let body = json!({"target": "active", "configdrive": drive});
        let (status, answer) = rig.call("PUT", "/nodes/free/states/provision", body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{drive}: {answer}");
        assert!(answer.to_string().contains("configdrive"), "it is the drive that is refused: {answer}");
    }
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
