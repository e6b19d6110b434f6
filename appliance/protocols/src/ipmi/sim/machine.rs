//! The machine behind a simulated BMC: power, boot flags, sensors, event log, inventory.

use std::time::Duration;

use super::super::command::{BootFlags, BootSource, Control};

/// What a simulated sensor measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SensorKind {
    /// Degrees Celsius, one a step.
    Temperature,
    /// Revolutions a minute, 60 a step; no reading while the power is off.
    Fan,
    /// Volts, 0.06 a step.
    Voltage,
    /// A power supply with states instead of a reading (bit 0 present, bit 1 failed).
    Supply,
}

/// A simulated sensor with its raw reading (or its states).
#[derive(Debug, Clone)]
pub struct SimSensor {
    pub name: String,
    pub number: u8,
    pub kind: SensorKind,
    pub raw: u8,
    /// Raw readings from which it is non-critical and critical.
    pub upper: (u8, u8),
}

impl SimSensor {
    /// The SDR, header included (full record; compact for [`SensorKind::Supply`]).
    pub(super) fn record(&self, id: u16) -> Vec<u8> {
        let (kind, event_type, unit) = match self.kind {
            SensorKind::Temperature => (0x01, 0x01, 1),
            SensorKind::Fan => (0x04, 0x01, 18),
            SensorKind::Voltage => (0x02, 0x01, 4),
            SensorKind::Supply => (0x08, 0x6f, 0),
        };
        let name: Vec<u8> = self.name.bytes().take(16).collect();
        let units = if self.kind == SensorKind::Supply { 0xc0 } else { 0 };
        // Owner, lun, number, entity (system board), instance, initialization, capabilities, types.
        let mut body = vec![0x20, 0, self.number, 7, 1, 0x7f, 0x68, kind, event_type];
        // Readable thresholds: upper non-critical and critical.
        body.extend([0, 0, 0, 0, 0x18, 0x18, units, unit, 0]);
        let record = if self.kind == SensorKind::Supply {
            body.extend([1, 0, 0, 0, 0, 0, 0, 0]);
            0x02
        } else {
            let (m, exponents) = match self.kind {
                SensorKind::Fan => (60, 0),
                SensorKind::Voltage => (6, 0xe0),
                SensorKind::Temperature | SensorKind::Supply => (1, 0),
            };
            body.extend([0, m, 0, 0, 0, 0, exponents, 0, 0, 0, 0, 255, 0]);
            body.extend([255, self.upper.1, self.upper.0, 0, 0, 0, 0, 0, 0, 0, 0]);
            0x01
        };
        body.push(0xc0 | name.len() as u8);
        body.extend(name);
        let [low, high] = id.to_le_bytes();
        let mut bytes = vec![low, high, 0x51, record, body.len() as u8];
        bytes.extend(body);
        bytes
    }

    /// The data of Get Sensor Reading.
    pub(super) fn reading(&self, power_on: bool) -> [u8; 4] {
        match self.kind {
            SensorKind::Supply => [0, 0xc0, self.raw, 0x80],
            SensorKind::Fan if !power_on => [0, 0xe0, 0, 0x80],
            _ => {
                let passed = u8::from(self.raw >= self.upper.0) << 3 | u8::from(self.raw >= self.upper.1) << 4;
                [self.raw, 0xc0, 0xc0 | passed, 0x80]
            }
        }
    }
}

/// The machine and what its BMC remembers about it.
#[derive(Debug, Clone)]
pub struct Machine {
    pub power_on: bool,
    /// How long after a soft off the operating system has shut down; `None`: it does not listen.
    pub obeys_soft_off: Option<Duration>,
    pub boot: BootFlags,
    /// Whether the console switched off the expiry of the boot flags.
    pub boot_flags_stay: bool,
    pub sensors: Vec<SimSensor>,
    /// Records of the event log, the oldest first; their ids must be ascending.
    pub log: Vec<[u8; 16]>,
    pub fru: Vec<u8>,
    /// Every control that was accepted, the oldest first.
    pub controls: Vec<Control>,
    /// How often the BMC itself was started anew, coldly and warmly.
    pub bmc_resets: (u32, u32),
    /// When the soft off that was asked for takes effect.
    pub soft_off_at: Option<Duration>,
}

impl Default for Machine {
    fn default() -> Self {
        let sensor = |name: &str, number, kind, raw, upper| SimSensor { name: name.into(), number, kind, raw, upper };
        Machine {
            power_on: false,
            obeys_soft_off: Some(Duration::from_secs(2)),
            boot: BootFlags { valid: false, persistent: false, efi: false, source: BootSource::None },
            boot_flags_stay: false,
            sensors: vec![
                sensor("CPU Temp", 0x30, SensorKind::Temperature, 45, (85, 95)),
                sensor("FAN 1", 0x41, SensorKind::Fan, 80, (255, 255)),
                sensor("12V", 0x50, SensorKind::Voltage, 201, (220, 230)),
                sensor("PSU 1", 0x60, SensorKind::Supply, 0x01, (0, 0)),
            ],
            log: vec![
                // A power supply failed, and the failure ended.
                [1, 0, 2, 0x00, 0xf1, 0x53, 0x65, 0x20, 0, 4, 0x08, 0x60, 0x6f, 0x01, 0xff, 0xff],
                [2, 0, 2, 0x3c, 0xf1, 0x53, 0x65, 0x20, 0, 4, 0x08, 0x60, 0xef, 0x01, 0xff, 0xff],
                // The processor got too hot.
                [3, 0, 2, 0x78, 0xf1, 0x53, 0x65, 0x20, 0, 4, 0x01, 0x30, 0x01, 0x59, 96, 95],
            ],
            fru: fru("Leasehold", "Simulated node", "SIM-0001"),
            controls: Vec::new(),
            bmc_resets: (0, 0),
            soft_off_at: None,
        }
    }
}

impl Machine {
    /// Does what Chassis Control asks.
    pub(super) fn control(&mut self, now: Duration, control: Control) {
        self.controls.push(control);
        match control {
            Control::Off => {
                self.power_on = false;
                self.soft_off_at = None;
            }
            Control::On | Control::Cycle | Control::Reset => {
                self.power_on = true;
                self.soft_off_at = None;
            }
            // Seen in `controls`: there is no operating system that would do something about it.
            Control::DiagnosticInterrupt => {}
            Control::SoftOff => self.soft_off_at = self.obeys_soft_off.map(|patience| now + patience),
        }
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.soft_off_at
    }

    pub(super) fn tick(&mut self, now: Duration) {
        if self.soft_off_at.is_some_and(|at| now >= at) {
            self.soft_off_at = None;
            self.power_on = false;
        }
    }
}

/// A FRU storage with a product area.
fn fru(manufacturer: &str, product: &str, serial: &str) -> Vec<u8> {
    let mut area = vec![1, 0, 25];
    for text in [manufacturer, product, "", "1.0", serial] {
        area.push(0xc0 | text.len() as u8);
        area.extend(text.bytes());
    }
    area.push(0xc1);
    area.resize((area.len() + 1).next_multiple_of(8), 0);
    let units = (area.len() / 8) as u8;
    if let Some(len) = area.get_mut(1) {
        *len = units;
    }
    set_checksum(&mut area);
    let mut storage = vec![1, 0, 0, 0, 1, 0, 0, 0];
    set_checksum(&mut storage);
    storage.extend(area);
    storage
}

fn set_checksum(bytes: &mut [u8]) {
    let sum = super::super::message::checksum(bytes);
    if let Some(last) = bytes.last_mut() {
        *last = sum;
    }
}
