//! Secure boot: whether the firmware checks what it starts.

use super::service::optional;
use super::session::Session;
use crate::bmc::BmcError;
use leasehold_protocols::redfish::{FirmwareMode, SecureBoot, SystemParts, override_in_force};
use serde_json::json;

/// How often a change that does not show is looked for before the BMC is taken to have forgotten it.
const READ_BACKS: usize = 4;

impl Session {
    pub(super) async fn secure_boot(&mut self) -> Result<Option<bool>, BmcError> {
        let (_, resource, _) = self.secure_boot_resource().await?;
        Ok(resource.secure_boot_enable)
    }

    /// Changes it unless it is so already. A machine in legacy mode has no secure boot to switch on.
    pub(super) async fn set_secure_boot(&mut self, on: bool) -> Result<(), BmcError> {
        let (path, resource, etag) = self.secure_boot_resource().await?;
        if resource.secure_boot_enable == Some(on) {
            return Ok(());
        }
        let (system, _) = self.system().await?;
        if on && override_in_force(&system.boot).mode == Some(FirmwareMode::Legacy) {
            let why = "secure boot needs UEFI, and the machine starts in legacy mode: set its boot mode to uefi first";
            return Err(self.endpoint.unsupported(why));
        }
        self.patch(&path, &json!({"SecureBootEnable": on}), etag.as_deref()).await?;
        for attempt in 0..READ_BACKS {
            if attempt > 0 {
                tokio::time::sleep(self.limits.pause).await;
            }
            if self.secure_boot().await? == Some(on) {
                return Ok(());
            }
        }
        let word = if on { "on" } else { "off" };
        Err(self.endpoint.protocol(format!(
            "it took the change of secure boot to {word} and does not show it: some change it at the next start; power \
             the machine off and on, and ask again"
        )))
    }

    /// The resource that takes the change: its settings, where it has some.
    async fn secure_boot_resource(&mut self) -> Result<(String, SecureBoot, Option<String>), BmcError> {
        let path = self.system_path().await?;
        let (parts, _) = self.get::<SystemParts>(&path).await?;
        let Some(link) = parts.secure_boot.path().map(str::to_owned) else {
            return Err(self.endpoint.unsupported("it shows no secure boot of this machine"));
        };
        let (resource, header) = self.get::<SecureBoot>(&link).await?;
        if let Some(pending) = resource.settings.settings_object.path().map(str::to_owned)
            && let Some((settings, header)) = optional(self.get::<SecureBoot>(&pending).await)?
            && settings.secure_boot_enable.is_some()
        {
            let etag = header.or_else(|| settings.odata_etag.clone());
            return Ok((pending, settings, etag));
        }
        let etag = header.or_else(|| resource.odata_etag.clone());
        Ok((link, resource, etag))
    }
}
