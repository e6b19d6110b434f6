//! Sensor data records (section 43): full and compact sensors, and the conversion of raw readings.
//!
//! `ipmi-rs-core` has record types too, but panics on short full records and on alphabetic sharing, swaps three of the
//! linearizations, reads the sign of M from the wrong bit and shows packed names as bytes; only its tables are used.

use super::reader::{Malformed, Reader};
use super::text::{self, Encoding};

/// The record types that describe sensors with readings.
const FULL: u8 = 0x01;
const COMPACT: u8 = 0x02;
/// Event/reading type of sensors that compare with thresholds.
const THRESHOLD: u8 = 0x01;

/// One sensor.
#[derive(Debug, Clone, PartialEq)]
pub struct SensorRecord {
    pub name: String,
    /// Address of the controller that has the sensor; [`super::message::BMC_ADDRESS`] for the BMC itself.
    pub owner: u8,
    pub channel: u8,
    pub lun: u8,
    pub number: u8,
    /// Sensor type (table 42-3).
    pub kind: u8,
    /// Event/reading type (table 42-1).
    pub event_type: u8,
    /// How a raw reading becomes a number; `None` for sensors that only have states.
    pub analog: Option<Analog>,
    pub unit: String,
}

impl SensorRecord {
    pub fn has_thresholds(&self) -> bool {
        self.event_type == THRESHOLD
    }
}

/// The reading's formula: `y = L((M·x + B·10^Bexp) · 10^Rexp)` (section 36.3).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Analog {
    format: Format,
    linearization: u8,
    m: i16,
    b: i16,
    b_exp: i8,
    r_exp: i8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Unsigned,
    OnesComplement,
    TwosComplement,
}

impl Analog {
    /// The value of a raw reading. `None`: the sensor is not linear in a way that the record describes, or the value
    /// is no number.
    pub fn convert(&self, raw: u8) -> Option<f64> {
        let x = match self.format {
            Format::Unsigned => f64::from(raw),
            Format::OnesComplement if raw & 0x80 != 0 => -f64::from(!raw),
            Format::OnesComplement => f64::from(raw),
            Format::TwosComplement => f64::from(raw as i8),
        };
        let b = f64::from(self.b) * 10f64.powi(self.b_exp.into());
        let y = (f64::from(self.m) * x + b) * 10f64.powi(self.r_exp.into());
        let y = match self.linearization {
            0 => y,
            1 => y.ln(),
            2 => y.log10(),
            3 => y.log2(),
            4 => y.exp(),
            5 => 10f64.powf(y),
            6 => y.exp2(),
            7 => y.recip(),
            8 => y * y,
            9 => y * y * y,
            10 => y.sqrt(),
            11 => y.cbrt(),
            _ => return None,
        };
        // Decimal exponents leave dust of binary fractions behind: six digits are more than any sensor has.
        let y = (y * 1e6).round() / 1e6;
        y.is_finite().then_some(y)
    }
}

/// The sensors of one record; several when it is shared, none when it describes something else.
///
/// # Errors
/// [`Malformed`] when the record is cut.
pub fn parse(record: &[u8]) -> Result<Vec<SensorRecord>, Malformed> {
    let mut reader = Reader::new(record);
    let [_, _, _version, kind, len] = reader.array::<5>()?;
    let mut body = Reader::new(reader.take(usize::from(len))?);
    if !matches!(kind, FULL | COMPACT) {
        return Ok(Vec::new());
    }
    let [owner, owner_lun, number, _entity, _instance, _init, _capabilities, sensor, event_type] = body.array::<9>()?;
    body.take(6)?; // event masks
    let [units, base_unit, modifier_unit] = body.array::<3>()?;
    let base = SensorRecord {
        name: String::new(),
        owner,
        channel: owner_lun >> 4,
        lun: owner_lun & 3,
        number,
        kind: sensor,
        event_type: event_type & 0x7f,
        analog: None,
        unit: unit_text(units, base_unit, modifier_unit),
    };
    if kind == FULL {
        let analog = parse_analog(units >> 6, &mut body)?;
        body.take(17)?; // nominal values, thresholds, hysteresis, OEM
        Ok(vec![SensorRecord { name: parse_name(&mut body)?, analog, ..base }])
    } else {
        let [sharing, offset] = body.array::<2>()?;
        body.take(6)?;
        let name = parse_name(&mut body)?;
        Ok(shared(&base, &name, sharing, offset))
    }
}

