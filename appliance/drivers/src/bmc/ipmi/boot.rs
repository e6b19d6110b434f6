//! The boot override: System Boot Options, parameters 0, 3, 4 and 5.

use super::connection::Connection;
use super::failure::Failure;
use leasehold_domain::power::{BootDevice, BootMode, BootSetting};
use leasehold_protocols::ipmi::command::boot_parameter::{
    FLAG_VALID_CLEARING, FLAGS, INFO_ACKNOWLEDGE, SET_IN_PROGRESS,
};
use leasehold_protocols::ipmi::command::{
    BootFlags, BootSource, CommandError, DISABLE_BOOT_FLAG_EXPIRY, GetBootOption, SetBootOption,
};
use std::sync::atomic::Ordering;

const NO_OVERRIDE: BootSetting = BootSetting { device: BootDevice::None, persistent: false, mode: None };

pub(super) async fn get(bmc: &mut Connection) -> Result<BootSetting, Failure> {
    let flags = flags(bmc).await?;
    if flags.valid {
        return setting(flags);
    }
    // Flags that were used keep their device at many BMCs, and mean nothing any more. One that forgets the valid bit
    // as soon as it is set is told by what it answered then.
    if bmc.target().forgets_valid_bit.load(Ordering::Relaxed) {
        setting(BootFlags { persistent: false, ..flags })
    } else {
        Ok(NO_OVERRIDE)
    }
}

async fn flags(bmc: &mut Connection) -> Result<BootFlags, Failure> {
    let data = bmc.ask(&GetBootOption { parameter: FLAGS }).await?;
    let malformed = |why| CommandError::Malformed { command: "Get System Boot Options", why };
    Ok(BootFlags::parse(&data).map_err(malformed)?)
}

fn setting(flags: BootFlags) -> Result<BootSetting, Failure> {
    let device = match flags.source {
        BootSource::None => return Ok(NO_OVERRIDE),
        BootSource::Pxe => BootDevice::Pxe,
        // 3: the disk in safe mode; 11: a remote disk.
        BootSource::Disk | BootSource::Other(3 | 11) => BootDevice::Disk,
        // 8: a remote CD.
        BootSource::Cdrom | BootSource::Other(8) => BootDevice::Cdrom,
        BootSource::Setup => BootDevice::Bios,
        BootSource::Other(_) => {
            return Err(Failure::Unsupported("its boot override points at a device that has no name here"));
        }
    };
    let mode = if flags.efi { BootMode::Uefi } else { BootMode::Bios };
    Ok(BootSetting { device, persistent: flags.persistent, mode: Some(mode) })
}

pub(super) async fn set(bmc: &mut Connection, wanted: BootSetting) -> Result<(), Failure> {
    let source = match wanted.device {
        BootDevice::Pxe => BootSource::Pxe,
        BootDevice::Disk => BootSource::Disk,
        BootDevice::Cdrom => BootSource::Cdrom,
        BootDevice::Bios => BootSource::Setup,
        BootDevice::None => BootSource::None,
    };
    let efi = match wanted.mode {
        Some(mode) => mode == BootMode::Uefi,
        // Keep what it has; a BMC that cannot say has its firmware's default.
        None => match flags(bmc).await {
            Ok(flags) => flags.efi,
            Err(failure) if failure.ends_session() => return Err(failure),
            Err(_) => false,
        },
    };
    let flags = BootFlags { valid: true, persistent: wanted.persistent && source != BootSource::None, efi, source };

    // What a BMC need not know comes first; without the third one the override is gone after 60 seconds.
    let option = |parameter: u8, data: &[u8]| SetBootOption { parameter, data: data.to_vec() };
    bmc.ask_optional(&option(SET_IN_PROGRESS, &[1])).await?;
    bmc.ask_optional(&option(FLAG_VALID_CLEARING, &[DISABLE_BOOT_FLAG_EXPIRY])).await?;
    bmc.ask_optional(&option(INFO_ACKNOWLEDGE, &[1, 1])).await?;
    let result = bmc.ask(&option(FLAGS, &flags.encode())).await;
    if result.as_ref().is_err_and(Failure::ends_session) {
        return result;
    }
    bmc.ask_optional(&option(SET_IN_PROGRESS, &[0])).await?;
    result?;
    verify(bmc, flags).await
}

/// Reads back what was set. A BMC that shows another device has not done it; one that forgets the valid or the
/// persistent bit has done it for the next boot.
async fn verify(bmc: &mut Connection, wanted: BootFlags) -> Result<(), Failure> {
    let shown = match flags(bmc).await {
        Ok(shown) => shown,
        Err(failure) if failure.ends_session() => return Err(failure),
        // It cannot be asked: its word that it was set must do.
        Err(_) => return Ok(()),
    };
    if wanted.source == BootSource::None {
        let gone = shown.source == BootSource::None || !shown.valid;
        return if gone {
            Ok(())
        } else {
            Err(Failure::Nonsense("it accepted to clear the boot override and still has it"))
        };
    }
    if shown.source != wanted.source {
        return Err(Failure::Nonsense("it accepted the boot override and does not have it"));
    }
    bmc.target().forgets_valid_bit.store(!shown.valid, Ordering::Relaxed);
    if shown.persistent != wanted.persistent {
        tracing::warn!(bmc = %bmc.target(), "the BMC keeps no boot override for longer than one boot");
    }
    if shown.efi != wanted.efi {
        tracing::warn!(bmc = %bmc.target(), "the BMC keeps no firmware mode with a boot override");
    }
    Ok(())
}
