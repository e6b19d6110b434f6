//! From the service root to the resources that the driver needs, by their links.

use super::session::{ROOT, Session};
use crate::bmc::{BmcError, Identity};
use leasehold_protocols::redfish::{Collection, ComputerSystem, Manager, ServiceRoot, choose_system, error_sentence};
use serde_json::{Value, json};

/// Pages of one collection that are read; a BMC that links them in a circle comes to an end here.
pub(super) const MOST_PAGES: usize = 50;

impl Session {
    /// The machine, and the entity tag to change it with.
    pub(super) async fn system(&mut self) -> Result<(ComputerSystem, Option<String>), BmcError> {
        let path = self.system_path().await?;
        let (system, header) = self.get::<ComputerSystem>(&path).await?;
        let etag = header.or_else(|| system.etag().map(str::to_owned));
        Ok((system, etag))
    }

    /// The path of the machine among the BMC's systems.
    pub(super) async fn system_path(&mut self) -> Result<String, BmcError> {
        if let Some(path) = &self.system_path {
            return Ok(path.clone());
        }
        let root = self.root().await?;
        let Some(systems) = root.systems.path().map(str::to_owned) else {
            return Err(self.endpoint.protocol(format!("{ROOT} names no systems: is this a BMC?")));
        };
        let members = self.members(&systems).await?;
        let chosen = choose_system(&members, self.system_id.as_deref())
            .map_err(|why| self.endpoint.unsupported(why.to_string()))?;
        let path = self.endpoint.path_of(chosen)?;
        self.system_path = Some(path.clone());
        Ok(path)
    }

    /// The links of all members of a collection.
    pub(super) async fn members(&mut self, link: &str) -> Result<Vec<String>, BmcError> {
        let mut members = Vec::new();
        let mut page = Some(link.to_owned());
        for _ in 0..MOST_PAGES {
            let Some(link) = page else { break };
            let (collection, _) = self.get::<Collection>(&link).await?;
            members.extend(collection.links().map(str::to_owned));
            page = collection.next().map(str::to_owned);
        }
        Ok(members)
    }

    /// The BMC that manages this system: the one it names, else the first.
    pub(super) async fn manager(&mut self, system: &ComputerSystem) -> Result<Option<Manager>, BmcError> {
        let named = system.links.managed_by.iter().find_map(|link| link.path()).map(str::to_owned);
        let link = match named {
            Some(link) => Some(link),
            None => match self.root().await?.managers.path().map(str::to_owned) {
                Some(collection) => {
                    optional(self.members(&collection).await)?.and_then(|links| links.into_iter().next())
                }
                None => None,
            },
        };
        match link {
            Some(link) => Ok(optional(self.get::<Manager>(&link).await)?.map(|(manager, _)| manager)),
            None => Ok(None),
        }
    }

    pub(super) async fn identity(&mut self) -> Result<Identity, BmcError> {
        let (system, _) = self.system().await?;
        let manager = self.manager(&system).await?;
        let root: ServiceRoot = self.root().await?;
        Ok(Identity {
            manufacturer: telling(system.manufacturer).or_else(|| telling(root.vendor)),
            model: telling(system.model).or_else(|| telling(system.sku)),
            serial: telling(system.serial_number),
            system_uuid: telling(system.uuid).map(|uuid| uuid.to_ascii_lowercase()),
            bmc_firmware: telling(manager.and_then(|manager| manager.firmware_version)),
            bios_version: telling(system.bios_version),
        })
    }
}

/// A text that tells something: not what a board maker leaves in place of a value.
fn telling(text: Option<String>) -> Option<String> {
    const EMPTY: [&str; 7] =
        ["", "none", "n/a", "not specified", "default string", "to be filled by o.e.m.", "to be filled by oem"];
    text.map(|text| text.trim().to_owned()).filter(|text| !EMPTY.contains(&text.to_ascii_lowercase().as_str()))
}

/// What a list of messages says, as a sentence.
pub(super) fn said(messages: Option<&Value>) -> Option<String> {
    let messages = messages.filter(|messages| messages.as_array().is_some_and(|list| !list.is_empty()))?;
    error_sentence(json!({"error": {"@Message.ExtendedInfo": messages}}).to_string().as_bytes())
}

/// For what a BMC may lack or do badly without being useless: only the errors that concern every request remain.
pub(super) fn optional<T>(result: Result<T, BmcError>) -> Result<Option<T>, BmcError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(BmcError::Protocol { .. } | BmcError::Refused { .. } | BmcError::Unsupported { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
