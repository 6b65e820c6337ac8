//! `tsdb-ark export`: points of a backup for other programs.

use clap::{Args, ValueEnum};
use tsdb_ark::flow::{
    self, ExportFormat, ExportPlace, ExportPlan, ExportReport, Partition, Profile, RepositorySettings, Resources,
    Selection, TagForm,
};

use crate::cli::exit::{EXIT_CODES, usage};
use crate::cli::outcome::{Outcome, remarks};
use crate::cli::repository_args::RepositoryArgs;
use crate::cli::running::Running;
use crate::cli::selection_args::SelectionArgs;
use crate::cli::units;

/// The place that is standard output.
const STDOUT: &str = "-";

/// What the points become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Parquet: metric, timestamp, value (DOUBLE), value_int (exact, for integers) and the tags
    Parquet,
    /// CSV (RFC 4180) with a line of names: metric, timestamp, value and the tags
    Csv,
    /// Lines for tsdb import
    Opentsdb,
    /// InfluxDB line protocol with the field value, in nanoseconds
    Influx,
    /// JSON lines for /api/v1/import of VictoriaMetrics
    Victoria,
}

/// How tags are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Tags {
    /// One column for each tag key
    Columns,
    /// One column: a MAP in Parquet, a JSON object in CSV
    Map,
}

/// Which points share a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Partitioning {
    /// All points
    None,
    /// day=2026-01-31 (UTC)
    Day,
    /// metric=sys.cpu.user, instead of the column
    Metric,
}

/// What readers of the Parquet files must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ParquetProfile {
    /// zstd and delta encodings
    Compact,
    /// snappy, and encodings that every reader has
    Plain,
}

/// What is typed.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct ExportArgs {
    /// The backup: its id, a unique prefix of it, or latest
    #[arg(default_value = "latest")]
    pub backup: String,
    /// What the points become
    #[arg(long, value_enum)]
    pub format: Format,
    /// Where they go: a directory or S3 prefix that is empty or does not exist yet, or - for standard output. S3 is reached
    /// with the same settings as the repository
    #[arg(long, value_name = "URL")]
    pub output: String,
    /// Only this data table
    #[arg(long, value_name = "NAME")]
    pub table: Option<String>,
    /// With parquet or csv: how tags are written [default: columns]
    #[arg(long, value_enum)]
    pub tags: Option<Tags>,
    /// With parquet: which points share a folder [default: none]
    #[arg(long, value_enum)]
    pub partition: Option<Partitioning>,
    /// With parquet: what readers must know [default: compact]
    #[arg(long, value_enum)]
    pub profile: Option<ParquetProfile>,
    /// With parquet or csv: also points that a TSD would not show because a later write took their place, marked in the
    /// columns superseded and written
    #[arg(long)]
    pub all: bool,
    /// Which points.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Where the backups are.
    #[command(flatten)]
    pub repository: RepositoryArgs,
    /// Threads that decode and encode; 0 for one per core
    #[arg(long, help_heading = "Limits", value_name = "COUNT", value_parser = clap::value_parser!(u16).range(0..=1024),
        default_value = Resources::default().cpu.to_string())]
    pub cpu: u16,
    /// Memory limit for files in the making
    #[arg(long, help_heading = "Limits", value_name = "SIZE", value_parser = units::parse_size,
        default_value = units::size_flag(Resources::default().max_memory))]
    pub max_memory: u64,
}

/// What is asked for, checked.
struct ExportRequest {
    repository: RepositorySettings,
    /// `None`: standard output.
    output: Option<RepositorySettings>,
    backup: String,
    selection: Selection,
    table: Option<String>,
    format: ExportFormat,
    tags: TagForm,
    partition: Partition,
    profile: Profile,
    all: bool,
    resources: Resources,
}

impl ExportArgs {
    /// True when standard output is for the points.
    pub fn uses_stdout(&self) -> bool {
        self.output == STDOUT
    }

    /// Runs the export.
    ///
    /// # Errors
    /// Usage, the store's or the flow's.
    pub fn run(self, running: &Running) -> anyhow::Result<Outcome> {
        let request = self.request()?;
        // First, so that a repository that is not there leaves no empty folder behind.
        let store = flow::open_store(&request.repository, false)?;
        let place = match &request.output {
            None => ExportPlace::Stream(Box::new(std::io::stdout())),
            Some(output) => ExportPlace::Store(flow::open_export_place(&request.repository, output)?),
        };
        let on_stderr = request.output.is_none();
        let plan = ExportPlan {
            store,
            backup: request.backup,
            selection: request.selection,
            table: request.table,
            format: request.format,
            tags: request.tags,
            partition: request.partition,
            profile: request.profile,
            all: request.all,
            resources: request.resources,
        };
        let report = flow::export(&plan, place, &running.progress, &running.cancel)?;
        Ok(Outcome { on_stderr, ..outcome(&report) })
    }

