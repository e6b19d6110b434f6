//! The rows of this room and what they are found by.

use super::{Kind, Network, Place, Quota, Subnet, TenantPort, Trunk};
use crate::id::{NetworkId, NodeId, SubnetId, TenantPortId, TrunkId};
use crate::mac::Mac;
use crate::rows::{Row, RowKey, Rows, key_bytes};
use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use std::sync::Arc;
use uuid::Uuid;

/// A row of the network room.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum NetworkRow {
    Network(Arc<Network>),
    Subnet(Arc<Subnet>),
    Port(Arc<TenantPort>),
    Quota(Arc<Quota>),
    Trunk(Arc<Trunk>),
}

/// Which row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkKey {
    Network(NetworkId),
    Subnet(SubnetId),
    Port(TenantPortId),
    Quota(String),
    Trunk(TrunkId),
}

impl Row for NetworkRow {
    type Key = NetworkKey;

    fn key(&self) -> NetworkKey {
        match self {
            NetworkRow::Network(row) => NetworkKey::Network(row.id),
            NetworkRow::Subnet(row) => NetworkKey::Subnet(row.id),
            NetworkRow::Port(row) => NetworkKey::Port(row.id),
            NetworkRow::Quota(row) => NetworkKey::Quota(row.project.clone()),
            NetworkRow::Trunk(row) => NetworkKey::Trunk(row.id),
        }
    }
}

impl RowKey for NetworkKey {
    fn bytes(&self) -> Vec<u8> {
        match self {
            NetworkKey::Network(id) => key_bytes(1, &[id.0.as_bytes()]),
            NetworkKey::Subnet(id) => key_bytes(2, &[id.0.as_bytes()]),
            NetworkKey::Port(id) => key_bytes(3, &[id.0.as_bytes()]),
            NetworkKey::Quota(project) => key_bytes(4, &[project.as_bytes()]),
            NetworkKey::Trunk(id) => key_bytes(5, &[id.0.as_bytes()]),
        }
    }
}

/// All rows of the room, and the indices over them.
#[derive(Clone, Debug, Default)]
pub struct Plane {
    networks: OrdMap<NetworkId, Arc<Network>>,
    subnets: OrdMap<SubnetId, Arc<Subnet>>,
    network_subnets: OrdSet<(NetworkId, SubnetId)>,
    ports: OrdMap<TenantPortId, Arc<TenantPort>>,
    network_ports: OrdSet<(NetworkId, TenantPortId)>,
    macs: OrdMap<(NetworkId, Mac), TenantPortId>,
    addresses: OrdMap<(SubnetId, Ipv4Addr), TenantPortId>,
    /// What is attached where.
    places: OrdMap<Place, TenantPortId>,
    node_ports: OrdSet<(NodeId, TenantPortId)>,
    /// The addresses of attached ports, whatever their networks.
    attached_addresses: OrdSet<(Ipv4Addr, TenantPortId)>,
    quotas: OrdMap<String, Arc<Quota>>,
    trunks: OrdMap<TrunkId, Arc<Trunk>>,
    /// The trunk that a port is of, be it its own or a tagged one.
    trunk_ports: OrdMap<TenantPortId, TrunkId>,
    /// How many of a kind a project has.
    counts: OrdMap<(String, Kind), u64>,
}

fn ids_of<I: Copy + Ord>(
    of: I,
    first: TenantPortId,
    last: TenantPortId,
) -> std::ops::RangeInclusive<(I, TenantPortId)> {
    (of, first)..=(of, last)
}

const FIRST_PORT: TenantPortId = TenantPortId(Uuid::nil());
const LAST_PORT: TenantPortId = TenantPortId(Uuid::max());

impl Plane {
    pub fn network(&self, id: NetworkId) -> Option<&Arc<Network>> {
        self.networks.get(&id)
    }

    pub fn networks(&self) -> impl Iterator<Item = &Arc<Network>> {
        self.networks.values()
    }

    pub fn subnet(&self, id: SubnetId) -> Option<&Arc<Subnet>> {
        self.subnets.get(&id)
    }

    pub fn subnets(&self) -> impl Iterator<Item = &Arc<Subnet>> {
        self.subnets.values()
    }

    pub fn subnets_of(&self, network: NetworkId) -> impl Iterator<Item = &Arc<Subnet>> {
        let range = (network, SubnetId(Uuid::nil()))..=(network, SubnetId(Uuid::max()));
        self.network_subnets.range(range).filter_map(|(_, id)| self.subnets.get(id))
    }

    pub fn port(&self, id: TenantPortId) -> Option<&Arc<TenantPort>> {
        self.ports.get(&id)
    }

    pub fn ports(&self) -> impl Iterator<Item = &Arc<TenantPort>> {
        self.ports.values()
    }

    pub fn ports_of(&self, network: NetworkId) -> impl Iterator<Item = &Arc<TenantPort>> {
        self.network_ports.range(ids_of(network, FIRST_PORT, LAST_PORT)).filter_map(|(_, id)| self.ports.get(id))
    }

    /// The ports that are attached to this node.
    pub fn ports_on(&self, node: NodeId) -> impl Iterator<Item = &Arc<TenantPort>> {
        self.node_ports.range(ids_of(node, FIRST_PORT, LAST_PORT)).filter_map(|(_, id)| self.ports.get(id))
    }

    pub fn port_by_mac(&self, network: NetworkId, mac: Mac) -> Option<TenantPortId> {
        self.macs.get(&(network, mac)).copied()
    }

    pub fn port_by_address(&self, subnet: SubnetId, address: Ipv4Addr) -> Option<TenantPortId> {
        self.addresses.get(&(subnet, address)).copied()
    }

