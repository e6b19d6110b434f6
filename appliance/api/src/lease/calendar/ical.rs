//! Leases as an iCalendar (RFC 5545).

use icalendar::{Calendar, Component, Event, EventLike, EventStatus};
use jiff::{SignedDuration, Timestamp};
use leasehold_domain::View;
use leasehold_domain::lease::{Lease, LeaseState};
use std::sync::Arc;

/// A lease without an end is shown so far ahead: calendars know no event that lasts for ever.
const AHEAD: SignedDuration = SignedDuration::from_hours(366 * 24);

pub(super) fn calendar(view: &View, project: &str, leases: &[Arc<Lease>], now: Timestamp) -> String {
    let mut calendar = Calendar::new();
    calendar.name(&format!("Leases of {}", plain(project)));
    for lease in leases {
        calendar.push(event(view, lease, now));
    }
    folded(&calendar.done().to_string())
}

/// Octets of a line.
const LONGEST_LINE: usize = 75;

/// The same text with lines as long as they may be: icalendar does not count the space that a line which goes on begins with.
fn folded(text: &str) -> String {
    let mut folded = String::with_capacity(text.len() + text.len() / LONGEST_LINE * 3);
    for line in text.replace("\r\n ", "").split_terminator("\r\n") {
        let mut length = 0;
        for letter in line.chars() {
            if length + letter.len_utf8() > LONGEST_LINE {
                folded.push_str("\r\n ");
                length = 1;
            }
            folded.push(letter);
            length += letter.len_utf8();
        }
        folded.push_str("\r\n");
    }
    folded
}

/// To the second, as iCalendar has it.
fn moment(at: Timestamp) -> chrono::DateTime<chrono::Utc> {
    chrono::DateTime::from_timestamp(at.as_second(), 0).unwrap_or(chrono::DateTime::UNIX_EPOCH)
}

fn event(view: &View, lease: &Lease, now: Timestamp) -> Event {
    let node = view.node(lease.node);
    let node = node.map_or_else(|| lease.node.to_string(), |node| node.title());
    let name = lease.label.name.as_deref().map(plain).filter(|name| !name.is_empty());
    let summary = name.map_or_else(|| plain(&node), |name| format!("{name} ({})", plain(&node)));
    // One that was called off before it began keeps its time, and is cancelled.
    let span = lease.taken().unwrap_or(lease.span);
    let mut about = vec![format!("Lease {} of node {}: {}", lease.id, plain(&node), lease.state.name())];
    about.extend(lease.purpose.as_deref().map(plain));
    about.extend(lease.reason.as_deref().map(plain));
    let mut end = span.end;
    if end == Timestamp::MAX {
        end = now.max(span.start).saturating_add(AHEAD).unwrap_or(end);
        about.push("It has no end.".into());
    }
    let is_off = lease.taken().is_none() || lease.state == LeaseState::Error;
    let mut event = Event::new();
    event
        .uid(&format!("{}@leasehold", lease.id))
        .timestamp(moment(lease.updated_at.unwrap_or(lease.created_at)))
        .starts(moment(span.start))
        .ends(moment(end))
        .summary(&summary)
        .description(&about.join("\n"))
        .status(if is_off { EventStatus::Cancelled } else { EventStatus::Confirmed });
    event.done()
}

