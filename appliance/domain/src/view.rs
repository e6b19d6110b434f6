//! The state as decisions read it: shared immutable rows and the indices over them.
//!
//! A [`View`] is a persistent structure: a clone costs a few pointers, so that each decision of a batch can see what
//! the ones before it changed, and a reader keeps a snapshot as long as he likes. [`View::apply`] is the one place
//! where rows and indices change together; the store calls it at start for each row and after each decision.

mod nodes;

pub use nodes::NodeTable;

use crate::address::{Binding, ClientKey};
use crate::facet::Facets;
use crate::hardware::{Catalogue, HardwareRow};
use crate::id::{ImageId, JobId, NodeId, PortId};
use crate::identity::{Directory, IdentityRow};
use crate::image::{Checksum, Image};
use crate::job::Job;
use crate::lease::{Book, LeaseRow};
use crate::mac::Mac;
use crate::network::{NetworkRow, Plane};
use crate::node::Node;
use crate::notice::{NoticeRow, Notices};
use crate::port::Port;
use crate::rows::Rows;
use imbl::{OrdMap, OrdSet};
use jiff::Timestamp;
use serde_json::Value;
use std::net::Ipv4Addr;
use std::sync::Arc;
use uuid::Uuid;

/// One row that is to be as given from now on, or gone.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    PutNode(Arc<Node>),
    DeleteNode(NodeId),
    PutPort(Arc<Port>),
    DeletePort(PortId),
    PutJob(Arc<Job>),
    PutImage(Arc<Image>),
    DeleteImage(ImageId),
    Identity(Rows<IdentityRow>),
    Network(Rows<NetworkRow>),
    Hardware(Rows<HardwareRow>),
    Lease(Rows<LeaseRow>),
    Notice(Rows<NoticeRow>),
    PutBinding(Arc<Binding>),
    DeleteBinding(Ipv4Addr),
    /// What an inspection found; on disk only, read when somebody asks.
    PutInventory(NodeId, Arc<Value>),
    DeleteInventory(NodeId),
}

/// A snapshot of all live rows.
#[derive(Clone, Debug, Default)]
pub struct View {
    nodes: OrdMap<NodeId, Arc<Node>>,
    node_names: OrdMap<String, NodeId>,
    node_instances: OrdMap<Uuid, NodeId>,
    /// Nodes in the order of their creation: what lists page over.
    node_order: OrdSet<(Timestamp, NodeId)>,
    node_facets: Facets,
    ports: OrdMap<PortId, Arc<Port>>,
    port_macs: OrdMap<Mac, PortId>,
    port_names: OrdMap<String, PortId>,
    node_ports: OrdSet<(NodeId, PortId)>,
    /// Ports in the order of their creation.
    port_order: OrdSet<(Timestamp, PortId)>,
    /// Running jobs, and the last one of each node.
    jobs: OrdMap<JobId, Arc<Job>>,
    node_jobs: OrdMap<NodeId, JobId>,
    images: OrdMap<ImageId, Arc<Image>>,
    /// Tenants call their images as they like: names are not unique.
    image_names: OrdSet<(String, ImageId)>,
    /// By the hex of the given file's digest; the same file may be known more than once.
    image_digests: OrdSet<(String, ImageId)>,
    bindings: OrdMap<Ipv4Addr, Arc<Binding>>,
    /// A client's bindings, the newest last.
    binding_clients: OrdSet<(ClientKey, Timestamp, Ipv4Addr)>,
    /// Projects, roles and whatever else says who somebody is.
    pub identity: Directory,
    /// Private networks, their subnets and ports.
    pub network: Plane,
    /// Chassis, allocations and the like.
    pub hardware: Catalogue,
    /// Offers and leases that are not over.
    pub lease: Book,
    /// Webhooks, and how far they were told.
    pub notices: Notices,
}

impl View {
    pub fn node(&self, id: NodeId) -> Option<&Arc<Node>> {
        self.nodes.get(&id)
    }

    pub fn node_by_name(&self, name: &str) -> Option<&Arc<Node>> {
        self.node_names.get(name).and_then(|id| self.nodes.get(id))
    }

    pub fn node_by_instance(&self, instance: Uuid) -> Option<&Arc<Node>> {
        self.node_instances.get(&instance).and_then(|id| self.nodes.get(id))
    }

    pub fn port(&self, id: PortId) -> Option<&Arc<Port>> {
        self.ports.get(&id)
    }

    pub fn port_by_mac(&self, mac: Mac) -> Option<&Arc<Port>> {
        self.port_macs.get(&mac).and_then(|id| self.ports.get(id))
    }

    pub fn port_by_name(&self, name: &str) -> Option<&Arc<Port>> {
        self.port_names.get(name).and_then(|id| self.ports.get(id))
    }

    /// The node whose port has this MAC address.
    pub fn node_by_mac(&self, mac: Mac) -> Option<&Arc<Node>> {
        self.port_by_mac(mac).and_then(|port| self.nodes.get(&port.settings.node))
    }