    fn request(self) -> anyhow::Result<ExportRequest> {
        let (parquet, table) = (self.format == Format::Parquet, matches!(self.format, Format::Parquet | Format::Csv));
        if parquet && self.uses_stdout() {
            return Err(
                usage("parquet cannot go to standard output: name a directory or S3 prefix with --output").into()
            );
        }
        if !parquet && (self.partition.is_some() || self.profile.is_some()) {
            return Err(usage("--partition and --profile need --format parquet").into());
        }
        if !table && (self.tags.is_some() || self.all) {
            return Err(usage("--tags and --all need --format parquet or csv").into());
        }
        let repository = self.repository.settings()?;
        let output = (!self.uses_stdout())
            .then(|| RepositorySettings { url: self.output.clone(), options: repository.options.clone() });
        Ok(ExportRequest {
            output,
            repository,
            backup: self.backup,
            selection: self.selection.selection()?,
            table: self.table,
            format: match self.format {
                Format::Parquet => ExportFormat::Parquet,
                Format::Csv => ExportFormat::Csv,
                Format::Opentsdb => ExportFormat::Opentsdb,
                Format::Influx => ExportFormat::Influx,
                Format::Victoria => ExportFormat::Victoria,
            },
            tags: match self.tags {
                Some(Tags::Map) => TagForm::Map,
                Some(Tags::Columns) | None => TagForm::Columns,
            },
            partition: match self.partition {
                Some(Partitioning::Day) => Partition::Day,
                Some(Partitioning::Metric) => Partition::Metric,
                Some(Partitioning::None) | None => Partition::None,
            },
            profile: match self.profile {
                Some(ParquetProfile::Plain) => Profile::Plain,
                Some(ParquetProfile::Compact) | None => Profile::Compact,
            },
            all: self.all,
            resources: Resources { cpu: usize::from(self.cpu), max_memory: self.max_memory, ..Resources::default() },
        })
    }
}

fn outcome(report: &ExportReport) -> Outcome {
    let done = Outcome::done(text(report), flow::to_json(report));
    match report.attention.as_slice() {
        [] => done,
        attention => done.must_read(attention.join("; ")),
    }
}

fn text(report: &ExportReport) -> String {
    let files = match report.output.as_str() {
        STDOUT => "standard output".to_owned(),
        place => format!("{} in {place}", units::counted(report.files, "file", "files")),
    };
    let mut text = format!(
        "backup {} exported as {}, {}\n{} of {}, {} written to {files}, {} read, peak memory {}\n",
        report.backup,
        report.format,
        units::span(report.seconds),
        units::counted(report.points, "point", "points"),
        units::counted(report.series, "series", "series"),
        units::size(report.bytes),
        units::size(report.bytes_read),
        units::size(report.peak_rss_bytes)
    );
    if report.annotations > 0 {
        text += &format!("{}\n", units::counted(report.annotations, "annotation", "annotations"));
    }
    if report.superseded > 0 {
        text +=
            &format!("{} left out that a TSD would not show\n", units::counted(report.superseded, "point", "points"));
    }
    for (series, reason) in &report.skipped_series {
        text += &format!("skipped: {series}: {}\n", reason.words());
    }
    text + &remarks("warning", &report.warnings)
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches;

    use super::*;
    use crate::cli::command::{self, Cli, Verb};

    fn request(flags: &str) -> anyhow::Result<ExportRequest> {
        let words = ["tsdb-ark", "export", "--repository", "/b"].into_iter().chain(flags.split_whitespace());
        let cli = Cli::from_arg_matches(&command::command().try_get_matches_from(words).unwrap()).unwrap();
        match cli.verb {
            Verb::Export(args) => args.request(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let parquet =
            request("b1 --format parquet --output /x --partition day --profile plain --all --metric a*").unwrap();
        assert_eq!((parquet.partition, parquet.profile, parquet.all), (Partition::Day, Profile::Plain, true));
        assert_eq!((parquet.backup.as_str(), parquet.selection.metrics.len()), ("b1", 1));
        assert!(request("--format csv --output - --tags map").unwrap().output.is_none());
        for flags in [
            "--format parquet --output -",
            "--format csv --output /x --partition day",
            "--format influx --output /x --profile plain",
            "--format influx --output - --tags map",
            "--format opentsdb --output - --all",
            "--format csv --output - --from 2 --to 1",
        ] {
            assert!(request(flags).is_err(), "{flags}");
        }
    }

    #[test]
    fn what_needs_attention_makes_the_exit_code_3() {
        let mut report = ExportReport { points: 3, output: "-".into(), ..ExportReport::default() };
        assert_eq!(outcome(&report).code, 0);
        report.attention.push("2 points were skipped: NaN".into());
        let outcome = outcome(&report);
        assert_eq!((outcome.code, outcome.why.as_deref()), (3, Some("2 points were skipped: NaN")));
        assert!(outcome.text.contains("3 points of 0 series"), "{}", outcome.text);
    }
}
