//! The tables on disk, their keys, and the operations that a batch consists of.
//!
//! Keys are plain bytes, big-endian, so that order on disk is order in meaning. A node, its jobs and its ports share
//! a prefix: what one command changes lies on one or two pages, and a commit writes few.

use crate::codec::{self, CodecError};
use crate::error::Fault;
use leasehold_domain::id::{ImageId, JobId, NodeId, PortId};
use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};
use serde::Serialize;
use std::net::Ipv4Addr;

/// All rows that are in the in-memory view, and nothing else.
pub(crate) const LIVE: TableDefinition<&[u8], &[u8]> = TableDefinition::new("live");
/// What is read only when somebody asks: inventories, config drives, ended jobs.
pub(crate) const COLD: TableDefinition<&[u8], &[u8]> = TableDefinition::new("cold");
/// Offers and leases that are over, and what they are found by: [`crate::ended`].
pub(crate) const ENDED: TableDefinition<&[u8], &[u8]> = TableDefinition::new("ended");
pub(crate) const EVENTS: TableDefinition<u64, &[u8]> = TableDefinition::new("events");
/// What events are found by: [`crate::event_index`].
pub(crate) const EVENT_INDEX: TableDefinition<&[u8], &[u8]> = TableDefinition::new("event-index");
pub(crate) const AUDIT: TableDefinition<u64, &[u8]> = TableDefinition::new("audit");
pub(crate) const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");

/// First byte of a key in [`LIVE`].
pub(crate) mod kind {
    /// What belongs to a node: its id follows, then one of the `OF_NODE` bytes.
    pub(crate) const NODE: u8 = b'n';
    pub(crate) const IMAGE: u8 = b'i';
    /// Users of schema 1; later they are rows of the identity room.
    pub(crate) const USER_1: u8 = b'u';
    pub(crate) const BINDING: u8 = b'b';
    /// Rooms of many kinds: the key of the room's row follows.
    pub(crate) const IDENTITY: u8 = b'd';
    pub(crate) const NETWORK: u8 = b'v';
    pub(crate) const HARDWARE: u8 = b'h';
    pub(crate) const LEASE: u8 = b'l';
    pub(crate) const NOTICE: u8 = b'w';

    pub(crate) const NODE_ITSELF: u8 = 0;
    pub(crate) const NODE_JOB: u8 = 1;
    pub(crate) const NODE_PORT: u8 = 2;
    pub(crate) const NODE_DRIVE: u8 = 3;

    /// In [`super::COLD`], after the node's id.
    pub(crate) const COLD_INVENTORY: u8 = 0;
    pub(crate) const COLD_DRIVE: u8 = 1;
    pub(crate) const COLD_JOB: u8 = 2;
}

