//! Leases on real machines: what an owner left on a disk is gone before a lessee has the machine, and what the lessee left
//! before anybody else has it, also when the appliance is killed meanwhile.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Scene;
use super::steps::each;
use crate::client::text;
use crate::compare;
use crate::nvram;
use crate::plan::{Firmware, NODE_DISK_BYTES};
use crate::proof;
use crate::rack::Node;
use crate::say;

/// From the begin or end of a lease until the machine was wiped: by TCG, two nodes at once.
const HAND_OVER: Duration = Duration::from_secs(420);
/// What somebody leaves on a disk.
const MARK: &[u8; 32] = b"what nobody else may ever read..";
/// Where: at its start, in the middle, just before its end, and in the backup of the partition table.
const PLACES: [u64; 4] =
    [440 - 32, NODE_DISK_BYTES / 2 + 512, NODE_DISK_BYTES - (1 << 20), NODE_DISK_BYTES - 512 + 128];

/// What a lessee's system leaves in his machine's firmware: an entry, and that it is to be booted next.
const LEFT: [&str; 2] = ["Boot00AA", "BootNext"];
/// How it does so: an entry for a loader on a partition of its disk (UEFI specification 2.10, 3.1.3 and 10.3.5.1).
const LEAVES: &str = "set -e; modprobe efivarfs; cd /sys/firmware/efi; \
    ls efivars/Boot* >/run/seen 2>&1 || mount -t efivarfs efivarfs efivars; cd efivars; \
    guid=8be4df61-93ca-11d2-aa0d-00e098032b8c; \
    printf '\\007\\0\\0\\0\\001\\0\\0\\0\\056\\0m\\0y\\0\\0\\0\\004\\001\\052\\0\\001\\0\\0\\0' >/run/entry; \
    head -c 16 /dev/zero >>/run/entry; head -c 16 /dev/urandom >>/run/entry; \
    printf '\\002\\002\\177\\377\\004\\0' >>/run/entry; cat /run/entry >Boot00AA-$guid; \
    printf '\\007\\0\\0\\0\\252\\0' >/run/next; cat /run/next >BootNext-$guid";

/// The machines run systems of their owner when he leases them out: each is wiped, and then the lessee's.
pub(super) fn begin(scene: &mut Scene) -> Result<()> {
    let [owner, lessee] = ["lab", "students"].map(|name| project(scene, name));
    let (owner, lessee) = (owner?, lessee?);
    each(scene, |scene, node| {
        let name = node.plan.name;
        scene.cli.run(&["node", "set", name, "--owner", &owner])?;
        mark(node)?;
        let wish = json!({"resource_uuid": name, "project_id": lessee, "name": lease_name(node)});
        let lease = scene.api.post("/lease/v1/leases", &wish)?;
        let lease = text(&lease, "uuid")?;
        let answer = scene.api_node(name)?;
        ensure!(answer["lessee"].is_null(), "{name} is {}'s before it was wiped", answer["lessee"]);
        until(scene, lease, "active")?;
        let answer = scene.api_node(name)?;
        ensure!(answer["lessee"] == lessee.as_str(), "the lessee of {name} is {}", answer["lessee"]);
        ensure!(answer["properties"]["lease_uuid"] == lease, "{name} does not say its lease: {}", answer["properties"]);
        scene.expect(name, "available", "")?;
        clean(scene, node)
    })
}

