//! `leasehold-rack try`: both machines from power-off to a proven, deployed system, and then the rack to play with.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::appliance::{ADMINISTRATOR, Appliance, Built};
use crate::compare;
use crate::daemon::last_lines;
use crate::flow::Journey;
use crate::guest::BootDevice;
use crate::image::Image;
use crate::machine::{Override, PowerTarget};
use crate::proof::{self, SshKey};
use crate::rack::{Node, Rack, RackOptions};
use crate::say;
use crate::stop::{Stop, Stopped};
use crate::table::{self, Column};

/// What to try.
#[derive(Debug, Clone)]
pub struct TrialOptions {
    pub rack: RackOptions,
    pub built: Built,
    /// The user's image instead: file or URL, and checksum.
    pub image: Option<(String, String)>,
    /// End when the proofs are there.
    pub once: bool,
}

/// Runs the trial; the rack is taken down on every way out.
///
/// # Errors
/// What failed, with the end of the log that tells most. [`Stopped`] when it was interrupted.
pub fn run(options: &TrialOptions, stop: &Stop) -> Result<()> {
    let begin = Instant::now();
    let mut rack = Rack::start(&options.rack, stop)?;
    let image = match &options.image {
        Some((source, checksum)) => Image::of_user(source, checksum, rack.folder(), stop),
        None => Image::small_system(&options.built.system),
    };
    // Without an image nothing has run whose logs could tell more.
    let outcome = image.and_then(|image| {
        in_rack(&mut rack, options, &image, stop, begin).inspect_err(|error| {
            if !error.is::<Stopped>() {
                show_logs(&rack);
            }
        })
    });
    let taken_down = rack.stop();
    if taken_down.is_ok() {
        say::step("rack", "taken down: no process, namespace or interface is left");
    }
    outcome.and(taken_down)
}

fn in_rack(rack: &mut Rack, options: &TrialOptions, image: &Image, stop: &Stop, begin: Instant) -> Result<()> {
    let import = image.file.parent().context("the image has no folder")?;
    let mut appliance = Appliance::configure(rack, &options.built, import)?;
    appliance.start(rack, stop)?;
    let key = SshKey::create(rack.folder())?;
    let nonces: Vec<_> = rack.nodes().iter().map(|_| uuid::Uuid::new_v4().to_string()).collect();

    let mut columns = deploy(rack, &appliance, image, &key, &nonces, stop)?;
    appliance.check()?;
    if image.ours {
        appliance.stop();
        say::step("box", "leasehold is stopped: nobody answers a network boot now");
        prove(rack, image, &key, &nonces, &mut columns, stop)?;
    } else {
        compare_disks(rack, image);
    }
    say::plain(&format!("\n{}", table::render(&columns)));
    say::plain(&format!("\nall of it, rack included: {:.0} s", begin.elapsed().as_secs_f64()));
    if options.once {
        return Ok(());
    }
    if image.ours {
        appliance.start(rack, stop)?;
    }
    invite(rack, &appliance, &key)?;
    while !stop.wait(Duration::from_secs(1)) {
        appliance.check()?;
        rack.check().context("the rack broke")?;
    }
    appliance.stop();
    Ok(())
}

/// Both nodes at once, each with a thread. When one fails, the other still comes to its own end.
fn deploy(
    rack: &Rack,
    appliance: &Appliance,
    image: &Image,
    key: &SshKey,
    nonces: &[String],
    stop: &Stop,
) -> Result<Vec<Column>> {
    let client = appliance.client(rack)?;
    let travel = |node: &Node, nonce: &str| -> Result<Column> {
        let journey = Journey {
            client: client.sibling()?,
            node: node.plan,
            bmc_password: &node.bmc_password,
            image,
            config_drive: proof::config_drive(&node.plan, key, nonce),
            stop,
        };
        let mut column = Column::new(node.plan.name);
        journey.go(&mut column).map(|()| column)
    };
    rack.on_every_node(|node| travel(node, &nonces[usize::from(node.plan.index)]))
}

