//! Who the machine is: Get Device ID, the system's GUID, and the FRU storage of the BMC.

use super::connection::Connection;
use super::failure::Failure;
use crate::bmc::Identity;
use leasehold_protocols::ipmi::command::{FruArea, GetDeviceId, GetFruArea, GetSystemGuid, ReadFru, guid_text};
use leasehold_protocols::ipmi::fru::{self, Names};

/// The machine's own FRU.
const MACHINE: u8 = 0;
/// Bytes asked for at once; halved by a BMC that returns less.
const CHUNK: u8 = 32;
const LEAST_CHUNK: u8 = 8;

pub(super) async fn identity(bmc: &mut Connection) -> Result<Identity, Failure> {
    let device = bmc.ask(&GetDeviceId).await?;
    let guid = bmc.ask_optional(&GetSystemGuid).await?;
    // A FRU that cannot be read is no reason to know nothing.
    let names = match names(bmc).await {
        Ok(names) => names,
        Err(failure) if failure.ends_session() => return Err(failure),
        Err(failure) => {
            tracing::debug!(bmc = %bmc.target(), %failure, "no inventory");
            Names::default()
        }
    };
    Ok(Identity {
        manufacturer: names.manufacturer,
        model: names.product,
        serial: names.serial,
        system_uuid: guid.as_ref().and_then(guid_text),
        bmc_firmware: Some(device.firmware_text()),
        bios_version: None,
    })
}

async fn names(bmc: &mut Connection) -> Result<Names, Failure> {
    let area = bmc.ask(&GetFruArea { device: MACHINE }).await?;
    let mut storage = Storage { area, chunk: CHUNK };
    let header = storage.read(bmc, 0, fru::HEADER).await?;
    let Some(areas) = fru::areas(&header) else { return Ok(Names::default()) };
    let product = match areas.product {
        Some(at) => fru::product(&storage.read_area(bmc, at).await?),
        None => Names::default(),
    };
    let board = match areas.board {
        Some(at) => fru::board(&storage.read_area(bmc, at).await?),
        None => Names::default(),
    };
    Ok(product.or(board))
}

struct Storage {
    area: FruArea,
    chunk: u8,
}

impl Storage {
    async fn read_area(&mut self, bmc: &mut Connection, at: usize) -> Result<Vec<u8>, Failure> {
        let start = self.read(bmc, at, fru::HEADER).await?;
        match fru::area_len(&start) {
            Some(len) => self.read(bmc, at, len.min(fru::AREA_MAX)).await,
            None => Ok(Vec::new()),
        }
    }

    /// The bytes from `at`, as many of `len` as there are. Every round brings at least one byte or ends it.
    async fn read(&mut self, bmc: &mut Connection, at: usize, len: usize) -> Result<Vec<u8>, Failure> {
        let unit = if self.area.words { 2 } else { 1 };
        let end = (at + len).min(usize::from(self.area.size) * unit);
        let mut bytes = Vec::new();
        while at + bytes.len() < end {
            let left = end - at - bytes.len();
            let count = left.min(self.chunk.into()).div_ceil(unit);
            let offset = (at + bytes.len()) / unit;
            let (Ok(offset), Ok(count)) = (u16::try_from(offset), u8::try_from(count)) else { break };
            match bmc.ask(&ReadFru { device: MACHINE, offset, count }).await {
                Ok(part) => bytes.extend(part.iter().take(left)),
                Err(failure) if self.chunk > LEAST_CHUNK && failure.completion().is_some() => self.chunk /= 2,
                Err(failure) => return Err(failure),
            }
        }
        Ok(bytes)
    }
}
