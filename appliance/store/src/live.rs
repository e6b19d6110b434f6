//! Rows on disk and rows in memory: how a change becomes operations, and how the view is read back at start.
//!
//! The invariant: [`tables::LIVE`](crate::tables::LIVE) holds exactly the rows that are in the view. Which jobs are in
//! the view is the view's own rule; a job that leaves it goes to the history, as does an offer or a lease that is over
//! ([`crate::ended`]). A job's config drive lies beside its row, so that progress of a step does not write megabytes, and
//! it does not go into history: it is its user's. The one that a node keeps lies beside the node's row for the same reason.

use crate::brief;
use crate::codec::{self, CodecError};
use crate::ended;
use crate::error::Fault;
use crate::tables::{self, COLD, LIVE, Op, kind};
use leasehold_domain::id::{NodeId, PortId};
use leasehold_domain::image::Image;
use leasehold_domain::job::Job;
use leasehold_domain::node::{CONFIG_DRIVE, Node};
use leasehold_domain::port::Port;
use leasehold_domain::rows::{Row, RowKey, Rows};
use leasehold_domain::view::{Change, View};
use redb::{ReadTransaction, ReadableTable};
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// A job as it is written.
#[derive(Serialize, Deserialize)]
struct JobRow {
    /// Without its config drive.
    job: Job,
    /// The config drive is under [`tables::drive_key`].
    has_drive: bool,
}

/// Applies a change to the view and appends what it does to the database. Bindings come there by [`binding`] later: the
/// journal has them first.
pub(crate) fn apply(view: &mut View, change: &Change, keep_jobs: usize, ops: &mut Vec<Op>) -> Result<(), CodecError> {
    match change {
        Change::PutNode(node) => put_node(view, node, ops)?,
        Change::DeleteNode(node) => {
            ops.push(Op::DeleteLive(tables::node_key(*node)));
            ops.push(Op::DeleteLive(tables::node_drive_key(*node)));
            if let Some(job) = view.last_job(*node) {
                ops.push(Op::DeleteLive(tables::job_key(*node, job.generation, job.id)));
            }
            ops.push(Op::DeleteColdOf(*node));
        }
        Change::PutPort(port) => {
            forget_port(view, port.id, ops);
            ops.push(Op::put_live(tables::port_key(port.settings.node, port.id), port)?);
        }
        Change::DeletePort(port) => forget_port(view, *port, ops),
        Change::PutJob(job) => return apply_job(view, job, keep_jobs, ops),
        Change::PutImage(image) => ops.push(Op::put_live(tables::image_key(image.id), image)?),
        Change::DeleteImage(image) => ops.push(Op::DeleteLive(tables::image_key(*image))),
        Change::Identity(change) => ops.push(room(kind::IDENTITY, change)?),
        Change::Network(change) => ops.push(room(kind::NETWORK, change)?),
        Change::Hardware(change) => ops.push(room(kind::HARDWARE, change)?),
        Change::Lease(change) => ended::lease(change, ops)?,
        Change::Notice(change) => ops.push(room(kind::NOTICE, change)?),
        Change::PutBinding(_) | Change::DeleteBinding(_) => {}
        Change::PutInventory(node, inventory) => {
            ops.push(Op::put_cold(tables::inventory_key(*node), inventory)?);
        }
        Change::DeleteInventory(node) => ops.push(Op::DeleteCold(tables::inventory_key(*node))),
    }
    view.apply(change);
    Ok(())
}

/// The node, and the config drive that it keeps where that is another one.
fn put_node(view: &View, node: &Node, ops: &mut Vec<Op>) -> Result<(), CodecError> {
    let before = view.node(node.id).and_then(|before| before.settings.instance_info.get(CONFIG_DRIVE));
    let Some(drive) = node.settings.instance_info.get(CONFIG_DRIVE) else {
        if before.is_some() {
            ops.push(Op::DeleteLive(tables::node_drive_key(node.id)));
        }
        ops.push(Op::put_live(tables::node_key(node.id), node)?);
        return Ok(());
    };
    if before != Some(drive) {
        ops.push(Op::put_live(tables::node_drive_key(node.id), drive)?);
    }
    let mut row = node.clone();
    row.settings.instance_info.remove(CONFIG_DRIVE);
    ops.push(Op::put_live(tables::node_key(node.id), &row)?);
    Ok(())
}

