//! `tsdb-ark worker`: jobs of a backup that `backup --plan-only` has planned; and how such a plan reads.

use clap::Args;
use tsdb_ark::flow::{
    self, BackupPlan, GatewaySettings, JobName, LayoutFlags, Manners, PlanReport, RepositorySettings, Resources,
    Source, TableNames, WorkPlan, WorkReport,
};

use crate::cli::args::{GatewayArgs, ResourceArgs};
use crate::cli::columns::{Columns, Side};
use crate::cli::exit::EXIT_CODES;
use crate::cli::limits::{self, MannersArgs};
use crate::cli::outcome::{Outcome, remarks};
use crate::cli::repository_args::RepositoryArgs;
use crate::cli::running::Running;
use crate::cli::units;

/// What is typed.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct WorkerArgs {
    /// Where the backups are.
    #[command(flatten)]
    pub repository: RepositoryArgs,
    /// The planned backup, by its id
    #[arg(long, value_name = "ID")]
    pub backup: String,
    /// Do this job, even if it is recorded already; may be repeated (default: --all)
    #[arg(long, value_name = "TABLE/N", value_delimiter = ',', value_parser = parse_job)]
    pub job: Vec<JobName>,
    /// Do every job that is not recorded yet
    #[arg(long, conflicts_with = "job")]
    pub all: bool,
    /// Skip keys that cannot be read and record them as gaps, instead of failing
    #[arg(long)]
    pub skip_unreadable: bool,
    /// Never delete anything, for credentials without that right; released locks stay until prune removes them
    #[arg(long)]
    pub append_only: bool,
    /// Read back and compare every file that is written, instead of one in 16
    #[arg(long)]
    pub verify_written: bool,
    /// Where the cluster is.
    #[command(flatten)]
    pub gateway: GatewayArgs,
    /// Limits.
    #[command(flatten)]
    pub resources: ResourceArgs,
    /// Limits towards the cluster.
    #[command(flatten)]
    pub manners: MannersArgs,
}

/// What is asked for, checked.
struct WorkRequest {
    gateways: GatewaySettings,
    repository: RepositorySettings,
    backup: String,
    jobs: Vec<JobName>,
    skip_unreadable: bool,
    append_only: bool,
    verify_written: bool,
    resources: Resources,
    manners: Manners,
}

fn parse_job(text: &str) -> Result<JobName, String> {
    let wrong = || format!("{text} is no job; jobs are named TABLE/N, for example tsdb/3");
    let (table, number) = text.rsplit_once('/').ok_or_else(wrong)?;
    let number = number.parse().map_err(|_| wrong())?;
    if table.is_empty() { Err(wrong()) } else { Ok(JobName { table: table.to_string(), number }) }
}

impl WorkerArgs {
    /// Does the jobs.
    ///
    /// # Errors
    /// Usage, the gateway's, the store's or the flow's.
    pub fn run(self, running: &Running) -> anyhow::Result<Outcome> {
        let request = WorkRequest {
            gateways: self.gateway.settings()?,
            repository: self.repository.settings()?,
            backup: self.backup,
            jobs: self.job,
            skip_unreadable: self.skip_unreadable,
            append_only: self.append_only,
            verify_written: self.verify_written,
            resources: self.resources.limits()?,
            manners: self.manners.manners(),
        };
        let all = request.jobs.is_empty();
        let report = flow::work(&request.open(running)?, &running.progress, &running.cancel)?;
        Ok(outcome(&report, all))
    }
}

impl WorkRequest {
    fn open(self, running: &Running) -> anyhow::Result<WorkPlan> {
        let store = flow::open_store(&self.repository, false)?;
        let gateways = flow::open_gateways(&self.gateways, &running.progress, &running.cancel)?;
        // What the backup reads, and how, stands in its plan.
        let source = Source {
            gateways,
            names: TableNames::default(),
            conf: None,
            layout: LayoutFlags::default(),
            charset: None,
            descriptions: Vec::new(),
        };
        let run = BackupPlan {
            source,
            store,
            weak_commit: false,
            raw: false,
            increment: None,
            catch_up: None,
            window: None,
            max_versions: i32::MAX,
            append_only: self.append_only,
            verify_written: self.verify_written,
            skip_unreadable: self.skip_unreadable,
            resources: self.resources,
            resume: false,
            manners: self.manners,
            dry_run: false,
            jobs: None,
        };
        Ok(WorkPlan { run, backup: self.backup, jobs: self.jobs })
    }
}

