//! `tsdb-ark prune`: remove backups that no rule keeps.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::{Args, ValueEnum};
use jiff::tz::TimeZone;
use tsdb_ark::flow::{self, Decision, FolderState, Group, PrunePlan, PruneReport, PrunedFolder, Retention};

use crate::cli::columns::{Columns, Side};
use crate::cli::exit::{EXIT_CODES, usage};
use crate::cli::outcome::{Outcome, remarks};
use crate::cli::repository_args::RepositoryArgs;
use crate::cli::running::Running;
use crate::cli::units;

const AFTER: &str = "\
A backup is kept if any rule keeps it. A rule goes back through the hours, days, weeks, months or
years that have a backup and keeps the newest backup of each. Rules apply to backups that can be
restored; one with a damaged manifest or missing files is listed separately, and kept unless
--remove-broken is given. The newest backup that can be restored is always kept, as is every
backup that a kept one depends on. All of this holds for each cluster and each set of tables
separately, unless --group-by none is given.
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
    /// Remove no committed backup, only unfinished ones and files of interrupted attempts; other rules are ignored
    #[arg(long)]
    pub only_unfinished: bool,
    /// Also remove backups that cannot be restored, if a newer one can be
    #[arg(long, conflicts_with = "only_unfinished")]
    pub remove_broken: bool,
    /// Age at which unfinished backups and orphaned files are removed, such as 24h
    #[arg(long, value_name = "TIME", value_parser = units::parse_age, default_value = "24h")]
    pub grace: Duration,
    /// Show what would be kept and removed, and why; change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// What backups must have in common for rules to count them together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GroupBy {
    /// Backups of the same cluster and the same tables
    #[value(name = "cluster,tables")]
    ClusterTables,
    /// All backups of the repository
    None,
}

/// The rules.
#[derive(Debug, Args)]
#[command(next_help_heading = "Rules")]
pub struct KeepArgs {
    /// Keep the last COUNT backups
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub keep_last: Option<u64>,
    /// Keep the newest backup of each of the last COUNT hours that have one
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub keep_hourly: Option<u64>,
    /// Keep the newest backup of each of the last COUNT days that have one
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub keep_daily: Option<u64>,
    /// Keep the newest backup of each of the last COUNT weeks (from Monday) that have one
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub keep_weekly: Option<u64>,
    /// Keep the newest backup of each of the last COUNT months that have one
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub keep_monthly: Option<u64>,
    /// Keep the newest backup of each of the last COUNT years that have one
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub keep_yearly: Option<u64>,
    /// Keep all backups made within this time before the newest one, such as 30d or 8w
    #[arg(long, value_name = "TIME", value_parser = units::parse_age)]
    pub keep_within: Option<Duration>,
    /// Apply the rules to each group of backups separately
    #[arg(long, value_name = "BY", value_enum, default_value = "cluster,tables")]
    pub group_by: GroupBy,
    /// Time zone in which days begin, such as Europe/Berlin (default: this machine's)
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
        let plan = PrunePlan {
            store,
            rules,
            grouped: self.keep.group_by == GroupBy::ClusterTables,
            remove_broken: self.remove_broken,
            grace: self.grace,
            dry_run: self.dry_run,
        };
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
    let (broken, mut sound): (Vec<_>, Vec<_>) = report.folders.iter().partition(is_broken);
    let groups: BTreeSet<&Group> = sound.iter().filter_map(|folder| folder.group.as_ref()).collect();
    if groups.len() > 1 {
        for group in groups {
            let (these, others): (Vec<_>, Vec<_>) =
                sound.into_iter().partition(|folder| folder.group.as_ref() == Some(group));
            text += &format!("{}:\n{}\n", group_text(group), folders(&these));
            sound = others;
        }
    }
    if !sound.is_empty() {
        text += &format!("{}\n", folders(&sound));
    }
    if !broken.is_empty() {
        text += &format!("cannot be restored (no rule applies to them):\n{}\n", folders(&broken));
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

fn group_text(group: &Group) -> String {
    let cluster = group.cluster_id.as_deref().unwrap_or("unknown");
    match (&group.window, group.tables.is_empty()) {
        (Some(window), true) => format!("windows of {window}"),
        (Some(window), false) => format!("windows of {window}, cluster {cluster}, tables {}", group.tables.join(", ")),
        (None, _) => format!("cluster {cluster}, tables {}", group.tables.join(", ")),
    }
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
        (report.restores_removed, "restore log", "restore logs"),
        (report.strays_removed, "orphaned file", "orphaned files"),
        (report.lock_files_removed, "stale lock file", "stale lock files"),
    ];
    let parts = parts.into_iter().filter(|(count, ..)| *count > 0);
    let parts: Vec<String> = parts.map(|(count, one, many)| units::counted(count, one, many)).collect();
    let what = if parts.is_empty() { "leftovers".to_string() } else { parts.join(", ") };
    format!(
        "{verb} {what}: {}, {}; {} kept\n",
        units::counted(report.files_removed, "file", "files"),
        units::size(report.bytes_freed),
        kept(report)
    )
}

fn kept(report: &PruneReport) -> String {
    let kept = units::counted(report.kept, "backup", "backups");
    if report.broken_kept == 0 { kept } else { format!("{kept} and {} broken", units::count(report.broken_kept)) }
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
            group: None,
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
