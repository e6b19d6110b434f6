//! Records of the system event log (section 32): what happened, to which sensor, how bad, and when.

use std::fmt;

use ipmi_rs_core::storage::sdr::{SensorType, decode_event};

use super::reader::{Malformed, Reader};
use super::sdr::{Health, state_health};

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelRecord {
    pub id: u16,
    /// Seconds since 1970; `None` when the BMC did not know the time (unset clock, or a record without time).
    pub time: Option<u32>,
    pub what: What,
}

/// What a record tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Event(SensorEvent),
    /// A record in a form of the maker's: its type and bytes.
    Oem {
        kind: u8,
        data: Vec<u8>,
    },
}

/// Something happened to a sensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SensorEvent {
    /// Address (even) or software id (odd) of who reports.
    pub generator: u8,
    pub kind: u8,
    pub number: u8,
    pub event_type: u8,
    /// The state ended instead of began.
    pub deasserted: bool,
    pub data: [u8; 3],
}

impl SelRecord {
    /// # Errors
    /// [`Malformed`] for a record type that does not exist.
    pub fn parse(record: &[u8; 16]) -> Result<SelRecord, Malformed> {
        let mut reader = Reader::new(record);
        let id = reader.u16()?;
        let kind = reader.u8()?;
        if kind >= 0xe0 {
            return Ok(SelRecord { id, time: None, what: What::Oem { kind, data: reader.rest().to_vec() } });
        }
        let stamp = reader.u32()?;
        // Below 0x2000_0000 the clock counts from the BMC's start, all ones is "unknown" (section 37).
        let time = (0x2000_0000..u32::MAX).contains(&stamp).then_some(stamp);
        let what = match kind {
            0x02 => {
                let [generator, _, _revision, kind, number, direction] = reader.array::<6>()?;
                What::Event(SensorEvent {
                    generator,
                    kind,
                    number,
                    event_type: direction & 0x7f,
                    deasserted: direction & 0x80 != 0,
                    data: reader.array()?,
                })
            }
            0xc0..=0xdf => What::Oem { kind, data: reader.rest().to_vec() },
            _ => return Err(Malformed("a record of a type that does not exist")),
        };
        Ok(SelRecord { id, time, what })
    }

    /// How bad it is; `None` where the record does not tell.
    pub fn severity(&self) -> Option<Health> {
        let What::Event(event) = &self.what else { return None };
        let health = state_health(event.kind, event.event_type, event.data[0] & 0x0f)?;
        Some(if event.deasserted { Health::Ok } else { health })
    }

    /// One line for a person. `name` is the sensor's name where it is known.
    pub fn message(&self, name: Option<&str>) -> String {
        let event = match &self.what {
            What::Event(event) => event,
            What::Oem { kind, data } => {
                let bytes: Vec<String> = data.iter().map(|byte| format!("{byte:02x}")).collect();
                return format!("record {kind:#04x} of the maker: {}", bytes.join(" "));
            }
        };
        let kind = SensorType::from(event.kind);
        let sensor = match name {
            Some(name) => format!("{kind} {name}"),
            None => format!("{kind} sensor {:#04x}", event.number),
        };
        let text = Described(event).to_string();
        let text = if text.is_empty() {
            let [a, b, c] = event.data;
            format!("event type {:#04x}, data {a:02x} {b:02x} {c:02x}", event.event_type)
        } else {
            text
        };
        let ended = if event.deasserted { " (ended)" } else { "" };
        format!("{sensor}: {text}{ended}")
    }
}

struct Described<'a>(&'a SensorEvent);

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        decode_event(f, self.0.event_type, SensorType::from(self.0.kind), self.0.data[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(kind: u8, direction: u8, offset: u8) -> [u8; 16] {
        let [t0, t1, t2, t3] = 1_700_000_000u32.to_le_bytes();
        [7, 0, 2, t0, t1, t2, t3, 0x20, 0, 4, kind, 0x30, direction, offset, 0xff, 0xff]
    }

    #[test]
    fn an_event_reads_as_a_line() {
        let record = SelRecord::parse(&event(0x01, 0x01, 0x59)).unwrap();
        assert_eq!((record.id, record.time), (7, Some(1_700_000_000)));
        assert_eq!(record.message(Some("CPU Temp")), "Temperature CPU Temp: Upper Critical - going high");
        assert_eq!(record.severity(), Some(Health::Critical));
        let ended = SelRecord::parse(&event(0x01, 0x81, 0x59)).unwrap();
        assert_eq!(ended.message(None), "Temperature sensor 0x30: Upper Critical - going high (ended)");
        assert_eq!(ended.severity(), Some(Health::Ok));
        let supply = SelRecord::parse(&event(0x08, 0x6f, 0x01)).unwrap();
        assert_eq!(supply.message(None), "Power Supply sensor 0x30: Power Supply Failure detected");
        let unknown = SelRecord::parse(&event(0xc5, 0x7f, 0x0f)).unwrap();
        assert_eq!(unknown.message(None), "OEM (0xC5) sensor 0x30: event type 0x7f, data 0f ff ff");
        assert_eq!(unknown.severity(), None);
    }

    #[test]
    fn a_clock_that_was_not_set_gives_no_time() {
        let mut record = event(1, 1, 1);
        record[3..7].copy_from_slice(&100u32.to_le_bytes());
        assert_eq!(SelRecord::parse(&record).unwrap().time, None);
        record[3..7].fill(0xff);
        assert_eq!(SelRecord::parse(&record).unwrap().time, None);
    }

    proptest! {
        #[test]
        fn arbitrary_records_never_panic(record: [u8; 16]) {
            if let Ok(record) = SelRecord::parse(&record) {
                prop_assert!(!record.message(None).is_empty());
                let _ = record.severity();
            }
        }
    }
}
