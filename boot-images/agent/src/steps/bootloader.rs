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
    let mut present = HashSet::from([target.id]);
    for found in machine.disks().iter().filter(|found| found.disk.name != disk_name) {
        if let Ok(disk) = machine.open(&found.disk.name)
            && let Ok(Some(gpt)) = Gpt::read(&disk)
        {
            present.extend(gpt.partitions().iter().map(|partition| partition.id));
        }
    }
    if let Ok(disk) = machine.open(disk_name)
        && let Ok(Some(gpt)) = Gpt::read(&disk)
    {
        present.extend(gpt.partitions().iter().map(|partition| partition.id));
    }
    let outcome = firmware.boot_from(&target, &present).or_failure(Kind::Deployment, || "boot entry".to_owned())?;
    let removed: Vec<String> = outcome.removed.iter().map(|number| format!("Boot{number:04X}")).collect();
    let mut text = format!("Boot{:04X} boots {} first", outcome.entry, target.loader);
    if !removed.is_empty() {
        text.push_str(&format!("; stale entries removed: {}", removed.join(", ")));
    }
    console.say(&text);
    Ok(text)
}
