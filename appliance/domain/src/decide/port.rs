//! Ports: a MAC address belongs to one node only.

use super::Room;
use crate::command::Answer;
use crate::event::What;
use crate::id::PortId;
use crate::port::{Port, PortSettings};
use crate::refusal::Refusal;
use crate::view::Change;
use std::sync::Arc;

impl Room<'_> {
    fn port(&self, id: PortId) -> Result<&Arc<Port>, Refusal> {
        self.view.port(id).ok_or_else(|| Refusal::NotFound { what: "Port", name: id.to_string() })
    }

    fn check_port(&self, id: PortId, settings: &PortSettings) -> Result<(), Refusal> {
        self.node(settings.node)?;
        if settings.address.0[0] & 1 == 1 || settings.address.0 == [0; 6] {
            return Err(Refusal::Invalid(format!(
                "{} is not the address of one network card: it is zero or a group address.",
                settings.address
            )));
        }
        if self.view.port_by_mac(settings.address).is_some_and(|other| other.id != id) {
            return Err(Refusal::Exists { what: "A port with MAC address", name: settings.address.to_string() });
        }
        if let Some(name) = &settings.name
            && self.view.port_by_name(name).is_some_and(|other| other.id != id)
        {
            return Err(Refusal::Exists { what: "A port with name", name: name.clone() });
        }
        Ok(())
    }

    pub(super) fn create_port(&mut self, id: PortId, settings: &PortSettings) -> Result<Answer, Refusal> {
        if self.view.port(id).is_some() {
            return Err(Refusal::Exists { what: "A port with UUID", name: id.to_string() });
        }
        self.check_port(id, settings)?;
        let node = self.node(settings.node)?.clone();
        let port = Arc::new(Port {
            id,
            revision: 0,
            settings: settings.clone(),
            created_at: self.context.now,
            updated_at: None,
        });
        self.tell(&node, What::PortCreated { address: settings.address.to_string() });
        self.changes.push(Change::PutPort(port.clone()));
        Ok(Answer::Port(port))
    }

    pub(super) fn change_port(
        &mut self,
        id: PortId,
        revision: u64,
        settings: &PortSettings,
    ) -> Result<Answer, Refusal> {
        let old = self.port(id)?.clone();
        if old.revision != revision {
            return Err(Refusal::Conflict { what: "Port", name: id.to_string() });
        }
        self.check_port(id, settings)?;
        let node = self.node(old.settings.node)?.clone();
        if old.settings.address != settings.address || old.settings.node != settings.node {
            self.must_be_free(&node)?;
            let to = self.node(settings.node)?.clone();
            self.must_be_free(&to)?;
        }
        let port = Arc::new(Port {
            revision: old.revision + 1,
            settings: settings.clone(),
            updated_at: Some(self.context.now),
            ..(*old).clone()
        });
        self.tell(&node, What::PortChanged { address: settings.address.to_string() });
        self.changes.push(Change::PutPort(port.clone()));
        Ok(Answer::Port(port))
    }

    pub(super) fn delete_port(&mut self, id: PortId) -> Result<Answer, Refusal> {
        let port = self.port(id)?.clone();
        let node = self.node(port.settings.node)?.clone();
        self.must_be_free(&node)?;
        self.tell(&node, What::PortDeleted { address: port.settings.address.to_string() });
        self.changes.push(Change::DeletePort(id));
        Ok(Answer::Done)
    }
}
