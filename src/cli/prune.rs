//! `tsdb-ark prune`: remove backups that no rule keeps.

use std::time::Duration;

use clap::Args;
use jiff::tz::TimeZone;
use tsdb_ark::flow::{self, Decision, FolderState, PrunePlan, PruneReport, PrunedFolder, Retention};

use crate::cli::args::RepositoryArgs;
use crate::cli::columns::{Columns, Side};
use crate::cli::command::EXIT_CODES;
use crate::cli::exit::usage;
use crate::cli::outcome::{Outcome, remarks};
use crate::cli::{Running, units};

const AFTER: &str = "\
A backup stays when any rule keeps it. A rule counts the hours, days, weeks, months or years that
have a backup, from the newest on, and keeps the newest backup of each. Rules choose among the
backups that can be restored; one with a damaged manifest or missing files counts for none, is
listed apart, and stays unless --remove-broken is given. Whatever the rules say, the newest backup
that can be restored stays, and so does everything that a kept backup adds to.
  tsdb-ark prune --repository s3://bucket/opentsdb --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --dry-run
";

/// What is typed.
#[derive(Debug, Args)]
#[command(after_help = format!("{AFTER}\n{EXIT_CODES}"))]
pub struct PruneArgs {
    /// Where the backups are.
    #[command(flatten)]
    pub repository: RepositoryArgs,
    /// Which backups stay.
    #[command(flatten)]
    pub keep: KeepArgs,
    /// Remove no committed backup, only what unfinished ones and lost attempts have left
    #[arg(long)]
    pub only_unfinished: bool,
    /// Also remove backups that cannot be restored and are older than the newest one that can
    #[arg(long, conflicts_with = "only_unfinished")]
    pub remove_broken: bool,
    /// Leave unfinished backups and strays alone until their newest file is so old
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration, default_value = "24h")]
    pub grace: Duration,
    /// Print what would go and stay, and why; change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// The rules.
#[derive(Debug, Args)]
#[command(next_help_heading = "Rules")]
pub struct KeepArgs {
    /// Keep the newest backups
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub keep_last: Option<u64>,
    /// Keep the newest backup of each of so many hours
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub keep_hourly: Option<u64>,
    /// Of each of so many days
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub keep_daily: Option<u64>,
    /// Of each of so many weeks, which begin on Monday
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub keep_weekly: Option<u64>,
    /// Of each of so many months
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub keep_monthly: Option<u64>,
    /// Of each of so many years
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub keep_yearly: Option<u64>,
    /// Keep all that are not older than the newest backup by more than this, such as 30d or 8w
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration)]
    pub keep_within: Option<Duration>,
    /// Where days begin, such as Europe/Berlin (default: the time zone of this machine)
    #[arg(long, value_name = "NAME", value_parser = units::parse_time_zone)]
    pub time_zone: Option<TimeZone>,
}

impl KeepArgs {
    /// The rules; `None` when none is given.
    fn rules(&self) -> anyhow::Result<Option<Retention>> {
        let rules = Retention {
            last: self.keep_last.unwrap_or(0),
            hourly: self.keep_hourly.unwrap_or(0),
            daily: self.keep_daily.unwrap_or(0),
            weekly: self.keep_weekly.unwrap_or(0),
            monthly: self.keep_monthly.unwrap_or(0),
            yearly: self.keep_yearly.unwrap_or(0),
            within: self.keep_within,
            zone: self.time_zone.clone().unwrap_or_else(TimeZone::system),
        };
        Ok((!rules.is_empty()).then_some(rules))
    }
}

impl PruneArgs {
    /// Prunes.
    ///
    /// # Errors
    /// Usage, or the flow's.
    pub fn run(self, running: &Running) -> anyhow::Result<Outcome> {
        let rules = self.keep.rules()?;
        if rules.is_none() && !self.only_unfinished {
            return Err(usage(
                "no rule is given: say which backups stay, for example --keep-daily 7 --keep-monthly 12, or --only-unfinished \
                 to remove no backup at all",
            )
            .into());
        }
        // With --only-unfinished rules of the configuration file do not matter.
        let rules = rules.filter(|_| !self.only_unfinished);
        let store = flow::open_store(&self.repository.settings()?, false)?;
        let plan =
            PrunePlan { store, rules, remove_broken: self.remove_broken, grace: self.grace, dry_run: self.dry_run };
        Ok(outcome(&flow::prune(&plan, &running.progress, &running.cancel)?))
    }
}

fn outcome(report: &PruneReport) -> Outcome {
    let done = Outcome::done(text(report), flow::to_json(report));
    match report.problems.len() {
        0 => done,
        1 => done.must_read("a problem was found; see the report".to_string()),
        n => done.must_read(format!("{} problems were found; see the report", units::count(n as u64))),
    }
}

