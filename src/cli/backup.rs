//! `tsdb-ark backup`: all tables of an OpenTSDB to a repository.

mod planned;

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use tsdb_ark::flow::{
    self, BackupPlan, BackupReport, CatchUpPlan, GatewaySettings, IncrementBy, IncrementPlan, LayoutFlags, Manners,
    OpentsdbConf, RepositorySettings, Resources, Selection, Source, TableNames, TableReport,
};
use tsdb_ark::model::{NameCharset, RawReason, TableDescriptor, TableKind};

use crate::cli::args::{GatewayArgs, ResourceArgs};
use crate::cli::exit::{EXIT_CODES, usage};
use crate::cli::expected_raw::ExpectedRaw;
use crate::cli::limits::{self, MannersArgs};
use crate::cli::opentsdb_args::OpentsdbArgs;
use crate::cli::outcome::{Outcome, gaps_text, remarks};
use crate::cli::repository_args::RepositoryArgs;
use crate::cli::running::Running;
use crate::cli::selection_args::SelectionArgs;
use crate::cli::tables_text::{gap_lines, layout_text, salt_text, table_columns, window_text};
use crate::cli::{units, worker};

/// What is typed.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct BackupArgs {
    /// Where the backups are.
    #[command(flatten)]
    pub repository: RepositoryArgs,
    /// Also back up delete markers and overwritten versions
    #[arg(long)]
    pub raw: bool,
    /// Back up what has changed since another backup, the newest one of this cluster unless --parent names it
    #[arg(long, group = "by_write_time", conflicts_with_all = ["raw", "dry_run", "metric", "tag", "from", "to", "since"])]
    pub incremental: bool,
    /// Make a full backup, and then an increment by write time on it: together they hold what was written while the full one
    /// ran, too
    #[arg(long, group = "by_write_time",
        conflicts_with_all = ["raw", "skip_unreadable", "plan_only", "metric", "tag", "from", "to", "since"])]
    pub catch_up: bool,
    /// With --incremental: the backup to add to: an id, a unique prefix of one, or latest
    #[arg(
        long,
        value_name = "ID",
        requires = "incremental",
        conflicts_with = "catch_up",
        default_value = "latest",
        hide_default_value = true
    )]
    pub parent: String,
    /// With --incremental: how to find what has changed. compare reads everything, keeps what differs and is exact; time
    /// reads what was written since, and misses what write times do not show
    #[arg(long, value_name = "HOW", requires = "incremental", conflicts_with = "catch_up", default_value = "compare", value_parser = parse_by)]
    pub by: IncrementBy,
    /// With --by time or --catch-up: how far clocks may be apart
    #[arg(long, value_name = "TIME", requires = "by_write_time", default_value = "10m", value_parser = units::parse_duration)]
    pub overlap: Duration,
    /// With --by time or --catch-up: for how long the cluster keeps delete markers before a major compaction drops them
    #[arg(long, value_name = "TIME", requires = "by_write_time", default_value = "7d", value_parser = units::parse_duration)]
    pub horizon: Duration,
    /// Only these points.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// With --raw: maximum number of versions per column (default: all)
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(i32).range(1..))]
    pub max_versions: Option<i32>,
    /// Do not exit with 3 because of cells that do not decode; with reasons, such as wrong_salt,bad_row_key, only for those
    #[arg(long, value_name = "REASON", num_args = 0..=1, require_equals = true, value_delimiter = ',',
        default_missing_value = "all", value_parser = ExpectedRaw::parse)]
    pub expect_raw_cells: Vec<ExpectedRaw>,
    /// Resume the newest unfinished backup that was started with the same settings
    #[arg(long)]
    pub resume: bool,
    /// Skip keys that cannot be read and record them as gaps, instead of failing: holes between regions, regions that are
    /// not open, damaged files, unreadable or oversized rows, disabled tables. Exits with 3 if there are any
    #[arg(long)]
    pub skip_unreadable: bool,
    /// Never delete anything, for credentials without that right; released locks stay until prune removes them
    #[arg(long)]
    pub append_only: bool,
    /// Read back and compare every file that is written, instead of one in 16
    #[arg(long)]
    pub verify_written: bool,
    /// Commit by put, wait and read back, for a store without create-only puts (If-None-Match)
    #[arg(long)]
    pub weak_commit: bool,
    /// Show what would be backed up; write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Only plan the backup, for workers on this or other machines: print its id and its jobs
    #[arg(long)]
    pub plan_only: bool,
    /// With --plan-only: number of jobs that each table is cut into, about (default: two for each connection)
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub jobs: Option<u32>,
    /// Where the cluster is.
    #[command(flatten)]
    pub gateway: GatewayArgs,
    /// What is known about the OpenTSDB.
    #[command(flatten)]
    pub opentsdb: OpentsdbArgs,
    /// Limits.
    #[command(flatten)]
    pub resources: ResourceArgs,
    /// Limits towards the cluster.
    #[command(flatten)]
    pub manners: MannersArgs,
}

