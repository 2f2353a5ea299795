//! Standard output: values byte for byte, lines, JSON, tables.

use std::io::Write;

use serde_json::Value;

use crate::exit::Outcome;

/// Bytes, as they are.
pub(crate) fn bytes(bytes: &[u8]) -> Outcome {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)?;
    Ok(out.flush()?)
}

pub(crate) fn line(text: &str) -> Outcome {
    bytes(format!("{text}\n").as_bytes())
}

pub(crate) fn json(value: &Value) -> Outcome {
    line(&value.to_string())
}

/// Columns as wide as their widest cell; the first to the left, the others to
/// the right.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    table_of(1, rows)
}

/// The same with so many columns of words in front, before those of numbers.
pub(crate) fn table_of(words: usize, rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            let gap = if column == 0 { "" } else { "  " };
            match column < words {
                true => line.push_str(&format!("{gap}{cell:<width$}")),
                false => line.push_str(&format!("{gap}{cell:>width$}")),
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A count of bytes as people read it.
pub(crate) fn size(bytes: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut left = bytes;
    let mut unit = 0;
    while left >= 1024.0 && unit + 1 < UNITS.len() {
        left /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{left:.0} B"),
        unit => format!("{left:.1} {}", UNITS[unit]),
    }
}

/// Nanoseconds as people read them.
pub(crate) fn time(ns: f64) -> String {
    match ns {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{:.1} us", ns / 1e3),
        ns if ns < 1e9 => format!("{:.1} ms", ns / 1e6),
        ns => format!("{:.2} s", ns / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_units_and_columns() {
        assert_eq!(
            (&*size(5.0), &*size(1536.0), &*size(3e9)),
            ("5 B", "1.5 KiB", "2.8 GiB")
        );
        assert_eq!(
            (&*time(12.0), &*time(1.5e6), &*time(2e9)),
            ("12 ns", "1.5 ms", "2.00 s")
        );
        let rows = [
            vec!["a".to_owned(), "10".to_owned()],
            vec!["long".to_owned(), "5".to_owned()],
        ];
        assert_eq!(table(&rows), "a     10\nlong   5\n");
    }
}