fn text(report: &PruneReport) -> String {
    let mut text = String::new();
    if report.dry_run {
        text += "dry run: nothing was changed\n\n";
    }
    let is_broken = |folder: &&PrunedFolder| matches!(folder.state, FolderState::Damaged | FolderState::Broken);
    let (broken, sound): (Vec<_>, Vec<_>) = report.folders.iter().partition(is_broken);
    if !sound.is_empty() {
        text += &format!("{}\n", folders(&sound));
    }
    if !broken.is_empty() {
        text += &format!("cannot be restored, and count for no rule:\n{}\n", folders(&broken));
    }
    text += &summary(report);
    if report.keeps_versions && report.files_removed > 0 {
        text += "the bucket keeps versions: files are only marked as deleted, and their versions take space until the bucket's \
                 lifecycle rule removes them\n";
    }
    text += &remarks("problem", &report.problems);
    text += &remarks("warning", &report.warnings);
    text
}

fn folders(folders: &[&PrunedFolder]) -> Columns {
    let mut columns = Columns::new(&[
        ("backup", Side::Left),
        ("time", Side::Left),
        ("age", Side::Right),
        ("size", Side::Right),
        ("decision", Side::Left),
        ("why", Side::Left),
    ]);
    for folder in folders {
        let state = match folder.state {
            FolderState::Committed | FolderState::Damaged | FolderState::Broken => "",
            FolderState::Unfinished => "unfinished ",
            FolderState::Restore => "restore ",
        };
        columns.row([
            format!("{state}{}", folder.backup),
            folder.started.clone(),
            age(folder.age_seconds),
            units::size(folder.bytes),
            if folder.decision == Decision::Keep { "keep".into() } else { "remove".into() },
            folder.reasons.join(", "),
        ]);
    }
    columns
}

fn summary(report: &PruneReport) -> String {
    if report.is_empty() {
        return format!("nothing to prune; {} kept\n", kept(report));
    }
    let verb = match (report.dry_run, report.keeps_versions) {
        (true, false) => "would remove",
        (true, true) => "would mark as deleted",
        (false, false) => "removed",
        (false, true) => "marked as deleted",
    };
    let parts = [
        (report.removed, "backup", "backups"),
        (report.unfinished_removed, "unfinished backup", "unfinished backups"),
        (report.restores_removed, "record of a restore", "records of restores"),
        (report.strays_removed, "stray file", "stray files"),
        (report.lock_files_removed, "file of an old lock", "files of old locks"),
    ];
    let parts = parts.into_iter().filter(|(count, ..)| *count > 0);
    let parts: Vec<String> = parts.map(|(count, one, many)| counted(count, one, many)).collect();
    let what = if parts.is_empty() { "leftovers".to_string() } else { parts.join(", ") };
    format!(
        "{verb} {what}: {}, {}; {} kept\n",
        counted(report.files_removed, "file", "files"),
        units::size(report.bytes_freed),
        kept(report)
    )
}

fn kept(report: &PruneReport) -> String {
    let kept = counted(report.kept, "backup", "backups");
    if report.broken_kept == 0 { kept } else { format!("{kept} and {} broken", units::count(report.broken_kept)) }
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", units::count(count), if count == 1 { one } else { many })
}

/// An age for people; days from two days on.
fn age(seconds: i64) -> String {
    match u64::try_from(seconds) {
        Err(_) => "in the future".to_string(),
        Ok(seconds) if seconds >= 2 * 86_400 => format!("{} d", units::count(seconds / 86_400)),
        Ok(seconds) => units::span(seconds as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(decision: Decision, reason: &str) -> PrunedFolder {
        PrunedFolder {
            backup: "20260101T000000Z-aa".into(),
            state: FolderState::Committed,
            started: "2026-01-01T00:00:00Z".into(),
            age_seconds: 3 * 86_400,
            decision,
            reasons: vec![reason.into(), "newest restorable".into()],
            files: 2,
            bytes: 2048,
        }
    }

    #[test]
    fn the_report_says_what_goes_and_why() {
        let report = PruneReport {
            dry_run: true,
            folders: vec![folder(Decision::Keep, "daily 2026-01-01"), folder(Decision::Remove, "no rule keeps it")],
            kept: 1,
            removed: 1,
            files_removed: 2,
            bytes_freed: 2048,
            ..PruneReport::default()
        };
        let text = text(&report);
        for part in ["dry run", "3 d", "2.0 KiB", "keep      daily 2026-01-01, newest restorable", "remove"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.contains("would remove 1 backup: 2 files, 2.0 KiB; 1 backup kept"), "{text}");
        assert_eq!(outcome(&report).code, 0);
        let empty = outcome(&PruneReport { kept: 3, ..PruneReport::default() });
        assert_eq!((empty.code, empty.text.as_str()), (0, "nothing to prune; 3 backups kept\n"));
        assert_eq!(outcome(&PruneReport { problems: vec!["x".into()], ..report }).code, 3);
    }

    #[test]
    fn ages_read_well() {
        assert_eq!(
            [age(-5), age(90), age(86_400), age(200_000)],
            ["in the future", "1 min 30 s", "24 h 00 min", "2 d"]
        );
    }
}
