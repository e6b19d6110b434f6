//! The settings of the firmware, with what their registry says about them.

use super::service::optional;
use super::session::Session;
use crate::bmc::BmcError;
use crate::bmc::features::BiosSetting;
use leasehold_protocols::redfish::{AttributeRegistry, Bios, RegistryFile, SystemParts, same_registry};

/// Registry files that are opened one by one, where none is named like the registry.
const MOST_REGISTRIES: usize = 40;

impl Session {
    pub(super) async fn bios_settings(&mut self) -> Result<Vec<BiosSetting>, BmcError> {
        let link = self.bios_path().await?;
        let (bios, _) = self.get::<Bios>(&link).await?;
        self.explained(&bios).await
    }

    /// The resource with the settings that are in force.
    pub(super) async fn bios_path(&mut self) -> Result<String, BmcError> {
        let path = self.system_path().await?;
        let (parts, _) = self.get::<SystemParts>(&path).await?;
        let none = || self.endpoint.unsupported("it shows no BIOS settings of this machine");
        parts.bios.path().map(str::to_owned).ok_or_else(none)
    }

    /// The settings with what their registry says, where there is one.
    pub(super) async fn explained(&mut self, bios: &Bios) -> Result<Vec<BiosSetting>, BmcError> {
        let registry = match bios.attribute_registry.clone() {
            Some(name) => self.registry(&name).await?,
            None => None,
        };
        Ok(bios.explained(registry.as_ref()))
    }

    /// The registry with this id. A BMC that has none, or a broken one, still has its settings.
    async fn registry(&mut self, name: &str) -> Result<Option<AttributeRegistry>, BmcError> {
        let Some(collection) = self.root().await?.registries.path().map(str::to_owned) else { return Ok(None) };
        let mut files = optional(self.members(&collection).await)?.unwrap_or_default();
        // The one that is named like it comes first.
        files.sort_by_key(|link| !same_registry(last_segment(link), name));
        for link in files.into_iter().take(MOST_REGISTRIES) {
            let Some((file, _)) = optional(self.get::<RegistryFile>(&link).await)? else { continue };
            if let (true, Some(path)) = (file.is(name), file.path()) {
                return Ok(optional(self.get::<AttributeRegistry>(path).await)?.map(|(registry, _)| registry));
            }
        }
        Ok(None)
    }
}

fn last_segment(link: &str) -> &str {
    link.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}
