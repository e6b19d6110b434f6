//! The scenarios of a node's life: from power-off to a proven deployment and on.

use std::os::unix::fs::FileExt;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::Scene;
use super::boots::Trace;
use super::steps::{
    LONG, SHORT, ask_for_system, delete, deploy_and_prove, each, enrol, free, inventory, prove_deployment,
    prove_system, set_image,
};
use crate::compare;
use crate::guest::NetworkBoot;
use crate::plan::{BmcKind, Firmware};
use crate::rack::Node;

/// Power-off to a proven deployment, both nodes at once; one boots from the network by iPXE in its ROM, the other by PXE.
pub(super) fn first_way(scene: &mut Scene) -> Result<()> {
    each(scene, |scene, node| whole_way(scene, node, NetworkBoot::Pxe))
}

/// The same again from nothing, the nodes' records deleted and made anew; the UEFI machine boots by HTTP.
pub(super) fn second_way(scene: &mut Scene) -> Result<()> {
    each(scene, |scene, node| {
        free(scene, node)?;
        scene.cli.run(&["node", "manage", node.plan.name, "--wait", SHORT])?;
        delete(scene, node)?;
        let network = match node.plan.firmware {
            Firmware::Bios => NetworkBoot::Pxe,
            Firmware::Uefi => NetworkBoot::Http,
        };
        node.machine.set_network_boot(network);
        whole_way(scene, node, network)?;
        node.machine.set_network_boot(NetworkBoot::Pxe);
        Ok(())
    })
}

fn whole_way(scene: &Scene, node: &Node, network: NetworkBoot) -> Result<()> {
    let (cli, name) = (&scene.cli, node.plan.name);
    enrol(scene, node)?;
    cli.run(&["node", "manage", name, "--wait", SHORT])?;
    let trace = Trace::begin(scene, node)?;
    cli.run(&["node", "inspect", name, "--wait", LONG])?;
    trace.boots()?.came_to_agent(node.plan.firmware, network)?;
    inventory(scene, node)?;
    cli.run(&["node", "provide", name, "--wait", LONG])?;
    scene.expect(name, "available", "")?;
    deploy_and_prove(scene, node)
}

/// A machine that already runs is taken over as it is: nobody touches it, and it is its user's as any other then.
pub(super) fn adopt(scene: &mut Scene) -> Result<()> {
    each(scene, |scene, node| {
        let (cli, name) = (&scene.cli, node.plan.name);
        let before = node.machine.power_changes();
        cli.run(&["node", "maintenance", "set", name, "--reason", "its record is made anew"])?;
        delete(scene, node)?;
        enrol(scene, node)?;
        cli.run(&["node", "manage", name, "--wait", SHORT])?;
        set_image(scene, name, &scene.image.checksum)?;
        cli.run(&["node", "adopt", name, "--wait", SHORT])?;
        scene.expect(name, "active", "")?;
        let power = cli.node(name, &["power_state"])?;
        ensure!(power["power_state"] == "power on", "{name} is adopted with {power}");
        ensure!(
            node.machine.is_on() && node.machine.power_changes() == before,
            "{name} was switched while it was adopted"
        );
        prove_system(scene, node)
    })
}

/// The image is written again over a system that has gone bad, with a new config drive; one node's client waits for the
/// end by itself.
pub(super) fn rebuild(scene: &mut Scene) -> Result<()> {
    each(scene, |scene, node| {
        spoil(scene, node)?;
        let waits = node.plan.index == 0;
        let nonce = ask_for_system(scene, node, "rebuild", waits)?;
        if !waits {
            scene.wait_for_rest(node.plan.name, "active", Duration::from_secs(600))?;
        }
        prove_deployment(scene, node, nonce)?;
        manage(scene, node)
    })
}

/// What the clients ask of a BMC beside power arrives at the machine, or is refused in words: ipmi_sim has no diagnostic
/// interrupt and IPMI no firmware modes; sushy-tools has both, on a machine whose firmware knows one mode.
fn manage(scene: &Scene, node: &Node) -> Result<()> {
    let (cli, name) = (&scene.cli, node.plan.name);
    let before = node.machine.interrupts();
    let (nmi, mode) = (["node", "inject", "nmi", name], ["node", "boot", "mode", "set"]);
    match node.plan.bmc {
        BmcKind::Ipmi => {
            cli.refused(&nmi, "no diagnostic interrupt")?;
            cli.refused(&[&mode[..], &[name, "uefi"]].concat(), "does not support the change of the boot mode")?;
        }
        BmcKind::Redfish => {
            cli.run(&nmi)?;
            ensure!(node.machine.interrupts() == before + 1, "no interrupt came to {name}");
            cli.run(&[&mode[..], &[name, "uefi"]].concat())?;
            cli.refused(&[&mode[..], &[name, "bios"]].concat(), "boots in uefi mode")?;
        }
    }
    let state = cli.node(name, &["power_state", "provision_state"])?;
    ensure!(state["power_state"] == "power on" && state["provision_state"] == "active", "{name} is {state}");
    Ok(())
}

/// Overwrites a part of the image on the node's disk.
fn spoil(scene: &Scene, node: &Node) -> Result<()> {
    let middle = scene.image.file.metadata()?.len() / 2;
    let disk = std::fs::OpenOptions::new().write(true).open(&node.disk)?;
    disk.write_all_at(&[0xa5; 64 << 10], middle)?;
    ensure!(compare::compare(&scene.image.file, &node.disk).is_err(), "the disk of {} is not spoiled", node.plan.name);
    Ok(())
}
