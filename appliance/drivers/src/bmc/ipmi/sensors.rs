//! Sensors: the SDR repository, read once and again when it has changed, and the readings.

use super::connection::Connection;
use super::failure::Failure;
use crate::bmc::Sensor;
use leasehold_protocols::ipmi::command::{
    GetDeviceId, GetSdr, GetSdrInfo, GetSensorReading, LAST_RECORD, ReserveSdr, SdrInfo,
};
use leasehold_protocols::ipmi::message::{BMC_ADDRESS, Completion};
use leasehold_protocols::ipmi::sdr::{self, SensorRecord};
use std::collections::HashSet;
use std::sync::Arc;
use tokio::sync::Mutex;

/// More records than any BMC has: the end of a repository that never ends.
const RECORDS: usize = 2048;
/// Header of a record: id, version, type, length.
const HEADER: u8 = 5;
/// Bytes asked for at once; halved by a BMC that returns less.
const CHUNK: u8 = 64;
const LEAST_CHUNK: u8 = 8;
/// How often a record is begun anew because the reservation was lost.
const RESERVATIONS: u32 = 8;

/// The sensors of a BMC as of a state of its repository.
#[derive(Debug, Default)]
pub(super) struct Known {
    state: Option<SdrInfo>,
    records: Arc<Vec<SensorRecord>>,
}

pub(super) async fn read(bmc: &mut Connection, known: &Mutex<Known>) -> Result<Vec<Sensor>, Failure> {
    let mut sensors = Vec::new();
    for record in records(bmc, known).await?.iter() {
        let question = GetSensorReading { sensor: record.number, lun: record.lun };
        let Some(reading) = bmc.ask_optional(&question).await? else { continue };
        let value = record.analog.zip(reading.raw).and_then(|(analog, raw)| analog.convert(raw));
        let health = reading.raw.and_then(|_| sdr::health(record, reading.states));
        if value.is_none() && health.is_none() && record.analog.is_none() {
            continue;
        }
        sensors.push(Sensor {
            name: record.name.clone(),
            value,
            unit: record.unit.clone(),
            health: health.map(|health| health.name().to_owned()),
        });
    }
    Ok(sensors)
}

/// The sensors that the BMC itself has; those behind other controllers cannot be asked without a bridge.
pub(super) async fn records(bmc: &mut Connection, known: &Mutex<Known>) -> Result<Arc<Vec<SensorRecord>>, Failure> {
    let mut known = known.lock().await;
    let state = match bmc.ask(&GetSdrInfo).await {
        Ok(state) => state,
        Err(failure) if failure.completion().is_some() => {
            // Get Device ID tells a BMC without repository from one that refuses.
            let device = bmc.ask(&GetDeviceId).await?;
            return if device.has_sdr_repository { Err(failure) } else { Ok(Arc::default()) };
        }
        Err(failure) => return Err(failure),
    };
    if known.state != Some(state) {
        known.records = Arc::new(walk(bmc).await?);
        known.state = Some(state);
    }
    Ok(known.records.clone())
}

async fn walk(bmc: &mut Connection) -> Result<Vec<SensorRecord>, Failure> {
    let mut sensors = Vec::new();
    let mut seen = HashSet::new();
    let mut walk = Walk { reservation: 0, chunk: CHUNK };
    let mut id = 0;
    // An id that comes again would lead in a circle.
    while id != LAST_RECORD && seen.insert(id) && seen.len() <= RECORDS {
        let (next, record) = match walk.record(bmc, id).await {
            Err(failure) if id == 0 && failure.completion() == Some(Completion::NOT_PRESENT) => break,
            other => other?,
        };
        match sdr::parse(&record) {
            Ok(found) => sensors.extend(found.into_iter().filter(|s| s.owner == BMC_ADDRESS && s.channel == 0)),
            Err(why) => tracing::debug!(bmc = %bmc.target(), id, %why, "a sensor record cannot be read"),
        }
        id = next;
    }
    Ok(sensors)
}

struct Walk {
    reservation: u16,
    chunk: u8,
}

impl Walk {
    /// A whole record and the id of the next one.
    async fn record(&mut self, bmc: &mut Connection, id: u16) -> Result<(u16, Vec<u8>), Failure> {
        let mut lost = 0;
        loop {
            match self.attempt(bmc, id).await {
                Err(failure) if failure.completion() == Some(Completion::RESERVATION_LOST) && lost < RESERVATIONS => {
                    lost += 1;
                    self.reservation = bmc.ask(&ReserveSdr).await?;
                }
                other => return other,
            }
        }
    }

    async fn attempt(&mut self, bmc: &mut Connection, id: u16) -> Result<(u16, Vec<u8>), Failure> {
        if self.reservation == 0 {
            // A BMC without reservations takes 0.
            self.reservation = bmc.ask_optional(&ReserveSdr).await?.unwrap_or(0);
        }
        let question = GetSdr { reservation: self.reservation, record: id, offset: 0, count: HEADER };
        let head = bmc.ask(&question).await?;
        let mut record = head.data;
        let Some(body) = record.get(4).copied() else {
            return Err(Failure::Nonsense("a sensor record without a head"));
        };
        let len = usize::from(body) + usize::from(HEADER);
        while record.len() < len {
            let left = (len - record.len()).min(self.chunk.into()) as u8;
            let Ok(offset) = u8::try_from(record.len()) else { break };
            match bmc.ask(&GetSdr { offset, count: left, ..question }).await {
                Ok(part) => record.extend(part.data),
                Err(failure) if failure.completion().is_some_and(is_about_size) && self.chunk > LEAST_CHUNK => {
                    self.chunk /= 2;
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok((head.next, record))
    }
}

/// The BMC returns less at once than it was asked for; makers differ in how they say so.
fn is_about_size(completion: Completion) -> bool {
    matches!(
        completion,
        Completion::CANNOT_RETURN | Completion::TOO_LONG | Completion::LENGTH | Completion::UNSPECIFIED
    )
}
