//! An owner lends both machines to a lessee, who is a plain member of his project, and whose unmodified metalsmith deploys
//! a real Debian on them: under the policy that comes with the program.
//!
//! In: the Debian image, the clients. Out: scenarios. One machine is found by its resource class, gets the image by name
//! and its address by DHCP; the other is named, gets the image by URL with a checksum and its address by config drive.

use std::collections::HashMap;
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::cli::Cli;
use super::steps::{LONG, SHORT, each, enrol, inventory};
use super::{Scene, TenantOptions, play_all};
use crate::bmc::write_private;
use crate::client::text;
use crate::compare;
use crate::daemon::Daemon;
use crate::image::{self, Image};
use crate::plan::{self, NodePlan};
use crate::proof;
use crate::rack::{Node, Rack};
use crate::say;
use crate::stop::Stop;

const OWNER_PROJECT: &str = "lab";
const LESSEE: &str = "lena";
const LESSEE_PROJECT: &str = "students";
/// The user whom metalsmith's user data makes.
const GUEST_USER: &str = "guest";
const IMAGE: &str = "debian";
/// Where the lessee's web server offers the image, beside the box.
const WEB_PORT: u16 = 8000;
/// For a deployment of a whole Debian, seconds: two at once under TCG, on a machine that does other things too.
const DEPLOY: &str = "1500";
/// From the end of a deployment until cloud-init has ended.
const START_LIMIT: Duration = Duration::from_secs(600);

/// What one machine is to the lessee: how he asks for it.
struct Wish {
    class: &'static str,
    /// Names the machine instead of taking any of its class.
    by_name: bool,
    hostname: &'static str,
    network: &'static str,
    pool: &'static str,
    dhcp: bool,
}

/// In the order of the rack's nodes.
const WISHES: [Wish; 2] = [
    Wish {
        class: "old",
        by_name: false,
        hostname: "web0",
        network: "desk",
        pool: "start=10.77.0.20,end=10.77.0.59",
        dhcp: true,
    },
    Wish {
        class: "new",
        by_name: true,
        hostname: "web1",
        network: "still",
        pool: "start=10.77.0.60,end=10.77.0.99",
        dhcp: false,
    },
];

/// The scene, and what belongs to the lessee in it.
struct Lease<'a> {
    scene: Scene<'a>,
    baremetal: Cli,
    openstack: Cli,
    metalsmith: Cli,
    project: String,
    /// The addresses that Neutron gave to the machines, by host name.
    addresses: Mutex<HashMap<&'static str, Ipv4Addr>>,
    web: Daemon,
    offered: Image,
}

type Play = fn(&mut Lease) -> Result<()>;

const SCENARIOS: [(&str, Play); 5] = [
    ("both nodes enrolled, cleaned and lent", lend),
    ("what a lessee sees, and what he may not", sees_and_may_not),
    ("an image, networks, and both nodes deployed by metalsmith", deploy),
    ("what metalsmith shows", shows),
    ("both nodes given back by metalsmith", give_back),
];

/// Plays all of it; true when all passed.
///
/// # Errors
/// As [`super::run`].
pub(super) fn run(rack: &Rack, options: &TenantOptions, stop: &Stop) -> Result<bool> {
    let image = Image::built(&options.debian)?;
    let offered = another(rack, &image)?;
    let web = web_server(rack, options, &offered)?;
    let scene = Scene::begin(rack, &options.built, &options.clients.join("baremetal"), image, stop)?;
    account(&scene, "olga", OWNER_PROJECT, "admin", &password())?;
    let secret = password();
    account(&scene, LESSEE, LESSEE_PROJECT, "member", &secret)?;
    let clouds = rack.folder().file("clouds.yaml");
    write_private(&clouds, &clouds_file(&scene, &secret).to_string())?;
    let client = |name| Cli::of_cloud(&options.clients, name, LESSEE, &clouds, rack);
    let openstack = client("openstack");
    let project = text(&openstack.json(&["token", "issue"])?, "project_id")?.to_owned();
    let mut lease = Lease {
        scene,
        baremetal: client("baremetal"),
        openstack,
        metalsmith: client("metalsmith"),
        project,
        addresses: Mutex::default(),
        web,
        offered,
    };
    let passed = play_all("tenants", &SCENARIOS, &mut lease)?;
    lease.scene.appliance.stop();
    Ok(passed)
}

