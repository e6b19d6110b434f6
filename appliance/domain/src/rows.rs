//! Rows of the rooms that keep many small kinds of things: identity, network, hardware.
//!
//! In: a room's row type and its keys. Out: one change ([`Rows`]) and one form of key for all its kinds, so that the
//! store needs a line per room, not per kind.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// A row of a room: an enum over its kinds, cheap to clone.
pub trait Row: Clone + Debug + PartialEq + Serialize + DeserializeOwned {
    /// Which row it is: an enum over the same kinds.
    type Key: Clone + Debug + PartialEq + RowKey;

    fn key(&self) -> Self::Key;
}

/// The key of a row as bytes: the kind first, big-endian, so that order on disk is order in meaning.
pub trait RowKey {
    fn bytes(&self) -> Vec<u8>;
}

/// One row that is to be as given from now on, or gone.
#[derive(Clone, Debug, PartialEq)]
pub enum Rows<R: Row> {
    Put(R),
    Delete(R::Key),
}

impl<R: Row> Rows<R> {
    pub fn key(&self) -> R::Key {
        match self {
            Rows::Put(row) => row.key(),
            Rows::Delete(key) => key.clone(),
        }
    }
}

/// The bytes of a key made of a kind and parts of fixed length.
pub fn key_bytes(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![kind];
    for part in parts {
        bytes.extend_from_slice(part);
    }
    bytes
}
