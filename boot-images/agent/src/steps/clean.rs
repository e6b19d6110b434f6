//! Cleaning: what the next owner of the machine must not see.

use crate::console::Console;
use crate::disk::{self, Found};
use crate::failure::{Failure, Kind, OrFailure};
use crate::machine::Machine;
use crate::service::Phase;
use leasehold_wire::agent::Step;
use serde_json::Value;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Changes when a step's meaning does; a service that planned with another version is told so.
pub const STEPS_VERSION: &str = "1.0";
/// Disks that are erased at once.
const AT_ONCE: usize = 4;

/// The steps on offer; with the priorities of a cleaning, else to be asked for by name. A user's disks are not erased by a
/// service: as with the stock agent, what could do so is no service step.
#[must_use]
pub fn steps(phase: Phase) -> Vec<Step> {
    let step = |name: &str, priority| Step {
        step: name.to_owned(),
        priority: if phase == Phase::Clean { priority } else { 0 },
        interface: "deploy".to_owned(),
        reboot_requested: false,
        abortable: true,
    };
    match phase {
        Phase::Clean | Phase::Deploy => vec![step("erase_devices_metadata", 99), step("erase_devices", 10)],
        Phase::Service => vec![step("clean_uefi_nvram", 0)],
    }
}

/// Clears partition tables and signatures of every disk, and reads back.
///
/// # Errors
/// Every disk that could not be cleaned, with its reason; the others are clean.
pub fn erase_metadata(machine: &dyn Machine, console: &Console) -> Result<Value, Failure> {
    each(machine, console, &|_, found| {
        console.say(&format!("clearing partition tables and labels of {}", found.disk.name));
        let disk = machine.open(&found.disk.name).or_failure(Kind::Erase, || found.disk.name.clone())?;
        disk::wipe_metadata(&disk, &machine.partitions(&found.disk.name))
            .or_failure(Kind::Erase, || "clearing".to_owned())?;
        Ok("metadata cleared, read back".to_owned())
    })
}

/// Erases every disk whole, and reads back samples and both ends.
///
/// # Errors
/// Every disk that could not be erased, with its reason; the others are erased.
pub fn erase_devices(machine: &dyn Machine, console: &Console) -> Result<Value, Failure> {
    let total: u64 = targets(machine).iter().map(|found| found.disk.size).sum();
    each(machine, console, &|running: &AtomicU64, found| {
        let disk = machine.open(&found.disk.name).or_failure(Kind::Erase, || found.disk.name.clone())?;
        let mut before = 0u64;
        let how = disk::erase(&disk, |_, done| {
            // A second pass over the same disk counts from its start again.
            let all = if done >= before {
                running.fetch_add(done - before, Ordering::Relaxed) + (done - before)
            } else {
                running.fetch_sub(before - done, Ordering::Relaxed) - (before - done)
            };
            before = done;
            console.advance("erasing disks", all, total);
        });
        let how = how.or_failure(Kind::Erase, || "erasing".to_owned())?;
        console.say(&format!("{} is erased: {how}", disk.name()));
        Ok(how.to_owned())
    })
}

/// Disks that belong to the machine: not sticks and virtual media, not what is write-protected.
fn targets(machine: &dyn Machine) -> Vec<Found> {
    machine.disks().into_iter().filter(|found| !found.removable && !found.read_only).collect()
}

fn each(
    machine: &dyn Machine,
    console: &Console,
    work: &(dyn Fn(&AtomicU64, &Found) -> Result<String, Failure> + Sync),
) -> Result<Value, Failure> {
    let disks = targets(machine);
    let (next, running) = (AtomicUsize::new(0), AtomicU64::new(0));
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(disks.len()) {
            scope.spawn(|| {
                while let Some(found) = disks.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = work(&running, found);
                    let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
                    outcomes.push((found.disk.name.clone(), outcome));
                }
            });
        }
    });
    console.finish();
    let mut outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_by(|a, b| a.0.cmp(&b.0));
    let failures: Vec<String> = outcomes
        .iter()
        .filter_map(|(_, outcome)| outcome.as_ref().err().map(|failure| failure.details.clone()))
        .collect();
    if !failures.is_empty() {
        return Err(Failure::new(Kind::Erase, failures.join("; ")));
    }
    let done: Vec<String> =
        outcomes.into_iter().filter_map(|(name, outcome)| Some(format!("{name}: {}", outcome.ok()?))).collect();
    // A machine without disks has nothing to hide.
    Ok(Value::String(if done.is_empty() { "this machine has no disk".to_owned() } else { done.join("; ") }))
}
