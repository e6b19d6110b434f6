//! Sets ports, and notes before and after what is not known to be idle.

use super::cable::Place;
use super::{Notes, Proven, Stand, Switches, Unsafe, wanted};
use leasehold_domain::View;
use leasehold_domain::hardware::HardwareCommand;
use leasehold_domain::id::{NodeId, PortId};
use leasehold_domain::port::Port;
use leasehold_drivers::switch::{SwitchError, Wanted};
use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::task::Poll;
use tokio::sync::OwnedMutexGuard;

/// Ports are idle, and nobody sets any port of their switches while this is there: time to forget their cables.
#[must_use]
pub struct Cut {
    _turns: Vec<OwnedMutexGuard<()>>,
}

/// Whose ports, and for what.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    /// A step of a job.
    Job(Stand),
    /// What is to be while no job works on the node.
    Keep,
}

impl Switches {
    /// Puts every port of a node whose switch is known where it is to stand, all at the same time, and reads it back. One
    /// that fails does not keep the others from being set. Out: what was done, for a timeline.
    ///
    /// # Errors
    /// When a port is not known to stand there.
    pub async fn set(&self, notes: &impl Notes, node: NodeId, stand: Stand) -> Result<String, Unsafe> {
        let view = notes.view();
        let cards: Vec<_> = view.ports_of(node).map(|card| (card.id, card.settings.address)).collect();
        let set = cards.iter().map(|(card, _)| self.set_one(notes, *card, Purpose::Job(stand)));
        let results = all(set.collect()).await;
        let (mut done, mut failed, mut may_pass) = (Vec::new(), Vec::new(), true);
        for ((_, address), result) in cards.iter().zip(results) {
            match result {
                Ok(None) => {}
                Ok(Some(text)) => done.push(text),
                Err(trouble) => {
                    may_pass &= trouble.may_pass;
                    failed.push(format!("port {address}: {}", trouble.why));
                }
            }
        }
        match (failed.is_empty(), done.is_empty()) {
            (false, _) => Err(Unsafe { why: failed.join("; "), may_pass }),
            (true, true) => Ok("no switch is configured for the node's ports".to_owned()),
            (true, false) => Ok(done.join("; ")),
        }
    }

    /// Whether a switch is known for each of the node's ports, without asking any.
    ///
    /// # Errors
    /// When a port could not be put on the networks that are attached to it now, with the reason.
    pub fn validate(&self, view: &View, node: NodeId) -> Result<bool, String> {
        let mut all = true;
        for card in view.ports_of(node) {
            let told = |why| format!("port {}: {why}", card.settings.address);
            let Some(place) = self.place(view, card).map_err(told)? else {
                all = false;
                continue;
            };
            self.check_alone(view, Some(card.id), place).map_err(told)?;
            wanted::standing(view, card, Stand::Tenant, place.switch, &self.reserved).map_err(told)?;
        }
        Ok(all && view.ports_of(node).next().is_some())
    }

    /// One port. `None`: nothing is to be done with it.
    pub(super) async fn set_one(
        &self,
        notes: &impl Notes,
        card: PortId,
        purpose: Purpose,
    ) -> Result<Option<String>, Unsafe> {
        let Some(at) = self.wanted_at(&notes.view(), card, purpose)?.map(|(_, place, _)| place.at) else {
            return Ok(None);
        };
        let _turn = match self.turns.get(at) {
            Some(turn) => turn.lock().await,
            None => return Ok(None),
        };
        // What was the case before the turn came may be so no more.
        let view = notes.view();
        let Some((port, place, wanted)) = self.wanted_at(&view, card, purpose)? else { return Ok(None) };
        if place.at != at {
            let why = "its local_link_connection was changed at the same moment".to_owned();
            return Err(Unsafe { why, may_pass: true });
        }
        let proven = |stands| Proven { switch: at, port: place.port.to_owned(), stands };
        self.proven().insert(card, proven(None));
        let noted = place.of(port.settings.node);
        let hold = HardwareCommand::HoldSwitchPort { card, revision: port.revision, place: noted.clone() };
        self.note(notes, hold).await?;
        let state = match place.switch.driver.set(place.port, &wanted).await {
            Ok(state) => state,
            Err(error) => {
                // Nothing was written: what it was before, it is still.
                let untouched = matches!(error, SwitchError::UnknownPort { .. } | SwitchError::Unsupported { .. });
                if untouched && view.hardware.switch_ports.get(card).is_none() {
                    self.note(notes, HardwareCommand::FreeSwitchPort { card, place: noted }).await?;
                }
                return Err(Unsafe { may_pass: error.may_pass(), why: error.to_string() });
            }
        };
        if wanted.is_idle() {
            self.note(notes, HardwareCommand::FreeSwitchPort { card, place: noted }).await?;
        }
        self.proven().insert(card, proven(Some(wanted)));
        Ok(Some(format!("{} of {}: {}", state.name, place.switch.name, state.standing())))
    }

