//! What goes wrong in a deployment: it is aborted, its image is not what was said, the appliance is killed.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use serde_json::json;

use super::Scene;
use super::steps::{DEPLOY, ask_for_system, each, free, prove_deployment, set_image, undeploy};
use crate::client::text;
use crate::proof;
use crate::say;

/// Aborted while the box waits for the agent: the node ends in `deploy failed` with a reason, and is off.
///
/// Its cable is out of the switch from before the deployment until after the abort: however long the client takes, the
/// agent does not call back before.
pub(super) fn abort(scene: &mut Scene) -> Result<()> {
    each(scene, |scene, node| {
        let name = node.plan.name;
        free(scene, node)?;
        set_image(scene, name, &scene.image.checksum)?;
        scene.rack.switch()?.unplug(name)?;
        ask_for_system(scene, node, "deploy", false)?;
        scene.wait_for_state(name, "wait call-back", Duration::from_secs(90))?;
        scene.cli.run(&["node", "abort", name])?;
        scene.wait_for_rest(name, "deploy failed", Duration::from_secs(90))?;
        scene.expect(name, "deploy failed", "abort")?;
        ensure!(!node.machine.is_on(), "{name} is still on after the abort");
        scene.rack.switch()?.plug_in(name)
    })
}

/// The image does not have the checksum that was given: nothing is deployed, the reason says so, and the node can be
/// given back. Asked of the node where a failed deployment left it, if one has.
pub(super) fn wrong_checksum(scene: &mut Scene) -> Result<()> {
    each(scene, |scene, node| {
        let name = node.plan.name;
        if text(&scene.api_node(name)?, "provision_state")? != "deploy failed" {
            free(scene, node)?;
        }
        let wrong = "0".repeat(scene.image.checksum.len());
        set_image(scene, name, &wrong)?;
        let said = scene.cli.call(&["node", "deploy", name, "--wait", DEPLOY])?;
        ensure!(!said.success, "an image with a wrong checksum was deployed on {name}");
        scene.wait_for_rest(name, "deploy failed", Duration::from_secs(90))?;
        scene.expect(name, "deploy failed", "checksum")?;
        undeploy(scene, node)
    })
}

/// Given back if it is not free, and deployed anew while the appliance is killed three times: while it prepares the machine, while it waits
/// for the agent, and after the agent has called. Each time it is started again, and both nodes end deployed without
/// a person.
///
/// Asked for over HTTP and not by the client, whose own end takes longer than the first of these moments lasts.
pub(super) fn killed(scene: &mut Scene) -> Result<()> {
    each(scene, |scene, node| {
        free(scene, node)?;
        set_image(scene, node.plan.name, &scene.image.checksum)
    })?;
    let nonces: Vec<String> = scene.rack.nodes().iter().map(|_| uuid::Uuid::new_v4().to_string()).collect();
    // The node that is watched is the last one that is asked for.
    for (node, nonce) in scene.rack.nodes().iter().zip(&nonces).rev() {
        let drive = proof::config_drive(&node.plan, &scene.key, nonce);
        let body = json!({"target": "active", "configdrive": drive});
        scene.api.put(&format!("/baremetal/v1/nodes/{}/states/provision", node.plan.name), &body)?;
    }
    for moment in [Moment::Asked, Moment::Waiting, Moment::Called] {
        wait_for(scene, moment)?;
        scene.appliance.kill();
        say::step("check", &format!("leasehold killed ({moment:?})"));
        let (rack, stop) = (scene.rack, scene.stop);
        scene.appliance.start(rack, stop)?;
    }
    let nonces = &nonces;
    each(scene, |scene, node| {
        scene.wait_for_rest(node.plan.name, "active", Duration::from_secs(600))?;
        prove_deployment(scene, node, nonces[usize::from(node.plan.index)].clone())
    })
}

#[derive(Debug, Clone, Copy)]
enum Moment {
    /// The deployment was asked for.
    Asked,
    /// The appliance waits for the agent: for as long as the machine takes to boot.
    Waiting,
    /// The agent has called back.
    Called,
}

/// Until the first node has come to the moment. None of them can be missed: the first begins with the answer to the
/// request, and the node cannot be in `deploying` again before it has shown the second.
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
            Moment::Asked => true,
            Moment::Waiting => state == "wait call-back",
            Moment::Called => state == "deploying" || state == "active",
        };
        Ok(reached.then_some(()))
    })
}