/// A text of iCalendar has no control characters; in a name here a line's end is as good as a space.
fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use leasehold_domain::id::{LeaseId, NodeId};
    use leasehold_domain::lease::{Label, Past, Span, Watch, Wish};
    use proptest::prelude::*;
    use uuid::Uuid;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn lease(name: &str, purpose: &str) -> Lease {
        Lease {
            id: LeaseId(Uuid::from_u128(7)),
            label: Label { name: Some(name.to_owned()), ..Label::default() },
            purpose: Some(purpose.to_owned()),
            project: "p".into(),
            owner: "o".into(),
            node: NodeId(Uuid::from_u128(8)),
            span: Span { start: at(1_900_000_000), end: at(1_900_003_600) },
            offer: None,
            parent: None,
            group: None,
            state: LeaseState::Created,
            reason: None,
            ready_by: None,
            fulfilled_at: None,
            expired_at: None,
            created_at: at(0),
            updated_at: None,
            revision: 0,
            wish: Wish::default(),
            watch: Watch::default(),
            past: Past::default(),
        }
    }

    fn of(lease: Lease) -> String {
        calendar(&View::default(), "lab", &[Arc::new(lease)], at(1_800_000_000))
    }

    /// The value of a property, as a reader of RFC 5545 gets it: lines put together, signs taken back.
    fn value(text: &str, name: &str) -> String {
        let whole = text.replace("\r\n ", "").replace("\r\n\t", "");
        let line = whole.split("\r\n").find_map(|line| line.strip_prefix(&format!("{name}:"))).expect("the property");
        let (mut value, mut letters) = (String::new(), line.chars());
        while let Some(letter) = letters.next() {
            match (letter, if letter == '\\' { letters.next() } else { None }) {
                (_, Some('n' | 'N')) => value.push('\n'),
                (_, Some(escaped)) => value.push(escaped),
                (plain, None) => {
                    assert!(!matches!(plain, ',' | ';' | '\\'), "{plain} stands for itself");
                    value.push(plain);
                }
            }
        }
        value
    }

    fn check_lines(text: &str) {
        assert!(text.starts_with("BEGIN:VCALENDAR\r\n") && text.ends_with("END:VCALENDAR\r\n"), "{text}");
        for line in text.split("\r\n") {
            assert!(line.len() <= 75, "{} octets: {line}", line.len());
            assert!(!line.contains(['\r', '\n']), "{line:?}");
        }
    }

    #[test]
    fn a_lease_is_an_event() {
        let text = of(lease("course; week 3, part\\1", "a\u{7}b\r\nEND:VEVENT"));
        check_lines(&text);
        assert_eq!(value(&text, "UID"), format!("{}@leasehold", Uuid::from_u128(7)));
        assert!(
            text.contains("\r\nDTSTART:20300317T174640Z\r\n") && text.contains("\r\nDTEND:20300317T184640Z\r\n"),
            "{text}"
        );
        assert!(value(&text, "SUMMARY").starts_with("course; week 3, part\\1 ("), "{text}");
        assert_eq!(text.matches("END:VEVENT").count(), 2, "one of them a part of a text: {text}");
        assert_eq!(text.split("\r\n").filter(|line| *line == "END:VEVENT").count(), 1);
        assert!(text.contains("\r\nSTATUS:CONFIRMED\r\n"));
    }

    #[test]
    fn one_without_an_end_and_one_that_was_called_off() {
        let endless = of(Lease { span: Span { start: at(0), end: Timestamp::MAX }, ..lease("x", "y") });
        assert!(endless.contains("DTEND:2028"), "{endless}");
        let off = Lease { state: LeaseState::Deleted, updated_at: Some(at(10)), ..lease("x", "y") };
        let off = of(off);
        assert!(off.contains("\r\nSTATUS:CANCELLED\r\n") && off.contains("DTSTART:20300317T174640Z"), "{off}");
    }

    proptest! {
        #[test]
        fn any_name_survives_folding(name in "\\PC{1,120}", purpose in any::<String>()) {
            let text = of(lease(&name, &purpose));
            check_lines(&text);
            let summary = value(&text, "SUMMARY");
            prop_assert_eq!(summary.rsplit_once(" (").map(|(name, _)| name.to_owned()), Some(plain(&name)));
            let about = value(&text, "DESCRIPTION");
            prop_assert_eq!(about.split_once('\n').map(|(_, purpose)| purpose.to_owned()), Some(plain(&purpose)));
        }
    }
}
