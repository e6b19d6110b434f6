//! Storage and sensor commands: the sensor data records, readings, the event log and the field-replaceable units.

use super::super::message::netfn;
use super::super::reader::{Malformed, Reader};
use super::Command;

/// The record id that means "the last one" in a request, and "there is none after" in an answer.
pub const LAST_RECORD: u16 = 0xffff;

/// Get SDR Repository Info (33.9).
#[derive(Debug, Clone, Copy)]
pub struct GetSdrInfo;

/// The state of the SDR repository; equal values mean equal records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SdrInfo {
    pub records: u16,
    pub added: u32,
    pub erased: u32,
}

impl Command for GetSdrInfo {
    const NAME: &'static str = "Get SDR Repository Info";
    const NETFN: u8 = netfn::STORAGE;
    const COMMAND: u8 = 0x20;
    type Reply = SdrInfo;

    fn encode(&self) -> Vec<u8> {
        Vec::new()
    }

    fn parse(&self, data: &[u8]) -> Result<SdrInfo, Malformed> {
        let mut reader = Reader::new(data);
        reader.u8()?;
        let records = reader.u16()?;
        reader.u16()?;
        Ok(SdrInfo { records, added: reader.u32()?, erased: reader.u32()? })
    }
}

/// Reserve SDR Repository (33.11); the answer is the reservation.
#[derive(Debug, Clone, Copy)]
pub struct ReserveSdr;

impl Command for ReserveSdr {
    const NAME: &'static str = "Reserve SDR Repository";
    const NETFN: u8 = netfn::STORAGE;
    const COMMAND: u8 = 0x22;
    type Reply = u16;

    fn encode(&self) -> Vec<u8> {
        Vec::new()
    }

    fn parse(&self, data: &[u8]) -> Result<u16, Malformed> {
        Reader::new(data).u16()
    }
}

/// Get SDR (33.12): a part of one record.
#[derive(Debug, Clone, Copy)]
pub struct GetSdr {
    pub reservation: u16,
    pub record: u16,
    pub offset: u8,
    pub count: u8,
}

/// A part of a record and the id of the record after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SdrPart {
    pub next: u16,
    pub data: Vec<u8>,
}

impl Command for GetSdr {
    const NAME: &'static str = "Get SDR";
    const NETFN: u8 = netfn::STORAGE;
    const COMMAND: u8 = 0x23;
    type Reply = SdrPart;

    fn encode(&self) -> Vec<u8> {
        let [r0, r1] = self.reservation.to_le_bytes();
        let [i0, i1] = self.record.to_le_bytes();
        vec![r0, r1, i0, i1, self.offset, self.count]
    }

    fn parse(&self, data: &[u8]) -> Result<SdrPart, Malformed> {
        let mut reader = Reader::new(data);
        let next = reader.u16()?;
        if reader.rest().is_empty() || reader.rest().len() > usize::from(self.count) {
            return Err(Malformed("it holds none or more bytes than were asked for"));
        }
        Ok(SdrPart { next, data: reader.rest().to_vec() })
    }
}

/// Get Sensor Reading (35.14).
#[derive(Debug, Clone, Copy)]
pub struct GetSensorReading {
    pub sensor: u8,
    pub lun: u8,
}

/// What a sensor says now, raw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The raw reading; `None` when the BMC says that it is not available or not watched.
    pub raw: Option<u8>,
    /// For threshold sensors which thresholds are passed (bits 5:0), for others which states are set (bits 14:0).
    pub states: u16,
}

impl Command for GetSensorReading {
    const NAME: &'static str = "Get Sensor Reading";
    const NETFN: u8 = netfn::SENSOR;
    const COMMAND: u8 = 0x2d;
    type Reply = Reading;

    fn lun(&self) -> u8 {
        self.lun
    }

    fn encode(&self) -> Vec<u8> {
        vec![self.sensor]
    }

    fn parse(&self, data: &[u8]) -> Result<Reading, Malformed> {
        let mut reader = Reader::new(data);
        let [raw, flags] = reader.array::<2>()?;
        // Bit 6: scanning is on; bit 5: the reading is not available. The states may be left out.
        let usable = flags & 0x60 == 0x40;
        let low = reader.u8().unwrap_or(0);
        let high = reader.u8().unwrap_or(0);
        let states = if usable { u16::from_le_bytes([low, high & 0x7f]) } else { 0 };
        Ok(Reading { raw: usable.then_some(raw), states })
    }
}

/// Get SEL Info (31.2).
#[derive(Debug, Clone, Copy)]
pub struct GetSelInfo;

/// The state of the event log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SelInfo {
    pub entries: u16,
}

impl Command for GetSelInfo {
    const NAME: &'static str = "Get SEL Info";
    const NETFN: u8 = netfn::STORAGE;
    const COMMAND: u8 = 0x40;
    type Reply = SelInfo;

