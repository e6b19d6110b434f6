//! The time, taken from the `Date` field of the appliance's answers: a machine out of its box may be years off.

use crate::kernel;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Less than this is left alone: the field has whole seconds and is some time under way.
const TOLERANCE: u64 = 3;

/// Reads a `Date` field (RFC 9110, IMF-fixdate), for example `Sun, 06 Nov 1994 08:49:37 GMT`, as seconds since 1970.
#[must_use]
pub fn parse_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let rest = text.trim().strip_suffix(" GMT")?;
    let (_, rest) = rest.split_once(", ")?;
    let mut parts = rest.split(' ');
    let day: i64 = parts.next()?.parse().ok().filter(|day| (1..=31).contains(day))?;
    let month = parts.next()?;
    let month = i64::try_from(MONTHS.iter().position(|name| *name == month)?).ok()? + 1;
    let year: i64 = parts.next()?.parse().ok().filter(|year| (1970..=9999).contains(year))?;
    let mut time = parts.next()?.split(':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    if hour > 23 || minute > 59 || second > 60 || parts.next().is_some() || time.next().is_some() {
        return None;
    }
    let days = u64::try_from(days_from_civil(year, month, day)).ok()?;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Days since 1970-01-01 (in eras of 400 years that begin in March, so that the leap day comes last).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The other way: (year, month, day).
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days - era * 146_097;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// Sets the system clock, and the battery-backed one, to the time of a `Date` field where they are off. Returns what
/// was done, for the console.
#[must_use]
pub fn set_from(date: &str) -> Option<String> {
    let wanted = parse_date(date)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let off = now.abs_diff(wanted);
    if off < TOLERANCE {
        return None;
    }
    let seconds = i64::try_from(wanted).ok()?;
    let time = rustix::time::Timespec { tv_sec: seconds, tv_nsec: 0 };
    if let Err(error) = rustix::time::clock_settime(rustix::time::ClockId::Realtime, time) {
        return Some(format!("the clock is {off} s off and cannot be set: {error}"));
    }
    let (year, month, day) = civil_from_days(seconds.div_euclid(86_400));
    let of_day = u32::try_from(seconds.rem_euclid(86_400)).unwrap_or(0);
    let small = |value: i64| u32::try_from(value).unwrap_or(1);
    let date = (i32::try_from(year).unwrap_or(1970), small(month), small(day));
    // A machine without a battery-backed clock is none the worse.
    let _ = kernel::set_hardware_clock(date, (of_day / 3600, of_day / 60 % 60, of_day % 60));
    Some(format!("the clock was {off} s off and is set to {year:04}-{month:02}-{day:02}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates_are_read() {
        assert_eq!(parse_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(parse_date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(parse_date("Thu, 29 Feb 2024 12:00:00 GMT"), Some(1_709_208_000));
        for wrong in [
            "",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 32 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 25:49:37 GMT",
        ] {
            assert_eq!(parse_date(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn days_round_trip(days in 0i64..2_000_000) {
            let (year, month, day) = civil_from_days(days);
            prop_assert!((1..=12).contains(&month) && (1..=31).contains(&day));
            prop_assert_eq!(days_from_civil(year, month, day), days);
        }

        #[test]
        fn any_text_is_survived(text in ".{0,40}") {
            let _ = parse_date(&text);
        }
    }
}
