//! Tables with columns as wide as their longest cell, three blanks apart, as Docker prints them.

use std::io::{self, Write};

/// The blanks between two columns.
const GAP: usize = 3;

/// Prints `rows` under `header` to `output`. The last column is not padded.
///
/// # Errors
/// When nobody reads the output.
pub fn print<const N: usize>(
    output: &mut impl Write,
    header: [&str; N],
    rows: &[[String; N]],
) -> io::Result<()> {
    let mut widths = header.map(|cell| cell.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut line = |cells: [&str; N]| {
        let mut text = String::new();
        for (cell, width) in cells.iter().zip(widths) {
            text.push_str(&format!("{cell:<padded$}", padded = width + GAP));
        }
        writeln!(output, "{}", text.trim_end())
    };
    line(header)?;
    rows.iter().try_for_each(|row| line(std::array::from_fn(|column| row[column].as_str())))
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_line_up() {
        let mut output = Vec::new();
        let rows = [["é".to_owned(), "x".to_owned()], ["longer".to_owned(), String::new()]];
        super::print(&mut output, ["A", "B"], &rows).unwrap();
        assert_eq!(String::from_utf8(output).unwrap(), "A        B\né        x\nlonger\n");
    }
}