/// What makes the database's row of an address what the view has.
pub(crate) fn binding(view: &View, address: Ipv4Addr, next_order: &mut u64) -> Result<Op, CodecError> {
    let key = tables::binding_key(address);
    let Some(binding) = view.binding(address) else { return Ok(Op::DeleteLive(key)) };
    let row = brief::encode_row(*next_order, binding)?;
    *next_order += 1;
    Ok(Op::PutLive(key, row))
}

/// What a change of a room with many kinds does to the disk.
pub(crate) fn room<R: Row>(kind: u8, change: &Rows<R>) -> Result<Op, CodecError> {
    let key = tables::room_key(kind, &change.key().bytes());
    match change {
        Rows::Put(row) => Op::put_live(key, row),
        Rows::Delete(_) => Ok(Op::DeleteLive(key)),
    }
}

fn forget_port(view: &View, port: PortId, ops: &mut Vec<Op>) {
    if let Some(old) = view.port(port) {
        ops.push(Op::DeleteLive(tables::port_key(old.settings.node, port)));
    }
}

fn apply_job(view: &mut View, job: &Arc<Job>, keep_jobs: usize, ops: &mut Vec<Op>) -> Result<(), CodecError> {
    let former = view.job(job.id).cloned();
    let newest_before = view.last_job(job.node).cloned();
    if let Some(former) = &former
        && former.generation != job.generation
    {
        ops.push(Op::DeleteLive(tables::job_key(former.node, former.generation, former.id)));
    }
    view.apply(&Change::PutJob(job.clone()));
    if view.job(job.id).is_some() {
        let drive = job.input.config_drive.as_ref();
        let drive_before = former.as_ref().and_then(|former| former.input.config_drive.as_ref());
        match drive {
            Some(drive) if drive_before != Some(drive) => {
                ops.push(Op::put_cold(tables::drive_key(job.node, job.id), drive)?);
            }
            None if drive_before.is_some() => ops.push(Op::DeleteCold(tables::drive_key(job.node, job.id))),
            _ => {}
        }
        let row = JobRow { job: without_drive(job), has_drive: drive.is_some() };
        ops.push(Op::put_live(tables::job_key(job.node, job.generation, job.id), &row)?);
    } else {
        retire(job, keep_jobs, ops)?;
    }
    if let Some(other) = newest_before.filter(|other| other.id != job.id && view.job(other.id).is_none()) {
        retire(&other, keep_jobs, ops)?;
    }
    Ok(())
}

/// A job leaves the view for the history.
fn retire(job: &Job, keep: usize, ops: &mut Vec<Op>) -> Result<(), CodecError> {
    ops.push(Op::DeleteLive(tables::job_key(job.node, job.generation, job.id)));
    if job.input.config_drive.is_some() {
        ops.push(Op::DeleteCold(tables::drive_key(job.node, job.id)));
    }
    ops.push(Op::put_cold(tables::ended_job_key(job.node, job.generation, job.id), &without_drive(job))?);
    ops.push(Op::TrimJobs(job.node, keep));
    Ok(())
}

fn without_drive(job: &Job) -> Job {
    let mut job = job.clone();
    job.input.config_drive = None;
    job
}

