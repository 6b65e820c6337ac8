//! `tsdb-ark check`: a look before the first backup.

use clap::Args;
use tsdb_ark::flow::{self, CheckReport, CheckedFamily, IncrementAdvice, IncrementBy, Source};

use crate::cli::args::GatewayArgs;
use crate::cli::columns::{Columns, Side};
use crate::cli::exit::EXIT_CODES;
use crate::cli::opentsdb_args::OpentsdbArgs;
use crate::cli::outcome::{Outcome, remarks};
use crate::cli::repository_args::RepositoryArgs;
use crate::cli::running::Running;
use crate::cli::tables_text::layout_text;
use crate::cli::units;

/// What is asked for.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct CheckArgs {
    /// Where the cluster is.
    #[command(flatten)]
    pub gateway: GatewayArgs,
    /// What is known about the OpenTSDB.
    #[command(flatten)]
    pub opentsdb: OpentsdbArgs,
    /// Where backups are to go; looked at when given.
    #[command(flatten)]
    pub repository: RepositoryArgs,
}

impl CheckArgs {
    /// Looks at the cluster and reports.
    ///
    /// # Errors
    /// Usage, the gateway's, or the flow's.
    pub fn run(self, running: &Running) -> anyhow::Result<Outcome> {
        let settings = self.gateway.settings()?;
        let conf = self.opentsdb.conf()?;
        let repository = self.repository.given().then(|| self.repository.settings()).transpose()?;
        let descriptions = flow::read_descriptions(&self.opentsdb.table_description)?;
        let gateways = flow::open_gateways(&settings, &running.progress, &running.cancel)?;
        let (names, layout) = (self.opentsdb.names(), self.opentsdb.layout());
        let source = Source { gateways, names, conf, layout, charset: self.opentsdb.name_charset, descriptions };
        Ok(outcome(&flow::check(&source, repository.as_ref(), &running.progress, &running.cancel)?))
    }
}

fn outcome(report: &CheckReport) -> Outcome {
    let done = Outcome::done(text(report), flow::to_json(report));
    let said = |what: &str, lines: &[String]| (!lines.is_empty()).then(|| format!("{what}: {}", lines.join("; ")));
    let reasons: Vec<String> = said("a backup would fail", &report.stops_a_backup)
        .into_iter()
        .chain(said("a backup through this gateway would not carry", &report.would_be_lost))
        .collect();
    if reasons.is_empty() { done } else { done.must_read(reasons.join("; ")) }
}

fn text(report: &CheckReport) -> String {
    let mut text = remarks("gateway", &report.gateways);
    text += &format!("cluster: {}\n", report.cluster_id.as_deref().unwrap_or("unknown id"));
    text += &remarks("repository", &report.store);
    text += "\n";
    let mut columns = Columns::new(&[
        ("table", Side::Left),
        ("kind", Side::Left),
        ("regions", Side::Right),
        ("families", Side::Left),
    ]);
    for table in &report.tables {
        let families: Vec<String> = table.families.iter().map(family_text).collect();
        let kind = format!("{:?}", table.kind).to_lowercase();
        columns.row([table.table.clone(), kind, units::count(table.regions), families.join(", ")]);
    }
    text += &format!("{columns}\n{}\n", layout_text(&report.layout, &report.layout_from));
    text += &format!(
        "row keys: {} of {} sampled keys fit\n",
        units::count(report.keys_fitting),
        units::count(report.keys_sampled)
    );
    text += &remarks("not found", &report.absent_tables);
    text += &remarks("sure", &report.sure);
    text += &remarks("assumed", &report.guessed);
    text += &increments_text(&report.increments);
    text += &remarks("warning", &report.warnings);
    text += &remarks("stops a backup", &report.stops_a_backup);
    text += &remarks("would be lost", &report.would_be_lost);
    text
}

fn increments_text(advice: &IncrementAdvice) -> String {
    let parent = match &advice.parent {
        Some(parent) => format!(", the next one on {parent}"),
        None => " once there is a full backup".to_owned(),
    };
    let against_time = advice.against_time.join("; ");
    match advice.fits {
        Some(IncrementBy::Time) => format!("increments: by time fits (backup --incremental --by time){parent}\n"),
        Some(IncrementBy::Compare) => format!("increments: by compare only{parent}: {against_time}\n"),
        None if against_time.is_empty() => format!("increments: none now: {}\n", advice.against_any.join("; ")),
        None => format!(
            "increments: none now: {}; and then by compare only: {against_time}\n",
            advice.against_any.join("; ")
        ),
    }
}

