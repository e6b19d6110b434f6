//! Attachments of networks' ports to nodes.
//!
//! They last until somebody detaches them, the node is given back, or one of the two goes; the port itself stays.

use crate::command::Answer;
use crate::decide::Room;
use crate::event::What;
use crate::id::{NodeId, TenantPortId};
use crate::network::{NetworkRow, Place, TenantPort, TenantPortSettings, may_attach, vif_of};
use crate::node::Node;
use crate::refusal::Refusal;
use std::sync::Arc;

impl Room<'_> {
    pub(super) fn attach_vif(
        &mut self,
        node: NodeId,
        port: TenantPortId,
        place: Option<Place>,
    ) -> Result<Answer, Refusal> {
        let node = self.node(node)?.clone();
        self.must_be_free(&node)?;
        let found = self.view.network.port(port).cloned();
        let port = found.ok_or_else(|| Refusal::Invalid(format!("Neutron port {port} not found.")))?;
        let place = may_attach(self.view, &node, &port, place)?;
        let settings = TenantPortSettings {
            attached: Some((node.id, place)),
            host: node.id.to_string(),
            vnic_type: "baremetal".into(),
            ..port.settings.clone()
        };
        // What was attached to this card and is no more there must not come back with it.
        if let Some(stale) = self.view.network.attached_to(place).cloned() {
            self.let_go(&stale);
        }
        let port = self.changed(&port, settings);
        self.tell(&node, What::VifAttached { vif: port.id.to_string() });
        Ok(self.put_network_row(NetworkRow::Port(port)))
    }

    pub(super) fn detach_vif(&mut self, node: NodeId, port: TenantPortId) -> Result<Answer, Refusal> {
        let node = self.node(node)?.clone();
        self.must_be_free(&node)?;
        let attached = |found: &Arc<TenantPort>| vif_of(self.view, found).is_some_and(|vif| vif.node.id == node.id);
        let found = self.view.network.port(port).filter(|found| attached(found)).cloned().ok_or_else(|| {
            Refusal::Invalid(format!(
                "Unable to detach VIF {port} from node {} because it is not attached to it.",
                node.id
            ))
        })?;
        self.let_go(&found);
        self.tell(&node, What::VifDetached { vif: port.to_string() });
        Ok(Answer::Done)
    }

    /// The node's user leaves it, or the node itself goes: nothing stays attached to it.
    pub(in crate::decide) fn detach_all(&mut self, node: &Node) {
        let ports: Vec<_> = self.view.network.ports_on(node.id).cloned().collect();
        for port in ports {
            self.let_go(&port);
            self.tell(node, What::VifDetached { vif: port.id.to_string() });
        }
    }

    fn let_go(&mut self, port: &TenantPort) {
        let settings = TenantPortSettings { attached: None, host: String::new(), ..port.settings.clone() };
        let port = self.changed(port, settings);
        self.put_network_row(NetworkRow::Port(port));
    }
}