fn parse_analog(format: u8, body: &mut Reader<'_>) -> Result<Option<Analog>, Malformed> {
    let [linearization, m, m_tolerance, b, b_accuracy, _accuracy, exponents] = body.array::<7>()?;
    let ten_bits = |low: u8, high: u8| i16::from_le_bytes([low, ((high as i8) >> 6) as u8]);
    let format = match format {
        0 => Format::Unsigned,
        1 => Format::OnesComplement,
        2 => Format::TwosComplement,
        _ => return Ok(None),
    };
    Ok(Some(Analog {
        format,
        linearization: linearization & 0x7f,
        m: ten_bits(m, m_tolerance),
        b: ten_bits(b, b_accuracy),
        b_exp: ((exponents << 4) as i8) >> 4,
        r_exp: (exponents as i8) >> 4,
    }))
}

fn parse_name(body: &mut Reader<'_>) -> Result<String, Malformed> {
    let head = body.u8()?;
    // Some records promise a longer name than they hold.
    let len = usize::from(head & 0x1f).min(body.rest().len());
    Ok(text::decode(Encoding::from_type_length(head), body.take(len)?))
}

/// A compact record may stand for several sensors with numbers (or letters) after the name (table 43-2, byte 24).
fn shared(base: &SensorRecord, name: &str, sharing: u8, offset: u8) -> Vec<SensorRecord> {
    let count = sharing & 0x0f;
    if count <= 1 {
        return vec![SensorRecord { name: name.to_owned(), ..base.clone() }];
    }
    (0..count)
        .map(|index| {
            let at = (offset & 0x7f).saturating_add(index);
            let suffix = if sharing >> 4 & 3 == 1 { letters(at) } else { at.to_string() };
            SensorRecord { name: format!("{name}{suffix}"), number: base.number.wrapping_add(index), ..base.clone() }
        })
        .collect()
}

/// A, B, …, Z, AA, AB, …
fn letters(at: u8) -> String {
    let letter = |n: u8| char::from(b'A' + n % 26);
    if at < 26 { letter(at).to_string() } else { [letter(at / 26 - 1), letter(at)].iter().collect() }
}

fn unit_text(units: u8, base: u8, modifier: u8) -> String {
    if units & 1 != 0 {
        return "%".to_owned();
    }
    let base = text::unit(base);
    let rate = match units >> 3 & 7 {
        1 => "/µs",
        2 => "/ms",
        3 => "/s",
        4 => "/min",
        5 => "/h",
        6 => "/d",
        _ => "",
    };
    match units >> 1 & 3 {
        1 => format!("{base}/{}{rate}", text::unit(modifier)),
        2 => format!("{base}·{}{rate}", text::unit(modifier)),
        _ => format!("{base}{rate}"),
    }
}

/// How well a part of the machine is, in the words of the drivers' contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    Ok,
    Warning,
    Critical,
}

impl Health {
    pub fn name(self) -> &'static str {
        match self {
            Health::Ok => "ok",
            Health::Warning => "warning",
            Health::Critical => "critical",
        }
    }
}

/// What the states of a reading say about health; `None` when they say nothing about it.
pub fn health(record: &SensorRecord, states: u16) -> Option<Health> {
    if record.has_thresholds() {
        // Lower: 0 non-critical, 1 critical, 2 non-recoverable; upper: 3, 4, 5 (35.14).
        return Some(match states & 0x3f {
            0 => Health::Ok,
            passed if passed & 0b11_0110 != 0 => Health::Critical,
            _ => Health::Warning,
        });
    }
    let worst = (0..15u8)
        .filter(|offset| states >> offset & 1 == 1)
        .filter_map(|offset| state_health(record.kind, record.event_type, offset))
        .max();
    match worst {
        // No state at all: fine for those whose states all mean trouble.
        None if states == 0 && matches!(record.event_type, 0x04..=0x06) => Some(Health::Ok),
        worst => worst,
    }
}