/// What is asked for, checked.
struct BackupRequest {
    gateways: GatewaySettings,
    repository: RepositorySettings,
    names: TableNames,
    conf: Option<OpentsdbConf>,
    layout: LayoutFlags,
    charset: Option<NameCharset>,
    descriptions: Vec<TableDescriptor>,
    weak_commit: bool,
    raw: bool,
    increment: Option<IncrementPlan>,
    catch_up: Option<CatchUpPlan>,
    window: Option<Selection>,
    max_versions: i32,
    append_only: bool,
    verify_written: bool,
    skip_unreadable: bool,
    resources: Resources,
    resume: bool,
    manners: Manners,
    dry_run: bool,
    jobs: Option<usize>,
}

impl BackupArgs {
    /// Runs the backup.
    ///
    /// # Errors
    /// Usage, the gateway's, the store's or the flow's.
    pub fn run(self, running: &Running) -> anyhow::Result<Outcome> {
        let request = self.request()?;
        let repository = request.repository.url.clone();
        let plan_only = self.plan_only;
        let (plan, remark) = request.open(running)?;
        if plan_only {
            let report = flow::plan_backup(&plan, &running.progress, &running.cancel)?;
            return Ok(worker::planned(&report, &repository));
        }
        let mut report = flow::backup(&plan, &running.progress, &running.cancel)?;
        report.warnings.extend(remark);
        Ok(outcome(&report, &repository, &self.expect_raw_cells))
    }

    /// The selection of a window; `None`: everything is asked for.
    fn window(&self) -> anyhow::Result<Option<Selection>> {
        let mut selection = self.selection.selection()?;
        if selection.is_all() {
            return Ok(None);
        }
        if self.opentsdb.no_uid_table {
            return Err(usage(
                "--no-uid-table: the rows of --metric, --tag, --from, --to and --since are found by names",
            )
            .into());
        }
        if self.resume && self.selection.since.is_some() {
            // "So long ago" was another time then; the plan has it.
            selection.from_ms = None;
        }
        Ok(Some(selection))
    }

    fn request(&self) -> anyhow::Result<BackupRequest> {
        if self.max_versions.is_some() && !self.raw {
            return Err(usage(
                "--max-versions needs --raw: a backup without it reads as many versions as each family keeps",
            )
            .into());
        }
        if self.resume && self.dry_run {
            return Err(usage("--resume continues a backup, --dry-run writes nothing: use one of them").into());
        }
        if self.plan_only && (self.resume || self.dry_run) {
            return Err(usage("--plan-only begins a backup: leave out --resume and --dry-run").into());
        }
        if self.jobs.is_some() && !self.plan_only {
            return Err(
                usage("--jobs needs --plan-only: a backup in one process cuts tables as its connections need").into()
            );
        }
        Ok(BackupRequest {
            repository: self.repository.settings()?,
            gateways: self.gateway.settings()?,
            names: self.opentsdb.names(),
            layout: self.opentsdb.layout(),
            charset: self.opentsdb.name_charset,
            descriptions: flow::read_descriptions(&self.opentsdb.table_description)?,
            weak_commit: self.weak_commit,
            raw: self.raw,
            increment: self.incremental.then(|| IncrementPlan {
                parent: self.parent.clone(),
                by: self.by,
                overlap: self.overlap,
                horizon: self.horizon,
            }),
            catch_up: self.catch_up.then_some(CatchUpPlan { overlap: self.overlap, horizon: self.horizon }),
            window: self.window()?,
            max_versions: self.max_versions.unwrap_or(i32::MAX),
            append_only: self.append_only,
            verify_written: self.verify_written,
            skip_unreadable: self.skip_unreadable,
            resources: self.resources.limits()?,
            resume: self.resume,
            manners: self.manners.manners(),
            dry_run: self.dry_run,
            jobs: self.jobs.and_then(|jobs| usize::try_from(jobs).ok()),
            conf: self.opentsdb.conf()?,
        })
    }
}

