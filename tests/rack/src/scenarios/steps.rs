//! Steps that scenarios share: enrolment, deployment and its proof, giving back.

use anyhow::{Result, ensure};
use serde_json::Value;

use super::Scene;
use crate::client::text;
use crate::compare;
use crate::flow;
use crate::proof;
use crate::rack::Node;
use crate::say;

/// Limits of the client's `--wait`, seconds: TCG, two nodes at once, on a machine that does other things too.
pub(super) const SHORT: &str = "90";
pub(super) const LONG: &str = "420";
pub(super) const DEPLOY: &str = "600";

/// Runs `work` for both nodes at once.
pub(super) fn each(scene: &Scene, work: impl Fn(&Scene, &Node) -> Result<()> + Sync) -> Result<()> {
    scene.rack.on_every_node(|node| work(scene, node)).map(drop)
}

/// A new record for a node, with its boot port.
pub(super) fn enrol(scene: &Scene, node: &Node) -> Result<()> {
    let (driver, info) = flow::driver(&node.plan, &node.bmc_password);
    let settings: Vec<String> = info
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
        .collect();
    let mut arguments = vec!["node", "create", "--driver", driver, "--name", node.plan.name];
    for setting in &settings {
        arguments.extend(["--driver-info", setting]);
    }
    let created = scene.cli.json(&arguments)?;
    ensure!(text(&created, "provision_state")? == "enroll", "a new node is in {}", created["provision_state"]);
    let shown = created["driver_info"].to_string();
    ensure!(!shown.contains(&node.bmc_password), "the BMC's password is shown: {shown}");
    scene.cli.run(&["port", "create", node.plan.mac, "--node", text(&created, "uuid")?]).map(drop)
}

/// What inspection found is what the rack has plugged in.
pub(super) fn inventory(scene: &Scene, node: &Node) -> Result<()> {
    let file = scene.rack.folder().file(&format!("{}-inventory.json", node.plan.name));
    let path = file.to_string_lossy();
    scene.cli.run(&["node", "inventory", "save", node.plan.name, "--file", &path])?;
    let saved: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
    let inventory = &saved["inventory"];
    let serial = format!("{}-disk", node.plan.serial);
    let disks = inventory["disks"].as_array().cloned().unwrap_or_default();
    ensure!(
        disks.iter().any(|disk| { disk["serial"] == serial.as_str() && disk["size"] == crate::plan::NODE_DISK_BYTES }),
        "the inventory of {} has no disk {serial}: {}",
        node.plan.name,
        inventory["disks"]
    );
    let cards = inventory["interfaces"].as_array().cloned().unwrap_or_default();
    ensure!(
        cards.iter().any(|card| card["mac_address"] == node.plan.mac),
        "the inventory of {} has no card {}: {}",
        node.plan.name,
        node.plan.mac,
        inventory["interfaces"]
    );
    ensure!(
        inventory["boot"]["current_boot_mode"] == node.plan.firmware.mode(),
        "{} boots in {} mode, the inventory says {}",
        node.plan.name,
        node.plan.firmware.mode(),
        inventory["boot"]
    );
    Ok(())
}

/// Says which image the node is to have.
pub(super) fn set_image(scene: &Scene, name: &str, checksum: &str) -> Result<()> {
    let source = format!("image_source={}", scene.image.url());
    let sum = format!("image_os_hash_value={checksum}");
    let algorithm = format!("image_os_hash_algo={}", scene.image.algorithm);
    let mut arguments = vec!["node", "set", name];
    for setting in [&source, &algorithm, &sum] {
        arguments.extend(["--instance-info", setting]);
    }
    scene.cli.run(&arguments).map(drop)
}

/// Asks for a deployment by `verb` (`deploy` or `rebuild`) with a new nonce, which it returns; its end is waited for with
/// the client's own `--wait`.
pub(super) fn ask_for_system(scene: &Scene, node: &Node, verb: &str, wait: bool) -> Result<String> {
    let nonce = uuid::Uuid::new_v4().to_string();
    let drive = proof::config_drive(&node.plan, &scene.key, &nonce).to_string();
    let mut arguments = vec!["node", verb, node.plan.name, "--config-drive", &drive];
    if wait {
        arguments.extend(["--wait", DEPLOY]);
    }
    scene.cli.run(&arguments)?;
    Ok(nonce)
}

/// Deploys, and proves it.
pub(super) fn deploy_and_prove(scene: &Scene, node: &Node) -> Result<()> {
    set_image(scene, node.plan.name, &scene.image.checksum)?;
    let nonce = ask_for_system(scene, node, "deploy", true)?;
    prove_deployment(scene, node, nonce)
}

/// The node is active, and the system on its disk is the image with this deployment's nonce.
pub(super) fn prove_deployment(scene: &Scene, node: &Node, nonce: String) -> Result<()> {
    scene.expect(node.plan.name, "active", "")?;
    scene.now_runs(node, nonce);
    prove_system(scene, node)?;
    let comparison = compare::compare(&scene.image.file, &node.disk)?;
    say::step(node.plan.name, &format!("disk against image: {comparison}"));
    Ok(())
}

/// The node's own system answers from its disk, with the nonce of its last deployment.
pub(super) fn prove_system(scene: &Scene, node: &Node) -> Result<()> {
    let space = &scene.rack.wiring()?.appliance;
    let proof = proof::ask(scene.rack.folder(), space, &node.plan, &scene.key, scene.stop)?;
    proof.verify(&scene.nonce_of(node), &scene.image.file)?;
    say::step(node.plan.name, &format!("runs nonce {}", proof.nonce));
    Ok(())
}

/// Gives the node back: wiped, and free of what its user said.
pub(super) fn undeploy(scene: &Scene, node: &Node) -> Result<()> {
    let name = node.plan.name;
    scene.cli.run(&["node", "undeploy", name, "--wait", LONG])?;
    scene.expect(name, "available", "")?;
    let left = scene.cli.node(name, &["instance_info"])?;
    ensure!(!left.to_string().contains("image_source"), "{name} was given back with {left}");
    ensure!(compare::compare(&scene.image.file, &node.disk).is_err(), "cleaning left the image on the disk of {name}");
    Ok(())
}

/// Gives the node back unless it is free already.
pub(super) fn free(scene: &Scene, node: &Node) -> Result<()> {
    match text(&scene.api_node(node.plan.name)?, "provision_state")? {
        "available" => Ok(()),
        _ => undeploy(scene, node),
    }
}

/// The record is gone.
pub(super) fn delete(scene: &Scene, node: &Node) -> Result<()> {
    let name = node.plan.name;
    scene.cli.run(&["node", "delete", name])?;
    scene.cli.refused(&["node", "show", name], "could not be found")
}
