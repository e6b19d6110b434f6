//! The scenarios: a node's whole life, and what goes wrong in it.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use super::Scene;
use crate::client::text;
use crate::compare;
use crate::flow;
use crate::proof;
use crate::rack::Node;
use crate::say;

/// Limits of the client's `--wait`, seconds: TCG, two nodes at once, on a machine that does other things too.
const SHORT: &str = "90";
const LONG: &str = "420";
const DEPLOY: &str = "600";

/// Power-off to a proven deployment, both nodes at once.
pub(super) fn first_way(scene: &mut Scene) -> Result<()> {
    whole_way(scene)
}

/// The same again from nothing: the nodes are given back, deleted, and enrolled anew.
pub(super) fn second_way(scene: &mut Scene) -> Result<()> {
    each(scene, |scene, node| {
        undeploy(scene, node)?;
        let name = node.plan.name;
        scene.cli.run(&["node", "manage", name, "--wait", SHORT])?;
        scene.cli.run(&["node", "delete", name])?;
        scene.cli.refused(&["node", "show", name], "could not be found")
    })?;
    whole_way(scene)
}

fn whole_way(scene: &Scene) -> Result<()> {
    each(scene, |scene, node| {
        let (cli, name) = (&scene.cli, node.plan.name);
        enrol(scene, node)?;
        cli.run(&["node", "manage", name, "--wait", SHORT])?;
        cli.run(&["node", "inspect", name, "--wait", LONG])?;
        inventory(scene, node)?;
        cli.run(&["node", "provide", name, "--wait", LONG])?;
        scene.expect(name, "available", "")?;
        deploy_and_prove(scene, node)
    })
}

