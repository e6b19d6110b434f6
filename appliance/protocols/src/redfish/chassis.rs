//! Sensors: the older `Thermal` and `Power` of a chassis, and the newer `Sensor`.

use super::lenient;
use super::root::Link;
use serde::Deserialize;
use serde_json::{Map, Value};

/// A chassis: where the sensors are found.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Chassis {
    #[serde(deserialize_with = "lenient::text")]
    pub id: Option<String>,
    #[serde(deserialize_with = "lenient::object")]
    pub thermal: Link,
    #[serde(deserialize_with = "lenient::object")]
    pub power: Link,
    #[serde(deserialize_with = "lenient::object")]
    pub sensors: Link,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// `Thermal`: temperatures and fans.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Thermal {
    #[serde(deserialize_with = "lenient::list")]
    pub temperatures: Vec<Sensor>,
    #[serde(deserialize_with = "lenient::list")]
    pub fans: Vec<Sensor>,
}

/// `Power`: voltages, supplies and what is drawn.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ChassisPower {
    #[serde(deserialize_with = "lenient::list")]
    pub voltages: Vec<Sensor>,
    #[serde(deserialize_with = "lenient::list")]
    pub power_control: Vec<Sensor>,
    #[serde(deserialize_with = "lenient::list")]
    pub power_supplies: Vec<Sensor>,
}

/// A sensor in any of its shapes: a resource of its own, or an element of the older lists.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Sensor {
    #[serde(deserialize_with = "lenient::text")]
    pub name: Option<String>,
    /// The name of a fan in the first schema versions.
    #[serde(deserialize_with = "lenient::text")]
    pub fan_name: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    pub id: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    pub member_id: Option<String>,
    #[serde(deserialize_with = "lenient::number")]
    pub reading: Option<f64>,
    #[serde(deserialize_with = "lenient::text")]
    pub reading_units: Option<String>,
    #[serde(deserialize_with = "lenient::number")]
    pub reading_celsius: Option<f64>,
    #[serde(deserialize_with = "lenient::number")]
    pub reading_volts: Option<f64>,
    #[serde(deserialize_with = "lenient::number")]
    pub power_consumed_watts: Option<f64>,
    #[serde(deserialize_with = "lenient::number")]
    pub power_output_watts: Option<f64>,
    #[serde(deserialize_with = "lenient::number")]
    pub last_power_output_watts: Option<f64>,
    #[serde(deserialize_with = "lenient::object")]
    pub status: Status,
}

/// `Status` of any resource.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Status {
    #[serde(deserialize_with = "lenient::text")]
    pub state: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    pub health: Option<String>,
}

/// One reading as a person wants it.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    pub name: String,
    pub value: Option<f64>,
    /// `Celsius`, `RPM`, `%`, `V`, `W`, `A`, …; empty when the BMC names none.
    pub unit: String,
    /// `ok`, `warning`, `critical`, when the BMC judges.
    pub health: Option<&'static str>,
}

impl Thermal {
    pub fn readings(&self) -> Vec<Reading> {
        let fans = self.fans.iter().filter_map(|fan| fan.as_reading(fan.reading, fan.units_or("RPM")));
        self.temperatures
            .iter()
            .filter_map(|sensor| sensor.as_reading(sensor.reading_celsius, "Celsius"))
            .chain(fans)
            .collect()
    }
}

impl ChassisPower {
    pub fn readings(&self) -> Vec<Reading> {
        let drawn = self.power_control.iter().filter_map(|sensor| sensor.as_reading(sensor.power_consumed_watts, "W"));
        let supplies = self
            .power_supplies
            .iter()
            .filter_map(|sensor| sensor.as_reading(sensor.power_output_watts.or(sensor.last_power_output_watts), "W"));
        self.voltages
            .iter()
            .filter_map(|sensor| sensor.as_reading(sensor.reading_volts, "V"))
            .chain(drawn)
            .chain(supplies)
            .collect()
    }
}

