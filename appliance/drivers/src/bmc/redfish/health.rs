//! Sensors and the event log.

use super::service::{MOST_PAGES, optional};
use super::session::Session;
use crate::bmc::{BmcError, LogEntry, Sensor};
use leasehold_protocols::redfish::{
    self, Chassis, ChassisPower, Collection, ComputerSystem, LogRecord, LogService, Reading, Thermal, log_service_rank,
    sort_newest_first,
};

/// Chassis of one system that are asked; blades name their enclosures, too.
pub(super) const MOST_CHASSIS: usize = 8;
/// Sensors that are fetched one by one from a BMC that cannot expand a collection.
const MOST_SENSORS: usize = 200;
/// Log entries that are looked through for the newest. BMCs keep a few thousand.
const MOST_RECORDS: usize = 10_000;

impl Session {
    pub(super) async fn sensors(&mut self) -> Result<Vec<Sensor>, BmcError> {
        let (system, _) = self.system().await?;
        let mut readings = Vec::new();
        for link in self.chassis_of(&system).await?.into_iter().take(MOST_CHASSIS) {
            if let Some((chassis, _)) = optional(self.get::<Chassis>(&link).await)? {
                readings.extend(self.readings(&chassis).await?);
            }
        }
        if readings.is_empty() {
            return Err(self.endpoint.unsupported("it shows no sensors of this machine"));
        }
        let sensor =
            |Reading { name, value, unit, health }| Sensor { name, value, unit, health: health.map(str::to_owned) };
        Ok(readings.into_iter().map(sensor).collect())
    }

    pub(super) async fn chassis_of(&mut self, system: &ComputerSystem) -> Result<Vec<String>, BmcError> {
        let named: Vec<String> =
            system.links.chassis.iter().filter_map(|link| link.path()).map(str::to_owned).collect();
        if !named.is_empty() {
            return Ok(named);
        }
        let Some(collection) = self.root().await?.chassis.path().map(str::to_owned) else { return Ok(Vec::new()) };
        Ok(optional(self.members(&collection).await)?.unwrap_or_default())
    }

    /// The older lists where the chassis has them: two requests instead of one per sensor.
    async fn readings(&mut self, chassis: &Chassis) -> Result<Vec<Reading>, BmcError> {
        let mut readings = Vec::new();
        if let Some(link) = chassis.thermal.path() {
            readings.extend(optional(self.get::<Thermal>(link).await)?.map(|(t, _)| t.readings()).unwrap_or_default());
        }
        if let Some(link) = chassis.power.path() {
            readings
                .extend(optional(self.get::<ChassisPower>(link).await)?.map(|(p, _)| p.readings()).unwrap_or_default());
        }
        if let (true, Some(link)) = (readings.is_empty(), chassis.sensors.path()) {
            readings = self.sensor_resources(link).await?;
        }
        Ok(readings)
    }

    async fn sensor_resources(&mut self, link: &str) -> Result<Vec<Reading>, BmcError> {
        let path = match self.root().await?.expand_query() {
            Some(query) if !link.contains('?') => format!("{link}?{query}"),
            _ => link.to_owned(),
        };
        let Some((collection, _)) = optional(self.get::<Collection>(&path).await)? else { return Ok(Vec::new()) };
        let mut sensors = collection.inline::<redfish::Sensor>();
        if sensors.is_empty() {
            for link in collection.links().take(MOST_SENSORS) {
                sensors.extend(optional(self.get::<redfish::Sensor>(link).await)?.map(|(sensor, _)| sensor));
            }
        }
        Ok(sensors.iter().filter_map(redfish::Sensor::to_reading).collect())
    }

    pub(super) async fn event_log(&mut self, limit: usize) -> Result<Vec<LogEntry>, BmcError> {
        let Some(entries) = self.log_entries().await? else {
            return Err(self.endpoint.unsupported("it keeps no event log that Redfish shows"));
        };
        let mut records = self.log_records(&entries, limit).await?;
        sort_newest_first(&mut records);
        records.truncate(limit);
        let entry = |record: LogRecord| LogEntry {
            time: record.time().map(str::to_owned),
            message: record.text().to_owned(),
            id: record.id.unwrap_or_default(),
            severity: record.severity,
        };
        Ok(records.into_iter().map(entry).collect())
    }

    /// The link to the entries of the log that tells most about the machine: the system's before the BMC's own.
    async fn log_entries(&mut self) -> Result<Option<String>, BmcError> {
        let (system, _) = self.system().await?;
        let manager = self.manager(&system).await?;
        let homes = [Some(system.log_services), manager.map(|manager| manager.log_services)];
        let mut best: Option<(u8, String)> = None;
        for home in homes.into_iter().flatten() {
            let Some(collection) = home.path() else { continue };
            for link in optional(self.members(collection).await)?.unwrap_or_default() {
                let Some((service, _)) = optional(self.get::<LogService>(&link).await)? else { continue };
                let rank = log_service_rank(&service);
                if let Some(entries) = service.entries.path()
                    && best.as_ref().is_none_or(|(best, _)| rank < *best)
                {
                    best = Some((rank, entries.to_owned()));
                }
            }
        }
        Ok(best.map(|(_, entries)| entries))
    }

    async fn log_records(&mut self, entries: &str, limit: usize) -> Result<Vec<LogRecord>, BmcError> {
        let (mut records, mut links) = (Vec::new(), Vec::new());
        let mut page = Some(entries.to_owned());
        for _ in 0..MOST_PAGES {
            let Some(link) = page else { break };
            let (collection, _) = self.get::<Collection>(&link).await?;
            let whole = collection.inline::<LogRecord>();
            if whole.is_empty() {
                links.extend(collection.links().map(str::to_owned));
            }
            records.extend(whole);
            if records.len() + links.len() >= MOST_RECORDS {
                break;
            }
            page = collection.next().map(str::to_owned);
        }
        // Entries that are only linked are fetched one by one, those with the highest numbers.
        let number =
            |link: &String| link.trim_end_matches('/').rsplit('/').next().and_then(|id| id.parse::<u64>().ok());
        links.sort_by_key(|link| std::cmp::Reverse(number(link)));
        for link in links.into_iter().take(limit) {
            records.extend(optional(self.get::<LogRecord>(&link).await)?.map(|(record, _)| record));
        }
        Ok(records)
    }
}
