//! `tsdb-ark verify`: is a backup what it says it is?

use clap::{Args, ValueEnum};
use tsdb_ark::flow::{
    self, GatewaySettings, Manners, RepositorySettings, Resources, VerifyLevel, VerifyPlan, VerifyReport,
};

use crate::cli::args::{GatewayArgs, ResourceArgs, check_renames, parse_rename};
use crate::cli::exit::{EXIT_CODES, Usage, usage};
use crate::cli::limits::{self, MannersArgs};
use crate::cli::outcome::{Outcome, difference_text, gaps_text, remarks, word};
use crate::cli::repository_args::RepositoryArgs;
use crate::cli::running::Running;
use crate::cli::units;

/// How thorough; each level catches what the one before misses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// Size and hash of every file
    Files,
    /// Also decode every file and compare with the cells that were backed up
    Cells,
    /// Also compare with the cells of the live cluster
    Source,
}

/// What is typed.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct VerifyArgs {
    /// The backup: its id, a unique prefix of it, or latest
    #[arg(default_value = "latest")]
    pub backup: String,
    /// Where the backups are.
    #[command(flatten)]
    pub repository: RepositoryArgs,
    /// How thorough the check is; each level includes the one before
    #[arg(long, value_enum, default_value = "cells")]
    pub level: Level,
    /// With --level source: compare table OLD of the backup with table NEW of the cluster; may be repeated
    #[arg(long, value_name = "OLD=NEW", value_parser = parse_rename, value_delimiter = ',')]
    pub rename_table: Vec<(String, String)>,
    /// Maximum number of differences to list; all are counted
    #[arg(long, value_name = "COUNT", default_value = "100")]
    pub max_differences: usize,
    /// With --level source: count normal changes of a table in use (expired, overwritten, written later) as differences
    #[arg(long)]
    pub strict: bool,
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
struct VerifyRequest {
    repository: RepositorySettings,
    backup: String,
    level: VerifyLevel,
    gateways: Option<GatewaySettings>,
    rename: Vec<(String, String)>,
    max_named: usize,
    strict: bool,
    resources: Resources,
    manners: Manners,
}

impl VerifyArgs {
    /// Runs the verification.
    ///
    /// # Errors
    /// Usage, the gateway's, the store's or the flow's.
    pub fn run(self, running: &Running) -> anyhow::Result<Outcome> {
        let plan = self.request()?.open(running)?;
        Ok(outcome(&flow::verify(&plan, &running.progress, &running.cancel)?))
    }

    fn request(self) -> Result<VerifyRequest, Usage> {
        check_renames(&self.rename_table)?;
        let live = self.level == Level::Source;
        if live && !self.gateway.given() {
            return Err(usage(
                "--level source compares with the live cluster: name its gateway with --gateway HOST:PORT, \
                 TSDB_ARK_GATEWAY or `gateway` in the configuration file",
            ));
        }
        if !live && !self.rename_table.is_empty() {
            return Err(usage("--rename-table needs --level source: no other level looks at a cluster"));
        }
        if !live && self.strict {
            return Err(usage("--strict needs --level source: no other level meets a table in use"));
        }
        Ok(VerifyRequest {
            repository: self.repository.settings()?,
            backup: self.backup,
            level: match self.level {
                Level::Files => VerifyLevel::Files,
                Level::Cells => VerifyLevel::Cells,
                Level::Source => VerifyLevel::Source,
            },
            // A gateway in the environment or the file is no reason to connect to it.
            gateways: if live { Some(self.gateway.settings()?) } else { None },
            rename: self.rename_table,
            max_named: self.max_differences,
            strict: self.strict,
            resources: self.resources.limits()?,
            manners: self.manners.manners(),
        })
    }
}

impl VerifyRequest {
    fn open(self, running: &Running) -> anyhow::Result<VerifyPlan> {
        let store = flow::open_store(&self.repository, false)?;
        let open = |settings| flow::open_gateways(&settings, &running.progress, &running.cancel);
        Ok(VerifyPlan {
            store,
            backup: self.backup,
            level: self.level,
            gateways: self.gateways.map(open).transpose()?,
            rename: self.rename,
            max_named: self.max_named,
            strict: self.strict,
            resources: self.resources,
            manners: self.manners,
        })
    }
}

fn outcome(report: &VerifyReport) -> Outcome {
    let done = Outcome::done(text(report), flow::to_json(report));
    match report.differences {
        0 if report.gaps > 0 => done.must_read(format!(
            "what the backup holds is sound, but keys that could not be read are missing from it: {}",
            gaps_text(report.gaps)
        )),
        0 => done,
        1 => done.must_read("1 difference".to_string()),
        n => done.must_read(format!("{} differences", units::count(n))),
    }
}