impl Sensor {
    /// The reading of a `Sensor` resource; `None` when there is nothing to tell.
    pub fn to_reading(&self) -> Option<Reading> {
        self.as_reading(self.reading, self.units_or(""))
    }

    fn units_or<'a>(&'a self, default: &'a str) -> &'a str {
        // UCUM's spellings (DSP0268, Sensor.ReadingUnits) and the ones of the older fan schema.
        match self.reading_units.as_deref() {
            None | Some("") => default,
            Some("Cel") => "Celsius",
            Some("Percent") => "%",
            Some("{rev}/min" | "1/min" | "rpm") => "RPM",
            Some(other) => other,
        }
    }

    /// `None` for a slot that is empty, and for a sensor with neither value nor health.
    fn as_reading(&self, value: Option<f64>, unit: &str) -> Option<Reading> {
        if self.status.state.as_deref() == Some("Absent") {
            return None;
        }
        let health = match self.status.health.as_deref() {
            Some("OK") => Some("ok"),
            Some("Warning") => Some("warning"),
            Some("Critical") => Some("critical"),
            _ => None,
        };
        if value.is_none() && health.is_none() {
            return None;
        }
        let names = [&self.name, &self.fan_name, &self.id, &self.member_id];
        let name = names.into_iter().flatten().find(|name| !name.trim().is_empty())?;
        Some(Reading { name: name.trim().to_owned(), value, unit: unit.to_owned(), health })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(name: &str, value: Option<f64>, unit: &str, health: Option<&'static str>) -> Reading {
        Reading { name: name.to_owned(), value, unit: unit.to_owned(), health }
    }

    #[test]
    fn temperatures_and_fans_old_and_new() {
        let thermal: Thermal = serde_json::from_str(
            r#"{"Temperatures": [{"Name": "CPU", "ReadingCelsius": "41", "Status": {"Health": "Warning"}},
                                 {"Name": "Empty", "ReadingCelsius": 0, "Status": {"State": "Absent"}},
                                 {"Name": "Silent", "ReadingCelsius": null}],
                "Fans": [{"FanName": "Fan 1", "Reading": 2100, "ReadingUnits": null, "Status": {"Health": "OK"}},
                         {"Name": "Fan 2", "Reading": 30, "ReadingUnits": "Percent"}, "junk"]}"#,
        )
        .unwrap();
        assert_eq!(
            thermal.readings(),
            [
                reading("CPU", Some(41.0), "Celsius", Some("warning")),
                reading("Fan 1", Some(2100.0), "RPM", Some("ok")),
                reading("Fan 2", Some(30.0), "%", None),
            ]
        );
    }

    #[test]
    fn power_in_volts_and_watts() {
        let power: ChassisPower = serde_json::from_str(
            r#"{"Voltages": [{"Name": "12V", "ReadingVolts": 12.1}],
                "PowerControl": [{"MemberId": "0", "PowerConsumedWatts": 250}],
                "PowerSupplies": [{"Name": "PSU1", "LastPowerOutputWatts": 120, "Status": {"Health": "OK"}},
                                  {"Name": "PSU2", "Status": {"Health": "Critical"}}]}"#,
        )
        .unwrap();
        assert_eq!(
            power.readings(),
            [
                reading("12V", Some(12.1), "V", None),
                reading("0", Some(250.0), "W", None),
                reading("PSU1", Some(120.0), "W", Some("ok")),
                reading("PSU2", None, "W", Some("critical")),
            ]
        );
    }

    #[test]
    fn a_sensor_resource_speaks_ucum() {
        let sensor: Sensor =
            serde_json::from_str(r#"{"Id": "t1", "Name": "Inlet", "Reading": 22.5, "ReadingUnits": "Cel"}"#).unwrap();
        assert_eq!(sensor.to_reading(), Some(reading("Inlet", Some(22.5), "Celsius", None)));
    }
}