fn parse_by(text: &str) -> Result<IncrementBy, String> {
    match text {
        "time" => Ok(IncrementBy::Time),
        "compare" => Ok(IncrementBy::Compare),
        _ => Err("expected time or compare".to_owned()),
    }
}

impl BackupRequest {
    /// The plan, and what there is to say about the store.
    fn open(self, running: &Running) -> anyhow::Result<(BackupPlan, Option<String>)> {
        // The store first: a wrong URL shows at once, a cluster that is down only after the retries.
        let (store, remark) = match self.dry_run {
            true => flow::open_store_to_look(&self.repository)?,
            false => (flow::open_store(&self.repository, true)?, None),
        };
        let gateways = flow::open_gateways(&self.gateways, &running.progress, &running.cancel)?;
        let plan = BackupPlan {
            source: Source {
                gateways,
                names: self.names,
                conf: self.conf,
                layout: self.layout,
                charset: self.charset,
                descriptions: self.descriptions,
            },
            store,
            weak_commit: self.weak_commit,
            raw: self.raw,
            increment: self.increment,
            catch_up: self.catch_up,
            window: self.window,
            max_versions: self.max_versions,
            append_only: self.append_only,
            verify_written: self.verify_written,
            skip_unreadable: self.skip_unreadable,
            resources: self.resources,
            resume: self.resume,
            manners: self.manners,
            dry_run: self.dry_run,
            jobs: self.jobs,
        };
        Ok((plan, remark))
    }
}

/// How a backup ends, with the increment that followed it: the report, and whether somebody must read it.
pub fn outcome(report: &BackupReport, repository: &str, expected: &[ExpectedRaw]) -> Outcome {
    let full = outcome_of(report, repository, expected);
    let Some(catch_up) = &report.catch_up else { return full };
    let pass = outcome_of(catch_up, repository, expected);
    let of = |what: &str, why: Option<String>| why.map(|why| format!("{what}: {why}"));
    let why: Vec<String> = of("full backup", full.why).into_iter().chain(of("catch-up", pass.why)).collect();
    Outcome {
        text: format!("{}\ncatch-up: {}", full.text, pass.text),
        // What is restored of the two.
        quiet_text: pass.quiet_text,
        code: full.code.max(pass.code),
        why: (!why.is_empty()).then(|| why.join("; ")),
        ..full
    }
}

fn outcome_of(report: &BackupReport, repository: &str, expected: &[ExpectedRaw]) -> Outcome {
    let id = report.backup.as_ref().map_or(String::new(), |id| format!("{id}\n"));
    let (text, json) = match &report.backup {
        Some(id) => (text(report, id, repository), flow::to_json(report)),
        None => (planned::text(report, repository), planned::json(report)),
    };
    let done = Outcome { quiet_text: id, ..Outcome::done(text, json) };
    let gaps: u64 = report.tables.iter().map(|table| table.gaps.len() as u64).sum();
    let increment = report.kind == "incremental";
    if gaps == 0 && report.backup.is_some() && !increment && report.tables.iter().all(|table| table.tally.cells == 0) {
        return done
            .must_read("the backup is complete and empty: the tables hold no cell; are they the right ones?".into());
    }
    let mut reasons = Vec::new();
    let holds_rows = report.tables.iter().any(|table| table.kind != TableKind::Uid && table.tally.cells > 0);
    if report.window.is_some() && report.backup.is_some() && gaps == 0 && !holds_rows {
        reasons.push("the window holds no row: no selected series has points in that time".into());
    }
    if !report.not_held.is_empty() {
        let what = if report.backup.is_some() { "the backup does not hold" } else { "a backup would not hold" };
        reasons.push(format!(
            "{what} {}; only a Thrift2 gateway (hbase thrift2 start) reads them",
            report.not_held.join(", nor ")
        ));
    }
    if gaps > 0 {
        let what = if report.backup.is_some() { "the backup lacks keys" } else { "a backup would lack keys" };
        reasons.push(format!("{what} that cannot be read: {}", gaps_text(gaps)));
    }
    let unexpected = unexpected_raw_cells(&report.tables, expected);
    if !unexpected.is_empty() {
        reasons.push(format!(
            "{}cells that do not decode were kept raw: {}; --expect-raw-cells={} if that is known",
            if reasons.is_empty() { "the backup is complete, but " } else { "" },
            reasons_text(&unexpected),
            unexpected.keys().cloned().collect::<Vec<_>>().join(",")
        ));
    }
    if reasons.is_empty() { done } else { done.must_read(reasons.join("; ")) }
}

