//! Heartbeats: well within the time-out, soon when a command has ended, patiently when nobody answers, until the machine
//! leaves or the appliance is done with it.

use crate::appliance::{ApiVersion, Appliance, Reply};
use crate::console::Console;
use crate::pulse::{Pulse, chance};
use leasehold_wire::agent::Heartbeat;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Where the appliance names no time-out for heartbeats.
const TIMEOUT: f64 = 300.0;
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Once the machine's user was let in: the agent is to close as soon as the appliance has noted it.
const UNTIL_NOTED: Duration = Duration::from_secs(1);

/// Why there are no more heartbeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// The machine leaves.
    Leaving,
    /// Its user was let in, and the appliance has noted it: it takes no more heartbeats of this boot.
    HandedOver,
}

/// Whom the heartbeats are for.
pub(crate) struct Heart<'a> {
    pub(crate) appliance: &'a Appliance,
    pub(crate) console: &'a Console,
    pub(crate) pulse: &'a Pulse,
    pub(crate) version: ApiVersion,
    pub(crate) uuid: &'a str,
    /// The machine's user was let in.
    pub(crate) opened: &'a AtomicBool,
}

impl Heart<'_> {
    /// Beats until it is over. `timeout`: seconds after which the appliance would miss a heartbeat.
    pub(crate) fn beat(&self, mut beat: Heartbeat, timeout: Option<f64>) -> Over {
        let timeout = timeout.filter(|seconds| seconds.is_finite() && *seconds >= 1.0).unwrap_or(TIMEOUT);
        if self.version < ApiVersion(1, 68) {
            beat.agent_verify_ca = None;
        }
        let mut silence = FIRST_WAIT;
        let mut told = String::new();
        loop {
            if self.version >= ApiVersion(1, 72)
                && let Some(alarm) = self.pulse.alarm()
            {
                beat.agent_status = Some("error".to_owned());
                beat.agent_status_message = Some(alarm);
            }
            // Asked before, so that a refusal of something else is not taken for the one that ends it.
            let opened = self.opened.load(Ordering::Acquire);
            let over = match self.appliance.heartbeat(self.version, self.uuid, &beat) {
                Reply::Good(()) => {
                    if !told.is_empty() {
                        self.console.say("the appliance answers again");
                        told.clear();
                    }
                    silence = FIRST_WAIT;
                    // As ironic's: between 0.3 and 0.6 of the time-out, so that many machines do not call in step.
                    let usual = Duration::from_secs_f64(timeout * (0.3 + 0.3 * chance()));
                    self.pulse.next(if opened { UNTIL_NOTED } else { usual })
                }
                Reply::Refused(_) if opened => return Over::HandedOver,
                Reply::Refused(why) | Reply::Locked(why) | Reply::Trouble(why) => {
                    // The same reason is said once, not every few seconds.
                    if why != told {
                        self.console.say(&format!("the appliance did not take a heartbeat: {why}; trying on"));
                        told = why;
                    }
                    let wait = silence.mul_f64(1.0 + chance());
                    silence = (silence * 2).min(LONGEST_WAIT);
                    self.pulse.rest(wait)
                }
            };
            if over {
                return Over::Leaving;
            }
        }
    }
}