fn enrol(scene: &Scene, node: &Node) -> Result<()> {
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
fn inventory(scene: &Scene, node: &Node) -> Result<()> {
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

fn set_image(scene: &Scene, name: &str, checksum: &str) -> Result<()> {
    let source = format!("image_source={}", scene.image.url());
    let sum = format!("image_os_hash_value={checksum}");
    let algorithm = format!("image_os_hash_algo={}", scene.image.algorithm);
    let mut arguments = vec!["node", "set", name];
    for setting in [&source, &algorithm, &sum] {
        arguments.extend(["--instance-info", setting]);
    }
    scene.cli.run(&arguments).map(drop)
}

fn start_deployment(scene: &Scene, node: &Node, wait: bool) -> Result<String> {
    let name = node.plan.name;
    set_image(scene, name, &scene.image.checksum)?;
    let nonce = uuid::Uuid::new_v4().to_string();
    let drive = proof::config_drive(&node.plan, &scene.key, &nonce).to_string();
    let mut arguments = vec!["node", "deploy", name, "--config-drive", &drive];
    if wait {
        arguments.extend(["--wait", DEPLOY]);
    }
    scene.cli.run(&arguments)?;
    Ok(nonce)
}

fn deploy_and_prove(scene: &Scene, node: &Node) -> Result<()> {
    let nonce = start_deployment(scene, node, true)?;
    prove(scene, node, &nonce)
}

/// The node is active, and the system on its disk is the image with this deployment's nonce.
fn prove(scene: &Scene, node: &Node, nonce: &str) -> Result<()> {
    scene.expect(node.plan.name, "active", "")?;
    let space = &scene.rack.wiring()?.appliance;
    let proof = proof::ask(scene.rack.folder(), space, &node.plan, &scene.key, scene.stop)?;
    proof.verify(nonce, &scene.image.file)?;
    let comparison = compare::compare(&scene.image.file, &node.disk)?;
    say::step(node.plan.name, &format!("runs nonce {nonce}; disk against image: {comparison}"));
    Ok(())
}

fn undeploy(scene: &Scene, node: &Node) -> Result<()> {
    let name = node.plan.name;
    scene.cli.run(&["node", "undeploy", name, "--wait", LONG])?;
    scene.expect(name, "available", "")?;
    let left = scene.cli.node(name, &["instance_info"])?;
    ensure!(!left.to_string().contains("image_source"), "{name} was given back with {left}");
    Ok(())
}

/// Given back, cleaned, and deployed anew: nothing of the former deployment answers.
pub(super) fn redeploy(scene: &mut Scene) -> Result<()> {
    each(scene, |scene, node| {
        undeploy(scene, node)?;
        ensure!(compare::compare(&scene.image.file, &node.disk).is_err(), "cleaning left the image on the disk");
        deploy_and_prove(scene, node)
    })
}

/// What does not move a node: lists, questions, maintenance, refusals.
pub(super) fn small_commands(scene: &mut Scene) -> Result<()> {
    let cli = &scene.cli;
    let names = |answer: &Value, field: &str| -> Vec<String> {
        let rows = answer.as_array().into_iter().flatten();
        rows.filter_map(|row| row[field].as_str().map(str::to_owned)).collect()
    };
    let nodes = names(&cli.json(&["node", "list"])?, "name");
    ensure!(nodes.len() == scene.rack.nodes().len(), "node list shows {nodes:?}");
    let ports = names(&cli.json(&["port", "list"])?, "address");
    ensure!(scene.rack.nodes().iter().all(|node| ports.contains(&node.plan.mac.to_owned())), "port list: {ports:?}");
    let drivers = cli.run(&["driver", "list"])?;
    ensure!(drivers.contains("ipmi") && drivers.contains("redfish"), "driver list: {drivers}");
    cli.run(&["conductor", "list"])?;
    for node in scene.rack.nodes() {
        let name = node.plan.name;
        cli.run(&["node", "validate", name])?;
        let device = cli.json(&["node", "boot", "device", "show", name])?;
        ensure!(device.get("boot_device").is_some(), "boot device show: {device}");
        cli.run(&["node", "maintenance", "set", name, "--reason", "a check"])?;
        let kept = cli.node(name, &["maintenance", "maintenance_reason"])?;
        ensure!(kept["maintenance"] == true && kept["maintenance_reason"] == "a check", "maintenance: {kept}");
        cli.run(&["node", "maintenance", "unset", name])?;
        cli.run(&["node", "set", name, "--extra", "rack=virtual", "--property", "place=1"])?;
        cli.run(&["node", "unset", name, "--extra", "rack", "--property", "place"])?;
        // An active node is not given away by a slip.
        cli.refused(&["node", "delete", name], "active")?;
        cli.refused(&["node", "inspect", name], "active")?;
    }
    let twice = scene.rack.nodes()[0].plan;
    cli.refused(&["node", "create", "--driver", "ipmi", "--name", twice.name], twice.name)?;
    cli.refused(&["node", "create", "--driver", "no-such-driver"], "no-such-driver")?;
    cli.refused(&["node", "show", "no-such-node"], "no-such-node")?;
    power_commands(scene)
}

/// Off, on and reboot reach the machine itself.
fn power_commands(scene: &Scene) -> Result<()> {
    each(scene, |scene, node| {
        let (cli, name) = (&scene.cli, node.plan.name);
        cli.run(&["node", "power", "off", name, "--power-timeout", SHORT])?;
        ensure!(!node.machine.is_on(), "{name} is still on after power off");
        cli.run(&["node", "power", "on", name, "--power-timeout", SHORT])?;
        ensure!(node.machine.is_on(), "{name} is off after power on");
        Ok(())
    })
}

/// Aborted while the box waits for the agent: the node ends in `deploy failed` with a reason, is off or harmless, and
/// can be given back.
pub(super) fn abort(scene: &mut Scene) -> Result<()> {
    each(scene, |scene, node| {
        let name = node.plan.name;
        undeploy(scene, node)?;
        start_deployment(scene, node, false)?;
        scene.wait_for_state(name, "wait call-back", Duration::from_secs(90))?;
        scene.cli.run(&["node", "abort", name])?;
        scene.wait_for_state(name, "deploy failed", Duration::from_secs(90))?;
        scene.expect(name, "deploy failed", "abort")?;
        undeploy(scene, node)
    })
}

/// The image does not have the checksum that was given: nothing is deployed, and the reason says so.
pub(super) fn wrong_checksum(scene: &mut Scene) -> Result<()> {
    each(scene, |scene, node| {
        let name = node.plan.name;
        let wrong = "0".repeat(scene.image.checksum.len());
        set_image(scene, name, &wrong)?;
        let said = scene.cli.call(&["node", "deploy", name, "--wait", DEPLOY])?;
        ensure!(!said.success, "an image with a wrong checksum was deployed on {name}");
        scene.wait_for_state(name, "deploy failed", Duration::from_secs(90))?;
        scene.expect(name, "deploy failed", "checksum")?;
        undeploy(scene, node)
    })
}

/// The appliance is killed while it prepares the machine, while it waits for the agent, and after the agent has called:
/// each time it is started again, and both nodes end deployed without a person.
///
/// Asked for over HTTP and not by the client, whose own end takes longer than the first of these moments lasts.
pub(super) fn killed(scene: &mut Scene) -> Result<()> {
    for node in scene.rack.nodes() {
        set_image(scene, node.plan.name, &scene.image.checksum)?;
    }
    let nonces: Vec<String> = scene.rack.nodes().iter().map(|_| uuid::Uuid::new_v4().to_string()).collect();
    // The node that is watched is the last one that is asked for.
    for (node, nonce) in scene.rack.nodes().iter().zip(&nonces).rev() {
        let drive = proof::config_drive(&node.plan, &scene.key, nonce);
        let body = json!({"target": "active", "configdrive": drive});
        scene.api.put(&format!("/baremetal/v1/nodes/{}/states/provision", node.plan.name), &body)?;
    }
    for moment in [Moment::Asked, Moment::Waiting, Moment::Writing] {
        wait_for(scene, moment)?;
        scene.appliance.kill();
        say::step("check", &format!("leasehold killed ({moment:?})"));
        let (rack, stop) = (scene.rack, scene.stop);
        scene.appliance.start(rack, stop)?;
    }
    let nonces = &nonces;
    each(scene, |scene, node| {
        scene.wait_for_state(node.plan.name, "active", Duration::from_secs(600))?;
        let index = usize::from(node.plan.index);
        prove(scene, node, &nonces[index])
    })
}

#[derive(Debug, Clone, Copy)]
enum Moment {
    Asked,
    Waiting,
    Writing,
}

/// Until the first node has come to the moment, or is past it.
fn wait_for(scene: &Scene, moment: Moment) -> Result<()> {
    let name = scene.rack.nodes()[0].plan.name;
    let what = format!("{moment:?} of {name}");
    scene.stop.until(&what, Duration::from_secs(180), Duration::from_millis(20), || {
        let node = scene.api_node(name)?;
        let state = text(&node, "provision_state")?;
        if state.ends_with("failed") {
            bail!("{name} is in {state}: {}", node["last_error"]);
        }
        let reached = match moment {
            Moment::Asked => state == "deploying",
            Moment::Waiting => state == "wait call-back",
            // The agent has called back: the deployment goes on in `deploying`.
            Moment::Writing => state == "deploying" || state == "active",
        };
        Ok(reached.then_some(()))
    })
}

/// Runs `work` for both nodes at once.
fn each(scene: &Scene, work: impl Fn(&Scene, &Node) -> Result<()> + Sync) -> Result<()> {
    scene.rack.on_every_node(|node| work(scene, node)).map(drop)
}
