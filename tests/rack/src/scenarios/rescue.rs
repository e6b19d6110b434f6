//! A user's machine in rescue and in service: he is let into the ramdisk by his password, at the address of his network,
//! and reaches his disks; afterwards the machine runs his system again.

use std::fs::File;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Scene;
use super::steps::{LONG, each, prove_system};
use crate::bmc::write_private;
use crate::client::text;
use crate::gpt;
use crate::plan::{self, Firmware};
use crate::rack::Node;
use crate::say;

const USER: &str = "rescue";
/// From the state `rescue` until the machine has its user's address.
const LOGIN_LIMIT: Duration = Duration::from_secs(60);

/// Both machines are rescued, looked at, changed, and given back to their systems; then a service.
pub(super) fn rescue_and_service(scene: &mut Scene) -> Result<()> {
    let network = network(scene)?;
    each(scene, |scene, node| {
        rescue(scene, node, &network)?;
        service(scene, node)
    })
}

/// The user's network, on the wire where the machines stand.
fn network(scene: &Scene) -> Result<String> {
    let made = scene.api.post("/network/v2.0/networks", &json!({"network": {"name": "rescue"}}))?;
    let id = text(&made["network"], "id")?.to_owned();
    let wire = u32::from(plan::PROVISIONING_ADDRESS) & (!0 << (32 - plan::PREFIX));
    let at = |host: u32| std::net::Ipv4Addr::from(wire + host).to_string();
    let subnet = json!({"subnet": {
        "network_id": id, "ip_version": 4, "cidr": format!("{}/{}", at(0), plan::PREFIX), "gateway_ip": null,
        "allocation_pools": [{"start": at(20), "end": at(29)}],
    }});
    scene.api.post("/network/v2.0/subnets", &subnet)?;
    Ok(id)
}

fn rescue(scene: &Scene, node: &Node, network: &str) -> Result<()> {
    let (cli, name) = (&scene.cli, node.plan.name);
    let port = scene.api.post("/network/v2.0/ports", &json!({"port": {"network_id": network}}))?["port"].take();
    let (port_id, address) = (text(&port, "id")?, text(&port["fixed_ips"][0], "ip_address")?);
    cli.run(&["node", "vif", "attach", name, port_id])?;
    let valid = scene.api.get(&format!("/baremetal/v1/nodes/{name}/validate"))?;
    ensure!(valid["rescue"]["result"] == true, "validate says of rescue: {}", valid["rescue"]);
    let password = format!("pw-{}", uuid::Uuid::new_v4().simple());
    cli.run(&["node", "rescue", name, "--rescue-password", &password, "--wait", LONG])?;
    scene.expect(name, "rescue", "")?;

    let login = Login { scene, node, address };
    let answer = login.first(&password)?;
    say::step(name, &format!("{USER}@{address} says: {}", answer.trim().replace('\n', ", ")));
    verify(scene, node, &answer)?;
    let stranger = login.try_once("not the password", "true")?;
    let why = String::from_utf8_lossy(&stranger.stderr).into_owned();
    ensure!(!stranger.status.success() && why.contains("Permission denied"), "a wrong password: {why:?}");
    // What is written just before the end comes to the disk all the same: the machine is asked to shut down.
    let mark = format!("written-in-rescue-{}", uuid::Uuid::new_v4().simple());
    let write = format!("mount -o remount,rw /mnt && echo {mark} >/mnt/RESCUED.TXT");
    let wrote = login.try_once(&password, &write)?;
    ensure!(wrote.status.success(), "{name}: {}", String::from_utf8_lossy(&wrote.stderr));
    known_to_nobody(scene, node, &password)?;

    cli.run(&["node", "unrescue", name, "--wait", LONG])?;
    scene.expect(name, "active", "")?;
    prove_system(scene, node)?;
    ensure!(config_drive_holds(&node.disk, &mark)?, "what was written in the rescue of {name} is not on its disk");
    cli.run(&["node", "vif", "detach", name, port_id])?;
    Ok(())
}

/// A line per answer: the user, whether somebody still takes an agent's commands (port 9999), the root file system's first
/// program, the nonce on the config drive; last how many of the tools are there.
const QUESTION: &str = "once() { grep -q \" $2 \" /proc/mounts || mount -o ro \"$1\" \"$2\"; }; \
    id -u; cat /proc/net/tcp /proc/net/tcp6 | grep -c ':270F [0-9A-F]*:0000 0A'; \
    mkdir -p /root/system && once \"$(blkid -o device -t TYPE=squashfs)\" /root/system && \
    ls /root/system/bin/leasehold-first-boot; \
    once \"$(blkid -o device -t PARTLABEL=config-2)\" /mnt && cat /mnt/openstack/latest/meta_data.json; echo; \
    for tool in e2fsck mkfs.ext4 xfs_repair btrfs mdadm lvs cryptsetup fdisk rsync efibootmgr lsblk; do \
    $tool --version >/dev/null 2>&1 || $tool -V >/dev/null 2>&1 || echo \"$tool does not run\"; done; \
    blkid -o value -s TYPE | grep -c squashfs; exit 0";

