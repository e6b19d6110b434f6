//! `leasehold-rack check` and `tenants`: what the rack must do with the unmodified clients, from one end to the other.
//!
//! In: the built program, boot images, the clients. Out: a line per scenario, `rack: N passed, N failed` (`tenants: …`),
//! and on failure the run's folder with every log. The scenarios go over one rack in a fixed order, and share its
//! deployments: each begins where the one before left both nodes. What a failure leaves is no ground to stand on, so the
//! rest is not run.

mod boots;
mod cli;
mod commands;
mod faults;
mod leases;
mod life;
mod rescue;
mod steps;
mod tenants;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::appliance::{Appliance, Built};
use crate::client::{Client, text};
use crate::image::Image;
use crate::proof::SshKey;
use crate::rack::{Node, Rack, RackOptions};
use crate::say;
use crate::stop::{Stop, Stopped};
use crate::trial::show_logs;
use cli::Cli;

/// What to check.
#[derive(Debug, Clone)]
pub struct CheckOptions {
    pub rack: RackOptions,
    pub built: Built,
    /// The `baremetal` program.
    pub client: PathBuf,
    /// Only scenarios whose names hold this; all when `None`. The first one, which enrols the nodes, is always run.
    pub only: Option<String>,
}

/// What to check with tenants.
#[derive(Debug, Clone)]
pub struct TenantOptions {
    pub rack: RackOptions,
    pub built: Built,
    /// The folder of the clients' programs.
    pub clients: PathBuf,
    /// The Debian image, with the `.sha256` beside it.
    pub debian: PathBuf,
}

/// What every scenario works on.
pub(crate) struct Scene<'a> {
    rack: &'a Rack,
    appliance: Appliance,
    api: Client,
    cli: Cli,
    image: Image,
    key: SshKey,
    /// The nonce of each node's last deployment.
    nonces: Mutex<HashMap<&'static str, String>>,
    stop: &'a Stop,
}

type Play = fn(&mut Scene) -> Result<()>;

const SCENARIOS: [(&str, Play); 12] = [
    ("the whole way of both nodes", life::first_way),
    ("the client's other commands", commands::small_commands),
    ("power, and the disk boot of a machine that asks the network first", boots::network_first),
    ("adoption of running machines", life::adopt),
    ("rebuild", life::rebuild),
    ("rescue and service", rescue::rescue_and_service),
    ("abort from wait call-back", faults::abort),
    ("a wrong checksum", faults::wrong_checksum),
    ("the whole way a second time, by UEFI HTTP Boot", life::second_way),
    ("leases begin on machines with their owner's systems", leases::begin),
    ("a redeployment, killed at three steps", faults::killed),
    ("leases end, killed at three steps", leases::end),
];

/// Runs the scenarios of `check`; true when all passed.
///
/// # Errors
/// When the rack or the appliance cannot be started or taken down, or [`Stopped`].
pub fn run(options: &CheckOptions, stop: &Stop) -> Result<bool> {
    in_a_rack(&options.rack, stop, |rack| {
        let image = Image::small_system(&options.built.system)?;
        let mut scene = Scene::begin(rack, &options.built, &options.client, image, stop)?;
        let chosen =
            |index: usize, name: &str| index == 0 || options.only.as_ref().is_none_or(|part| name.contains(part));
        let plays: Vec<_> = SCENARIOS.iter().enumerate().filter(|(index, (name, _))| chosen(*index, name)).collect();
        let plays: Vec<_> = plays.into_iter().map(|(_, play)| *play).collect();
        let passed = play_all("rack", &plays, &mut scene)?;
        scene.appliance.stop();
        Ok(passed)
    })
}

/// Runs the scenarios of `tenants`; true when all passed.
///
/// # Errors
/// As [`run`].
pub fn run_tenants(options: &TenantOptions, stop: &Stop) -> Result<bool> {
    in_a_rack(&options.rack, stop, |rack| tenants::run(rack, options, stop))
}

/// Builds a rack, works in it, takes it down; shows the logs when something failed.
fn in_a_rack(options: &RackOptions, stop: &Stop, work: impl FnOnce(&Rack) -> Result<bool>) -> Result<bool> {
    let rack = Rack::start(options, stop)?;
    let outcome = work(&rack);
    if !matches!(&outcome, Ok(true)) && !stop.requested() {
        show_logs(&rack);
    }
    let taken_down = rack.stop().context("after the scenarios");
    let passed = outcome?;
    taken_down?;
    Ok(passed)
}

