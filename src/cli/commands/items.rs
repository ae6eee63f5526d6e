//! Lists and single items of either store, in the forms of the original tool.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value as Json, json};

use super::super::args::{GetOutput, ListOutput};
use super::super::diagnostics;
use super::super::printer::Printer;
use super::document;
use crate::store::{self, CreationTime};
use crate::tag::{self, TagQuery, lowercase_warning};
use crate::yaml::Value;

/// What a typed tag asks for. Capitals are lowered, which is worth telling.
pub(super) fn query(text: &str, printer: Printer) -> Result<TagQuery, tag::Error> {
    if let Some(warning) = lowercase_warning(text) {
        printer.warn(&warning);
    }
    text.parse()
}

/// A row of a list: column titles, JSON keys and cells in order.
pub(super) struct Row {
    cells: Vec<(&'static str, &'static str, String)>,
}

impl Row {
    /// A row of `(title, key, cell)`.
    pub(super) fn new(cells: Vec<(&'static str, &'static str, String)>) -> Self {
        Self { cells }
    }

    fn object(&self) -> Json {
        let members = self.cells.iter().map(|(_, key, cell)| ((*key).to_owned(), json!(cell)));
        Json::Object(members.collect::<Map<_, _>>())
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.cells.iter().map(|(_, key, cell)| (key, cell)))
    }
}

/// Names the items that cannot be read, each with the reason.
pub(super) fn warn_of(broken: &[store::Error], printer: Printer) {
    for error in broken {
        printer.warn(&diagnostics::line(error));
    }
}

/// The rows in the form asked for; `titles` are for a table without rows.
pub(super) fn list(rows: &[Row], titles: &[&str], output: ListOutput) -> String {
    match output {
        ListOutput::Table => table(rows, titles),
        ListOutput::Json => document::json(&rows),
        // The original tool sorts the keys here, and only here.
        ListOutput::Yaml => {
            let rows = rows.iter().map(|row| Value::from(row.object()).sorted());
            Value::list(rows).to_yaml()
        }
    }
}

/// Columns as wide as their widest cell, two spaces between them, one on either side.
fn table(rows: &[Row], titles: &[&str]) -> String {
    let header = titles.iter().map(|&title| title.to_owned()).collect::<Vec<_>>();
    let cells = rows.iter().map(|row| row.cells.iter().map(|(_, _, cell)| cell.clone()).collect());
    let lines: Vec<Vec<String>> = std::iter::once(header).chain(cells).collect();
    let width =
        |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<_> = (0..titles.len()).map(width).collect();
    let pad = |line: &Vec<String>| {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        format!(" {} \n", cells.collect::<Vec<_>>().join("  "))
    };
    lines.iter().map(pad).collect()
}

/// One item: its document, or where it is.
pub(super) fn get(document: &Value, path: &std::path::Path, output: GetOutput) -> String {
    match output {
        GetOutput::Yaml => document.to_yaml() + "\n",
        GetOutput::Json => document::json(&document.to_json()),
        GetOutput::Path => format!("{}\n", path.display()),
    }
}

/// A time as lists show it: of a time zone, to the second.
pub(super) fn local_time(time: &CreationTime, zone: &TimeZone) -> String {
    local(time.timestamp(), zone)
}

/// The same for a moment.
pub(super) fn local(time: Timestamp, zone: &TimeZone) -> String {
    zone.to_datetime(time).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_padded_and_never_cut() {
        let row = |tag: &str, size: &str| {
            Row::new(vec![("Tag", "tag", tag.to_owned()), ("Size", "size", size.to_owned())])
        };
        let rows = [row("a:1", "1.00 B"), row(&"long".repeat(30), "")];
        let text = table(&rows, &["Tag", "Size"]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| line.len() == 1 + 120 + 2 + 6 + 1), "{text}");
        assert!(lines[2].contains(&"long".repeat(30)));
        assert_eq!(list(&rows[..1], &[], ListOutput::Yaml), "- size: 1.00 B\n  tag: a:1\n");
    }
}
