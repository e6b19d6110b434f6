//! Ranges and conditions on a file (RFC 9110, sections 13 and 14), as text in and a decision out.

use http::HeaderMap;
use http::header::{IF_NONE_MATCH, IF_RANGE, RANGE};
use std::ops::Range;

/// Which part of a file is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Selection {
    /// All of it (200): no range was asked for, or one that may be ignored: several at once, a bad one, another unit.
    Whole,
    /// These bytes (206); not empty.
    Part(Range<u64>),
    /// The range lies outside (416).
    Unsatisfiable,
}

/// What the request's `Range` and `If-Range` select of a file of `size` bytes.
pub(super) fn select(headers: &HeaderMap, etag: &str, size: u64) -> Selection {
    let mut ranges = headers.get_all(RANGE).iter();
    let (Some(range), None) = (ranges.next(), ranges.next()) else { return Selection::Whole };
    // A range of another version than the client has begun would not fit. Dates never match: none was ever sent.
    if headers.get(IF_RANGE).is_some_and(|tag| tag.as_bytes() != etag.as_bytes()) {
        return Selection::Whole;
    }
    range.to_str().ok().and_then(|text| parse(text, size)).unwrap_or(Selection::Whole)
}

/// Whether `If-None-Match` says that the client has this very content (304).
pub(super) fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).any(|list| {
        // Our tags contain no comma, so splitting there cannot cut one that would match.
        list.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
    })
}

fn parse(text: &str, size: u64) -> Option<Selection> {
    let (unit, set) = text.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
        return None;
    }
    let (first, last) = set.trim().split_once('-')?;
    let range = if first.is_empty() {
        let suffix = number(last)?;
        size.saturating_sub(suffix)..size
    } else {
        let first = number(first)?;
        let end = if last.is_empty() { size } else { number(last)?.saturating_add(1) };
        if !last.is_empty() && end <= first {
            return None;
        }
        first..end.min(size)
    };
    Some(if range.is_empty() { Selection::Unsatisfiable } else { Selection::Part(range) })
}

/// Decimal digits; more than fit into 64 bits count as the greatest number.
fn number(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    const TAG: &str = "\"abc\"";

    fn selected(range: &str) -> Selection {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, HeaderValue::from_str(range).unwrap());
        select(&headers, TAG, 1000)
    }

    #[test]
    fn single_ranges() {
        assert_eq!(selected("bytes=0-99"), Selection::Part(0..100));
        assert_eq!(selected("Bytes=0-0"), Selection::Part(0..1));
        assert_eq!(selected("bytes=990-"), Selection::Part(990..1000));
        assert_eq!(selected("bytes=-10"), Selection::Part(990..1000));
        assert_eq!(selected("bytes=-5000"), Selection::Part(0..1000));
        assert_eq!(selected("bytes=999-99999999999999999999999"), Selection::Part(999..1000));
        for outside in ["bytes=1000-", "bytes=5000-6000", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(selected(outside), Selection::Unsatisfiable, "{outside}");
        }
    }

    #[test]
    fn what_may_be_ignored_is() {
        for range in
            ["bytes=0-1,5-6", "bytes=5-4", "bytes=-", "bytes=a-b", "bytes", "lines=1-2", "bytes=+1-2", "bytes=1--2", ""]
        {
            assert_eq!(selected(range), Selection::Whole, "{range}");
        }
        let mut headers = HeaderMap::new();
        assert_eq!(select(&headers, TAG, 1000), Selection::Whole);
        headers.append(RANGE, HeaderValue::from_static("bytes=0-1"));
        headers.append(RANGE, HeaderValue::from_static("bytes=2-3"));
        assert_eq!(select(&headers, TAG, 1000), Selection::Whole);
    }

    #[test]
    fn conditions() {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, HeaderValue::from_static("bytes=0-9"));
        headers.insert(IF_RANGE, HeaderValue::from_static(TAG));
        assert_eq!(select(&headers, TAG, 1000), Selection::Part(0..10));
        for other in ["\"old\"", "W/\"abc\"", "Sat, 29 Oct 1994 19:43:31 GMT"] {
            headers.insert(IF_RANGE, HeaderValue::from_static(other));
            assert_eq!(select(&headers, TAG, 1000), Selection::Whole, "{other}");
        }
        assert!(!is_known(&headers, TAG));
        for (list, known) in [("\"abc\"", true), ("\"x\", W/\"abc\"", true), ("*", true), ("\"x\"", false)] {
            headers.insert(IF_NONE_MATCH, HeaderValue::from_static(list));
            assert_eq!(is_known(&headers, TAG), known, "{list}");
        }
    }

    proptest! {
        #[test]
        fn parts_lie_within_the_file(text in "(bytes=)?[0-9,\\- ]{0,30}", size in 0u64..10_000) {
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.insert(RANGE, value);
            }
            if let Selection::Part(range) = select(&headers, TAG, size) {
                prop_assert!(range.start < range.end && range.end <= size);
            }
        }
    }
}