fn key(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

pub(crate) fn node_key(node: NodeId) -> Vec<u8> {
    key(&[&[kind::NODE], node.0.as_bytes(), &[kind::NODE_ITSELF]])
}

pub(crate) fn job_key(node: NodeId, generation: u64, job: JobId) -> Vec<u8> {
    key(&[&[kind::NODE], node.0.as_bytes(), &[kind::NODE_JOB], &generation.to_be_bytes(), job.0.as_bytes()])
}

pub(crate) fn port_key(node: NodeId, port: PortId) -> Vec<u8> {
    key(&[&[kind::NODE], node.0.as_bytes(), &[kind::NODE_PORT], port.0.as_bytes()])
}

/// The config drive that a node keeps. It comes after the node itself.
pub(crate) fn node_drive_key(node: NodeId) -> Vec<u8> {
    key(&[&[kind::NODE], node.0.as_bytes(), &[kind::NODE_DRIVE]])
}

pub(crate) fn image_key(image: ImageId) -> Vec<u8> {
    key(&[&[kind::IMAGE], image.0.as_bytes()])
}

pub(crate) fn binding_key(address: Ipv4Addr) -> Vec<u8> {
    key(&[&[kind::BINDING], &address.octets()])
}

pub(crate) fn room_key(room: u8, row: &[u8]) -> Vec<u8> {
    key(&[&[room], row])
}

pub(crate) fn inventory_key(node: NodeId) -> Vec<u8> {
    key(&[node.0.as_bytes(), &[kind::COLD_INVENTORY]])
}

pub(crate) fn drive_key(node: NodeId, job: JobId) -> Vec<u8> {
    key(&[node.0.as_bytes(), &[kind::COLD_DRIVE], job.0.as_bytes()])
}

pub(crate) fn ended_job_key(node: NodeId, generation: u64, job: JobId) -> Vec<u8> {
    key(&[node.0.as_bytes(), &[kind::COLD_JOB], &generation.to_be_bytes(), job.0.as_bytes()])
}

/// Start and end (exclusive) of a node's ended jobs.
pub(crate) fn ended_jobs_of(node: NodeId) -> (Vec<u8>, Vec<u8>) {
    let start = key(&[node.0.as_bytes(), &[kind::COLD_JOB]]);
    let end = key(&[node.0.as_bytes(), &[kind::COLD_JOB + 1]]);
    (start, end)
}

/// Start and end (exclusive) of all that is kept cold of a node.
pub(crate) fn cold_of(node: NodeId) -> (Vec<u8>, Vec<u8>) {
    (node.0.as_bytes().to_vec(), key(&[node.0.as_bytes(), &[u8::MAX]]))
}

/// One change to a table. A command's operations are made, with all that can go wrong, before any is carried out.
#[derive(Debug)]
pub(crate) enum Op {
    PutLive(Vec<u8>, Vec<u8>),
    DeleteLive(Vec<u8>),
    PutCold(Vec<u8>, Vec<u8>),
    DeleteCold(Vec<u8>),
    /// All that is kept cold of a node.
    DeleteColdOf(NodeId),
    /// Of a node's ended jobs only the newest so many stay.
    TrimJobs(NodeId, usize),
    PutEnded(Vec<u8>, Vec<u8>),
}

impl Op {
    pub(crate) fn put_live<T: Serialize + ?Sized>(key: Vec<u8>, value: &T) -> Result<Op, CodecError> {
        Ok(Op::PutLive(key, codec::encode(value)?))
    }

    pub(crate) fn put_cold<T: Serialize + ?Sized>(key: Vec<u8>, value: &T) -> Result<Op, CodecError> {
        Ok(Op::PutCold(key, codec::encode(value)?))
    }
}

/// Carries the operations out, in their order.
pub(crate) fn carry_out(transaction: &WriteTransaction, ops: &[Op]) -> Result<(), Fault> {
    let mut live = transaction.open_table(LIVE)?;
    let (mut cold, mut ended) = (None, None);
    for op in ops {
        match op {
            Op::PutLive(key, value) => {
                live.insert(key.as_slice(), value.as_slice())?;
                continue;
            }
            Op::DeleteLive(key) => {
                live.remove(key.as_slice())?;
                continue;
            }
            Op::PutEnded(key, value) => {
                let ended = match &mut ended {
                    Some(ended) => ended,
                    empty => empty.insert(transaction.open_table(ENDED)?),
                };
                ended.insert(key.as_slice(), value.as_slice())?;
                continue;
            }
            _ => {}
        }
        let cold = match &mut cold {
            Some(cold) => cold,
            empty => empty.insert(transaction.open_table(COLD)?),
        };
        match op {
            Op::PutCold(key, value) => {
                cold.insert(key.as_slice(), value.as_slice())?;
            }
            Op::DeleteCold(key) => {
                cold.remove(key.as_slice())?;
            }
            Op::DeleteColdOf(node) => {
                let (start, end) = cold_of(*node);
                cold.retain_in(start.as_slice()..end.as_slice(), |_, _| false)?;
            }
            Op::TrimJobs(node, keep) => trim_jobs(cold, *node, *keep)?,
            Op::PutLive(..) | Op::DeleteLive(_) | Op::PutEnded(..) => {}
        }
    }
    Ok(())
}

fn trim_jobs(cold: &mut Table<&[u8], &[u8]>, node: NodeId, keep: usize) -> Result<(), Fault> {
    let (start, end) = ended_jobs_of(node);
    let mut excess = Vec::new();
    for entry in cold.range(start.as_slice()..end.as_slice())?.rev().skip(keep) {
        excess.push(entry?.0.value().to_vec());
    }
    for key in excess {
        cold.remove(key.as_slice())?;
    }
    Ok(())
}
