//! Log services and their entries.

use super::lenient;
use super::root::Link;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::cmp::Reverse;

/// One of the logs that a system or a manager keeps.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct LogService {
    #[serde(deserialize_with = "lenient::text")]
    pub id: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    pub log_entry_type: Option<String>,
    #[serde(deserialize_with = "lenient::object")]
    pub entries: Link,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// How well a log serves as the machine's event log, 0 best: hardware events first, then what the vendor calls its
/// event log, then anything; audit trails, journals, POST codes and dumps last.
pub fn log_service_rank(service: &LogService) -> u8 {
    if service.log_entry_type.as_deref() == Some("SEL") {
        return 0;
    }
    match service.id.as_deref().unwrap_or_default().to_ascii_lowercase().as_str() {
        "sel" => 0,
        "eventlog" | "iml" | "log1" | "platformlog" | "systemevent" => 1,
        "lclog" | "iel" | "faultlist" | "activelog" => 3,
        id if ["dump", "journal", "audit", "postcode", "crash", "trace"].iter().any(|word| id.contains(word)) => 9,
        _ => 5,
    }
}

/// One entry of a log.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct LogRecord {
    #[serde(deserialize_with = "lenient::text")]
    pub id: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    pub created: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    pub event_timestamp: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    pub severity: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    pub message: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    pub message_id: Option<String>,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl LogRecord {
    /// When it happened, if the BMC says it as RFC 3339.
    pub fn time(&self) -> Option<&str> {
        let times = [self.created.as_deref(), self.event_timestamp.as_deref()];
        times.into_iter().flatten().find(|time| seconds(time).is_some())
    }

    /// What happened; the identifier of the message where the BMC leaves the text out.
    pub fn text(&self) -> &str {
        let texts = [self.message.as_deref(), self.message_id.as_deref()];
        texts.into_iter().flatten().map(str::trim).find(|text| !text.is_empty()).unwrap_or("(no text)")
    }
}

/// BMCs list their logs in either order: sorts by time, and where that does not tell by number.
pub fn sort_newest_first(records: &mut [LogRecord]) {
    records.sort_by_cached_key(|record| {
        let number = record.id.as_deref().and_then(trailing_number);
        Reverse((record.time().and_then(seconds), number))
    });
}

fn trailing_number(id: &str) -> Option<u64> {
    let digits = id.len() - id.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    id[id.len() - digits..].parse().ok()
}

/// Seconds since 1970 of an RFC 3339 time, fractions dropped.
fn seconds(time: &str) -> Option<i64> {
    let bytes = time.as_bytes();
    if !time.is_ascii() || bytes.len() < 20 {
        return None;
    }
    let number = |from: usize, to: usize| -> Option<i64> {
        bytes[from..to].iter().try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
    };
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let punctuated = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')].iter().all(|&(at, sign)| bytes[at] == sign);
    let in_range = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    if !punctuated || !in_range || !matches!(bytes[10], b'T' | b't' | b' ') {
        return None;
    }
    let rest = &time[19..];
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => rest,
    };
    let offset = match zone.as_bytes() {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), hours @ .., b':', _, _] if hours.len() == 2 => {
            let (hours, minutes) = (zone[1..3].parse::<i64>().ok()?, zone[4..6].parse::<i64>().ok()?);
            (hours * 60 + minutes) * if *sign == b'+' { 60 } else { -60 }
        }
        _ => return None,
    };
    // Days since the epoch, with the year beginning in March so that leap days come last.
    let shifted = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (shifted.div_euclid(400), shifted.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second - offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(id: &str, created: Option<&str>) -> LogRecord {
        LogRecord { id: Some(id.to_owned()), created: created.map(str::to_owned), ..Default::default() }
    }

    fn order(mut records: Vec<LogRecord>) -> Vec<String> {
        sort_newest_first(&mut records);
        records.into_iter().filter_map(|record| record.id).collect()
    }

    #[test]
    fn times_are_compared_across_zones() {
        assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(seconds("2026-11-24T15:35:53Z"), Some(1_795_534_553));
        assert_eq!(seconds("2026-11-24T16:35:53.123+01:00"), Some(1_795_534_553));
        assert_eq!(seconds("2000-02-29T00:00:00-05:30"), Some(951_782_400 + 19_800));
        for bad in ["", "yesterday", "2026-13-01T00:00:00Z", "2026-11-24T15:35:53", "2026-11-24T15:35:53+1:00"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_newest_comes_first_by_time_then_by_number() {
        let dated = vec![
            record("1", Some("2026-01-01T00:00:00Z")),
            record("2", Some("2026-01-01T03:00:00+02:00")),
            record("3", Some("2025-12-31T00:00:00Z")),
        ];
        assert_eq!(order(dated), ["2", "1", "3"]);
        assert_eq!(order(vec![record("9", None), record("10", None), record("a", None)]), ["10", "9", "a"]);
    }

    #[test]
    fn a_hardware_log_is_preferred() {
        let named = |id: &str| LogService { id: Some(id.to_owned()), ..Default::default() };
        assert!(log_service_rank(&named("SEL")) < log_service_rank(&named("EventLog")));
        assert!(log_service_rank(&named("EventLog")) < log_service_rank(&named("Whatever")));
        assert!(log_service_rank(&named("Whatever")) < log_service_rank(&named("PostCodes")));
    }

    #[test]
    fn a_record_without_text_shows_its_identifier() {
        let bare = LogRecord { message_id: Some("Event.1.0.FanFailed".to_owned()), ..Default::default() };
        assert_eq!(bare.text(), "Event.1.0.FanFailed");
        assert_eq!(LogRecord::default().text(), "(no text)");
    }

    proptest! {
        #[test]
        fn no_time_panics(time in ".{0,40}", near in "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}.{0,8}") {
            let _ = (seconds(&time), seconds(&near));
        }
    }
}
