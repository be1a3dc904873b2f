//! Plain aligned columns: nothing is wrapped or cut, so that lines stay
//! greppable and a pipe sees what a screen sees.

use unicode_width::UnicodeWidthStr;

use crate::failure::Outcome;
use crate::terminal::output::Output;

/// How a column's cells stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// A table as columns of text; cells must be inert already.
pub struct Columns {
    heads: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Columns {
    /// A table with these column heads.
    pub fn new<const N: usize>(heads: [(&str, Align); N]) -> Self {
        Self {
            heads: heads.into_iter().map(|(h, a)| (h.to_owned(), a)).collect(),
            rows: Vec::new(),
        }
    }

    /// A table whose number of columns is known later than at compile time.
    pub fn dynamic(heads: Vec<(String, Align)>) -> Self {
        Self {
            heads,
            rows: Vec::new(),
        }
    }

    /// Adds a row to such a table; missing cells are empty.
    pub fn push(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Adds a row; missing cells are empty.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// Writes heads and rows.
    pub fn write(&self, out: &mut Output) -> Outcome {
        let heads: Vec<String> = self.heads.iter().map(|(head, _)| head.clone()).collect();
        let head = self.aligned(&heads, &self.widths());
        let head = out.bold(&head);
        out.line(&head)?;
        let widths = self.widths();
        self.rows
            .iter()
            .try_for_each(|row| out.line(&self.aligned(row, &widths)))
    }

    fn widths(&self) -> Vec<usize> {
        let cell = |row: &[String], i: usize| row.get(i).map_or(0, |c| c.width());
        self.heads
            .iter()
            .enumerate()
            .map(|(i, (head, _))| {
                self.rows
                    .iter()
                    .map(|row| cell(row, i))
                    .max()
                    .unwrap_or(0)
                    .max(head.width())
            })
            .collect()
    }

    fn aligned(&self, cells: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for (i, ((_, align), width)) in self.heads.iter().zip(widths).enumerate() {
            let cell = cells.get(i).map_or("", String::as_str);
            let fill = " ".repeat(width.saturating_sub(cell.width()));
            if i > 0 {
                line.push_str("  ");
            }
            match align {
                Align::Left => line.extend([cell, &fill]),
                Align::Right => line.extend([&fill, cell]),
            }
        }
        line.truncate(line.trim_end().len());
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_characters_keep_the_columns() {
        let mut columns = Columns::new([("name", Align::Left), ("h", Align::Right)]);
        columns.row(["漢字の".into(), "1.0".into()]);
        columns.row(["a".into(), "22.0".into()]);
        let widths = columns.widths();
        assert_eq!(widths, [6, 4]);
        assert_eq!(columns.aligned(&columns.rows[0], &widths), "漢字の   1.0");
        assert_eq!(columns.aligned(&columns.rows[1], &widths), "a       22.0");
    }
}
