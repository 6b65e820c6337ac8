//! Aligned columns of text.

use std::fmt;

/// Where the text of a column stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table of text: a header and rows, as wide as they need to be.
#[derive(Debug)]
pub struct Columns {
    sides: Vec<Side>,
    rows: Vec<Vec<String>>,
}

impl Columns {
    /// A table with this header.
    pub fn new(header: &[(&str, Side)]) -> Self {
        let names = header.iter().map(|(name, _)| name.to_string()).collect();
        Self { sides: header.iter().map(|(_, side)| *side).collect(), rows: vec![names] }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }
}

impl fmt::Display for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.sides.len()).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, side), width) in row.iter().zip(&self.sides).zip(&widths) {
                let gap = if line.is_empty() { "" } else { "  " };
                match side {
                    Side::Left => line.push_str(&format!("{gap}{cell:<width$}")),
                    Side::Right => line.push_str(&format!("{gap}{cell:>width$}")),
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_left_and_numbers_right() {
        let mut columns = Columns::new(&[("table", Side::Left), ("rows", Side::Right), ("note", Side::Left)]);
        columns.row(["tsdb".into(), "12,345".into(), String::new()]);
        columns.row(["tsdb-uid".into(), "7".into(), "last".into()]);
        let expected = "table       rows  note\ntsdb      12,345\ntsdb-uid       7  last\n";
        assert_eq!(columns.to_string(), expected);
    }
}
