//! `image.install_bootloader`: a whole-disk image brings its boot loader; what is left is to tell UEFI firmware of it.

use crate::boot::find_loader;
use crate::console::Console;
use crate::disk::Gpt;
use crate::failure::{Failure, Kind, OrFailure};
use crate::machine::Machine;
use std::collections::HashSet;

/// Makes the boot entry for the deployed disk where the machine was booted by UEFI. Returns what was done, in words.
///
/// # Errors
/// When the machine boots by UEFI only and the disk cannot, or the firmware does not take the entry.
pub fn install_bootloader(machine: &dyn Machine, console: &Console, disk_name: &str) -> Result<String, Failure> {
    let Some(firmware) = machine.uefi() else {
        return Ok("booted by BIOS: the image's own boot sector is used".to_owned());
    };
    let place = || disk_name.to_owned();
    let target = {
        let disk = machine.open(disk_name).or_failure(Kind::Deployment, place)?;
        find_loader(&disk).or_failure(Kind::Deployment, place)?
    };
    let Some(target) = target else {
        return Err(Failure::new(
            Kind::Deployment,
            format!(
                "this machine was booted by UEFI, but {disk_name} holds no EFI system partition with a boot loader; \
                 use an image that boots by UEFI, or set the node's boot_mode to bios"
            ),
        ));
    };
    let Some(firmware) = firmware else {
        // Firmware that shows no variables still finds the default loader by itself.
        let text = "the firmware's variables cannot be seen; it has to find the loader by itself";
        console.say(text);
        return Ok(text.to_owned());
    };
    let mut present = partitions(machine);
    present.insert(target.id);
    let outcome = firmware.boot_from(&target, &present).or_failure(Kind::Deployment, || "boot entry".to_owned())?;
    let removed: Vec<String> = outcome.removed.iter().map(|number| format!("Boot{number:04X}")).collect();
    let mut text = format!("Boot{:04X} boots {} first", outcome.entry, target.loader);
    if !removed.is_empty() {
        text.push_str(&format!("; stale entries removed: {}", removed.join(", ")));
    }
    console.say(&text);
    Ok(text)
}

/// Takes out of the firmware what a wiped disk's user left there: see [`crate::boot::Firmware::forget_systems`]. Returns what
/// was done, in words.
///
/// # Errors
/// When the firmware does not let go of a variable: the machine would go on as its former user wants.
pub fn forget_systems(machine: &dyn Machine, console: &Console) -> Result<String, Failure> {
    let Some(Some(firmware)) = machine.uefi() else {
        // Without variables no system could leave any there.
        return Ok("no boot entries in the firmware".to_owned());
    };
    let removed = firmware.forget_systems(&partitions(machine));
    let removed = removed.or_failure(Kind::Erase, || "the firmware's boot entries".to_owned())?;
    let text = match removed.as_slice() {
        [] => "the firmware has no boot entries but the machine's own".to_owned(),
        names => format!("removed from the firmware: {}", names.join(", ")),
    };
    console.say(&text);
    Ok(text)
}

/// The ids of all partitions of all disks.
fn partitions(machine: &dyn Machine) -> HashSet<[u8; 16]> {
    let mut present = HashSet::new();
    for found in machine.disks() {
        if let Ok(disk) = machine.open(&found.disk.name)
            && let Ok(Some(gpt)) = Gpt::read(&disk)
        {
            present.extend(gpt.partitions().iter().map(|partition| partition.id));
        }
    }
    present
}
