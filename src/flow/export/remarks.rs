//! What somebody must know who uses an export.

use crate::flow::export::plan::{ExportFormat, ExportPlan};
use crate::flow::export::report::ExportReport;
use crate::flow::stored::backup_files::BackupContents;
use crate::flow::stored::gaps;
use crate::manifest::BackupKind;
use crate::model::{FileKind, RawReason, TableKind};

/// Cells that are raw because a query does not see them, not because they could not be decoded.
const HIDDEN: [RawReason; 3] = [RawReason::DeleteMarker, RawReason::Deleted, RawReason::OldVersion];

/// Adds what there is to say.
pub fn remark(plan: &ExportPlan, contents: &BackupContents, report: &mut ExportReport) {
    attention(contents, report);
    let manifest = &contents.manifest;
    report.warnings.extend(gaps::warnings(manifest));
    if manifest.kind == BackupKind::Window {
        report.warnings.push("the backup holds a selection of points alone".to_owned());
    }
    let special = report.special_names;
    if special > 0 {
        report
            .warnings
            .push(format!("{special} points have names that a TSD takes only with tsd.core.tag.allow_specialchars"));
    }
    match plan.format {
        ExportFormat::Opentsdb if report.rounded > 0 => report.warnings.push(format!(
            "tsdb import reads every float as 32 bits: it rounds the values of {} points, which the lines have exactly",
            report.rounded
        )),
        ExportFormat::Victoria if report.points > 0 => report.warnings.push(
            "VictoriaMetrics stores about 15 digits of a float, fewer where the values of a series lie far apart"
                .to_owned(),
        ),
        _ => {}
    }
    if report.not_finite > 0 {
        report.warnings.push(format!("the values of {} points are NaN or infinite", report.not_finite));
    }
    let Some(table) = report.table.clone() else { return };
    let rows = |kind: FileKind| -> u64 {
        contents.files_of(&table).filter(|file| file.kind == kind).map(|file| file.rows).sum()
    };
    if !plan.format.is_table() || report.output == "-" {
        let left_out = rows(FileKind::Annotations);
        if left_out > 0 {
            report
                .warnings
                .push(format!("{left_out} annotations of the table are left out: there is no place for them"));
        }
    }
    let histograms = rows(FileKind::Histograms);
    if histograms > 0 {
        report.warnings.push(format!("{histograms} histograms of the table are left out"));
    }
    let record = manifest.tables.iter().find(|record| record.name == table);
    let hidden = |reason: &str| HIDDEN.iter().any(|hidden| hidden.name() == reason);
    let raw = record.map(|record| record.raw_cells.iter().filter(|(reason, _)| !hidden(reason)));
    let raw: u64 = raw.into_iter().flatten().map(|(_, count)| count).sum();
    if raw > 0 {
        report.warnings.push(format!(
            "{raw} cells of the table are kept raw; points are exported of those alone that a TSD can read"
        ));
    }
    if plan.table.is_none() && manifest.tables.iter().any(|table| table.kind == TableKind::Rollup) {
        report.warnings.push("rollups and pre-aggregates are left out".to_owned());
    }
}

/// What makes the exit code 3.
fn attention(contents: &BackupContents, report: &mut ExportReport) {
    let manifest = &contents.manifest;
    let mut say = Vec::new();
    if report.closed_early {
        say.push(format!(
            "whoever read standard output closed it early: not all points were written, but at least {}",
            report.points
        ));
    } else if report.points == 0 && report.annotations == 0 {
        say.push("no point was exported: nothing was written".to_owned());
    }
    for (reason, points) in &report.skipped {
        say.push(format!("{points} points were skipped: {}", reason.words()));
    }
    if let Some(first) = report.mixed_metrics.first() {
        let more = match report.mixed {
            1 => " has".to_owned(),
            count => format!(" and {} more metrics (mixed_metrics in the JSON) have", count - 1),
        };
        say.push(format!(
            "{first}{more} both integers and floats: InfluxDB keeps one kind of number for a measurement's field, and \
             refuses the points of the other kind"
        ));
    }
    if report.unnamed > 0 {
        say.push(format!("{} points have UIDs in the place of names that the backup does not know", report.unnamed));
    }
    if report.format == ExportFormat::Victoria.name() && report.rounded > 0 {
        say.push(format!(
            "VictoriaMetrics rounds the integers of {} points, which the lines have exactly: it keeps 64-bit floats alone",
            report.rounded
        ));
    }
    report.gaps = manifest.tables.iter().map(|table| table.gaps.len() as u64).sum();
    if report.gaps > 0 {
        say.push(format!("keys that could not be read are missing from the backup: {} gaps", report.gaps));
    }
    if let Some(parent) = &manifest.parent {
        say.push(format!(
            "the backup is an increment: what it adds to {parent} was exported alone; merge makes a full backup of both, for \
             a whole export"
        ));
    }
    report.attention = say;
}
