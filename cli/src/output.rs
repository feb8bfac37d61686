//! Output: rows as a table, JSON, NDJSON or CSV on stdout, notes on stderr.

use std::io::{self, Write as _};

mod row;

pub(crate) use row::Row;

/// The format of answers on stdout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// One JSON array; of conversations, stats, tiers and policy show one object, the whole answer;
    /// of tail one object a line.
    Json,
    /// One JSON object a line.
    Ndjson,
    /// With a header line.
    Csv,
}

/// Writes `text` to stdout as it is.
pub(crate) fn text(text: &str) -> io::Result<()> {
    bytes(text.as_bytes())
}

/// Writes `bytes` to stdout as they are, and flushes.
pub(crate) fn bytes(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// Writes a line to stderr, its control characters escaped. A closed stderr is ignored.
pub(crate) fn note(line: &str) {
    let _ = writeln!(io::stderr(), "{}", printable_lines(line));
}

/// Writes all rows to stdout in `format`.
pub(crate) fn rows(format: Format, rows: &[Row]) -> io::Result<()> {
    let columns = columns(rows);
    let text = match format {
        Format::Table => table(&columns, rows),
        Format::Json => {
            let list: Vec<String> = rows.iter().map(|row| format!("  {}", row.json())).collect();
            match list.as_slice() {
                [] => "[]\n".to_owned(),
                list => format!("[\n{}\n]\n", list.join(",\n")),
            }
        }
        Format::Ndjson => rows.iter().map(|row| row.json() + "\n").collect(),
        Format::Csv => csv(&columns, rows),
    };
    self::text(&text)
}

/// Returns the fields of all rows, in the order in which they first occur.
fn columns(rows: &[Row]) -> Vec<String> {
    let mut columns: Vec<String> = Vec::new();
    for name in rows.iter().flat_map(Row::names) {
        if !columns.iter().any(|column| column == name) {
            columns.push(name.to_owned());
        }
    }
    columns
}

fn table(columns: &[String], rows: &[Row]) -> String {
    if columns.is_empty() {
        return "(no rows)\n".to_owned();
    }
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(columns.iter().map(|name| name.to_uppercase()));
    for row in rows {
        table.add_row(columns.iter().map(|name| printable(&row.text(name))));
    }
    for (index, name) in columns.iter().enumerate() {
        let numeric = rows.iter().any(|row| row.is_number(name));
        if let Some(column) = table.column_mut(index).filter(|_| numeric) {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        }
    }
    let lines = table.lines().map(|line| line.trim_end().to_owned() + "\n");
    lines.collect()
}

/// Escapes what moves the cursor or the reading direction: those of stored output must not reach the
/// terminal from a table.
pub(crate) fn printable(text: &str) -> String {
    escaped(text, is_unsafe)
}

/// Escapes as [`printable`], except line ends and tabs.
pub(crate) fn printable_lines(text: &str) -> String {
    escaped(text, |c| is_unsafe(c) && !matches!(c, '\n' | '\t'))
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> String {
    text.chars()
        .flat_map(|c| {
            let escaped = is_escaped(c).then(|| c.escape_default());
            let plain = escaped.is_none().then_some(c);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}

/// True for control characters, line separators, and the marks that change the direction of the text.
fn is_unsafe(c: char) -> bool {
    let is_direction = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}'
        | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || is_direction || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
}

fn csv(columns: &[String], rows: &[Row]) -> String {
    if columns.is_empty() {
        return String::new();
    }
    let line = |cells: Vec<String>| cells.join(",") + "\r\n";
    let header = line(columns.iter().map(|name| csv_cell(name)).collect());
    let body = rows.iter().map(|row| {
        let cells = columns.iter().map(|name| csv_cell(&row.text(name)));
        line(cells.collect())
    });
    header + &body.collect::<String>()
}

fn csv_cell(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        Row::list(
            r#"[{"name": "a,b", "n": 1}, {"name": "x\u001b[31m\"y\"", "n": 20, "z": null}]"#
                .as_bytes(),
        )
        .unwrap()
    }

    #[test]
    fn a_table_is_aligned_and_cannot_move_the_cursor() {
        let text = table(&columns(&rows()), &rows());
        assert!(text.contains("a,b"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(text.contains(r"x\u{1b}[31m"), "{text}");
    }

    #[test]
    fn a_table_shows_the_order_of_characters_that_is_stored() {
        let stored = "a\u{202e}b\u{2066}c\u{200f}d\u{2028}e\u{9b}31m\r";
        let shown = r"a\u{202e}b\u{2066}c\u{200f}d\u{2028}e\u{9b}31m\r";
        assert_eq!(printable(stored), shown);
        assert_eq!(printable("שלום é 😀"), "שלום é 😀");
        assert_eq!(printable_lines("a\n\tb\u{1b}"), "a\n\tb\\u{1b}");
    }

    #[test]
    fn csv_quotes_what_would_break_it() {
        let rows = rows();
        let names = ["name".to_owned(), "n".to_owned()];
        assert_eq!(
            csv(&names, &rows),
            "name,n\r\n\"a,b\",1\r\n\"x\u{1b}[31m\"\"y\"\"\",20\r\n"
        );
    }

    #[test]
    fn a_table_without_rows_says_so() {
        assert_eq!(table(&[], &[]), "(no rows)\n");
        assert_eq!(csv(&[], &[]), "");
    }
}