fn family_text(family: &CheckedFamily) -> String {
    let kept = family.ttl_seconds.map_or(String::new(), |ttl| format!(", kept {}", units::span(ttl as f64)));
    match family.versions {
        1 => format!("{} (1 version{kept})", family.family),
        more => format!("{} ({more} versions{kept})", family.family),
    }
}

#[cfg(test)]
mod tests {
    use tsdb_ark::flow::CheckedTable;
    use tsdb_ark::model::{KeyLayout, TableKind};

    use super::*;

    fn report() -> CheckReport {
        let family = |name: &str, versions, ttl_seconds| CheckedFamily { family: name.into(), versions, ttl_seconds };
        CheckReport {
            gateways: vec!["gw:9090 thrift2".into()],
            cluster_id: None,
            store: vec![],
            tables: vec![CheckedTable {
                table: "tsdb".into(),
                kind: TableKind::Data,
                regions: 12,
                families: vec![family("t", 1, Some(7200)), family("x", 3, None)],
            }],
            absent_tables: vec!["tsdb-tree".into()],
            layout: KeyLayout::default(),
            older_layouts: vec![],
            layout_from: "detected".into(),
            keys_sampled: 1000,
            keys_fitting: 999,
            sure: vec![],
            guessed: vec![],
            warnings: vec!["one key does not fit".into()],
            stops_a_backup: vec![],
            would_be_lost: vec![],
            increments: IncrementAdvice { fits: Some(IncrementBy::Time), ..IncrementAdvice::default() },
        }
    }

    #[test]
    fn which_increments_fit_is_one_line() {
        let text = |fits, parent: Option<&str>, against_time: &[&str], against_any: &[&str]| {
            let [against_time, against_any] =
                [against_time, against_any].map(|reasons| reasons.iter().map(|reason| (*reason).to_owned()).collect());
            increments_text(&IncrementAdvice { fits, parent: parent.map(str::to_owned), against_time, against_any })
        };
        let (time, compare) = (Some(IncrementBy::Time), Some(IncrementBy::Compare));
        assert_eq!(
            text(time, Some("B"), &[], &[]),
            "increments: by time fits (backup --incremental --by time), the next one on B\n"
        );
        assert_eq!(
            text(compare, None, &["a", "b"], &[]),
            "increments: by compare only once there is a full backup: a; b\n"
        );
        assert_eq!(text(None, Some("B"), &[], &["gaps"]), "increments: none now: gaps\n");
        assert_eq!(
            text(None, Some("B"), &["a"], &["gaps"]),
            "increments: none now: gaps; and then by compare only: a\n"
        );
    }

    #[test]
    fn warnings_alone_do_not_change_the_exit_code() {
        let outcome = outcome(&report());
        assert_eq!(outcome.code, 0);
        assert!(
            outcome.text.contains("tsdb   data       12  t (1 version, kept 2 h 00 min), x (3 versions)"),
            "{}",
            outcome.text
        );
        assert!(outcome.text.contains("warning: one key does not fit\n"));
    }

    #[test]
    fn what_would_be_lost_must_be_read() {
        let outcome = outcome(&CheckReport { would_be_lost: vec!["old versions".into()], ..report() });
        assert_eq!(outcome.code, 3);
        assert!(outcome.why.unwrap().contains("old versions"));
    }

    #[test]
    fn what_stops_a_backup_must_be_read() {
        let lost = vec!["old versions".into()];
        let outcome = outcome(&CheckReport { stops_a_backup: vec!["a hole".into()], would_be_lost: lost, ..report() });
        assert_eq!(outcome.code, 3);
        assert!(outcome.text.contains("stops a backup: a hole\n"), "{}", outcome.text);
        let why = outcome.why.unwrap();
        assert!(why.contains("would fail: a hole") && why.contains("not carry: old versions"), "{why}");
    }
}