    fn encode(&self) -> Vec<u8> {
        Vec::new()
    }

    fn parse(&self, data: &[u8]) -> Result<SelInfo, Malformed> {
        let mut reader = Reader::new(data);
        reader.u8()?;
        Ok(SelInfo { entries: reader.u16()? })
    }
}

/// Get SEL Entry (31.5), whole records.
#[derive(Debug, Clone, Copy)]
pub struct GetSelEntry {
    /// 0 for the first, [`LAST_RECORD`] for the last.
    pub record: u16,
}

/// A record of the event log and the id of the one after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelEntryPart {
    pub next: u16,
    pub data: [u8; 16],
}

impl Command for GetSelEntry {
    const NAME: &'static str = "Get SEL Entry";
    const NETFN: u8 = netfn::STORAGE;
    const COMMAND: u8 = 0x43;
    type Reply = SelEntryPart;

    fn encode(&self) -> Vec<u8> {
        let [low, high] = self.record.to_le_bytes();
        // No reservation, from offset 0, all of it.
        vec![0, 0, low, high, 0, 0xff]
    }

    fn parse(&self, data: &[u8]) -> Result<SelEntryPart, Malformed> {
        let mut reader = Reader::new(data);
        Ok(SelEntryPart { next: reader.u16()?, data: reader.array()? })
    }
}

/// Get FRU Inventory Area Info (34.1).
#[derive(Debug, Clone, Copy)]
pub struct GetFruArea {
    /// 0 is the machine's own.
    pub device: u8,
}

/// Size and unit of a FRU storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FruArea {
    pub size: u16,
    /// Offsets and counts are in words of two bytes.
    pub words: bool,
}

impl Command for GetFruArea {
    const NAME: &'static str = "Get FRU Inventory Area Info";
    const NETFN: u8 = netfn::STORAGE;
    const COMMAND: u8 = 0x10;
    type Reply = FruArea;

    fn encode(&self) -> Vec<u8> {
        vec![self.device]
    }

    fn parse(&self, data: &[u8]) -> Result<FruArea, Malformed> {
        let mut reader = Reader::new(data);
        Ok(FruArea { size: reader.u16()?, words: reader.u8()? & 1 != 0 })
    }
}

/// Read FRU Data (34.2).
#[derive(Debug, Clone, Copy)]
pub struct ReadFru {
    pub device: u8,
    /// In the unit of [`FruArea`].
    pub offset: u16,
    pub count: u8,
}

impl Command for ReadFru {
    const NAME: &'static str = "Read FRU Data";
    const NETFN: u8 = netfn::STORAGE;
    const COMMAND: u8 = 0x11;
    type Reply = Vec<u8>;

    fn encode(&self) -> Vec<u8> {
        let [low, high] = self.offset.to_le_bytes();
        vec![self.device, low, high, self.count]
    }

    fn parse(&self, data: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut reader = Reader::new(data);
        // The count is repeated in the unit of the storage; what matters is what there is.
        reader.u8()?;
        if reader.rest().is_empty() || reader.rest().len() > usize::from(self.count) * 2 {
            return Err(Malformed("it holds none or more bytes than were asked for"));
        }
        Ok(reader.rest().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_reading_that_is_not_available_has_no_value() {
        let command = GetSensorReading { sensor: 1, lun: 0 };
        assert_eq!(command.parse(&[0x40, 0xc0, 0xc1, 0x80]).unwrap(), Reading { raw: Some(0x40), states: 0xc1 });
        assert_eq!(command.parse(&[0x40, 0xe0, 0xff, 0xff]).unwrap(), Reading { raw: None, states: 0 });
        assert_eq!(command.parse(&[0x40, 0x80]).unwrap(), Reading { raw: None, states: 0 });
        assert!(command.parse(&[0x40]).is_err());
    }

    #[test]
    fn more_than_was_asked_for_is_refused() {
        let command = GetSdr { reservation: 1, record: 0, offset: 0, count: 5 };
        assert!(command.parse(&[1, 0, 1, 2, 3, 4, 5]).is_ok());
        assert!(command.parse(&[1, 0, 1, 2, 3, 4, 5, 6]).is_err());
        assert!(command.parse(&[1, 0]).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(data: Vec<u8>, count: u8) {
            let _ = GetSdrInfo.parse(&data);
            let _ = ReserveSdr.parse(&data);
            let _ = GetSdr { reservation: 0, record: 0, offset: 0, count }.parse(&data);
            let _ = GetSensorReading { sensor: 0, lun: 0 }.parse(&data);
            let _ = GetSelInfo.parse(&data);
            let _ = GetSelEntry { record: 0 }.parse(&data);
            let _ = GetFruArea { device: 0 }.parse(&data);
            let _ = ReadFru { device: 0, offset: 0, count }.parse(&data);
        }
    }
}
