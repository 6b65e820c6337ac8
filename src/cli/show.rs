//! `tsdb-ark show`: what is in a backup.

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;
use tsdb_ark::flow::{self, MatchReport, MetricReport, ShowReport, StoredFileReport};

use crate::cli::columns::{Columns, Side};
use crate::cli::exit::{EXIT_CODES, usage};
use crate::cli::outcome::Outcome;
use crate::cli::repository_args::RepositoryArgs;
use crate::cli::selection_args::SelectionArgs;
use crate::cli::tables_text::{gap_lines, layout_text, table_columns, window_text};
use crate::cli::units;

/// What is asked for.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct ShowArgs {
    /// The backup: its id, a unique prefix of it, or latest
    #[arg(default_value = "latest")]
    pub backup: String,
    /// List the files of the backup instead, one path per line, for example to restore them from an archive class
    #[arg(long)]
    pub files: bool,
    /// Print SQL that defines a view for each table of the backup in DuckDB, with full paths
    #[arg(long)]
    pub views: bool,
    /// With --views: location of the repository as DuckDB sees it, if not that of --repository (path, file://, s3:// or
    /// https://)
    #[arg(long, value_name = "URL", requires = "views")]
    pub base: Option<String>,
    /// List the series of the metrics that match too, from the files of series
    #[arg(long, conflicts_with_all = ["files", "views"])]
    pub series: bool,
    /// Which metrics and series.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Where the backups are.
    #[command(flatten)]
    pub repository: RepositoryArgs,
}

/// What a script gets with `--files`.
#[derive(Serialize)]
struct Files {
    backup: String,
    files: Vec<StoredFileReport>,
}

impl ShowArgs {
    /// Reads the manifest and its catalogue.
    ///
    /// # Errors
    /// Usage, or the repository's.
    pub fn run(self) -> anyhow::Result<Outcome> {
        let selection = self.selection.selection()?;
        let matching = self.series || !selection.is_all();
        if matching && (self.files || self.views) {
            return Err(usage(
                "--metric, --tag and times choose metrics and series: leave them out with --files and --views",
            )
            .into());
        }
        let store = flow::open_store(&self.repository.settings()?, false)?;
        if self.files {
            let (backup, files) = flow::stored_files(&store, &self.backup)?;
            let text: String = files.iter().map(|file| format!("{}\n", file.path)).collect();
            let json = flow::to_json(&Files { backup, files });
            return Ok(Outcome { quiet_text: text.clone(), ..Outcome::done(text, json) });
        }
        if self.views {
            let sql = flow::views(&store, &self.backup, self.base.as_deref())?;
            let json = flow::to_json(&BTreeMap::from([("views", &sql)]));
            return Ok(Outcome { quiet_text: sql.clone(), ..Outcome::done(sql, json) });
        }
        if matching {
            let report = flow::matching(&store, &self.backup, &selection, self.series)?;
            let text = matching_text(&report);
            return Ok(Outcome { quiet_text: text.clone(), ..Outcome::done(text, flow::to_json(&report)) });
        }
        let report = flow::show(&store, &self.backup)?;
        let text = text(&report);
        Ok(Outcome { quiet_text: text.clone(), ..Outcome::done(text, flow::to_json(&report)) })
    }
}

fn text(report: &ShowReport) -> String {
    let mut text = format!("backup {}{}\n", report.backup, if report.raw { " (raw)" } else { "" });
    text += &report.window.as_ref().map(window_text).unwrap_or_default();
    if let (Some(parent), Some(increment)) = (&report.parent, &report.increment) {
        text += &format!("increment of {parent}, by {}: {}\n", increment.by.name(), increment.guarantee);
    }
    if !report.merged.is_empty() {
        text += &format!("merged from {}\n", report.merged.join(", "));
    }
    text += &format!("from {} to {}, by tsdb-ark {}\n", report.started, report.finished, report.tool_version);
    text += &format!("cluster: {}\n", report.cluster_id.as_deref().unwrap_or("unknown id"));
    text += &format!("gateways: {}\n", report.gateways.join(", "));
    text += &format!("{}\n", layout_text(&report.layout, &report.layout_from));
    text += &format!("exactness: {}\n", report.exactness);
    for (key, value) in &report.opentsdb_conf {
        text += &format!("{key} = {value}\n");
    }
    text += &format!("\n{}", table_columns(&report.tables));
    text += &gap_lines(&report.tables);
    if !report.metrics.is_empty() {
        text += &format!("\n{}", metric_columns(&report.metrics));
    }
    text
}

fn matching_text(report: &MatchReport) -> String {
    let mut text = match report.metrics.is_empty() {
        true => format!("backup {}: no metric matches\n", report.backup),
        false => format!("backup {}\n\n{}", report.backup, metric_columns(&report.metrics)),
    };
    if let Some(parent) = &report.parent {
        text += &format!("\nof the increment alone; {parent}, which it adds to, holds more\n");
    }
    if let Some(series) = report.series.as_ref().filter(|series| !series.is_empty()) {
        let mut columns =
            Columns::new(&[("metric", Side::Left), ("tags", Side::Left), ("table", Side::Left), ("tsuid", Side::Left)]);
        for series in series {
            let tags: Vec<String> = series.tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let metric = series.metric.clone().unwrap_or_else(|| "(no name)".to_string());
            columns.row([metric, tags.join(" "), series.table.clone(), series.tsuid.clone()]);
        }
        text += &format!("\n{columns}");
    }
    text
}

fn metric_columns(metrics: &[MetricReport]) -> Columns {
    let mut columns = Columns::new(&[
        ("metric", Side::Left),
        ("table", Side::Left),
        ("uid", Side::Left),
        ("points", Side::Right),
        ("first", Side::Left),
        ("last", Side::Left),
    ]);
    for metric in metrics {
        columns.row([
            metric.metric.clone().unwrap_or_else(|| "(no name)".to_string()),
            metric.table.clone(),
            metric.uid.clone(),
            units::count(metric.points),
            metric.first.clone().unwrap_or_default(),
            metric.last.clone().unwrap_or_default(),
        ]);
    }
    columns
}
