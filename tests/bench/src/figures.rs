//! The figures of a run and their table.

use anyhow::Result;
use std::io::Write;

/// One column.
pub(crate) struct Column {
    pub(crate) title: &'static str,
    pub(crate) decimals: usize,
}

/// A column.
pub(crate) const fn column(title: &'static str, decimals: usize) -> Column {
    Column { title, decimals }
}

struct Row {
    case: String,
    contender: String,
    /// One list of figures a round.
    rounds: Vec<Vec<f64>>,
}

/// Collects figures by case and contender.
pub(crate) struct Figures {
    title: &'static str,
    columns: &'static [Column],
    rows: Vec<Row>,
    notes: Vec<String>,
}

impl Figures {
    /// The first column is the one that ratios are made of.
    pub(crate) fn new(title: &'static str, columns: &'static [Column]) -> Figures {
        Figures { title, columns, rows: Vec::new(), notes: Vec::new() }
    }

    /// Takes the figures of one turn; `NaN` is shown as a dash.
    pub(crate) fn record(&mut self, case: &str, contender: &str, figures: &[f64]) {
        eprintln!("  {case}: {contender}: {}", self.told(figures));
        let known = self.rows.iter_mut().find(|row| row.case == case && row.contender == contender);
        match known {
            Some(row) => row.rounds.push(figures.to_vec()),
            None => self.rows.push(Row {
                case: case.to_owned(),
                contender: contender.to_owned(),
                rounds: vec![figures.to_vec()],
            }),
        }
    }

    /// A line under the table.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.notes.contains(&text) {
            eprintln!("  {text}");
            self.notes.push(text);
        }
    }

    fn told(&self, figures: &[f64]) -> String {
        let cells = self
            .columns
            .iter()
            .zip(figures)
            .map(|(column, figure)| format!("{} {}", shown(*figure, column.decimals), column.title));
        cells.collect::<Vec<_>>().join(", ")
    }

    /// Prints the table. The contender named `ours` is compared with each other one, round by round.
    pub(crate) fn print(&self, ours: &str) -> Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "\n## {}\n", self.title)?;
        let titles: Vec<_> = self.columns.iter().map(|column| column.title).collect();
        writeln!(out, "| case | who | {} | ours ÷ this |", titles.join(" | "))?;
        writeln!(out, "|---|---|{}", "---|".repeat(titles.len() + 1))?;
        let mut cases: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !cases.contains(&row.case.as_str()) {
                cases.push(&row.case);
            }
        }
        for case in cases {
            for row in self.rows.iter().filter(|row| row.case == case) {
                let cells = self.columns.iter().enumerate().map(|(at, column)| {
                    shown(median(row.rounds.iter().filter_map(|round| round.get(at).copied())), column.decimals)
                });
                let cells = cells.collect::<Vec<_>>().join(" | ");
                writeln!(out, "| {case} | {} | {cells} | {} |", row.contender, self.ratio(ours, row))?;
            }
        }
        for note in &self.notes {
            writeln!(out, "\n{note}")?;
        }
        Ok(())
    }

    /// The median of the rounds' ratios in the first column.
    fn ratio(&self, ours: &str, other: &Row) -> String {
        let own = self.rows.iter().find(|row| row.case == other.case && row.contender == ours);
        let Some(own) = own.filter(|_| other.contender != ours) else { return String::new() };
        let first = |round: &Vec<f64>| round.first().copied().unwrap_or(f64::NAN);
        shown(median(own.rounds.iter().map(first).zip(other.rounds.iter().map(first)).map(|(a, b)| a / b)), 2)
    }
}

fn shown(figure: f64, decimals: usize) -> String {
    if figure.is_finite() { format!("{figure:.decimals$}") } else { "–".to_owned() }
}

/// The middle of some figures, those that are none left out.
pub(crate) fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = figures.filter(|figure| figure.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[count / 2],
        count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}

/// The figure below which this share of all lies. Sorts.
pub(crate) fn percentile(figures: &mut [f64], share: f64) -> f64 {
    figures.sort_by(f64::total_cmp);
    let at = (figures.len() as f64 * share) as usize;
    figures.get(at.min(figures.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_percentiles() {
        assert_eq!(median([3.0, f64::NAN, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([1.0, 2.0].into_iter()), 1.5);
        assert!(median(std::iter::empty()).is_nan());
        let mut figures: Vec<f64> = (0..100).rev().map(f64::from).collect();
        assert_eq!((percentile(&mut figures, 0.5), percentile(&mut figures, 0.99)), (50.0, 99.0));
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        const COLUMNS: &[Column] = &[column("x", 1)];
        let mut figures = Figures::new("t", COLUMNS);
        for (ours, peer) in [(10.0, 5.0), (100.0, 50.0), (30.0, 10.0)] {
            figures.record("c", "ours", &[ours]);
            figures.record("c", "peer", &[peer]);
        }
        assert_eq!(figures.ratio("ours", &figures.rows[1]), "2.00");
        assert_eq!(figures.ratio("ours", &figures.rows[0]), "");
    }
}
