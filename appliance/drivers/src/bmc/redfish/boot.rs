//! The boot override, and the firmware mode that travels with it.

use super::service::optional;
use super::session::Session;
use crate::bmc::BmcError;
use leasehold_domain::power::{BootDevice, BootMode, BootSetting};
use leasehold_protocols::redfish::{
    Boot, BootRequest, ComputerSystem, ENABLED_CONTINUOUS, ENABLED_DISABLED, ENABLED_ONCE, FirmwareMode, Quirks,
    ReadBack, boot_patch, mode_patch, override_in_force, quirks_of, read_back,
};
use serde_json::Value;

/// How often a change that does not show is looked for before the BMC is taken at its word.
const READ_BACKS: usize = 4;

/// The resource that takes changes of the override, as it stands.
struct BootResource {
    path: String,
    boot: Boot,
    etag: Option<String>,
    quirks: Quirks,
}

impl Session {
    pub(super) async fn boot_device(&mut self) -> Result<BootSetting, BmcError> {
        let resource = self.boot_resource().await?;
        let shown = override_in_force(&resource.boot);
        let device = match shown.target {
            None => BootDevice::None,
            Some("Pxe" | "UefiHttp") => BootDevice::Pxe,
            Some("Hdd") => BootDevice::Disk,
            Some("Cd" | "UsbCd") => BootDevice::Cdrom,
            Some("BiosSetup") => BootDevice::Bios,
            Some(other) => {
                let detail = format!("its boot override is {other:?}, which has no name here: set another one");
                return Err(self.endpoint.unsupported(detail));
            }
        };
        Ok(BootSetting { device, persistent: shown.persistent, mode: shown.mode.map(mode_of) })
    }

    pub(super) async fn set_boot_device(&mut self, setting: BootSetting) -> Result<(), BmcError> {
        let resource = self.boot_resource().await?;
        let request = request_for(setting);
        let bodies = boot_patch(&resource.boot, request, &resource.quirks)
            .map_err(|why| self.endpoint.unsupported(why.to_string()))?;
        self.patch_with_one(&resource, &bodies).await?;
        self.confirm(request).await
    }

    /// The mode of the boots to come.
    pub(super) async fn boot_mode(&mut self) -> Result<Option<BootMode>, BmcError> {
        let resource = self.boot_resource().await?;
        Ok(override_in_force(&resource.boot).mode.map(mode_of))
    }

    /// Changes the mode unless it is there already. Nothing restarts the machine: a BMC that shows the new mode only
    /// after the next start is told so to the caller.
    pub(super) async fn set_boot_mode(&mut self, mode: BootMode) -> Result<(), BmcError> {
        let resource = self.boot_resource().await?;
        let (wanted, shown) = (firmware_mode(mode), override_in_force(&resource.boot).mode);
        if shown == Some(wanted) {
            return Ok(());
        }
        let bodies = mode_patch(&resource.boot, wanted).map_err(|why| self.endpoint.unsupported(why.to_string()))?;
        self.patch_with_one(&resource, &bodies).await?;
        for attempt in 0..READ_BACKS {
            if attempt > 0 {
                tokio::time::sleep(self.limits.pause).await;
            }
            let resource = self.boot_resource().await?;
            if override_in_force(&resource.boot).mode == Some(wanted) {
                return Ok(());
            }
        }
        let shown = shown.map_or("no mode", FirmwareMode::name);
        Err(self.endpoint.protocol(format!(
            "it took the change to {} mode and still shows {shown}: some change it at the next start; power the machine \
             off and on, and ask again",
            wanted.name()
        )))
    }

    /// Sends the first of the bodies that is not refused.
    async fn patch_with_one(&mut self, resource: &BootResource, bodies: &[Value]) -> Result<(), BmcError> {
        let mut outcome = Ok(());
        for body in bodies {
            outcome = self.patch(&resource.path, body, resource.etag.as_deref()).await;
            if !matches!(outcome, Err(BmcError::Refused { .. })) {
                break;
            }
        }
        outcome
    }

    /// Reads the override back: BMCs exist that accept and forget. Some need a moment to show it.
    async fn confirm(&mut self, request: BootRequest) -> Result<(), BmcError> {
        let mut difference = String::new();
        for attempt in 0..READ_BACKS {
            if attempt > 0 {
                tokio::time::sleep(self.limits.pause).await;
            }
            let resource = self.boot_resource().await?;
            match read_back(&resource.boot, request) {
                ReadBack::Same => return Ok(()),
                ReadBack::LastsLonger => {
                    if !resource.quirks.once_reads_as_continuous {
                        tracing::warn!(
                            bmc = %self.endpoint, device = request.target,
                            "the boot device was set for one boot, but the BMC shows it for every boot"
                        );
                    }
                    return Ok(());
                }
                ReadBack::Different(detail) => difference = detail,
            }
        }
        Err(self.endpoint.protocol(format!("it {difference}")))
    }

    /// The system, or the settings resource that takes its changes, where that has a boot override.
    async fn boot_resource(&mut self) -> Result<BootResource, BmcError> {
        let (system, etag) = self.system().await?;
        let quirks = quirks_of(self.root.as_ref(), Some(&system));
        if let Some(link) = system.settings.settings_object.path().map(str::to_owned)
            && let Some((settings, header)) = optional(self.get::<ComputerSystem>(&link).await)?
            && settings.boot.target.is_some()
        {
            let etag = header.or_else(|| settings.etag().map(str::to_owned));
            return Ok(BootResource { path: link, boot: settings.boot, etag, quirks });
        }
        Ok(BootResource { path: self.system_path().await?, boot: system.boot, etag, quirks })
    }
}

fn request_for(setting: BootSetting) -> BootRequest {
    let target = match setting.device {
        BootDevice::Pxe => "Pxe",
        BootDevice::Disk => "Hdd",
        BootDevice::Cdrom => "Cd",
        BootDevice::Bios => "BiosSetup",
        BootDevice::None => "None",
    };
    let enabled = match (setting.device, setting.persistent) {
        (BootDevice::None, _) => ENABLED_DISABLED,
        (_, true) => ENABLED_CONTINUOUS,
        (_, false) => ENABLED_ONCE,
    };
    BootRequest { target, enabled, mode: setting.mode.map(firmware_mode) }
}

fn mode_of(mode: FirmwareMode) -> BootMode {
    match mode {
        FirmwareMode::Uefi => BootMode::Uefi,
        FirmwareMode::Legacy => BootMode::Bios,
    }
}

fn firmware_mode(mode: BootMode) -> FirmwareMode {
    match mode {
        BootMode::Uefi => FirmwareMode::Uefi,
        BootMode::Bios => FirmwareMode::Legacy,
    }
}