fn password() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// An account, made by the operator on the box.
fn account(scene: &Scene, name: &str, project: &str, role: &str, password: &str) -> Result<()> {
    let file = scene.rack.folder().file(&format!("{name}-password"));
    write_private(&file, password)?;
    let mut command = Command::new(scene.appliance.program());
    command.args(["account", "create", name, "--project", project, "--role", role, "--password-stdin", "--socket"]);
    command.arg(scene.appliance.socket()).stdin(fs::File::open(&file)?);
    let output = command.output()?;
    ensure!(output.status.success(), "account create {name}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// What the lessee has in his `clouds.yaml`: JSON is YAML, too.
fn clouds_file(scene: &Scene, password: &str) -> Value {
    json!({"clouds": {LESSEE: {
        "auth_type": "v3password",
        "auth": {
            "auth_url": format!("https://127.0.0.1:{}/identity/v3", scene.rack.port()),
            "username": LESSEE,
            "password": password,
            "user_domain_name": "Default",
            "project_name": LESSEE_PROJECT,
            "project_domain_name": "Default",
        },
        "region_name": "RegionOne",
        "cacert": scene.appliance.certificate(),
    }}})
}

/// The same system as an image of its own, by another disk signature: one that the box knows by its checksum already would
/// not be fetched.
fn another(rack: &Rack, image: &Image) -> Result<Image> {
    let folder = rack.folder().file("web");
    fs::create_dir(&folder)?;
    let file = folder.join("debian.raw");
    fs::copy(&image.file, &file)?;
    let disk = fs::OpenOptions::new().write(true).open(&file)?;
    // Bytes 440 to 443 of a PC's boot sector; a disk with GPT has no use for it.
    disk.write_all_at(&uuid::Uuid::new_v4().as_bytes()[..4], 440)?;
    drop(disk);
    let checksum = image::digest(&file, "sha256")?;
    Ok(Image { file, algorithm: "sha256", checksum, ours: false })
}

/// The lessee's own web server, where users of the box are.
fn web_server(rack: &Rack, options: &TenantOptions, image: &Image) -> Result<Daemon> {
    let mut python = Command::new(options.clients.join("python"));
    python.args(["-m", "http.server", "--bind", &plan::USER_ADDRESS.to_string(), "--directory"]);
    python.arg(image.file.parent().context("the image has no folder")?).arg(WEB_PORT.to_string());
    Daemon::start(rack.folder(), &rack.wiring()?.user, "web", python)
}

fn wish(node: &Node) -> Result<&'static Wish> {
    WISHES.get(usize::from(node.plan.index)).context("the rack has more nodes than the lessee has wishes")
}

/// Each node of the owner is enrolled, inspected and cleaned, and lent to the lessee's project.
fn lend(lease: &mut Lease) -> Result<()> {
    let (scene, project) = (&lease.scene, &lease.project);
    let owner =
        text(&scene.api.get(&format!("/identity/v3/projects?name={OWNER_PROJECT}"))?["projects"][0], "id")?.to_owned();
    each(scene, |scene, node| {
        let (cli, name) = (&scene.cli, node.plan.name);
        enrol(scene, node)?;
        let class = wish(node)?.class;
        cli.run(&["node", "set", name, "--resource-class", class, "--network-interface", "flat", "--owner", &owner])?;
        cli.run(&["node", "manage", name, "--wait", SHORT])?;
        cli.run(&["node", "inspect", name, "--wait", LONG])?;
        inventory(scene, node)?;
        cli.run(&["node", "provide", name, "--wait", LONG])?;
        scene.expect(name, "available", "")?;
        cli.run(&["node", "set", name, "--lessee", project]).map(drop)
    })
}

/// He sees both nodes, without the BMC's password, and cannot do what is the owner's.
fn sees_and_may_not(lease: &mut Lease) -> Result<()> {
    let cli = &lease.baremetal;
    let nodes = cli.json(&["node", "list"])?;
    let count = nodes.as_array().map_or(0, Vec::len);
    ensure!(count == lease.scene.rack.nodes().len(), "the lessee sees {count} nodes: {nodes}");
    for node in lease.scene.rack.nodes() {
        let name = node.plan.name;
        let shown = cli.json(&["node", "show", name])?;
        ensure!(shown["lessee"] == lease.project.as_str(), "{name} is lent to {}", shown["lessee"]);
        ensure!(!shown.to_string().contains(&node.bmc_password), "the lessee is shown the BMC's password of {name}");
        cli.refused(&["node", "set", name, "--owner", &lease.project], "403")?;
        cli.refused(&["node", "set", name, "--driver-info", "ipmi_password=x"], "403")?;
        cli.refused(&["node", "maintenance", "set", name], "403")?;
        cli.refused(&["node", "delete", name], "403")?;
    }
    cli.refused(&["node", "create", "--driver", "ipmi"], "403")
}

/// Brings the image and the networks, deploys both nodes at once, and proves them by logging in.
fn deploy(lease: &mut Lease) -> Result<()> {
    let file = lease.scene.image.file.to_string_lossy();
    lease.openstack.run(&[
        "image",
        "create",
        IMAGE,
        "--disk-format",
        "raw",
        "--container-format",
        "bare",
        "--file",
        &file,
    ])?;
    let range = format!("{}/{}", Ipv4Addr::from(u32::from(plan::PROVISIONING_ADDRESS) & (!0 << 8)), plan::PREFIX);
    for Wish { network, pool, dhcp, .. } in &WISHES {
        lease.openstack.run(&["network", "create", network])?;
        let dhcp = if *dhcp { "--dhcp" } else { "--no-dhcp" };
        let words =
            ["--network", network, "--subnet-range", &range, "--allocation-pool", pool, "--gateway", "none", dhcp];
        lease.openstack.run(&[&["subnet", "create", network], &words[..]].concat())?;
    }
    let key = lease.scene.rack.folder().file("ssh-key.pub");
    lease.web.check()?;
    let lease = &*lease;
    each(&lease.scene, |scene, node| deploy_one(lease, scene, node, &key.to_string_lossy()))
}

fn deploy_one(lease: &Lease, scene: &Scene, node: &Node, key: &str) -> Result<()> {
    let (wish, name) = (wish(node)?, node.plan.name);
    let mut words = vec!["deploy", "--resource-class", wish.class, "--network", wish.network];
    words.extend(["--hostname", wish.hostname, "--ssh-public-key", key, "--user-name", GUEST_USER]);
    words.push("--passwordless-sudo");
    let file = lease.offered.file.file_name().context("the image has no name")?.to_string_lossy();
    let url = format!("http://{}:{WEB_PORT}/{file}", plan::USER_ADDRESS);
    if wish.by_name {
        words.extend(["--candidate", name, "--image", &url, "--image-checksum", &lease.offered.checksum, "--no-wait"]);
        lease.metalsmith.run(&words)?;
        lease.metalsmith.run(&["wait", wish.hostname, "--timeout", DEPLOY])?;
        let asked = fs::read_to_string(lease.web.log())?;
        ensure!(asked.contains(&format!("\"GET /{file} HTTP/1.1\" 200")), "nobody fetched {url}: {asked}");
    } else {
        words.extend(["--image", IMAGE, "--wait", DEPLOY]);
        lease.metalsmith.run(&words)?;
    }
    scene.expect(name, "active", "")?;
    say::step(name, &format!("deployed as {}", wish.hostname));
    let ports = lease.openstack.json(&["port", "list", "--network", wish.network])?;
    let address = &ports[0]["Fixed IP Addresses"][0]["ip_address"];
    let address = address.as_str().with_context(|| format!("the port of {} has no address: {ports}", wish.hostname))?;
    let address: Ipv4Addr = address.parse()?;
    lease.addresses.lock().unwrap_or_else(PoisonError::into_inner).insert(wish.hostname, address);
    prove(scene, node, wish, address)
}

/// What the deployed Debian is asked, as root by the rule that came with the user data: a line per answer.
const QUESTION: &str = "cloud-init status --wait >/dev/null; cloud-init status | head -n 1; hostname; id -un; \
                        sudo -n id -un; ip -4 -o address show scope global | grep -c dynamic || true; \
                        sudo -n head -n 1 /var/lib/cloud/instance/user-data.txt; \
                        sudo -n cat /etc/machine-id | wc -c; . /etc/os-release; echo \"$ID\"; \
                        findmnt -no SOURCE /; cat /sys/block/vda/serial; echo; test -d /sys/firmware/efi && echo uefi || echo bios";

/// Logs in at the address that Neutron gave, with the lessee's key, as the user of the user data.
fn prove(scene: &Scene, node: &Node, wish: &Wish, address: Ipv4Addr) -> Result<()> {
    let folder = scene.rack.folder();
    let target = format!("{GUEST_USER}@{address}");
    let arguments = proof::ssh_arguments_to(folder.path(), &node.plan, &scene.key, &target, QUESTION);
    let mut last = String::new();
    let what = format!("an answer of {} at {address} over SSH", wish.hostname);
    let answer = scene.stop.until(&what, START_LIMIT, Duration::from_secs(1), || {
        let mut ssh = Command::new("ssh");
        ssh.args(&arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        folder.mark(&mut ssh);
        let output = scene.rack.wiring()?.appliance.spawn(ssh)?.wait_with_output()?;
        if output.status.success() {
            return Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()));
        }
        last = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Ok(None)
    });
    let answer = answer.with_context(|| format!("ssh to {target} said: {last}"))?;
    say::step(node.plan.name, &format!("{target} says: {}", answer.trim().replace('\n', ", ")));
    verify(&answer, &node.plan, wish)
}

