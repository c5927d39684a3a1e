//! Lines of cells in columns.

use std::fmt::Write as _;

/// The least width of a column of most tables, its gap included: Docker's.
pub const COLUMN: usize = 10;

/// The gap between two columns: Docker's.
const GAP: usize = 3;

/// Puts lines of cells with tabs between them into columns at least `least` wide.
pub fn align<'a>(lines: impl Iterator<Item = &'a String> + Clone, least: usize) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for line in lines.clone() {
        // The last cell of a line is not padded.
        let cells: Vec<_> = line.split('\t').collect();
        for (column, cell) in cells.iter().take(cells.len() - 1).enumerate() {
            widths.resize(widths.len().max(column + 1), least);
            widths[column] = widths[column].max(cell.chars().count() + GAP);
        }
    }
    let mut text = String::new();
    for line in lines {
        let mut cells =
            line.split('\t').zip(widths.iter().map(Some).chain(std::iter::repeat(None))).peekable();
        while let Some((cell, width)) = cells.next() {
            match width {
                Some(width) if cells.peek().is_some() => {
                    let _ = write!(text, "{cell:<width$}");
                }
                _ => text.push_str(cell),
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_line_up() {
        let lines = ["A\tB\tC", "é\t\tx", "much longer\ty\tz"].map(str::to_owned);
        let expected = "A             B         C\né                       x\nmuch longer   y         z\n";
        assert_eq!(super::align(lines.iter(), super::COLUMN), expected);
    }
}
