//! The rows of this room and what they are found by.

use super::Network;
use crate::id::NetworkId;
use crate::rows::{Row, RowKey, Rows, key_bytes};
use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A row of the network room.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum NetworkRow {
    Network(Arc<Network>),
}

/// Which row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkKey {
    Network(NetworkId),
}

impl Row for NetworkRow {
    type Key = NetworkKey;

    fn key(&self) -> NetworkKey {
        match self {
            NetworkRow::Network(row) => NetworkKey::Network(row.id),
        }
    }
}

impl RowKey for NetworkKey {
    fn bytes(&self) -> Vec<u8> {
        match self {
            NetworkKey::Network(id) => key_bytes(1, &[id.0.as_bytes()]),
        }
    }
}

/// All rows of the room, and the indices over them.
#[derive(Clone, Debug, Default)]
pub struct Plane {
    networks: OrdMap<NetworkId, Arc<Network>>,
}

impl Plane {
    pub fn network(&self, id: NetworkId) -> Option<&Arc<Network>> {
        self.networks.get(&id)
    }

    pub fn networks(&self) -> impl Iterator<Item = &Arc<Network>> {
        self.networks.values()
    }

    /// Makes one row as it is to be, and every index that knows of it.
    pub fn apply(&mut self, change: &Rows<NetworkRow>) {
        match change {
            Rows::Put(NetworkRow::Network(row)) => {
                self.networks.insert(row.id, row.clone());
            }
            Rows::Delete(NetworkKey::Network(id)) => {
                self.networks.remove(id);
            }
        }
    }
}