    /// The card, its switch port, and how that is to stand.
    fn wanted_at<'a>(
        &'a self,
        view: &'a View,
        card: PortId,
        purpose: Purpose,
    ) -> Result<Option<(&'a Port, Place<'a>, Wanted)>, Unsafe> {
        let Some(port) = view.port(card) else { return Ok(None) };
        let stand = match purpose {
            Purpose::Job(stand) => stand,
            Purpose::Keep => {
                let Some(kept) = self.kept(view, port).map_err(Unsafe::lasting)? else { return Ok(None) };
                self.check_alone(view, Some(card), kept.place).map_err(Unsafe::lasting)?;
                return Ok(Some((&**port, kept.place, kept.wanted)));
            }
        };
        let Some(place) = self.place(view, port).map_err(Unsafe::lasting)? else { return Ok(None) };
        self.check_alone(view, Some(card), place).map_err(Unsafe::lasting)?;
        let wanted = wanted::standing(view, port, stand, place.switch, &self.reserved).map_err(Unsafe::lasting)?;
        Ok(Some((port, place, wanted)))
    }

    async fn note(&self, notes: &impl Notes, command: HardwareCommand) -> Result<(), Unsafe> {
        notes.note(command).await.map_err(|error| Unsafe { why: error.why, may_pass: error.may_pass })
    }

    /// Cuts the switch ports of these cards that are not known to be idle, so that they can be forgotten. One that the
    /// configuration no longer has is forgotten as it is: whoever took it out of there answers for it.
    ///
    /// # Errors
    /// When one of them is not known to be idle.
    pub async fn cut(&self, notes: &impl Notes, cards: &[PortId]) -> Result<Cut, Unsafe> {
        let places = |view: &View| -> Vec<_> {
            let held = cards.iter().filter_map(|card| view.hardware.switch_ports.get(*card));
            held.map(|held| (held.id, held.body.clone())).collect()
        };
        let of_switches = places(&notes.view());
        let switches: BTreeSet<usize> =
            of_switches.iter().filter_map(|(_, held)| Some(self.at(&held.switch, &held.port)?.at)).collect();
        let mut turns = Vec::new();
        for turn in switches.iter().filter_map(|at| self.turns.get(*at)) {
            turns.push(turn.clone().lock_owned().await);
        }
        for (card, held) in places(&notes.view()) {
            match self.at(&held.switch, &held.port) {
                Some(place) if switches.contains(&place.at) => {
                    let idle = place.switch.driver.set(place.port, &Wanted::idle()).await;
                    idle.map_err(|error| Unsafe { may_pass: error.may_pass(), why: error.to_string() })?;
                }
                Some(_) => {
                    return Err(Unsafe {
                        why: "its switch port was changed at the same moment".into(),
                        may_pass: true,
                    });
                }
                None => tracing::warn!(
                    switch = held.switch,
                    port = held.port,
                    "a switch port that is in the configuration no more is forgotten, though not known to be idle"
                ),
            }
            self.proven().remove(&card);
            self.note(notes, HardwareCommand::FreeSwitchPort { card, place: held }).await?;
        }
        Ok(Cut { _turns: turns })
    }
}

/// All of these at the same time, in the task that waits for them; their results in their order.
async fn all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut running: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    poll_fn(|context| {
        for (future, done) in running.iter_mut().filter(|(_, done)| done.is_none()) {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                *done = Some(output);
            }
        }
        if running.iter().all(|(_, done)| done.is_some()) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    running.into_iter().filter_map(|(_, done)| done).collect()
}