/// `all`: whatever was missing was to be done.
fn outcome(report: &WorkReport, all: bool) -> Outcome {
    let done = Outcome::done(text(report), flow::to_json(report));
    match &report.left {
        Some(why) => done.must_read(format!("the UID table was left: {why}; run worker again when these are done")),
        None if all && !report.missing.is_empty() => {
            done.must_read(format!("jobs are not recorded yet: {}; run worker again", report.missing.join(", ")))
        }
        None if !report.unreadable.is_empty() => done.must_read(format!(
            "keys of {} could not be read and are recorded as gaps; once the cluster is repaired, run worker with --job for each \
             of them, or backup --resume",
            report.unreadable.join(", ")
        )),
        None => done,
    }
}

fn text(report: &WorkReport) -> String {
    let mut text = format!(
        "worker on backup {}: {}, {} recorded, {}\n",
        report.backup,
        units::counted(report.jobs.len() as u64, "job", "jobs"),
        units::counted(report.shards, "shard", "shards"),
        units::span(report.seconds)
    );
    text += &match report.missing.as_slice() {
        [] => format!("all jobs are recorded: tsdb-ark commit --backup {}\n", report.backup),
        missing => format!("not recorded yet: {}\n", missing.join(", ")),
    };
    if !report.unreadable.is_empty() {
        text += &format!("with gaps: {}\n", report.unreadable.join(", "));
    }
    text += &format!(
        "\nread {} from the cluster, wrote {}, read {} files back, peak memory {}\n",
        units::size(report.bytes_read),
        units::size(report.bytes_written),
        units::count(report.files_read_back),
        units::size(report.peak_rss_bytes)
    );
    text += &limits::held_back(report.back_off_seconds);
    text += &remarks("warning", &report.warnings);
    text
}

/// How a plan reads: the id and the jobs.
pub fn planned(report: &PlanReport, repository: &str) -> Outcome {
    let mut text = format!("backup {} is planned in {repository}, {}\n\n", report.backup, units::span(report.seconds));
    let mut columns = Columns::new(&[("job", Side::Left), ("from", Side::Left), ("to", Side::Left)]);
    for job in report.tables.iter().flat_map(|table| &table.jobs) {
        let stop = if job.stop.is_empty() { "end" } else { &job.stop };
        columns.row([job.job.clone(), job.start.clone(), stop.to_string()]);
    }
    text += &columns.to_string();
    text += &format!(
        "\ntsdb-ark worker --repository {repository} --backup {id} --gateway HOST:PORT [--job TABLE/N]\n\
         tsdb-ark commit --repository {repository} --backup {id}\n",
        id = report.backup
    );
    text += &remarks("not held", &report.not_held);
    text += &remarks("warning", &report.warnings);
    let done = Outcome { quiet_text: format!("{}\n", report.backup), ..Outcome::done(text, flow::to_json(report)) };
    match report.not_held.is_empty() {
        true => done,
        false => done.must_read(format!(
            "the backup will not hold {}; only a Thrift2 gateway (hbase thrift2 start) reads them",
            report.not_held.join(", nor ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_named_by_table_and_number() {
        let job = |table: &str, number| Ok(JobName { table: table.into(), number });
        assert_eq!(parse_job("tsdb/3"), job("tsdb", 3));
        assert_eq!(parse_job("ns:tsdb-uid/0"), job("ns:tsdb-uid", 0));
        for wrong in ["tsdb", "/1", "tsdb/", "tsdb/x", "tsdb/-1", ""] {
            assert!(parse_job(wrong).is_err(), "{wrong}");
        }
    }
}