fn text(report: &VerifyReport) -> String {
    let mut text = format!(
        "backup {} verified at level {}, {}\n{}, {}{}, {} read, peak memory {}\n",
        report.backup,
        format!("{:?}", report.level).to_lowercase(),
        units::span(report.seconds),
        units::counted(report.files, "file", "files"),
        units::counted(report.cells, "cell", "cells"),
        match report.level {
            VerifyLevel::Source => format!(" compared with {} of the cluster", units::count(report.source_cells)),
            _ => String::new(),
        },
        units::size(report.bytes_read),
        units::size(report.peak_rss_bytes)
    );
    text += &limits::held_back(report.back_off_seconds);
    for problem in &report.problems {
        text += &format!("{}: {}\n", problem.path, problem.problem);
    }
    for cell in &report.cells_named {
        text += &difference_text(cell, "source");
    }
    for (kind, count) in &report.by_kind {
        text += &format!("{}: {}\n", word(*kind), units::counted(*count, "cell", "cells"));
    }
    text += &remarks("warning", &report.warnings);
    if report.ordinary_changes > 0 {
        text += &format!(
            "{} changed as is normal in a table in use (expired, overwritten, written later); --strict counts them\n",
            units::counted(report.ordinary_changes, "cell", "cells")
        );
    }
    match report.differences {
        0 if report.level == VerifyLevel::Source => text += "no differences\n",
        0 => text += "no differences; the cluster was not compared (--level source does)\n",
        n => text += &format!("differences: {}\n", units::count(n)),
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::FromArgMatches;
    use tsdb_ark::flow::{CellDifference, DifferenceKind};

    use super::*;
    use crate::cli::command::{self, Cli, Verb};

    fn request(flags: &str) -> Result<VerifyRequest, Usage> {
        let words = ["tsdb-ark", "verify"].into_iter().chain(flags.split_whitespace());
        let cli = Cli::from_arg_matches(&command::command().try_get_matches_from(words).unwrap()).unwrap();
        match cli.verb {
            Verb::Verify(args) => args.request(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_the_source_level_connects() {
        let cells = request("--repository /b --gateway gw:9090").unwrap();
        assert_eq!((cells.level, cells.backup.as_str(), cells.max_named), (VerifyLevel::Cells, "latest", 100));
        assert!(cells.gateways.is_none());
        let source =
            request("b1 --repository /b --level source --gateway gw:9090 --rename-table a=b --max-differences 7")
                .unwrap();
        assert_eq!((source.level, source.backup.as_str(), source.max_named), (VerifyLevel::Source, "b1", 7));
        assert_eq!(source.rename, [("a".into(), "b".into())]);
        assert_eq!(source.gateways.unwrap().gateways, ["gw:9090"]);
        assert_eq!(request("--repository /b --level files").unwrap().level, VerifyLevel::Files);
    }

    #[test]
    fn the_source_level_needs_a_gateway_and_others_take_no_names() {
        assert!(request("--repository /b --level source").err().unwrap().to_string().contains("--gateway"));
        assert!(request("--repository /b --rename-table a=b").err().unwrap().to_string().contains("--level source"));
    }

    #[test]
    fn differences_must_be_read_and_are_shown() {
        let mut report = VerifyReport {
            gaps: 0,
            backup: "b1".into(),
            level: VerifyLevel::Source,
            files: 1,
            cells: 10,
            source_cells: 11,
            differences: 0,
            ordinary_changes: 0,
            problems: vec![],
            by_kind: BTreeMap::new(),
            cells_named: vec![],
            warnings: vec![],
            seconds: 1.0,
            bytes_read: 1,
            peak_rss_bytes: 1,
            back_off_seconds: 0.0,
        };
        assert_eq!(outcome(&report).code, 0);
        assert!(outcome(&report).text.ends_with("no differences\n"));
        report.differences = 1;
        report.by_kind.insert(DifferenceKind::WrittenLater, 1);
        report.cells_named.push(CellDifference {
            table: "tsdb".into(),
            source_table: "copy".into(),
            row: "0001".into(),
            family: "t".into(),
            qualifier: "0070".into(),
            timestamp: 5,
            kind: 4,
            difference: DifferenceKind::WrittenLater,
            backup_value: None,
            source_value: Some("2a".into()),
        });
        let outcome = outcome(&report);
        assert_eq!(outcome.code, 3);
        let line = "written later: copy row 0001 column t:0070 timestamp 5 type 4: backup missing, source 2a\n";
        assert!(outcome.text.contains(line), "{}", outcome.text);
        assert!(outcome.text.contains("\n1 file, 10 cells compared with 11 of the cluster, "), "{}", outcome.text);
        assert!(outcome.text.contains("\nwritten later: 1 cell\n"), "{}", outcome.text);
    }
}