/// The lessees give their machines back, with their systems running; the appliance is killed as it begins, while it waits
/// for the agent, and after the agent has called.
pub(super) fn end(scene: &mut Scene) -> Result<()> {
    for node in scene.rack.nodes() {
        ensure!(node.machine.is_on(), "the lessee's system on {} does not run", node.plan.name);
        mark(node)?;
        if node.plan.firmware == Firmware::Uefi {
            let space = &scene.rack.wiring()?.appliance;
            proof::tell(scene.rack.folder(), space, &node.plan, &scene.key, LEAVES)?;
            for name in LEFT {
                ensure!(nvram::has_variable(&node.variables, name)?, "{name} did not come to the firmware");
            }
        }
    }
    let mut leases = Vec::new();
    // The node that is watched is the last one.
    for node in scene.rack.nodes().iter().rev() {
        let lease = scene.api.get(&format!("/lease/v1/leases/{}", lease_name(node)))?;
        let lease = text(&lease, "uuid")?.to_owned();
        scene.api.delete(&format!("/lease/v1/leases/{lease}"))?;
        leases.push(lease);
    }
    for (moment, states) in [
        ("asked", &["deleting", "cleaning", "clean wait"][..]),
        ("waiting", &["clean wait"]),
        ("called", &["cleaning", "available"]),
    ] {
        reach(scene, states)?;
        scene.appliance.kill();
        say::step("check", &format!("leasehold killed ({moment})"));
        let (rack, stop) = (scene.rack, scene.stop);
        scene.appliance.start(rack, stop)?;
    }
    for lease in &leases {
        until(scene, lease, "deleted")?;
    }
    each(scene, |scene, node| {
        let name = node.plan.name;
        scene.expect(name, "available", "")?;
        let answer = scene.api_node(name)?;
        ensure!(answer["lessee"].is_null(), "{name} is still {}'s", answer["lessee"]);
        ensure!(answer["properties"]["lease_uuid"].is_null(), "{name} still says a lease: {}", answer["properties"]);
        ensure!(!answer["instance_info"].to_string().contains("image_source"), "{}", answer["instance_info"]);
        for left in LEFT {
            let uefi = node.plan.firmware == Firmware::Uefi;
            ensure!(!uefi || !nvram::has_variable(&node.variables, left)?, "the firmware of {name} still has {left}");
        }
        clean(scene, node)
    })
}

fn lease_name(node: &Node) -> String {
    format!("lease-of-{}", node.plan.name)
}

fn project(scene: &Scene, name: &str) -> Result<String> {
    let made = scene.api.post("/identity/v3/projects", &json!({"project": {"name": name}}))?;
    Ok(text(&made["project"], "id")?.to_owned())
}

/// Waits until the lease is that.
fn until(scene: &Scene, lease: &str, state: &str) -> Result<()> {
    let what = format!("lease {lease} to be {state}");
    scene.stop.until(&what, HAND_OVER, Duration::from_millis(200), || {
        let answer: Value = scene.api.get(&format!("/lease/v1/leases/{lease}"))?;
        let now = text(&answer, "status")?;
        ensure!(now != "error", "lease {lease} failed: {}", answer["leasehold_reason"]);
        Ok((now == state).then_some(()))
    })
}

/// Waits until the first node is in one of these states.
fn reach(scene: &Scene, states: &[&str]) -> Result<()> {
    let name = scene.rack.nodes()[0].plan.name;
    let what = format!("{name} to be {}", states.join(" or "));
    scene.stop.until(&what, HAND_OVER, Duration::from_millis(20), || {
        let node = scene.api_node(name)?;
        let state = text(&node, "provision_state")?;
        ensure!(!state.ends_with("failed"), "{name} is in {state}: {}", node["last_error"]);
        Ok(states.contains(&state).then_some(()))
    })
}

/// Leaves something on the node's disk.
fn mark(node: &Node) -> Result<()> {
    let disk = OpenOptions::new().write(true).open(&node.disk)?;
    PLACES.into_iter().try_for_each(|place| disk.write_all_at(MARK, place))?;
    Ok(())
}

/// Nothing is left on the disk: neither the marks nor an image.
fn clean(scene: &Scene, node: &Node) -> Result<()> {
    let (name, disk) = (node.plan.name, OpenOptions::new().read(true).open(&node.disk)?);
    for place in PLACES {
        let mut found = [0; MARK.len()];
        disk.read_exact_at(&mut found, place).with_context(|| format!("the disk of {name} at {place}"))?;
        ensure!(found == [0; MARK.len()], "the disk of {name} has {:?} at {place}", String::from_utf8_lossy(&found));
    }
    ensure!(compare::compare(&scene.image.file, &node.disk).is_err(), "there is an image on the disk of {name}");
    say::step(name, "its disk is clean");
    Ok(())
}
