//! `tsdb-ark merge`: a full backup and its increments into one full backup.

use clap::Args;
use tsdb_ark::flow::{self, MergePlan};

use crate::cli::args::ResourceArgs;
use crate::cli::backup;
use crate::cli::exit::EXIT_CODES;
use crate::cli::expected_raw::ExpectedRaw;
use crate::cli::outcome::Outcome;
use crate::cli::repository_args::RepositoryArgs;
use crate::cli::running::Running;

/// What is typed.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct MergeArgs {
    /// Where the backups are.
    #[command(flatten)]
    pub repository: RepositoryArgs,
    /// The last increment: a backup id, a unique prefix of one, or latest; or FULL..LAST, to say what it must begin with
    #[arg(value_name = "BACKUP", default_value = "latest", value_parser = parse_chain)]
    pub backup: (Option<String>, String),
    /// Resume an interrupted merge of the same backups
    #[arg(long)]
    pub resume: bool,
    /// Never delete anything, for credentials without that right; released locks stay until prune removes them
    #[arg(long)]
    pub append_only: bool,
    /// Read back and compare every file that is written, instead of one in 16
    #[arg(long)]
    pub verify_written: bool,
    /// Commit by put, wait and read back, for a store without create-only puts (If-None-Match)
    #[arg(long)]
    pub weak_commit: bool,
    /// Limits; --connections is the number of key ranges at once.
    #[command(flatten)]
    pub resources: ResourceArgs,
}

impl MergeArgs {
    /// Merges.
    ///
    /// # Errors
    /// Usage, the store's or the flow's.
    pub fn run(self, running: &Running) -> anyhow::Result<Outcome> {
        let settings = self.repository.settings()?;
        let repository = settings.url.clone();
        let (from, backup) = self.backup;
        let plan = MergePlan {
            store: flow::open_store(&settings, true)?,
            backup,
            from,
            resume: self.resume,
            weak_commit: self.weak_commit,
            append_only: self.append_only,
            verify_written: self.verify_written,
            resources: self.resources.limits()?,
        };
        let report = flow::merge(&plan, &running.progress, &running.cancel)?;
        // What did not decode was said when it was backed up.
        Ok(backup::outcome(&report, &repository, &[ExpectedRaw::All]))
    }
}

fn parse_chain(text: &str) -> Result<(Option<String>, String), String> {
    match text.split_once("..") {
        None => Ok((None, text.to_owned())),
        Some((from, to)) if !from.is_empty() && !to.is_empty() => Ok((Some(from.to_owned()), to.to_owned())),
        Some(_) => Err("expected BACKUP or FULL..LAST".to_owned()),
    }
}
