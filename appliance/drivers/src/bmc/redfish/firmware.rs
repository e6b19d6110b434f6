//! Firmware versions: of the BIOS, the BMC and the network cards under Ironic's names, and of whatever else the update
//! service lists.

use super::health::MOST_CHASSIS;
use super::service::optional;
use super::session::Session;
use crate::bmc::BmcError;
use crate::bmc::features::FirmwareComponent;
use leasehold_protocols::redfish::{ChassisParts, Collection, NetworkAdapter, SoftwareInventory, UpdateService};

/// Network cards and parts of the inventory that are fetched one by one.
const MOST_PARTS: usize = 60;

impl Session {
    pub(super) async fn firmware(&mut self) -> Result<Vec<FirmwareComponent>, BmcError> {
        let (system, _) = self.system().await?;
        let manager = self.manager(&system).await?;
        let named = |component: &str, version: Option<String>, model: Option<String>| {
            let version = version.map(|version| version.trim().to_owned()).filter(|version| !version.is_empty())?;
            let component = component.to_owned();
            Some(FirmwareComponent { component, version, model, ..FirmwareComponent::default() })
        };
        let mut parts: Vec<_> = named("bios", system.bios_version.clone(), None).into_iter().collect();
        parts.extend(manager.and_then(|manager| named("bmc", manager.firmware_version, manager.model)));
        for link in self.chassis_of(&system).await?.into_iter().take(MOST_CHASSIS) {
            let Some((chassis, _)) = optional(self.get::<ChassisParts>(&link).await)? else { continue };
            let Some(adapters) = chassis.network_adapters.path() else { continue };
            let adapters = self.parts_of::<NetworkAdapter>(adapters).await?;
            parts.extend(adapters.iter().filter_map(NetworkAdapter::firmware));
        }
        parts.extend(self.inventory().await?);
        if parts.is_empty() {
            return Err(self.endpoint.unsupported("it tells no firmware versions of this machine"));
        }
        Ok(parts)
    }

    async fn inventory(&mut self) -> Result<Vec<FirmwareComponent>, BmcError> {
        let Some(service) = self.root().await?.update_service.path().map(str::to_owned) else { return Ok(Vec::new()) };
        let Some((service, _)) = optional(self.get::<UpdateService>(&service).await)? else { return Ok(Vec::new()) };
        let Some(inventory) = service.firmware_inventory.path() else { return Ok(Vec::new()) };
        let parts = self.parts_of::<SoftwareInventory>(inventory).await?;
        Ok(parts.iter().filter_map(SoftwareInventory::firmware).collect())
    }

    /// The members of a collection: in one request where the BMC can, else one by one.
    async fn parts_of<T: serde::de::DeserializeOwned>(&mut self, link: &str) -> Result<Vec<T>, BmcError> {
        let path = match self.root().await?.expand_query() {
            Some(query) if !link.contains('?') => format!("{link}?{query}"),
            _ => link.to_owned(),
        };
        let Some((collection, _)) = optional(self.get::<Collection>(&path).await)? else { return Ok(Vec::new()) };
        let mut parts = collection.inline::<T>();
        if parts.is_empty() {
            for link in collection.links().take(MOST_PARTS) {
                parts.extend(optional(self.get::<T>(link).await)?.map(|(part, _)| part));
            }
        }
        Ok(parts)
    }
}