    /// Some port has an address of this subnet.
    pub fn has_addresses(&self, subnet: SubnetId) -> bool {
        let range = (subnet, Ipv4Addr::UNSPECIFIED)..=(subnet, Ipv4Addr::BROADCAST);
        self.addresses.range(range).next().is_some()
    }

    /// What is attached here.
    pub fn attached_to(&self, place: Place) -> Option<&Arc<TenantPort>> {
        self.places.get(&place).and_then(|id| self.ports.get(id))
    }

    /// Anything is attached anywhere.
    pub fn has_attachments(&self) -> bool {
        !self.places.is_empty()
    }

    /// The attached ports with this address.
    pub fn attached_with(&self, address: Ipv4Addr) -> impl Iterator<Item = &Arc<TenantPort>> {
        self.attached_addresses.range(ids_of(address, FIRST_PORT, LAST_PORT)).filter_map(|(_, id)| self.ports.get(id))
    }

    pub fn trunk(&self, id: TrunkId) -> Option<&Arc<Trunk>> {
        self.trunks.get(&id)
    }

    pub fn trunks(&self) -> impl Iterator<Item = &Arc<Trunk>> {
        self.trunks.values()
    }

    /// The trunk that this port is of.
    pub fn trunk_with(&self, port: TenantPortId) -> Option<&Arc<Trunk>> {
        self.trunk_ports.get(&port).and_then(|id| self.trunks.get(id))
    }

    /// What is set for this project in particular.
    pub fn quota(&self, project: &str) -> Option<&Arc<Quota>> {
        self.quotas.get(project)
    }

    pub fn quotas(&self) -> impl Iterator<Item = &Arc<Quota>> {
        self.quotas.values()
    }

    /// How many of a kind a project has.
    pub fn count(&self, project: &str, kind: Kind) -> u64 {
        self.counts.get(&(project.to_owned(), kind)).copied().unwrap_or(0)
    }

    /// Makes one row as it is to be, and every index that knows of it.
    pub fn apply(&mut self, change: &Rows<NetworkRow>) {
        self.forget(&change.key());
        match change {
            Rows::Put(NetworkRow::Network(row)) => {
                self.add(&row.settings.about.project, Kind::Network);
                self.networks.insert(row.id, row.clone());
            }
            Rows::Put(NetworkRow::Subnet(row)) => {
                self.add(&row.settings.about.project, Kind::Subnet);
                self.network_subnets.insert((row.settings.network, row.id));
                self.subnets.insert(row.id, row.clone());
            }
            Rows::Put(NetworkRow::Port(row)) => self.put_port(row),
            Rows::Put(NetworkRow::Quota(row)) => {
                self.quotas.insert(row.project.clone(), row.clone());
            }
            Rows::Put(NetworkRow::Trunk(row)) => {
                for port in row.settings.ports() {
                    self.trunk_ports.insert(port, row.id);
                }
                self.trunks.insert(row.id, row.clone());
            }
            Rows::Delete(_) => {}
        }
    }

    fn put_port(&mut self, row: &Arc<TenantPort>) {
        let settings = &row.settings;
        self.add(&settings.about.project, Kind::Port);
        self.network_ports.insert((settings.network, row.id));
        self.macs.insert((settings.network, settings.mac), row.id);
        for fixed in &settings.addresses {
            self.addresses.insert((fixed.subnet, fixed.address), row.id);
        }
        if let Some((node, place)) = settings.attached {
            self.places.insert(place, row.id);
            self.node_ports.insert((node, row.id));
            for fixed in &settings.addresses {
                self.attached_addresses.insert((fixed.address, row.id));
            }
        }
        self.ports.insert(row.id, row.clone());
    }

    fn forget(&mut self, key: &NetworkKey) {
        match key {
            NetworkKey::Network(id) => {
                if let Some(old) = self.networks.remove(id) {
                    self.subtract(&old.settings.about.project, Kind::Network);
                }
            }
            NetworkKey::Subnet(id) => {
                if let Some(old) = self.subnets.remove(id) {
                    self.subtract(&old.settings.about.project, Kind::Subnet);
                    self.network_subnets.remove(&(old.settings.network, *id));
                }
            }
            NetworkKey::Port(id) => self.forget_port(*id),
            NetworkKey::Quota(project) => {
                self.quotas.remove(project);
            }
            NetworkKey::Trunk(id) => {
                if let Some(old) = self.trunks.remove(id) {
                    for port in old.settings.ports() {
                        self.trunk_ports.remove(&port);
                    }
                }
            }
        }
    }

    fn forget_port(&mut self, id: TenantPortId) {
        let Some(old) = self.ports.remove(&id) else { return };
        let settings = &old.settings;
        self.subtract(&settings.about.project, Kind::Port);
        self.network_ports.remove(&(settings.network, id));
        self.macs.remove(&(settings.network, settings.mac));
        for fixed in &settings.addresses {
            self.addresses.remove(&(fixed.subnet, fixed.address));
            self.attached_addresses.remove(&(fixed.address, id));
        }
        if let Some((node, place)) = settings.attached {
            self.places.remove(&place);
            self.node_ports.remove(&(node, id));
        }
    }

    fn add(&mut self, project: &str, kind: Kind) {
        *self.counts.entry((project.to_owned(), kind)).or_insert(0) += 1;
    }

    fn subtract(&mut self, project: &str, kind: Kind) {
        let key = (project.to_owned(), kind);
        match self.counts.get_mut(&key) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                self.counts.remove(&key);
            }
        }
    }
}