    pub fn ports(&self) -> impl Iterator<Item = &Arc<Port>> {
        self.ports.values()
    }

    /// All ports, oldest first, from the one after `after` on.
    pub fn ports_after(&self, after: Option<PortId>) -> impl Iterator<Item = &Arc<Port>> {
        use std::ops::Bound;
        let start = after.and_then(|id| self.ports.get(&id)).map(|port| (port.created_at, port.id));
        let from = start.map_or(Bound::Unbounded, Bound::Excluded);
        self.port_order.range((from, Bound::Unbounded)).filter_map(|(_, id)| self.ports.get(id))
    }

    pub fn ports_of(&self, node: NodeId) -> impl Iterator<Item = &Arc<Port>> {
        let range = (node, PortId(Uuid::nil()))..=(node, PortId(Uuid::max()));
        self.node_ports.range(range).filter_map(|(_, id)| self.ports.get(id))
    }

    pub fn job(&self, id: JobId) -> Option<&Arc<Job>> {
        self.jobs.get(&id)
    }

    /// The job that holds the node now.
    pub fn running_job(&self, node: &Node) -> Option<&Arc<Job>> {
        node.job.and_then(|id| self.jobs.get(&id))
    }

    /// The job that holds the node, or the last one that did.
    pub fn last_job(&self, node: NodeId) -> Option<&Arc<Job>> {
        self.node_jobs.get(&node).and_then(|id| self.jobs.get(id))
    }

    /// All running jobs, and the last one of each node.
    pub fn jobs(&self) -> impl Iterator<Item = &Arc<Job>> {
        self.jobs.values()
    }

    pub fn image(&self, id: ImageId) -> Option<&Arc<Image>> {
        self.images.get(&id)
    }

    pub fn images(&self) -> impl Iterator<Item = &Arc<Image>> {
        self.images.values()
    }

    /// All images of this name.
    pub fn images_by_name(&self, name: &str) -> impl Iterator<Item = &Arc<Image>> {
        let range = (name.to_owned(), ImageId(Uuid::nil()))..=(name.to_owned(), ImageId(Uuid::max()));
        self.image_names.range(range).filter_map(|(_, id)| self.images.get(id))
    }

    /// The box's own image of this name: those have unique names.
    pub fn image_by_name(&self, name: &str) -> Option<&Arc<Image>> {
        self.images_by_name(name).find(|image| image.card.owner.is_none())
    }

    /// All images whose file has this digest, in whatever state.
    pub fn images_by_checksum(&self, checksum: &Checksum) -> impl Iterator<Item = &Arc<Image>> {
        let range = (checksum.hex.clone(), ImageId(Uuid::nil()))..=(checksum.hex.clone(), ImageId(Uuid::max()));
        self.image_digests.range(range).filter_map(|(_, id)| self.images.get(id))
    }

    /// A usable image of the box's own whose file had this digest. Who knows the digest of a project's image has no
    /// right to the image by that.
    pub fn image_by_checksum(&self, checksum: &Checksum) -> Option<&Arc<Image>> {
        let usable = |image: &&Arc<Image>| image.card.owner.is_none() && image.check_usable().is_ok();
        self.images_by_checksum(checksum).find(usable)
    }

    pub fn binding(&self, address: Ipv4Addr) -> Option<&Arc<Binding>> {
        self.bindings.get(&address)
    }

    /// The newest binding of this client.
    pub fn binding_of(&self, client: &ClientKey) -> Option<&Arc<Binding>> {
        let from = (client.clone(), Timestamp::MIN, Ipv4Addr::UNSPECIFIED);
        let until = (client.clone(), Timestamp::MAX, Ipv4Addr::BROADCAST);
        self.binding_clients.range(from..=until).next_back().and_then(|(_, _, address)| self.bindings.get(address))
    }

    pub fn bindings(&self) -> impl Iterator<Item = &Arc<Binding>> {
        self.bindings.values()
    }

