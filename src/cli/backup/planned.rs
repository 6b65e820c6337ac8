//! What a dry run knows: tables, regions and versions. It has counted nothing, so it reports no counts.

use serde::Serialize;
use tsdb_ark::flow::{self, BackupReport, GapReport};
use tsdb_ark::model::{KeyLayout, TableKind};

use crate::cli::columns::{Columns, Side};
use crate::cli::outcome::remarks;
use crate::cli::tables_text::{gap_lines, layout_text};
use crate::cli::units;

/// What a script gets.
#[derive(Serialize)]
struct Planned<'a> {
    /// Nothing was backed up.
    backup: Option<&'a str>,
    dry_run: bool,
    tables: Vec<PlannedTable<'a>>,
    absent_tables: &'a [String],
    layout: &'a KeyLayout,
    older_layouts: &'a [KeyLayout],
    layout_from: &'a str,
    not_held: &'a [String],
    warnings: &'a [String],
    seconds: f64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    catch_up: bool,
}

#[derive(Serialize)]
struct PlannedTable<'a> {
    table: &'a str,
    kind: TableKind,
    regions: u64,
    versions: i32,
    gaps: &'a [GapReport],
}

/// The report for scripts.
pub fn json(report: &BackupReport) -> String {
    let tables = report.tables.iter().map(|table| PlannedTable {
        table: &table.table,
        kind: table.kind,
        regions: table.regions,
        versions: table.versions,
        gaps: &table.gaps,
    });
    flow::to_json(&Planned {
        backup: None,
        dry_run: true,
        tables: tables.collect(),
        absent_tables: &report.absent_tables,
        layout: &report.layout,
        older_layouts: &report.older_layouts,
        layout_from: &report.layout_from,
        not_held: &report.not_held,
        warnings: &report.warnings,
        seconds: report.seconds,
        catch_up: report.catch_up_planned,
    })
}

/// The report for people.
pub fn text(report: &BackupReport, repository: &str) -> String {
    let mut columns = Columns::new(&[
        ("table", Side::Left),
        ("kind", Side::Left),
        ("regions", Side::Right),
        ("versions", Side::Right),
    ]);
    for table in &report.tables {
        let versions = if table.versions == i32::MAX { "all".to_string() } else { table.versions.to_string() };
        let kind = format!("{:?}", table.kind).to_lowercase();
        columns.row([table.table.clone(), kind, units::count(table.regions), versions]);
    }
    let mut text = format!("dry run: nothing was written to {repository}; a backup would read\n\n{columns}\n");
    if report.catch_up_planned {
        text += "then an increment by write time on it (--catch-up)\n\n";
    }
    text += &format!("{}\n", layout_text(&report.layout, &report.layout_from));
    text += &gap_lines(&report.tables);
    text += &remarks("not found", &report.absent_tables);
    text += &remarks("not held", &report.not_held);
    text += &remarks("warning", &report.warnings);
    text
}