fn verify(scene: &Scene, node: &Node, answer: &str) -> Result<()> {
    let lines: Vec<_> = answer.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let [user, agent, program, metadata, rest @ ..] = lines.as_slice() else {
        anyhow::bail!("the rescue system of {} says {answer:?}", node.plan.name)
    };
    let metadata: Value = serde_json::from_str(metadata).with_context(|| format!("the config drive: {answer:?}"))?;
    ensure!(*user == "0", "{USER} is not root: {user}");
    ensure!(*agent == "0", "the agent still takes commands");
    ensure!(program.ends_with("leasehold-first-boot"), "the root file system cannot be read: {answer:?}");
    ensure!(metadata["meta"]["nonce"] == scene.nonce_of(node).as_str(), "the config drive holds {metadata}");
    ensure!(rest == ["1"], "tools: {rest:?}");
    Ok(())
}

/// A login by password.
struct Login<'a> {
    scene: &'a Scene<'a>,
    node: &'a Node,
    address: &'a str,
}

impl Login<'_> {
    /// Asks until somebody answers there.
    fn first(&self, password: &str) -> Result<String> {
        let mut last = String::new();
        let what = format!("an answer of {USER}@{}", self.address);
        let answer = self.scene.stop.until(&what, LOGIN_LIMIT, Duration::from_millis(500), || {
            let output = self.try_once(password, QUESTION)?;
            if output.status.success() {
                return Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()));
            }
            last = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned();
            ensure!(!last.contains("Permission denied"), "the password is refused: {last}");
            Ok(None)
        });
        answer.with_context(|| format!("ssh to {USER}@{} said: {last}", self.address))
    }

    fn try_once(&self, password: &str, words: &str) -> Result<Output> {
        let (folder, name) = (self.scene.rack.folder(), self.node.plan.name);
        let secret = folder.file(&format!("{name}-rescue-password"));
        write_private(&secret, password)?;
        // ssh takes a password from a terminal or from a program of this kind.
        let asker = folder.file(&format!("{name}-askpass"));
        write_private(&asker, &format!("#!/bin/sh\ncat '{}'\n", secret.display()))?;
        std::fs::set_permissions(&asker, std::fs::Permissions::from_mode(0o700))?;
        let mut ssh = Command::new("ssh");
        ssh.env("SSH_ASKPASS", &asker).env("SSH_ASKPASS_REQUIRE", "force").env("DISPLAY", "none");
        ssh.args(["-F", "/dev/null", "-n"]);
        for option in [
            "PreferredAuthentications=password",
            "NumberOfPasswordPrompts=1",
            "ConnectTimeout=5",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
        ] {
            ssh.args(["-o", option]);
        }
        ssh.arg(format!("{USER}@{}", self.address)).arg(words);
        ssh.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        folder.mark(&mut ssh);
        Ok(self.scene.rack.wiring()?.appliance.spawn(ssh)?.wait_with_output()?)
    }
}

/// Neither the API nor a log nor the state of the appliance holds the password; its hash is nowhere to be seen.
fn known_to_nobody(scene: &Scene, node: &Node, password: &str) -> Result<()> {
    let name = node.plan.name;
    let shown = [format!("/baremetal/v1/nodes/{name}"), format!("/appliance/v1/nodes/{name}/trace")];
    for path in shown {
        let text = scene.api.get_text(&path)?;
        ensure!(!text.contains(password) && !text.contains("$6$"), "{path} shows the password");
    }
    let home = scene.rack.folder().file("appliance");
    let found = Command::new("grep").args(["-rlF", "--", password]).arg(&home).output()?;
    ensure!(found.stdout.is_empty(), "the password is in {}", String::from_utf8_lossy(&found.stdout));
    Ok(())
}

/// Whether the config drive's partition on this disk holds the text.
fn config_drive_holds(disk: &Path, wanted: &str) -> Result<bool> {
    let file = File::open(disk)?;
    let table = gpt::read(&file, 1)?;
    let drive = table.partitions.iter().find(|partition| partition.name == "config-2").context("no config drive")?;
    let mut bytes = vec![0; usize::try_from(drive.end - drive.start)?];
    file.read_exact_at(&mut bytes, drive.start)?;
    Ok(bytes.windows(wanted.len()).any(|window| window == wanted.as_bytes()))
}

/// A service holds the machine in the ramdisk, tells its firmware of the system on its disk, and brings it back there.
fn service(scene: &Scene, node: &Node) -> Result<()> {
    let (cli, name) = (&scene.cli, node.plan.name);
    let step = |interface: &str, step: &str| json!({"interface": interface, "step": step, "args": {}});
    let erase = json!([step("deploy", "erase_devices")]).to_string();
    cli.refused(&["node", "service", name, "--service-steps", &erase], "deploy.clean_uefi_nvram")?;
    let steps = json!([step("power", "hold"), step("deploy", "clean_uefi_nvram")]).to_string();
    cli.run(&["node", "service", name, "--service-steps", &steps])?;
    scene.wait_for_state(name, "service hold", Duration::from_secs(300))?;
    cli.run(&["node", "unhold", name])?;
    scene.wait_for_rest(name, "active", Duration::from_secs(120))?;
    scene.expect(name, "active", "")?;
    let told = match node.plan.firmware {
        Firmware::Bios => "booted by BIOS",
        Firmware::Uefi => "BOOTX64.EFI first",
    };
    let trace = scene.api.get_text(&format!("/appliance/v1/nodes/{name}/trace"))?;
    ensure!(trace.contains(told), "the timeline of {name} has no word of {told:?}: {trace}");
    prove_system(scene, node)
}