/// Reads all live rows.
pub(crate) fn load(transaction: &ReadTransaction) -> Result<View, Fault> {
    let live = transaction.open_table(LIVE)?;
    let cold = transaction.open_table(COLD)?;
    let mut view = View::default();
    let mut bindings = Vec::new();
    for entry in live.iter()? {
        let (key, value) = entry?;
        let (key, value) = (key.value(), value.value());
        let in_words = |error: CodecError| Fault::Damaged(format!("row {}: {error}", hex::encode(key)));
        let change = match (key.first(), key.get(17)) {
            (Some(&kind::NODE), Some(&kind::NODE_ITSELF)) => {
                let mut node: Node = codec::decode(value).map_err(in_words)?;
                // Rows of before may have one here, which a user wrote and nothing came of.
                node.settings.instance_info.remove(CONFIG_DRIVE);
                Change::PutNode(Arc::new(node))
            }
            (Some(&kind::NODE), Some(&kind::NODE_JOB)) => {
                let JobRow { mut job, has_drive } = codec::decode(value).map_err(in_words)?;
                if has_drive {
                    let drive = cold.get(tables::drive_key(job.node, job.id).as_slice())?;
                    job.input.config_drive =
                        drive.map(|drive| codec::decode(drive.value())).transpose().map_err(in_words)?;
                }
                Change::PutJob(Arc::new(job))
            }
            (Some(&kind::NODE), Some(&kind::NODE_DRIVE)) => {
                let id = key.get(1..17).and_then(|bytes| uuid::Uuid::from_slice(bytes).ok()).map(NodeId);
                // Its node was read before it.
                let node = id.and_then(|id| view.node(id)).ok_or_else(|| in_words(CodecError::Empty))?;
                let mut node = (**node).clone();
                let drive: serde_json::Value = codec::decode(value).map_err(in_words)?;
                node.settings.instance_info.insert(CONFIG_DRIVE.into(), drive);
                Change::PutNode(Arc::new(node))
            }
            (Some(&kind::NODE), Some(&kind::NODE_PORT)) => {
                Change::PutPort(codec::decode::<Arc<Port>>(value).map_err(in_words)?)
            }
            (Some(&kind::IMAGE), _) => Change::PutImage(codec::decode::<Arc<Image>>(value).map_err(in_words)?),
            (Some(&kind::IDENTITY), _) => Change::Identity(Rows::Put(codec::decode(value).map_err(in_words)?)),
            (Some(&kind::NETWORK), _) => Change::Network(Rows::Put(codec::decode(value).map_err(in_words)?)),
            (Some(&kind::HARDWARE), _) => Change::Hardware(Rows::Put(codec::decode(value).map_err(in_words)?)),
            (Some(&kind::LEASE), _) => Change::Lease(Rows::Put(codec::decode(value).map_err(in_words)?)),
            (Some(&kind::NOTICE), _) => Change::Notice(Rows::Put(codec::decode(value).map_err(in_words)?)),
            (Some(&kind::BINDING), _) => {
                bindings.push(brief::decode_row(value).map_err(in_words)?);
                continue;
            }
            _ => return Err(Fault::Damaged(format!("row {} is of an unknown kind", hex::encode(key)))),
        };
        view.apply(&change);
    }
    // In the order in which they were written: the view's index keeps the last one of each client.
    bindings.sort_by_key(|row| row.order);
    for row in bindings {
        view.apply(&Change::PutBinding(Arc::new(row.binding)));
    }
    Ok(view)
}

/// The ended jobs of a node that are no longer in the view, newest first.
pub(crate) fn ended_jobs(transaction: &ReadTransaction, node: NodeId, limit: usize) -> Result<Vec<Arc<Job>>, Fault> {
    let (start, end) = tables::ended_jobs_of(node);
    let table = transaction.open_table(COLD)?;
    let mut jobs = Vec::new();
    for entry in table.range(start.as_slice()..end.as_slice())?.rev().take(limit) {
        jobs.push(codec::decode::<Arc<Job>>(entry?.1.value())?);
    }
    Ok(jobs)
}

/// What the last inspection of a node found.
pub(crate) fn inventory(transaction: &ReadTransaction, node: NodeId) -> Result<Option<serde_json::Value>, Fault> {
    let table = transaction.open_table(COLD)?;
    let value = table.get(tables::inventory_key(node).as_slice())?;
    Ok(value.map(|value| codec::decode(value.value())).transpose()?)
}