/// With the appliance stopped, each node boots again from its disk and tells what it runs; then the disks are read.
fn prove(
    rack: &Rack,
    image: &Image,
    key: &SshKey,
    nonces: &[String],
    columns: &mut [Column],
    stop: &Stop,
) -> Result<()> {
    let space = &rack.wiring()?.appliance;
    let times = rack.on_every_node(|node| {
        let nonce = &nonces[usize::from(node.plan.index)];
        let begin = Instant::now();
        node.machine.power(PowerTarget::Off)?;
        node.machine.set_boot(Some(Override { device: BootDevice::Disk, persistent: false }));
        node.machine.power(PowerTarget::On)?;
        say::step(node.plan.name, "switched off and on, boots from its disk …");
        let proof = proof::ask(rack.folder(), space, &node.plan, key, stop)?;
        proof.verify(nonce, &image.file).with_context(|| format!("the proof of {}", node.plan.name))?;
        say::step(
            node.plan.name,
            &format!(
                "proof by SSH: nonce {}, root {} sha256 {}…",
                proof.nonce,
                proof.root_device,
                &proof.root_sha256[..16]
            ),
        );
        Ok(begin.elapsed())
    })?;
    for (column, time) in columns.iter_mut().zip(times) {
        column.steps.push(("boot from disk", time));
    }
    for node in rack.nodes() {
        let result =
            compare::compare(&image.file, &node.disk).with_context(|| format!("the disk of {}", node.plan.name))?;
        say::step(node.plan.name, &format!("disk against image: {result}"));
    }
    Ok(())
}

/// A user's system may write to its disk as soon as it runs: a difference is told, not held against it.
fn compare_disks(rack: &Rack, image: &Image) {
    if image.is_qcow2() {
        say::step(
            "rack",
            "the image is qcow2: what its bytes are on a disk is not known here, so the disks are not compared",
        );
        return;
    }
    for node in rack.nodes() {
        match compare::compare(&image.file, &node.disk) {
            Ok(result) => say::step(node.plan.name, &format!("disk against image: {result}")),
            Err(error) => say::step(node.plan.name, &format!("its system has changed the disk since: {error:#}")),
        }
    }
}

fn invite(rack: &Rack, appliance: &Appliance, key: &SshKey) -> Result<()> {
    let (url, password) = (format!("https://127.0.0.1:{}", rack.port()), appliance.password()?);
    let Some(node) = rack.nodes().first() else { bail!("the rack has no nodes") };
    let ssh = proof::ssh_arguments(rack.folder().path(), &node.plan, key, "uptime").join(" ");
    say::plain(&format!("\nThe appliance:  {url}"));
    say::plain(&format!("Administrator:  {ADMINISTRATOR}   password: {password} (chosen for this run)"));
    say::plain("To try next, in another terminal:");
    say::plain(&format!("  curl -k -u {ADMINISTRATOR}:{password} {url}/baremetal/v1/nodes"));
    say::plain(&format!(
        "  {} node trace {} --socket {}",
        appliance.program().display(),
        node.plan.name,
        appliance.socket().display()
    ));
    say::plain(&format!("  nsenter --net={} ssh {ssh}", rack.wiring()?.appliance.path()));
    say::plain("Ctrl-C ends everything.");
    Ok(())
}

/// The end of the logs that tell most about a failure.
pub(crate) fn show_logs(rack: &Rack) {
    say::warn(&format!("\nThe appliance's last words:\n{}", last_lines(&rack.folder().log("leasehold"), 15)));
    for node in rack.nodes() {
        say::warn(&format!("\n{}'s console:\n{}", node.plan.name, last_lines(&node.serial_log, 12)));
    }
    let hint = if rack.folder().kept() { "All logs are in" } else { "With --keep DIR all logs stay in DIR; now in" };
    say::warn(&format!("\n{hint} {}\n", rack.folder().path().join("logs").display()));
}