fn verify(answer: &str, node: &NodePlan, wish: &Wish) -> Result<()> {
    let serial = format!("{}-disk", node.serial);
    let wanted = [
        ("the state of cloud-init", "status: done"),
        ("the host's name", wish.hostname),
        ("the user", GUEST_USER),
        ("the user by sudo", "root"),
        ("the number of addresses by DHCP", if wish.dhcp { "1" } else { "0" }),
        ("the first line of the user data", "#cloud-config"),
        ("the length of the machine id", "33"),
        ("the system", "debian"),
        ("the root", "/dev/vda3"),
        ("the disk's serial number", serial.as_str()),
        ("the firmware", node.firmware.mode()),
    ];
    let lines: Vec<_> = answer.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.len() != wanted.len() {
        bail!("the system's answer has {} lines: {answer:?}", lines.len());
    }
    for ((what, wanted), line) in wanted.iter().zip(&lines) {
        ensure!(wanted == line, "{what} of {} is {line:?}, not {wanted:?}", wish.hostname);
    }
    Ok(())
}

/// `list` and `show` tell what runs where, with the addresses of the networks.
fn shows(lease: &mut Lease) -> Result<()> {
    let read = |words: &[&str]| -> Result<Value> {
        let said = lease.metalsmith.run(&[&["-f", "json"], words].concat())?;
        serde_json::from_str(&said).with_context(|| format!("`metalsmith {}` gave no JSON", words.join(" ")))
    };
    let list = read(&["list"])?;
    let addresses = lease.addresses.lock().unwrap_or_else(PoisonError::into_inner);
    for (node, wish) in lease.scene.rack.nodes().iter().zip(&WISHES) {
        let address = addresses.get(wish.hostname).context("it has no address")?.to_string();
        for shown in [&list, &read(&["show", wish.hostname])?] {
            let instance = &shown[wish.hostname];
            ensure!(instance["state"] == "active", "metalsmith shows {} as {instance}", wish.hostname);
            ensure!(instance["node"]["name"] == node.plan.name, "metalsmith shows {} on {instance}", wish.hostname);
            let shown = &instance["ip_addresses"][wish.network][0];
            ensure!(*shown == address.as_str(), "metalsmith shows {shown} for {}, not {address}", wish.hostname);
        }
    }
    Ok(())
}

