//! Times as esi-leap writes and reads them: `2026-11-24T00:00:00`, to the microsecond, in UTC where no zone is named.

use super::fault::Fault;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

/// The last moment that esi-leap knows; it stands for: never.
const NEVER: &str = "9999-12-31T23:59:59.999999";
/// What its client says for that (`offer list --now`).
const NEVER_TOO: &str = "9999-12-31T00:00:00";
/// Nothing is leased before computers were, nor when calendars end.
const YEARS: std::ops::Range<i16> = 1970..9999;

pub(super) fn shown(at: Timestamp) -> String {
    if at == Timestamp::MAX {
        return NEVER.to_owned();
    }
    let format = if at.subsec_microsecond() == 0 && at.subsec_millisecond() == 0 {
        "%Y-%m-%dT%H:%M:%S"
    } else {
        "%Y-%m-%dT%H:%M:%S.%6f"
    };
    at.strftime(format).to_string()
}

/// What of a time is shown: so a time that somebody was shown is that time when he says it.
pub(super) use leasehold_domain::lease::to_the_microsecond as as_shown;

/// A time in a request, under this name.
pub(super) fn read(name: &str, text: &str) -> Result<Timestamp, Fault> {
    if matches!(text, NEVER | NEVER_TOO) {
        return Ok(Timestamp::MAX);
    }
    parse(text).ok_or_else(|| {
        Fault::bad_request(format!(
            "Invalid input for field/attribute {name}. Value: '{text}'. It must be a time such as 2026-11-24T08:30:00, \
             in UTC or with its zone (…+01:00), in the years 1970 to 9998."
        ))
    })
}

fn parse(text: &str) -> Option<Timestamp> {
    let (date, rest) = text.split_at_checked(10)?;
    let (clock, rest) = rest.strip_prefix(['T', ' '])?.split_at_checked(8)?;
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = numbers(clock, ':')?;
    let zone_begins = rest.find(['Z', '+', '-']).unwrap_or(rest.len());
    let (fraction, zone) = rest.split_at(zone_begins);
    if date.as_bytes().get(4) != Some(&b'-') || !YEARS.contains(&year) {
        return None;
    }
    let small = |number: i16| i8::try_from(number).ok();
    let civil = DateTime::new(
        year,
        small(month)?,
        small(day)?,
        small(hour)?,
        small(minute)?,
        small(second)?,
        nanoseconds(fraction)?,
    );
    offset(zone)?.to_timestamp(civil.ok()?).ok()
}

/// Three numbers of at least two digits each, apart by `sign`.
fn numbers(text: &str, sign: char) -> Option<[i16; 3]> {
    let mut parts = text.split(sign).map(|part| number(part).filter(|_| part.len() >= 2));
    let found = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(found)
}

fn number(digits: &str) -> Option<i16> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// Of a fraction of a second with its point; of none.
fn nanoseconds(fraction: &str) -> Option<i32> {
    if fraction.is_empty() {
        return Some(0);
    }
    let digits = fraction.strip_prefix('.').filter(|digits| (1..=6).contains(&digits.len()))?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| format!("{digits:0<9}").parse().ok()).flatten()
}

/// `Z`, `+01:00`, `+0100`, or nothing: UTC.
fn offset(zone: &str) -> Option<Offset> {
    if matches!(zone, "" | "Z") {
        return Some(Offset::UTC);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let digits = zone.get(1..)?;
    let (hours, minutes) = match digits.len() {
        5 => digits.split_once(':')?,
        4 => digits.split_at_checked(2)?,
        _ => return None,
    };
    let (hours, minutes) = (number(hours).filter(|hours| *hours < 24)?, number(minutes).filter(|part| *part < 60)?);
    Offset::from_seconds(sign * (i32::from(hours) * 3600 + i32::from(minutes) * 60)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_with_and_without_zone() {
        for (text, expected) in [
            ("2026-11-24T00:00:00", "2026-11-24T00:00:00Z"),
            ("2026-11-24 00:00:00Z", "2026-11-24T00:00:00Z"),
            ("2026-11-24T00:00:00.25", "2026-11-24T00:00:00.25Z"),
            ("2026-11-24T00:00:00+01:30", "2026-11-23T22:30:00Z"),
            ("2026-11-24T00:00:00.000001-0100", "2026-11-24T01:00:00.000001Z"),
            ("2028-02-29T23:59:59", "2028-02-29T23:59:59Z"),
            ("1970-01-01T00:00:00", "1970-01-01T00:00:00Z"),
        ] {
            assert_eq!(parse(text), expected.parse().ok(), "{text}");
        }
        for never in [NEVER, NEVER_TOO] {
            assert_eq!(read("end_time", never).ok(), Some(Timestamp::MAX));
        }
        assert_eq!(shown(Timestamp::MAX), NEVER);
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "soon",
            "2026-11-24",
            "2026-11-24T00:00",
            "2026-11-24T24:00:00",
            "2026-12-31T23:59:60",
            "2026-11-31T00:00:00",
            "2026-00-01T00:00:00",
            "2027-02-29T00:00:00",
            "0000-01-01T00:00:00",
            "0001-01-01T00:00:00",
            "1969-12-31T23:59:59",
            "9999-01-01T00:00:00",
            "9999-12-31T23:59:59",
            "10000-01-01T00:00:00",
            "+2026-11-24T00:00:00",
            "-026-11-24T00:00:00",
            "2026-11-24T00:00:00.",
            "2026-11-24T00:00:00.1234567",
            "2026-11-24T00:00:00+24:00",
            "2026-11-24T00:00:00+1",
            "2026-11-24T00:00:00Zulu",
            "2026-11-24T00:00:00 ",
            "２０２６-11-24T00:00:00",
            "202-611-24T00:00:00",
            "1764000000",
            "2026-11-24T-1:00:00",
            "2026-11-24T00:00:00+aa:00",
        ] {
            assert!(parse(text).is_none(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_time_that_was_shown_is_read_back(micros in 0_i64..253_370_764_800_000_000) {
            let at = Timestamp::from_microsecond(micros).expect("a time");
            let beyond = at + jiff::SignedDuration::from_nanos(999);
            prop_assert_eq!(parse(&shown(at)), Some(at));
            prop_assert_eq!((shown(beyond), as_shown(beyond)), (shown(at), at));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}", digits in "[0-9T:.Z+ -]{0,40}") {
            let _either_is_fine = (parse(&text), parse(&digits));
        }
    }
}
