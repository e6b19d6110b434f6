//! The event log, newest first.
//!
//! The log is a list that only goes forward, but ids usually count up: the entry before is asked for by its id, and
//! only where that fails the whole log is walked.

use super::connection::Connection;
use super::failure::Failure;
use super::sensors::{self, Known};
use crate::bmc::LogEntry;
use leasehold_protocols::ipmi::command::{GetSelEntry, GetSelInfo, LAST_RECORD};
use leasehold_protocols::ipmi::message::Completion;
use leasehold_protocols::ipmi::sdr::SensorRecord;
use leasehold_protocols::ipmi::sel::{SelRecord, What};
use std::collections::HashSet;
use tokio::sync::Mutex;

/// More entries than any log has: the end of one that never ends.
const ENTRIES: usize = 65_536;

pub(super) async fn read(bmc: &mut Connection, known: &Mutex<Known>, limit: usize) -> Result<Vec<LogEntry>, Failure> {
    let total = usize::from(bmc.ask(&GetSelInfo).await?.entries);
    if total == 0 || limit == 0 {
        return Ok(Vec::new());
    }
    let records = match backwards(bmc, limit.min(total)).await? {
        Some(records) => records,
        None => forwards(bmc, limit).await?,
    };
    // Names make a log readable, but are no condition for it.
    let sensors = match sensors::records(bmc, known).await {
        Ok(sensors) => sensors,
        Err(failure) if failure.ends_session() => return Err(failure),
        Err(_) => Default::default(),
    };
    Ok(records.iter().filter_map(|record| entry(record, &sensors)).collect())
}

async fn backwards(bmc: &mut Connection, count: usize) -> Result<Option<Vec<[u8; 16]>>, Failure> {
    let last = match bmc.ask(&GetSelEntry { record: LAST_RECORD }).await {
        Ok(last) => last,
        // It was cleared between the two questions.
        Err(failure) if failure.completion() == Some(Completion::NOT_PRESENT) => return Ok(Some(Vec::new())),
        Err(failure) => return Err(failure),
    };
    let mut id = id_of(&last.data);
    let mut records = vec![last.data];
    while records.len() < count {
        id = id.wrapping_sub(1);
        if id == 0 || id == LAST_RECORD {
            return Ok(None);
        }
        match bmc.ask_optional(&GetSelEntry { record: id }).await? {
            Some(part) if id_of(&part.data) == id => records.push(part.data),
            _ => return Ok(None),
        }
    }
    Ok(Some(records))
}

async fn forwards(bmc: &mut Connection, limit: usize) -> Result<Vec<[u8; 16]>, Failure> {
    let mut records = Vec::new();
    let mut seen = HashSet::new();
    let mut id = 0;
    while id != LAST_RECORD && seen.insert(id) && seen.len() <= ENTRIES {
        let Some(part) = bmc.ask_optional(&GetSelEntry { record: id }).await? else { break };
        records.push(part.data);
        id = part.next;
    }
    records.reverse();
    records.truncate(limit);
    Ok(records)
}

fn id_of(record: &[u8; 16]) -> u16 {
    u16::from_le_bytes([record[0], record[1]])
}

fn entry(record: &[u8; 16], sensors: &[SensorRecord]) -> Option<LogEntry> {
    let record = SelRecord::parse(record).ok()?;
    let name = match &record.what {
        What::Event(event) => sensors.iter().find(|s| (s.owner, s.number) == (event.generator, event.number)),
        What::Oem { .. } => None,
    };
    Some(LogEntry {
        id: record.id.to_string(),
        time: record.time.and_then(|time| jiff::Timestamp::from_second(time.into()).ok()).map(|time| time.to_string()),
        severity: record.severity().map(|severity| severity.name().to_owned()),
        message: record.message(name.map(|sensor| sensor.name.as_str())),
    })
}