/// Plays one scenario after the other until one fails, and says how many passed; true when all did.
fn play_all<S>(part: &str, plays: &[(&str, impl Fn(&mut S) -> Result<()>)], scene: &mut S) -> Result<bool> {
    let mut passed = 0;
    for (name, play) in plays {
        let begin = Instant::now();
        say::step("check", &format!("{name} …"));
        match play(scene) {
            Ok(()) => {
                passed += 1;
                say::step("check", &format!("{name}: passed in {:.0} s", begin.elapsed().as_secs_f64()));
            }
            Err(error) if error.is::<Stopped>() => return Err(error),
            Err(error) => {
                say::step("check", &format!("{name}: FAILED: {error:#}"));
                let rest = plays.len() - passed - 1;
                if rest > 0 {
                    say::step("check", &format!("{rest} scenarios after it were not run"));
                }
                break;
            }
        }
    }
    let failed = plays.len() - passed;
    say::plain(&format!("{part}: {passed} passed, {failed} failed"));
    Ok(failed == 0)
}

impl<'a> Scene<'a> {
    /// The appliance started in the rack, and its administrator's clients.
    fn begin(rack: &'a Rack, built: &Built, client: &Path, image: Image, stop: &'a Stop) -> Result<Self> {
        let import = image.file.parent().context("the image has no folder")?;
        let mut appliance = Appliance::configure(rack, built, import)?;
        appliance.start(rack, stop)?;
        Ok(Self {
            rack,
            api: appliance.client(rack)?,
            cli: Cli::of_administrator(client.to_owned(), rack, &appliance)?,
            appliance,
            image,
            key: SshKey::create(rack.folder())?,
            nonces: Mutex::default(),
            stop,
        })
    }
}

impl Scene<'_> {
    /// Waits until the node stands in `state`, asking the API several times a second.
    fn wait_for_state(&self, node: &str, state: &str, limit: Duration) -> Result<()> {
        let what = format!("{state} of {node}");
        self.stop.until(&what, limit, Duration::from_millis(100), || {
            let answer = self.api_node(node)?;
            let now = text(&answer, "provision_state")?;
            if now.ends_with("failed") && now != state {
                bail!("{node} is in {now}: {}", answer["last_error"]);
            }
            Ok((now == state).then_some(()))
        })
    }

    /// As [`Self::wait_for_state`], and nobody works on the node any more: the next command does not find it locked.
    fn wait_for_rest(&self, node: &str, state: &str, limit: Duration) -> Result<()> {
        self.wait_for_state(node, state, limit)?;
        self.stop.until(&format!("rest of {node}"), limit, Duration::from_millis(100), || {
            Ok(self.api_node(node)?["reservation"].is_null().then_some(()))
        })
    }

    fn now_runs(&self, node: &Node, nonce: String) {
        self.nonces.lock().unwrap_or_else(PoisonError::into_inner).insert(node.plan.name, nonce);
    }

    fn nonce_of(&self, node: &Node) -> String {
        self.nonces.lock().unwrap_or_else(PoisonError::into_inner).get(node.plan.name).cloned().unwrap_or_default()
    }

    fn api_node(&self, node: &str) -> Result<serde_json::Value> {
        self.api.get(&format!("/baremetal/v1/nodes/{node}"))
    }

    /// The node stands in `state`, at rest, and `last_error` holds `words` (whatever their case; empty: no error).
    fn expect(&self, node: &str, state: &str, words: &str) -> Result<()> {
        let fields = ["provision_state", "target_provision_state", "last_error"];
        let answer = self.cli.node(node, &fields)?;
        let now = text(&answer, "provision_state")?;
        if now != state {
            bail!("{node} is in {now}, not in {state}: {}", answer["last_error"]);
        }
        let reason = answer["last_error"].as_str().unwrap_or_default();
        if words.is_empty() != reason.is_empty() || !reason.to_lowercase().contains(&words.to_lowercase()) {
            bail!("last_error of {node} is {reason:?}; a word of {words:?} was expected");
        }
        Ok(())
    }
}
