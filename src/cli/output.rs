//! Printing: results to standard output, errors to standard error.

use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use serde_json::{Value, json};

/// Where results go, and in which form.
pub(super) struct Output {
    json: bool,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self { json }
    }

    /// How much is done, from 0 to 1: a line on a terminal's standard error that overwrites itself.
    pub(super) fn progress(&self, done: f64) {
        let mut stream = std::io::stderr().lock();
        if !self.json && stream.is_terminal() {
            let end = if done < 1.0 { "" } else { "\r    \r" };
            let _ = write!(stream, "\r{:3.0} %{end}", done * 100.0);
        }
    }

    /// Whether JSON is wanted.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// A line for people; nothing when JSON is wanted.
    pub(super) fn line(&self, text: &str) {
        if !self.json {
            print(text);
        }
    }

    /// JSON when it is wanted, text otherwise.
    pub(super) fn either(&self, json: &Value, text: impl FnOnce() -> String) {
        if self.json { print(&json.to_string()) } else { print(&text()) }
    }

    /// A value: JSON on one line or indented for people.
    pub(super) fn value(&self, value: &Value) {
        self.either(value, || serde_json::to_string_pretty(value).unwrap_or_default());
    }

    /// A list of objects: a JSON array, or for people one block of `name: value` lines for each.
    pub(super) fn rows(&self, rows: &[Value]) {
        self.either(&json!(rows), || {
            if rows.is_empty() { "none".to_owned() } else { rows.iter().map(block).collect::<Vec<_>>().join("\n\n") }
        });
    }

    /// One object.
    pub(super) fn row(&self, row: &Value) {
        self.either(row, || block(row));
    }

    /// Why the command did not do its work, in one line.
    pub(super) fn error(&self, error: &dyn Display) {
        let text =
            if self.json { json!({ "error": error.to_string() }).to_string() } else { format!("countersign: {error}") };
        // Nobody is left to tell when standard error is gone.
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }
}

fn block(row: &Value) -> String {
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let members = row.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    members.map(|(name, value)| format!("{name}: {}", plain(value))).collect::<Vec<_>>().join("\n")
}

fn print(text: &str) {
    // A closed pipe is how `| head` says that it has seen enough.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Whole seconds for people, or that there is no end.
pub(super) fn span_text(span: Option<Duration>) -> String {
    let whole = |span: Duration| humantime::format_duration(Duration::from_secs(span.as_secs())).to_string();
    span.map_or_else(|| "as long as it runs".to_owned(), whole)
}

/// Rows under a head, in columns.
pub(super) fn table(head: Vec<String>, rows: impl Iterator<Item = Vec<String>>) -> String {
    let lines: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(String::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |cells: &Vec<String>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}