/// What one state says (tables 42-2 and 42-3): generic severities, and those sensors whose states mean a defect.
pub fn state_health(kind: u8, event_type: u8, offset: u8) -> Option<Health> {
    use Health::{Critical, Ok, Warning};
    let health = match (event_type, kind, offset) {
        // Generic: thresholds, predictive failure, limits, performance, severity, redundancy.
        (0x01, _, 2..=5 | 8..=11) => Critical,
        (0x01, _, 0 | 1 | 6 | 7) => Warning,
        (0x04..=0x06, _, 0) => Ok,
        (0x04..=0x06, _, 1) => Warning,
        (0x07, _, 0) => Ok,
        (0x07, _, 1 | 4) => Warning,
        (0x07, _, 2 | 3 | 5 | 6) => Critical,
        (0x0b, _, 0) => Ok,
        (0x0b, _, 1 | 5) => Critical,
        (0x0b, _, 2..=4 | 6 | 7) => Warning,
        // Physical security, processor, power supply, power unit, memory, drive slot.
        (0x6f, 0x05, 0..=6) => Warning,
        (0x6f, 0x07, 0..=6 | 11) => Critical,
        (0x6f, 0x07, 10 | 12) => Warning,
        (0x6f, 0x07, 7) => Ok,
        (0x6f, 0x08, 1 | 3 | 4) => Critical,
        (0x6f, 0x08, 2 | 5 | 6) => Warning,
        (0x6f, 0x08, 0) => Ok,
        (0x6f, 0x09, 5 | 6) => Critical,
        (0x6f, 0x09, 4 | 7) => Warning,
        (0x6f, 0x0c, 1 | 2 | 10) => Critical,
        (0x6f, 0x0c, 0 | 3 | 5 | 7 | 9) => Warning,
        (0x6f, 0x0c, 6) => Ok,
        (0x6f, 0x0d, 1 | 5 | 6) => Critical,
        (0x6f, 0x0d, 2 | 8) => Warning,
        (0x6f, 0x0d, 0) => Ok,
        // Firmware error, critical interrupt, watchdog.
        (0x6f, 0x0f, 0 | 1) => Critical,
        (0x6f, 0x13, 0..=10) => Critical,
        (0x6f, 0x23, 1..=3) => Warning,
        _ => return None,
    };
    Some(health)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A full record of a temperature with the given format, M, B and exponents.
    fn full(units: u8, linearization: u8, m: i16, b: i16, exponents: u8, name: &[u8]) -> Vec<u8> {
        let mut body = vec![0x20, 0x00, 0x30, 3, 1, 0x7f, 0x68, 0x01, 0x01, 0, 0, 0, 0, 0, 0, units, 1, 0];
        let [m0, m1] = m.to_le_bytes();
        let [b0, b1] = b.to_le_bytes();
        body.extend([linearization, m0, m1 << 6, b0, b1 << 6, 0, exponents]);
        body.extend([0; 17]);
        body.push(0xc0 | name.len() as u8);
        body.extend(name);
        let mut record = vec![1, 0, 0x51, FULL, body.len() as u8];
        record.extend(body);
        record
    }

    fn analog(record: &[u8]) -> Analog {
        parse(record).unwrap()[0].analog.unwrap()
    }

    #[test]
    fn a_full_record_converts_its_reading() {
        let record = full(0, 0, 1, 0, 0, b"CPU Temp");
        let sensors = parse(&record).unwrap();
        assert_eq!((sensors[0].name.as_str(), sensors[0].unit.as_str()), ("CPU Temp", "Celsius"));
        assert_eq!((sensors[0].number, sensors[0].owner), (0x30, 0x20));
        assert_eq!(analog(&record).convert(45), Some(45.0));
        // 12 V rail: 0.06 V a step, offset 0.3 V.
        assert_eq!(analog(&full(0, 0, 60, 300, 0xd0, b"12V")).convert(200), Some(12.3));
        // Negative M and B: -2·x - 100, in units of 10.
        assert_eq!(analog(&full(0, 0, -2, -100, 0x10, b"x")).convert(5), Some(-1100.0));
        // B with its own exponent: x + 5·10^2.
        assert_eq!(analog(&full(0, 0, 1, 5, 0x02, b"x")).convert(1), Some(501.0));
        assert_eq!(analog(&full(0x80, 0, 1, 0, 0, b"x")).convert(0xf6), Some(-10.0), "two's complement");
        assert_eq!(analog(&full(0x40, 0, 1, 0, 0, b"x")).convert(0xf6), Some(-9.0), "one's complement");
        assert_eq!(analog(&full(0, 7, 1, 0, 0, b"x")).convert(4), Some(0.25));
        assert_eq!(analog(&full(0, 7, 1, 0, 0, b"x")).convert(0), None, "no number");
        assert_eq!(analog(&full(0, 9, 1, 0, 0, b"x")).convert(3), Some(27.0));
        assert_eq!(analog(&full(0, 0x70, 1, 0, 0, b"x")).convert(3), None);
        assert_eq!(parse(&full(0xc0, 0, 1, 0, 0, b"x")).unwrap()[0].analog, None);
    }

    #[test]
    fn a_shared_compact_record_is_several_sensors() {
        let mut body = vec![0x20, 0x10, 0x50, 3, 1, 0x7f, 0x68, 0x04, 0x6f, 0, 0, 0, 0, 0, 0, 0xc0, 0, 0];
        body.extend([0x13, 0x81, 0, 0, 0, 0, 0, 0]);
        body.extend([0xc3, b'F', b'a', b'n']);
        let mut record = vec![1, 0, 0x51, COMPACT, body.len() as u8];
        record.extend(body);
        let sensors = parse(&record).unwrap();
        let names: Vec<(&str, u8)> = sensors.iter().map(|sensor| (sensor.name.as_str(), sensor.number)).collect();
        assert_eq!(names, [("FanB", 0x50), ("FanC", 0x51), ("FanD", 0x52)]);
        assert_eq!(letters(25), "Z");
        assert_eq!(letters(26), "AA");
    }

    #[test]
    fn other_records_hold_no_sensor_and_cut_ones_are_refused() {
        assert_eq!(parse(&[1, 0, 0x51, 0x12, 2, 0, 0]).unwrap(), []);
        let record = full(0, 0, 1, 0, 0, b"CPU");
        for len in 0..record.len() {
            assert!(parse(&record[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn health_is_that_of_the_worst_state() {
        let record = parse(&full(0, 0, 1, 0, 0, b"CPU")).unwrap().remove(0);
        assert_eq!(health(&record, 0), Some(Health::Ok));
        assert_eq!(health(&record, 0b00_1000), Some(Health::Warning));
        assert_eq!(health(&record, 0b01_1000), Some(Health::Critical));
        let supply = SensorRecord { kind: 0x08, event_type: 0x6f, ..record };
        assert_eq!(health(&supply, 0b01), Some(Health::Ok));
        assert_eq!(health(&supply, 0b11), Some(Health::Critical));
        assert_eq!(health(&supply, 0), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, kind in 0u8..4, raw: u8, states: u16) {
            let _ = parse(&bytes);
            let mut record = vec![1, 0, 0x51, kind, bytes.len().min(255) as u8];
            record.extend(&bytes);
            for sensor in parse(&record).unwrap_or_default() {
                if let Some(value) = sensor.analog.and_then(|analog| analog.convert(raw)) {
                    prop_assert!(value.is_finite());
                }
                let _ = health(&sensor, states);
            }
        }
    }
}
