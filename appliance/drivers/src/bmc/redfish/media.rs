//! Virtual drives: taking out what is in them.

use super::service::optional;
use super::session::Session;
use crate::bmc::BmcError;
use leasehold_protocols::redfish::{Eject, MediaHome, VirtualMedia};
use serde_json::json;

/// Virtual drives that are looked at.
const MOST_DRIVES: usize = 16;

impl Session {
    /// Takes the images out of all virtual drives, or of those of this kind. Nothing in them is as good.
    pub(super) async fn eject_media(&mut self, kind: Option<&str>) -> Result<(), BmcError> {
        let drives = self.virtual_drives().await?;
        if drives.is_empty() {
            return Err(self.endpoint.unsupported("it shows no virtual drives"));
        }
        let meant = |drive: &VirtualMedia| kind.is_none_or(|kind| drive.is_a(kind));
        if let (Some(kind), false) = (kind, drives.iter().any(|(_, drive, _)| meant(drive))) {
            return Err(self.endpoint.unsupported(format!("it has no virtual drive of the kind {kind:?}")));
        }
        for (path, drive, etag) in drives.iter().filter(|(_, drive, _)| meant(drive) && drive.is_inserted()) {
            match drive.eject() {
                Eject::Action(target) => self.post(&target, &json!({})).await?,
                Eject::Patch(body) => self.patch(path, &body, etag.as_deref()).await?,
            }
        }
        Ok(())
    }

    /// The drives of the BMC that manages the system; newer ones keep them at the system itself.
    async fn virtual_drives(&mut self) -> Result<Vec<(String, VirtualMedia, Option<String>)>, BmcError> {
        let (system, _) = self.system().await?;
        let mut homes = vec![self.system_path().await?];
        homes.extend(system.links.managed_by.iter().filter_map(|link| link.path()).map(str::to_owned));
        let mut drives = Vec::new();
        for home in homes {
            let Some((home, _)) = optional(self.get::<MediaHome>(&home).await)? else { continue };
            let Some(collection) = home.virtual_media.path() else { continue };
            let members = optional(self.members(collection).await)?.unwrap_or_default();
            for link in members.into_iter().take(MOST_DRIVES) {
                if let Some((drive, header)) = optional(self.get::<VirtualMedia>(&link).await)? {
                    let etag = header.or_else(|| drive.odata_etag.clone());
                    drives.push((link, drive, etag));
                }
            }
            if !drives.is_empty() {
                break;
            }
        }
        Ok(drives)
    }
}
