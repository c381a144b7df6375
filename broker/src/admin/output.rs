//! What a command prints: rows, as a table for people or as JSON for programs, from the same data.

use super::error::Result;
use serde_json::{Map, Value};
use std::io::{self, Write};

/// Rows under named columns. Column names are the keys of the JSON objects.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Table {
    columns: Vec<&'static str>,
    rows: Vec<Vec<Value>>,
    /// A row tells of a failure.
    failed: bool,
}

impl Table {
    /// No rows yet.
    pub(crate) fn new(columns: &[&'static str]) -> Table {
        Table {
            columns: columns.to_vec(),
            rows: Vec::new(),
            failed: false,
        }
    }

    /// Adds a row, one value for each column.
    pub(crate) fn row<const N: usize>(&mut self, values: [Value; N]) {
        assert_eq!(N, self.columns.len(), "a value for each column");
        self.rows.push(values.into());
    }

    /// What became of one thing of several: `done`, or the failure, which the exit code tells too.
    pub(crate) fn outcome(&mut self, done: &str, result: Result<()>) -> Value {
        match result {
            Ok(()) => Value::String(done.to_owned()),
            Err(error) => {
                self.failed = true;
                Value::String(error.to_string())
            }
        }
    }

    /// Whether a row tells of a failure.
    pub(crate) fn failed(&self) -> bool {
        self.failed
    }

    /// As a JSON array of objects.
    pub(crate) fn json(&self) -> Value {
        let object = |row: &Vec<Value>| -> Map<String, Value> {
            let names = self.columns.iter().map(|name| (*name).to_owned());
            names.zip(row.iter().cloned()).collect()
        };
        self.rows.iter().map(|row| Value::Object(object(row))).collect()
    }

    /// As aligned text: upper-case heads, numbers to the right, `-` for nothing.
    pub(crate) fn text(&self) -> String {
        let heads: Vec<String> = self
            .columns
            .iter()
            .map(|name| name.to_uppercase().replace('_', "-"))
            .collect();
        let cells: Vec<Vec<String>> = self.rows.iter().map(|row| row.iter().map(cell).collect()).collect();
        let width = |at: usize| {
            let widths = cells.iter().chain([&heads]).map(|row| row[at].chars().count());
            widths.max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..heads.len()).map(width).collect();
        let right = |at: usize| self.rows.iter().all(|row| row[at].is_number() || row[at].is_null());
        let right: Vec<bool> = (0..heads.len()).map(|at| !self.rows.is_empty() && right(at)).collect();
        let line = |row: &Vec<String>| {
            let mut line = String::new();
            for ((text, width), right) in row.iter().zip(&widths).zip(&right) {
                match right {
                    true => line.push_str(&format!("{text:>width$}  ")),
                    false => line.push_str(&format!("{text:<width$}  ")),
                }
            }
            line.truncate(line.trim_end().len());
            line
        };
        let lines: Vec<String> = [&heads].into_iter().chain(&cells).map(line).collect();
        lines.join("\n")
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.replace(['\n', '\t', '\r'], " "),
        Value::Array(values) if values.is_empty() => "-".to_owned(),
        Value::Array(values) => values.iter().map(cell).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// Prints to stdout. A reader that has gone (`| head`) is no error.
pub(crate) fn print(table: &Table, json: bool) {
    let text = match json {
        true => format!("{:#}", table.json()),
        false => table.text(),
    };
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn table() -> Table {
        let mut table = Table::new(&["topic", "partition", "lag", "owners"]);
        table.row([json!("orders"), json!(0), json!(12_345), json!(["a", "b"])]);
        table.row([json!("a\tb"), json!(11), Value::Null, json!([])]);
        table
    }

    #[test]
    fn columns_line_up() {
        let expected = "\
TOPIC   PARTITION    LAG  OWNERS
orders          0  12345  a,b
a b            11      -  -";
        assert_eq!(table().text(), expected);
        assert_eq!(Table::new(&["a_b"]).text(), "A-B");
    }

    #[test]
    fn json_has_the_same_rows() {
        let expected = json!([
            {"topic": "orders", "partition": 0, "lag": 12345, "owners": ["a", "b"]},
            {"topic": "a\tb", "partition": 11, "lag": null, "owners": []},
        ]);
        assert_eq!(table().json(), expected);
        assert_eq!(Table::new(&["a"]).json(), json!([]));
    }
}
