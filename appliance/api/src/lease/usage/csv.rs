//! CSV (RFC 4180), which spreadsheets open: no cell of it is a formula to them.

/// Rows in the making.
#[derive(Default)]
pub(super) struct Rows(String);

impl Rows {
    pub(super) fn row(&mut self, cells: impl Iterator<Item = String>) {
        for (number, text) in cells.enumerate() {
            if number > 0 {
                self.0.push(',');
            }
            cell(&text, &mut self.0);
        }
        self.0.push_str("\r\n");
    }

    pub(super) fn text(self) -> String {
        self.0
    }
}

/// A text that a spreadsheet would compute gets an apostrophe before it, as the advice is (OWASP, CSV injection): names of
/// projects and nodes are others' words. No figure here is negative.
fn cell(text: &str, into: &mut String) {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    let quoted = formula || text.contains(['"', ',', '\r', '\n', ';', '\t']);
    if quoted {
        into.push('"');
    }
    if formula {
        into.push('\'');
    }
    for letter in text.chars() {
        into.push(letter);
        if letter == '"' {
            into.push('"');
        }
    }
    if quoted {
        into.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(cells: &[&str]) -> String {
        let mut rows = Rows::default();
        rows.row(cells.iter().map(|cell| (*cell).to_owned()));
        rows.text()
    }

    /// The cells of one row, as RFC 4180 reads them.
    fn read(text: &str) -> Vec<String> {
        let (mut cells, mut cell, mut quoted) = (Vec::new(), String::new(), false);
        let mut letters = text.strip_suffix("\r\n").expect("the end of a row").chars().peekable();
        while let Some(letter) = letters.next() {
            match (letter, quoted) {
                ('"', true) if letters.peek() == Some(&'"') => {
                    letters.next();
                    cell.push('"');
                }
                ('"', _) => quoted = !quoted,
                (',', false) => cells.push(std::mem::take(&mut cell)),
                _ => cell.push(letter),
            }
        }
        assert!(!quoted);
        cells.push(cell);
        cells
    }

    #[test]
    fn what_a_spreadsheet_would_compute_is_a_text() {
        assert_eq!(of(&["a", "b c", "3600"]), "a,b c,3600\r\n");
        assert_eq!(of(&["=1+1", "@SUM(A1)", "-2", "+3"]), "\"'=1+1\",\"'@SUM(A1)\",\"'-2\",\"'+3\"\r\n");
        assert_eq!(of(&["say \"hi\", you"]), "\"say \"\"hi\"\", you\"\r\n");
    }

    proptest! {
        #[test]
        fn any_text_is_read_back_and_none_is_a_formula(cells in prop::collection::vec(any::<String>(), 1..5)) {
            let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
            let found = read(&of(&cells));
            prop_assert_eq!(found.len(), cells.len());
            for (found, cell) in found.iter().zip(cells) {
                prop_assert!(!found.starts_with(['=', '+', '-', '@', '\t', '\r']));
                prop_assert_eq!(found.strip_prefix('\'').unwrap_or(found), cell.strip_prefix('\'').unwrap_or(cell));
            }
        }
    }
}
