//! Trunks: a port is of one trunk, a tag stands for one network in it.

use super::same_revision;
use crate::command::Answer;
use crate::decide::Room;
use crate::id::TrunkId;
use crate::network::{NetworkKey, NetworkRow, Trunk, TrunkSettings, vif_of};
use crate::refusal::Refusal;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Networks of one trunk beside its own.
const MOST_SUBPORTS: usize = 128;

impl Room<'_> {
    fn trunk_of(&self, id: TrunkId) -> Result<Arc<Trunk>, Refusal> {
        let found = self.view.network.trunk(id).cloned();
        found.ok_or_else(|| Refusal::NotFound { what: "Trunk", name: id.to_string() })
    }

    fn check_trunk(&self, id: TrunkId, settings: &TrunkSettings) -> Result<(), Refusal> {
        settings.about.check()?;
        if settings.subports.len() > MOST_SUBPORTS {
            return Err(Refusal::Invalid(format!("A trunk has at most {MOST_SUBPORTS} subports.")));
        }
        let mut seen = BTreeSet::new();
        for port in settings.ports() {
            self.tenant_port(port)?;
            let elsewhere = self.view.network.trunk_with(port).is_some_and(|trunk| trunk.id != id);
            if elsewhere || !seen.insert(port) {
                return Err(Refusal::InUse(format!("Port {port} is currently in use by a trunk already.")));
            }
        }
        let mut tags = BTreeSet::new();
        for subport in &settings.subports {
            if !(1..=4094).contains(&subport.tag) {
                return Err(Refusal::Invalid(format!("segmentation_id {} is no VLAN: 1 to 4094.", subport.tag)));
            }
            if !tags.insert(subport.tag) {
                return Err(Refusal::InUse(format!(
                    "segmentation_type vlan and segmentation_id {} already in use on trunk {id}.",
                    subport.tag
                )));
            }
        }
        Ok(())
    }

    pub(super) fn create_trunk(&mut self, id: TrunkId, settings: &TrunkSettings) -> Result<Answer, Refusal> {
        if self.view.network.trunk(id).is_some() {
            return Err(Refusal::Exists { what: "A trunk with UUID", name: id.to_string() });
        }
        self.check_trunk(id, settings)?;
        let trunk = self.begun(id, settings.clone());
        Ok(self.put_network_row(NetworkRow::Trunk(trunk)))
    }

    pub(super) fn change_trunk(
        &mut self,
        id: TrunkId,
        revision: u64,
        settings: &TrunkSettings,
    ) -> Result<Answer, Refusal> {
        let old = self.trunk_of(id)?;
        same_revision("Trunk", id, old.revision, revision)?;
        if old.settings.port != settings.port || old.settings.about.project != settings.about.project {
            return Err(Refusal::Invalid("Cannot update read-only attribute of a trunk.".into()));
        }
        self.check_trunk(id, settings)?;
        let trunk = self.changed(&old, settings.clone());
        Ok(self.put_network_row(NetworkRow::Trunk(trunk)))
    }

    pub(super) fn delete_trunk(&mut self, id: TrunkId) -> Result<Answer, Refusal> {
        let trunk = self.trunk_of(id)?;
        let port = self.view.network.port(trunk.settings.port);
        if port.is_some_and(|port| vif_of(self.view, port).is_some()) {
            return Err(Refusal::InUse(format!("Trunk {id} is currently in use: its port is attached to a node.")));
        }
        self.delete_network_row(NetworkKey::Trunk(id));
        Ok(Answer::Done)
    }
}