    /// Makes one row as it is to be, and every index that knows of it.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::PutNode(node) => self.put_node(node),
            Change::DeleteNode(id) => self.delete_node(*id),
            Change::PutPort(port) => self.put_port(port),
            Change::DeletePort(id) => self.forget_port(*id),
            Change::PutJob(job) => self.put_job(job),
            Change::PutImage(image) => self.put_image(image),
            Change::DeleteImage(id) => self.forget_image(*id),
            Change::Identity(change) => self.identity.apply(change),
            Change::Network(change) => self.network.apply(change),
            Change::Hardware(change) => self.hardware.apply(change),
            Change::Lease(change) => self.lease.apply(change),
            Change::Notice(change) => self.notices.apply(change),
            Change::PutBinding(binding) => self.put_binding(binding),
            Change::DeleteBinding(address) => self.forget_binding(*address),
            Change::PutInventory(..) | Change::DeleteInventory(_) => {}
        }
    }

    fn put_port(&mut self, port: &Arc<Port>) {
        self.forget_port(port.id);
        self.port_macs.insert(port.settings.address, port.id);
        if let Some(name) = &port.settings.name {
            self.port_names.insert(name.clone(), port.id);
        }
        self.node_ports.insert((port.settings.node, port.id));
        self.port_order.insert((port.created_at, port.id));
        self.ports.insert(port.id, port.clone());
    }

    fn forget_port(&mut self, id: PortId) {
        let Some(old) = self.ports.remove(&id) else { return };
        self.port_macs.remove(&old.settings.address);
        if let Some(name) = &old.settings.name {
            self.port_names.remove(name);
        }
        self.node_ports.remove(&(old.settings.node, id));
        self.port_order.remove(&(old.created_at, id));
    }

    /// A node's newest job stays for its timeline; an older one that has ended leaves memory (it is still on disk).
    fn put_job(&mut self, job: &Arc<Job>) {
        let newest = self.node_jobs.get(&job.node).and_then(|id| self.jobs.get(id)).cloned();
        let is_newest = newest.as_ref().is_none_or(|other| other.generation <= job.generation);
        if is_newest {
            if let Some(other) = newest.filter(|other| other.id != job.id && !other.is_running()) {
                self.jobs.remove(&other.id);
            }
            self.node_jobs.insert(job.node, job.id);
        }
        if is_newest || job.is_running() {
            self.jobs.insert(job.id, job.clone());
        } else {
            self.jobs.remove(&job.id);
        }
    }

    fn put_image(&mut self, image: &Arc<Image>) {
        self.forget_image(image.id);
        if let Some(name) = &image.name {
            self.image_names.insert((name.clone(), image.id));
        }
        if let Some(checksum) = &image.checksum {
            self.image_digests.insert((checksum.hex.clone(), image.id));
        }
        self.images.insert(image.id, image.clone());
    }

    fn forget_image(&mut self, id: ImageId) {
        let Some(old) = self.images.remove(&id) else { return };
        if let Some(name) = &old.name {
            self.image_names.remove(&(name.clone(), id));
        }
        if let Some(checksum) = &old.checksum {
            self.image_digests.remove(&(checksum.hex.clone(), id));
        }
    }

    fn put_binding(&mut self, binding: &Arc<Binding>) {
        self.forget_binding(binding.address);
        if let Some(client) = binding.client() {
            self.binding_clients.insert((client.clone(), binding.since, binding.address));
        }
        self.bindings.insert(binding.address, binding.clone());
    }

    fn forget_binding(&mut self, address: Ipv4Addr) {
        let Some(old) = self.bindings.remove(&address) else { return };
        if let Some(client) = old.client() {
            self.binding_clients.remove(&(client.clone(), old.since, address));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::NodeSettings;

    fn node(number: u128, name: &str) -> Arc<Node> {
        let settings = NodeSettings { name: Some(name.into()), ..NodeSettings::default() };
        Arc::new(Node::enrolled(NodeId(Uuid::from_u128(number)), settings, Timestamp::UNIX_EPOCH))
    }

    #[test]
    fn a_renamed_node_is_found_by_its_new_name_only() {
        let mut view = View::default();
        view.apply(&Change::PutNode(node(1, "old")));
        view.apply(&Change::PutNode(node(1, "new")));
        assert!(view.node_by_name("old").is_none());
        assert_eq!(view.node_by_name("new").map(|node| node.id), Some(NodeId(Uuid::from_u128(1))));
    }

    #[test]
    fn a_snapshot_does_not_change() {
        let mut view = View::default();
        view.apply(&Change::PutNode(node(1, "one")));
        let snapshot = view.clone();
        view.apply(&Change::DeleteNode(NodeId(Uuid::from_u128(1))));
        assert_eq!((snapshot.node_count(), view.node_count()), (1, 0));
    }

    #[test]
    fn a_client_that_gives_one_address_back_still_has_the_other() {
        use crate::address::Hold;
        let client = ClientKey::Identifier(vec![1, 2, 3]);
        let binding = |last: u8, seconds: i64| Binding {
            address: Ipv4Addr::new(10, 0, 0, last),
            hold: Hold::Bound { client: client.clone(), mac: Mac([2, 0, 0, 0, 0, 1]) },
            since: Timestamp::from_second(seconds).expect("a time"),
            expires: Timestamp::MAX,
        };
        let mut view = View::default();
        for (last, seconds) in [(9, 1), (5, 2)] {
            view.apply(&Change::PutBinding(Arc::new(binding(last, seconds))));
        }
        let of = |view: &View| view.binding_of(&client).map(|binding| binding.address.octets()[3]);
        assert_eq!(of(&view), Some(5));
        view.apply(&Change::DeleteBinding(Ipv4Addr::new(10, 0, 0, 5)));
        assert_eq!(of(&view), Some(9));
    }

    #[test]
    fn pages_go_on_after_a_marker() {
        let mut view = View::default();
        for number in 1..=3 {
            view.apply(&Change::PutNode(node(number, &format!("n{number}"))));
        }
        let page: Vec<_> = view.nodes_after(Some(NodeId(Uuid::from_u128(1)))).map(|node| node.id.0.as_u128()).collect();
        assert_eq!(page, [2, 3]);
    }
}
