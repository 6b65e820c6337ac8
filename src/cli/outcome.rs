//! What a verb hands back: its report in every form, and whether somebody must read it.

use tsdb_ark::flow::{CellDifference, DifferenceKind, to_json};

/// A finished command.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The report for people; ends with a line feed.
    pub text: String,
    /// What is printed with `--quiet`: nothing, or what a script cannot do without.
    pub quiet_text: String,
    /// The report for scripts, one object without a line feed.
    pub json: String,
    /// The report goes to standard error, because standard output has data.
    pub on_stderr: bool,
    /// The exit code: 0, 1 or 3.
    pub code: u8,
    /// Why the code is not 0, for stderr.
    pub why: Option<String>,
}

impl Outcome {
    /// Everything went well.
    pub fn done(text: String, json: String) -> Self {
        Self { text, json, ..Self::default() }
    }

    /// The work is done, but somebody must read the report.
    pub fn must_read(self, why: String) -> Self {
        Self { code: 3, why: Some(why), ..self }
    }

    /// The work is done and its own check says that it is wrong.
    pub fn wrong(self, why: String) -> Self {
        Self { code: 1, why: Some(why), ..self }
    }
}

/// So many gaps.
pub fn gaps_text(count: u64) -> String {
    if count == 1 { "1 gap".to_string() } else { format!("{count} gaps") }
}

/// Lines for the remarks of a report.
pub fn remarks(label: &str, remarks: &[String]) -> String {
    remarks.iter().map(|remark| format!("{label}: {remark}\n")).collect()
}

/// A line for a differing cell; `other` is what the backup is compared with.
pub fn difference_text(cell: &CellDifference, other: &str) -> String {
    let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "missing".to_string());
    format!(
        "{}: {} row {} column {}:{} timestamp {} type {}: backup {}, {other} {}\n",
        word(cell.difference),
        cell.source_table,
        cell.row,
        cell.family,
        cell.qualifier,
        cell.timestamp,
        cell.kind,
        shown(&cell.backup_value),
        shown(&cell.source_value)
    )
}

/// The stable name of a kind of difference, with a space for the underline.
pub fn word(kind: DifferenceKind) -> String {
    to_json(&kind).trim_matches('"').replace('_', " ")
}
