//! Figures as JSON, and as CSV with the same members as columns.

use super::csv::Rows;
use super::{By, Side, Tally, Window, parts};
use crate::lease::{document::project_name, time};
use jiff::Timestamp;
use leasehold_domain::View;
use leasehold_domain::lease::figures::{Day, Figures, Share};
use serde_json::{Map, Value, json};

/// What was counted.
pub(super) struct Report<'a> {
    pub(super) view: &'a View,
    pub(super) by: By,
    pub(super) window: Window,
    pub(super) tallies: &'a [(Side, Tally)],
}

const FIGURES: [&str; 4] = ["offered", "leased", "used", "idle"];

fn figures(figures: Figures) -> [i64; 4] {
    [figures.offered(), figures.leased, figures.used, figures.idle]
}

/// As what somebody had this.
fn role(side: &Side) -> &'static str {
    match side {
        Side::All => "all",
        Side::Owner(_) => "owner",
        Side::Lessee(_) => "lessee",
    }
}

/// 2026-11-24.
fn date(day: Day) -> String {
    let at = Timestamp::from_second(i64::from(day) * 86_400).unwrap_or(Timestamp::UNIX_EPOCH);
    at.strftime("%Y-%m-%d").to_string()
}

/// Node-hours to the thousandth: the seconds beside them are what is exact.
fn hours(seconds: i64) -> f64 {
    let thousandths = i32::try_from(seconds * 10 / 36);
    thousandths.map_or_else(|_| seconds as f64 / 3600.0, |thousandths| f64::from(thousandths) / 1000.0)
}

impl Report<'_> {
    /// Names and values of what a sum is of.
    fn share(&self, share: &Share) -> Vec<(&'static str, Value)> {
        let mut members = Vec::new();
        if self.by.day {
            members.push(("day", json!(share.day.map(date))));
        }
        let named = |id: &Option<String>| match project_name(self.view, id.as_deref()) {
            name if name.is_empty() => Value::Null,
            name => name.into(),
        };
        if self.by.project {
            members.extend([("project_id", json!(share.project)), ("project", named(&share.project))]);
        }
        if self.by.owner {
            members.extend([("owner_id", json!(share.owner)), ("owner", named(&share.owner))]);
        }
        if self.by.class {
            members.push(("resource_class", json!(share.class)));
        }
        if self.by.node {
            let node = share.node.and_then(|id| self.view.node(id));
            let name = node.and_then(|node| node.settings.name.clone());
            members.extend([("node_uuid", json!(share.node.map(|id| id.to_string()))), ("node", json!(name))]);
        }
        members
    }

    fn row(&self, side: &Side, share: Option<&Share>, sum: Figures) -> Map<String, Value> {
        let mut row = Map::new();
        row.insert("as".into(), role(side).into());
        for (name, value) in share.map(|share| self.share(share)).unwrap_or_default() {
            row.insert(name.into(), value);
        }
        for (name, seconds) in FIGURES.into_iter().zip(figures(sum)) {
            row.insert(format!("{name}_seconds"), seconds.into());
            row.insert(format!("{name}_node_hours"), hours(seconds).into());
        }
        row
    }

    fn rows(&self) -> impl Iterator<Item = (&Side, Share, Figures)> {
        self.tallies
            .iter()
            .flat_map(|(side, tally)| tally.sums().into_iter().map(move |(share, figures)| (side, share, figures)))
    }

    pub(super) fn json(&self) -> Value {
        let rows = self.rows().map(|(side, share, sum)| Value::Object(self.row(side, Some(&share), sum)));
        let totals = self.tallies.iter().map(|(side, tally)| Value::Object(self.row(side, None, tally.total())));
        let by = parts(self.by).into_iter().filter_map(|(name, is)| is.then_some(name));
        json!({
            "from": date(self.window.first),
            "to": date(self.window.end),
            "until": time::shown(self.window.now.min(self.end())),
            "by": by.collect::<Vec<_>>(),
            "usage": rows.collect::<Vec<_>>(),
            "total": totals.collect::<Vec<_>>(),
        })
    }

    fn end(&self) -> Timestamp {
        Timestamp::from_second(i64::from(self.window.end) * 86_400).unwrap_or(Timestamp::MAX)
    }

    pub(super) fn csv(&self) -> String {
        let nothing = Share { day: None, project: None, owner: None, class: None, node: None };
        let mut rows = Rows::default();
        let columns = self.share(&nothing).into_iter().map(|(name, _)| name.to_owned());
        let seconds = FIGURES.into_iter().map(|name| format!("{name}_seconds"));
        let in_hours = FIGURES.into_iter().map(|name| format!("{name}_node_hours"));
        rows.row(std::iter::once("as".to_owned()).chain(columns).chain(seconds).chain(in_hours));
        for (side, share, sum) in self.rows() {
            let members =
                self.share(&share).into_iter().map(|(_, value)| value.as_str().unwrap_or_default().to_owned());
            let seconds = figures(sum).into_iter().map(|seconds| seconds.to_string());
            let in_hours = figures(sum).into_iter().map(|seconds| format!("{:.3}", hours(seconds)));
            rows.row(std::iter::once(role(side).to_owned()).chain(members).chain(seconds).chain(in_hours));
        }
        rows.text()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_rounded_down_to_thousandths() {
        let of = [0, 3600, 5400, 1, 4, 3_599, 360_000_000].map(hours);
        assert_eq!(of, [0.0, 1.0, 1.5, 0.0, 0.001, 0.999, 100_000.0]);
        assert!((hours(36_000_000_000_000) - 10_000_000_000.0).abs() < 1.0);
    }

    #[test]
    fn days_are_dates() {
        assert_eq!([0, 20_781, -1].map(date), ["1970-01-01", "2026-11-24", "1969-12-31"]);
    }
}
