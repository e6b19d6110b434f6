//! The disk that holds the state is full: changes are refused with a reason, reads and boots go on, and it ends by
//! itself when there is space again.

use super::reach;
use crate::api::BAREMETAL;
use crate::lanes;
use crate::report::Report;
use crate::world::{NODE, Work, World, at_rest, kernel_url, script_url};
use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

/// Large enough for the image, small enough to fill at once.
const SIZE: &str = "size=72m,mode=700";
/// Until the program notices that there is space, or none.
const NOTICE: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The disk is filled while the machine is on its way to the network.
const POST: Duration = Duration::from_secs(1);

/// # Errors
/// When the world cannot be prepared.
pub(crate) fn run(worlds: &mut [World], report: &Report) -> Result<String> {
    let Some(first) = worlds.first() else { bail!("there is no world") };
    let mut world = World::make(&first.common, "small-disk")?;
    let state = world.site.state();
    fs::create_dir_all(&state)?;
    // Seen only in the box: it ends with it.
    world.site.network.output("mount", &["-t", "tmpfs", "-o", SIZE, "tmpfs", &state.display().to_string()])?;
    lanes::alone(&mut world, |world| {
        world.start()?;
        world.enrol()?;
        for work in [Work::Manage, Work::Inspect, Work::Clean] {
            reach(world, &work)?;
        }
        world.start()?;
        let before = everything(world)?;
        fill(world)?;
        report.point("changes are refused with a reason", refuses(world));
        report.point("a deployment is refused, too", refuses_work(world));
        report.point("not ready, but alive", not_ready(world));
        report.point("reads go on", reads(world, &before));
        report.point("boot files and scripts are served", boots(world));
        report.point("a machine gets its address and its script", machine_boots(world));
        free(world)?;
        report.point("with space, changes are taken again", recovers(world));
        report.point("a deployment that meets a full disk waits for space", deployment_waits(world));
        report.point("a start on a full disk", start_on_full(world));
        Ok(String::new())
    })
}

fn filler(world: &World) -> PathBuf {
    world.site.state().join("filler")
}

fn fill(world: &World) -> Result<()> {
    let path = filler(world);
    world.site.network.run(move || {
        let mut file = File::create(path)?;
        let block = vec![0x5a; 64 << 10];
        while file.write_all(&block).is_ok() {}
        while file.write_all(&block[..4096]).is_ok() {}
        Ok(())
    })?
}

fn free(world: &World) -> Result<()> {
    let path = filler(world);
    Ok(world.site.network.run(move || fs::remove_file(path))??)
}

fn everything(world: &mut World) -> Result<Value> {
    world.api()?.get(&format!("{BAREMETAL}/nodes/detail"))
}

fn create(world: &mut World, name: &str) -> Result<(u16, Value)> {
    let body = json!({"name": name, "driver": "ipmi"});
    world.api()?.ask("POST", &format!("{BAREMETAL}/nodes"), Some(&body))
}

fn refuses(world: &mut World) -> Result<()> {
    for attempt in 0..3 {
        let (status, answer) = create(world, &format!("refused{attempt}"))?;
        ensure!(status == 507, "{status}: {answer}");
        let words = answer.to_string();
        ensure!(words.contains("space"), "it is not told what to do: {words}");
    }
    Ok(())
}

fn refuses_work(world: &mut World) -> Result<()> {
    let (status, answer) = world.ask_for(&Work::deploy())?;
    ensure!(status == 507, "{status}: {answer}");
    let node = world.show()?;
    ensure!(node["provision_state"] == "available" && node["target_provision_state"].is_null(), "{node}");
    Ok(())
}

fn not_ready(world: &mut World) -> Result<()> {
    let api = world.api()?;
    let (status, why) = api.ask("GET", "/readyz", None)?;
    ensure!(status == 503 && why.to_string().contains("space"), "/readyz: {status}: {why}");
    api.get("/healthz").map(drop)
}

fn reads(world: &mut World, before: &Value) -> Result<()> {
    let now = everything(world)?;
    ensure!(now == *before, "{before}\nbecame\n{now}");
    world.api()?.get(&format!("/appliance/v1/nodes/{NODE}/trace")).map(drop)
}

fn boots(world: &mut World) -> Result<()> {
    let api = world.api()?;
    let kernel = fs::read(world.common.folder.join("boot/agent/x86_64/vmlinuz"))?;
    ensure!(api.fetch(&kernel_url())? == kernel, "the kernel is not served as it is");
    let script = api.fetch(&script_url())?;
    ensure!(script.starts_with(b"#!ipxe\n"), "no script: {}", String::from_utf8_lossy(&script));
    Ok(())
}

/// The node's card asks by DHCP, and its loader for the script, as at any boot from the network.
fn machine_boots(world: &mut World) -> Result<()> {
    world.node.probe()
}

fn wait_ready(world: &mut World) -> Result<()> {
    let (api, stop) = (world.api()?, world.common.stop.clone());
    stop.until("to be ready again", NOTICE, LOOK_EVERY, || {
        Ok(api.ask("GET", "/readyz", None).is_ok_and(|(status, _)| status == 200).then_some(()))
    })
}

fn recovers(world: &mut World) -> Result<()> {
    wait_ready(world)?;
    let (status, answer) = create(world, "after")?;
    ensure!(status == 201, "{status}: {answer}");
    world.api()?.good("DELETE", &format!("{BAREMETAL}/nodes/after"), None).map(drop)
}

fn deployment_waits(world: &mut World) -> Result<()> {
    let work = Work::deploy();
    world.node.set_post(POST);
    let (status, answer) = world.ask_for(&work)?;
    ensure!(status == 202, "{status}: {answer}");
    let stop = world.common.stop.clone();
    // The machine is on its way: what it and its agent report cannot be written.
    stop.until("the machine's start", NOTICE, LOOK_EVERY, || {
        let node = world.show()?;
        Ok((node["provision_state"] == "wait call-back").then_some(()))
    })?;
    fill(world)?;
    ensure!(!stop.wait(Duration::from_secs(4)), "stopped on request");
    let node = world.show()?;
    ensure!(at_rest(&node, work.ends_in())?.is_none(), "it went on without a record");
    free(world)?;
    world.must_end(&work)
}

fn start_on_full(world: &mut World) -> Result<()> {
    wait_ready(world)?;
    world.kill();
    fill(world)?;
    world.start()?;
    not_ready(world)?;
    refuses(world)?;
    boots(world)?;
    ensure!(world.show()?["provision_state"] == "active", "the node is not as it was");
    free(world)?;
    recovers(world)?;
    // The largest file of all is the database; it must not be left as if the disk had cut it.
    world.kill();
    world.start()?;
    ensure!(world.show()?["provision_state"] == "active", "the node is not as it was after the next start");
    Ok(())
}
