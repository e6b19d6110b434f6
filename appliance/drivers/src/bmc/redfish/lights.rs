//! The lights of the machine, its chassis and its drives.

use super::health::MOST_CHASSIS;
use super::service::optional;
use super::session::Session;
use crate::bmc::BmcError;
use crate::bmc::features::{Component, Indicator, Light, LightName};
use leasehold_protocols::redfish::{Lamp, Storage, SystemParts};

/// Storage controllers and drives that are looked at: each is a request.
const MOST_STORAGES: usize = 8;
const MOST_DRIVES: usize = 64;

/// A light that was found, and the resource that has it.
struct Found {
    light: LightName,
    path: String,
    lamp: Lamp,
    etag: Option<String>,
}

impl Session {
    pub(super) async fn indicators(&mut self) -> Result<Vec<Indicator>, BmcError> {
        let mut all = Vec::new();
        for component in [Component::Chassis, Component::System, Component::Disk] {
            all.extend(self.lights_of(component).await?);
        }
        let indicator = |found: Found| Indicator { choices: found.lamp.choices(), light: found.light };
        Ok(all.into_iter().map(indicator).collect())
    }

    pub(super) async fn indicator(&mut self, light: &LightName) -> Result<Light, BmcError> {
        Ok(self.light(light).await?.lamp.light().unwrap_or(Light::Unknown))
    }

    /// Reads it back: a light is for people who walk to it.
    pub(super) async fn set_indicator(&mut self, light: &LightName, state: Light) -> Result<(), BmcError> {
        let found = self.light(light).await?;
        if found.lamp.light() == Some(state) {
            return Ok(());
        }
        let Some(body) = found.lamp.patch(state) else {
            return Err(self.endpoint.unsupported(format!("the light {light} does not do that")));
        };
        self.patch(&found.path, &body, found.etag.as_deref()).await?;
        let (now, _) = self.get::<Lamp>(&found.path).await?;
        match now.light() {
            Some(shown) if shown == state => Ok(()),
            _ => Err(self.endpoint.protocol(format!("it took the change of the light {light} and does not show it"))),
        }
    }

    async fn light(&mut self, light: &LightName) -> Result<Found, BmcError> {
        let known = self.lights_of(light.component).await?;
        let names: Vec<_> = known.iter().map(|found| found.light.to_string()).collect();
        let found = known.into_iter().find(|found| found.light == *light);
        found.ok_or_else(|| {
            let known = if names.is_empty() { "none of that part".to_owned() } else { names.join(", ") };
            self.endpoint.unsupported(format!("there is no light {light}; known: {known}"))
        })
    }

    async fn lights_of(&mut self, component: Component) -> Result<Vec<Found>, BmcError> {
        match component {
            Component::System => {
                let path = self.system_path().await?;
                let (lamp, header) = self.get::<Lamp>(&path).await?;
                Ok(found(component, None, path, lamp, header).into_iter().collect())
            }
            Component::Chassis => {
                let (system, _) = self.system().await?;
                let mut lights = Vec::new();
                for link in self.chassis_of(&system).await?.into_iter().take(MOST_CHASSIS) {
                    if let Some((lamp, header)) = optional(self.get::<Lamp>(&link).await)? {
                        lights.extend(found(component, None, link, lamp, header));
                    }
                }
                Ok(lights)
            }
            Component::Disk => self.drive_lights().await,
        }
    }

    async fn drive_lights(&mut self) -> Result<Vec<Found>, BmcError> {
        let system = self.system_path().await?;
        let (parts, _) = self.get::<SystemParts>(&system).await?;
        let Some(collection) = parts.storage.path().map(str::to_owned) else { return Ok(Vec::new()) };
        let mut drives = Vec::new();
        for link in optional(self.members(&collection).await)?.unwrap_or_default().into_iter().take(MOST_STORAGES) {
            let Some((storage, _)) = optional(self.get::<Storage>(&link).await)? else { continue };
            let Some(id) = storage.id else { continue };
            drives.extend(storage.drives.iter().filter_map(|drive| Some((id.clone(), drive.path()?.to_owned()))));
        }
        let mut lights = Vec::new();
        for (storage, link) in drives.into_iter().take(MOST_DRIVES) {
            if let Some((lamp, header)) = optional(self.get::<Lamp>(&link).await)? {
                lights.extend(found(Component::Disk, Some(&storage), link, lamp, header));
            }
        }
        Ok(lights)
    }
}

/// `None` for a part without a light, or without a name.
fn found(
    component: Component,
    storage: Option<&str>,
    path: String,
    lamp: Lamp,
    header: Option<String>,
) -> Option<Found> {
    lamp.light()?;
    let name = match storage {
        // Drives have ids that are unique behind one controller only.
        Some(storage) => format!("{storage}:{}", lamp.id.as_deref()?),
        None => lamp.name()?.to_owned(),
    };
    let etag = header.or_else(|| lamp.etag().map(str::to_owned));
    Some(Found { light: LightName { name, component }, path, lamp, etag })
}