/// Raw cells that hint at damage or at wrong settings, by reason: all but those that were asked for (old versions and
/// deletes), those of tables that are no OpenTSDB's, those of buckets whose number was changed, which are only warned
/// of, and those that are expected.
fn unexpected_raw_cells(tables: &[TableReport], known: &[ExpectedRaw]) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for table in tables {
        for (name, count) in &table.raw_reasons {
            let reason = RawReason::from_name(name);
            let expected = match reason {
                Some(
                    RawReason::DeleteMarker
                    | RawReason::Deleted
                    | RawReason::OldVersion
                    | RawReason::ForeignTable
                    | RawReason::OtherSalt,
                ) => true,
                Some(RawReason::OtherFamily) if table.kind == TableKind::Other => true,
                _ => ExpectedRaw::covers(known, reason),
            };
            if !expected && *count > 0 {
                *found.entry(name.clone()).or_default() += count;
            }
        }
    }
    found
}

fn reasons_text(reasons: &BTreeMap<String, u64>) -> String {
    reasons.iter().map(|(name, count)| format!("{name} {}", units::count(*count))).collect::<Vec<_>>().join(", ")
}

fn text(report: &BackupReport, id: &str, repository: &str) -> String {
    let mut text = format!("backup {id} in {repository}, {}\n\n", units::span(report.seconds));
    text += &report.window.as_ref().map(window_text).unwrap_or_default();
    text += &table_columns(&report.tables).to_string();
    if let Some(resumed) = &report.resumed {
        text += &format!(
            "\nresumed: {} with {} already there, {} read now\n",
            units::counted(resumed.shards_kept, "shard", "shards"),
            units::counted(resumed.cells_kept, "cell", "cells"),
            units::count(resumed.shards_read)
        );
        text += &remarks("read again", &resumed.problems);
    }
    text += &format!(
        "\nread {} from the cluster, wrote {}, read {} back, peak memory {}\n",
        units::size(report.bytes_read),
        units::size(report.bytes_written),
        units::counted(report.files_read_back, "file", "files"),
        units::size(report.peak_rss_bytes)
    );
    text += &limits::held_back(report.back_off_seconds);
    text += &format!("{}\n", layout_text(&report.layout, &report.layout_from));
    for table in &report.tables {
        for (number, cells) in &table.cells_by_layout {
            let layout = usize::from(*number).checked_sub(1).and_then(|at| report.older_layouts.get(at));
            let salt = layout.map_or("an unknown salt".into(), salt_text);
            let cells = units::counted(*cells, "cell", "cells");
            text += &format!("{cells} of {} in rows with {salt}\n", table.table);
        }
    }
    for table in report.tables.iter().filter(|table| !table.raw_reasons.is_empty()) {
        text += &format!("raw cells of {}: {}\n", table.table, reasons_text(&table.raw_reasons));
    }
    text += &gap_lines(&report.tables);
    text += &remarks("not found", &report.absent_tables);
    text += &remarks("not held", &report.not_held);
    text += &remarks("warning", &report.warnings);
    text
}

#[cfg(test)]
mod tests;
