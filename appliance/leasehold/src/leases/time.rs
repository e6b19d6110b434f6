//! Times and lengths as people write them.

use anyhow::Context;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};

/// A length, such as `12h` or `3d 12h`.
pub(super) fn length(text: &str) -> Result<SignedDuration, String> {
    let wrong = || format!("'{text}' is no length: write 12h, 3d or \"3d 12h\"");
    let span: Span = text.parse().map_err(|_| wrong())?;
    let length = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    if length.is_positive() { Ok(length) } else { Err(wrong()) }
}

/// A time with its zone, or in UTC.
pub(super) fn read(text: &str) -> anyhow::Result<Timestamp> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let civil: DateTime = text.parse().with_context(|| format!("'{text}' is no time such as 2026-11-24T08:30:00"))?;
    Ok(Offset::UTC.to_timestamp(civil)?)
}

/// A time as the API reads it, to the microsecond.
pub(super) fn said(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read() {
        assert_eq!(length("12h"), Ok(SignedDuration::from_hours(12)));
        assert_eq!(length("3d 12h"), Ok(SignedDuration::from_hours(84)));
        assert_eq!(length("2w"), Ok(SignedDuration::from_hours(336)));
        for wrong in ["", "12", "0h", "-3d", "a month", "1mo", "P1Y"] {
            assert!(length(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_in_utc_where_no_zone_is_named() {
        let noon: Timestamp = "2026-11-24T12:00:00Z".parse().expect("a time");
        for text in ["2026-11-24T12:00:00", "2026-11-24T12:00:00Z", "2026-11-24T13:00:00+01:00", "2026-11-24 12:00:00"]
        {
            assert_eq!(read(text).ok(), Some(noon), "{text}");
        }
        assert!(read("tomorrow").is_err());
        assert_eq!(said(noon), "2026-11-24T12:00:00.000000Z");
    }
}