/// Both are given back: wiped, nobody's any more, and the lessee's ports are gone.
fn give_back(lease: &mut Lease) -> Result<()> {
    let lease = &*lease;
    each(&lease.scene, |scene, node| {
        let (wish, name) = (wish(node)?, node.plan.name);
        lease.metalsmith.run(&["undeploy", wish.hostname, "--wait", DEPLOY])?;
        scene.expect(name, "available", "")?;
        let left = scene.cli.node(name, &["instance_info", "instance_uuid", "allocation_uuid", "extra"])?;
        ensure!(
            left["instance_uuid"].is_null() && left["allocation_uuid"].is_null(),
            "{name} was given back with {left}"
        );
        ensure!(!left.to_string().contains("image_source"), "{name} was given back with {left}");
        ensure!(!left.to_string().contains("metalsmith"), "{name} was given back with {left}");
        for image in [&scene.image, &lease.offered] {
            ensure!(compare::compare(&image.file, &node.disk).is_err(), "the image is left on the disk of {name}");
        }
        let ports = lease.openstack.json(&["port", "list", "--network", wish.network])?;
        ensure!(ports.as_array().is_some_and(Vec::is_empty), "ports are left on {}: {ports}", wish.network);
        lease.openstack.run(&["network", "delete", wish.network]).map(drop)
    })?;
    let said = lease.metalsmith.run(&["-f", "json", "list"])?;
    ensure!(said.trim() == "{}", "metalsmith still lists {said}");
    lease.openstack.run(&["image", "delete", IMAGE]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_as_wanted_is_named() {
        let (node, wish) = (&plan::NODES[1], &WISHES[1]);
        let answer = "status: done\nweb1\nguest\nroot\n0\n#cloud-config\n33\ndebian\n/dev/vda3\nRACK-0011-disk\nuefi\n";
        verify(answer, node, wish).unwrap();
        let refusal = |from: &str, to: &str| verify(&answer.replace(from, to), node, wish).unwrap_err().to_string();
        assert!(refusal("web1", "debian").contains("the host's name of web1 is \"debian\""));
        assert!(refusal("\nroot", "").contains("10 lines"));
        assert!(refusal("uefi", "bios").contains("firmware"));
    }
}
