//! The client's commands that do not move a node: lists, questions, maintenance, refusals.

use anyhow::{Result, ensure};
use serde_json::Value;

use super::Scene;
use super::steps::each;

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
    each(scene, |scene, node| {
        let (cli, name) = (&scene.cli, node.plan.name);
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
        cli.refused(&["node", "inspect", name], "active")
    })?;
    let twice = scene.rack.nodes()[0].plan;
    cli.refused(&["node", "create", "--driver", "ipmi", "--name", twice.name], twice.name)?;
    cli.refused(&["node", "create", "--driver", "no-such-driver"], "no-such-driver")?;
    cli.refused(&["node", "show", "no-such-node"], "no-such-node")
}
